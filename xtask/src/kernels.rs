//! Other kernels: Debian's cloud kernel booted in an emulator, with the programs loaded and at work inside.
//!
//! No hardware virtualisation is needed, no disk image, no network: the guest's root is an initramfs that holds busybox, the
//! kernel modules that a lab needs, and our programs. It runs [`SCRIPT`] and powers off.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use xshell::{Shell, TempDir, cmd};

use crate::packages;

const PACKAGES: [&str; 5] = ["busybox-static", "cpio", "iproute2", "kmod", "qemu-system-x86"];
/// The package whose first dependency is the distribution's newest kernel for virtual machines.
const KERNEL_META: &str = "linux-image-cloud-amd64";
/// What the lab's links and our hooks need, where the kernel has it as modules.
const MODULES: [&str; 5] = ["veth", "bridge", "sch_ingress", "cls_bpf", "af_packet"];
/// Seconds after which the guest is given up. It takes about 30, several times that on a busy machine.
const TIME_MAX: &str = "600";
/// What the guest prints last if all went well.
const DONE: &str = "guest: all passed";

/// The first process of the guest.
const SCRIPT: &str = r#"#!/bin/busybox sh
export PATH=/opt/rlvs:/sbin:/bin:/usr/sbin:/usr/bin HOME=/ RLVS_BIN_DIR=/opt/rlvs RLVS_TEST_REQUIRE_ALL=1
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev; mount -t tmpfs tmpfs /run; mkdir -p /run/netns
for module in $(cat /modules); do insmod "$module" 2>/dev/null; done
ip link set lo up
echo "guest: Linux $(uname -r)"
ok=1
for hook in tc xdp; do
  echo "guest: rlvs lab nat --hook $hook"
  rlvs lab nat --hook $hook --requests 20 2>&1 | grep -E '^(real|order|ok:|FAILED|rlvs)' || ok=0
  [ -e /run/rlvs ] && ok=0
done
for test in /opt/rlvs/test-*; do
  echo "guest: ${test##*/}"
  "$test" --test-threads=1 --nocapture 2>&1 | tail -n 60 | tee /last
  grep -q '^test result: ok' /last || ok=0
done
[ $ok = 1 ] && echo "guest: all passed"
poweroff -f
"#;

/// Boots the newest kernel of this Debian and runs the programs in it.
///
/// # Errors
/// Where something is missing, or the guest did not say that all passed.
pub fn verify(shell: &Shell) -> Result<()> {
    packages::install(shell, &PACKAGES)?;
    cmd!(shell, "cargo build --release --quiet --package rlvs --package rlvsd --package rlvs-ipvsadm").run()?;
    let kernel = Kernel::fetch(shell)?;
    let root = shell.create_temp_dir()?;
    lay_root(shell, root.path(), &kernel)?;
    let initrd = pack(shell, &root)?;
    let image = &kernel.image;
    let accel = "tcg,thread=multi,tb-size=512";
    let words = "console=ttyS0 quiet loglevel=3 panic=-1 rdinit=/init mitigations=off";
    let said = cmd!(
        shell,
        "timeout {TIME_MAX} qemu-system-x86_64 -machine q35 -cpu max -smp 2 -m 2048 -accel {accel} -nodefaults
         -display none -no-reboot -serial stdio -kernel {image} -initrd {initrd} -append {words}"
    )
    .ignore_status()
    .read()?;
    println!("{said}");
    if !said.lines().any(|line| line.trim_end() == DONE) {
        bail!("the guest with {} did not pass", kernel.version);
    }
    Ok(())
}

/// A kernel and its modules, unpacked.
struct Kernel {
    version: String,
    image: PathBuf,
    modules: PathBuf,
}

impl Kernel {
    fn fetch(shell: &Shell) -> Result<Self> {
        let depends = cmd!(shell, "apt-cache depends {KERNEL_META}").quiet().read()?;
        let package = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
        let package = package.context("no kernel package: run `apt-get update`?")?.to_owned();
        let to = env::current_dir()?.join("target/kernels").join(&package);
        if !to.join("boot").exists() {
            let temporary = shell.create_temp_dir()?;
            let _dir = shell.push_dir(temporary.path());
            cmd!(shell, "apt-get -q -o APT::Sandbox::User=root download {package}").quiet().ignore_stdout().run()?;
            let archive = fs::read_dir(temporary.path())?.flatten().next().context("apt downloaded nothing")?.path();
            fs::create_dir_all(&to)?;
            cmd!(shell, "dpkg-deb -x {archive} {to}").run()?;
        }
        let version = package.strip_prefix("linux-image-").unwrap_or(&package).to_owned();
        let image = to.join("boot").join(format!("vmlinuz-{version}"));
        let modules = to.join("lib/modules").join(&version);
        cmd!(shell, "depmod -b {to} {version}").quiet().run()?;
        Ok(Self { version, image, modules })
    }

    /// The modules of these names and what they need, in the order in which to insert them. Built-in ones have none.
    fn modules(&self, shell: &Shell) -> Result<Vec<PathBuf>> {
        let base = self.modules.ancestors().nth(3).context("no module folder")?;
        let version = &self.version;
        let mut files = vec![];
        for module in MODULES {
            let shown = cmd!(shell, "modprobe -d {base} -S {version} --show-depends {module}").quiet().ignore_stderr();
            let shown = shown.ignore_status().read()?;
            for file in shown.lines().filter_map(|line| line.trim().strip_prefix("insmod ")) {
                let file = PathBuf::from(file.trim());
                if !files.contains(&file) {
                    files.push(file);
                }
            }
        }
        Ok(files)
    }
}

fn lay_root(shell: &Shell, root: &Path, kernel: &Kernel) -> Result<()> {
    for dir in ["bin", "sbin", "proc", "sys", "dev", "run", "tmp", "etc", "opt/rlvs", "lib/modules"] {
        fs::create_dir_all(root.join(dir))?;
    }
    put(shell, root, Path::new("/usr/bin/busybox"), "/bin/busybox")?;
    let applets = cmd!(shell, "/usr/bin/busybox --list").quiet().read()?;
    for applet in applets.lines().filter(|applet| !matches!(*applet, "busybox" | "ip")) {
        std::os::unix::fs::symlink("/bin/busybox", root.join("bin").join(applet))?;
    }
    put(shell, root, Path::new("/usr/bin/ip"), "/bin/ip")
        .or_else(|_| put(shell, root, Path::new("/usr/sbin/ip"), "/bin/ip"))?;
    for program in ["rlvs", "rlvsd", "ipvsadm"] {
        put(shell, root, &Path::new("target/release").join(program), &format!("/opt/rlvs/{program}"))?;
    }
    for name in TESTS {
        put(shell, root, &test(shell, name)?, &format!("/opt/rlvs/test-{name}"))?;
    }
    let mut list = String::new();
    for module in kernel.modules(shell)? {
        let name = module.file_name().context("a module without a name")?.to_string_lossy().into_owned();
        fs::copy(&module, root.join("lib/modules").join(&name))?;
        list += &format!("/lib/modules/{name}\n");
    }
    fs::write(root.join("modules"), list)?;
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/:/bin/sh\n")?;
    let init = root.join("init");
    fs::write(&init, SCRIPT)?;
    cmd!(shell, "chmod 755 {init}").quiet().run()?;
    Ok(())
}

/// Tests that ask nothing of the machine but a kernel.
const TESTS: [&str; 3] = ["parity", "schedulers", "verifier"];

/// A test of the tests crate, built.
fn test(shell: &Shell, name: &str) -> Result<PathBuf> {
    let built = cmd!(shell, "cargo test --package rlvs-tests --test {name} --no-run").quiet().output()?;
    let said = String::from_utf8_lossy(&built.stderr).into_owned();
    // "  Executable tests/verifier.rs (target/debug/deps/verifier-0123456789abcdef)"
    let named = said.lines().map(str::trim).find(|line| line.starts_with("Executable"));
    let file = named.and_then(|line| line.strip_suffix(')')?.rsplit_once('(').map(|(_, file)| file));
    Ok(PathBuf::from(file.with_context(|| format!("cargo named no file for test {name}:\n{said}"))?))
}

/// Copies a program into the guest's root with the libraries that it needs.
fn put(shell: &Shell, root: &Path, program: &Path, to: &str) -> Result<()> {
    let copy = |from: &Path, to: &str| -> Result<()> {
        let to = root.join(to.trim_start_matches('/'));
        fs::create_dir_all(to.parent().context("no folder")?)?;
        fs::copy(from, &to).with_context(|| format!("copying {}", from.display()))?;
        Ok(())
    };
    copy(program, to)?;
    let libraries = cmd!(shell, "ldd {program}").quiet().ignore_stderr().ignore_status().read()?;
    let files: BTreeSet<&str> =
        libraries.split_whitespace().filter(|word| word.starts_with('/') && Path::new(word).exists()).collect();
    files.iter().try_for_each(|file| copy(Path::new(file), file))
}

fn pack(shell: &Shell, root: &TempDir) -> Result<PathBuf> {
    let initrd = env::current_dir()?.join("target/kernels/initrd");
    let _dir = shell.push_dir(root.path());
    let files = cmd!(shell, "find .").quiet().read()?;
    let packed = cmd!(shell, "cpio --quiet -o -H newc -R 0:0").quiet().stdin(files).output()?.stdout;
    fs::write(&initrd, packed)?;
    Ok(initrd)
}
