//! The BPF maps, as the core's [`Tables`].

use core::{ffi::c_void, intrinsics, ops::ControlFlow};

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_F_MMAPABLE, BPF_NOEXIST},
    macros::map,
    maps::{Array, HashMap, PerCpuArray, RingBuf, Stack},
};
use rlvs_core::{
    cell::Cell64,
    forward::next_hop::{Route, RouteQuery, Unresolved},
    rows::{
        Address, ConfigRow, ConnRow, CursorRow, DestRow, FlowEntry, FlowKey, MemberRow, ServiceKey, ServiceRow, Stats,
        family,
    },
    tables::{InsertError, Tables, Walk},
    verdict::{COUNTERS, Verdict},
    wire::ethernet::Mac,
};

use crate::host::{Context, Host};

/// A row that other CPUs and the daemon read and write as well.
#[repr(transparent)]
struct Shared<R>(R);

// SAFETY: rows change through their cells alone, each an aligned integer that a CPU loads and stores as a whole.
// JUSTIFICATION: `static` demands `Sync`; rustc has no 32-bit atomics for this target (see `rlvs_core::cell`).
unsafe impl<R> Sync for Shared<R> {}

// Sizes are the loader's: it sets `max_entries` of every map below that is declared with 1.
#[map]
static CONFIG: Array<Shared<ConfigRow>> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static CURSOR: Array<Shared<CursorRow>> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static SERVICE_INDEX: HashMap<ServiceKey, u32> = HashMap::with_max_entries(1, 0);
#[map]
static SERVICES: Array<Shared<ServiceRow>> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static DESTS: Array<Shared<DestRow>> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static MEMBERS: Array<Shared<MemberRow>> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static FLOWS: HashMap<FlowKey, FlowEntry> = HashMap::with_max_entries(1, 0);
#[map]
static CONNS: Array<Shared<ConnRow>> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static FREE_CONNS: Stack<u32> = Stack::with_max_entries(1, 0);
#[map]
static STATS: PerCpuArray<Stats> = PerCpuArray::with_max_entries(1, 0);
#[map]
static VERDICTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(COUNTERS, 0);
#[map]
static INTERFACES: HashMap<u32, [u8; 8]> = HashMap::with_max_entries(1, 0);
/// Neighbours that packets wait for or use: the daemon keeps them known. One page: requests repeat, losing one is no loss.
#[map]
static NEIGHBOURS: RingBuf = RingBuf::with_byte_size(4096, 0);

/// The maps, seen from one packet.
pub struct Maps<C> {
    pub host: Host<C>,
}

/// Reads a row of an array map for as long as the program runs, which is as long as any map lives.
macro_rules! array_row {
    ($map:ident, $index:expr) => {{
        let row = $map.get_ptr($index)?;
        // SAFETY: a non-null pointer from the map look-up points to a whole row; rows hold integers and atomics of them.
        // JUSTIFICATION: map memory is reached through raw pointers only.
        Some(unsafe { &(*row).0 })
    }};
}

impl<C: Context> Maps<C> {
    #[inline(always)]
    pub fn new(ctx: *mut C) -> Self {
        Self { host: Host::new(ctx) }
    }

    /// Counts a verdict, on this CPU's counter.
    #[inline(always)]
    pub fn count_verdict(&self, verdict: &Verdict) {
        if let Some(counter) = VERDICTS.get_ptr_mut(verdict.counter()) {
            // SAFETY: this CPU's own cell, and programs of one hook do not interrupt each other. JUSTIFICATION: as above.
            unsafe { *counter += 1 };
        }
    }
}

impl<C: Context> Tables for Maps<C> {
    #[inline(always)]
    fn config(&self) -> Option<&ConfigRow> {
        array_row!(CONFIG, 0)
    }

    #[inline(always)]
    fn find_service(&self, key: &ServiceKey) -> Option<u32> {
        // SAFETY: the value is copied at once. JUSTIFICATION: as above.
        unsafe { SERVICE_INDEX.get(key) }.copied()
    }

    #[inline(always)]
    fn service(&self, id: u32) -> Option<&ServiceRow> {
        array_row!(SERVICES, id)
    }

    #[inline(always)]
    fn dest(&self, id: u32) -> Option<&DestRow> {
        array_row!(DESTS, id)
    }

    #[inline(always)]
    fn member(&self, slot: u32) -> Option<&MemberRow> {
        array_row!(MEMBERS, slot)
    }

    #[inline(always)]
    fn find_flow(&self, key: &FlowKey) -> Option<FlowEntry> {
        // SAFETY: the value is copied at once. JUSTIFICATION: as above.
        unsafe { FLOWS.get(key) }.copied()
    }

    #[inline(always)]
    fn insert_flow(&self, key: &FlowKey, entry: FlowEntry, replace: bool) -> Result<(), InsertError> {
        const EEXIST: i64 = 17;
        let flags = if replace { BPF_ANY } else { BPF_NOEXIST };
        FLOWS
            .insert(key, entry, flags.into())
            .map_err(|error| if i64::from(error) == -EEXIST { InsertError::Exists } else { InsertError::Full })
    }

    #[inline(always)]
    fn remove_flow(&self, key: &FlowKey) {
        // "Not there" is the only error.
        let _ = FLOWS.remove(key);
    }

    #[inline(always)]
    fn conn(&self, id: u32) -> Option<&ConnRow> {
        array_row!(CONNS, id)
    }

    #[inline(always)]
    fn take_conn(&self) -> Option<u32> {
        if let Ok(Some(id)) = FREE_CONNS.pop() {
            return Some(id);
        }
        let cursor: &CursorRow = array_row!(CURSOR, 0)?;
        // The row past the last one does not exist, which ends the rows that were never used.
        for _ in 0..4 {
            let id = cursor.conns_used.load();
            self.conn(id as u32)?;
            if Self::swap(&cursor.conns_used, id, id + 1) == id {
                return Some(id as u32);
            }
        }
        None
    }

    #[inline(always)]
    fn give_conn(&self, id: u32) {
        // The stack has room for every row.
        let _ = FREE_CONNS.push(&id, 0);
    }

    #[inline(always)]
    fn count(&self, id: u32, delta: &Stats) {
        if let Some(stats) = STATS.get_ptr_mut(id) {
            // SAFETY: this CPU's own row, and programs of one hook do not interrupt each other. JUSTIFICATION: as above.
            let stats = unsafe { &mut *stats };
            *stats = stats.plus(*delta);
        }
    }

    #[inline(always)]
    fn route(&self, query: &RouteQuery) -> Route {
        self.host.route(query)
    }

    #[inline(always)]
    fn walk<W: Walk<Self>>(&self, steps: u32, walk: &mut W) {
        let mut loop_ctx = LoopCtx { tables: self, walk };
        // SAFETY: the callback gets back the pointer to `loop_ctx`, which outlives the call. JUSTIFICATION: `bpf_loop` is
        // the one loop whose length the verifier need not know, and a foreign function.
        unsafe {
            bpf_loop(steps.into(), step::<C, W>, (&raw mut loop_ctx).cast(), 0);
        }
    }

    #[inline(always)]
    fn swap(cell: &Cell64, expected: u64, new: u64) -> u64 {
        // SAFETY: an aligned 64-bit cell of a map. JUSTIFICATION: rustc calls the BPF target incapable of compare-and-swap
        // (version 1 of the instruction set was); the intrinsic compiles to the instruction that version 3 has.
        unsafe {
            intrinsics::atomic_cxchg::<
                u64,
                { intrinsics::AtomicOrdering::SeqCst },
                { intrinsics::AtomicOrdering::SeqCst },
            >(cell.as_ptr(), expected, new)
            .0
        }
    }

    #[inline(always)]
    fn add(cell: &Cell64, delta: u64) {
        // SAFETY and JUSTIFICATION: as for `swap`.
        unsafe {
            intrinsics::atomic_xadd::<u64, u64, { intrinsics::AtomicOrdering::Relaxed }>(cell.as_ptr(), delta);
        }
    }
}

/// A callback of [`bpf_loop`].
type Callback = extern "C" fn(u32, *mut c_void) -> i64;

/// The helper, with a 64-bit count. The kernel declares 32 bits but, where it inlines the helper, compares all 64 of the
/// register with its limit, and rustc leaves the upper half of a 32-bit argument as it happens to be.
#[inline(always)]
unsafe fn bpf_loop(steps: u64, callback: Callback, ctx: *mut c_void, flags: u64) -> i64 {
    const HELPER: usize = 181;
    type Helper = unsafe extern "C" fn(u64, Callback, *mut c_void, u64) -> i64;
    // SAFETY: a call to a helper is a call to its number. JUSTIFICATION: aya's binding declares the 32-bit count.
    unsafe { core::mem::transmute::<usize, Helper>(HELPER)(steps, callback, ctx, flags) }
}

struct LoopCtx<'w, C, W> {
    tables: &'w Maps<C>,
    walk: &'w mut W,
}

/// `bpf_loop`'s callback: 0 goes on, 1 ends.
extern "C" fn step<C: Context, W: Walk<Maps<C>>>(index: u32, ctx: *mut c_void) -> i64 {
    // SAFETY: `walk` passed a pointer to its own `LoopCtx` of these types. JUSTIFICATION: the callback's type is C's.
    let ctx = unsafe { &mut *ctx.cast::<LoopCtx<'_, C, W>>() };
    match ctx.walk.step(ctx.tables, index) {
        ControlFlow::Continue(()) => 0,
        ControlFlow::Break(()) => 1,
    }
}

/// The link-layer address of an interface, as the daemon wrote it.
#[inline(always)]
pub fn interface_address(interface: u32) -> Option<&'static Mac> {
    // SAFETY: a racing update replaces six bytes of an address that changes anyway. JUSTIFICATION: as above.
    unsafe { INTERFACES.get(&interface) }?.first_chunk()
}

/// Tells the daemon that a neighbour is needed: interface index, family, address.
#[inline(always)]
pub fn ask_daemon(neighbour: &Unresolved) {
    let Address([a, b, c, d]) = neighbour.neighbour;
    // A full ring means that the daemon has enough to do; the question comes again.
    let _ = NEIGHBOURS.output::<[u32; 6]>(&[neighbour.interface, u32::from(family::V4), a, b, c, d], 0);
}
