//! The state machines of TCP and SCTP, cell by cell: each state is reached, each event is tried in it in each direction
//! (connections.md section 6).

use std::net::SocketAddr;

use super::{CLIENT, Scenario, VIP};
use crate::differential::{
    Script,
    frame::{Packet, icmp, sctp, tcp},
    script::at,
};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new("states/tcp", tcp_masquerading),
    Scenario::new("states/tcp-input-only", tcp_input_only),
    Scenario::new("states/tcp-secure", tcp_secure),
    Scenario::new("states/tcp-secure-input-only", tcp_secure_input_only),
    Scenario::new("states/tcp-from-none", tcp_from_none),
    Scenario::new("states/sctp", sctp_masquerading),
    Scenario::new("states/sctp-input-only", sctp_input_only),
    Scenario::new("states/sctp-from-none", sctp_from_none),
    Scenario::new("states/sctp-bundles", sctp_bundles),
];

/// A way to a state, in words: `c` from the client, `r` from the real, then the event.
type Way = (&'static str, &'static str);

const TCP_WAYS: [Way; 7] = [
    ("SYN_RECV", "cS"),
    ("ESTABLISHED", "cS rA"),
    ("SYN_SENT", "cS rA rF rS"),
    ("FIN_WAIT", "cS rA rF"),
    ("TIME_WAIT", "cS rA rF cF"),
    ("CLOSE", "cS rA cR"),
    ("CLOSE_WAIT", "cS rA cF"),
];
const TCP_WAYS_INPUT_ONLY: [Way; 5] = [
    ("SYN_RECV", "cS"),
    ("ESTABLISHED", "cS cA"),
    ("FIN_WAIT", "cS cA cF"),
    ("TIME_WAIT", "cS cF"),
    ("CLOSE", "cS cA cR"),
];
const TCP_WAYS_SECURE: [Way; 8] = [
    ("SYN_RECV", "cS"),
    ("SYNACK", "cS rS"),
    ("ESTABLISHED", "cS rA"),
    ("SYN_SENT", "cS rA rF rS"),
    ("FIN_WAIT", "cS rA rF"),
    ("TIME_WAIT", "cS rA rF cF"),
    ("CLOSE", "cS rA cR"),
    ("CLOSE_WAIT", "cS rA cF"),
];
const TCP_WAYS_SECURE_INPUT_ONLY: [Way; 5] = [
    ("SYNACK", "cS"),
    ("ESTABLISHED", "cS cA"),
    ("FIN_WAIT", "cS cA cF"),
    ("TIME_WAIT", "cS cF"),
    ("CLOSE", "cS cA cR"),
];
/// Flags, and what they are an event of; no flag of these four is one, too.
const TCP_EVENTS: [&str; 9] = ["S", "F", "A", "R", "P", "SA", "FA", "RA", "SF"];

const SCTP_WAYS: [Way; 13] = [
    ("INIT1", "c1"),
    ("INIT", "c1 c1"),
    ("C-SENT", "c1 r2"),
    ("C-REPLIED", "c1 r2 c10"),
    ("C-WAIT", "c1 c2"),
    ("COOKIE", "c1 c2 c2"),
    ("C-ECHOED", "c1 r10"),
    ("ESTABLISHED", "c1 r11"),
    ("S-SENT", "c1 r11 r7"),
    ("S-RECEIVED", "c1 r11 c7"),
    ("S-ACK-SENT", "c1 r11 r7 r8"),
    ("REJECTED", "c1 c2 c6"),
    ("CLOSED", "c1 c6"),
];
const SCTP_WAYS_INPUT_ONLY: [Way; 6] = [
    ("INIT1", "c1"),
    ("INIT", "c1 c1"),
    ("C-ECHOED", "c1 c2"),
    ("ESTABLISHED", "c1 c10"),
    ("S-RECEIVED", "c1 c10 c7"),
    ("CLOSED", "c1 c6"),
];
/// Chunk types by number: all that have an event of their own, and some that share one.
const SCTP_EVENTS: [&str; 16] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "192"];

/// Makes a client's or real's packet of an event.
type Make = fn(SocketAddr, SocketAddr, &str) -> Packet;

fn make_sctp(from: SocketAddr, to: SocketAddr, chunk: &str) -> Packet {
    sctp(from, to, &[(chunk.parse().expect("a chunk's type"), &[0; 16])])
}

/// Where packets of a real come from: its own address behind masquerading, the service's otherwise.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Masquerading,
    DirectRouting,
}

impl Method {
    fn real(self, service: SocketAddr) -> SocketAddr {
        if self == Self::Masquerading { at("10.0.1.1", 80) } else { service }
    }
}

fn service(s: &mut Script, kind: &str, method: Method) -> SocketAddr {
    let service = at(VIP, 80);
    s.ipvsadm(&format!("-A {kind} {service} -s rr"));
    let method = if method == Method::Masquerading { "-m" } else { "-g" };
    s.ipvsadm(&format!("-a {kind} {service} -r 10.0.1.1:80 {method}"));
    service
}

/// Tries each event in each state, each on a connection of its own.
fn cells(
    s: &mut Script,
    service: SocketAddr,
    method: Method,
    make: Make,
    ways: &[Way],
    senders: &str,
    events: &[&str],
) {
    let mut tries: Vec<(String, Vec<String>)> = Vec::new();
    for (state, way) in ways {
        let way: Vec<_> = way.split_whitespace().map(str::to_owned).collect();
        tries.push(((*state).to_owned(), way.clone()));
        for sender in senders.chars() {
            for event in events {
                let last = format!("{sender}{event}");
                tries.push((format!("{state} {last}"), [way.clone(), vec![last]].concat()));
            }
        }
    }
    follow(s, service, method, make, &tries, 20_000);
}

/// Has each try go its way, all of them step by step; then says where they are.
fn follow(
    s: &mut Script,
    service: SocketAddr,
    method: Method,
    make: Make,
    tries: &[(String, Vec<String>)],
    first: u16,
) {
    let steps = tries.iter().map(|(_, way)| way.len()).max().unwrap_or(0);
    for step in 0..steps {
        for (port, (_, way)) in (first..).zip(tries) {
            let Some((sender, event)) = way.get(step).map(|word| word.split_at(1)) else { continue };
            let client = at(CLIENT, port);
            match sender {
                "c" => s.send_from_client(&make(client, service, event)),
                _ => s.send_from_real(&make(method.real(service), client, event)),
            }
        }
        // What one cable brings must not overtake what the other brought.
        s.discard();
    }
    // Where a client was scheduled anew, the old connection expires at the next tick.
    s.pause_ms(100);
    let wanted: Vec<_> = tries.iter().map(|(label, _)| label.clone()).zip(first..).collect();
    s.states(&wanted);
}

fn tcp_masquerading(s: &mut Script) {
    let service = service(s, "-t", Method::Masquerading);
    cells(s, service, Method::Masquerading, tcp, &TCP_WAYS, "cr", &TCP_EVENTS);
    s.table();
}

fn tcp_input_only(s: &mut Script) {
    let service = service(s, "-t", Method::DirectRouting);
    cells(s, service, Method::DirectRouting, tcp, &TCP_WAYS_INPUT_ONLY, "cr", &TCP_EVENTS);
    s.table();
}

fn tcp_secure(s: &mut Script) {
    s.sysctl("secure_tcp", 3);
    let service = service(s, "-t", Method::Masquerading);
    cells(s, service, Method::Masquerading, tcp, &TCP_WAYS_SECURE, "cr", &TCP_EVENTS);
    s.table();
}

fn tcp_secure_input_only(s: &mut Script) {
    s.sysctl("secure_tcp", 3);
    let service = service(s, "-t", Method::DirectRouting);
    cells(s, service, Method::DirectRouting, tcp, &TCP_WAYS_SECURE_INPUT_ONLY, "cr", &TCP_EVENTS);
    s.table();
}

/// Has ICMP errors open connections, which are then in no state yet; tries each event from there.
fn from_none(
    s: &mut Script,
    service: SocketAddr,
    method: Method,
    make: Make,
    senders: &str,
    events: &[&str],
    first: u16,
) {
    s.sysctl("schedule_icmp", 1);
    let mut tries = vec![("none".to_owned(), Vec::new())];
    for sender in senders.chars() {
        tries.extend(events.iter().map(|event| (format!("none {sender}{event}"), vec![format!("{sender}{event}")])));
    }
    for (port, _) in (first..).zip(&tries) {
        let client = at(CLIENT, port);
        let about = make(service, client, if events.contains(&"S") { "A" } else { "0" });
        s.send_from_client(&icmp(client.ip(), service.ip(), 3, 1, 0, &about.quoted(28)));
    }
    s.discard();
    follow(s, service, method, make, &tries, first);
}

fn tcp_from_none(s: &mut Script) {
    let service = service(s, "-t", Method::Masquerading);
    from_none(s, service, Method::Masquerading, tcp, "cr", &TCP_EVENTS, 20_000);
    s.ipvsadm("-C");
    s.ipvsadms(["-A -t 10.0.0.101:80 -s rr", "-a -t 10.0.0.101:80 -r 10.0.1.2:80 -g"]);
    from_none(s, at("10.0.0.101", 80), Method::DirectRouting, tcp, "c", &TCP_EVENTS, 22_000);
}

fn sctp_masquerading(s: &mut Script) {
    // Else a client that begins anew is scheduled anew, and its old state is not looked at.
    s.sysctl("conn_reuse_mode", 0);
    let service = service(s, "--sctp-service", Method::Masquerading);
    cells(s, service, Method::Masquerading, make_sctp, &SCTP_WAYS, "cr", &SCTP_EVENTS);
    s.table();
}

fn sctp_input_only(s: &mut Script) {
    s.sysctl("conn_reuse_mode", 0);
    let service = service(s, "--sctp-service", Method::DirectRouting);
    cells(s, service, Method::DirectRouting, make_sctp, &SCTP_WAYS_INPUT_ONLY, "cr", &SCTP_EVENTS);
    s.table();
}

fn sctp_from_none(s: &mut Script) {
    let service = service(s, "--sctp-service", Method::Masquerading);
    from_none(s, service, Method::Masquerading, make_sctp, "cr", &SCTP_EVENTS, 20_000);
    s.ipvsadm("-C");
    s.ipvsadms(["-A --sctp-service 10.0.0.101:80 -s rr", "-a --sctp-service 10.0.0.101:80 -r 10.0.1.2:80 -g"]);
    from_none(s, at("10.0.0.101", 80), Method::DirectRouting, make_sctp, "c", &SCTP_EVENTS, 22_000);
}

/// Several chunks in one packet: the first counts, but for an abort behind a cookie.
fn sctp_bundles(s: &mut Script) {
    let service = service(s, "--sctp-service", Method::Masquerading);
    let bundles: [&[(u8, &[u8])]; 7] = [
        &[(10, &[0; 8]), (6, &[])],
        &[(11, &[]), (6, &[])],
        &[(10, &[0; 7]), (6, &[])],
        &[(10, &[0; 8]), (0, &[0; 16]), (6, &[])],
        &[(0, &[0; 16]), (6, &[])],
        &[(3, &[0; 12]), (7, &[0; 4])],
        &[(11, &[]), (7, &[0; 4])],
    ];
    let mut wanted = Vec::new();
    for (port, bundle) in (21_000..).zip(bundles) {
        let client = at(CLIENT, port);
        s.send_from_client(&make_sctp(client, service, "1"));
        s.discard();
        s.send_from_real(&make_sctp(at("10.0.1.1", 80), client, "11"));
        s.discard();
        s.send_from_client(&sctp(client, service, bundle));
        s.discard();
        wanted.push((format!("{bundle:?}"), port));
    }
    s.states(&wanted);
}
