//! Whole frames of both IP versions, with checksums from first principles.

use std::net::IpAddr;

use rlvs_core::{
    native::frames::{add, sum},
    wire::{
        ethernet::{self, Mac},
        protocol,
    },
};

/// An address and a port.
pub type End = (IpAddr, u16);

/// What follows the IP header.
#[derive(Clone, Debug)]
pub enum Transport {
    /// TCP with these flags and options (whole words).
    Tcp(u8, Vec<u8>),
    /// UDP.
    Udp,
    /// UDP that says that it has no checksum.
    UdpUnsummed,
    /// SCTP whose first chunk is of this type.
    Sctp(u8),
    /// An ICMP or ICMPv6 error of this type and code; the payload is what it quotes.
    Error(u8, u8),
    /// IPsec.
    Esp,
}

/// Which part of a datagram a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it. Whether IPv4 must not fragment it.
    Whole(bool),
    /// The first fragment of the datagram of this identification.
    First(u8),
    /// A later one.
    Later(u8),
}

/// One IP packet in an Ethernet frame.
#[derive(Clone, Debug)]
pub struct Datagram {
    /// Link-layer destination.
    pub link_destination: Mac,
    /// Link-layer source.
    pub link_source: Mac,
    /// Time to live.
    pub ttl: u8,
    /// Type of service.
    pub tos: u8,
    /// Which part it is.
    pub part: Part,
    /// Who sends.
    pub source: End,
    /// Who is to receive, by the same version of IP.
    pub destination: End,
    /// IPv4: options, whole words. IPv6: as many such words of padding in an extension header.
    pub options: Vec<u8>,
    /// What it carries.
    pub transport: Transport,
    /// What the transport carries.
    pub payload: Vec<u8>,
}

impl Datagram {
    /// Its bytes.
    pub fn frame(&self) -> Vec<u8> {
        let mut frame = [self.link_destination, self.link_source].concat();
        let ip_type = if self.source.0.is_ipv6() { ethernet::TYPE_IPV6 } else { ethernet::TYPE_IPV4 };
        frame.extend(ip_type.to_be_bytes());
        frame.extend(self.packet());
        frame
    }

    /// Its bytes from the IP header on.
    pub fn packet(&self) -> Vec<u8> {
        let (mut header, transport) = if self.source.0.is_ipv6() {
            (self.header_v6(), self.transport())
        } else {
            (self.header_v4(), self.transport())
        };
        let len = header.len() + transport.len();
        if self.source.0.is_ipv6() {
            header[4..6].copy_from_slice(&((len - 40) as u16).to_be_bytes());
        } else {
            header[2..4].copy_from_slice(&(len as u16).to_be_bytes());
            let checksum = !sum(&header);
            header[10..12].copy_from_slice(&checksum.to_be_bytes());
        }
        [header, transport].concat()
    }

    fn header_v4(&self) -> Vec<u8> {
        let (id, fragment): (u16, u16) = match self.part {
            Part::Whole(keep) => (0x1234, if keep { 0x4000 } else { 0 }),
            Part::First(id) => (id.into(), 0x2000),
            Part::Later(id) => (id.into(), 0x00b9),
        };
        let mut ip = vec![0x40 | ((20 + self.options.len()) / 4) as u8, self.tos, 0, 0];
        ip.extend(id.to_be_bytes());
        ip.extend(fragment.to_be_bytes());
        ip.extend([self.ttl, self.protocol(), 0, 0]);
        ip.extend(octets(self.source.0));
        ip.extend(octets(self.destination.0));
        ip.extend(&self.options);
        ip
    }

    fn header_v6(&self) -> Vec<u8> {
        /// Destination options, and the option that pads.
        const OPTIONS: u8 = 60;
        const PAD: u8 = 1;
        let mut headers: Vec<(u8, Vec<u8>)> = Vec::new();
        if !self.options.is_empty() {
            let words = self.options.len().div_ceil(8);
            let mut padding = vec![0; words * 8];
            padding[..2].copy_from_slice(&[PAD, (words * 8 - 2 + 4) as u8]);
            headers.push((OPTIONS, [vec![words as u8, PAD, 4], vec![0; 4], padding].concat()));
        }
        match self.part {
            Part::Whole(_) => {}
            Part::First(id) => headers.push((44, vec![0, 0, 1, 0, 0, 0, id])),
            Part::Later(id) => headers.push((44, vec![0, 5, 0xc8, 0, 0, 0, id])),
        }
        let mut next: Vec<u8> = headers.iter().map(|(kind, _)| *kind).collect();
        next.push(self.protocol());
        let mut ip = vec![0x60 | (self.tos >> 4), self.tos << 4, 0, 0, 0, 0, next[0], self.ttl];
        ip.extend(octets(self.source.0));
        ip.extend(octets(self.destination.0));
        for ((_, bytes), next) in headers.iter().zip(&next[1..]) {
            ip.push(*next);
            // The length field counts words of 8 bytes past the first; a fragment header has none.
            ip.extend(bytes);
        }
        ip
    }

    fn protocol(&self) -> u8 {
        match self.transport {
            Transport::Tcp(..) => protocol::TCP,
            Transport::Udp | Transport::UdpUnsummed => protocol::UDP,
            Transport::Sctp(_) => protocol::SCTP,
            Transport::Error(..) if self.source.0.is_ipv6() => protocol::ICMPV6,
            Transport::Error(..) => protocol::ICMP,
            Transport::Esp => protocol::ESP,
        }
    }

    /// Its bytes from the transport header on.
    pub fn transport(&self) -> Vec<u8> {
        let ports = [self.source.1.to_be_bytes(), self.destination.1.to_be_bytes()].concat();
        let mut bytes = match &self.transport {
            Transport::Tcp(flags, options) => {
                let header_len = 20 + options.len();
                let rest = [1, 2, 3, 4, 5, 6, 7, 8, (header_len * 4) as u8, *flags, 0x20, 0, 0, 0, 0, 0];
                [ports, rest.to_vec(), options.clone()].concat()
            }
            Transport::Udp | Transport::UdpUnsummed => {
                let len = (8 + self.payload.len()) as u16;
                [ports, len.to_be_bytes().to_vec(), vec![0, 0]].concat()
            }
            // Tag, a checksum that no one looks at, a chunk of 8 bytes and one behind it.
            Transport::Sctp(kind) => [ports, vec![9, 9, 9, 9, 7, 7, 7, 7], vec![*kind, 0, 0, 8, 1, 1, 1, 1]].concat(),
            Transport::Error(kind, code) => vec![*kind, *code, 0, 0, 0, 0, 0, 0],
            Transport::Esp => vec![0, 0, 0, 1, 0, 0, 0, 2],
        };
        bytes.extend(&self.payload);
        let Some(at) = self.checksum_at() else { return bytes };
        let pseudo = match self.transport {
            Transport::Error(..) if self.source.0.is_ipv4() => 0,
            _ => self.pseudo_header_sum(bytes.len()),
        };
        let checksum = match (&self.transport, !add(pseudo, sum(&bytes))) {
            // RFC 768: 0 means "none", so a sum of 0 is written as its other form.
            (Transport::Udp, 0) => 0xffff,
            (_, checksum) => checksum,
        };
        bytes[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    /// Where the checksum stands that a sum of 16-bit words makes.
    pub fn checksum_at(&self) -> Option<usize> {
        match self.transport {
            Transport::Tcp(..) => Some(16),
            Transport::Udp => Some(6),
            Transport::Error(..) => Some(2),
            _ => None,
        }
    }

    fn pseudo_header_sum(&self, len: usize) -> u16 {
        let protocol = [0, self.protocol()];
        let words =
            [octets(self.source.0), octets(self.destination.0), protocol.into(), (len as u16).to_be_bytes().into()];
        sum(&words.concat())
    }
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().into(),
        IpAddr::V6(ip) => ip.octets().into(),
    }
}
