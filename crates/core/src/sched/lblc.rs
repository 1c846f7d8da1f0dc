//! Locality-based least connections (schedulers.md section 13): what served an address before serves it again, unless it is
//! overloaded while another has room.
//!
//! What is remembered stands in a table of its own, by [`CacheKey`]. The daemon forgets what was not used for long.

use core::ops::ControlFlow;

use super::tree::Tree;
use super::{Ask, Scheduler, View, least, member, unknown_zero};
use crate::rows::{CacheEntry, CacheKey, Counts, DestRow, Span, dest_flags};
use crate::tables::{Tables, Walk};

/// Picks what is remembered, else the least connected. `generation`: see [`CacheKey::generation`].
#[inline(always)]
pub fn pick<T: Tables>(tables: &T, view: View, generation: u32, ask: &Ask) -> Option<u32> {
    let tree = Tree::of(view, Scheduler::LocalityBased as u32);
    let key = CacheKey { address: ask.destination, generation, index: 0 };
    let mut entry = CacheEntry { value: 0, used: ask.now as u32, changed: 0 };
    if let Some(found) = tables.find_cached(&key) {
        entry.value = found.value;
        if found.used != entry.used {
            tables.cache(&key, &entry);
        }
        // IPVS does not ask for the OVERLOAD flag here.
        let serves = |dest: &&DestRow| dest.flags.load() & dest_flags::AVAILABLE != 0 && dest.weight.load() > 0;
        if let Some(dest) = tables.dest(entry.value).filter(serves)
            && !is_overloaded(tables, view, tree, dest)
        {
            return Some(entry.value);
        }
    }
    entry.value = least::best(tables, view, least::rule::WEIGHTED, tree)?;
    tables.cache(&key, &entry);
    Some(entry.value)
}

/// Whether a destination is overloaded: more active connections than its weight, while some destination of the service has
/// less than half as many as its own.
#[inline(always)]
pub fn is_overloaded<T: Tables>(tables: &T, view: View, tree: Tree, dest: &DestRow) -> bool {
    Counts::unpack(dest.counts.load()).active > dest.weight.load() && somebody_has_room(tables, view, tree)
}

#[inline(always)]
fn somebody_has_room<T: Tables>(tables: &T, view: View, tree: Tree) -> bool {
    if tree.exists() {
        let tree = tree.second();
        let winner = tree.winner(tables);
        let Some(leaf) = winner.checked_sub(1) else {
            return false;
        };
        if tree.eligible(tables, leaf).is_some() {
            return true;
        }
    }
    let mut room = Room { span: view.span, found: unknown_zero(tables) };
    tables.walk(view.span.len, &mut room);
    room.found != 0
}

struct Room {
    span: Span,
    /// Not 0 once there is one.
    found: u32,
}

impl<T: Tables> Walk<T> for Room {
    #[inline(always)]
    fn step(&mut self, tables: &T, index: u32) -> ControlFlow<()> {
        let Some(member) = member(tables, self.span, index) else {
            return ControlFlow::Break(());
        };
        let has_room = |dest: &DestRow| least::standing(least::rule::SPARE, dest, member.weight.load()).is_some();
        if tables.dest(member.dest.load()).is_some_and(has_room) {
            self.found = 1;
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}
