//! Every option of the program, one item each: names, argument, effect, where it is legal, and help.
//!
//! The reader of words ([`crate::words`]), the check of legality ([`crate::legality`]) and the usage text
//! ([`crate::usage`]) all work from these items alone (ipvsadm.md §2).

mod commands;
mod daemons;
mod listing;
mod names;
mod servers;
mod services;

pub use names::{CommandName, OptionName};

use crate::draft::Draft;
use crate::refusal::Refusal;
use crate::resolve::Names;

/// Whether an option takes an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// It takes none.
    None,
    /// It takes the next word, even one that starts with `-`.
    Required,
    /// It takes the next word, unless that starts with `-`.
    Optional,
}

/// Does what an option says to a draft. The value is there if the argument is required.
pub type Effect = fn(&mut Draft, Option<&str>, &dyn Names) -> Result<(), Refusal>;

/// What an option is.
#[derive(Clone, Copy)]
pub enum Kind {
    /// It names the command, and may bring a value.
    Command(CommandName, Effect),
    /// It changes the draft of a command.
    Option {
        /// Its name in messages. Some options share one; a few have none, and may be repeated.
        name: Option<OptionName>,
        /// What it does.
        effect: Effect,
    },
    /// It chooses the backend, wherever it stands; the original has no such option.
    Backend,
}

/// Where an option stands in the usage text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Under "Commands".
    Commands,
    /// Under "virtual-service".
    Services,
    /// Under "Options".
    Options,
    /// Under "Daemon Options".
    Daemons,
}

/// What the usage text says about an option.
#[derive(Clone, Copy, Debug)]
pub struct Help {
    /// Where.
    pub section: Section,
    /// Its short names as shown.
    pub short: &'static str,
    /// Its argument as shown.
    pub argument: &'static str,
    /// What it is for; a newline starts another line.
    pub text: &'static str,
}

/// One option.
pub struct Flag {
    /// Long name, without dashes.
    pub long: &'static str,
    /// Short names.
    pub short: &'static [char],
    /// Its argument.
    pub argument: Argument,
    /// What it is.
    pub kind: Kind,
    /// Commands it is legal with. Options that share a message name share this too.
    pub legal: &'static [CommandName],
    /// Commands that need it.
    pub required: &'static [CommandName],
    /// What the usage text says about it; `None` leaves it out.
    pub help: Option<Help>,
}

impl Flag {
    /// A flag of this name, without short name, argument and help; the other parts are set by update syntax.
    const fn new(long: &'static str, kind: Kind) -> Flag {
        Flag { long, short: &[], argument: Argument::None, kind, legal: &[], required: &[], help: None }
    }

    /// Its name in messages.
    pub fn name(&self) -> Option<OptionName> {
        match self.kind {
            Kind::Option { name, .. } => name,
            Kind::Command(..) | Kind::Backend => None,
        }
    }
}

/// The option that chooses the backend.
static BACKEND: [Flag; 1] = [Flag { argument: Argument::Required, ..Flag::new("backend", Kind::Backend) }];

/// All options, in the order of the usage text within each section.
pub fn all() -> impl Iterator<Item = &'static Flag> {
    commands::FLAGS
        .iter()
        .chain(&services::KEYS)
        .chain(&services::SETTINGS)
        .chain(&servers::FLAGS)
        .chain(&listing::FLAGS)
        .chain(&services::MORE_SETTINGS)
        .chain(&listing::MORE_FLAGS)
        .chain(&services::LAST_SETTINGS)
        .chain(&daemons::FLAGS)
        .chain(&BACKEND)
}

/// The option of this long name; abbreviations are not supported.
pub fn by_long(name: &str) -> Option<&'static Flag> {
    all().find(|flag| flag.long == name)
}

/// The option of this short name.
pub fn by_short(letter: char) -> Option<&'static Flag> {
    all().find(|flag| flag.short.contains(&letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_options_share_a_word() {
        for flag in all() {
            assert_eq!(all().filter(|other| other.long == flag.long).count(), 1, "--{}", flag.long);
            for letter in flag.short {
                assert_eq!(all().filter(|other| other.short.contains(letter)).count(), 1, "-{letter}");
            }
        }
    }

    #[test]
    fn options_that_share_a_name_share_their_rules() {
        for name in OptionName::ALL {
            let flags: Vec<_> = all().filter(|flag| flag.name() == Some(name)).collect();
            assert!(!flags.is_empty(), "no option is called {name}");
            for flag in &flags {
                assert_eq!(flag.legal, flags[0].legal, "{name}");
                assert_eq!(flag.required, flags[0].required, "{name}");
            }
        }
    }
}
