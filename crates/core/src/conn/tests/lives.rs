//! One connection at a time: opened, found, moved on, retired.

use super::*;
use crate::rows::dest_flags;

/// Tables with room for this many connections to destinations 0 and 1.
fn tables(conns: usize) -> NativeTables {
    let tables = NativeTables::new(0, 2, 0, conns, HZ);
    tables.dests.iter().for_each(|dest| dest.flags.store(dest_flags::AVAILABLE));
    tables
}

fn at(tables: &NativeTables, jiffies: u64) -> Now<'_> {
    Now { jiffies, config: &tables.config }
}

/// Opens a connection by `event` at [`START`].
fn open_by(tables: &NativeTables, identity: &ConnIdentity, event: Event) -> Result<(), OpenError> {
    super::open_by(tables, identity, event, &at(tables, START))
}

/// Opens a connection with this life.
fn open_as(tables: &NativeTables, identity: &ConnIdentity, life: Life) {
    open(tables, identity, life, &mut { FlowKey::NONE }).expect("room");
}

/// Whether a packet of `key` finds a connection at this moment.
fn is_found(tables: &NativeTables, key: FlowKey, event: Event, jiffies: u64) -> bool {
    arrive(tables, &packet(key, event), &at(tables, jiffies)).is_some()
}

fn index_len(tables: &NativeTables) -> usize {
    tables.flows.borrow().len()
}

#[test]
fn both_directions_find_it() {
    let tables = tables(1);
    let identity = identity(protocol::TCP, 1, 1);
    open_by(&tables, &identity, Event::SYN).expect("room");
    for (key, direction) in [(identity.request_key(), Direction::Request), (identity.reply_key(), Direction::Reply)] {
        let found = find(&tables, &key).expect("a connection");
        assert_eq!((found.direction, found.row.identity()), (direction, identity));
    }
    // Answers come from the real server; under NAT nothing comes from the virtual address.
    assert!(!is_found(&tables, identity.request_key().reversed(), Event::ACK, START));
    assert_eq!((counts(&tables, 1), index_len(&tables)), ((1, 0), 2));
}

/// Section 2: replies of every method but NAT have the virtual address as their source.
#[test]
fn replies_of_direct_routing_come_from_the_virtual_address() {
    let tables = tables(1);
    let identity = ConnIdentity { method: 3, ..identity(protocol::TCP, 1, 1) };
    open_by(&tables, &identity, Event::SYN).expect("room");
    assert!(is_found(&tables, identity.request_key().reversed(), Event::SYN, START));
}

/// The row is a connection in the last jiffy before its deadline and none at the deadline.
#[test]
fn it_is_absent_from_its_deadline_on() {
    let deadline = START + seconds(60); // SYN_RECV
    for key_of in [ConnIdentity::request_key, ConnIdentity::reply_key] {
        let tables = tables(1);
        let identity = identity(protocol::TCP, 1, 1);
        open_by(&tables, &identity, Event::SYN).expect("room");
        assert!(is_found(&tables, key_of(&identity), Event::ACK, deadline - 1));
        assert!(!is_found(&tables, key_of(&identity), Event::ACK, deadline));
    }
}

/// Section 5, conn_reuse_mode 1: SYN in TIME_WAIT or CLOSE begins anew; nothing else does.
#[test]
fn a_syn_makes_an_ended_connection_give_way() {
    for state in 0..tcp::STATES as u8 {
        for event in [Event::SYN, Event::FIN, Event::ACK, Event::RST, Event::BARE] {
            let tables = tables(1);
            let identity = identity(protocol::TCP, 1, 1);
            let life = Life { deadline: START + 1, state, flags: flags::LIVE | flags::INACTIVE };
            open_as(&tables, &identity, life);
            let gives_way = event == Event::SYN && (state == tcp::TIME_WAIT || state == tcp::CLOSE);
            let found = is_found(&tables, identity.request_key(), event, START);
            assert_eq!(found, !gives_way, "{event:?} in {}", tcp::NAMES[usize::from(state)]);
            assert_eq!(counts(&tables, 1), (0, u32::from(!gives_way)));
            assert_eq!(index_len(&tables), if gives_way { 0 } else { 2 });
        }
    }
}

#[test]
fn a_reply_with_syn_does_not_make_it_give_way() {
    let tables = tables(1);
    let identity = identity(protocol::TCP, 1, 1);
    let life = Life { deadline: START + 1, state: tcp::CLOSE, flags: flags::LIVE | flags::INACTIVE };
    open_as(&tables, &identity, life);
    assert!(is_found(&tables, identity.reply_key(), Event::SYN, START));
}

/// RST with SYN is an RST to the state table and still a client that asks anew.
#[test]
fn syn_with_rst_asks_anew() {
    let tables = tables(1);
    let identity = identity(protocol::TCP, 1, 1);
    let life = Life { deadline: START + 1, state: tcp::CLOSE, flags: flags::LIVE | flags::INACTIVE };
    open_as(&tables, &identity, life);
    let flow = Flow { is_new: true, ..packet(identity.request_key(), Event::RST) };
    assert!(arrive(&tables, &flow, &at(&tables, START)).is_none());
}

#[test]
fn a_packet_moves_deadline_state_and_counters() {
    let tables = tables(1);
    let identity = identity(protocol::TCP, 1, 1);
    open_by(&tables, &identity, Event::SYN).expect("room");
    let steps = [
        (identity.reply_key(), Event::SYN, tcp::SYN_RECV, 60, (1, 0)),
        (identity.request_key(), Event::ACK, tcp::ESTABLISHED, 900, (1, 0)),
        (identity.reply_key(), Event::FIN, tcp::FIN_WAIT, 120, (0, 1)),
        (identity.request_key(), Event::SYN, tcp::SYN_RECV, 60, (1, 0)),
        (identity.request_key(), Event::FIN, tcp::TIME_WAIT, 120, (0, 1)),
    ];
    for (step, (key, event, state, timeout_s, expected)) in (1..).zip(steps) {
        let now = at(&tables, START + step);
        let flow = packet(key, event);
        let found = arrive(&tables, &flow, &now).expect("a connection");
        assert_eq!(touch(&tables, found.row, found.direction, &flow, &now), Some(()));
        let life = found.row.life();
        assert_eq!((life.state, life.deadline), (state, now.jiffies + seconds(timeout_s)), "step {step}");
        assert_eq!(counts(&tables, 1), expected, "step {step}");
    }
}

#[test]
fn it_cannot_be_moved_on_once_it_is_over() {
    let tables = tables(1);
    let identity = identity(protocol::TCP, 1, 1);
    open_by(&tables, &identity, Event::SYN).expect("room");
    let flow = packet(identity.request_key(), Event::ACK);
    let found = find(&tables, &flow.key).expect("a connection");
    let touch_at = |jiffies| touch(&tables, found.row, found.direction, &flow, &at(&tables, jiffies));
    assert_eq!(touch_at(START + seconds(60)), None);
    assert!(retire_at(&tables, 0, found.row, found.row.life.load(), START));
    assert_eq!(touch_at(START), None);
    assert_eq!(counts(&tables, 1), (0, 0));
}

#[test]
fn it_is_retired_once_and_only_as_it_was_seen() {
    let tables = tables(1);
    let identity = identity(protocol::TCP, 1, 1);
    open_by(&tables, &identity, Event::SYN).expect("room");
    let row = &tables.conns[0];
    let seen = row.life.load();
    assert!(!retire_at(&tables, 0, row, seen + 1, START), "another life");
    assert_eq!((counts(&tables, 1), index_len(&tables)), ((1, 0), 2));
    assert!(retire_at(&tables, 0, row, seen, START));
    assert!(!retire_at(&tables, 0, row, seen, START), "a second time");
    assert_eq!((counts(&tables, 1), index_len(&tables)), ((0, 0), 0));
}

#[test]
fn without_a_free_row_none_is_opened() {
    let tables = tables(1);
    open_by(&tables, &identity(protocol::TCP, 1, 1), Event::SYN).expect("room for one");
    assert_eq!(open_by(&tables, &identity(protocol::TCP, 2, 1), Event::SYN), Err(OpenError::Full));
    assert_eq!((counts(&tables, 1), index_len(&tables)), ((1, 0), 2));
    // Time and the sweep make room: not at once, as packets may still look at the row, but after its rest.
    sweep(&tables, 1, START + seconds(60));
    assert_eq!(open_by(&tables, &identity(protocol::TCP, 2, 1), Event::SYN), Err(OpenError::Full));
    sweep(&tables, 1, START + seconds(61));
    assert_eq!(open_by(&tables, &identity(protocol::TCP, 2, 1), Event::SYN), Ok(()));
}

#[test]
fn a_flow_is_opened_once() {
    let tables = tables(2);
    let identity = identity(protocol::TCP, 1, 1);
    open_by(&tables, &identity, Event::SYN).expect("room");
    let again = ConnIdentity { dest: 0, ..identity };
    assert_eq!(open_by(&tables, &again, Event::SYN), Err(OpenError::Raced));
    assert_eq!((counts(&tables, 0), counts(&tables, 1), index_len(&tables)), ((0, 0), (1, 0), 2));
    assert_eq!(*tables.free.borrow(), [1], "the row that was not needed is free again");
    assert_eq!(tables.conns[1].life.load(), 0);
}

/// forwarding.md section 6, bypass: a connection without a destination is one all the same, and counted nowhere.
#[test]
fn a_connection_may_lack_a_destination() {
    let tables = tables(1);
    let identity = identity(protocol::TCP, 1, crate::rows::NO_DEST);
    assert_eq!(open_by(&tables, &identity, Event::SYN), Ok(()));
    assert!(is_found(&tables, identity.request_key(), Event::ACK, START));
    assert_eq!((counts(&tables, 0), counts(&tables, 1)), ((0, 0), (0, 0)));
    let row = &tables.conns[0];
    assert!(retire_at(&tables, 0, row, row.life.load(), START));
    assert_eq!(index_len(&tables), 0);
}

/// Section 2: of two connections that a reply matches (two services with one real server, a client using one port for
/// both) the newest gets it; its end leaves the other's entries alone.
#[test]
fn the_newest_connection_gets_the_replies() {
    let tables = tables(2);
    let older = identity(protocol::TCP, 1, 1);
    let newer = ConnIdentity { virtual_address: Address::v4([172, 16, 0, 2]), ..older };
    open_by(&tables, &older, Event::SYN).expect("room");
    open_by(&tables, &newer, Event::SYN).expect("room");
    let found = find(&tables, &older.reply_key()).expect("a connection");
    assert_eq!(found.row.identity(), newer);

    let row = &tables.conns[0];
    assert!(retire_at(&tables, 0, row, row.life.load(), START));
    assert!(is_found(&tables, older.reply_key(), Event::ACK, START), "the older one's end took the newer one's entry");
    assert!(is_found(&tables, newer.request_key(), Event::ACK, START));
    assert_eq!((counts(&tables, 1), index_len(&tables)), ((1, 0), 2));
}
