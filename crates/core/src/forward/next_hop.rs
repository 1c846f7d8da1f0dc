//! The way out: interface and link-layer addresses, remembered with the connection.
//!
//! A look-up in the host's routes costs more than the rest of a packet's path, so its answer is kept, for the epoch in which
//! it was given (the daemon begins a new one whenever a route or neighbour changes) and for at most [`AGE_MAX_S`]
//! (should no daemon be there to notice).

use crate::conn::Now;
use crate::flow::Flow;
use crate::rows::{Address, HopRow};
use crate::tables::Tables;
use crate::verdict::Drop;
use crate::wire::ethernet::Mac;

/// How long an answer is good for without a new look-up, in seconds. Each look-up also tells the neighbour table that the
/// entry is in use; Linux lets an unused one go stale after about 30 s.
pub const AGE_MAX_S: u32 = 10;

/// A known way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// Interface index.
    pub interface: u32,
    /// Link-layer address of that interface.
    pub source: Mac,
    /// Link-layer address of the neighbour.
    pub destination: Mac,
}

/// A way out whose neighbour has to be asked for its address first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// Interface index.
    pub interface: u32,
    /// IP address of the neighbour.
    pub neighbour: Address,
}

/// Answer to a [`RouteQuery`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Send it.
    Ready(NextHop),
    /// Ask first.
    Unresolved(Unresolved),
    /// It goes nowhere.
    Unreachable(Drop),
}

/// What the route of a packet depends on, as it will be after rewriting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteQuery {
    /// Source address.
    pub from: Address,
    /// Destination address.
    pub to: Address,
    /// [`crate::rows::family`].
    pub family: u8,
    /// IP protocol number.
    pub protocol: u8,
}

impl RouteQuery {
    /// The query for a packet of `flow` once it goes `from` .. `to`.
    pub fn new(flow: &Flow, from: Address, to: Address) -> Self {
        Self { from, to, family: flow.key.family, protocol: flow.key.protocol }
    }
}

/// The way out for one direction of a connection: remembered, or asked for and then remembered.
pub fn find<T: Tables>(tables: &T, row: &HopRow, query: &RouteQuery, now: &Now<'_>) -> Route {
    let epoch = now.config.epoch.load();
    if let Some(hop) = recall(row, epoch, now) {
        return Route::Ready(hop);
    }
    let route = tables.route(query);
    if let Route::Ready(hop) = route {
        remember::<T>(row, &hop, epoch, now.jiffies);
    }
    route
}

fn recall(row: &HopRow, epoch: u32, now: &Now<'_>) -> Option<NextHop> {
    let stamp = row.stamp.load();
    let age = (now.jiffies as u32).wrapping_sub(stamp as u32);
    if (stamp >> 32) as u32 != epoch || age > now.config.hz.load().wrapping_mul(AGE_MAX_S) {
        return None;
    }
    let [i0, i1, i2, i3, s0, s1, s2, s3] = row.interface_source.load().to_be_bytes();
    let [s4, s5, d0, d1, d2, d3, d4, d5] = row.source_destination.load().to_be_bytes();
    // Written between the two loads above? Then the stamp is another one: look it up instead.
    (row.stamp.load() == stamp).then_some(NextHop {
        interface: u32::from_be_bytes([i0, i1, i2, i3]),
        source: [s0, s1, s2, s3, s4, s5],
        destination: [d0, d1, d2, d3, d4, d5],
    })
}

/// Writes the answer down unless another CPU is doing so: the stamp, cleared by compare-and-swap, is the lock.
fn remember<T: Tables>(row: &HopRow, hop: &NextHop, epoch: u32, now: u64) {
    /// Epoch 0 is never current, so no reader trusts the row while this stands in it.
    const WRITING: u64 = 1;
    let seen = row.stamp.load();
    if seen == WRITING || T::swap(&row.stamp, seen, WRITING) != seen {
        return;
    }
    let [i0, i1, i2, i3] = hop.interface.to_be_bytes();
    let [s0, s1, s2, s3, s4, s5] = hop.source;
    let [d0, d1, d2, d3, d4, d5] = hop.destination;
    row.interface_source.store(u64::from_be_bytes([i0, i1, i2, i3, s0, s1, s2, s3]));
    row.source_destination.store(u64::from_be_bytes([s4, s5, d0, d1, d2, d3, d4, d5]));
    row.stamp.store((u64::from(epoch) << 32) | u64::from(now as u32));
}
