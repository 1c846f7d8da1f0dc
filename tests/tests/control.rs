//! Who may configure the director, and what `ipvsadm` says: its words, its exit codes, its effects.

use std::{fs, os::unix::process::CommandExt, path::Path};

use rlvs_ipvs::local::Status;
use rlvs_tests::{Cluster, Hook, Ran, WEB, eventually, need, on_both_hooks, patience, view};

on_both_hooks!(a_second_daemon_is_refused, edited_and_deleted, statistics_are_zeroed);

/// A user who is nobody.
const NOBODY: u32 = 65_534;

fn a_second_daemon_is_refused(hook: Hook) {
    let Some(mut cluster) = Cluster::balancing(hook) else { return };
    let second = cluster.try_run("director", &format!("rlvsd --hook {hook}"));
    let words = "rlvsd: another rlvsd serves this network namespace already\n";
    assert_eq!(second, Ran { code: Some(1), stdout: String::new(), stderr: words.into() });
    cluster.assert_daemon_runs();
    assert_eq!(cluster.requests(WEB, 5), Cluster::wrr_picks(5));
    assert_eq!(cluster.status().pid, cluster.daemon_pid());
    // In another namespace it is the first.
    let mut elsewhere = Cluster::build(hook).expect("another cluster");
    elsewhere.start();
    assert_eq!(elsewhere.servers(), []);
    assert_eq!(cluster.servers().len(), 2);
}

#[test]
fn only_root_is_served() {
    let Some(cluster) = Cluster::balancing(Hook::Auto) else { return };
    let saved = cluster.ipvsadm("-S -n");
    // A copy that anybody can reach, wherever the programs under test are.
    let copy = cluster.dir().join("ipvsadm");
    fs::copy(need::programs_under_test().ipvsadm, &copy).expect("a copy");
    let refusal = Ran {
        code: Some(2),
        stdout: String::new(),
        stderr: "Can't initialize ipvs: Permission denied (you must be root)\n\
                 Are you sure that IP Virtual Server is built in the kernel or as module?\n"
            .into(),
    };
    for words in ["-L -n", "-C", "-h", "-A -t 10.0.0.1:80"] {
        let mut command = cluster.command(&copy.display().to_string());
        command.args(words.split(' ')).uid(NOBODY).gid(NOBODY);
        assert_eq!(cluster.try_command("director", &mut command, patience()), refusal, "{words}");
    }
    // Root in name only.
    if need::programs(&[("setpriv", "util-linux")]) {
        for words in ["-L -n", "-C"] {
            let line = format!("setpriv --bounding-set=-net_admin --inh-caps=-net_admin {} {words}", copy.display());
            assert_eq!(cluster.try_run("director", &line), refusal, "{words}");
        }
    }
    assert_eq!(cluster.ipvsadm("-S -n"), saved);
}

/// Each with the message and the exit code of ipvsadm 1.31, and without any effect.
#[test]
fn what_is_wrong_is_refused() {
    let Some(mut cluster) = Cluster::balancing(Hook::Auto) else { return };
    let saved = cluster.ipvsadm("-S -n");
    let hint = "Try `ipvsadm -h' or 'ipvsadm --help' for more information.";
    for (words, code, message) in [
        // What the words say.
        ("-k", 255, hint),
        ("-n", 255, hint),
        ("-A", 2, "You need to supply the 'service-address' option for the 'add-service' command"),
        ("-a -t 172.16.0.1:80", 2, "You need to supply the 'real-server' option for the 'add-server' command"),
        ("-A -t 172.16.0.1", 2, "Zero port specified for non-persistent service"),
        ("-A -t 172.16.0.1:80:90", 2, "illegal virtual server address[:port] specified"),
        ("-a -t 172.16.0.1:80 -r 192.168.1.300 -m", 2, "illegal real server address[:port] specified"),
        ("-a -t 172.16.0.1:80 -r 192.168.1.9 -m -w -1", 2, "illegal weight specified"),
        ("-a -t 172.16.0.1:80 -r 192.168.1.9 -m -g", 2, "multiple 'forwarding-method' options specified"),
        ("-D -t 172.16.0.1:80 -s rr", 2, "Illegal 'scheduler' option with the 'delete-service' command"),
        (
            "-L -c -t 172.16.0.1:80",
            2,
            "The option 'service-address' conflicts with the 'connection' option in the 'list' command",
        ),
        ("-L --foo", 255, "--foo: unknown option"),
        ("-L more", 2, "unexpected argument more"),
        ("-A -t 172.16.0.1:81 -C", 2, "invalid option `-C'"),
        ("--set 1 2", 2, "--set option requires 3 timeout values"),
        ("--set 1 2 x", 2, "invalid timeout value `x' specified"),
        // What the director says.
        ("-A -t 172.16.0.1:80 -s rr", 255, "Service already exists"),
        ("-A -t 172.16.0.1:81 -s nosuch", 255, "Scheduler or persistence engine not found"),
        ("-E -t 172.16.0.1:81 -s rr", 255, "No such service"),
        ("-D -u 172.16.0.1:80", 255, "No such service"),
        ("-Z -t 172.16.0.1:81", 255, "No such service"),
        ("-L -n -t 172.16.0.1:81", 1, "No such service"),
        ("-a -t 172.16.0.1:81 -r 192.168.1.2:80 -m", 255, "Service not defined"),
        ("-a -t 172.16.0.1:80 -r 192.168.1.2:80 -m", 255, "Destination already exists"),
        ("-e -t 172.16.0.1:80 -r 192.168.1.9:80 -m", 255, "No such destination"),
        ("-d -t 172.16.0.1:80 -r 192.168.1.9:80", 255, "No such destination"),
        (
            "-a -t 172.16.0.1:80 -r 0.0.0.0:80 -m",
            255,
            "Invalid operation.  Possibly wrong module version, address not unicast, ...",
        ),
        ("--stop-daemon master", 255, "No daemon is running"),
    ] {
        let stderr = format!("{message}\n");
        assert_eq!(
            cluster.try_ipvsadm(words),
            Ran { code: Some(code), stdout: String::new(), stderr },
            "ipvsadm {words}"
        );
    }
    assert_eq!(cluster.ipvsadm("-S -n"), saved);
    cluster.assert_daemon_runs();
}

/// Better nothing than what only looks as if it worked.
#[test]
fn what_this_version_does_not_do_is_refused() {
    let Some(mut cluster) = Cluster::balancing(Hook::Auto) else { return };
    let saved = cluster.ipvsadm("-S -n");
    for (words, message) in [
        ("--start-daemon master --mcast-interface eth1", "Function not implemented"),
        ("-A -u 172.16.0.1:81 -s rr -p --pe sip", "Scheduler or persistence engine not found"),
    ] {
        let stderr = format!("{message}\n");
        assert_eq!(
            cluster.try_ipvsadm(words),
            Ran { code: Some(255), stdout: String::new(), stderr },
            "ipvsadm {words}"
        );
    }
    assert_eq!(cluster.ipvsadm("-S -n"), saved);
    cluster.assert_daemon_runs();
}

/// What `-S` writes, `-R` reads; also over a table that holds other things, after `-C`.
#[test]
fn saved_and_restored() {
    let Some(cluster) = Cluster::up(Hook::Auto) else { return };
    // In the order in which `-S` writes it: by protocol, address and port.
    let table = "-A -t 172.16.0.1:80 -s wrr\n\
                 -a -t 172.16.0.1:80 -r 192.168.1.2:80 -m -w 2\n\
                 -a -t 172.16.0.1:80 -r 192.168.1.3:80 -m -w 3\n\
                 -A -t 172.16.0.1:443 -s rr\n\
                 -a -t 172.16.0.1:443 -r 192.168.1.2:8443 -m -w 1\n\
                 -A -u 172.16.0.1:53 -s rr\n";
    let file = cluster.dir().join("table");
    restore(&cluster, &file, table);
    assert_eq!(cluster.ipvsadm("-S -n"), table);
    assert_eq!(cluster.requests(WEB, 5), Cluster::wrr_picks(5));

    // Saved with names, as people do who keep it in a file; what was there meanwhile goes.
    let named = cluster.ipvsadm("-S");
    assert!(named.contains(":http "), "{named}");
    cluster.ipvsadm("-C");
    assert_eq!(cluster.ipvsadm("-S -n"), "");
    cluster.ipvsadm("-A -t 172.16.0.1:99 -s rr");
    cluster.ipvsadm("-C");
    restore(&cluster, &file, &named);
    assert_eq!(cluster.ipvsadm("-S -n"), table);

    // A line that the director refuses does not end the run, and the last line decides on the exit code.
    fs::write(&file, "-A -t 172.16.0.1:80 -s rr\n-A -t 172.16.0.1:90 -s rr\n").expect("a file");
    cluster.shell("director", &format!("ipvsadm -R < {}", file.display()), patience());
    // One that ipvsadm itself refuses does.
    fs::write(&file, "-A -t 172.16.0.1:91 -s rr\n# no comment\n-A -t 172.16.0.1:92 -s rr\n").expect("a file");
    let status = cluster.shell("director", &format!("ipvsadm -R < {} 2>&1 || echo $?", file.display()), patience());
    assert_eq!(status, "Try `ipvsadm -h' or 'ipvsadm --help' for more information.\n255\n");
    let services = cluster.ipvsadm("-S -n");
    let services: Vec<_> = services.lines().filter(|line| line.starts_with("-A")).collect();
    let expected =
        ["t 172.16.0.1:80 -s wrr", "t 172.16.0.1:90 -s rr", "t 172.16.0.1:91 -s rr", "t 172.16.0.1:443 -s rr"];
    assert_eq!(services[..4], expected.map(|service| format!("-A -{service}")));
    assert_eq!(services[4..], ["-A -u 172.16.0.1:53 -s rr"]);
}

/// -E, -e, -d and -D at work, as the next requests show.
fn edited_and_deleted(hook: Hook) {
    let Some(cluster) = Cluster::balancing(hook) else { return };
    assert_eq!(cluster.requests(WEB, 5), Cluster::wrr_picks(5));
    cluster.ipvsadm("-E -t 172.16.0.1:80 -s rr");
    assert_eq!(cluster.requests(WEB, 4), ["real2", "real1", "real2", "real1"], "a new scheduler begins at the head");
    cluster.ipvsadm("-e -t 172.16.0.1:80 -r 192.168.1.3:80 -m -w 0");
    assert_eq!(cluster.requests(WEB, 2), ["real1"; 2]);
    cluster.ipvsadm("-e -t 172.16.0.1:80 -r 192.168.1.3:80 -m -w 9");
    cluster.ipvsadm("-d -t 172.16.0.1:80 -r 192.168.1.2:80");
    assert_eq!(cluster.requests(WEB, 2), ["real2"; 2]);
    assert_eq!(cluster.ipvsadm("-S -n"), "-A -t 172.16.0.1:80 -s rr\n-a -t 172.16.0.1:80 -r 192.168.1.3:80 -m -w 9\n");
    let status = cluster.status();
    assert_eq!((status.services, status.destinations), (1, 1));

    cluster.ipvsadm("-D -t 172.16.0.1:80");
    assert_eq!(cluster.ipvsadm("-S -n"), "");
    let refused = cluster.host("client").run(|| std::net::TcpStream::connect_timeout(&WEB, patience()));
    assert!(refused.expect("a thread in the client").is_err(), "the VIP is the director's own again");
    // A table of a thousand, and away with it.
    let many: String = (1..=1000).map(|port| format!("-A -t 172.16.0.1:{port} -s rr\n")).collect();
    restore(&cluster, &cluster.dir().join("many"), &many);
    assert_eq!(cluster.status().services, 1000);
    cluster.ipvsadm("-C");
    assert_eq!(cluster.status().services, 0);
    assert_eq!(cluster.ipvsadm("-L -n").lines().count(), 3);
}

/// -Z of one service, then of all. Connections and their counts are no statistics.
fn statistics_are_zeroed(hook: Hook) {
    let Some(cluster) = Cluster::balancing(hook) else { return };
    cluster.ipvsadm("-A -t 172.16.0.1:8080 -s rr");
    cluster.ipvsadm("-a -t 172.16.0.1:8080 -r 192.168.1.2:80 -m");
    cluster.requests(WEB, 10);
    cluster.requests("172.16.0.1:8080".parse().expect("an address"), 3);
    cluster.wait_idle();
    let conns = |cluster: &Cluster| -> Vec<u64> {
        let stats = cluster.stats();
        ["172.16.0.1:80", "192.168.1.3:80", "172.16.0.1:8080"].map(|address| stats[address][0]).into()
    };
    assert_eq!(conns(&cluster), [10, 6, 3]);
    eventually("a rate", patience(), || {
        let rates = view::stats(&cluster.ipvsadm("-L -n --rate --exact"));
        if rates["172.16.0.1:80"][0] > 0 { Ok(()) } else { Err(format!("{rates:?}")) }
    });
    cluster.ipvsadm("-Z -t 172.16.0.1:80");
    assert_eq!(conns(&cluster), [0, 0, 3]);
    cluster.requests(WEB, 5);
    cluster.wait_idle();
    assert_eq!(conns(&cluster), [5, 3, 3]);
    cluster.ipvsadm("-Z");
    assert!(cluster.stats().values().all(|stats| *stats == [0; 5]), "{:?}", cluster.stats());
    assert_eq!(cluster.connections().len(), 18);
    assert_eq!(cluster.servers().iter().map(|server| server.inactive).sum::<u32>(), 18);
}

/// `rlvs status` shows root what the daemon knows; where there is none, or no right, it says so.
#[test]
fn the_status_is_shown() {
    let Some(mut cluster) = Cluster::balancing(Hook::Auto) else { return };
    cluster.requests(WEB, 5);
    let shown = cluster.run("director", "rlvs status");
    let status = cluster.status();
    assert!(shown.starts_with(&format!("rlvsd {}, process {}, up ", status.version, status.pid)), "{shown}");
    assert!(shown.contains("\n1 services, 2 destinations, "), "{shown}");
    for (name, interface) in &status.interfaces {
        assert!(shown.contains(&format!("  {name:<15} {:<4} {}\n", interface.hook, interface.reason)), "{shown}");
    }
    // A request of HTTP is at least five packets and four answers.
    assert!(status.counters["forwarded"] + status.counters["unresolved"] >= 45, "{status:?}");
    let json: Status = serde_json::from_str(&cluster.run("director", "rlvs status --json")).expect("JSON");
    let timeless = |status: Status| Status { uptime_s: 0, counters: [].into(), ..status };
    assert_eq!(timeless(json), timeless(status));

    let copy = cluster.dir().join("rlvs");
    fs::copy(need::bin_dir().join("rlvs"), &copy).expect("a copy");
    let mut command = cluster.command(&copy.display().to_string());
    command.arg("status").uid(NOBODY).gid(NOBODY);
    let failure = |words: &str| Ran { code: Some(1), stdout: String::new(), stderr: format!("rlvs: {words}\n") };
    let refused = cluster.try_command("director", &mut command, patience());
    assert_eq!(refused, failure("rlvsd refused: you must be root"));

    cluster.terminate();
    let absent = cluster.try_run("director", "rlvs status");
    assert_eq!(absent, failure("rlvsd does not run in this network namespace"));
    assert_eq!(cluster.run("director", "rlvs unload"), "");
    assert_eq!(cluster.run("director", "rlvs unload"), "nothing is loaded in this network namespace\n");
}

/// Has `ipvsadm -R` read lines.
fn restore(cluster: &Cluster, file: &Path, lines: &str) {
    fs::write(file, lines).expect("a file");
    cluster.shell("director", &format!("ipvsadm -R < {}", file.display()), patience());
}
