//! The director's daemon, `rlvsd`, as a child of this process in a director's namespace.

use std::{
    fmt,
    fs::{self, File},
    io::ErrorKind,
    os::unix::{net::UnixDatagram, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use super::{
    error::{Error, Result},
    netns::Netns,
    process::{Running, wait_until},
    stop::Stop,
};

/// How long the daemon is given to end when asked to.
const END_TIME_MAX: Duration = Duration::from_secs(5);
/// How many lines of its log an error shows.
const LOG_TAIL: usize = 12;

/// Where the director's programs are attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Hook {
    /// Whatever suits each interface.
    #[default]
    Auto,
    /// Traffic control: behind the kernel's packet buffers; works with every offload.
    Tc,
    /// The driver's receive path.
    Xdp,
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Tc => "tc",
            Self::Xdp => "xdp",
        })
    }
}

/// How to start a daemon.
#[derive(Clone, Debug)]
pub struct DaemonOptions {
    /// The program.
    pub program: PathBuf,
    /// Where its stdout and stderr go. Appended to, so that a restarted daemon's lines follow the first one's.
    pub log: PathBuf,
    /// Its `--hook`.
    pub hook: Hook,
    /// Its `--max-connections`: how many rows its connection table has.
    pub max_connections: u32,
    /// What else to put on its command line.
    pub more_args: Vec<String>,
    /// How long it may take to be ready.
    pub ready_time_max: Duration,
}

impl DaemonOptions {
    /// A daemon with a lab's settings.
    pub fn new(program: impl Into<PathBuf>, log: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            log: log.into(),
            hook: Hook::Auto,
            max_connections: 16_384,
            more_args: Vec::new(),
            ready_time_max: Duration::from_secs(15),
        }
    }
}

/// A daemon that has said it is ready.
///
/// Ending it, in any way, leaves forwarding at work in the kernel; [`Network`](super::Network) takes that away when dropped,
/// as [`unload`](crate::unload::unload) does.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts it in `netns` and waits until it is ready: it then answers `ipvsadm`.
    ///
    /// [`Error::Daemon`] with the end of its log if it ends or takes too long; it is gone then.
    pub fn start(netns: &Netns, options: &DaemonOptions, stop: &Stop) -> Result<Self> {
        let ready = ReadySocket::bind(options.log.with_extension("notify"))?;
        let log = File::options()
            .create(true)
            .append(true)
            .open(&options.log)
            .map_err(Error::io(format!("cannot write {}", options.log.display())))?;
        let again = log.try_clone().map_err(Error::io("cannot share the daemon's log"))?;
        let mut command = Command::new(&options.program);
        command
            .args(["--hook", &options.hook.to_string(), "--max-connections", &options.max_connections.to_string()])
            .args(&options.more_args)
            .env("NOTIFY_SOCKET", &ready.path)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(again)
            // A Ctrl-C at the terminal is for the lab, which then ends the daemon in its turn.
            .process_group(0);
        // From here on dropping `daemon` ends the process.
        let mut daemon = Self { child: netns.spawn(&mut command)?, log: options.log.clone() };
        daemon.wait_ready(&ready, options, stop)?;
        Ok(daemon)
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Where its log is.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last lines of its log.
    pub fn log_tail(&self, lines: usize) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let all: Vec<_> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Asks it to end with SIGTERM and waits; kills it if that takes too long. Says how it ended.
    pub fn stop(mut self) -> Result<ExitStatus> {
        self.end().map_err(Error::io("cannot end rlvsd"))
    }

    /// Kills it with SIGKILL, as a crash would, and waits.
    pub fn kill(mut self) -> Result<ExitStatus> {
        self.child.kill().and_then(|()| self.child.wait()).map_err(Error::io("cannot kill rlvsd"))
    }

    fn wait_ready(&mut self, ready: &ReadySocket, options: &DaemonOptions, stop: &Stop) -> Result<()> {
        let start = Instant::now();
        let why = loop {
            stop.check()?;
            if ready.said_ready() {
                return Ok(());
            }
            if let Some(status) = self.ended() {
                break format!("ended before it was ready ({status})");
            }
            if start.elapsed() >= options.ready_time_max {
                break format!("was not ready after {:.1} s", options.ready_time_max.as_secs_f64());
            }
        };
        Err(Error::Daemon { program: options.program.clone(), why, log_tail: self.log_tail(LOG_TAIL) })
    }

    fn end(&mut self) -> std::io::Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        if let Some(running) = i32::try_from(self.child.id()).ok().and_then(Running::open) {
            running.terminate();
        }
        if !wait_until(END_TIME_MAX, || !matches!(self.child.try_wait(), Ok(None))) {
            self.child.kill()?;
        }
        self.child.wait()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            crate::talk::warn(format_args!("cannot end rlvsd: {error}"));
        }
    }
}

/// Where the daemon reports that it is ready, by the protocol of sd_notify(3).
struct ReadySocket {
    socket: UnixDatagram,
    path: PathBuf,
}

impl ReadySocket {
    /// A socket in the file system, since one in the abstract namespace could not be reached from another network namespace.
    fn bind(path: PathBuf) -> Result<Self> {
        let doing = format!("cannot listen on {}", path.display());
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Error::io(doing)(error));
            }
            _ => {}
        }
        let socket = UnixDatagram::bind(&path).map_err(Error::io(doing.clone()))?;
        let ready = Self { socket, path };
        ready.socket.set_read_timeout(Some(Duration::from_millis(20))).map_err(Error::io(doing))?;
        Ok(ready)
    }

    /// Waits a moment for the daemon to say so.
    fn said_ready(&self) -> bool {
        let mut message = [0; 4096];
        let length = self.socket.recv(&mut message).unwrap_or(0);
        message[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1")
    }
}

impl Drop for ReadySocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
