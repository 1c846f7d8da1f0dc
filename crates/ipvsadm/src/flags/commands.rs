//! Options that name a command.

use rlvs_ipvs::model::DaemonRole;

use super::{Argument, CommandName, Effect, Flag, Help, Kind, Section};
use crate::refusal::Refusal;

const fn command(
    long: &'static str,
    short: &'static [char],
    name: CommandName,
    shown: &'static str,
    text: &'static str,
) -> Flag {
    let help = Help { section: Section::Commands, short: shown, argument: "", text };
    Flag { short, help: Some(help), ..Flag::new(long, Kind::Command(name, NOTHING)) }
}

/// The effect of commands without a value.
const NOTHING: Effect = |_, _, _| Ok(());

/// The role a daemon command names.
fn role(value: Option<&str>, refusal: Refusal) -> Result<DaemonRole, Refusal> {
    match value {
        Some("master") => Ok(DaemonRole::Master),
        Some("backup") => Ok(DaemonRole::Backup),
        _ => Err(refusal),
    }
}

pub(super) static FLAGS: [Flag; 16] = [
    command("add-service", &['A'], CommandName::AddService, "-A", "add virtual service with options"),
    command("edit-service", &['E'], CommandName::EditService, "-E", "edit virtual service with options"),
    command("delete-service", &['D'], CommandName::DeleteService, "-D", "delete virtual service"),
    command("clear", &['C'], CommandName::Flush, "-C", "clear the whole table"),
    command("restore", &['R'], CommandName::Restore, "-R", "restore rules from stdin"),
    command("save", &['S'], CommandName::Save, "-S", "save rules to stdout"),
    command("add-server", &['a'], CommandName::AddServer, "-a", "add real server with options"),
    command("edit-server", &['e'], CommandName::EditServer, "-e", "edit real server with options"),
    command("delete-server", &['d'], CommandName::DeleteServer, "-d", "delete real server"),
    command("list", &['L', 'l'], CommandName::List, "-L|-l", "list the table"),
    command("zero", &['Z'], CommandName::Zero, "-Z", "zero counters in a service or all services"),
    Flag {
        help: Some(Help {
            section: Section::Commands,
            short: "",
            argument: "tcp tcpfin udp",
            text: "set connection timeout values",
        }),
        ..Flag::new("set", Kind::Command(CommandName::Set, NOTHING))
    },
    Flag {
        argument: Argument::Required,
        kind: Kind::Command(CommandName::StartDaemon, |draft, value, _| {
            draft.role = Some(role(value, Refusal::StartDaemon)?);
            Ok(())
        }),
        ..command("start-daemon", &[], CommandName::StartDaemon, "", "start connection sync daemon")
    },
    Flag {
        argument: Argument::Required,
        kind: Kind::Command(CommandName::StopDaemon, |draft, value, _| {
            draft.role = Some(role(value, Refusal::StopDaemon)?);
            Ok(())
        }),
        ..command("stop-daemon", &[], CommandName::StopDaemon, "", "stop connection sync daemon")
    },
    command("help", &['h'], CommandName::Help, "-h", "display this help message"),
    Flag { short: &['v'], ..Flag::new("version", Kind::Command(CommandName::Version, NOTHING)) },
];
