//! The host's routes and neighbours, and sending by them.

use core::{cell::Cell, mem::size_of};

use aya_ebpf::{
    bindings::{__sk_buff, bpf_fib_lookup as FibParams, bpf_redir_neigh, xdp_md},
    helpers::generated::{bpf_fib_lookup, bpf_redirect, bpf_redirect_neigh},
};
use rlvs_core::{
    forward::next_hop::{NextHop, Reach, RouteQuery, Unresolved, Way},
    rows::{Address, family},
};

use crate::maps;

/// The context of a program: what differs between the hooks when the host is asked.
pub trait Context {
    /// Interface by which the packet came in.
    ///
    /// # Safety
    /// `ctx` is the context of the running program.
    unsafe fn interface(ctx: *mut Self) -> u32;
}

impl Context for xdp_md {
    #[inline(always)]
    unsafe fn interface(ctx: *mut Self) -> u32 {
        // SAFETY: the caller's promise. JUSTIFICATION: contexts are raw pointers.
        unsafe { (*ctx).ingress_ifindex }
    }
}

impl Context for __sk_buff {
    #[inline(always)]
    unsafe fn interface(ctx: *mut Self) -> u32 {
        // SAFETY: the caller's promise. JUSTIFICATION: contexts are raw pointers.
        unsafe { (*ctx).ingress_ifindex }
    }
}

/// The host, as one packet asks it.
pub struct Host<C> {
    ctx: *mut C,
    /// Not 0 if the packet's way was looked up for it, rather than remembered.
    pub fresh: Cell<u32>,
}

// Return values of bpf_fib_lookup, linux/bpf.h.
const FIB_SUCCESS: i64 = 0;
const FIB_FWD_DISABLED: i64 = 5;
const FIB_NO_NEIGHBOUR: i64 = 7;

impl<C: Context> Host<C> {
    /// `ctx` is the context of the running program.
    #[inline(always)]
    pub fn new(ctx: *mut C) -> Self {
        Self { ctx, fresh: Cell::new(0) }
    }

    /// Asks the host's routes and neighbours.
    #[inline(always)]
    pub fn route(&self, query: &RouteQuery, way: &mut Way) -> Reach {
        // SAFETY: an integer structure, for which zero bytes are a value. JUSTIFICATION: bindings have no constructors.
        let mut fib: FibParams = unsafe { core::mem::zeroed() };
        fib.family = query.family;
        fib.l4_protocol = query.protocol;
        // Short enough for every way: so the helper says what the way takes, instead of refusing.
        fib.__bindgen_anon_1.tot_len = 1;
        // SAFETY: `new` was given the context of the running program. JUSTIFICATION: contexts are raw pointers.
        fib.ifindex = unsafe { C::interface(self.ctx) };
        // IPv4 addresses stand in the first word of ours and of theirs.
        fib.__bindgen_anon_3.ipv6_src = query.from.0;
        fib.__bindgen_anon_4.ipv6_dst = query.to.0;
        // SAFETY: the context and a structure of the size given. JUSTIFICATION: helpers are foreign functions.
        let answer = unsafe { bpf_fib_lookup(self.ctx.cast(), &mut fib, size_of::<FibParams>() as i32, 0) };
        if answer == FIB_FWD_DISABLED {
            return Reach::ForwardingDisabled;
        }
        if answer != FIB_SUCCESS && answer != FIB_NO_NEIGHBOUR {
            return Reach::NoRoute;
        }
        // SAFETY: the helper leaves the gateway (or the destination itself) in that field. JUSTIFICATION: a union.
        let mut neighbour = unsafe { fib.__bindgen_anon_4.ipv6_dst };
        if query.family == family::V4 {
            neighbour = [neighbour[0], 0, 0, 0];
        }
        let family = u32::from(query.family);
        self.fresh.set(fib.ifindex);
        way.unresolved = Unresolved { interface: fib.ifindex, family, neighbour: Address(neighbour) };
        if answer == FIB_NO_NEIGHBOUR {
            way.mtu = maps::interface_mtu(fib.ifindex);
            return Reach::Unresolved;
        }
        way.hop = NextHop { interface: fib.ifindex, source: fib.smac, destination: fib.dmac };
        // SAFETY: on success the helper leaves the MTU there. JUSTIFICATION: a union.
        way.mtu = unsafe { fib.__bindgen_anon_1.mtu_result }.into();
        Reach::Ready
    }
}

/// Sends the packet as it is; the helper returns the action to return.
#[inline(always)]
pub fn send(hop: &NextHop) -> i32 {
    // SAFETY: scalar arguments; an interface that is gone is the kernel's to notice. JUSTIFICATION: as above.
    unsafe { bpf_redirect(hop.interface, 0) as i32 }
}

/// Has the kernel's neighbour table fill in the Ethernet header and send; it asks for an unknown address and holds the
/// packet meanwhile. On tc only.
#[inline(always)]
pub fn send_to_neighbour(neighbour: &Unresolved) -> i32 {
    // SAFETY: an integer structure, for which zero bytes are a value. JUSTIFICATION: bindings have no constructors.
    let mut way: bpf_redir_neigh = unsafe { core::mem::zeroed() };
    way.nh_family = neighbour.family;
    way.__bindgen_anon_1.ipv6_nh = neighbour.neighbour.0;
    // SAFETY: a structure of the size given. JUSTIFICATION: helpers are foreign functions.
    unsafe { bpf_redirect_neigh(neighbour.interface, &mut way, size_of::<bpf_redir_neigh>() as i32, 0) as i32 }
}
