//! The talk on stderr; stdout is for data.

use std::{
    fmt::Display,
    io::{self, Write},
};

/// Writes a line to stderr. One that nobody can read is no reason to fail, and clean-up must go on in any case.
pub(crate) fn say(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Warns of something that does not change the outcome.
pub(crate) fn warn(line: impl Display) {
    say(format_args!("rlvs: {line}"));
}
