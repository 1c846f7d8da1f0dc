//! Programs: finding ours, running one to its end, ending one by its id.

use std::{
    ffi::OsStr,
    fs,
    io::Read,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::Access,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

use super::error::{Error, Result};

/// How often a wait looks again. Short, since most waits are for programs that end in milliseconds.
const POLL: Duration = Duration::from_millis(5);

/// The two programs a lab drives.
///
/// Both must stand in one directory: the distribution's own `ipvsadm` elsewhere in `PATH` drives the kernel's IPVS, and a
/// lab that mixed the two would test the wrong director.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The director's daemon.
    pub rlvsd: PathBuf,
    /// The tool that configures it.
    pub ipvsadm: PathBuf,
}

impl Programs {
    /// Looks beside this executable, then through `PATH`.
    pub fn find() -> Result<Self> {
        let own = std::env::current_exe().ok();
        let beside = own.as_deref().and_then(Path::parent);
        // Cargo puts test executables one level below the programs.
        let above_deps = beside.filter(|dir| dir.ends_with("deps")).and_then(Path::parent);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let dirs: Vec<_> =
            beside.into_iter().chain(above_deps).map(Path::to_path_buf).chain(std::env::split_paths(&path)).collect();
        if let Some(found) = dirs.iter().find_map(|dir| Self::in_dir(dir)) {
            return Ok(found);
        }
        let beside = beside.unwrap_or(Path::new("this program's directory")).display().to_string();
        Err(Error::Missing {
            what: format!("no rlvsd with its ipvsadm in {beside}, nor in PATH"),
            cure: "build them with `cargo build --release`".into(),
        })
    }

    /// Those in `dir`, if both are there.
    pub fn in_dir(dir: &Path) -> Option<Self> {
        let program = |name| Some(dir.join(name)).filter(|path| is_program(path));
        Some(Self { rlvsd: program("rlvsd")?, ipvsadm: program("ipvsadm")? })
    }
}

/// A process that someone started.
///
/// Holds a reference to the process itself, so a signal can never reach another one that got its number later.
#[derive(Debug)]
pub struct Running {
    pid: Pid,
    fd: std::os::fd::OwnedFd,
}

impl Running {
    /// The process of that number, if there is one.
    pub fn open(pid: i32) -> Option<Self> {
        let pid = Pid::from_raw(pid)?;
        Some(Self { pid, fd: pidfd_open(pid, PidfdFlags::empty()).ok()? })
    }

    /// Its number.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// The name the kernel shows for it.
    pub fn name(&self) -> String {
        fs::read_to_string(format!("/proc/{}/comm", self.pid())).unwrap_or_default().trim_end().into()
    }

    /// Whether it holds that file open.
    pub fn has_open(&self, path: &Path) -> bool {
        fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .into_iter()
            .flatten()
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
            .any(|target| target == path)
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        // Fails only if it has ended already, which is what was wanted.
        let _ = pidfd_send_signal(&self.fd, Signal::TERM);
    }

    /// Ends it without asking.
    pub fn kill(&self) {
        let _ = pidfd_send_signal(&self.fd, Signal::KILL);
    }

    /// Whether it has ended within `time_max`.
    pub fn wait_ended(&self, time_max: Duration) -> bool {
        // A zombie of another parent has ended too, though signal 0 still reaches it.
        let ended = || {
            let state = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
            !matches!(state.rsplit(") ").next().and_then(|rest| rest.chars().next()), Some(state) if state != 'Z')
        };
        wait_until(time_max, ended)
    }
}

/// Every process there is.
pub(crate) fn all() -> impl Iterator<Item = Running> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| Running::open(entry.ok()?.file_name().to_str()?.parse().ok()?))
}

/// Runs a command to its end; kills it after `time_max`.
pub fn output(command: &mut Command, time_max: Duration) -> Result<Output> {
    let line = command_line(command);
    let failed = || Error::io::<std::io::Error>(format!("cannot run `{line}`"));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A Ctrl-C at the terminal is for this process, which then ends orderly; the command would report it as a failure.
        .process_group(0)
        .spawn()
        .map_err(failed())?;
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().map_err(failed())? {
            break status;
        }
        if start.elapsed() >= time_max {
            child.kill().and_then(|()| child.wait()).map_err(failed())?;
            return Err(Error::Hung { command: line, seconds: time_max.as_secs() });
        }
        thread::sleep(POLL);
    };
    // The pipes close when the program ends, unless it left a child behind that holds them: then what came so far counts.
    let printed = |pipe: mpsc::Receiver<Vec<u8>>| {
        let mut all = Vec::new();
        while let Ok(some) = pipe.recv_timeout(Duration::from_millis(500)) {
            all.extend(some);
        }
        all
    };
    Ok(Output { status, stdout: printed(stdout), stderr: printed(stderr) })
}

/// Turns a reported failure into an error.
pub(crate) fn succeeded(command: &Command, output: Output) -> Result<Output> {
    if output.status.success() {
        return Ok(output);
    }
    Err(Error::Command {
        command: command_line(command),
        status: output.status,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// A command as it would be typed, the program without its directory.
pub(crate) fn command_line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words: Vec<_> = std::iter::once(program).chain(command.get_args()).map(OsStr::to_string_lossy).collect();
    words.join(" ")
}

/// Looks again and again until `done`, or `time_max` has passed; says which.
pub(crate) fn wait_until(time_max: Duration, mut done: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if done() {
            return true;
        }
        if start.elapsed() >= time_max {
            return false;
        }
        thread::sleep(POLL);
    }
}

fn is_program(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, Access::EXEC_OK).is_ok()
}

/// Reads a pipe in a thread of its own, so that neither of a program's two can fill up and block it.
fn collect(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    if let Some(mut pipe) = pipe {
        thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
    }
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_collects_both_streams() {
        let output =
            output(Command::new("sh").args(["-c", "echo a; echo b >&2; exit 3"]), Duration::from_secs(5)).unwrap();
        assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"a\n"[..], &b"b\n"[..]));
        assert_eq!(output.status.code(), Some(3));
    }

    #[test]
    fn output_takes_more_than_a_pipe_holds() {
        let output =
            output(Command::new("sh").args(["-c", "head -c 300000 /dev/zero"]), Duration::from_secs(5)).unwrap();
        assert_eq!(output.stdout.len(), 300_000);
    }

    #[test]
    fn output_kills_what_hangs() {
        let start = Instant::now();
        let result = output(Command::new("sleep").arg("60"), Duration::from_millis(50));
        assert!(matches!(result, Err(Error::Hung { command, .. }) if command == "sleep 60"));
        assert!(start.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_failure_shows_what_the_program_said() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo no such service >&2; exit 1"]);
        let output = output(&mut command, Duration::from_secs(5)).unwrap();
        let message = succeeded(&command, output).unwrap_err().to_string();
        assert!(message.ends_with("no such service") && message.starts_with("`sh -c"), "{message}");
    }

    #[test]
    fn sees_a_process_end() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let running = Running::open(child.id() as i32).unwrap();
        assert!(!running.wait_ended(Duration::ZERO));
        running.terminate();
        assert!(running.wait_ended(Duration::from_secs(5)));
        child.wait().unwrap();
        assert!(Running::open(child.id() as i32).is_none());
    }
}
