//! The lab's parts at work in real namespaces, over plain forwarding. Needs root; says so where it is not.

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    path::Path,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use rlvs::lab::{Claim, Error, HttpServer, Network, Offloads, Stop, Topology, client, netns};

const TIME_MAX: Duration = Duration::from_secs(5);
const REAL1: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 1, 2)), 80);

/// A lab name no other test of this or another run has.
fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("t{}n{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn root() -> bool {
    let root = rustix::process::geteuid().is_root() && netns::Netns::probe().is_ok();
    if !root {
        eprintln!("SKIPPED: needs root and network namespaces");
    }
    root
}

fn build(topology: Topology) -> Network {
    topology.build(Claim::take(&unique()).unwrap()).unwrap()
}

#[test]
fn forwards_between_client_and_real_server() {
    if !root() {
        return;
    }
    for offloads in [Offloads::Default, Offloads::ForXdp] {
        let network = build(Topology::nat().offloads(offloads));
        let _server = HttpServer::start(network.host("real1").unwrap(), REAL1, "real1").unwrap();
        let client = network.host("client").unwrap();
        let mut seen = 0;
        let exchanges = client::requests(client, REAL1, 10, TIME_MAX, &Stop::never(), |_| seen += 1).unwrap();
        assert_eq!((exchanges.len(), seen), (10, 10));
        assert!(exchanges.iter().all(|exchange| { exchange.as_ref().is_ok_and(|answer| answer.server == "real1") }));
        client::download(client, REAL1, 20_000_003, Duration::from_secs(30)).unwrap().unwrap();
    }
}

#[test]
fn offloads_are_as_asked_for() {
    if !root() {
        return;
    }
    let features = |network: &Network, host: &str, interface: &str| {
        let host = network.host(host).unwrap();
        match host.output(Command::new("ethtool").args(["-k", interface]), TIME_MAX) {
            Ok(output) => String::from_utf8(output.stdout).unwrap(),
            Err(error) => panic!("{error}"),
        }
    };
    if Command::new("ethtool").arg("--version").output().is_err() {
        return eprintln!("SKIPPED: needs ethtool");
    }
    let network = build(Topology::nat().offloads(Offloads::ForXdp));
    for (host, interface) in [("client", "eth0"), ("real1", "eth0"), ("real2", "eth0"), ("switch", "to-director")] {
        let listed = features(&network, host, interface);
        assert!(listed.contains("tx-checksum-ip-generic: off"), "{host}: {listed}");
        assert!(listed.contains("tx-tcp-segmentation: off"), "{host}: {listed}");
        assert!(listed.contains("generic-receive-offload: on"), "{host}: {listed}");
    }
    let director = features(&network, "director", "eth1");
    assert!(director.contains("tx-checksumming: on") && director.contains("generic-receive-offload: on"), "{director}");
    let plain = build(Topology::nat());
    assert!(features(&plain, "client", "eth0").contains("tx-checksumming: on"));
}

#[test]
fn a_claim_is_one_process_s_and_leaves_nothing() {
    if !root() {
        return;
    }
    let lab = unique();
    let claim = Claim::take(&lab).unwrap();
    let dir = claim.dir();
    fs::write(dir.join("log"), "x").unwrap();
    let busy = Claim::take(&lab).unwrap_err();
    assert!(matches!(busy, Error::Busy { pid: Some(pid), .. } if pid == std::process::id() as i32), "{busy}");
    let network = Topology::nat().build(claim).unwrap();
    let name = network.claim().netns_name("client");
    assert!(netns::names().contains(&name));
    drop(network);
    assert!(!netns::names().contains(&name));
    assert!(!dir.exists() && !dir.with_extension("lock").exists());
}

#[test]
fn the_next_claim_clears_what_a_death_left() {
    if !root() {
        return;
    }
    let lab = unique();
    // As kill -9 leaves them: namespaces and files, and a lock that nobody holds.
    let network = Topology::nat().build(Claim::take(&lab).unwrap()).unwrap();
    let names: BTreeSet<_> = network.hosts().map(|(_, netns)| netns.name().to_owned()).collect();
    let log = network.claim().dir().join("log");
    drop(network);
    fs::create_dir_all(log.parent().unwrap()).unwrap();
    fs::write(&log, "x").unwrap();
    for name in &names {
        std::mem::forget(netns::Netns::create(name).unwrap());
    }
    // And one killed halfway through making a name.
    let half_made = Path::new(netns::NETNS_DIR).join(format!("rlvs-{lab}-half"));
    fs::write(&half_made, "").unwrap();

    let claim = Claim::take(&lab).unwrap();
    let left: Vec<_> = netns::names().into_iter().filter(|name| names.contains(name)).collect();
    assert_eq!(left, [""; 0]);
    assert!(!half_made.exists() && !log.exists());
    drop(claim);
}

#[test]
fn names_cannot_reach_outside() {
    for bad in ["", "..", "a/b", "A", "a b"] {
        assert!(matches!(netns::Netns::create(bad), Err(Error::BadName(_))), "{bad}");
        assert!(matches!(netns::Netns::open(bad), Err(Error::BadName(_))), "{bad}");
    }
}

#[test]
fn requests_stop_when_told_and_give_up_when_nobody_answers() {
    if !root() {
        return;
    }
    let network = build(Topology::nat());
    let client = network.host("client").unwrap();
    let stop = Stop::never();
    stop.raise(15);
    assert!(matches!(client::requests(client, REAL1, 5, TIME_MAX, &stop, |_| ()), Err(Error::Stopped(15))));
    let exchanges = client::requests(client, REAL1, 50, TIME_MAX, &Stop::never(), |_| ()).unwrap();
    assert_eq!(exchanges.iter().filter(|exchange| exchange.is_err()).count(), 3);
    assert_eq!(exchanges.len(), 3);
}
