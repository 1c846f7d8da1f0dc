//! IP packets of either version for tests, with checksums from first principles.

use core::net::IpAddr;
use std::vec::Vec;

use super::frames::{add, sum};
use crate::rows::Address;
use crate::wire::{ethernet, ipv6, protocol, sctp, tcp, udp};

/// An address and a port.
pub type End = (IpAddr, u16);

/// What follows the IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP with these flags.
    Tcp(u8),
    /// UDP; without a checksum where this is false.
    Udp(bool),
    /// SCTP with a first chunk of this type.
    Sctp(u8),
}

impl Transport {
    /// IP protocol number.
    pub fn protocol(self) -> u8 {
        match self {
            Self::Tcp(_) => protocol::TCP,
            Self::Udp(_) => protocol::UDP,
            Self::Sctp(_) => protocol::SCTP,
        }
    }
}

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Who sends.
    pub source: End,
    /// Who is to receive; of the source's family.
    pub destination: End,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// Type of service or traffic class.
    pub tos: u8,
    /// IPv4: identification, flags and fragment offset.
    pub id_fragment: [u8; 4],
    /// IPv4 options (whole words), or IPv6 extension headers of which the first is for every hop.
    pub options: Vec<u8>,
    /// TCP, UDP or SCTP.
    pub transport: Transport,
    /// What the transport carries.
    pub payload: Vec<u8>,
}

impl Packet {
    /// A packet without payload that may be fragmented.
    pub fn new(source: End, destination: End, transport: Transport) -> Self {
        let (options, payload) = (Vec::new(), Vec::new());
        Self { source, destination, ttl: 64, tos: 0, id_fragment: [0x12, 0x34, 0, 0], options, transport, payload }
    }

    /// Its bytes, from the IP header on.
    pub fn bytes(&self) -> Vec<u8> {
        let transport = self.transport_bytes();
        let mut packet = self.header(self.transport.protocol(), transport.len());
        packet.extend(transport);
        packet
    }

    /// Where the transport header stands in [`Self::bytes`].
    pub fn transport_at(&self) -> usize {
        self.options.len() + if self.source.0.is_ipv4() { 20 } else { ipv6::HEADER_LEN }
    }

    /// Where the transport checksum stands in [`Self::bytes`], and how long it is.
    pub fn checksum_at(&self) -> (usize, usize) {
        let (at, len) = match self.transport {
            Transport::Tcp(_) => (tcp::CHECKSUM_AT, 2),
            Transport::Udp(_) => (udp::CHECKSUM_AT, 2),
            Transport::Sctp(_) => (sctp::CHECKSUM_AT, 4),
        };
        (self.transport_at() + at, len)
    }

    fn header(&self, protocol: u8, payload_len: usize) -> Vec<u8> {
        let mut header = Vec::new();
        match (self.source.0, self.destination.0) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let len = 20 + self.options.len();
                header.extend([0x40 | (len / 4) as u8, self.tos]);
                header.extend(((len + payload_len) as u16).to_be_bytes());
                header.extend(self.id_fragment);
                header.extend([self.ttl, protocol, 0, 0]);
                header.extend(source.octets());
                header.extend(destination.octets());
                header.extend(&self.options);
                let checksum = !sum(&header);
                header[10..12].copy_from_slice(&checksum.to_be_bytes());
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                header.extend([0x60 | (self.tos >> 4), self.tos << 4, 0, 0]);
                header.extend(((self.options.len() + payload_len) as u16).to_be_bytes());
                header.extend([if self.options.is_empty() { protocol } else { ipv6::HOP_BY_HOP }, self.ttl]);
                header.extend(source.octets());
                header.extend(destination.octets());
                header.extend(&self.options);
            }
            ends => panic!("{ends:?} are of two families"),
        }
        header
    }

    fn transport_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.source.1.to_be_bytes());
        bytes.extend(self.destination.1.to_be_bytes());
        match self.transport {
            Transport::Tcp(flags) => {
                bytes.extend([1, 2, 3, 4, 5, 6, 7, 8, 0x50, flags, 0x20, 0, 0, 0, 0, 0]);
            }
            Transport::Udp(_) => {
                bytes.extend(((udp::HEADER_LEN + self.payload.len()) as u16).to_be_bytes());
                bytes.extend([0, 0]);
            }
            Transport::Sctp(chunk) => {
                bytes.extend([0xa, 0xb, 0xc, 0xd, 0, 0, 0, 0, chunk, 0]);
                bytes.extend(((sctp::CHUNK_HEADER_LEN + self.payload.len()) as u16).to_be_bytes());
            }
        }
        bytes.extend(&self.payload);
        let (at, len) = self.checksum_at();
        let at = at - self.transport_at();
        if let Transport::Sctp(_) = self.transport {
            let crc = crc32c(&bytes);
            bytes[at..at + len].copy_from_slice(&crc.to_le_bytes());
            return bytes;
        }
        let checksum =
            !add(pseudo(self.source.0, self.destination.0, self.transport.protocol(), bytes.len()), sum(&bytes));
        let checksum = match (self.transport, checksum) {
            (Transport::Udp(false), _) => 0,
            // RFC 768: 0 means "none", so a sum of 0 is written as its other form.
            (Transport::Udp(true), 0) => 0xffff,
            _ => checksum,
        };
        bytes[at..at + len].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }
}

/// An ICMP or ICMPv6 error from `source` to `destination` with these type and code, which quotes `quoted`.
pub fn error(source: IpAddr, destination: IpAddr, ttl: u8, what: (u8, u8), quoted: &[u8]) -> Vec<u8> {
    let protocol = if source.is_ipv4() { protocol::ICMP } else { protocol::ICMPV6 };
    let mut icmp = std::vec![what.0, what.1, 0, 0, 0, 0, 5, 0];
    icmp.extend(quoted);
    let over = if source.is_ipv4() { 0 } else { pseudo(source, destination, protocol, icmp.len()) };
    let checksum = !add(over, sum(&icmp));
    icmp[2..4].copy_from_slice(&checksum.to_be_bytes());
    let outer = Packet { ttl, ..Packet::new((source, 0), (destination, 0), Transport::Udp(true)) };
    let mut packet = outer.header(protocol, icmp.len());
    packet.extend(icmp);
    packet
}

/// An IP packet in an Ethernet frame with these addresses, destination first.
pub fn framed(ends: [ethernet::Mac; 2], packet: &[u8]) -> Vec<u8> {
    let ethertype = if packet[0] >> 4 == 6 { ethernet::TYPE_IPV6 } else { ethernet::TYPE_IPV4 };
    let mut frame = ends.concat();
    frame.extend(ethertype.to_be_bytes());
    frame.extend(packet);
    frame
}

/// The sum of a pseudo-header (RFC 9293 section 3.1, RFC 8200 section 8.1).
pub fn pseudo(source: IpAddr, destination: IpAddr, protocol: u8, len: usize) -> u16 {
    let octets = |address| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let addresses = add(sum(&octets(source)), sum(&octets(destination)));
    add(add(addresses, protocol.into()), len as u16)
}

/// CRC32c (RFC 9260 appendix A), bit by bit.
pub fn crc32c(bytes: &[u8]) -> u32 {
    let byte = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ if crc & 1 != 0 { 0x82f6_3b78 } else { 0 })
    };
    !bytes.iter().fold(!0, byte)
}

/// As it stands in rows and keys.
pub fn address(address: IpAddr) -> Address {
    match address {
        IpAddr::V4(address) => Address::v4(address.octets()),
        IpAddr::V6(address) => Address::v6(address.octets()),
    }
}
