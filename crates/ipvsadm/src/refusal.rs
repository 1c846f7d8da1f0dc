//! Why the program refuses a command line, and what it says then.

use crate::flags::{CommandName, OptionName};
use crate::words::Problem;

/// Exit status of what the program refuses.
pub const REFUSED: i32 = 2;
/// Exit status of what popt or the kernel refuses, and of the hint.
pub const FAILED: i32 = 255;

/// A command line that is not carried out (ipvsadm.md §3, §4).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No command stands first. The message, which names the program, is [`Refusal::message`].
    #[error("no command stands first")]
    Hint,
    /// The words do not parse.
    #[error("{word}: {problem}")]
    Word {
        /// The word as typed.
        word: String,
        /// What is wrong with it.
        problem: Problem,
    },
    /// An option is given twice.
    #[error("multiple '{0}' options specified")]
    Multiple(OptionName),
    /// A command stands where none may; the word as typed.
    #[error("invalid option `{0}'")]
    SecondCommand(String),
    /// `-6` stands where no mark is known. The message ends in an empty line.
    #[error("-6 used before -f\n")]
    Ipv6BeforeMark,
    /// `--set` lacks values.
    #[error("--set option requires 3 timeout values")]
    SetValues,
    /// A timeout is out of range.
    #[error("invalid timeout value `{0}' specified")]
    Timeout(String),
    /// A word is left over.
    #[error("unexpected argument {0}")]
    Unexpected(String),
    /// A scheduler flag is unknown.
    #[error("invalid scheduler flag `{0}'")]
    SchedulerFlag(String),
    /// A scheduler flag belongs to another scheduler.
    #[error("incompatible scheduler flag `{0}'")]
    IncompatibleFlag(String),
    /// An option is missing.
    #[error("You need to supply the '{option}' option for the '{command}' command")]
    Missing {
        /// The option.
        option: OptionName,
        /// The command that needs it.
        command: CommandName,
    },
    /// An option does not belong to the command.
    #[error("Illegal '{option}' option with the '{command}' command")]
    Illegal {
        /// The option.
        option: OptionName,
        /// The command.
        command: CommandName,
    },
    /// Two things to list exclude one another.
    #[error("The option '{later}' conflicts with the '{earlier}' option in the 'list' command")]
    Conflict {
        /// The option that comes later in the order of checks.
        later: OptionName,
        /// The one that comes earlier.
        earlier: OptionName,
    },
    /// Two ways to list exclude one another.
    #[error("options conflicts in the list command")]
    ListConflict,
    /// Port 0 needs persistence.
    #[error("Zero port specified for non-persistent service")]
    ZeroPort,
    /// One-packet scheduling needs UDP.
    #[error("One-Packet Scheduling is only for UDP virtual services")]
    OnePacket,
    /// The families of service and server differ.
    #[error("Different address family is allowed only for tunneling servers")]
    MixedFamilies,
    /// Tunnel options need a tunnel.
    #[error("Tunnel options conflict with forward method")]
    TunnelOptions,
    /// A tunnel type needs an option.
    #[error("You need to supply the '{option}' option for the '{tunnel}' tunnel type")]
    TunnelMissing {
        /// The option.
        option: OptionName,
        /// The tunnel type.
        tunnel: &'static str,
    },
    /// A tunnel type does not take an option.
    #[error("Illegal '{option}' option with the '{tunnel}' tunnel type")]
    TunnelIllegal {
        /// The option.
        option: OptionName,
        /// The tunnel type.
        tunnel: &'static str,
    },
    /// Two checksum options exclude one another.
    #[error("The option '{later}' conflicts with the '{earlier}' option in the '{tunnel}' tunnel type")]
    TunnelConflict {
        /// The option that comes later in the order of checks.
        later: OptionName,
        /// The one that comes earlier.
        earlier: OptionName,
        /// The tunnel type.
        tunnel: &'static str,
    },
    /// The address of a service.
    #[error("illegal virtual server address[:port] specified")]
    ServiceAddress,
    /// The address of a real server.
    #[error("illegal real server address[:port] specified")]
    ServerAddress,
    /// A firewall mark.
    #[error("invalid fwmark value `{0}' specified")]
    Mark(String),
    /// An IPv4 netmask.
    #[error("illegal virtual server persistent mask specified")]
    Netmask,
    /// An IPv6 netmask.
    #[error("illegal ipv6 netmask specified")]
    NetmaskIpv6,
    /// A weight.
    #[error("illegal weight specified")]
    Weight,
    /// An upper threshold.
    #[error("illegal u_threshold specified")]
    UpperThreshold,
    /// A lower threshold.
    #[error("illegal l_threshold specified")]
    LowerThreshold,
    /// The role of a daemon to start.
    #[error("illegal start-daemon parameter specified")]
    StartDaemon,
    /// The role of a daemon to stop; the message names the other command.
    #[error("illegal start_daemon specified")]
    StopDaemon,
    /// A sync id.
    #[error("illegal syncid specified")]
    SyncId,
    /// A length of sync messages.
    #[error("illegal sync-maxlen specified")]
    SyncMaxlen,
    /// An IPv4 group.
    #[error("invalid IPv4 mcast-group `{0}'")]
    GroupIpv4(String),
    /// An IPv6 group.
    #[error("invalid IPv6 mcast-group `{0}'")]
    GroupIpv6(String),
    /// A multicast port.
    #[error("illegal mcast-port specified")]
    McastPort,
    /// A multicast time to live.
    #[error("illegal mcast-ttl specified")]
    McastTtl,
    /// A tunnel type.
    #[error("illegal tunnel type specified")]
    TunnelType,
    /// A tunnel port.
    #[error("illegal tunnel port specified")]
    TunnelPort,
}

impl Refusal {
    /// The message on standard error of a program called by this name.
    pub fn message(&self, program: &str) -> String {
        match self {
            Refusal::Hint => format!("Try `{program} -h' or '{program} --help' for more information."),
            other => other.to_string(),
        }
    }

    /// The program's exit status.
    pub fn exit(&self) -> i32 {
        match self {
            Refusal::Hint | Refusal::Word { .. } => FAILED,
            _ => REFUSED,
        }
    }
}
