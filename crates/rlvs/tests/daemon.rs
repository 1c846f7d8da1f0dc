//! Daemons that do not come up, played by shell scripts. Needs root; says so where it is not.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use rlvs::lab::{
    Claim, Daemon, DaemonOptions, End, Error, Hook, Host, Network, Programs, Stop, Topology, nat::NatLab, netns,
};

fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("d{}n{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn root() -> bool {
    let root = rustix::process::geteuid().is_root() && netns::Netns::probe().is_ok();
    if !root {
        eprintln!("SKIPPED: needs root and network namespaces");
    }
    root
}

fn network() -> Network {
    Topology::new()
        .host(Host::new("director").forwarding())
        .host(Host::new("client"))
        .cable(End::new("client", "eth0"), End::new("director", "eth0"))
        .build(Claim::take(&unique()).unwrap())
        .unwrap()
}

/// Writes a program that the lab's directory takes along when it goes.
fn script(dir: &Path, name: &str, body: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn start(network: &Network, body: &str, stop: &Stop) -> (Result<Daemon, Error>, Duration) {
    let dir = network.claim().dir();
    let options = DaemonOptions {
        ready_time_max: Duration::from_millis(300),
        ..DaemonOptions::new(script(&dir, "rlvsd", body), dir.join("rlvsd.log"))
    };
    let begun = Instant::now();
    (Daemon::start(network.host("director").unwrap(), &options, stop), begun.elapsed())
}

#[test]
fn one_that_ends_shows_its_last_words() {
    if !root() {
        return;
    }
    let network = network();
    let (daemon, _) = start(&network, "echo \"hook $2\"; echo cannot load >&2; exit 3", &Stop::never());
    let message = daemon.unwrap_err().to_string();
    assert!(message.contains("ended before it was ready (exit status: 3)"), "{message}");
    assert!(message.ends_with("hook auto\ncannot load"), "{message}");
}

#[test]
fn one_that_takes_too_long_is_ended() {
    if !root() {
        return;
    }
    let network = network();
    let (daemon, elapsed) = start(&network, "echo $$; exec sleep 60", &Stop::never());
    let Err(Error::Daemon { why, log_tail, .. }) = daemon else { panic!("{daemon:?}") };
    assert_eq!(why, "was not ready after 0.3 s");
    assert!(elapsed < Duration::from_secs(5));
    assert!(!Path::new("/proc").join(log_tail.trim()).exists(), "process {log_tail} goes on");
    assert!(!network.claim().dir().join("rlvsd.notify").exists());
}

#[test]
fn waiting_for_one_ends_when_told() {
    if !root() {
        return;
    }
    let network = network();
    let stop = Stop::never();
    stop.raise(2);
    let (daemon, _) = start(&network, "exec sleep 60", &stop);
    assert!(matches!(daemon, Err(Error::Stopped(2))));
    assert!(network.host("director").unwrap().processes().is_empty());
}

#[test]
fn a_lab_whose_daemon_fails_leaves_nothing() {
    if !root() {
        return;
    }
    let lab = unique();
    let programs = std::env::temp_dir().join(&lab);
    fs::create_dir(&programs).unwrap();
    script(&programs, "ipvsadm", "exit 0");
    assert!(Programs::in_dir(&programs).is_none(), "one program alone is not enough");
    script(&programs, "rlvsd", "exit 1");
    let found = Programs::in_dir(&programs).unwrap();
    let claim = Claim::take(&lab).unwrap();
    let dir = claim.dir();
    let failed = NatLab::up(claim, found, Hook::Xdp, &Stop::never());
    assert!(matches!(failed, Err(Error::Daemon { .. })), "{failed:?}");
    assert!(!dir.exists());
    assert!(!netns::names().iter().any(|name| name.contains(&lab)));
    fs::remove_dir_all(&programs).unwrap();
}
