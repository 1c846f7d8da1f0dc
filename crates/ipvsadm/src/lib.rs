//! A drop-in for ipvsadm 1.31: the same options, output, messages and exit statuses.
//!
//! ```text
//! argv -> words (popt's rules) -> flags -> Draft (what was typed) -> Command (what it means)
//!      -> Session -> IPVS messages -> rlvsd or the kernel
//! -L:     services and servers -> sort -> render
//! ```
//! The program is the function [`run`], so that tests run it in-process against a table in memory. The one thing
//! it has beyond the original is `--backend auto|rlvs|kernel`, which may stand anywhere.
//!
//! Section numbers in comments refer to this project's description of the original (ipvsadm.md).

#![forbid(unsafe_code)]

pub mod address;
pub mod command;
pub mod draft;
pub mod flags;
pub mod kernel;
pub mod legality;
pub mod refusal;
pub mod render;
pub mod resolve;
pub mod restore;
pub mod scheduler_flags;
pub mod session;
pub mod system;
pub mod usage;
mod values;
pub mod words;

use std::io::{self, Write};

use rlvs_ipvs::client::{self, Backend, Client};
use rlvs_ipvs::model::{Info, Version};

pub use session::Streams;
pub use system::{System, ThisSystem};

/// Oldest version of the control interface that is spoken to without a warning.
const VERSION_MIN: Version = Version::new(1, 1, 4);
/// Exit status if the control interface cannot be opened.
const NO_INTERFACE: i32 = 2;
/// Exit status if standard output is gone: what a shell shows for a program that SIGPIPE ends.
const PIPE_BROKEN: i32 = 128 + 13;

/// What the program is called if nobody says.
const PROGRAM: &str = "ipvsadm";

/// Runs the program with these words, the first of which is its name as typed, and returns its exit status.
pub fn run<'a>(argv: &'a [String], streams: Streams<'a>, system: &'a mut dyn System) -> i32 {
    try_run(argv, streams, system).unwrap_or_else(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => PIPE_BROKEN,
        _ => session::LISTING_FAILED,
    })
}

/// The control interface opens before the words are judged, as in the original (ipvsadm.md §1).
fn try_run<'a>(argv: &'a [String], streams: Streams<'a>, system: &'a mut dyn System) -> io::Result<i32> {
    let (program, words) = argv.split_first().map_or((PROGRAM, argv), |(program, words)| (program.as_str(), words));
    let line = words::read(words);
    let backend = match line.backend.as_deref().map(str::parse::<Backend>).transpose() {
        Ok(backend) => backend,
        Err(unknown) => {
            writeln!(streams.errors, "{unknown}")?;
            return Ok(refusal::REFUSED);
        }
    };
    let (client, info) = match open(backend, system) {
        Ok(opened) => opened,
        Err(error) => {
            writeln!(streams.errors, "Can't initialize ipvs: {}", kernel::text(None, error.errno()))?;
            writeln!(streams.errors, "Are you sure that IP Virtual Server is built in the kernel or as module?")?;
            return Ok(NO_INTERFACE);
        }
    };
    if info.version < VERSION_MIN {
        warn_of_version(streams.errors, info.version)?;
    }
    let mut session = session::Session { program, client, info, streams, system };
    let outcome = session.run(&line, false)?;
    session.streams.output.flush()?;
    Ok(outcome.exit())
}

fn open(backend: Option<Backend>, system: &mut dyn System) -> Result<(Client, Info), client::Error> {
    let mut client = system.connect(backend)?;
    let info = client.info()?;
    Ok((client, info))
}

fn warn_of_version(errors: &mut dyn Write, version: Version) -> io::Result<()> {
    writeln!(errors, "Warning: IPVS version mismatch: ")?;
    writeln!(errors, "  Kernel compiled with IPVS version {version}")?;
    writeln!(errors, "  ipvsadm v1.31  requires minimum IPVS version {VERSION_MIN}\n")
}
