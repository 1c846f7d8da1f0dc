//! What `ipvsadm` and `rlvs` set beside the plain table: every kind of service and destination, settings, marks; and what the
//! files of /proc/net say of them. All of it survives the daemon.

use std::{
    net::{IpAddr, TcpStream},
    thread,
    time::Duration,
};

use rlvs_core::{
    rows::{Address, ConfigRow, DestRow, MarkRow, SAMPLE_LEN, SAMPLES, SampleRow, Span, dest_flags},
    verdict,
};
use rlvsd::{maps::SharedArray, owner::convert};

use rlvs_tests::{Cluster, Hook, Ran, WEB, eventually, loaded, patience};

/// Each kind of service and destination, in the words and the order in which `ipvsadm -S -n` writes them.
const EVERYTHING: &str = "-A -t 172.16.0.1:21 -s rr -p 90 -M 255.255.255.0\n\
    -a -t 172.16.0.1:21 -r 192.168.1.2:21 -m -w 1\n\
    -A -t 172.16.0.1:80 -s wrr\n\
    -a -t 172.16.0.1:80 -r 127.0.0.1:80 -m -w 3\n\
    -a -t 172.16.0.1:80 -r 192.168.1.2:80 -i -w 1 --tun-type gue --tun-port 6080 --tun-nocsum\n\
    -a -t 172.16.0.1:80 -r 192.168.1.3:80 -g -w 2\n\
    -A -t [2001:db8::1]:80 -s rr -p 300 -M 64\n\
    -a -t [2001:db8::1]:80 -r [2001:db8:1::2]:80 -g -w 1\n\
    -a -t [2001:db8::1]:80 -r 192.168.1.2:80 -i -w 1 --tun-type ipip\n";

/// Restores, lists, takes over, edits and removes what has no data plane of its own kind yet to test it with.
#[test]
fn every_kind_of_service_is_kept() {
    let Some(mut cluster) = Cluster::build(Hook::Auto) else { return };
    cluster.start();
    let file = cluster.dir().join("everything");
    let more = "-A -u 172.16.0.1:53 -s rr -o\n-A --sctp-service 172.16.0.1:9 -s rr\n-A -f 7 -s rr -p 60\n\
                -a -f 7 -r 192.168.1.2:0 -m -w 1\n-A -f 7 -6 -s rr\n-A -t 172.16.0.1:0 -s rr -p\n";
    std::fs::write(&file, format!("{EVERYTHING}{more}")).expect("a file");
    cluster.shell("director", &format!("ipvsadm -R < {}", file.display()), patience());
    // Which `-S` leaves out.
    cluster.ipvsadm("-e -t 172.16.0.1:80 -r 192.168.1.3:80 -g -w 2 -x 10 -y 5");
    let saved = cluster.ipvsadm("-S -n");
    for line in EVERYTHING.lines() {
        assert!(saved.lines().any(|other| other == line), "{line}\nis not in\n{saved}");
    }
    assert_eq!(cluster.status().services, 8, "{saved}");
    for _ in 0..2 {
        cluster.kill();
        cluster.start();
        assert_eq!(cluster.ipvsadm("-S -n"), saved);
    }
    let thresholds = cluster.ipvsadm("-L -n --thresholds");
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let of_real = thresholds.lines().map(words).find(|words| words.get(1).is_some_and(|ip| ip == "192.168.1.3:80"));
    assert_eq!(of_real.expect("a line")[2..4], ["10", "5"], "{thresholds}");

    cluster.ipvsadm("-e -t 172.16.0.1:80 -r 192.168.1.2:80 -m -w 9");
    cluster.ipvsadm("-E -t 172.16.0.1:21 -s wrr");
    let edited = cluster.ipvsadm("-S -n");
    assert!(edited.contains("-a -t 172.16.0.1:80 -r 192.168.1.2:80 -m -w 9\n"), "{edited}");
    assert!(edited.contains("-A -t 172.16.0.1:21 -s wrr\n"), "{edited}");
    cluster.ipvsadm("-C");
    assert_eq!(cluster.ipvsadm("-S -n"), "");
    cluster.assert_daemon_runs();
}

/// /proc/net/ip_vs in both families, methods and all; ip_vs_app and the counters of each CPU.
#[test]
fn the_files_of_proc() {
    let Some(cluster) = Cluster::balancing(Hook::Auto) else { return };
    cluster.ipvsadm("-A -f 7 -s rr");
    cluster.ipvsadm("-A -t [2001:db8::1]:80 -s rr -p 300 -M 64");
    cluster.ipvsadm("-a -t [2001:db8::1]:80 -r [2001:db8:1::2]:80 -i");
    cluster.requests(WEB, 3);
    cluster.wait_idle();
    let table = cluster.run("director", "rlvs proc ip_vs");
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines[3].split(" persistent ").next(), Some("TCP  [2001:0db8:0000:0000:0000:0000:0000:0001]:0050 rr"));
    assert!(lines[3].ends_with(" 40000000"), "{table}");
    assert_eq!(lines[4], "  -> [2001:0db8:0001:0000:0000:0000:0000:0002]:0050 Tunnel  1      0          0         ");
    assert_eq!(lines[5], "TCP  AC100001:0050 wrr  ");
    assert_eq!(lines[6], "  -> C0A80103:0050      Masq    3      0          2         ");
    assert_eq!(lines[8], "FWM  00000007 rr ", "marks come last");

    let conns = cluster.run("director", "rlvs proc ip_vs_conn_sync");
    let first = "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Origin Expires";
    assert_eq!(conns.lines().next(), Some(first));
    assert_eq!(conns.lines().filter(|line| line.contains(" LOCAL  ")).count(), 3, "{conns}");
    assert_eq!(cluster.run("director", "rlvs proc ip_vs_app"), "prot port    usecnt name\n");

    cluster.settle();
    let totals = cluster.run("director", "rlvs proc ip_vs_stats");
    assert!(totals.lines().nth(2).is_some_and(|line| line.starts_with("       3 ")), "{totals}");
    let sum = |text: &str| -> u64 {
        let rows = text.lines().skip(2).take_while(|line| !line.starts_with("  ~"));
        rows.map(|line| u64::from_str_radix(line[4..12].trim(), 16).expect("a number")).sum()
    };
    let percpu = cluster.run("director", "rlvs proc ip_vs_stats_percpu");
    assert_eq!(sum(&percpu), 3, "{percpu}");
    // Totals know what was deleted; zeroed they begin anew, and those of each CPU go on.
    cluster.ipvsadm("-D -t 172.16.0.1:80");
    cluster.settle();
    assert_eq!(cluster.run("director", "rlvs proc ip_vs_stats").lines().nth(2), totals.lines().nth(2));
    cluster.ipvsadm("-Z");
    let zeroed = cluster.run("director", "rlvs proc ip_vs_stats");
    assert!(zeroed.lines().nth(2).is_some_and(|line| line.starts_with("       0 ")), "{zeroed}");
    assert_eq!(sum(&cluster.run("director", "rlvs proc ip_vs_stats_percpu")), 3);
}

/// Settings are read and written as by sysctl, and are there after a crash.
#[test]
fn settings_as_by_sysctl() {
    let Some(mut cluster) = Cluster::build(Hook::Auto) else { return };
    cluster.start();
    let sysctl = |cluster: &Cluster, words: &str| cluster.try_run("director", &format!("rlvs sysctl {words}"));
    let good = |stdout: &str| Ran { code: Some(0), stdout: stdout.into(), stderr: String::new() };
    let bad = |words: &str| Ran { code: Some(1), stdout: String::new(), stderr: format!("rlvs: {words}\n") };

    let all = sysctl(&cluster, "-a");
    assert_eq!(all.stdout.lines().count(), 30, "{}", all.stdout);
    assert!(all.stdout.contains("net.ipv4.vs.sync_threshold = 3\t50\n"), "{}", all.stdout);
    assert_eq!(sysctl(&cluster, "drop_entry"), good("net.ipv4.vs.drop_entry = 0\n"));
    assert_eq!(sysctl(&cluster, "-n net.ipv4.vs.conn_reuse_mode"), good("1\n"));
    assert_eq!(
        sysctl(&cluster, "drop_packet=3 am_droprate"),
        good("net.ipv4.vs.drop_packet = 3\nnet.ipv4.vs.am_droprate = 10\n")
    );
    assert_eq!(sysctl(&cluster, "-q -w net/ipv4/vs/expire_nodest_conn=1"), good(""));
    for (words, message) in [
        ("drop_entry=4", "setting key \"net.ipv4.vs.drop_entry\": Invalid argument"),
        ("secure_tcp=-1", "setting key \"net.ipv4.vs.secure_tcp\": Invalid argument"),
        ("sync_ports=3", "setting key \"net.ipv4.vs.sync_ports\": Invalid argument"),
        ("sync_threshold=50", "setting key \"net.ipv4.vs.sync_threshold\": Invalid argument"),
        ("pmtu_disc=x", "setting key \"net.ipv4.vs.pmtu_disc\": Invalid argument"),
        ("nosuch", "cannot stat /proc/sys/net/ipv4/vs/nosuch: No such file or directory"),
        ("nosuch=1", "cannot stat /proc/sys/net/ipv4/vs/nosuch: No such file or directory"),
        ("-w pmtu_disc", "\"pmtu_disc\" must be of the form name=value"),
    ] {
        assert_eq!(sysctl(&cluster, words), bad(message), "{words}");
    }
    // One that fails does not keep the others from being done.
    let mixed = sysctl(&cluster, "nosuch sync_retries=2");
    assert_eq!((mixed.code, mixed.stdout.as_str()), (Some(1), "net.ipv4.vs.sync_retries = 2\n"));

    let before = sysctl(&cluster, "-a");
    cluster.kill();
    cluster.start();
    assert_eq!(sysctl(&cluster, "-a"), before);
    // Memory is not low to a threshold of one page, and is to one of more than there is.
    cluster.run("director", "rlvs sysctl amemthresh=1 drop_packet=2 secure_tcp=1 drop_entry=1");
    assert_eq!(sysctl(&cluster, "-n drop_packet secure_tcp"), good("1\n1\n"));
    cluster.run("director", "rlvs sysctl amemthresh=2147483647");
    assert_eq!(sysctl(&cluster, "-n drop_packet secure_tcp drop_entry"), good("2\n2\n2\n"));
    cluster.terminate();
    assert_eq!(sysctl(&cluster, "-a"), bad("rlvsd does not run in this network namespace"));
}

/// With run_estimation off what clients see stands still; on again, it has everything.
#[test]
fn statistics_freeze_without_estimation() {
    let Some(cluster) = Cluster::balancing(Hook::Auto) else { return };
    cluster.requests(WEB, 2);
    cluster.settle();
    cluster.run("director", "rlvs sysctl run_estimation=0");
    cluster.requests(WEB, 3);
    assert_eq!(cluster.stats()[&WEB.to_string()][0], 2);
    let percpu = cluster.run("director", "rlvs proc ip_vs_stats_percpu");
    let zero_adjusted = percpu.lines().find(|line| line.starts_with("  ~")).expect("a line");
    assert!(zero_adjusted.starts_with("  ~        2 "), "{percpu}");
    cluster.run("director", "rlvs sysctl run_estimation=1");
    assert_eq!(cluster.stats()[&WEB.to_string()][0], 5);
}

/// With expire_nodest_conn a removed real server's connections go with it; without, they stay.
#[test]
fn connections_go_with_their_server() {
    let Some(cluster) = Cluster::balancing(Hook::Auto) else { return };
    cluster.requests(WEB, 5);
    cluster.wait_idle();
    let count = |real: &str| cluster.connections().iter().filter(|conn| conn.destination.starts_with(real)).count();
    cluster.ipvsadm("-d -t 172.16.0.1:80 -r 192.168.1.2:80");
    thread::sleep(Duration::from_millis(200));
    assert_eq!((count("192.168.1.2"), count("192.168.1.3")), (2, 3));
    cluster.run("director", "rlvs sysctl expire_nodest_conn=1");
    cluster.ipvsadm("-d -t 172.16.0.1:80 -r 192.168.1.3:80");
    eventually("all connections gone", Duration::from_millis(400), || match cluster.connections()[..] {
        [] => Ok(()),
        ref left => Err(format!("{left:?}")),
    });
}

/// drop_entry takes half-open connections first.
#[test]
fn half_open_connections_are_thinned_out() {
    let Some(cluster) = Cluster::up(Hook::Auto) else { return };
    cluster.ipvsadm("-A -t 172.16.0.1:80 -s rr");
    // Nobody has this address: the client's question stays unanswered.
    cluster.ipvsadm("-a -t 172.16.0.1:80 -r 192.168.1.99:80 -m");
    let opened = cluster.host("client").run(|| {
        let attempts: Vec<_> = (0..48)
            .map(|_| thread::spawn(|| TcpStream::connect_timeout(&WEB, Duration::from_millis(300)).is_err()))
            .collect();
        attempts.into_iter().filter_map(|attempt| attempt.join().ok()).filter(|failed| *failed).count()
    });
    assert_eq!(opened.expect("a thread in the client"), 48);
    assert_eq!(cluster.connections().len(), 48);
    thread::sleep(Duration::from_secs(2));
    assert_eq!(cluster.connections().len(), 48, "not as long as it is off");
    cluster.run("director", "rlvs sysctl drop_entry=3");
    eventually("five connections dropped", Duration::from_secs(30), || match cluster.connections().len() {
        0..=43 => Ok(()),
        left => Err(format!("{left} left")),
    });
    let left = cluster.connections().len();
    assert_eq!(cluster.servers()[0].active as usize, left);
}

/// Rules that mark packets: in the order in which they were added, and there after a crash.
#[test]
fn marks_are_kept_in_order() {
    let Some(mut cluster) = Cluster::build(Hook::Auto) else { return };
    cluster.start();
    let mark = |cluster: &Cluster, words: &str| cluster.try_run("director", &format!("rlvs mark {words}"));
    let list = |cluster: &Cluster| cluster.run("director", "rlvs mark list");
    let rules = [
        "-4 --source 10.0.0.0/8 --destination 172.16.0.1/32 --protocol tcp --destination-port 80-443 --mark 7",
        "-6 --destination 2001:db8::/32 --protocol udp --source-port 53 --mark 8",
        "-4 --protocol 47 --mark 4294967295",
    ];
    for rule in rules {
        assert_eq!(mark(&cluster, &format!("add {rule}")).code, Some(0), "{rule}");
    }
    let all: String = (1..).zip(rules).map(|(place, rule)| format!("{place}: {rule}\n")).collect();
    assert_eq!(list(&cluster), all);
    let said = |words: &str| Ran { code: Some(1), stdout: String::new(), stderr: format!("rlvs: {words}\n") };
    assert_eq!(mark(&cluster, &format!("add {}", rules[0])), said("File exists"));
    assert_eq!(mark(&cluster, "add -4 --mark 0"), said("mark 0 is no mark"));
    assert_eq!(mark(&cluster, "delete 4"), said("No such file or directory"));
    assert_eq!(mark(&cluster, "delete -4 --mark 9"), said("No such file or directory"));
    let json = cluster.run("director", "rlvs mark list --json");
    assert!(json.starts_with(r#"[{"source":"10.0.0.0/8","#), "{json}");
    cluster.kill();
    cluster.start();
    assert_eq!(list(&cluster), all);
    assert_eq!(mark(&cluster, &format!("delete {}", rules[0])).code, Some(0));
    assert_eq!(mark(&cluster, "delete 2").code, Some(0));
    assert_eq!(list(&cluster), format!("1: {}\n", rules[1]));
    assert_eq!(mark(&cluster, "flush").code, Some(0));
    assert_eq!(list(&cluster), "");
}

/// Every reason for drops, with its count.
#[test]
fn drops_by_reason() {
    let Some(cluster) = Cluster::up(Hook::Auto) else { return };
    cluster.ipvsadm("-A -t 172.16.0.1:80 -s rr");
    let attempt = cluster.host("client").run(|| TcpStream::connect_timeout(&WEB, Duration::from_millis(300)));
    assert!(attempt.expect("a thread in the client").is_err());
    let text = cluster.run("director", "rlvs drops --reason no_destination");
    let words: Vec<_> = text.split_whitespace().collect();
    assert_eq!(words[0], "drop_no_destination", "{text}");
    assert!(words[1].parse::<u64>().is_ok_and(|count| count > 0), "{text}");
    let all = cluster.run("director", "rlvs drops");
    assert!(all.lines().count() >= 8 && all.contains("drop_no_route "), "{all}");
    let json: serde_json::Value = serde_json::from_str(&cluster.run("director", "rlvs drops --json")).expect("JSON");
    assert!(json.as_array().is_some_and(|reasons| reasons.iter().all(|reason| reason["count"].is_u64())), "{json}");
    // As packets leave them: here of a reason that does not come about by itself.
    let (index, ..) = verdict::NAMES.iter().find(|(_, name, _)| *name == "drop_raced").expect("a reason");
    let mut samples = loaded::rows::<SampleRow>(cluster.host("director"), "SAMPLES");
    for (place, (at, last)) in [(7u64, 1u8), (9, 2)].into_iter().enumerate() {
        samples.update(index * SAMPLES + place as u32, |row| {
            *row = SampleRow { at, len: 1514, interface: 1, bytes: [0; SAMPLE_LEN] };
            row.bytes[12..15].copy_from_slice(&[8, 0, 0x45]);
            row.bytes[23] = 17;
            row.bytes[33] = last;
        });
    }
    let shown = cluster.run("director", "rlvs drops --reason drop_raced --hex");
    let lines: Vec<_> = shown.lines().filter(|line| line.contains(" lo ")).collect();
    assert_eq!(lines.len(), 2, "{shown}");
    assert!(
        lines[0].ends_with(" h  lo              0.0.0.0:0 > 0.0.0.2:0 udp ttl 0, 1514 bytes"),
        "newest first: {shown}"
    );
    assert!(shown.contains("            0000  00 00 00 00 00 00 00 00 00 00 00 00 08 00 45 00\n"), "{shown}");
    let odd = cluster.try_run("director", "rlvs drops --reason nosuch");
    assert_eq!(odd.stderr, "rlvs: there is no reason nosuch: `rlvs drops` lists them\n");
}

/// The row of a destination that belongs to a service.
fn dest<'r>(rows: &'r SharedArray<DestRow>, address: &str) -> &'r DestRow {
    let address = convert::address(address.parse().expect("an address"));
    let ours = |row: &&DestRow| row.address == address && row.flags.load() & dest_flags::AVAILABLE != 0;
    rows.iter().find(ours).expect("a destination row")
}

/// Where tunnels come from, and which real servers are the director itself, follows its routes and addresses.
#[test]
fn rows_follow_the_hosts_routes_and_addresses() {
    let Some(mut cluster) = Cluster::build(Hook::Auto) else { return };
    cluster.run("director", "ip -6 addr add fd00::1/64 dev eth1 nodad");
    cluster.start();
    cluster.ipvsadm("-A -t 172.16.0.1:80 -s rr");
    for server in ["192.168.1.2", "[fd00::2]"] {
        cluster.ipvsadm(&format!("-a -t 172.16.0.1:80 -r {server}:80 -i"));
    }
    cluster.ipvsadm("-a -t 172.16.0.1:80 -r 192.168.1.77:80 -g");
    let rows = loaded::rows::<DestRow>(cluster.host("director"), "DESTS");
    let source_is = |server: &str, source: &str| {
        let wanted = convert::address(source.parse::<IpAddr>().expect("an address"));
        eventually(&format!("{server} reached from {source}"), patience(), || {
            let [a, b, c, d] = &dest(&rows, server).tunnel_source;
            let found = Address([a.load(), b.load(), c.load(), d.load()]);
            if found == wanted { Ok(()) } else { Err(format!("{found:?}")) }
        });
    };
    let local_is = |server: &str, wanted: bool| {
        eventually(&format!("{server} local: {wanted}"), patience(), || {
            let flags = dest(&rows, server).flags.load();
            if (flags & dest_flags::LOCAL != 0) == wanted { Ok(()) } else { Err(format!("{flags:x}")) }
        });
    };
    source_is("192.168.1.2", "192.168.1.1");
    source_is("fd00::2", "fd00::1");
    cluster.run("director", "ip addr add 192.168.1.50/32 dev eth1");
    cluster.run("director", "ip route add 192.168.1.2/32 dev eth1 src 192.168.1.50");
    source_is("192.168.1.2", "192.168.1.50");
    cluster.run("director", "ip route del 192.168.1.2/32");
    source_is("192.168.1.2", "192.168.1.1");

    local_is("192.168.1.77", false);
    cluster.run("director", "ip addr add 192.168.1.77/32 dev lo");
    local_is("192.168.1.77", true);
    cluster.ipvsadm("-e -t 172.16.0.1:80 -r 192.168.1.77:80 -g -w 5");
    assert_ne!(dest(&rows, "192.168.1.77").flags.load() & dest_flags::LOCAL, 0, "an edit does not forget it");
    cluster.run("director", "ip addr del 192.168.1.77/32 dev lo");
    local_is("192.168.1.77", false);
    cluster.ipvsadm("-a -t 172.16.0.1:80 -r 127.0.0.1:80 -m");
    local_is("127.0.0.1", true);
}

/// What packets set is lost by no edit but that of the upper threshold, and services of each special kind are counted.
#[test]
fn rows_keep_what_packets_wrote() {
    let Some(mut cluster) = Cluster::build(Hook::Auto) else { return };
    cluster.start();
    cluster.ipvsadm("-A -t 172.16.0.1:80 -s rr");
    let edit = |words: &str| cluster.ipvsadm(&format!("-e -t 172.16.0.1:80 -r 192.168.1.2:80 -m {words}"));
    cluster.ipvsadm("-a -t 172.16.0.1:80 -r 192.168.1.2:80 -m -x 4");
    let rows = loaded::rows::<DestRow>(cluster.host("director"), "DESTS");
    let flags = || dest(&rows, "192.168.1.2").flags.load();
    let overload = || dest(&rows, "192.168.1.2").flags.swap_if(dest_flags::AVAILABLE, 3);
    overload();
    edit("-x 4 -w 7");
    edit("-x 3");
    assert_eq!(flags(), dest_flags::AVAILABLE | dest_flags::OVERLOAD);
    edit("-x 4");
    assert_eq!(flags(), dest_flags::AVAILABLE);
    overload();
    edit("-w 1");
    assert_eq!(flags(), dest_flags::AVAILABLE);

    let configs = loaded::rows::<ConfigRow>(cluster.host("director"), "CONFIG");
    let config = configs.get(0).expect("a row");
    let counts = || [&config.ftp_services, &config.all_ports_services, &config.mark_services].map(|cell| cell.load());
    assert_eq!(counts(), [0; 3]);
    for words in ["-t 172.16.0.1:21 -s rr", "-u 172.16.0.1:21 -s rr", "-t 172.16.0.1:0 -s rr -p", "-f 1 -s rr"] {
        cluster.ipvsadm(&format!("-A {words}"));
    }
    assert_eq!(counts(), [1; 3]);
    let marks = loaded::rows::<MarkRow>(cluster.host("director"), "MARKS");
    let first_mark = || {
        let span = Span::unpack(config.marks.load());
        (span.len > 0).then(|| marks.copy(span.base).expect("a row").mark)
    };
    for mark in [5, 6] {
        cluster.run("director", &format!("rlvs mark add -4 --mark {mark}"));
    }
    assert_eq!(first_mark(), Some(5));
    cluster.run("director", "rlvs mark delete 1");
    assert_eq!(first_mark(), Some(6));
    assert_ne!((config.seed.load(), config.unprivileged_port.load()), (0, 0));
    cluster.run("director", "rlvs sysctl drop_packet=3 am_droprate=7 secure_tcp=3");
    assert_eq!((config.drop_rate.load(), config.tcp_table.load()), (7, 1));
    let seed = config.seed.load();
    cluster.kill();
    cluster.start();
    assert_eq!((counts(), config.seed.load(), config.drop_rate.load()), ([1; 3], seed, 7));
    cluster.ipvsadm("-C");
    assert_eq!(counts(), [0; 3]);
}
