//! A real kernel, booted as an ordinary process: Debian's `user-mode-linux`, whose root is this machine's file system.
//!
//! What the guest writes lands on this machine, so it writes only into the directory that [`run`] gives it; everything else that
//! wants to be written to is hidden under file systems in memory.

use std::{
    fs::{self, File},
    io,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};

use super::{Scenario, Transcripts};

/// The kernel as a program, and the Debian package that has it.
pub const PROGRAM: (&str, &str) = ("linux.uml", "user-mode-linux");
/// The guest's first process.
const INIT: &str = include_str!("../../differential/guest.sh");
/// What the guest prints before it begins to work.
const BEGUN: &str = "guest: begins";
/// Boot, without the scenarios.
const BOOT_TIME_MAX: Duration = Duration::from_secs(90);
/// For one scenario, on the average.
const SCENARIO_TIME_MAX: Duration = Duration::from_secs(12);

/// Why there are no transcripts.
#[derive(Debug)]
pub enum Error {
    /// The kernel does not run on this machine; what it said.
    NoBoot(String),
    /// It ran, but not to the end; what it said.
    NoEnd(String),
    /// Files or processes here failed.
    Io(io::Error),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoBoot(said) => write!(f, "User Mode Linux does not boot on this machine; it said:\n{said}"),
            Self::NoEnd(said) => write!(f, "the guest did not get to the end; it said:\n{said}"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Runs scenarios in a guest, by the program `runner` (see `rlvs-differential run`), with `dir` for its files.
///
/// Returns the transcripts, and what to call the system.
///
/// # Errors
/// [`Error`]
pub fn run(runner: &Path, dir: &Path, wanted: &[Scenario]) -> Result<(Transcripts, String), Error> {
    fs::create_dir_all(dir.join("out"))?;
    let init = dir.join("init");
    fs::write(&init, INIT)?;
    fs::set_permissions(&init, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let names: String = wanted.iter().map(|scenario| format!("{}\n", scenario.name)).collect();
    fs::write(dir.join("names"), names)?;
    let log = dir.join("log");
    let output = File::create(&log)?;
    let mut command = Command::new(PROGRAM.0);
    command
        .args(["rootfstype=hostfs", "rootflags=/", "rw", "mem=768M", "con0=fd:0,fd:1", "con=null", "quiet"])
        .arg(format!("init={}", init.display()))
        .arg(format!("uml_dir={}", dir.display()))
        // What the kernel does not know goes into its first process's environment.
        .arg(format!("GUEST_DIR={}", dir.display()))
        .arg(format!("GUEST_RUNNER={}", runner.display()))
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .process_group(0);
    let mut child = command.spawn()?;
    let time_max = BOOT_TIME_MAX + SCENARIO_TIME_MAX * wanted.len() as u32;
    let begin = Instant::now();
    let ended = loop {
        if child.try_wait()?.is_some() {
            break true;
        }
        let said = || fs::read_to_string(&log).unwrap_or_default().contains(BEGUN);
        if begin.elapsed() > time_max || begin.elapsed() > BOOT_TIME_MAX && !said() {
            break false;
        }
        thread::sleep(Duration::from_millis(100));
    };
    // The kernel's own helpers and its guest's processes are processes here, in this group.
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    child.wait()?;
    let said = String::from_utf8_lossy(&fs::read(&log)?).replace('\r', "");
    if !said.contains(BEGUN) {
        return Err(Error::NoBoot(said));
    }
    let mut transcripts = Transcripts::new();
    for scenario in wanted {
        match fs::read_to_string(dir.join("out").join(scenario.name).with_extension("txt")) {
            Ok(text) => transcripts.insert(scenario.name, text.lines().map(str::to_owned).collect()),
            Err(_) => return Err(Error::NoEnd(format!("{said}\n({} is missing; ended: {ended})", scenario.name))),
        };
    }
    let kernel = said.lines().find_map(|line| line.strip_prefix("guest: kernel ")).unwrap_or("unknown");
    Ok((transcripts, format!("Linux {}", kernel.trim())))
}
