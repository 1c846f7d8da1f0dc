//! Whole frames for tests, with checksums from first principles.

use std::vec::Vec;

use crate::wire::ethernet::{self, Mac};
use crate::wire::{ipv4, protocol, tcp, udp};

/// An address and a port.
pub type End = ([u8; 4], u16);

/// What follows the IP header.
#[derive(Clone, Debug)]
pub enum Transport {
    /// TCP with these flags and options (whole words).
    Tcp(u8, Vec<u8>),
    /// UDP.
    Udp,
    /// UDP that says that it has no checksum.
    UdpUnsummed,
}

/// One IPv4 packet in an Ethernet frame.
#[derive(Clone, Debug)]
pub struct Datagram {
    /// Link-layer destination.
    pub link_destination: Mac,
    /// Link-layer source.
    pub link_source: Mac,
    /// Time to live.
    pub ttl: u8,
    /// Who sends.
    pub source: End,
    /// Who is to receive.
    pub destination: End,
    /// IP options, whole words.
    pub options: Vec<u8>,
    /// TCP or UDP.
    pub transport: Transport,
    /// What the transport carries.
    pub payload: Vec<u8>,
}

impl Datagram {
    /// Its bytes.
    pub fn frame(&self) -> Vec<u8> {
        let transport = self.transport();
        let header_len = ipv4::HEADER_LEN_MIN + self.options.len();
        let mut frame = Vec::with_capacity(ethernet::HEADER_LEN + header_len + transport.len());
        frame.extend(self.link_destination);
        frame.extend(self.link_source);
        frame.extend(ethernet::TYPE_IPV4.to_be_bytes());
        let mut ip = Vec::with_capacity(header_len);
        ip.extend([0x40 | (header_len / 4) as u8, 0]);
        ip.extend(((header_len + transport.len()) as u16).to_be_bytes());
        ip.extend([0x12, 0x34, 0x40, 0]); // Identification, "don't fragment".
        ip.extend([self.ttl, self.protocol(), 0, 0]);
        ip.extend(self.source.0);
        ip.extend(self.destination.0);
        ip.extend(&self.options);
        let checksum = !sum(&ip);
        ip[10..12].copy_from_slice(&checksum.to_be_bytes());
        frame.extend(ip);
        frame.extend(transport);
        frame
    }

    fn protocol(&self) -> u8 {
        if let Transport::Tcp(..) = self.transport { protocol::TCP } else { protocol::UDP }
    }

    fn transport(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.source.1.to_be_bytes());
        bytes.extend(self.destination.1.to_be_bytes());
        let checksum_at = match &self.transport {
            Transport::Tcp(flags, options) => {
                let header_len = tcp::HEADER_LEN_MIN + options.len();
                bytes.extend([1, 2, 3, 4, 5, 6, 7, 8, (header_len * 4) as u8, *flags, 0x20, 0, 0, 0, 0, 0]);
                bytes.extend(options);
                tcp::CHECKSUM_AT
            }
            Transport::Udp | Transport::UdpUnsummed => {
                bytes.extend(((udp::HEADER_LEN + self.payload.len()) as u16).to_be_bytes());
                bytes.extend([0, 0]);
                udp::CHECKSUM_AT
            }
        };
        bytes.extend(&self.payload);
        let checksum = match (&self.transport, !add(self.pseudo_header_sum(bytes.len()), sum(&bytes))) {
            (Transport::UdpUnsummed, _) => 0,
            // RFC 768: 0 means "none", so a sum of 0 is written as its other form.
            (Transport::Udp, 0) => 0xffff,
            (_, checksum) => checksum,
        };
        bytes[checksum_at..checksum_at + 2].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    fn pseudo_header_sum(&self, len: usize) -> u16 {
        let mut bytes = Vec::new();
        bytes.extend(self.source.0);
        bytes.extend(self.destination.0);
        bytes.extend([0, self.protocol()]);
        bytes.extend((len as u16).to_be_bytes());
        sum(&bytes)
    }
}

/// The ones' complement sum of 16-bit words, an odd last byte padded with 0 (RFC 1071). It is 0xffff over anything that
/// contains its own right checksum; other values say by how much that is wrong. 0 and 0xffff are the same number.
pub fn sum(bytes: &[u8]) -> u16 {
    bytes.chunks(2).fold(0, |total, pair| add(total, u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)])))
}

/// Two ones' complement numbers added.
pub fn add(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    sum + u16::from(carry)
}

/// What the receiver of this frame sums up: IP header, and transport with pseudo-header. Only for frames from
/// [`Datagram::frame`], perhaps rewritten.
pub fn received_sums(frame: &[u8]) -> (u16, u16) {
    let ip = &frame[ethernet::HEADER_LEN..];
    let (header, transport) = ip.split_at(usize::from(ip[0] & 0xf) * 4);
    let pseudo = add(add(sum(&header[12..20]), header[9].into()), transport.len() as u16);
    (sum(header), add(pseudo, sum(transport)))
}
