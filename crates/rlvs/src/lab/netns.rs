//! One network namespace: made, entered, used to run things in, removed.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, AsRawFd, RawFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Output},
    thread,
    time::Duration,
};

use rustix::{
    io::Errno,
    mount::{MountPropagationFlags, UnmountFlags, mount_bind, mount_bind_recursive, mount_change, unmount},
    thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space},
};

use super::{
    error::{Error, Result},
    process,
};

/// Where `ip netns` looks for names.
pub const NETNS_DIR: &str = "/run/netns";

/// A named network namespace, visible to `ip netns` and open in this process.
///
/// One that [`Netns::create`] made is removed when dropped; one that [`Netns::open`] found is left alone.
#[derive(Debug)]
pub struct Netns {
    name: String,
    file: File,
    remove_on_drop: bool,
}

impl Netns {
    /// Makes a namespace of that name, as `ip netns add` does: empty but for a loopback device that is down.
    ///
    /// Fails if the name is taken.
    pub fn create(name: &str) -> Result<Self> {
        let path = path_of(name)?;
        share_netns_dir()?;
        File::create_new(&path).map_err(Error::io(format!("cannot create {}", path.display())))?;
        let made = in_thread(|| {
            unshare_net()?;
            mount_bind("/proc/thread-self/ns/net", &path).map_err(io::Error::from)
        });
        let opened = made.and_then(|()| File::open(&path));
        match opened {
            Ok(file) => Ok(Self { name: name.into(), file, remove_on_drop: true }),
            Err(source) => {
                // Nothing else refers to the name yet, so what fails here has nothing left to undo.
                let _ = unmount(&path, UnmountFlags::DETACH);
                let _ = fs::remove_file(&path);
                Err(Error::Io { doing: format!("cannot make network namespace {name}"), source })
            }
        }
    }

    /// Opens the namespace of that name, made by whomever.
    pub fn open(name: &str) -> Result<Self> {
        let path = path_of(name)?;
        let file = File::open(&path).map_err(Error::io(format!("cannot open network namespace {name}")))?;
        Ok(Self { name: name.into(), file, remove_on_drop: false })
    }

    /// Whether this process may make network namespaces at all. Leaves nothing behind.
    pub fn probe() -> io::Result<()> {
        in_thread(unshare_net)
    }

    /// The name `ip netns` knows it by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it.
    pub fn path(&self) -> PathBuf {
        Path::new(NETNS_DIR).join(&self.name)
    }

    /// Moves the calling thread into the namespace, for the rest of that thread's life.
    ///
    /// Threads and processes that this thread starts later begin there too. For a single call, use [`Netns::run`].
    pub fn enter(&self) -> Result<()> {
        move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(Error::io(format!("cannot enter network namespace {}", self.name)))
    }

    /// Runs `task` in a thread inside the namespace, and returns what it returns.
    ///
    /// A panic in `task` goes on in the caller, so assertions may stand inside.
    pub fn run<T: Send>(&self, task: impl FnOnce() -> T + Send) -> Result<T> {
        in_thread(|| self.enter().map(|()| task()))
    }

    /// Starts a command in the namespace. Its mounts, `/sys` among them, stay the caller's: only its network differs.
    pub fn spawn(&self, command: &mut Command) -> Result<Child> {
        let line = process::command_line(command);
        self.run(|| command.spawn())?.map_err(Error::io(format!("cannot run `{line}`")))
    }

    /// Runs a command in the namespace to its end and returns its status and what it printed.
    ///
    /// After `time_max` the command is killed and [`Error::Hung`] returned.
    pub fn output(&self, command: &mut Command, time_max: Duration) -> Result<Output> {
        self.run(|| process::output(command, time_max))?
    }

    /// As [`Netns::output`], and [`Error::Command`] if the command reports failure.
    pub fn check_output(&self, command: &mut Command, time_max: Duration) -> Result<Output> {
        let output = self.output(command, time_max)?;
        process::succeeded(command, output)
    }

    /// The processes that live in the namespace.
    pub fn processes(&self) -> Vec<process::Running> {
        let Ok(own) = self.file.metadata() else {
            return Vec::new();
        };
        process::all()
            .filter(|running| {
                fs::metadata(format!("/proc/{}/ns/net", running.pid()))
                    .is_ok_and(|theirs| (theirs.dev(), theirs.ino()) == (own.dev(), own.ino()))
            })
            .collect()
    }

    /// Removes the name. The kernel removes the namespace with its links when the last process in it ends.
    pub fn remove(mut self) -> Result<()> {
        self.remove_on_drop = false;
        remove_name(&self.path())
    }

    /// For netlink messages that name a namespace by descriptor.
    pub(crate) fn raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if self.remove_on_drop
            && let Err(error) = remove_name(&self.path())
        {
            crate::talk::warn(error);
        }
    }
}

/// The names in [`NETNS_DIR`], in order.
pub fn names() -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(NETNS_DIR)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

/// Makes [`NETNS_DIR`] a shared mount, as `ip netns add` does: names made and removed here are then made and removed in
/// the other mount namespaces too, those of `ip netns exec` among them. Returns whether a mount was needed for it.
pub(crate) fn share_netns_dir() -> Result<bool> {
    fs::create_dir_all(NETNS_DIR).map_err(Error::io(format!("cannot create {NETNS_DIR}")))?;
    let shared = MountPropagationFlags::SHARED | MountPropagationFlags::REC;
    let failed = || Error::io::<Errno>(format!("cannot share {NETNS_DIR} between mount namespaces"));
    match mount_change(NETNS_DIR, shared) {
        Ok(()) => Ok(false),
        // Not a mount point yet.
        Err(Errno::INVAL) => {
            mount_bind_recursive(NETNS_DIR, NETNS_DIR).map_err(failed())?;
            mount_change(NETNS_DIR, shared).map_err(failed())?;
            Ok(true)
        }
        Err(error) => Err(failed()(error)),
    }
}

fn path_of(name: &str) -> Result<PathBuf> {
    let usable = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || name.len() > 100 || !name.bytes().all(usable) {
        return Err(Error::BadName(name.into()));
    }
    Ok(Path::new(NETNS_DIR).join(name))
}

fn remove_name(path: &Path) -> Result<()> {
    match unmount(path, UnmountFlags::DETACH) {
        // EINVAL: a plain file, left by a process killed between making the file and mounting on it.
        Ok(()) | Err(Errno::INVAL) => {}
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => {
            return Err(Error::io(format!("cannot unmount {}", path.display()))(error));
        }
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io(format!("cannot remove {}", path.display()))(error))
        }
        _ => Ok(()),
    }
}

#[expect(deprecated, reason = "rustix deprecates the safe form for CLONE_FILES alone, which is not asked for here")]
fn unshare_net() -> io::Result<()> {
    rustix::thread::unshare(UnshareFlags::NEWNET).map_err(io::Error::from)
}

/// Namespaces belong to threads: whatever changes its own does so in a thread that ends right after.
fn in_thread<T: Send>(task: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| scope.spawn(task).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
