//! What a home (XDP, tc, native) offers to read and write one frame.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::wire::checksum::{self, Change, Sum};
use crate::wire::crc32c;

/// Highest offset, in bytes from the start of the frame, at which [`Packet::header`] looks.
///
/// The verifier accepts only offsets with a known bound. Ethernet (14) + the longest IPv4 header (60) + ICMP (8) + the longest
/// IPv4 header again, quoted, (60) is 142; the next power of two leaves room for IPv6's extension headers.
pub const HEADER_OFFSET_MAX: usize = 256;

/// Room for the outer headers of a tunnel, between the Ethernet header and the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes.
    pub len: u32,
    /// Whether the outer header is IPv6's.
    pub outer_v6: bool,
    /// [`crate::rows::tunnel`]: which kind.
    pub tunnel: u8,
}

/// One Ethernet frame, from its destination address to its last byte.
pub trait Packet {
    /// Length of the frame in bytes, payload that is not in linear memory included.
    fn len(&self) -> usize;

    /// True for a frame without bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The header of type `T` at byte `at` of the frame; `None` where the frame ends before it does or `at` is larger than
    /// [`HEADER_OFFSET_MAX`].
    fn header<T>(&mut self, at: usize) -> Option<&mut T>
    where
        T: FromBytes + IntoBytes + KnownLayout + Immutable + Unaligned;

    /// Whether the link layer addressed this frame to this host (and not to its neighbour or to a group).
    ///
    /// IPVS sees only what IP input accepted, hence never such frames; our hooks come earlier and have to ask.
    fn is_for_this_host(&mut self) -> bool;

    /// The firewall mark that the kernel gave the packet already; 0 for none.
    fn mark(&self) -> u32 {
        0
    }

    /// Of a packet that stands for several, which the kernel cuts apart when it sends them: how many bytes of payload each has.
    fn segment_payload(&self) -> Option<u32> {
        None
    }

    /// Adjusts the transport checksum at byte `at` for `change`. The bytes that changed may be written before or after.
    ///
    /// The default is the incremental update of RFC 1624. The tc home overrides it: there the checksum may be *partial*
    /// (pseudo-header sum only, the rest left to the device), where ports must not be added in; only the kernel knows.
    fn replace_checksum(&mut self, at: usize, change: &Change) -> Option<()> {
        let field = self.header::<checksum::Field>(at)?;
        checksum::apply(field, change);
        Some(())
    }

    /// How an SCTP checksum changes: [`crc32c::change`]. A home in which every call is paid for again when the program is verified
    /// has it as a function of its own.
    fn crc_change(&self, difference: u32, behind: u16) -> u32 {
        crc32c::change(difference, behind)
    }

    /// The sum of `len` bytes from byte `at` on.
    fn sum(&mut self, at: usize, len: usize) -> Option<Sum>;

    /// Opens room for outer headers and moves the Ethernet header before it. What stands in it is unknown.
    fn push(&mut self, room: &Room) -> Option<()>;
}
