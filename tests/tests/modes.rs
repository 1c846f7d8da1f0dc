//! Forwarding methods, both versions of IP, and what services can be told: persistence, thresholds, marks, one packet each.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use rlvs::lab::HttpServer;
use rlvs_tests::{
    CLIENT, Cluster, GUE_PORT, Hook, REAL1, REAL2, Unwrap, VIP, WEB, eventually, need, on_both_hooks, patience,
    talk::{UdpEcho, ask, udp_client},
};

on_both_hooks!(
    masquerading_by_ipv6,
    direct_routing,
    tunnels_of_every_kind,
    a_tunnel_is_no_black_hole,
    errors_reach_the_client,
    persistence_marks_and_thresholds,
    one_packet_each,
    fragments_are_balanced,
);

const REALS: [(&str, IpAddr); 2] = [("real1", IpAddr::V4(REAL1)), ("real2", IpAddr::V4(REAL2))];
const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x172, 0, 0, 0, 0, 0, 0x100);
const VIP_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x172, 0, 0, 0, 0, 0, 1);
const REALS_V6: [(&str, IpAddr); 2] = [
    ("real1", IpAddr::V6(Ipv6Addr::new(0xfd00, 0x192, 0, 0, 0, 0, 0, 2))),
    ("real2", IpAddr::V6(Ipv6Addr::new(0xfd00, 0x192, 0, 0, 0, 0, 0, 3))),
];
const ANSWER_TIME_MAX: Duration = Duration::from_millis(500);

fn masquerading_by_ipv6(hook: Hook) {
    let Some(mut cluster) = Cluster::build(hook) else { return };
    add_ipv6(&cluster);
    cluster.start();
    let _web = REALS_V6.map(|(name, address)| serve(&cluster, name, address));
    let web = SocketAddr::from((VIP_V6, 80));
    cluster.ipvsadm(&format!("-A -t {web} -s rr"));
    for (_, address) in REALS_V6 {
        cluster.ipvsadm(&format!("-a -t {web} -r [{address}]:80 -m"));
    }
    assert_both_answer(&cluster, web, 8);
    assert_eq!(cluster.drops(), [].into());
}

/// The real servers have the VIP, answer nobody who asks for its link-layer address, and answer clients past the director.
fn direct_routing(hook: Hook) {
    let Some(mut cluster) = Cluster::build(hook) else { return };
    add_ipv6(&cluster);
    answer_directly(&cluster);
    cluster.start();
    let vips = [IpAddr::V4(VIP), IpAddr::V6(VIP_V6)];
    let _web = vips.map(|vip| ["real1", "real2"].map(|name| serve(&cluster, name, vip)));
    for (vip, reals) in vips.into_iter().zip([REALS, REALS_V6]) {
        let web = SocketAddr::new(vip, 80);
        cluster.ipvsadm(&format!("-A -t {web} -s rr"));
        for (_, address) in reals {
            cluster.ipvsadm(&format!("-a -t {web} -r {} -g", SocketAddr::new(address, 80)));
        }
        assert_both_answer(&cluster, web, 8);
    }
    assert!(
        cluster.stats().values().all(|[_, _, packets_out, _, _]| *packets_out == 0),
        "answers came by the director"
    );
    assert_eq!(cluster.drops(), [].into());
}

/// IP in IP, GRE and GUE, with and without a checksum of their own, either version of IP in either.
fn tunnels_of_every_kind(hook: Hook) {
    let Some((cluster, _ends)) = tunnelling(hook) else { return };
    let vips = [IpAddr::V4(VIP), IpAddr::V6(VIP_V6)];
    let _web = vips.map(|vip| ["real1", "real2"].map(|name| serve(&cluster, name, vip)));
    for vip in vips {
        let web = SocketAddr::new(vip, 80);
        for reals in [REALS, REALS_V6] {
            for kind in ["ipip", "gre", "gre --tun-csum", "gue --tun-port 6080", "gue --tun-port 6080 --tun-csum"] {
                cluster.ipvsadm("-C");
                cluster.ipvsadm(&format!("-A -t {web} -s rr"));
                for (_, address) in reals {
                    let real = SocketAddr::new(address, 80);
                    cluster.ipvsadm(&format!("-a -t {web} -r {real} -i --tun-type {kind}"));
                }
                println!("{web} by {kind} to {}", reals[0].1);
                assert_both_answer(&cluster, web, 4);
            }
        }
    }
    assert_eq!(GUE_PORT, 6080);
}

/// Where a packet that must not be fragmented does not fit into the tunnel, its sender is told what does.
fn a_tunnel_is_no_black_hole(hook: Hook) {
    let Some((cluster, _ends)) = tunnelling(hook) else { return };
    let service = SocketAddr::from((VIP, 53));
    let _echo = UdpEcho::start(cluster.host("real1"), service, "real1");
    cluster.ipvsadm(&format!("-A -u {service} -s rr"));
    cluster.ipvsadm(&format!("-a -u {service} -r {REAL1}:53 -i --tun-type ipip"));
    let client = udp_client(cluster.host("client"), service);
    eventually("an answer", patience(), || ask(&client, "?", ANSWER_TIME_MAX));
    // Linux sends datagrams with "don't fragment" until it learns better: 1500 bytes, headers included.
    let large = "x".repeat(1472);
    eventually("the client learns what fits", patience(), || {
        let _ = ask(&client, &large, Duration::from_millis(100));
        let route = cluster.run("client", &format!("ip route get {VIP}"));
        if route.contains("mtu 1480") { Ok(()) } else { Err(route) }
    });
    let fits = "x".repeat(1480 - 28);
    let answer = eventually("what fits arrives", patience(), || ask(&client, &fits, ANSWER_TIME_MAX));
    assert_eq!(answer, format!("real1 {fits}"));
    assert!(cluster.drops().contains_key("drop_too_big"));
}

fn errors_reach_the_client(hook: Hook) {
    if !need::programs(&[("traceroute", "traceroute"), ("ping", "iputils-ping")]) {
        return;
    }
    let Some(mut cluster) = Cluster::build(hook) else { return };
    cluster.start();
    let service = SocketAddr::from((VIP, 53));
    cluster.ipvsadm(&format!("-A -u {service} -s rr"));
    // Nobody to send it to.
    let client = udp_client(cluster.host("client"), service);
    let refused = ask(&client, "?", patience()).expect_err("there is nobody");
    assert!(refused.contains("refused"), "{refused}");
    assert!(cluster.drops().contains_key("drop_no_destination"));
    // Nobody listens there: the real server's error comes from the VIP.
    cluster.ipvsadm(&format!("-a -u {service} -r {REAL1}:53 -m"));
    eventually("the real server refuses", patience(), || match ask(&client, "?", ANSWER_TIME_MAX) {
        Err(error) if error.contains("refused") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let trace = cluster.run("client", &format!("traceroute -n -U -p 53 -q 1 -w 2 -m 4 {VIP}"));
    let hops: Vec<_> = trace.lines().skip(1).collect();
    // The first hop is the director, where the time to live is used up; the second the real server, seen as the VIP.
    assert_eq!(hops.len(), 2, "{trace}");
    assert!(hops.iter().all(|hop| hop.contains(&VIP.to_string())), "{trace}");
    assert!(cluster.drops().contains_key("drop_ttl_expired"));
    let ping = cluster.run("client", &format!("ping -c 2 -i 0.05 -W 2 {VIP}"));
    assert!(ping.contains("2 received"), "{ping}");
}

fn persistence_marks_and_thresholds(hook: Hook) {
    let Some(cluster) = Cluster::up(hook) else { return };
    let add = |service: &str, words: &str| {
        cluster.ipvsadm(&format!("-A {service} -s rr {words}"));
        for (_, address) in REALS {
            let port = if service.starts_with("-f") || service.ends_with(":0") { 0 } else { 80 };
            cluster.ipvsadm(&format!("-a {service} -r {address}:{port} -m"));
        }
    };
    let assert_one = |what: &str| {
        let answers = cluster.requests(WEB, 6);
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{what}: {answers:?}");
    };
    add(&format!("-t {WEB}"), "");
    assert_both_answer(&cluster, WEB, 4);
    cluster.ipvsadm(&format!("-E -t {WEB} -s rr -p 60"));
    assert_one("persistent");
    cluster.ipvsadm("-C");
    add(&format!("-t {VIP}:0"), "-p 60");
    assert_one("all ports");
    cluster.ipvsadm("-C");
    cluster
        .run("director", &format!("rlvs mark add --mark 7 --protocol tcp --destination {VIP} --destination-port 80"));
    add("-f 7", "-p 60");
    assert_one("marked");
    cluster.ipvsadm("-C");
    // One connection each, and no more: the next is refused.
    cluster.ipvsadm(&format!("-A -t {WEB} -s rr"));
    cluster.ipvsadm(&format!("-a -t {WEB} -r {REAL1}:80 -m -x 1"));
    let listing = cluster.ipvsadm("-L -n --thresholds");
    assert!(listing.contains(" 1 "), "{listing}");
    assert_eq!(cluster.requests(WEB, 1), ["real1"]);
    let refused = cluster.try_run("client", &format!("curl -sS --max-time 3 http://{WEB}/"));
    assert_eq!(refused.code, Some(7), "{refused:?}");
}

/// With -o every datagram of one client port is a choice of its own, and no connection stays.
fn one_packet_each(hook: Hook) {
    let Some(mut cluster) = Cluster::build(hook) else { return };
    cluster.start();
    answer_directly(&cluster);
    let service = SocketAddr::from((VIP, 53));
    let _echoes = ["real1", "real2"].map(|name| UdpEcho::start(cluster.host(name), service, name));
    cluster.ipvsadm(&format!("-A -u {service} -s rr -o"));
    for (_, address) in REALS {
        cluster.ipvsadm(&format!("-a -u {service} -r {address}:53 -g"));
    }
    let client = udp_client(cluster.host("client"), service);
    let mut answers: Vec<String> =
        (0..2).map(|_| eventually("an answer", patience(), || ask(&client, "?", ANSWER_TIME_MAX))).collect();
    eventually("both answer one port", patience(), || {
        answers.push(ask(&client, "?", ANSWER_TIME_MAX)?);
        let turns = answers.last_chunk().is_some_and(|[a, b, c, d]| a == c && b == d && a != b);
        if turns { Ok(()) } else { Err(format!("{answers:?}")) }
    });
    assert_eq!(cluster.connections(), []);
}

/// Datagrams of 4000 bytes, which come and go in three fragments.
fn fragments_are_balanced(hook: Hook) {
    let Some(mut cluster) = Cluster::build(hook) else { return };
    cluster.start();
    let service = SocketAddr::from((VIP, 53));
    let server = cluster.host("real1").run(|| UdpSocket::bind((REAL1, 53))).expect("a thread").expect("a socket");
    server.set_read_timeout(Some(ANSWER_TIME_MAX)).expect("a time limit");
    cluster.ipvsadm(&format!("-A -u {service} -s rr"));
    cluster.ipvsadm(&format!("-a -u {service} -r {REAL1}:53 -m"));
    let client = udp_client(cluster.host("client"), service);
    client.set_read_timeout(Some(ANSWER_TIME_MAX)).expect("a time limit");
    let mut large = vec![0; 4000];
    rlvs::lab::http::fill_pattern(0, &mut large);
    let mut buffer = [0; 8192];
    eventually("a large datagram and its answer", patience(), || {
        client.send(&large).map_err(|error| error.to_string())?;
        let (len, from) = server.recv_from(&mut buffer).map_err(|error| format!("server: {error}"))?;
        assert_eq!(buffer[..len], large);
        assert_eq!(from.ip(), IpAddr::V4(CLIENT));
        server.send_to(&large, from).map_err(|error| error.to_string())?;
        let len = client.recv(&mut buffer).map_err(|error| format!("client: {error}"))?;
        assert_eq!(buffer[..len], large);
        Ok(())
    });
}

/// A cluster whose real servers take packets out of tunnels and answer past the director.
fn tunnelling(hook: Hook) -> Option<(Cluster, [Unwrap; 2])> {
    if !need::programs(&[("ethtool", "ethtool")]) {
        return None;
    }
    let mut cluster = Cluster::build(hook)?;
    add_ipv6(&cluster);
    answer_directly(&cluster);
    // A raw socket gives packets as they are: their checksums must be there.
    cluster.run("client", "ethtool -K eth0 tx off");
    cluster.start();
    let ends = ["real1", "real2"].map(|name| Unwrap::start(cluster.host(name)));
    // On XDP a first packet to an unknown neighbour is lost.
    for (_, address) in REALS.into_iter().chain(REALS_V6) {
        cluster.run("director", &format!("ping -c 1 -W 3 {address}"));
    }
    Some((cluster, ends))
}

/// IPv6 addresses beside the cluster's others.
fn add_ipv6(cluster: &Cluster) {
    for (host, interface, address) in [
        ("client", "eth0", CLIENT_V6.to_string()),
        ("director", "eth0", VIP_V6.to_string()),
        ("director", "eth1", "fd00:192::1".into()),
        ("real1", "eth0", REALS_V6[0].1.to_string()),
        ("real2", "eth0", REALS_V6[1].1.to_string()),
    ] {
        cluster.run(host, &format!("ip address add {address}/64 dev {interface} nodad"));
    }
    cluster.run("client", &format!("ip -6 route add default via {VIP_V6}"));
    for (host, _) in REALS {
        cluster.run(host, "ip -6 route add default via fd00:192::1");
    }
}

/// Gives the real servers the VIPs, silently, and a way to the client that is not the director's: a cable from the client to their
/// switch.
fn answer_directly(cluster: &Cluster) {
    let switch = cluster.host("switch").name();
    cluster.run("client", &format!("ip link add eth1 type veth peer name to-client netns {switch}"));
    cluster.run("switch", "ip link set to-client master br0 up");
    cluster.run("client", "ip link set eth1 up");
    let shown = cluster.run("client", "ip -o link show eth1");
    let link_address = shown.split("link/ether ").nth(1).and_then(|rest| rest.split(' ').next()).expect("an address");
    // What comes by the cable comes from an address behind another one.
    cluster.shell("client", "for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $f; done", patience());
    for (host, _) in REALS {
        for line in [
            format!("ip address add {VIP}/32 dev lo"),
            format!("ip address add {VIP_V6}/128 dev lo nodad"),
            format!("ip neighbour replace {CLIENT} lladdr {link_address} dev eth0 nud permanent"),
            format!("ip -6 neighbour replace {CLIENT_V6} lladdr {link_address} dev eth0 nud permanent"),
            format!("ip route add {CLIENT}/32 dev eth0"),
            format!("ip -6 route add {CLIENT_V6}/128 dev eth0"),
        ] {
            cluster.run(host, &line);
        }
        let script =
            "echo 1 > /proc/sys/net/ipv4/conf/all/arp_ignore; echo 2 > /proc/sys/net/ipv4/conf/all/arp_announce
             for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $f; done";
        cluster.shell(host, script, patience());
    }
}

fn serve(cluster: &Cluster, host: &str, address: IpAddr) -> HttpServer {
    HttpServer::start(cluster.host(host), (address, 80).into(), host).expect("a web server")
}

/// Makes requests and asserts that both real servers answer in turn.
fn assert_both_answer(cluster: &Cluster, web: SocketAddr, count: usize) {
    let answers = cluster.requests(web, count);
    assert_ne!(answers[0], answers[1], "{answers:?}");
    assert!(answers.chunks(2).all(|pair| *pair == answers[..2]), "{answers:?}");
}
