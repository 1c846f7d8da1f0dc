//! The director: one packet in, one verdict out.
//!
//! ```text
//! ingress   frame -> parse -> connection? -- yes --> admit -> account -> forward
//!                       |          | no
//!                       |          +-> begin    service? -> template?
//!                       |              schedule -> the scheduler's choice
//!                       |              open     -> template, connection
//!                       |              follow   -> account -> forward
//!                       +-> related   an ICMP error: the connection of the packet that it quotes -> forward
//! forward   method, time to live, way out, size -> rewrite | encapsulate
//! ```
//!
//! Each line is a [`Stage`]: in the kernel a program of its own, entered by a tail call; natively a function.

use crate::begin;
use crate::conn::{self, Admission, Direction, Found, Now};
use crate::flow::{Flow, Part};
use crate::forward::{self, tunnel};
use crate::packet::Packet;
use crate::rows::{ConnRow, FlowEntry, Setting, Stats, kind, method};
use crate::scratch::{NO_CONN, Scratch};
use crate::tables::Tables;
use crate::verdict::Verdict;

/// A part of a packet's way; the numbers are places in the kernel's table of programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Stage {
    /// Every frame begins here.
    Ingress = 0,
    /// No connection is known: may one be opened?
    Begin = 1,
    /// An ICMP error.
    Related = 2,
    /// Into a tunnel.
    Encapsulate = 3,
    /// A connection was opened: its first packet.
    Follow = 4,
    /// A destination is to be chosen.
    Schedule = 5,
    /// A destination was chosen, or none could be.
    Open = 6,
}

/// Number of [`Stage`]s.
pub const STAGES: u32 = 7;

/// What a stage ends with.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The packet's fate.
    Done(Verdict),
    /// Another stage goes on.
    Next(Stage),
}

impl From<Verdict> for Step {
    fn from(verdict: Verdict) -> Self {
        Self::Done(verdict)
    }
}

/// Decides on one frame and rewrites it where it is to be forwarded. `now` is in jiffies.
pub fn direct<P: Packet, T: Tables>(packet: &mut P, tables: &T, scratch: &mut Scratch, now: u64) -> Verdict {
    let mut stage = Stage::Ingress;
    // The stages form no circle.
    loop {
        match run(stage, packet, tables, scratch, now) {
            Step::Done(verdict) => return verdict,
            Step::Next(next) => stage = next,
        }
    }
}

/// One stage.
#[inline(always)]
pub fn run<P: Packet, T: Tables>(stage: Stage, packet: &mut P, tables: &T, scratch: &mut Scratch, now: u64) -> Step {
    let Some(config) = tables.config() else {
        return Verdict::PassNotReady.into();
    };
    let now = Now { jiffies: now, config };
    match stage {
        Stage::Ingress => ingress(packet, tables, scratch, &now),
        Stage::Begin => begin(packet, tables, scratch, &now),
        Stage::Follow => first(packet, tables, scratch, &now),
        Stage::Schedule => schedule(tables, scratch, &now),
        Stage::Open => open(tables, scratch, &now),
        Stage::Related => related(packet, tables, scratch, &now),
        Stage::Encapsulate => tunnel::encapsulate(packet, tables, scratch, &now).into(),
    }
}

/// Reads the frame, looks for its connection and sends it that way.
#[inline(always)]
fn ingress<P: Packet, T: Tables>(packet: &mut P, tables: &T, scratch: &mut Scratch, now: &Now<'_>) -> Step {
    match belong(packet, tables, scratch, now) {
        Ok(()) => forward::forward(packet, tables, scratch, now),
        Err(step) => step,
    }
}

/// Finds the connection of a frame and moves it on. The error is the way of a frame that has none.
#[inline(always)]
fn belong<P: Packet, T: Tables>(packet: &mut P, tables: &T, scratch: &mut Scratch, now: &Now<'_>) -> Result<(), Step> {
    scratch.refusal.kind = 0;
    scratch.flow.parse(packet)?;
    if now.config.services_of(scratch.flow.key.family).load() == 0 {
        return Err(Verdict::PassNoService.into());
    }
    if scratch.flow.is_error {
        return Err(Step::Next(Stage::Related));
    }
    if scratch.flow.ip.part == Part::Later {
        return Ok(follow_first(tables, scratch)?);
    }
    scratch.stale = NO_CONN;
    let found = conn::find(tables, &scratch.flow.key).ok_or(Step::Next(Stage::Begin))?;
    if found.is_over(now) {
        return Err(give_way(scratch, &found));
    }
    if found.direction == Direction::Request {
        let dest = tables.dest(found.row.dest.load());
        match conn::admit(&scratch.flow, &found, dest, now) {
            Admission::Follow => {}
            Admission::Gone => return Err(Verdict::DropDestinationRemoved.into()),
            Admission::Anew => return Err(give_way(scratch, &found)),
        }
    }
    Ok(follow(tables, scratch, found.id, found.row, found.direction, now)?)
}

/// A connection has come to its end; where it is the client that asks, perhaps another begins in its place.
#[inline(always)]
fn give_way(scratch: &mut Scratch, found: &Found<'_>) -> Step {
    if found.direction == Direction::Request {
        scratch.stale = found.id;
        scratch.stale_seen = found.seen;
    }
    Step::Next(Stage::Begin)
}

/// A packet of a connection: moves it on and is counted.
#[inline(always)]
fn follow<T: Tables>(
    tables: &T,
    scratch: &mut Scratch,
    id: u32,
    row: &ConnRow,
    direction: Direction,
    now: &Now<'_>,
) -> Result<(), Verdict> {
    if conn::touch(tables, row, direction, &scratch.flow, now).is_none() {
        return Err(Verdict::DropRaced);
    }
    if scratch.flow.ip.part == Part::First {
        fragment_key(scratch);
        tables.note_fragment(&scratch.key, FlowEntry { conn: id, direction: direction as u32 });
    }
    if direction == Direction::Request {
        let packets = &row.in_packets;
        packets.store(packets.load().wrapping_add(1));
    }
    scratch.conn = id;
    scratch.direction = direction;
    scratch.identity = row.identity();
    count(tables, scratch);
    Ok(())
}

/// Statistics of the packet's destination, unless that is gone (stats.md section 1). Returns whether it is there.
#[inline(always)]
fn count<T: Tables>(tables: &T, scratch: &Scratch) -> bool {
    let id = scratch.identity.dest;
    let available = tables.dest(id).is_some_and(conn::is_available);
    if available {
        tables.count(id, &traffic(&scratch.flow, scratch.direction));
    }
    available
}

/// What one packet adds to the statistics: IP length before any change (stats.md section 1). IPVS counts a datagram that came in
/// fragments once, with one header.
fn traffic(flow: &Flow, direction: Direction) -> Stats {
    let (packets, bytes) = if flow.ip.part == Part::Later { (0, flow.ip.payload_len()) } else { (1, flow.ip.len) };
    let bytes = u64::from(bytes);
    match direction {
        Direction::Request => Stats { in_packets: packets, in_bytes: bytes, ..Stats::default() },
        Direction::Reply => Stats { out_packets: packets, out_bytes: bytes, ..Stats::default() },
    }
}

/// No connection: perhaps the first packet of a new one.
#[inline(always)]
fn begin<P: Packet, T: Tables>(packet: &mut P, tables: &T, scratch: &mut Scratch, now: &Now<'_>) -> Step {
    if let Some(row) = tables.conn(scratch.stale) {
        row.retired_at.store(now.jiffies as u32);
        conn::retire(tables, scratch.stale, row, scratch.stale_seen, &mut scratch.key);
    }
    match begin::begin(packet, tables, scratch, now) {
        Ok(true) => Step::Next(Stage::Schedule),
        Ok(false) => Step::Next(Stage::Open),
        Err(verdict) => {
            // The fragments that follow go the same way: to the stack.
            if verdict.is_pass() && scratch.flow.ip.part == Part::First {
                fragment_key(scratch);
                tables.note_fragment(&scratch.key, FlowEntry { conn: NO_CONN, direction: 0 });
            }
            verdict.into()
        }
    }
}

/// A destination is chosen.
#[inline(always)]
fn schedule<T: Tables>(tables: &T, scratch: &mut Scratch, now: &Now<'_>) -> Step {
    begin::schedule(tables, scratch, now);
    Step::Next(Stage::Open)
}

/// The connection is opened.
#[inline(always)]
fn open<T: Tables>(tables: &T, scratch: &mut Scratch, now: &Now<'_>) -> Step {
    match begin::open(tables, scratch, now) {
        Ok(()) => Step::Next(Stage::Follow),
        Err(verdict) => verdict.into(),
    }
}

/// The first packet of a connection, or the only one of none.
#[inline(always)]
fn first<P: Packet, T: Tables>(packet: &mut P, tables: &T, scratch: &mut Scratch, now: &Now<'_>) -> Step {
    match follow_new(packet, tables, scratch, now) {
        Ok(()) => forward::forward(packet, tables, scratch, now),
        Err(verdict) => verdict.into(),
    }
}

#[inline(always)]
fn follow_new<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    scratch: &mut Scratch,
    now: &Now<'_>,
) -> Result<(), Verdict> {
    scratch.direction = Direction::Request;
    if scratch.flow.is_error {
        return follow_error(packet, tables, scratch);
    }
    let id = scratch.conn;
    let Some(row) = tables.conn(id) else {
        count(tables, scratch);
        return Ok(());
    };
    follow(tables, scratch, id, row, Direction::Request, now)
}

/// An ICMP error about a packet of a connection (forwarding.md section 5).
#[inline(always)]
fn related<P: Packet, T: Tables>(packet: &mut P, tables: &T, scratch: &mut Scratch, now: &Now<'_>) -> Step {
    scratch.stale = NO_CONN;
    let schedules = now.config.is_on(Setting::ScheduleIcmp);
    let found = match conn::find(tables, &scratch.flow.key) {
        Some(found) if !found.is_over(now) => found,
        Some(found) if schedules => return give_way(scratch, &found),
        None if schedules => return Step::Next(Stage::Begin),
        _ => return Verdict::PassNoConnection.into(),
    };
    scratch.conn = found.id;
    scratch.direction = found.direction;
    scratch.identity = found.row.identity();
    match follow_error(packet, tables, scratch) {
        Ok(()) => forward::forward(packet, tables, scratch, now),
        Err(verdict) => verdict.into(),
    }
}

/// An ICMP error goes the way of its connection. It neither moves it on nor refreshes it, but is counted.
#[inline(always)]
fn follow_error<P: Packet, T: Tables>(packet: &mut P, tables: &T, scratch: &mut Scratch) -> Result<(), Verdict> {
    if scratch.identity.method == method::MASQUERADING && !forward::error::is_sound(packet, &scratch.flow) {
        return Err(Verdict::DropBadChecksum);
    }
    count(tables, scratch);
    Ok(())
}

/// A fragment without a transport header goes the way of the first one of its datagram.
#[inline(always)]
fn follow_first<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<(), Verdict> {
    fragment_key(scratch);
    let Some(entry) = tables.find_fragment(&scratch.key) else {
        // Only what is ours is worth waiting for.
        let ours = tables.is_balanced(&scratch.flow.ip.source) || tables.is_balanced(&scratch.flow.ip.destination);
        return Err(if ours { Verdict::Hold } else { Verdict::PassFragment });
    };
    let row = tables.conn(entry.conn).ok_or(Verdict::PassFragment)?;
    scratch.conn = entry.conn;
    scratch.identity = row.identity();
    scratch.direction = Direction::from_number(entry.direction);
    // The row may have become another connection's since.
    scratch.key = match scratch.direction {
        Direction::Request => scratch.identity.request_key(),
        Direction::Reply => scratch.identity.reply_key(),
    };
    if scratch.key.source != scratch.flow.ip.source || scratch.key.destination != scratch.flow.ip.destination {
        return Err(Verdict::PassFragment);
    }
    let needs_dest = scratch.direction == Direction::Request && scratch.identity.method != method::BYPASS;
    if !count(tables, scratch) && needs_dest {
        return Err(Verdict::DropDestinationRemoved);
    }
    Ok(())
}

/// The key by which fragments of a datagram find each other: its identification in the place of the ports.
#[inline(always)]
fn fragment_key(scratch: &mut Scratch) {
    scratch.key = scratch.flow.key;
    scratch.key.kind = kind::FRAGMENT;
    scratch.key.protocol = scratch.flow.ip.protocol;
    scratch.key.source_port = (scratch.flow.ip.fragment_id >> 16) as u16;
    scratch.key.destination_port = scratch.flow.ip.fragment_id as u16;
}

#[cfg(test)]
mod tests;
