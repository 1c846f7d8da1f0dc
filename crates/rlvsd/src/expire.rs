//! Ends connections whose time is over: the only place that removes rows.
//!
//! The data plane treats an expired row as absent from the first moment; what happens here is tidying up: the index entries
//! go, the destination's counters are settled, and after a grace period the row can be used again.

use rlvs_core::{
    conn::{self, Expired, GRACE_MS, Life, Now, flags, state},
    rows::{ConnRow, Counts, DestRow, FlowKey, dest_flags},
    tables::Tables,
};

use crate::shared::SharedTables;

/// How often to look, in milliseconds: ActiveConn and InActConn are late by at most this.
pub const INTERVAL_MS: u64 = 500;
/// How often removed destinations are looked at, in seconds (connections.md section 10).
pub const TRASH_SCAN_S: u64 = 60;
/// How long a removed destination without connections is kept, so that adding it again continues its counters, in seconds.
const TRASH_S: u64 = 120;
/// Looks at every row once, and returns how many connections and templates live on. `now` and `hz` are jiffies and jiffies per
/// second.
pub fn sweep(tables: &SharedTables, now: u64, hz: u64) -> u64 {
    let mut live = 0;
    let mut key = FlowKey::NONE;
    let grace = (GRACE_MS * hz).div_ceil(1000) as u32;
    for id in 0..tables.conns_used() {
        let Some(row) = tables.conn(id) else { break };
        let word = row.life.load();
        let life = Life::unpack(word);
        if life.is_current(now) {
            live += 1;
        } else if life.is_live() {
            if let Some(config) = tables.config()
                && conn::expire(tables, id, row, word, &Now { jiffies: now, config }, &mut key) == Expired::Rearmed
            {
                live += 1;
            }
        } else if life.flags & flags::RETIRED != 0 && (now as u32).wrapping_sub(row.retired_at.load()) >= grace {
            // In this order, a daemon that dies in between loses one row and never gives one out twice.
            row.life.store(0);
            tables.give_conn(id);
        }
    }
    live
}

/// Ends a connection before its time, and with it what controlled it, where that is of no more use: no template, or one none
/// of whose connections was a real one (connections.md section 9, "timeout is 0"). Returns whether it ended.
pub fn end(tables: &SharedTables, id: u32, row: &ConnRow, seen: u64, now: u64) -> bool {
    let controller = row.controller.load();
    if !conn::retire_at(tables, id, row, seen, now) {
        return false;
    }
    if let Some((id, row)) = controller.checked_sub(1).and_then(|id| Some((id, tables.conn(id)?))) {
        let seen = row.life.load();
        let life = Life::unpack(seen);
        let of_use = row.controlled.load() != 0 || (life.is_template() && life.state == state::template::ASSURED);
        if life.is_live() && !of_use {
            conn::retire_at(tables, id, row, seen, now);
        }
    }
    true
}

/// Ends every connection and template whose destination was removed (connections.md section 10, expire_nodest_conn), but those
/// that control others.
pub fn flush_removed(tables: &SharedTables, now: u64) {
    let removed = |dest: &DestRow| dest.flags.load() & dest_flags::AVAILABLE == 0;
    for id in 0..tables.conns_used() {
        let Some(row) = tables.conn(id) else { break };
        let seen = row.life.load();
        if Life::unpack(seen).is_live()
            && row.controlled.load() == 0
            && tables.dest(row.dest.load()).is_some_and(removed)
        {
            end(tables, id, row, seen, now);
        }
    }
}

/// Marks removed destinations that have lost their last connection and names those that have been so for long enough.
pub fn sweep_trash(tables: &mut SharedTables, trash: impl Iterator<Item = u32>, now: u64, hz: u64) -> Vec<u32> {
    let mut over = Vec::new();
    for id in trash {
        let Some(dest) = tables.dests.get(id) else { continue };
        let idle = Counts::unpack(dest.counts.load()) == Counts::default() && dest.persistent.load() == 0;
        let since = dest.idle_since;
        debug_assert_eq!(dest.flags.load() & dest_flags::AVAILABLE, 0);
        match (idle, since) {
            (true, 0) => _ = tables.dests.update(id, |dest| dest.idle_since = now),
            (true, since) if now >= since + TRASH_S * hz => over.push(id),
            (false, since) if since != 0 => _ = tables.dests.update(id, |dest| dest.idle_since = 0),
            _ => {}
        }
    }
    over
}
