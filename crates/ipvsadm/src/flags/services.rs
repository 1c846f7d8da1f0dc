//! Options that identify a virtual service, and those that set something on one.

use rlvs_ipvs::model::{Family, Netmask, Protocol, ServiceKey};

use super::{Argument, CommandName, Effect, Flag, Help, Kind, OptionName, Section};
use crate::address::{self, HostPort};
use crate::draft::Draft;
use crate::refusal::Refusal;
use crate::resolve::Names;
use crate::values::{cut, leading_number, number_in};

/// Commands that set everything on a service.
const SET: &[CommandName] = &[CommandName::AddService, CommandName::EditService];

/// Commands that need a service.
const NEED: &[CommandName] = &[
    CommandName::AddService,
    CommandName::EditService,
    CommandName::DeleteService,
    CommandName::AddServer,
    CommandName::EditServer,
    CommandName::DeleteServer,
];

/// Commands that may name a service.
const NAME: &[CommandName] = &[
    CommandName::AddService,
    CommandName::EditService,
    CommandName::DeleteService,
    CommandName::AddServer,
    CommandName::EditServer,
    CommandName::DeleteServer,
    CommandName::List,
    CommandName::Zero,
];

const fn key(
    long: &'static str,
    short: &'static [char],
    shown: &'static str,
    argument: &'static str,
    text: &'static str,
    effect: Effect,
) -> Flag {
    Flag {
        short,
        argument: Argument::Required,
        legal: NAME,
        required: NEED,
        help: Some(Help { section: Section::Services, short: shown, argument, text }),
        ..Flag::new(long, Kind::Option { name: Some(OptionName::ServiceAddress), effect })
    }
}

const fn setting(long: &'static str, name: OptionName, help: Help, effect: Effect) -> Flag {
    let kind = Kind::Option { name: Some(name), effect };
    Flag { argument: Argument::Required, legal: SET, help: Some(help), ..Flag::new(long, kind) }
}

const fn help(short: &'static str, argument: &'static str, text: &'static str) -> Help {
    Help { section: Section::Options, short, argument, text }
}

/// What `-t` and its like do: an IPv6 service puts the netmask back to /128.
fn set_address(draft: &mut Draft, value: Option<&str>, names: &dyn Names, protocol: Protocol) -> Result<(), Refusal> {
    let typed = value.unwrap_or_default();
    let HostPort { address, port } = address::parse(typed, Some(protocol), names).ok_or(Refusal::ServiceAddress)?;
    draft.service = Some(ServiceKey::Address { protocol, address, port: port.unwrap_or(0) });
    draft.protocol = Some(protocol);
    if Family::of(address) == Family::V6 {
        draft.netmask = Netmask::host(Family::V6).to_wire();
    }
    Ok(())
}

fn set_mark(draft: &mut Draft, value: Option<&str>) -> Result<(), Refusal> {
    let typed = value.unwrap_or_default();
    let mark: u32 = number_in(typed, 1..=u32::MAX).ok_or_else(|| Refusal::Mark(typed.to_owned()))?;
    draft.service = Some(ServiceKey::marked(Family::V4, mark));
    draft.protocol = Some(Protocol::TCP);
    Ok(())
}

fn make_mark_ipv6(draft: &mut Draft) -> Result<(), Refusal> {
    let Some(ServiceKey::Mark { family, .. }) = &mut draft.service else { return Err(Refusal::Ipv6BeforeMark) };
    *family = Family::V6;
    draft.netmask = Netmask::host(Family::V6).to_wire();
    Ok(())
}

/// A mask of the family known so far: a prefix length for IPv6, else what reads as an address or host name.
fn set_netmask(draft: &mut Draft, value: Option<&str>, names: &dyn Names) -> Result<(), Refusal> {
    let typed = value.unwrap_or_default();
    let is_ipv6 = draft.service.is_some_and(|key| key.family() == Family::V6);
    draft.netmask = if is_ipv6 {
        let length = u8::try_from(leading_number(typed)).ok().filter(|length| (1..=128).contains(length));
        Netmask::V6(length.ok_or(Refusal::NetmaskIpv6)?)
    } else {
        Netmask::V4(address::host_v4(typed, names).ok_or(Refusal::Netmask)?)
    }
    .to_wire();
    Ok(())
}

fn set_persistence(draft: &mut Draft, value: Option<&str>) -> Result<(), Refusal> {
    /// Seconds of persistence if none are given. The manual page says 300; the program takes 360.
    const DEFAULT_S: u32 = 360;
    let parse = |typed: &str| {
        number_in(typed, 1..=crate::values::TIMEOUT_MAX_S).ok_or_else(|| Refusal::Timeout(typed.to_owned()))
    };
    draft.persistence_s = Some(value.map_or(Ok(DEFAULT_S), parse)?);
    Ok(())
}

/// Options that identify a service.
pub(super) static KEYS: [Flag; 4] = [
    key("tcp-service", &['t'], "|-t", "service-address", "service-address is host[:port]", |draft, value, names| {
        set_address(draft, value, names, Protocol::TCP)
    }),
    key("udp-service", &['u'], "|-u", "service-address", "service-address is host[:port]", |draft, value, names| {
        set_address(draft, value, names, Protocol::UDP)
    }),
    key("sctp-service", &[], "", "service-address", "service-address is host[:port]", |draft, value, names| {
        set_address(draft, value, names, Protocol::SCTP)
    }),
    key("fwmark-service", &['f'], "|-f", "fwmark", "fwmark is an integer greater than zero", |draft, value, _| {
        set_mark(draft, value)
    }),
];

/// Options that set something on a service, as far as they come first in the usage text.
pub(super) static SETTINGS: [Flag; 5] = [
    Flag {
        short: &['6'],
        help: Some(help("-6", "", "fwmark entry uses IPv6")),
        ..Flag::new("ipv6", Kind::Option { name: None, effect: |draft, _, _| make_mark_ipv6(draft) })
    },
    Flag {
        short: &['s'],
        ..setting(
            "scheduler",
            OptionName::Scheduler,
            help(
                "-s",
                "scheduler",
                "one of rr|wrr|lc|wlc|lblc|lblcr|dh|sh|sed|nq|fo|ovf|mh,\nthe default scheduler is wlc.",
            ),
            |draft, value, _| {
                draft.scheduler = value.filter(|name| !name.is_empty()).map(|name| cut(name, 15).to_owned());
                Ok(())
            },
        )
    },
    setting(
        "pe",
        OptionName::Pe,
        help("", "engine", "alternate persistence engine may be sip,\nnot set by default."),
        |draft, value, _| {
            draft.engine = value.filter(|name| !name.is_empty()).map(|name| cut(name, 16).to_owned());
            Ok(())
        },
    ),
    Flag {
        short: &['p'],
        argument: Argument::Optional,
        ..setting(
            "persistent",
            OptionName::Persistent,
            help("-p", "[timeout]", "persistent service"),
            |draft, value, _| set_persistence(draft, value),
        )
    },
    Flag {
        short: &['M'],
        ..setting("netmask", OptionName::Netmask, help("-M", "netmask", "persistent granularity mask"), set_netmask)
    },
];

/// The one that comes after the options of listings.
pub(super) static MORE_SETTINGS: [Flag; 1] = [Flag {
    short: &['o'],
    argument: Argument::None,
    ..setting("ops", OptionName::Ops, help("-o", "", "one-packet scheduling"), |draft, _, _| {
        draft.one_packet = true;
        Ok(())
    })
}];

/// The one that comes last of the options.
pub(super) static LAST_SETTINGS: [Flag; 1] = [Flag {
    short: &['b'],
    ..setting(
        "sched-flags",
        OptionName::SchedFlags,
        help("-b", "flags", "scheduler flags (comma-separated)"),
        |draft, value, _| {
            draft.scheduler_flags = value.unwrap_or_default().to_owned();
            Ok(())
        },
    )
}];
