//! Which real each scheduler picks, through a score of sequences of weights and edits (schedulers.md).

use std::net::SocketAddr;

use super::{CLIENT, CLIENT6, Scenario, VIP, VIP6};
use crate::differential::{
    Script,
    frame::{Packet, tcp},
    script::at,
};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new("schedulers/rr", |s| sequences(s, "rr")),
    Scenario::new("schedulers/wrr", |s| sequences(s, "wrr")),
    Scenario::new("schedulers/lc", |s| sequences(s, "lc")),
    Scenario::new("schedulers/wlc", |s| sequences(s, "wlc")),
    Scenario::new("schedulers/sed", |s| sequences(s, "sed")),
    Scenario::new("schedulers/nq", |s| sequences(s, "nq")),
    Scenario::new("schedulers/fo", |s| sequences(s, "fo")),
    Scenario::new("schedulers/ovf", |s| sequences(s, "ovf")),
    Scenario::new("schedulers/lblc", |s| sequences(s, "lblc")),
    Scenario::new("schedulers/lblcr", |s| sequences(s, "lblcr")),
    Scenario::new("schedulers/dh", |s| sequences(s, "dh")),
    Scenario::new("schedulers/sh", |s| sequences(s, "sh")),
    Scenario::new("schedulers/sh-fallback", |s| sequences(s, "sh -b sh-fallback")),
    Scenario::new("schedulers/sh-port", |s| sequences(s, "sh -b sh-port")),
    Scenario::new("schedulers/sh-fallback-port", |s| sequences(s, "sh -b sh-fallback,sh-port")),
    Scenario::new("schedulers/mh", |s| sequences(s, "mh")),
    Scenario::new("schedulers/mh-fallback", |s| sequences(s, "mh -b mh-fallback")),
    Scenario::new("schedulers/mh-port", |s| sequences(s, "mh -b mh-port")),
    Scenario::new("schedulers/mh-fallback-port", |s| sequences(s, "mh -b mh-fallback,mh-port")),
    Scenario::new("schedulers/changed", changed),
    Scenario::new("schedulers/none", none),
    Scenario::new("schedulers/thresholds", thresholds),
    Scenario::new("schedulers/many-addresses", many_addresses),
    Scenario::new("schedulers/ipv6", ipv6),
];

/// All the schedulers that a real kernel comes with.
const SCHEDULERS: [&str; 13] = ["rr", "wrr", "lc", "wlc", "sed", "nq", "fo", "ovf", "lblc", "lblcr", "dh", "sh", "mh"];

/// Sequences of words: `aN=W` adds real N with weight W, `eN=W` edits it, `dN` deletes it, `pN` has N clients connect, `rN` has
/// the first N that still do reset, `cN` closes them in order, `lN=U:L` limits real N to U connections and from L on again,
/// `sNAME` changes the scheduler.
const SEQUENCES: [&str; 20] = [
    "a1=3 a2=2 a3=1 p12",
    "a1=4 a2=2 a3=2 p24",
    "a1=5 a2=3 a3=0 p24",
    "a1=6 a2=4 p24",
    "a1=7 a2=5 a3=3 p24",
    "a1=1 a2=1 a3=1 p9",
    "a1=3 a2=2 a3=1 p4 e3=5 p12 d1 p9 a4=2 p12",
    "a1=3 a2=2 a3=1 p4 d3 p5 a4=2 p5 e2=0 p6",
    "a1=1 a2=1 a3=1 a4=1 p2 d3 p6",
    "a1=0 a2=0 p3",
    "p2 a1=1 p2 d1 p2 a2=3 p3",
    "a1=2 p5",
    "a1=1000 a2=300 a3=7 p24",
    "a1=6400 a2=3200 a3=100 p24",
    "a1=3 a2=2 a3=1 p10 r6 p12",
    "a1=3 a2=2 a3=1 p6 e1=0 p8 e1=3 p8",
    "a1=2 a2=2 a3=2 p3 d2 a2=2 p9",
    "a1=3 a2=3 a3=1 p9 c4 p12 r3 p6",
    "a1=1 a2=2 a3=3 a4=4 a5=5 p30",
    "a1=10 a2=20 a3=30 p13 e2=1 e3=2 p13 d3 a3=30 p13",
];

/// Clients near and far.
const CLIENTS: [&str; 12] = [
    "10.0.0.10",
    "10.0.0.11",
    "10.0.0.12",
    "10.0.0.13",
    "10.0.0.14",
    "10.0.0.15",
    "10.0.0.16",
    "10.0.0.17",
    "192.0.2.7",
    "198.51.100.200",
    "203.0.113.77",
    "172.16.5.4",
];

fn sequences(s: &mut Script, scheduler: &str) {
    for (number, sequence) in SEQUENCES.iter().enumerate() {
        one_sequence(s, scheduler, 2001 + number as u16, sequence);
    }
}

/// Runs one sequence on a service of its own.
fn one_sequence(s: &mut Script, scheduler: &str, port: u16, sequence: &str) {
    s.title(sequence);
    let service = at(VIP, port);
    s.ipvsadm(&format!("-A -t {service} -s {scheduler}"));
    let mut clients = (10_000..).zip(CLIENTS.iter().cycle()).map(|(port, client)| at(client, port));
    let mut connected: Vec<(SocketAddr, String)> = Vec::new();
    for word in sequence.split(' ') {
        let (verb, rest) = word.split_at(1);
        let (number, value) = rest.split_once('=').unwrap_or((rest, ""));
        let count = || number.parse::<usize>().expect("a count");
        let real = format!("-t {service} -r 10.0.1.{number}:80");
        match verb {
            "a" | "e" => s.ipvsadm(&format!("-{verb} {real} -m -w {value}")),
            "d" => s.ipvsadm(&format!("-d {real}")),
            "l" => {
                let (upper, lower) = value.split_once(':').expect("two limits");
                s.ipvsadm(&format!("-e {real} -m -w 3 -x {upper} -y {lower}"));
            }
            "s" => s.ipvsadm(&format!("-E -t {service} -s {number}")),
            "p" => {
                let new: Vec<_> = clients.by_ref().take(count()).collect();
                let syns: Vec<_> = new.iter().map(|client| tcp(*client, service, "S")).collect();
                let picks = s.picked(&syns);
                s.title(&format!("{word}: {}", picks.join(" ")));
                connected.extend(new.into_iter().zip(picks).filter(|(_, real)| real != "-"));
            }
            "r" | "c" => {
                let ending = connected.drain(..count().min(connected.len()));
                for (client, real) in ending {
                    let mut say = |packet: Packet, from_client| {
                        if from_client {
                            s.send_from_client(&packet)
                        } else {
                            s.send_from_real(&packet)
                        }
                        s.discard();
                    };
                    if verb == "r" {
                        // After the handshake, since SYN_RECV does not believe a client's reset.
                        say(tcp(client, service, "A"), true);
                        say(tcp(client, service, "R"), true);
                    } else {
                        say(tcp(client, service, "A"), true);
                        say(tcp(at(&format!("10.0.1.{real}"), 80), client, "FA"), false);
                        say(tcp(client, service, "FA"), true);
                    }
                }
            }
            _ => unreachable!("a word of a sequence: {word}"),
        }
    }
    s.ipvsadm(&format!("-L -n -t {service}"));
}

fn changed(s: &mut Script) {
    for (number, scheduler) in SCHEDULERS.iter().enumerate() {
        let sequence = format!("a1=3 a2=2 a3=1 p5 swlc p5 s{scheduler} p7 a4=2 p7");
        one_sequence(s, scheduler, 2001 + number as u16, &sequence);
    }
}

fn none(s: &mut Script) {
    one_sequence(s, "none", 2001, "a1=3 a2=2 p3 srr p3 snone p3");
    s.client(&tcp(at(CLIENT, 5000), at(VIP, 2001), "S"));
}

fn thresholds(s: &mut Script) {
    for (number, scheduler) in SCHEDULERS.iter().enumerate() {
        one_sequence(s, scheduler, 2001 + number as u16, "a1=3 a2=2 a3=1 l1=2:0 p14 r1 p4 r2 p4 l1=0:0 p6");
    }
}

/// What depends on the virtual address needs many of them under one service: one by firewall mark.
fn many_addresses(s: &mut Script) {
    for (number, scheduler) in ["dh", "lblc", "lblcr", "wrr"].iter().enumerate() {
        let (mark, port) = (number as u32 + 1, 2001 + number as u16);
        s.ipvsadm(&format!("-A -f {mark} -s {scheduler}"));
        (100..110).for_each(|vip| s.mark(mark, "tcp", &format!("10.0.0.{vip}"), port));
        for (real, weight) in [(1, 3), (2, 2), (3, 1)] {
            s.ipvsadm(&format!("-a -f {mark} -r 10.0.1.{real} -m -w {weight}"));
        }
        let vips = (100..110).cycle().take(40).zip(11_000..);
        let syns: Vec<_> =
            vips.map(|(vip, client)| tcp(at(CLIENT, client), at(&format!("10.0.0.{vip}"), port), "S")).collect();
        s.picks(scheduler, &syns);
        s.ipvsadm(&format!("-e -f {mark} -r 10.0.1.1 -m -w 0"));
        s.picks(&format!("{scheduler}, real 1 without weight"), &again(&syns));
        s.ipvsadm(&format!("-d -f {mark} -r 10.0.1.2"));
        s.picks(&format!("{scheduler}, real 2 deleted"), &again(&again(&syns)));
    }
    s.table();
}

/// The same from other ports.
fn again(syns: &[Packet]) -> Vec<Packet> {
    syns.iter().map(|packet| tcp(at(CLIENT, packet.from().port() + 1000), packet.to(), "S")).collect()
}

fn ipv6(s: &mut Script) {
    for (number, scheduler) in SCHEDULERS
        .iter()
        .chain(&["sh -b sh-port", "mh -b mh-port", "sh -b sh-fallback", "mh -b mh-fallback"])
        .enumerate()
    {
        let service = at(VIP6, 2001 + number as u16);
        s.ipvsadm(&format!("-A -t {service} -s {scheduler}"));
        for (real, weight) in [(1, 3), (2, 2), (3, 1)] {
            s.ipvsadm(&format!("-a -t {service} -r [fd01::{real}]:80 -m -w {weight}"));
        }
        let from_one: Vec<_> = (12_000..12_012).map(|port| tcp(at(CLIENT6, port), service, "S")).collect();
        s.picks(&format!("{scheduler}, one client"), &from_one);
        let from_many: Vec<_> =
            (10..22).map(|client| tcp(at(&format!("fd00::{client}"), 13_000 + client), service, "S")).collect();
        s.picks(&format!("{scheduler}, many clients"), &from_many);
        s.ipvsadm(&format!("-e -t {service} -r [fd01::1]:80 -m -w 0"));
        let from_many: Vec<_> =
            (10..22).map(|client| tcp(at(&format!("fd00::{client}"), 14_000 + client), service, "S")).collect();
        s.picks(&format!("{scheduler}, real 1 without weight"), &from_many);
        s.ipvsadm(&format!("-L -n -t {service}"));
    }
}
