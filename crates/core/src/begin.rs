//! The beginning of a connection: which service, which destination (connections.md sections 3 and 4, forwarding.md sections
//! 2 and 6).

use core::ops::ControlFlow;

use crate::conn::{self, Life, Now, OpenError, template};
use crate::flow::{Event, Flow, Part};
use crate::packet::Packet;
use crate::rows::{
    Address, ConfigRow, DestRow, FlowKey, MarkRow, NO_DEST, ServiceKey, ServiceRow, Setting, Span, Stats, kind, method,
    service_flags,
};
use crate::sched;
use crate::scratch::{NO_CONN, Scratch};
use crate::tables::{Tables, Walk};
use crate::verdict::{Refusal, Verdict};
use crate::wire::{icmp, protocol};

/// FTP's control port.
const FTP_PORT: u16 = 21;
/// Source port of active FTP data connections: a client packet from it is never scheduled.
const FTP_DATA_PORT: u16 = 20;

/// The first step: which service, and whether the client has a template of it. The error is the verdict on a packet that may not
/// open a connection; otherwise returns whether a destination is still to be chosen.
#[inline(always)]
pub fn begin<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    scratch: &mut Scratch,
    now: &Now<'_>,
) -> Result<bool, Verdict> {
    if !find_service(tables, scratch, now.config) {
        return Err(Verdict::PassNoService);
    }
    if !packet.is_for_this_host() {
        return Err(Verdict::PassNotForThisHost);
    }
    if now.config.is_on(Setting::BackupOnly) {
        return Err(Verdict::PassBackupOnly);
    }
    if !may_open(&scratch.flow, now.config) {
        return Err(Verdict::PassNotScheduled);
    }
    if is_thinned_out(tables, now.config) {
        return Err(Verdict::DropDefenceRate);
    }
    scratch.template = NO_CONN;
    scratch.picked = NO_DEST;
    let Some(service) = tables.service(scratch.service) else { return Err(Verdict::PassNoService) };
    if service.flags.load() & service_flags::PERSISTENT != 0 {
        find_template(tables, scratch, service, now);
        return Ok(scratch.template == NO_CONN);
    }
    // Found by the rule for FTP or for all ports, which only persistent services may be.
    let by_detour = scratch.service_mark == 0 && scratch.service_port != scratch.flow.key.destination_port;
    Ok(!by_detour)
}

/// The second step: the scheduler.
#[inline(always)]
pub fn schedule<T: Tables>(tables: &T, scratch: &mut Scratch, now: &Now<'_>) {
    let Some(service) = tables.service(scratch.service) else { return };
    let key = &scratch.flow.key;
    let ask = sched::Ask {
        client: key.source,
        destination: key.destination,
        client_port: key.source_port,
        family: key.family,
        now: now.jiffies,
    };
    scratch.picked = sched::pick(tables, service, &ask).unwrap_or(NO_DEST);
}

/// The last step: opens the connection, or says in [`Scratch::identity`] where one packet goes that gets none. The error is the
/// verdict on a packet that goes nowhere.
#[inline(always)]
pub fn open<T: Tables>(tables: &T, scratch: &mut Scratch, now: &Now<'_>) -> Result<(), Verdict> {
    let Some(service) = tables.service(scratch.service) else { return Err(Verdict::PassNoService) };
    let flags = service.flags.load();
    let is_persistent = flags & service_flags::PERSISTENT != 0;
    match tables.dest(scratch.picked) {
        None => bypass(tables, scratch, now)?,
        Some(dest) if is_persistent => identify_by_template(tables, scratch, service, dest, now)?,
        Some(dest) => {
            let port = if dest.port == 0 { scratch.flow.key.destination_port } else { dest.port };
            identify(scratch, dest, port);
        }
    }
    let one_packet = flags & service_flags::ONE_PACKET != 0 && scratch.flow.key.protocol == protocol::UDP;
    if one_packet && scratch.picked != NO_DEST {
        // No connection, but counted as one (connections.md section 3).
        tables.count(scratch.picked, &Stats { conns: 1, ..Stats::default() });
        // Its template was refreshed, and is needed no longer.
        template::release(tables, scratch.identity.controller);
        scratch.conn = NO_CONN;
        return Ok(());
    }
    enter(tables, scratch, now)
}

/// The service for a packet, in IPVS's order (forwarding.md section 2). Returns whether there is one.
#[inline(always)]
fn find_service<T: Tables>(tables: &T, scratch: &mut Scratch, config: &ConfigRow) -> bool {
    let mut key =
        ServiceKey { address: Address::default(), fwmark: 0, port: 0, protocol: 0, family: scratch.flow.key.family };
    if config.mark_services.load() != 0 {
        key.fwmark = mark(tables, &scratch.flow, config);
        if key.fwmark != 0 && look_up(tables, scratch, &key) {
            return true;
        }
        key.fwmark = 0;
    }
    key.address = scratch.flow.key.destination;
    key.protocol = scratch.flow.key.protocol;
    key.port = scratch.flow.key.destination_port;
    if look_up(tables, scratch, &key) {
        return true;
    }
    if config.ftp_services.load() != 0 && may_be_ftp_data(&scratch.flow, config) {
        key.port = FTP_PORT;
        if look_up(tables, scratch, &key) {
            return true;
        }
    }
    key.port = 0;
    config.all_ports_services.load() != 0 && look_up(tables, scratch, &key)
}

#[inline(always)]
fn look_up<T: Tables>(tables: &T, scratch: &mut Scratch, key: &ServiceKey) -> bool {
    let Some(id) = tables.find_service(key) else { return false };
    scratch.service = id;
    scratch.service_mark = key.fwmark;
    scratch.service_port = key.port;
    true
}

fn may_be_ftp_data(flow: &Flow, config: &ConfigRow) -> bool {
    let port = flow.key.destination_port;
    flow.key.protocol == protocol::TCP && (port == FTP_DATA_PORT || u32::from(port) >= config.unprivileged_port.load())
}

/// The packet's firewall mark: the kernel's or, where it has none, that of the first rule that fits.
#[inline(always)]
fn mark<T: Tables>(tables: &T, flow: &Flow, config: &ConfigRow) -> u32 {
    if flow.mark != 0 {
        return flow.mark;
    }
    let rules = Span::unpack(config.marks.load());
    // Not zeros that the verifier knows: see docs/decisions/0007.
    let mut search = Rules { flow, base: rules.base, mark: config.reserved.load() };
    tables.walk(rules.len, &mut search);
    search.mark
}

/// A walk over the rules that mark packets.
struct Rules<'f> {
    flow: &'f Flow,
    base: u32,
    mark: u32,
}

impl<T: Tables> Walk<T> for Rules<'_> {
    fn step(&mut self, tables: &T, index: u32) -> ControlFlow<()> {
        match tables.mark(self.base.wrapping_add(index)) {
            Some(rule) if fits(rule, &self.flow.key) => {
                self.mark = rule.mark;
                ControlFlow::Break(())
            }
            Some(_) => ControlFlow::Continue(()),
            None => ControlFlow::Break(()),
        }
    }
}

fn fits(rule: &MarkRow, key: &FlowKey) -> bool {
    let between = |port: u16, first: u16, last: u16| first <= port && port <= last;
    rule.family == key.family
        && (rule.protocol == 0 || rule.protocol == key.protocol)
        && key.source.masked(&rule.source_mask) == rule.source
        && key.destination.masked(&rule.destination_mask) == rule.destination
        && between(key.source_port, rule.source_port_first, rule.source_port_last)
        && between(key.destination_port, rule.destination_port_first, rule.destination_port_last)
}

/// Whether a packet may open a connection (connections.md section 3). Of an ICMP error it is the quoted packet that would.
fn may_open(flow: &Flow, config: &ConfigRow) -> bool {
    if flow.ip.part == Part::Later || flow.key.source_port == FTP_DATA_PORT {
        return false;
    }
    if flow.is_error {
        return true;
    }
    match flow.ip.protocol {
        protocol::TCP => !flow.is_reset && (flow.is_new || config.is_on(Setting::SloppyTcp)),
        protocol::SCTP => flow.event != Event::ABORT && (flow.is_new || config.is_on(Setting::SloppySctp)),
        protocol::UDP => true,
        // AH and ESP only ride on what their key exchange opened.
        _ => false,
    }
}

/// drop_packet: one of so many packets that would open a connection is dropped, beginning with the first.
#[inline(always)]
fn is_thinned_out<T: Tables>(tables: &T, config: &ConfigRow) -> bool {
    let rate = config.drop_rate.load();
    if rate == 0 {
        return false;
    }
    let Some(cursor) = tables.cursor() else { return false };
    let turn = cursor.drop_turn.load();
    T::add(&cursor.drop_turn, 1);
    turn % u64::from(rate) == 0
}

/// The client's template, if it has one that leads to a destination.
#[inline(always)]
fn find_template<T: Tables>(tables: &T, scratch: &mut Scratch, service: &ServiceRow, now: &Now<'_>) {
    template_key(scratch, service);
    let id = template::find(tables, &mut scratch.key, now);
    let Some(template) = tables.conn(id) else { return };
    let dest = template.dest.load();
    if is_usable(tables.dest(dest), now.config) {
        scratch.template = id;
        scratch.picked = dest;
    } else {
        template::disuse(tables, template, &scratch.key);
    }
}

/// With persistence: the connection that the client's template controls, which is made if there is none.
#[inline(always)]
fn identify_by_template<T: Tables>(
    tables: &T,
    scratch: &mut Scratch,
    service: &ServiceRow,
    dest: &DestRow,
    now: &Now<'_>,
) -> Result<(), Verdict> {
    if scratch.template == NO_CONN {
        template_key(scratch, service);
        identify_template(scratch, dest);
        let timeout = service.timeout_s.load().wrapping_mul(now.config.hz.load());
        scratch.template =
            template::create(tables, &scratch.identity, timeout, now, &mut scratch.key).map_err(not_opened)?;
    }
    let template = tables.conn(scratch.template).ok_or(Verdict::DropRaced)?;
    let port = dest_port(scratch, dest);
    identify(scratch, dest, port);
    scratch.identity.controller = scratch.template + 1;
    template::hold::<T>(template, now);
    Ok(())
}

/// The template with the key [`Scratch::key`] to the destination that was chosen. Field by field, in place: on the stack there is no room
/// for another.
#[inline(always)]
fn identify_template(scratch: &mut Scratch, dest: &DestRow) {
    let (key, identity) = (&scratch.key, &mut scratch.identity);
    identity.client = key.source;
    identity.virtual_address = key.destination;
    identity.dest_address = dest.address;
    identity.client_port = 0;
    identity.virtual_port = key.destination_port;
    // One for one port leads to the destination's port, the others to any.
    identity.dest_port = if key.destination_port == 0 { 0 } else { dest.port };
    identity.protocol = key.protocol;
    identity.family = key.family;
    identity.dest_family = dest.family;
    identity.method = dest.forwarding().method;
    identity.kind = kind::TEMPLATE;
    identity.dest = scratch.picked;
    identity.controller = 0;
}

/// The key of the client's template (connections.md section 4).
#[inline(always)]
fn template_key(scratch: &mut Scratch, service: &ServiceRow) {
    let [a, b, c, d] = &service.client_mask;
    let mask = Address([a.load(), b.load(), c.load(), d.load()]);
    let key = &scratch.flow.key;
    let (mark, port) = (scratch.service_mark, scratch.service_port);
    let one_port = port != 0 && port != FTP_PORT && port == key.destination_port;
    scratch.key = FlowKey {
        source: key.source.masked(&mask),
        destination: if mark == 0 { key.destination } else { Address([mark.to_be(), 0, 0, 0]) },
        source_port: 0,
        destination_port: if one_port { port } else { 0 },
        protocol: if mark == 0 { key.protocol } else { 0 },
        family: key.family,
        kind: kind::TEMPLATE,
    };
}

/// Whether a template's destination may still get connections. Weight and threshold alone do not forbid it.
fn is_usable(dest: Option<&DestRow>, config: &ConfigRow) -> bool {
    dest.is_some_and(|dest| {
        let quiescent = config.is_on(Setting::ExpireQuiescentTemplate) && dest.weight.load() == 0;
        conn::is_available(dest) && !quiescent
    })
}

/// The port on the real server of a persistent service's connection (connections.md section 4, last column).
fn dest_port(scratch: &Scratch, dest: &DestRow) -> u16 {
    let wanted = scratch.flow.key.destination_port;
    let own = scratch.service_mark == 0 && scratch.service_port != 0 && wanted == scratch.service_port;
    if own && dest.port != 0 { dest.port } else { wanted }
}

/// The connection of a client's packet to the destination that was chosen.
#[inline(always)]
fn identify(scratch: &mut Scratch, dest: &DestRow, dest_port: u16) {
    identify_client(scratch);
    let identity = &mut scratch.identity;
    identity.dest_address = dest.address;
    identity.dest_port = dest_port;
    identity.dest_family = dest.family;
    identity.method = dest.forwarding().method;
    identity.dest = scratch.picked;
}

/// The client's half of a connection.
#[inline(always)]
fn identify_client(scratch: &mut Scratch) {
    let (key, identity) = (&scratch.flow.key, &mut scratch.identity);
    identity.client = key.source;
    identity.virtual_address = key.destination;
    identity.client_port = key.source_port;
    identity.virtual_port = key.destination_port;
    identity.protocol = key.protocol;
    identity.family = key.family;
    identity.kind = kind::FLOW;
    identity.controller = 0;
}

/// A service, but nobody to send the packet to (forwarding.md section 6).
#[inline(always)]
fn bypass<T: Tables>(tables: &T, scratch: &mut Scratch, now: &Now<'_>) -> Result<(), Verdict> {
    let flow = &scratch.flow;
    let bypasses = now.config.is_on(Setting::CacheBypass) && scratch.service_mark != 0 && !flow.is_error;
    if bypasses && !tables.is_local(&flow.key.destination) {
        let family = flow.key.family;
        identify_client(scratch);
        let identity = &mut scratch.identity;
        identity.dest_address = Address::default();
        identity.dest_port = 0;
        identity.dest_family = family;
        identity.method = method::BYPASS;
        identity.dest = NO_DEST;
        return Ok(());
    }
    if scratch.service_port == FTP_PORT && flow.key.destination_port != FTP_PORT {
        return Err(Verdict::PassFtpData);
    }
    // A mark may lead packets for other hosts here: in their name nothing is answered.
    let foreign = scratch.service_mark != 0 && !tables.is_local(&flow.key.destination);
    if flow.is_error || foreign {
        return Err(Verdict::DropNoDestination);
    }
    let refusal = Refusal::port_unreachable(flow.key.family);
    Err(scratch.refuse(Verdict::DropNoDestination, refusal))
}

impl Refusal {
    /// "Nobody listens there."
    pub(crate) fn port_unreachable(family: u8) -> Self {
        Self::of(
            family,
            (icmp::UNREACHABLE, icmp::PORT_UNREACHABLE),
            (icmp::V6_UNREACHABLE, icmp::V6_PORT_UNREACHABLE),
            0,
        )
    }
}

/// Opens the connection that [`Scratch::identity`] describes.
#[inline(always)]
fn enter<T: Tables>(tables: &T, scratch: &mut Scratch, now: &Now<'_>) -> Result<(), Verdict> {
    let life = Life::unborn(scratch.identity.method, now);
    match conn::open(tables, &scratch.identity, life, &mut scratch.key) {
        Ok(id) => {
            scratch.conn = id;
            if scratch.identity.dest != NO_DEST {
                tables.count(scratch.identity.dest, &Stats { conns: 1, ..Stats::default() });
            }
            Ok(())
        }
        Err(error) => {
            template::release(tables, scratch.identity.controller);
            Err(not_opened(error))
        }
    }
}

fn not_opened(error: OpenError) -> Verdict {
    match error {
        OpenError::Full => Verdict::DropTableFull,
        OpenError::Raced => Verdict::DropRaced,
        OpenError::Inconsistent => Verdict::DropNoDestination,
    }
}
