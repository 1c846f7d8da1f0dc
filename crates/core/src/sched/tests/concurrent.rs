//! Trees under several CPUs: when all have come to rest, every node is right, and nobody is ever picked who is not eligible.

use core::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;

use super::*;
use crate::{
    cell::Cell64,
    forward::next_hop::{Reach, RouteQuery, Way},
    native::Dice,
    rows::{
        CacheEntry, CacheKey, ConfigRow, ConnRow, CursorRow, FlowEntry, FlowKey, MarkRow, MemberRow, ServiceKey,
        ServiceRow, Stats,
    },
    tables::{InsertError, Walk, walk_plainly},
};

/// The rows that a scheduler needs, which threads may share.
struct Shared {
    config: ConfigRow,
    services: Vec<ServiceRow>,
    dests: Vec<DestRow>,
    members: Vec<MemberRow>,
    words: Vec<Cell64>,
}

impl Tables for Shared {
    fn config(&self) -> Option<&ConfigRow> {
        Some(&self.config)
    }

    fn find_service(&self, _: &ServiceKey) -> Option<u32> {
        None
    }

    fn service(&self, id: u32) -> Option<&ServiceRow> {
        self.services.get(id as usize)
    }

    fn dest(&self, id: u32) -> Option<&DestRow> {
        self.dests.get(id as usize)
    }

    fn member(&self, slot: u32) -> Option<&MemberRow> {
        self.members.get(slot as usize)
    }

    fn word(&self, slot: u32) -> Option<&Cell64> {
        self.words.get(slot as usize)
    }

    fn find_cached(&self, _: &CacheKey) -> Option<CacheEntry> {
        None
    }

    fn cache(&self, _: &CacheKey, _: &CacheEntry) {}

    fn forget_cached(&self, _: &CacheKey) {}

    fn find_flow(&self, _: &FlowKey) -> Option<FlowEntry> {
        None
    }

    fn insert_flow(&self, _: &FlowKey, _: FlowEntry, _: bool) -> Result<(), InsertError> {
        Err(InsertError::Full)
    }

    fn remove_flow(&self, _: &FlowKey) {}

    fn conn(&self, _: u32) -> Option<&ConnRow> {
        None
    }

    fn take_conn(&self) -> Option<u32> {
        None
    }

    fn give_conn(&self, _: u32) {}

    fn count(&self, _: u32, _: &Stats) {}

    fn cursor(&self) -> Option<&CursorRow> {
        None
    }

    fn mark(&self, _: u32) -> Option<&MarkRow> {
        None
    }

    fn find_fragment(&self, _: &FlowKey) -> Option<FlowEntry> {
        None
    }

    fn note_fragment(&self, _: &FlowKey, _: FlowEntry) {}

    fn is_balanced(&self, _: &Address) -> bool {
        false
    }

    fn is_local(&self, _: &Address) -> bool {
        false
    }

    fn route(&self, _: &RouteQuery, _: &mut Way) -> Reach {
        Reach::NoRoute
    }

    fn random(&self) -> u32 {
        0
    }

    fn walk<W: Walk<Self>>(&self, steps: u32, walk: &mut W) {
        walk_plainly(self, steps, walk);
    }

    fn swap(cell: &Cell64, expected: u64, new: u64) -> u64 {
        // Between a look and what follows from it others get their turn: that is what is tested.
        if expected.is_multiple_of(3) {
            thread::yield_now();
        }
        cell.swap_if(expected, new)
    }

    fn add(cell: &Cell64, delta: u64) {
        cell.add(delta);
    }
}

#[test]
fn trees_are_right_when_all_have_come_to_rest() {
    const THREADS: u64 = 4;
    const ROUNDS: usize = 6;
    const CHANGES: usize = 500;
    for scheduler in
        [Scheduler::WeightedLeastConnection, Scheduler::Overflow, Scheduler::LocalityBased, Scheduler::Failover]
    {
        let weights: Vec<u32> = (0..40).map(|number| if number % 8 == 0 { 0 } else { number % 5 + 1 }).collect();
        let Service { tables, .. } = Service::with(scheduler, &weights);
        let NativeTables { config, services, dests, members, words, .. } = tables;
        let shared = Shared { config, services, dests, members, words };
        for round in 0..ROUNDS as u64 {
            let running = AtomicBool::new(true);
            thread::scope(|scope| {
                let shared = &shared;
                let busy: Vec<_> = (0..THREADS)
                    .map(|thread| {
                        scope.spawn(move || {
                            let mut dice = Dice(round * THREADS + thread);
                            for _ in 0..CHANGES {
                                let dest = &shared.dests[1 + dice.below(40)];
                                match dice.below(8) {
                                    0 => {
                                        dest.flags.store(dest.flags.load() ^ dest_flags::OVERLOAD);
                                        flagged(shared, dest);
                                    }
                                    1..=4 => tally(shared, dest, Counts::ONE_ACTIVE),
                                    // Never below nothing: each thread takes what it gave, and more was given before.
                                    _ if dest.counts.load() as u32 > 100 => {
                                        tally(shared, dest, Counts::ONE_ACTIVE.wrapping_neg());
                                    }
                                    _ => {}
                                }
                            }
                        })
                    })
                    .collect();
                scope.spawn(|| {
                    while running.load(SeqCst) {
                        let ask = Ask {
                            client: Address::default(),
                            destination: Address::default(),
                            client_port: 0,
                            family: family::V4,
                            now: 0,
                        };
                        if let Some(picked) = super::super::pick(shared, &shared.services[0], &ask) {
                            assert!(shared.dests[picked as usize].weight.load() > 0, "{picked} has no weight");
                        }
                    }
                });
                busy.into_iter().for_each(|thread| thread.join().expect("no thread panics"));
                running.store(false, SeqCst);
            });
            let before: Vec<u64> = shared.words.iter().map(Cell64::load).collect();
            tree::settle(&shared, &shared.services[0]);
            let after: Vec<u64> = shared.words.iter().map(Cell64::load).collect();
            assert_eq!(before, after, "{scheduler:?}, round {round}");
        }
    }
}
