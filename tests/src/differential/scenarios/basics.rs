//! What a conversation looks like on the wire, in the table and in the statistics.

use super::{CLIENT, Scenario, VIP};
use crate::differential::{
    Script,
    frame::{tcp, udp},
    script::at,
};

pub(super) const ALL: &[Scenario] =
    &[Scenario::new("basics/tcp", tcp_conversation), Scenario::new("basics/udp", udp_conversation)];

fn tcp_conversation(s: &mut Script) {
    s.ipvsadms([
        "-A -t 10.0.0.100:80 -s rr",
        "-a -t 10.0.0.100:80 -r 10.0.1.1:8080 -m",
        "-a -t 10.0.0.100:80 -r 10.0.1.2:8080 -m",
    ]);
    let (client, service, real) = (at(CLIENT, 4000), at(VIP, 80), at("10.0.1.2", 8080));
    s.client(&tcp(client, service, "S"));
    s.conns();
    s.real(&tcp(real, client, "SA"));
    s.client(&tcp(client, service, "A"));
    s.conns();
    s.client(&tcp(client, service, "PA").payload(b"GET / HTTP/1.0\r\n\r\n"));
    s.real(&tcp(real, client, "PA").length(1500));
    s.table();
    s.client(&tcp(client, service, "FA"));
    s.conns();
    s.real(&tcp(real, client, "FA"));
    s.client(&tcp(client, service, "A"));
    s.conns();
    s.listed_conns();
    s.table();
    s.stats();
}

fn udp_conversation(s: &mut Script) {
    s.ipvsadms([
        "-A -u 10.0.0.100:53 -s rr",
        "-a -u 10.0.0.100:53 -r 10.0.1.1:53 -m",
        "-a -u 10.0.0.100:53 -r 10.0.1.2:5353 -m",
    ]);
    let service = at(VIP, 53);
    for (port, real) in [(5000, at("10.0.1.2", 5353)), (5001, at("10.0.1.1", 53))] {
        let client = at(CLIENT, port);
        s.client(&udp(client, service));
        s.real(&udp(real, client).payload(b" there"));
        s.client(&udp(client, service));
    }
    s.conns();
    s.table();
    s.stats();
}
