//! The daemon's half of scheduling: a service's list of destinations, and what its scheduler computes from it, written into
//! the rows as an operator changes them. It is not part of the data plane, and the only code here that allocates.
//!
//! A new destination goes in front of the list, in the slot before the first; a removed one leaves its slot empty, so the
//! places of the others stay. When the room in front is used up, or more than half of the slots are empty, the list is
//! written anew somewhere else and replaced by one word. So n changes cost in the order of n steps, not n times n.

use alloc::{vec, vec::Vec};

use super::mh::{self, Contender};
use super::tree::{self, Tree};
use super::{Scheduler, View, dh, hash_table, sh, wrr};
use crate::rows::{Address, DestRow, NO_DEST, ServiceRow, Span, Words, family};
use crate::tables::Tables;

/// Where room for lists and words comes from. What is given back must rest for the data plane's grace period.
pub trait Space {
    /// The first of `slots` free member slots, a power of two.
    fn take_members(&mut self, slots: u32) -> Option<u32>;
    /// Gives back what [`Self::take_members`] gave for the same number.
    fn give_members(&mut self, base: u32, slots: u32);
    /// The first of `words` free words.
    fn take_words(&mut self, words: u32) -> Option<u32>;
    /// Gives back what [`Self::take_words`] gave for the same number.
    fn give_words(&mut self, base: u32, words: u32);
}

/// Why a list did not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No room is left in the tables.
    NoSpace,
    /// More destinations than Maglev's table has slots (schedulers.md section 12).
    TooMany,
    /// A row that should be there is not.
    NoRow,
}

/// The number of words that stand at a service's [`Words`].
pub fn words_len(words: Words) -> u32 {
    if hash_table::slots(words.scheduler) != 0 { hash_table::size(words.scheduler) } else { tree::size(words) }
}

/// The destinations of a service, as its rows hold them.
#[derive(Clone, Debug)]
pub struct Roster {
    service: u32,
    scheduler: Scheduler,
    /// Rows by place, oldest first; [`NO_DEST`] where one was removed.
    places: Vec<u32>,
    /// How many there are.
    live: usize,
}

impl Roster {
    /// The list of service row `service`, which is new and has none. [`Self::bind`] follows.
    pub fn new<T: Tables>(tables: &T, service: u32) -> Self {
        if let Some(row) = tables.service(service) {
            row.members.store(0);
            row.words.store(0);
            row.capacity.store(0);
            row.sched_state.store(0);
            row.sched_config.store(0);
        }
        Self { service, scheduler: Scheduler::None, places: Vec::new(), live: 0 }
    }

    /// A list of which nothing is known yet: [`Self::resume`] follows.
    pub fn pending(service: u32) -> Self {
        Self { service, scheduler: Scheduler::None, places: Vec::new(), live: 0 }
    }

    /// The list that another daemon left in service row `service`, which should be `dests`, oldest first.
    ///
    /// # Errors
    /// Where it has to be written anew and there is no room.
    pub fn resume<T: Tables>(
        tables: &T,
        space: &mut impl Space,
        service: u32,
        dests: Vec<u32>,
    ) -> Result<Self, Refused> {
        let row = tables.service(service).ok_or(Refused::NoRow)?;
        let scheduler = Scheduler::by_number(row.scheduler.load()).unwrap_or(Scheduler::None);
        let span = Span::unpack(row.members.load());
        let slot = |index| tables.member(span.base + index).map_or(NO_DEST, |member| member.dest.load());
        let places: Vec<u32> = (0..span.len).rev().map(slot).collect();
        let found = places.iter().copied().filter(|dest| *dest != NO_DEST);
        let words = Words::unpack(row.words.load());
        let wanted = tree::words(scheduler, row.capacity.load());
        let same = found.eq(dests.iter().copied())
            && (words.scheduler, words.levels) == (wanted.scheduler, wanted.levels)
            && row.capacity.load() >= span.len;
        let mut roster = Self { service, scheduler, places, live: dests.len() };
        if same {
            // The other daemon may have died in the middle of anything.
            roster.dests().for_each(|dest| roster.write_weight(tables, row, dest));
            roster.settle(tables, row);
        } else {
            roster.write_anew(tables, space, dests)?;
        }
        Ok(roster)
    }

    /// How many destinations there are.
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// The scheduler.
    pub fn scheduler(&self) -> Scheduler {
        self.scheduler
    }

    /// Rows of the destinations, newest first: the list that schedulers walk.
    pub fn dests(&self) -> impl Iterator<Item = u32> {
        self.places.iter().rev().copied().filter(|dest| *dest != NO_DEST)
    }

    /// Gives the service another scheduler. `generation` is a number that no binding before had.
    ///
    /// # Errors
    /// Where its words find no room, or it takes not so many destinations; then the old one stays.
    pub fn bind<T: Tables>(
        &mut self,
        tables: &T,
        space: &mut impl Space,
        scheduler: Scheduler,
        generation: u32,
    ) -> Result<(), Refused> {
        let row = tables.service(self.service).ok_or(Refused::NoRow)?;
        if scheduler == Scheduler::MaglevHashing && self.live > mh::SLOTS as usize {
            return Err(Refused::TooMany);
        }
        let words = take_words(tables, space, scheduler, row.capacity.load())?;
        let old = Words::unpack(row.words.load());
        // Without words nobody climbs a tree that is not there any more.
        row.words.store(0);
        self.scheduler = scheduler;
        row.scheduler.store(scheduler as u32);
        row.sched_config.store(if scheduler.remembers() { generation.into() } else { 0 });
        row.sched_state.store(0);
        if scheduler == Scheduler::WeightedRoundRobin {
            let config = self.wrr_config(tables);
            row.sched_config.store(config.pack());
            row.sched_state.store(config.fresh_state());
        }
        row.words.store(words.pack());
        self.settle(tables, row);
        give_words(space, old);
        Ok(())
    }

    /// Puts destination row `dest` at the head of the list; its weight and flags are written.
    ///
    /// # Errors
    /// Where there is no room, or the scheduler takes not so many; then the list is as it was.
    pub fn insert<T: Tables>(&mut self, tables: &T, space: &mut impl Space, dest: u32) -> Result<(), Refused> {
        let row = tables.service(self.service).ok_or(Refused::NoRow)?;
        if self.scheduler == Scheduler::MaglevHashing && self.live >= mh::SLOTS as usize {
            return Err(Refused::TooMany);
        }
        let weight = tables.dest(dest).ok_or(Refused::NoRow)?.weight.load();
        let span = Span::unpack(row.members.load());
        if span.len < row.capacity.load() {
            let base = span.base.wrapping_sub(1);
            let member = tables.member(base).ok_or(Refused::NoRow)?;
            member.dest.store(dest);
            member.weight.store(weight);
            self.places.push(dest);
            self.live += 1;
            row.members.store(Span { base, len: span.len + 1 }.pack());
            self.write_leaf(tables, row, self.places.len());
        } else {
            let mut dests: Vec<u32> = self.places.iter().copied().filter(|dest| *dest != NO_DEST).collect();
            dests.push(dest);
            self.write_anew(tables, space, dests)?;
        }
        self.weigh_anew(tables, row, |config| config.with(weight));
        self.fill_table(tables, row);
        Ok(())
    }

    /// Writes what an edit changed: weight and flags of destination row `dest`.
    pub fn edit<T: Tables>(&mut self, tables: &T, dest: u32) {
        let Some(row) = tables.service(self.service) else { return };
        self.write_weight(tables, row, dest);
        if let Some(dest) = tables.dest(dest) {
            tree::changed(tables, dest);
        }
        let config = self.wrr_config(tables);
        self.weigh_anew(tables, row, |_| config);
        // Destination hashing alone does not hear of edits.
        if self.scheduler != Scheduler::DestinationHashing {
            self.fill_table(tables, row);
        }
    }

    /// Takes destination row `dest` from the list. Returns whether it was there.
    pub fn remove<T: Tables>(&mut self, tables: &T, space: &mut impl Space, dest: u32) -> bool {
        let Some(row) = tables.service(self.service) else { return false };
        let Some(index) = self.places.iter().rposition(|listed| *listed == dest) else {
            return false;
        };
        if let Some(place) = self.places.get_mut(index) {
            *place = NO_DEST;
        }
        self.live -= 1;
        if self.scheduler == Scheduler::RoundRobin {
            self.step_back::<T>(row, index);
        }
        let span = Span::unpack(row.members.load());
        if let Some(member) = tables.member((span.base + span.len).wrapping_sub(index as u32 + 1)) {
            member.weight.store(0);
            member.dest.store(NO_DEST);
        }
        if let Some(dest) = tables.dest(dest) {
            tree::changed(tables, dest);
            dest.leaf.store(0);
        }
        let config = self.wrr_config(tables);
        self.weigh_anew(tables, row, |_| config);
        if self.places.len() > 2 * self.live + 8 {
            let dests = self.places.iter().copied().filter(|dest| *dest != NO_DEST).collect();
            // Without room it stays as long as it is.
            let _ = self.write_anew(tables, space, dests);
        }
        self.fill_table(tables, row);
        true
    }

    /// Takes all destinations from the service and gives back its room.
    pub fn dissolve<T: Tables>(&mut self, tables: &T, space: &mut impl Space) {
        let Some(row) = tables.service(self.service) else { return };
        let (span, words) = (Span::unpack(row.members.load()), Words::unpack(row.words.load()));
        let capacity = row.capacity.load();
        row.words.store(0);
        row.capacity.store(0);
        row.members.store(0);
        for dest in self.dests() {
            if let Some(dest) = tables.dest(dest) {
                dest.leaf.store(0);
            }
        }
        self.places.clear();
        self.live = 0;
        give_members(space, span, capacity);
        give_words(space, words);
    }

    /// Round robin: if the destination at `index` was the one picked last, the one before it in the list becomes that.
    fn step_back<T: Tables>(&self, row: &ServiceRow, index: usize) {
        let after = self.places.get(index + 1..).unwrap_or_default();
        let before = after.iter().position(|dest| *dest != NO_DEST).map_or(0, |newer| index + 1 + newer + 1);
        T::swap(&row.sched_state, index as u64 + 1, before as u64);
    }

    /// Writes list and words anew, in other places, without empty slots.
    fn write_anew<T: Tables>(&mut self, tables: &T, space: &mut impl Space, dests: Vec<u32>) -> Result<(), Refused> {
        let row = tables.service(self.service).ok_or(Refused::NoRow)?;
        let len = dests.len() as u32;
        let capacity = if len == 0 { 0 } else { (len + len / 4).next_power_of_two() };
        let area = if capacity == 0 { 0 } else { space.take_members(capacity).ok_or(Refused::NoSpace)? };
        let words = match self.words_for(tables, space, row, capacity) {
            Ok(words) => words,
            Err(refused) => {
                give_members(space, Span { base: area, len: capacity }, capacity);
                return Err(refused);
            }
        };
        let (old_span, old_words) = (Span::unpack(row.members.load()), Words::unpack(row.words.load()));
        let old_capacity = row.capacity.load();
        let span = Span { base: area + capacity - len, len };
        for slot in 0..capacity {
            let dest = (capacity - slot).checked_sub(1).and_then(|place| dests.get(place as usize)).copied();
            let weight = dest.and_then(|dest| tables.dest(dest)).map_or(0, |dest| dest.weight.load());
            if let Some(member) = tables.member(area + slot) {
                member.dest.store(dest.unwrap_or(NO_DEST));
                member.weight.store(weight);
            }
        }
        let old_places = core::mem::replace(&mut self.places, dests);
        self.live = self.places.len();
        // Nobody climbs a tree while list and tree are not of one kind.
        row.words.store(0);
        // A daemon that dies in here leaves a list without room, not one that grows into another's.
        row.capacity.store(0);
        row.members.store(span.pack());
        row.capacity.store(capacity);
        if self.scheduler == Scheduler::RoundRobin {
            self.translate_turn::<T>(row, &old_places);
        }
        row.words.store(words.pack());
        self.settle(tables, row);
        give_members(space, old_span, old_capacity);
        if old_words != words {
            give_words(space, old_words);
        }
        Ok(())
    }

    /// Round robin: says in new places where it stood in old ones.
    fn translate_turn<T: Tables>(&self, row: &ServiceRow, old: &[u32]) {
        let state = row.sched_state.load();
        // The destination picked last is in the list: removal steps back. Places only lose the empty ones below them.
        let picked = (state as usize).checked_sub(1).and_then(|index| old.get(index));
        let place = picked.and_then(|dest| self.places.iter().position(|listed| listed == dest));
        T::swap(&row.sched_state, state, place.map_or(0, |place| place as u64 + 1));
    }

    /// The words for a list of so many slots: a table stays where it is, a tree is made anew.
    fn words_for<T: Tables>(
        &self,
        tables: &T,
        space: &mut impl Space,
        row: &ServiceRow,
        capacity: u32,
    ) -> Result<Words, Refused> {
        let old = Words::unpack(row.words.load());
        let is_table = hash_table::slots(old.scheduler) != 0 && old.scheduler == self.scheduler as u32;
        if is_table { Ok(old) } else { take_words(tables, space, self.scheduler, capacity) }
    }

    /// Says of every destination which leaf it has, and makes tree or table right.
    fn settle<T: Tables>(&self, tables: &T, row: &ServiceRow) {
        for place in 1..=self.places.len() {
            self.set_leaf(tables, row, place);
        }
        // Counters that changed before their destination had this leaf are seen from here on.
        tree::settle(tables, row);
        self.fill_table(tables, row);
    }

    /// As [`Self::settle`], for the destination at one place, counted from 1.
    fn write_leaf<T: Tables>(&self, tables: &T, row: &ServiceRow, place: usize) {
        if let Some(dest) = self.set_leaf(tables, row, place) {
            tree::changed(tables, dest);
        }
    }

    fn set_leaf<'t, T: Tables>(&self, tables: &'t T, row: &ServiceRow, place: usize) -> Option<&'t DestRow> {
        let words = Words::unpack(row.words.load());
        let dest = tables.dest(*self.places.get(place.checked_sub(1)?)?)?;
        let tree = Tree::of(View { span: Span::default(), words }, words.scheduler);
        dest.leaf.store(if tree.exists() { tree.leaves - place as u32 + 1 } else { 0 });
        Some(dest)
    }

    fn write_weight<T: Tables>(&self, tables: &T, row: &ServiceRow, dest: u32) {
        let Some(index) = self.places.iter().rposition(|listed| *listed == dest) else { return };
        let span = Span::unpack(row.members.load());
        let member = tables.member((span.base + span.len).wrapping_sub(index as u32 + 1));
        if let (Some(member), Some(dest)) = (member, tables.dest(dest)) {
            member.weight.store(dest.weight.load());
        }
    }

    fn wrr_config<T: Tables>(&self, tables: &T) -> wrr::Config {
        if self.scheduler != Scheduler::WeightedRoundRobin {
            return wrr::Config::of(core::iter::empty());
        }
        wrr::Config::of(self.dests().filter_map(|id| tables.dest(id)).map(|dest| dest.weight.load()))
    }

    /// Weighted round robin begins the list anew after each change.
    fn weigh_anew<T: Tables>(&self, _: &T, row: &ServiceRow, config: impl FnOnce(wrr::Config) -> wrr::Config) {
        if self.scheduler == Scheduler::WeightedRoundRobin {
            let config = config(wrr::Config::unpack(row.sched_config.load()));
            row.sched_config.store(config.pack());
            row.sched_state.store(config.state_after_edit(row.sched_state.load()));
        }
    }

    /// Fills the table of a scheduler that hashes.
    fn fill_table<T: Tables>(&self, tables: &T, row: &ServiceRow) {
        let words = Words::unpack(row.words.load());
        let mut table = vec![NO_DEST; hash_table::slots(words.scheduler) as usize];
        if words.scheduler == Scheduler::DestinationHashing as u32 {
            let first: Vec<u32> = self.dests().take(table.len()).collect();
            dh::fill(&mut table, &first);
        } else if words.scheduler == Scheduler::SourceHashing as u32 {
            let weight = |id| tables.dest(id).map_or(0, |dest| dest.weight.load());
            let first: Vec<(u32, u32)> = self.dests().take(table.len()).map(|id| (id, weight(id))).collect();
            sh::fill(&mut table, &first);
        } else if words.scheduler == Scheduler::MaglevHashing as u32 {
            mh::fill(&mut table, &mut self.contenders(tables, row));
        }
        for (slot, pair) in (words.base..).zip(table.chunks(2)) {
            let [low, high] = [pair.first(), pair.get(1)].map(|dest| u64::from(dest.copied().unwrap_or(NO_DEST)));
            if let Some(word) = tables.word(slot) {
                word.store(high << 32 | low);
            }
        }
    }

    fn contenders<T: Tables>(&self, tables: &T, row: &ServiceRow) -> Vec<Contender> {
        let contender = |id| {
            let dest = tables.dest(id)?;
            let Address([first, ..]) = dest.address;
            // Of an IPv6 destination of an IPv4 service only the first 32 bits count.
            let address = if row.key.family == family::V6 { dest.address.fold() } else { u32::from_be(first) };
            Some(Contender::new(id, address, dest.port, dest.last_weight.load()))
        };
        self.dests().filter_map(contender).collect()
    }
}

/// Words for a scheduler and a list of so many slots, all 0.
fn take_words<T: Tables>(
    tables: &T,
    space: &mut impl Space,
    scheduler: Scheduler,
    capacity: u32,
) -> Result<Words, Refused> {
    let words = tree::words(scheduler, capacity);
    let len = words_len(words);
    if len == 0 {
        return Ok(words);
    }
    let words = Words { base: space.take_words(len).ok_or(Refused::NoSpace)?, ..words };
    let empty = if words.levels == 0 { u64::MAX } else { 0 };
    for slot in words.base..words.base + len {
        if let Some(word) = tables.word(slot) {
            word.store(empty);
        }
    }
    Ok(words)
}

fn give_words(space: &mut impl Space, words: Words) {
    let len = words_len(words);
    if len > 0 {
        space.give_words(words.base, len);
    }
}

/// Gives back the room of a list: `span` ends where its `capacity` slots end.
fn give_members(space: &mut impl Space, span: Span, capacity: u32) {
    if capacity > 0 {
        space.give_members((span.base + span.len).wrapping_sub(capacity), capacity);
    }
}
