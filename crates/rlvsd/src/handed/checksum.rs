//! Checksums that a device was to work out.
//!
//! Between virtual interfaces a packet may travel with the sum of its pseudo-header in the place of its checksum. Who cuts it has
//! to work out the rest; so has who only has its bytes, and nothing that says so. A checksum that equals the pseudo-header's sum and
//! is wrong can be nothing else.

use rlvs_core::{
    flow::{IP_AT, Ip, Part},
    native::Frame,
    packet::Packet,
    rows::family,
    wire::{checksum::Sum, ethernet, protocol, tcp, tunnel, udp},
};

/// Works out the transport checksum of the packet in `frame`, or in the tunnel in it, if that was left undone.
pub fn complete(frame: &mut Vec<u8>) {
    let Some(of) = frame_family(frame) else { return };
    let mut packet = Frame { bytes: frame, for_this_host: true };
    let mut ip = Ip::NONE;
    if ip.read(&mut packet, IP_AT, of).is_err() || ip.part != Part::Whole {
        return;
    }
    let at = ip.payload_at as usize;
    let inner = match ip.protocol {
        protocol::IPIP => Some((at, family::V4)),
        protocol::IPV6 => Some((at, family::V6)),
        protocol::GRE => gre(&mut packet, at),
        _ => None,
    };
    if let Some((at, of)) = inner
        && (ip.read(&mut packet, at, of).is_err() || ip.part != Part::Whole)
    {
        return;
    }
    let _ = complete_transport(&mut packet, &ip);
}

fn frame_family(frame: &mut Vec<u8>) -> Option<u8> {
    let mut packet = Frame { bytes: frame, for_this_host: true };
    match packet.header::<ethernet::Header>(0)?.ethertype.get() {
        ethernet::TYPE_IPV4 => Some(family::V4),
        ethernet::TYPE_IPV6 => Some(family::V6),
        _ => None,
    }
}

fn gre(packet: &mut Frame<'_>, at: usize) -> Option<(usize, u8)> {
    let gre: &mut tunnel::Gre = packet.header(at)?;
    // With a checksum of its own, an unfinished one inside would have been counted in already.
    let of = if gre.payload_type.get() == ethernet::TYPE_IPV6 { family::V6 } else { family::V4 };
    (gre.flags.get() == 0).then_some((at + tunnel::GRE_LEN, of))
}

fn complete_transport(packet: &mut Frame<'_>, ip: &Ip) -> Option<()> {
    let at = ip.payload_at as usize;
    let len = packet.len().checked_sub(at)?;
    let field_at = at
        + match ip.protocol {
            protocol::TCP => tcp::CHECKSUM_AT,
            protocol::UDP => udp::CHECKSUM_AT,
            _ => return None,
        };
    let pseudo = Sum::default()
        .with_address(&ip.source)
        .with_address(&ip.destination)
        .with_number(ip.protocol.into())
        .with_number(u16::try_from(len).ok()?);
    let field = u16::from_ne_bytes(*packet.header::<[u8; 2]>(field_at)?);
    let sum = packet.sum(at, len)?;
    let is_right = sum.with(pseudo.0).folded() == 0xffff;
    if field == pseudo.folded() && !is_right {
        // The pseudo-header's sum stands in the field: it is counted in.
        *packet.header::<[u8; 2]>(field_at)? = sum.checksum().to_bytes();
    }
    Some(())
}
