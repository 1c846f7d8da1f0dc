//! From what was typed to what it means, by the order of checks of ipvsadm.md §3.

use rlvs_ipvs::model::{
    DaemonRole, DaemonSpec, DestinationKey, DestinationSpec, FlagsChange, ForwardingMethod, Protocol, ServiceFlags,
    ServiceKey, ServiceSpec, TimeoutsChange,
};

use crate::draft::Draft;
use crate::flags::{CommandName, Kind, OptionName};
use crate::legality;
use crate::refusal::Refusal;
use crate::resolve::Names;
use crate::scheduler_flags;
use crate::values::{TIMEOUT_MAX_S, number_in};
use crate::words::{Line, Typed};

/// The scheduler of a service without `-s`.
const DEFAULT_SCHEDULER: &str = "wlc";
/// The interface of a sync daemon without `--mcast-interface`.
const DEFAULT_INTERFACE: &str = "eth0";

/// What a command line means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Print the version and the usage text.
    Help,
    /// Print the version.
    Version,
    /// Add a service.
    AddService(ServiceSpec),
    /// Replace a service.
    EditService(ServiceSpec),
    /// Remove a service.
    DeleteService(ServiceKey),
    /// Add a real server.
    AddServer(ServiceKey, DestinationSpec),
    /// Replace a real server.
    EditServer(ServiceKey, DestinationSpec),
    /// Remove a real server.
    DeleteServer(ServiceKey, DestinationKey),
    /// Remove all services.
    Flush,
    /// List something.
    List(Listing),
    /// List the table as command lines.
    Save {
        /// Without names.
        numeric: bool,
    },
    /// Carry out lines of standard input.
    Restore,
    /// Zero the counters of one service, or all.
    Zero(Option<ServiceKey>),
    /// Set timeouts.
    SetTimeouts(TimeoutsChange),
    /// Start a sync daemon.
    StartDaemon(DaemonSpec),
    /// Stop a sync daemon.
    StopDaemon(DaemonRole, u32),
}

/// What to list, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// What.
    pub subject: Subject,
    /// Without names.
    pub numeric: bool,
    /// Numbers in full.
    pub exact: bool,
    /// In the order of the dump.
    pub unsorted: bool,
}

/// What to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Connections, with the columns of the persistence engine or not.
    Connections {
        /// With those columns.
        with_engine: bool,
    },
    /// The timeouts.
    Timeouts,
    /// The sync daemons.
    Daemons,
    /// The table, or one service of it.
    Services(Option<ServiceKey>, Columns),
}

/// Which columns a listing of the table has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Columns {
    /// Forwarding method, weight, connections.
    Default,
    /// Totals.
    Stats,
    /// Rates.
    Rate,
    /// Thresholds.
    Thresholds,
    /// Persistence templates.
    PersistentConn,
    /// Tunnels.
    TunInfo,
}

/// Understands a line.
///
/// # Errors
/// The first reason to refuse it.
pub fn understand(line: &Line, names: &dyn Names) -> Result<Command, Refusal> {
    let Some((first, rest)) = line.options.split_first() else {
        return if line.is_empty { Ok(Command::List(listing(&Draft::default()))) } else { Err(Refusal::Hint) };
    };
    let Kind::Command(name, effect) = first.flag.kind else { return Err(Refusal::Hint) };
    match name {
        CommandName::Help => return Ok(Command::Help),
        CommandName::Version => return Ok(Command::Version),
        _ => {}
    }
    let mut draft = Draft::default();
    effect(&mut draft, first.value.as_deref(), names)?;
    for typed in rest {
        apply(&mut draft, typed, names)?;
    }
    if let Some((word, problem)) = &line.problem {
        return Err(Refusal::Word { word: word.clone(), problem: *problem });
    }
    let mut arguments = line.arguments.iter();
    let timeouts = if name == CommandName::Set { timeouts(&mut arguments)? } else { TimeoutsChange::default() };
    if let Some(extra) = arguments.next() {
        return Err(Refusal::Unexpected(extra.clone()));
    }
    let scheduler_bits = scheduler_flags::parse(&draft.scheduler_flags, scheduler(&draft))?;
    legality::check(&draft, name)?;
    conclude(name, draft, scheduler_bits, timeouts)
}

/// Applies an option after the first. A name given twice is refused before its second value is looked at.
fn apply(draft: &mut Draft, typed: &Typed, names: &dyn Names) -> Result<(), Refusal> {
    match typed.flag.kind {
        Kind::Command(..) => Err(Refusal::SecondCommand(typed.word.clone())),
        Kind::Option { name, effect } => {
            if let Some(name) = name
                && !draft.given.insert(name)
            {
                return Err(Refusal::Multiple(name));
            }
            effect(draft, typed.value.as_deref(), names)
        }
        // The reader of words keeps it to itself.
        Kind::Backend => Ok(()),
    }
}

/// The command, from options that are legal with it.
fn conclude(
    name: CommandName,
    draft: Draft,
    scheduler_bits: u32,
    timeouts: TimeoutsChange,
) -> Result<Command, Refusal> {
    // What legality demands is there; the messages below are what a gap in it would say.
    let key = || draft.service.ok_or(Refusal::Missing { option: OptionName::ServiceAddress, command: name });
    let role = || draft.role.ok_or(Refusal::Hint);
    Ok(match name {
        CommandName::AddService => Command::AddService(service(&draft, key()?, scheduler_bits)?),
        CommandName::EditService => Command::EditService(service(&draft, key()?, scheduler_bits)?),
        CommandName::DeleteService => Command::DeleteService(key()?),
        CommandName::AddServer => Command::AddServer(key()?, server(&draft, key()?, name)?),
        CommandName::EditServer => Command::EditServer(key()?, server(&draft, key()?, name)?),
        CommandName::DeleteServer => Command::DeleteServer(key()?, server_key(&draft, name)?),
        CommandName::Flush => Command::Flush,
        CommandName::List => {
            legality::check_listing(&draft)?;
            Command::List(listing(&draft))
        }
        CommandName::Save => Command::Save { numeric: draft.has(OptionName::Numeric) },
        CommandName::Restore => Command::Restore,
        CommandName::Zero => Command::Zero(draft.service.filter(|key| !names_all(key))),
        CommandName::Set => Command::SetTimeouts(timeouts),
        CommandName::StartDaemon => Command::StartDaemon(daemon(&draft, role()?)),
        CommandName::StopDaemon => Command::StopDaemon(role()?, draft.sync_id),
        CommandName::Help => Command::Help,
        CommandName::Version => Command::Version,
    })
}

fn scheduler(draft: &Draft) -> &str {
    draft.scheduler.as_deref().unwrap_or(DEFAULT_SCHEDULER)
}

/// The service that `-A` and `-E` ask for. `-E` replaces everything, so both start from the defaults.
fn service(draft: &Draft, key: ServiceKey, scheduler_bits: u32) -> Result<ServiceSpec, Refusal> {
    if let ServiceKey::Address { protocol, port, .. } = key {
        if port == 0 && draft.persistence_s.is_none() {
            return Err(Refusal::ZeroPort);
        }
        if draft.one_packet && protocol != Protocol::UDP {
            return Err(Refusal::OnePacket);
        }
    }
    let persistent = if draft.persistence_s.is_some() { ServiceFlags::PERSISTENT } else { 0 };
    let one_packet = if draft.one_packet { ServiceFlags::ONE_PACKET } else { 0 };
    Ok(ServiceSpec {
        key,
        scheduler: scheduler(draft).as_bytes().to_vec(),
        engine: draft.engine.as_ref().map(|name| name.as_bytes().to_vec()),
        flags: FlagsChange::all(persistent | one_packet | scheduler_bits),
        timeout_s: draft.persistence_s.unwrap_or(0),
        netmask: draft.netmask,
    })
}

fn server_key(draft: &Draft, command: CommandName) -> Result<DestinationKey, Refusal> {
    let (address, port) = draft.server.ok_or(Refusal::Missing { option: OptionName::RealServer, command })?;
    Ok(DestinationKey { address, port })
}

/// The real server that `-a` and `-e` ask for. Only masquerading may change the port (ipvsadm.md §5.4).
fn server(draft: &Draft, service: ServiceKey, command: CommandName) -> Result<DestinationSpec, Refusal> {
    let mut key = server_key(draft, command)?;
    let by_address = matches!(service, ServiceKey::Address { .. });
    if by_address && draft.method != ForwardingMethod::MASQUERADE {
        key.port = service.port();
    }
    let is_tunnel = draft.method == ForwardingMethod::TUNNEL;
    if key.family() != service.family() && !is_tunnel {
        return Err(Refusal::MixedFamilies);
    }
    legality::check_tunnel(draft, is_tunnel)?;
    Ok(DestinationSpec {
        key,
        method: draft.method,
        weight: draft.weight,
        upper_threshold: draft.upper_threshold,
        lower_threshold: draft.lower_threshold,
        tunnel: draft.tunnel,
    })
}

fn daemon(draft: &Draft, role: DaemonRole) -> DaemonSpec {
    DaemonSpec {
        state: role.number(),
        interface: draft.interface.as_deref().unwrap_or(DEFAULT_INTERFACE).as_bytes().to_vec(),
        sync_id: draft.sync_id,
        max_length: draft.max_length,
        group: draft.group,
        port: draft.port,
        ttl: draft.ttl,
    }
}

/// Whether a key stands for all services in `-Z`: the unspecified address with port 0.
fn names_all(key: &ServiceKey) -> bool {
    matches!(key, ServiceKey::Address { address, port: 0, .. } if address.is_unspecified())
}

fn timeouts<'a>(arguments: &mut impl Iterator<Item = &'a String>) -> Result<TimeoutsChange, Refusal> {
    let words: Vec<_> = arguments.take(3).collect();
    let [tcp, tcp_fin, udp] = words[..] else { return Err(Refusal::SetValues) };
    let seconds = |word: &String| number_in(word, 0..=TIMEOUT_MAX_S).ok_or_else(|| Refusal::Timeout(word.clone()));
    Ok(TimeoutsChange { tcp_s: seconds(tcp)?, tcp_fin_s: seconds(tcp_fin)?, udp_s: seconds(udp)? })
}

fn listing(draft: &Draft) -> Listing {
    let subject = if draft.has(OptionName::Connection) {
        Subject::Connections { with_engine: draft.has(OptionName::PersistentConn) }
    } else if draft.has(OptionName::Timeout) {
        Subject::Timeouts
    } else if draft.has(OptionName::Daemon) {
        Subject::Daemons
    } else {
        Subject::Services(draft.service, columns(draft))
    };
    Listing {
        subject,
        numeric: draft.has(OptionName::Numeric),
        exact: draft.has(OptionName::Exact),
        unsorted: draft.has(OptionName::NoSort),
    }
}

/// The columns asked for; of several the first of this order.
fn columns(draft: &Draft) -> Columns {
    let order = [
        (OptionName::Stats, Columns::Stats),
        (OptionName::Rate, Columns::Rate),
        (OptionName::Thresholds, Columns::Thresholds),
        (OptionName::PersistentConn, Columns::PersistentConn),
        (OptionName::TunInfo, Columns::TunInfo),
    ];
    let found = order.into_iter().find(|(name, _)| draft.has(*name));
    found.map_or(Columns::Default, |(_, columns)| columns)
}
