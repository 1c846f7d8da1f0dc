//! What a real kernel does in the differential scenarios, recorded (see `tests/src/differential`).

use anyhow::Result;
use xshell::{Shell, cmd};

use crate::packages;

/// The kernel as a program, its IPVS's command, and what scenarios set up with.
pub const PACKAGES: [&str; 6] = ["ethtool", "iproute2", "ipvsadm", "iptables", "kmod", "user-mode-linux"];

/// Records the scenarios whose names contain one of the words, all without words.
///
/// # Errors
/// Where something is missing, the kernel does not boot, or a scenario does not get to its end.
pub fn record(shell: &Shell, words: &[String]) -> Result<()> {
    packages::install(shell, &PACKAGES)?;
    let program = ["--package", "rlvs-tests", "--bin", "rlvs-differential"];
    Ok(cmd!(shell, "cargo run --quiet --release {program...} -- record {words...}").run()?)
}
