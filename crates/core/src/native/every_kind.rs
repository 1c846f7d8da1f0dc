//! Tables with a service of every kind, in both families: what random packets meet in tests.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::boxed::Box;

use zerocopy::FromZeros;

use super::NativeTables;
use super::packets::address;
use crate::forward::next_hop::{NextHop, Reach};
use crate::rows::{
    Address, Forwarding, MarkRow, NO_DEST, ServiceKey, Span, dest_flags, family, method, service_flags, tunnel,
};
use crate::sched::Scheduler;
use crate::wire::protocol;

/// Jiffies a second.
pub const HZ: u32 = 250;
/// Destinations of each service.
pub const DESTS_EACH: u32 = 2;
/// A port of the services for every port, and of those by a firewall mark.
pub const ANY_PORT: u16 = 7000;

/// A kind of service.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Protocol that its packets have.
    pub protocol: u8,
    /// Virtual port; 0 for every port.
    pub port: u16,
    /// Firewall mark; 0 for a service by address.
    pub mark: u32,
    /// How its destinations are reached.
    pub forwarding: Forwarding,
    /// [`service_flags`].
    pub flags: u32,
    /// Whether the destinations are of the other family.
    pub crosses: bool,
    /// Whether they are the director itself.
    pub is_local: bool,
}

const fn kind(protocol: u8, port: u16, method: u8) -> Kind {
    let forwarding = Forwarding { method, tunnel: 0, tunnel_flags: 0, tunnel_port: 0 };
    Kind { protocol, port, mark: 0, forwarding, flags: 0, crosses: false, is_local: false }
}

const fn through(port: u16, tunnel: u8, tunnel_flags: u8, crosses: bool) -> Kind {
    let forwarding = Forwarding { method: method::TUNNEL, tunnel, tunnel_flags, tunnel_port: 6080 };
    Kind { forwarding, crosses, ..kind(protocol::TCP, port, method::TUNNEL) }
}

/// All of them. In each family the services stand in this order.
pub const KINDS: [Kind; 17] = [
    kind(protocol::TCP, 80, method::MASQUERADING),
    kind(protocol::UDP, 53, method::MASQUERADING),
    kind(protocol::SCTP, 3868, method::MASQUERADING),
    kind(protocol::TCP, 81, method::DIRECT),
    kind(protocol::SCTP, 3869, method::DIRECT),
    through(82, tunnel::IPIP, 0, false),
    through(83, tunnel::GRE, 0, true),
    through(84, tunnel::GRE, tunnel::CHECKSUM, false),
    through(85, tunnel::GUE, 0, false),
    through(86, tunnel::GUE, tunnel::CHECKSUM, true),
    Kind { flags: service_flags::PERSISTENT, ..kind(protocol::TCP, 87, method::MASQUERADING) },
    Kind { flags: service_flags::PERSISTENT, ..kind(protocol::TCP, 21, method::MASQUERADING) },
    Kind { flags: service_flags::PERSISTENT, ..kind(protocol::UDP, 0, method::DIRECT) },
    Kind { flags: service_flags::ONE_PACKET, ..kind(protocol::UDP, 54, method::MASQUERADING) },
    Kind { mark: 1, flags: service_flags::PERSISTENT, ..kind(protocol::TCP, 0, method::MASQUERADING) },
    Kind { mark: 2, is_local: true, ..kind(protocol::UDP, 0, method::MASQUERADING) },
    Kind {
        flags: service_flags::PERSISTENT | service_flags::ONE_PACKET,
        ..kind(protocol::UDP, 55, method::MASQUERADING)
    },
];

/// Number of services.
pub const SERVICES: u32 = 2 * KINDS.len() as u32;
/// Number of destinations.
pub const DESTS: u32 = SERVICES * DESTS_EACH;

/// The kind of service `id` and whether it is of IPv6.
pub fn kind_of(service: u32) -> (Kind, bool) {
    (KINDS[service as usize % KINDS.len()], service as usize >= KINDS.len())
}

/// Host `host` of network `net`, in either family.
pub fn host(v6: bool, net: u8, host: u8) -> IpAddr {
    if v6 {
        Ipv6Addr::new(0xfd00, net.into(), 0, 0, 0, 0, 0, host.into()).into()
    } else {
        Ipv4Addr::new(10, net, 0, host).into()
    }
}

/// The virtual address and port of service `id`: what its clients ask for.
pub fn virtual_end(service: u32) -> (IpAddr, u16) {
    let (kind, v6) = kind_of(service);
    // A mark service has an address of its own, by which its rule knows it.
    let place = 1 + kind.mark as u8 + if kind.mark == 0 && kind.port == 0 { 10 } else { 0 };
    (host(v6, 1, place), if kind.port == 0 { ANY_PORT } else { kind.port })
}

fn family_of(v6: bool) -> u8 {
    if v6 { family::V6 } else { family::V4 }
}

/// The tables, with room for this many connections. Every way leads to one neighbour.
pub fn tables(conns: usize) -> NativeTables {
    let members = DESTS as usize;
    let mut tables = NativeTables::new(SERVICES as usize, DESTS as usize, members, conns, HZ);
    for service in 0..SERVICES {
        add_service(&mut tables, service);
    }
    for (count, is_one) in [
        (&tables.config.ftp_services, (|kind: Kind| kind.port == 21) as fn(Kind) -> bool),
        (&tables.config.all_ports_services, |kind| kind.mark == 0 && kind.port == 0),
        (&tables.config.mark_services, |kind| kind.mark != 0),
    ] {
        count.store(2 * KINDS.into_iter().filter(|kind| is_one(*kind)).count() as u32);
    }
    tables.config.marks.store(Span { base: 0, len: tables.marks.len() as u32 }.pack());
    tables.router = Box::new(|_, way| {
        way.hop = NextHop { interface: 7, source: [2, 0, 0, 0, 1, 1], destination: [2, 0, 0, 0, 1, 2] };
        way.mtu = 1500;
        Reach::Ready
    });
    tables
}

fn add_service(tables: &mut NativeTables, service: u32) {
    let (kind, v6) = kind_of(service);
    let (virtual_address, _) = virtual_end(service);
    let key = ServiceKey {
        address: if kind.mark == 0 { address(virtual_address) } else { Address::default() },
        fwmark: kind.mark,
        port: kind.port,
        protocol: if kind.mark == 0 { kind.protocol } else { 0 },
        family: family_of(v6),
    };
    tables.service_index.insert(key, service);
    tables.balanced.insert(address(virtual_address));
    if kind.mark != 0 {
        tables.marks.push(rule(virtual_address, kind.mark));
    }
    let row = &tables.services[service as usize];
    row.scheduler.store(Scheduler::RoundRobin as u32);
    row.members.store(Span { base: service * DESTS_EACH, len: DESTS_EACH }.pack());
    row.flags.store(kind.flags);
    row.timeout_s.store(60);
    let mask = if v6 { [!0, !0, 0, 0] } else { Address::v4([255, 255, 255, 0]).0 };
    row.client_mask.iter().zip(mask).for_each(|(cell, word)| cell.store(word));
    for number in 0..DESTS_EACH {
        add_dest(tables, service, service * DESTS_EACH + number);
    }
}

fn add_dest(tables: &mut NativeTables, service: u32, id: u32) {
    let (kind, v6) = kind_of(service);
    let dest_v6 = v6 != kind.crosses;
    let real = address(host(dest_v6, 2, 1 + id as u8));
    tables.balanced.insert(real);
    let dest = &mut tables.dests[id as usize];
    dest.address = real;
    dest.family = family_of(dest_v6);
    dest.port = if kind.port == 0 || kind.port == 21 { kind.port } else { 8000 + kind.port };
    dest.forwarding.store(kind.forwarding.pack());
    dest.service.store(service);
    let source = address(host(dest_v6, 2, 0)).0;
    dest.tunnel_source.iter().zip(source).for_each(|(cell, word)| cell.store(word));
    set_available(tables, id, true);
    set_weight(tables, id, 1);
}

fn rule(virtual_address: IpAddr, mark: u32) -> MarkRow {
    let v6 = virtual_address.is_ipv6();
    MarkRow {
        destination: address(virtual_address),
        destination_mask: if v6 { Address([!0; 4]) } else { Address::v4([255; 4]) },
        source_port_last: !0,
        destination_port_last: !0,
        mark,
        family: family_of(v6),
        ..MarkRow::new_zeroed()
    }
}

/// Takes a destination from its service or puts it back, as the daemon does.
pub fn set_available(tables: &NativeTables, id: u32, available: bool) {
    let dest = &tables.dests[id as usize];
    let (kind, _) = kind_of(id / DESTS_EACH);
    let local = if kind.is_local { dest_flags::LOCAL } else { 0 };
    let overload = dest.flags.load() & dest_flags::OVERLOAD;
    dest.flags.store(overload | local | if available { dest_flags::AVAILABLE } else { 0 });
    tables.members[id as usize].dest.store(if available { id } else { NO_DEST });
    let weight = if available { dest.weight.load() } else { 0 };
    tables.members[id as usize].weight.store(weight);
}

/// Edits a destination's weight.
pub fn set_weight(tables: &NativeTables, id: u32, weight: u32) {
    tables.dests[id as usize].weight.store(weight);
    if tables.members[id as usize].dest.load() != NO_DEST {
        tables.members[id as usize].weight.store(weight);
    }
}
