//! Programs that only the checks need: installed where that may be done, named where not.

use anyhow::{Result, bail};
use rustix::process::getuid;
use xshell::{Shell, cmd};

/// Whether programs may be installed: as root, on a system with apt.
pub fn may_install(shell: &Shell) -> bool {
    getuid().is_root() && cmd!(shell, "apt-get --version").quiet().ignore_stdout().ignore_stderr().run().is_ok()
}

/// Installs Debian packages, those that are not there yet.
///
/// # Errors
/// Where apt fails.
pub fn install(shell: &Shell, packages: &[&str]) -> Result<()> {
    let missing: Vec<&str> = packages.iter().copied().filter(|package| !is_installed(shell, package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !may_install(shell) {
        bail!("these Debian packages are missing and may not be installed here: {}", missing.join(" "));
    }
    eprintln!("installing {}", missing.join(" "));
    let _env = shell.push_env("DEBIAN_FRONTEND", "noninteractive");
    cmd!(shell, "apt-get update -q").quiet().ignore_stdout().run()?;
    cmd!(shell, "apt-get install -q -y --no-install-recommends {missing...}").quiet().ignore_stdout().run()?;
    Ok(())
}

fn is_installed(shell: &Shell, package: &str) -> bool {
    let format = "--showformat=${Status}";
    let status = cmd!(shell, "dpkg-query --show {format} {package}").quiet().ignore_stderr().read();
    status.is_ok_and(|status| status.ends_with("install ok installed"))
}
