//! Virtual services: what identifies one, and what is set on it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;

use super::{EngineName, SchedulerName, Stats};
use crate::Errno;

/// An address family IPVS serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4, `AF_INET` = 2.
    V4,
    /// IPv6, `AF_INET6` = 10.
    V6,
}

impl Family {
    /// The family of an `AF_*` number.
    ///
    /// # Errors
    /// `EAFNOSUPPORT` for anything but 2 and 10.
    pub const fn from_number(number: u16) -> Result<Family, Errno> {
        match number {
            2 => Ok(Family::V4),
            10 => Ok(Family::V6),
            _ => Err(Errno::AFNOSUPPORT),
        }
    }

    /// The `AF_*` number: 2 or 10.
    pub const fn number(self) -> u16 {
        match self {
            Family::V4 => 2,
            Family::V6 => 10,
        }
    }

    /// The family of an address. An IPv4-mapped IPv6 address is IPv6.
    pub const fn of(address: IpAddr) -> Family {
        match address {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }

    /// `0.0.0.0` or `::`.
    pub const fn unspecified(self) -> IpAddr {
        match self {
            Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }
    }
}

/// An IP protocol number as the control interface carries it, 16 bits wide and unchecked: the kernel stores
/// services of any protocol (netlink.md §4), it only never matches packets to the odd ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Protocol(pub u16);

impl Protocol {
    /// TCP, 6.
    pub const TCP: Protocol = Protocol(6);
    /// UDP, 17.
    pub const UDP: Protocol = Protocol(17);
    /// SCTP, 132.
    pub const SCTP: Protocol = Protocol(132);
}

/// What identifies a service. No two services of a table share a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ServiceKey {
    /// Packets to a virtual address.
    Address {
        /// Protocol.
        protocol: Protocol,
        /// Virtual address; may be unspecified, multicast or broadcast.
        address: IpAddr,
        /// Virtual port in host order; 0 = any.
        port: u16,
    },
    /// Packets with a firewall mark. The same mark may exist once per family.
    Mark {
        /// Family of the packets.
        family: Family,
        /// The mark.
        mark: NonZeroU32,
    },
}

impl ServiceKey {
    /// The key of a service for a mark as sent.
    ///
    /// Mark 0 is no mark: the kernel then takes TCP, the unspecified address and port 0 (netlink.md §4).
    pub fn marked(family: Family, mark: u32) -> ServiceKey {
        match NonZeroU32::new(mark) {
            Some(mark) => ServiceKey::Mark { family, mark },
            None => ServiceKey::Address { protocol: Protocol::TCP, address: family.unspecified(), port: 0 },
        }
    }

    /// The family of the packets the service takes.
    pub const fn family(&self) -> Family {
        match self {
            ServiceKey::Address { address, .. } => Family::of(*address),
            ServiceKey::Mark { family, .. } => *family,
        }
    }

    /// The firewall mark, 0 for a service by address.
    pub const fn mark(&self) -> u32 {
        match self {
            ServiceKey::Address { .. } => 0,
            ServiceKey::Mark { mark, .. } => mark.get(),
        }
    }

    /// The virtual port in host order, 0 for a service by mark.
    pub const fn port(&self) -> u16 {
        match self {
            ServiceKey::Address { port, .. } => *port,
            ServiceKey::Mark { .. } => 0,
        }
    }
}

/// Flags of a service, netlink.md §3.2. Bits without a name are stored and shown back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServiceFlags(u32);

impl ServiceFlags {
    /// Connections of one client go to one destination.
    pub const PERSISTENT: u32 = 0x1;
    /// The service is in the table. Set in every stored service.
    pub const HASHED: u32 = 0x2;
    /// Every packet is scheduled on its own.
    pub const ONE_PACKET: u32 = 0x4;
    /// First scheduler flag; `sh-fallback`, `mh-fallback`.
    pub const SCHED_1: u32 = 0x8;
    /// Second scheduler flag; `sh-port`, `mh-port`.
    pub const SCHED_2: u32 = 0x10;
    /// Third scheduler flag.
    pub const SCHED_3: u32 = 0x20;

    /// The bits.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether all of these bits are set.
    pub const fn contains(self, bits: u32) -> bool {
        self.0 & bits == bits
    }
}

/// Flags as sent: `bits` replace the old ones where `mask` is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlagsChange {
    /// New bits.
    pub bits: u32,
    /// Which bits to take.
    pub mask: u32,
}

impl FlagsChange {
    /// A change of all bits to these.
    pub const fn all(bits: u32) -> FlagsChange {
        FlagsChange { bits, mask: u32::MAX }
    }

    /// The flags after the change. HASHED results always (netlink.md §3.2); `old` is 0 for a new service.
    pub const fn applied_to(self, old: u32) -> ServiceFlags {
        ServiceFlags((old & !self.mask) | (self.bits & self.mask) | ServiceFlags::HASHED)
    }
}

/// Granularity of persistence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Netmask {
    /// IPv4 mask; any bits, not only prefixes.
    V4(Ipv4Addr),
    /// IPv6 prefix length, 1..=128.
    V6(u8),
}

impl Netmask {
    /// The mask of one single address.
    pub const fn host(family: Family) -> Netmask {
        match family {
            Family::V4 => Netmask::V4(Ipv4Addr::BROADCAST),
            Family::V6 => Netmask::V6(128),
        }
    }

    /// Reads the four bytes of the NETMASK attribute: an IPv4 mask in network order, or an IPv6 prefix
    /// length in host order (netlink.md §3.2).
    ///
    /// # Errors
    /// `EINVAL` for an IPv6 prefix length outside 1..=128.
    pub fn from_wire(family: Family, wire: [u8; 4]) -> Result<Netmask, Errno> {
        match (family, u32::from_ne_bytes(wire)) {
            (Family::V4, _) => Ok(Netmask::V4(Ipv4Addr::from(wire))),
            (Family::V6, length @ 1..=128) => Ok(Netmask::V6(length as u8)),
            (Family::V6, _) => Err(Errno::INVAL),
        }
    }

    /// The four bytes of the NETMASK attribute.
    pub fn to_wire(self) -> [u8; 4] {
        match self {
            Netmask::V4(mask) => mask.octets(),
            Netmask::V6(length) => u32::from(length).to_ne_bytes(),
        }
    }
}

/// A service as a client asks for it: complete, not yet checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSpec {
    /// Key.
    pub key: ServiceKey,
    /// Bytes of the scheduler's name, `none` for no scheduler.
    pub scheduler: Vec<u8>,
    /// Bytes of the persistence engine's name; absent or empty = no engine.
    pub engine: Option<Vec<u8>>,
    /// Flags.
    pub flags: FlagsChange,
    /// Timeout of persistence in seconds.
    pub timeout_s: u32,
    /// Netmask as in its attribute, see [`Netmask::from_wire`].
    pub netmask: [u8; 4],
}

impl ServiceSpec {
    /// A spec with this key and scheduler: not persistent, no flags, the netmask of a single address.
    pub fn new(key: ServiceKey, scheduler: &str) -> ServiceSpec {
        ServiceSpec {
            key,
            scheduler: scheduler.as_bytes().to_vec(),
            engine: None,
            flags: FlagsChange::all(0),
            timeout_s: 0,
            netmask: Netmask::host(key.family()).to_wire(),
        }
    }
}

/// A service as a table holds it. Only [`Table`](super::Table) and a decoded reply make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub(crate) key: ServiceKey,
    pub(crate) scheduler: Option<SchedulerName>,
    pub(crate) engine: Option<EngineName>,
    pub(crate) flags: ServiceFlags,
    pub(crate) timeout_s: u32,
    pub(crate) netmask: Netmask,
}

impl Service {
    /// Key.
    pub fn key(&self) -> &ServiceKey {
        &self.key
    }

    /// The scheduler's name; `None` for a service that schedules nothing.
    pub fn scheduler(&self) -> Option<&SchedulerName> {
        self.scheduler.as_ref()
    }

    /// The scheduler's name as shown: `none` if there is none.
    pub fn scheduler_text(&self) -> &str {
        self.scheduler.as_ref().map_or(NO_SCHEDULER, SchedulerName::as_str)
    }

    /// The persistence engine, if one is set (it may be set on a service that is not persistent).
    pub fn engine(&self) -> Option<&EngineName> {
        self.engine.as_ref()
    }

    /// Flags, HASHED among them.
    pub fn flags(&self) -> ServiceFlags {
        self.flags
    }

    /// Whether persistence is on.
    pub fn is_persistent(&self) -> bool {
        self.flags.contains(ServiceFlags::PERSISTENT)
    }

    /// Timeout of persistence in seconds.
    pub fn timeout_s(&self) -> u32 {
        self.timeout_s
    }

    /// Granularity of persistence; its family is the service's.
    pub fn netmask(&self) -> Netmask {
        self.netmask
    }
}

/// The name that stands for "no scheduler" in requests and replies.
pub(crate) const NO_SCHEDULER: &str = "none";

/// A service with its statistics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceStatus {
    /// The service.
    pub service: Service,
    /// Its statistics.
    pub stats: Stats,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mark_zero_is_a_service_by_address() {
        let key = ServiceKey::marked(Family::V6, 0);
        let any = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        assert_eq!(key, ServiceKey::Address { protocol: Protocol::TCP, address: any, port: 0 });
        assert_eq!(ServiceKey::marked(Family::V4, 7).mark(), 7);
    }

    #[test]
    fn flags_are_taken_under_the_mask_and_always_hashed() {
        assert_eq!(FlagsChange { bits: 0xff, mask: 0 }.applied_to(0).bits(), 0x2);
        assert_eq!(FlagsChange { bits: 0x4, mask: 0x5 }.applied_to(0x9).bits(), 0xe);
        assert_eq!(FlagsChange::all(0x8000_0001).applied_to(0x30).bits(), 0x8000_0003);
    }

    #[test]
    fn netmasks_by_family() {
        assert_eq!(Netmask::from_wire(Family::V4, [255, 255, 0, 255]).map(Netmask::to_wire), Ok([255, 255, 0, 255]));
        assert_eq!(Netmask::from_wire(Family::V6, 64u32.to_ne_bytes()), Ok(Netmask::V6(64)));
        for bad in [0, 129, 0x4000_0000_u32] {
            assert_eq!(Netmask::from_wire(Family::V6, bad.to_ne_bytes()), Err(Errno::INVAL));
        }
    }
}
