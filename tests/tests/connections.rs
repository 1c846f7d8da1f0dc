//! The life of TCP connections, as `ipvsadm -L -n -c` shows it, and what becomes of them when the table changes.

use std::{
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use rlvs_tests::{
    CLIENT, Cluster, Hook, REAL1, REAL2, VIP, WEB, eventually, on_both_hooks, patience,
    talk::{accept, connect, connect_from, hear, hear_nothing, listen, reset, say, say_unheard},
};

on_both_hooks!(
    the_client_closes_first,
    the_server_closes_first,
    a_reset_closes,
    an_unanswered_syn_waits,
    an_idle_connection_expires,
    a_port_used_again_is_a_new_connection,
    weight_zero_drains,
    a_removed_server_falls_silent_and_comes_back,
    a_removed_service_falls_silent,
    no_server_no_connection,
    each_service_its_own_ports,
);

const REAL: &str = "192.168.1.2:80";

/// SYN_RECV is too short to be seen here; ESTABLISHED, CLOSE_WAIT, TIME_WAIT.
fn the_client_closes_first(hook: Hook) {
    let Some((cluster, listener)) = one_server(hook) else { return };
    let mut client = connect(cluster.host("client"), WEB);
    let mut server = accept(&listener);
    say(&mut client, &mut server, "hello");
    expect_state(&cluster, "ESTABLISHED", 900);
    assert_eq!(cluster.counts(REAL), (1, 0));

    client.shutdown(Shutdown::Write).expect("a FIN");
    expect_state(&cluster, "CLOSE_WAIT", 60);
    assert_eq!(cluster.counts(REAL), (0, 1));
    say(&mut server, &mut client, "half of it still works");
    expect_state(&cluster, "CLOSE_WAIT", 60);

    drop(server);
    expect_state(&cluster, "TIME_WAIT", 120);
    assert_eq!(cluster.counts(REAL), (0, 1));
    assert_eq!(cluster.drops(), [].into());
}

/// ESTABLISHED, FIN_WAIT, TIME_WAIT; the timeout of FIN_WAIT is one that `--set` sets.
fn the_server_closes_first(hook: Hook) {
    let Some((cluster, listener)) = one_server(hook) else { return };
    cluster.ipvsadm("--set 1000 77 0");
    let mut client = connect(cluster.host("client"), WEB);
    let mut server = accept(&listener);
    say(&mut client, &mut server, "hello");
    expect_state(&cluster, "ESTABLISHED", 1000);

    server.shutdown(Shutdown::Write).expect("a FIN");
    expect_state(&cluster, "FIN_WAIT", 77);
    assert_eq!(cluster.counts(REAL), (0, 1));
    say(&mut client, &mut server, "half of it still works");
    expect_state(&cluster, "FIN_WAIT", 77);

    drop(client);
    expect_state(&cluster, "TIME_WAIT", 120);
}

fn a_reset_closes(hook: Hook) {
    let Some((cluster, listener)) = one_server(hook) else { return };
    let mut client = connect(cluster.host("client"), WEB);
    let mut server = accept(&listener);
    say(&mut client, &mut server, "hello");
    reset(client);
    expect_state(&cluster, "CLOSE", 10);
    assert_eq!(cluster.counts(REAL), (0, 1));
    assert!(std::io::Read::read(&mut server, &mut [0]).is_err(), "the reset reached the server");
}

/// The real server cannot answer: it has no way to the client.
fn an_unanswered_syn_waits(hook: Hook) {
    let Some((cluster, listener)) = one_server(hook) else { return };
    cluster.run("real1", &format!("ip route add blackhole {CLIENT}"));
    let attempt = cluster.host("client").run(|| TcpStream::connect_timeout(&WEB, Duration::from_millis(300)));
    assert_eq!(attempt.expect("a thread in the client").expect_err("no answer").kind(), std::io::ErrorKind::TimedOut);
    expect_state(&cluster, "SYN_RECV", 60);
    assert_eq!(cluster.counts(REAL), (1, 0));

    // The next client finds the server well again.
    cluster.run("real1", &format!("ip route del blackhole {CLIENT}"));
    let mut client = connect(cluster.host("client"), WEB);
    let mut server = accept(&listener);
    say(&mut client, &mut server, "hello");
    let states: Vec<_> = cluster.connections().into_iter().map(|connection| connection.state).collect();
    assert_eq!(states.iter().filter(|state| *state == "ESTABLISHED").count(), 1, "{states:?}");
}

/// An expired connection is none: what its client says goes to the director, which knows nothing of it and resets.
fn an_idle_connection_expires(hook: Hook) {
    let Some((cluster, listener)) = one_server(hook) else { return };
    cluster.ipvsadm("--set 2 0 0");
    let mut client = connect(cluster.host("client"), WEB);
    let mut server = accept(&listener);
    for _ in 0..3 {
        // Longer than the time-out in all.
        std::thread::sleep(Duration::from_millis(800));
        say(&mut client, &mut server, "still here");
    }
    assert_eq!(cluster.counts(REAL), (1, 0), "each packet begins the time anew");
    eventually("it expires", Duration::from_secs(4), || match (cluster.counts(REAL), cluster.connections().len()) {
        ((0, 0), 0) => Ok(()),
        seen => Err(format!("{seen:?}")),
    });
    say_unheard(&mut client, "anybody?");
    let ended = std::io::Read::read(&mut client, &mut [0]).expect_err("a reset");
    assert_eq!(ended.kind(), std::io::ErrorKind::ConnectionReset);
}

/// A client that begins anew on the port of a connection in TIME_WAIT gets a new connection, scheduled anew.
fn a_port_used_again_is_a_new_connection(hook: Hook) {
    let Some((cluster, listener)) = one_server(hook) else { return };
    let mut sources = Vec::new();
    for _ in 0..3 {
        let mut client = connect_from(cluster.host("client"), 33_333, WEB);
        let mut server = accept(&listener);
        say(&mut client, &mut server, "hello");
        sources.push(server.peer_addr().expect("a client"));
        // The server says goodbye first, so the client's port is free at once.
        drop(server);
        eventually("the end", patience(), || match std::io::Read::read(&mut client, &mut [0]) {
            Ok(0) => Ok(()),
            other => Err(format!("{other:?}")),
        });
        drop(client);
        expect_state(&cluster, "TIME_WAIT", 120);
    }
    assert_eq!(sources, [SocketAddr::from((CLIENT, 33_333)); 3]);
    assert_eq!(cluster.stats()[REAL][0], 3);
    assert_eq!(cluster.counts(REAL), (0, 1));
    assert_eq!(cluster.drops(), [].into());
}

/// A real server of weight 0 keeps its connections and gets no new ones.
fn weight_zero_drains(hook: Hook) {
    let Some((cluster, listeners)) = two_servers(hook) else { return };
    let [mut first, mut second] = pairs(&cluster, &listeners);
    cluster.ipvsadm(&format!("-e -t {WEB} -r {REAL} -m -w 0"));
    for _ in 0..4 {
        let mut client = connect(cluster.host("client"), WEB);
        let mut server = accept(&listeners[1]);
        say(&mut client, &mut server, "hello");
    }
    for (client, server) in [&mut first, &mut second] {
        say(client, server, "still here");
        say(server, client, "so am I");
    }
    drop(first);
    eventually("drained", patience(), || match cluster.counts(REAL) {
        (0, 1) => Ok(()),
        counts => Err(format!("{counts:?}")),
    });
    cluster.ipvsadm(&format!("-e -t {WEB} -r {REAL} -m -w 1"));
    let _clients = [connect(cluster.host("client"), WEB), connect(cluster.host("client"), WEB)];
    accept(&listeners[0]);
    accept(&listeners[1]);
}

/// Requests of a removed server's connections are dropped without a word; its own words still get out. Added again, it
/// goes on where it was, with its counters.
fn a_removed_server_falls_silent_and_comes_back(hook: Hook) {
    let Some((cluster, listeners)) = two_servers(hook) else { return };
    let [(mut client, mut server), _other] = pairs(&cluster, &listeners);
    let before = cluster.stats();
    assert_eq!(cluster.drops(), [].into());

    cluster.ipvsadm(&format!("-d -t {WEB} -r {REAL}"));
    say_unheard(&mut client, "unheard, and sent again and again");
    hear_nothing(&mut server, Duration::from_millis(300));
    assert!(cluster.drops()["drop_destination_removed"] > 0);
    say(&mut server, &mut client, "I can still talk");
    assert!(cluster.connections().iter().any(|connection| connection.destination == REAL));
    // New ones go to the other server alone.
    for _ in 0..2 {
        let mut client = connect(cluster.host("client"), WEB);
        say(&mut client, &mut accept(&listeners[1]), "hello");
    }
    assert_eq!(cluster.stats()[&WEB.to_string()][0], before[&WEB.to_string()][0] + 2);

    cluster.ipvsadm(&format!("-a -t {WEB} -r {REAL} -m"));
    hear(&mut server, "unheard, and sent again and again");
    say(&mut client, &mut server, "more");
    assert_eq!(cluster.counts(REAL), (1, 0));
    let after = cluster.stats();
    assert_eq!(after[REAL][0], before[REAL][0], "its statistics go on");
    assert!(after[REAL][1] > before[REAL][1]);
}

/// Without its service a connection's requests are dropped; the service set up again revives it.
fn a_removed_service_falls_silent(hook: Hook) {
    let Some((cluster, listener)) = one_server(hook) else { return };
    let mut client = connect(cluster.host("client"), WEB);
    let mut server = accept(&listener);
    say(&mut client, &mut server, "hello");
    // With its last service a family would be left alone altogether, known connections included (connections.md section 10).
    cluster.ipvsadm("-A -u 172.16.0.1:9 -s rr");
    cluster.ipvsadm("-D -t 172.16.0.1:80");
    assert_eq!(cluster.servers(), []);
    say_unheard(&mut client, "unheard");
    hear_nothing(&mut server, Duration::from_millis(300));
    // A new client finds what it finds without a service: the director, which refuses.
    let refused = cluster.host("client").run(|| TcpStream::connect_timeout(&WEB, patience()));
    let refused = refused.expect("a thread in the client").expect_err("no service");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);

    add_service(&cluster, &[REAL]);
    hear(&mut server, "unheard");
    say(&mut server, &mut client, "welcome back");
    assert_eq!(cluster.counts(REAL), (1, 0));
}

/// A service with nobody to serve it opens no connection, whether it has no server or none with any weight.
fn no_server_no_connection(hook: Hook) {
    let Some(mut cluster) = Cluster::build(hook) else { return };
    cluster.start();
    cluster.ipvsadm(&format!("-A -t {WEB} -s wrr"));
    let refused = |cluster: &Cluster| {
        let before = cluster.drops().get("drop_no_destination").copied().unwrap_or(0);
        let attempt = cluster.host("client").run(|| TcpStream::connect_timeout(&WEB, Duration::from_millis(300)));
        assert!(attempt.expect("a thread in the client").is_err());
        assert!(cluster.drops()["drop_no_destination"] > before);
        assert_eq!(cluster.connections(), []);
        assert_eq!(cluster.stats()[&WEB.to_string()], [0; 5]);
    };
    refused(&cluster);
    cluster.ipvsadm(&format!("-a -t {WEB} -r {REAL} -m -w 0"));
    refused(&cluster);
    cluster.ipvsadm(&format!("-E -t {WEB} -s none"));
    cluster.ipvsadm(&format!("-e -t {WEB} -r {REAL} -m -w 1"));
    refused(&cluster);
    cluster.ipvsadm(&format!("-E -t {WEB} -s rr"));
    let listener = listen(cluster.host("real1"), (REAL1, 80).into());
    let mut client = connect(cluster.host("client"), WEB);
    say(&mut client, &mut accept(&listener), "at last");
}

/// Two services on ports of their own, to one real server on other ports; its answers find the way back to each.
fn each_service_its_own_ports(hook: Hook) {
    let Some(mut cluster) = Cluster::build(hook) else { return };
    cluster.start();
    let talks = [(8080, 3000_u16), (8443, 3001), (443, 3001)].map(|(port, real_port)| {
        let service = SocketAddr::from((VIP, port));
        cluster.ipvsadm(&format!("-A -t {service} -s rr"));
        cluster.ipvsadm(&format!("-a -t {service} -r {REAL1}:{real_port} -m"));
        (service, real_port)
    });
    let listeners = [3000, 3001].map(|port| listen(cluster.host("real1"), (REAL1, port).into()));
    let mut pairs: Vec<_> = talks
        .iter()
        .map(|(service, real_port)| {
            let client = connect(cluster.host("client"), *service);
            let server = accept(&listeners[usize::from(*real_port - 3000)]);
            assert_eq!(server.peer_addr().expect("a client"), client.local_addr().expect("an address"));
            (client, server)
        })
        .collect();
    for (client, server) in &mut pairs {
        say(client, server, "question");
        say(server, client, "answer");
    }
    let mut shown: Vec<_> =
        cluster.connections().into_iter().map(|connection| (connection.service, connection.destination)).collect();
    shown.sort();
    let expected = [("172.16.0.1:443", "3001"), ("172.16.0.1:8080", "3000"), ("172.16.0.1:8443", "3001")]
        .map(|(service, port)| (service.to_owned(), format!("{REAL1}:{port}")));
    assert_eq!(shown, expected);
    assert_eq!(cluster.drops(), [].into());
}

/// A cluster with a service over the first real server, where the test itself listens.
fn one_server(hook: Hook) -> Option<(Cluster, TcpListener)> {
    let mut cluster = Cluster::build(hook)?;
    cluster.start();
    let listener = listen(cluster.host("real1"), (REAL1, 80).into());
    add_service(&cluster, &[REAL]);
    Some((cluster, listener))
}

/// The same over both real servers; the scheduler's first pick is the second one.
fn two_servers(hook: Hook) -> Option<(Cluster, [TcpListener; 2])> {
    let mut cluster = Cluster::build(hook)?;
    cluster.start();
    let listeners =
        [("real1", REAL1), ("real2", REAL2)].map(|(name, address)| listen(cluster.host(name), (address, 80).into()));
    add_service(&cluster, &[REAL, "192.168.1.3:80"]);
    Some((cluster, listeners))
}

fn add_service(cluster: &Cluster, servers: &[&str]) {
    cluster.ipvsadm(&format!("-A -t {WEB} -s rr"));
    for server in servers {
        cluster.ipvsadm(&format!("-a -t {WEB} -r {server} -m"));
    }
}

/// One conversation with each of two servers: client's end and server's.
fn pairs(cluster: &Cluster, listeners: &[TcpListener; 2]) -> [(TcpStream, TcpStream); 2] {
    let second = connect(cluster.host("client"), WEB);
    let first = connect(cluster.host("client"), WEB);
    let mut pairs = [(first, accept(&listeners[0])), (second, accept(&listeners[1]))];
    for (client, server) in &mut pairs {
        say(client, server, "hello");
    }
    pairs
}

/// Waits until the only connection is in that state, and checks its timeout: it has just been set.
fn expect_state(cluster: &Cluster, state: &str, timeout_s: u32) {
    let connection = eventually(&format!("state {state}"), patience(), || match &cluster.connections()[..] {
        [connection] if connection.state == state => Ok(connection.clone()),
        seen => Err(format!("{seen:?}")),
    });
    let sensible = timeout_s.saturating_sub(2)..=timeout_s;
    assert!(sensible.contains(&connection.expires_s), "{state} lasts {timeout_s} s: {connection:?}");
}
