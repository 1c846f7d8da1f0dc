//! The connection-sync daemons.

use std::net::{IpAddr, Ipv4Addr};

use super::{Host, InterfaceName};
use crate::Errno;

/// Which end of synchronisation a daemon is. At most one of each runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DaemonRole {
    /// Sends connections, state 1.
    Master,
    /// Receives connections, state 2.
    Backup,
}

impl DaemonRole {
    /// The role of a STATE number.
    ///
    /// # Errors
    /// `EINVAL` for anything but 1 and 2: a request names one role, it is no mask.
    pub const fn from_number(number: u32) -> Result<DaemonRole, Errno> {
        match number {
            1 => Ok(DaemonRole::Master),
            2 => Ok(DaemonRole::Backup),
            _ => Err(Errno::INVAL),
        }
    }

    /// The STATE number, 1 or 2.
    pub const fn number(self) -> u32 {
        match self {
            DaemonRole::Master => 1,
            DaemonRole::Backup => 2,
        }
    }
}

/// A daemon as a client asks for it: complete, not yet checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonSpec {
    /// STATE as sent.
    pub state: u32,
    /// Bytes of the interface's name.
    pub interface: Vec<u8>,
    /// Sync id, stored unmasked.
    pub sync_id: u32,
    /// Largest message in bytes; 0 = default.
    pub max_length: u16,
    /// Multicast group, `None` = 224.0.0.81.
    pub group: Option<IpAddr>,
    /// UDP port in host order; 0 = 8848.
    pub port: u16,
    /// Time to live; 0 = 1.
    pub ttl: u8,
}

/// A sync daemon that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Daemon {
    /// Role.
    pub role: DaemonRole,
    /// Interface.
    pub interface: InterfaceName,
    /// Sync id.
    pub sync_id: u32,
    /// Largest message in bytes, without IP and UDP headers.
    pub max_length: u16,
    /// Multicast group.
    pub group: IpAddr,
    /// UDP port in host order.
    pub port: u16,
    /// Time to live.
    pub ttl: u8,
}

/// The group used when none is given.
const DEFAULT_GROUP: IpAddr = IpAddr::V4(Ipv4Addr::new(224, 0, 0, 81));
/// The port used when none is given.
const DEFAULT_PORT: u16 = 8848;
/// A master's default messages fit this MTU, whatever its interface has.
const MASTER_MTU: u32 = 1500;

impl Daemon {
    /// Makes the daemon asked for, in the kernel's order of checks (netlink.md §3.4, §4).
    ///
    /// `runs` says whether a daemon of a role already runs.
    ///
    /// # Errors
    /// `EINVAL` if the group is not multicast; `ENODEV` if the interface is unknown; `EEXIST` if such a daemon
    /// runs; `EINVAL` for a state other than 1 and 2; `ENETUNREACH` if IPv6 multicast cannot leave through the
    /// interface.
    pub fn new(spec: &DaemonSpec, host: &dyn Host, runs: impl Fn(DaemonRole) -> bool) -> Result<Daemon, Errno> {
        let group = spec.group.unwrap_or(DEFAULT_GROUP);
        if !group.is_multicast() {
            return Err(Errno::INVAL);
        }
        let name = InterfaceName::from_bytes(&spec.interface).ok_or(Errno::NODEV)?;
        let interface = host.interface(name.as_str()).ok_or(Errno::NODEV)?;
        let role = DaemonRole::from_number(spec.state)?;
        if runs(role) {
            return Err(Errno::EXIST);
        }
        if group.is_ipv6() && !interface.ipv6_multicast {
            return Err(Errno::NETUNREACH);
        }
        Ok(Daemon {
            role,
            interface: name,
            sync_id: spec.sync_id,
            max_length: max_length(role, group, spec.max_length, interface.mtu),
            group,
            port: if spec.port == 0 { DEFAULT_PORT } else { spec.port },
            ttl: spec.ttl.max(1),
        })
    }
}

/// The largest message in bytes: as wanted within limits, or by the MTU if 0 is wanted.
fn max_length(role: DaemonRole, group: IpAddr, wanted: u16, mtu: u32) -> u16 {
    // IP header (20 or 40 bytes) and UDP header (8 bytes).
    let headers: u16 = if group.is_ipv6() { 48 } else { 28 };
    let (minimum, mtu) = match role {
        DaemonRole::Master => (1, MASTER_MTU),
        DaemonRole::Backup => (1024, mtu.clamp(1500, 65535)),
    };
    if wanted == 0 {
        u16::try_from(mtu).unwrap_or(u16::MAX) - headers
    } else {
        wanted.clamp(minimum, u16::MAX - headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_by_role_and_family() {
        let v4 = DEFAULT_GROUP;
        let v6 = IpAddr::V6("ff02::51".parse().expect("an address"));
        assert_eq!(max_length(DaemonRole::Master, v4, 0, 65536), 1472);
        assert_eq!(max_length(DaemonRole::Master, v6, 0, 9000), 1452);
        assert_eq!(max_length(DaemonRole::Backup, v4, 0, 65536), 65507);
        assert_eq!(max_length(DaemonRole::Backup, v4, 0, 600), 1472);
        assert_eq!(max_length(DaemonRole::Backup, v4, 1, 1500), 1024);
        assert_eq!(max_length(DaemonRole::Master, v4, 1, 1500), 1);
        assert_eq!(max_length(DaemonRole::Master, v6, 65535, 1500), 65487);
    }
}
