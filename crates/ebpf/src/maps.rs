//! The BPF maps, as the core's [`Tables`].

use core::{ffi::c_void, intrinsics, ops::ControlFlow};

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, BPF_NOEXIST},
    helpers::generated::{bpf_get_prandom_u32, bpf_ringbuf_output},
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray, RingBuf, Stack},
};
use rlvs_core::{
    cell::Cell64,
    director::STAGES,
    forward::next_hop::{Reach, RouteQuery, Unresolved, Way},
    rows::{
        Address, CacheEntry, CacheKey, ConfigRow, ConnRow, CursorRow, DestRow, FlowEntry, FlowKey, HANDED_FRAME_MAX,
        HANDED_LEN, Handed, MarkRow, MemberRow, SAMPLE_LEN, SAMPLES as SAMPLES_EACH, SampleRow, ServiceKey, ServiceRow,
        Stats, address_use,
    },
    scratch::Scratch,
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
static WORDS: Array<Shared<Cell64>> = Array::with_max_entries(1, BPF_F_MMAPABLE);
/// What lblc and lblcr remember: memory is taken as it is needed.
#[map]
static CACHE: HashMap<CacheKey, CacheEntry> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);
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

#[map]
static MARKS: Array<Shared<MarkRow>> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static SAMPLES: Array<Shared<SampleRow>> = Array::with_max_entries(COUNTERS * SAMPLES_EACH, BPF_F_MMAPABLE);
/// Where first fragments went. The oldest give way: a datagram's fragments follow each other at once.
#[map]
static FRAGMENTS: LruHashMap<FlowKey, FlowEntry> = LruHashMap::with_max_entries(16_384, 0);
/// [`address_use`] of addresses.
#[map]
static ADDRESSES: HashMap<Address, u32> = HashMap::with_max_entries(1, 0);
#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);
/// Where parts of a frame are copied to.
#[map]
static BUFFER: PerCpuArray<Buffer> = PerCpuArray::with_max_entries(1, 0);
/// Frames for the daemon: 1 MiB holds a burst of several hundred; those that do not fit are lost, as on any full queue.
#[map]
static HANDED: RingBuf = RingBuf::with_byte_size(1 << 20, 0);
/// The stages of the tc program, by number.
#[map]
pub static STAGES_TC: ProgramArray = ProgramArray::with_max_entries(STAGES, 0);
/// The stages of the XDP program.
#[map]
pub static STAGES_XDP: ProgramArray = ProgramArray::with_max_entries(STAGES, 0);

/// Bytes of a frame that are summed up at a time.
pub const BLOCK_LEN: usize = 256;

/// One CPU's memory for frames.
#[repr(C, align(8))]
pub struct Buffer {
    handed: [u8; HANDED_LEN],
    frame: [u8; HANDED_FRAME_MAX],
}

/// This CPU's working memory.
#[inline(always)]
pub fn scratch() -> Option<&'static mut Scratch> {
    // SAFETY: this CPU's own row, used by one packet at a time: programs of one hook do not interrupt each other. It begins as zeros
    // and is written by the core alone; zeros are a value of all its fields. JUSTIFICATION: map memory is reached through raw
    // pointers only.
    unsafe { SCRATCH.get_ptr_mut(0).map(|row| &mut *row) }
}

/// This CPU's memory for [`BLOCK_LEN`] bytes.
#[inline(always)]
pub fn block() -> Option<&'static mut [u8; BLOCK_LEN]> {
    // SAFETY and JUSTIFICATION: as for `scratch`; any bytes are a value.
    let buffer = unsafe { BUFFER.get_ptr_mut(0).map(|row| &mut *row) }?;
    buffer.frame.first_chunk_mut()
}

/// A number of bytes to copy: `len`, at most `MAX`; `None` for 0. Both bounds stand where the verifier sees them and the compiler
/// cannot take them away. That it is not 0 follows from an addition: verifiers of older kernels (6.1) learn nothing of a lower bound
/// from a comparison with 0.
#[inline(always)]
pub fn bounded<const MAX: u32>(len: u32) -> Option<u32> {
    let less = core::hint::black_box(len.min(MAX).wrapping_sub(1));
    if less >= MAX { None } else { Some(less + 1) }
}

/// Hands the frame to the daemon: `load` copies the given number of bytes from its start.
#[inline(always)]
pub fn hand(handed: &Handed, load: impl FnOnce(*mut c_void, u32) -> i64) {
    // SAFETY and JUSTIFICATION: as for `scratch`; any bytes are a value.
    let Some(buffer) = (unsafe { BUFFER.get_ptr_mut(0).map(|row| &mut *row) }) else { return };
    let Some(len) = bounded::<{ HANDED_FRAME_MAX as u32 }>(handed.len) else { return };
    // SAFETY: `handed` has exactly the bytes of the field. JUSTIFICATION: zerocopy's copy would check lengths at run time.
    unsafe { buffer.handed.as_mut_ptr().cast::<Handed>().write(*handed) };
    if load(buffer.frame.as_mut_ptr().cast(), len) != 0 {
        return;
    }
    let data: *mut Buffer = buffer;
    // SAFETY: the ring and a buffer with room for header and frame. JUSTIFICATION: a foreign function; aya's form takes a sized
    // type only.
    unsafe {
        bpf_ringbuf_output((&raw const HANDED).cast_mut().cast(), data.cast(), u64::from(len) + HANDED_LEN as u64, 0)
    };
}

/// Keeps the beginning of a frame that is dropped for `reason`, the `count`th time on this CPU.
#[inline(always)]
pub fn sample(reason: u32, count: u64, at: u64, interface: u32, len: u32, load: impl FnOnce(*mut c_void, u32) -> i64) {
    let Some(row) = SAMPLES.get_ptr_mut(reason * SAMPLES_EACH + (count as u32 & (SAMPLES_EACH - 1))) else { return };
    // SAFETY: a row of integers; two CPUs at once leave a mixture, which is no worse than either. JUSTIFICATION: map memory is
    // reached through raw pointers only.
    let row = unsafe { &mut (*row).0 };
    row.bytes = [0; SAMPLE_LEN];
    let Some(taken) = bounded::<{ SAMPLE_LEN as u32 }>(len) else { return };
    if load(row.bytes.as_mut_ptr().cast(), taken) != 0 {
        return;
    }
    row.len = len;
    row.interface = interface;
    row.at = at;
}

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

    /// Counts a verdict, on this CPU's counter, and returns what that was before.
    #[inline(always)]
    pub fn count_verdict(&self, verdict: Verdict) -> u64 {
        let Some(counter) = VERDICTS.get_ptr_mut(verdict.counter()) else { return 0 };
        // SAFETY: this CPU's own cell, and programs of one hook do not interrupt each other. JUSTIFICATION: as above.
        unsafe {
            let before = *counter;
            *counter = before + 1;
            before
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
    fn word(&self, slot: u32) -> Option<&Cell64> {
        array_row!(WORDS, slot)
    }

    #[inline(always)]
    fn find_cached(&self, key: &CacheKey) -> Option<CacheEntry> {
        // SAFETY: the value is copied at once. JUSTIFICATION: as above.
        unsafe { CACHE.get(key) }.copied()
    }

    #[inline(always)]
    fn cache(&self, key: &CacheKey, entry: &CacheEntry) {
        // Without room nothing is remembered.
        let _ = CACHE.insert(key, entry, BPF_ANY.into());
    }

    #[inline(always)]
    fn forget_cached(&self, key: &CacheKey) {
        // "Not there" is the only error.
        let _ = CACHE.remove(key);
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
    fn cursor(&self) -> Option<&CursorRow> {
        array_row!(CURSOR, 0)
    }

    #[inline(always)]
    fn mark(&self, slot: u32) -> Option<&MarkRow> {
        array_row!(MARKS, slot)
    }

    #[inline(always)]
    fn find_fragment(&self, key: &FlowKey) -> Option<FlowEntry> {
        // SAFETY: the value is copied at once. JUSTIFICATION: as above.
        unsafe { FRAGMENTS.get(key) }.copied()
    }

    #[inline(always)]
    fn note_fragment(&self, key: &FlowKey, entry: FlowEntry) {
        // A map that forgets its oldest entries has room.
        let _ = FRAGMENTS.insert(key, entry, 0);
    }

    #[inline(always)]
    fn is_balanced(&self, address: &Address) -> bool {
        use_of(address) & address_use::BALANCED != 0
    }

    #[inline(always)]
    fn is_local(&self, address: &Address) -> bool {
        use_of(address) & address_use::LOCAL != 0
    }

    #[inline(always)]
    fn route(&self, query: &RouteQuery, way: &mut Way) -> Reach {
        self.host.route(query, way)
    }

    #[inline(always)]
    fn random(&self) -> u32 {
        // SAFETY: a helper without arguments. JUSTIFICATION: helpers are foreign functions.
        unsafe { bpf_get_prandom_u32() }
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
        // Sequentially consistent: the instruction that also returns what was there, a barrier on every machine.
        // SAFETY and JUSTIFICATION: as for `swap`.
        unsafe {
            intrinsics::atomic_xadd::<u64, u64, { intrinsics::AtomicOrdering::SeqCst }>(cell.as_ptr(), delta);
        }
    }
}

/// A callback of [`bpf_loop`].
pub type Callback = extern "C" fn(u32, *mut c_void) -> i64;

/// The helper, with a 64-bit count. The kernel declares 32 bits but, where it inlines the helper, compares all 64 of the
/// register with its limit, and rustc leaves the upper half of a 32-bit argument as it happens to be.
#[inline(always)]
pub unsafe fn bpf_loop(steps: u64, callback: Callback, ctx: *mut c_void, flags: u64) -> i64 {
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

/// The largest packet that an interface takes, bytes, as the daemon wrote it behind the address; Ethernet's, where it has not.
#[inline(always)]
pub fn interface_mtu(interface: u32) -> u32 {
    const ETHERNET_MTU: u32 = 1500;
    // SAFETY and JUSTIFICATION: as for `interface_address`.
    match unsafe { INTERFACES.get(&interface) } {
        Some([.., high, low]) if *high != 0 || *low != 0 => u32::from(*high) << 8 | u32::from(*low),
        _ => ETHERNET_MTU,
    }
}

/// [`address_use`] of an address.
#[inline(always)]
fn use_of(address: &Address) -> u32 {
    // SAFETY: the value is copied at once. JUSTIFICATION: as above.
    unsafe { ADDRESSES.get(address) }.copied().unwrap_or(0)
}

/// Tells the daemon that a neighbour is needed: interface index, family, address.
#[inline(always)]
pub fn ask_daemon(neighbour: &Unresolved) {
    let Address([a, b, c, d]) = neighbour.neighbour;
    // A full ring means that the daemon has enough to do; the question comes again.
    let _ = NEIGHBOURS.output::<[u32; 6]>(&[neighbour.interface, neighbour.family, a, b, c, d], 0);
}
