//! Web requests and downloads through the director, by the programs that people use.

use std::{fs, process::Command, thread, time::Duration};

use rlvs_tests::{Background, Cluster, Hook, REAL1, REAL2, eventually, need, on_both_hooks, patience};

on_both_hooks!(the_course_by_hand, downloads_arrive_whole, downloads_at_once_arrive_whole);

/// The size of a download: 100 MB, and no multiple of anything.
const DOWNLOAD: usize = 100_000_007;
const DOWNLOAD_TIME_MAX: Duration = Duration::from_secs(40);

/// What a course has its students type, each command entered in its host by `ip netns exec`; the daemon is started so, too,
/// crashes, is started again, and is taken away in the end.
fn the_course_by_hand(hook: Hook) {
    if !need::programs(&[("curl", "curl")]) {
        return;
    }
    let Some(mut cluster) = Cluster::build(hook) else { return };
    cluster.serve_web();
    cluster.start_by_ip_netns_exec();
    cluster.shell(
        "director",
        "ipvsadm -C
         ipvsadm -A -t 172.16.0.1:80 -s wrr
         ipvsadm -a -t 172.16.0.1:80 -r 192.168.1.2:80 -m -w 2
         ipvsadm -a -t 172.16.0.1:80 -r 192.168.1.3:80 -m -w 3",
        patience(),
    );
    let mut expected = Cluster::wrr_picks(107);
    let the_rest = expected.split_off(100);
    assert_eq!(curl_in_turn(&cluster, 100), expected);
    cluster.wait_idle();
    let servers: Vec<_> = cluster.servers().iter().map(|server| (server.address.clone(), server.inactive)).collect();
    assert_eq!(servers, [("192.168.1.2:80".to_owned(), 40), ("192.168.1.3:80".to_owned(), 60)]);

    // Not a whole round, so that the scheduler is on its way through the list.
    assert_eq!(curl_in_turn(&cluster, 3), the_rest[..3]);
    cluster.wait_idle();
    let tables = |cluster: &Cluster| {
        let listing = cluster.shell("director", "ipvsadm -S -n; ipvsadm -L -n", patience());
        let connections: Vec<_> =
            cluster.connections().iter().map(|connection| connection.identity().map(str::to_owned)).collect();
        (listing, connections)
    };
    let before = tables(&cluster);
    cluster.kill();
    cluster.start_by_ip_netns_exec();
    assert_eq!(tables(&cluster), before);
    assert_eq!(curl_in_turn(&cluster, 4), the_rest[3..], "the scheduler goes on where it was");

    cluster.terminate();
    cluster.shell("director", "rlvs unload", patience());
    let refused = cluster.try_run("client", "curl -sS --max-time 3 http://172.16.0.1/");
    assert_eq!(refused.code, Some(7), "the director forwards no more, and nobody listens there: {refused:?}");
}

/// Both real servers send a file that the client's curl writes down, at full speed and with every offload that the hook
/// can stand.
fn downloads_arrive_whole(hook: Hook) {
    let Some((cluster, _servers, checksum)) = file_servers(hook) else { return };
    for _ in 0..2 {
        assert_eq!(download(&cluster), checksum);
    }
    for (address, [connections, _, packets_out, _, bytes_out]) in cluster.stats() {
        let downloads: u64 = if address.starts_with("172.") { 2 } else { 1 };
        assert_eq!(connections, downloads, "{address}");
        assert!(bytes_out > downloads * DOWNLOAD as u64, "{address} sent {bytes_out} bytes");
        // On tc the segments of an offloaded send pass as one packet; on XDP there is no such thing.
        let segments = bytes_out / 1500;
        assert_eq!(packets_out < segments / 4, hook == Hook::Tc, "{packets_out} packets, {bytes_out} bytes");
    }
    assert_nothing_lost(&cluster);
}

/// Between hosts that leave checksums to one another nobody notices a wrong one. So here some host works them out, or checks
/// them: the director, as one does whose network card cannot; the ends; one side only.
#[test]
fn checksums_hold_whoever_works_them_out() {
    if !need::programs(&[("ethtool", "ethtool")]) {
        return;
    }
    let Some((cluster, _servers, checksum)) = file_servers(Hook::Tc) else { return };
    for without_offload in [
        &[("director", "eth0"), ("director", "eth1")][..],
        &[("client", "eth0"), ("director", "eth0")],
        &[("client", "eth0"), ("real1", "eth0"), ("real2", "eth0")],
    ] {
        for (host, interface) in without_offload {
            cluster.run(host, &format!("ethtool -K {interface} tx off"));
        }
        for _ in 0..2 {
            assert_eq!(download(&cluster), checksum, "{without_offload:?}");
        }
        assert_nothing_lost(&cluster);
        for (host, interface) in without_offload {
            cluster.run(host, &format!("ethtool -K {interface} tx on"));
        }
    }
}

/// Four at once, two from each real server.
fn downloads_at_once_arrive_whole(hook: Hook) {
    let Some((cluster, _servers, checksum)) = file_servers(hook) else { return };
    thread::scope(|scope| {
        let downloads: Vec<_> = (0..4).map(|_| scope.spawn(|| download(&cluster))).collect();
        for download in downloads {
            assert_eq!(download.join().expect("a download"), checksum);
        }
    });
    let stats = cluster.stats();
    assert_eq!(["172.16.0.1:80", "192.168.1.2:80", "192.168.1.3:80"].map(|address| stats[address][0]), [4, 2, 2]);
    assert_nothing_lost(&cluster);
}

/// Makes so many requests, one curl after the other; returns who answered.
fn curl_in_turn(cluster: &Cluster, count: usize) -> Vec<String> {
    let script = format!("for i in $(seq {count}); do curl -sS --max-time 5 http://172.16.0.1/; done");
    cluster.shell("client", &script, Duration::from_secs(30)).lines().map(str::to_owned).collect()
}

/// A cluster whose real servers run nginx over one file, balanced by round robin, and the file's checksum.
fn file_servers(hook: Hook) -> Option<(Cluster, Vec<Background>, String)> {
    if !need::programs(&[("curl", "curl"), ("nginx", "nginx-light"), ("sha256sum", "coreutils")]) {
        return None;
    }
    let mut cluster = Cluster::build(hook)?;
    cluster.start();
    let mut content = vec![0; DOWNLOAD];
    rlvs::lab::http::fill_pattern(0, &mut content);
    let file = cluster.dir().join("file");
    fs::write(&file, content).expect("a file to serve");
    let checksum = cluster.run("client", &format!("sha256sum {}", file.display()));
    let checksum = checksum.split_whitespace().next().expect("a checksum").to_owned();

    let servers = [("real1", REAL1), ("real2", REAL2)].map(|(name, address)| {
        let server = start_nginx(&cluster, name, &format!("{address}:80"));
        eventually("nginx listens", patience(), || {
            let asked = cluster.try_run(name, &format!("curl -sI http://{address}/file"));
            if asked.stdout.contains("200 OK") { Ok(()) } else { Err(format!("{asked:?}")) }
        });
        server
    });
    cluster.ipvsadm("-A -t 172.16.0.1:80 -s rr");
    for address in [REAL1, REAL2] {
        cluster.ipvsadm(&format!("-a -t 172.16.0.1:80 -r {address}:80 -m"));
    }
    Some((cluster, servers.into(), checksum))
}

/// Starts nginx in a host, as one process that serves the cluster's directory.
fn start_nginx(cluster: &Cluster, host: &str, address: &str) -> Background {
    let dir = cluster.dir();
    let dir = dir.display();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {dir}/{host}-{kind};"))
        .join(" ");
    let config = format!(
        "daemon off; master_process off; pid {dir}/{host}.pid; error_log {dir}/{host}.log; events {{}}
         http {{ access_log off; sendfile on; {temporary} server {{ listen {address}; root {dir}; }} }}"
    );
    let path = cluster.dir().join(format!("{host}.conf"));
    fs::write(&path, config).expect("nginx's configuration");
    let log = cluster.dir().join(format!("{host}.log"));
    let mut command: Command = cluster.command("nginx");
    // -e: Debian's default is a file of the system's.
    Background::start(cluster.host(host), command.arg("-e").arg(log).arg("-c").arg(path))
}

/// Downloads the file; returns the checksum of what came.
fn download(cluster: &Cluster) -> String {
    let script = "curl -sS --max-time 30 http://172.16.0.1/file | sha256sum";
    let printed = cluster.shell("client", script, DOWNLOAD_TIME_MAX);
    printed.split_whitespace().next().expect("a checksum").to_owned()
}

/// Asserts that the director dropped nothing, and that no end saw a packet with a wrong checksum.
fn assert_nothing_lost(cluster: &Cluster) {
    assert_eq!(cluster.drops(), [].into());
    for host in ["client", "real1", "real2"] {
        assert_eq!(checksum_errors(cluster, host), 0, "{host} saw wrong checksums");
    }
}

/// TCP segments with a wrong checksum that a host has seen.
fn checksum_errors(cluster: &Cluster, host: &str) -> u64 {
    let text = cluster.run(host, "cat /proc/net/snmp");
    let mut tcp = text.lines().filter(|line| line.starts_with("Tcp:"));
    let (Some(names), Some(values)) = (tcp.next(), tcp.next()) else { panic!("no line on TCP: {text}") };
    let place = names.split(' ').position(|name| name == "InCsumErrors").expect("a counter");
    values.split(' ').nth(place).and_then(|value| value.parse().ok()).expect("a number")
}
