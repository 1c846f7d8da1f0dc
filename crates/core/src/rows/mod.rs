//! The layout of what the maps hold: the one definition that data plane and daemon share.
//!
//! Rows that change while packets pass hold atomics, so that every home may read them through a shared reference; what one
//! decision depends on stands together in one 64-bit word ([`crate::conn::Life`], [`Counts`], [`Span`], the scheduler's state) and
//! changes by compare-and-swap. Keys derive [`IntoBytes`], which refuses padding: a padded key would miss silently.
//!
//! Addresses are 16 bytes, IPv4 in the first four; ports stand in host byte order (they are compared and printed, never
//! copied to the wire as they are).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

mod config;
mod conn;
mod handed;
mod mark;
mod service;

pub use config::{ConfigRow, CursorRow, SETTINGS, Setting, TIMEOUTS};
pub use conn::{ConnIdentity, ConnRow, HopRow};
pub use handed::{HANDED_FRAME_MAX, HANDED_LEN, Handed, task};
pub use mark::{MARKS_MAX, MarkRow, SAMPLE_LEN, SAMPLES, SampleRow};
pub use service::{
    Counts, DestRow, Forwarding, MemberRow, NO_DEST, ServiceRow, Span, Stats, Words, dest_flags, method, service_flags,
    tunnel,
};

/// Number of this layout. The daemon refuses pinned maps of another number instead of misreading them.
pub const ABI: u32 = 2;

/// An IPv4 or IPv6 address, as transmitted; IPv4 stands in the first four bytes, the rest is zero.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(C)]
pub struct Address(pub [u32; 4]);

impl Address {
    /// The address with these four bytes.
    pub fn v4(bytes: [u8; 4]) -> Self {
        Self([u32::from_ne_bytes(bytes), 0, 0, 0])
    }

    /// The address with these 16 bytes.
    pub fn v6(bytes: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
        Self([
            u32::from_ne_bytes([a, b, c, d]),
            u32::from_ne_bytes([e, f, g, h]),
            u32::from_ne_bytes([i, j, k, l]),
            u32::from_ne_bytes([m, n, o, p]),
        ])
    }

    /// All 16 bytes: the IPv6 address.
    pub fn v6_bytes(&self) -> [u8; 16] {
        let [[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]] = self.0.map(u32::to_ne_bytes);
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }

    /// Only the bits of `mask`.
    #[must_use]
    pub fn masked(&self, mask: &Self) -> Self {
        let (Self([a, b, c, d]), Self([e, f, g, h])) = (self, mask);
        Self([a & e, b & f, c & g, d & h])
    }

    /// Whether it is a loopback address of this [`family`].
    pub fn is_loopback(&self, of: u8) -> bool {
        if of == family::V6 { self.0 == [0, 0, 0, 1u32.to_be()] } else { self.v4_bytes()[0] == 127 }
    }

    /// Whether this is the unspecified address.
    pub fn is_zero(&self) -> bool {
        self.0 == [0; 4]
    }

    /// All words of 32 bits as numbers, folded into one by exclusive or (schedulers.md section 0). The words of an IPv4
    /// address past the first are 0, so this is the address itself.
    pub fn fold(&self) -> u32 {
        let Self([a, b, c, d]) = self;
        u32::from_be(a ^ b ^ c ^ d)
    }

    /// The first four bytes: the IPv4 address.
    pub fn v4_bytes(&self) -> [u8; 4] {
        self.0[0].to_ne_bytes()
    }
}

/// What the host and the services have to do with an address: bits of the address map's values.
pub mod address_use {
    /// It is that of a virtual service or a real server.
    pub const BALANCED: u32 = 1;
    /// It is one of this host's own.
    pub const LOCAL: u32 = 2;
}

/// Address family numbers, as in AF_INET and AF_INET6.
pub mod family {
    /// IPv4.
    pub const V4: u8 = 2;
    /// IPv6.
    pub const V6: u8 = 10;
}

/// What a [`FlowKey`] is for.
pub mod kind {
    /// A connection's flow.
    pub const FLOW: u16 = 0;
    /// A persistence template: masked client address and port 0 to the virtual service (connections.md section 4).
    pub const TEMPLATE: u16 = 1;
    /// A datagram that comes in fragments: its identification stands in the place of the ports.
    pub const FRAGMENT: u16 = 2;
}

/// A flow in one direction: what a frame shows.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FlowKey {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// Source port, host byte order.
    pub source_port: u16,
    /// Destination port, host byte order.
    pub destination_port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// [`family`].
    pub family: u8,
    /// [`kind`].
    pub kind: u16,
}

impl FlowKey {
    /// No flow.
    pub const NONE: Self = Self {
        source: Address([0; 4]),
        destination: Address([0; 4]),
        source_port: 0,
        destination_port: 0,
        protocol: 0,
        family: 0,
        kind: kind::FLOW,
    };

    /// The flow of the answers: both ends exchanged.
    pub fn reversed(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            ..*self
        }
    }
}

/// What the flow index says of a flow: its connection and which way it goes.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct FlowEntry {
    /// Number of the connection row.
    pub conn: u32,
    /// [`crate::conn::Direction`] as a number.
    pub direction: u32,
}

/// Key of a virtual service.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct ServiceKey {
    /// VIP; zero for a firewall-mark service.
    pub address: Address,
    /// Firewall mark; 0 for an address service.
    pub fwmark: u32,
    /// Port, host byte order; 0 for a firewall-mark or all-ports service.
    pub port: u16,
    /// IP protocol number; 0 for a firewall-mark service.
    pub protocol: u8,
    /// [`family`].
    pub family: u8,
}

/// Key of what the schedulers lblc and lblcr remember of a destination address.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct CacheKey {
    /// The address that clients asked for.
    pub address: Address,
    /// Which binding of a scheduler to a service remembers it ([`ServiceRow::sched_config`]): another one finds nothing.
    pub generation: u32,
    /// 0 for the entry itself; lblcr keeps the members of its set under 1, 2, ..
    pub index: u32,
}

/// What the schedulers lblc and lblcr remember under a [`CacheKey`].
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct CacheEntry {
    /// Number of a destination row; in the entry of lblcr the number of members.
    pub value: u32,
    /// When the entry was last used, low 32 bits of the jiffies.
    pub used: u32,
    /// lblcr: when the set last changed, in jiffies.
    pub changed: u64,
}

const _: () = assert!(size_of::<FlowKey>() == 40);
const _: () = assert!(size_of::<ServiceKey>() == 24);
const _: () = assert!(size_of::<CacheKey>() == 24 && size_of::<CacheEntry>() == 16);
