//! Schedulers on lists as the daemon keeps them: the recorded picks of schedulers.md, and random lists, edits and connections
//! against step-by-step models of its algorithms.

mod concurrent;
mod cost;
mod hashing;
mod model;
mod recorded;
mod remembering;

use std::{collections::HashMap, string::String, vec::Vec};

use proptest::prelude::*;

use super::roster::{Refused, Roster, Space};
use super::*;
use crate::native::NativeTables;
use crate::rows::{Counts, family};

/// Rows for destinations; a service of the property tests has at most so many less one.
const DESTS: usize = 128;
const HZ: u32 = 1000;

/// Room for lists and words. What is given back is given out again at once: nobody looks at it any more in one thread.
#[derive(Debug, Default)]
struct Room {
    members: Spans,
    words: Spans,
}

#[derive(Debug, Default)]
struct Spans {
    used: u32,
    max: u32,
    free: HashMap<u32, Vec<u32>>,
}

impl Spans {
    fn take(&mut self, len: u32) -> Option<u32> {
        if let Some(base) = self.free.get_mut(&len).and_then(Vec::pop) {
            return Some(base);
        }
        let base = self.used;
        (base + len <= self.max).then(|| {
            self.used += len;
            base
        })
    }

    fn give(&mut self, base: u32, len: u32) {
        assert!(base + len <= self.used);
        let free = self.free.entry(len).or_default();
        assert!(!free.contains(&base), "{base} given back twice");
        free.push(base);
    }
}

impl Space for Room {
    fn take_members(&mut self, slots: u32) -> Option<u32> {
        self.members.take(slots)
    }

    fn give_members(&mut self, base: u32, slots: u32) {
        self.members.give(base, slots);
    }

    fn take_words(&mut self, words: u32) -> Option<u32> {
        self.words.take(words)
    }

    fn give_words(&mut self, base: u32, words: u32) {
        self.words.give(base, words);
    }
}

/// One change of a service, as an operator or traffic makes it, or picks between them.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// This many new connections, from these clients and to these addresses on; each stays active.
    Pick(usize, u32),
    /// A new destination of this weight.
    Add(u32),
    /// The destination at this place of the list (modulo its length) gets this weight.
    Edit(usize, u32),
    /// The destination at this place is removed.
    Delete(usize),
    /// The destination at this place reaches its upper threshold, or falls below the lower one.
    Overload(usize, bool),
    /// The destination at this place has so many active and inactive connections from now on.
    Count(usize, u32, u32),
    /// The scheduler is bound anew, as when an edit changes it.
    Rebind,
    /// The daemon is started again.
    Restart,
    /// Seconds go by.
    Wait(u32),
}

/// A service on native tables, changed the way the daemon changes one.
struct Service {
    tables: NativeTables,
    room: Room,
    roster: Roster,
    /// Number of the next destination that [`Step::Add`] makes.
    next: u32,
    generation: u32,
    now: u64,
}

/// Client number `number`.
fn client(number: u32) -> Address {
    Address::v4([10, 0, (number >> 8) as u8, number as u8])
}

/// Virtual address number `number`.
fn virtual_address(number: u32) -> Address {
    Address::v4([10, 9, 0, 100 + (number % 4) as u8])
}

/// Address of destination `number`, its port is 80.
fn real(number: u32) -> Address {
    Address::v4([10, 0, (number >> 8) as u8 + 1, number as u8])
}

impl Service {
    fn new(scheduler: Scheduler) -> Self {
        Self::sized(scheduler, DESTS)
    }

    fn sized(scheduler: Scheduler, dests: usize) -> Self {
        let tables = NativeTables::new(1, dests, dests * 4, 0, HZ);
        let spans = |max: usize| Spans { max: max as u32, ..Spans::default() };
        let room = Room { members: spans(tables.members.len()), words: spans(tables.words.len()) };
        let mut roster = Roster::new(&tables, 0);
        let mut room = room;
        roster.bind(&tables, &mut room, scheduler, 1).expect("room for a table");
        Self { tables, room, roster, next: 1, generation: 1, now: 1_000_000 }
    }

    /// A service whose destinations 1, 2, .. were added in this order with these weights.
    fn with(scheduler: Scheduler, weights: &[u32]) -> Self {
        let mut service = Self::new(scheduler);
        weights.iter().for_each(|weight| service.add(*weight));
        service
    }

    fn row(&self) -> &ServiceRow {
        &self.tables.services[0]
    }

    fn dest(&self, number: u32) -> &DestRow {
        &self.tables.dests[number as usize]
    }

    /// The list, newest first.
    fn list(&self) -> Vec<u32> {
        self.roster.dests().collect()
    }

    fn add(&mut self, weight: u32) {
        self.apply(Step::Add(weight));
    }

    fn edit(&mut self, dest: u32, weight: u32) {
        self.apply(Step::Edit(self.place(dest), weight));
    }

    fn delete(&mut self, dest: u32) {
        self.apply(Step::Delete(self.place(dest)));
    }

    fn place(&self, dest: u32) -> usize {
        self.list().iter().position(|listed| *listed == dest).expect("a destination of the list")
    }

    /// Makes a change. Picks are for [`Self::connect`].
    fn apply(&mut self, step: Step) {
        let list = self.list();
        let at = |place: usize| (!list.is_empty()).then(|| list[place % list.len()]);
        match step {
            Step::Pick(..) => unreachable!("picks are made one by one"),
            Step::Add(weight) => self.insert(weight).unwrap_or(()),
            Step::Edit(place, weight) => {
                let Some(number) = at(place) else { return };
                let dest = self.dest(number);
                dest.weight.store(weight);
                if weight != 0 {
                    dest.last_weight.store(weight);
                }
                self.roster.edit(&self.tables, number);
            }
            Step::Delete(place) => {
                let Some(number) = at(place) else { return };
                self.dest(number).flags.store(0);
                assert!(self.roster.remove(&self.tables, &mut self.room, number));
            }
            Step::Overload(place, on) => _ = at(place).map(|number| self.overload(number, on)),
            Step::Count(place, active, inactive) => _ = at(place).map(|number| self.count(number, active, inactive)),
            Step::Rebind => {
                self.generation += 1;
                let bound = self.roster.bind(&self.tables, &mut self.room, self.roster.scheduler(), self.generation);
                assert_eq!(bound, Ok(()));
            }
            Step::Restart => {
                let oldest_first = list.into_iter().rev().collect();
                self.roster =
                    Roster::resume(&self.tables, &mut self.room, 0, oldest_first).expect("nothing is written anew");
            }
            Step::Wait(seconds) => self.now += u64::from(seconds) * u64::from(HZ),
        }
    }

    fn insert(&mut self, weight: u32) -> Result<(), Refused> {
        let number = self.next;
        if number as usize >= self.tables.dests.len() {
            return Ok(());
        }
        let dest = &mut self.tables.dests[number as usize];
        dest.address = real(number);
        dest.port = 80;
        dest.family = family::V4;
        dest.weight.store(weight);
        dest.last_weight.store(weight);
        dest.flags.store(dest_flags::AVAILABLE);
        self.roster.insert(&self.tables, &mut self.room, number)?;
        self.next += 1;
        Ok(())
    }

    fn overload(&self, number: u32, on: bool) {
        let dest = self.dest(number);
        let flag = if on { dest_flags::OVERLOAD } else { 0 };
        dest.flags.store(dest.flags.load() & !dest_flags::OVERLOAD | flag);
        flagged(&self.tables, dest);
    }

    fn count(&self, number: u32, active: u32, inactive: u32) {
        let dest = self.dest(number);
        let wanted = u64::from(active) * Counts::ONE_ACTIVE + u64::from(inactive) * Counts::ONE_INACTIVE;
        tally(&self.tables, dest, wanted.wrapping_sub(dest.counts.load()));
    }

    fn ask(&self, number: u32) -> Ask {
        let (client, destination) = (client(number), virtual_address(number));
        Ask { client, destination, client_port: 7000 + number as u16, family: family::V4, now: self.now }
    }

    /// What is picked for client number `number`, without a connection being made.
    fn pick(&self, number: u32) -> Option<u32> {
        super::pick(&self.tables, self.row(), &self.ask(number))
    }

    /// A new connection that becomes active at once, as TCP's do.
    fn connect(&self, number: u32) -> Option<u32> {
        let picked = self.pick(number);
        if let Some(dest) = picked {
            tally(&self.tables, self.dest(dest), Counts::ONE_ACTIVE);
        }
        picked
    }

    /// The next picks as schedulers.md writes them: one digit each, "-" for none.
    fn picks(&self, times: usize) -> String {
        digits((0..times).map(|_| self.connect(0)))
    }

    /// Every node of every tree is what a tree made anew would be.
    fn check_trees(&self) {
        let words = self.row().words.load();
        let Words { base, .. } = Words::unpack(words);
        let nodes = base as usize..(base + roster::words_len(Words::unpack(words))) as usize;
        let before: Vec<u64> = self.tables.words[nodes.clone()].iter().map(|word| word.load()).collect();
        tree::settle(&self.tables, self.row());
        let after: Vec<u64> = self.tables.words[nodes].iter().map(|word| word.load()).collect();
        assert_eq!(before, after);
    }
}

/// Destinations as digits.
fn digits(picks: impl Iterator<Item = Option<u32>>) -> String {
    let digit = |dest| char::from_digit(dest, 36).expect("few destinations");
    picks.map(|pick| pick.map_or('-', digit)).collect()
}

/// Weights that meet in steps of 1 and more, often 0.
fn weight() -> impl Strategy<Value = u32> {
    let step = prop_oneof![Just(1u32), Just(2), Just(3), Just(10), Just(50)];
    prop_oneof![1 => Just(0), 6 => (step, 0u32..9).prop_map(|(step, times)| step * times)]
}

fn step() -> impl Strategy<Value = Step> {
    let count = prop_oneof![Just(0u32), 0u32..12, 0u32..300];
    prop_oneof![
        10 => (1usize..12, 0u32..20).prop_map(|(times, client)| Step::Pick(times, client)),
        4 => weight().prop_map(Step::Add),
        4 => (any::<usize>(), weight()).prop_map(|(place, weight)| Step::Edit(place, weight)),
        2 => any::<usize>().prop_map(Step::Delete),
        4 => (any::<usize>(), any::<bool>()).prop_map(|(place, on)| Step::Overload(place, on)),
        6 => (any::<usize>(), count.clone(), count).prop_map(|(place, a, i)| Step::Count(place, a, i)),
        1 => Just(Step::Rebind),
        1 => Just(Step::Restart),
        1 => prop_oneof![1u32..10, Just(90_000)].prop_map(Step::Wait),
    ]
}

/// Runs the same steps through rows and model and compares every pick.
fn agree(scheduler: Scheduler, weights: &[u32], steps: &[Step]) -> Result<(), TestCaseError> {
    let mut service = Service::new(scheduler);
    let mut model = model::Model::new(scheduler);
    let adds = weights.iter().map(|weight| Step::Add(*weight));
    for step in adds.chain(steps.iter().copied()) {
        if let Step::Pick(times, client) = step {
            for number in client..client + times as u32 {
                let expected = model.connect(&service.ask(number));
                prop_assert_eq!(service.connect(number), expected, "client {}: {:?}", number, model);
                prop_assert_eq!(model::state_of(&service), model.state(), "{:?}", model);
            }
        } else {
            service.apply(step);
            model.apply(step);
            prop_assert_eq!(service.list(), model.numbers());
            prop_assert_eq!(model::state_of(&service), model.state(), "after {:?}: {:?}", step, model);
        }
        service.check_trees();
    }
    Ok(())
}

/// Every scheduler, over short lists, which have no tree, and over long ones.
macro_rules! equals_the_literal_algorithm {
    ($($name:ident: $scheduler:ident,)*) => {
        mod equals_the_literal_algorithm {
            use super::*;

            proptest! {
                #![proptest_config(ProptestConfig::with_cases(400))]

                $(
                    #[test]
                    fn $name(
                        few in proptest::collection::vec(weight(), 0..8),
                        many in proptest::collection::vec(weight(), 12..60),
                        is_long in any::<bool>(),
                        steps in proptest::collection::vec(step(), 0..60),
                    ) {
                        agree(Scheduler::$scheduler, if is_long { &many } else { &few }, &steps)?;
                    }
                )*
            }
        }
    };
}

equals_the_literal_algorithm! {
    rr: RoundRobin,
    wrr: WeightedRoundRobin,
    lc: LeastConnection,
    wlc: WeightedLeastConnection,
    sed: ShortestExpectedDelay,
    nq: NeverQueue,
    fo: Failover,
    ovf: Overflow,
    twos: PowerOfTwo,
    dh: DestinationHashing,
    sh: SourceHashing,
    mh: MaglevHashing,
    lblc: LocalityBased,
    lblcr: LocalityBasedReplicated,
}
