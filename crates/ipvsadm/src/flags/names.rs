//! Names of commands and options, as messages show them.

use std::fmt;

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CommandName {
    /// `-A`.
    AddService,
    /// `-E`.
    EditService,
    /// `-D`.
    DeleteService,
    /// `-a`.
    AddServer,
    /// `-e`.
    EditServer,
    /// `-d`.
    DeleteServer,
    /// `-C`.
    Flush,
    /// `-L`.
    List,
    /// `-S`.
    Save,
    /// `-R`.
    Restore,
    /// `-Z`.
    Zero,
    /// `--set`.
    Set,
    /// `--start-daemon`.
    StartDaemon,
    /// `--stop-daemon`.
    StopDaemon,
    /// `-h`.
    Help,
    /// `-v`.
    Version,
}

impl CommandName {
    /// The name in messages. That of `--clear` is `flush`.
    pub const fn text(self) -> &'static str {
        match self {
            CommandName::AddService => "add-service",
            CommandName::EditService => "edit-service",
            CommandName::DeleteService => "delete-service",
            CommandName::AddServer => "add-server",
            CommandName::EditServer => "edit-server",
            CommandName::DeleteServer => "delete-server",
            CommandName::Flush => "flush",
            CommandName::List => "list",
            CommandName::Save => "save",
            CommandName::Restore => "restore",
            CommandName::Zero => "zero",
            CommandName::Set => "set",
            CommandName::StartDaemon => "start-daemon",
            CommandName::StopDaemon => "stop-daemon",
            CommandName::Help => "help",
            CommandName::Version => "version",
        }
    }
}

impl fmt::Display for CommandName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// Defines the names of options, in the order in which legality is checked (ipvsadm.md §3 step 8).
macro_rules! option_names {
    ($($variant:ident $text:literal),* $(,)?) => {
        /// The name of an option in messages, ordered as legality is checked.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum OptionName {
            $(#[doc = concat!("`", $text, "`.")] $variant),*
        }

        impl OptionName {
            /// All names in order.
            pub const ALL: [OptionName; [$($text),*].len()] = [$(OptionName::$variant),*];

            /// The name in messages.
            pub const fn text(self) -> &'static str {
                match self {
                    $(OptionName::$variant => $text),*
                }
            }
        }
    };
}

option_names! {
    Numeric "numeric",
    Connection "connection",
    ServiceAddress "service-address",
    Scheduler "scheduler",
    Persistent "persistent",
    Netmask "netmask",
    RealServer "real-server",
    ForwardingMethod "forwarding-method",
    Weight "weight",
    UpperThreshold "u-threshold",
    LowerThreshold "l-threshold",
    McastInterface "mcast-interface",
    Timeout "timeout",
    Daemon "daemon",
    Stats "stats",
    Rate "rate",
    Thresholds "thresholds",
    PersistentConn "persistent-conn",
    NoSort "nosort",
    SyncId "syncid",
    Exact "exact",
    Ops "ops",
    Pe "pe",
    SchedFlags "sched-flags",
    McastGroup "mcast-group",
    McastPort "mcast-port",
    McastTtl "mcast-ttl",
    SyncMaxlen "sync-maxlen",
    TunInfo "tun-info",
    TunType "tun-type",
    TunPort "tun-port",
    TunNoCsum "tun-nocsum",
    TunCsum "tun-csum",
    TunRemCsum "tun-remcsum",
}

impl fmt::Display for OptionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}
