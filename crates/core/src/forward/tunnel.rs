//! Tunnels (forwarding.md section 4): the packet inside another, by IP in IP, GRE or GUE, IPv4 or IPv6 in either.

use super::{age, send};
use crate::conn::Now;
use crate::flow::{IP_AT, Part};
use crate::packet::{Packet, Room};
use crate::rows::{Forwarding, Setting, family, tunnel};
use crate::scratch::Scratch;
use crate::tables::Tables;
use crate::verdict::Verdict;
use crate::wire::checksum::Sum;
use crate::wire::tunnel::{
    GRE_CHECKSUM, GRE_CHECKSUM_LEN, GRE_LEN, GUE_LEN, Gre, GreChecksum, Gue, ether_type, protocol_of,
};
use crate::wire::{ethernet, ipv4, ipv6, protocol, tcp, udp};

/// The ECN bits of a type of service (RFC 3168 section 5).
const ECN: u8 = 0x03;
/// "Congestion experienced".
const ECN_CE: u8 = 0x03;
/// "ECN-capable transport", 0.
const ECN_ECT0: u8 = 0x02;

/// Length in bytes of the outer headers up to the packet.
pub fn overhead(forwarding: &Forwarding, outer: u8) -> u32 {
    let ip = if outer == family::V6 { ipv6::HEADER_LEN } else { ipv4::HEADER_LEN_MIN };
    (ip + between(forwarding)) as u32
}

/// Length in bytes of what stands between the outer IP header and the packet.
fn between(forwarding: &Forwarding) -> usize {
    match forwarding.tunnel {
        tunnel::GRE if has_checksum(forwarding) => GRE_CHECKSUM_LEN,
        tunnel::GRE => GRE_LEN,
        tunnel::GUE => udp::HEADER_LEN + GUE_LEN,
        _ => 0,
    }
}

/// GUE with "remote checksum" differs from one with a checksum only while an offload left the inner checksum undone, which
/// is the sending host's affair (forwarding.md section 4).
fn has_checksum(forwarding: &Forwarding) -> bool {
    forwarding.tunnel_flags & (tunnel::CHECKSUM | tunnel::REMOTE_CHECKSUM) != 0
}

/// The outer packet's protocol.
pub fn outer_protocol(forwarding: &Forwarding, inner: u8) -> u8 {
    match forwarding.tunnel {
        tunnel::GRE => protocol::GRE,
        tunnel::GUE => protocol::UDP,
        _ => protocol_of(inner),
    }
}

/// Wraps the packet up and sends it.
#[inline(always)]
pub fn encapsulate<P: Packet, T: Tables>(packet: &mut P, tables: &T, scratch: &mut Scratch, now: &Now<'_>) -> Verdict {
    if scratch.tunnel_source.is_zero() {
        return Verdict::DropNoTunnelSource;
    }
    match wrap(packet, tables, scratch, now) {
        Some(()) => send(packet, scratch),
        None => Verdict::DropUnwritable,
    }
}

#[inline(always)]
fn wrap<P: Packet, T: Tables>(packet: &mut P, tables: &T, scratch: &mut Scratch, now: &Now<'_>) -> Option<()> {
    age(packet, scratch, 1)?;
    // The segments that a packet stands for are cut after this; nobody would work out a tunnel checksum for each.
    if packet.segment_payload().is_some() {
        scratch.forwarding.tunnel_flags = 0;
    }
    let outer = scratch.identity.dest_family;
    let inner = scratch.flow.ip.family;
    let checksummed = has_checksum(&scratch.forwarding);
    // Before the packet moves.
    let sum = if checksummed { inner_sum(packet, scratch)? } else { Sum::default() };
    let source_port = source_port(scratch, now);

    let len = overhead(&scratch.forwarding, outer);
    packet.push(&Room { len, outer_v6: outer == family::V6, tunnel: scratch.forwarding.tunnel })?;
    packet.header::<ethernet::Header>(0)?.ethertype.set(ether_type(outer));
    let next = if outer == family::V6 { ipv6::HEADER_LEN } else { ipv4::HEADER_LEN_MIN } + IP_AT;
    if outer == family::V6 {
        write_v6(packet.header(IP_AT)?, scratch, len);
    } else {
        write_v4(packet.header(IP_AT)?, scratch, len, now, tables.random());
    }
    match scratch.forwarding.tunnel {
        tunnel::GRE => write_gre(packet, next, inner, checksummed.then_some(sum)),
        tunnel::GUE => write_gue(packet, next, scratch, source_port, checksummed.then_some(sum)),
        _ => Some(()),
    }
}

/// DSCP and ECN of the outer header: the inner ones, but "congestion experienced" is not handed on (RFC 3168 section 9.1.1).
fn outer_tos(tos: u8) -> u8 {
    if tos & ECN == ECN_CE { (tos & !ECN) | ECN_ECT0 } else { tos }
}

fn write_v4(ip: &mut ipv4::Header, scratch: &Scratch, overhead: u32, now: &Now<'_>, random: u32) {
    let inner = &scratch.flow.ip;
    let keeps_whole = inner.family == family::V4 && inner.dont_fragment && now.config.is_on(Setting::PmtuDisc);
    ip.version_ihl = 0x45;
    ip.tos = outer_tos(inner.tos);
    ip.total_len.set((inner.len + overhead) as u16);
    ip.id.set(if keeps_whole { 0 } else { random as u16 });
    ip.fragment.set(if keeps_whole { ipv4::DONT_FRAGMENT } else { 0 });
    ip.ttl = inner.ttl.wrapping_sub(1);
    ip.protocol = outer_protocol(&scratch.forwarding, inner.family);
    ip.source = scratch.tunnel_source.v4_bytes();
    ip.destination = scratch.identity.dest_address.v4_bytes();
    let [a, b] = [u32::from_ne_bytes(ip.source), u32::from_ne_bytes(ip.destination)];
    let words = Sum::default()
        .with_number(u16::from_be_bytes([ip.version_ihl, ip.tos]))
        .with_number(ip.total_len.get())
        .with_number(ip.id.get())
        .with_number(ip.fragment.get())
        .with_number(u16::from_be_bytes([ip.ttl, ip.protocol]));
    ip.checksum = words.with(a).with(b).checksum();
}

fn write_v6(ip: &mut ipv6::Header, scratch: &Scratch, overhead: u32) {
    let inner = &scratch.flow.ip;
    let class = outer_tos(inner.tos);
    ip.version_class_label = [0x60 | (class >> 4), class << 4, 0, 0];
    ip.payload_len.set((inner.len + overhead - ipv6::HEADER_LEN as u32) as u16);
    ip.next_header = outer_protocol(&scratch.forwarding, inner.family);
    ip.hop_limit = inner.ttl.wrapping_sub(1);
    ip.source = scratch.tunnel_source.v6_bytes();
    ip.destination = scratch.identity.dest_address.v6_bytes();
}

#[inline(always)]
fn write_gre<P: Packet>(packet: &mut P, at: usize, inner: u8, sum: Option<Sum>) -> Option<()> {
    let gre: &mut Gre = packet.header(at)?;
    gre.flags.set(if sum.is_some() { GRE_CHECKSUM } else { 0 });
    gre.payload_type.set(ether_type(inner));
    if let Some(sum) = sum {
        let sum = sum.with_number(GRE_CHECKSUM).with_number(ether_type(inner));
        let tail: &mut GreChecksum = packet.header(at + GRE_LEN)?;
        tail.checksum = sum.checksum();
        tail.reserved.set(0);
    }
    Some(())
}

#[inline(always)]
fn write_gue<P: Packet>(
    packet: &mut P,
    at: usize,
    scratch: &Scratch,
    source_port: u16,
    sum: Option<Sum>,
) -> Option<()> {
    let inner = &scratch.flow.ip;
    let gue: &mut Gue = packet.header(at + udp::HEADER_LEN)?;
    gue.version_len = 0;
    gue.protocol = protocol_of(inner.family);
    gue.flags.set(0);
    let gue_word = u32::from_ne_bytes([0, protocol_of(inner.family), 0, 0]);
    let len = inner.len as u16 + (udp::HEADER_LEN + GUE_LEN) as u16;
    let udp: &mut udp::Header = packet.header(at)?;
    udp.source.set(source_port);
    udp.destination.set(scratch.forwarding.tunnel_port);
    udp.len.set(len);
    udp.checksum.set(0);
    if let Some(sum) = sum {
        let ports = Sum::default().with_number(source_port).with_number(scratch.forwarding.tunnel_port);
        let pseudo = ports
            .with_address(&scratch.tunnel_source)
            .with_address(&scratch.identity.dest_address)
            .with_number(protocol::UDP.into())
            .with_number(len)
            .with_number(len);
        let checksum = pseudo.with(gue_word).with(sum.0).checksum();
        udp.checksum = if checksum.get() == 0 { 0xffff.into() } else { checksum };
    }
    Some(())
}

/// The sum of the packet that goes into the tunnel.
///
/// What a right transport checksum covers sums up to the complement of its pseudo-header, whether the checksum is there already or
/// left to a device; so only headers have to be read. Other packets are read as a whole.
#[inline(always)]
fn inner_sum<P: Packet>(packet: &mut P, scratch: &Scratch) -> Option<Sum> {
    let ip = &scratch.flow.ip;
    let at = ip.payload_at as usize;
    let has_sum = !scratch.flow.is_error
        && ip.part == Part::Whole
        && match ip.protocol {
            protocol::TCP => packet.header::<tcp::Header>(at).is_some(),
            protocol::UDP => packet.header::<udp::Header>(at).is_some_and(|udp| udp.checksum.get() != 0),
            _ => false,
        };
    if !has_sum {
        return packet.sum(IP_AT, ip.len as usize);
    }
    let header = packet.sum(IP_AT, at - IP_AT)?;
    let pseudo = Sum::default()
        .with_address(&ip.source)
        .with_address(&ip.destination)
        .with_number(ip.protocol.into())
        .with_number(ip.payload_len() as u16);
    Some(header.without(pseudo.0))
}

/// The outer source port of GUE: the same for all packets of a flow, spread over the host's local ports.
fn source_port(scratch: &Scratch, now: &Now<'_>) -> u16 {
    let ports = now.config.local_ports.load();
    let (first, last) = (ports >> 16, ports & 0xffff);
    let key = &scratch.flow.key;
    let mut hash = now.config.seed.load() ^ (u32::from(key.source_port) << 16 | u32::from(key.destination_port));
    let ends = [key.source.0, key.destination.0];
    for word in ends.as_flattened() {
        // A multiplicative mix (Knuth's constant): every bit of the flow reaches the upper half.
        hash = (hash ^ word).wrapping_mul(0x9e37_79b1);
        hash ^= hash >> 15;
    }
    let hash = hash ^ (hash << 16);
    (first + ((u64::from(hash) * u64::from(last.saturating_sub(first))) >> 32) as u32) as u16
}
