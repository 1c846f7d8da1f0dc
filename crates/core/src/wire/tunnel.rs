//! Tunnel headers: GRE (RFC 2784) and GUE, variant 0 (draft-ietf-intarea-gue).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, network_endian::U16};

use super::{checksum, ethernet, protocol};
use crate::rows::family;

/// GRE's flag for "a checksum follows".
pub const GRE_CHECKSUM: u16 = 0x8000;

/// GRE without options.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct Gre {
    /// Flags and version.
    pub flags: U16,
    /// EtherType of the payload.
    pub payload_type: U16,
}

/// What follows [`Gre`] with [`GRE_CHECKSUM`].
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct GreChecksum {
    /// Checksum of the GRE header and the payload.
    pub checksum: checksum::Field,
    /// Always 0.
    pub reserved: U16,
}

/// GUE without options.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct Gue {
    /// Variant (2 bits), control (1), length of the options in words (5).
    pub version_len: u8,
    /// IP protocol number of the payload.
    pub protocol: u8,
    /// Flags.
    pub flags: U16,
}

/// Length of [`Gre`].
pub const GRE_LEN: usize = size_of::<Gre>();
/// Length of [`Gre`] with its checksum.
pub const GRE_CHECKSUM_LEN: usize = GRE_LEN + size_of::<GreChecksum>();
/// Length of [`Gue`].
pub const GUE_LEN: usize = size_of::<Gue>();

/// The EtherType of an IP packet of this [`family`].
pub fn ether_type(of: u8) -> u16 {
    if of == family::V6 { ethernet::TYPE_IPV6 } else { ethernet::TYPE_IPV4 }
}

/// The protocol number of an IP packet of this [`family`] inside another.
pub fn protocol_of(of: u8) -> u8 {
    if of == family::V6 { protocol::IPV6 } else { protocol::IPIP }
}
