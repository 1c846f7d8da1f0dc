//! The frame under a hook, as the core sees it.

use core::{mem::size_of, ptr};

use aya_ebpf::{
    bindings::{BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR},
    helpers::generated::{bpf_l4_csum_replace, bpf_skb_pull_data},
    programs::{TcContext, XdpContext},
};
use rlvs_core::{
    packet::{HEADER_OFFSET_MAX, Packet},
    wire::{checksum::Change, ethernet},
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::maps;

/// How much of an skb should lie in linear memory: Ethernet, the longest IPv4 and the longest TCP header.
const LINEAR_LEN: u32 = 14 + 60 + 60;
/// `__sk_buff.pkt_type` of a frame addressed to the interface that received it.
const PACKET_HOST: u32 = 0;

/// The header of type `T` at `at` between `data` and `data_end`, both read anew.
///
/// SAFETY of callers: `data` and `data_end` are the fields of the running program's context. The comparison is what the
/// verifier asks for; it rejects the program if the access were not proven in bounds.
#[inline(always)]
unsafe fn header<'a, T: FromBytes + Unaligned>(data: *const u32, data_end: *const u32, at: usize) -> Option<&'a mut T> {
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
}

/// A frame on tc: only its beginning need be in linear memory, and the transport checksum may be partial.
pub struct TcFrame<'c> {
    ctx: &'c TcContext,
}

impl<'c> TcFrame<'c> {
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

    /// By the kernel's helper, which knows whether the checksum is complete, partial or already summed by the device: the
    /// address is part of the pseudo-header, the port is not.
    #[inline(always)]
    fn replace_checksum(&mut self, at: usize, change: &Change) -> Option<()> {
        let zero = if change.zero_means_none { u64::from(BPF_F_MARK_MANGLED_0) } else { 0 };
        let (skb, at) = (self.ctx.skb.skb, at as u32);
        let address = (change.address.0.to_be(), change.address.1.to_be());
        let port = (change.port.0.to_be(), change.port.1.to_be());
        // SAFETY: scalar arguments; the helper checks `at`. JUSTIFICATION: helpers are foreign functions.
        let failed = unsafe {
            let flags = u64::from(BPF_F_PSEUDO_HDR) | zero | 4;
            bpf_l4_csum_replace(skb, at, address.0.into(), address.1.into(), flags) != 0
                || bpf_l4_csum_replace(skb, at, port.0.into(), port.1.into(), zero | 2) != 0
        };
        (!failed).then_some(())
    }
}
