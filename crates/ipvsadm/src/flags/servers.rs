//! Options that identify a real server, and those that set something on one.

use rlvs_ipvs::model::{ForwardingMethod, ServiceKey, Tunnel, TunnelKind};

use super::{Argument, CommandName, Effect, Flag, Help, Kind, OptionName, Section};
use crate::address::{self, HostPort};
use crate::draft::Draft;
use crate::refusal::Refusal;
use crate::resolve::Names;
use crate::values::number_in;

/// Commands that set everything on a real server.
const SET: &[CommandName] = &[CommandName::AddServer, CommandName::EditServer];
/// Commands that name a real server.
const NAME: &[CommandName] = &[CommandName::AddServer, CommandName::EditServer, CommandName::DeleteServer];

const fn setting(
    long: &'static str,
    name: OptionName,
    help: (&'static str, &'static str, &'static str),
    effect: Effect,
) -> Flag {
    let (short, argument, text) = help;
    Flag {
        argument: Argument::Required,
        legal: SET,
        help: Some(Help { section: Section::Options, short, argument, text }),
        ..Flag::new(long, Kind::Option { name: Some(name), effect })
    }
}

const fn switch(
    long: &'static str,
    name: OptionName,
    help: (&'static str, &'static str, &'static str),
    effect: Effect,
) -> Flag {
    Flag { argument: Argument::None, ..setting(long, name, help, effect) }
}

/// The port that is left out is that of the service to the left, 0 for a mark or without a service.
fn set_server(draft: &mut Draft, value: Option<&str>, names: &dyn Names) -> Result<(), Refusal> {
    let typed = value.unwrap_or_default();
    let HostPort { address, port } = address::parse(typed, draft.protocol, names).ok_or(Refusal::ServerAddress)?;
    let default = draft.service.as_ref().map_or(0, ServiceKey::port);
    draft.server = Some((address, port.unwrap_or(default)));
    Ok(())
}

fn set_tunnel_kind(draft: &mut Draft, value: Option<&str>) -> Result<(), Refusal> {
    draft.tunnel.kind = match value {
        Some("ipip") => TunnelKind::IPIP,
        Some("gue") => TunnelKind::GUE,
        Some("gre") => TunnelKind::GRE,
        _ => return Err(Refusal::TunnelType),
    };
    Ok(())
}

/// A number from 0 to the largest `int`.
fn count(value: Option<&str>, refusal: Refusal) -> Result<i32, Refusal> {
    number_in(value.unwrap_or_default(), 0..=i32::MAX).ok_or(refusal)
}

pub(super) static FLAGS: [Flag; 12] = [
    Flag {
        short: &['r'],
        legal: NAME,
        required: NAME,
        ..setting(
            "real-server",
            OptionName::RealServer,
            ("-r", "server-address", "server-address is host (and port)"),
            set_server,
        )
    },
    Flag {
        short: &['g'],
        ..switch(
            "gatewaying",
            OptionName::ForwardingMethod,
            ("-g", "", "gatewaying (direct routing) (default)"),
            |draft, _, _| {
                draft.method = ForwardingMethod::DIRECT;
                Ok(())
            },
        )
    },
    Flag {
        short: &['i'],
        ..switch("ipip", OptionName::ForwardingMethod, ("-i", "", "ipip encapsulation (tunneling)"), |draft, _, _| {
            draft.method = ForwardingMethod::TUNNEL;
            Ok(())
        })
    },
    Flag {
        short: &['m'],
        ..switch("masquerading", OptionName::ForwardingMethod, ("-m", "", "masquerading (NAT)"), |draft, _, _| {
            draft.method = ForwardingMethod::MASQUERADE;
            Ok(())
        })
    },
    setting(
        "tun-type",
        OptionName::TunType,
        ("", "type", "one of ipip|gue|gre,\nthe default tunnel type is ipip."),
        |draft, value, _| set_tunnel_kind(draft, value),
    ),
    setting("tun-port", OptionName::TunPort, ("", "port", "tunnel destination port"), |draft, value, _| {
        draft.tunnel.port = number_in(value.unwrap_or_default(), 1..=u16::MAX).ok_or(Refusal::TunnelPort)?;
        Ok(())
    }),
    switch("tun-nocsum", OptionName::TunNoCsum, ("", "", "tunnel encapsulation without checksum"), |draft, _, _| {
        draft.tunnel.flags = Tunnel::NO_CSUM;
        Ok(())
    }),
    switch("tun-csum", OptionName::TunCsum, ("", "", "tunnel encapsulation with checksum"), |draft, _, _| {
        draft.tunnel.flags = Tunnel::CSUM;
        Ok(())
    }),
    switch(
        "tun-remcsum",
        OptionName::TunRemCsum,
        ("", "", "tunnel encapsulation with remote checksum"),
        |draft, _, _| {
            draft.tunnel.flags = Tunnel::REMCSUM;
            Ok(())
        },
    ),
    Flag {
        short: &['w'],
        ..setting("weight", OptionName::Weight, ("-w", "weight", "capacity of real server"), |draft, value, _| {
            draft.weight = count(value, Refusal::Weight)?;
            Ok(())
        })
    },
    Flag {
        short: &['x'],
        ..setting(
            "u-threshold",
            OptionName::UpperThreshold,
            ("-x", "uthreshold", "upper threshold of connections"),
            |draft, value, _| {
                draft.upper_threshold = count(value, Refusal::UpperThreshold)?.unsigned_abs();
                Ok(())
            },
        )
    },
    Flag {
        short: &['y'],
        ..setting(
            "l-threshold",
            OptionName::LowerThreshold,
            ("-y", "lthreshold", "lower threshold of connections"),
            |draft, value, _| {
                draft.lower_threshold = count(value, Refusal::LowerThreshold)?.unsigned_abs();
                Ok(())
            },
        )
    },
];
