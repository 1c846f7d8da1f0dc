//! The director as a whole: frames in, frames and verdicts out.

use proptest::prelude::*;
use std::boxed::Box;
use std::vec::Vec;

use super::*;
use crate::forward::next_hop::{NextHop, Route, RouteQuery, Unresolved};
use crate::native::frames::{Datagram, End, Transport, received_sums};
use crate::native::{Frame, NativeTables};
use crate::rows::{Address, Span, family};
use crate::sched::{Scheduler, wrr};
use crate::wire::ipv4::PROTOCOL_UDP;
use crate::wire::{ethernet::Mac, tcp};

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
    for (id, protocol) in [(0, PROTOCOL_TCP), (1, PROTOCOL_UDP)] {
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
    tables.router = Box::new(|_: &RouteQuery| Route::Ready(HOP));
    tables
}

fn run(tables: &NativeTables, bytes: &mut [u8]) -> Verdict {
    direct(&mut Frame { bytes, for_this_host: true }, tables, NOW)
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
    Datagram { link_destination, link_source, ttl, source, destination, ..before.clone() }
}

mod verdicts {
    use super::*;

    /// Checks the verdict on a frame, and that the frame is left alone where it is not sent.
    fn expect(tables: &NativeTables, frame: &[u8], for_this_host: bool, verdict: Verdict) {
        let mut bytes = frame.to_vec();
        let got = direct(&mut Frame { bytes: &mut bytes, for_this_host }, tables, NOW);
        assert_eq!(got, verdict);
        assert_eq!(bytes, frame, "{verdict:?} must leave the frame alone");
    }

    fn expect_pass(frame: &[u8], reason: Pass) {
        let tables = director();
        expect(&tables, frame, true, Verdict::Pass(reason));
        assert!(tables.flows.borrow().is_empty());
    }

    #[test]
    fn other_ethertypes_pass() {
        for ethertype in [0x0806u16, 0x86dd, 0x8100, 0x0600, 0x0000] {
            let mut frame = syn().frame();
            frame[12..14].copy_from_slice(&ethertype.to_be_bytes());
            expect_pass(&frame, Pass::NotIp);
        }
    }

    #[test]
    fn a_frame_cut_anywhere_in_its_headers_passes() {
        let frame = syn().frame();
        for len in 0..frame.len() {
            expect_pass(&frame[..len], Pass::Malformed);
        }
    }

    #[test]
    fn lengths_that_do_not_fit_pass() {
        let frame = syn().frame();
        // Version, header length below 5 words, header longer than the packet, total length too long and too short.
        for (at, byte) in [(14, 0x65), (14, 0x44), (14, 0x4f), (17, 41), (17, 39), (17, 19), (16, 1)] {
            let mut frame = frame.clone();
            frame[at] = byte;
            expect_pass(&frame, Pass::Malformed);
        }
    }

    #[test]
    fn fragments_pass() {
        for bits in [0x2000u16, 0x0001, 0x1fff, 0x6000] {
            let mut frame = syn().frame();
            frame[20..22].copy_from_slice(&bits.to_be_bytes());
            expect_pass(&frame, Pass::Fragment);
        }
    }

    #[test]
    fn other_protocols_pass() {
        for protocol in (0..=255).filter(|protocol| *protocol != PROTOCOL_TCP && *protocol != PROTOCOL_UDP) {
            let mut frame = syn().frame();
            frame[23] = protocol;
            expect_pass(&frame, Pass::OtherProtocol);
        }
    }

    #[test]
    fn frames_for_other_hosts_pass() {
        expect(&director(), &syn().frame(), false, Verdict::Pass(Pass::NotForThisHost));
    }

    #[test]
    fn what_no_service_wants_passes() {
        for destination in [(VIP.0, 81), ([172, 16, 0, 2], 80), REAL] {
            let datagram = Datagram { destination, ..syn() };
            expect_pass(&datagram.frame(), Pass::NoService);
        }
    }

    /// connections.md section 3.
    #[test]
    fn what_may_not_open_a_connection_passes() {
        let flags = [0, tcp::ACK, tcp::FIN, tcp::FIN | tcp::ACK, tcp::RST, tcp::RST | tcp::SYN, 0x28];
        for flags in flags {
            expect_pass(&datagram(CLIENT, VIP, Transport::Tcp(flags, Vec::new())).frame(), Pass::NotScheduled);
        }
        for transport in [Transport::Tcp(tcp::SYN, Vec::new()), Transport::Udp] {
            expect_pass(&datagram((CLIENT.0, 20), VIP, transport).frame(), Pass::NotScheduled);
        }
    }

    #[test]
    fn what_may_open_a_connection_does() {
        let syns = [tcp::SYN, tcp::SYN | tcp::ACK, tcp::SYN | tcp::FIN, tcp::SYN | 0xc8];
        let transports = syns.into_iter().map(|flags| Transport::Tcp(flags, Vec::new()));
        for transport in transports.chain([Transport::Udp, Transport::UdpUnsummed]) {
            let tables = director();
            assert_eq!(run(&tables, &mut datagram(CLIENT, VIP, transport).frame()), Verdict::Forward(HOP));
            assert_eq!(tables.flows.borrow().len(), 2);
        }
    }

    #[test]
    fn nobody_to_take_it_drops_it() {
        let tables = director();
        tables.members[0].weight.store(0);
        expect(&tables, &syn().frame(), true, Verdict::Drop(Drop::NoDestination));
        assert_eq!((tables.dests[0].counts.load(), tables.cursor.conns_used.load()), (0, 0));
    }

    #[test]
    fn a_full_table_drops_it() {
        let tables = director();
        let from = |port| Datagram { source: (CLIENT.0, port), ..syn() }.frame();
        (1000..1008).for_each(|port| assert_eq!(run(&tables, &mut from(port)), Verdict::Forward(HOP)));
        expect(&tables, &from(1008), true, Verdict::Drop(Drop::TableFull));
        assert_eq!(tables.stats.borrow()[0].conns, 8);
    }

    /// connections.md section 5: requests of a removed destination are dropped and refresh nothing; replies go out, and
    /// are counted no more.
    #[test]
    fn a_removed_destination_answers_but_is_not_asked() {
        let tables = director();
        assert_eq!(run(&tables, &mut syn().frame()), Verdict::Forward(HOP));
        tables.dests[0].flags.store(0);
        let (life, stats) = (tables.conns[0].life.load(), tables.stats.borrow()[0]);
        expect(&tables, &syn().frame(), true, Verdict::Drop(Drop::DestinationRemoved));
        assert_eq!(tables.conns[0].life.load(), life);
        let reply = datagram(REAL, CLIENT, Transport::Tcp(tcp::RST, Vec::new()));
        let mut bytes = reply.frame();
        assert_eq!(run(&tables, &mut bytes), Verdict::Forward(HOP));
        assert_eq!(bytes, forwarded(&reply, VIP, CLIENT).frame());
        assert_eq!(tables.conns[0].life().state, conn::tcp::CLOSE);
        assert_eq!(tables.stats.borrow()[0], stats);
    }

    /// connections.md section 5: what is rejected on its way out has been counted and has moved the state.
    #[test]
    fn without_a_way_out_it_is_dropped_after_being_counted() {
        for reason in [Drop::NoRoute, Drop::ForwardingDisabled] {
            let mut tables = director();
            tables.router = Box::new(move |_| Route::Unreachable(reason));
            expect(&tables, &syn().frame(), true, Verdict::Drop(reason));
            let stats = tables.stats.borrow()[0];
            assert_eq!((stats.conns, stats.in_packets, stats.in_bytes), (1, 1, 40));
            assert_eq!(tables.conns[0].life().state, conn::tcp::SYN_RECV);
        }
    }

    #[test]
    fn a_packet_at_its_last_hop_is_dropped() {
        for ttl in [0, 1] {
            expect(&director(), &Datagram { ttl, ..syn() }.frame(), true, Verdict::Drop(Drop::TtlExpired));
        }
    }

    /// All but the Ethernet header is rewritten: the kernel's neighbour table adds that.
    #[test]
    fn an_unknown_neighbour_is_to_be_asked() {
        let unresolved = Unresolved { interface: 3, neighbour: Address::v4([192, 168, 1, 254]) };
        let mut tables = director();
        tables.router = Box::new(move |_| Route::Unresolved(unresolved));
        let before = syn();
        let mut bytes = before.frame();
        assert_eq!(run(&tables, &mut bytes), Verdict::Resolve(unresolved));
        let after = Datagram { link_destination: DIRECTOR, link_source: ROUTER, ..forwarded(&before, CLIENT, REAL) };
        assert_eq!(bytes, after.frame());
        // Nothing is remembered of it: the next packet asks again.
        tables.router = Box::new(|_| Route::Ready(HOP));
        assert_eq!(run(&tables, &mut before.frame()), Verdict::Forward(HOP));
    }

    /// The way is asked for once, with the addresses that the packet will carry, and again in another epoch or after a while.
    #[test]
    fn a_way_out_is_remembered_for_an_epoch() {
        use core::cell::Cell;
        use std::rc::Rc;

        let asked = Rc::new(Cell::new(0));
        let mut tables = director();
        let counter = Rc::clone(&asked);
        tables.router = Box::new(move |query| {
            counter.set(counter.get() + 1);
            let (from, to) = (Address::v4(CLIENT.0), Address::v4(REAL.0));
            assert_eq!(*query, RouteQuery { from, to, family: family::V4, protocol: PROTOCOL_TCP });
            Route::Ready(HOP)
        });
        let at = |now| {
            let mut bytes = syn().frame();
            let verdict = direct(&mut Frame { bytes: &mut bytes, for_this_host: true }, &tables, now);
            assert_eq!(verdict, Verdict::Forward(HOP));
            asked.get()
        };
        assert_eq!([at(NOW), at(NOW), at(NOW + 1000)], [1, 1, 1]);
        assert_eq!(at(NOW + 1001), 2, "older than 10 s");
        tables.config.epoch.store(2);
        assert_eq!([at(NOW + 1001), at(NOW + 1001)], [3, 3]);
    }

    /// Packets of a connection need no service, and a port that the destination leaves open is the service's.
    #[test]
    fn a_destination_without_a_port_gets_the_services() {
        let mut tables = director();
        tables.dests[0].port = 0;
        let mut bytes = syn().frame();
        assert_eq!(run(&tables, &mut bytes), Verdict::Forward(HOP));
        assert_eq!(bytes, forwarded(&syn(), CLIENT, (REAL.0, VIP.1)).frame());
        tables.service_index.clear();
        let ack = datagram(CLIENT, VIP, Transport::Tcp(tcp::ACK, Vec::new()));
        assert_eq!(run(&tables, &mut ack.frame()), Verdict::Forward(HOP));
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
        prop_assert_eq!(run(&tables, &mut bytes), Verdict::Forward(HOP));
        prop_assert_eq!(&bytes, &forwarded(&first, client, REAL).frame());

        let answer = Datagram { source: REAL, destination: client, payload: answer, ..first };
        let mut bytes = answer.frame();
        prop_assert_eq!(run(&tables, &mut bytes), Verdict::Forward(HOP));
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
        prop_assert_eq!(run(&director(), &mut bytes), Verdict::Forward(HOP));
        let after = received_sums(&bytes);
        prop_assert!(same(before.0, after.0), "IP: {:?} {:?}", before, after);
        if unsummed {
            prop_assert_eq!(&bytes[at..at + 2], &[0, 0]);
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
            prop_assert_eq!(run(&tables, &mut syn().frame()), Verdict::Forward(HOP));
        }
        disguise(&mut bytes, looks, shape);
        let before = bytes.clone();
        let verdict = direct(&mut Frame { bytes: &mut bytes, for_this_host }, &tables, NOW);
        if !matches!(verdict, Verdict::Forward(_)) {
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
        assert_eq!(run(&director(), &mut bytes), Verdict::Forward(HOP));
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
        put(23, &[if shape[3] & 1 == 0 { PROTOCOL_TCP } else { PROTOCOL_UDP }]);
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
        ServiceKey { address: Address::v4(VIP.0), fwmark: 0, port: VIP.1, protocol: PROTOCOL_TCP, family: family::V4 };
    tables.service_index.insert(key, 0);
    tables.router = Box::new(|_: &RouteQuery| Route::Ready(HOP));
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
            assert_eq!(run(&tables, &mut bytes), Verdict::Forward(HOP));
            bytes[33]
        })
        .collect();
    assert_eq!(order, [3, 2, 3, 3, 2, 3, 2, 3, 3, 2]);
}
