//! What the schedulers lblc and lblcr remember, and when it is forgotten (schedulers.md section 13).

use std::collections::{HashMap, HashSet};

use rlvs_core::{
    rows::{CacheEntry, CacheKey, Setting},
    sched::{Scheduler, hash::hash32},
    tables::Tables,
};

use super::Owner;

/// How often to look, in seconds.
pub const INTERVAL_S: u64 = 60;
/// Every so many looks nothing is spared that was idle for too long.
const FULL_EVERY: u32 = 30;
/// So many entries are no burden; of more, some go that were idle for [`SPARED_S`].
const ENTRIES_MAX: usize = 16_384;
/// The most that go at one look.
const GOAL_MAX: usize = 8192;
/// An entry that was used in the last so many seconds stays.
const SPARED_S: u64 = 360;
/// Binary logarithm of the number of buckets, whose order is that in which entries are looked at.
const BUCKET_BITS: u32 = 10;

/// How far the looks at one service's entries have come.
#[derive(Clone, Copy, Debug)]
pub struct Looks {
    counter: u32,
    /// The bucket looked at last.
    rover: u32,
}

impl Default for Looks {
    fn default() -> Self {
        Self { counter: 1, rover: 0 }
    }
}

/// An entry, as a look sees it.
#[derive(Clone, Copy, Debug)]
struct Seen {
    key: CacheKey,
    idle_s: u64,
}

impl Looks {
    /// One look: which of a service's entries go. Idle for `expiration_s` seconds is too long (lblc_expiration, lblcr_expiration).
    fn look(&mut self, mut entries: Vec<Seen>, expiration_s: u64) -> Vec<CacheKey> {
        if self.counter.is_multiple_of(FULL_EVERY) {
            self.counter = 1;
            entries.retain(|entry| entry.idle_s >= expiration_s);
            return entries.iter().map(|entry| entry.key).collect();
        }
        let excess = entries.len().saturating_sub(ENTRIES_MAX);
        if excess == 0 {
            self.counter += 1;
            return Vec::new();
        }
        let goal = (excess * 4 / 3).min(GOAL_MAX);
        let bucket = |entry: &Seen| hash32(entry.key.address.fold(), BUCKET_BITS);
        let buckets = 1 << BUCKET_BITS;
        let rover = self.rover;
        let distance = |entry: &Seen| (bucket(entry) + 2 * buckets - rover - 1) % buckets;
        entries.sort_by_key(distance);
        let mut gone = Vec::new();
        for of_bucket in entries.chunk_by(|a, b| bucket(a) == bucket(b)) {
            let idle = of_bucket.iter().filter(|entry| entry.idle_s >= SPARED_S);
            gone.extend(idle.map(|entry| entry.key));
            self.rover = of_bucket.first().map_or(rover, bucket);
            if gone.len() >= goal {
                return gone;
            }
        }
        // Once round.
        self.rover = rover;
        gone
    }
}

impl Owner {
    /// Forgets what was not used for long, and what services remembered that are gone.
    pub fn forget(&mut self) {
        let cached = self.tables.cached();
        if cached.is_empty() {
            return;
        }
        let (now, hz) = (self.clock.now() as u32, u64::from(self.clock.hz()));
        let mut sizes: HashMap<CacheKey, u32> = HashMap::new();
        let mut by_generation: HashMap<u32, Vec<Seen>> = HashMap::new();
        for (key, entry) in cached.iter().filter(|(key, _)| key.index == 0) {
            sizes.insert(*key, entry.value);
            // One that was used since `now` was read is not idle.
            let idle = now.wrapping_sub(entry.used).cast_signed().max(0).unsigned_abs();
            by_generation.entry(key.generation).or_default().push(Seen { key: *key, idle_s: u64::from(idle) / hz });
        }
        let mut gone: HashSet<CacheKey> = HashSet::new();
        let config = self.tables.config();
        let expiration_s = |setting| config.map_or(0, |config| u64::from(config.setting(setting)));
        for entry in self.entries.values_mut().filter(|entry| entry.roster.scheduler().remembers()) {
            let generation = self.tables.services.get(entry.id).map_or(0, |row| row.sched_generation() as u32);
            let seen = by_generation.remove(&generation).unwrap_or_default();
            let setting = match entry.roster.scheduler() {
                Scheduler::LocalityBasedReplicated => Setting::LblcrExpiration,
                _ => Setting::LblcExpiration,
            };
            gone.extend(entry.looks.look(seen, expiration_s(setting)));
        }
        // What is left was remembered by a binding that is over.
        gone.extend(by_generation.into_values().flatten().map(|seen| seen.key));
        for (key, _) in &cached {
            // A member goes with its entry, or where it has none.
            let entry = CacheKey { index: 0, ..*key };
            if gone.contains(&entry) || !sizes.contains_key(&entry) {
                self.tables.forget_cached(key);
            }
        }
    }

    /// Forgets destination rows that are given out anew.
    pub(super) fn forget_dests(&self, ids: &[u32]) {
        let remembering = self.entries.values().filter(|entry| entry.roster.scheduler().remembers());
        let by_generation: HashMap<u32, Scheduler> = remembering
            .filter_map(|entry| {
                let row = self.tables.services.get(entry.id)?;
                Some((row.sched_generation() as u32, entry.roster.scheduler()))
            })
            .collect();
        if ids.is_empty() || by_generation.is_empty() {
            return;
        }
        let names = |(key, entry): &(CacheKey, CacheEntry)| {
            // Under index 0 lblcr has the number of members.
            let is_dest =
                (key.index != 0) == (by_generation.get(&key.generation) == Some(&Scheduler::LocalityBasedReplicated));
            is_dest && ids.contains(&entry.value)
        };
        self.tables.cached().iter().filter(|cached| names(cached)).for_each(|(key, _)| self.tables.forget_cached(key));
    }
}

#[cfg(test)]
mod tests {
    use rlvs_core::rows::Address;

    use super::*;

    const EXPIRATION_S: u64 = 86_400;

    fn entries(count: u32, idle_s: u64) -> Vec<Seen> {
        let key = |n: u32| CacheKey { address: Address([n.to_be(), 0, 0, 0]), generation: 1, index: 0 };
        (0..count).map(|n| Seen { key: key(n), idle_s }).collect()
    }

    #[test]
    fn every_thirtieth_look_takes_all_that_is_idle_for_a_day() {
        let mut looks = Looks::default();
        for _ in 0..2 {
            for _ in 1..FULL_EVERY {
                assert!(looks.look(entries(10, EXPIRATION_S), EXPIRATION_S).is_empty());
            }
            assert!(looks.clone().look(entries(10, EXPIRATION_S - 1), EXPIRATION_S).is_empty());
            assert_eq!(looks.look(entries(10, EXPIRATION_S), EXPIRATION_S).len(), 10);
        }
    }

    #[test]
    fn too_many_entries_are_thinned_out_going_round_the_buckets() {
        let mut looks = Looks::default();
        assert!(looks.look(entries(ENTRIES_MAX as u32, 10_000), EXPIRATION_S).is_empty(), "not too many");
        assert!(looks.look(entries(20_000, SPARED_S - 1), EXPIRATION_S).is_empty(), "all in use");
        let gone = looks.look(entries(ENTRIES_MAX as u32 + 300, SPARED_S), EXPIRATION_S);
        // Whole buckets, until the goal is reached.
        assert!((400..450).contains(&gone.len()), "{}", gone.len());
        let next = looks.look(entries(ENTRIES_MAX as u32 + 300, SPARED_S), EXPIRATION_S);
        assert!(next.iter().all(|key| !gone.contains(key)), "it goes on where it stopped");
        let all = looks.look(entries(100_000, SPARED_S), EXPIRATION_S).len();
        assert!((GOAL_MAX..GOAL_MAX + 200).contains(&all), "{all}");
    }
}
