//! The director remains a router: what is not for a virtual service passes untouched, and what changes around it is noticed.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use rlvs::lab::HttpServer;
use rlvs_tests::{
    CLIENT, Cluster, GATEWAY, Hook, REAL1, REAL2, VIP, WEB, eventually,
    loaded::attached,
    need, on_both_hooks, patience,
    talk::{accept, connect, hear, hear_nothing, listen, say, say_unheard},
};

on_both_hooks!(
    other_traffic_passes_untouched,
    masquerading_works_beside_balancing,
    a_new_interface_is_attached_and_a_gone_one_forgotten,
    a_bridge_port_that_leaves_its_bridge_stays_attached,
    a_real_server_changes_its_link_layer_address,
    the_director_changes_its_link_layer_addresses,
    neighbours_are_forgotten,
    a_cable_is_pulled_and_plugged_in_again,
    the_way_to_a_client_changes,
);

/// Ping to the director and through it, and connections to the real servers' own addresses, also on the balanced port.
fn other_traffic_passes_untouched(hook: Hook) {
    if !need::programs(&[("ping", "iputils-ping"), ("curl", "curl")]) {
        return;
    }
    let Some(cluster) = Cluster::balancing(hook) else { return };
    for (from, to) in [
        ("client", VIP),
        ("client", GATEWAY),
        ("client", REAL1),
        ("client", REAL2),
        ("real1", GATEWAY),
        ("real1", CLIENT),
        ("director", REAL2),
    ] {
        let printed = cluster.run(from, &format!("ping -c 3 -i 0.05 -W 2 {to}"));
        assert!(printed.contains("3 received"), "{from} -> {to}: {printed}");
    }
    for (name, address) in [("real1", REAL1), ("real2", REAL2)] {
        let answer = cluster.run("client", &format!("curl -sS --max-time 5 -D - http://{address}/"));
        assert!(answer.ends_with(&format!("\r\n\r\n{name}\n")), "{answer}");
        assert!(answer.contains(&format!("x-client: {CLIENT}:")), "{answer}");
    }
    assert_eq!(cluster.connections(), [], "none of that was a connection of the service");
    assert!(cluster.stats().values().all(|stats| *stats == [0; 5]));
    // The service beside it works, and a port of the VIP that is none is the director's own to refuse.
    assert_eq!(cluster.requests(WEB, 5), Cluster::wrr_picks(5));
    let refused = cluster.try_run("client", &format!("curl -sS --max-time 5 http://{VIP}:81/"));
    assert_eq!(refused.code, Some(7), "{refused:?}");
    assert_eq!(cluster.drops(), [].into());
}

/// The course's rule: the real servers reach the world outside under the director's address.
fn masquerading_works_beside_balancing(hook: Hook) {
    if !need::programs(&[("iptables", "iptables"), ("curl", "curl")]) {
        return;
    }
    let Some(cluster) = Cluster::balancing(hook) else { return };
    cluster.run("director", "iptables -t nat -A POSTROUTING -s 192.168.1.0/24 -o eth0 -j MASQUERADE");
    let outside = SocketAddr::from((CLIENT, 8000));
    let _server = HttpServer::start(cluster.host("client"), outside, "outside").expect("a web server");
    for real in ["real1", "real2"] {
        let answer = cluster.run(real, &format!("curl -sS --max-time 5 -D - http://{outside}/"));
        assert!(answer.contains(&format!("x-client: {VIP}:")), "{answer}");
        assert!(answer.ends_with("\r\n\r\noutside\n"), "{answer}");
    }
    // What is balanced keeps the client's address, and is not the firewall's to translate.
    let answer = cluster.run("client", &format!("curl -sS --max-time 5 -D - http://{WEB}/"));
    assert!(answer.contains(&format!("x-client: {CLIENT}:")), "{answer}");
    assert_eq!(cluster.requests(WEB, 4), Cluster::wrr_picks(5)[1..]);
    assert_eq!(cluster.drops(), [].into());
}

/// A second network is plugged in while the daemon runs; a client there is served at once. Then it is pulled out.
fn a_new_interface_is_attached_and_a_gone_one_forgotten(hook: Hook) {
    if !need::programs(&[("ethtool", "ethtool")]) {
        return;
    }
    let Some(mut cluster) = Cluster::balancing(hook) else { return };
    let director = cluster.host("director").name().to_owned();
    let pins = attached(&cluster);
    let guest = cluster.new_host("guest");
    let run = |line: &str| {
        let mut words = line.split_whitespace();
        let mut command = cluster.command(words.next().expect("a program"));
        let output = guest.output(command.args(words), patience()).expect("a command that ends");
        assert!(output.status.success(), "`{line}`: {output:?}");
    };
    run(&format!("ip link add eth0 type veth peer name eth2 netns {director}"));
    for line in ["ip address add 10.9.0.1/24 dev eth2", "ip link set eth2 up"] {
        cluster.run("director", line);
    }
    run("ip address add 10.9.0.2/24 dev eth0");
    run("ip link set eth0 up");
    run("ip route add default via 10.9.0.1");
    if hook == Hook::Xdp {
        run("ethtool -K eth0 tx-checksum-ip-generic off gro on");
    }
    eventually("the new interface is attached", patience(), || {
        let interfaces = cluster.status().interfaces;
        match interfaces.get("eth2") {
            Some(eth2) if eth2.hook == hook.to_string() => Ok(()),
            _ => Err(format!("{interfaces:?}")),
        }
    });
    let stop = rlvs::lab::Stop::never();
    let answers = rlvs::lab::client::requests(&guest, WEB, 5, Duration::from_secs(3), &stop, |_| ()).expect("a client");
    let answers: Vec<_> = answers.into_iter().map(|answer| answer.expect("an answer").server).collect();
    assert_eq!(answers, Cluster::wrr_picks(5));
    assert!(cluster.connections().iter().all(|connection| connection.source.starts_with("10.9.0.2:")));
    assert_eq!(attached(&cluster).len(), pins.len() + 1);

    cluster.run("director", "ip link delete eth2");
    eventually("the interface is forgotten", patience(), || {
        let interfaces = cluster.status().interfaces;
        if interfaces.contains_key("eth2") { Err(format!("{interfaces:?}")) } else { Ok(()) }
    });
    assert_eq!(attached(&cluster), pins);
    cluster.assert_daemon_runs();
    assert_eq!(cluster.requests(WEB, 5), Cluster::wrr_picks(10)[5..]);
}

/// The kernel tells of a port that leaves its bridge in nearly the same words as of an interface that is deleted.
fn a_bridge_port_that_leaves_its_bridge_stays_attached(hook: Hook) {
    let Some(cluster) = Cluster::up(hook) else { return };
    let wait_attached = |name: &str| {
        eventually(&format!("{name} is attached"), patience(), || {
            let interfaces = cluster.status().interfaces;
            if interfaces.contains_key(name) { Ok(()) } else { Err(format!("{interfaces:?}")) }
        });
    };
    cluster.run("director", "ip link add port0 type veth peer name far0");
    cluster.run("director", "ip link add br0 type bridge");
    cluster.run("director", "ip link set port0 master br0");
    wait_attached("port0");
    wait_attached("far0");
    let links = attached(&cluster);
    cluster.run("director", "ip link set port0 nomaster");
    // The daemon takes the kernel's messages in order: once it knows a later interface, it has seen that of the port.
    cluster.run("director", "ip link add later0 type veth peer name later1");
    wait_attached("later1");
    wait_attached("later0");
    let mut now = attached(&cluster);
    now.retain(|name, _| links.contains_key(name));
    assert_eq!(now, links, "the program was taken off and put on again");
}

/// A real server gets another network card, says so as hosts do, and its connections go on at once.
fn a_real_server_changes_its_link_layer_address(hook: Hook) {
    let Some((cluster, mut client, mut server)) = conversation(hook) else { return };
    change_address(&cluster, "real1", "eth0", "02:00:00:00:be:ef");
    // Less than the ten seconds for which a next hop is believed without news.
    assert_goes_on(&mut client, &mut server, Duration::from_secs(5));
    let neighbours = cluster.run("director", &format!("ip neighbour show {REAL1} dev eth1"));
    assert!(neighbours.contains("02:00:00:00:be:ef"), "{neighbours}");
}

/// The director gets other network cards on both sides: the hosts around learn it, and frames to them are for the director.
fn the_director_changes_its_link_layer_addresses(hook: Hook) {
    let Some((cluster, listener)) = one_server(hook) else { return };
    let mut client = connect(cluster.host("client"), WEB);
    let mut server = accept(&listener);
    assert_goes_on(&mut client, &mut server, patience());
    change_address(&cluster, "director", "eth0", "02:00:00:00:00:10");
    change_address(&cluster, "director", "eth1", "02:00:00:00:00:11");
    assert_goes_on(&mut client, &mut server, Duration::from_secs(5));
    // Only a frame to the director itself opens a connection.
    let mut client = connect(cluster.host("client"), WEB);
    assert_goes_on(&mut client, &mut accept(&listener), patience());
    assert_eq!(cluster.stats()[&WEB.to_string()][0], 2);
    let neighbours = cluster.run("client", &format!("ip neighbour show {VIP}"));
    assert!(neighbours.contains("02:00:00:00:00:10"), "{neighbours}");
}

/// The director's neighbour table is emptied, as by a person or for lack of room: it asks anew.
fn neighbours_are_forgotten(hook: Hook) {
    let Some((cluster, mut client, mut server)) = conversation(hook) else { return };
    cluster.run("director", "ip neighbour flush all");
    // On XDP a segment is lost on each side, and sent again after a fifth of a second or two.
    assert_goes_on(&mut client, &mut server, Duration::from_secs(3));
}

/// Both sides in turn: what is said meanwhile is lost and sent again.
fn a_cable_is_pulled_and_plugged_in_again(hook: Hook) {
    let Some((cluster, mut client, mut server)) = conversation(hook) else { return };
    for interface in ["eth1", "eth0"] {
        cluster.run("director", &format!("ip link set {interface} down"));
        say_unheard(&mut client, "lost and sent again");
        hear_nothing(&mut server, Duration::from_millis(100));
        cluster.run("director", &format!("ip link set {interface} up"));
        hear(&mut server, "lost and sent again");
        assert_goes_on(&mut client, &mut server, patience());
    }
    assert_eq!(cluster.status().interfaces.len(), 2);
}

/// The route back to a client goes and comes again.
fn the_way_to_a_client_changes(hook: Hook) {
    let Some((cluster, listener)) = one_server(hook) else { return };
    // The client has a second address, known to the director only by a route that can be changed.
    let roaming = Ipv4Addr::new(10, 7, 0, 1);
    cluster.run("client", &format!("ip address add {roaming}/32 dev lo"));
    cluster.run("client", &format!("ip route add {VIP}/32 dev eth0 src {roaming}"));
    cluster.run("director", &format!("ip route add {roaming} via {CLIENT}"));
    let mut client = connect(cluster.host("client"), WEB);
    let mut server = accept(&listener);
    assert_eq!(server.peer_addr().expect("a client").ip(), roaming);
    assert_goes_on(&mut client, &mut server, patience());

    // No way back: what the server says is left to the director's own stack, which gets rid of it.
    cluster.run("director", &format!("ip route change blackhole {roaming}"));
    say_unheard(&mut server, "lost and sent again");
    eventually("the loss is counted", patience(), || {
        let counters = cluster.status().counters;
        let left = counters.get("pass_reply_to_stack").is_some_and(|count| *count > 0);
        if left { Ok(()) } else { Err(format!("{counters:?}")) }
    });
    cluster.run("director", &format!("ip route del blackhole {roaming}"));
    cluster.run("director", &format!("ip route add {roaming} via {CLIENT}"));
    hear(&mut client, "lost and sent again");
    assert_goes_on(&mut client, &mut server, patience());
}

/// A cluster with a service over the first real server, where the test itself listens.
fn one_server(hook: Hook) -> Option<(Cluster, TcpListener)> {
    let mut cluster = Cluster::build(hook)?;
    cluster.start();
    let listener = listen(cluster.host("real1"), (REAL1, 80).into());
    cluster.ipvsadm(&format!("-A -t {WEB} -s rr"));
    cluster.ipvsadm(&format!("-a -t {WEB} -r {REAL1}:80 -m"));
    Some((cluster, listener))
}

/// The same, and a conversation through it that has begun.
fn conversation(hook: Hook) -> Option<(Cluster, TcpStream, TcpStream)> {
    let (cluster, listener) = one_server(hook)?;
    let mut client = connect(cluster.host("client"), WEB);
    let mut server = accept(&listener);
    assert_goes_on(&mut client, &mut server, patience());
    Some((cluster, client, server))
}

/// Asserts that both are heard, three times, within `time_max` in all.
fn assert_goes_on(client: &mut TcpStream, server: &mut TcpStream, time_max: Duration) {
    let start = Instant::now();
    for _ in 0..3 {
        say(client, server, "are you there?");
        say(server, client, "here");
    }
    assert!(start.elapsed() < time_max, "that took {:?}", start.elapsed());
}

/// Changes the link-layer address of a host's interface; the host tells its neighbours, as one does whose card changes.
fn change_address(cluster: &Cluster, host: &str, interface: &str, address: &str) {
    cluster.shell(host, &format!("echo 1 > /proc/sys/net/ipv4/conf/{interface}/arp_notify"), patience());
    cluster.run(host, &format!("ip link set {interface} address {address}"));
}
