//! Who may use a lab's names: one process at a time, and the next one after it died.
//!
//! A claim is an advisory lock on `/run/rlvs-lab/NAME.lock`. The kernel drops it with the process that holds it, however
//! that ends, so a lock that is free while namespaces of the lab exist means leftovers: whoever takes the claim next
//! removes them first.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read, Seek, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
    mount::{UnmountFlags, unmount},
};

use super::{
    error::{Error, Result},
    netns::{self, NETNS_DIR, Netns},
    process::{Running, wait_until},
};
use crate::unload;

/// What all names of all labs begin with.
const PREFIX: &str = "rlvs-";
/// Locks and logs.
const BASE_DIR: &str = "/run/rlvs-lab";
/// Its presence says that a claim, not `ip netns`, mounted [`NETNS_DIR`].
const NETNS_MOUNT_MARK: &str = "/run/rlvs-lab/netns-mount";
/// How long a daemon is given to end when asked to.
const END_TIME_MAX: Duration = Duration::from_secs(5);

/// The right to use the names `rlvs-LAB-*` and a directory for the lab's files. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct Claim {
    lab: String,
    lock: File,
}

impl Claim {
    /// Claims a lab's name (a-z and 0-9), and removes what a process that died left under it.
    ///
    /// [`Error::Busy`] if a living process holds it.
    pub fn take(lab: &str) -> Result<Self> {
        check_name(lab)?;
        let path = lock_path(lab);
        let doing = || format!("cannot lock {}", path.display());
        let mut lock = loop {
            fs::create_dir_all(BASE_DIR).map_err(Error::io(format!("cannot create {BASE_DIR}")))?;
            let mut lock = match File::options().read(true).write(true).create(true).truncate(false).open(&path) {
                Ok(lock) => lock,
                // Another claim was dropped just now, and took the empty directory along.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(source) => {
                    return Err(Error::Io { doing: doing(), source });
                }
            };
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => {
                    return Err(Error::Busy { lab: lab.into(), pid: read_pid(&mut lock) });
                }
                Err(error) => return Err(Error::io(doing())(error)),
            }
            // Its last holder removed the file between our opening and locking it: then it guards nothing.
            if same_file(&lock, &path) {
                break lock;
            }
        };
        write_pid(&mut lock).map_err(Error::io(doing()))?;
        let claim = Self { lab: lab.into(), lock };
        claim.remove_leftovers();
        fs::create_dir_all(claim.dir()).map_err(Error::io(format!("cannot create {}", claim.dir().display())))?;
        share_netns_dir()?;
        Ok(claim)
    }

    /// The lab's name.
    pub fn lab(&self) -> &str {
        &self.lab
    }

    /// A directory for the lab's files, removed with the claim.
    pub fn dir(&self) -> PathBuf {
        Path::new(BASE_DIR).join(&self.lab)
    }

    /// The namespace name of a host of this lab.
    pub fn netns_name(&self, host: &str) -> String {
        format!("{PREFIX}{}-{host}", self.lab)
    }

    /// Clears out every namespace that bears one of this lab's names, and its files.
    fn remove_leftovers(&self) {
        let prefix = self.netns_name("");
        for name in netns::names().into_iter().filter(|name| name.starts_with(&prefix)) {
            // One that a death between making the name and mounting on it left behind cannot be entered; it is removed all the same.
            if let Ok(netns) = Netns::open(&name) {
                retire(&netns);
                report(netns.remove());
            }
        }
        self.remove_dir();
    }

    fn remove_dir(&self) {
        let removed = match fs::remove_dir_all(self.dir()) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        report(removed.map_err(Error::io(format!("cannot remove {}", self.dir().display()))));
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.remove_dir();
        let turn = base_lock();
        // While the lock is still held, so that nobody can take the file and lose it.
        let _ = fs::remove_file(lock_path(&self.lab));
        if turn.is_ok() && labs().is_empty() {
            unshare_netns_dir();
        }
        let _ = flock(&self.lock, FlockOperation::Unlock);
        // Fails while other labs are up, as it should.
        let _ = fs::remove_dir(BASE_DIR);
    }
}

/// What [`down`] did with one lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Downed {
    /// It was up; its process was asked to end, and has ended.
    Stopped {
        /// The lab.
        lab: String,
        /// The process it ran in.
        pid: i32,
    },
    /// Its process had died; what it left is removed.
    Cleared {
        /// The lab.
        lab: String,
    },
}

/// Takes down every lab: those that are up and those whose process died.
pub fn down() -> Result<Vec<Downed>> {
    labs().into_iter().map(|lab| down_one(&lab)).collect()
}

/// Removes what labs left whose process died, test runs among them; leaves those alone that are up.
pub fn sweep() -> Vec<String> {
    labs().into_iter().filter(|lab| Claim::take(lab).is_ok()).collect()
}

fn down_one(lab: &str) -> Result<Downed> {
    let busy = match Claim::take(lab) {
        Ok(_cleared_and_dropped) => return Ok(Downed::Cleared { lab: lab.into() }),
        Err(busy @ Error::Busy { pid: None, .. }) => return Err(busy),
        Err(Error::Busy { pid: Some(pid), .. }) => pid,
        Err(error) => return Err(error),
    };
    let holder = Running::open(busy).filter(|process| process.has_open(&lock_path(lab)));
    if let Some(process) = holder {
        process.terminate();
    }
    let freed = wait_until(Duration::from_secs(15), || Claim::take(lab).is_ok());
    if freed {
        Ok(Downed::Stopped { lab: lab.into(), pid: busy })
    } else {
        Err(Error::Busy { lab: lab.into(), pid: Some(busy) })
    }
}

/// Ends what runs in a namespace that is about to be removed, and takes its director's programs and tables away.
///
/// Only daemons of ours are ended. A shell that someone opened there is not ours to kill; its namespace lives on,
/// nameless, until it ends.
pub(crate) fn retire(netns: &Netns) {
    for process in netns.processes() {
        let name = process.name();
        if name != "rlvsd" {
            let (pid, netns) = (process.pid(), netns.name());
            crate::talk::warn(format_args!(
                "process {pid} ({name}) still runs in {netns}, which lives on until it ends"
            ));
            continue;
        }
        process.terminate();
        if !process.wait_ended(END_TIME_MAX) {
            process.kill();
            process.wait_ended(END_TIME_MAX);
        }
    }
    report(netns.run(unload::unload).and_then(|result| result.map(drop)));
}

/// The labs that have a lock: those that are up, and those whose process died.
fn labs() -> Vec<String> {
    let entries = fs::read_dir(BASE_DIR).into_iter().flatten();
    let mut labs: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.file_name().into_string().ok()?.strip_suffix(".lock")?.to_owned()))
        .filter(|lab| check_name(lab).is_ok())
        .collect();
    labs.sort();
    labs
}

/// No dash: it ends the lab's name within a host's.
fn check_name(lab: &str) -> Result<()> {
    let usable = !lab.is_empty()
        && lab.len() <= 50
        && lab.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if usable { Ok(()) } else { Err(Error::BadName(lab.into())) }
}

fn lock_path(lab: &str) -> PathBuf {
    Path::new(BASE_DIR).join(format!("{lab}.lock"))
}

fn same_file(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(ours), Ok(theirs)) => (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino()),
        _ => false,
    }
}

fn read_pid(lock: &mut File) -> Option<i32> {
    let mut text = String::new();
    lock.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn write_pid(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())
}

fn share_netns_dir() -> Result<()> {
    let _turn = base_lock()?;
    if netns::share_netns_dir()? {
        File::create(NETNS_MOUNT_MARK).map_err(Error::io(format!("cannot create {NETNS_MOUNT_MARK}")))?;
    }
    Ok(())
}

/// Undoes [`share_netns_dir`], in the turn of the last lab.
fn unshare_netns_dir() {
    if !Path::new(NETNS_MOUNT_MARK).exists() {
        return;
    }
    // Without DETACH it fails while names of others are there: then the mount stays, and so does the mark.
    if unmount(NETNS_DIR, UnmountFlags::empty()).is_ok() {
        let _ = fs::remove_file(NETNS_MOUNT_MARK);
    }
}

/// Claims of different labs take turns at what they share.
fn base_lock() -> Result<File> {
    let doing = || format!("cannot lock {BASE_DIR}");
    let dir = File::open(BASE_DIR).map_err(Error::io(doing()))?;
    flock(&dir, FlockOperation::LockExclusive).map_err(Error::io(doing()))?;
    Ok(dir)
}

fn report(result: Result<()>) {
    if let Err(error) = result {
        crate::talk::warn(error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lab_name_has_no_dash() {
        assert!(check_name("nat").is_ok());
        assert!(check_name("t12n3").is_ok());
        for bad in ["", "nat-2", "../x", "NAT", "a b"] {
            assert!(matches!(check_name(bad), Err(Error::BadName(_))), "{bad}");
        }
    }
}
