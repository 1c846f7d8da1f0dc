//! Destinations, also called real servers.

use std::net::IpAddr;

use super::{Family, Stats};
use crate::Errno;

/// What identifies a destination within its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DestinationKey {
    /// Address.
    pub address: IpAddr,
    /// Port in host order.
    pub port: u16,
}

impl DestinationKey {
    /// The destination's family, which may differ from its service's only for tunnels.
    pub const fn family(&self) -> Family {
        Family::of(self.address)
    }
}

/// How packets reach a destination: the low three bits of FWD_METHOD (netlink.md §3.3). Numbers 5..=7 mean
/// nothing, but are stored and shown back as the kernel does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ForwardingMethod(u8);

impl ForwardingMethod {
    /// Network address translation, 0.
    pub const MASQUERADE: ForwardingMethod = ForwardingMethod(0);
    /// Delivery on the director itself, 1.
    pub const LOCAL: ForwardingMethod = ForwardingMethod(1);
    /// Encapsulation, 2.
    pub const TUNNEL: ForwardingMethod = ForwardingMethod(2);
    /// Direct routing, 3.
    pub const DIRECT: ForwardingMethod = ForwardingMethod(3);
    /// Forwarding around the cache, 4.
    pub const BYPASS: ForwardingMethod = ForwardingMethod(4);

    /// The method in the low three bits of a number; the rest is dropped.
    pub const fn from_number(number: u32) -> ForwardingMethod {
        ForwardingMethod((number & 7) as u8)
    }

    /// The number, 0..=7.
    pub const fn number(self) -> u32 {
        self.0 as u32
    }
}

/// Weight for scheduling, 0..=2147483647. Weight 0 takes no new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Weight(u32);

impl Weight {
    /// The weight of this number.
    ///
    /// # Errors
    /// `ERANGE` if it is negative.
    pub const fn new(number: i32) -> Result<Weight, Errno> {
        if number < 0 { Err(Errno::RANGE) } else { Ok(Weight(number.unsigned_abs())) }
    }

    /// The number, 0..=2147483647.
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// Kind of encapsulation. Numbers above 2 mean nothing, but are stored and shown back as the kernel does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TunnelKind(pub u8);

impl TunnelKind {
    /// IP in IP, 0.
    pub const IPIP: TunnelKind = TunnelKind(0);
    /// Generic UDP encapsulation, 1. Needs a port.
    pub const GUE: TunnelKind = TunnelKind(1);
    /// Generic routing encapsulation, 2.
    pub const GRE: TunnelKind = TunnelKind(2);
}

/// Tunnel parameters. Stored whatever the forwarding method.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tunnel {
    /// Kind of encapsulation.
    pub kind: TunnelKind,
    /// UDP port of GUE in host order.
    pub port: u16,
    /// Checksum flags: [`Tunnel::CSUM`], [`Tunnel::REMCSUM`], or 0 for none.
    pub flags: u16,
}

impl Tunnel {
    /// Encapsulation without checksum.
    pub const NO_CSUM: u16 = 0;
    /// Encapsulation with checksum.
    pub const CSUM: u16 = 1;
    /// Encapsulation with remote checksum.
    pub const REMCSUM: u16 = 2;
}

/// A destination as a client asks for it: complete, not yet checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationSpec {
    /// Key.
    pub key: DestinationKey,
    /// Forwarding method.
    pub method: ForwardingMethod,
    /// Weight; negative ones are refused by the table.
    pub weight: i32,
    /// Upper threshold of connections; 0 = none.
    pub upper_threshold: u32,
    /// Lower threshold of connections; 0 = none.
    pub lower_threshold: u32,
    /// Tunnel parameters.
    pub tunnel: Tunnel,
}

impl DestinationSpec {
    /// A spec of weight 1 without thresholds and tunnel parameters.
    pub fn new(address: IpAddr, port: u16, method: ForwardingMethod) -> DestinationSpec {
        DestinationSpec {
            key: DestinationKey { address, port },
            method,
            weight: 1,
            upper_threshold: 0,
            lower_threshold: 0,
            tunnel: Tunnel::default(),
        }
    }
}

/// A destination as a table holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    pub(crate) key: DestinationKey,
    pub(crate) method: ForwardingMethod,
    pub(crate) weight: Weight,
    pub(crate) upper_threshold: u32,
    pub(crate) lower_threshold: u32,
    pub(crate) tunnel: Tunnel,
}

impl Destination {
    /// Checks what can be checked without a table, in the kernel's order (netlink.md §4).
    ///
    /// # Errors
    /// `ERANGE` for a negative weight, then for a lower threshold above the upper one; `EINVAL` for GUE
    /// without a port, whatever the forwarding method.
    pub fn new(spec: &DestinationSpec) -> Result<Destination, Errno> {
        let weight = Weight::new(spec.weight)?;
        if spec.lower_threshold > spec.upper_threshold {
            return Err(Errno::RANGE);
        }
        if spec.tunnel.kind == TunnelKind::GUE && spec.tunnel.port == 0 {
            return Err(Errno::INVAL);
        }
        Ok(Destination {
            key: spec.key,
            method: spec.method,
            weight,
            upper_threshold: spec.upper_threshold,
            lower_threshold: spec.lower_threshold,
            tunnel: spec.tunnel,
        })
    }

    /// Key.
    pub fn key(&self) -> &DestinationKey {
        &self.key
    }

    /// Forwarding method.
    pub fn method(&self) -> ForwardingMethod {
        self.method
    }

    /// Weight.
    pub fn weight(&self) -> Weight {
        self.weight
    }

    /// Upper threshold of connections; 0 = none.
    pub fn upper_threshold(&self) -> u32 {
        self.upper_threshold
    }

    /// Lower threshold of connections, never above the upper one; 0 = none.
    pub fn lower_threshold(&self) -> u32 {
        self.lower_threshold
    }

    /// Tunnel parameters.
    pub fn tunnel(&self) -> Tunnel {
        self.tunnel
    }
}

/// A destination with its connections and statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DestinationStatus {
    /// The destination.
    pub destination: Destination,
    /// Active connections.
    pub active_connections: u32,
    /// Inactive connections.
    pub inactive_connections: u32,
    /// Persistence templates.
    pub persistent_connections: u32,
    /// Statistics.
    pub stats: Stats,
}

impl DestinationStatus {
    /// A destination that has seen no traffic.
    pub fn idle(destination: Destination) -> DestinationStatus {
        DestinationStatus {
            destination,
            active_connections: 0,
            inactive_connections: 0,
            persistent_connections: 0,
            stats: Stats::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn spec() -> DestinationSpec {
        DestinationSpec::new(IpAddr::V4(Ipv4Addr::new(10, 0, 1, 2)), 80, ForwardingMethod::MASQUERADE)
    }

    #[test]
    fn checks_come_in_the_kernels_order() {
        let gue = Tunnel { kind: TunnelKind::GUE, ..Tunnel::default() };
        let all_wrong = DestinationSpec { weight: -1, lower_threshold: 5, tunnel: gue, ..spec() };
        assert_eq!(Destination::new(&all_wrong), Err(Errno::RANGE));
        let two_wrong = DestinationSpec { weight: 0, ..all_wrong };
        assert_eq!(Destination::new(&two_wrong), Err(Errno::RANGE));
        let one_wrong = DestinationSpec { upper_threshold: 5, ..two_wrong };
        assert_eq!(Destination::new(&one_wrong), Err(Errno::INVAL));
        let port = Tunnel { port: 6080, ..gue };
        assert!(Destination::new(&DestinationSpec { tunnel: port, ..one_wrong }).is_ok());
    }

    #[test]
    fn methods_keep_three_bits() {
        assert_eq!(ForwardingMethod::from_number(0xffff_fffb), ForwardingMethod::DIRECT);
        assert_eq!(ForwardingMethod::from_number(7).number(), 7);
    }
}
