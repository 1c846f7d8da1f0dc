//! What a home offers to look things up: BPF maps in the kernel, shared memory in the daemon, plain arrays in tests.

use core::ops::ControlFlow;

use crate::cell::Cell64;
use crate::forward::next_hop::{Reach, RouteQuery, Way};
use crate::rows::{
    Address, CacheEntry, CacheKey, ConfigRow, ConnRow, CursorRow, DestRow, FlowEntry, FlowKey, MarkRow, MemberRow,
    ServiceKey, ServiceRow, Stats,
};

/// Why a flow did not enter the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InsertError {
    /// It is there already.
    Exists,
    /// No place is left.
    Full,
}

/// One step of a walk: the only kind of loop whose length the verifier need not know.
pub trait Walk<T: ?Sized> {
    /// Looks at element `index`; `Break` ends the walk.
    fn step(&mut self, tables: &T, index: u32) -> ControlFlow<()>;
}

/// Look-ups and the few changes that the data plane makes. Rows are shared with other CPUs and the daemon: what changes
/// in them is atomic.
pub trait Tables: Sized {
    /// The configuration; `None` before the daemon wrote it.
    fn config(&self) -> Option<&ConfigRow>;

    /// The number of the service with this key.
    fn find_service(&self, key: &ServiceKey) -> Option<u32>;
    /// Service row `id`.
    fn service(&self, id: u32) -> Option<&ServiceRow>;
    /// Destination row `id`.
    fn dest(&self, id: u32) -> Option<&DestRow>;
    /// Member `slot` (see [`crate::rows::Span`]).
    fn member(&self, slot: u32) -> Option<&MemberRow>;

    /// Word `slot` of those that schedulers arrange (see [`crate::rows::Words`]).
    fn word(&self, slot: u32) -> Option<&Cell64>;

    /// What a scheduler remembers under this key.
    fn find_cached(&self, key: &CacheKey) -> Option<CacheEntry>;
    /// Remembers it, in place of what was there. Nothing happens where no room is left.
    fn cache(&self, key: &CacheKey, entry: &CacheEntry);
    /// Forgets it; nothing happens where it is not.
    fn forget_cached(&self, key: &CacheKey);

    /// What the index says of a flow.
    fn find_flow(&self, key: &FlowKey) -> Option<FlowEntry>;
    /// Puts a flow into the index; with `replace` an older entry gives way.
    fn insert_flow(&self, key: &FlowKey, entry: FlowEntry, replace: bool) -> Result<(), InsertError>;
    /// Takes a flow from the index; nothing happens where it is not.
    fn remove_flow(&self, key: &FlowKey);

    /// Connection row `id`.
    fn conn(&self, id: u32) -> Option<&ConnRow>;
    /// The number of a free connection row.
    fn take_conn(&self) -> Option<u32>;
    /// Gives back a number from [`Self::take_conn`] whose row no look-up ever found.
    fn give_conn(&self, id: u32);

    /// Adds to the statistics of destination `id`.
    fn count(&self, id: u32, delta: &Stats);

    /// The cursor row.
    fn cursor(&self) -> Option<&CursorRow>;
    /// Rule `slot` of those that mark packets.
    fn mark(&self, slot: u32) -> Option<&MarkRow>;
    /// Where the first fragment of a datagram went; `key` is of [`crate::rows::kind::FRAGMENT`].
    fn find_fragment(&self, key: &FlowKey) -> Option<FlowEntry>;
    /// Remembers where the first fragment of a datagram went. Old ones are forgotten when there are too many.
    fn note_fragment(&self, key: &FlowKey, entry: FlowEntry);
    /// Whether an address is that of a virtual service or of a real server.
    fn is_balanced(&self, address: &Address) -> bool;
    /// Whether an address is one of this host's own.
    fn is_local(&self, address: &Address) -> bool;
    /// The way to `query.to`, by the host's routes and neighbours.
    fn route(&self, query: &RouteQuery, way: &mut Way) -> Reach;

    /// Any 32 bits, each as likely as any other.
    fn random(&self) -> u32;

    /// Calls `walk` with 0, 1, .. up to `steps` - 1 until it breaks.
    fn walk<W: Walk<Self>>(&self, steps: u32, walk: &mut W);

    /// If `cell` holds `expected`, it holds `new` afterwards. Returns what it held.
    fn swap(cell: &Cell64, expected: u64, new: u64) -> u64;
    /// Adds `delta`, wrapping. What this CPU reads afterwards is read after the addition on every CPU.
    fn add(cell: &Cell64, delta: u64);
}

/// [`Tables::walk`] for homes in which any loop will do.
#[cfg(not(target_arch = "bpf"))]
pub fn walk_plainly<T: Tables, W: Walk<T>>(tables: &T, steps: u32, walk: &mut W) {
    for index in 0..steps {
        if let ControlFlow::Break(()) = walk.step(tables, index) {
            break;
        }
    }
}
