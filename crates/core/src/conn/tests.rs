//! Connections against connections.md: the state table cell by cell, lives, look-ups, and counters that stay exact through
//! whatever happens, on one CPU and on several.

mod concurrent;
mod lives;
mod many;
mod states;

use super::*;
use crate::native::NativeTables;
use crate::rows::Address;
use crate::wire::ipv4::PROTOCOL_UDP;

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
        family: crate::rows::family::V4,
        dest,
        method: method::MASQUERADING,
    }
}

/// A packet of this flow that says `event`.
fn packet(key: FlowKey, event: Event) -> Flow {
    Flow { key, event, is_new: event == Event::Syn, transport_at: 34, ip_len: 40 }
}

/// Connections, active and inactive, of destination `dest`.
fn counts<T: Tables>(tables: &T, dest: u32) -> (u32, u32) {
    let counts = Counts::unpack(tables.dest(dest).expect("a destination").counts.load());
    (counts.active, counts.inactive)
}

/// What the daemon's sweep does: ends what is over, and lets rows be used again whose rest is over.
fn sweep<T: Tables>(tables: &T, rows: u32, now: u64) {
    for id in 0..rows {
        let row = tables.conn(id).expect("a row");
        let word = row.life.load();
        let life = Life::unpack(word);
        if life.is_live() && !life.is_current(now) {
            retire(tables, id, row, word, now);
        } else if life.flags & flags::RETIRED != 0 && (now as u32).wrapping_sub(row.retired_at.load()) >= HZ {
            row.life.store(0);
            tables.give_conn(id);
        }
    }
}

/// Compares destinations' counters and the index with the rows that exist. `index` is a copy of the index.
///
/// # Panics
/// Where they differ by one.
fn audit<T: Tables>(tables: &T, rows: u32, dests: u32, index: &std::collections::HashMap<FlowKey, FlowEntry>) {
    let mut expected = std::vec![(0, 0); dests as usize];
    let mut live = 0;
    for id in 0..rows {
        let row = tables.conn(id).expect("a row");
        let life = row.life();
        if !life.is_live() {
            continue;
        }
        live += 1;
        let identity = row.identity();
        let (active, inactive) = &mut expected[identity.dest as usize];
        *if life.is_inactive() { inactive } else { active } += 1;
        for (key, direction) in [(identity.request_key(), Direction::Request), (identity.reply_key(), Direction::Reply)]
        {
            assert_eq!(index.get(&key), Some(&entry(id, direction)), "row {id}, {direction:?}");
        }
    }
    assert_eq!(index.len(), 2 * live, "two entries for each connection and no other");
    for (dest, expected) in (0..).zip(expected) {
        assert_eq!(counts(tables, dest), expected, "(active, inactive) of destination {dest}");
    }
}
