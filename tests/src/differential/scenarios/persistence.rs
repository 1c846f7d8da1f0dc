//! Clients that come back to their real server (connections.md section 4).

use super::{CLIENT, Scenario, VIP, VIP6};
use crate::differential::{
    Script,
    frame::{Packet, tcp, udp},
    script::at,
};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new("persistence/one-service", one_service),
    Scenario::new("persistence/netmask", netmask),
    Scenario::new("persistence/ipv6", ipv6),
    Scenario::new("persistence/mark", marked),
    Scenario::new("persistence/protocols", protocols),
    Scenario::new("persistence/weight-0", weight_0),
    Scenario::new("persistence/quiescent", quiescent),
    Scenario::new("persistence/deleted", deleted),
    Scenario::new("persistence/assured", assured),
    Scenario::new("persistence/edited", edited),
    Scenario::new("persistence/expiry", expiry).waits(9),
];

const THREE_REALS: [&str; 4] = [
    "-A -t 10.0.0.100:80 -s rr -p 100",
    "-a -t 10.0.0.100:80 -r 10.0.1.1:80 -m",
    "-a -t 10.0.0.100:80 -r 10.0.1.2:8080 -m",
    "-a -t 10.0.0.100:80 -r 10.0.1.3:80 -m",
];

/// SYNs of clients 10.0.0.10 and following, several each.
fn syns(clients: u8, each: u16, first: u16) -> Vec<Packet> {
    let client = |number: u8| format!("10.0.0.{}", 10 + number);
    (0..each)
        .flat_map(|time| (0..clients).map(move |number| tcp(at(&client(number), first + time), at(VIP, 80), "S")))
        .collect()
}

fn one_service(s: &mut Script) {
    s.ipvsadms(THREE_REALS);
    s.picks("four clients, three times", &syns(4, 3, 3000));
    s.conns();
    s.table();
    s.ipvsadm("-L -n --persistent-conn");
    s.listed_conns();
    s.stats();
}

fn netmask(s: &mut Script) {
    s.ipvsadms(THREE_REALS);
    s.ipvsadm("-E -t 10.0.0.100:80 -s rr -p 100 -M 255.255.255.0");
    s.picks("neighbours", &syns(6, 1, 3000));
    let far = ["192.0.2.7", "192.0.2.99", "203.0.113.77", "203.0.113.1"];
    let far: Vec<_> = far.iter().map(|client| tcp(at(client, 3000), at(VIP, 80), "S")).collect();
    s.picks("two networks", &far);
    s.conns();
    s.table();
    s.ipvsadm("-S -n");
}

fn ipv6(s: &mut Script) {
    s.ipvsadms([
        "-A -t [fd00::100]:80 -s rr -p 100 -M 64",
        "-a -t [fd00::100]:80 -r [fd01::1]:80 -m",
        "-a -t [fd00::100]:80 -r [fd01::2]:80 -m",
    ]);
    let clients = ["fd00::9", "fd00::10", "2001:db8::7", "2001:db8:0:1::7", "2001:db8::8"];
    let syns: Vec<_> = clients.iter().map(|client| tcp(at(client, 3000), at(VIP6, 80), "S")).collect();
    s.picks("clients of three networks", &syns);
    s.conns();
    s.table();
}

/// One template for all protocols and ports.
fn marked(s: &mut Script) {
    for port in [80, 443] {
        s.mark(7, "tcp", VIP, port);
        s.mark(7, "udp", VIP, port);
    }
    s.ipvsadms(["-A -f 7 -s rr -p 100", "-a -f 7 -r 10.0.1.1 -m", "-a -f 7 -r 10.0.1.2:8080 -m"]);
    for client in ["10.0.0.10", "10.0.0.11", "10.0.0.12"] {
        s.client(&tcp(at(client, 3000), at(VIP, 80), "S"));
        s.client(&tcp(at(client, 3001), at(VIP, 443), "S"));
        s.client(&udp(at(client, 3002), at(VIP, 443)));
    }
    s.conns();
    s.table();
    s.listed_conns();
}

/// TCP and UDP have templates of their own.
fn protocols(s: &mut Script) {
    s.ipvsadms(THREE_REALS);
    s.ipvsadms([
        "-A -u 10.0.0.100:80 -s rr -p",
        "-a -u 10.0.0.100:80 -r 10.0.1.1:80 -m",
        "-a -u 10.0.0.100:80 -r 10.0.1.2:80 -m",
    ]);
    for port in 3000..3003 {
        s.client(&tcp(at(CLIENT, port), at(VIP, 80), "S"));
        s.client(&udp(at(CLIENT, port), at(VIP, 80)));
    }
    s.conns();
}

fn weight_0(s: &mut Script) {
    s.ipvsadms(THREE_REALS);
    s.picks("before", &syns(3, 1, 3000));
    s.ipvsadm("-e -t 10.0.0.100:80 -r 10.0.1.3:80 -m -w 0");
    s.picks("real 3 without weight", &syns(6, 2, 3001));
    s.conns();
    s.table();
}

fn quiescent(s: &mut Script) {
    s.sysctl("expire_quiescent_template", 1);
    weight_0(s);
}

fn deleted(s: &mut Script) {
    s.ipvsadms(THREE_REALS);
    s.picks("before", &syns(3, 1, 3000));
    s.ipvsadm("-d -t 10.0.0.100:80 -r 10.0.1.3:80");
    s.picks("real 3 deleted", &syns(3, 2, 3001));
    s.conns();
    s.ipvsadm("-a -t 10.0.0.100:80 -r 10.0.1.3:80 -m");
    s.picks("real 3 added again", &syns(3, 1, 3003));
    s.conns();
    s.table();
}

fn assured(s: &mut Script) {
    s.ipvsadms(THREE_REALS);
    s.ipvsadms(["-A -u 10.0.0.100:53 -s rr -p 100", "-a -u 10.0.0.100:53 -r 10.0.1.1:53 -m"]);
    s.client(&tcp(at(CLIENT, 3000), at(VIP, 80), "S"));
    s.client(&udp(at(CLIENT, 3000), at(VIP, 53)));
    s.conns();
    s.client(&tcp(at(CLIENT, 3000), at(VIP, 80), "A"));
    s.real(&udp(at("10.0.1.1", 53), at(CLIENT, 3000)));
    s.conns();
}

/// Persistence given to and taken from a service that is at work.
fn edited(s: &mut Script) {
    s.ipvsadms([
        "-A -t 10.0.0.100:80 -s rr",
        "-a -t 10.0.0.100:80 -r 10.0.1.1:80 -m",
        "-a -t 10.0.0.100:80 -r 10.0.1.2:80 -m",
    ]);
    s.picks("not persistent", &syns(2, 2, 3000));
    s.ipvsadm("-E -t 10.0.0.100:80 -s rr -p 200");
    s.picks("persistent", &syns(3, 2, 3002));
    s.ipvsadm("-E -t 10.0.0.100:80 -s rr -p 50");
    s.picks("persistent for another time", &syns(3, 1, 3004));
    s.conns();
    s.ipvsadm("-E -t 10.0.0.100:80 -s rr");
    s.picks("not persistent", &syns(2, 2, 3006));
    s.conns();
    s.table();
}

/// A template whose time is over while it has connections gets sixty seconds.
fn expiry(s: &mut Script) {
    s.ipvsadms(THREE_REALS);
    s.ipvsadm("-E -t 10.0.0.100:80 -s rr -p 3");
    s.picks("a first connection each", &syns(3, 1, 3000));
    s.title("client 10 closes, client 11 goes on, client 12 waits for an answer");
    s.client(&tcp(at("10.0.0.10", 3000), at(VIP, 80), "A"));
    s.client(&tcp(at("10.0.0.11", 3000), at(VIP, 80), "A"));
    s.conns();
    s.wait_s(5);
    s.conns();
    s.client(&tcp(at("10.0.0.11", 3001), at(VIP, 80), "S"));
    s.conns();
    s.title("nobody has a connection");
    s.ipvsadms(["-A -u 10.0.0.100:53 -s rr -o -p 2", "-a -u 10.0.0.100:53 -r 10.0.1.1:53 -m"]);
    s.client(&udp(at(CLIENT, 3000), at(VIP, 53)));
    s.wait_s(4);
    s.conns();
    s.table();
}
