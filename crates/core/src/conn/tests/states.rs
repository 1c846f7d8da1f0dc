//! States, timeouts, activity: sections 6 to 8.

use super::*;
use proptest::prelude::*;
use std::vec::Vec;

/// Section 6, normal table, in its own arrangement: a line for each current state, then the next state by direction
/// (I, O, X) and event (syn, fin, ack, rst).
const NORMAL: &str = "
    NO | SR CL ES CL | SS TW ES CL | SR CL ES CL
    ES | ES CW ES CL | ES FW ES CL | ES FW ES CL
    SS | ES SS SS CL | SS SS SS SS | ES SS SS CL
    SR | SR TW ES SR | SR TW ES CL | SR TW ES SR
    FW | SR TW FW CL | SS FW FW CL | SR FW FW CL
    TW | SR TW TW CL | SS TW TW TW | SR TW TW CL
    CL | SR CL CL CL | SS CL CL CL | SR CL CL CL
    CW | SR CW CW CL | SS TW CW CL | SR CW CW CL
    LA | SR LA CL LA | SS LA LA CL | SR LA CL LA
    LI | SR LI LI LI | LI LI ES CL | SR LI LI LI
    SA | SR TW ES SR | SR TW ES CL | SR TW ES CL
";

/// The states in the order of their numbers in IPVS's sync protocol.
const ORDER: [&str; 11] = ["NO", "ES", "SS", "SR", "FW", "TW", "CL", "CW", "LA", "LI", "SA"];
const TABLES: [tcp::Table; 3] = [tcp::Table::Input, tcp::Table::Output, tcp::Table::InputOnly];
const EVENTS: [Event; 4] = [Event::Syn, Event::Fin, Event::Ack, Event::Rst];

fn number(state: &str) -> u8 {
    ORDER.iter().position(|name| *name == state).expect("a state's abbreviation") as u8
}

#[test]
fn every_cell_of_the_normal_table() {
    let mut cells = 0;
    for line in NORMAL.lines().filter(|line| !line.trim().is_empty()) {
        let mut columns = line.split('|').map(str::trim);
        let current = columns.next().expect("the current state");
        for table in TABLES {
            let group = columns.next().expect("a direction's cells");
            for (event, next) in EVENTS.into_iter().zip(group.split(' ')) {
                let got = ORDER[usize::from(tcp::next(table, event, number(current)))];
                assert_eq!(got, next, "{table:?} {event:?} in {current}");
                cells += 1;
            }
        }
    }
    assert_eq!(cells, 132);
}

#[test]
fn a_packet_without_flags_closes_from_every_state() {
    for (table, state) in TABLES.into_iter().flat_map(|table| (0..11).map(move |state| (table, state))) {
        assert_eq!(tcp::next(table, Event::Bare, state), number("CL"), "{table:?} in state {state}");
    }
}

#[test]
fn states_are_named_as_proc_net_ip_vs_conn_names_them() {
    let names =
        "NONE ESTABLISHED SYN_SENT SYN_RECV FIN_WAIT TIME_WAIT CLOSE CLOSE_WAIT LAST_ACK LISTEN SYNACK".split(' ');
    assert_eq!(tcp::NAMES.to_vec(), names.collect::<Vec<_>>());
}

/// Section 8: "active in TCP ESTABLISHED, SYN_SENT, SYN_RECV, SYNACK".
#[test]
fn four_states_are_active() {
    let active: Vec<_> = ORDER.into_iter().filter(|state| tcp::is_active(number(state))).collect();
    assert_eq!(active, ["ES", "SS", "SR", "SA"]);
}

/// Section 7.
#[test]
fn every_state_has_its_timeout() {
    let tables = NativeTables::new(0, 0, 0, 0, HZ);
    let recorded = [2, 900, 120, 60, 120, 120, 10, 60, 30, 120, 120]
        .into_iter()
        .zip(0..)
        .map(|(s, state)| (PROTOCOL_TCP, state, s));
    for (protocol, state, timeout_s) in recorded.chain([(PROTOCOL_UDP, 0, 300)]) {
        let jiffies = timeout::jiffies(&tables.config, timeout::index(protocol, state));
        assert_eq!(jiffies, seconds(timeout_s), "protocol {protocol} state {state}");
    }
    assert_eq!(timeout::jiffies(&tables.config, timeout::UNSET), seconds(3));
}

/// What an entry looks like after each packet of a run.
fn run(method: u32, packets: &[(Direction, Event)]) -> Vec<&'static str> {
    let tables = NativeTables::new(0, 0, 0, 0, HZ);
    let now = Now { jiffies: START, config: &tables.config };
    let identity = ConnIdentity { method, ..identity(PROTOCOL_TCP, 1, 1) };
    let (first, rest) = packets.split_first().expect("a run has packets");
    assert_eq!(first.0, Direction::Request, "only a client's packet opens a connection");
    let mut life = Life::born(&identity, first.1, &now);
    let mut states = std::vec![life.state];
    for (direction, event) in rest {
        life = life.after(PROTOCOL_TCP, *direction, *event, &now);
        assert_eq!(life.is_inactive(), !tcp::is_active(life.state));
        assert!(life.is_live());
        states.push(life.state);
    }
    states.into_iter().map(|state| tcp::NAMES[usize::from(state)]).collect()
}

const CLIENT: Direction = Direction::Request;
const REAL: Direction = Direction::Reply;
const NAT: u32 = 0;
const DR: u32 = 3;

/// Section 6: "typical NAT run".
#[test]
fn nat_runs() {
    let open = [(CLIENT, Event::Syn), (REAL, Event::Syn), (CLIENT, Event::Ack)];
    let opened = ["SYN_RECV", "SYN_RECV", "ESTABLISHED"];
    let endings: [(&[_], &[_]); 4] = [
        (&[(CLIENT, Event::Fin), (REAL, Event::Fin), (CLIENT, Event::Ack)], &["CLOSE_WAIT", "TIME_WAIT", "TIME_WAIT"]),
        (&[(REAL, Event::Fin), (CLIENT, Event::Fin)], &["FIN_WAIT", "TIME_WAIT"]),
        (&[(CLIENT, Event::Rst)], &["CLOSE"]),
        (&[(REAL, Event::Rst)], &["CLOSE"]),
    ];
    for (packets, states) in endings {
        let packets: Vec<_> = open.iter().chain(packets).copied().collect();
        let states: Vec<_> = opened.iter().chain(states).copied().collect();
        assert_eq!(run(NAT, &packets), states);
    }
}

/// Section 6: "DR: SYN -> SYN_RECV, ACK -> ESTABLISHED, FIN -> FIN_WAIT (stays), RST -> CLOSE".
#[test]
fn dr_runs() {
    let packets = [Event::Syn, Event::Ack, Event::Fin, Event::Ack, Event::Rst].map(|event| (CLIENT, event));
    assert_eq!(run(DR, &packets), ["SYN_RECV", "ESTABLISHED", "FIN_WAIT", "FIN_WAIT", "CLOSE"]);
}

/// Section 6: "the first O packet clears NOOUTPUT (from then on I is used)".
#[test]
fn a_reply_seen_under_dr_ends_the_input_only_table() {
    let packets = [(CLIENT, Event::Syn), (REAL, Event::Syn), (CLIENT, Event::Ack), (CLIENT, Event::Fin)];
    assert_eq!(run(DR, &packets).last(), Some(&"CLOSE_WAIT"));
    assert_eq!(run(DR, &[packets[0], packets[2], packets[3]]).last(), Some(&"FIN_WAIT"));
}

#[test]
fn udp_has_one_state_and_is_never_active() {
    let tables = NativeTables::new(0, 0, 0, 0, HZ);
    let born =
        Life::born(&identity(PROTOCOL_UDP, 1, 1), Event::Datagram, &Now { jiffies: START, config: &tables.config });
    let expected = Life { deadline: START + seconds(300), state: 0, flags: flags::LIVE | flags::INACTIVE };
    assert_eq!(born, expected);
    let later = Now { jiffies: START + 77, config: &tables.config };
    for direction in [CLIENT, REAL] {
        let next = born.after(PROTOCOL_UDP, direction, Event::Datagram, &later);
        assert_eq!(next, Life { deadline: expected.deadline + 77, ..expected });
    }
}

proptest! {
    #[test]
    fn a_life_survives_packing(deadline in 0..1u64 << 48, state: u8, flags: u8) {
        let life = Life { deadline, state, flags };
        prop_assert_eq!(Life::unpack(life.pack()), life);
    }

    #[test]
    fn a_word_survives_unpacking(word: u64) {
        prop_assert_eq!(Life::unpack(word).pack(), word);
    }

    #[test]
    fn an_identity_survives_its_row(words: [u32; 12], ports: [u16; 3], protocol: u8, family: u8, dest: u32, method: u32) {
        let address = |at: usize| Address([words[at], words[at + 1], words[at + 2], words[at + 3]]);
        let identity = ConnIdentity {
            client: address(0),
            virtual_address: address(4),
            dest_address: address(8),
            client_port: ports[0],
            virtual_port: ports[1],
            dest_port: ports[2],
            protocol,
            family,
            dest,
            method,
        };
        let tables = NativeTables::new(0, 0, 0, 1, HZ);
        tables.conns[0].set_identity(&identity);
        prop_assert_eq!(tables.conns[0].identity(), identity);
    }
}
