//! What a table asks of the machine it stands on.

use std::net::IpAddr;

/// What the data plane under a table supports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Support {
    /// Names of the schedulers that exist. `none` (no scheduler) is always allowed and need not be listed.
    pub schedulers: Vec<String>,
    /// Names of the persistence engines that exist.
    pub engines: Vec<String>,
}

impl Support {
    /// Support for schedulers and engines of these names.
    pub fn new<'a>(
        schedulers: impl IntoIterator<Item = &'a str>,
        engines: impl IntoIterator<Item = &'a str>,
    ) -> Support {
        Support {
            schedulers: schedulers.into_iter().map(str::to_owned).collect(),
            engines: engines.into_iter().map(str::to_owned).collect(),
        }
    }
}

/// A network interface, as far as a sync daemon cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface {
    /// MTU in bytes.
    pub mtu: u32,
    /// Whether IPv6 multicast can leave through it: it has an IPv6 address and a route.
    pub ipv6_multicast: bool,
}

/// What a table asks about the host's addresses and interfaces, in its own network namespace.
///
/// Asked when destinations and daemons are added, so the answers may change over time.
pub trait Host: std::fmt::Debug + Send {
    /// The interface of this name, if there is one.
    fn interface(&self, name: &str) -> Option<Interface>;

    /// Whether the address is assigned to this host.
    fn is_local(&self, address: IpAddr) -> bool;

    /// Whether the address is the broadcast address of a subnet this host is on.
    fn is_broadcast(&self, address: std::net::Ipv4Addr) -> bool;
}

/// A host without interfaces, for tests and examples.
impl Host for () {
    fn interface(&self, _name: &str) -> Option<Interface> {
        None
    }

    fn is_local(&self, _address: IpAddr) -> bool {
        false
    }

    fn is_broadcast(&self, _address: std::net::Ipv4Addr) -> bool {
        false
    }
}
