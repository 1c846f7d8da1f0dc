//! Messages recorded from real clients and a real kernel (netlink.md §1, §6.1), each named by what sent it.
//! What was recorded decodes to what was meant, and what is meant encodes to what was recorded.

use std::net::IpAddr;

use rlvs_ipvs::endpoint::{Caller, handle};
use rlvs_ipvs::message::{
    AddressBytes, Arguments, Command, DaemonAttributes, DestinationAttributes, FAMILY_ID, Frame, GenericFrame, Header,
    Nest, Reply, Request, ServiceAttributes, TimeoutAttributes, family_request, flags, frames,
};
use rlvs_ipvs::model::{
    DaemonRole, DestinationSpec, DestinationStatus, Family, FlagsChange, ForwardingMethod, Info, Protocol, ServiceKey,
    ServiceSpec, ServiceStatus, Stats, Support, Table, TimeoutsChange,
};

/// Bytes of hex digits; blanks do not count, `z12` stands for twelve zero bytes.
fn hex(text: &str) -> Vec<u8> {
    let text = text.replace("z12", &"00".repeat(12)).replace(char::is_whitespace, "");
    let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("ascii"));
    pairs.map(|pair| u8::from_str_radix(pair, 16).expect("hex digits")).collect()
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn tcp(text: &str, port: u16) -> ServiceKey {
    ServiceKey::Address { protocol: Protocol::TCP, address: address(text), port }
}

/// The header of a request.
fn header(dump: bool) -> Header {
    let form = if dump { flags::DUMP } else { 0 };
    Header { length: 0, kind: FAMILY_ID, flags: flags::REQUEST | flags::ACK | form, sequence: 7, port_id: 9 }
}

/// Checks a request both ways: `payload` is what follows the netlink header.
#[track_caller]
fn check(made_by: &str, length: usize, payload: &str, request: &Request) {
    let recorded = hex(payload);
    assert_eq!(recorded.len() + 16, length, "{made_by}: the recording itself");
    let sent = request.encode(header(request.dump));
    assert_eq!(&sent[16..], &recorded[..], "{made_by}: encoding");
    assert_eq!(frames(&sent).next().expect("a frame").header.length as usize, length, "{made_by}: length");
    let generic = GenericFrame { command: recorded[0], version: recorded[1], attributes: &recorded[4..] };
    assert_eq!(&Request::decode(&generic, request.dump).expect("decodes"), request, "{made_by}: decoding");
}

/// The service of ipvsadm's requests about destinations: the full set with an empty scheduler and no flags.
fn libipvs_service(key: &ServiceKey) -> ServiceAttributes {
    let spec = ServiceSpec { scheduler: Vec::new(), ..ServiceSpec::new(*key, "rr") };
    ServiceAttributes::full(&spec)
}

fn request(command: Command, dump: bool, arguments: Arguments) -> Request {
    Request { command, dump, arguments }
}

const SERVICE_START: &str = "54000180 060001000200 0000 060002000600 0000 14000300 0a000001 z12 060004000050 0000";

#[test]
fn getfamily() {
    let recorded = hex("03010000 09000200 4950565300 000000");
    let sent = family_request(header(false));
    assert_eq!((sent.len(), &sent[16..]), (32, &recorded[..]));
}

#[test]
fn ipvsadm_get_info() {
    check("ipvsadm -L", 20, "0f010000", &Request::plain(Command::GetInfo, false));
    let mut reply = Vec::new();
    Reply::Info(Info::default()).encode(&mut reply, header(false));
    let recorded = hex("0e010000 08000100 01020100 08000200 00100000");
    assert_eq!((reply.len(), &reply[16..]), (36, &recorded[..]));
    assert_eq!(Reply::decode(14, &recorded[4..]), Ok(Reply::Info(Info::default())));
}

#[test]
fn ipvsadm_add_service() {
    let payload = format!(
        "01010000 {SERVICE_START} 07000600 727200 00 0c000700 00000000ffffffff 08000800 00000000 08000900 ffffffff"
    );
    let spec = ServiceSpec::new(tcp("10.0.0.1", 80), "rr");
    let request = Request::put_service(Command::NewService, &spec);
    check("ipvsadm -A -t 10.0.0.1:80 -s rr", 104, &payload, &request);
    let service = request.arguments.service().expect("a service");
    assert_eq!(service.spec(), Ok(spec));
}

#[test]
fn ipvsadm_add_mark() {
    let payload = "01010000 38000180 060001000200 0000 08000500 07000000 08000600 776c6300 \
        0c000700 01000000ffffffff 08000800 2c010000 08000900 ffffffff";
    let spec = ServiceSpec {
        flags: FlagsChange::all(1),
        timeout_s: 300,
        ..ServiceSpec::new(ServiceKey::marked(Family::V4, 7), "wlc")
    };
    let request = Request::put_service(Command::NewService, &spec);
    check("ipvsadm -A -f 7 -s wlc -p 300", 76, payload, &request);
}

#[test]
fn ipvsadm_add_server() {
    let payload = format!(
        "05010000 {SERVICE_START} 0500060000 000000 0c000700 00000000ffffffff 08000800 00000000 08000900 ffffffff \
         60000280 06000b000200 0000 14000100 0a000102 z12 060002001f90 0000 08000300 00000000 08000400 03000000 \
         05000d00 00 000000 06000e00 0000 0000 06000f00 0000 0000 08000500 0a000000 08000600 05000000"
    );
    let key = tcp("10.0.0.1", 80);
    let spec = DestinationSpec {
        weight: 3,
        upper_threshold: 10,
        lower_threshold: 5,
        ..DestinationSpec::new(address("10.0.1.2"), 8080, ForwardingMethod::MASQUERADE)
    };
    let request = request(
        Command::NewDest,
        false,
        Arguments {
            service: Some(Nest::request(libipvs_service(&key))),
            destination: Some(Nest::request(DestinationAttributes::full(&spec))),
            ..Arguments::default()
        },
    );
    check("ipvsadm -a -t 10.0.0.1:80 -r 10.0.1.2:8080 -m -w 3 -x 10 -y 5", 200, &payload, &request);
    let destination = request.arguments.destination().expect("a destination");
    assert_eq!(destination.spec(Family::V4), Ok(spec));
}

#[test]
fn ipvsadm_list_servers() {
    let service = SERVICE_START.replacen("54", "30", 1);
    let request = Request::about_service(Command::GetDest, true, &tcp("10.0.0.1", 80));
    check("ipvsadm -L", 68, &format!("08010000 {service}"), &request);
}

#[test]
fn ipvsadm_set_timeouts() {
    let payload = "0c010000 08000400 00000000 08000500 1e000000 08000600 00000000";
    let change = TimeoutsChange { tcp_fin_s: 30, ..TimeoutsChange::default() };
    let request = Request::set_timeouts(change);
    check("ipvsadm --set 0 30 0", 44, payload, &request);
    assert_eq!(request.arguments.timeouts, TimeoutAttributes::from(change));
}

#[test]
fn ipvsadm_stop_daemon() {
    let payload = "0a010000 1c000380 08000100 01000000 05000200 00 000000 08000300 00000000";
    let request = Request::stop_daemon(DaemonRole::Master, 0);
    check("ipvsadm --stop-daemon master", 48, payload, &request);
    assert_eq!(request.arguments.daemon().map(DaemonAttributes::role), Ok(Ok(DaemonRole::Master)));
}

#[test]
fn moby_get_services() {
    let empty = Nest::reply(ServiceAttributes::default());
    let arguments = Arguments { service: Some(empty), ..Arguments::default() };
    check("moby/ipvs GetServices", 24, "04010000 04000100", &request(Command::GetService, true, arguments));
}

#[test]
fn moby_new_service() {
    // Addresses of 4 bytes, and no marker bit on the nest.
    let payload = "01010000 48000100 0600010002000000 0600020006000000 08000300 c6336400 060004004e200000 \
        0700060072720000 0c00070000000000ffffffff 0800080000000000 08000900ffffffff";
    let spec = ServiceSpec::new(tcp("198.51.100.0", 20000), "rr");
    let service =
        ServiceAttributes { address: AddressBytes::new(&[198, 51, 100, 0]), ..ServiceAttributes::full(&spec) };
    let arguments = Arguments { service: Some(Nest::reply(service.clone())), ..Arguments::default() };
    check("moby/ipvs NewService", 92, payload, &request(Command::NewService, false, arguments));
    assert_eq!(service.spec(), Ok(spec));
}

fn reply_length(reply: &Reply) -> usize {
    let mut datagram = Vec::new();
    reply.encode(&mut datagram, header(true));
    datagram.len()
}

#[test]
fn replies_have_the_sizes_of_kernels_without_pad() {
    let mut table = Table::new(Support::new(["rr"], []), Box::new(()));
    for (key, length) in [
        (tcp("10.0.0.1", 80), 320),
        (tcp("2001:db8::1", 80), 320),
        // Recorded with PAD: 336 bytes, of which 11 PADs take 44.
        (ServiceKey::marked(Family::V4, 7), 292),
    ] {
        let service = table.add_service(&ServiceSpec::new(key, "rr")).expect("added").clone();
        let status = ServiceStatus { service, stats: Stats::default() };
        assert_eq!(reply_length(&Reply::from(&status)), length, "{key:?}");
    }
    let spec = DestinationSpec::new(address("10.0.1.2"), 80, ForwardingMethod::DIRECT);
    let destination = *table.add_destination(&tcp("10.0.0.1", 80), &spec).expect("added");
    assert_eq!(reply_length(&Reply::from(&DestinationStatus::idle(destination))), 356);
}

#[test]
fn replies_carry_attributes_in_the_kernels_order() {
    let mut table = Table::new(Support::new(["rr"], ["sip"]), Box::new(()));
    let key = tcp("10.0.0.1", 80);
    let spec = ServiceSpec { engine: Some(b"sip".to_vec()), ..ServiceSpec::new(key, "rr") };
    let service = table.add_service(&spec).expect("added").clone();
    let reply = Reply::from(&ServiceStatus { service, stats: Stats::default() });
    assert_eq!(nested_numbers(&reply), [1, 2, 3, 4, 6, 11, 7, 8, 9, 10, 12]);
    let spec = DestinationSpec::new(address("10.0.1.2"), 80, ForwardingMethod::DIRECT);
    let destination = *table.add_destination(&key, &spec).expect("added");
    let reply = Reply::from(&DestinationStatus::idle(destination));
    assert_eq!(nested_numbers(&reply), [1, 2, 3, 4, 13, 14, 15, 5, 6, 7, 8, 9, 11, 10, 12]);
}

/// The numbers of the attributes in the one nest of a reply, whose own number has no marker bit.
fn nested_numbers(reply: &Reply) -> Vec<u16> {
    let mut datagram = Vec::new();
    reply.encode(&mut datagram, header(false));
    let mut numbers = Vec::new();
    let mut rest = &datagram[24..];
    assert_eq!(datagram[23], 0, "no marker bit");
    while rest.len() >= 4 {
        let length = usize::from(u16::from_ne_bytes([rest[0], rest[1]]));
        numbers.push(u16::from_ne_bytes([rest[2], rest[3]]));
        rest = &rest[length.div_ceil(4) * 4..];
    }
    numbers
}

#[test]
fn the_family_as_nlctrl_describes_it() {
    let mut table = Table::new(Support::new([], []), Box::new(()));
    let caller = Caller { port_id: 4711, can_admin: false };
    let replies = handle(&mut table, caller, &family_request(header(false)));
    assert_eq!(replies.len(), 2, "the family, then the ACK");
    let frame: Frame<'_> = frames(&replies[0]).next().expect("a frame");
    assert_eq!((frame.header.length, frame.header.kind, frame.header.flags), (388, 16, 0));
    let start = "01020000 09000200 4950565300 000000 06000100 1c00 0000 08000300 01000000 08000400 00000000 \
        08000500 06000000 44010600 14000100 08000100 01000000 08000200 0b000000";
    let recorded = hex(start);
    assert_eq!(&replies[0][16..16 + recorded.len()], &recorded[..]);
    // Operation 4 may be done and dumped, 8 and 11 only dumped.
    let operation = |index: usize| &replies[0][68 + 20 * (index - 1)..][..20];
    assert_eq!(operation(4), hex("14000400 08000100 04000000 08000200 0f000000"));
    assert_eq!(operation(8), hex("14000800 08000100 08000000 08000200 0d000000"));
    assert_eq!(operation(16), hex("14001000 08000100 11000000 08000200 0b000000"));
}
