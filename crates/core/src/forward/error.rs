//! ICMP errors about packets of a connection (forwarding.md section 5): what they quote is rewritten the other way round, so that
//! the receiver recognises the packet that it sent.

use super::nat::{Rewrite, rewrite_address, rewrite_port};
use crate::conn::Direction;
use crate::flow::Flow;
use crate::packet::Packet;
use crate::rows::family;
use crate::wire::checksum::{self, Sum};
use crate::wire::{icmp, protocol};

/// Whether the error's checksum is right.
#[inline(always)]
pub fn is_sound<P: Packet>(packet: &mut P, flow: &Flow) -> bool {
    let len = flow.ip.payload_len();
    let Some(mut sum) = packet.sum(flow.ip.payload_at as usize, len as usize) else { return false };
    if flow.ip.family == family::V6 {
        sum = sum.with_address(&flow.ip.source).with_address(&flow.ip.destination);
        sum = sum.with_number(protocol::ICMPV6.into()).with_number(len as u16);
    }
    sum.folded() == 0xffff
}

/// Rewrites the quoted packet's address and port, and the error's checksum. `outer` is by how much the outer address changed.
#[inline(always)]
pub fn rewrite_quoted<P: Packet>(packet: &mut P, flow: &Flow, rewrite: &Rewrite, outer: Sum) -> Option<()> {
    let icmp_at = flow.ip.payload_at as usize;
    let of = flow.ip.family;
    // The error goes to the one who sent the quoted packet: what is the error's destination is that packet's source.
    let side = match rewrite.direction {
        Direction::Request => Direction::Reply,
        Direction::Reply => Direction::Request,
    };
    let quoted_at = icmp_at + icmp::HEADER_LEN;
    let inner = rewrite_address(packet, quoted_at, of, side, &rewrite.to)?;
    // In IPv4 the quoted header's own checksum, also under the error's, makes up for the address; and there is no
    // pseudo-header.
    let mut change = Sum::default();
    if of == family::V6 {
        change = change.with(inner.0).with(outer.0);
    }
    if matches!(flow.quoted.protocol, protocol::TCP | protocol::UDP | protocol::SCTP) {
        let before = rewrite_port(packet.header(flow.quoted.payload_at as usize)?, side, rewrite.port);
        change = change.without(u32::from(before.to_be())).with_number(rewrite.port);
    }
    checksum::add(&mut packet.header::<icmp::Header>(icmp_at)?.checksum, change);
    Some(())
}
