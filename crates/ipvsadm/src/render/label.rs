//! Addresses and ports as listings show them.

use std::net::IpAddr;

use rlvs_ipvs::model::{Protocol, ServiceKey};

use crate::address::Shown;
use crate::resolve::Names;

/// Shows addresses and ports by name where that is wanted and there is one (ipvsadm.md §8.7).
#[derive(Clone, Copy)]
pub struct Labels<'a> {
    /// The names, or `None` for numbers.
    pub names: Option<&'a dyn Names>,
}

impl Labels<'_> {
    /// `address:port`; IPv6 addresses stand in brackets, by name too. Without a protocol the port is a number.
    pub fn endpoint(&self, address: IpAddr, port: u16, protocol: Option<Protocol>) -> String {
        let host = self.names.and_then(|names| names.address_name(address));
        let host = host.unwrap_or_else(|| Shown(address).to_string());
        let named_port = self.names.zip(protocol).and_then(|(names, protocol)| names.port_name(port, protocol));
        let port = named_port.unwrap_or_else(|| port.to_string());
        if address.is_ipv6() { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    /// A service as listings begin with it: `TCP  address:port` or `FWM  mark`.
    pub fn service(&self, key: &ServiceKey) -> String {
        match *key {
            ServiceKey::Address { protocol, address, port } => {
                format!("{:<4} {}", protocol_name(protocol), self.endpoint(address, port, Some(protocol)))
            }
            ServiceKey::Mark { mark, .. } => {
                let family = if is_ipv6(key) { " IPv6" } else { "" };
                format!("FWM  {}{family}", signed(mark.get()))
            }
        }
    }

    /// A server of a service; those of a mark have ports by number.
    pub fn server(&self, service: &ServiceKey, address: IpAddr, port: u16) -> String {
        let protocol = match *service {
            ServiceKey::Address { protocol, .. } => Some(protocol),
            ServiceKey::Mark { .. } => None,
        };
        self.endpoint(address, port, protocol)
    }

    /// A service as an option: `-t address:port`, `-f mark -6`.
    pub fn service_option(&self, key: &ServiceKey) -> String {
        match *key {
            ServiceKey::Address { protocol, address, port } => {
                let option = match protocol {
                    Protocol::TCP => "-t",
                    Protocol::UDP => "-u",
                    Protocol::SCTP => "--sctp-service",
                    // What the original prints for a service that it could not have made.
                    _ => "--xxx-service",
                };
                format!("{option} {}", self.endpoint(address, port, Some(protocol)))
            }
            ServiceKey::Mark { mark, .. } => {
                let family = if is_ipv6(key) { " -6" } else { "" };
                format!("-f {}{family}", signed(mark.get()))
            }
        }
    }
}

/// Whether the service takes IPv6 packets.
pub(super) fn is_ipv6(key: &ServiceKey) -> bool {
    key.family() == rlvs_ipvs::model::Family::V6
}

/// A mark as the original shows it: signed.
fn signed(mark: u32) -> i32 {
    mark.cast_signed()
}

fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::TCP => "TCP",
        Protocol::UDP => "UDP",
        Protocol::SCTP => "SCTP",
        _ => "?",
    }
}
