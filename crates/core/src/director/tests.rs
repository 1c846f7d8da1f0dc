//! The director as a whole: frames in, frames and verdicts out.

mod properties;

use proptest::prelude::*;
use std::boxed::Box;
use std::vec::Vec;

use super::*;
use crate::conn::state::tcp as state;
use crate::forward::next_hop::{NextHop, Reach, RouteQuery, Unresolved, Way};
use crate::native::frames::{Datagram, End, Transport, received_sums};
use crate::native::{Frame, NativeTables, Router};
use crate::rows::{Address, ServiceKey, Span, dest_flags, family};
use crate::sched::{Scheduler, wrr};
use crate::verdict::Refusal;
use crate::wire::{ethernet::Mac, icmp, protocol, tcp};

const NOW: u64 = 5_000_000;
const DIRECTOR: Mac = [2, 0, 0, 0, 0, 1];
const ROUTER: Mac = [2, 0, 0, 0, 0, 9];
const CLIENT: End = ([10, 0, 0, 7], 40_007);
const VIP: End = ([172, 16, 0, 1], 80);
const REAL: End = ([192, 168, 1, 2], 8080);
/// A way out has this destination address, whatever the route.
const HOP: NextHop = NextHop { interface: 7, source: [2, 0, 0, 0, 1, 1], destination: [2, 0, 0, 0, 1, 2] };

/// A director with the service [`VIP`], TCP and UDP, over the one destination [`REAL`].
fn director() -> NativeTables {
    let mut tables = NativeTables::new(2, 1, 1, 8, 100);
    for (id, protocol) in [(0, protocol::TCP), (1, protocol::UDP)] {
        let key = ServiceKey { address: Address::v4(VIP.0), fwmark: 0, port: VIP.1, protocol, family: family::V4 };
        tables.service_index.insert(key, id);
        tables.services[id as usize].scheduler.store(Scheduler::RoundRobin as u32);
        tables.services[id as usize].members.store(Span { base: 0, len: 1 }.pack());
    }
    tables.members[0].weight.store(1);
    let dest = &mut tables.dests[0];
    dest.address = Address::v4(REAL.0);
    dest.port = REAL.1;
    dest.family = family::V4;
    dest.flags.store(dest_flags::AVAILABLE);
    dest.weight.store(1);
    tables.router = ready();
    tables
}

/// Every way leads to [`HOP`].
fn ready() -> Router {
    Box::new(|_: &RouteQuery, way: &mut Way| {
        (way.hop, way.mtu) = (HOP, 1500);
        Reach::Ready
    })
}

/// The verdict on a frame, and what stands in the packet's scratch row afterwards.
fn decide(tables: &NativeTables, bytes: &mut Vec<u8>, for_this_host: bool, now: u64) -> (Verdict, Scratch) {
    let mut scratch = Scratch::NEW;
    let verdict = direct(&mut Frame { bytes, for_this_host }, tables, &mut scratch, now);
    (verdict, scratch)
}

fn run(tables: &NativeTables, bytes: &mut Vec<u8>) -> Verdict {
    let (verdict, scratch) = decide(tables, bytes, true, NOW);
    if verdict == Verdict::Forward {
        assert_eq!((scratch.way.hop, scratch.way.resolved), (HOP, true));
    }
    verdict
}

fn datagram(source: End, destination: End, transport: Transport) -> Datagram {
    Datagram {
        link_destination: DIRECTOR,
        link_source: ROUTER,
        ttl: 64,
        source,
        destination,
        options: Vec::new(),
        transport,
        payload: Vec::new(),
    }
}

fn syn() -> Datagram {
    datagram(CLIENT, VIP, Transport::Tcp(tcp::SYN, Vec::new()))
}

/// What the director makes of a datagram on its way from `source` to `destination`.
fn forwarded(before: &Datagram, source: End, destination: End) -> Datagram {
    let ttl = before.ttl - 1;
    let (link_destination, link_source) = (HOP.destination, HOP.source);
    // A datagram without a checksum gets one (forwarding.md section 3).
    let transport = match &before.transport {
        Transport::UdpUnsummed => Transport::Udp,
        transport => transport.clone(),
    };
    Datagram { link_destination, link_source, ttl, source, destination, transport, ..before.clone() }
}

mod verdicts {
    use super::*;

    /// Checks the verdict on a frame, and that the frame is left alone where it is not sent.
    fn expect(tables: &NativeTables, frame: &[u8], for_this_host: bool, verdict: Verdict) {
        expect_refusal(tables, frame, for_this_host, verdict, Refusal::default());
    }

    /// The same for a packet whose sender is told why.
    fn expect_refusal(tables: &NativeTables, frame: &[u8], for_this_host: bool, verdict: Verdict, refusal: Refusal) {
        let mut bytes = frame.to_vec();
        let (got, scratch) = decide(tables, &mut bytes, for_this_host, NOW);
        assert_eq!(got, verdict);
        let said = scratch.refusal;
        assert_eq!((said.kind, said.code), (refusal.kind, refusal.code), "{verdict:?}");
        assert_eq!(bytes, frame, "{verdict:?} must leave the frame alone");
    }

    fn unreachable(code: u8) -> Refusal {
        Refusal { kind: icmp::UNREACHABLE, code, ..Refusal::default() }
    }

    fn expect_pass(frame: &[u8], verdict: Verdict) {
        let tables = director();
        expect(&tables, frame, true, verdict);
        assert!(tables.flows.borrow().is_empty());
    }

    #[test]
    fn other_ethertypes_pass() {
        for ethertype in [0x0806u16, 0x8100, 0x0600, 0x0000] {
            let mut frame = syn().frame();
            frame[12..14].copy_from_slice(&ethertype.to_be_bytes());
            expect_pass(&frame, Verdict::PassNotIp);
        }
    }

    #[test]
    fn a_frame_cut_anywhere_in_its_headers_passes() {
        let frame = syn().frame();
        for len in 0..frame.len() {
            expect_pass(&frame[..len], Verdict::PassMalformed);
        }
    }

    #[test]
    fn lengths_that_do_not_fit_pass() {
        let frame = syn().frame();
        // Version, header length below 5 words, header longer than the packet, total length too long and too short.
        for (at, byte) in [(14, 0x65), (14, 0x44), (14, 0x4f), (17, 41), (17, 39), (17, 19), (16, 1)] {
            let mut frame = frame.clone();
            frame[at] = byte;
            expect_pass(&frame, Verdict::PassMalformed);
        }
    }

    /// A header of the one version under the type of the other.
    #[test]
    fn a_version_under_the_wrong_type_passes() {
        let mut frame = syn().frame();
        frame[12..14].copy_from_slice(&0x86ddu16.to_be_bytes());
        expect_pass(&frame, Verdict::PassMalformed);
    }

    /// The fragment with these flags and offset of [`syn`].
    fn fragment(bits: u16) -> Vec<u8> {
        let mut frame = syn().frame();
        frame[20..22].copy_from_slice(&bits.to_be_bytes());
        frame
    }

    /// forwarding.md section 4, "lone later fragments: never matched on their own".
    #[test]
    fn fragments_of_nobody_pass_or_wait() {
        for bits in [0x0001, 0x1fff, 0x2001] {
            expect_pass(&fragment(bits), Verdict::PassFragment);
            for address in [VIP.0, CLIENT.0] {
                let mut tables = director();
                tables.balanced.insert(Address::v4(address));
                expect(&tables, &fragment(bits), true, Verdict::Hold);
            }
        }
    }

    /// Sections 3 and 4: a datagram's later fragments go where its first one went, and are the same packet to the counters.
    #[test]
    fn fragments_follow_the_first() {
        for first in [0x2000, 0x6000] {
            let tables = director();
            assert_eq!(run(&tables, &mut fragment(first)), Verdict::Forward);
            let life = tables.conns[0].life.load();
            let mut bytes = fragment(0x0005);
            assert_eq!(run(&tables, &mut bytes), Verdict::Forward);
            assert_eq!((&bytes[30..34], bytes[22]), (&REAL.0[..], 63));
            assert_eq!(&bytes[34..], &fragment(0x0005)[34..], "no transport header in it");
            assert_eq!((tables.conns[0].life.load(), tables.conns[0].in_packets.load()), (life, 1));
            let stats = tables.stats.borrow()[0];
            assert_eq!((stats.in_packets, stats.in_bytes), (1, 40 + 20));
        }
    }

    /// AH and ESP have no ports: they ride on the connection of their key exchange and never open one. SCTP has no service here.
    #[test]
    fn other_protocols_pass() {
        let balanced = [protocol::TCP, protocol::UDP, protocol::SCTP, protocol::AH, protocol::ESP];
        for protocol in 0..=255 {
            let mut frame = syn().frame();
            frame[23] = protocol;
            match protocol {
                protocol::TCP | protocol::UDP => {}
                _ if balanced.contains(&protocol) => expect_pass(&frame, Verdict::PassNoService),
                _ => expect_pass(&frame, Verdict::PassOtherProtocol),
            }
        }
    }

    #[test]
    fn frames_for_other_hosts_pass() {
        expect(&director(), &syn().frame(), false, Verdict::PassNotForThisHost);
    }

    #[test]
    fn what_no_service_wants_passes() {
        for destination in [(VIP.0, 81), ([172, 16, 0, 2], 80), REAL] {
            let datagram = Datagram { destination, ..syn() };
            expect_pass(&datagram.frame(), Verdict::PassNoService);
        }
    }

    /// connections.md section 3.
    #[test]
    fn what_may_not_open_a_connection_passes() {
        let flags = [0, tcp::ACK, tcp::FIN, tcp::FIN | tcp::ACK, tcp::RST, tcp::RST | tcp::SYN, 0x28];
        for flags in flags {
            expect_pass(&datagram(CLIENT, VIP, Transport::Tcp(flags, Vec::new())).frame(), Verdict::PassNotScheduled);
        }
        for transport in [Transport::Tcp(tcp::SYN, Vec::new()), Transport::Udp] {
            expect_pass(&datagram((CLIENT.0, 20), VIP, transport).frame(), Verdict::PassNotScheduled);
        }
    }

    #[test]
    fn what_may_open_a_connection_does() {
        let syns = [tcp::SYN, tcp::SYN | tcp::ACK, tcp::SYN | tcp::FIN, tcp::SYN | 0xc8];
        let transports = syns.into_iter().map(|flags| Transport::Tcp(flags, Vec::new()));
        for transport in transports.chain([Transport::Udp, Transport::UdpUnsummed]) {
            let tables = director();
            assert_eq!(run(&tables, &mut datagram(CLIENT, VIP, transport).frame()), Verdict::Forward);
            assert_eq!(tables.flows.borrow().len(), 2);
        }
    }

    #[test]
    fn nobody_to_take_it_drops_it() {
        let tables = director();
        tables.members[0].weight.store(0);
        let refusal = unreachable(icmp::PORT_UNREACHABLE);
        expect_refusal(&tables, &syn().frame(), true, Verdict::DropNoDestination, refusal);
        assert_eq!((tables.dests[0].counts.load(), tables.cursor.conns_used.load()), (0, 0));
    }

    #[test]
    fn a_full_table_drops_it() {
        let tables = director();
        let from = |port| Datagram { source: (CLIENT.0, port), ..syn() }.frame();
        (1000..1008).for_each(|port| assert_eq!(run(&tables, &mut from(port)), Verdict::Forward));
        expect(&tables, &from(1008), true, Verdict::DropTableFull);
        assert_eq!(tables.stats.borrow()[0].conns, 8);
    }

    /// connections.md section 5: requests of a removed destination are dropped and refresh nothing; replies go out, and
    /// are counted no more.
    #[test]
    fn a_removed_destination_answers_but_is_not_asked() {
        let tables = director();
        assert_eq!(run(&tables, &mut syn().frame()), Verdict::Forward);
        tables.dests[0].flags.store(0);
        let (life, stats) = (tables.conns[0].life.load(), tables.stats.borrow()[0]);
        expect(&tables, &syn().frame(), true, Verdict::DropDestinationRemoved);
        assert_eq!(tables.conns[0].life.load(), life);
        let reply = datagram(REAL, CLIENT, Transport::Tcp(tcp::RST, Vec::new()));
        let mut bytes = reply.frame();
        assert_eq!(run(&tables, &mut bytes), Verdict::Forward);
        assert_eq!(bytes, forwarded(&reply, VIP, CLIENT).frame());
        assert_eq!(tables.conns[0].life().state, state::CLOSE);
        assert_eq!(tables.stats.borrow()[0], stats);
    }

    /// connections.md section 5: what is rejected on its way out has been counted and has moved the state.
    #[test]
    fn without_a_way_out_it_is_dropped_after_being_counted() {
        for (reach, verdict, refusal) in [
            (Reach::NoRoute, Verdict::DropNoRoute, unreachable(icmp::HOST_UNREACHABLE)),
            (Reach::ForwardingDisabled, Verdict::DropForwardingDisabled, Refusal::default()),
        ] {
            let mut tables = director();
            tables.router = Box::new(move |_, _| reach);
            expect_refusal(&tables, &syn().frame(), true, verdict, refusal);
            let stats = tables.stats.borrow()[0];
            assert_eq!((stats.conns, stats.in_packets, stats.in_bytes), (1, 1, 40));
            assert_eq!(tables.conns[0].life().state, state::SYN_RECV);
        }
    }

    #[test]
    fn a_packet_at_its_last_hop_is_dropped() {
        for ttl in [0, 1] {
            let refusal = Refusal { kind: icmp::TIME_EXCEEDED, ..Refusal::default() };
            expect_refusal(&director(), &Datagram { ttl, ..syn() }.frame(), true, Verdict::DropTtlExpired, refusal);
        }
    }

    /// All but the Ethernet header is rewritten: the kernel's neighbour table adds that.
    #[test]
    fn an_unknown_neighbour_is_to_be_asked() {
        let neighbour = Address::v4([192, 168, 1, 254]);
        let unresolved = Unresolved { interface: 3, family: family::V4.into(), neighbour };
        let mut tables = director();
        tables.router = Box::new(move |_, way| {
            (way.unresolved, way.mtu) = (unresolved, 1500);
            Reach::Unresolved
        });
        let before = syn();
        let mut bytes = before.frame();
        let (verdict, scratch) = decide(&tables, &mut bytes, true, NOW);
        assert_eq!((verdict, scratch.way.unresolved), (Verdict::Resolve, unresolved));
        let after = Datagram { link_destination: DIRECTOR, link_source: ROUTER, ..forwarded(&before, CLIENT, REAL) };
        assert_eq!(bytes, after.frame());
        // Nothing is remembered of it: the next packet asks again.
        tables.router = ready();
        assert_eq!(run(&tables, &mut before.frame()), Verdict::Forward);
    }

    /// The way is asked for once, with the addresses that the packet will carry, and again in another epoch or after a while.
    #[test]
    fn a_way_out_is_remembered_for_an_epoch() {
        use core::cell::Cell;
        use std::rc::Rc;

        let asked = Rc::new(Cell::new(0));
        let mut tables = director();
        let counter = Rc::clone(&asked);
        let way_out = ready();
        tables.router = Box::new(move |query, way| {
            counter.set(counter.get() + 1);
            let (from, to) = (Address::v4(CLIENT.0), Address::v4(REAL.0));
            assert_eq!(*query, RouteQuery { from, to, family: family::V4, protocol: protocol::TCP });
            way_out(query, way)
        });
        let at = |now| {
            assert_eq!(decide(&tables, &mut syn().frame(), true, now).0, Verdict::Forward);
            asked.get()
        };
        assert_eq!([at(NOW), at(NOW), at(NOW + 1000)], [1, 1, 1]);
        assert_eq!(at(NOW + 1001), 2, "older than 10 s");
        tables.config.epoch.store(2);
        assert_eq!([at(NOW + 1001), at(NOW + 1001)], [3, 3]);
    }

    /// A client that comes back when its connection's time is over, swept or not, opens another one in its place; a reply opens
    /// nothing and leaves the tidying to others.
    #[test]
    fn what_is_over_makes_way() {
        let tables = director();
        assert_eq!(run(&tables, &mut syn().frame()), Verdict::Forward);
        let over = NOW + 60 * 100; // SYN_RECV
        let reply = datagram(REAL, CLIENT, Transport::Tcp(tcp::SYN | tcp::ACK, Vec::new())).frame();
        assert_eq!(decide(&tables, &mut reply.clone(), true, over).0, Verdict::PassNoService);
        assert_eq!((tables.dests[0].counts.load(), tables.flows.borrow().len()), (1, 2));

        let ack = datagram(CLIENT, VIP, Transport::Tcp(tcp::ACK, Vec::new())).frame();
        assert_eq!(decide(&tables, &mut ack.clone(), true, over).0, Verdict::PassNotScheduled);
        assert_eq!((tables.dests[0].counts.load(), tables.flows.borrow().len()), (0, 0));
        assert_eq!(tables.conns[0].life.load(), conn::Life::RETIRED);
        assert_eq!(tables.conns[0].retired_at.load(), over as u32);

        assert_eq!(decide(&tables, &mut syn().frame(), true, over).0, Verdict::Forward);
        assert_eq!((tables.dests[0].counts.load(), tables.flows.borrow().len()), (1, 2));
    }

    /// Packets of a connection need no service, and a port that the destination leaves open is the service's.
    #[test]
    fn a_destination_without_a_port_gets_the_services() {
        let mut tables = director();
        tables.dests[0].port = 0;
        let mut bytes = syn().frame();
        assert_eq!(run(&tables, &mut bytes), Verdict::Forward);
        assert_eq!(bytes, forwarded(&syn(), CLIENT, (REAL.0, VIP.1)).frame());
        tables.service_index.clear();
        let ack = datagram(CLIENT, VIP, Transport::Tcp(tcp::ACK, Vec::new()));
        assert_eq!(run(&tables, &mut ack.frame()), Verdict::Forward);
    }
}

fn transport() -> impl Strategy<Value = Transport> {
    let options = proptest::collection::vec(any::<[u8; 4]>(), 0..=10).prop_map(|words| words.concat());
    prop_oneof![
        options.prop_map(|options| Transport::Tcp(tcp::SYN, options)),
        Just(Transport::Udp),
        Just(Transport::UdpUnsummed),
    ]
}

/// A client's first packet: any client, options of every length, even and odd payloads.
fn first_packet() -> impl Strategy<Value = Datagram> {
    let options = proptest::collection::vec(any::<[u8; 4]>(), 0..=10).prop_map(|words| words.concat());
    let payload = proptest::collection::vec(any::<u8>(), 0..120);
    let client = (any::<[u8; 4]>(), 21u16..);
    (client, 2u8.., options, transport(), payload).prop_map(|(client, ttl, options, transport, payload)| Datagram {
        ttl,
        options,
        payload,
        ..datagram(client, VIP, transport)
    })
}

/// Where the transport checksum of a frame stands.
fn checksum_at(datagram: &Datagram) -> usize {
    let transport_at = 34 + datagram.options.len();
    transport_at + if let Transport::Tcp(..) = datagram.transport { 16 } else { 6 }
}

/// Adds `error` to a checksum field.
fn spoil(frame: &mut [u8], at: usize, error: u16) {
    let field = u16::from_be_bytes([frame[at], frame[at + 1]]);
    frame[at..at + 2].copy_from_slice(&field.wrapping_add(error).to_be_bytes());
}

/// The same number in ones' complement, where 0 and 0xffff are one.
fn same(a: u16, b: u16) -> bool {
    a % 0xffff == b % 0xffff
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Every byte of what goes out: addresses, ports, time to live, both checksums, and nothing else.
    #[test]
    fn nat_rewrites_there_and_back(first in first_packet(), answer in proptest::collection::vec(any::<u8>(), 0..120)) {
        let tables = director();
        let (client, mut bytes) = (first.source, first.frame());
        prop_assert_eq!(run(&tables, &mut bytes), Verdict::Forward);
        prop_assert_eq!(&bytes, &forwarded(&first, client, REAL).frame());

        let answer = Datagram { source: REAL, destination: client, payload: answer, ..first };
        let mut bytes = answer.frame();
        prop_assert_eq!(run(&tables, &mut bytes), Verdict::Forward);
        prop_assert_eq!(&bytes, &forwarded(&answer, VIP, client).frame());
    }

    /// forwarding.md section 3: an incremental update, so a wrong checksum stays wrong, by the same amount.
    #[test]
    fn a_wrong_checksum_stays_as_wrong(first in first_packet(), ip_error: u16, transport_error: u16) {
        let unsummed = matches!(first.transport, Transport::UdpUnsummed);
        let mut bytes = first.frame();
        spoil(&mut bytes, 24, ip_error);
        spoil(&mut bytes, checksum_at(&first), if unsummed { 0 } else { transport_error });
        let at = checksum_at(&first);
        // An error may turn a UDP checksum into "none"; that case is another one.
        prop_assume!(unsummed || bytes[at..at + 2] != [0, 0]);
        let before = received_sums(&bytes);
        prop_assert_eq!(run(&director(), &mut bytes), Verdict::Forward);
        let after = received_sums(&bytes);
        prop_assert!(same(before.0, after.0), "IP: {:?} {:?}", before, after);
        if unsummed {
            prop_assert_eq!(after.1, 0xffff);
        } else {
            prop_assert!(same(before.1, after.1), "transport: {:?} {:?}", before, after);
            prop_assert!(matches!(first.transport, Transport::Tcp(..)) || bytes[at..at + 2] != [0, 0]);
        }
    }

    /// Bytes of any length, most of them made to look like packets for the service or of its connection.
    #[test]
    fn no_bytes_do_harm(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..=2000),
        looks in 0u8..6,
        shape: [u8; 4],
        for_this_host: bool,
        established: bool,
    ) {
        let tables = director();
        if established {
            prop_assert_eq!(run(&tables, &mut syn().frame()), Verdict::Forward);
        }
        disguise(&mut bytes, looks, shape);
        let before = bytes.clone();
        let (verdict, _) = decide(&tables, &mut bytes, for_this_host, NOW);
        if !matches!(verdict, Verdict::Forward | Verdict::Fragment) {
            prop_assert_eq!(bytes, before, "{:?}", verdict);
        }
    }
}

/// RFC 768: a UDP sum that comes out as 0 is written as 0xffff, as 0 means "none"; TCP has no such rule.
#[test]
fn a_sum_of_zero_is_written_as_each_protocol_wants_it() {
    for (transport, written) in [(Transport::Udp, [0xff, 0xff]), (Transport::Tcp(tcp::SYN, Vec::new()), [0, 0])] {
        let without = Datagram { payload: std::vec![0, 0], ..datagram(CLIENT, VIP, transport) };
        let at = checksum_at(&without);
        // A payload equal to the checksum that goes out without it completes that sum to 0.
        let checksum = forwarded(&without, CLIENT, REAL).frame()[at..at + 2].to_vec();
        let first = Datagram { payload: checksum, ..without };
        let mut bytes = first.frame();
        assert_eq!(run(&director(), &mut bytes), Verdict::Forward);
        assert_eq!(bytes[at..at + 2], written);
        assert_eq!(bytes, forwarded(&first, CLIENT, REAL).frame());
    }
}

/// Makes random bytes look like IPv4, the more the higher `looks` is: ethertype, header and total length, protocol,
/// destination and ports. `shape` decides what is free.
fn disguise(bytes: &mut [u8], looks: u8, shape: [u8; 4]) {
    let mut put = |at: usize, what: &[u8]| {
        if let Some(place) = bytes.get_mut(at..at + what.len()) {
            place.copy_from_slice(what);
        }
    };
    let header_words = shape[0] % 16;
    if looks >= 1 {
        put(12, &[8, 0]);
    }
    if looks >= 2 {
        put(14, &[0x40 | header_words]);
        put(20, &[0, 0]);
    }
    if looks >= 3 {
        put(16, &[shape[1] % 8, shape[2]]);
        put(23, &[if shape[3] & 1 == 0 { protocol::TCP } else { protocol::UDP }]);
    }
    if looks >= 4 {
        put(26, &CLIENT.0);
        put(30, &VIP.0);
        put(14 + usize::from(header_words) * 4, &CLIENT.1.to_be_bytes());
        put(16 + usize::from(header_words) * 4, &VIP.1.to_be_bytes());
    }
    if looks >= 5 && bytes.len() >= 34 {
        let len = (bytes.len() - 14) as u16;
        bytes[16..18].copy_from_slice(&len.to_be_bytes());
    }
}

/// The schedulers' words in a service row are what the daemon computes: a service made of two destinations is served in
/// wrr's order through whole packets.
#[test]
fn clients_are_spread_in_the_schedulers_order() {
    let mut tables = NativeTables::new(1, 2, 2, 16, 100);
    let key =
        ServiceKey { address: Address::v4(VIP.0), fwmark: 0, port: VIP.1, protocol: protocol::TCP, family: family::V4 };
    tables.service_index.insert(key, 0);
    tables.router = ready();
    // The newest stands first: 192.168.1.3 with weight 3, then 192.168.1.2 with weight 2.
    for (place, (last, weight)) in [(3, 3), (2, 2)].into_iter().enumerate() {
        tables.dests[place].address = Address::v4([192, 168, 1, last]);
        tables.dests[place].flags.store(dest_flags::AVAILABLE);
        tables.members[place].dest.store(place as u32);
        tables.members[place].weight.store(weight);
    }
    let service = &tables.services[0];
    let config = wrr::Config::of([3, 2].into_iter());
    service.scheduler.store(Scheduler::WeightedRoundRobin as u32);
    service.members.store(Span { base: 0, len: 2 }.pack());
    service.sched_config.store(config.pack());
    service.sched_state.store(config.state_after_edit(1));
    let order: Vec<u8> = (0..10)
        .map(|client| {
            let mut bytes = Datagram { source: ([10, 0, 0, client], 5000), ..syn() }.frame();
            assert_eq!(run(&tables, &mut bytes), Verdict::Forward);
            bytes[33]
        })
        .collect();
    assert_eq!(order, [3, 2, 3, 3, 2, 3, 2, 3, 3, 2]);
}

/// Services other than by address and port.
mod kinds {
    use super::*;
    use crate::native::every_kind::{self, HZ};
    use crate::native::packets::{Packet, Transport, framed};
    use crate::rows::{Setting, service_flags};
    use crate::wire::protocol;

    /// The number of the first service that is of the wanted kind, in IPv4.
    fn service(wanted: impl Fn(&every_kind::Kind) -> bool) -> u32 {
        every_kind::KINDS.iter().position(wanted).expect("such a kind") as u32
    }

    fn send(tables: &NativeTables, service: u32, transport: Transport, now: u64) -> Verdict {
        let client = (every_kind::host(false, 3, 1), 40_000);
        let packet = Packet::new(client, every_kind::virtual_end(service), transport).bytes();
        decide(tables, &mut framed([DIRECTOR, ROUTER], &packet), true, now).0
    }

    /// forwarding.md section 6: with cache_bypass a mark service that has nobody lets the packet go on, and "TCP states apply".
    #[test]
    fn bypass_moves_states_and_counts_nothing() {
        let tables = every_kind::tables(4);
        let marked = service(|kind| kind.mark != 0 && !kind.is_local);
        tables.config.settings[Setting::CacheBypass as usize].store(1);
        (0..every_kind::DESTS_EACH)
            .for_each(|dest| every_kind::set_available(&tables, marked * every_kind::DESTS_EACH + dest, false));
        for (flags, wanted) in [(tcp::SYN, state::SYN_RECV), (tcp::ACK, state::ESTABLISHED), (tcp::RST, state::CLOSE)] {
            assert_eq!(send(&tables, marked, Transport::Tcp(flags), NOW), Verdict::Forward);
            assert_eq!(tables.conns[0].life().state, wanted);
        }
        assert!(tables.stats.borrow().iter().all(|stats| *stats == Stats::default()));
    }

    /// connections.md section 3, one-packet scheduling: "with -p the template exists and pins the real". It holds nothing else.
    #[test]
    fn a_template_of_single_packets_comes_to_its_end() {
        let tables = every_kind::tables(4);
        let both = service_flags::PERSISTENT | service_flags::ONE_PACKET;
        let single = service(|kind| kind.flags & both == both);
        assert_eq!(every_kind::kind_of(single).0.protocol, protocol::UDP);
        for _ in 0..3 {
            assert_eq!(send(&tables, single, Transport::Udp(true), NOW), Verdict::Forward);
        }
        assert_eq!(tables.cursor.conns_used.load(), 1, "the template and nothing else");
        let template = &tables.conns[0];
        assert!(template.life().is_template());
        assert_eq!((template.controlled.load(), template.life().deadline), (0, NOW + u64::from(60 * HZ)));
        let served: Vec<u64> =
            tables.stats.borrow().iter().map(|stats| stats.conns).filter(|conns| *conns > 0).collect();
        assert_eq!(served, [3], "one real server got all");
    }
}
