//! Frames as text: one line that says what a reviewer would ask, and nothing that differs from one run to the next.
//!
//! What is as usual is left out: identification [`IDENTIFICATION`], type of service 0, right checksums. An identification or
//! a source port that the director chose itself shows as `*`.

use std::{
    fmt::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::frame::{
    EXPERIMENT, FRAGMENT, GRE, ICMP, ICMPV6, IDENTIFICATION, IPIP, IPV6, SCTP, TCP, TCP_FLAGS, UDP, crc32c, ones_sum,
    pseudo,
};

/// The port at which scenarios have tunnels of Generic UDP Encapsulation end.
pub const GUE_PORT: u16 = 6080;
/// Ports that the director takes for what it sends itself, by default.
const OWN_PORTS: std::ops::RangeInclusive<u16> = 32768..=60999;
/// How deep packets within packets are read.
const DEPTH_MAX: u32 = 4;

/// A frame that came out.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Whom it is for at the link layer.
    pub link_destination: [u8; 6],
    /// The IP packet.
    pub packet: Vec<u8>,
}

impl Frame {
    /// Takes an Ethernet frame apart. `None` for what is no concern of a scenario: other protocols than IP, and the talk by
    /// which hosts find their neighbours and groups.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let link_destination = bytes.get(..6)?.try_into().ok()?;
        let packet = bytes.get(14..)?.to_vec();
        match (bytes.get(12..14)?, *packet.first()? >> 4) {
            ([0x08, 0x00], 4) if *packet.get(9)? != 2 => {}
            ([0x86, 0xdd], 6) => {
                // Group reports carry a hop-by-hop header; 130 to 137 and 143 are group and neighbour messages.
                let talk = match packet.get(6)? {
                    0 => true,
                    58 => matches!(packet.get(40)?, 130..=137 | 143),
                    _ => false,
                };
                if talk {
                    return None;
                }
            }
            _ => return None,
        }
        Some(Self { link_destination, packet })
    }

    /// The number of a marker, if it is one.
    pub fn marker(&self) -> Option<u32> {
        (self.packet[0] >> 4 == 4 && self.packet.get(9) == Some(&EXPERIMENT))
            .then(|| self.packet.get(20..24)?.try_into().ok().map(u32::from_be_bytes))?
    }

    /// Source address and port, where it has a transport with ports.
    pub fn source(&self) -> Option<(IpAddr, u16)> {
        let header = Header::read(&self.packet)?;
        let port = u16::from_be_bytes(header.body.get(..2)?.try_into().ok()?);
        Some((header.source, port))
    }
}

/// An IP packet as one line.
pub fn packet(bytes: &[u8]) -> String {
    let mut line = String::new();
    write_packet(&mut line, bytes, 0);
    line
}

struct Header<'a> {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    body: &'a [u8],
    /// Fewer bytes are there than the header says.
    cut: bool,
    first: bool,
    whole: bool,
}

impl<'a> Header<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let array4 = |at: usize| -> Option<[u8; 4]> { bytes.get(at..at + 4)?.try_into().ok() };
        let array16 = |at: usize| -> Option<[u8; 16]> { bytes.get(at..at + 16)?.try_into().ok() };
        match bytes.first()? >> 4 {
            4 => {
                let header = usize::from(bytes[0] & 15) * 4;
                let length = usize::from(half(bytes, 2)?);
                let offset = half(bytes, 6)?;
                Some(Self {
                    source: Ipv4Addr::from(array4(12)?).into(),
                    destination: Ipv4Addr::from(array4(16)?).into(),
                    protocol: *bytes.get(9)?,
                    body: bytes.get(header..length.min(bytes.len()))?,
                    cut: length > bytes.len(),
                    first: offset & 0x1fff == 0,
                    whole: offset & 0x3fff == 0,
                })
            }
            6 => {
                let length = 40 + usize::from(half(bytes, 4)?);
                let mut protocol = *bytes.get(6)?;
                let mut body = bytes.get(40..length.min(bytes.len()))?;
                let (mut first, mut whole) = (true, true);
                if protocol == FRAGMENT {
                    let offset = half(body, 2)?;
                    (first, whole) = (offset & 0xfff8 == 0, false);
                    protocol = body[0];
                    body = body.get(8..)?;
                }
                Some(Self {
                    source: Ipv6Addr::from(array16(8)?).into(),
                    destination: Ipv6Addr::from(array16(24)?).into(),
                    protocol,
                    body,
                    cut: length > bytes.len(),
                    first,
                    whole,
                })
            }
            _ => None,
        }
    }
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Writing to a string cannot fail.
macro_rules! put {
    ($line:expr, $($word:tt)+) => { let _ = write!($line, $($word)+); };
}

fn write_packet(line: &mut String, bytes: &[u8], depth: u32) {
    let Some(header) = Header::read(bytes).filter(|_| depth < DEPTH_MAX) else {
        put!(line, "{} bytes", bytes.len());
        return;
    };
    put!(line, "{} > {}", header.source, header.destination);
    if header.source.is_ipv4() {
        write_ipv4(line, bytes);
    } else {
        write_ipv6(line, bytes);
    }
    if !header.first {
        put!(line, " protocol {}", header.protocol);
        return;
    }
    write_transport(line, &header, depth);
}

fn write_ipv4(line: &mut String, bytes: &[u8]) {
    let header = usize::from(bytes[0] & 15) * 4;
    let offset = half(bytes, 6).unwrap_or(0);
    put!(line, " ttl {} len {}", bytes[8], half(bytes, 2).unwrap_or(0));
    if bytes[1] != 0 {
        put!(line, " tos {:#x}", bytes[1]);
    }
    match half(bytes, 4) {
        Some(IDENTIFICATION) => {}
        Some(0) => line.push_str(" id 0"),
        _ => line.push_str(" id *"),
    }
    if offset & 0x4000 != 0 {
        line.push_str(" DF");
    }
    if offset & 0x3fff != 0 {
        put!(line, " fragment {}{}", (offset & 0x1fff) * 8, if offset & 0x2000 != 0 { "+" } else { "" });
    }
    if header > 20 {
        line.push_str(" options ");
        bytes[20..header.min(bytes.len())].iter().for_each(|byte| {
            put!(line, "{byte:02x}");
        });
    }
    if bytes.get(..header).is_some_and(|header| ones_sum(header) != 0xffff) {
        line.push_str(" WRONG-HEADER-SUM");
    }
}

fn write_ipv6(line: &mut String, bytes: &[u8]) {
    put!(line, " hops {} len {}", bytes[7], half(bytes, 4).unwrap_or(0));
    let first = word(bytes, 0).unwrap_or(0);
    if first >> 20 & 0xff != 0 {
        put!(line, " class {:#x}", first >> 20 & 0xff);
    }
    if first & 0xf_ffff != 0 {
        line.push_str(" label *");
    }
    if bytes[6] == FRAGMENT {
        let offset = half(bytes, 42).unwrap_or(0);
        put!(line, " fragment {}{}", offset & 0xfff8, if offset & 1 != 0 { "+" } else { "" });
    }
}

fn write_transport(line: &mut String, header: &Header, depth: u32) {
    let body = header.body;
    let ports = half(body, 0).zip(half(body, 2));
    match (header.protocol, ports) {
        (TCP, Some((from, to))) => {
            put!(line, " TCP {from} > {to}");
            if let Some(flags) = body.get(13) {
                let names = TCP_FLAGS.char_indices().filter(|(bit, _)| flags & 1 << bit != 0).map(|(_, name)| name);
                put!(line, " [{}]", names.collect::<String>());
                write_sum(line, header, 16);
            }
        }
        (UDP, Some((from, to))) => {
            let gue = to == GUE_PORT && header.whole && !header.cut;
            if to == GUE_PORT && OWN_PORTS.contains(&from) {
                put!(line, " UDP * > {to}");
            } else {
                put!(line, " UDP {from} > {to}");
            }
            if gue && half(body, 6) != Some(0) {
                // It depends on the port, which is not shown; that it is right is all there is to say.
                let sum = pseudo(header.source, header.destination, header.protocol, body.len());
                let right = ones_sum(&[sum, body.to_vec()].concat()) == 0xffff;
                line.push_str(if right { " summed" } else { " WRONG-SUM" });
            } else if to == GUE_PORT && half(body, 6) != Some(0) {
                line.push_str(" sum *");
            } else {
                write_sum(line, header, 6);
            }
            if gue && let Some([first, protocol, flags @ ..]) = body.get(8..12) {
                put!(line, " GUE {first:#x} {protocol} {:#x} {{", u16::from_be_bytes([flags[0], flags[1]]));
                let length = usize::from(first & 0x1f) * 4;
                write_packet(line, body.get(12 + length..).unwrap_or(&[]), depth + 1);
                line.push('}');
            }
        }
        (SCTP, Some((from, to))) => {
            put!(line, " SCTP {from} > {to}");
            let mut rest = body.get(12..).unwrap_or(&[]);
            while let (Some(kind), Some(length)) = (rest.first(), half(rest, 2)) {
                put!(line, " chunk {kind}");
                rest = rest.get(usize::from(length.max(4)).next_multiple_of(4)..).unwrap_or(&[]);
            }
            if header.cut || !header.whole {
                put!(line, " sum {:#010x}", word(body, 8).unwrap_or(0));
            } else if word(body, 8).map(u32::swap_bytes) != Some(crc32c(body)) {
                line.push_str(" WRONG-SUM");
            }
        }
        (ICMP | ICMPV6, _) if body.len() >= 8 => {
            let name = if header.protocol == ICMP { "ICMP" } else { "ICMPv6" };
            put!(line, " {name} {}/{} {:#x}", body[0], body[1], word(body, 4).unwrap_or(0));
            write_sum(line, header, 2);
            let error = if header.protocol == ICMP { matches!(body[0], 3 | 4 | 5 | 11 | 12) } else { body[0] < 128 };
            if error {
                line.push_str(" {");
                write_packet(line, &body[8..], depth + 1);
                line.push('}');
            }
        }
        (IPIP | IPV6, _) => {
            line.push_str(" IP-in-IP {");
            write_packet(line, body, depth + 1);
            line.push('}');
        }
        (GRE, Some((flags, protocol))) => {
            put!(line, " GRE {flags:#x} {protocol:#x}");
            let mut length = 4;
            if flags & 0x8000 != 0 {
                length = 8;
                line.push_str(if ones_sum(body) == 0xffff { " summed" } else { " WRONG-SUM" });
            }
            line.push_str(" {");
            write_packet(line, body.get(length..).unwrap_or(&[]), depth + 1);
            line.push('}');
        }
        (protocol, _) => {
            put!(line, " protocol {protocol}");
        }
    }
}

/// Says what is remarkable about a transport's checksum. Where the whole of what it covers is not there, says what it is.
fn write_sum(line: &mut String, header: &Header, at: usize) {
    let Some(sum) = half(header.body, at) else { return };
    if header.protocol == UDP && sum == 0 {
        line.push_str(" unsummed");
    } else if header.cut || !header.whole {
        put!(line, " sum {sum:#06x}");
    } else {
        let mut bytes = match header.protocol {
            ICMP => Vec::new(),
            protocol => pseudo(header.source, header.destination, protocol, header.body.len()),
        };
        bytes.extend(header.body);
        if ones_sum(&bytes) != 0xffff {
            put!(line, " WRONG-SUM {sum:#06x}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::frame, *};

    #[test]
    fn packets_read() {
        let syn = frame::tcp(([10, 0, 0, 9], 1000).into(), ([10, 0, 0, 100], 80).into(), "S");
        assert_eq!(packet(&syn.bytes()), "10.0.0.9 > 10.0.0.100 ttl 64 len 40 TCP 1000 > 80 [S]");
        assert_eq!(
            packet(&syn.clone().wrong_sum().ttl(3).bytes()).split(" WRONG").next(),
            Some("10.0.0.9 > 10.0.0.100 ttl 3 len 40 TCP 1000 > 80 [S]")
        );
        let error = frame::icmp([10, 0, 0, 100].into(), [10, 0, 0, 9].into(), 3, 3, 0, &syn.quoted(28));
        assert_eq!(
            packet(&error.bytes()),
            "10.0.0.100 > 10.0.0.9 ttl 64 len 56 ICMP 3/3 0x0 {10.0.0.9 > 10.0.0.100 ttl 64 len 40 TCP 1000 > 80}"
        );
    }

    #[test]
    fn packets_of_ipv6_read() {
        let (source, destination) = ("[fd00::9]:1000".parse().unwrap(), "[fd00::100]:80".parse().unwrap());
        let datagram = frame::udp(source, destination);
        assert_eq!(packet(&datagram.bytes()), "fd00::9 > fd00::100 hops 64 len 10 UDP 1000 > 80");
        let init = frame::sctp(source, destination, &[(1, &[0; 16])]);
        assert_eq!(packet(&init.bytes()), "fd00::9 > fd00::100 hops 64 len 32 SCTP 1000 > 80 chunk 1");
        let parts = datagram.length(200).fragments(64);
        assert!(
            packet(&parts[1].bytes()).ends_with("hops 64 len 72 fragment 64+ protocol 17"),
            "{}",
            packet(&parts[1].bytes())
        );
    }
}
