//! IPv4 (RFC 791).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, network_endian::U16};

use super::checksum;

/// Length in bytes of a header without options.
pub const HEADER_LEN_MIN: usize = 20;
/// "Don't fragment" (RFC 791 section 3.1).
pub const DONT_FRAGMENT: u16 = 0x4000;
/// "More fragments".
const MORE_FRAGMENTS: u16 = 0x2000;
/// The 13 bits that hold the fragment offset, in units of 8 bytes.
const FRAGMENT_OFFSET: u16 = 0x1fff;

/// The fixed part of the header; options follow.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct Header {
    /// Version (high 4 bits) and header length in 32-bit words.
    pub version_ihl: u8,
    /// Type of service.
    pub tos: u8,
    /// Length in bytes of header and payload.
    pub total_len: U16,
    /// Identification.
    pub id: U16,
    /// Flags (high 3 bits) and fragment offset in units of 8 bytes.
    pub fragment: U16,
    /// Time to live, hops.
    pub ttl: u8,
    /// Protocol of the payload.
    pub protocol: u8,
    /// Checksum of the header alone.
    pub checksum: checksum::Field,
    /// Source address.
    pub source: [u8; 4],
    /// Destination address.
    pub destination: [u8; 4],
}

impl Header {
    /// IP version, 4 in a valid header.
    pub fn version(&self) -> u8 {
        self.version_ihl >> 4
    }

    /// Length in bytes of the header with its options, 0..=60.
    pub fn header_len(&self) -> usize {
        usize::from(self.version_ihl & 0x0f) * 4
    }

    /// Whether this is any fragment of a datagram, the first included.
    pub fn is_fragment(&self) -> bool {
        self.fragment.get() & (MORE_FRAGMENTS | FRAGMENT_OFFSET) != 0
    }

    /// Whether this is a fragment other than the first.
    pub fn is_later_fragment(&self) -> bool {
        self.fragment.get() & FRAGMENT_OFFSET != 0
    }

    /// Whether it must not be fragmented.
    pub fn dont_fragment(&self) -> bool {
        self.fragment.get() & DONT_FRAGMENT != 0
    }

    /// Takes one from the time to live, which must not be 0, and keeps the checksum right (RFC 1141).
    pub fn decrement_ttl(&mut self) {
        let before = u32::from(u16::from_ne_bytes([self.ttl, self.protocol]));
        self.ttl = self.ttl.wrapping_sub(1);
        let after = u32::from(u16::from_ne_bytes([self.ttl, self.protocol]));
        checksum::replace(&mut self.checksum, before, after);
    }
}
