//! Connections against connections.md: the state table cell by cell, lives, look-ups, and counters that stay exact through
//! whatever happens, on one CPU and on several.

mod concurrent;
mod lives;
mod many;
mod states;

use super::*;
use crate::flow::Ip;
use crate::native::NativeTables;
use crate::rows::{Address, family};

/// Jiffies a second.
const HZ: u32 = 250;
/// Some moment.
const START: u64 = 1_000_000;

/// `seconds` in jiffies.
fn seconds(seconds: u32) -> u64 {
    u64::from(seconds * HZ)
}

/// A client's connection to 172.16.0.1:80 that went to destination `dest`, 192.168.1.`dest`:8080, under NAT.
fn identity(protocol: u8, client: u8, dest: u32) -> ConnIdentity {
    ConnIdentity {
        client: Address::v4([10, 0, 0, client]),
        virtual_address: Address::v4([172, 16, 0, 1]),
        dest_address: Address::v4([192, 168, 1, dest as u8]),
        client_port: 40_000,
        virtual_port: 80,
        dest_port: 8080,
        protocol,
        family: family::V4,
        dest_family: family::V4,
        method: method::MASQUERADING,
        kind: kind::FLOW,
        dest,
        controller: 0,
    }
}

/// A packet of this flow that says `event`.
fn packet(key: FlowKey, event: Event) -> Flow {
    let is_tcp = key.protocol == protocol::TCP;
    let ip =
        Ip { source: key.source, destination: key.destination, family: key.family, protocol: key.protocol, ..Ip::NONE };
    let (is_new, is_reset) = (is_tcp && event == Event::SYN, is_tcp && event == Event::RST);
    Flow { key, ip, event, is_new, is_reset, ..Flow::NONE }
}

/// Opens a connection by its first packet, which is a client's and says `event`.
fn open_by<T: Tables>(tables: &T, identity: &ConnIdentity, event: Event, now: &Now<'_>) -> Result<(), OpenError> {
    let id = open(tables, identity, Life::unborn(identity.method, now), &mut { FlowKey::NONE })?;
    let row = tables.conn(id).expect("a row");
    // Another CPU may have ended it since.
    let _ = touch(tables, row, Direction::Request, &packet(identity.request_key(), event), now);
    Ok(())
}

/// The connection that a packet belongs to, as the director decides it; one that gives way is retired first, as there.
fn arrive<'t, T: Tables>(tables: &'t T, flow: &Flow, now: &Now<'_>) -> Option<Found<'t>> {
    let found = find(tables, &flow.key)?;
    let goes_on = !found.is_over(now)
        && (found.direction == Direction::Reply
            || admit(flow, &found, tables.dest(found.row.dest.load()), now) == Admission::Follow);
    if !goes_on && found.direction == Direction::Request {
        retire_at(tables, found.id, found.row, found.seen, now.jiffies);
    }
    goes_on.then_some(found)
}

/// Connections, active and inactive, of destination `dest`.
fn counts<T: Tables>(tables: &T, dest: u32) -> (u32, u32) {
    let counts = Counts::unpack(tables.dest(dest).expect("a destination").counts.load());
    (counts.active, counts.inactive)
}

/// What the daemon's sweep does: ends what is over, and lets rows be used again whose rest is over.
fn sweep(tables: &NativeTables, rows: u32, jiffies: u64) {
    let now = Now { jiffies, config: &tables.config };
    for id in 0..rows {
        let row = tables.conn(id).expect("a row");
        let word = row.life.load();
        let life = Life::unpack(word);
        if life.is_live() && !life.is_current(jiffies) {
            assert_ne!(
                expire(tables, id, row, word, &now, &mut { FlowKey::NONE }),
                Expired::Lost,
                "nobody else is here"
            );
        } else if life.flags & flags::RETIRED != 0 && (jiffies as u32).wrapping_sub(row.retired_at.load()) >= HZ {
            row.life.store(0);
            tables.give_conn(id);
        }
    }
}

/// Compares the counters of destinations and templates and the index with the rows that exist. `index` is a copy of the index.
///
/// # Panics
/// Where they differ by one.
fn audit<T: Tables>(tables: &T, rows: u32, dests: u32, index: &std::collections::HashMap<FlowKey, FlowEntry>) {
    let mut expected = std::vec![(0, 0, 0); dests as usize];
    let mut controlled = std::vec![0; rows as usize];
    let mut entries = 0;
    let live = |id: u32| Some((id, tables.conn(id).expect("a row"))).filter(|(_, row)| row.life().is_live());
    for (id, row) in (0..rows).filter_map(live) {
        let (life, identity) = (row.life(), row.identity());
        assert_eq!(life.is_template(), identity.kind == kind::TEMPLATE);
        let mut of_dest = expected.get_mut(identity.dest as usize);
        assert!(of_dest.is_some() || identity.method == method::BYPASS, "row {id} names destination {}", identity.dest);
        let mut count = |which: fn(&mut (u32, u32, u64))| {
            if let Some(counters) = &mut of_dest {
                which(counters);
            }
        };
        if life.is_template() {
            count(|(_, _, persistent)| *persistent += 1);
            // One that is used no more is found no more (section 4).
            let disused = identity.virtual_port == 65_535 && identity.dest_port == 65_535;
            let found = index.get(&identity.request_key()) == Some(&entry(id, Direction::Request));
            assert_ne!(found, disused, "template in row {id}");
            entries += usize::from(found);
            continue;
        }
        count(if life.is_inactive() { |counters| counters.1 += 1 } else { |counters| counters.0 += 1 });
        for (key, direction) in [(identity.request_key(), Direction::Request), (identity.reply_key(), Direction::Reply)]
        {
            assert_eq!(index.get(&key), Some(&entry(id, direction)), "row {id}, {direction:?}");
            entries += 1;
        }
        if let Some(template) = identity.controller.checked_sub(1) {
            controlled[template as usize] += 1;
            assert!(
                live(template).is_some_and(|(_, row)| row.life().is_template()),
                "controller {template} of row {id}"
            );
        }
    }
    assert_eq!(index.len(), entries, "two entries for each connection, one for each template, and no other");
    for (id, row) in (0..rows).filter_map(live) {
        assert_eq!(row.controlled.load(), controlled[id as usize], "controlled by row {id}");
    }
    for (dest, expected) in (0..).zip(expected) {
        let (active, inactive) = counts(tables, dest);
        let persistent = tables.dest(dest).expect("a destination").persistent.load();
        assert_eq!((active, inactive, persistent), expected, "(active, inactive, persistent) of destination {dest}");
    }
}
