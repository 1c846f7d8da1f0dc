//! The host's routes and neighbours, and sending by them.

use core::{cell::Cell, mem::size_of};

use aya_ebpf::{
    bindings::{__sk_buff, bpf_fib_lookup as FibParams, bpf_redir_neigh, xdp_md},
    helpers::generated::{bpf_fib_lookup, bpf_redirect, bpf_redirect_neigh},
};
use rlvs_core::{
    forward::next_hop::{NextHop, Route, RouteQuery, Unresolved},
    rows::{Address, family},
    verdict::Drop,
};

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
    /// The neighbour of a way that was looked up for this packet, rather than remembered.
    pub fresh: Cell<Option<Unresolved>>,
}

// Return values of bpf_fib_lookup, linux/bpf.h.
const FIB_SUCCESS: i64 = 0;
const FIB_FWD_DISABLED: i64 = 5;
const FIB_NO_NEIGHBOUR: i64 = 7;
const FIB_FRAGMENTATION_NEEDED: i64 = 8;

impl<C: Context> Host<C> {
    /// `ctx` is the context of the running program.
    #[inline(always)]
    pub fn new(ctx: *mut C) -> Self {
        Self { ctx, fresh: Cell::new(None) }
    }

    /// Asks the host's routes and neighbours.
    #[inline(always)]
    pub fn route(&self, query: &RouteQuery) -> Route {
        // SAFETY: an integer structure, for which zero bytes are a value. JUSTIFICATION: bindings have no constructors.
        let mut fib: FibParams = unsafe { core::mem::zeroed() };
        fib.family = query.family;
        fib.l4_protocol = query.protocol;
        // SAFETY: `new` was given the context of the running program. JUSTIFICATION: contexts are raw pointers.
        fib.ifindex = unsafe { C::interface(self.ctx) };
        fib.__bindgen_anon_3.ipv4_src = query.from.0[0];
        fib.__bindgen_anon_4.ipv4_dst = query.to.0[0];
        // SAFETY: the context and a structure of the size given. JUSTIFICATION: helpers are foreign functions.
        let answer = unsafe { bpf_fib_lookup(self.ctx.cast(), &mut fib, size_of::<FibParams>() as i32, 0) };
        // SAFETY: the helper leaves the gateway (or the destination itself) in that field. JUSTIFICATION: a union.
        let neighbour = Address([unsafe { fib.__bindgen_anon_4.ipv4_dst }, 0, 0, 0]);
        let neighbour = Unresolved { interface: fib.ifindex, neighbour };
        match answer {
            FIB_SUCCESS => {
                self.fresh.set(Some(neighbour));
                Route::Ready(NextHop { interface: fib.ifindex, source: fib.smac, destination: fib.dmac })
            }
            // Too long for the way out: what the device cannot send, it drops and counts.
            FIB_NO_NEIGHBOUR | FIB_FRAGMENTATION_NEEDED => Route::Unresolved(neighbour),
            FIB_FWD_DISABLED => Route::Unreachable(Drop::ForwardingDisabled),
            _ => Route::Unreachable(Drop::NoRoute),
        }
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
    way.nh_family = family::V4.into();
    way.__bindgen_anon_1.ipv4_nh = neighbour.neighbour.0[0];
    // SAFETY: a structure of the size given. JUSTIFICATION: helpers are foreign functions.
    unsafe { bpf_redirect_neigh(neighbour.interface, &mut way, size_of::<bpf_redir_neigh>() as i32, 0) as i32 }
}
