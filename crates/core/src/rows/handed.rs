//! What the data plane hands to the daemon: packets that need what no hook can do.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::wire::ethernet::Mac;

/// What the daemon is to do with a frame.
pub mod task {
    /// Tell its sender why it was dropped, by an ICMP error.
    pub const REFUSE: u32 = 0;
    /// Send it in fragments.
    pub const FRAGMENT: u32 = 1;
    /// Hold it until the first fragment of its datagram is there, then let it arrive again.
    pub const HOLD: u32 = 2;
}

/// Longest frame that is handed over whole, bytes: what jumbo links carry. Of a longer one only so much is, which is enough to
/// refuse it.
pub const HANDED_FRAME_MAX: usize = 9216;

/// Stands before the frame in the ring buffer.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Handed {
    /// [`task`].
    pub task: u32,
    /// Index of the interface that it came in by; for [`task::FRAGMENT`] of that it leaves by.
    pub interface: u32,
    /// Length in bytes of the frame, which may be more than follows.
    pub len: u32,
    /// What follows the checksum of the ICMP error; for [`task::FRAGMENT`] the largest packet that the way takes.
    pub info: u32,
    /// Type of the ICMP error.
    pub kind: u8,
    /// Code of the ICMP error.
    pub code: u8,
    /// Link-layer address of the interface, for [`task::FRAGMENT`].
    pub source: Mac,
    /// Link-layer address of the neighbour, for [`task::FRAGMENT`].
    pub destination: Mac,
    /// How many hops the quoted packet has less to live than the frame.
    pub hops: u8,
    /// Always 0.
    pub reserved: u8,
}

/// Length in bytes of [`Handed`].
pub const HANDED_LEN: usize = size_of::<Handed>();
