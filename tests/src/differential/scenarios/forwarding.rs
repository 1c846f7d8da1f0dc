//! How packets are forwarded: each method, what of a packet is kept, what is too old or too long, fragments, tunnels
//! (forwarding.md sections 3, 4 and 7).

use super::{CLIENT, CLIENT6, Scenario, VIP, VIP6};
use crate::differential::{
    Script,
    frame::{Packet, sctp, tcp, udp},
    script::at,
};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new("forwarding/methods", methods),
    Scenario::new("forwarding/methods-ipv6", methods_ipv6),
    Scenario::new("forwarding/kept", kept),
    Scenario::new("forwarding/checksums", checksums),
    Scenario::new("forwarding/udp-unsummed", udp_unsummed),
    Scenario::new("forwarding/ttl", ttl),
    Scenario::new("forwarding/ttl-ipv6", ttl_ipv6),
    Scenario::new("forwarding/mtu-masquerading", |s| mtu(s, "-m")),
    Scenario::new("forwarding/mtu-direct-routing", |s| mtu(s, "-g")),
    Scenario::new("forwarding/mtu-tunnel", |s| mtu(s, "-i")),
    Scenario::new("forwarding/mtu-tunnel-no-discovery", mtu_tunnel_no_discovery),
    Scenario::new("forwarding/mtu-ipv6", mtu_ipv6),
    Scenario::new("forwarding/mtu-reply", mtu_reply),
    Scenario::new("forwarding/no-route", no_route),
    Scenario::new("forwarding/gateway", gateway),
    Scenario::new("forwarding/fragments", fragments),
    Scenario::new("forwarding/fragments-out-of-order", fragments_out_of_order),
    Scenario::new("forwarding/fragments-reply", fragments_reply),
    Scenario::new("forwarding/fragments-direct-routing", fragments_direct_routing),
    Scenario::new("forwarding/fragments-lone", fragments_lone),
    Scenario::new("forwarding/fragments-ipv6", fragments_ipv6),
    Scenario::new("forwarding/replies-past-director", replies_past_director),
    Scenario::new("forwarding/local-real", local_real),
    Scenario::new("tunnels/ipip", |s| tunnel(s, "ipip", "")),
    Scenario::new("tunnels/gre", |s| tunnel(s, "gre", " --tun-nocsum")),
    Scenario::new("tunnels/gre-summed", |s| tunnel(s, "gre", " --tun-csum")),
    Scenario::new("tunnels/gue", |s| tunnel(s, "gue", " --tun-port 6080 --tun-nocsum")),
    Scenario::new("tunnels/gue-summed", |s| tunnel(s, "gue", " --tun-port 6080 --tun-csum")),
    Scenario::new("tunnels/gue-remcsum", |s| tunnel(s, "gue", " --tun-port 6080 --tun-remcsum")),
    Scenario::new("tunnels/tos", tunnel_tos),
    Scenario::new("tunnels/edited", tunnel_edited),
    Scenario::new("tunnels/refused", tunnel_refused),
];

fn methods(s: &mut Script) {
    for (port, method) in [(80, "-m"), (81, "-g"), (82, "-i")] {
        let real = at("10.0.1.1", if method == "-m" { 8080 } else { port });
        for kind in ["-t", "-u", "--sctp-service"] {
            s.ipvsadm(&format!("-A {kind} 10.0.0.100:{port} -s rr"));
            s.ipvsadm(&format!("-a {kind} 10.0.0.100:{port} -r {real} {method}"));
        }
        let (client, service) = (at(CLIENT, 3000), at(VIP, port));
        s.client(&tcp(client, service, "S"));
        s.client(&tcp(client, service, "PA").payload(b"hello"));
        s.client(&udp(client, service));
        // SCTP's first state lasts four seconds only.
        s.client(&sctp(client, service, &[(1, &[0; 16])]));
        if method == "-m" {
            s.real(&sctp(real, client, &[(2, &[0; 16])]));
            s.real(&tcp(real, client, "SA"));
            s.real(&udp(real, client));
        } else {
            s.client(&sctp(client, service, &[(10, &[0; 16])]));
        }
    }
    s.conns();
    s.table();
    s.stats();
}

fn methods_ipv6(s: &mut Script) {
    for (port, method) in [(80, "-m"), (81, "-g"), (82, "-i")] {
        for kind in ["-t", "-u"] {
            let real_port = if method == "-m" { 8080 } else { port };
            s.ipvsadm(&format!("-A {kind} [fd00::100]:{port} -s rr"));
            s.ipvsadm(&format!("-a {kind} [fd00::100]:{port} -r [fd01::1]:{real_port} {method}"));
        }
        let (client, service) = (at(CLIENT6, 3000), at(VIP6, port));
        s.client(&tcp(client, service, "S").tos(0x28));
        s.client(&udp(client, service));
    }
    let (client, real) = (at(CLIENT6, 3000), at("fd01::1", 8080));
    s.real(&tcp(real, client, "SA"));
    s.real(&udp(real, client));
    s.conns();
    s.table();
    s.stats();
}

/// Options, type of service, identification and "don't fragment" stay as they are.
fn kept(s: &mut Script) {
    for (port, method) in [(80, "-m"), (81, "-g"), (82, "-i")] {
        s.ipvsadm(&format!("-A -u 10.0.0.100:{port} -s rr"));
        s.ipvsadm(&format!("-a -u 10.0.0.100:{port} -r 10.0.1.1:{port} {method}"));
        let packet = udp(at(CLIENT, 3000), at(VIP, port));
        s.client(&packet.clone().tos(0xb8));
        s.client(&packet.clone().dont_fragment());
        s.client(&packet.clone().dont_fragment().identification(0));
        s.client(&packet.clone().options(&[1, 1, 1, 0]));
        s.client(&packet.clone().options(&[7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
        s.client(&packet.options(&[148, 4, 0, 0]).tos(3));
    }
    s.real(&udp(at("10.0.1.1", 80), at(CLIENT, 3000)).tos(0x10).dont_fragment().options(&[1, 1, 1, 0]));
}

fn checksums(s: &mut Script) {
    for kind in ["-t", "-u", "--sctp-service"] {
        s.ipvsadm(&format!("-A {kind} 10.0.0.100:80 -s rr"));
        s.ipvsadm(&format!("-a {kind} 10.0.0.100:80 -r 10.0.1.1:8080 -m"));
    }
    let (client, service, real) = (at(CLIENT, 3000), at(VIP, 80), at("10.0.1.1", 8080));
    s.client(&tcp(client, service, "S"));
    s.client(&tcp(client, service, "A").payload(b"wrong").wrong_sum());
    s.real(&tcp(real, client, "A").payload(b"wrong").wrong_sum());
    s.client(&udp(client, service).wrong_sum());
    s.real(&udp(real, client).wrong_sum());
    for length in [28, 29, 30, 31, 400, 1499] {
        s.client(&udp(client, service).length(length));
        s.real(&udp(real, client).length(length));
    }
    s.client(&sctp(client, service, &[(1, &[0; 16])]));
    s.client(&sctp(client, service, &[(0, &[0; 17])]).wrong_sum());
    s.real(&sctp(real, client, &[(2, &[0; 16])]).wrong_sum());
}

fn udp_unsummed(s: &mut Script) {
    s.ipvsadms(["-A -u 10.0.0.100:80 -s rr", "-a -u 10.0.0.100:80 -r 10.0.1.1:80 -m"]);
    s.ipvsadms(["-A -u 10.0.0.101:80 -s rr", "-a -u 10.0.0.101:80 -r 10.0.1.2:80 -g"]);
    s.client(&udp(at(CLIENT, 3000), at(VIP, 80)).unsummed());
    s.real(&udp(at("10.0.1.1", 80), at(CLIENT, 3000)).unsummed());
    s.client(&udp(at(CLIENT, 3000), at("10.0.0.101", 80)).unsummed());
}

fn ttl(s: &mut Script) {
    for (port, method) in [(80, "-m"), (81, "-g"), (82, "-i")] {
        s.ipvsadm(&format!("-A -t 10.0.0.100:{port} -s rr"));
        s.ipvsadm(&format!("-a -t 10.0.0.100:{port} -r 10.0.1.1:{port} {method}"));
        let client = at(CLIENT, 3000 + port);
        s.client(&tcp(client, at(VIP, port), "S").ttl(2));
        s.client(&tcp(client, at(VIP, port), "A").ttl(1));
        s.client(&tcp(client, at(VIP, port), "F").ttl(1).length(1400));
    }
    s.title("a new connection's first packet");
    s.client(&tcp(at(CLIENT, 4000), at(VIP, 80), "S").ttl(1));
    s.title("replies");
    s.real(&tcp(at("10.0.1.1", 80), at(CLIENT, 3080), "A").ttl(2));
    s.real(&tcp(at("10.0.1.1", 80), at(CLIENT, 3080), "A").ttl(1));
    s.conns();
    s.stats();
}

fn ttl_ipv6(s: &mut Script) {
    for (port, method) in [(80, "-m"), (81, "-g")] {
        s.ipvsadm(&format!("-A -t [fd00::100]:{port} -s rr"));
        s.ipvsadm(&format!("-a -t [fd00::100]:{port} -r [fd01::1]:{port} {method}"));
        let client = at(CLIENT6, 3000 + port);
        s.client(&tcp(client, at(VIP6, port), "S").ttl(2));
        s.client(&tcp(client, at(VIP6, port), "A").ttl(1));
    }
    s.real(&tcp(at("fd01::1", 80), at(CLIENT6, 3080), "A").ttl(1));
    s.conns();
    s.stats();
}

/// Lengths around the limit, allowed and forbidden to be split.
fn mtu(s: &mut Script, method: &str) {
    s.mtu("eth1", 1400);
    s.ipvsadms(["-A -u 10.0.0.100:80 -s rr".to_owned(), format!("-a -u 10.0.0.100:80 -r 10.0.1.1:80 {method}")]);
    let packet = |length| udp(at(CLIENT, 3000), at(VIP, 80)).length(length);
    for length in [1380, 1381, 1400, 1401, 1500] {
        s.client(&packet(length).dont_fragment());
        s.client(&packet(length));
    }
    s.client(&packet(1500).ttl(2).dont_fragment());
    s.stats();
}

fn mtu_tunnel_no_discovery(s: &mut Script) {
    s.sysctl("pmtu_disc", 0);
    mtu(s, "-i");
}

fn mtu_ipv6(s: &mut Script) {
    s.mtu("eth1", 1400);
    for (port, method) in [(80, "-m"), (81, "-g"), (82, "-i")] {
        s.ipvsadm(&format!("-A -u [fd00::100]:{port} -s rr"));
        s.ipvsadm(&format!("-a -u [fd00::100]:{port} -r [fd01::1]:{port} {method}"));
        for length in [1360, 1361, 1400, 1401, 1500] {
            s.client(&udp(at(CLIENT6, 3000), at(VIP6, port)).length(length));
        }
    }
    s.stats();
}

/// What is too long for the way back.
fn mtu_reply(s: &mut Script) {
    s.mtu("eth0", 1400);
    s.ipvsadms(["-A -u 10.0.0.100:80 -s rr", "-a -u 10.0.0.100:80 -r 10.0.1.1:80 -m"]);
    s.client(&udp(at(CLIENT, 3000), at(VIP, 80)));
    let reply = |length| udp(at("10.0.1.1", 80), at(CLIENT, 3000)).length(length);
    for length in [1400, 1401, 1500] {
        s.real(&reply(length).dont_fragment());
        s.real(&reply(length));
    }
    s.stats();
}

fn no_route(s: &mut Script) {
    s.command("ip route add unreachable 10.99.0.0/16");
    s.ipvsadms([
        "-A -t 10.0.0.100:80 -s rr",
        "-a -t 10.0.0.100:80 -r 10.99.0.1:80 -m",
        "-A -t 10.0.0.100:81 -s rr",
        "-a -t 10.0.0.100:81 -r 10.99.0.1:81 -g",
        "-A -t 10.0.0.100:82 -s rr",
        "-a -t 10.0.0.100:82 -r 10.99.0.1:82 -i",
    ]);
    for port in [80, 81, 82] {
        s.client(&tcp(at(CLIENT, 3000), at(VIP, port), "S"));
    }
    s.conns();
    s.stats();
}

/// Reals behind a router.
fn gateway(s: &mut Script) {
    s.command("ip route add 10.98.0.0/16 via 10.0.1.20");
    for (port, method) in [(80, "-m"), (81, "-g"), (82, "-i")] {
        s.ipvsadm(&format!("-A -t 10.0.0.100:{port} -s rr"));
        s.ipvsadm(&format!("-a -t 10.0.0.100:{port} -r 10.98.0.1:{port} {method}"));
        s.client(&tcp(at(CLIENT, 3000), at(VIP, port), "S"));
        s.client(&tcp(at("192.0.2.7", 3000), at(VIP, port), "S"));
    }
    s.real(&tcp(at("10.98.0.1", 80), at("192.0.2.7", 3000), "SA"));
    s.conns();
}

fn udp_service(s: &mut Script, method: &str) {
    s.ipvsadms([
        "-A -u 10.0.0.100:80 -s rr".to_owned(),
        format!("-a -u 10.0.0.100:80 -r 10.0.1.1:{} {method}", if method == "-m" { 8080 } else { 80 }),
    ]);
}

/// A datagram of 2000 bytes in three fragments.
fn in_three(from: std::net::SocketAddr, to: std::net::SocketAddr, identification: u16) -> Vec<Packet> {
    udp(from, to).length(if from.is_ipv4() { 2000 } else { 2020 }).identification(identification).fragments(800)
}

fn fragments(s: &mut Script) {
    udp_service(s, "-m");
    s.clients(&in_three(at(CLIENT, 3000), at(VIP, 80), 1));
    s.title("larger than the way out allows");
    s.mtu("eth1", 600);
    s.clients(&in_three(at(CLIENT, 3001), at(VIP, 80), 2));
    s.conns();
    s.stats();
}

fn fragments_out_of_order(s: &mut Script) {
    udp_service(s, "-m");
    let orders = [[2, 1, 0], [1, 0, 2], [2, 0, 1], [0, 2, 1]];
    for (number, order) in (0_u16..).zip(orders) {
        let parts = in_three(at(CLIENT, 3000 + number), at(VIP, 80), 10 + number);
        s.clients(&order.map(|part| parts[part].clone()));
    }
    s.title("one that is missing");
    let parts = in_three(at(CLIENT, 3010), at(VIP, 80), 20);
    s.clients(&[parts[0].clone(), parts[2].clone()]);
    s.client(&parts[1]);
    s.conns();
    s.stats();
}

fn fragments_reply(s: &mut Script) {
    udp_service(s, "-m");
    let (client, real) = (at(CLIENT, 3000), at("10.0.1.1", 8080));
    s.client(&udp(client, at(VIP, 80)));
    let parts = in_three(real, client, 1);
    s.reals(&parts);
    let parts = in_three(real, client, 2);
    s.reals(&[parts[2].clone(), parts[0].clone(), parts[1].clone()]);
    s.title("of no connection");
    s.reals(&in_three(real, at(CLIENT, 3999), 3));
    s.stats();
}

fn fragments_direct_routing(s: &mut Script) {
    udp_service(s, "-g");
    s.clients(&in_three(at(CLIENT, 3000), at(VIP, 80), 1));
    s.ipvsadms(["-A -u 10.0.0.100:81 -s rr", "-a -u 10.0.0.100:81 -r 10.0.1.1:81 -i"]);
    s.clients(&in_three(at(CLIENT, 3000), at(VIP, 81), 2));
    s.conns();
    s.stats();
}

/// Later fragments without a first one.
fn fragments_lone(s: &mut Script) {
    udp_service(s, "-m");
    s.client(&udp(at(CLIENT, 3000), at(VIP, 80)));
    let parts = in_three(at(CLIENT, 3000), at(VIP, 80), 1);
    s.clients(&[parts[1].clone(), parts[2].clone()]);
    let parts = in_three(at("10.0.1.1", 8080), at(CLIENT, 3000), 2);
    s.reals(&[parts[1].clone()]);
    s.conns();
}

fn fragments_ipv6(s: &mut Script) {
    s.ipvsadms(["-A -u [fd00::100]:80 -s rr", "-a -u [fd00::100]:80 -r [fd01::1]:8080 -m"]);
    let (client, service, real) = (at(CLIENT6, 3000), at(VIP6, 80), at("fd01::1", 8080));
    s.clients(&in_three(client, service, 1));
    let parts = in_three(client, service, 2);
    s.clients(&[parts[2].clone(), parts[1].clone(), parts[0].clone()]);
    s.reals(&in_three(real, client, 3));
    s.conns();
    s.stats();
}

/// Replies of direct routing and tunnels that come by the director all the same.
fn replies_past_director(s: &mut Script) {
    for (port, method) in [(80, "-g"), (81, "-i")] {
        s.ipvsadm(&format!("-A -t 10.0.0.100:{port} -s rr"));
        s.ipvsadm(&format!("-a -t 10.0.0.100:{port} -r 10.0.1.1:{port} {method}"));
        let (client, service) = (at(CLIENT, 3000), at(VIP, port));
        s.client(&tcp(client, service, "S"));
        s.conns();
        s.real(&tcp(service, client, "SA"));
        s.client(&tcp(client, service, "A"));
        s.client(&tcp(client, service, "F"));
        s.conns();
        s.real(&tcp(service, client, "F"));
        s.conns();
    }
    s.stats();
}

/// A real that is the director itself; nobody listens there, so its stack resets.
fn local_real(s: &mut Script) {
    for (port, method) in [(80, "-m"), (81, "-g"), (82, "-i")] {
        s.ipvsadm(&format!("-A -t 10.0.0.100:{port} -s rr"));
        let real_port = if method == "-m" { 8080 } else { port };
        s.ipvsadm(&format!("-a -t 10.0.0.100:{port} -r 10.0.1.254:{real_port} {method}"));
        s.client(&tcp(at(CLIENT, 3000), at(VIP, port), "S"));
        s.client(&tcp(at(CLIENT, 3001), at(VIP, port), "S").ttl(1));
    }
    s.title("a loopback address");
    s.ipvsadms(["-A -t 10.0.0.100:83 -s rr", "-a -t 10.0.0.100:83 -r 127.0.0.1:83 -m"]);
    s.client(&tcp(at(CLIENT, 3000), at(VIP, 83), "S"));
    s.conns();
    s.table();
    s.stats();
}

/// Inner and outer of both families.
fn tunnel(s: &mut Script, kind: &str, options: &str) {
    let kind = format!("-i --tun-type {kind}{options}");
    s.ipvsadms([
        "-A -u 10.0.0.100:80 -s rr".to_owned(),
        format!("-a -u 10.0.0.100:80 -r 10.0.1.1:80 {kind}"),
        "-A -u 10.0.0.100:81 -s rr".to_owned(),
        format!("-a -u 10.0.0.100:81 -r [fd01::1]:81 {kind}"),
        "-A -u [fd00::100]:80 -s rr".to_owned(),
        format!("-a -u [fd00::100]:80 -r [fd01::1]:80 {kind}"),
        "-A -u [fd00::100]:81 -s rr".to_owned(),
        format!("-a -u [fd00::100]:81 -r 10.0.1.1:81 {kind}"),
    ]);
    for port in [80, 81] {
        let four = udp(at(CLIENT, 3000), at(VIP, port));
        s.client(&four);
        s.client(&four.clone().dont_fragment().ttl(9).tos(0x28));
        s.client(&four.clone().length(1441).dont_fragment());
        s.client(&four.clone().length(1500).dont_fragment());
        s.client(&four.clone().length(1500));
        s.client(&four.ttl(1));
        let six = udp(at(CLIENT6, 3000), at(VIP6, port));
        s.client(&six);
        s.client(&six.clone().ttl(9).tos(0x28));
        s.client(&six.clone().length(1441));
        s.client(&six.length(1500));
    }
    s.conns();
    s.table();
    s.ipvsadm("-L -n --tun-info");
    s.ipvsadm("-S -n");
    s.stats();
}

/// The outer header's type of service, for each of the inner's marks of congestion.
fn tunnel_tos(s: &mut Script) {
    s.ipvsadms(["-A -u 10.0.0.100:80 -s rr", "-a -u 10.0.0.100:80 -r 10.0.1.1:80 -i"]);
    s.ipvsadms(["-A -u [fd00::100]:80 -s rr", "-a -u [fd00::100]:80 -r [fd01::1]:80 -i"]);
    for tos in [0xb8, 0xb9, 0xba, 0xbb, 1, 2, 3] {
        s.client(&udp(at(CLIENT, 3000), at(VIP, 80)).tos(tos));
        s.client(&udp(at(CLIENT6, 3000), at(VIP6, 80)).tos(tos));
    }
}

/// A tunnel's kind is the real's: a change is one for its connections, too.
fn tunnel_edited(s: &mut Script) {
    s.ipvsadms(["-A -u 10.0.0.100:80 -s rr", "-a -u 10.0.0.100:80 -r 10.0.1.1:80 -i"]);
    let packet = udp(at(CLIENT, 3000), at(VIP, 80));
    s.client(&packet);
    for kind in ["gre", "gre --tun-csum", "gue --tun-port 6080", "ipip"] {
        s.ipvsadm(&format!("-e -u 10.0.0.100:80 -r 10.0.1.1:80 -i --tun-type {kind}"));
        s.client(&packet);
    }
}

fn tunnel_refused(s: &mut Script) {
    s.ipvsadm("-A -u 10.0.0.100:80 -s rr");
    for kind in ["gue", "gue --tun-port 0", "ipip --tun-port 6080", "gre --tun-remcsum", "nothing"] {
        s.ipvsadm(&format!("-a -u 10.0.0.100:80 -r 10.0.1.1:80 -i --tun-type {kind}"));
    }
    s.ipvsadm("-a -u 10.0.0.100:80 -r [fd01::1]:80 -m");
    s.ipvsadm("-a -u 10.0.0.100:80 -r [fd01::1]:80 -g");
    s.ipvsadm("-a -u 10.0.0.100:80 -r 224.0.0.1:80 -i");
    s.table();
}
