//! ICMP (RFC 792, RFC 1191) and ICMPv6 (RFC 4443): the errors. Both have the same header.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::checksum;

/// Length of the header in bytes; what an error quotes follows.
pub const HEADER_LEN: usize = 8;
/// Where the checksum stands, in bytes from the start of the header.
pub const CHECKSUM_AT: usize = 2;

/// Type: destination unreachable.
pub const UNREACHABLE: u8 = 3;
/// Type: source quench.
pub const SOURCE_QUENCH: u8 = 4;
/// Type: time exceeded.
pub const TIME_EXCEEDED: u8 = 11;
/// Code of [`UNREACHABLE`]: host.
pub const HOST_UNREACHABLE: u8 = 1;
/// Code of [`UNREACHABLE`]: port.
pub const PORT_UNREACHABLE: u8 = 3;
/// Code of [`UNREACHABLE`]: fragmentation needed.
pub const FRAGMENTATION_NEEDED: u8 = 4;

/// ICMPv6 type: destination unreachable.
pub const V6_UNREACHABLE: u8 = 1;
/// ICMPv6 type: packet too big.
pub const V6_TOO_BIG: u8 = 2;
/// ICMPv6 type: time exceeded.
pub const V6_TIME_EXCEEDED: u8 = 3;
/// Code of [`V6_UNREACHABLE`]: address.
pub const V6_ADDRESS_UNREACHABLE: u8 = 3;
/// Code of [`V6_UNREACHABLE`]: port.
pub const V6_PORT_UNREACHABLE: u8 = 4;
/// ICMPv6 types from here on are no errors (RFC 4443 section 2.1).
pub const V6_FIRST_INFORMATIONAL: u8 = 128;

/// The header.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct Header {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Checksum of header and payload; of ICMPv6 also of the pseudo-header.
    pub checksum: checksum::Field,
    /// What the type needs: for "fragmentation needed" the MTU in the last two bytes, for "packet too big" in all four.
    pub info: [u8; 4],
}
