//! Sending a packet on (forwarding.md): by which method, whether it may live on, the way out, whether it fits, rewriting.
//!
//! | method | request | reply |
//! |---|---|---|
//! | NAT | to the real server's address and port ([`nat`]) | from the virtual service's |
//! | direct routing | as it is, to the real server's link-layer address | does not pass here |
//! | tunnel | inside another packet ([`tunnel`]) | does not pass here |
//! | bypass | as it is, to where it wanted | does not pass here |
//!
//! A real server that is the director itself gets the packet from the host's own stack.

pub mod error;
pub mod nat;
pub mod next_hop;
pub mod tunnel;

use crate::conn::{Direction, Now};
use crate::director::{Stage, Step};
use crate::flow::{IP_AT, Ip};
use crate::packet::Packet;
use crate::rows::{DestRow, Setting, Stats, dest_flags, family, method};
use crate::scratch::Scratch;
use crate::tables::Tables;
use crate::verdict::{Refusal, Verdict};
use crate::wire::{ethernet, icmp, ipv4, ipv6, protocol, tcp, udp};
use next_hop::{Reach, RouteQuery};

/// Longest ICMP error in bytes, IP header included (RFC 1812 section 4.3.2.3; RFC 4443 section 3).
pub const ERROR_LEN_MAX_V4: u32 = 576;
/// Longest ICMPv6 error.
pub const ERROR_LEN_MAX_V6: u32 = 1280;
/// Smallest MTU of an IPv4 link, bytes (RFC 791 section 3.2).
const MTU_MIN_V4: u32 = 68;

/// Rewrites the packet of [`Scratch::identity`]'s connection and says where it goes.
#[inline(always)]
pub fn forward<P: Packet, T: Tables>(packet: &mut P, tables: &T, scratch: &mut Scratch, now: &Now<'_>) -> Step {
    let is_request = scratch.direction == Direction::Request;
    let dest = tables.dest(scratch.identity.dest);
    let mut is_local = false;
    if is_request {
        scratch.forwarding = dest.map(DestRow::forwarding).unwrap_or_default();
        is_local = dest.is_some_and(|dest| dest.flags.load() & dest_flags::LOCAL != 0);
    } else if scratch.identity.method != method::MASQUERADING {
        return Verdict::PassReply.into();
    }
    if !is_local {
        if let Err(verdict) = lead(packet, tables, scratch, dest, now) {
            settle(tables, scratch, verdict);
            return verdict.into();
        }
        if scratch.identity.method == method::TUNNEL {
            return Step::Next(Stage::Encapsulate);
        }
    } else if scratch.identity.dest_address.is_loopback(scratch.identity.dest_family) {
        return Verdict::DropLoopback.into();
    }
    let hops = u8::from(!is_local);
    let rewritten = match scratch.identity.method {
        method::MASQUERADING => nat::rewrite(packet, scratch, hops),
        _ => age(packet, scratch, hops),
    };
    match rewritten {
        None => Verdict::DropUnwritable.into(),
        Some(()) if is_local => Verdict::Deliver.into(),
        Some(()) => send(packet, scratch).into(),
    }
}

/// The statistics of a packet that goes nowhere. IPVS counts the director's own error about a request that it does not masquerade, as
/// that comes from the virtual address; and it never sees a reply that the stack refuses to forward (forwarding.md section 5).
#[inline(always)]
fn settle<T: Tables>(tables: &T, scratch: &Scratch, verdict: Verdict) {
    let stats = if verdict == Verdict::PassReplyToStack {
        Stats { out_packets: u64::MAX, out_bytes: u64::from(scratch.flow.ip.len).wrapping_neg(), ..Stats::default() }
    } else if scratch.refusal.kind != 0 && scratch.identity.method != method::MASQUERADING {
        Stats { out_packets: 1, out_bytes: Refusal::len(&scratch.flow.ip).into(), ..Stats::default() }
    } else {
        return;
    };
    tables.count(scratch.identity.dest, &stats);
}

/// The way out, if the packet may live on and fits.
#[inline(always)]
fn lead<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    scratch: &mut Scratch,
    dest: Option<&DestRow>,
    now: &Now<'_>,
) -> Result<(), Verdict> {
    // A packet that this hop uses up goes nowhere: the check comes before all others.
    if scratch.flow.ip.ttl <= 1 {
        return Err(match scratch.direction {
            // About an error no error is sent.
            Direction::Request if scratch.flow.is_error => Verdict::DropTtlExpired,
            Direction::Request => {
                scratch.refuse(Verdict::DropTtlExpired, Refusal::time_exceeded(scratch.flow.key.family))
            }
            Direction::Reply => Verdict::PassReplyToStack,
        });
    }
    find_way(tables, scratch, dest, now)?;
    fit(packet, scratch, now)
}

/// The way out, into [`Scratch::way`].
#[inline(always)]
fn find_way<T: Tables>(
    tables: &T,
    scratch: &mut Scratch,
    dest: Option<&DestRow>,
    now: &Now<'_>,
) -> Result<(), Verdict> {
    let identity = &scratch.identity;
    let is_request = scratch.direction == Direction::Request;
    let mut query = RouteQuery {
        from: scratch.flow.ip.source,
        to: identity.dest_address,
        family: identity.dest_family,
        protocol: scratch.flow.ip.protocol,
    };
    match (is_request, identity.method) {
        (true, method::TUNNEL) => {
            let Some(dest) = dest else { return Err(Verdict::DropDestinationRemoved) };
            let [a, b, c, d] = &dest.tunnel_source;
            scratch.tunnel_source = crate::rows::Address([a.load(), b.load(), c.load(), d.load()]);
            query.from = scratch.tunnel_source;
            query.protocol = tunnel::outer_protocol(&scratch.forwarding, scratch.flow.ip.family);
        }
        (true, method::BYPASS) => query.to = scratch.flow.ip.destination,
        (true, _) => {}
        (false, _) => {
            query.from = identity.virtual_address;
            query.to = identity.client;
            query.family = identity.family;
        }
    }
    // The connection remembers its ways out; one packet without a connection has none.
    let row = tables.conn(scratch.conn);
    let hop_row = row.map(|row| if is_request { &row.request_hop } else { &row.reply_hop });
    match next_hop::find(tables, hop_row, &query, &mut scratch.way, now) {
        Reach::Ready | Reach::Unresolved => Ok(()),
        // What the stack would say of a packet that it forwards itself, it says best.
        _ if !is_request => Err(Verdict::PassReplyToStack),
        Reach::NoRoute if scratch.flow.is_error => Err(Verdict::DropNoRoute),
        Reach::NoRoute => Err(scratch.refuse(Verdict::DropNoRoute, Refusal::host_unreachable(scratch.flow.key.family))),
        Reach::ForwardingDisabled => Err(Verdict::DropForwardingDisabled),
    }
}

/// Whether the packet fits through the way out; where not, whether it may be cut (forwarding.md section 4).
#[inline(always)]
fn fit<P: Packet>(packet: &mut P, scratch: &mut Scratch, now: &Now<'_>) -> Result<(), Verdict> {
    scratch.fragment = false;
    let is_tunnel = scratch.identity.method == method::TUNNEL && scratch.direction == Direction::Request;
    let (overhead, outer) = if is_tunnel {
        (tunnel::overhead(&scratch.forwarding, scratch.identity.dest_family), scratch.identity.dest_family)
    } else {
        (0, scratch.flow.ip.family)
    };
    let limit = scratch.way.mtu.saturating_sub(overhead);
    if scratch.flow.ip.len <= limit && limit >= u32::from(ipv6::MTU_MIN) {
        return Ok(());
    }
    if limit < if outer == family::V6 { ipv6::MTU_MIN.into() } else { MTU_MIN_V4 } {
        return Err(Verdict::DropMtuTooSmall);
    }
    if packet_len(packet, scratch) <= limit {
        return Ok(());
    }
    let keeps_whole = if scratch.flow.ip.family == family::V4 && is_tunnel {
        scratch.flow.ip.dont_fragment && now.config.is_on(Setting::PmtuDisc)
    } else {
        scratch.flow.ip.dont_fragment
    };
    if scratch.flow.is_error {
        // About an error no error is sent.
        if scratch.flow.ip.family == family::V6 {
            return Err(Verdict::DropTooBig);
        }
        scratch.fragment = true;
        return Ok(());
    }
    if keeps_whole {
        return Err(match scratch.direction {
            Direction::Request => scratch.refuse(Verdict::DropTooBig, Refusal::too_big(scratch.flow.key.family, limit)),
            Direction::Reply => Verdict::PassReplyToStack,
        });
    }
    scratch.fragment = true;
    Ok(())
}

/// Length of the packet or, where it stands for several, of each of them.
#[inline(always)]
fn packet_len<P: Packet>(packet: &mut P, scratch: &Scratch) -> u32 {
    let Some(payload) = packet.segment_payload() else { return scratch.flow.ip.len };
    let transport_at = scratch.flow.ip.payload_at as usize;
    let header_len = match scratch.flow.ip.protocol {
        protocol::TCP => {
            packet.header::<tcp::Header>(transport_at).map_or(0, |tcp| u32::from(tcp.data_offset >> 4) * 4)
        }
        _ => udp::HEADER_LEN as u32,
    };
    scratch.flow.ip.payload_at - IP_AT as u32 + header_len + payload
}

/// One hop less to live, nothing else.
#[inline(always)]
pub(crate) fn age<P: Packet>(packet: &mut P, scratch: &Scratch, hops: u8) -> Option<()> {
    if scratch.flow.ip.family == family::V6 {
        let ip = packet.header::<ipv6::Header>(IP_AT)?;
        ip.hop_limit = ip.hop_limit.wrapping_sub(hops);
    } else if hops != 0 {
        packet.header::<ipv4::Header>(IP_AT)?.decrement_ttl();
    }
    Some(())
}

/// Writes the Ethernet header of a packet that is ready otherwise.
#[inline(always)]
pub(crate) fn send<P: Packet>(packet: &mut P, scratch: &Scratch) -> Verdict {
    if !scratch.way.resolved {
        return Verdict::Resolve;
    }
    let Some(ethernet) = packet.header::<ethernet::Header>(0) else {
        return Verdict::DropUnwritable;
    };
    ethernet.destination = scratch.way.hop.destination;
    ethernet.source = scratch.way.hop.source;
    if scratch.fragment { Verdict::Fragment } else { Verdict::Forward }
}

impl Refusal {
    /// The error of an IPv4 or IPv6 packet, each given as type and code.
    pub(crate) fn of(family: u8, v4: (u8, u8), v6: (u8, u8), info: u32) -> Self {
        let (kind, code) = if family == family::V6 { v6 } else { v4 };
        Self { kind, code, hops: 0, reserved: 0, info }
    }

    /// Length in bytes of an error about this packet, IP header included (forwarding.md section 4).
    pub fn len(about: &Ip) -> u32 {
        let (header, most) = if about.family == family::V6 {
            (ipv6::HEADER_LEN + icmp::HEADER_LEN, ERROR_LEN_MAX_V6)
        } else {
            (ipv4::HEADER_LEN_MIN + icmp::HEADER_LEN, ERROR_LEN_MAX_V4)
        };
        (about.len + header as u32).min(most)
    }

    fn time_exceeded(family: u8) -> Self {
        Self::of(family, (icmp::TIME_EXCEEDED, 0), (icmp::V6_TIME_EXCEEDED, 0), 0)
    }

    fn host_unreachable(family: u8) -> Self {
        let v4 = (icmp::UNREACHABLE, icmp::HOST_UNREACHABLE);
        Self::of(family, v4, (icmp::V6_UNREACHABLE, icmp::V6_ADDRESS_UNREACHABLE), 0)
    }

    fn too_big(family: u8, mtu: u32) -> Self {
        let error = Self::of(family, (icmp::UNREACHABLE, icmp::FRAGMENTATION_NEEDED), (icmp::V6_TOO_BIG, 0), mtu);
        Self { hops: 1, ..error }
    }
}
