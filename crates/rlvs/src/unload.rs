//! Takes forwarding away from the calling thread's network namespace: programs, maps and pins.

use crate::lab::{Error, Result};

/// Removes what a daemon left forwarding in this network namespace; returns whether there was anything.
///
/// A daemon that is asked to end leaves its programs and tables at work; this is what removes them.
///
/// # Errors
/// Where a daemon still runs, or the kernel refuses.
pub fn unload() -> Result<bool> {
    rlvsd::unload().map_err(|error| Error::io("cannot unload")(std::io::Error::other(format!("{error:#}"))))
}
