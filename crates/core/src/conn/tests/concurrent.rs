//! Several CPUs at once: counters and index are exact whenever they rest.

use super::*;
use crate::cell::Cell64;
use crate::forward::next_hop::{Reach, RouteQuery, Way};
use crate::native::Dice;
use crate::rows::{
    CacheEntry, CacheKey, CursorRow, DestRow, MarkRow, MemberRow, ServiceKey, ServiceRow, Stats, dest_flags,
};
use crate::tables::{Walk, walk_plainly};
use core::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::collections::HashMap;
use std::sync::{Barrier, Mutex, MutexGuard};
use std::vec::Vec;
use std::{println, thread};
use zerocopy::FromZeros;

/// What other CPUs do just before a flow enters or leaves the index, and whether there is room.
type Meanwhile = fn(&SharedTables, Change, &FlowKey) -> Result<(), InsertError>;

/// What is about to happen to the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Insert,
    Remove,
}

/// Tables that threads share: rows are atomics already, the index stands behind a lock, as it does in the kernel.
struct SharedTables {
    config: ConfigRow,
    cursor: CursorRow,
    dests: Vec<DestRow>,
    conns: Vec<ConnRow>,
    flows: Mutex<HashMap<FlowKey, FlowEntry>>,
    free: Mutex<Vec<u32>>,
    meanwhile: Meanwhile,
    /// How often the index was looked at.
    looks: AtomicU64,
}

impl SharedTables {
    fn new(dests: usize, conns: usize, meanwhile: Meanwhile) -> Self {
        let NativeTables { config, cursor, dests, conns, .. } = NativeTables::new(0, dests, 0, conns, HZ);
        dests.iter().for_each(|dest| dest.flags.store(dest_flags::AVAILABLE));
        Self {
            config,
            cursor,
            dests,
            conns,
            flows: Mutex::default(),
            free: Mutex::default(),
            meanwhile,
            looks: AtomicU64::new(1),
        }
    }

    fn flows(&self) -> MutexGuard<'_, HashMap<FlowKey, FlowEntry>> {
        // Between a look at the index and what follows from it, others get their turn: that is what is tested. Not each
        // time: on a busy machine a turn is long.
        if self.looks.fetch_add(1, SeqCst).is_multiple_of(37) {
            thread::yield_now();
        }
        self.flows.lock().expect("no thread panics in here")
    }

    /// A copy of the index: an audit that fails must not fail in the lock.
    fn index(&self) -> HashMap<FlowKey, FlowEntry> {
        self.flows().clone()
    }

    fn now(&self, jiffies: u64) -> Now<'_> {
        Now { jiffies, config: &self.config }
    }
}

impl Tables for SharedTables {
    fn config(&self) -> Option<&ConfigRow> {
        Some(&self.config)
    }

    fn find_service(&self, _: &ServiceKey) -> Option<u32> {
        None
    }

    fn service(&self, _: u32) -> Option<&ServiceRow> {
        None
    }

    fn dest(&self, id: u32) -> Option<&DestRow> {
        self.dests.get(id as usize)
    }

    fn member(&self, _: u32) -> Option<&MemberRow> {
        None
    }

    fn word(&self, _: u32) -> Option<&Cell64> {
        None
    }

    fn find_cached(&self, _: &CacheKey) -> Option<CacheEntry> {
        None
    }

    fn cache(&self, _: &CacheKey, _: &CacheEntry) {}

    fn forget_cached(&self, _: &CacheKey) {}

    fn random(&self) -> u32 {
        0
    }

    fn find_flow(&self, key: &FlowKey) -> Option<FlowEntry> {
        self.flows().get(key).copied()
    }

    fn insert_flow(&self, key: &FlowKey, entry: FlowEntry, replace: bool) -> Result<(), InsertError> {
        (self.meanwhile)(self, Change::Insert, key)?;
        let mut flows = self.flows();
        if !replace && flows.contains_key(key) {
            return Err(InsertError::Exists);
        }
        flows.insert(*key, entry);
        Ok(())
    }

    fn remove_flow(&self, key: &FlowKey) {
        (self.meanwhile)(self, Change::Remove, key).expect("removing needs no room");
        self.flows().remove(key);
    }

    fn conn(&self, id: u32) -> Option<&ConnRow> {
        self.conns.get(id as usize)
    }

    fn take_conn(&self) -> Option<u32> {
        if let Some(id) = self.free.lock().expect("no thread panics in here").pop() {
            return Some(id);
        }
        let id = self.cursor.conns_used.atomic().fetch_add(1, SeqCst);
        (id < self.conns.len() as u64).then_some(id as u32)
    }

    fn give_conn(&self, id: u32) {
        self.free.lock().expect("no thread panics in here").push(id);
    }

    fn count(&self, _: u32, _: &Stats) {}

    fn cursor(&self) -> Option<&CursorRow> {
        Some(&self.cursor)
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

const CPUS: u64 = 4;
const ROUNDS: usize = 50;
const OPERATIONS_A_ROUND: usize = 2_000;
const ROWS: u32 = 12_000;
const DESTS: u32 = 3;
/// Few, so that they are always at odds.
const CLIENTS: usize = 6;

#[derive(Debug, Default)]
struct Tally {
    opened: usize,
    raced: usize,
    overtaken: usize,
    refused: usize,
}

impl Tally {
    fn plus(self, other: Self) -> Self {
        Self {
            opened: self.opened + other.opened,
            raced: self.raced + other.raced,
            overtaken: self.overtaken + other.overtaken,
            refused: self.refused + other.refused,
        }
    }
}

/// One CPU's packets and sweeps at one moment.
fn operate(tables: &SharedTables, dice: &mut Dice, jiffies: u64, tally: &mut Tally) {
    let now = tables.now(jiffies);
    let (client, dest) = (dice.below(CLIENTS) as u8, dice.below(DESTS as usize) as u32);
    let identity = identity(protocol::TCP, client, dest);
    let event = dice.one_of(&[Event::SYN, Event::SYN, Event::SYN, Event::ACK, Event::FIN, Event::RST]);
    match dice.below(20) {
        0 => {
            let id = dice.below(tables.cursor.conns_used.load().clamp(1, ROWS.into()) as usize) as u32;
            let row = &tables.conns[id as usize];
            let word = row.life.load();
            if Life::unpack(word).is_live() && !Life::unpack(word).is_current(jiffies) {
                retire_at(tables, id, row, word, jiffies);
            }
        }
        1..8 => {
            let flow = packet(identity.reply_key(), event);
            if let Some(found) = find(tables, &flow.key).filter(|found| !found.is_over(&now)) {
                tally.overtaken += usize::from(touch(tables, found.row, found.direction, &flow, &now).is_none());
            }
        }
        _ => {
            let flow = packet(identity.request_key(), event);
            if let Some(found) = arrive(tables, &flow, &now) {
                tally.overtaken += usize::from(touch(tables, found.row, found.direction, &flow, &now).is_none());
            } else if event == Event::SYN {
                match open_by(tables, &identity, event, &now) {
                    Ok(()) => tally.opened += 1,
                    Err(OpenError::Raced) => tally.raced += 1,
                    Err(_) => tally.refused += 1,
                }
            }
        }
    }
}

/// Time stands still while the CPUs work and moves between rounds: no packet spends more than microseconds in the program,
/// so none sees time jump. Rows rest for a round, as they do for the grace period.
#[test]
fn cpus_at_odds_leave_every_connection_accounted_for() {
    let seed = 0x5eed;
    println!("seed {seed:#x}");
    let tables = SharedTables::new(DESTS as usize, ROWS as usize, |_, _, _| Ok(()));
    let (begin, end) = (Barrier::new(CPUS as usize + 1), Barrier::new(CPUS as usize + 1));
    let time = Cell64::new_zeroed();
    time.store(START);
    let cpu = |cpu: u64| {
        let (mut dice, mut tally) = (Dice(seed ^ (cpu << 32)), Tally::default());
        for _ in 0..ROUNDS {
            begin.wait();
            let now = time.load();
            (0..OPERATIONS_A_ROUND).for_each(|_| operate(&tables, &mut dice, now, &mut tally));
            end.wait();
        }
        tally
    };
    let total = thread::scope(|scope| {
        let cpus: Vec<_> = (0..CPUS).map(|number| scope.spawn(move || cpu(number))).collect();
        let mut dice = Dice(seed);
        let mut failed = None;
        for round in 0..ROUNDS {
            begin.wait();
            end.wait();
            // A failed audit must not leave the others waiting at the barrier: the first one is reported at the end.
            let index = tables.index();
            let audit = || audit(&tables, ROWS, DESTS, &index);
            if failed.is_none()
                && let Err(panic) = std::panic::catch_unwind(core::panic::AssertUnwindSafe(audit))
            {
                println!("round {round}");
                failed = Some(panic);
            }
            time.store(time.load() + seconds(2) + dice.below(seconds(130) as usize) as u64);
            tables.conns.iter().zip(0..).filter(|(row, _)| row.life.load() == Life::RETIRED).for_each(|(row, id)| {
                row.life.store(0);
                tables.give_conn(id);
            });
        }
        if let Some(panic) = failed {
            std::panic::resume_unwind(panic);
        }
        cpus.into_iter().map(|cpu| cpu.join().expect("a thread")).fold(Tally::default(), Tally::plus)
    });
    println!("{total:?}");
    assert!(total.opened > 1_000 && total.raced > 10 && total.refused == 0, "the threads must meet, with rows enough");
}

/// The connection of the tests below, and whether `key` is that of its replies.
fn the_one() -> ConnIdentity {
    identity(protocol::TCP, 1, 1)
}

fn is_reply(key: &FlowKey) -> bool {
    *key == the_one().reply_key()
}

fn open_it(tables: &SharedTables) -> Result<(), OpenError> {
    open_by(tables, &the_one(), Event::SYN, &tables.now(START))
}

/// A connection whose index entries are half written is none yet: others neither find, nor move, nor replace it.
fn is_none_yet(tables: &SharedTables) {
    for key in [the_one().request_key(), the_one().reply_key()] {
        assert!(find(tables, &key).is_none());
    }
    assert_eq!(counts(tables, 1), (0, 0));
}

#[test]
fn a_connection_is_found_when_it_is_whole() {
    fn look_and_open(tables: &SharedTables, change: Change, key: &FlowKey) -> Result<(), InsertError> {
        if change == Change::Insert && is_reply(key) {
            is_none_yet(tables);
            assert_eq!(open_it(tables), Err(OpenError::Raced));
        }
        Ok(())
    }

    let tables = SharedTables::new(2, 2, look_and_open);
    assert_eq!(open_it(&tables), Ok(()));
    audit(&tables, 2, 2, &tables.index());
    assert_eq!(counts(&tables, 1), (1, 0));
}

#[test]
fn a_connection_without_room_for_both_entries_leaves_no_trace() {
    fn no_room_for_replies(tables: &SharedTables, change: Change, key: &FlowKey) -> Result<(), InsertError> {
        if change == Change::Insert && is_reply(key) {
            is_none_yet(tables);
            return Err(InsertError::Full);
        }
        Ok(())
    }

    let tables = SharedTables::new(2, 1, no_room_for_replies);
    for _ in 0..3 {
        assert_eq!(open_it(&tables), Err(OpenError::Full));
        audit(&tables, 1, 2, &tables.index());
    }
    assert_eq!(tables.cursor.conns_used.load(), 1, "the row is used again");
}

/// While one CPU takes an ended connection from the index, another one opens the same flow anew: the new connection has
/// both its entries, or there is none yet.
#[test]
fn a_flow_opened_anew_while_the_old_connection_leaves_is_whole() {
    /// Disturbs the removal of the reply's entry.
    fn open_anew(tables: &SharedTables, change: Change, key: &FlowKey) -> Result<(), InsertError> {
        if change == Change::Remove && is_reply(key) {
            // It succeeds or it does not; the audit wants it whole.
            let _ = open_it(tables);
        }
        Ok(())
    }

    let tables = SharedTables::new(2, 2, open_anew);
    assert_eq!(open_it(&tables), Ok(()));
    let row = &tables.conns[0];
    assert!(retire_at(&tables, 0, row, row.life.load(), START));
    audit(&tables, 2, 2, &tables.index());
}
