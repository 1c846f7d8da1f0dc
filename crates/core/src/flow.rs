//! From a frame to what the director needs to know of it.

use crate::packet::Packet;
use crate::rows::{Address, FlowKey, family};
use crate::verdict::Pass;
use crate::wire::{ethernet, ipv4, tcp, udp};

/// What a packet says to the state machine; for TCP one event by the priority RST, SYN, FIN, ACK (connections.md section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// TCP with SYN.
    Syn,
    /// TCP with FIN.
    Fin,
    /// TCP with ACK.
    Ack,
    /// TCP with RST.
    Rst,
    /// TCP with none of them.
    Bare,
    /// UDP.
    Datagram,
}

impl Event {
    fn of_tcp(flags: u8) -> Self {
        if flags & tcp::RST != 0 {
            Self::Rst
        } else if flags & tcp::SYN != 0 {
            Self::Syn
        } else if flags & tcp::FIN != 0 {
            Self::Fin
        } else if flags & tcp::ACK != 0 {
            Self::Ack
        } else {
            Self::Bare
        }
    }
}

/// One packet, as far as it was understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Addresses, ports, protocol.
    pub key: FlowKey,
    /// What it says to the state machine.
    pub event: Event,
    /// Whether it asks for a new connection: TCP with SYN, whatever else is set.
    pub is_new: bool,
    /// Where the transport header begins, bytes from the start of the frame; at most 74.
    pub transport_at: usize,
    /// Length in bytes of the IP packet.
    pub ip_len: u16,
}

/// Where the IP header begins.
pub const IP_AT: usize = ethernet::HEADER_LEN;

impl Flow {
    /// Reads the headers of a frame. The error says why the packet is none of ours.
    pub fn parse<P: Packet>(packet: &mut P) -> Result<Self, Pass> {
        let frame_len = packet.len();
        let ethernet: &mut ethernet::Header = packet.header(0).ok_or(Pass::Malformed)?;
        if ethernet.ethertype.get() != ethernet::TYPE_IPV4 {
            return Err(Pass::NotIp);
        }
        let ip: &mut ipv4::Header = packet.header(IP_AT).ok_or(Pass::Malformed)?;
        let header_len = ip.header_len();
        let ip_len = usize::from(ip.total_len.get());
        if ip.version() != 4 || header_len < ipv4::HEADER_LEN_MIN || ip_len < header_len || IP_AT + ip_len > frame_len {
            return Err(Pass::Malformed);
        }
        if ip.is_fragment() {
            return Err(Pass::Fragment);
        }
        let protocol = ip.protocol;
        let source = Address::v4(ip.source);
        let destination = Address::v4(ip.destination);

        let transport_at = IP_AT + header_len;
        let transport_len = ip_len - header_len;
        let (source_port, destination_port, event, is_new) = match protocol {
            ipv4::PROTOCOL_TCP if transport_len >= tcp::HEADER_LEN_MIN => {
                let tcp: &mut tcp::Header = packet.header(transport_at).ok_or(Pass::Malformed)?;
                let is_new = tcp.flags & tcp::SYN != 0;
                (tcp.source.get(), tcp.destination.get(), Event::of_tcp(tcp.flags), is_new)
            }
            ipv4::PROTOCOL_UDP if transport_len >= udp::HEADER_LEN => {
                let udp: &mut udp::Header = packet.header(transport_at).ok_or(Pass::Malformed)?;
                (udp.source.get(), udp.destination.get(), Event::Datagram, false)
            }
            ipv4::PROTOCOL_TCP | ipv4::PROTOCOL_UDP => return Err(Pass::Malformed),
            _ => return Err(Pass::OtherProtocol),
        };
        let key = FlowKey { source, destination, source_port, destination_port, protocol, family: family::V4, zero: 0 };
        Ok(Self { key, event, is_new, transport_at, ip_len: ip_len as u16 })
    }
}
