//! UDP (RFC 768).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, network_endian::U16};

use super::checksum;

/// Length of the header in bytes.
pub const HEADER_LEN: usize = 8;
/// Where the checksum stands, in bytes from the start of the header.
pub const CHECKSUM_AT: usize = 6;

/// The header.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct Header {
    /// Source port.
    pub source: U16,
    /// Destination port.
    pub destination: U16,
    /// Length in bytes of header and payload.
    pub len: U16,
    /// Checksum of pseudo-header, header and payload; 0 means "none".
    pub checksum: checksum::Field,
}

/// What TCP, UDP and SCTP have in common: the ports at the start of the header.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct Ports {
    /// Source port.
    pub source: U16,
    /// Destination port.
    pub destination: U16,
}
