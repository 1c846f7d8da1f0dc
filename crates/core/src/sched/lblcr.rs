//! Locality-based least connections with replication (schedulers.md section 14): as [`super::lblc`], but a set of
//! destinations serves an address.
//!
//! The entry says how many members the set has; they stand under the indexes 1, 2, .. in the order in which they came. IPVS
//! walks the newest first. IPVS changes a set under a lock; here two CPUs that change one in the same moment may lose one of
//! two new members, which comes back when it is chosen the next time.

use core::ops::ControlFlow;

use super::lblc::is_overloaded;
use super::least::{Standing, rule, standing};
use super::tree::Tree;
use super::{Ask, Scheduler, View, least, unknown_zero};
use crate::rows::{CacheEntry, CacheKey, Counts, DestRow, NO_DEST, Setting, dest_flags};
use crate::tables::{Tables, Walk};

/// Picks the least loaded of the set, or lets the set grow. `generation`: see [`CacheKey::generation`].
#[inline(always)]
pub fn pick<T: Tables>(tables: &T, view: View, generation: u32, ask: &Ask) -> Option<u32> {
    let tree = Tree::of(view, Scheduler::LocalityBasedReplicated as u32);
    // One key and one entry, filled again: stack is short.
    let mut key = CacheKey { address: ask.destination, generation, index: 0 };
    let mut entry = CacheEntry { value: 0, used: ask.now as u32, changed: ask.now };
    if let Some(found) = tables.find_cached(&key) {
        let is_new = found.used != entry.used;
        entry.value = found.value;
        entry.changed = found.changed;
        let least = search(tables, &key, entry.value, Wanted::LEAST) as u32;
        if entry.value > 1 && ask.now > entry.changed.wrapping_add(expiration(tables)) {
            shrink(tables, &key, &mut entry, ask.now);
        } else if is_new {
            tables.cache(&key, &entry);
        }
        if let Some(dest) = tables.dest(least)
            && !is_overloaded(tables, view, tree, dest)
        {
            return Some(least);
        }
    }
    let best = least::best(tables, view, rule::WEIGHTED, tree)?;
    if entry.value == 0 || search(tables, &key, entry.value, best) as u32 == NO_DEST {
        let size = entry.value.wrapping_add(1);
        key.index = size;
        entry.value = best;
        tables.cache(&key, &entry);
        key.index = 0;
        entry.value = size;
        entry.changed = ask.now;
        tables.cache(&key, &entry);
    }
    Some(best)
}

#[inline(always)]
fn expiration<T: Tables>(tables: &T) -> u64 {
    tables
        .config()
        .map_or(0, |config| u64::from(config.hz.load()).wrapping_mul(config.setting(Setting::LblcrExpiration).into()))
}

/// Takes the most loaded member from the set. Returns 0: a function of BPF returns something.
#[inline(never)]
fn shrink<T: Tables>(tables: &T, key: &CacheKey, entry: &mut CacheEntry, now: u64) -> u32 {
    let most = search(tables, key, entry.value, Wanted::MOST);
    if most as u32 != NO_DEST {
        let from = (most >> 32) as u32;
        let mut shift = Shift { key: *key, from };
        tables.walk(entry.value.wrapping_sub(from), &mut shift);
        shift.key.index = entry.value;
        tables.forget_cached(&shift.key);
        entry.value = entry.value.wrapping_sub(1);
        entry.changed = now;
    }
    tables.cache(key, entry);
    0
}

/// What to look for in a set; any other number is that destination.
struct Wanted;

impl Wanted {
    /// The least loaded member that takes connections.
    const LEAST: u32 = NO_DEST - 1;
    /// The most loaded member.
    const MOST: u32 = NO_DEST - 2;
}

/// On the way through a set.
struct Member {
    key: CacheKey,
    size: u32,
    wanted: u32,
    /// Not 0 once there is one.
    found: u32,
    dest: u32,
    index: u32,
    standing: Standing,
}

/// Looks through a set: the destination found in the lower half, [`NO_DEST`] where there is none, and its index in the upper.
/// A function of its own, so that its stack is used one search at a time.
#[inline(never)]
fn search<T: Tables>(tables: &T, entry: &CacheKey, size: u32, wanted: u32) -> u64 {
    let zero = unknown_zero(tables);
    let standing = Standing { cost: zero.into(), weight: zero.into() };
    let mut search =
        Member { key: *entry, size, wanted: wanted | zero, found: zero, dest: zero, index: zero, standing };
    tables.walk(size, &mut search);
    if search.found == 0 { NO_DEST.into() } else { (u64::from(search.index) << 32) | u64::from(search.dest) }
}

impl Member {
    /// Whether a destination with this standing takes the place of the one found before.
    #[inline(always)]
    fn gives_way_to(&self, standing: &Standing) -> bool {
        self.found == 0
            || if self.wanted == Wanted::MOST {
                standing.gives_way_to(&self.standing)
            } else {
                self.standing.gives_way_to(standing)
            }
    }
}

impl<T: Tables> Walk<T> for Member {
    #[inline(always)]
    fn step(&mut self, tables: &T, index: u32) -> ControlFlow<()> {
        self.key.index = self.size.wrapping_sub(index);
        let Some(entry) = tables.find_cached(&self.key) else {
            return ControlFlow::Continue(());
        };
        if entry.value == self.wanted {
            self.found = 1;
            self.dest = entry.value;
            return ControlFlow::Break(());
        }
        let stands = |dest: &DestRow| {
            if self.wanted == Wanted::MOST {
                return overhead(dest);
            }
            let available = self.wanted == Wanted::LEAST && dest.flags.load() & dest_flags::AVAILABLE != 0;
            if available { standing(rule::WEIGHTED, dest, dest.weight.load()) } else { None }
        };
        if let Some(standing) = tables.dest(entry.value).and_then(stands)
            && self.gives_way_to(&standing)
        {
            self.found = 1;
            self.dest = entry.value;
            self.index = self.key.index;
            self.standing = standing;
        }
        ControlFlow::Continue(())
    }
}

/// Overhead for the weight, whatever the flags.
#[inline(always)]
fn overhead(dest: &DestRow) -> Option<Standing> {
    let counts = Counts::unpack(dest.counts.load());
    let weight = dest.weight.load();
    let cost = u64::from(counts.active) * 256 + u64::from(counts.inactive);
    (weight > 0).then_some(Standing { cost, weight: weight.into() })
}

/// Moves the members after one that leaves a place forward.
struct Shift {
    key: CacheKey,
    from: u32,
}

impl<T: Tables> Walk<T> for Shift {
    #[inline(always)]
    fn step(&mut self, tables: &T, index: u32) -> ControlFlow<()> {
        self.key.index = self.from.wrapping_add(index).wrapping_add(1);
        if let Some(next) = tables.find_cached(&self.key) {
            self.key.index = self.key.index.wrapping_sub(1);
            tables.cache(&self.key, &next);
        }
        ControlFlow::Continue(())
    }
}
