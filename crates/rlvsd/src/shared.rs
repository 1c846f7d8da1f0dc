//! The daemon's own home of the core: its tables over the maps, for expiring connections with the very code that opens them.

use std::cell::RefCell;

use aya::maps::MapError;
use rlvs_core::{
    cell::Cell64,
    forward::next_hop::{Reach, RouteQuery, Way},
    rows::{
        Address, CacheEntry, CacheKey, ConfigRow, ConnRow, CursorRow, DestRow, FlowEntry, FlowKey, MarkRow, MemberRow,
        ServiceKey, ServiceRow, Stats, address_use,
    },
    tables::{InsertError, Tables, Walk, walk_plainly},
};
use zerocopy::{FromBytes, IntoBytes};

use crate::{
    loader::{AddressMap, CacheMap, FlowMap, FragmentMap, FreeConnMap, Maps, ServiceIndexMap, StatsMap},
    maps::SharedArray,
};

/// The maps behind the core's interface.
pub struct SharedTables {
    /// The configuration.
    pub config: SharedArray<ConfigRow>,
    /// The cursor.
    pub cursor: SharedArray<CursorRow>,
    /// Service rows.
    pub services: SharedArray<ServiceRow>,
    /// Destination rows.
    pub dests: SharedArray<DestRow>,
    /// Member lists.
    pub members: SharedArray<MemberRow>,
    /// Rules that mark packets.
    pub marks: SharedArray<MarkRow>,
    /// Connection rows.
    pub conns: SharedArray<ConnRow>,
    /// Words of the schedulers.
    pub words: SharedArray<Cell64>,
    cache: RefCell<CacheMap>,
    service_index: RefCell<ServiceIndexMap>,
    flows: RefCell<FlowMap>,
    free_conns: RefCell<FreeConnMap>,
    stats: StatsMap,
    fragments: RefCell<FragmentMap>,
    addresses: RefCell<AddressMap>,
}

impl SharedTables {
    /// Takes what it needs from the maps of a data plane.
    pub fn new(maps: Maps) -> Self {
        Self {
            config: maps.config,
            cursor: maps.cursor,
            services: maps.services,
            dests: maps.dests,
            members: maps.members,
            marks: maps.marks,
            conns: maps.conns,
            words: maps.words,
            cache: RefCell::new(maps.cache),
            service_index: RefCell::new(maps.service_index),
            flows: RefCell::new(maps.flows),
            free_conns: RefCell::new(maps.free_conns),
            stats: maps.stats,
            fragments: RefCell::new(maps.fragments),
            addresses: RefCell::new(maps.addresses),
        }
    }

    /// Lets the data plane find service row `id` under `key`.
    ///
    /// # Errors
    /// Where the index is full.
    pub fn publish_service(&self, key: &ServiceKey, id: u32) -> Result<(), MapError> {
        self.service_index.borrow_mut().insert(bytes(key), id, 0)
    }

    /// Says what an address is used for: bits of [`address_use`]; 0 for nothing.
    ///
    /// # Errors
    /// Where the map is full.
    pub fn set_use(&self, address: &Address, bits: u32) -> Result<(), MapError> {
        let mut addresses = self.addresses.borrow_mut();
        if bits == 0 {
            // "Not there" is as good.
            let _ = addresses.remove(&bytes(address));
            return Ok(());
        }
        addresses.insert(bytes(address), bits, 0)
    }

    fn use_of(&self, address: &Address) -> u32 {
        self.addresses.borrow().get(&bytes(address), 0).unwrap_or(0)
    }

    /// The opposite of [`Self::publish_service`].
    pub fn hide_service(&self, key: &ServiceKey) {
        // "Not there" is as good.
        let _ = self.service_index.borrow_mut().remove(&bytes(key));
    }

    /// Statistics of destination row `id` since the data plane was loaded, over all CPUs.
    pub fn stats(&self, id: u32) -> Stats {
        self.stats_by_cpu(id).fold(Stats::default(), Stats::plus)
    }

    /// As [`Self::stats`], for each possible CPU.
    pub fn stats_by_cpu(&self, id: u32) -> impl Iterator<Item = Stats> {
        let of_cpu = |&[conns, in_packets, in_bytes, out_packets, out_bytes]: &[u64; 5]| Stats {
            conns,
            in_packets,
            in_bytes,
            out_packets,
            out_bytes,
        };
        let cpus = self.stats.get(&id, 0);
        let cpus: Vec<Stats> = cpus.iter().flat_map(|cpus| cpus.iter()).map(of_cpu).collect();
        cpus.into_iter()
    }

    /// All that lblc and lblcr remember.
    pub fn cached(&self) -> Vec<(CacheKey, CacheEntry)> {
        let cache = self.cache.borrow();
        let rows = cache.iter().filter_map(Result::ok);
        rows.filter_map(|(key, entry)| {
            Some((CacheKey::read_from_bytes(&key).ok()?, CacheEntry::read_from_bytes(&entry).ok()?))
        })
        .collect()
    }

    /// Rows that have ever held a connection: those below this number.
    pub fn conns_used(&self) -> u32 {
        let used = self.cursor.get(0).map_or(0, |cursor| cursor.conns_used.load());
        u32::try_from(used).unwrap_or(u32::MAX).min(self.conns.len() as u32)
    }
}

/// A key as the bytes that the map hashes.
fn bytes<const N: usize>(key: &(impl IntoBytes + zerocopy::Immutable)) -> [u8; N] {
    let mut bytes = [0; N];
    // Sizes are equal: `Maps` declares the maps with the sizes that rlvs_core::rows asserts.
    let _ = key.write_to(&mut bytes);
    bytes
}

impl Tables for SharedTables {
    fn config(&self) -> Option<&ConfigRow> {
        self.config.get(0)
    }

    fn find_service(&self, key: &ServiceKey) -> Option<u32> {
        self.service_index.borrow().get(&bytes(key), 0).ok()
    }

    fn service(&self, id: u32) -> Option<&ServiceRow> {
        self.services.get(id)
    }

    fn dest(&self, id: u32) -> Option<&DestRow> {
        self.dests.get(id)
    }

    fn member(&self, slot: u32) -> Option<&MemberRow> {
        self.members.get(slot)
    }

    fn word(&self, slot: u32) -> Option<&Cell64> {
        self.words.get(slot)
    }

    fn find_cached(&self, key: &CacheKey) -> Option<CacheEntry> {
        let entry = self.cache.borrow().get(&bytes(key), 0).ok()?;
        CacheEntry::read_from_bytes(&entry).ok()
    }

    fn cache(&self, key: &CacheKey, entry: &CacheEntry) {
        // Without room nothing is remembered.
        let _ = self.cache.borrow_mut().insert(bytes(key), bytes(entry), 0);
    }

    fn forget_cached(&self, key: &CacheKey) {
        // "Not there" is as good.
        let _ = self.cache.borrow_mut().remove(&bytes(key));
    }

    fn find_flow(&self, key: &FlowKey) -> Option<FlowEntry> {
        let entry = self.flows.borrow().get(&bytes(key), 0).ok()?;
        FlowEntry::read_from_bytes(&entry).ok()
    }

    fn insert_flow(&self, key: &FlowKey, entry: FlowEntry, replace: bool) -> Result<(), InsertError> {
        const BPF_NOEXIST: u64 = 1;
        let flags = if replace { 0 } else { BPF_NOEXIST };
        self.flows.borrow_mut().insert(bytes(key), bytes(&entry), flags).map_err(|_| InsertError::Full)
    }

    fn remove_flow(&self, key: &FlowKey) {
        // "Not there" is as good.
        let _ = self.flows.borrow_mut().remove(&bytes(key));
    }

    fn conn(&self, id: u32) -> Option<&ConnRow> {
        self.conns.get(id)
    }

    fn take_conn(&self) -> Option<u32> {
        self.free_conns.borrow_mut().pop(0).ok()
    }

    fn give_conn(&self, id: u32) {
        if let Err(error) = self.free_conns.borrow_mut().push(id, 0) {
            // The stack has room for every row; should this happen, one row is lost until the next load.
            tracing::error!("giving back connection row {id}: {error}");
        }
    }

    fn count(&self, _: u32, _: &Stats) {}

    fn cursor(&self) -> Option<&CursorRow> {
        self.cursor.get(0)
    }

    fn mark(&self, slot: u32) -> Option<&MarkRow> {
        self.marks.get(slot)
    }

    fn find_fragment(&self, key: &FlowKey) -> Option<FlowEntry> {
        let entry = self.fragments.borrow().get(&bytes(key), 0).ok()?;
        FlowEntry::read_from_bytes(&entry).ok()
    }

    fn note_fragment(&self, key: &FlowKey, entry: FlowEntry) {
        // A map that forgets its oldest entries has room.
        let _ = self.fragments.borrow_mut().insert(bytes(key), bytes(&entry), 0);
    }

    fn is_balanced(&self, address: &Address) -> bool {
        self.use_of(address) & address_use::BALANCED != 0
    }

    fn is_local(&self, address: &Address) -> bool {
        self.use_of(address) & address_use::LOCAL != 0
    }

    fn random(&self) -> u32 {
        std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0u8) as u32
    }

    /// The daemon only follows what packets have found out.
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
