//! The kernel's checks, in its order, with its error numbers (netlink.md §4), asked over messages.

use std::net::{IpAddr, Ipv4Addr};

use rlvs_ipvs::Errno;
use rlvs_ipvs::endpoint::{Caller, DATAGRAM_MAX, handle};
use rlvs_ipvs::message::{
    Answer, Arguments, CONTROLLER, Command, DaemonAttributes, DestinationAttributes, FAMILY_ID, Header, Nest, Request,
    ServiceAttributes, TimeoutAttributes, family_request, flags, frames, put_generic,
};
use rlvs_ipvs::model::{
    DaemonSpec, DestinationSpec, Family, FlagsChange, ForwardingMethod, Host, Interface, Protocol, ServiceKey,
    ServiceSpec, Support, Table, Tunnel, TunnelKind,
};

#[derive(Debug)]
struct Lan;

impl Host for Lan {
    fn interface(&self, name: &str) -> Option<Interface> {
        (name == "lo").then_some(Interface { mtu: 65536, ipv6_multicast: false })
    }

    fn is_local(&self, address: IpAddr) -> bool {
        address == self::address("fe80::1")
    }

    fn is_broadcast(&self, address: Ipv4Addr) -> bool {
        address == Ipv4Addr::new(10, 0, 1, 255)
    }
}

const ADMIN: Caller = Caller { port_id: 4711, can_admin: true };

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn key() -> ServiceKey {
    ServiceKey::Address { protocol: Protocol::TCP, address: address("10.0.0.1"), port: 80 }
}

fn server() -> DestinationSpec {
    DestinationSpec::new(address("10.0.1.2"), 8080, ForwardingMethod::MASQUERADE)
}

fn table() -> Table {
    let mut table = Table::new(Support::new(["rr", "wlc"], ["sip"]), Box::new(Lan));
    table.add_service(&ServiceSpec::new(key(), "rr")).expect("added");
    table.add_destination(&key(), &server()).expect("added");
    table
}

fn header(dump: bool) -> Header {
    let form = if dump { flags::DUMP } else { 0 };
    Header { length: 0, kind: FAMILY_ID, flags: flags::REQUEST | flags::ACK | form, sequence: 7, port_id: 9 }
}

/// What a table answers to a datagram: the verdict, and how many messages with data.
fn ask(table: &mut Table, caller: Caller, datagram: &[u8]) -> (Result<(), Errno>, usize) {
    let (mut verdict, mut data) = (Ok(()), 0);
    for reply in handle(table, caller, datagram) {
        for frame in frames(&reply) {
            assert_eq!((frame.header.sequence, frame.header.port_id), (7, caller.port_id));
            match Answer::decode(&frame).expect("an answer") {
                Answer::Ack | Answer::Done => {}
                Answer::Refused(errno) => verdict = Err(errno),
                Answer::Data { .. } => data += 1,
            }
        }
    }
    (verdict, data)
}

#[track_caller]
fn refused(table: &mut Table, request: &Request, errno: Errno) {
    let before = format!("{table:?}");
    assert_eq!(ask(table, ADMIN, &request.encode(header(request.dump))).0, Err(errno));
    assert_eq!(format!("{table:?}"), before, "a refused change changes nothing");
}

#[track_caller]
fn accepted(table: &mut Table, request: &Request) {
    assert_eq!(ask(table, ADMIN, &request.encode(header(request.dump))).0, Ok(()));
}

fn with_service(command: Command, service: ServiceAttributes) -> Request {
    let arguments = Arguments { service: Some(Nest::request(service)), ..Arguments::default() };
    Request { command, dump: false, arguments }
}

fn with_server(command: Command, service: &ServiceKey, destination: DestinationAttributes) -> Request {
    let mut request = with_service(command, ServiceAttributes::identifying(service));
    request.arguments.destination = Some(Nest::request(destination));
    request
}

#[test]
fn services_are_checked_in_order() {
    let table = &mut table();
    let full = ServiceAttributes::full(&ServiceSpec::new(key(), "none such"));
    for command in [Command::NewService, Command::SetService, Command::DelService, Command::GetService] {
        refused(table, &Request::plain(command, false), Errno::INVAL);
        // Without a whole key a wrong family does not matter yet.
        let no_port = ServiceAttributes { family: Some(3), port: None, ..full.clone() };
        refused(table, &with_service(command, no_port), Errno::INVAL);
        refused(
            table,
            &with_service(command, ServiceAttributes { family: Some(3), ..full.clone() }),
            Errno::AFNOSUPPORT,
        );
    }
    let unfinished = ServiceAttributes { netmask: None, ..full.clone() };
    refused(table, &with_service(Command::NewService, unfinished.clone()), Errno::INVAL);
    refused(table, &with_service(Command::SetService, unfinished), Errno::INVAL);
    // The key goes before the scheduler, the scheduler before the engine, the engine before the netmask.
    refused(table, &with_service(Command::NewService, full.clone()), Errno::EXIST);
    refused(table, &with_service(Command::SetService, full.clone()), Errno::NOENT);
    let v6 = ServiceAttributes { family: Some(10), netmask: Some([0; 4]), ..full };
    refused(table, &with_service(Command::SetService, v6.clone()), Errno::SRCH);
    refused(table, &with_service(Command::NewService, v6.clone()), Errno::NOENT);
    let engine = ServiceAttributes { scheduler: Some(b"wlc".to_vec()), engine: Some(b"sap".to_vec()), ..v6 };
    refused(table, &with_service(Command::NewService, engine.clone()), Errno::NOENT);
    let netmask = ServiceAttributes { engine: Some(b"sip".to_vec()), ..engine };
    refused(table, &with_service(Command::NewService, netmask.clone()), Errno::INVAL);
    let good = ServiceAttributes { netmask: Some(64u32.to_ne_bytes()), ..netmask };
    accepted(table, &with_service(Command::NewService, good));
    for command in [Command::DelService, Command::GetService, Command::Zero] {
        let other = ServiceKey::marked(Family::V4, 1);
        refused(table, &Request::about_service(command, false, &other), Errno::SRCH);
    }
}

#[test]
fn schedulers_and_engines_by_name() {
    let table = &mut table();
    let spec = |scheduler: &[u8], engine: Option<&[u8]>| ServiceSpec {
        scheduler: scheduler.to_vec(),
        engine: engine.map(<[u8]>::to_vec),
        ..ServiceSpec::new(key(), "")
    };
    assert_eq!(table.set_service(&spec(b"", None)).map(|_| ()), Err(Errno::NOENT));
    assert_eq!(table.set_service(&spec(b"none", Some(b""))).map(|service| service.scheduler().is_none()), Ok(true));
    let service = table.set_service(&spec(b"rr", Some(b"sip"))).expect("set");
    assert_eq!(service.engine().map(|name| name.as_str()), Some("sip"));
    assert!(table.set_service(&spec(b"rr", None)).expect("set").engine().is_none(), "absent is removed");
    assert_eq!(table.service(&key()).map(|entry| entry.destination_count()), Ok(1), "servers stay");
}

#[test]
fn flags_under_a_mask() {
    let table = &mut table();
    let mut set = |flags| {
        let spec = ServiceSpec { flags, ..ServiceSpec::new(key(), "rr") };
        table.set_service(&spec).expect("set").flags().bits()
    };
    assert_eq!(set(FlagsChange::all(0x15)), 0x17);
    assert_eq!(set(FlagsChange { bits: 0, mask: 0x4 }), 0x13);
    assert_eq!(set(FlagsChange { bits: 0xff, mask: 0 }), 0x13);
    assert_eq!(set(FlagsChange::all(0)), 0x2);
}

#[test]
fn destinations_are_checked_in_order() {
    let table = &mut table();
    let full = DestinationAttributes::full(&server());
    let absent = ServiceKey::marked(Family::V4, 9);
    for command in [Command::NewDest, Command::SetDest, Command::DelDest] {
        // The service goes before anything about the destination.
        refused(table, &Request::about_service(command, false, &absent), Errno::SRCH);
        refused(table, &Request::about_service(command, false, &key()), Errno::INVAL);
        let no_port = DestinationAttributes { port: None, family: Some(3), ..full.clone() };
        refused(table, &with_server(command, &key(), no_port), Errno::INVAL);
        let family = DestinationAttributes { family: Some(3), ..full.clone() };
        refused(table, &with_server(command, &key(), family), Errno::AFNOSUPPORT);
    }
    for command in [Command::NewDest, Command::SetDest] {
        let unfinished = DestinationAttributes { weight: None, ..full.clone() };
        refused(table, &with_server(command, &key(), unfinished), Errno::INVAL);
        let mixed = DestinationAttributes { family: Some(10), weight: Some(-1), ..full.clone() };
        refused(table, &with_server(command, &key(), mixed), Errno::INVAL);
        let weight = DestinationAttributes { weight: Some(-1), lower_threshold: Some(1), ..full.clone() };
        refused(table, &with_server(command, &key(), weight), Errno::RANGE);
        let thresholds = DestinationAttributes { lower_threshold: Some(1), tunnel_kind: Some(1), ..full.clone() };
        refused(table, &with_server(command, &key(), thresholds), Errno::RANGE);
        let gue = DestinationAttributes { tunnel_kind: Some(1), ..full.clone() };
        refused(table, &with_server(command, &key(), gue), Errno::INVAL);
    }
    refused(table, &with_server(Command::NewDest, &key(), full), Errno::EXIST);
    let other = DestinationSpec { key: rlvs_ipvs::model::DestinationKey { port: 1, ..server().key }, ..server() };
    refused(table, &Request::put_destination(Command::SetDest, &key(), &other), Errno::NOENT);
    refused(table, &Request::delete_destination(&key(), &other.key), Errno::NOENT);
    accepted(table, &Request::delete_destination(&key(), &server().key));
}

#[test]
fn destinations_must_be_unicast() {
    let table = &mut table();
    for bad in ["0.0.0.0", "255.255.255.255", "224.0.0.1", "10.0.1.255"] {
        let spec = DestinationSpec::new(address(bad), 80, ForwardingMethod::DIRECT);
        refused(table, &Request::put_destination(Command::NewDest, &key(), &spec), Errno::INVAL);
    }
    let v6 = ServiceKey::marked(Family::V6, 1);
    table.add_service(&ServiceSpec::new(v6, "rr")).expect("added");
    for bad in ["::", "ff02::1", "::ffff:10.0.0.1", "fe80::2"] {
        let spec = DestinationSpec::new(address(bad), 80, ForwardingMethod::DIRECT);
        refused(table, &Request::put_destination(Command::NewDest, &v6, &spec), Errno::INVAL);
    }
    for good in ["fe80::1", "::1", "2001:db8::1"] {
        let spec = DestinationSpec::new(address(good), 80, ForwardingMethod::DIRECT);
        accepted(table, &Request::put_destination(Command::NewDest, &v6, &spec));
    }
}

#[test]
fn families_mix_only_in_tunnels_and_without_daemons() {
    let table = &mut table();
    let tunnel = Tunnel { kind: TunnelKind::GRE, ..Tunnel::default() };
    let mixed =
        DestinationSpec { tunnel, ..DestinationSpec::new(address("2001:db8::1"), 80, ForwardingMethod::TUNNEL) };
    let daemon =
        DaemonSpec { state: 1, interface: b"lo".to_vec(), sync_id: 300, max_length: 0, group: None, port: 0, ttl: 0 };
    accepted(table, &Request::start_daemon(&daemon));
    refused(table, &Request::put_destination(Command::NewDest, &key(), &mixed), Errno::INVAL);
    accepted(table, &Request::stop_daemon(rlvs_ipvs::model::DaemonRole::Master, 0));
    accepted(table, &Request::put_destination(Command::NewDest, &key(), &mixed));
    refused(table, &Request::start_daemon(&daemon), Errno::INVAL);
    accepted(table, &Request::delete_destination(&key(), &mixed.key));
    accepted(table, &Request::start_daemon(&daemon));
    assert_eq!(table.daemons().next().map(|daemon| daemon.sync_id), Some(300), "ids are not masked");
}

#[test]
fn daemons_are_checked_in_order() {
    let table = &mut table();
    let start = |daemon: &DaemonAttributes| {
        let arguments = Arguments { daemon: Some(Nest::request(daemon.clone())), ..Arguments::default() };
        Request { command: Command::NewDaemon, dump: false, arguments }
    };
    let good = DaemonAttributes {
        state: Some(2),
        interface: Some(b"lo".to_vec()),
        sync_id: Some(1),
        ..DaemonAttributes::default()
    };
    refused(table, &Request::plain(Command::NewDaemon, false), Errno::INVAL);
    for incomplete in [
        DaemonAttributes { state: None, ..good.clone() },
        DaemonAttributes { interface: None, ..good.clone() },
        DaemonAttributes { sync_id: None, ..good.clone() },
        DaemonAttributes { group: Some([10, 0, 0, 1]), interface: Some(Vec::new()), ..good.clone() },
    ] {
        refused(table, &start(&incomplete), Errno::INVAL);
    }
    let nowhere = DaemonAttributes { interface: Some(Vec::new()), state: Some(3), ..good.clone() };
    refused(table, &start(&nowhere), Errno::NODEV);
    refused(table, &start(&DaemonAttributes { state: Some(3), ..good.clone() }), Errno::INVAL);
    let group6 = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x51];
    refused(table, &start(&DaemonAttributes { group6: Some(group6), ..good.clone() }), Errno::NETUNREACH);
    accepted(table, &start(&good));
    refused(table, &start(&good), Errno::EXIST);
    let stop = |state| {
        let daemon = DaemonAttributes { state, ..DaemonAttributes::default() };
        let arguments = Arguments { daemon: Some(Nest::request(daemon)), ..Arguments::default() };
        Request { command: Command::DelDaemon, dump: false, arguments }
    };
    refused(table, &stop(None), Errno::INVAL);
    refused(table, &stop(Some(3)), Errno::INVAL);
    refused(table, &stop(Some(1)), Errno::SRCH);
    let datagram = Request::plain(Command::GetDaemon, true).encode(header(true));
    assert_eq!(ask(table, ADMIN, &datagram), (Ok(()), 1));
    // A flush leaves daemons and timeouts.
    accepted(table, &Request::plain(Command::Flush, false));
    assert_eq!((table.service_count(), table.daemons().count()), (0, 1));
    accepted(table, &stop(Some(2)));
}

#[test]
fn commands_forms_and_privilege_come_first() {
    let table = &mut table();
    let nobody = Caller { port_id: 4711, can_admin: false };
    let send = |table: &mut Table, caller, kind, dump, command| {
        let mut datagram = Vec::new();
        put_generic(&mut datagram, Header { kind, ..header(dump) }, command, 99, &[]);
        ask(table, caller, &datagram)
    };
    for (dump, command) in [(false, 0), (false, 18), (false, 8), (false, 11), (false, 14), (true, 1), (true, 15)] {
        assert_eq!(send(table, nobody, FAMILY_ID, dump, command), (Err(Errno::OPNOTSUPP), 0), "{command}");
    }
    for (dump, command) in [(false, 15), (false, 17), (true, 4), (true, 8), (false, 13)] {
        assert_eq!(send(table, nobody, FAMILY_ID, dump, command), (Err(Errno::PERM), 0), "{command}");
    }
    assert_eq!(send(table, ADMIN, FAMILY_ID + 1, false, 15), (Err(Errno::NOENT), 0));
    assert_eq!(send(table, ADMIN, CONTROLLER, false, 3), (Err(Errno::INVAL), 0));
    assert_eq!(send(table, ADMIN, CONTROLLER, false, 4), (Err(Errno::OPNOTSUPP), 0));
    assert_eq!(ask(table, nobody, &family_request(header(false))), (Ok(()), 1));
    // The policy of the top level holds for commands without arguments too, but not for dumps.
    let short = [6, 0, 4, 0, 1, 2, 0, 0];
    let mut datagram = Vec::new();
    put_generic(&mut datagram, header(false), Command::GetInfo.number(), 1, &short);
    assert_eq!(ask(table, ADMIN, &datagram), (Err(Errno::INVAL), 0));
    let mut datagram = Vec::new();
    put_generic(&mut datagram, header(true), Command::GetService.number(), 1, &short);
    assert_eq!(ask(table, ADMIN, &datagram), (Ok(()), 1));
}

#[test]
fn dumps_do_not_fail_and_are_packed() {
    let table = &mut table();
    let absent = Request::about_service(Command::GetDest, true, &ServiceKey::marked(Family::V4, 1));
    assert_eq!(ask(table, ADMIN, &absent.encode(header(true))), (Ok(()), 0));
    let nothing = Request::plain(Command::GetDest, true);
    assert_eq!(ask(table, ADMIN, &nothing.encode(header(true))), (Ok(()), 0));
    for mark in 1..=300 {
        table.add_service(&ServiceSpec::new(ServiceKey::marked(Family::V4, mark), "rr")).expect("added");
    }
    let replies = handle(table, ADMIN, &Request::plain(Command::GetService, true).encode(header(true)));
    let (last, entries) = replies.split_last().expect("replies");
    assert!(entries.iter().all(|datagram| datagram.len() <= DATAGRAM_MAX));
    assert!(entries.len() < 8, "entries are packed: {} datagrams", entries.len());
    assert!(entries.iter().flat_map(|datagram| frames(datagram)).all(|frame| frame.header.flags == flags::MULTI));
    assert_eq!(entries.iter().map(|datagram| frames(datagram).count()).sum::<usize>(), 301);
    assert_eq!((last.len(), frames(last).count()), (20, 1));
}

#[test]
fn acknowledgements_and_errors_byte_by_byte() {
    let table = &mut table();
    let flush = Request::plain(Command::Flush, false).encode(header(false));
    let mut ack = vec![36, 0, 0, 0, 2, 0, 0, 1, 7, 0, 0, 0, 0x67, 0x12, 0, 0, 0, 0, 0, 0];
    ack.extend_from_slice(&flush[..16]);
    assert_eq!(handle(table, ADMIN, &flush), [ack.clone()]);
    // An error comes unasked, and carries the whole request.
    let quiet = Header { flags: flags::REQUEST, ..header(false) };
    let delete = Request::about_service(Command::DelService, false, &key()).encode(quiet);
    let mut error = vec![20 + delete.len() as u8, 0, 0, 0, 2, 0, 0, 0, 7, 0, 0, 0, 0x67, 0x12, 0, 0];
    error.extend_from_slice(&(-3i32).to_ne_bytes());
    error.extend_from_slice(&delete);
    assert_eq!(handle(table, ADMIN, &delete), [error]);
    // What is no request is not executed, but acknowledged if that is asked for.
    table.add_service(&ServiceSpec::new(key(), "rr")).expect("added");
    let no_request = Request::plain(Command::Flush, false).encode(Header { flags: flags::ACK, ..header(false) });
    assert_eq!(handle(table, ADMIN, &no_request).len(), 1);
    assert_eq!(table.service_count(), 1);
    // Two requests in a datagram are two requests; data goes before its ACK.
    let info = Request::plain(Command::GetInfo, false).encode(header(false));
    let replies = handle(table, ADMIN, &[&info[..], &flush[..]].concat());
    assert_eq!(replies.iter().map(Vec::len).collect::<Vec<_>>(), [36, 36, 36]);
    // A message too short for its headers is an error, one longer than the datagram is nothing.
    let short = [16, 0, 0, 0, FAMILY_ID as u8, 0, 5, 0, 7, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(ask(table, ADMIN, &short).0, Err(Errno::INVAL));
    assert!(handle(table, ADMIN, &info[..19]).is_empty());
}

#[test]
fn timeouts_change_all_or_nothing() {
    let table = &mut table();
    let set = |tcp_s, udp_s| {
        let timeouts = TimeoutAttributes { tcp_s, tcp_fin_s: None, udp_s };
        let arguments = Arguments { timeouts, ..Arguments::default() };
        Request { command: Command::SetConfig, dump: false, arguments }
    };
    refused(table, &set(Some(5), Some(u32::MAX)), Errno::INVAL);
    accepted(table, &set(Some(5), None));
    assert_eq!((table.timeouts().tcp_s, table.timeouts().udp_s), (5, 300));
}

#[test]
fn mark_zero_is_the_unspecified_address() {
    let table = &mut table();
    let mut service = ServiceAttributes::full(&ServiceSpec::new(key(), "rr"));
    service.mark = Some(0);
    accepted(table, &with_service(Command::NewService, service));
    let any = ServiceKey::Address { protocol: Protocol::TCP, address: address("0.0.0.0"), port: 0 };
    assert!(table.service(&any).is_ok());
}
