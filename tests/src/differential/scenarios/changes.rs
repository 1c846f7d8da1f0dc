//! Services, destinations and timeouts changed under connections (connections.md sections 5, 7, 9 and 10).

use super::{CLIENT, Scenario, VIP};
use crate::differential::{
    Script,
    frame::{icmp, tcp, udp},
    script::at,
};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new("changes/weight-0", weight_0),
    Scenario::new("changes/weight-0-no-destination", weight_0_expired),
    Scenario::new("changes/deleted", |s| deleted(s, 0)),
    Scenario::new("changes/deleted-and-expired", |s| deleted(s, 1)).waits(1),
    Scenario::new("changes/added-again", added_again),
    Scenario::new("changes/method", method),
    Scenario::new("changes/service-deleted", service_deleted),
    Scenario::new("changes/last-service", last_service),
    Scenario::new("changes/cleared", cleared),
    Scenario::new("changes/timeouts", timeouts),
    Scenario::new("changes/timeouts-refused", timeouts_refused),
    Scenario::new("changes/expiry", expiry).waits(14),
    Scenario::new("changes/zeroed", zeroed).waits(5),
    Scenario::new("changes/reuse-0", |s| reuse(s, 0)),
    Scenario::new("changes/reuse-1", |s| reuse(s, 1)),
    Scenario::new("changes/reuse-2", |s| reuse(s, 2)),
    Scenario::new("changes/reuse-3", |s| reuse(s, 3)),
    Scenario::new("changes/reuse-persistent", reuse_persistent),
    Scenario::new("changes/reuse-default", reuse_default),
    Scenario::new("changes/sysctls-refused", sysctls_refused),
    Scenario::new("changes/newest-wins", newest_wins),
];

const TWO_REALS: [&str; 3] =
    ["-A -t 10.0.0.100:80 -s rr", "-a -t 10.0.0.100:80 -r 10.0.1.1:80 -m", "-a -t 10.0.0.100:80 -r 10.0.1.2:80 -m"];

/// Two connections, one to each real: client port 3000 to real 2, 3001 to real 1.
fn two_connections(s: &mut Script) {
    s.ipvsadms(TWO_REALS);
    let syns = [3000, 3001].map(|port| tcp(at(CLIENT, port), at(VIP, 80), "S"));
    s.picks("two connections", &syns);
    let acks = [3000, 3001].map(|port| tcp(at(CLIENT, port), at(VIP, 80), "A"));
    s.picks("established", &acks);
}

/// All that a client and real 2 may say.
fn all_say(s: &mut Script) {
    s.client(&tcp(at(CLIENT, 3000), at(VIP, 80), "A"));
    s.real(&tcp(at("10.0.1.2", 80), at(CLIENT, 3000), "A"));
    s.client(&icmp(
        at(CLIENT, 0).ip(),
        at(VIP, 0).ip(),
        3,
        4,
        1400,
        &tcp(at(VIP, 80), at(CLIENT, 3000), "A").quoted(28),
    ));
    s.client(&tcp(at(CLIENT, 3000), at(VIP, 80), "S"));
    s.client(&tcp(at(CLIENT, 3001), at(VIP, 80), "A"));
    // What is made to expire at once does so at the next tick.
    s.pause_ms(100);
    s.conns();
    s.table();
}

fn weight_0(s: &mut Script) {
    two_connections(s);
    s.ipvsadm("-e -t 10.0.0.100:80 -r 10.0.1.2:80 -m -w 0");
    all_say(s);
    let syns: Vec<_> = (3010..3014).map(|port| tcp(at(CLIENT, port), at(VIP, 80), "S")).collect();
    s.picks("new ones", &syns);
}

fn weight_0_expired(s: &mut Script) {
    s.sysctl("expire_nodest_conn", 1);
    weight_0(s);
}

fn deleted(s: &mut Script, expire: u8) {
    if expire != 0 {
        s.sysctl("expire_nodest_conn", expire);
    }
    two_connections(s);
    s.ipvsadm("-d -t 10.0.0.100:80 -r 10.0.1.2:80");
    if expire != 0 {
        s.wait_s(1);
        s.conns();
    }
    all_say(s);
    s.stats();
}

fn added_again(s: &mut Script) {
    two_connections(s);
    s.stats();
    s.ipvsadm("-d -t 10.0.0.100:80 -r 10.0.1.2:80");
    s.client(&tcp(at(CLIENT, 3000), at(VIP, 80), "A"));
    s.ipvsadm("-a -t 10.0.0.100:80 -r 10.0.1.2:80 -m -w 5");
    all_say(s);
    s.stats();
    s.title("another port is another real");
    s.ipvsadm("-d -t 10.0.0.100:80 -r 10.0.1.2:80");
    s.ipvsadm("-a -t 10.0.0.100:80 -r 10.0.1.2:8080 -m");
    all_say(s);
}

fn method(s: &mut Script) {
    two_connections(s);
    s.ipvsadm("-e -t 10.0.0.100:80 -r 10.0.1.2:80 -g");
    all_say(s);
    let syns: Vec<_> = (3010..3012).map(|port| tcp(at(CLIENT, port), at(VIP, 80), "S")).collect();
    s.clients(&syns);
    s.title("and back, by deletion");
    s.ipvsadm("-d -t 10.0.0.100:80 -r 10.0.1.2:80");
    s.ipvsadm("-a -t 10.0.0.100:80 -r 10.0.1.2:80 -m");
    s.client(&tcp(at(CLIENT, 3010), at(VIP, 80), "A"));
    s.client(&tcp(at(CLIENT, 3011), at(VIP, 80), "A"));
    s.conns();
    s.table();
}

fn service_deleted(s: &mut Script) {
    // Another one, so that the kernel keeps looking at packets.
    s.ipvsadms(["-A -t 10.0.0.101:80 -s rr"]);
    two_connections(s);
    // What the kernel zeroes is what it has summed up.
    s.stats();
    s.ipvsadm("-D -t 10.0.0.100:80");
    all_say(s);
    s.title("again");
    s.ipvsadms(["-A -t 10.0.0.100:80 -s rr", "-a -t 10.0.0.100:80 -r 10.0.1.2:80 -m"]);
    all_say(s);
    s.stats();
}

fn last_service(s: &mut Script) {
    two_connections(s);
    s.ipvsadm("-D -t 10.0.0.100:80");
    s.client(&tcp(at(CLIENT, 3000), at(VIP, 80), "A"));
    s.real(&tcp(at("10.0.1.2", 80), at(CLIENT, 3000), "A"));
    s.conns();
}

fn cleared(s: &mut Script) {
    two_connections(s);
    s.ipvsadm("-C");
    s.table();
    s.conns();
    s.ipvsadms(TWO_REALS);
    all_say(s);
}

fn timeouts(s: &mut Script) {
    s.ipvsadms(TWO_REALS);
    s.ipvsadms(["-A -u 10.0.0.100:53 -s rr", "-a -u 10.0.0.100:53 -r 10.0.1.1:53 -m"]);
    s.ipvsadm("-L -n --timeout");
    let (client, service) = (at(CLIENT, 3000), at(VIP, 80));
    s.client(&tcp(client, service, "S"));
    s.client(&tcp(client, service, "A"));
    s.client(&udp(at(CLIENT, 3000), at(VIP, 53)));
    s.conns();
    s.ipvsadm("--set 1000 200 40");
    s.ipvsadm("-L -n --timeout");
    s.title("applied by the next packet only");
    s.conns();
    s.client(&tcp(client, service, "A"));
    s.client(&udp(at(CLIENT, 3000), at(VIP, 53)));
    s.conns();
    s.real(&tcp(at("10.0.1.2", 80), client, "F"));
    s.conns();
    s.client(&tcp(client, service, "F"));
    s.conns();
    s.ipvsadm("--set 0 0 50");
    s.ipvsadm("-L -n --timeout");
    s.client(&tcp(at(CLIENT, 3001), service, "S"));
    s.client(&tcp(at(CLIENT, 3001), service, "A"));
    s.client(&tcp(at(CLIENT, 3001), service, "F"));
    s.conns();
}

fn timeouts_refused(s: &mut Script) {
    s.ipvsadms(["--set 1 2", "--set -1 2 3", "--set 3000000000 2 3", "--set 99999999 1 1", "-L -n --timeout"]);
}

fn expiry(s: &mut Script) {
    s.ipvsadms(TWO_REALS);
    s.ipvsadms(["--set 3 2 3", "-A -u 10.0.0.100:53 -s rr", "-a -u 10.0.0.100:53 -r 10.0.1.1:53 -m"]);
    s.client(&udp(at(CLIENT, 3000), at(VIP, 53)));
    s.client(&udp(at(CLIENT, 3001), at(VIP, 53)));
    let established = [3002, 3003, 3004].map(|port| tcp(at(CLIENT, port), at(VIP, 80), "S"));
    s.clients(&established);
    let established = [3002, 3003, 3004].map(|port| tcp(at(CLIENT, port), at(VIP, 80), "A"));
    s.clients(&established);
    s.title("one of the five is reset");
    s.client(&tcp(at(CLIENT, 3004), at(VIP, 80), "R"));
    s.conns();
    s.table();
    s.wait_s(1);
    s.client(&udp(at(CLIENT, 3001), at(VIP, 53)));
    s.wait_s(1);
    s.client(&udp(at(CLIENT, 3001), at(VIP, 53)));
    s.client(&tcp(at(CLIENT, 3003), at(VIP, 80), "A"));
    s.wait_s(2);
    s.client(&tcp(at(CLIENT, 3003), at(VIP, 80), "A"));
    s.conns();
    s.table();
    s.title("what comes for an expired one");
    s.client(&tcp(at(CLIENT, 3002), at(VIP, 80), "A"));
    s.real(&tcp(at("10.0.1.2", 80), at(CLIENT, 3002), "A"));
    s.client(&udp(at(CLIENT, 3000), at(VIP, 53)));
    s.wait_s(10);
    s.conns();
    s.table();
}

fn zeroed(s: &mut Script) {
    two_connections(s);
    s.stats();
    s.ipvsadm("-Z");
    s.stats();
    all_say(s);
    s.stats();
    s.ipvsadm("-Z -t 10.0.0.100:80");
    s.stats();
}

/// A client that begins anew on the same port, in each state, masqueraded and by direct routing.
fn reuse(s: &mut Script, mode: u8) {
    s.sysctl("conn_reuse_mode", mode);
    for (number, method) in [(100, "-m"), (101, "-g")] {
        let vip = format!("10.0.0.{number}");
        s.ipvsadm(&format!("-A -t {vip}:80 -s rr"));
        for real in 1..3 {
            s.ipvsadm(&format!("-a -t {vip}:80 -r 10.0.1.{real}:80 {method}"));
        }
        anew(s, &vip, method);
    }
}

fn anew(s: &mut Script, vip: &str, method: &str) {
    let ways = [("SYN_RECV", ""), ("ESTABLISHED", "A"), ("closing", "AF"), ("CLOSE", "AR"), ("TIME_WAIT", "F")];
    for (port, (label, flags)) in (3000..).zip(ways) {
        let (client, service) = (at(CLIENT, port), at(vip, 80));
        let first = s.picked(&[tcp(client, service, "S")]).concat();
        for flag in flags.chars() {
            s.send_from_client(&tcp(client, service, &flag.to_string()));
        }
        s.discard();
        // One in between, so that a new choice shows.
        s.send_from_client(&tcp(at(CLIENT, port + 100), service, "S"));
        s.send_from_client(&tcp(at(CLIENT, port + 200), service, "S"));
        s.discard();
        let again = s.picked(&[tcp(client, service, "S")]).concat();
        s.title(&format!("{label} {method}: real {first}, then real {again}"));
    }
    // What is made to expire at once does so at the next tick.
    s.pause_ms(100);
    s.conns();
    s.ipvsadm(&format!("-L -n -t {vip}:80"));
}

fn reuse_default(s: &mut Script) {
    s.ipvsadms(TWO_REALS);
    anew(s, VIP, "-m");
}

fn reuse_persistent(s: &mut Script) {
    s.ipvsadms([
        "-A -t 10.0.0.100:80 -s rr -p 100",
        "-a -t 10.0.0.100:80 -r 10.0.1.1:80 -m",
        "-a -t 10.0.0.100:80 -r 10.0.1.2:80 -m",
    ]);
    anew(s, VIP, "-m");
}

fn sysctls_refused(s: &mut Script) {
    for (name, value) in [
        ("sync_threshold", "-1 5"),
        ("sync_threshold", "5 3"),
        ("sync_ports", "3"),
        ("sync_version", "2"),
        ("sync_retries", "4"),
        ("drop_entry", "4"),
        ("drop_packet", "-1"),
        ("secure_tcp", "7"),
        ("nothing_of_that_kind", "1"),
        ("conn_reuse_mode", "17"),
        ("am_droprate", "20"),
    ] {
        s.sysctl(name, value);
    }
}

/// Two services with one real: replies belong to the newest of the connections that they could be of.
fn newest_wins(s: &mut Script) {
    for vip in [100, 101] {
        s.ipvsadm(&format!("-A -t 10.0.0.{vip}:80 -s rr"));
        s.ipvsadm(&format!("-a -t 10.0.0.{vip}:80 -r 10.0.1.1:80 -m"));
    }
    s.client(&tcp(at(CLIENT, 3000), at("10.0.0.100", 80), "S"));
    s.client(&tcp(at(CLIENT, 3000), at("10.0.0.101", 80), "S"));
    s.real(&tcp(at("10.0.1.1", 80), at(CLIENT, 3000), "SA"));
    s.client(&tcp(at(CLIENT, 3000), at("10.0.0.100", 80), "A"));
    s.real(&tcp(at("10.0.1.1", 80), at(CLIENT, 3000), "A"));
    s.conns();
}
