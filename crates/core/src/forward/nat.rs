//! Network address translation: one address and port replaced, on the source or the destination side.
//!
//! IPv4 and IPv6 differ in where the address stands and in whether the header has a checksum of its own; TCP, UDP and SCTP in
//! where their checksum stands and what it is. The rest is one way.

use super::{age, error};
use crate::conn::Direction;
use crate::flow::{IP_AT, Part};
use crate::packet::Packet;
use crate::rows::{Address, ConnIdentity, family};
use crate::scratch::Scratch;
use crate::wire::checksum::{self, Change, Sum};
use crate::wire::{ipv4, ipv6, protocol, sctp, tcp, udp};

/// What one end of the packet becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// Requests get a new destination, replies a new source.
    pub direction: Direction,
    /// The new address.
    pub to: Address,
    /// The new port, host byte order.
    pub port: u16,
}

impl Rewrite {
    /// What masquerading does to a packet of this connection: requests go to the real server, replies come from the VIP.
    pub fn of(conn: &ConnIdentity, direction: Direction) -> Self {
        match direction {
            Direction::Request => Self { direction, to: conn.dest_address, port: conn.dest_port },
            Direction::Reply => Self { direction, to: conn.virtual_address, port: conn.virtual_port },
        }
    }
}

/// Rewrites the packet: IP address, time to live (less `hops`), port and checksums. `None` if a header is out of reach, which
/// leaves the packet half rewritten: drop it.
#[inline(always)]
pub fn rewrite<P: Packet>(packet: &mut P, scratch: &Scratch, hops: u8) -> Option<()> {
    let rewrite = Rewrite::of(&scratch.identity, scratch.direction);
    age(packet, scratch, hops)?;
    let address = rewrite_address(packet, IP_AT, scratch.flow.ip.family, rewrite.direction, &rewrite.to)?;
    if scratch.flow.is_error {
        return error::rewrite_quoted(packet, &scratch.flow, &rewrite, address);
    }
    if !scratch.flow.has_ports() {
        return Some(());
    }
    let at = scratch.flow.ip.payload_at as usize;
    let before = rewrite_port(packet.header(at)?, rewrite.direction, rewrite.port);
    match scratch.flow.ip.protocol {
        protocol::TCP => {
            let change = Change { address, port: (before, rewrite.port), zero_means_none: false };
            packet.replace_checksum(at + tcp::CHECKSUM_AT, &change)
        }
        protocol::UDP => {
            let change = Change { address, port: (before, rewrite.port), zero_means_none: true };
            rewrite_udp_checksum(packet, scratch, &rewrite, at, &change)
        }
        _ => rewrite_crc(packet, scratch, at, before, &rewrite),
    }
}

/// Replaces one address of the IP header at `at`, and in IPv4 mends the header's checksum. Returns the new address less the old.
#[inline(always)]
pub(super) fn rewrite_address<P: Packet>(
    packet: &mut P,
    at: usize,
    of: u8,
    direction: Direction,
    to: &Address,
) -> Option<Sum> {
    if of == family::V6 {
        let ip: &mut ipv6::Header = packet.header(at)?;
        let side = if direction == Direction::Request { &mut ip.destination } else { &mut ip.source };
        let change = Sum::default().without_address(&Address::v6(*side)).with_address(to);
        *side = to.v6_bytes();
        return Some(change);
    }
    let ip: &mut ipv4::Header = packet.header(at)?;
    let side = if direction == Direction::Request { &mut ip.destination } else { &mut ip.source };
    let change = Sum::default().without(u32::from_ne_bytes(*side)).with(to.0[0]);
    *side = to.v4_bytes();
    checksum::add(&mut ip.checksum, change);
    Some(change)
}

/// Returns the port that was there. TCP, UDP and SCTP all begin with source and destination port.
pub(super) fn rewrite_port(ports: &mut udp::Ports, direction: Direction, to: u16) -> u16 {
    let side = if direction == Direction::Request { &mut ports.destination } else { &mut ports.source };
    let before = side.get();
    side.set(to);
    before
}

/// A datagram without a checksum gets one, as in IPVS (forwarding.md section 3). In fragments, and where it stands for several
/// datagrams, there is no telling the sum, and it stays without.
#[inline(always)]
fn rewrite_udp_checksum<P: Packet>(
    packet: &mut P,
    scratch: &Scratch,
    rewrite: &Rewrite,
    at: usize,
    change: &Change,
) -> Option<()> {
    let udp: &mut udp::Header = packet.header(at)?;
    let whole = scratch.flow.ip.part == Part::Whole;
    if udp.checksum.get() != 0 || !whole || packet.segment_payload().is_some() {
        return packet.replace_checksum(at + udp::CHECKSUM_AT, change);
    }
    let len = scratch.flow.ip.payload_len();
    let (source, destination) = match rewrite.direction {
        Direction::Request => (&scratch.flow.ip.source, &rewrite.to),
        Direction::Reply => (&rewrite.to, &scratch.flow.ip.destination),
    };
    let sum = packet.sum(at, len as usize)?;
    let sum = sum.with_address(source).with_address(destination).with_number(protocol::UDP.into());
    let checksum = sum.with_number(len as u16).checksum();
    let field = &mut packet.header::<udp::Header>(at)?.checksum;
    *field = if checksum.get() == 0 { 0xffff.into() } else { checksum };
    Some(())
}

/// SCTP's checksum covers the ports but no addresses.
#[inline(always)]
fn rewrite_crc<P: Packet>(packet: &mut P, scratch: &Scratch, at: usize, before: u16, rewrite: &Rewrite) -> Option<()> {
    if before == rewrite.port || scratch.flow.ip.part != Part::Whole {
        return Some(());
    }
    let difference = before ^ rewrite.port;
    let [high, low] = difference.to_be_bytes();
    let word = match rewrite.direction {
        Direction::Request => u32::from_le_bytes([0, 0, high, low]),
        Direction::Reply => u32::from_le_bytes([high, low, 0, 0]),
    };
    let behind = scratch.flow.ip.payload_len().wrapping_sub(4) as u16;
    let change = packet.crc_change(word, behind);
    let sctp: &mut sctp::Header = packet.header(at)?;
    sctp.checksum = (u32::from_le_bytes(sctp.checksum) ^ change).to_le_bytes();
    Some(())
}
