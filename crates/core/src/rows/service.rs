//! Services and their destinations.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Address, ServiceKey};
use crate::cell::{Cell32, Cell64};
use crate::sched::Scheduler;

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

/// Bits of [`ServiceRow::flags`].
pub mod service_flags {
    /// Persistent.
    pub const PERSISTENT: u32 = 0x01;
    /// One-packet scheduling (UDP).
    pub const ONE_PACKET: u32 = 0x04;
    /// The scheduler's first flag: sh-fallback, mh-fallback.
    pub const SCHEDULER_1: u32 = 0x08;
    /// The scheduler's second flag: sh-port, mh-port.
    pub const SCHEDULER_2: u32 = 0x10;
}

/// Where a scheduler's words stand in the map of words, whose they are, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Words {
    /// First word.
    pub base: u32,
    /// [`crate::sched::Scheduler`] as a number: who arranged them. In the same word as their place, so that nobody reads or
    /// writes one scheduler's words as another's.
    pub scheduler: u32,
    /// Of a tree: the binary logarithm of its leaves. 0 where there is no tree.
    pub levels: u32,
}

impl Words {
    /// As one word: base in the high half, then scheduler and levels, a byte each. The word 0: no words.
    pub fn pack(self) -> u64 {
        (u64::from(self.base) << 32) | (u64::from(self.scheduler & 0xff) << 8) | u64::from(self.levels & 0xff)
    }

    /// From one word.
    pub fn unpack(word: u64) -> Self {
        Self { base: (word >> 32) as u32, scheduler: (word >> 8) as u32 & 0xff, levels: word as u32 & 0xff }
    }
}

/// A virtual service.
#[cfg_attr(not(target_arch = "bpf"), derive(zerocopy::FromZeros))]
#[repr(C)]
pub struct ServiceRow {
    /// [`Span`] of its destinations, newest first as IPVS lists them. It ends where the room for them ends, so that a new
    /// destination is put in front of the others; a removed one leaves a slot without weight behind.
    pub members: Cell64,
    /// [`Words`] of its scheduler.
    pub words: Cell64,
    /// The scheduler's state, replaced as a whole; each scheduler says what stands in it.
    pub sched_state: Cell64,
    /// What the scheduler precomputed from the weights; each scheduler says what stands in it.
    pub sched_config: Cell64,
    /// [`crate::sched::Scheduler`] as a number.
    pub scheduler: Cell32,
    /// Service flags, as in IPVS's netlink messages: [`service_flags`].
    pub flags: Cell32,
    /// Persistence timeout, seconds.
    pub timeout_s: Cell32,
    /// The key's address family, for those who have only the row.
    pub family: Cell32,
    /// Which bits of a client's address count for persistence: ones, then zeros.
    pub client_mask: [Cell32; 4],
    /// Slots that are the member list's: those of its span, and before them those that are free.
    pub capacity: Cell32,
    /// Always 0.
    pub padding: Cell32,
    /// The fields below are the daemon's: what it needs to take over a table it did not make.
    pub key: ServiceKey,
    /// Persistence netmask (IPv4, network order) or prefix length (IPv6), as in IPVS's netlink messages.
    pub netmask: u32,
    /// Always 0.
    pub reserved: u32,
    /// Position in the order of creation; 0 where the row is free.
    pub created: u64,
    /// Statistics of destinations that left the service, so that its totals do not shrink.
    pub departed: Stats,
    /// Statistics at the last `--zero`.
    pub zero_base: Stats,
}

impl ServiceRow {
    /// The number of this binding of a scheduler that remembers addresses; 0 for others.
    pub fn sched_generation(&self) -> u64 {
        let scheduler = Scheduler::by_number(self.scheduler.load());
        if scheduler.is_some_and(Scheduler::remembers) { self.sched_config.load() } else { 0 }
    }
}

/// Number of no destination: stands in a slot whose destination was removed.
pub const NO_DEST: u32 = u32::MAX;

/// A slot of a member list (see [`Span`]): one destination that a scheduler may choose.
#[cfg_attr(not(target_arch = "bpf"), derive(zerocopy::FromZeros))]
#[repr(C)]
pub struct MemberRow {
    /// Number of the destination row; [`NO_DEST`] in a slot that lost it.
    pub dest: Cell32,
    /// Its weight, beside it so that a walk reads one array. 0..=2147483647, 0 in a slot without destination.
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
    pub const MASQUERADING: u8 = 0;
    /// The real server is the director itself.
    pub const LOCAL: u8 = 1;
    /// IP in IP, GRE or GUE.
    pub const TUNNEL: u8 = 2;
    /// Direct routing: the frame goes to the real server's link-layer address, the packet stays as it is.
    pub const DIRECT: u8 = 3;
    /// No destination: on to where the client wanted (cache_bypass).
    pub const BYPASS: u8 = 4;
}

/// Kinds of tunnels, numbered as in IPVS's netlink messages.
pub mod tunnel {
    /// IP in IP (RFC 2003, 2473, 4213).
    pub const IPIP: u8 = 0;
    /// Generic UDP encapsulation, variant 0 (draft-ietf-intarea-gue).
    pub const GUE: u8 = 1;
    /// Generic routing encapsulation (RFC 2784).
    pub const GRE: u8 = 2;
    /// Flag: the tunnel's own header has a checksum.
    pub const CHECKSUM: u8 = 1;
    /// Flag: the checksum of a partially summed inner packet is left to the receiver.
    pub const REMOTE_CHECKSUM: u8 = 2;
}

/// Bits of [`DestRow::flags`].
pub mod dest_flags {
    /// The destination belongs to its service; cleared when it is removed while connections still name it.
    pub const AVAILABLE: u64 = 1;
    /// Its upper threshold was reached.
    pub const OVERLOAD: u64 = 2;
    /// Its address is one of the director's own.
    pub const LOCAL: u64 = 4;
}

/// How packets get to a destination: one word, so that an edit is seen as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Forwarding {
    /// [`method`].
    pub method: u8,
    /// [`tunnel`]: which kind.
    pub tunnel: u8,
    /// [`tunnel`]: flags.
    pub tunnel_flags: u8,
    /// UDP port of GUE, host byte order.
    pub tunnel_port: u16,
}

impl Forwarding {
    /// As one word.
    pub fn pack(self) -> u64 {
        (u64::from(self.tunnel_port) << 32)
            | (u64::from(self.tunnel_flags) << 16)
            | (u64::from(self.tunnel) << 8)
            | u64::from(self.method)
    }

    /// From one word.
    pub fn unpack(word: u64) -> Self {
        Self {
            method: word as u8,
            tunnel: (word >> 8) as u8,
            tunnel_flags: (word >> 16) as u8,
            tunnel_port: (word >> 32) as u16,
        }
    }
}

/// A destination (real server).
#[cfg_attr(not(target_arch = "bpf"), derive(zerocopy::FromZeros))]
#[repr(C)]
pub struct DestRow {
    /// [`Counts`].
    pub counts: Cell64,
    /// Templates that name it: PersistConn.
    pub persistent: Cell64,
    /// [`dest_flags`]; changed by compare-and-swap.
    pub flags: Cell64,
    /// [`Forwarding`].
    pub forwarding: Cell64,
    /// Weight, 0..=2147483647.
    pub weight: Cell32,
    /// Upper connection threshold, 0 for none.
    pub upper_threshold: Cell32,
    /// Lower connection threshold, 0 for none.
    pub lower_threshold: Cell32,
    /// Number of the service row.
    pub service: Cell32,
    /// Outer source address of tunnels: the director's own on the way to the RIP. All zero while there is no way.
    pub tunnel_source: [Cell32; 4],
    /// The last weight that was not 0, or the first one: what Maglev hashing shares slots by (schedulers.md section 12).
    pub last_weight: Cell32,
    /// Number of its leaf in the scheduler's tree plus 1 ([`crate::sched::tree`]); 0 where there is no tree.
    pub leaf: Cell32,
    /// RIP. It and the port make the row's identity.
    pub address: Address,
    /// Port, host byte order; 0 means "the port the client asked for".
    pub port: u16,
    /// [`family`](super::family) of the RIP.
    pub family: u8,
    /// Always 0.
    pub reserved: [u8; 5],
    /// Position in the order of creation; 0 where the row is free. The newest stands first in its service's list.
    pub created: u64,
    /// When the daemon saw a removed destination without connections for the first time, in jiffies; 0 otherwise.
    pub idle_since: u64,
    /// Key of the service it belonged to: a destination added again to an equal service gets this row back.
    pub service_key: ServiceKey,
    /// Statistics at the last `--zero`.
    pub zero_base: Stats,
}

impl DestRow {
    /// How packets get there.
    pub fn forwarding(&self) -> Forwarding {
        Forwarding::unpack(self.forwarding.load())
    }
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
