//! Options of listings. They do nothing but stand there: the command asks whether they were given.

use super::{CommandName, Effect, Flag, Help, Kind, OptionName, Section};

/// Listings alone.
const LIST: &[CommandName] = &[CommandName::List];

/// Nothing beyond being given.
const NOTED: Effect = |_, _, _| Ok(());

const fn listing(long: &'static str, name: OptionName, short: &'static str, text: &'static str) -> Flag {
    Flag {
        legal: LIST,
        help: Some(Help { section: Section::Options, short, argument: "", text }),
        ..Flag::new(long, Kind::Option { name: Some(name), effect: NOTED })
    }
}

pub(super) static FLAGS: [Flag; 11] = [
    Flag { short: &['c'], ..listing("connection", OptionName::Connection, "-c", "output of current IPVS connections") },
    listing("timeout", OptionName::Timeout, "", "output of timeout (tcp tcpfin udp)"),
    listing("daemon", OptionName::Daemon, "", "output of daemon information"),
    listing("stats", OptionName::Stats, "", "output of statistics information"),
    listing("rate", OptionName::Rate, "", "output of rate information"),
    Flag {
        // The usage text keeps this letter to itself.
        short: &['X'],
        ..listing("exact", OptionName::Exact, "", "expand numbers (display exact values)")
    },
    listing("thresholds", OptionName::Thresholds, "", "output of thresholds information"),
    listing("persistent-conn", OptionName::PersistentConn, "", "output of persistent connection info"),
    listing("tun-info", OptionName::TunInfo, "", "output of tunnel information"),
    listing("nosort", OptionName::NoSort, "", "disable sorting output of service/server entries"),
    Flag {
        help: Some(Help {
            section: Section::Options,
            short: "",
            argument: "",
            text: "does nothing, for backwards compatibility",
        }),
        ..Flag::new("sort", Kind::Option { name: None, effect: NOTED })
    },
];

pub(super) static MORE_FLAGS: [Flag; 1] = [Flag {
    short: &['n'],
    legal: &[CommandName::List, CommandName::Save],
    ..listing("numeric", OptionName::Numeric, "-n", "numeric output of addresses and ports")
}];
