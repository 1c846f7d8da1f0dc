//! What a pick costs in long lists.

use std::cell::Cell;

use super::*;
use crate::{
    cell::Cell64,
    forward::next_hop::{Reach, RouteQuery, Way},
    rows::{
        CacheEntry, CacheKey, ConfigRow, ConnRow, CursorRow, FlowEntry, FlowKey, MarkRow, MemberRow, ServiceKey,
        ServiceRow, Stats,
    },
    tables::{InsertError, Walk, walk_plainly},
};

/// Counts how often tables are looked at.
struct Counting<'t> {
    tables: &'t NativeTables,
    looks: Cell<u64>,
}

impl Counting<'_> {
    fn look(&self) -> &NativeTables {
        self.looks.set(self.looks.get() + 1);
        self.tables
    }
}

impl Tables for Counting<'_> {
    fn config(&self) -> Option<&ConfigRow> {
        self.look().config()
    }

    fn find_service(&self, _: &ServiceKey) -> Option<u32> {
        None
    }

    fn service(&self, id: u32) -> Option<&ServiceRow> {
        self.look().service(id)
    }

    fn dest(&self, id: u32) -> Option<&DestRow> {
        self.look().dest(id)
    }

    fn member(&self, slot: u32) -> Option<&MemberRow> {
        self.look().member(slot)
    }

    fn word(&self, slot: u32) -> Option<&Cell64> {
        self.look().word(slot)
    }

    fn find_cached(&self, key: &CacheKey) -> Option<CacheEntry> {
        self.look().find_cached(key)
    }

    fn cache(&self, key: &CacheKey, entry: &CacheEntry) {
        self.look().cache(key, entry);
    }

    fn forget_cached(&self, key: &CacheKey) {
        self.look().forget_cached(key);
    }

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
        self.tables.random()
    }

    fn walk<W: Walk<Self>>(&self, steps: u32, walk: &mut W) {
        walk_plainly(self, steps, walk);
    }

    fn swap(cell: &Cell64, expected: u64, new: u64) -> u64 {
        cell.swap_if(expected, new)
    }

    fn add(cell: &Cell64, delta: u64) {
        cell.add(delta);
    }
}

/// Looks at tables for a pick, and for a pick and the connection that follows, on average of many. Of the destinations every
/// seventh is overloaded, every fifth has no weight, and the newest third neither takes connections.
fn looks(scheduler: Scheduler, dests: u32) -> (f64, f64) {
    const PICKS: u32 = 3000;
    let mut service = Service::sized(scheduler, dests as usize + 1);
    if scheduler == Scheduler::MaglevHashing {
        // Of weight 0 at first, so that the table is filled but once; the service is too large for it otherwise.
        service.roster.bind(&service.tables, &mut service.room, Scheduler::None, 2).expect("no words");
    }
    for number in 0..dests {
        service.insert(if number % 5 == 0 { 0 } else { number % 9 + 1 }).expect("room");
    }
    if scheduler == Scheduler::MaglevHashing {
        service.roster.bind(&service.tables, &mut service.room, scheduler, 3).expect("a table");
    }
    for number in 1..=dests {
        if number % 7 == 0 || number > dests * 2 / 3 {
            service.overload(number, true);
        }
    }
    let counting = Counting { tables: &service.tables, looks: Cell::new(0) };
    let mut picks = 0;
    for number in 0..PICKS {
        let before = counting.looks.get();
        let picked = super::super::pick(&counting, service.row(), &service.ask(number));
        picks += counting.looks.get() - before;
        if let Some(dest) = picked {
            // Half of them stay active.
            let active = if number % 2 == 0 { Counts::ONE_ACTIVE } else { Counts::ONE_INACTIVE };
            tally(&counting, service.dest(dest), active);
        }
    }
    (picks as f64 / f64::from(PICKS), counting.looks.get() as f64 / f64::from(PICKS))
}

/// Choosing among 10,000 costs at most five times what choosing among 10 does, for every scheduler.
#[test]
fn long_lists_cost_little() {
    for (name, scheduler) in Scheduler::ALL {
        let many = if scheduler == Scheduler::MaglevHashing { 4093 } else { 10_000 };
        let (few, many) = (looks(scheduler, 10), looks(scheduler, many));
        std::println!("{name}: 10 {few:.1?}, many {many:.1?}");
        assert!(many.0 <= few.0 * 5.0, "{name}: {few:?} {many:?}");
    }
}
