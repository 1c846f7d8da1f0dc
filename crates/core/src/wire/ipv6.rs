//! IPv6 (RFC 8200).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, network_endian::U16};

/// Length of the header in bytes.
pub const HEADER_LEN: usize = 40;
/// Smallest MTU of any IPv6 link, bytes (RFC 8200 section 5).
pub const MTU_MIN: u16 = 1280;

/// Extension header: hop-by-hop options.
pub const HOP_BY_HOP: u8 = 0;
/// Extension header: routing.
pub const ROUTING: u8 = 43;
/// Extension header: fragment.
pub const FRAGMENT: u8 = 44;
/// Extension header: destination options.
pub const DESTINATION_OPTIONS: u8 = 60;

/// The header; extension headers and payload follow.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct Header {
    /// Version (4 bits), traffic class (8), flow label (20).
    pub version_class_label: [u8; 4],
    /// Length in bytes of all that follows.
    pub payload_len: U16,
    /// What follows: an extension header or a protocol.
    pub next_header: u8,
    /// Hops left.
    pub hop_limit: u8,
    /// Source address.
    pub source: [u8; 16],
    /// Destination address.
    pub destination: [u8; 16],
}

impl Header {
    /// IP version, 6 in a valid header.
    pub fn version(&self) -> u8 {
        self.version_class_label[0] >> 4
    }

    /// Traffic class: DSCP and ECN.
    pub fn traffic_class(&self) -> u8 {
        (self.version_class_label[0] << 4) | (self.version_class_label[1] >> 4)
    }
}

/// What extension headers begin with; of all but the fragment header the length follows from it.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct Extension {
    /// What follows it.
    pub next_header: u8,
    /// Its length in units of 8 bytes, the first not counted.
    pub len: u8,
}

/// The fragment header.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct Fragment {
    /// What the datagram goes on with.
    pub next_header: u8,
    /// Reserved.
    pub reserved: u8,
    /// Offset in units of 8 bytes (high 13 bits) and "more fragments" (lowest bit).
    pub offset_more: U16,
    /// Identification.
    pub id: [u8; 4],
}

impl Fragment {
    /// Whether this is not the first fragment.
    pub fn is_later(&self) -> bool {
        self.offset_more.get() & 0xfff8 != 0
    }

    /// Whether this is a datagram in one piece after all (RFC 6946).
    pub fn is_atomic(&self) -> bool {
        self.offset_more.get() & 0xfff9 == 0
    }
}
