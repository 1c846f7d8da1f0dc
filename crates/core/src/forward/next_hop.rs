//! The way out: interface and link-layer addresses, remembered with the connection.
//!
//! A look-up in the host's routes costs more than the rest of a packet's path, so its answer is kept, for the epoch in which
//! it was given (the daemon begins a new one whenever a route or neighbour changes) and for at most [`AGE_MAX_S`]
//! (should no daemon be there to notice).

use crate::conn::Now;
use crate::rows::{Address, HopRow};
use crate::tables::Tables;
use crate::wire::ethernet::Mac;

/// How long an answer is good for without a new look-up, in seconds. Each look-up also tells the neighbour table that the
/// entry is in use; Linux lets an unused one go stale after about 30 s.
pub const AGE_MAX_S: u32 = 10;

/// A known way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
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
#[repr(C)]
pub struct Unresolved {
    /// Interface index.
    pub interface: u32,
    /// [`crate::rows::family`] of the neighbour's address.
    pub family: u32,
    /// IP address of the neighbour.
    pub neighbour: Address,
}

/// The way of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Way {
    /// Where to, if it is [`Self::resolved`].
    pub hop: NextHop,
    /// The neighbour, unless the way was remembered.
    pub unresolved: Unresolved,
    /// Whether the neighbour's link-layer address is known.
    pub resolved: bool,
    /// Largest packet that this way takes, tunnel headers included, bytes.
    pub mtu: u32,
}

impl Way {
    /// None.
    pub const NONE: Self = Self {
        hop: NextHop { interface: 0, source: [0; 6], destination: [0; 6] },
        unresolved: Unresolved { interface: 0, family: 0, neighbour: Address([0; 4]) },
        resolved: false,
        mtu: 0,
    };
}

/// Answer to a [`RouteQuery`]; [`Way`] has the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Reach {
    /// Send it to [`Way::hop`].
    Ready = 0,
    /// Ask for [`Way::unresolved`] first.
    Unresolved = 1,
    /// There is no way.
    NoRoute = 2,
    /// The interface that the packet came in by does not forward.
    ForwardingDisabled = 3,
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

/// The way out: remembered by the connection, or asked for and then remembered.
#[inline(always)]
pub fn find<T: Tables>(tables: &T, row: Option<&HopRow>, query: &RouteQuery, way: &mut Way, now: &Now<'_>) -> Reach {
    let epoch = now.config.epoch.load();
    if row.is_some_and(|row| recall(row, epoch, way, now)) {
        return Reach::Ready;
    }
    let reach = tables.route(query, way);
    way.resolved = reach == Reach::Ready;
    if reach == Reach::Ready
        && let Some(row) = row
    {
        remember::<T>(row, way, epoch, now.jiffies);
    }
    reach
}

/// Returns whether the connection remembers a way that is still good.
#[inline(always)]
fn recall(row: &HopRow, epoch: u32, way: &mut Way, now: &Now<'_>) -> bool {
    let stamp = row.stamp.load();
    let age = (now.jiffies as u32).wrapping_sub(stamp as u32);
    if (stamp >> 32) as u32 != epoch || age > now.config.hz.load().wrapping_mul(AGE_MAX_S) {
        return false;
    }
    let [i0, i1, i2, i3, s0, s1, s2, s3] = row.interface_source.load().to_be_bytes();
    let [s4, s5, d0, d1, d2, d3, d4, d5] = row.source_destination.load().to_be_bytes();
    way.mtu = row.mtu.load() as u32;
    way.hop = NextHop {
        interface: u32::from_be_bytes([i0, i1, i2, i3]),
        source: [s0, s1, s2, s3, s4, s5],
        destination: [d0, d1, d2, d3, d4, d5],
    };
    way.resolved = true;
    // Written between the loads above? Then the stamp is another one: look it up instead.
    row.stamp.load() == stamp
}

/// Writes the answer down unless another CPU is doing so: the stamp, cleared by compare-and-swap, is the lock.
fn remember<T: Tables>(row: &HopRow, way: &Way, epoch: u32, now: u64) {
    /// Epoch 0 is never current, so no reader trusts the row while this stands in it.
    const WRITING: u64 = 1;
    let seen = row.stamp.load();
    if seen == WRITING || T::swap(&row.stamp, seen, WRITING) != seen {
        return;
    }
    let [i0, i1, i2, i3] = way.hop.interface.to_be_bytes();
    let [s0, s1, s2, s3, s4, s5] = way.hop.source;
    let [d0, d1, d2, d3, d4, d5] = way.hop.destination;
    row.interface_source.store(u64::from_be_bytes([i0, i1, i2, i3, s0, s1, s2, s3]));
    row.source_destination.store(u64::from_be_bytes([s4, s5, d0, d1, d2, d3, d4, d5]));
    row.mtu.store(way.mtu.into());
    row.stamp.store((u64::from(epoch) << 32) | u64::from(now as u32));
}
