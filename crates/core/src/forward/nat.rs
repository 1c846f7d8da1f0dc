//! Network address translation: one address and port replaced, on the source or the destination side.

use crate::conn::Direction;
use crate::flow::{Flow, IP_AT};
use crate::packet::Packet;
use crate::rows::{Address, ConnIdentity};
use crate::wire::{checksum, ipv4, tcp, udp};

/// Which end of the packet is replaced, and by what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// Requests get a new destination, replies a new source.
    direction: Direction,
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

    /// Rewrites the packet: IP address, time to live, port and both checksums. `None` if a header is out of reach, which
    /// leaves the packet half rewritten: drop it.
    pub fn apply<P: Packet>(&self, packet: &mut P, flow: &Flow) -> Option<()> {
        let before = self.rewrite_ip(packet.header(IP_AT)?);
        let port_before = self.rewrite_port(packet.header(flow.transport_at)?);
        let is_udp = flow.key.protocol == ipv4::PROTOCOL_UDP;
        let checksum_at = if is_udp { udp::CHECKSUM_AT } else { tcp::CHECKSUM_AT };
        let change = checksum::Change {
            address: (before, u32::from_be_bytes(self.to.v4_bytes())),
            port: (port_before, self.port),
            zero_means_none: is_udp,
        };
        packet.replace_checksum(flow.transport_at + checksum_at, &change)
    }

    /// Returns the address that was there, as a number.
    fn rewrite_ip(&self, ip: &mut ipv4::Header) -> u32 {
        ip.decrement_ttl();
        let side = match self.direction {
            Direction::Request => &mut ip.destination,
            Direction::Reply => &mut ip.source,
        };
        let before = u32::from_be_bytes(*side);
        *side = self.to.v4_bytes();
        checksum::replace(&mut ip.checksum, before, u32::from_be_bytes(self.to.v4_bytes()));
        before
    }

    /// Returns the port that was there. TCP and UDP both begin with source and destination port.
    fn rewrite_port(&self, ports: &mut udp::Ports) -> u16 {
        let side = match self.direction {
            Direction::Request => &mut ports.destination,
            Direction::Reply => &mut ports.source,
        };
        let before = side.get();
        side.set(self.port);
        before
    }
}
