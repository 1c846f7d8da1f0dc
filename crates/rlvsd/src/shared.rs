//! The daemon's own home of the core: its tables over the maps, for expiring connections with the very code that opens them.

use std::cell::RefCell;

use aya::maps::MapError;
use rlvs_core::{
    cell::Cell64,
    forward::next_hop::{Route, RouteQuery},
    rows::{ConfigRow, ConnRow, CursorRow, DestRow, FlowEntry, FlowKey, MemberRow, ServiceKey, ServiceRow, Stats},
    tables::{InsertError, Tables, Walk, walk_plainly},
    verdict::Drop,
};
use zerocopy::{FromBytes, IntoBytes};

use crate::{
    loader::{FlowMap, FreeConnMap, Maps, ServiceIndexMap, StatsMap},
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
    /// Connection rows.
    pub conns: SharedArray<ConnRow>,
    service_index: RefCell<ServiceIndexMap>,
    flows: RefCell<FlowMap>,
    free_conns: RefCell<FreeConnMap>,
    stats: StatsMap,
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
            conns: maps.conns,
            service_index: RefCell::new(maps.service_index),
            flows: RefCell::new(maps.flows),
            free_conns: RefCell::new(maps.free_conns),
            stats: maps.stats,
        }
    }

    /// Lets the data plane find service row `id` under `key`.
    ///
    /// # Errors
    /// Where the index is full.
    pub fn publish_service(&self, key: &ServiceKey, id: u32) -> Result<(), MapError> {
        self.service_index.borrow_mut().insert(bytes(key), id, 0)
    }

    /// The opposite of [`Self::publish_service`].
    pub fn hide_service(&self, key: &ServiceKey) {
        // "Not there" is as good.
        let _ = self.service_index.borrow_mut().remove(&bytes(key));
    }

    /// Statistics of destination `id` since the data plane was loaded, over all CPUs.
    pub fn stats(&self, id: u32) -> Stats {
        let Ok(cpus) = self.stats.get(&id, 0) else { return Stats::default() };
        let of_cpu = |&[conns, in_packets, in_bytes, out_packets, out_bytes]: &[u64; 5]| Stats {
            conns,
            in_packets,
            in_bytes,
            out_packets,
            out_bytes,
        };
        cpus.iter().map(of_cpu).fold(Stats::default(), Stats::plus)
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

    /// The daemon sends no packets.
    fn route(&self, _: &RouteQuery) -> Route {
        Route::Unreachable(Drop::NoRoute)
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
