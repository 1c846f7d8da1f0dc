//! Connections that another director told of, in every state there is: the state machines' cells that no packets lead to
//! (connections.md section 6, sync.md).

use std::net::SocketAddr;

use super::{CLIENT, Scenario, VIP};
use crate::differential::{
    Script,
    frame::{Packet, sctp, tcp, udp},
    script::at,
};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new("sync/tcp", |s| tcp_cells(s, "-m", "cr", false)),
    Scenario::new("sync/tcp-input-only", |s| tcp_cells(s, "-g", "c", false)),
    Scenario::new("sync/tcp-secure", |s| tcp_cells(s, "-m", "cr", true)),
    Scenario::new("sync/tcp-secure-input-only", |s| tcp_cells(s, "-g", "c", true)),
    Scenario::new("sync/sctp", |s| sctp_cells(s, "-m", "cr")),
    Scenario::new("sync/sctp-input-only", |s| sctp_cells(s, "-g", "c")),
    Scenario::new("sync/received", received),
];

const TCP_STATES: [&str; 11] = [
    "NONE",
    "ESTABLISHED",
    "SYN_SENT",
    "SYN_RECV",
    "FIN_WAIT",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "SYNACK",
];
const SCTP_STATES: [&str; 14] = [
    "NONE",
    "INIT1",
    "INIT",
    "C-SENT",
    "C-REPLIED",
    "C-WAIT",
    "COOKIE",
    "C-ECHOED",
    "ESTABLISHED",
    "S-SENT",
    "S-RECEIVED",
    "S-ACK-SENT",
    "REJECTED",
    "CLOSED",
];

/// A connection as messages tell of it.
struct Told {
    protocol: u8,
    flags: u32,
    state: u16,
    client: SocketAddr,
    service: SocketAddr,
    real: SocketAddr,
    timeout_s: u32,
}

impl Told {
    /// An entry of a message of version 1.
    fn bytes(&self) -> Vec<u8> {
        let address = |end: SocketAddr| match end.ip() {
            std::net::IpAddr::V4(address) => address.octets().to_vec(),
            std::net::IpAddr::V6(address) => address.octets().to_vec(),
        };
        let six = u8::from(self.client.is_ipv6());
        let length: u16 = if six == 1 { 72 } else { 36 };
        let mut bytes = vec![six, self.protocol];
        bytes.extend(length.to_be_bytes());
        bytes.extend(self.flags.to_be_bytes());
        for half in [self.state, self.client.port(), self.service.port(), self.real.port()] {
            bytes.extend(half.to_be_bytes());
        }
        bytes.extend(0_u32.to_be_bytes());
        bytes.extend(self.timeout_s.to_be_bytes());
        for end in [self.client, self.service, self.real] {
            bytes.extend(address(end));
        }
        bytes
    }
}

/// A message of version 1 as another director sends it.
fn message(told: &[Told]) -> Packet {
    let entries: Vec<u8> = told.iter().flat_map(Told::bytes).collect();
    let mut bytes = vec![0, 0];
    bytes.extend((8 + entries.len() as u16).to_be_bytes());
    bytes.extend([told.len() as u8, 1, 0, 0]);
    bytes.extend(entries);
    udp(at("10.0.0.20", 40_000), at("224.0.0.81", 8848)).says(&bytes)
}

fn tell(s: &mut Script, told: &[Told]) {
    for some in told.chunks(30) {
        s.send_from_client(&message(some));
    }
    s.discard();
    // The daemon that receives them is a thread of its own.
    s.pause_ms(300);
}

/// Each state of a connection of its own, in which each event is tried from each sender.
#[allow(clippy::too_many_arguments)]
fn cells(
    s: &mut Script,
    protocol: u8,
    states: &[&str],
    events: &[&str],
    senders: &str,
    method: &str,
    make: fn(SocketAddr, SocketAddr, &str) -> Packet,
) {
    let service = at(VIP, 80);
    let masquerading = method == "-m";
    let real = at("10.0.1.1", 80);
    let mut tries = Vec::new();
    for (state, name) in (0..).zip(states) {
        tries.push((state, (*name).to_owned(), None));
        for sender in senders.chars() {
            tries.extend(events.iter().map(|event| (state, format!("{name} {sender}{event}"), Some((sender, *event)))));
        }
    }
    let told: Vec<_> = (20_000..)
        .zip(&tries)
        .map(|(port, (state, ..))| Told {
            protocol,
            flags: if masquerading { 0x100 } else { 0x183 },
            state: *state,
            client: at(CLIENT, port),
            service,
            real,
            timeout_s: 500,
        })
        .collect();
    tell(s, &told);
    for (port, (_, _, event)) in (20_000..).zip(&tries) {
        let client = at(CLIENT, port);
        match event {
            Some(('c', event)) => s.send_from_client(&make(client, service, event)),
            Some((_, event)) => s.send_from_real(&make(if masquerading { real } else { service }, client, event)),
            None => {}
        }
    }
    s.discard();
    let wanted: Vec<_> = tries.iter().map(|(_, label, _)| label.clone()).zip(20_000..).collect();
    s.states(&wanted);
    s.table();
}

fn backup(s: &mut Script) {
    s.ipvsadm("--start-daemon backup --mcast-interface eth0");
    s.ipvsadm("-L --daemon");
}

fn end_backup(s: &mut Script) {
    s.ipvsadm("--stop-daemon backup");
}

fn tcp_cells(s: &mut Script, method: &str, senders: &str, secure: bool) {
    if secure {
        s.sysctl("secure_tcp", 3);
    }
    s.sysctl("conn_reuse_mode", 0);
    s.ipvsadms(["-A -t 10.0.0.100:80 -s rr".to_owned(), format!("-a -t 10.0.0.100:80 -r 10.0.1.1:80 {method}")]);
    backup(s);
    cells(s, crate::differential::frame::TCP, &TCP_STATES, &["S", "F", "A", "R", "P"], senders, method, tcp);
    end_backup(s);
}

fn sctp_cells(s: &mut Script, method: &str, senders: &str) {
    s.sysctl("conn_reuse_mode", 0);
    s.ipvsadms([
        "-A --sctp-service 10.0.0.100:80 -s rr".to_owned(),
        format!("-a --sctp-service 10.0.0.100:80 -r 10.0.1.1:80 {method}"),
    ]);
    backup(s);
    let events = ["0", "1", "2", "10", "11", "7", "8", "14", "9", "6"];
    cells(s, crate::differential::frame::SCTP, &SCTP_STATES, &events, senders, method, |from, to, chunk| {
        sctp(from, to, &[(chunk.parse().expect("a chunk's type"), &[0; 16])])
    });
    end_backup(s);
}

/// With and without a real that is known here, templates, and changes of what was told.
fn received(s: &mut Script) {
    s.ipvsadms([
        "-A -t 10.0.0.100:80 -s rr",
        "-a -t 10.0.0.100:80 -r 10.0.1.1:80 -m",
        "-A -u 10.0.0.100:53 -s rr -p 100",
        "-a -u 10.0.0.100:53 -r 10.0.1.1:53 -m",
    ]);
    backup(s);
    let tell_of = |protocol, flags, state, port, service: u16, real, timeout_s| Told {
        protocol,
        flags,
        state,
        client: at(CLIENT, port),
        service: at(VIP, service),
        real: at(real, service),
        timeout_s,
    };
    tell(
        s,
        &[
            tell_of(6, 0, 1, 3000, 80, "10.0.1.1", 500),
            tell_of(6, 0x100, 5, 3001, 80, "10.0.1.1", 0),
            tell_of(6, 0x3, 1, 3002, 80, "10.0.1.2", 500),
            tell_of(6, 0, 77, 3003, 80, "10.0.1.1", 500),
            tell_of(17, 0, 0, 3004, 53, "10.0.1.1", 0),
            tell_of(17, 0x1000, 0, 0, 53, "10.0.1.1", 0),
            tell_of(99, 0, 0, 3005, 53, "10.0.1.1", 0),
        ],
    );
    s.conns();
    s.table();
    for port in [3000, 3001, 3002, 3003] {
        s.client(&tcp(at(CLIENT, port), at(VIP, 80), "A"));
    }
    s.client(&udp(at(CLIENT, 3006), at(VIP, 53)));
    s.conns();
    s.title("told again, with another state and as inactive");
    tell(s, &[tell_of(6, 0x100, 4, 3000, 80, "10.0.1.1", 300)]);
    s.conns();
    s.table();
    end_backup(s);
}
