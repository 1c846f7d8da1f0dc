//! What a lab needs of the machine, checked before anything is made.

use std::fs;

use super::{
    error::{Error, Result},
    netns::Netns,
};

/// The oldest kernel whose verifier and helpers the programs are made for.
const KERNEL_MIN: (u32, u32) = (6, 1);

/// Fails with [`Error::Missing`], naming the cure, if a lab cannot run here.
pub fn check() -> Result<()> {
    check_root()?;
    check_kernel()?;
    check_bpffs()?;
    Netns::probe().map_err(|error| Error::Missing {
        what: format!("no right to make network namespaces ({error})"),
        cure: "run it as root of the machine itself, or in a container started with --privileged".into(),
    })
}

/// Fails unless this process runs as root.
pub fn check_root() -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Error::Missing { what: "not root".into(), cure: "labs make network namespaces; run it with sudo".into() })
}

fn check_kernel() -> Result<()> {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    match parse_release(&release) {
        Some(version) if version < KERNEL_MIN => Err(Error::Missing {
            what: format!("kernel {release} is too old"),
            cure: format!("rlvs runs on Linux {}.{} and later", KERNEL_MIN.0, KERNEL_MIN.1),
        }),
        // A release that does not begin with a version says nothing; what is missing will show.
        _ => Ok(()),
    }
}

fn check_bpffs() -> Result<()> {
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if known.lines().any(|line| line.split_whitespace().last() == Some("bpf")) {
        return Ok(());
    }
    Err(Error::Missing {
        what: "the kernel has no bpf file system".into(),
        cure: "rlvs needs a kernel built with CONFIG_BPF_SYSCALL, and /proc".into(),
    })
}

/// Major and minor version of a release such as `6.1.0-18-amd64`.
fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases() {
        assert_eq!(parse_release("6.1.0-18-amd64"), Some((6, 1)));
        assert_eq!(parse_release("5.10.209"), Some((5, 10)));
        assert_eq!(parse_release("6.18-rc1+"), Some((6, 18)));
        assert_eq!(parse_release("custom"), None);
        assert_eq!(parse_release(""), None);
        assert_eq!(parse_release("99999999999.1"), None);
    }
}
