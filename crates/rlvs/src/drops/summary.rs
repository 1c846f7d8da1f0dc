//! One line about the beginning of a frame. Any bytes will do; nothing here panics.

use std::{
    fmt::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// VLAN tags and IPv6 extension headers that are looked through, at most.
const NESTED_MAX: usize = 8;

/// Bytes that are read from front to back.
#[derive(Clone, Copy)]
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn word(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.0 = self.0.get(count..)?;
        Some(())
    }
}

/// What a frame is: addresses, ports, protocol, flags.
pub fn summary(frame: &[u8]) -> String {
    let mut reader = Reader(frame);
    ethernet(&mut reader).unwrap_or_else(|| "a frame cut off in its Ethernet header".to_owned())
}

fn ethernet(reader: &mut Reader<'_>) -> Option<String> {
    reader.skip(12)?;
    let mut kind = reader.word()?;
    for _ in 0..NESTED_MAX {
        if !matches!(kind, 0x8100 | 0x88a8) {
            break;
        }
        reader.skip(2)?;
        kind = reader.word()?;
    }
    Some(match kind {
        0x0800 => ipv4(reader, true).unwrap_or_else(|| "IPv4, cut off in its header".to_owned()),
        0x86dd => ipv6(reader, true).unwrap_or_else(|| "IPv6, cut off in its header".to_owned()),
        0x0806 => "ARP".to_owned(),
        kind => format!("Ethernet type {kind:#06x}"),
    })
}

/// Where a packet comes from and goes to.
#[derive(Clone, Copy)]
struct Ends {
    source: IpAddr,
    destination: IpAddr,
}

impl Ends {
    fn without_ports(self) -> String {
        format!("{} > {}", self.source, self.destination)
    }

    fn with_ports(self, source: u16, destination: u16) -> String {
        let end = |ip, port| std::net::SocketAddr::new(ip, port);
        format!("{} > {}", end(self.source, source), end(self.destination, destination))
    }
}

/// An IPv4 packet. `outer`: whether what it quotes, if it is an ICMP error, is shown as well.
fn ipv4(reader: &mut Reader<'_>, outer: bool) -> Option<String> {
    let version_length = reader.byte()?;
    reader.skip(5)?;
    let fragment = reader.word()?;
    let ttl = reader.byte()?;
    let protocol = reader.byte()?;
    reader.skip(2)?;
    let source = IpAddr::V4(Ipv4Addr::from(reader.take::<4>()?));
    let destination = IpAddr::V4(Ipv4Addr::from(reader.take::<4>()?));
    let ends = Ends { source, destination };
    let options = usize::from(version_length & 15).saturating_sub(5).saturating_mul(4);
    let offset = fragment & 0x1fff;
    let mut text = if offset != 0 || reader.skip(options).is_none() {
        format!("{} protocol {protocol}", ends.without_ports())
    } else {
        transport(reader, ends, protocol, outer)
    };
    // Writing to a String cannot fail.
    let _ = write!(text, " ttl {ttl}");
    if offset != 0 || fragment & 0x2000 != 0 {
        let _ = write!(text, " fragment at {}", u32::from(offset) * 8);
    }
    Some(text)
}

/// As [`ipv4`].
fn ipv6(reader: &mut Reader<'_>, outer: bool) -> Option<String> {
    reader.skip(6)?;
    let mut protocol = reader.byte()?;
    let hops = reader.byte()?;
    let source = IpAddr::V6(Ipv6Addr::from(reader.take::<16>()?));
    let destination = IpAddr::V6(Ipv6Addr::from(reader.take::<16>()?));
    let ends = Ends { source, destination };
    let mut fragment = None;
    for _ in 0..NESTED_MAX {
        // Hop-by-hop, routing, fragment and destination options.
        if !matches!(protocol, 0 | 43 | 44 | 60) {
            break;
        }
        match extension(reader, protocol) {
            Some((next, offset)) => {
                protocol = next;
                fragment = fragment.or(offset);
            }
            None => return Some(format!("{} hlim {hops}, cut off in its headers", ends.without_ports())),
        }
    }
    let mut text = if fragment.is_some_and(|offset| offset != 0) {
        format!("{} protocol {protocol}", ends.without_ports())
    } else {
        transport(reader, ends, protocol, outer)
    };
    let _ = write!(text, " hlim {hops}");
    if let Some(offset) = fragment {
        let _ = write!(text, " fragment at {offset}");
    }
    Some(text)
}

/// Reads over an extension header: what follows it, and the offset in bytes of a fragment.
fn extension(reader: &mut Reader<'_>, protocol: u8) -> Option<(u8, Option<u16>)> {
    let next = reader.byte()?;
    let length = reader.byte()?;
    if protocol == 44 {
        let offset = reader.word()? & !7;
        reader.skip(4)?;
        return Some((next, Some(offset)));
    }
    reader.skip(6 + usize::from(length) * 8)?;
    Some((next, None))
}

fn transport(reader: &mut Reader<'_>, ends: Ends, protocol: u8, outer: bool) -> String {
    let known = match protocol {
        6 => tcp(reader, ends),
        17 => ports(reader, ends, "udp"),
        132 => sctp(reader, ends),
        1 | 58 => icmp(reader, ends, protocol, outer),
        _ => None,
    };
    known.unwrap_or_else(|| format!("{} protocol {protocol}", ends.without_ports()))
}

fn ports(reader: &mut Reader<'_>, ends: Ends, name: &str) -> Option<String> {
    let (source, destination) = (reader.word()?, reader.word()?);
    Some(format!("{} {name}", ends.with_ports(source, destination)))
}

fn tcp(reader: &mut Reader<'_>, ends: Ends) -> Option<String> {
    let mut text = ports(reader, ends, "tcp")?;
    // What an ICMP error quotes may end here.
    if let Some(flags) = reader.skip(9).and_then(|()| reader.byte()) {
        const NAMES: [&str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
        let set: Vec<_> = (0..).zip(NAMES).filter(|(bit, _)| flags & (1 << bit) != 0).map(|(_, name)| name).collect();
        let _ = write!(text, " [{}]", set.join(" "));
    }
    Some(text)
}

fn sctp(reader: &mut Reader<'_>, ends: Ends) -> Option<String> {
    let mut text = ports(reader, ends, "sctp")?;
    if let Some(chunk) = reader.skip(8).and_then(|()| reader.byte()) {
        let name = match chunk {
            0 => "DATA",
            1 => "INIT",
            2 => "INIT ACK",
            3 => "SACK",
            6 => "ABORT",
            7 => "SHUTDOWN",
            8 => "SHUTDOWN ACK",
            9 => "ERROR",
            10 => "COOKIE ECHO",
            11 => "COOKIE ACK",
            14 => "SHUTDOWN COMPLETE",
            _ => "",
        };
        let _ = if name.is_empty() { write!(text, " [chunk {chunk}]") } else { write!(text, " [{name}]") };
    }
    Some(text)
}

fn icmp(reader: &mut Reader<'_>, ends: Ends, protocol: u8, outer: bool) -> Option<String> {
    let (kind, code) = (reader.byte()?, reader.byte()?);
    let name = if protocol == 1 { "icmp" } else { "icmpv6" };
    let mut text = format!("{} {name} {kind}/{code}", ends.without_ports());
    let is_error = if protocol == 1 { matches!(kind, 3 | 4 | 5 | 11 | 12) } else { kind < 128 };
    if is_error && outer && reader.skip(6).is_some() {
        let quoted = if protocol == 1 { ipv4(reader, false) } else { ipv6(reader, false) };
        if let Some(quoted) = quoted {
            let _ = write!(text, " about ({quoted})");
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(kind: u16, rest: &[&[u8]]) -> Vec<u8> {
        let mut frame = vec![2; 12];
        frame.extend(kind.to_be_bytes());
        rest.iter().for_each(|part| frame.extend(*part));
        frame
    }

    /// Header of an IPv4 packet of this protocol, fragment field and number of option words.
    fn ipv4_header(protocol: u8, fragment: u16, options: u8) -> Vec<u8> {
        let [a, b] = fragment.to_be_bytes();
        let mut header = vec![0x45 + options, 0, 0, 60, 0, 1, a, b, 64, protocol, 0, 0, 10, 0, 0, 1, 192, 0, 2, 1];
        header.extend(vec![1; usize::from(options) * 4]);
        header
    }

    fn ipv6_header(protocol: u8) -> Vec<u8> {
        let mut header = vec![0x60, 0, 0, 0, 0, 20, protocol, 63];
        header.extend(Ipv6Addr::LOCALHOST.octets());
        header.extend("2001:db8::5".parse::<Ipv6Addr>().expect("an address").octets());
        header
    }

    /// Ports 1234 and 80, and flags SYN and ACK.
    const TCP: [u8; 20] = [4, 210, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x12, 0, 0, 0, 0, 0, 0];

    #[test]
    fn packets_of_every_kind() {
        let quoted = [ipv4_header(17, 0, 0), vec![0, 53, 4, 210, 0, 8, 0, 0]].concat();
        for (frame, expected) in [
            (frame(0x800, &[&ipv4_header(6, 0, 0), &TCP]), "10.0.0.1:1234 > 192.0.2.1:80 tcp [SYN ACK] ttl 64"),
            (frame(0x800, &[&ipv4_header(6, 0, 3), &TCP]), "10.0.0.1:1234 > 192.0.2.1:80 tcp [SYN ACK] ttl 64"),
            (frame(0x8100, &[&[0, 7, 8, 0], &ipv4_header(17, 0, 0), &TCP]), "10.0.0.1:1234 > 192.0.2.1:80 udp ttl 64"),
            (frame(0x800, &[&ipv4_header(6, 2, 0), &TCP]), "10.0.0.1 > 192.0.2.1 protocol 6 ttl 64 fragment at 16"),
            (
                frame(0x800, &[&ipv4_header(17, 0x2000, 0), &TCP]),
                "10.0.0.1:1234 > 192.0.2.1:80 udp ttl 64 fragment at 0",
            ),
            (
                frame(0x800, &[&ipv4_header(1, 0, 0), &[3, 3, 0, 0, 0, 0, 0, 0], &quoted]),
                "10.0.0.1 > 192.0.2.1 icmp 3/3 about (10.0.0.1:53 > 192.0.2.1:1234 udp ttl 64) ttl 64",
            ),
            (frame(0x800, &[&ipv4_header(47, 0, 0)]), "10.0.0.1 > 192.0.2.1 protocol 47 ttl 64"),
            (
                frame(0x800, &[&ipv4_header(132, 0, 0), &[0, 7, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 1]]),
                "10.0.0.1:7 > 192.0.2.1:9 sctp [INIT] ttl 64",
            ),
            (frame(0x86dd, &[&ipv6_header(6), &TCP]), "[::1]:1234 > [2001:db8::5]:80 tcp [SYN ACK] hlim 63"),
            (
                frame(0x86dd, &[&ipv6_header(44), &[17, 0, 0, 9, 0, 0, 0, 1], &TCP]),
                "::1 > 2001:db8::5 protocol 17 hlim 63 fragment at 8",
            ),
            (
                frame(0x86dd, &[&ipv6_header(60), &[17, 0, 1, 4, 0, 0, 0, 0], &TCP]),
                "[::1]:1234 > [2001:db8::5]:80 udp hlim 63",
            ),
            (frame(0x86dd, &[&ipv6_header(58), &[128, 0, 0, 0]]), "::1 > 2001:db8::5 icmpv6 128/0 hlim 63"),
            (frame(0x806, &[]), "ARP"),
            (frame(0x88cc, &[]), "Ethernet type 0x88cc"),
            (frame(0x800, &[&[0x45]]), "IPv4, cut off in its header"),
            (vec![], "a frame cut off in its Ethernet header"),
        ] {
            assert_eq!(summary(&frame), expected);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_will_do(
            kind in prop_oneof![Just(0x800u16), Just(0x86dd), Just(0x8100), any::<u16>()],
            protocol in prop_oneof![Just(1u8), Just(6), Just(17), Just(44), Just(58), Just(0), any::<u8>()],
            mut rest in proptest::collection::vec(any::<u8>(), 0..120),
        ) {
            // Where both families have their protocol, now and then.
            for at in [6, 9] {
                if let Some(byte) = rest.get_mut(at) {
                    *byte = protocol;
                }
            }
            prop_assert!(!summary(&frame(kind, &[&rest])).is_empty());
            prop_assert!(!summary(&rest).is_empty());
        }
    }
}
