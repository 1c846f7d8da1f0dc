//! Which packets open a connection, and what becomes of those that do not (connections.md section 3, forwarding.md section 6).

use super::{CLIENT, CLIENT6, Scenario, VIP, VIP6};
use crate::differential::{
    Script,
    frame::{self, icmp, raw, sctp, tcp, udp},
    script::at,
};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new("creation/tcp", tcp_flags),
    Scenario::new("creation/tcp-sloppy", tcp_sloppy),
    Scenario::new("creation/sctp", sctp_chunks),
    Scenario::new("creation/sctp-sloppy", sctp_sloppy),
    Scenario::new("creation/udp", udp_datagrams),
    Scenario::new("creation/short", short),
    Scenario::new("creation/icmp", icmp_errors),
    Scenario::new("creation/icmp-ipv6", icmp_errors_ipv6),
    Scenario::new("creation/source-port-20", source_port_20),
    Scenario::new("creation/no-service", no_service),
    Scenario::new("creation/no-destination", no_destination),
    Scenario::new("creation/no-destination-ipv6", no_destination_ipv6),
    Scenario::new("creation/one-packet", one_packet),
    Scenario::new("creation/one-packet-persistent", one_packet_persistent),
    Scenario::new("creation/drop-packet", drop_packet),
    Scenario::new("creation/ipv6", ipv6),
    Scenario::new("creation/other-protocols", other_protocols),
    Scenario::new("creation/mark", marked),
    Scenario::new("creation/mark-ipv6", marked_ipv6),
    Scenario::new("creation/port-0", port_0),
    Scenario::new("creation/ftp-port", ftp_port),
    Scenario::new("creation/bypass", bypass),
];

const TWO_REALS: [&str; 3] =
    ["-A -t 10.0.0.100:80 -s rr", "-a -t 10.0.0.100:80 -r 10.0.1.1:80 -m", "-a -t 10.0.0.100:80 -r 10.0.1.2:80 -m"];

fn all_flags(s: &mut Script) {
    s.ipvsadms(TWO_REALS);
    for (port, flags) in (3000..).zip(["S", "SA", "SF", "SR", "R", "RA", "A", "F", "FA", "PA", "", "U"]) {
        s.client(&tcp(at(CLIENT, port), at(VIP, 80), flags));
    }
    s.conns();
    s.table();
    s.stats();
}

fn tcp_flags(s: &mut Script) {
    all_flags(s);
}

fn tcp_sloppy(s: &mut Script) {
    s.sysctl("sloppy_tcp", 1);
    all_flags(s);
}

fn all_chunks(s: &mut Script) {
    s.ipvsadms([
        "-A --sctp-service 10.0.0.100:80 -s rr",
        "-a --sctp-service 10.0.0.100:80 -r 10.0.1.1:80 -m",
        "-a --sctp-service 10.0.0.100:80 -r 10.0.1.2:8080 -m",
    ]);
    for (port, chunk) in (3000..).zip([0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 14, 192]) {
        s.client(&sctp(at(CLIENT, port), at(VIP, 80), &[(chunk, &[0; 16])]));
    }
    s.real(&sctp(at("10.0.1.2", 8080), at(CLIENT, 3001), &[(2, &[0; 16])]));
    s.real(&sctp(at("10.0.1.1", 80), at(CLIENT, 3001), &[(2, &[0; 16])]));
    s.conns();
    s.table();
    s.stats();
}

fn sctp_chunks(s: &mut Script) {
    all_chunks(s);
}

fn sctp_sloppy(s: &mut Script) {
    s.sysctl("sloppy_sctp", 1);
    all_chunks(s);
}

fn udp_datagrams(s: &mut Script) {
    s.ipvsadms([
        "-A -u 10.0.0.100:53 -s rr",
        "-a -u 10.0.0.100:53 -r 10.0.1.1:53 -m",
        "-a -u 10.0.0.100:53 -r 10.0.1.2:53 -m",
    ]);
    let service = at(VIP, 53);
    s.client(&udp(at(CLIENT, 3000), service));
    s.client(&udp(at(CLIENT, 3001), service).says(b""));
    s.client(&udp(at(CLIENT, 3002), service).length(1500));
    s.client(&udp(at(CLIENT, 0), service));
    s.conns();
    s.table();
}

/// Headers that are cut off.
fn short(s: &mut Script) {
    s.ipvsadms(TWO_REALS);
    s.ipvsadms(["-A -u 10.0.0.100:80 -s rr", "-a -u 10.0.0.100:80 -r 10.0.1.1:80 -m"]);
    let (client, vip) = (at(CLIENT, 3000), at(VIP, 80));
    let whole_tcp = tcp(client, vip, "S").bytes()[20..].to_vec();
    let whole_udp = udp(client, vip).bytes()[20..].to_vec();
    for length in [0, 4, 8, 19] {
        s.client(&raw(client.ip(), vip.ip(), frame::EXPERIMENT, whole_tcp[..length].to_vec()).protocol(frame::TCP));
    }
    for length in [0, 4, 7] {
        s.client(&raw(client.ip(), vip.ip(), frame::EXPERIMENT, whole_udp[..length].to_vec()).protocol(frame::UDP));
    }
    s.conns();
}

fn icmp_errors(s: &mut Script) {
    s.ipvsadms(TWO_REALS);
    s.ipvsadms(["-A -u 10.0.0.100:53 -s rr", "-a -u 10.0.0.100:53 -r 10.0.1.1:53 -m"]);
    let about_tcp = |port| tcp(at(VIP, 80), at(CLIENT, port), "A").quoted(28);
    let error = |quoted: &[u8]| icmp(at(CLIENT, 0).ip(), at(VIP, 0).ip(), 3, 4, 1400, quoted);
    s.title("errors do not open connections by default");
    s.client(&error(&about_tcp(3000)));
    s.conns();
    s.sysctl("schedule_icmp", 1);
    s.client(&error(&about_tcp(3000)));
    s.client(&error(&about_tcp(3001)));
    s.client(&error(&udp(at(VIP, 53), at(CLIENT, 3002)).quoted(28)));
    s.title("of a service that is none");
    s.client(&error(&tcp(at(VIP, 81), at(CLIENT, 3003), "A").quoted(28)));
    s.title("without a destination");
    s.ipvsadms(["-d -u 10.0.0.100:53 -r 10.0.1.1:53"]);
    s.client(&error(&udp(at(VIP, 53), at(CLIENT, 3004)).quoted(28)));
    s.conns();
    s.table();
    s.stats();
}

fn icmp_errors_ipv6(s: &mut Script) {
    s.ipvsadms(["-A -t [fd00::100]:80 -s rr", "-a -t [fd00::100]:80 -r [fd01::1]:80 -m"]);
    let quoted = tcp(at(VIP6, 80), at(CLIENT6, 3000), "A").quoted(48);
    let error = icmp(at(CLIENT6, 0).ip(), at(VIP6, 0).ip(), 1, 3, 0, &quoted);
    s.client(&error);
    s.sysctl("schedule_icmp", 1);
    s.client(&error);
    s.conns();
}

fn source_port_20(s: &mut Script) {
    s.ipvsadms(TWO_REALS);
    s.ipvsadms(["-A -u 10.0.0.100:80 -s rr", "-a -u 10.0.0.100:80 -r 10.0.1.1:80 -m"]);
    s.client(&tcp(at(CLIENT, 20), at(VIP, 80), "S"));
    s.client(&udp(at(CLIENT, 20), at(VIP, 80)));
    s.client(&tcp(at(CLIENT, 21), at(VIP, 80), "S"));
    s.conns();
}

/// The director's own stack answers.
fn no_service(s: &mut Script) {
    s.ipvsadms(TWO_REALS);
    s.client(&tcp(at(CLIENT, 3000), at(VIP, 81), "S"));
    s.client(&udp(at(CLIENT, 3000), at(VIP, 80)));
    s.client(&tcp(at(CLIENT, 3000), at("10.0.0.101", 80), "S"));
    s.client(&icmp(at(CLIENT, 0).ip(), at(VIP, 0).ip(), 8, 0, 0x10001, b"echo"));
    s.conns();
}

fn no_destination(s: &mut Script) {
    s.ipvsadms(["-A -t 10.0.0.100:80 -s rr", "-A -u 10.0.0.100:80 -s wlc", "-A --sctp-service 10.0.0.100:80 -s rr"]);
    let mut port = 3000;
    let mut try_all = |s: &mut Script| {
        port += 1;
        s.client(&tcp(at(CLIENT, port), at(VIP, 80), "S"));
        s.client(&udp(at(CLIENT, port), at(VIP, 80)));
        s.client(&sctp(at(CLIENT, port), at(VIP, 80), &[(1, &[0; 16])]));
    };
    try_all(s);
    for kind in ["-t", "-u", "--sctp-service"] {
        s.ipvsadm(&format!("-a {kind} 10.0.0.100:80 -r 10.0.1.1:80 -m -w 0"));
    }
    try_all(s);
    s.title("long packets are quoted up to 576 bytes in all; type of service and options are kept in mind");
    s.client(&udp(at(CLIENT, 4000), at(VIP, 80)).length(1400));
    s.client(&udp(at(CLIENT, 4001), at(VIP, 80)).tos(0x28));
    s.client(&udp(at(CLIENT, 4002), at(VIP, 80)).options(&[7, 7, 4, 0, 0, 0, 0, 0]));
    s.client(&tcp(at("192.0.2.7", 4003), at(VIP, 80), "S"));
    s.conns();
    s.table();
    s.stats();
}

fn no_destination_ipv6(s: &mut Script) {
    s.ipvsadms(["-A -t [fd00::100]:80 -s rr", "-A -u [fd00::100]:80 -s rr"]);
    s.client(&tcp(at(CLIENT6, 3000), at(VIP6, 80), "S"));
    s.client(&udp(at(CLIENT6, 3000), at(VIP6, 80)));
    s.client(&udp(at(CLIENT6, 3001), at(VIP6, 80)).length(1500));
    s.conns();
}

fn one_packet(s: &mut Script) {
    s.ipvsadms([
        "-A -u 10.0.0.100:53 -s rr -o",
        "-a -u 10.0.0.100:53 -r 10.0.1.1:53 -m",
        "-a -u 10.0.0.100:53 -r 10.0.1.2:53 -m",
    ]);
    let service = at(VIP, 53);
    let many: Vec<_> = (0..6).map(|_| udp(at(CLIENT, 3000), service)).collect();
    s.picks("one client", &many);
    s.client(&udp(at(CLIENT, 3001), service));
    s.real(&udp(at("10.0.1.2", 53), at(CLIENT, 3001)));
    s.conns();
    s.table();
    s.stats();
}

fn one_packet_persistent(s: &mut Script) {
    s.ipvsadms([
        "-A -u 10.0.0.100:53 -s rr -o -p 50",
        "-a -u 10.0.0.100:53 -r 10.0.1.1:53 -m",
        "-a -u 10.0.0.100:53 -r 10.0.1.2:53 -m",
    ]);
    let many: Vec<_> = (3000..3006).map(|port| udp(at(CLIENT, port), at(VIP, 53))).collect();
    s.picks("one client", &many);
    let many: Vec<_> = (10..16).map(|client| udp(at(&format!("10.0.0.{client}"), 3000), at(VIP, 53))).collect();
    s.picks("many clients", &many);
    s.conns();
    s.table();
    s.stats();
}

fn drop_packet(s: &mut Script) {
    s.ipvsadms(TWO_REALS);
    s.sysctl("am_droprate", 5);
    s.sysctl("drop_packet", 3);
    let syns: Vec<_> = (3000..3020).map(|port| tcp(at(CLIENT, port), at(VIP, 80), "S")).collect();
    s.picks("every fifth is dropped", &syns);
    let acks: Vec<_> = (3001..3005).map(|port| tcp(at(CLIENT, port), at(VIP, 80), "A")).collect();
    s.picks("of a connection, none is", &acks);
    s.sysctl("drop_packet", 0);
    let syns: Vec<_> = (3100..3106).map(|port| tcp(at(CLIENT, port), at(VIP, 80), "S")).collect();
    s.picks("none", &syns);
    s.table();
}

fn ipv6(s: &mut Script) {
    s.ipvsadms([
        "-A -t [fd00::100]:80 -s rr",
        "-a -t [fd00::100]:80 -r [fd01::1]:8080 -m",
        "-a -t [fd00::100]:80 -r [fd01::2]:80 -g",
        "-A -u [fd00::100]:53 -s rr",
        "-a -u [fd00::100]:53 -r [fd01::1]:53 -m",
        "-A --sctp-service [fd00::100]:80 -s rr",
        "-a --sctp-service [fd00::100]:80 -r [fd01::1]:8080 -m",
    ]);
    let service = at(VIP6, 80);
    s.client(&tcp(at(CLIENT6, 3000), service, "S"));
    s.client(&tcp(at(CLIENT6, 3001), service, "S").tos(0x28));
    s.real(&tcp(at("fd01::1", 8080), at(CLIENT6, 3001), "SA"));
    s.client(&tcp(at(CLIENT6, 3001), service, "A"));
    s.client(&udp(at(CLIENT6, 3002), at(VIP6, 53)));
    s.real(&udp(at("fd01::1", 53), at(CLIENT6, 3002)));
    s.client(&sctp(at(CLIENT6, 3003), service, &[(1, &[0; 16])]));
    s.real(&sctp(at("fd01::1", 8080), at(CLIENT6, 3003), &[(2, &[0; 16])]));
    s.client(&tcp(at(CLIENT6, 3004), service, "A"));
    s.client(&tcp(at("2001:db8::7", 3005), service, "S"));
    s.conns();
    s.table();
    s.stats();
}

/// Protocols that no service can have go to the director's stack; AH and ESP follow a UDP connection between the ports 500.
fn other_protocols(s: &mut Script) {
    s.ipvsadms(["-A -u 10.0.0.100:500 -s rr", "-a -u 10.0.0.100:500 -r 10.0.1.1:500 -m"]);
    let (client, vip) = (at(CLIENT, 0).ip(), at(VIP, 0).ip());
    s.client(&raw(client, vip, 50, vec![0; 40]));
    s.client(&udp(at(CLIENT, 500), at(VIP, 500)));
    s.client(&raw(client, vip, 50, vec![0; 40]));
    s.client(&raw(client, vip, 51, vec![0; 40]));
    s.real(&raw(at("10.0.1.1", 0).ip(), client, 50, vec![0; 40]));
    s.client(&raw(client, vip, 47, vec![0; 40]));
    s.conns();
    s.stats();
}

fn marked(s: &mut Script) {
    s.mark(7, "tcp", VIP, 80);
    s.mark(7, "udp", VIP, 80);
    s.mark(7, "tcp", VIP, 443);
    s.mark(8, "tcp", VIP, 81);
    s.ipvsadms([
        "-A -f 7 -s rr",
        "-a -f 7 -r 10.0.1.1 -m",
        "-a -f 7 -r 10.0.1.2:8080 -m",
        "-A -t 10.0.0.100:81 -s rr",
        "-a -t 10.0.0.100:81 -r 10.0.1.3:81 -m",
        "-A -t 10.0.0.100:80 -s rr",
        "-a -t 10.0.0.100:80 -r 10.0.1.4:80 -m",
    ]);
    s.client(&tcp(at(CLIENT, 3000), at(VIP, 80), "S"));
    s.client(&tcp(at(CLIENT, 3000), at(VIP, 443), "S"));
    s.client(&udp(at(CLIENT, 3000), at(VIP, 80)));
    s.title("a mark of no service");
    s.client(&tcp(at(CLIENT, 3000), at(VIP, 81), "S"));
    s.real(&tcp(at("10.0.1.1", 443), at(CLIENT, 3000), "SA"));
    s.conns();
    s.table();
}

fn marked_ipv6(s: &mut Script) {
    s.mark(7, "tcp", VIP6, 80);
    s.ipvsadms(["-A -f 7 -6 -s rr", "-a -f 7 -6 -r [fd01::1]:0 -m", "-a -f 7 -6 -r [fd01::2]:0 -g"]);
    s.client(&tcp(at(CLIENT6, 3000), at(VIP6, 80), "S"));
    s.client(&tcp(at(CLIENT6, 3001), at(VIP6, 80), "S"));
    s.conns();
    s.table();
}

fn port_0(s: &mut Script) {
    s.ipvsadms(["-A -t 10.0.0.100:0 -s rr", "-A -t 10.0.0.100:0 -s rr -p 100"]);
    s.ipvsadms(["-a -t 10.0.0.100:0 -r 10.0.1.1:0 -m", "-a -t 10.0.0.100:0 -r 10.0.1.2:8080 -m"]);
    s.ipvsadms(["-A -t 10.0.0.100:80 -s rr", "-a -t 10.0.0.100:80 -r 10.0.1.3:80 -m"]);
    for client in 10..14 {
        let client = format!("10.0.0.{client}");
        s.client(&tcp(at(&client, 3000), at(VIP, 80), "S"));
        s.client(&tcp(at(&client, 3000), at(VIP, 443), "S"));
        s.client(&tcp(at(&client, 3000), at(VIP, 22), "S"));
    }
    s.client(&udp(at(CLIENT, 3000), at(VIP, 53)));
    s.conns();
    s.table();
}

/// A service of port 21 is asked for data connections, too.
fn ftp_port(s: &mut Script) {
    s.title("not persistent");
    s.ipvsadms(["-A -t 10.0.0.100:21 -s rr", "-a -t 10.0.0.100:21 -r 10.0.1.1:21 -m"]);
    for port in [21, 20, 1023, 1024, 40_000] {
        s.client(&tcp(at(CLIENT, 3000), at(VIP, port), "S"));
    }
    s.title("persistent");
    s.ipvsadms([
        "-A -t 10.0.0.101:21 -s rr -p 100",
        "-a -t 10.0.0.101:21 -r 10.0.1.1:21 -m",
        "-a -t 10.0.0.101:21 -r 10.0.1.2:2121 -m",
    ]);
    for client in ["10.0.0.10", "10.0.0.11"] {
        for port in [21, 20, 1023, 1024, 40_000] {
            s.client(&tcp(at(client, 3000), at("10.0.0.101", port), "S"));
        }
    }
    s.conns();
    s.table();
}

/// Without a destination, a marked packet for somewhere else goes on there.
fn bypass(s: &mut Script) {
    s.command("ip rule add fwmark 7 lookup 100");
    s.command("ip route add local default dev lo table 100");
    s.mark(7, "tcp", "198.51.100.7", 80);
    s.ipvsadms(["-A -f 7 -s rr"]);
    let to = at("198.51.100.7", 80);
    s.client(&tcp(at(CLIENT, 3000), to, "S"));
    s.sysctl("cache_bypass", 1);
    s.client(&tcp(at(CLIENT, 3001), to, "S"));
    s.client(&tcp(at(CLIENT, 3001), to, "A"));
    s.conns();
    s.stats();
    s.command("ip rule del fwmark 7 lookup 100");
}
