//! Limits on connections (connections.md section 8).

use super::{CLIENT, Scenario, VIP};
use crate::differential::{
    Script,
    frame::{Packet, tcp},
    script::at,
};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new("thresholds/upper-only", |s| filled(s, "4", "0")).waits(20),
    Scenario::new("thresholds/upper-and-lower", |s| filled(s, "4", "2")).waits(20),
    Scenario::new("thresholds/equal", |s| filled(s, "3", "3")).waits(20),
    Scenario::new("thresholds/lowered", lowered),
    Scenario::new("thresholds/raised", raised),
    Scenario::new("thresholds/persistent", persistent),
    Scenario::new("thresholds/refused", refused),
];

fn syns(ports: std::ops::Range<u16>) -> Vec<Packet> {
    ports.map(|port| tcp(at(CLIENT, port), at(VIP, 80), "S")).collect()
}

fn one_real(s: &mut Script, upper: &str, lower: &str) {
    s.ipvsadm("-A -t 10.0.0.100:80 -s rr");
    s.ipvsadm(&format!("-a -t 10.0.0.100:80 -r 10.0.1.1:80 -m -x {upper} -y {lower}"));
}

/// Connections up to the limit, which then expire but for a few that go on.
fn filled(s: &mut Script, upper: &str, lower: &str) {
    // UDP's timeout can be set; that of closed TCP connections cannot.
    s.ipvsadm("--set 0 0 3");
    s.ipvsadm("-A -u 10.0.0.100:53 -s rr");
    s.ipvsadm(&format!("-a -u 10.0.0.100:53 -r 10.0.1.1:53 -m -x {upper} -y {lower}"));
    let udp = |port| crate::differential::frame::udp(at(CLIENT, port), at(VIP, 53));
    let fresh = |s: &mut Script, label: &str, ports: std::ops::Range<u16>| {
        let packets: Vec<_> = ports.map(udp).collect();
        s.picks(label, &packets);
    };
    fresh(s, "up to the limit and beyond", 3000..3006);
    s.ipvsadm("-L -n --thresholds");
    s.table();
    // Some are kept by going on, the others expire.
    for kept in [4_u16, 3, 2, 1, 0] {
        for _ in 0..3 {
            s.wait_s(1);
            (3000..3000 + kept).for_each(|port| s.send_from_client(&udp(port)));
            s.discard();
        }
        s.wait_s(1);
        (3000..3000 + kept).for_each(|port| s.send_from_client(&udp(port)));
        s.discard();
        s.title(&format!("{kept} kept"));
        fresh(s, "one more", 4000 + kept * 10..4001 + kept * 10);
        s.table();
    }
}

fn lowered(s: &mut Script) {
    one_real(s, "5", "0");
    s.picks("three", &syns(3000..3003));
    s.ipvsadm("-e -t 10.0.0.100:80 -r 10.0.1.1:80 -m -x 2");
    s.picks("limit lowered to two", &syns(3003..3007));
    s.table();
    s.ipvsadm("-e -t 10.0.0.100:80 -r 10.0.1.1:80 -m -x 0");
    s.picks("no limit", &syns(3007..3010));
    s.table();
}

fn raised(s: &mut Script) {
    one_real(s, "2", "0");
    s.picks("to the limit", &syns(3000..3004));
    s.ipvsadm("-e -t 10.0.0.100:80 -r 10.0.1.1:80 -m -x 4");
    s.picks("raised", &syns(3004..3008));
    s.ipvsadm("-e -t 10.0.0.100:80 -r 10.0.1.1:80 -m -x 4 -y 1");
    s.picks("only the lower limit changed", &syns(3008..3010));
    s.ipvsadm("-L -n --thresholds");
    s.table();
}

/// Templates do not count, and go where they point whatever the limit.
fn persistent(s: &mut Script) {
    s.ipvsadm("-A -t 10.0.0.100:80 -s rr -p 100");
    s.ipvsadm("-a -t 10.0.0.100:80 -r 10.0.1.1:80 -m -x 2");
    s.ipvsadm("-a -t 10.0.0.100:80 -r 10.0.1.2:80 -m -x 3");
    let of = |client: u8, port| tcp(at(&format!("10.0.0.{client}"), port), at(VIP, 80), "S");
    s.picks("one client", &[of(10, 3000), of(10, 3001), of(10, 3002), of(10, 3003), of(10, 3004)]);
    s.picks("others", &[of(11, 3000), of(12, 3000), of(11, 3001), of(13, 3000), of(14, 3000)]);
    s.table();
    s.ipvsadm("-L -n --thresholds");
    s.ipvsadm("-L -n --persistent-conn");
}

fn refused(s: &mut Script) {
    one_real(s, "2", "3");
    one_real(s, "2", "1");
    s.ipvsadm("-e -t 10.0.0.100:80 -r 10.0.1.1:80 -m -x 1 -y 2");
    s.ipvsadm("-e -t 10.0.0.100:80 -r 10.0.1.1:80 -m -x 70000");
    s.ipvsadm("-L -n --thresholds");
}
