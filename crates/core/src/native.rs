//! The native home: a frame in memory and tables in ordinary collections, for tests and simulation.

pub mod every_kind;
pub mod frames;
pub mod packets;

use std::boxed::Box;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::vec::Vec;

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::cell::Cell64;
use crate::conn::timeout;
use crate::forward::next_hop::{Reach, RouteQuery, Way};
use crate::packet::{HEADER_OFFSET_MAX, Packet, Room};
use crate::rows::{
    ABI, Address, CacheEntry, CacheKey, ConfigRow, ConnRow, CursorRow, DestRow, FlowEntry, FlowKey, MarkRow, MemberRow,
    ServiceKey, ServiceRow, Setting, Stats,
};
use crate::tables::{InsertError, Tables, Walk, walk_plainly};
use crate::wire::{checksum::Sum, ethernet};

/// A frame in memory.
pub struct Frame<'b> {
    /// Its bytes.
    pub bytes: &'b mut Vec<u8>,
    /// What [`Packet::is_for_this_host`] answers.
    pub for_this_host: bool,
}

impl Packet for Frame<'_> {
    fn len(&self) -> usize {
        self.bytes.len()
    }

    fn header<T>(&mut self, at: usize) -> Option<&mut T>
    where
        T: FromBytes + IntoBytes + KnownLayout + Immutable + Unaligned,
    {
        if at > HEADER_OFFSET_MAX {
            return None;
        }
        T::mut_from_prefix(self.bytes.get_mut(at..)?).ok().map(|(header, _)| header)
    }

    fn is_for_this_host(&mut self) -> bool {
        self.for_this_host
    }

    fn sum(&mut self, at: usize, len: usize) -> Option<Sum> {
        let bytes = self.bytes.get(at..at.checked_add(len)?)?;
        let word = |bytes: &[u8]| {
            let mut word = [0; 4];
            word[..bytes.len()].copy_from_slice(bytes);
            u32::from_ne_bytes(word)
        };
        Some(bytes.chunks(4).fold(Sum::default(), |sum, bytes| sum.with(word(bytes))))
    }

    fn push(&mut self, room: &Room) -> Option<()> {
        let at = ethernet::HEADER_LEN;
        (self.bytes.len() >= at).then(|| drop(self.bytes.splice(at..at, std::iter::repeat_n(0xa5, room.len as usize))))
    }
}

/// Routes as a test wants them.
pub type Router = Box<dyn Fn(&RouteQuery, &mut Way) -> Reach>;

/// Tables in ordinary collections.
pub struct NativeTables {
    /// The configuration row.
    pub config: ConfigRow,
    /// The cursor row.
    pub cursor: CursorRow,
    /// Index of services.
    pub service_index: HashMap<ServiceKey, u32>,
    /// Service rows.
    pub services: Vec<ServiceRow>,
    /// Destination rows.
    pub dests: Vec<DestRow>,
    /// Members of services.
    pub members: Vec<MemberRow>,
    /// Words of the schedulers.
    pub words: Vec<Cell64>,
    /// What lblc and lblcr remember.
    pub cached: RefCell<HashMap<CacheKey, CacheEntry>>,
    /// Where [`Tables::random`] comes from.
    pub dice: Cell<Dice>,
    /// Index of flows.
    pub flows: RefCell<HashMap<FlowKey, FlowEntry>>,
    /// Connection rows.
    pub conns: Vec<ConnRow>,
    /// Free rows that were used before.
    pub free: RefCell<Vec<u32>>,
    /// Statistics by destination.
    pub stats: RefCell<Vec<Stats>>,
    /// Rules that mark packets.
    pub marks: Vec<MarkRow>,
    /// First fragments.
    pub fragments: RefCell<HashMap<FlowKey, FlowEntry>>,
    /// Addresses of services and real servers.
    pub balanced: HashSet<Address>,
    /// The host's own addresses.
    pub local: HashSet<Address>,
    /// The host's routes.
    pub router: Router,
}

/// Words that tables have at least, where they have members at all.
const WORDS_MIN: usize = 4096;

impl NativeTables {
    /// Empty tables with room for this many rows, default timeouts at `hz` jiffies a second, and no route to anywhere.
    pub fn new(services: usize, dests: usize, members: usize, conns: usize, hz: u32) -> Self {
        let config = ConfigRow::new_zeroed();
        config.abi.store(ABI);
        config.hz.store(hz);
        config.epoch.store(1);
        for (cell, seconds) in config.timeouts.iter().zip(timeout::DEFAULT_S) {
            cell.store(seconds * hz);
        }
        let defaults = [
            (Setting::ConnReuseMode, 1),
            (Setting::PmtuDisc, 1),
            (Setting::LblcExpiration, 86_400),
            (Setting::LblcrExpiration, 86_400),
        ];
        for (setting, value) in defaults {
            config.settings[setting as usize].store(value);
        }
        // Tests add services without counting them.
        config.services.iter().for_each(|count| count.store(1));
        config.unprivileged_port.store(1024);
        config.local_ports.store((32_768 << 16) | 60_999);
        Self {
            config,
            cursor: CursorRow::new_zeroed(),
            service_index: HashMap::new(),
            services: rows(services),
            dests: rows(dests),
            members: rows(members),
            // Room for a tree or two and a few tables.
            words: rows(members * 4 + if members > 0 { WORDS_MIN } else { 0 }),
            cached: RefCell::default(),
            dice: Cell::new(Dice(1)),
            flows: RefCell::default(),
            conns: rows(conns),
            free: RefCell::default(),
            stats: RefCell::new(std::vec![Stats::default(); dests]),
            marks: Vec::new(),
            fragments: RefCell::default(),
            balanced: HashSet::new(),
            local: HashSet::new(),
            router: Box::new(|_, _| Reach::NoRoute),
        }
    }
}

/// Pseudo-random numbers for tests that name their seed: the same on every machine (SplitMix64).
#[derive(Clone, Copy, Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// Any 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.bits() % end as u64) as usize
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of these.
    pub fn one_of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// Bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        bytes.iter_mut().for_each(|byte| *byte = self.bits() as u8);
    }
}

fn rows<R: FromZeros>(count: usize) -> Vec<R> {
    (0..count).map(|_| R::new_zeroed()).collect()
}

fn row<R>(rows: &[R], id: u32) -> Option<&R> {
    rows.get(usize::try_from(id).ok()?)
}

impl Tables for NativeTables {
    fn config(&self) -> Option<&ConfigRow> {
        Some(&self.config)
    }

    fn find_service(&self, key: &ServiceKey) -> Option<u32> {
        self.service_index.get(key).copied()
    }

    fn service(&self, id: u32) -> Option<&ServiceRow> {
        row(&self.services, id)
    }

    fn dest(&self, id: u32) -> Option<&DestRow> {
        row(&self.dests, id)
    }

    fn member(&self, slot: u32) -> Option<&MemberRow> {
        row(&self.members, slot)
    }

    fn word(&self, slot: u32) -> Option<&Cell64> {
        row(&self.words, slot)
    }

    fn find_cached(&self, key: &CacheKey) -> Option<CacheEntry> {
        self.cached.borrow().get(key).copied()
    }

    fn cache(&self, key: &CacheKey, entry: &CacheEntry) {
        self.cached.borrow_mut().insert(*key, *entry);
    }

    fn forget_cached(&self, key: &CacheKey) {
        self.cached.borrow_mut().remove(key);
    }

    fn find_flow(&self, key: &FlowKey) -> Option<FlowEntry> {
        self.flows.borrow().get(key).copied()
    }

    fn insert_flow(&self, key: &FlowKey, entry: FlowEntry, replace: bool) -> Result<(), InsertError> {
        let mut flows = self.flows.borrow_mut();
        if !replace && flows.contains_key(key) {
            return Err(InsertError::Exists);
        }
        flows.insert(*key, entry);
        Ok(())
    }

    fn remove_flow(&self, key: &FlowKey) {
        self.flows.borrow_mut().remove(key);
    }

    fn conn(&self, id: u32) -> Option<&ConnRow> {
        row(&self.conns, id)
    }

    fn take_conn(&self) -> Option<u32> {
        if let Some(id) = self.free.borrow_mut().pop() {
            return Some(id);
        }
        let id = self.cursor.conns_used.load();
        if id >= self.conns.len() as u64 {
            return None;
        }
        self.cursor.conns_used.store(id + 1);
        Some(id as u32)
    }

    fn give_conn(&self, id: u32) {
        self.free.borrow_mut().push(id);
    }

    fn count(&self, id: u32, delta: &Stats) {
        if let Some(stats) = self.stats.borrow_mut().get_mut(id as usize) {
            *stats = stats.plus(*delta);
        }
    }

    fn cursor(&self) -> Option<&CursorRow> {
        Some(&self.cursor)
    }

    fn mark(&self, slot: u32) -> Option<&MarkRow> {
        row(&self.marks, slot)
    }

    fn find_fragment(&self, key: &FlowKey) -> Option<FlowEntry> {
        self.fragments.borrow().get(key).copied()
    }

    fn note_fragment(&self, key: &FlowKey, entry: FlowEntry) {
        self.fragments.borrow_mut().insert(*key, entry);
    }

    fn is_balanced(&self, address: &Address) -> bool {
        self.balanced.contains(address)
    }

    fn is_local(&self, address: &Address) -> bool {
        self.local.contains(address)
    }

    fn route(&self, query: &RouteQuery, way: &mut Way) -> Reach {
        (self.router)(query, way)
    }

    fn random(&self) -> u32 {
        let mut dice = self.dice.get();
        let bits = dice.bits();
        self.dice.set(dice);
        bits as u32
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
