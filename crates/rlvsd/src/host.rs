//! The addresses and interfaces of this network namespace, asked for when they matter.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr},
};

use nix::{
    ifaddrs::{InterfaceAddress, getifaddrs},
    net::if_::if_nametoindex,
};
use rlvs_ipvs::model::{Host, Interface};

/// The host as the model asks about it.
#[derive(Debug)]
pub struct LocalHost;

impl LocalHost {
    /// Whether packets to the address stay on this host: one of its own, or one of those that always mean "this host".
    pub fn has(address: IpAddr) -> bool {
        address.is_loopback() || addresses().any(|interface| interface.address.as_ref().and_then(ip) == Some(address))
    }

    /// The addresses of this host.
    pub fn addresses() -> HashSet<IpAddr> {
        addresses().filter_map(|interface| interface.address.as_ref().and_then(ip)).collect()
    }
}

fn addresses() -> impl Iterator<Item = InterfaceAddress> {
    getifaddrs().into_iter().flatten()
}

fn ip(storage: &nix::sys::socket::SockaddrStorage) -> Option<IpAddr> {
    let v4 = storage.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
    v4.or_else(|| storage.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
}

impl Host for LocalHost {
    /// Only sync daemons ask, which do not run yet; the MTU is that of Ethernet.
    fn interface(&self, name: &str) -> Option<Interface> {
        if_nametoindex(name).ok().map(|_| Interface { mtu: 1500, ipv6_multicast: false })
    }

    fn is_local(&self, address: IpAddr) -> bool {
        Self::has(address)
    }

    fn is_broadcast(&self, address: Ipv4Addr) -> bool {
        let address = Some(IpAddr::V4(address));
        // For an address without a broadcast address the C library says the address itself.
        let is = |interface: InterfaceAddress| {
            interface.broadcast.as_ref().and_then(ip) == address && interface.address.as_ref().and_then(ip) != address
        };
        addresses().any(is)
    }
}
