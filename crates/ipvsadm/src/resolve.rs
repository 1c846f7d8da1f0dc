//! Names of hosts and ports.

use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};
use std::sync::OnceLock;

use rlvs_ipvs::model::Protocol;

/// Looks names up, and finds names for numbers.
pub trait Names {
    /// The first IPv4 address of a host.
    fn host_address(&self, name: &str) -> Option<Ipv4Addr>;

    /// The name of an address.
    fn address_name(&self, address: IpAddr) -> Option<String>;

    /// The port of a service's name under a protocol; names are case-sensitive.
    fn service_port(&self, name: &str, protocol: Protocol) -> Option<u16>;

    /// The name of a port under a protocol.
    fn port_name(&self, port: u16, protocol: Protocol) -> Option<String>;
}

/// A place without names, for tests.
#[derive(Clone, Copy, Debug)]
pub struct NoNames;

impl Names for NoNames {
    fn host_address(&self, _name: &str) -> Option<Ipv4Addr> {
        None
    }

    fn address_name(&self, _address: IpAddr) -> Option<String> {
        None
    }

    fn service_port(&self, _name: &str, _protocol: Protocol) -> Option<u16> {
        None
    }

    fn port_name(&self, _port: u16, _protocol: Protocol) -> Option<String> {
        None
    }
}

/// The names this system knows: hosts by the C library's resolver, ports by `/etc/services`.
#[derive(Debug, Default)]
pub struct SystemNames {
    services: OnceLock<Services>,
}

impl SystemNames {
    fn services(&self) -> &Services {
        self.services.get_or_init(|| {
            // Without the file no port has a name.
            Services::parse(&std::fs::read_to_string("/etc/services").unwrap_or_default())
        })
    }
}

impl Names for SystemNames {
    fn host_address(&self, name: &str) -> Option<Ipv4Addr> {
        let mut found = (name, 0).to_socket_addrs().ok()?;
        found.find_map(|address| match address.ip() {
            IpAddr::V4(v4) => Some(v4),
            IpAddr::V6(_) => None,
        })
    }

    fn address_name(&self, address: IpAddr) -> Option<String> {
        // An address without a name comes back as its own text, which shows the same.
        dns_lookup::lookup_addr(&address).ok()
    }

    fn service_port(&self, name: &str, protocol: Protocol) -> Option<u16> {
        self.services().port(name, protocol)
    }

    fn port_name(&self, port: u16, protocol: Protocol) -> Option<String> {
        self.services().name(port, protocol).map(str::to_owned)
    }
}

/// The services listed in a file like `/etc/services`.
#[derive(Clone, Debug, Default)]
pub struct Services {
    lines: Vec<ServiceLine>,
}

#[derive(Clone, Debug)]
struct ServiceLine {
    /// The official name, then its aliases.
    names: Vec<String>,
    port: u16,
    protocol: String,
}

impl Services {
    /// Reads lines of `name port/protocol alias...`, where `#` starts a comment. Other lines are skipped.
    pub fn parse(text: &str) -> Services {
        Services { lines: text.lines().filter_map(ServiceLine::parse).collect() }
    }

    /// The port of a name or alias.
    pub fn port(&self, name: &str, protocol: Protocol) -> Option<u16> {
        let protocol = protocol_name(protocol)?;
        let has_name = |line: &&ServiceLine| line.names.iter().any(|known| known == name);
        self.lines.iter().filter(|line| line.protocol == protocol).find(has_name).map(|line| line.port)
    }

    /// The official name of a port.
    pub fn name(&self, port: u16, protocol: Protocol) -> Option<&str> {
        let protocol = protocol_name(protocol)?;
        let line = self.lines.iter().find(|line| line.port == port && line.protocol == protocol)?;
        line.names.first().map(String::as_str)
    }
}

impl ServiceLine {
    fn parse(line: &str) -> Option<ServiceLine> {
        let mut words = line.split('#').next()?.split_whitespace();
        let name = words.next()?;
        let (port, protocol) = words.next()?.split_once('/')?;
        let names = std::iter::once(name).chain(words).map(str::to_owned).collect();
        Some(ServiceLine { names, port: port.parse().ok()?, protocol: protocol.to_owned() })
    }
}

fn protocol_name(protocol: Protocol) -> Option<&'static str> {
    match protocol {
        Protocol::TCP => Some("tcp"),
        Protocol::UDP => Some("udp"),
        Protocol::SCTP => Some("sctp"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_by_name_and_port() {
        let services = Services::parse("# comment\nhttp\t80/tcp www # web\ndomain 53/udp\nbroken\nbad x/tcp\n");
        assert_eq!(services.port("http", Protocol::TCP), Some(80));
        assert_eq!(services.port("www", Protocol::TCP), Some(80));
        assert_eq!(services.port("HTTP", Protocol::TCP), None);
        assert_eq!(services.port("http", Protocol::UDP), None);
        assert_eq!(services.name(80, Protocol::TCP), Some("http"));
        assert_eq!(services.name(53, Protocol::SCTP), None);
        assert_eq!(services.name(53, Protocol(47)), None);
    }
}
