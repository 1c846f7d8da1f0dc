//! Between the model (what an operator says) and the rows (what the data plane reads).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rlvs_core::{
    rows::{self, Address, ConnIdentity, DestRow, Forwarding, ServiceRow, family},
    sched::Scheduler,
};
use rlvs_ipvs::{
    Errno,
    model::{
        Destination, DestinationKey, DestinationSpec, Family, FlagsChange, ForwardingMethod, Netmask, Protocol,
        Service, ServiceKey, ServiceSpec, Tunnel, TunnelKind,
    },
};

/// An address as a row holds it.
pub fn address(ip: IpAddr) -> Address {
    match ip {
        IpAddr::V4(ip) => Address::v4(ip.octets()),
        IpAddr::V6(ip) => {
            let [a, b, c, d] = ip_words(ip.octets());
            Address([a, b, c, d])
        }
    }
}

fn ip_words(octets: [u8; 16]) -> [u32; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(octets.chunks_exact(4)) {
        *word = bytes.first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes));
    }
    words
}

/// The opposite of [`address`].
pub fn ip(address: &Address, family: u8) -> IpAddr {
    if family == family::V6 {
        let mut octets = [0; 16];
        for (bytes, word) in octets.chunks_exact_mut(4).zip(address.0) {
            bytes.copy_from_slice(&word.to_ne_bytes());
        }
        IpAddr::V6(Ipv6Addr::from(octets))
    } else {
        IpAddr::V4(Ipv4Addr::from(address.v4_bytes()))
    }
}

/// A family's number in rows.
pub fn family_number(family: Family) -> u8 {
    match family {
        Family::V4 => family::V4,
        Family::V6 => family::V6,
    }
}

/// A service's key as the data plane looks it up.
///
/// # Errors
/// `EINVAL` for a protocol number that no packet can carry.
pub fn service_key(key: &ServiceKey) -> Result<rows::ServiceKey, Errno> {
    Ok(match *key {
        ServiceKey::Address { protocol, address: ip, port } => rows::ServiceKey {
            address: address(ip),
            fwmark: 0,
            port,
            protocol: u8::try_from(protocol.0).map_err(|_| Errno::INVAL)?,
            family: family_number(key.family()),
        },
        ServiceKey::Mark { family, mark } => rows::ServiceKey {
            address: Address::default(),
            fwmark: mark.get(),
            port: 0,
            protocol: 0,
            family: family_number(family),
        },
    })
}

fn model_key(key: &rows::ServiceKey) -> ServiceKey {
    if key.fwmark != 0 {
        let family = if key.family == family::V6 { Family::V6 } else { Family::V4 };
        return ServiceKey::marked(family, key.fwmark);
    }
    ServiceKey::Address {
        protocol: Protocol(key.protocol.into()),
        address: ip(&key.address, key.family),
        port: key.port,
    }
}

/// Writes what a service's row says of it, apart from its lists and counters.
pub fn fill_service(row: &mut ServiceRow, key: rows::ServiceKey, service: &Service) {
    row.key = key;
    row.netmask = u32::from_ne_bytes(service.netmask().to_wire());
    row.timeout_s.store(service.timeout_s());
    row.family.store(key.family.into());
    for (cell, word) in row.client_mask.iter().zip(client_mask(service.netmask()).0) {
        cell.store(word);
    }
    row.flags.store(service.flags().bits());
}

/// The bits of a client's address that a netmask keeps.
fn client_mask(netmask: Netmask) -> Address {
    match netmask {
        Netmask::V4(mask) => Address::v4(mask.octets()),
        Netmask::V6(length) => address(IpAddr::V6(prefix_mask(length))),
    }
}

/// `length` ones, then zeros; all ones from 128 on.
fn prefix_mask(length: u8) -> Ipv6Addr {
    Ipv6Addr::from_bits(!u128::MAX.checked_shr(length.into()).unwrap_or(0))
}

/// The service that a row says was there: what [`fill_service`] and the scheduler's number came from.
pub fn service_spec(row: &ServiceRow) -> ServiceSpec {
    let scheduler = Scheduler::by_number(row.scheduler.load()).unwrap_or(Scheduler::None);
    ServiceSpec {
        scheduler: scheduler.name().as_bytes().to_vec(),
        flags: FlagsChange::all(row.flags.load()),
        timeout_s: row.timeout_s.load(),
        netmask: row.netmask.to_ne_bytes(),
        ..ServiceSpec::new(model_key(&row.key), "none")
    }
}

/// Writes what makes a destination's row that destination's. Only for a row that no packet reads.
pub fn identify_dest(row: &mut DestRow, service: u32, service_key: rows::ServiceKey, dest: &Destination) {
    let key = dest.key();
    row.address = address(key.address);
    row.port = key.port;
    row.family = family_number(key.family());
    row.service.store(service);
    row.service_key = service_key;
}

/// Writes what may be set on a destination; packets may read the row meanwhile.
pub fn fill_dest(row: &DestRow, dest: &Destination) {
    let tunnel = dest.tunnel();
    let forwarding = Forwarding {
        method: dest.method().number() as u8,
        tunnel: tunnel.kind.0,
        // Two of the bits mean something.
        tunnel_flags: tunnel.flags as u8,
        tunnel_port: tunnel.port,
    };
    row.forwarding.store(forwarding.pack());
    row.upper_threshold.store(dest.upper_threshold());
    row.lower_threshold.store(dest.lower_threshold());
    row.weight.store(dest.weight().get());
}

/// What identifies the destination of a row within its service.
pub fn dest_key(row: &DestRow) -> DestinationKey {
    DestinationKey { address: ip(&row.address, row.family), port: row.port }
}

/// The destination that a row says was there.
pub fn dest_spec(row: &DestRow) -> DestinationSpec {
    let key = dest_key(row);
    let forwarding = row.forwarding();
    DestinationSpec {
        weight: row.weight.load() as i32,
        upper_threshold: row.upper_threshold.load(),
        lower_threshold: row.lower_threshold.load(),
        tunnel: Tunnel {
            kind: TunnelKind(forwarding.tunnel),
            port: forwarding.tunnel_port,
            flags: forwarding.tunnel_flags.into(),
        },
        ..DestinationSpec::new(key.address, key.port, ForwardingMethod::from_number(forwarding.method.into()))
    }
}

/// Client, virtual service and destination of a connection.
pub fn ends(conn: &ConnIdentity) -> [SocketAddr; 3] {
    [
        SocketAddr::new(ip(&conn.client, conn.family), conn.client_port),
        SocketAddr::new(ip(&conn.virtual_address, conn.family), conn.virtual_port),
        SocketAddr::new(ip(&conn.dest_address, conn.dest_family), conn.dest_port),
    ]
}
