//! UDP services: every client port is a connection, and answers come from the VIP.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::Stdio,
    time::Duration,
};

use rlvs_tests::{
    Background, Cluster, Hook, REAL1, REAL2, VIP, eventually, need, on_both_hooks, patience,
    talk::{UdpEcho, ask, udp_client},
};

on_both_hooks!(names_are_looked_up, datagrams_are_balanced_and_counted, a_silent_flow_expires);

const REALS: [(&str, Ipv4Addr); 2] = [("real1", REAL1), ("real2", REAL2)];
/// The length in bytes of an IPv4 and a UDP header.
const HEADERS_LEN: u64 = 28;
/// For an answer that may need the question to be asked again.
const ANSWER_TIME_MAX: Duration = Duration::from_millis(500);

/// Two real name servers, and the program that people ask them with, which insists on the VIP as the source of an answer.
fn names_are_looked_up(hook: Hook) {
    if !need::programs(&[("dnsmasq", "dnsmasq-base"), ("dig", "bind9-dnsutils")]) {
        return;
    }
    let Some(cluster) = cluster(hook) else { return };
    let _servers = REALS.map(|(name, address)| {
        let mut command = cluster.command("dnsmasq");
        command.args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--bind-interfaces",
        ]);
        command.args(["--user=root", "--pid-file="]).arg(format!("--listen-address={address}"));
        command.arg(format!("--txt-record=who.lab,{name}")).stderr(Stdio::null());
        let server = Background::start(cluster.host(name), &mut command);
        eventually("dnsmasq answers", patience(), || {
            let asked = cluster.try_run("director", &format!("dig +short +time=1 +tries=1 @{address} who.lab TXT"));
            if asked.stdout.contains(name) { Ok(()) } else { Err(format!("{asked:?}")) }
        });
        server
    });
    let ask = || cluster.try_run("client", &format!("dig +short +time=2 +tries=1 @{VIP} who.lab TXT"));
    // A first datagram may be lost where a link-layer address is not known yet; dig would ask again from another port.
    eventually("the VIP answers", patience(), || match ask() {
        ran if ran.code == Some(0) => Ok(()),
        ran => Err(format!("{ran:?}")),
    });
    cluster.settle();
    cluster.ipvsadm("-Z");
    let answers: Vec<_> = (0..6).map(|_| ask().stdout).collect();
    let mut both = [answers[0].clone(), answers[1].clone()];
    assert_eq!(answers, [both.clone(), both.clone(), both.clone()].concat());
    both.sort();
    assert_eq!(both, ["\"real1\"\n", "\"real2\"\n"]);
    let stats = cluster.stats();
    assert_eq!([VIP, REAL1, REAL2].map(|address| stats[&format!("{address}:53")][0]), [6, 3, 3]);
}

/// Round robin over client ports, one real server for each, and statistics to the byte.
fn datagrams_are_balanced_and_counted(hook: Hook) {
    let Some(cluster) = cluster(hook) else { return };
    let _servers = echoes(&cluster);
    warm_up(&cluster);
    cluster.settle();
    cluster.ipvsadm("-Z");

    let service = service();
    let first = udp_client(cluster.host("client"), service);
    let second = udp_client(cluster.host("client"), service);
    let server_of = |answer: Result<String, String>| answer.expect("an answer").split(' ').next().map(str::to_owned);
    let of_first = server_of(ask(&first, "0123456789", ANSWER_TIME_MAX));
    let of_second = server_of(ask(&second, "0123456789", ANSWER_TIME_MAX));
    assert!(of_first != of_second, "round robin");
    for _ in 0..4 {
        assert_eq!(server_of(ask(&first, "0123456789", ANSWER_TIME_MAX)), of_first);
    }
    // Questions of 10 bytes; answers have the server's name and a blank before them.
    let one_way = |packets: u64, length: u64| [packets, packets * (HEADERS_LEN + length)];
    let counted = |conns: u64, packets: u64| {
        let ([in_packets, in_bytes], [out_packets, out_bytes]) = (one_way(packets, 10), one_way(packets, 16));
        [conns, in_packets, out_packets, in_bytes, out_bytes]
    };
    let stats = cluster.stats();
    assert_eq!(stats["172.16.0.1:53"], counted(2, 6));
    let mut of_servers = [stats["192.168.1.2:53"], stats["192.168.1.3:53"]];
    of_servers.sort();
    assert_eq!(of_servers, [counted(1, 1), counted(1, 5)]);
    assert!(cluster.connections().iter().all(|connection| connection.protocol == "UDP" && connection.state == "UDP"));
    // On tc checksums may be left to whoever can work them out; a director whose cards cannot does it itself.
    if hook == Hook::Tc && need::programs(&[("ethtool", "ethtool")]) {
        for interface in ["eth0", "eth1"] {
            cluster.run("director", &format!("ethtool -K {interface} tx off"));
        }
        for client in [&first, &second] {
            ask(client, "0123456789", ANSWER_TIME_MAX).expect("an answer");
        }
    }
    assert_eq!(cluster.drops(), [].into());
}

/// `--set` sets how long; UDP connections are inactive from the first moment, and gone from the counters in the end. The
/// same client port is a new connection afterwards.
fn a_silent_flow_expires(hook: Hook) {
    let Some(cluster) = cluster(hook) else { return };
    let _servers = echoes(&cluster);
    let client = udp_client(cluster.host("client"), service());
    warm_up(&cluster);
    let before: Vec<_> = cluster.connections();
    assert!(before.iter().all(|connection| (298..=300).contains(&connection.expires_s)), "{before:?}");

    cluster.ipvsadm("--set 0 0 2");
    assert_eq!(cluster.ipvsadm("-L --timeout"), "Timeout (tcp tcpfin udp): 900 120 2\n");
    ask(&client, "hello", ANSWER_TIME_MAX).expect("an answer");
    let own = format!("{}", client.local_addr().expect("an address"));
    let own_port = own.rsplit(':').next().expect("a port").to_owned();
    let find = || cluster.connections().into_iter().find(|found| found.source.ends_with(&format!(":{own_port}")));
    let connection = find().expect("the connection");
    assert!(connection.expires_s <= 2, "{connection:?}");
    let total = |cluster: &Cluster| -> (u32, u32) {
        let servers = cluster.servers();
        (servers.iter().map(|server| server.active).sum(), servers.iter().map(|server| server.inactive).sum())
    };
    let others = before.len() as u32;
    assert_eq!(total(&cluster), (0, others + 1));
    eventually("the flow expires", Duration::from_secs(4), || match find() {
        None => Ok(()),
        Some(connection) => Err(format!("{connection:?}")),
    });
    eventually("the counters are settled", patience(), || match total(&cluster) {
        (0, inactive) if inactive == others => Ok(()),
        counts => Err(format!("{counts:?}")),
    });
    let conns = cluster.stats()["172.16.0.1:53"][0];
    ask(&client, "hello again", ANSWER_TIME_MAX).expect("an answer");
    assert!(find().is_some());
    assert_eq!(cluster.stats()["172.16.0.1:53"][0], conns + 1);
}

fn service() -> SocketAddr {
    (VIP, 53).into()
}

/// A cluster with a UDP service on port 53 over both real servers.
fn cluster(hook: Hook) -> Option<Cluster> {
    let mut cluster = Cluster::build(hook)?;
    cluster.start();
    cluster.ipvsadm(&format!("-A -u {VIP}:53 -s rr"));
    for (_, address) in REALS {
        cluster.ipvsadm(&format!("-a -u {VIP}:53 -r {address}:53 -m"));
    }
    Some(cluster)
}

fn echoes(cluster: &Cluster) -> [UdpEcho; 2] {
    REALS.map(|(name, address)| UdpEcho::start(cluster.host(name), (address, 53).into(), name))
}

/// Has both servers answer once. A first datagram may be lost where a link-layer address is not known yet, and UDP does not
/// send it again.
fn warm_up(cluster: &Cluster) {
    for (name, _) in REALS {
        eventually(&format!("{name} answers"), patience(), || {
            match ask(&udp_client(cluster.host("client"), service()), "?", ANSWER_TIME_MAX) {
                Ok(answer) if answer == format!("{name} ?") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    }
}
