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

/// Section 6, "secure_tcp table: same except": direction and event, current states, next state.
const SECURE: &str = "
    I.syn | SA | SA
    I.fin | SA | SA
    I.ack | SR | SR
    I.ack | SA | SA
    I.rst | SA | CL
    O.syn | SR SA | SA
    X.syn | NO FW TW CL CW LA LI SA | SA
";

/// Section 6, SCTP: a table for each of I, O, X; a line for each current state, then the next state by event.
const SCTP: [&str; 3] = [
    "
    NO | ES I1 CW CR ES SR CL CL CL CL
    I1 | I1 IN CW IN I1 I1 IN CL I1 CL
    IN | IN IN CW IN IN IN IN CL IN CL
    CS | CS CS CS CR CS CS CS CS CS CL
    CR | CR CR CR CR CR CR CR CR CR CL
    CW | CW CW CO CW CW CW CW CW CW RJ
    CO | CO CO CO CO CO CO CO CO CO CL
    CE | CE CE CE CE ES CE CE CE CL CL
    ES | ES ES ES ES ES SR ES ES ES CL
    SS | SS SS SS SS SS SS CL SS SS CL
    SR | SR SR SR SR SR SR SR SR SR CL
    SA | SA SA SA SA SA SA CL CL SA CL
    RJ | RJ IN RJ RJ RJ RJ RJ RJ RJ CL
    CL | CL IN CL CL CL CL CL CL CL CL
",
    "
    NO | ES CW CS CE ES SS SA CL CL CL
    I1 | I1 CW CS CE ES SS SA I1 CL RJ
    IN | IN CW CS CE ES SS SA IN CL CL
    CS | CS CW CS CE ES SS SA CS CL CL
    CR | CR CW CR CE ES SS SA CR CL CL
    CW | CW CW CW CE ES SS CW CW CW CL
    CO | CO CW CO CE ES SS CO CO CO CL
    CE | CE CW CE CE ES SS CE CE CE CL
    ES | ES ES ES ES ES SS ES ES ES CL
    SS | SS CW SS SS SS SS SA SS SS CL
    SR | SR CW SR SR SR SR SA SR SR CL
    SA | SA CW SA SA SA SA SA SA SA CL
    RJ | RJ CW RJ RJ RJ RJ RJ RJ RJ CL
    CL | CL CW CL CL CL CL CL CL CL CL
",
    "
    NO | ES I1 CE ES ES SR CL CL CL CL
    I1 | I1 IN CE ES I1 I1 IN CL I1 CL
    IN | IN IN CE ES IN IN IN CL IN CL
    CS | CS IN CE ES ES CS CS CL CS CL
    CR | CR IN CE ES ES CR CR CL CR CL
    CW | ES IN CE ES CW CW CW CW CW RJ
    CO | CO CO CO CO ES CO CO CO CO CL
    CE | CE CE CE CE ES CE CE CE CE CL
    ES | ES ES ES ES ES SR CL ES ES CL
    SS | SS SS SS SS SS SS CL SS SS CL
    SR | SR SR SR SR SR SR SR CL SR CL
    SA | SA SA SA SA SA SA CL CL SA CL
    RJ | RJ IN RJ RJ RJ RJ RJ RJ RJ CL
    CL | CL IN CL CL CL CL CL CL CL CL
",
];

/// The states in the order of their numbers in IPVS's sync protocol.
const ORDER: [&str; 11] = ["NO", "ES", "SS", "SR", "FW", "TW", "CL", "CW", "LA", "LI", "SA"];
/// Section 6, SCTP: "state numbers in row order from 0".
const SCTP_ORDER: [&str; 14] = ["NO", "I1", "IN", "CS", "CR", "CW", "CO", "CE", "ES", "SS", "SR", "SA", "RJ", "CL"];
const TABLES: [state::Table; 3] = [state::Table::Input, state::Table::Output, state::Table::InputOnly];
const EVENTS: [Event; 4] = [Event::SYN, Event::FIN, Event::ACK, Event::RST];

fn number(state: &str) -> u8 {
    ORDER.iter().position(|name| *name == state).expect("a state's abbreviation") as u8
}

/// Lines that say something, cut at the bars.
fn lines(table: &str) -> impl Iterator<Item = Vec<&str>> {
    table.lines().filter(|line| !line.trim().is_empty()).map(|line| line.split('|').map(str::trim).collect())
}

/// Every cell of the normal table: direction, event, current and next state.
fn normal() -> Vec<(usize, usize, &'static str, &'static str)> {
    let mut cells = Vec::new();
    for line in lines(NORMAL) {
        let (current, groups) = line.split_first().expect("the current state");
        for (table, group) in groups.iter().enumerate() {
            cells.extend(group.split(' ').enumerate().map(|(event, next)| (table, event, *current, next)));
        }
    }
    assert_eq!(cells.len(), 132);
    cells
}

fn check(secure: bool, cells: &[(usize, usize, &str, &str)]) {
    for (table, event, current, next) in cells {
        let (table, event) = (TABLES[*table], EVENTS[*event]);
        let got = ORDER[usize::from(state::next(protocol::TCP, secure, table, event, number(current)))];
        assert_eq!(got, *next, "secure: {secure}, {table:?} {event:?} in {current}");
    }
}

#[test]
fn every_cell_of_the_normal_table() {
    check(false, &normal());
}

#[test]
fn every_cell_of_the_secure_table() {
    let mut cells = normal();
    let mut changed = 0;
    for line in lines(SECURE) {
        let (direction, event) = line[0].split_once('.').expect("direction and event");
        let table = ["I", "O", "X"].iter().position(|name| *name == direction).expect("a direction");
        let event = ["syn", "fin", "ack", "rst"].iter().position(|name| *name == event).expect("an event");
        for cell in cells.iter_mut().filter(|cell| (cell.0, cell.1) == (table, event)) {
            if line[1].split(' ').any(|current| current == cell.2) {
                assert_ne!(cell.3, line[2], "the list has differences only");
                cell.3 = line[2];
                changed += 1;
            }
        }
    }
    assert_eq!(changed, 15);
    check(true, &cells);
}

#[test]
fn every_cell_of_the_sctp_tables() {
    let mut cells = 0;
    for (table, text) in TABLES.into_iter().zip(SCTP) {
        for (state, line) in (0..).zip(lines(text)) {
            assert_eq!(line[0], SCTP_ORDER[usize::from(state)]);
            for (event, next) in (0..).zip(line[1].split(' ')) {
                for secure in [false, true] {
                    let got = state::next(protocol::SCTP, secure, table, Event(event), state);
                    assert_eq!(SCTP_ORDER[usize::from(got)], next, "{table:?} event {event} in {}", line[0]);
                }
                cells += 1;
            }
        }
    }
    assert_eq!(cells, 420);
}

#[test]
fn a_packet_without_flags_closes_from_every_state() {
    for (table, state) in TABLES.into_iter().flat_map(|table| (0..11).map(move |state| (table, state))) {
        for secure in [false, true] {
            let next = state::next(protocol::TCP, secure, table, Event::BARE, state);
            assert_eq!(next, number("CL"), "{table:?} in state {state}");
        }
    }
}

/// Whatever word stands in a row, a state comes out of it.
#[test]
fn no_state_leads_out_of_the_tables() {
    for protocol in 0..=255 {
        let states = if protocol == protocol::SCTP { 14 } else { 11 };
        for (table, state) in TABLES.into_iter().flat_map(|table| (0..=255).map(move |state| (table, state))) {
            for event in (0..if protocol == protocol::SCTP { 10 } else { 5 }).map(Event) {
                assert!(state::next(protocol, state & 1 != 0, table, event, state) < states);
            }
        }
    }
}

#[test]
fn states_are_named_as_proc_net_ip_vs_conn_names_them() {
    let names =
        "NONE ESTABLISHED SYN_SENT SYN_RECV FIN_WAIT TIME_WAIT CLOSE CLOSE_WAIT LAST_ACK LISTEN SYNACK".split(' ');
    assert_eq!(tcp::NAMES.to_vec(), names.collect::<Vec<_>>());
    assert_eq!((state::name(protocol::TCP, 10), state::name(protocol::UDP, 0)), ("SYNACK", "UDP"));
    assert_eq!((state::name(protocol::SCTP, 8), state::name(protocol::SCTP, 14)), ("ESTABLISHED", "NONE"));
}

/// Section 8: "active in TCP ESTABLISHED, SYN_SENT, SYN_RECV, SYNACK; SCTP ESTABLISHED only".
#[test]
fn few_states_are_active() {
    let active: Vec<_> = ORDER.into_iter().filter(|state| state::is_active(protocol::TCP, number(state))).collect();
    assert_eq!(active, ["ES", "SS", "SR", "SA"]);
    let active: Vec<_> = (0..14).filter(|state| state::is_active(protocol::SCTP, *state)).collect();
    assert_eq!(active, [sctp::ESTABLISHED]);
}

/// Section 7.
#[test]
fn every_state_has_its_timeout() {
    let tables = NativeTables::new(0, 0, 0, 0, HZ);
    let recorded = [2, 900, 120, 60, 120, 120, 10, 60, 30, 120, 120]
        .into_iter()
        .zip(0..)
        .map(|(s, state)| (protocol::TCP, state, s));
    let of_sctp = (0..14).map(|state| {
        let timeout_s = match SCTP_ORDER[usize::from(state)] {
            "NO" => 2,
            "I1" | "RJ" => 4,
            "ES" => 900,
            _ => 61,
        };
        (protocol::SCTP, state, timeout_s)
    });
    for (protocol, state, timeout_s) in recorded.chain(of_sctp).chain([(protocol::UDP, 0, 300)]) {
        let jiffies = timeout::jiffies(&tables.config, timeout::index(protocol, state));
        assert_eq!(jiffies, seconds(timeout_s), "protocol {protocol} state {state}");
    }
    assert_eq!(timeout::jiffies(&tables.config, timeout::UNSET), seconds(3));
}

/// What an entry looks like after each packet of a run.
fn run(method: u8, packets: &[(Direction, Event)]) -> Vec<&'static str> {
    let tables = NativeTables::new(0, 0, 0, 0, HZ);
    let now = Now { jiffies: START, config: &tables.config };
    assert_eq!(packets[0].0, Direction::Request, "only a client's packet opens a connection");
    let mut life = Life::unborn(method, &now);
    let mut states = Vec::new();
    for (direction, event) in packets {
        life = life.after(protocol::TCP, *direction, *event, &now);
        assert_eq!(life.is_inactive(), !state::is_active(protocol::TCP, life.state));
        assert!(life.is_live());
        states.push(life.state);
    }
    states.into_iter().map(|state| tcp::NAMES[usize::from(state)]).collect()
}

const CLIENT: Direction = Direction::Request;
const REAL: Direction = Direction::Reply;
const NAT: u8 = 0;
const DR: u8 = 3;

/// Section 6: "typical NAT run".
#[test]
fn nat_runs() {
    let open = [(CLIENT, Event::SYN), (REAL, Event::SYN), (CLIENT, Event::ACK)];
    let opened = ["SYN_RECV", "SYN_RECV", "ESTABLISHED"];
    let endings: [(&[_], &[_]); 4] = [
        (&[(CLIENT, Event::FIN), (REAL, Event::FIN), (CLIENT, Event::ACK)], &["CLOSE_WAIT", "TIME_WAIT", "TIME_WAIT"]),
        (&[(REAL, Event::FIN), (CLIENT, Event::FIN)], &["FIN_WAIT", "TIME_WAIT"]),
        (&[(CLIENT, Event::RST)], &["CLOSE"]),
        (&[(REAL, Event::RST)], &["CLOSE"]),
    ];
    for (packets, states) in endings {
        let packets: Vec<_> = open.iter().chain(packets).copied().collect();
        let states: Vec<_> = opened.iter().chain(states).copied().collect();
        assert_eq!(run(NAT, &packets), states);
    }
}

/// Section 1: state 0, inactive, 3 seconds; no output expected but under NAT. An ICMP error opens such a connection and leaves
/// it so (section 3).
#[test]
fn a_connection_begins_unset() {
    let tables = NativeTables::new(0, 0, 0, 0, HZ);
    let now = Now { jiffies: START, config: &tables.config };
    for (method, no_output) in [(NAT, 0), (1, flags::NO_OUTPUT), (2, flags::NO_OUTPUT), (DR, flags::NO_OUTPUT)] {
        let flags = flags::LIVE | flags::INACTIVE | no_output;
        assert_eq!(Life::unborn(method, &now), Life { deadline: START + seconds(3), state: 0, flags });
    }
}

/// Section 6: "DR: SYN -> SYN_RECV, ACK -> ESTABLISHED, FIN -> FIN_WAIT (stays), RST -> CLOSE".
#[test]
fn dr_runs() {
    let packets = [Event::SYN, Event::ACK, Event::FIN, Event::ACK, Event::RST].map(|event| (CLIENT, event));
    assert_eq!(run(DR, &packets), ["SYN_RECV", "ESTABLISHED", "FIN_WAIT", "FIN_WAIT", "CLOSE"]);
}

/// Section 6: "the first O packet clears NOOUTPUT (from then on I is used)".
#[test]
fn a_reply_seen_under_dr_ends_the_input_only_table() {
    let packets = [(CLIENT, Event::SYN), (REAL, Event::SYN), (CLIENT, Event::ACK), (CLIENT, Event::FIN)];
    assert_eq!(run(DR, &packets).last(), Some(&"CLOSE_WAIT"));
    assert_eq!(run(DR, &[packets[0], packets[2], packets[3]]).last(), Some(&"FIN_WAIT"));
}

#[test]
fn udp_has_one_state_and_is_never_active() {
    let tables = NativeTables::new(0, 0, 0, 0, HZ);
    let now = Now { jiffies: START, config: &tables.config };
    let born = Life::unborn(NAT, &now).after(protocol::UDP, CLIENT, Event::DATAGRAM, &now);
    let expected = Life { deadline: START + seconds(300), state: 0, flags: flags::LIVE | flags::INACTIVE };
    assert_eq!(born, expected);
    let later = Now { jiffies: START + 77, config: &tables.config };
    for direction in [CLIENT, REAL] {
        let next = born.after(protocol::UDP, direction, Event::DATAGRAM, &later);
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
    fn an_identity_survives_its_row(words: [u32; 12], ports: [u16; 3], bytes: [u8; 4], kind: u16, numbers: [u32; 2]) {
        let address = |at: usize| Address([words[at], words[at + 1], words[at + 2], words[at + 3]]);
        let identity = ConnIdentity {
            client: address(0),
            virtual_address: address(4),
            dest_address: address(8),
            client_port: ports[0],
            virtual_port: ports[1],
            dest_port: ports[2],
            protocol: bytes[0],
            family: bytes[1],
            dest_family: bytes[2],
            method: bytes[3],
            kind,
            dest: numbers[0],
            controller: numbers[1],
        };
        let tables = NativeTables::new(0, 0, 0, 1, HZ);
        tables.conns[0].set_identity(&identity);
        prop_assert_eq!(tables.conns[0].identity(), identity);
    }
}
