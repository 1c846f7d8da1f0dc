//! What the host's addresses and routes say of destinations: whether one is the director itself, and which address of the
//! director's the outer headers of its tunnel come from (forwarding.md sections 3 and 4).

use std::net::IpAddr;

use rlvs_core::rows::{DestRow, method};

use super::{Owner, convert, limits};
use crate::{host::LocalHost, network::Newcomer};

impl Owner {
    /// Tells of a destination. Nobody listens any more once the daemon ends.
    pub(super) fn announce(&self, dest: u32, address: IpAddr) {
        let _ = self.newcomers.send(Newcomer { dest, address });
    }

    /// Notes that routes or addresses changed: every cached next hop is looked up again, and the next sweep looks again at
    /// what the host says of destinations.
    pub fn ways_changed(&mut self) {
        self.bump_epoch();
        self.ways_stale = true;
    }

    /// Brings what the host says of destinations up to date, if something changed.
    pub(super) fn refresh_ways(&mut self) {
        if !std::mem::take(&mut self.ways_stale) {
            return;
        }
        self.refresh_local_addresses();
        let own = LocalHost::addresses();
        for id in self.entries.values().flat_map(|entry| entry.roster.dests()) {
            let Some(row) = self.tables.dests.get(id) else { continue };
            let address = convert::dest_key(row).address;
            limits::set_local(row, address.is_loopback() || own.contains(&address));
            if row.forwarding().method == method::TUNNEL {
                self.announce(id, address);
            }
        }
    }

    /// Writes where packets to destination row `dest` leave from; `None` where no way leads to `address`. An answer that is
    /// late for a row that has another address by now is ignored.
    pub fn set_tunnel_source(&self, dest: u32, address: IpAddr, source: Option<IpAddr>) {
        let Some(row) = self.tables.dests.get(dest) else { return };
        if row.created != 0 && convert::dest_key(row).address == address {
            store_source(row, source);
        }
    }
}

fn store_source(row: &DestRow, source: Option<IpAddr>) {
    let source = source.map(convert::address).unwrap_or_default();
    for (cell, word) in row.tunnel_source.iter().zip(source.0) {
        cell.store(word);
    }
}
