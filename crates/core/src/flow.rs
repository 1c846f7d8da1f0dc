//! From a frame to what the director needs to know of it.

use crate::packet::Packet;
use crate::rows::{Address, FlowKey, family, kind};
use crate::verdict::Verdict;
use crate::wire::{ethernet, icmp, ipv4, ipv6, protocol, sctp, tcp, udp};

/// What a packet says to the state machine of its protocol; the numbers are columns of [`crate::conn::state`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event(pub u8);

impl Event {
    /// TCP with SYN.
    pub const SYN: Self = Self(0);
    /// TCP with FIN.
    pub const FIN: Self = Self(1);
    /// TCP with ACK.
    pub const ACK: Self = Self(2);
    /// TCP with RST.
    pub const RST: Self = Self(3);
    /// TCP with none of them.
    pub const BARE: Self = Self(4);
    /// Any packet of a protocol that has one state.
    pub const DATAGRAM: Self = Self(0);
    /// SCTP's first chunk carries data, or something that is like data to the state machine.
    pub const DATA: Self = Self(0);
    /// SCTP: INIT.
    pub const INIT: Self = Self(1);
    /// SCTP: ABORT.
    pub const ABORT: Self = Self(9);

    /// One event by the priority RST, SYN, FIN, ACK (connections.md section 6).
    fn of_tcp(flags: u8) -> Self {
        if flags & tcp::RST != 0 {
            Self::RST
        } else if flags & tcp::SYN != 0 {
            Self::SYN
        } else if flags & tcp::FIN != 0 {
            Self::FIN
        } else if flags & tcp::ACK != 0 {
            Self::ACK
        } else {
            Self::BARE
        }
    }

    /// By the type of the first chunk (connections.md section 6).
    fn of_chunk(kind: u8) -> Self {
        Self(match kind {
            sctp::chunk::INIT => 1,
            sctp::chunk::INIT_ACK => 2,
            sctp::chunk::COOKIE_ECHO => 3,
            sctp::chunk::COOKIE_ACK => 4,
            sctp::chunk::SHUTDOWN => 5,
            sctp::chunk::SHUTDOWN_ACK => 6,
            sctp::chunk::SHUTDOWN_COMPLETE => 7,
            sctp::chunk::ERROR => 8,
            sctp::chunk::ABORT => 9,
            _ => 0,
        })
    }
}

/// Which part of a datagram a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Part {
    /// All of it.
    Whole = 0,
    /// The first fragment: it has the transport header.
    First = 1,
    /// Another fragment: it has none.
    Later = 2,
}

/// An IP header, of either version, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Ip {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// Where what it carries begins, bytes from the start of the frame; at most [`crate::packet::HEADER_OFFSET_MAX`].
    pub payload_at: u32,
    /// Length in bytes of the packet, header included, as it says.
    pub len: u32,
    /// Identification of the datagram that a fragment belongs to.
    pub fragment_id: u32,
    /// [`family`].
    pub family: u8,
    /// Protocol of what it carries; extension headers are passed over.
    pub protocol: u8,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// Type of service or traffic class.
    pub tos: u8,
    /// Which part of a datagram it is.
    pub part: Part,
    /// Whether it must not be fragmented on the way: IPv4's flag; always so in IPv6.
    pub dont_fragment: bool,
}

/// How many IPv6 extension headers are passed over. RFC 8200 section 4.1 has seven kinds, of which packets show one or two.
const EXTENSIONS_MAX: usize = 4;

impl Ip {
    /// No packet: what a scratch row begins with.
    pub const NONE: Self = Self {
        source: Address([0; 4]),
        destination: Address([0; 4]),
        payload_at: 0,
        len: 0,
        fragment_id: 0,
        family: 0,
        protocol: 0,
        ttl: 0,
        tos: 0,
        part: Part::Whole,
        dont_fragment: false,
    };

    /// Reads the header of a packet of `family` at byte `at`. That the packet's end lies within the frame is for the caller to check:
    /// a packet that an ICMP error quotes may be cut.
    #[inline(always)]
    pub fn read<P: Packet>(&mut self, packet: &mut P, at: usize, of: u8) -> Result<(), Verdict> {
        self.family = of;
        if of == family::V6 { self.read_v6(packet, at) } else { self.read_v4(packet, at) }
    }

    #[inline(always)]
    fn read_v4<P: Packet>(&mut self, packet: &mut P, at: usize) -> Result<(), Verdict> {
        let ip: &mut ipv4::Header = packet.header(at).ok_or(Verdict::PassMalformed)?;
        let header_len = ip.header_len();
        self.len = ip.total_len.get().into();
        if ip.version() != 4 || header_len < ipv4::HEADER_LEN_MIN || (self.len as usize) < header_len {
            return Err(Verdict::PassMalformed);
        }
        self.source = Address::v4(ip.source);
        self.destination = Address::v4(ip.destination);
        self.payload_at = (at + header_len) as u32;
        self.fragment_id = ip.id.get().into();
        self.protocol = ip.protocol;
        self.ttl = ip.ttl;
        self.tos = ip.tos;
        self.dont_fragment = ip.dont_fragment();
        self.part = match (ip.is_later_fragment(), ip.is_fragment()) {
            (true, _) => Part::Later,
            (false, true) => Part::First,
            (false, false) => Part::Whole,
        };
        Ok(())
    }

    #[inline(always)]
    fn read_v6<P: Packet>(&mut self, packet: &mut P, at: usize) -> Result<(), Verdict> {
        let ip: &mut ipv6::Header = packet.header(at).ok_or(Verdict::PassMalformed)?;
        if ip.version() != 6 {
            return Err(Verdict::PassMalformed);
        }
        self.len = u32::from(ip.payload_len.get()) + ipv6::HEADER_LEN as u32;
        self.source = Address::v6(ip.source);
        self.destination = Address::v6(ip.destination);
        self.ttl = ip.hop_limit;
        self.tos = ip.traffic_class();
        self.dont_fragment = true;
        self.part = Part::Whole;
        self.payload_at = (at + ipv6::HEADER_LEN) as u32;
        self.protocol = ip.next_header;
        for _ in 0..EXTENSIONS_MAX {
            if !self.pass_extension(packet)? {
                return Ok(());
            }
        }
        Err(Verdict::PassOtherProtocol)
    }

    /// Passes over one extension header, if there is one.
    #[inline(always)]
    fn pass_extension<P: Packet>(&mut self, packet: &mut P) -> Result<bool, Verdict> {
        match self.protocol {
            ipv6::FRAGMENT => {
                let fragment: &mut ipv6::Fragment =
                    packet.header(self.payload_at as usize).ok_or(Verdict::PassMalformed)?;
                self.protocol = fragment.next_header;
                self.fragment_id = u32::from_ne_bytes(fragment.id);
                self.payload_at += size_of::<ipv6::Fragment>() as u32;
                if fragment.is_later() {
                    self.part = Part::Later;
                    // What follows is the middle of something.
                    return Ok(false);
                }
                if !fragment.is_atomic() {
                    self.part = Part::First;
                }
            }
            ipv6::HOP_BY_HOP | ipv6::ROUTING | ipv6::DESTINATION_OPTIONS | protocol::AH => {
                let header: &mut ipv6::Extension =
                    packet.header(self.payload_at as usize).ok_or(Verdict::PassMalformed)?;
                let len = u32::from(header.len);
                // RFC 4302 section 2.2: AH counts in words of 4 bytes, less two.
                let len = if self.protocol == protocol::AH { (len + 2) * 4 } else { (len + 1) * 8 };
                self.protocol = header.next_header;
                self.payload_at += len;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Length in bytes of what the packet carries, going by what it says; 0 where that contradicts itself.
    pub fn payload_len(&self) -> u32 {
        (self.len + IP_AT as u32).saturating_sub(self.payload_at)
    }
}

/// One packet, as far as it was understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Flow {
    /// Addresses, ports, protocol: what the index of connections knows. Of an ICMP error they are those of the packet that it
    /// quotes, with both ends exchanged: the error goes the way of the answers to that packet.
    pub key: FlowKey,
    /// Its IP header.
    pub ip: Ip,
    /// The packet that it quotes, if it is an ICMP error.
    pub quoted: Ip,
    /// The firewall mark that the kernel knows of; 0 for none.
    pub mark: u32,
    /// What it says to the state machine.
    pub event: Event,
    /// Whether it asks for a new connection: TCP with SYN, SCTP with INIT, whatever else is set.
    pub is_new: bool,
    /// Whether it resets one: TCP with RST, SCTP with ABORT.
    pub is_reset: bool,
    /// Whether it is an ICMP error.
    pub is_error: bool,
}

/// Where the IP header begins.
pub const IP_AT: usize = ethernet::HEADER_LEN;

/// The port by which AH and ESP are looked up: they ride on the connection of their key exchange (connections.md section 2).
const KEY_EXCHANGE_PORT: u16 = 500;

impl Flow {
    /// No packet: what a scratch row begins with.
    pub const NONE: Self = Self {
        key: FlowKey::NONE,
        ip: Ip::NONE,
        quoted: Ip::NONE,
        mark: 0,
        event: Event::DATAGRAM,
        is_new: false,
        is_reset: false,
        is_error: false,
    };

    /// Reads the headers of a frame. The error says why the packet is none of ours.
    #[inline(always)]
    pub fn parse<P: Packet>(&mut self, packet: &mut P) -> Result<(), Verdict> {
        let ethernet: &mut ethernet::Header = packet.header(0).ok_or(Verdict::PassMalformed)?;
        let of = match ethernet.ethertype.get() {
            ethernet::TYPE_IPV4 => family::V4,
            ethernet::TYPE_IPV6 => family::V6,
            _ => return Err(Verdict::PassNotIp),
        };
        self.mark = packet.mark();
        self.ip.read(packet, IP_AT, of)?;
        if IP_AT + self.ip.len as usize > packet.len() {
            return Err(Verdict::PassMalformed);
        }
        self.is_error = false;
        self.event = Event::DATAGRAM;
        self.is_new = false;
        self.is_reset = false;
        self.key = FlowKey {
            source: self.ip.source,
            destination: self.ip.destination,
            source_port: 0,
            destination_port: 0,
            protocol: self.ip.protocol,
            family: of,
            kind: kind::FLOW,
        };
        if self.ip.part == Part::Later {
            return Ok(());
        }
        self.read_transport(packet)
    }

    #[inline(always)]
    fn read_transport<P: Packet>(&mut self, packet: &mut P) -> Result<(), Verdict> {
        let at = self.ip.payload_at as usize;
        let len = self.ip.payload_len() as usize;
        match self.ip.protocol {
            protocol::TCP if len >= tcp::HEADER_LEN_MIN => {
                let tcp: &mut tcp::Header = packet.header(at).ok_or(Verdict::PassMalformed)?;
                self.set_ports(tcp.source.get(), tcp.destination.get());
                self.event = Event::of_tcp(tcp.flags);
                self.is_new = tcp.flags & tcp::SYN != 0;
                self.is_reset = tcp.flags & tcp::RST != 0;
            }
            protocol::UDP if len >= udp::HEADER_LEN => {
                let udp: &mut udp::Header = packet.header(at).ok_or(Verdict::PassMalformed)?;
                self.set_ports(udp.source.get(), udp.destination.get());
            }
            protocol::SCTP if len >= sctp::HEADER_LEN + sctp::CHUNK_HEADER_LEN => {
                return self.read_sctp(packet, at, len);
            }
            protocol::TCP | protocol::UDP | protocol::SCTP => return Err(Verdict::PassMalformed),
            protocol::AH | protocol::ESP => {
                self.set_ports(KEY_EXCHANGE_PORT, KEY_EXCHANGE_PORT);
                self.key.protocol = protocol::UDP;
            }
            protocol::ICMP if self.ip.family == family::V4 => return self.read_error(packet, at),
            protocol::ICMPV6 if self.ip.family == family::V6 => return self.read_error(packet, at),
            _ => return Err(Verdict::PassOtherProtocol),
        }
        Ok(())
    }

    #[inline(always)]
    fn read_sctp<P: Packet>(&mut self, packet: &mut P, at: usize, len: usize) -> Result<(), Verdict> {
        let sctp: &mut sctp::Header = packet.header(at).ok_or(Verdict::PassMalformed)?;
        self.set_ports(sctp.source.get(), sctp.destination.get());
        let first: &mut sctp::ChunkHeader = packet.header(at + sctp::HEADER_LEN).ok_or(Verdict::PassMalformed)?;
        let (kind, chunk_len) = (first.kind, usize::from(first.len.get()));
        self.event = Event::of_chunk(kind);
        let carries_cookie = kind == sctp::chunk::COOKIE_ECHO || kind == sctp::chunk::COOKIE_ACK;
        // An ABORT behind the cookie counts as one (connections.md section 6).
        let next = sctp::HEADER_LEN + chunk_len.next_multiple_of(4);
        if carries_cookie && chunk_len >= sctp::CHUNK_HEADER_LEN && next + sctp::CHUNK_HEADER_LEN <= len {
            let second = packet.header::<sctp::ChunkHeader>(at + next).map(|chunk| chunk.kind);
            if second == Some(sctp::chunk::ABORT) {
                self.event = Event::ABORT;
            }
        }
        self.is_new = kind == sctp::chunk::INIT;
        self.is_reset = kind == sctp::chunk::ABORT;
        Ok(())
    }

    /// An ICMP error, if it is one that balancers deal with (forwarding.md section 5): looks at the packet that it quotes.
    #[inline(always)]
    fn read_error<P: Packet>(&mut self, packet: &mut P, at: usize) -> Result<(), Verdict> {
        let icmp: &mut icmp::Header = packet.header(at).ok_or(Verdict::PassMalformed)?;
        let is_error = if self.ip.family == family::V6 {
            icmp.kind < icmp::V6_FIRST_INFORMATIONAL
        } else {
            matches!(icmp.kind, icmp::UNREACHABLE | icmp::SOURCE_QUENCH | icmp::TIME_EXCEEDED)
        };
        if !is_error {
            return Err(Verdict::PassOtherProtocol);
        }
        if self.ip.part != Part::Whole {
            return Err(Verdict::PassFragment);
        }
        self.is_error = true;
        let family = self.ip.family;
        self.quoted.read(packet, at + icmp::HEADER_LEN, family)?;
        self.read_quoted(packet)
    }

    /// The key of the flow that answers the quoted packet.
    #[inline(always)]
    fn read_quoted<P: Packet>(&mut self, packet: &mut P) -> Result<(), Verdict> {
        self.key.source = self.quoted.destination;
        self.key.destination = self.quoted.source;
        self.key.protocol = self.quoted.protocol;
        if self.quoted.part == Part::Later {
            return Err(Verdict::PassFragment);
        }
        match self.quoted.protocol {
            protocol::TCP | protocol::UDP | protocol::SCTP => {
                let ports: &mut udp::Ports =
                    packet.header(self.quoted.payload_at as usize).ok_or(Verdict::PassMalformed)?;
                let (source, destination) = (ports.source.get(), ports.destination.get());
                self.set_ports(destination, source);
            }
            protocol::AH | protocol::ESP => {
                self.set_ports(KEY_EXCHANGE_PORT, KEY_EXCHANGE_PORT);
                self.key.protocol = protocol::UDP;
            }
            _ => return Err(Verdict::PassOtherProtocol),
        }
        Ok(())
    }

    fn set_ports(&mut self, source: u16, destination: u16) {
        self.key.source_port = source;
        self.key.destination_port = destination;
    }

    /// Whether the packet shows a transport header that has ports.
    pub fn has_ports(&self) -> bool {
        self.ip.part != Part::Later && matches!(self.ip.protocol, protocol::TCP | protocol::UDP | protocol::SCTP)
    }
}
