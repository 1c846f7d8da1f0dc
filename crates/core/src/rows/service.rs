//! Services and their destinations.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Address, ServiceKey};
use crate::cell::{Cell32, Cell64};

/// Where a service's members stand in the slot map: first slot and number, replaced together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Span {
    /// First slot.
    pub base: u32,
    /// Number of slots.
    pub len: u32,
}

impl Span {
    /// As one word: base in the high half.
    pub fn pack(self) -> u64 {
        (u64::from(self.base) << 32) | u64::from(self.len)
    }

    /// From one word.
    pub fn unpack(word: u64) -> Self {
        Self { base: (word >> 32) as u32, len: word as u32 }
    }
}

/// A virtual service.
#[cfg_attr(not(target_arch = "bpf"), derive(zerocopy::FromZeros))]
#[repr(C)]
pub struct ServiceRow {
    /// [`Span`] of its destinations, newest first as IPVS lists them.
    pub members: Cell64,
    /// The scheduler's state, replaced as a whole; each scheduler says what stands in it.
    pub sched_state: Cell64,
    /// What the scheduler precomputed from the weights; each scheduler says what stands in it.
    pub sched_config: Cell64,
    /// [`crate::sched::Scheduler`] as a number.
    pub scheduler: Cell32,
    /// Service flags, as in IPVS's netlink messages.
    pub flags: Cell32,
    /// The fields below are the daemon's: what it needs to take over a table it did not make.
    pub key: ServiceKey,
    /// Persistence timeout, seconds.
    pub timeout_s: u32,
    /// Persistence netmask (IPv4, network order) or prefix length (IPv6).
    pub netmask: u32,
    /// Position in the order of creation; 0 where the row is free.
    pub created: u64,
    /// Statistics of destinations that left the service, so that its totals do not shrink.
    pub departed: Stats,
    /// Statistics at the last `--zero`.
    pub zero_base: Stats,
}

/// A slot of a member list (see [`Span`]): one destination that a scheduler may choose.
#[cfg_attr(not(target_arch = "bpf"), derive(zerocopy::FromZeros))]
#[repr(C)]
pub struct MemberRow {
    /// Number of the destination row.
    pub dest: Cell32,
    /// Its weight, beside it so that a walk reads one array. 0..=2147483647.
    pub weight: Cell32,
}

/// ActiveConn and InActConn of a destination in one word, so that both change together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counts {
    /// Connections in an active state.
    pub active: u32,
    /// The other connections.
    pub inactive: u32,
}

impl Counts {
    /// What to add for one more active connection.
    pub const ONE_ACTIVE: u64 = 1;
    /// What to add for one more inactive connection.
    pub const ONE_INACTIVE: u64 = 1 << 32;

    /// From one word: inactive in the high half.
    pub fn unpack(word: u64) -> Self {
        Self { active: word as u32, inactive: (word >> 32) as u32 }
    }
}

/// Forwarding methods, numbered as in IPVS's netlink messages.
pub mod method {
    /// NAT.
    pub const MASQUERADING: u32 = 0;
}

/// Bits of [`DestRow::flags`].
pub mod dest_flags {
    /// The destination belongs to its service; cleared when it is removed while connections still name it.
    pub const AVAILABLE: u32 = 1;
    /// Its upper threshold was reached.
    pub const OVERLOAD: u32 = 2;
}

/// A destination (real server).
#[cfg_attr(not(target_arch = "bpf"), derive(zerocopy::FromZeros))]
#[repr(C)]
pub struct DestRow {
    /// [`Counts`].
    pub counts: Cell64,
    /// [`dest_flags`].
    pub flags: Cell32,
    /// Weight, 0..=2147483647.
    pub weight: Cell32,
    /// RIP.
    pub address: Address,
    /// Port, host byte order; 0 means "the port the client asked for".
    pub port: u16,
    /// [`family`] of the RIP.
    pub family: u8,
    /// Forwarding method, as in IPVS's netlink messages: 0 masquerading, 1 local, 2 tunnel, 3 direct.
    pub method: u8,
    /// Number of the service row.
    pub service: u32,
    /// Upper connection threshold, 0 for none.
    pub upper_threshold: u32,
    /// Lower connection threshold, 0 for none.
    pub lower_threshold: u32,
    /// Position in the order of creation; 0 where the row is free. The newest stands first in its service's list.
    pub created: u64,
    /// When the daemon saw a removed destination without connections for the first time, in jiffies; 0 otherwise.
    pub idle_since: u64,
    /// Key of the service it belonged to: a destination added again to an equal service gets this row back.
    pub service_key: ServiceKey,
    /// Tunnel parameters, as in IPVS's netlink messages; kept for listings.
    pub tunnel_port: u16,
    /// See [`Self::tunnel_port`].
    pub tunnel_flags: u16,
    /// See [`Self::tunnel_port`].
    pub tunnel_type: u8,
    /// Always 0.
    pub reserved: [u8; 3],
    /// Statistics at the last `--zero`.
    pub zero_base: Stats,
}

/// Traffic counters (stats.md section 1).
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Stats {
    /// Connections scheduled.
    pub conns: u64,
    /// Packets from clients.
    pub in_packets: u64,
    /// IP bytes from clients, before any change.
    pub in_bytes: u64,
    /// Packets to clients.
    pub out_packets: u64,
    /// IP bytes to clients.
    pub out_bytes: u64,
}

impl Stats {
    /// Every counter of `self` and `other` added, wrapping.
    pub fn plus(self, other: Self) -> Self {
        self.each(other, u64::wrapping_add)
    }

    /// Every counter of `other` taken from that of `self`, wrapping.
    pub fn minus(self, other: Self) -> Self {
        self.each(other, u64::wrapping_sub)
    }

    fn each(self, other: Self, f: fn(u64, u64) -> u64) -> Self {
        Self {
            conns: f(self.conns, other.conns),
            in_packets: f(self.in_packets, other.in_packets),
            in_bytes: f(self.in_bytes, other.in_bytes),
            out_packets: f(self.out_packets, other.out_packets),
            out_bytes: f(self.out_bytes, other.out_bytes),
        }
    }
}

// Rows of a memory-mapped array must not straddle its 8-byte elements.
const _: () = assert!(
    size_of::<ServiceRow>().is_multiple_of(8) && size_of::<DestRow>().is_multiple_of(8) && size_of::<MemberRow>() == 8
);
