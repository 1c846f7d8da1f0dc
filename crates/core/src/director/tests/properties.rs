//! What holds for packets of every shape: translation there and back, tunnels, ICMP errors, and bytes that are none of these.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::*;
use crate::native::packets::{self, Packet, Transport, crc32c, framed, pseudo};
use crate::native::{every_kind, frames};
use crate::rows::{Forwarding, Setting, method, tunnel};
use crate::wire::{ipv4, ipv6, sctp};

type End = packets::End;

const ENDS: [Mac; 2] = [DIRECTOR, ROUTER];
const SENT: [Mac; 2] = [HOP.destination, HOP.source];

/// A director with one service over one destination, to which packets get by `forwarding`.
fn balancing(protocol: u8, vip: End, real: End, forwarding: Forwarding) -> NativeTables {
    let mut tables = NativeTables::new(1, 1, 1, 4, 100);
    let of = |address: IpAddr| if address.is_ipv6() { family::V6 } else { family::V4 };
    let key = ServiceKey { address: packets::address(vip.0), fwmark: 0, port: vip.1, protocol, family: of(vip.0) };
    tables.service_index.insert(key, 0);
    tables.services[0].scheduler.store(Scheduler::RoundRobin as u32);
    tables.services[0].members.store(Span { base: 0, len: 1 }.pack());
    tables.members[0].weight.store(1);
    let dest = &mut tables.dests[0];
    dest.weight.store(1);
    dest.address = packets::address(real.0);
    (dest.port, dest.family) = (real.1, of(real.0));
    dest.flags.store(dest_flags::AVAILABLE);
    dest.forwarding.store(forwarding.pack());
    dest.tunnel_source.iter().zip(packets::address(director(real.0)).0).for_each(|(cell, word)| cell.store(word));
    tables.router = Box::new(|_, way| {
        (way.hop, way.mtu) = (HOP, 9000);
        Reach::Ready
    });
    tables
}

/// The director's own address of the family of `like`.
fn director(like: IpAddr) -> IpAddr {
    if like.is_ipv6() {
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x99).into()
    } else {
        Ipv4Addr::new(10, 9, 9, 9).into()
    }
}

fn send(tables: &NativeTables, packet: &[u8]) -> (Verdict, Vec<u8>) {
    let mut bytes = framed(ENDS, packet);
    let verdict = run(tables, &mut bytes);
    (verdict, bytes)
}

fn end(v6: bool) -> impl Strategy<Value = End> {
    // Addresses in 127/8 and the like are unusual, not special, to the director. Port 20 is: see "what may open a connection".
    let address = any::<[u8; 16]>().prop_map(move |bytes| {
        let [a, b, c, d, ..] = bytes;
        if v6 { IpAddr::from(bytes) } else { IpAddr::from([a, b, c, d]) }
    });
    (address, 21u16..)
}

fn opening() -> impl Strategy<Value = Transport> {
    let opens =
        [Transport::Tcp(tcp::SYN), Transport::Udp(true), Transport::Udp(false), Transport::Sctp(sctp::chunk::INIT)];
    prop::sample::select(opens.to_vec())
}

/// Options of an IPv4 header, or extension headers of an IPv6 packet up to the transport.
fn options(v6: bool, protocol: u8) -> impl Strategy<Value = Vec<u8>> {
    let words = proptest::collection::vec(any::<[u8; 4]>(), 0..=10);
    (words, 0u8..3).prop_map(move |(words, extensions)| {
        if !v6 {
            return words.concat();
        }
        // Options for every hop, then for the destination: 8 bytes each, all padding (RFC 8200 section 4.2).
        let extension = |next: u8| [next, 0, 1, 4, 0, 0, 0, 0];
        match extensions {
            0 => Vec::new(),
            1 => extension(protocol).to_vec(),
            _ => [extension(ipv6::DESTINATION_OPTIONS), extension(protocol)].concat(),
        }
    })
}

/// A client's first packet, and the real server's address and port.
fn first_and_real() -> impl Strategy<Value = (Packet, End)> {
    let shape = (any::<bool>(), opening(), 2u8.., any::<u8>(), proptest::collection::vec(any::<u8>(), 0..120));
    shape.prop_flat_map(|(v6, transport, ttl, tos, payload)| {
        let ends = (end(v6), end(v6), end(v6), options(v6, transport.protocol()));
        ends.prop_filter("who talks to himself", |(client, vip, real, _)| client != vip && client != real).prop_map(
            move |(client, vip, real, options)| {
                let packet =
                    Packet { ttl, tos, options, payload: payload.clone(), ..Packet::new(client, vip, transport) };
                (packet, real)
            },
        )
    })
}

/// What the director makes of a packet under NAT: other ends, one hop less, and a checksum if it had none.
fn translated(before: &Packet, source: End, destination: End) -> Vec<u8> {
    let transport = match before.transport {
        Transport::Udp(_) => Transport::Udp(true),
        transport => transport,
    };
    let after = Packet { source, destination, transport, ttl: before.ttl - 1, ..before.clone() };
    framed(SENT, &after.bytes())
}

/// By how much the checksum of a frame is wrong: 0 where it is right.
fn transport_error(frame: &[u8], like: &Packet) -> u32 {
    let bytes = &frame[14 + like.transport_at()..];
    let protocol = like.transport.protocol();
    if let Transport::Sctp(_) = like.transport {
        let mut bytes = bytes.to_vec();
        let field = bytes[8..12].try_into().map(u32::from_le_bytes).expect("four bytes");
        bytes[8..12].fill(0);
        return field ^ crc32c(&bytes);
    }
    let ip = &frame[14..];
    let address = |at: usize| match like.source.0 {
        IpAddr::V4(_) => IpAddr::from(<[u8; 4]>::try_from(&ip[12 + at * 4..16 + at * 4]).expect("four bytes")),
        IpAddr::V6(_) => IpAddr::from(<[u8; 16]>::try_from(&ip[8 + at * 16..24 + at * 16]).expect("sixteen bytes")),
    };
    let sum = frames::add(pseudo(address(0), address(1), protocol, bytes.len()), frames::sum(bytes));
    u32::from(!sum) % 0xffff
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// forwarding.md section 3: every byte of what goes out, and the client's own packet with the ends exchanged comes back. The
    /// expected bytes are made anew, so that every checksum (of SCTP the CRC32c) is verified at every step.
    #[test]
    fn nat_there_and_back((first, real) in first_and_real()) {
        let (client, vip) = (first.source, first.destination);
        let tables = balancing(first.transport.protocol(), vip, real, Forwarding::default());
        let (verdict, bytes) = send(&tables, &first.bytes());
        prop_assert_eq!(verdict, Verdict::Forward);
        prop_assert_eq!(&bytes, &translated(&first, client, real));
        prop_assert_eq!(transport_error(&bytes, &first), 0);

        let answer = Packet { source: real, destination: client, ..first.clone() };
        let (verdict, bytes) = send(&tables, &answer.bytes());
        prop_assert_eq!(verdict, Verdict::Forward);
        prop_assert_eq!(&bytes, &translated(&answer, vip, client));
        prop_assert_eq!(transport_error(&bytes, &first), 0);
    }

    /// forwarding.md section 3: a wrong checksum stays wrong, by the same amount. Of SCTP also: the CRC of the difference.
    #[test]
    fn a_wrong_sum_stays_as_wrong((first, real) in first_and_real(), error: [u8; 4]) {
        prop_assume!(first.transport != Transport::Udp(false));
        let tables = balancing(first.transport.protocol(), first.destination, real, Forwarding::default());
        let mut packet = first.bytes();
        let (at, len) = first.checksum_at();
        packet[at..at + len].iter_mut().zip(error).for_each(|(byte, error)| *byte ^= error);
        // An error may turn a UDP checksum into "none".
        prop_assume!(!matches!(first.transport, Transport::Udp(_)) || packet[at..at + len] != [0, 0]);
        let wrong = transport_error(&framed(ENDS, &packet), &first);
        let (verdict, bytes) = send(&tables, &packet);
        prop_assert_eq!(verdict, Verdict::Forward);
        prop_assert_eq!(transport_error(&bytes, &first), wrong);
    }
}

/// What an outer packet carries: the IP packet in it, from first principles.
struct Unwrapped<'f> {
    source: IpAddr,
    destination: IpAddr,
    ttl: u8,
    tos: u8,
    /// IPv4: identification and fragment field.
    id: u16,
    fragment: u16,
    protocol: u8,
    payload: &'f [u8],
}

fn unwrap(packet: &[u8]) -> Unwrapped<'_> {
    let number = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    if packet[0] >> 4 == 4 {
        assert_eq!(packet[0], 0x45, "no options");
        assert_eq!(usize::from(number(2)), packet.len());
        assert_eq!(frames::sum(&packet[..20]), 0xffff, "the header's checksum");
        let address = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&packet[at..at + 4]).expect("four bytes"));
        let (source, destination) = (address(12), address(16));
        let (ttl, tos, protocol) = (packet[8], packet[1], packet[9]);
        let (id, fragment, payload) = (number(4), number(6), &packet[20..]);
        return Unwrapped { source, destination, ttl, tos, id, fragment, protocol, payload };
    }
    assert_eq!(packet[0] >> 4, 6);
    assert_eq!(usize::from(number(4)) + 40, packet.len());
    assert_eq!((packet[1] & 0xf, &packet[2..4]), (0, &[0, 0][..]), "flow label");
    let address = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&packet[at..at + 16]).expect("sixteen bytes"));
    let tos = (packet[0] << 4) | (packet[1] >> 4);
    let (source, destination, ttl, protocol) = (address(8), address(24), packet[7], packet[6]);
    Unwrapped { source, destination, ttl, tos, id: 0, fragment: 0, protocol, payload: &packet[40..] }
}

/// A kind of tunnel and its flags.
fn tunnel_kind() -> impl Strategy<Value = Forwarding> {
    let kinds = [tunnel::IPIP, tunnel::GRE, tunnel::GUE];
    (prop::sample::select(kinds.to_vec()), 0u8..3, 1u16..).prop_map(|(tunnel, tunnel_flags, tunnel_port)| Forwarding {
        method: method::TUNNEL,
        tunnel,
        tunnel_flags,
        tunnel_port,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// forwarding.md section 4, all kinds, both families in both: what is inside is the client's packet one hop older, and all
    /// around it lengths and checksums are right.
    #[test]
    fn tunnels_carry_the_packet(
        (first, _) in first_and_real(),
        real in any::<bool>().prop_flat_map(end),
        forwarding in tunnel_kind(),
        dont_fragment: bool,
        pmtu_disc: bool,
    ) {
        let v6 = first.source.0.is_ipv6();
        let fragment = if dont_fragment { [0x12, 0x34, 0x40, 0] } else { first.id_fragment };
        let first = Packet { id_fragment: fragment, ..first };
        let tables = balancing(first.transport.protocol(), first.destination, real, forwarding);
        tables.config.settings[Setting::PmtuDisc as usize].store(pmtu_disc.into());
        let (verdict, bytes) = send(&tables, &first.bytes());
        prop_assert_eq!(verdict, Verdict::Forward);
        prop_assert_eq!(&bytes[..12], &SENT.concat()[..]);
        prop_assert_eq!(&bytes[12..14], if real.0.is_ipv6() { &[0x86, 0xdd] } else { &[8, 0] });

        let outer = unwrap(&bytes[14..]);
        prop_assert_eq!((outer.source, outer.destination), (director(real.0), real.0));
        prop_assert_eq!(outer.ttl, first.ttl - 1);
        let congested = first.tos & 3 == 3;
        prop_assert_eq!(outer.tos, if congested { first.tos & !3 | 2 } else { first.tos });
        let keeps_whole = dont_fragment && pmtu_disc && !v6 && real.0.is_ipv4();
        prop_assert_eq!(outer.fragment, if keeps_whole { ipv4::DONT_FRAGMENT } else { 0 });
        prop_assert!(!keeps_whole || outer.id == 0);

        let (inner_type, inner_protocol) = if v6 { (0x86dd, 41) } else { (0x0800, 4) };
        let has_sum = forwarding.tunnel_flags != 0;
        let number = |at: usize| u16::from_be_bytes([outer.payload[at], outer.payload[at + 1]]);
        let inner = match forwarding.tunnel {
            tunnel::GRE => {
                prop_assert_eq!((outer.protocol, number(0), number(2)), (47, u16::from(has_sum) << 15, inner_type));
                if has_sum {
                    prop_assert_eq!(number(6), 0);
                    prop_assert_eq!(frames::sum(outer.payload), 0xffff);
                }
                &outer.payload[if has_sum { 8 } else { 4 }..]
            }
            tunnel::GUE => {
                prop_assert_eq!((outer.protocol, number(2)), (17, forwarding.tunnel_port));
                prop_assert!((32768..=60999).contains(&number(0)));
                prop_assert_eq!(usize::from(number(4)), outer.payload.len());
                prop_assert_eq!(&outer.payload[8..12], &[0, inner_protocol, 0, 0]);
                let sum = frames::add(
                    pseudo(outer.source, outer.destination, 17, outer.payload.len()),
                    frames::sum(outer.payload),
                );
                prop_assert_eq!(number(6) != 0, has_sum);
                prop_assert!(!has_sum || sum == 0xffff);
                &outer.payload[12..]
            }
            _ => {
                prop_assert_eq!(outer.protocol, inner_protocol);
                outer.payload
            }
        };
        let inside = Packet { ttl: first.ttl - 1, ..first };
        prop_assert_eq!(inner, &inside.bytes()[..]);
    }
}

/// What an error quotes of a packet whose ends were rewritten: all of it is as if it had been sent so, but the transport checksum
/// is not touched (forwarding.md section 5).
fn quoted(original: &Packet, source: End, destination: End) -> Vec<u8> {
    let mut bytes = Packet { source, destination, ..original.clone() }.bytes();
    let (at, len) = original.checksum_at();
    bytes[at..at + len].copy_from_slice(&original.bytes()[at..at + len]);
    bytes
}

/// Types and codes of errors that are treated.
fn what(v6: bool) -> impl Strategy<Value = (u8, u8)> {
    let kinds = if v6 { (1..=127).collect() } else { std::vec![3, 4, 11] };
    (prop::sample::select(kinds), any::<u8>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// forwarding.md section 5, NAT, both directions: from anybody on the way about a packet of a connection.
    #[test]
    fn errors_are_translated(
        (((first, real), router), (what, keep)) in first_and_real().prop_flat_map(|(first, real)| {
            let v6 = first.source.0.is_ipv6();
            ((Just((first, real)), end(v6)), (what(v6), 8usize..200))
        }),
        ttl in 2u8..,
    ) {
        let (client, vip) = (first.source, first.destination);
        let tables = balancing(first.transport.protocol(), vip, real, Forwarding::default());
        prop_assert_eq!(send(&tables, &first.bytes()).0, Verdict::Forward);
        let before = (tables.conns[0].life.load(), tables.stats.borrow()[0]);
        let cut = |mut packet: Vec<u8>| {
            packet.truncate(first.transport_at() + keep);
            packet
        };

        // The real server's side about what the client sent.
        let sent = Packet { source: client, destination: real, ..first.clone() };
        let error = packets::error(router.0, client.0, ttl, what, &cut(sent.bytes()));
        let (verdict, bytes) = send(&tables, &error);
        prop_assert_eq!(verdict, Verdict::Forward);
        let expected = packets::error(vip.0, client.0, ttl - 1, what, &cut(quoted(&sent, client, vip)));
        prop_assert_eq!(&bytes, &framed(SENT, &expected));

        // The client's side about what the real server answered.
        let answer = Packet { source: vip, destination: client, ..first.clone() };
        let error = packets::error(router.0, vip.0, ttl, what, &cut(answer.bytes()));
        let (verdict, bytes) = send(&tables, &error);
        prop_assert_eq!(verdict, Verdict::Forward);
        let expected = packets::error(router.0, real.0, ttl - 1, what, &cut(quoted(&answer, real, client)));
        prop_assert_eq!(&bytes, &framed(SENT, &expected));

        // Counted, but the connection is not refreshed.
        let stats = tables.stats.borrow()[0];
        prop_assert_eq!(tables.conns[0].life.load(), before.0);
        prop_assert_eq!((stats.in_packets, stats.out_packets), (before.1.in_packets + 1, before.1.out_packets + 1));

        // A wrong checksum is dropped.
        let mut error = packets::error(router.0, vip.0, ttl, what, &cut(answer.bytes()));
        let at = if client.0.is_ipv6() { 40 } else { 20 };
        error[at + 2] ^= 0x55;
        prop_assert_eq!(send(&tables, &error).0, Verdict::DropBadChecksum);
    }

    /// forwarding.md section 5: under direct routing the error goes to the real server unchanged but for its age.
    #[test]
    fn errors_are_routed((first, real) in first_and_real(), ttl in 2u8..) {
        let (client, vip) = (first.source, first.destination);
        let forwarding = Forwarding { method: method::DIRECT, ..Forwarding::default() };
        let tables = balancing(first.transport.protocol(), vip, real, forwarding);
        let (verdict, bytes) = send(&tables, &first.bytes());
        prop_assert_eq!(verdict, Verdict::Forward);
        prop_assert_eq!(bytes, framed(SENT, &Packet { ttl: first.ttl - 1, ..first.clone() }.bytes()));
        let answer = Packet { source: vip, destination: client, ..first }.bytes();
        let what = if client.0.is_ipv6() { (1, 4) } else { (3, 3) };
        let (verdict, bytes) = send(&tables, &packets::error(client.0, vip.0, ttl, what, &answer));
        prop_assert_eq!(verdict, Verdict::Forward);
        prop_assert_eq!(bytes, framed(SENT, &packets::error(client.0, vip.0, ttl - 1, what, &answer)));
    }
}

/// A packet for one of [`every_kind`]'s services, its first or a later one, or an error about one.
fn packet_for_some_service() -> impl Strategy<Value = Vec<u8>> {
    let shape = (0..every_kind::SERVICES, 0u8..4, any::<u8>(), any::<[u8; 4]>());
    let bytes = (proptest::collection::vec(any::<u8>(), 0..1800), any::<bool>());
    (shape, bytes).prop_map(|((service, client, flags, id_fragment), (payload, is_error))| {
        let (kind, v6) = every_kind::kind_of(service);
        let transport = match kind.protocol {
            protocol::TCP => Transport::Tcp(flags),
            protocol::UDP => Transport::Udp(flags & 1 != 0),
            _ => Transport::Sctp(flags % 16),
        };
        let vip = every_kind::virtual_end(service);
        let client = (every_kind::host(v6, 3, client), 5000);
        if is_error {
            let answer = Packet { payload, ..Packet::new(vip, client, transport) };
            return packets::error(client.0, vip.0, 9, if v6 { (1, 4) } else { (3, 4) }, &answer.bytes());
        }
        let id_fragment = if flags & 0xc0 == 0 { id_fragment } else { [0, 1, 0x40, 0] };
        Packet { payload, id_fragment, ..Packet::new(client, vip, transport) }.bytes()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Any bytes: random ones, and packets for services of every kind with some bytes changed and an end cut off. What passes or is
    /// dropped is left alone.
    #[test]
    fn no_bytes_harm_any_kind_of_service(
        packets in proptest::collection::vec((packet_for_some_service(), any::<prop::sample::Index>()), 1..5),
        changes in proptest::collection::vec((0usize..120, any::<u8>()), 0..4),
        noise in proptest::collection::vec(any::<u8>(), 0..=2000),
        for_this_host: bool,
    ) {
        let tables = every_kind::tables(8);
        tables.config.settings[Setting::ScheduleIcmp as usize].store(u32::from(for_this_host));
        let mut all: Vec<Vec<u8>> = packets.iter().map(|(packet, _)| framed(ENDS, packet)).collect();
        for ((_, end), at) in packets.iter().zip(0..) {
            let mut frame = all[at].clone();
            for (at, byte) in &changes {
                if let Some(place) = frame.get_mut(*at) {
                    *place = *byte;
                }
            }
            all.push(frame.clone());
            frame.truncate(end.index(frame.len()));
            all.push(frame);
        }
        all.push(noise);
        for frame in all {
            let mut bytes = frame.clone();
            let (verdict, _) = decide(&tables, &mut bytes, for_this_host, NOW);
            // Where a header that has to be rewritten is out of reach, it is noticed late.
            if (verdict.is_pass() || verdict.is_drop()) && verdict != Verdict::DropUnwritable {
                prop_assert_eq!(bytes, frame, "{:?}", verdict);
            }
        }
    }
}
