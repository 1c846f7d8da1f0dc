//! Command lines from standard input (ipvsadm.md §7.2).

use std::io;

use crate::session::{DONE, Outcome, Session};
use crate::words;

/// Carries out each line of standard input. The run ends at a line the program refuses; what the kernel
/// refuses is said, and the run goes on. The exit status is that of the last line.
///
/// # Errors
/// Those of the streams.
pub fn run(session: &mut Session<'_>) -> io::Result<Outcome> {
    let mut exit = DONE;
    let mut bytes = Vec::new();
    while session.streams.input.read_until(b'\n', &mut bytes)? > 0 {
        let words = split(&String::from_utf8_lossy(&bytes));
        bytes.clear();
        if words.is_empty() {
            continue;
        }
        match session.run(&words::read(&words), true)? {
            Outcome::Ran(line_exit) => exit = line_exit,
            Outcome::Ended(line_exit) => return Ok(Outcome::Ended(line_exit)),
        }
        // Listings and messages of one line come before those of the next.
        session.streams.output.flush()?;
    }
    Ok(Outcome::Ran(exit))
}

/// The words of a line. There is no quoting; leading words `ipvsadm` are dropped.
fn split(line: &str) -> Vec<String> {
    let words = line.split([' ', '\t', '\r', '\n']).filter(|word| !word.is_empty());
    words.skip_while(|word| *word == "ipvsadm").map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_lines() {
        assert_eq!(split("ipvsadm ipvsadm -A\t-t  'x y' ipvsadm\r\n"), ["-A", "-t", "'x", "y'", "ipvsadm"]);
        assert_eq!(split(" \t\r\n"), Vec::<String>::new());
        assert_eq!(split("ipvsadm\n"), Vec::<String>::new());
    }
}
