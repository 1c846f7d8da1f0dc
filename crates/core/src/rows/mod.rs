//! The layout of what the maps hold: the one definition that data plane and daemon share.
//!
//! Rows that change while packets pass hold atomics, so that every home may read them through a shared reference; what one
//! decision depends on stands together in one 64-bit word ([`crate::conn::Life`], [`Counts`], [`Span`], the scheduler's state) and
//! changes by compare-and-swap. Keys derive [`IntoBytes`], which refuses padding: a padded key would miss silently.
//!
//! Addresses are 16 bytes, IPv4 in the first four; ports stand in host byte order (they are compared and printed, never
//! copied to the wire as they are).

use crate::cell::{Cell32, Cell64};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

mod conn;
mod service;

pub use conn::{ConnIdentity, ConnRow, HopRow};
pub use service::{Counts, DestRow, MemberRow, ServiceRow, Span, Stats, dest_flags, method};

/// Number of this layout. The daemon refuses pinned maps of another number instead of misreading them.
pub const ABI: u32 = 1;

/// An IPv4 or IPv6 address, as transmitted; IPv4 stands in the first four bytes, the rest is zero.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(C)]
pub struct Address(pub [u32; 4]);

impl Address {
    /// The address with these four bytes.
    pub fn v4(bytes: [u8; 4]) -> Self {
        Self([u32::from_ne_bytes(bytes), 0, 0, 0])
    }

    /// The first four bytes: the IPv4 address.
    pub fn v4_bytes(&self) -> [u8; 4] {
        self.0[0].to_ne_bytes()
    }
}

/// Address family numbers, as in AF_INET and AF_INET6.
pub mod family {
    /// IPv4.
    pub const V4: u8 = 2;
    /// IPv6.
    pub const V6: u8 = 10;
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
    /// Always 0: keeps the key free of padding.
    pub zero: u16,
}

impl FlowKey {
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

/// Number of timeouts in [`ConfigRow::timeouts`]; indexed by [`crate::conn::timeout`].
pub const TIMEOUTS: usize = 32;

/// The only row of the configuration map: read for every packet, written by the daemon alone.
#[cfg_attr(not(target_arch = "bpf"), derive(zerocopy::FromZeros))]
#[repr(C)]
pub struct ConfigRow {
    /// [`ABI`].
    pub abi: Cell32,
    /// Jiffies per second of the running kernel.
    pub hz: Cell32,
    /// Bumped when a route or neighbour changes: next hops cached under another epoch are looked up again. Never 0.
    pub epoch: Cell32,
    /// Always 0, which the verifier cannot know.
    pub reserved: Cell32,
    /// Timeouts in jiffies.
    pub timeouts: [Cell32; TIMEOUTS],
}

/// The only row of the cursor map: written by the data plane, apart from [`ConfigRow`] so as not to share its cache lines.
#[cfg_attr(not(target_arch = "bpf"), derive(zerocopy::FromZeros))]
#[repr(C)]
pub struct CursorRow {
    /// Connection rows below this number have been in use; those from here on never were.
    pub conns_used: Cell64,
}

const _: () = assert!(size_of::<FlowKey>() == 40);
const _: () = assert!(size_of::<ServiceKey>() == 24);
// Rows of a memory-mapped array must not straddle its 8-byte elements.
const _: () = assert!(size_of::<ConfigRow>().is_multiple_of(8));
