//! Transcripts held against each other: equal line by line, but for a reviewed list of differences.

use std::{collections::BTreeSet, fs, io, path::Path};

use super::{Transcripts, dir};

/// By how much numbers written `~N` may differ, small ones and others: they depend on when exactly one looks.
const TOLERANCES: (i64, i64) = (1, 2);
/// Where the others begin.
const SMALL: i64 = 30;
/// Lines around a difference that are shown.
const CONTEXT: usize = 2;

/// Reads what a real kernel was recorded to do in a scenario; the lines that say how it was recorded are left out.
///
/// # Errors
/// Where there is no recording.
pub fn recorded(name: &str) -> io::Result<Vec<String>> {
    let text = fs::read_to_string(recording(name))?;
    Ok(text.lines().skip_while(|line| line.starts_with("//")).map(str::to_owned).collect())
}

/// Records a transcript.
///
/// # Errors
/// Where it cannot be written.
pub fn record(name: &str, system: &str, transcript: &[String]) -> io::Result<()> {
    let path = recording(name);
    fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    let head = format!("// {system}, recorded by `cargo xtask record-differential {name}`");
    fs::write(path, format!("{head}\n{}\n", transcript.join("\n")))
}

fn recording(name: &str) -> std::path::PathBuf {
    dir().join("recorded").join(format!("{name}.txt"))
}

/// The scenarios that rlvs cannot do yet.
///
/// # Panics
/// Where the list cannot be read.
pub fn pending() -> BTreeSet<String> {
    let text = fs::read_to_string(dir().join("pending.txt")).expect("the list of pending scenarios");
    let rows = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    rows.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// One row of the list of intended differences: where the kernel's line matches, rlvs may have the other. `-` stands for no
/// line, `*` in a pattern for anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intended {
    scenario: String,
    kernel: String,
    rlvs: String,
    reason: String,
}

/// The intended differences.
///
/// # Panics
/// Where a row of the list is incomplete.
pub fn intended() -> Vec<Intended> {
    let text = fs::read_to_string(dir().join("intended.txt")).expect("the list of intended differences");
    let mut rows = Vec::new();
    for row in text.split("\n\n") {
        let field = |name: &str| {
            row.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                .map(|value| value.trim().to_owned())
        };
        if row.lines().all(|line| line.is_empty() || line.starts_with('#')) {
            continue;
        }
        let all = field("scenario").zip(field("kernel")).zip(field("rlvs")).zip(field("reason"));
        let Some((((scenario, kernel), rlvs), reason)) = all else {
            panic!("a difference has the fields scenario, kernel, rlvs and reason: {row}")
        };
        rows.push(Intended { scenario, kernel, rlvs, reason });
    }
    rows
}

impl Intended {
    fn covers(&self, scenario: &str, kernel: Option<&str>, rlvs: Option<&str>) -> bool {
        let side = |pattern: &str, line: Option<&str>| match line {
            Some(line) => pattern != "-" && matches(pattern.as_bytes(), line.trim().as_bytes()),
            None => pattern == "-",
        };
        matches(self.scenario.as_bytes(), scenario.as_bytes()) && side(&self.kernel, kernel) && side(&self.rlvs, rlvs)
    }
}

/// Whether `text` is as `pattern` says, where `*` stands for anything.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=text.len()).any(|skip| matches(rest, &text[skip..])),
        ([one, rest @ ..], [other, text @ ..]) if one == other => matches(rest, text),
        _ => false,
    }
}

/// Whether two lines say the same, word by word, with tolerance for `~N`.
fn same(one: &str, other: &str) -> bool {
    let number = |word: &str| word.strip_prefix('~')?.parse::<i64>().ok();
    let same_word = |(one, other): (&str, &str)| {
        let close =
            |(one, other): (i64, i64)| (one - other).abs() <= if one < SMALL { TOLERANCES.0 } else { TOLERANCES.1 };
        one == other || number(one).zip(number(other)).is_some_and(close)
    };
    let (words, others) = (one.split_whitespace(), other.split_whitespace());
    one == other || words.clone().count() == others.clone().count() && words.zip(others).all(same_word)
}

/// The differences between two transcripts of a scenario as people read them: `-` the kernel's lines, `+` those of rlvs.
/// `None` where there are none but intended ones.
pub fn differences(scenario: &str, kernel: &[String], rlvs: &[String], intended: &[Intended]) -> Option<String> {
    if kernel.len() == rlvs.len() && kernel.iter().zip(rlvs).all(|(one, other)| same(one, other)) {
        return None;
    }
    let rows: Vec<_> = intended.iter().filter(|row| matches(row.scenario.as_bytes(), scenario.as_bytes())).collect();
    let covers = |one: Option<&str>, other: Option<&str>| rows.iter().any(|row| row.covers(scenario, one, other));
    let alike = |one: &str, other: &str| same(one, other) || covers(Some(one), Some(other));
    // cost[i][j]: the fewest lines that remain unexplained of kernel[i..] and rlvs[j..].
    let (height, width) = (kernel.len(), rlvs.len());
    let without_kernel: Vec<u32> = kernel.iter().map(|line| u32::from(!covers(Some(line), None))).collect();
    let without_rlvs: Vec<u32> = rlvs.iter().map(|line| u32::from(!covers(None, Some(line)))).collect();
    let mut cost = vec![vec![0_u32; width + 1]; height + 1];
    for i in (0..=height).rev() {
        for j in (0..=width).rev() {
            let mut best = if i == height && j == width { 0 } else { u32::MAX };
            if i < height {
                best = best.min(cost[i + 1][j] + without_kernel[i]);
            }
            if j < width {
                best = best.min(cost[i][j + 1] + without_rlvs[j]);
            }
            if i < height && j < width && alike(&kernel[i], &rlvs[j]) {
                best = best.min(cost[i + 1][j + 1]);
            }
            cost[i][j] = best;
        }
    }
    if cost[0][0] == 0 {
        return None;
    }
    // The way of that cost, as lines; what is explained shows as equal.
    let mut lines: Vec<(char, &str)> = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < height || j < width {
        if i < height && j < width && cost[i][j] == cost[i + 1][j + 1] && alike(&kernel[i], &rlvs[j]) {
            lines.push((' ', &kernel[i]));
            (i, j) = (i + 1, j + 1);
        } else if i < height && cost[i][j] == cost[i + 1][j] + without_kernel[i] {
            lines.push((if without_kernel[i] == 0 { ' ' } else { '-' }, &kernel[i]));
            i += 1;
        } else {
            lines.push((if without_rlvs[j] == 0 { ' ' } else { '+' }, &rlvs[j]));
            j += 1;
        }
    }
    Some(show(&lines))
}

/// The lines that differ, with some around them.
fn show(lines: &[(char, &str)]) -> String {
    let near = |at: usize| {
        let around = &lines[at.saturating_sub(CONTEXT)..(at + CONTEXT + 1).min(lines.len())];
        around.iter().any(|(mark, _)| *mark != ' ')
    };
    let mut shown = String::new();
    let mut gap = false;
    for (at, (mark, line)) in lines.iter().enumerate() {
        // What was done last belongs to what came of it.
        if near(at) {
            if gap {
                shown += "  ...\n";
                gap = false;
            }
            shown += &format!("{mark} {line}\n");
        } else {
            gap = true;
        }
    }
    shown
}

/// What came of a comparison of many scenarios.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Scenarios with the same transcripts.
    pub equal: Vec<String>,
    /// Scenarios with other transcripts, and how they differ.
    pub different: Vec<(String, String)>,
    /// Scenarios without a recording.
    pub unrecorded: Vec<String>,
}

/// Compares transcripts with the recorded ones.
pub fn with_recorded(transcripts: &Transcripts, intended: &[Intended]) -> Outcome {
    let mut outcome = Outcome::default();
    for (name, transcript) in transcripts {
        let Ok(kernel) = recorded(name) else {
            outcome.unrecorded.push((*name).to_owned());
            continue;
        };
        match differences(name, &kernel, transcript, intended) {
            None => outcome.equal.push((*name).to_owned()),
            Some(text) => outcome.different.push(((*name).to_owned(), text)),
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.split('|').map(str::to_owned).collect()
    }

    fn row(kernel: &str, rlvs: &str) -> Intended {
        Intended { scenario: "a/*".into(), kernel: kernel.into(), rlvs: rlvs.into(), reason: "it is so".into() }
    }

    #[test]
    fn equal_lines_are_equal() {
        assert_eq!(differences("a/b", &lines("x|y ~60"), &lines("x|y ~61"), &[]), None);
        assert_eq!(
            differences("a/b", &lines("x|y ~60"), &lines("x|y ~63"), &[]),
            Some("  x\n- y ~60\n+ y ~63\n".into())
        );
        assert!(differences("a/b", &lines("x|y"), &lines("x"), &[]).is_some());
    }

    #[test]
    fn intended_differences_are_no_differences() {
        let replaced = [row("sum *", "sum 0")];
        assert_eq!(differences("a/b", &lines("x|sum 17|y"), &lines("x|sum 0|y"), &replaced), None);
        assert!(differences("b/b", &lines("x|sum 17|y"), &lines("x|sum 0|y"), &replaced).is_some());
        assert!(differences("a/b", &lines("x|sum 17|y"), &lines("x|sum 1|y"), &replaced).is_some());
        let absent = [row("ICMP *", "-")];
        assert_eq!(differences("a/b", &lines("x|ICMP 3|y"), &lines("x|y"), &absent), None);
        assert!(differences("a/b", &lines("x|y"), &lines("x|ICMP 3|y"), &absent).is_some());
    }

    #[test]
    fn lists_are_readable() {
        assert!(intended().iter().all(|row| row.reason.len() > 10), "each difference has a reason");
        let known: BTreeSet<_> =
            super::super::scenarios::all().iter().map(|scenario| scenario.name.to_owned()).collect();
        let unknown: Vec<_> = pending().difference(&known).cloned().collect();
        assert_eq!(unknown, [""; 0], "pending scenarios that are none");
    }
}
