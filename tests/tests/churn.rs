//! Many connections at once, while the daemon restarts and the table is edited: nobody is turned away, nothing is lost count of.

use std::{
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rlvs::lab::{Netns, Stop, client};
use rlvs_tests::{
    Cluster, Hook, REAL1, REAL2, VIP, WEB, eventually, on_both_hooks, patience,
    talk::{UdpEcho, accept, ask, connect, listen, say, udp_client},
};

on_both_hooks!(restarts_under_load, edits_under_load, rows_are_used_again, a_full_table_turns_away_and_recovers);

/// For an answer over a director that is at work.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(1);

/// The daemon crashes and comes back again and again while clients come and go.
fn restarts_under_load(hook: Hook) {
    let Some(mut cluster) = Cluster::balancing(hook) else { return };
    // So that every neighbour is known: XDP cannot ask for one while there is no daemon.
    cluster.requests(WEB, 2);
    let requests = Requests::begin(&cluster);
    for _ in 0..5 {
        requests.wait_for_more();
        cluster.kill();
        requests.wait_for_more();
        cluster.start();
    }
    requests.wait_for_more();
    let answered = requests.finish();
    assert_all_counted(&cluster, 2 + answered);
}

/// The table is edited all the time, in ways that must not concern those who are served.
fn edits_under_load(hook: Hook) {
    let Some(cluster) = Cluster::balancing(hook) else { return };
    let requests = Requests::begin(&cluster);
    for round in 1..=20 {
        cluster.ipvsadm(&format!("-e -t {WEB} -r {REAL1}:80 -m -w {round}"));
        // A third server comes and goes; it is never picked.
        cluster.ipvsadm(&format!("-a -t {WEB} -r 192.168.1.77:80 -m -w 0"));
        cluster.ipvsadm(&format!("-E -t {WEB} -s {}", if round % 2 == 0 { "wrr" } else { "rr" }));
        cluster.ipvsadm(&format!("-d -t {WEB} -r 192.168.1.77:80"));
        cluster.ipvsadm(&format!("-A -t {VIP}:{} -s rr", 1000 + round));
        requests.wait_for_more();
    }
    let answered = requests.finish();
    assert_all_counted(&cluster, answered);
}

/// More flows than the table has rows, one batch after the other: each batch expires, and its rows serve the next.
fn rows_are_used_again(hook: Hook) {
    const BATCH: usize = 150;
    let Some(mut cluster) = Cluster::build(hook) else { return };
    cluster.options.max_connections = 200;
    cluster.start();
    let service = SocketAddr::from((VIP, 53));
    let _servers = [("real1", REAL1), ("real2", REAL2)]
        .map(|(name, address)| UdpEcho::start(cluster.host(name), (address, 53).into(), name));
    cluster.ipvsadm(&format!("-A -u {service} -s rr"));
    for address in [REAL1, REAL2] {
        cluster.ipvsadm(&format!("-a -u {service} -r {address}:53 -m"));
    }
    cluster.ipvsadm("--set 0 0 1");
    eventually("both servers answer", patience(), || {
        ask(&udp_client(cluster.host("client"), service), "?", ANSWER_TIME_MAX)?;
        ask(&udp_client(cluster.host("client"), service), "?", ANSWER_TIME_MAX)
    });
    let of_servers = |cluster: &Cluster| -> u32 { cluster.servers().iter().map(|server| server.inactive).sum() };
    for batch in 0..2 {
        let clients: Vec<_> = (0..BATCH).map(|_| udp_client(cluster.host("client"), service)).collect();
        let mut unanswered: Vec<_> = clients.iter().collect();
        // Those that find no room ask again: rows rest for a second after their connection has expired.
        eventually(&format!("answers for batch {batch}"), patience(), || {
            unanswered.iter().for_each(|client| drop(client.send(b"?")));
            unanswered.retain(|client| {
                client.set_read_timeout(Some(Duration::from_millis(20))).expect("a time limit");
                client.recv(&mut [0; 16]).is_err()
            });
            if unanswered.is_empty() { Ok(()) } else { Err(format!("{} unanswered", unanswered.len())) }
        });
        eventually("the batch expires", patience(), || match (of_servers(&cluster), cluster.connections().len()) {
            (0, 0) => Ok(()),
            seen => Err(format!("{seen:?}")),
        });
    }
}

/// A connection that finds no row is dropped and counted; those that are there go on, and there is room again when one ends.
fn a_full_table_turns_away_and_recovers(hook: Hook) {
    const ROWS: u32 = 8;
    let Some(mut cluster) = Cluster::build(hook) else { return };
    cluster.options.max_connections = ROWS;
    cluster.start();
    let listener = listen(cluster.host("real1"), (REAL1, 80).into());
    cluster.ipvsadm(&format!("-A -t {WEB} -s rr"));
    cluster.ipvsadm(&format!("-a -t {WEB} -r {REAL1}:80 -m"));
    assert_eq!(cluster.status().connections_max, u64::from(ROWS));
    let mut pairs: Vec<_> = (0..ROWS).map(|_| (connect(cluster.host("client"), WEB), accept(&listener))).collect();
    assert_eq!(cluster.counts("192.168.1.2:80"), (ROWS, 0));

    let turned_away = cluster.host("client").run(|| TcpStream::connect_timeout(&WEB, Duration::from_millis(300)));
    assert!(turned_away.expect("a thread in the client").is_err());
    assert!(cluster.drops()["drop_table_full"] > 0);
    assert_eq!(cluster.counts("192.168.1.2:80"), (ROWS, 0));
    for (client, server) in &mut pairs {
        say(client, server, "still here");
    }

    // Silent for a second from now on, they end.
    cluster.ipvsadm("--set 1 0 0");
    for (client, server) in &mut pairs {
        say(client, server, "for the last time");
    }
    eventually("all have expired", patience(), || match cluster.counts("192.168.1.2:80") {
        (0, 0) => Ok(()),
        counts => Err(format!("{counts:?}")),
    });
    cluster.ipvsadm("--set 900 0 0");
    // `connect` sends its SYN again until there is room.
    let mut client = connect(cluster.host("client"), WEB);
    say(&mut client, &mut accept(&listener), "room again");
}

/// A client that makes one request after the other until it is told to finish.
struct Requests {
    answered: Arc<AtomicUsize>,
    done: Arc<AtomicBool>,
    thread: JoinHandle<Result<(), String>>,
}

impl Requests {
    fn begin(cluster: &Cluster) -> Self {
        // A handle of its own: the cluster is to be changed meanwhile.
        let client = Netns::open(cluster.host("client").name()).expect("the client's namespace");
        let (answered, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, until) = (Arc::clone(&answered), Arc::clone(&done));
        let thread = thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                let exchanges = client::requests(&client, WEB, 10, Duration::from_secs(3), &Stop::never(), |_| ());
                for exchange in exchanges.map_err(|error| error.to_string())? {
                    exchange.map_err(|error| format!("after {} answers: {error}", count.load(Ordering::Relaxed)))?;
                    count.fetch_add(1, Ordering::Relaxed);
                }
                // Not as many as possible: each leaves a row behind for two minutes.
                thread::sleep(Duration::from_millis(5));
            }
            Ok(())
        });
        Self { answered, done, thread }
    }

    /// Waits until some more have been answered.
    fn wait_for_more(&self) {
        let before = self.answered.load(Ordering::Relaxed);
        eventually("more answers", patience(), || {
            let more = self.answered.load(Ordering::Relaxed) - before;
            if more >= 20 { Ok(()) } else { Err(format!("{more}; ended: {}", self.thread.is_finished())) }
        });
    }

    /// How many there were, all of them answered.
    fn finish(self) -> usize {
        self.done.store(true, Ordering::Relaxed);
        let ended = self.thread.join().expect("a thread that ends");
        ended.unwrap_or_else(|error| panic!("a request failed {error}"));
        self.answered.load(Ordering::Relaxed)
    }
}

/// Asserts that so many connections were made and none was forgotten or counted twice, wherever they are counted.
fn assert_all_counted(cluster: &Cluster, connections: usize) {
    cluster.wait_idle();
    let stats = cluster.stats();
    let of_servers = stats[&format!("{REAL1}:80")][0] + stats[&format!("{REAL2}:80")][0];
    assert_eq!([stats[&WEB.to_string()][0], of_servers], [connections as u64; 2]);
    let inactive: u32 = cluster.servers().iter().map(|server| server.inactive).sum();
    assert_eq!((inactive as usize, cluster.connections().len()), (connections, connections));
    assert_eq!(cluster.drops(), [].into());
}
