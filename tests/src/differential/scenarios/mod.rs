//! The scenarios, by what they are about.

mod basics;
mod changes;
mod creation;
mod forwarding;
mod icmp;
mod persistence;
mod schedulers;
mod states;
mod sync;
mod thresholds;

use super::Script;

/// One scenario.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Its subject and what of it: also the name of its recording.
    pub name: &'static str,
    /// About how long it does nothing but wait.
    pub waits_s: u64,
    /// What it does.
    pub run: fn(&mut Script),
}

impl Scenario {
    const fn new(name: &'static str, run: fn(&mut Script)) -> Self {
        Self { name, waits_s: 0, run }
    }

    const fn waits(self, waits_s: u64) -> Self {
        Self { waits_s, ..self }
    }
}

/// All of them.
pub fn all() -> Vec<Scenario> {
    [
        basics::ALL,
        schedulers::ALL,
        states::ALL,
        sync::ALL,
        creation::ALL,
        persistence::ALL,
        thresholds::ALL,
        changes::ALL,
        icmp::ALL,
        forwarding::ALL,
    ]
    .concat()
}

/// Those whose names contain one of the words; without words, all.
pub fn named(words: &[String]) -> Vec<Scenario> {
    let wanted =
        |scenario: &Scenario| words.is_empty() || words.iter().any(|word| scenario.name.contains(word.as_str()));
    all().into_iter().filter(wanted).collect()
}

/// The virtual address of most scenarios.
const VIP: &str = "10.0.0.100";
/// The client of most scenarios.
const CLIENT: &str = "10.0.0.9";
/// The same of IPv6.
const VIP6: &str = "fd00::100";
/// The same of IPv6.
const CLIENT6: &str = "fd00::9";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = all().iter().map(|scenario| scenario.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
