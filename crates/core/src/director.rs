//! The director: one packet in, one verdict out.
//!
//! ```text
//! frame -> parse -> connection? -- yes --> admit -> account -> forward
//!                       | no
//!                       +-> service? -> scheduler -> open ----^
//! ```

use crate::conn::{self, Direction, Found, Life, Now, OpenError};
use crate::flow::{Event, Flow};
use crate::forward;
use crate::packet::Packet;
use crate::rows::{ConnIdentity, DestRow, ServiceKey, Stats, dest_flags};
use crate::sched;
use crate::tables::Tables;
use crate::verdict::{Drop, Pass, Verdict};
use crate::wire::ipv4::PROTOCOL_TCP;

/// Source port of active FTP data connections: a client packet from it is never scheduled (connections.md section 3).
const FTP_DATA_PORT: u16 = 20;

/// Decides on one frame and rewrites it where it is to be forwarded. `now` is in jiffies.
pub fn direct<P: Packet, T: Tables>(packet: &mut P, tables: &T, now: u64) -> Verdict {
    let flow = match Flow::parse(packet) {
        Ok(flow) => flow,
        Err(reason) => return Verdict::Pass(reason),
    };
    let Some(config) = tables.config() else {
        return Verdict::Pass(Pass::NotReady);
    };
    let now = Now { jiffies: now, config };
    let found = match conn::find(tables, &flow, &now) {
        Some(found) => match follow(tables, &flow, &found, &now) {
            Ok(()) => found,
            Err(reason) => return Verdict::Drop(reason),
        },
        None => match begin(packet, tables, &flow, &now) {
            Ok(found) => found,
            Err(verdict) => return verdict,
        },
    };
    forward::forward(packet, tables, &flow, &found, &now)
}

/// A packet of a connection that exists: admitted, moved on, counted.
fn follow<T: Tables>(tables: &T, flow: &Flow, found: &Found<'_>, now: &Now<'_>) -> Result<(), Drop> {
    let id = found.row.dest.load();
    let available = tables.dest(id).is_some_and(is_available);
    // Replies of a removed destination still go out, its requests do not (connections.md section 5).
    if !available && found.direction == Direction::Request {
        return Err(Drop::DestinationRemoved);
    }
    if conn::touch(tables, found, flow, now).is_none() {
        return Err(Drop::Raced);
    }
    if available {
        tables.count(id, &traffic(flow, found.direction));
    }
    Ok(())
}

/// A packet without a connection: perhaps the first of a new one. The error is the verdict of one that is not.
fn begin<'t, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &'t T,
    flow: &Flow,
    now: &Now<'_>,
) -> Result<Found<'t>, Verdict> {
    let key = ServiceKey {
        address: flow.key.destination,
        fwmark: 0,
        port: flow.key.destination_port,
        protocol: flow.key.protocol,
        family: flow.key.family,
    };
    let Some(service) = tables.find_service(&key).and_then(|id| tables.service(id)) else {
        return Err(Verdict::Pass(Pass::NoService));
    };
    if !packet.is_for_this_host() {
        return Err(Verdict::Pass(Pass::NotForThisHost));
    }
    if !may_open(flow) {
        return Err(Verdict::Pass(Pass::NotScheduled));
    }
    let Some((id, dest)) = sched::pick(tables, service).and_then(|id| Some((id, tables.dest(id)?))) else {
        return Err(Verdict::Drop(Drop::NoDestination));
    };
    let identity = identity(flow, id, dest);
    let row = conn::open(tables, &identity, Life::born(&identity, flow.event, now)).map_err(|error| {
        Verdict::Drop(match error {
            OpenError::Full => Drop::TableFull,
            OpenError::Raced => Drop::Raced,
            OpenError::Inconsistent => Drop::NoDestination,
        })
    })?;
    tables.count(id, &Stats { conns: 1, ..traffic(flow, Direction::Request) });
    Ok(Found { row, direction: Direction::Request })
}

/// Whether a packet without a connection may open one (connections.md section 3, sloppy_tcp off).
fn may_open(flow: &Flow) -> bool {
    let opens = flow.key.protocol != PROTOCOL_TCP || flow.event == Event::Syn;
    opens && flow.key.source_port != FTP_DATA_PORT
}

/// The connection of a client's packet to destination `id`.
fn identity(flow: &Flow, id: u32, dest: &DestRow) -> ConnIdentity {
    ConnIdentity {
        client: flow.key.source,
        virtual_address: flow.key.destination,
        dest_address: dest.address,
        client_port: flow.key.source_port,
        virtual_port: flow.key.destination_port,
        dest_port: if dest.port == 0 { flow.key.destination_port } else { dest.port },
        protocol: flow.key.protocol,
        family: flow.key.family,
        dest: id,
        method: u32::from(dest.method),
    }
}

fn is_available(dest: &DestRow) -> bool {
    dest.flags.load() & dest_flags::AVAILABLE != 0
}

/// What one packet adds to the statistics: IP length before any change (stats.md section 1).
fn traffic(flow: &Flow, direction: Direction) -> Stats {
    let bytes = u64::from(flow.ip_len);
    match direction {
        Direction::Request => Stats { in_packets: 1, in_bytes: bytes, ..Stats::default() },
        Direction::Reply => Stats { out_packets: 1, out_bytes: bytes, ..Stats::default() },
    }
}

#[cfg(test)]
mod tests;
