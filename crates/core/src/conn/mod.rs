//! Connections: how they are found, opened, moved from state to state, and retired.
//!
//! Every change of a connection's life is one compare-and-swap of one word ([`Life`]); whoever wins it does what follows
//! from it (counters, index). So ActiveConn and InActConn equal the rows that exist, whichever CPUs and whichever side
//! (data plane or daemon) acted at once.
//!
//! Two rules keep rows safe to read without locks: the data plane only opens and retires; a retired row is used again only
//! by the daemon's leave, [`GRACE_MS`] later, when no packet that saw the old row can still be under way.

pub mod tcp;
pub mod timeout;

use crate::flow::{Event, Flow};
use crate::rows::{ConfigRow, ConnIdentity, ConnRow, Counts, FlowEntry, FlowKey, method};
use crate::tables::{InsertError, Tables};
use crate::wire::ipv4::PROTOCOL_TCP;

/// How long, in milliseconds, a retired row rests before its number is used again. A packet spends microseconds in the
/// program; a second is beyond any delay that a CPU can suffer inside it.
pub const GRACE_MS: u64 = 1000;

/// How often a packet tries to move a connection on while other CPUs do the same. Each failure means that another packet
/// succeeded and refreshed the deadline, so giving up loses at most one state change of packets that crossed.
const TOUCH_TRIES: u32 = 4;

/// The moment of a packet, and the settings that turn moments into deadlines.
pub struct Now<'t> {
    /// The kernel's jiffies.
    pub jiffies: u64,
    /// Timeouts and epoch.
    pub config: &'t ConfigRow,
}

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client.
    Request,
    /// From the real server.
    Reply,
}

impl Direction {
    /// As it stands in a [`FlowEntry`].
    pub fn number(self) -> u32 {
        match self {
            Self::Request => 0,
            Self::Reply => 1,
        }
    }

    /// From a [`FlowEntry`]; every number but 0 is a reply.
    pub fn from_number(number: u32) -> Self {
        if number == 0 { Self::Request } else { Self::Reply }
    }
}

/// Bits of [`Life::flags`].
pub mod flags {
    /// Counted in InActConn, not in ActiveConn.
    pub const INACTIVE: u8 = 0x01;
    /// No packet of the real server was seen: the input-only state table applies.
    pub const NO_OUTPUT: u8 = 0x02;
    /// No longer a connection; waits for the end of its grace period.
    pub const RETIRED: u8 = 0x40;
    /// A connection.
    pub const LIVE: u8 = 0x80;
}

/// Deadline, state and flags of a connection: one 64-bit word, `deadline << 16 | flags << 8 | state`.
///
/// The word 0 is a free row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// When it expires, in jiffies (48 bits: 8900 years at 1000 a second).
    pub deadline: u64,
    /// State; its meaning depends on the protocol.
    pub state: u8,
    /// [`flags`].
    pub flags: u8,
}

impl Life {
    /// What a row becomes when it is retired.
    pub const RETIRED: u64 = (flags::RETIRED as u64) << 8;

    /// As one word.
    pub fn pack(self) -> u64 {
        (self.deadline << 16) | (u64::from(self.flags) << 8) | u64::from(self.state)
    }

    /// From one word.
    pub fn unpack(word: u64) -> Self {
        Self { deadline: word >> 16, flags: (word >> 8) as u8, state: word as u8 }
    }

    /// Whether this is a connection at all, expired or not.
    pub fn is_live(self) -> bool {
        self.flags & flags::LIVE != 0
    }

    /// Whether this is a connection whose time is not over.
    pub fn is_current(self, now: u64) -> bool {
        self.is_live() && now < self.deadline
    }

    /// Whether it counts as an inactive connection.
    pub fn is_inactive(self) -> bool {
        self.flags & flags::INACTIVE != 0
    }

    /// What to add to [`crate::rows::DestRow::counts`] for one connection like this.
    fn count(self) -> u64 {
        if self.is_inactive() { Counts::ONE_INACTIVE } else { Counts::ONE_ACTIVE }
    }

    /// The life of a connection that `event` opens (connections.md sections 1 and 6).
    pub fn born(identity: &ConnIdentity, event: Event, now: &Now<'_>) -> Self {
        let no_output = if identity.method == method::MASQUERADING { 0 } else { flags::NO_OUTPUT };
        let unborn = Self { deadline: now.jiffies, state: tcp::NONE, flags: flags::LIVE | flags::INACTIVE | no_output };
        unborn.after(identity.protocol, Direction::Request, event, now)
    }

    /// What this life becomes through one packet (connections.md section 6).
    pub fn after(self, protocol: u8, direction: Direction, event: Event, now: &Now<'_>) -> Self {
        let mut next = self;
        if direction == Direction::Reply {
            next.flags &= !flags::NO_OUTPUT;
        }
        next.flags |= flags::INACTIVE;
        if protocol == PROTOCOL_TCP {
            let table = match direction {
                Direction::Reply => tcp::Table::Output,
                Direction::Request if self.flags & flags::NO_OUTPUT != 0 => tcp::Table::InputOnly,
                Direction::Request => tcp::Table::Input,
            };
            next.state = tcp::next(table, event, self.state);
            if tcp::is_active(next.state) {
                next.flags &= !flags::INACTIVE;
            }
        }
        next.deadline = now.jiffies + timeout::jiffies(now.config, timeout::index(protocol, next.state));
        next
    }
}

/// A connection that a packet belongs to.
pub struct Found<'t> {
    /// Its row.
    pub row: &'t ConnRow,
    /// Which way the packet goes.
    pub direction: Direction,
}

/// The connection of `flow`, if it has one. An expired one is none: it is retired on the spot when the client asks again.
pub fn find<'t, T: Tables>(tables: &'t T, flow: &Flow, now: &Now<'_>) -> Option<Found<'t>> {
    let entry = tables.find_flow(&flow.key)?;
    let row = tables.conn(entry.conn)?;
    let direction = Direction::from_number(entry.direction);
    let word = row.life.load();
    let life = Life::unpack(word);
    if !life.is_live() {
        return None;
    }
    let over = now.jiffies >= life.deadline || (direction == Direction::Request && makes_way(life, flow));
    if over {
        if direction == Direction::Request {
            retire(tables, entry.conn, row, word, now.jiffies);
        }
        return None;
    }
    Some(Found { row, direction })
}

/// Whether a connection makes way for a client that begins anew on the same port: connections.md section 5 with the
/// default conn_reuse_mode 1.
fn makes_way(life: Life, flow: &Flow) -> bool {
    flow.is_new && (life.state == tcp::TIME_WAIT || life.state == tcp::CLOSE)
}

/// Why a connection was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// No row or no place in the index is left.
    Full,
    /// Another CPU opened (or has not finished retiring) the same flow.
    Raced,
    /// A table lacks a row that another table names: only while the daemon changes it.
    Inconsistent,
}

impl From<InsertError> for OpenError {
    fn from(error: InsertError) -> Self {
        match error {
            InsertError::Full => Self::Full,
            InsertError::Exists => Self::Raced,
        }
    }
}

/// Opens a connection: fills a free row, puts both its flows into the index, and only then makes it a connection. Whoever
/// finds the row before that takes it for none and, as the request's flow is taken, opens none in its place.
pub fn open<'t, T: Tables>(tables: &'t T, identity: &ConnIdentity, life: Life) -> Result<&'t ConnRow, OpenError> {
    let dest = tables.dest(identity.dest).ok_or(OpenError::Inconsistent)?;
    let id = tables.take_conn().ok_or(OpenError::Full)?;
    let row = tables.conn(id).ok_or(OpenError::Inconsistent)?;
    row.set_identity(identity);

    // One key, filled again: a program has 512 bytes of stack in all.
    let mut key = identity.request_key();
    let mut inserted = tables.insert_flow(&key, entry(id, Direction::Request), false);
    if inserted.is_ok() {
        // Two services may share a real server and port, a client may use one port for both: the newest connection gets
        // the replies, as in IPVS (connections.md section 2).
        key = identity.reply_key();
        inserted = tables.insert_flow(&key, entry(id, Direction::Reply), true);
        if inserted.is_err() {
            key = identity.request_key();
            tables.remove_flow(&key);
        }
    }
    if let Err(error) = inserted {
        tables.give_conn(id);
        return Err(error.into());
    }
    T::add(&dest.counts, life.count());
    // A swap, not a store: it comes after everything above on every CPU.
    T::swap(&row.life, 0, life.pack());
    Ok(row)
}

fn entry(conn: u32, direction: Direction) -> FlowEntry {
    FlowEntry { conn, direction: direction.number() }
}

/// Ends connection `id` if its life is still `seen` (a word that was live): takes it from the index and from its
/// destination's counters. Returns whether it was this call that ended it.
pub fn retire<T: Tables>(tables: &T, id: u32, row: &ConnRow, seen: u64, now: u64) -> bool {
    row.retired_at.store(now as u32);
    if T::swap(&row.life, seen, Life::RETIRED) != seen {
        return false;
    }
    let identity = row.identity();
    // The request's entry last: while it is there nobody opens the flow anew, so the reply's cannot be a newer connection's.
    let mut key = identity.reply_key();
    remove_own_flow(tables, id, &key);
    key = identity.request_key();
    remove_own_flow(tables, id, &key);
    if let Some(dest) = tables.dest(identity.dest) {
        T::add(&dest.counts, Life::unpack(seen).count().wrapping_neg());
    }
    true
}

/// Removes `key` from the index unless it leads to a newer connection by now.
fn remove_own_flow<T: Tables>(tables: &T, id: u32, key: &FlowKey) {
    if tables.find_flow(key).is_some_and(|found| found.conn == id) {
        tables.remove_flow(key);
    }
}

/// Moves a connection on by one packet: state, deadline, counters. `None` when it ended in the meantime.
pub fn touch<T: Tables>(tables: &T, found: &Found<'_>, flow: &Flow, now: &Now<'_>) -> Option<()> {
    let row = found.row;
    for _ in 0..TOUCH_TRIES {
        let word = row.life.load();
        let life = Life::unpack(word);
        if !life.is_current(now.jiffies) {
            return None;
        }
        let next = life.after(flow.key.protocol, found.direction, flow.event, now);
        if next == life {
            return Some(());
        }
        if T::swap(&row.life, word, next.pack()) == word {
            if next.is_inactive() != life.is_inactive() {
                let dest = tables.dest(row.dest.load())?;
                T::add(&dest.counts, next.count().wrapping_sub(life.count()));
            }
            return Some(());
        }
    }
    Some(())
}

#[cfg(test)]
mod tests;
