//! ICMP errors about packets that were dropped (RFC 792, RFC 1122 section 3.2.2, RFC 4443): as the kernel would have sent them
//! (forwarding.md section 4).

use std::net::IpAddr;

use rlvs_core::{
    flow::{IP_AT, Ip, Part},
    forward::{ERROR_LEN_MAX_V4, ERROR_LEN_MAX_V6},
    native::{Frame, frames},
    packet::Packet,
    rows::{Handed, family},
    wire::{ethernet, icmp, ipv4, ipv6, protocol},
};
use zerocopy::FromBytes;

const LEN_MAX_V4: usize = ERROR_LEN_MAX_V4 as usize;
const LEN_MAX_V6: usize = ERROR_LEN_MAX_V6 as usize;
/// Hops that an error may live.
const TTL: u8 = 64;
/// Type of service of IPv4 errors: "internetwork control", beside what the packet had.
const TOS: u8 = 0xc0;
/// What an error keeps of the packet's type of service: the bits of RFC 1349, no ECN and no precedence.
const TOS_MASK: u8 = 0x1e;

/// An ICMP error, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// To whom.
    pub to: IpAddr,
    /// ICMP type and code.
    pub kind: (u8, u8),
    /// The whole IP packet.
    pub packet: Vec<u8>,
}

/// The error about the packet in `frame` (which may be cut behind its headers). `None` where there is nobody to tell: RFC 1122
/// section 3.2.2 names errors, later fragments, and packets to or from groups.
pub fn error(handed: &Handed, frame: &[u8]) -> Option<Error> {
    let mut bytes = frame.to_vec();
    let mut packet = Frame { bytes: &mut bytes, for_this_host: true };
    let of = match packet.header::<ethernet::Header>(0)?.ethertype.get() {
        ethernet::TYPE_IPV4 => family::V4,
        ethernet::TYPE_IPV6 => family::V6,
        _ => return None,
    };
    let mut ip = Ip::NONE;
    ip.read(&mut packet, IP_AT, of).ok()?;
    let to = crate::owner::convert::ip(&ip.source, of);
    if ip.part == Part::Later || to.is_unspecified() || to.is_multicast() || is_error(&mut packet, &ip) {
        return None;
    }
    let original = frame.get(IP_AT..)?;
    let mut original = original[..original.len().min(ip.len as usize)].to_vec();
    age(&mut original, of, handed.hops);
    let packet = if of == family::V6 { v6(handed, &ip, &original) } else { v4(handed, &ip, &original) };
    Some(Error { to, kind: (handed.kind, handed.code), packet })
}

/// Takes hops from the quoted packet's life.
fn age(packet: &mut [u8], of: u8, hops: u8) {
    if of == family::V6 {
        packet.get_mut(7).into_iter().for_each(|limit| *limit = limit.saturating_sub(hops));
    } else if let Ok((ip, _)) = ipv4::Header::mut_from_prefix(packet) {
        (0..hops).for_each(|_| ip.decrement_ttl());
    }
}

fn is_error(packet: &mut Frame<'_>, ip: &Ip) -> bool {
    let kind = packet.header::<icmp::Header>(ip.payload_at as usize).map(|icmp| icmp.kind);
    match (ip.protocol, kind) {
        // Echo, timestamp and their answers are no errors.
        (protocol::ICMP, Some(kind)) => !matches!(kind, 0 | 8 | 13 | 14),
        (protocol::ICMPV6, Some(kind)) => kind < icmp::V6_FIRST_INFORMATIONAL,
        (protocol::ICMP | protocol::ICMPV6, None) => true,
        _ => false,
    }
}

fn message(handed: &Handed, original: &[u8], len_max: usize) -> Vec<u8> {
    let mut message = vec![handed.kind, handed.code, 0, 0];
    message.extend(handed.info.to_be_bytes());
    let quoted = original.len().min(len_max - icmp::HEADER_LEN);
    message.extend(&original[..quoted]);
    message
}

fn put_checksum(message: &mut [u8], sum: u16) {
    message[icmp::CHECKSUM_AT..icmp::CHECKSUM_AT + 2].copy_from_slice(&(!sum).to_be_bytes());
}

fn v4(handed: &Handed, ip: &Ip, original: &[u8]) -> Vec<u8> {
    let mut message = message(handed, original, LEN_MAX_V4 - ipv4::HEADER_LEN_MIN);
    let sum = frames::sum(&message);
    put_checksum(&mut message, sum);
    let mut packet = vec![0x45, TOS | (ip.tos & TOS_MASK)];
    packet.extend(((ipv4::HEADER_LEN_MIN + message.len()) as u16).to_be_bytes());
    // The kernel fills in identification and header checksum.
    packet.extend([0, 0, 0, 0, TTL, protocol::ICMP, 0, 0]);
    packet.extend(ip.destination.v4_bytes());
    packet.extend(ip.source.v4_bytes());
    packet.extend(message);
    packet
}

/// A flow label, as the kernel gives packets of its own one (RFC 6437): not 0, and the same for the same error.
fn label(message: &[u8]) -> u32 {
    u32::from(frames::sum(message)).max(1)
}

fn v6(handed: &Handed, ip: &Ip, original: &[u8]) -> Vec<u8> {
    let mut message = message(handed, original, LEN_MAX_V6 - ipv6::HEADER_LEN);
    let (source, destination) = (ip.destination.v6_bytes(), ip.source.v6_bytes());
    let mut pseudo = [source, destination].concat();
    pseudo.extend((message.len() as u32).to_be_bytes());
    pseudo.extend([0, 0, 0, protocol::ICMPV6]);
    let sum = frames::add(frames::sum(&pseudo), frames::sum(&message));
    put_checksum(&mut message, sum);
    let [_, a, b, c] = label(&message).to_be_bytes();
    let mut packet = vec![0x60, a, b, c];
    packet.extend((message.len() as u16).to_be_bytes());
    packet.extend([protocol::ICMPV6, TTL]);
    packet.extend(source);
    packet.extend(destination);
    packet.extend(message);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rlvs_core::native::frames::{Datagram, Transport, received_sums};
    use rlvs_core::rows::task;

    fn handed(kind: u8, code: u8, info: u32) -> Handed {
        let nobody = [0; 6];
        let (source, destination) = (nobody, nobody);
        Handed { task: task::REFUSE, interface: 1, len: 0, info, kind, code, source, destination, hops: 0, reserved: 0 }
    }

    fn datagram(payload: usize) -> Vec<u8> {
        Datagram {
            link_destination: [2; 6],
            link_source: [4; 6],
            ttl: 9,
            source: ([10, 0, 0, 9], 4000),
            destination: ([10, 0, 0, 100], 80),
            options: vec![],
            transport: Transport::Udp,
            payload: vec![7; payload],
        }
        .frame()
    }

    #[test]
    fn an_error_quotes_the_packet_and_sums_up() {
        for payload in [0, 1, 100, 519, 520, 521, 3000] {
            let frame = datagram(payload);
            let error = error(&handed(3, 4, 1480), &frame).expect("an error");
            assert_eq!(error.to, IpAddr::from([10, 0, 0, 9]));
            assert_eq!(error.packet.len(), (28 + frame.len() - IP_AT).min(LEN_MAX_V4));
            assert_eq!(error.packet[20..22], [3, 4]);
            assert_eq!(error.packet[24..28], [0, 0, 5, 200]);
            assert_eq!(frames::sum(&error.packet[20..]), 0xffff);
            assert_eq!(error.packet[12..20], [10, 0, 0, 100, 10, 0, 0, 9]);
            assert!(frame[IP_AT..].starts_with(&error.packet[28..]));
        }
        assert_eq!(received_sums(&datagram(4)).0, 0xffff);
    }

    #[test]
    fn about_an_error_there_is_no_error() {
        let mut frame = datagram(40);
        frame[IP_AT + 9] = protocol::ICMP;
        for (kind, answered) in [(3, false), (11, false), (8, true), (5, false)] {
            frame[IP_AT + 20] = kind;
            assert_eq!(error(&handed(3, 3, 0), &frame).is_some(), answered, "{kind}");
        }
        frame[IP_AT + 9] = protocol::UDP;
        frame[IP_AT + 7] = 1;
        assert_eq!(error(&handed(3, 3, 0), &frame), None, "a later fragment");
    }

    proptest! {
        #[test]
        fn any_bytes_are_borne(bytes in proptest::collection::vec(any::<u8>(), 0..200), v6: bool, kind: u8) {
            let mut frame = bytes;
            if frame.len() > 14 {
                frame[12..14].copy_from_slice(if v6 { &[0x86, 0xdd] } else { &[8, 0] });
                frame[14] = if v6 { 0x60 } else { 0x45 };
            }
            let _ = error(&handed(kind, 0, 0), &frame);
        }
    }
}
