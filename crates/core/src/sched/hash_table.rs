//! dh, sh and mh: a hash leads to a slot of a table, and the slot to a destination.
//!
//! Two slots share a word: destination numbers, the one of the even slot in the lower half. The daemon replaces words while
//! packets read them, as IPVS does.

use core::ops::ControlFlow;

use super::{Ask, Scheduler, dh, mh, sh, unknown_zero};
use crate::rows::{DestRow, Words, dest_flags, service_flags};
use crate::tables::{Tables, Walk};

/// Flag: another destination is looked for where the one hashed to takes no connections.
const FALLBACK: u32 = service_flags::SCHEDULER_1;
/// Flag: the client's port is hashed too.
const PORT: u32 = service_flags::SCHEDULER_2;

/// How many slots a scheduler's table has; 0 where it has none.
#[inline(always)]
pub fn slots(scheduler: u32) -> u32 {
    if scheduler == Scheduler::DestinationHashing as u32 {
        dh::SLOTS
    } else if scheduler == Scheduler::SourceHashing as u32 {
        sh::SLOTS
    } else if scheduler == Scheduler::MaglevHashing as u32 {
        mh::SLOTS
    } else {
        0
    }
}

/// How many words a scheduler's table takes.
pub fn size(scheduler: u32) -> u32 {
    slots(scheduler).div_ceil(2)
}

/// Picks by the table in `words`, with the service's flags.
#[inline(always)]
pub fn pick<T: Tables>(tables: &T, words: Words, flags: u32, ask: &Ask) -> Option<u32> {
    if words.scheduler == Scheduler::DestinationHashing as u32 {
        return at(tables, words, dh::slot(ask)).and_then(|dest| accepting(tables, dest));
    }
    let port = if flags & PORT != 0 { u32::from(ask.client_port) } else { 0 };
    let is_maglev = words.scheduler == Scheduler::MaglevHashing as u32;
    if !is_maglev && words.scheduler != Scheduler::SourceHashing as u32 {
        return None;
    }
    let slot = if is_maglev { mh::slot(ask, port, 0) } else { sh::slot(ask, port) };
    let dest = at(tables, words, slot)?;
    let picked = accepting(tables, dest);
    if picked.is_some() || flags & FALLBACK == 0 {
        return picked;
    }
    let zero = unknown_zero(tables);
    let mut probe = Probe { words, ask, port, slot, found: zero, dest: zero };
    tables.walk(slots(words.scheduler), &mut probe);
    (probe.found != 0).then_some(probe.dest)
}

/// What a slot holds; [`crate::rows::NO_DEST`] where nothing.
#[inline(always)]
fn at<T: Tables>(tables: &T, words: Words, slot: u32) -> Option<u32> {
    let word = tables.word(words.base.wrapping_add(slot >> 1))?.load();
    Some((word >> ((slot & 1) << 5)) as u32)
}

/// `dest`, if it takes new connections.
#[inline(always)]
fn accepting<T: Tables>(tables: &T, dest: u32) -> Option<u32> {
    let accepts = |row: &DestRow| {
        row.weight.load() > 0
            && row.flags.load() & (dest_flags::AVAILABLE | dest_flags::OVERLOAD) == dest_flags::AVAILABLE
    };
    tables.dest(dest).is_some_and(accepts).then_some(dest)
}

/// On the way through other slots.
struct Probe<'a> {
    words: Words,
    ask: &'a Ask,
    port: u32,
    /// The client's own.
    slot: u32,
    /// Not 0 once there is one.
    found: u32,
    dest: u32,
}

impl<T: Tables> Walk<T> for Probe<'_> {
    #[inline(always)]
    fn step(&mut self, tables: &T, index: u32) -> ControlFlow<()> {
        let slot = if self.words.scheduler == Scheduler::MaglevHashing as u32 {
            mh::slot(self.ask, self.port, mh::fallback(self.slot, index))
        } else {
            sh::fallback(self.slot, index)
        };
        let Some(dest) = at(tables, self.words, slot) else {
            return ControlFlow::Break(());
        };
        if tables.dest(dest).is_none() {
            // An empty slot: the table has no destination at all.
            return ControlFlow::Break(());
        }
        if accepting(tables, dest).is_some() {
            self.dest = dest;
            self.found = 1;
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}
