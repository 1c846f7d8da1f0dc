//! Connections: how they are found, opened, moved from state to state, and retired.
//!
//! Every change of a connection's life is one compare-and-swap of one word ([`Life`]); whoever wins it does what follows
//! from it (counters, index). So ActiveConn and InActConn equal the rows that exist, whichever CPUs and whichever side
//! (data plane or daemon) acted at once.
//!
//! Two rules keep rows safe to read without locks: the data plane only opens and retires; a retired row is used again only
//! by the daemon's leave, [`GRACE_MS`] later, when no packet that saw the old row can still be under way.

pub mod state;
mod tally;
pub mod template;
pub mod timeout;

use crate::flow::{Event, Flow};
use crate::rows::{ConfigRow, ConnIdentity, ConnRow, Counts, DestRow, FlowEntry, FlowKey, Setting, kind, method};
use crate::tables::{InsertError, Tables};
use crate::wire::protocol;
use state::{sctp, tcp};

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
#[repr(u32)]
pub enum Direction {
    /// From the client.
    Request = 0,
    /// From the real server.
    Reply = 1,
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
    /// A persistence template, not a connection.
    pub const TEMPLATE: u8 = 0x04;
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

    /// Whether it is a persistence template's.
    pub fn is_template(self) -> bool {
        self.flags & flags::TEMPLATE != 0
    }

    /// What to add to [`crate::rows::DestRow::counts`] for one connection like this; templates are not in the total.
    fn count(self) -> u64 {
        if self.is_template() {
            0
        } else if self.is_inactive() {
            Counts::ONE_INACTIVE
        } else {
            Counts::ONE_ACTIVE
        }
    }

    /// The life of a connection before its first packet was looked at (connections.md section 1).
    pub fn unborn(method: u8, now: &Now<'_>) -> Self {
        let no_output = if method == method::MASQUERADING { 0 } else { flags::NO_OUTPUT };
        let deadline = now.jiffies + timeout::jiffies(now.config, timeout::UNSET);
        Self { deadline, state: 0, flags: flags::LIVE | flags::INACTIVE | no_output }
    }

    /// What this life becomes through one packet (connections.md section 6).
    pub fn after(self, protocol: u8, direction: Direction, event: Event, now: &Now<'_>) -> Self {
        let mut next = self;
        if direction == Direction::Reply {
            next.flags &= !flags::NO_OUTPUT;
        }
        let table = match direction {
            Direction::Reply => state::Table::Output,
            Direction::Request if self.flags & flags::NO_OUTPUT != 0 => state::Table::InputOnly,
            Direction::Request => state::Table::Input,
        };
        let secure = now.config.tcp_table.load() != 0;
        next.state = state::next(protocol, secure, table, event, self.state);
        next.flags |= flags::INACTIVE;
        if state::is_active(protocol, next.state) {
            next.flags &= !flags::INACTIVE;
        }
        next.deadline = now.jiffies + timeout::jiffies(now.config, timeout::index(protocol, next.state));
        next
    }
}

/// A connection that a packet belongs to.
#[derive(Clone, Copy)]
pub struct Found<'t> {
    /// Number of its row.
    pub id: u32,
    /// Its row.
    pub row: &'t ConnRow,
    /// Which way the packet goes.
    pub direction: Direction,
    /// Its life as it was seen.
    pub seen: u64,
}

/// The connection that the index knows under `key`, its time over or not.
#[inline(always)]
pub fn find<'t, T: Tables>(tables: &'t T, key: &FlowKey) -> Option<Found<'t>> {
    let entry = tables.find_flow(key)?;
    let row = tables.conn(entry.conn)?;
    let seen = row.life.load();
    let direction = Direction::from_number(entry.direction);
    Life::unpack(seen).is_live().then_some(Found { id: entry.conn, row, direction, seen })
}

impl Found<'_> {
    /// Whether its time is over: then it is no connection any more, swept or not.
    pub fn is_over(&self, now: &Now<'_>) -> bool {
        now.jiffies >= Life::unpack(self.seen).deadline
    }
}

/// What is to happen to a client's packet of a connection that exists (connections.md section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It belongs to the connection.
    Follow,
    /// The connection ends here; the packet may open another.
    Anew,
    /// Its destination is gone, and so is the packet.
    Gone,
}

/// Decides on a client's packet of connection `found` to `dest`.
pub fn admit(flow: &Flow, found: &Found<'_>, dest: Option<&DestRow>, now: &Now<'_>) -> Admission {
    let expires = now.config.is_on(Setting::ExpireNodestConn);
    if flow.is_new {
        let weightless = dest.is_some_and(|dest| dest.weight.load() == 0);
        if expires && weightless || makes_way(flow, found, now) {
            return Admission::Anew;
        }
    }
    match dest {
        Some(dest) if !is_available(dest) => {
            if expires {
                Admission::Anew
            } else {
                Admission::Gone
            }
        }
        _ => Admission::Follow,
    }
}

/// Whether a destination belongs to its service.
pub fn is_available(dest: &DestRow) -> bool {
    dest.flags.load() & crate::rows::dest_flags::AVAILABLE != 0
}

/// conn_reuse_mode: whether a connection makes way for a client that begins anew on the same port.
fn makes_way(flow: &Flow, found: &Found<'_>, now: &Now<'_>) -> bool {
    /// Bit of the setting: also where the answers do not pass here and the client closed.
    const AFTER_FIN: u32 = 2;
    let mode = now.config.setting(Setting::ConnReuseMode);
    if mode == 0 || found.row.controller.load() != 0 {
        return false;
    }
    let life = Life::unpack(found.seen);
    match flow.key.protocol {
        protocol::TCP => {
            matches!(life.state, tcp::TIME_WAIT | tcp::CLOSE)
                || (mode & AFTER_FIN != 0 && life.state == tcp::FIN_WAIT && life.flags & flags::NO_OUTPUT != 0)
        }
        protocol::SCTP => life.state == sctp::CLOSED,
        _ => false,
    }
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

/// Opens a connection or template: fills a free row, puts its flows into the index, and only then makes it live. Whoever finds
/// the row before that takes it for none and, as the request's flow is taken, opens none in its place. A connection's
/// controller must have been told ([`template::hold`]) before. Returns the row's number.
pub fn open<T: Tables>(tables: &T, identity: &ConnIdentity, life: Life, key: &mut FlowKey) -> Result<u32, OpenError> {
    let id = tables.take_conn().ok_or(OpenError::Full)?;
    let row = tables.conn(id).ok_or(OpenError::Inconsistent)?;
    row.set_identity(identity);

    // One key, filled again: a program has 512 bytes of stack in all.
    identity.write_request_key(key);
    let mut inserted = tables.insert_flow(key, entry(id, Direction::Request), false);
    if inserted.is_ok() && identity.kind == kind::FLOW {
        // Two services may share a real server and port, a client may use one port for both: the newest connection gets
        // the replies, as in IPVS (connections.md section 2).
        identity.write_reply_key(key);
        inserted = tables.insert_flow(key, entry(id, Direction::Reply), true);
        if inserted.is_err() {
            identity.write_request_key(key);
            tables.remove_flow(key);
        }
    }
    if let Err(error) = inserted {
        tables.give_conn(id);
        return Err(error.into());
    }
    if let Some(dest) = tables.dest(identity.dest) {
        tally::bind(tables, dest, life.count());
        if identity.kind == kind::TEMPLATE {
            T::add(&dest.persistent, 1);
        }
    }
    // A swap, not a store: it comes after everything above on every CPU.
    T::swap(&row.life, 0, life.pack());
    Ok(id)
}

fn entry(conn: u32, direction: Direction) -> FlowEntry {
    FlowEntry { conn, direction: direction.number() }
}

/// What became of a connection whose time was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expired {
    /// A template that connections still need: it lives on.
    Rearmed,
    /// It ended.
    Retired,
    /// Somebody else changed it in the meantime.
    Lost,
}

/// Deals with row `id`, whose deadline is over and whose life is still `seen` (connections.md section 9).
#[inline(always)]
pub fn expire<T: Tables>(tables: &T, id: u32, row: &ConnRow, seen: u64, now: &Now<'_>, key: &mut FlowKey) -> Expired {
    if Life::unpack(seen).is_template() && row.controlled.load() != 0 {
        return if template::rearm::<T>(row, seen, now) { Expired::Rearmed } else { Expired::Lost };
    }
    row.retired_at.store(now.jiffies as u32);
    if retire(tables, id, row, seen, key) { Expired::Retired } else { Expired::Lost }
}

/// Ends connection or template `id` if its life is still `seen` (a word that was live): takes it from the index and from the
/// counters of its destination and controller. Returns whether it was this call that ended it.
///
/// [`ConnRow::retired_at`] says when that was, and is for the caller to store before. `key` is memory to work in.
pub fn retire<T: Tables>(tables: &T, id: u32, row: &ConnRow, seen: u64, key: &mut FlowKey) -> bool {
    if T::swap(&row.life, seen, Life::RETIRED) != seen {
        return false;
    }
    let life = Life::unpack(seen);
    // The request's entry last: while it is there nobody opens the flow anew, so the reply's cannot be a newer connection's.
    if !life.is_template() {
        row.identity().write_reply_key(key);
        remove_own_flow(tables, id, key);
    }
    row.identity().write_request_key(key);
    remove_own_flow(tables, id, key);
    if let Some(dest) = tables.dest(row.dest.load()) {
        tally::unbind(tables, dest, life.count());
        if life.is_template() {
            T::add(&dest.persistent, 1u64.wrapping_neg());
        }
    }
    template::release(tables, row.controller.load());
    true
}

/// [`retire`] at `now`, for homes that have a stack.
#[cfg(not(target_arch = "bpf"))]
pub fn retire_at<T: Tables>(tables: &T, id: u32, row: &ConnRow, seen: u64, now: u64) -> bool {
    row.retired_at.store(now as u32);
    retire(tables, id, row, seen, &mut { FlowKey::NONE })
}

/// Removes `key` from the index unless it leads to a newer connection by now.
fn remove_own_flow<T: Tables>(tables: &T, id: u32, key: &FlowKey) {
    if tables.find_flow(key).is_some_and(|found| found.conn == id) {
        tables.remove_flow(key);
    }
}

/// Moves a connection on by one packet: state, deadline, counters. `None` when it ended in the meantime.
#[inline(always)]
pub fn touch<T: Tables>(tables: &T, row: &ConnRow, direction: Direction, flow: &Flow, now: &Now<'_>) -> Option<()> {
    for _ in 0..TOUCH_TRIES {
        let word = row.life.load();
        let life = Life::unpack(word);
        if !life.is_current(now.jiffies) {
            return None;
        }
        let next = life.after(flow.key.protocol, direction, flow.event, now);
        // Within one jiffy a packet may change nothing, and yet be the one that shows that the connection is real.
        if next == life || T::swap(&row.life, word, next.pack()) == word {
            // A bypass connection has no destination that would count it.
            if next.is_inactive() != life.is_inactive()
                && let Some(dest) = tables.dest(row.dest.load())
            {
                tally::moved(tables, dest, next.count().wrapping_sub(life.count()));
            }
            let controller = row.controller.load();
            if controller != 0 && assures(flow.key.protocol, direction, next.state) {
                template::assure(tables, controller);
            }
            return Some(());
        }
    }
    Some(())
}

/// Whether a packet that led to `state` shows that the connection is a real one (connections.md section 4).
fn assures(protocol: u8, direction: Direction, state: u8) -> bool {
    if protocol == protocol::UDP { direction == Direction::Reply } else { state::is_established(protocol, state) }
}

#[cfg(test)]
mod tests;
