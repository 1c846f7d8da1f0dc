//! Where the data plane's pins stand: a BPF file system, one directory for each network namespace.
//!
//! `ip netns exec` gives its command a mount namespace with a fresh /sys, so the BPF file system of the host is out of
//! sight there; and one that is mounted in there dies with the command, and the data plane with it. So the host's is
//! looked for through the root of a process that lives in the host's mount namespace ([`host`]), and where the host has
//! none, ours is mounted there.

use std::{
    fs, io, iter,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context, Result, anyhow};
use rustix::{
    fs::{CWD, FlockOperation, Mode, OFlags},
    io::Errno,
    mount::{MountFlags, UnmountFlags},
    thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe},
};

use crate::netns;

/// BPF_FS_MAGIC, linux/magic.h.
const MAGIC: u64 = 0xcafe_4a11;
/// Where the host usually has it.
const USUAL: &str = "/sys/fs/bpf";
/// Where ours is mounted if the host has none.
const OURS: &str = "/run/rlvs/bpf";
/// Our part of it.
const NAME: &str = "rlvs";
/// Held while a file system is looked for, mounted, filled for the first time, or taken away. It must lie outside of it.
const LOCK: &str = "/run/rlvs.lock";

/// The right to mount and unmount, and to rely on what is mounted: daemons of several network namespaces share the mount.
pub struct Lock(#[expect(dead_code, reason = "what is locked as long as it is open")] fs::File);

impl Lock {
    /// Waits for it.
    ///
    /// # Errors
    /// Where the file cannot be made.
    pub fn take() -> Result<Self> {
        let doing = || format!("locking {LOCK}");
        loop {
            let file = fs::File::create(LOCK).with_context(doing)?;
            rustix::io::retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::LockExclusive))
                .with_context(doing)?;
            // Whoever held it may have removed the file: then this is a lock on nothing.
            let ours = file.metadata().with_context(doing)?.ino();
            if fs::metadata(LOCK).is_ok_and(|there| there.ino() == ours) {
                return Ok(Self(file));
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Nothing stays behind where nothing of ours is mounted.
        if !is_bpffs(Path::new(OURS)) {
            let _ = fs::remove_file(LOCK);
        }
    }
}

/// The directory of the pins of this thread's network namespace; it need not exist yet. Needs the [`Lock`], until
/// something is pinned there.
///
/// # Errors
/// Where no BPF file system is there and `mount` is false, or mounting fails.
pub fn root(_: &Lock, mount: bool) -> Result<PathBuf> {
    let ours = Path::new(NAME).join(netns::cookie()?.to_string());
    // The host's may have been mounted after ours was filled: what is pinned already decides.
    let existing = existing();
    let filled = existing.iter().find(|base| base.join(&ours).exists());
    let base = match filled.or(existing.first()) {
        Some(base) => base.clone(),
        None if mount => mount_ours()?,
        None => return Err(anyhow!("no BPF file system is mounted at {USUAL} or {OURS}")),
    };
    Ok(base.join(ours))
}

/// Removes the pins under `root`, then every directory that is empty without them, then our own mount if it is unused.
///
/// # Errors
/// Where something cannot be removed.
pub fn remove(_: &Lock, root: &Path) -> io::Result<()> {
    if root.exists() {
        fs::remove_dir_all(root)?;
    }
    let Some(shared) = root.parent() else { return Ok(()) };
    // Another namespace's data plane keeps its own directory here: then this fails, and should.
    if fs::remove_dir(shared).is_err() {
        return Ok(());
    }
    if shared.parent().is_some_and(|base| base.ends_with("run/rlvs/bpf")) {
        on_host(|| {
            match rustix::mount::unmount(OURS, UnmountFlags::empty()) {
                // Somebody looks into it: the next one to unload will find it unused.
                Err(Errno::BUSY) => return Ok(()),
                unmounted => unmounted?,
            }
            fs::remove_dir(OURS)?;
            // /run/rlvs may hold other things, of a lab for instance.
            let _ = fs::remove_dir("/run/rlvs");
            Ok(())
        })?;
    }
    Ok(())
}

/// The BPF file systems in sight, those that are usual first.
fn existing() -> Vec<PathBuf> {
    let host = format!("/proc/{}/root", host());
    let candidates = [USUAL, OURS].into_iter().flat_map(|path| [path.into(), PathBuf::from(format!("{host}{path}"))]);
    candidates.filter(|path| is_bpffs(path)).collect()
}

/// A process that stands for the host: the first of process 1 and our ancestors, the oldest first, whose mount namespace we
/// may enter. Process 1 is out of reach in some sandboxes; whoever typed `ip netns exec` is not. Else this process.
fn host() -> u32 {
    let mut line = vec![std::process::id()];
    while let Some(parent) = line.last().and_then(|pid| parent(*pid)) {
        line.push(parent);
    }
    let reachable = |pid: &u32| fs::File::open(format!("/proc/{pid}/ns/mnt")).is_ok();
    iter::once(1).chain(line.into_iter().rev()).find(reachable).unwrap_or_else(std::process::id)
}

/// The parent of a process, by the fourth field of its `stat`; the second is in brackets and may hold anything.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(1)?.parse().ok().filter(|parent| *parent != 0)
}

fn is_bpffs(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|fs| fs.f_type as u64 == MAGIC)
}

fn mount_ours() -> Result<PathBuf> {
    on_host(|| {
        fs::create_dir_all(OURS)?;
        Ok(rustix::mount::mount("bpf", OURS, "bpf", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, None)?)
    })
    .with_context(|| format!("mounting a BPF file system at {OURS}"))?;
    tracing::info!("mounted a BPF file system at {OURS}, as none was there");
    existing().into_iter().next().context("the BPF file system just mounted is not to be seen")
}

/// Runs `action` in the host's mount namespace, on a thread of its own that ends with it.
fn on_host(action: impl FnOnce() -> io::Result<()> + Send) -> io::Result<()> {
    let host =
        rustix::fs::openat(CWD, format!("/proc/{}/ns/mnt", host()), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    thread::scope(|scope| {
        let on_thread = scope.spawn(|| {
            // SAFETY: gives this thread a working directory and root of its own; its files stay shared. JUSTIFICATION: a
            // thread that shares them may not change its mount namespace, and only the unsafe form is not deprecated.
            unsafe { unshare_unsafe(UnshareFlags::FS)? };
            move_into_link_name_space(host.as_fd(), Some(LinkNameSpaceType::Mount))?;
            action()
        });
        on_thread.join().unwrap_or_else(|_| Err(io::Error::other("the mounting thread panicked")))
    })
}
