//! The frame under a hook, as the core sees it.

use core::{ffi::c_void, mem::size_of, ops::ControlFlow, ptr};

use aya_ebpf::{
    bindings::{
        BPF_F_ADJ_ROOM_ENCAP_L3_IPV4, BPF_F_ADJ_ROOM_ENCAP_L3_IPV6, BPF_F_ADJ_ROOM_ENCAP_L4_GRE,
        BPF_F_ADJ_ROOM_ENCAP_L4_UDP, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, bpf_adj_room_mode,
    },
    helpers::generated::{
        bpf_csum_diff, bpf_l4_csum_replace, bpf_skb_adjust_room, bpf_skb_load_bytes, bpf_skb_pull_data,
        bpf_xdp_adjust_head, bpf_xdp_load_bytes,
    },
    programs::{TcContext, XdpContext},
};
use rlvs_core::{
    packet::{HEADER_OFFSET_MAX, Packet, Room},
    rows::tunnel,
    wire::{
        checksum::{Change, Sum},
        crc32c, ethernet,
    },
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::maps::{self, BLOCK_LEN};

/// How much of an skb should lie in linear memory: Ethernet, the longest IPv4 and the longest TCP header.
const LINEAR_LEN: u32 = 14 + 60 + 60;
/// `__sk_buff.pkt_type` of a frame addressed to the interface that received it.
const PACKET_HOST: u32 = 0;
/// Most blocks that a packet is summed up in: the longest IP packet.
const BLOCKS_MAX: u32 = (65_535 / BLOCK_LEN + 1) as u32;

/// The header of type `T` at `at` between `data` and `data_end`, both read anew.
///
/// SAFETY of callers: `data` and `data_end` are the fields of the running program's context. The comparison is what the
/// verifier asks for; it rejects the program if the access were not proven in bounds.
#[inline(always)]
unsafe fn header<'a, T: FromBytes + Unaligned>(data: *const u32, data_end: *const u32, at: usize) -> Option<&'a mut T> {
    // The compiler must not move the comparison past the addition: the verifier adds what it knows to be bounded.
    let at = core::hint::black_box(at);
    if at > HEADER_OFFSET_MAX {
        return None;
    }
    // SAFETY: fields of the context, see above. Volatile, so that the compiler cannot keep a pointer from before a helper
    // that moved the data. JUSTIFICATION: packet memory is reached through raw pointers in the context only.
    unsafe {
        let start = ptr::read_volatile(data) as usize + at;
        let end = ptr::read_volatile(data_end) as usize;
        if start + size_of::<T>() > end {
            return None;
        }
        Some(&mut *(start as *mut T))
    }
}

/// Adds up a frame block by block; what is read goes through this CPU's block of memory.
struct Summing<C> {
    ctx: *mut C,
    at: u32,
    left: u32,
    sum: u32,
    failed: u32,
}

/// A context that bytes can be read from.
trait Load {
    /// Copies `len` bytes, at most [`BLOCK_LEN`], from `at` to `to`.
    ///
    /// # Safety
    /// `ctx` is the running program's; `to` has room for a block.
    unsafe fn load(ctx: *mut Self, at: u32, to: *mut c_void, len: u32) -> i64;
}

impl Load for aya_ebpf::bindings::xdp_md {
    #[inline(always)]
    unsafe fn load(ctx: *mut Self, at: u32, to: *mut c_void, len: u32) -> i64 {
        // SAFETY: the caller's promise; the helper checks the frame's bounds. JUSTIFICATION: helpers are foreign functions.
        unsafe { bpf_xdp_load_bytes(ctx, at, to, len) }
    }
}

impl Load for aya_ebpf::bindings::__sk_buff {
    #[inline(always)]
    unsafe fn load(ctx: *mut Self, at: u32, to: *mut c_void, len: u32) -> i64 {
        // SAFETY: the caller's promise; the helper checks the frame's bounds. JUSTIFICATION: helpers are foreign functions.
        unsafe { bpf_skb_load_bytes(ctx.cast(), at, to, len) }
    }
}

/// `bpf_loop`'s callback for [`Summing`].
extern "C" fn sum_block<C: Load>(_: u32, summing: *mut c_void) -> i64 {
    // SAFETY: `sum_of` passed a pointer to its own `Summing<C>`. JUSTIFICATION: the callback's type is C's.
    let summing = unsafe { &mut *summing.cast::<Summing<C>>() };
    match summing.step() {
        ControlFlow::Continue(()) => 0,
        ControlFlow::Break(()) => 1,
    }
}

impl<C: Load> Summing<C> {
    #[inline(always)]
    fn step(&mut self) -> ControlFlow<()> {
        let Some(block) = maps::block() else {
            self.failed = 1;
            return ControlFlow::Break(());
        };
        let len = self.left.min(BLOCK_LEN as u32);
        if len == 0 {
            return ControlFlow::Break(());
        }
        // What a last, shorter block leaves standing counts as zero.
        block.fill(0);
        let to: *mut c_void = block.as_mut_ptr().cast();
        let Some(bounded) = maps::bounded::<{ BLOCK_LEN as u32 }>(len) else { return ControlFlow::Break(()) };
        // SAFETY: the context and a block with room for `bounded` bytes. JUSTIFICATION: helpers are foreign functions.
        let summed = unsafe {
            if C::load(self.ctx, self.at, to, bounded) != 0 {
                self.failed = 1;
                return ControlFlow::Break(());
            }
            bpf_csum_diff(ptr::null_mut(), 0, to.cast(), BLOCK_LEN as u32, self.sum)
        };
        self.sum = summed as u32;
        self.at += len;
        self.left -= len;
        ControlFlow::Continue(())
    }
}

#[inline(always)]
fn sum_of<C: Load>(ctx: *mut C, at: usize, len: usize) -> Option<Sum> {
    let mut summing = Summing { ctx, at: at as u32, left: len as u32, sum: 0, failed: 0 };
    // SAFETY: the callback gets back the pointer to `summing`, which outlives the call. JUSTIFICATION: see `maps::bpf_loop`.
    unsafe { maps::bpf_loop(BLOCKS_MAX.into(), sum_block::<C>, (&raw mut summing).cast(), 0) };
    (summing.failed == 0 && summing.left == 0).then_some(Sum(summing.sum))
}

/// [`crc32c::change`], for the verifier to look at once and not at every call: what has a name outside is verified by itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rlvs_crc_change(difference: u32, behind: u32) -> u32 {
    crc32c::change(difference, behind as u16)
}

/// A frame on XDP: all of it is in reach, checksums are complete.
pub struct XdpFrame<'c> {
    ctx: &'c XdpContext,
}

impl<'c> XdpFrame<'c> {
    pub fn new(ctx: &'c XdpContext) -> Self {
        Self { ctx }
    }
}

impl Packet for XdpFrame<'_> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.ctx.data_end() - self.ctx.data()
    }

    #[inline(always)]
    fn header<T>(&mut self, at: usize) -> Option<&mut T>
    where
        T: FromBytes + IntoBytes + KnownLayout + Immutable + Unaligned,
    {
        let md = self.ctx.ctx;
        // SAFETY: `md` is the context of the running program. JUSTIFICATION: see `header`.
        unsafe { header(&raw const (*md).data, &raw const (*md).data_end, at) }
    }

    #[inline(always)]
    fn is_for_this_host(&mut self) -> bool {
        // SAFETY: as above.
        let interface = unsafe { (*self.ctx.ctx).ingress_ifindex };
        match (maps::interface_address(interface), self.header::<ethernet::Header>(0)) {
            (Some(own), Some(ethernet)) => *own == ethernet.destination,
            // An interface that the daemon has not told of: trust its filter.
            (None, _) => true,
            (_, None) => false,
        }
    }

    #[inline(always)]
    fn crc_change(&self, difference: u32, behind: u16) -> u32 {
        rlvs_crc_change(difference, behind.into())
    }

    #[inline(always)]
    fn sum(&mut self, at: usize, len: usize) -> Option<Sum> {
        sum_of(self.ctx.ctx, at, len)
    }

    #[inline(always)]
    fn push(&mut self, room: &Room) -> Option<()> {
        // SAFETY: the context and a scalar; headers are looked at anew afterwards. JUSTIFICATION: a foreign function.
        if unsafe { bpf_xdp_adjust_head(self.ctx.ctx, -(room.len as i32)) } != 0 {
            return None;
        }
        let ethernet = *self.header::<ethernet::Header>(room.len as usize)?;
        *self.header(0)? = ethernet;
        Some(())
    }
}

/// A frame on tc: only its beginning need be in linear memory, and the transport checksum may be partial.
pub struct TcFrame<'c> {
    ctx: &'c TcContext,
}

impl<'c> TcFrame<'c> {
    /// The frame as a first stage finds it.
    #[inline(always)]
    pub fn new(ctx: &'c TcContext) -> Self {
        let wanted = LINEAR_LEN.min(ctx.len());
        if ctx.data_end() - ctx.data() < wanted as usize {
            // SAFETY: scalar arguments. Should it fail, headers are out of reach and the packet passes untouched.
            // JUSTIFICATION: helpers are foreign functions.
            unsafe { bpf_skb_pull_data(ctx.skb.skb, wanted) };
        }
        Self { ctx }
    }
}

impl Packet for TcFrame<'_> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.ctx.len() as usize
    }

    #[inline(always)]
    fn header<T>(&mut self, at: usize) -> Option<&mut T>
    where
        T: FromBytes + IntoBytes + KnownLayout + Immutable + Unaligned,
    {
        let skb = self.ctx.skb.skb;
        // SAFETY: `skb` is the context of the running program. JUSTIFICATION: see `header`.
        unsafe { header(&raw const (*skb).data, &raw const (*skb).data_end, at) }
    }

    #[inline(always)]
    fn is_for_this_host(&mut self) -> bool {
        // SAFETY: a field of the context. JUSTIFICATION: as above.
        unsafe { (*self.ctx.skb.skb).pkt_type == PACKET_HOST }
    }

    #[inline(always)]
    fn mark(&self) -> u32 {
        // SAFETY: a field of the context. JUSTIFICATION: as above.
        unsafe { (*self.ctx.skb.skb).mark }
    }

    #[inline(always)]
    fn segment_payload(&self) -> Option<u32> {
        // SAFETY: a field of the context. JUSTIFICATION: as above.
        let size = unsafe { (*self.ctx.skb.skb).gso_size };
        (size != 0).then_some(size)
    }

    /// By the kernel's helper, which knows whether the checksum is complete, partial or already summed by the device: the
    /// address is part of the pseudo-header, the port is not.
    #[inline(always)]
    fn replace_checksum(&mut self, at: usize, change: &Change) -> Option<()> {
        let zero = if change.zero_means_none { u64::from(BPF_F_MARK_MANGLED_0) } else { 0 };
        let (skb, at) = (self.ctx.skb.skb, at as u32);
        let port = (change.port.0.to_be(), change.port.1.to_be());
        // SAFETY: scalar arguments; the helper checks `at`. JUSTIFICATION: helpers are foreign functions.
        let failed = unsafe {
            bpf_l4_csum_replace(skb, at, 0, change.address.0.into(), u64::from(BPF_F_PSEUDO_HDR) | zero) != 0
                || bpf_l4_csum_replace(skb, at, port.0.into(), port.1.into(), zero | 2) != 0
        };
        (!failed).then_some(())
    }

    #[inline(always)]
    fn crc_change(&self, difference: u32, behind: u16) -> u32 {
        rlvs_crc_change(difference, behind.into())
    }

    #[inline(always)]
    fn sum(&mut self, at: usize, len: usize) -> Option<Sum> {
        sum_of(self.ctx.skb.skb, at, len)
    }

    #[inline(always)]
    fn push(&mut self, room: &Room) -> Option<()> {
        let l3 = if room.outer_v6 { BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 } else { BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 };
        let l4 = match room.tunnel {
            tunnel::GRE => BPF_F_ADJ_ROOM_ENCAP_L4_GRE,
            tunnel::GUE => BPF_F_ADJ_ROOM_ENCAP_L4_UDP,
            _ => 0,
        };
        let (len, mode) = (room.len as i32, bpf_adj_room_mode::BPF_ADJ_ROOM_MAC);
        // SAFETY: the context and scalars; headers are looked at anew afterwards. JUSTIFICATION: a foreign function.
        let failed = unsafe { bpf_skb_adjust_room(self.ctx.skb.skb, len, mode, u64::from(l3 | l4)) != 0 };
        (!failed).then_some(())
    }
}
