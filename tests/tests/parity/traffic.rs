//! Frames: conversations of clients with services and their servers' answers, the same with damage, and plain garbage.

use std::{net::IpAddr, ops::RangeInclusive};

use rlvs_core::{
    native::Dice,
    verdict::Verdict,
    wire::{
        ethernet::{self, Mac},
        protocol, sctp,
        tcp::{ACK, FIN, RST, SYN},
    },
};

use crate::{
    homes::{self, Service},
    network::{INSIDE, on_link, on_link_v6},
    packet::{Datagram, End, Part, Transport},
};

/// Every length in this range occurs.
const LENGTHS: RangeInclusive<usize> = 14..=1600;
const CONVERSATIONS_MAX: usize = 200;
/// Clients by what the way to them is like: neighbours, unknown neighbour, behind the gateway, unreachable, no route, the
/// director's own address.
const CLIENTS: [&str; 9] = [
    "172.16.0.11",
    "172.16.0.13",
    "172.16.0.12",
    "10.1.2.3",
    "10.1.2.4",
    "10.200.255.255",
    "10.66.0.1",
    "203.0.113.5",
    "172.16.0.254",
];
/// The same by IPv6.
const CLIENTS_V6: [&str; 9] = [
    "fd00:172::b",
    "fd00:172::d",
    "fd00:172::c",
    "fd00:10::3",
    "fd00:10:1::4",
    "fd00:10:200::5",
    "fd00:66::1",
    "2001:db8::5",
    "fd00:172::fe",
];

/// A frame on its way.
pub struct Sent {
    /// Number of the port by which it arrives.
    pub port: usize,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Where its transport header begins, if it is undamaged.
    transport_at: usize,
    /// The conversation that it opens or goes on with, where it is undamaged and from the client.
    conversation: Option<usize>,
}

/// A client, a service, and the real server that has been seen to get the client's packets.
struct Conversation {
    client: End,
    virtual_end: End,
    protocol: u8,
    masquerades: bool,
    real: Option<End>,
}

/// The source of frames.
pub struct Traffic {
    dice: Dice,
    ports: [Mac; 3],
    services: Vec<Service>,
    conversations: Vec<Conversation>,
    lengths: RangeInclusive<usize>,
}

impl Traffic {
    /// Frames by this seed, for a director whose ports have these addresses.
    pub fn new(seed: u64, ports: [Mac; 3]) -> Self {
        Self { dice: Dice(seed), ports, services: homes::services(), conversations: Vec::new(), lengths: LENGTHS }
    }

    /// The next frame.
    pub fn next(&mut self) -> Sent {
        match self.dice.below(20) {
            0..3 => self.garbage(),
            3..6 => self.damaged(),
            6..9 => self.opening(),
            9..14 => self.request(),
            14 | 15 => self.error(),
            _ => self.reply(),
        }
    }

    /// Learns from what the director did with a frame.
    pub fn saw(&mut self, sent: &Sent, verdict: Verdict, bytes: &[u8]) {
        let Some(conversation) = sent.conversation.and_then(|number| self.conversations.get_mut(number)) else {
            return;
        };
        if !matches!(verdict, Verdict::Forward | Verdict::Resolve | Verdict::Deliver) {
            return;
        }
        // Other methods' answers come from the virtual service itself.
        conversation.real = Some(conversation.virtual_end);
        if conversation.masquerades {
            let address = if sent.bytes[12..14] == [8, 0] {
                IpAddr::from(<[u8; 4]>::try_from(&bytes[30..34]).expect("four bytes"))
            } else {
                IpAddr::from(<[u8; 16]>::try_from(&bytes[38..54]).expect("16 bytes"))
            };
            let port = bytes.get(sent.transport_at + 2..sent.transport_at + 4);
            conversation.real = port.map(|port| (address, u16::from_be_bytes([port[0], port[1]])));
        }
    }

    /// A client that may be new, with few ports, so that it comes back to a connection that has ended.
    fn opening(&mut self) -> Sent {
        let service = &self.services[self.dice.below(self.services.len())];
        let (virtual_end, protocol) = ((service.address, service.port), service.protocol);
        let port = if self.dice.once_in(30) { 20 } else { 5000 + self.dice.below(60) as u16 };
        let port_wanted = virtual_end.1;
        let virtual_end =
            (virtual_end.0, if port_wanted == 0 { 3000 + self.dice.below(5) as u16 } else { port_wanted });
        let masquerades = service.masquerades;
        let clients = if virtual_end.0.is_ipv6() { &CLIENTS_V6 } else { &CLIENTS };
        let client = (self.dice.one_of(clients).parse().expect("an address"), port);
        let known = self
            .conversations
            .iter()
            .position(|known| known.client == client && known.virtual_end == virtual_end && known.protocol == protocol);
        let number = known.unwrap_or_else(|| {
            let conversation = Conversation { client, virtual_end, protocol, masquerades, real: None };
            if self.conversations.len() < CONVERSATIONS_MAX {
                self.conversations.push(conversation);
                self.conversations.len() - 1
            } else {
                let number = self.dice.below(CONVERSATIONS_MAX);
                self.conversations[number] = conversation;
                number
            }
        });
        let flags = self.dice.one_of(&[SYN, SYN, SYN, SYN | 0xc0, SYN | FIN, SYN | ACK, SYN | RST]);
        self.client_packet(number, flags)
    }

    fn request(&mut self) -> Sent {
        if self.conversations.is_empty() {
            return self.opening();
        }
        let number = self.dice.below(self.conversations.len());
        let flags = self.dice.one_of(&[ACK, ACK, ACK, ACK | FIN, FIN, RST, RST | ACK, SYN, 0, 0x28]);
        self.client_packet(number, flags)
    }

    fn client_packet(&mut self, number: usize, flags: u8) -> Sent {
        let Conversation { client, virtual_end, protocol, real, .. } = self.conversations[number];
        let port = self.port(0);
        let mut datagram = self.datagram(port, client, virtual_end, protocol, flags);
        if let Some(real) = real
            && self.dice.once_in(8)
        {
            datagram.payload = sum_to_zero(&datagram, real);
        }
        let (bytes, is_whole) = (datagram.frame(), matches!(datagram.part, Part::Whole(_)));
        let transport_at = bytes.len() - datagram.transport().len();
        Sent { port, bytes, transport_at, conversation: is_whole.then_some(number) }
    }

    /// An ICMP error about a packet of some conversation, from the inside about a request, or from the client about a reply.
    fn error(&mut self) -> Sent {
        if self.conversations.is_empty() {
            return self.opening();
        }
        let number = self.dice.below(self.conversations.len());
        let Conversation { client, virtual_end, protocol, real, .. } = self.conversations[number];
        let from_inside = self.dice.once_in(2);
        let port = self.port(usize::from(from_inside));
        let (mut quoted, source, destination) = if from_inside {
            let on = if client.0.is_ipv6() { on_link_v6 } else { on_link };
            let quoted = self.datagram(port, client, real.unwrap_or(virtual_end), protocol, ACK);
            (quoted, on(INSIDE, 2), client.0)
        } else {
            (self.datagram(port, virtual_end, client, protocol, ACK), client.0, virtual_end.0)
        };
        quoted.part = Part::Whole(true);
        let mut payload = quoted.packet();
        payload.truncate(self.dice.one_of(&[24, 28, 48, 60, 100, 548]));
        let kinds: [(u8, u8); 5] = if client.0.is_ipv6() {
            [(1, 4), (2, 0), (3, 0), (4, 0), (128, 0)]
        } else {
            [(3, 3), (3, 4), (4, 0), (11, 0), (8, 0)]
        };
        let (kind, code) = self.dice.one_of(&kinds);
        let error = Datagram {
            source: (source, 0),
            destination: (destination, 0),
            transport: Transport::Error(kind, code),
            options: Vec::new(),
            payload,
            ttl: 64,
            ..quoted
        };
        let mut bytes = error.frame();
        if self.dice.once_in(8) {
            let at = bytes.len() - 1;
            bytes[at] ^= 1;
        }
        Sent { port, bytes, transport_at: 0, conversation: None }
    }

    fn reply(&mut self) -> Sent {
        let answered: Vec<_> =
            self.conversations.iter().filter_map(|c| Some((c.real?, c.client, c.protocol))).collect();
        if answered.is_empty() {
            return self.opening();
        }
        let (real, client, protocol) = self.dice.one_of(&answered);
        let flags = self.dice.one_of(&[SYN | ACK, SYN | ACK, ACK, ACK, ACK | FIN, RST, RST | ACK, 0]);
        let port = self.port(1);
        let bytes = self.datagram(port, real, client, protocol, flags).frame();
        Sent { port, bytes, transport_at: 0, conversation: None }
    }

    /// Mostly the usual port.
    fn port(&mut self, usual: usize) -> usize {
        if self.dice.once_in(25) { self.dice.below(self.ports.len()) } else { usual }
    }

    fn datagram(&mut self, port: usize, source: End, destination: End, protocol: u8, flags: u8) -> Datagram {
        let transport = match protocol {
            _ if self.dice.once_in(60) => Transport::Esp,
            protocol::TCP => Transport::Tcp(flags, self.words(6)),
            protocol::SCTP if flags & SYN != 0 => Transport::Sctp(sctp::chunk::INIT),
            protocol::SCTP => Transport::Sctp(self.dice.below(16) as u8),
            _ if self.dice.once_in(4) => Transport::UdpUnsummed,
            _ => Transport::Udp,
        };
        let payload = if self.dice.once_in(3) { self.dice.below(1520) } else { 0 };
        Datagram {
            link_destination: self.link_destination(port),
            link_source: [2, 0, 0, 1, port as u8, 99],
            ttl: if self.dice.once_in(25) { self.dice.below(3) as u8 } else { 64 },
            tos: if self.dice.once_in(4) { self.dice.bits() as u8 } else { 0 },
            part: match self.dice.below(20) {
                0 => Part::First(self.dice.below(6) as u8),
                1 => Part::Later(self.dice.below(6) as u8),
                2..6 => Part::Whole(false),
                _ => Part::Whole(true),
            },
            source,
            destination,
            options: if self.dice.once_in(5) { self.words(10) } else { Vec::new() },
            transport,
            payload: self.bytes(payload),
        }
    }

    /// Mostly the port's own address; else another host's, a group's or everybody's.
    fn link_destination(&mut self, port: usize) -> Mac {
        let own = self.ports[port];
        if self.dice.once_in(25) {
            self.dice.one_of(&[[2, 0, 0, 9, 9, 9], [1, 0, 0x5e, 0, 0, 1], [0xff; 6]])
        } else {
            own
        }
    }

    /// A packet of some conversation, with something wrong: bytes, lengths, fragment, a VLAN tag, padding.
    fn damaged(&mut self) -> Sent {
        let mut sent = if self.dice.once_in(2) { self.request() } else { self.reply() };
        sent.conversation = None;
        let bytes = &mut sent.bytes;
        let len = bytes.len();
        match self.dice.below(8) {
            0 => bytes.truncate(self.dice.below(len - 13) + 14),
            // Ethernet pads short packets.
            1 => bytes.resize(len + 1 + self.dice.below(100), 0),
            2 => bytes[16..18].copy_from_slice(&(self.dice.below(len + 20) as u16).to_be_bytes()),
            3 => bytes[14] = self.dice.bits() as u8,
            4 => bytes[20..22].copy_from_slice(&self.dice.one_of(&[0x2000u16, 0x0001, 0x1fff, 0x8000]).to_be_bytes()),
            5 => bytes[12..14]
                .copy_from_slice(&self.dice.one_of(&[0x86ddu16, 0x0806, 0x8100, 0x88a8, 0x0100]).to_be_bytes()),
            6 => bytes[23] = self.dice.bits() as u8,
            _ => {
                for _ in 0..=self.dice.below(3) {
                    let at = 14 + self.dice.below((len - 14).min(60));
                    bytes[at] ^= 1 << self.dice.below(8);
                }
            }
        }
        sent
    }

    /// Random bytes of every length in turn, some with a beginning that looks like something.
    fn garbage(&mut self) -> Sent {
        let len = self.lengths.next().unwrap_or_else(|| {
            self.lengths = LENGTHS;
            *LENGTHS.start()
        });
        let port = self.dice.below(self.ports.len());
        let mut bytes = self.bytes(len);
        bytes[..6].copy_from_slice(&self.link_destination(port));
        let looks = self.dice.below(6);
        if looks == 5 {
            self.look_like_v6(&mut bytes);
            return Sent { port, bytes, transport_at: 0, conversation: None };
        }
        if looks >= 1 {
            bytes[12..14].copy_from_slice(&[8, 0]);
        }
        if looks >= 2 && len >= 34 {
            bytes[14] = 0x40 | (5 + self.dice.below(11)) as u8;
            bytes[16..18].copy_from_slice(&((len - 14) as u16).to_be_bytes());
            bytes[20..22].fill(0);
            bytes[23] = self.dice.one_of(&[protocol::TCP, protocol::UDP, protocol::SCTP, protocol::ICMP]);
        }
        if looks >= 3 && len >= 34 {
            let service = &self.services[self.dice.below(self.services.len())];
            let port_at = 16 + usize::from(bytes[14] & 15) * 4;
            bytes[23] = service.protocol;
            if let IpAddr::V4(address) = service.address {
                bytes[30..34].copy_from_slice(&address.octets());
            }
            if let Some(place) = bytes.get_mut(port_at..port_at + 2) {
                place.copy_from_slice(&service.port.to_be_bytes());
            }
        }
        Sent { port, bytes, transport_at: 0, conversation: None }
    }

    /// An IPv6 header, often with an extension, in front of random bytes.
    fn look_like_v6(&mut self, bytes: &mut [u8]) {
        bytes[12..14].copy_from_slice(&ethernet::TYPE_IPV6.to_be_bytes());
        let len = bytes.len();
        if len < 54 {
            return;
        }
        bytes[14] = 0x60;
        bytes[18..20].copy_from_slice(&((len - 54) as u16).to_be_bytes());
        bytes[20] =
            self.dice.one_of(&[protocol::TCP, protocol::UDP, protocol::SCTP, protocol::ICMPV6, 0, 43, 44, 60, 51]);
        let service = &self.services[self.dice.below(self.services.len())];
        if let IpAddr::V6(address) = service.address {
            bytes[38..54].copy_from_slice(&address.octets());
        }
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.dice.fill(&mut bytes);
        bytes
    }

    /// Up to so many random 32-bit words.
    fn words(&mut self, max: usize) -> Vec<u8> {
        let len = 4 * self.dice.below(max + 1);
        self.bytes(len)
    }
}

/// A payload with which the transport sum is 0 after `real` has become the destination: UDP writes that as 0xffff.
fn sum_to_zero(datagram: &Datagram, real: End) -> Vec<u8> {
    let Some(at) = datagram.checksum_at() else { return Vec::new() };
    // The checksum over an empty word, put in its place, completes the sum to 0.
    let rewritten = Datagram { destination: real, payload: vec![0, 0], ..datagram.clone() };
    rewritten.transport()[at..at + 2].to_vec()
}
