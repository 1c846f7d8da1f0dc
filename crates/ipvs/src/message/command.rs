//! The commands of IPVS (netlink.md §2).

use super::DecodeError;

/// A command number. SET_INFO occurs only as the command of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Command {
    /// Add a service; also the command of replies that carry one.
    NewService = 1,
    /// Replace a service.
    SetService = 2,
    /// Remove a service.
    DelService = 3,
    /// One service, or a dump of all.
    GetService = 4,
    /// Add a destination; also the command of replies that carry one.
    NewDest = 5,
    /// Replace a destination.
    SetDest = 6,
    /// Remove a destination.
    DelDest = 7,
    /// Dump of the destinations of a service.
    GetDest = 8,
    /// Start a sync daemon; also the command of replies that carry one.
    NewDaemon = 9,
    /// Stop a sync daemon.
    DelDaemon = 10,
    /// Dump of the sync daemons.
    GetDaemon = 11,
    /// Change timeouts; also the command of replies that carry them.
    SetConfig = 12,
    /// The timeouts.
    GetConfig = 13,
    /// Reply with version and size; no request.
    SetInfo = 14,
    /// Version and size.
    GetInfo = 15,
    /// Zero statistics.
    Zero = 16,
    /// Remove all services.
    Flush = 17,
}

impl Command {
    /// All commands in the order of their numbers.
    pub const ALL: [Command; 17] = [
        Command::NewService,
        Command::SetService,
        Command::DelService,
        Command::GetService,
        Command::NewDest,
        Command::SetDest,
        Command::DelDest,
        Command::GetDest,
        Command::NewDaemon,
        Command::DelDaemon,
        Command::GetDaemon,
        Command::SetConfig,
        Command::GetConfig,
        Command::SetInfo,
        Command::GetInfo,
        Command::Zero,
        Command::Flush,
    ];

    /// The command of a number.
    ///
    /// # Errors
    /// [`DecodeError::UnknownCommand`] for 0 and numbers above 17.
    pub fn from_number(number: u8) -> Result<Command, DecodeError> {
        let found = Command::ALL.into_iter().find(|command| command.number() == number);
        found.ok_or(DecodeError::UnknownCommand { number })
    }

    /// The number, 1..=17.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Whether the command can be asked for as a "do".
    pub const fn can_do(self) -> bool {
        !matches!(self, Command::GetDest | Command::GetDaemon | Command::SetInfo)
    }

    /// Whether the command can be asked for as a dump.
    pub const fn can_dump(self) -> bool {
        matches!(self, Command::GetService | Command::GetDest | Command::GetDaemon)
    }
}
