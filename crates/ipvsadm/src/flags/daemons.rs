//! Options of the sync daemons.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Argument, CommandName, Effect, Flag, Help, Kind, OptionName, Section};
use crate::draft::Draft;
use crate::refusal::Refusal;
use crate::values::{cut, number_in};

/// Starting alone.
const START: &[CommandName] = &[CommandName::StartDaemon];

const fn option(
    long: &'static str,
    name: OptionName,
    argument: &'static str,
    text: &'static str,
    effect: Effect,
) -> Flag {
    Flag {
        argument: Argument::Required,
        legal: START,
        help: Some(Help { section: Section::Daemons, short: "", argument, text }),
        ..Flag::new(long, Kind::Option { name: Some(name), effect })
    }
}

fn set_group(draft: &mut Draft, value: Option<&str>) -> Result<(), Refusal> {
    let typed = value.unwrap_or_default();
    let group = if typed.contains(':') {
        let group = typed.parse::<Ipv6Addr>().ok().filter(Ipv6Addr::is_multicast);
        IpAddr::V6(group.ok_or_else(|| Refusal::GroupIpv6(typed.to_owned()))?)
    } else {
        let group = typed.parse::<Ipv4Addr>().ok().filter(Ipv4Addr::is_multicast);
        IpAddr::V4(group.ok_or_else(|| Refusal::GroupIpv4(typed.to_owned()))?)
    };
    draft.group = Some(group);
    Ok(())
}

pub(super) static FLAGS: [Flag; 6] = [
    Flag {
        legal: &[CommandName::List, CommandName::StartDaemon, CommandName::StopDaemon],
        ..option("syncid", OptionName::SyncId, "sid", "syncid for connection sync (default=255)", |draft, value, _| {
            draft.sync_id = number_in(value.unwrap_or_default(), 0..=255).ok_or(Refusal::SyncId)?;
            Ok(())
        })
    },
    option(
        "sync-maxlen",
        OptionName::SyncMaxlen,
        "length",
        "Max sync message length (default=1472)",
        |draft, value, _| {
            draft.max_length = number_in(value.unwrap_or_default(), 1..=65507).ok_or(Refusal::SyncMaxlen)?;
            Ok(())
        },
    ),
    option(
        "mcast-interface",
        OptionName::McastInterface,
        "interface",
        "multicast interface for connection sync",
        |draft, value, _| {
            draft.interface = Some(cut(value.unwrap_or_default(), 15).to_owned());
            Ok(())
        },
    ),
    option(
        "mcast-group",
        OptionName::McastGroup,
        "address",
        "IPv4/IPv6 group (default=224.0.0.81)",
        |draft, value, _| set_group(draft, value),
    ),
    option("mcast-port", OptionName::McastPort, "port", "UDP port (default=8848)", |draft, value, _| {
        draft.port = number_in(value.unwrap_or_default(), 1..=u16::MAX).ok_or(Refusal::McastPort)?;
        Ok(())
    }),
    option("mcast-ttl", OptionName::McastTtl, "ttl", "Multicast TTL (default=1)", |draft, value, _| {
        draft.ttl = number_in(value.unwrap_or_default(), 1..=u8::MAX).ok_or(Refusal::McastTtl)?;
        Ok(())
    }),
];
