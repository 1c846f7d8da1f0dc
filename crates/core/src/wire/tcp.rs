//! TCP (RFC 9293), as much as connection tracking needs.

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    network_endian::{U16, U32},
};

use super::checksum;

/// Length in bytes of a header without options.
pub const HEADER_LEN_MIN: usize = 20;
/// Where the checksum stands, in bytes from the start of the header.
pub const CHECKSUM_AT: usize = 16;

/// "No more data from sender".
pub const FIN: u8 = 0x01;
/// "Synchronize sequence numbers".
pub const SYN: u8 = 0x02;
/// "Reset the connection".
pub const RST: u8 = 0x04;
/// "Acknowledgment field is significant".
pub const ACK: u8 = 0x10;

/// The fixed part of the header; options follow.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct Header {
    /// Source port.
    pub source: U16,
    /// Destination port.
    pub destination: U16,
    /// Sequence number.
    pub sequence: U32,
    /// Acknowledgment number.
    pub acknowledgment: U32,
    /// Header length in 32-bit words (high 4 bits).
    pub data_offset: u8,
    /// Flags, e.g. [`SYN`].
    pub flags: u8,
    /// Receive window.
    pub window: U16,
    /// Checksum of pseudo-header, header and payload.
    pub checksum: checksum::Field,
    /// Urgent pointer.
    pub urgent: U16,
}
