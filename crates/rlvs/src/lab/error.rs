//! What can go wrong in a lab, as one matchable enum.

use std::{io, path::PathBuf, process::ExitStatus};

/// A lab's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a lab, or a part of one, could not do what it was asked.
///
/// Each message is one line fit to be shown to a person, except where it ends with what another program printed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The machine lacks something a lab needs; nothing has been made yet.
    #[error("{what}: {cure}")]
    Missing {
        /// What is missing.
        what: String,
        /// What the reader can do about it.
        cure: String,
    },

    /// A lab of that name is up, in another process.
    #[error("a {lab} lab is already up{}: press Ctrl-C there, or run `rlvs lab down`", .pid.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    Busy {
        /// The lab's name.
        lab: String,
        /// The process it runs in, if it has said so already.
        pid: Option<i32>,
    },

    /// A name that no lab or host can bear.
    #[error("{0:?} is no usable name: only a-z, 0-9 and, in a host's name, dashes")]
    BadName(String),

    /// The topology has no such host.
    #[error("no host {0:?} in this lab")]
    UnknownHost(String),

    /// The person, or the system, asked the lab to end.
    #[error("stopped by signal {0}")]
    Stopped(i32),

    /// A call to the system failed.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// What the system said.
        source: io::Error,
    },

    /// The kernel refused a change to links, addresses or routes.
    #[error("{doing}: {reason}")]
    Netlink {
        /// What was being done.
        doing: String,
        /// What the kernel said, with the cure where it is known.
        reason: String,
    },

    /// A program ran and reported failure.
    #[error("`{command}` failed ({status}){}", own_line(.stderr))]
    Command {
        /// The command line.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// What it printed on stderr.
        stderr: String,
    },

    /// A program did not end in time and was killed.
    #[error("`{command}` did not end within {seconds} s and was killed")]
    Hung {
        /// The command line.
        command: String,
        /// How long it was given.
        seconds: u64,
    },

    /// The director's daemon did not come up.
    #[error("{program} {why}{}", own_line(.log_tail))]
    Daemon {
        /// The daemon's program.
        program: PathBuf,
        /// What it did instead.
        why: String,
        /// The last lines of its log.
        log_tail: String,
    },
}

impl Error {
    /// For `map_err`: names what was being done when the system call failed.
    pub(crate) fn io<E: Into<io::Error>>(doing: impl Into<String>) -> impl FnOnce(E) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source: source.into() }
    }
}

/// Puts what a program printed below the message, or nothing where it printed nothing.
fn own_line(printed: &str) -> String {
    let printed = printed.trim_end();
    if printed.is_empty() { String::new() } else { format!(":\n{printed}") }
}
