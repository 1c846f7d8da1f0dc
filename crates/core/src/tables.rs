//! What a home offers to look things up: BPF maps in the kernel, shared memory in the daemon, plain arrays in tests.

use core::ops::ControlFlow;

use crate::cell::Cell64;
use crate::forward::next_hop::{Route, RouteQuery};
use crate::rows::{ConfigRow, ConnRow, DestRow, FlowEntry, FlowKey, MemberRow, ServiceKey, ServiceRow, Stats};

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

    /// The way to `query.to`, by the host's routes and neighbours.
    fn route(&self, query: &RouteQuery) -> Route;

    /// Calls `walk` with 0, 1, .. up to `steps` - 1 until it breaks.
    fn walk<W: Walk<Self>>(&self, steps: u32, walk: &mut W);

    /// If `cell` holds `expected`, it holds `new` afterwards. Returns what it held.
    fn swap(cell: &Cell64, expected: u64, new: u64) -> u64;
    /// Adds `delta`, wrapping.
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
