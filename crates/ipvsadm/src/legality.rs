//! Which options go with which command (ipvsadm.md §3 step 8, 10 and 11).

use rlvs_ipvs::model::TunnelKind;

use crate::draft::Draft;
use crate::flags::{self, CommandName, OptionName};
use crate::refusal::Refusal;

/// Things to list that exclude one another, in the order of checks.
const LIST_SUBJECTS: [OptionName; 4] =
    [OptionName::Connection, OptionName::ServiceAddress, OptionName::Timeout, OptionName::Daemon];

/// Options that need a tunnel, in the order of checks.
const TUNNEL_OPTIONS: [OptionName; 5] =
    [OptionName::TunType, OptionName::TunPort, OptionName::TunNoCsum, OptionName::TunCsum, OptionName::TunRemCsum];

/// Whether the options given go with the command: one pass in the order of names, the first finding counts.
///
/// # Errors
/// [`Refusal::Missing`], [`Refusal::Illegal`], [`Refusal::Conflict`].
pub fn check(draft: &Draft, command: CommandName) -> Result<(), Refusal> {
    let mut subject = None;
    for option in OptionName::ALL {
        let Some(flag) = flags::all().find(|flag| flag.name() == Some(option)) else { continue };
        if !draft.has(option) {
            if flag.required.contains(&command) {
                return Err(Refusal::Missing { option, command });
            }
            continue;
        }
        if !flag.legal.contains(&command) {
            return Err(Refusal::Illegal { option, command });
        }
        if command == CommandName::List
            && LIST_SUBJECTS.contains(&option)
            && let Some(earlier) = subject.replace(option)
        {
            return Err(Refusal::Conflict { later: option, earlier });
        }
    }
    Ok(())
}

/// Whether the ways to list go with the subject of the list.
///
/// # Errors
/// [`Refusal::ListConflict`].
pub fn check_listing(draft: &Draft) -> Result<(), Refusal> {
    let has_any = |names: &[OptionName]| names.iter().any(|&name| draft.has(name));
    let has_table = !has_any(&[OptionName::Connection, OptionName::Timeout, OptionName::Daemon]);
    let numbers = has_any(&[OptionName::Stats, OptionName::Rate, OptionName::Thresholds]);
    let templates = draft.has(OptionName::PersistentConn) && !draft.has(OptionName::Connection);
    if !has_table && (numbers || templates) { Err(Refusal::ListConflict) } else { Ok(()) }
}

/// Whether the tunnel options given go with the tunnel type, or with no tunnel.
///
/// # Errors
/// [`Refusal::TunnelOptions`], [`Refusal::TunnelMissing`], [`Refusal::TunnelIllegal`],
/// [`Refusal::TunnelConflict`].
pub fn check_tunnel(draft: &Draft, is_tunnel: bool) -> Result<(), Refusal> {
    if !is_tunnel {
        let has_any = TUNNEL_OPTIONS.iter().any(|&name| draft.has(name));
        return if has_any { Err(Refusal::TunnelOptions) } else { Ok(()) };
    }
    let (tunnel, port_is_needed, checksums): (_, _, &[OptionName]) = match draft.tunnel.kind {
        TunnelKind::GUE => ("gue", true, &[OptionName::TunNoCsum, OptionName::TunCsum, OptionName::TunRemCsum]),
        TunnelKind::GRE => ("gre", false, &[OptionName::TunNoCsum, OptionName::TunCsum]),
        _ => ("ipip", false, &[]),
    };
    match (draft.has(OptionName::TunPort), port_is_needed) {
        (true, false) => return Err(Refusal::TunnelIllegal { option: OptionName::TunPort, tunnel }),
        (false, true) => return Err(Refusal::TunnelMissing { option: OptionName::TunPort, tunnel }),
        _ => {}
    }
    let mut checksum = None;
    for option in [OptionName::TunNoCsum, OptionName::TunCsum, OptionName::TunRemCsum] {
        if !draft.has(option) {
            continue;
        }
        if !checksums.contains(&option) {
            return Err(Refusal::TunnelIllegal { option, tunnel });
        }
        if let Some(earlier) = checksum.replace(option) {
            return Err(Refusal::TunnelConflict { later: option, earlier, tunnel });
        }
    }
    Ok(())
}
