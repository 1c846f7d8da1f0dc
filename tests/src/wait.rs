//! Waiting for what takes a moment: looking again until it is there, never for longer than allowed; and telling.

use std::{
    io::{self, Write},
    thread,
    time::{Duration, Instant},
};

/// How often a wait looks again.
const POLL: Duration = Duration::from_millis(20);

/// Looks again and again until `look` finds what it looks for, and returns that.
///
/// # Panics
/// After `time_max`, with what was looked for and what the last look saw instead.
pub fn eventually<T>(what: &str, time_max: Duration, mut look: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) if start.elapsed() >= time_max => {
                panic!("not within {:.1} s: {what}; instead: {seen}", time_max.as_secs_f64())
            }
            Err(_) => thread::sleep(POLL),
        }
    }
}

/// Tells something on stderr that is worth seeing although the test passes. (The harness hides what `eprintln!` prints.)
pub fn note(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
