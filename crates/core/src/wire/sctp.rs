//! SCTP (RFC 9260), as much as connection tracking and translation need.

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    network_endian::{U16, U32},
};

/// Length of the common header in bytes.
pub const HEADER_LEN: usize = 12;
/// Length of a chunk's header in bytes.
pub const CHUNK_HEADER_LEN: usize = 4;
/// Where the checksum stands, in bytes from the start of the header.
pub const CHECKSUM_AT: usize = 8;

/// Chunk types.
pub mod chunk {
    /// Begins an association.
    pub const INIT: u8 = 1;
    /// Answers [`INIT`].
    pub const INIT_ACK: u8 = 2;
    /// Ends an association at once.
    pub const ABORT: u8 = 6;
    /// Begins to end one.
    pub const SHUTDOWN: u8 = 7;
    /// Answers [`SHUTDOWN`].
    pub const SHUTDOWN_ACK: u8 = 8;
    /// Reports an error.
    pub const ERROR: u8 = 9;
    /// Returns the cookie of [`INIT_ACK`].
    pub const COOKIE_ECHO: u8 = 10;
    /// Answers [`COOKIE_ECHO`].
    pub const COOKIE_ACK: u8 = 11;
    /// Ends an association.
    pub const SHUTDOWN_COMPLETE: u8 = 14;
}

/// The common header; chunks follow.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct Header {
    /// Source port.
    pub source: U16,
    /// Destination port.
    pub destination: U16,
    /// Verification tag.
    pub tag: U32,
    /// CRC32c of the whole packet, this field being 0; least significant byte first.
    pub checksum: [u8; 4],
}

/// What every chunk begins with.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct ChunkHeader {
    /// Type, see [`chunk`].
    pub kind: u8,
    /// Flags.
    pub flags: u8,
    /// Length in bytes, this header included, padding not.
    pub len: U16,
}
