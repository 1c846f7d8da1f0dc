//! ICMP errors about connections, from either side, for each forwarding method (forwarding.md section 5).

use super::{CLIENT, CLIENT6, Scenario, VIP, VIP6};
use crate::differential::{
    Script,
    frame::{Packet, icmp, sctp, tcp, udp},
    script::at,
};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new("icmp/masquerading", |s| about_connections(s, "-m")),
    Scenario::new("icmp/direct-routing", |s| about_connections(s, "-g")),
    Scenario::new("icmp/tunnel", |s| about_connections(s, "-i")),
    Scenario::new("icmp/masquerading-ipv6", |s| about_connections_ipv6(s, "-m")),
    Scenario::new("icmp/direct-routing-ipv6", |s| about_connections_ipv6(s, "-g")),
    Scenario::new("icmp/sctp", about_sctp),
    Scenario::new("icmp/of-tunnels", of_tunnels),
    Scenario::new("icmp/damaged", damaged),
    Scenario::new("icmp/from-reals", from_reals),
];

fn error(from: &str, to: &str, kind: u8, code: u8, rest: u32, about: &Packet) -> Packet {
    icmp(at(from, 0).ip(), at(to, 0).ip(), kind, code, rest, &about.quoted(576))
}

fn about_connections(s: &mut Script, method: &str) {
    s.ipvsadms([
        "-A -t 10.0.0.100:80 -s rr".to_owned(),
        format!("-a -t 10.0.0.100:80 -r 10.0.1.1:{} {method}", if method == "-m" { 8080 } else { 80 }),
        "-A -u 10.0.0.100:53 -s rr".to_owned(),
        format!("-a -u 10.0.0.100:53 -r 10.0.1.1:53 {method}"),
    ]);
    let (client, web, names) = (at(CLIENT, 3000), at(VIP, 80), at(VIP, 53));
    s.client(&tcp(client, web, "S"));
    s.client(&udp(client, names));
    s.title("from the client's side");
    let (segment, datagram) = (tcp(web, client, "PA").length(200), udp(names, client).length(200));
    for (kind, code, rest) in [(3, 3, 0), (3, 4, 1400), (11, 0, 0), (4, 0, 0), (12, 0, 0), (5, 1, 0x0a00_0001)] {
        s.client(&error(CLIENT, VIP, kind, code, rest, &segment));
    }
    s.client(&error(CLIENT, VIP, 3, 3, 0, &datagram));
    s.client(&error("192.0.2.1", VIP, 3, 4, 1300, &datagram));
    s.client(&error(CLIENT, VIP, 3, 3, 0, &tcp(web, at(CLIENT, 3999), "A")));
    s.client(&error(CLIENT, VIP, 3, 3, 0, &segment).ttl(1));
    s.title("cut to what RFC 792 asks for");
    s.client(&icmp(client.ip(), web.ip(), 3, 1, 0, &segment.quoted(28)));
    s.title("from the reals' side");
    let real = if method == "-m" { at("10.0.1.1", 8080) } else { web };
    let (segment, datagram) = (
        tcp(client, real, "PA").length(200),
        udp(client, if method == "-m" { at("10.0.1.1", 53) } else { names }).length(200),
    );
    s.real(&error("10.0.1.1", CLIENT, 3, 3, 0, &segment));
    s.real(&error("10.0.1.1", CLIENT, 3, 3, 0, &datagram));
    s.real(&error("10.0.1.20", CLIENT, 11, 0, 0, &datagram));
    s.real(&error("10.0.1.1", CLIENT, 3, 4, 1200, &segment));
    s.real(&error("10.0.1.1", CLIENT, 3, 3, 0, &udp(at(CLIENT, 3999), at("10.0.1.1", 53))));
    s.conns();
    s.stats();
}

fn about_connections_ipv6(s: &mut Script, method: &str) {
    s.ipvsadms([
        "-A -t [fd00::100]:80 -s rr".to_owned(),
        format!("-a -t [fd00::100]:80 -r [fd01::1]:{} {method}", if method == "-m" { 8080 } else { 80 }),
        "-A -u [fd00::100]:53 -s rr".to_owned(),
        format!("-a -u [fd00::100]:53 -r [fd01::1]:53 {method}"),
    ]);
    let (client, web, names) = (at(CLIENT6, 3000), at(VIP6, 80), at(VIP6, 53));
    s.client(&tcp(client, web, "S"));
    s.client(&udp(client, names));
    s.title("from the client's side");
    let (segment, datagram) = (tcp(web, client, "PA").length(200), udp(names, client).length(200));
    for (kind, code, rest) in [(1, 4, 0), (2, 0, 1300), (3, 0, 0), (4, 1, 40)] {
        s.client(&error(CLIENT6, VIP6, kind, code, rest, &segment));
    }
    s.client(&error(CLIENT6, VIP6, 1, 4, 0, &datagram));
    s.client(&error("2001:db8::1", VIP6, 2, 0, 1300, &datagram));
    s.client(&error(CLIENT6, VIP6, 1, 4, 0, &tcp(web, at(CLIENT6, 3999), "A")));
    s.title("from the reals' side");
    let real = if method == "-m" { at("fd01::1", 8080) } else { web };
    s.real(&error("fd01::1", CLIENT6, 1, 4, 0, &tcp(client, real, "PA").length(200)));
    let real = if method == "-m" { at("fd01::1", 53) } else { names };
    s.real(&error("fd01::1", CLIENT6, 1, 4, 0, &udp(client, real).length(200)));
    s.conns();
    s.stats();
}

fn about_sctp(s: &mut Script) {
    s.ipvsadms(["-A --sctp-service 10.0.0.100:80 -s rr", "-a --sctp-service 10.0.0.100:80 -r 10.0.1.1:8080 -m"]);
    let (client, service) = (at(CLIENT, 3000), at(VIP, 80));
    s.client(&sctp(client, service, &[(1, &[0; 16])]));
    s.client(&error(CLIENT, VIP, 3, 2, 0, &sctp(service, client, &[(2, &[0; 16])])));
    s.real(&error("10.0.1.1", CLIENT, 3, 2, 0, &sctp(client, at("10.0.1.1", 8080), &[(1, &[0; 16])])));
    s.conns();
    s.stats();
}

/// Routers on the way to a tunnel's end complain to the director, which tells the client.
fn of_tunnels(s: &mut Script) {
    s.ipvsadms(["-A -t 10.0.0.100:80 -s rr", "-a -t 10.0.0.100:80 -r 10.0.1.1:80 -i"]);
    let (client, service) = (at(CLIENT, 3000), at(VIP, 80));
    s.client(&tcp(client, service, "S"));
    let outer = |inner: &Packet| {
        let (from, to) = (at("10.0.1.254", 0).ip(), at("10.0.1.1", 0).ip());
        crate::differential::frame::raw(from, to, 4, inner.bytes())
    };
    let (free, bound) = (tcp(client, service, "A"), tcp(client, service, "A").dont_fragment());
    s.real(&error("10.0.1.20", "10.0.1.254", 11, 0, 0, &outer(&free)));
    s.real(&error("10.0.1.20", "10.0.1.254", 3, 1, 0, &outer(&bound)));
    s.real(&error("10.0.1.20", "10.0.1.254", 3, 4, 1400, &outer(&free).dont_fragment()));
    s.real(&error("10.0.1.20", "10.0.1.254", 3, 4, 1400, &outer(&bound).dont_fragment()));
    s.title("a packet that is larger than that from now on");
    s.client(&tcp(client, service, "A").length(1400).dont_fragment());
    s.client(&tcp(client, service, "A").length(1370).dont_fragment());
    s.title("about a connection that is none");
    s.real(&error("10.0.1.20", "10.0.1.254", 3, 1, 0, &outer(&tcp(at(CLIENT, 3999), service, "A"))));
    s.conns();
    s.stats();
}

fn damaged(s: &mut Script) {
    s.ipvsadms(["-A -t 10.0.0.100:80 -s rr", "-a -t 10.0.0.100:80 -r 10.0.1.1:8080 -m"]);
    let (client, service) = (at(CLIENT, 3000), at(VIP, 80));
    s.client(&tcp(client, service, "S"));
    let about = tcp(service, client, "A");
    s.client(&error(CLIENT, VIP, 3, 3, 0, &about).wrong_sum());
    s.client(&icmp(client.ip(), service.ip(), 3, 3, 0, &about.quoted(20)));
    s.client(&icmp(client.ip(), service.ip(), 3, 3, 0, &about.quoted(10)));
    s.client(&icmp(client.ip(), service.ip(), 3, 3, 0, &[]));
    let about = tcp(client, at("10.0.1.1", 8080), "A");
    s.real(&error("10.0.1.1", CLIENT, 3, 3, 0, &about).wrong_sum());
    s.stats();
}

/// nat_icmp_send: what reals say without a connection.
fn from_reals(s: &mut Script) {
    s.ipvsadms([
        "-A -t 10.0.0.100:80 -s rr",
        "-a -t 10.0.0.100:80 -r 10.0.1.1:80 -m",
        "-a -t 10.0.0.100:80 -r 10.0.1.2:80 -g",
        "-A -u 10.0.0.100:53 -s rr",
        "-a -u 10.0.0.100:53 -r 10.0.1.1:53 -m",
    ]);
    for enabled in [0, 1] {
        s.sysctl("nat_icmp_send", enabled);
        let client = at(CLIENT, 3000);
        for (real, port) in [("10.0.1.1", 80), ("10.0.1.1", 81), ("10.0.1.2", 80), ("10.0.1.3", 80)] {
            s.real(&tcp(at(real, port), client, "A"));
        }
        s.real(&tcp(at("10.0.1.1", 80), client, "R"));
        s.real(&udp(at("10.0.1.1", 53), client));
        s.real(&udp(at("10.0.1.1", 80), client));
    }
}
