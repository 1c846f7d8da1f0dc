//! Rules that give packets a firewall mark, since netfilter's come later than our hooks; and samples of dropped packets.

use super::Address;

/// Most rules that there can be. Packets without a connection try them one by one.
pub const MARKS_MAX: u32 = 1024;

/// One rule: a packet that fits all of it has the mark.
#[cfg_attr(not(target_arch = "bpf"), derive(zerocopy::FromZeros))]
#[derive(Clone, Copy)]
#[repr(C)]
pub struct MarkRow {
    /// Source network, host bits 0.
    pub source: Address,
    /// Which bits of the source address must fit: ones, then zeros.
    pub source_mask: Address,
    /// Destination network.
    pub destination: Address,
    /// Which bits of the destination address must fit.
    pub destination_mask: Address,
    /// First source port, host byte order.
    pub source_port_first: u16,
    /// Last source port.
    pub source_port_last: u16,
    /// First destination port.
    pub destination_port_first: u16,
    /// Last destination port.
    pub destination_port_last: u16,
    /// The mark, not 0.
    pub mark: u32,
    /// IP protocol number; 0 for any.
    pub protocol: u8,
    /// [`super::family`].
    pub family: u8,
    /// Always 0.
    pub reserved: u16,
}

const _: () = assert!(size_of::<MarkRow>() == 80);

/// Bytes kept of a dropped frame: Ethernet, IPv6 and TCP headers with options, or an ICMP error with what it quotes.
pub const SAMPLE_LEN: usize = 112;
/// Samples kept for each reason.
pub const SAMPLES: u32 = 8;

/// The beginning of a frame that was dropped. Row `reason * SAMPLES + n`: the next one of a reason takes the place of its oldest.
#[cfg_attr(not(target_arch = "bpf"), derive(zerocopy::FromZeros))]
#[derive(Clone, Copy)]
#[repr(C)]
pub struct SampleRow {
    /// When, in jiffies; 0 for none yet.
    pub at: u64,
    /// Length of the frame in bytes.
    pub len: u32,
    /// Index of the interface it came in by.
    pub interface: u32,
    /// Its first bytes; zeros after its end.
    pub bytes: [u8; SAMPLE_LEN],
}

const _: () = assert!(size_of::<SampleRow>() == 128);
