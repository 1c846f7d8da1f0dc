//! Packets as scenarios write them: described by what matters, completed with lengths and checksums from first principles.

use std::net::{IpAddr, SocketAddr};

/// IP's number of ICMP.
pub const ICMP: u8 = 1;
/// IP's number of IPv4 in IP.
pub const IPIP: u8 = 4;
/// IP's number of TCP.
pub const TCP: u8 = 6;
/// IP's number of UDP.
pub const UDP: u8 = 17;
/// IP's number of IPv6 in IP.
pub const IPV6: u8 = 41;
/// IP's number of IPv6's fragment header.
pub const FRAGMENT: u8 = 44;
/// IP's number of generic routing encapsulation.
pub const GRE: u8 = 47;
/// IP's number of ICMPv6.
pub const ICMPV6: u8 = 58;
/// IP's number of SCTP.
pub const SCTP: u8 = 132;
/// A number kept free for experiments: what no director looks at is sent under it.
pub const EXPERIMENT: u8 = 253;

/// The identification of IPv4 packets that scenarios send.
pub const IDENTIFICATION: u16 = 0x1234;
/// The letters of TCP's flags, the lowest bit first.
pub const TCP_FLAGS: &str = "FSRPAU";

/// One IP packet.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Who sends.
    pub source: IpAddr,
    /// Who is to receive.
    pub destination: IpAddr,
    ttl: u8,
    tos: u8,
    dont_fragment: bool,
    more_fragments: bool,
    /// In units of eight bytes.
    fragment_offset: u16,
    identification: u16,
    options: Vec<u8>,
    protocol: u8,
    /// What follows the IP header, its checksum at [`Packet::checksum_at`] not yet worked out.
    body: Vec<u8>,
    checksum: Checksum,
}

/// What becomes of the transport's checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Checksum {
    Right,
    Wrong,
    /// As the body has it.
    Untouched,
}

/// A TCP segment with these flags: letters of [`TCP_FLAGS`].
pub fn tcp(source: SocketAddr, destination: SocketAddr, flags: &str) -> Packet {
    let bits = flags.chars().map(|flag| 1 << TCP_FLAGS.find(flag).expect("a TCP flag")).sum::<u8>();
    let mut body = ports(source, destination);
    body.extend(1000_u32.to_be_bytes());
    body.extend(if bits & 0x10 != 0 { 2000_u32 } else { 0 }.to_be_bytes());
    body.extend([0x50, bits, 0x20, 0, 0, 0, 0, 0]);
    Packet::new(source.ip(), destination.ip(), TCP, body)
}

/// A UDP datagram that says "hi".
pub fn udp(source: SocketAddr, destination: SocketAddr) -> Packet {
    let mut body = ports(source, destination);
    body.extend([0; 4]);
    Packet::new(source.ip(), destination.ip(), UDP, body).payload(b"hi")
}

/// An SCTP packet of these chunks, each a type and what follows its length.
pub fn sctp(source: SocketAddr, destination: SocketAddr, chunks: &[(u8, &[u8])]) -> Packet {
    let mut body = ports(source, destination);
    body.extend([0, 0, 0, 7, 0, 0, 0, 0]);
    for (kind, value) in chunks {
        body.extend([*kind, 0]);
        body.extend((value.len() as u16 + 4).to_be_bytes());
        body.extend(*value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    Packet::new(source.ip(), destination.ip(), SCTP, body)
}

/// An ICMP or ICMPv6 message, after the family of its source; `rest` is the second word of its header.
pub fn icmp(source: IpAddr, destination: IpAddr, kind: u8, code: u8, rest: u32, payload: &[u8]) -> Packet {
    let mut body = vec![kind, code, 0, 0];
    body.extend(rest.to_be_bytes());
    body.extend(payload);
    Packet::new(source, destination, if source.is_ipv4() { ICMP } else { ICMPV6 }, body)
}

/// A packet of any other protocol.
pub fn raw(source: IpAddr, destination: IpAddr, protocol: u8, body: Vec<u8>) -> Packet {
    Packet::new(source, destination, protocol, body)
}

fn ports(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    [source.port().to_be_bytes(), destination.port().to_be_bytes()].concat()
}

impl Packet {
    fn new(source: IpAddr, destination: IpAddr, protocol: u8, body: Vec<u8>) -> Self {
        assert_eq!(source.is_ipv4(), destination.is_ipv4(), "{source} and {destination} are of two families");
        Self {
            source,
            destination,
            ttl: 64,
            tos: 0,
            dont_fragment: false,
            more_fragments: false,
            fragment_offset: 0,
            identification: IDENTIFICATION,
            options: Vec::new(),
            protocol,
            body,
            checksum: Checksum::Right,
        }
    }

    /// Sets time to live, or hop limit.
    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    /// Sets type of service, or traffic class.
    pub fn tos(mut self, tos: u8) -> Self {
        self.tos = tos;
        self
    }

    /// Forbids fragmentation (IPv4).
    pub fn dont_fragment(mut self) -> Self {
        self.dont_fragment = true;
        self
    }

    /// Sets IPv4 options, whole words.
    pub fn options(mut self, options: &[u8]) -> Self {
        self.options = options.to_vec();
        self
    }

    /// Sets IPv4's identification, or that of IPv6 fragments.
    pub fn identification(mut self, identification: u16) -> Self {
        self.identification = identification;
        self
    }

    /// Says that it is of another protocol, without a look at what is in it.
    pub fn protocol(mut self, protocol: u8) -> Self {
        self.protocol = protocol;
        self.checksum = Checksum::Untouched;
        self
    }

    /// Appends to what the transport carries.
    pub fn payload(mut self, bytes: &[u8]) -> Self {
        self.body.extend(bytes);
        self
    }

    /// Replaces what UDP carries.
    pub fn says(mut self, bytes: &[u8]) -> Self {
        self.body.truncate(8);
        self.payload(bytes)
    }

    /// Makes the payload so long that the whole packet has `length` bytes.
    pub fn length(mut self, length: usize) -> Self {
        let body = length.checked_sub(self.header_length()).expect("room for the header");
        let mut next = 0_u8;
        while self.body.len() < body {
            self.body.push(next);
            next = next.wrapping_add(1);
        }
        self.body.truncate(body);
        self
    }

    /// Says that there is no checksum (UDP).
    pub fn unsummed(mut self) -> Self {
        self.checksum = Checksum::Untouched;
        self
    }

    /// Spoils the checksum of the transport.
    pub fn wrong_sum(mut self) -> Self {
        self.checksum = Checksum::Wrong;
        self
    }

    /// Whole, but for the IP header: what an ICMP error quotes of it, whole packet or its beginning.
    pub fn quoted(&self, length_max: usize) -> Vec<u8> {
        let mut bytes = self.bytes();
        bytes.truncate(length_max);
        bytes
    }

    /// Splits it into fragments whose IP payload has at most `size` bytes, a multiple of eight.
    pub fn fragments(&self, size: usize) -> Vec<Packet> {
        assert!(size.is_multiple_of(8), "fragments begin at multiples of eight bytes");
        let body = self.summed_body();
        let count = body.len().div_ceil(size);
        body.chunks(size)
            .enumerate()
            .map(|(index, part)| Packet {
                more_fragments: index + 1 < count,
                fragment_offset: (index * size / 8) as u16,
                body: part.to_vec(),
                checksum: Checksum::Untouched,
                ..self.clone()
            })
            .collect()
    }

    /// Its bytes, from the IP header on.
    pub fn bytes(&self) -> Vec<u8> {
        let body = self.summed_body();
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let length = self.header_length();
                let flags = u16::from(self.dont_fragment) << 14 | u16::from(self.more_fragments) << 13;
                let mut bytes = vec![0x40 | (length / 4) as u8, self.tos];
                bytes.extend(((length + body.len()) as u16).to_be_bytes());
                bytes.extend(self.identification.to_be_bytes());
                bytes.extend((flags | self.fragment_offset).to_be_bytes());
                bytes.extend([self.ttl, self.protocol, 0, 0]);
                bytes.extend(source.octets());
                bytes.extend(destination.octets());
                bytes.extend(&self.options);
                let sum = !ones_sum(&bytes);
                bytes[10..12].copy_from_slice(&sum.to_be_bytes());
                bytes.extend(body);
                bytes
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let fragment = self.more_fragments || self.fragment_offset > 0;
                let mut extension = Vec::new();
                if fragment {
                    extension.extend([self.protocol, 0]);
                    extension.extend((self.fragment_offset << 3 | u16::from(self.more_fragments)).to_be_bytes());
                    extension.extend(u32::from(self.identification).to_be_bytes());
                }
                let mut bytes = (0x6000_0000 | u32::from(self.tos) << 20).to_be_bytes().to_vec();
                bytes.extend(((extension.len() + body.len()) as u16).to_be_bytes());
                bytes.extend([if fragment { FRAGMENT } else { self.protocol }, self.ttl]);
                bytes.extend(source.octets());
                bytes.extend(destination.octets());
                bytes.extend(extension);
                bytes.extend(body);
                bytes
            }
            _ => unreachable!("checked when it was made"),
        }
    }

    /// The sender with its port; 0 where there is none.
    pub fn from(&self) -> SocketAddr {
        SocketAddr::new(self.source, self.port(0))
    }

    /// The receiver with its port; 0 where there is none.
    pub fn to(&self) -> SocketAddr {
        SocketAddr::new(self.destination, self.port(2))
    }

    /// What follows the IP header, by IP's number.
    pub fn protocol_number(&self) -> u8 {
        self.protocol
    }

    fn port(&self, at: usize) -> u16 {
        self.body.get(at..at + 2).map_or(0, |bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn header_length(&self) -> usize {
        if self.source.is_ipv4() { 20 + self.options.len() } else { 40 }
    }

    fn summed_body(&self) -> Vec<u8> {
        let mut body = self.body.clone();
        if self.protocol == UDP && self.fragment_offset == 0 && !self.more_fragments && body.len() >= 8 {
            let length = body.len() as u16;
            body[4..6].copy_from_slice(&length.to_be_bytes());
        }
        if self.checksum == Checksum::Untouched {
            return body;
        }
        let wrong = u32::from(self.checksum == Checksum::Wrong);
        if self.protocol == SCTP {
            let sum = crc32c(&body) ^ wrong;
            body[8..12].copy_from_slice(&sum.to_le_bytes());
            return body;
        }
        let at = match self.protocol {
            TCP => 16,
            UDP => 6,
            ICMP | ICMPV6 => 2,
            _ => return body,
        };
        let pseudo = if self.protocol == ICMP {
            Vec::new()
        } else {
            pseudo(self.source, self.destination, self.protocol, body.len())
        };
        let sum = !ones_sum(&[pseudo, body.clone()].concat());
        let sum = if self.protocol == UDP && sum == 0 { 0xffff } else { sum };
        body[at..at + 2].copy_from_slice(&(sum ^ wrong as u16).to_be_bytes());
        body
    }
}

/// The header that transports sum up but do not send.
pub fn pseudo(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for address in [source, destination] {
        match address {
            IpAddr::V4(address) => bytes.extend(address.octets()),
            IpAddr::V6(address) => bytes.extend(address.octets()),
        }
    }
    // IPv6 writes the length in four bytes; to the sum it is the same.
    bytes.extend([0, protocol]);
    bytes.extend((length as u16).to_be_bytes());
    bytes
}

/// The ones' complement sum of RFC 1071. Right data with its checksum in it has 0xFFFF.
pub fn ones_sum(bytes: &[u8]) -> u16 {
    let mut sum: u32 =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// SCTP's checksum (RFC 9260, appendix A) of a packet, the field itself counted as zero.
pub fn crc32c(packet: &[u8]) -> u32 {
    let field = 8..12;
    let bytes = packet.iter().enumerate().map(|(at, byte)| if field.contains(&at) { 0 } else { *byte });
    !bytes.fold(!0_u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0x82f6_3b78 } else { sum >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32c_has_its_check_value() {
        // The catalogue's check value is over "123456789"; the field that counts as zero begins behind its first eight letters.
        let packet = b"12345678\0\0\0\0";
        let by_hand = packet.iter().fold(!0_u32, |sum, byte| {
            (0..8).fold(sum ^ u32::from(*byte), |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0x82f6_3b78 } else { sum >> 1 })
        });
        assert_eq!(crc32c(packet), !by_hand);
        assert_eq!(crc32c(b"\0\0\0\0\0\0\0\0\0\0\0\0"), crc32c(b"\0\0\0\0\0\0\0\0\x01\x02\x03\x04"));
    }

    #[test]
    fn fragments_are_the_whole() {
        let whole = udp(([10, 0, 0, 9], 1).into(), ([10, 0, 0, 100], 2).into()).length(100);
        let parts = whole.fragments(32);
        let bodies: Vec<u8> = parts.iter().flat_map(|part| part.bytes()[20..].to_vec()).collect();
        assert_eq!(bodies, whole.bytes()[20..]);
        assert_eq!(parts.len(), 3);
    }
}
