//! The daemon crashes, ends, comes back, and is taken away; what it set up goes on, or goes.

use std::{fs, path::Path, process::Stdio, time::Duration};

use rlvs_tests::{
    Background, Cluster, Hook, REAL1, WEB, eventually,
    loaded::Loaded,
    need, on_both_hooks, patience,
    talk::{accept, connect, hear, hear_nothing, listen, say},
};

on_both_hooks!(
    a_crash_during_a_download,
    a_stop_during_a_download,
    all_is_remembered,
    a_removed_server_is_remembered,
    connections_of_the_last_daemon_expire,
    the_other_hook_takes_over,
    unloading_leaves_nothing,
);

/// The size of a download, and the speed in bytes a second at which curl takes it: about two seconds in all.
const DOWNLOAD: usize = 50_000_000;
const DOWNLOAD_SPEED: usize = 25_000_000;

fn a_crash_during_a_download(hook: Hook) {
    without_a_daemon_during_a_download(hook, |cluster| {
        cluster.kill();
    });
}

fn a_stop_during_a_download(hook: Hook) {
    without_a_daemon_during_a_download(hook, |cluster| {
        assert!(cluster.terminate().success());
    });
}

/// A download and new connections do not notice that the daemon ends; the next one finds what was there, and what has
/// happened since.
fn without_a_daemon_during_a_download(hook: Hook, end: impl Fn(&mut Cluster)) {
    if !need::programs(&[("curl", "curl")]) {
        return;
    }
    let Some(mut cluster) = Cluster::balancing(hook) else { return };
    let picks = Cluster::wrr_picks(10);
    assert_eq!(cluster.requests(WEB, 1), picks[..1]);
    let saved = cluster.ipvsadm("-S -n");

    let file = cluster.dir().join("download");
    let mut curl = slow_download(&cluster, &file);
    eventually("a piece of the download", patience(), || match length_of(&file) {
        0 => Err("nothing yet".into()),
        _ => Ok(()),
    });
    end(&mut cluster);
    assert!(cluster.try_ipvsadm("-L -n").code != Some(0), "there is still a daemon");

    assert_eq!(cluster.requests(WEB, 5), picks[2..7], "the download was the second connection");
    let so_far = length_of(&file);
    assert!(curl.runs() && so_far < DOWNLOAD, "the download was over too soon: {so_far} bytes");
    assert!(curl.wait(Duration::from_secs(20)).success());
    let mut wanted = vec![0; DOWNLOAD];
    rlvs::lab::http::fill_pattern(0, &mut wanted);
    assert!(fs::read(&file).expect("the download") == wanted, "the download is not what was sent");

    cluster.start();
    assert_eq!(cluster.ipvsadm("-S -n"), saved);
    assert_eq!(cluster.connections().len(), 7);
    assert_eq!(cluster.requests(WEB, 3), picks[7..], "the scheduler goes on where it was");
    cluster.wait_idle();
    let conns = ["172.16.0.1:80", "192.168.1.2:80", "192.168.1.3:80"].map(|address| cluster.stats()[address][0]);
    let of_real1 = picks.iter().filter(|pick| **pick == "real1").count() as u64;
    assert_eq!(conns, [10, of_real1, 10 - of_real1]);
    assert_eq!(cluster.drops(), [].into());
}

/// Everything that was set, and everything that was counted, is there after a crash at rest: in the same words.
fn all_is_remembered(hook: Hook) {
    let Some(mut cluster) = Cluster::balancing(hook) else { return };
    cluster.ipvsadm("--set 1200 90 45");
    cluster.ipvsadm("-A -u 172.16.0.1:53 -s rr");
    for (server, weight) in [("192.168.1.3:5353", 7), ("192.168.1.2:5353", 0), ("192.168.1.2:53", 65_535)] {
        cluster.ipvsadm(&format!("-a -u 172.16.0.1:53 -r {server} -m -w {weight}"));
    }
    cluster.ipvsadm("-A -t 172.16.0.1:8080 -s none");
    cluster.requests(WEB, 10);
    cluster.settle();
    cluster.ipvsadm("-Z");
    cluster.requests(WEB, 5);
    cluster.wait_idle();
    cluster.settle();

    let shown = |cluster: &Cluster| {
        let listings = ["-S -n", "-L -n", "-L -n --nosort", "-L -n --stats --exact", "-L --timeout"];
        let mut shown: Vec<_> = listings.map(|words| cluster.ipvsadm(words)).into();
        shown.extend(cluster.connections().iter().map(|connection| connection.identity().join(" ")));
        shown
    };
    let before = shown(&cluster);
    assert_eq!(before.len(), 5 + 15);
    for _ in 0..2 {
        cluster.kill();
        cluster.start();
        assert_eq!(shown(&cluster), before);
    }
    // And it can be changed as if nothing had happened.
    cluster.ipvsadm("-d -t 172.16.0.1:80 -r 192.168.1.2:80");
    cluster.ipvsadm("-e -t 172.16.0.1:80 -r 192.168.1.3:80 -m -w 1");
    cluster.ipvsadm("-D -u 172.16.0.1:53");
    assert_eq!(cluster.requests(WEB, 3), ["real2"; 3]);
    assert_eq!(cluster.status().services, 2);
}

/// A real server that was removed before the crash is one after it: its connections stay silent, and when it is added again
/// they go on.
fn a_removed_server_is_remembered(hook: Hook) {
    let Some(mut cluster) = Cluster::build(hook) else { return };
    cluster.start();
    let listener = listen(cluster.host("real1"), (REAL1, 80).into());
    cluster.ipvsadm("-A -t 172.16.0.1:80 -s rr");
    cluster.ipvsadm("-a -t 172.16.0.1:80 -r 192.168.1.2:80 -m");
    let mut client = connect(cluster.host("client"), WEB);
    let mut server = accept(&listener);
    say(&mut client, &mut server, "before");

    cluster.ipvsadm("-d -t 172.16.0.1:80 -r 192.168.1.2:80");
    cluster.kill();
    cluster.start();
    assert_eq!(cluster.servers(), []);
    std::io::Write::write_all(&mut client, b"unheard").expect("sent");
    hear_nothing(&mut server, Duration::from_millis(300));
    assert!(cluster.drops()["drop_destination_removed"] > 0);

    cluster.ipvsadm("-a -t 172.16.0.1:80 -r 192.168.1.2:80 -m");
    hear(&mut server, "unheard");
    say(&mut server, &mut client, "after");
    assert_eq!(cluster.counts("192.168.1.2:80"), (1, 0));
}

/// A connection that was opened under the first daemon ends on time under the second, which settles the counters.
fn connections_of_the_last_daemon_expire(hook: Hook) {
    let Some(mut cluster) = Cluster::build(hook) else { return };
    cluster.start();
    let listener = listen(cluster.host("real1"), (REAL1, 80).into());
    cluster.ipvsadm("-A -t 172.16.0.1:80 -s rr");
    cluster.ipvsadm("-a -t 172.16.0.1:80 -r 192.168.1.2:80 -m");
    // Longer than a daemon takes to load its programs on a busy machine.
    cluster.ipvsadm("--set 12 0 0");
    let mut client = connect(cluster.host("client"), WEB);
    let mut server = accept(&listener);
    say(&mut client, &mut server, "hello");

    cluster.kill();
    cluster.start();
    assert_eq!(cluster.counts("192.168.1.2:80"), (1, 0), "it is not over yet");
    assert_eq!(cluster.connections().len(), 1);
    eventually("the idle connection expires", Duration::from_secs(15), || match cluster.counts("192.168.1.2:80") {
        (0, 0) => Ok(()),
        counts => Err(format!("{counts:?}")),
    });
    assert_eq!(cluster.connections(), []);
    assert_eq!(cluster.status().connections, 0);
    // One that is opened now, too.
    let mut client = connect(cluster.host("client"), WEB);
    let mut server = accept(&listener);
    say(&mut client, &mut server, "hello again");
    assert_eq!(cluster.counts("192.168.1.2:80"), (1, 0));
    eventually("the second connection expires", Duration::from_secs(15), || match cluster.counts("192.168.1.2:80") {
        (0, 0) => Ok(()),
        counts => Err(format!("{counts:?}")),
    });
}

/// A daemon that is started for the other hook moves there, and a connection does not notice.
fn the_other_hook_takes_over(hook: Hook) {
    let other = if hook == Hook::Tc { Hook::Xdp } else { Hook::Tc };
    // Hosts that both hooks can stand.
    let Some(mut cluster) = Cluster::build(Hook::Xdp) else { return };
    cluster.options.hook = hook;
    cluster.start();
    let listener = listen(cluster.host("real1"), (REAL1, 80).into());
    cluster.ipvsadm("-A -t 172.16.0.1:80 -s rr");
    cluster.ipvsadm("-a -t 172.16.0.1:80 -r 192.168.1.2:80 -m");
    let mut client = connect(cluster.host("client"), WEB);
    let mut server = accept(&listener);
    let attached = |cluster: &Cluster| -> Vec<_> {
        cluster.status().interfaces.into_iter().map(|(name, status)| (name, status.hook)).collect()
    };
    for hook in [hook, other, hook] {
        cluster.options.hook = hook;
        cluster.kill();
        cluster.start();
        assert_eq!(attached(&cluster), ["eth0", "eth1"].map(|name| (name.to_owned(), hook.to_string())));
        assert_eq!(Loaded::of(&cluster).counts().1, 1, "one program, and only that of the hook");
        let before = cluster.stats()["192.168.1.2:80"];
        say(&mut client, &mut server, "ping");
        say(&mut server, &mut client, "pong");
        let after = cluster.stats()["192.168.1.2:80"];
        // What each says is acknowledged; an acknowledgement may ride on the answer.
        assert!((2..=4).contains(&(after[1] + after[2] - before[1] - before[2])), "{before:?} -> {after:?}");
    }
    assert_eq!(cluster.drops(), [].into());
}

/// After `rlvs unload` no program, map, pin or mount of the director's is left, and what was forwarded no longer is.
fn unloading_leaves_nothing(hook: Hook) {
    let Some(mut cluster) = Cluster::balancing(hook) else { return };
    assert_eq!(cluster.requests(WEB, 5), Cluster::wrr_picks(5));
    let loaded = Loaded::of(&cluster);
    assert_eq!(loaded.counts(), (22, 1));

    let refused = cluster.try_run("director", "rlvs unload");
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""));
    assert!(refused.stderr.contains("rlvsd still runs here"), "{refused:?}");
    assert!(cluster.terminate().success());
    assert_eq!(cluster.requests(WEB, 5), Cluster::wrr_picks(10)[5..], "forwarding goes on");
    assert!(!loaded.left().is_empty());

    cluster.unload();
    // The kernel frees programs and maps a moment after their last reference is gone. To look at a table of programs in that very
    // moment would be one reference more, and a kernel whose clean-up is under way already forgets to drop it again (6.18).
    std::thread::sleep(Duration::from_millis(500));
    eventually("all of it is gone", patience(), || {
        let left = loaded.left();
        if left.is_empty() { Ok(()) } else { Err(left.join(", ")) }
    });
    let answer = cluster.host("client").run(|| std::net::TcpStream::connect_timeout(&WEB, patience()));
    let refused = answer.expect("a thread in the client").expect_err("nobody listens on the VIP");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    cluster.unload();

    // And it can begin anew, with nothing of before.
    cluster.start();
    assert_eq!(cluster.servers(), []);
    assert_eq!(cluster.connections(), []);
    cluster.add_web_service();
    assert_eq!(cluster.requests(WEB, 5), Cluster::wrr_picks(5));
}

/// Starts a download of which curl takes only so much a second.
fn slow_download(cluster: &Cluster, file: &Path) -> Background {
    let mut command = cluster.command("curl");
    let url = format!("http://{WEB}/bytes/{DOWNLOAD}");
    command.args(["-sS", "--max-time", "20", "--limit-rate", &DOWNLOAD_SPEED.to_string(), &url, "-o"]).arg(file);
    Background::start(cluster.host("client"), command.stdout(Stdio::null()))
}

fn length_of(file: &Path) -> usize {
    fs::metadata(file).map_or(0, |metadata| metadata.len() as usize)
}
