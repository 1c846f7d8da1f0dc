//! Sending a packet on: time to live, way out, rewriting, Ethernet header.

pub mod nat;
pub mod next_hop;

use crate::conn::{Direction, Found, Now};
use crate::flow::{Flow, IP_AT};
use crate::packet::Packet;
use crate::tables::Tables;
use crate::verdict::{Drop, Verdict};
use crate::wire::{ethernet, ipv4};
use next_hop::{Route, RouteQuery};

/// Rewrites a packet of a connection and says where it goes.
pub fn forward<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    flow: &Flow,
    found: &Found<'_>,
    now: &Now<'_>,
) -> Verdict {
    let Some(ip) = packet.header::<ipv4::Header>(IP_AT) else {
        return Verdict::Drop(Drop::Unwritable);
    };
    // A packet that this hop uses up goes nowhere (forwarding.md section 3: the check comes before all others).
    if ip.ttl <= 1 {
        return Verdict::Drop(Drop::TtlExpired);
    }
    let rewrite = nat::Rewrite::of(&found.row.identity(), found.direction);
    let (hop_row, query) = match found.direction {
        Direction::Request => (&found.row.request_hop, RouteQuery::new(flow, flow.key.source, rewrite.to)),
        Direction::Reply => (&found.row.reply_hop, RouteQuery::new(flow, rewrite.to, flow.key.destination)),
    };
    let route = next_hop::find(tables, hop_row, &query, now);
    if let Route::Unreachable(reason) = route {
        return Verdict::Drop(reason);
    }
    if rewrite.apply(packet, flow).is_none() {
        return Verdict::Drop(Drop::Unwritable);
    }
    match route {
        Route::Ready(hop) => match packet.header::<ethernet::Header>(0) {
            Some(ethernet) => {
                ethernet.destination = hop.destination;
                ethernet.source = hop.source;
                Verdict::Forward(hop)
            }
            None => Verdict::Drop(Drop::Unwritable),
        },
        Route::Unresolved(unresolved) => Verdict::Resolve(unresolved),
        Route::Unreachable(reason) => Verdict::Drop(reason),
    }
}
