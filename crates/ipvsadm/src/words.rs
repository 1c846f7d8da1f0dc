//! From words to options, by popt's rules (ipvsadm.md §2).

use crate::flags::{self, Argument, Flag, Kind};

/// What is wrong with a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// No such option.
    #[error("unknown option")]
    Unknown,
    /// Its argument is missing.
    #[error("missing argument")]
    MissingArgument,
    /// It has an argument, but takes none.
    #[error("option does not take an argument")]
    UnwantedArgument,
}

/// One option as typed.
#[derive(Clone)]
pub struct Typed {
    /// The option.
    pub flag: &'static Flag,
    /// Its argument.
    pub value: Option<String>,
    /// The last word read for it, which messages show.
    pub word: String,
}

/// A line of words, read.
#[derive(Clone, Default)]
pub struct Line {
    /// The options, from left to right, up to a problem.
    pub options: Vec<Typed>,
    /// The problem that ended the reading: the word and what is wrong with it.
    pub problem: Option<(String, Problem)>,
    /// The words that are no options.
    pub arguments: Vec<String>,
    /// Value of the last `--backend`, which is no option of the original and stands apart.
    pub backend: Option<String>,
    /// Whether there was no word at all (but `--backend`).
    pub is_empty: bool,
}

/// Reads words. Reading stops at the first problem; what is right before it still counts.
pub fn read(words: &[String]) -> Line {
    let mut reader = Reader { words, next: 0, line: Line::default(), words_of_backend: 0 };
    if let Err(problem) = reader.read() {
        reader.line.problem = Some((reader.last_word(), problem));
    }
    reader.line.is_empty = words.len() == reader.words_of_backend;
    reader.line
}

struct Reader<'a> {
    words: &'a [String],
    /// Index of the next word.
    next: usize,
    line: Line,
    /// Words that belong to `--backend`.
    words_of_backend: usize,
}

impl Reader<'_> {
    fn read(&mut self) -> Result<(), Problem> {
        while let Some(word) = self.next_word() {
            if word == "--" {
                while let Some(rest) = self.next_word() {
                    self.line.arguments.push(rest);
                }
            } else if let Some(long) = word.strip_prefix("--") {
                self.long(long)?;
            } else if let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) {
                self.letters(letters)?;
            } else {
                self.line.arguments.push(word);
            }
        }
        Ok(())
    }

    fn next_word(&mut self) -> Option<String> {
        let word = self.words.get(self.next)?.clone();
        self.next += 1;
        Some(word)
    }

    fn last_word(&self) -> String {
        let last = self.next.checked_sub(1).and_then(|index| self.words.get(index));
        last.cloned().unwrap_or_default()
    }

    /// `--name`, `--name=value`.
    fn long(&mut self, text: &str) -> Result<(), Problem> {
        let first = self.next;
        let (name, attached) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let flag = flags::by_long(name).ok_or(Problem::Unknown)?;
        if flag.argument == Argument::None && attached.is_some() {
            return Err(Problem::UnwantedArgument);
        }
        let value = self.value(flag, attached)?;
        self.push(flag, value, first);
        Ok(())
    }

    /// `-abc`, where the first letter that takes an argument swallows the rest; an `=` before it is dropped.
    fn letters(&mut self, letters: &str) -> Result<(), Problem> {
        let mut rest = letters.chars();
        while let Some(letter) = rest.next() {
            let first = self.next;
            let flag = flags::by_short(letter).ok_or(Problem::Unknown)?;
            if flag.argument == Argument::None {
                if rest.as_str().starts_with('=') {
                    return Err(Problem::UnwantedArgument);
                }
                self.push(flag, None, first);
                continue;
            }
            let attached = Some(rest.as_str()).filter(|attached| !attached.is_empty());
            let attached = attached.map(|attached| attached.strip_prefix('=').unwrap_or(attached));
            let value = self.value(flag, attached)?;
            self.push(flag, value, first);
            break;
        }
        Ok(())
    }

    /// The argument of an option: what is attached to it, or the next word.
    fn value(&mut self, flag: &Flag, attached: Option<&str>) -> Result<Option<String>, Problem> {
        let next_may_be_taken = match flag.argument {
            Argument::None => return Ok(None),
            Argument::Required => true,
            Argument::Optional => self.words.get(self.next).is_some_and(|word| !word.starts_with('-')),
        };
        if let Some(attached) = attached {
            return Ok(Some(attached.to_owned()));
        }
        if !next_may_be_taken {
            return Ok(None);
        }
        self.next_word().map(Some).ok_or(Problem::MissingArgument)
    }

    /// Notes an option; `first` is the index after the word it began with.
    fn push(&mut self, flag: &'static Flag, value: Option<String>, first: usize) {
        if matches!(flag.kind, Kind::Backend) {
            self.words_of_backend += 1 + self.next - first;
            self.line.backend = value;
            return;
        }
        let word = self.last_word();
        self.line.options.push(Typed { flag, value, word });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(words: &str) -> Line {
        read(&words.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    fn shown(line: &Line) -> Vec<(&str, Option<&str>, &str)> {
        line.options.iter().map(|typed| (typed.flag.long, typed.value.as_deref(), typed.word.as_str())).collect()
    }

    #[test]
    fn bundles_and_attached_values() {
        let read = line("-At10.0.0.1:80 -s=rr -mw 5 --weight=7 -pn");
        assert_eq!(
            shown(&read),
            [
                ("add-service", None, "-At10.0.0.1:80"),
                ("tcp-service", Some("10.0.0.1:80"), "-At10.0.0.1:80"),
                ("scheduler", Some("rr"), "-s=rr"),
                ("masquerading", None, "-mw"),
                ("weight", Some("5"), "5"),
                ("weight", Some("7"), "--weight=7"),
                ("persistent", Some("n"), "-pn"),
            ]
        );
        assert!(read.problem.is_none());
    }

    #[test]
    fn required_arguments_take_any_word_optional_ones_do_not() {
        let read = line("-w -1 -s -x -p -A");
        assert_eq!(
            shown(&read),
            [
                ("weight", Some("-1"), "-1"),
                ("scheduler", Some("-x"), "-x"),
                ("persistent", None, "-p"),
                ("add-service", None, "-A"),
            ]
        );
    }

    #[test]
    fn problems_end_the_reading() {
        for (words, word, problem) in [
            ("-L -n=1 -q", "-n=1", Problem::UnwantedArgument),
            ("-L --numeric=1", "--numeric=1", Problem::UnwantedArgument),
            ("-Lx", "-Lx", Problem::MissingArgument),
            ("-L --stat", "--stat", Problem::Unknown),
            ("-n-", "-n-", Problem::Unknown),
        ] {
            assert_eq!(line(words).problem, Some((word.to_owned(), problem)), "{words}");
        }
    }

    #[test]
    fn words_that_are_no_options() {
        let read = line("foo -L - -- -n");
        assert_eq!(read.arguments, ["foo", "-", "-n"]);
        assert_eq!(shown(&read), [("list", None, "-L")]);
    }

    #[test]
    fn the_backend_stands_apart() {
        let read = line("--backend kernel -s --backend -L --backend=rlvs");
        assert_eq!(read.backend.as_deref(), Some("rlvs"));
        assert_eq!(shown(&read), [("scheduler", Some("--backend"), "--backend"), ("list", None, "-L")]);
        assert!(line("--backend kernel").is_empty);
        assert!(!line("--backend kernel --").is_empty);
        assert_eq!(line("-L --backend").problem, Some(("--backend".to_owned(), Problem::MissingArgument)));
    }
}
