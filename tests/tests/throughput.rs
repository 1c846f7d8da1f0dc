//! Balancing costs little: as much gets through as through the same hosts by plain forwarding.

use std::time::Duration;

use rlvs_tests::{Background, Cluster, Hook, REAL1, VIP, eventually, need, note, patience};

/// How much of plain forwarding's throughput balancing must reach.
const SHARE_MIN: f64 = 0.8;
/// How many measurements of each kind, one after the other in turn.
const ROUNDS: usize = 3;
/// How long each takes, in seconds.
const ROUND_S: u32 = 2;
const PORT: u16 = 5201;

/// Only on tc: XDP's rate on veth says nothing of its rate on a network card, which is what it is for.
#[test]
fn as_fast_as_forwarding() {
    if !need::programs(&[("iperf3", "iperf3")]) {
        return;
    }
    let Some(mut cluster) = Cluster::build(Hook::Tc) else { return };
    // Other work of the machine may spoil one series.
    let share = (1..=2).map(|series| measure(&mut cluster, series)).find(|share| *share >= SHARE_MIN);
    assert!(share.is_some(), "balancing is slower than {SHARE_MIN} of forwarding, twice");
}

/// One series: plain forwarding with nothing of ours loaded, and balancing, in turn. Returns the ratio of the medians.
fn measure(cluster: &mut Cluster, series: usize) -> f64 {
    let (mut forwarded, mut balanced) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        forwarded.push(throughput(cluster, &REAL1.to_string()));
        cluster.start();
        cluster.ipvsadm(&format!("-A -t {VIP}:{PORT} -s rr"));
        cluster.ipvsadm(&format!("-a -t {VIP}:{PORT} -r {REAL1}:{PORT} -m"));
        balanced.push(throughput(cluster, &VIP.to_string()));
        assert_eq!(cluster.drops(), [].into());
        cluster.terminate();
        cluster.unload();
    }
    let [forwarded, balanced] = [forwarded, balanced].map(|mut rates| {
        rates.sort_by(f64::total_cmp);
        (rates[0], rates[ROUNDS / 2])
    });
    let share = balanced.1 / forwarded.1;
    note(&format!(
        "series {series}, Gbit/s min/median: forwarding {:.1}/{:.1}, balancing {:.1}/{:.1}; ratio of medians {share:.2}",
        forwarded.0, forwarded.1, balanced.0, balanced.1
    ));
    share
}

/// What iperf3 moves from the client to that address, in Gbit/s.
fn throughput(cluster: &Cluster, address: &str) -> f64 {
    // One server for each measurement: nothing is left of the one before.
    let mut command = cluster.command("iperf3");
    command.args(["-s", "-1", "-p", &PORT.to_string()]).stdout(std::process::Stdio::null());
    let server = Background::start(cluster.host("real1"), &mut command);
    eventually("iperf3 listens", patience(), || {
        let listening = cluster.run("real1", "cat /proc/net/tcp /proc/net/tcp6");
        if listening.contains(&format!(":{PORT:04X} ")) { Ok(()) } else { Err("it does not".into()) }
    });
    let seconds = ROUND_S.to_string();
    let mut client = cluster.command("iperf3");
    client.args(["-c", address, "-p", &PORT.to_string(), "-t", &seconds, "-J"]);
    let ran = cluster.try_command("client", &mut client, Duration::from_secs(15));
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("no report: {ran:?}"));
    let rate = report.pointer("/end/sum_received/bits_per_second").and_then(serde_json::Value::as_f64);
    server.wait(patience());
    rate.unwrap_or_else(|| panic!("no rate in {report}")) / 1e9
}
