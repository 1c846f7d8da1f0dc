//! Recorded cases, and how differences to them are shown.

use std::fmt::Write as _;
use std::io::Write as _;

use serde::de::DeserializeOwned;

/// Reads a corpus of one JSON object per line.
pub fn cases<T: DeserializeOwned>(text: &str) -> Vec<T> {
    text.lines().map(|line| serde_json::from_str(line).expect("a case")).collect()
}

/// What differs in one case, field by field.
#[derive(Default)]
pub struct Differences {
    text: String,
}

impl Differences {
    /// Compares a field, line by line.
    pub fn compare(&mut self, field: &str, expected: &str, found: &str) {
        if expected == found {
            return;
        }
        let _ = writeln!(self.text, "  {field}:");
        let (mut expected, mut found) = (expected.split_inclusive('\n'), found.split_inclusive('\n'));
        loop {
            match (expected.next(), found.next()) {
                (None, None) => break,
                (expected, found) if expected == found => {
                    let _ = writeln!(self.text, "     {:?}", found.unwrap_or_default());
                }
                (expected, found) => {
                    for (mark, line) in [('-', expected), ('+', found)] {
                        if let Some(line) = line {
                            let _ = writeln!(self.text, "   {mark} {line:?}");
                        }
                    }
                }
            }
        }
    }
}

/// Prints how many cases passed, and fails with the first differences (`-` recorded, `+` found).
pub fn conclude<'a>(corpus: &str, results: impl IntoIterator<Item = (&'a str, String, Differences)>) {
    const SHOWN: usize = 10;
    let (mut count, mut failed) = (0, Vec::new());
    for (id, command, differences) in results {
        count += 1;
        if !differences.text.is_empty() {
            failed.push(format!("{id}: {command}\n{}", differences.text));
        }
    }
    // Written to the stream itself, which tests do not capture: the count shows even if all is well.
    let _ = writeln!(std::io::stderr(), "{corpus}: {} of {count} cases passed", count - failed.len());
    let shown = failed.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join("\n");
    assert!(failed.is_empty(), "{corpus}: {} of {count} cases differ; the first are\n{shown}", failed.len());
    assert!(count > 0, "{corpus} is empty");
}
