//! The DAEMON nest (netlink.md §3.4).

use std::net::{IpAddr, Ipv4Addr};

use super::attribute::{Attribute, Writer, attributes};
use super::service::name_of;
use super::{Contents, DecodeError};
use crate::model::{Daemon, DaemonRole, DaemonSpec, InterfaceName};

mod number {
    pub const STATE: u16 = 1;
    pub const MCAST_IFN: u16 = 2;
    pub const SYNC_ID: u16 = 3;
    pub const SYNC_MAXLEN: u16 = 4;
    pub const MCAST_GROUP: u16 = 5;
    pub const MCAST_GROUP6: u16 = 6;
    pub const MCAST_PORT: u16 = 7;
    pub const MCAST_TTL: u16 = 8;
}

/// The attributes of a DAEMON nest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DaemonAttributes {
    /// 1 master, 2 backup.
    pub state: Option<u32>,
    /// Bytes of the interface's name.
    pub interface: Option<Vec<u8>>,
    /// Sync id.
    pub sync_id: Option<u32>,
    /// Largest message in bytes.
    pub max_length: Option<u16>,
    /// UDP port, in host order on the wire too.
    pub port: Option<u16>,
    /// Time to live.
    pub ttl: Option<u8>,
    /// IPv4 multicast group, in network order; goes before an IPv6 one.
    pub group: Option<[u8; 4]>,
    /// IPv6 multicast group, in network order.
    pub group6: Option<[u8; 16]>,
    /// Attributes of other numbers.
    pub unknown: Vec<Attribute>,
}

impl DaemonAttributes {
    /// The attributes that ask for a daemon. Values left to the kernel are not sent.
    pub fn start(spec: &DaemonSpec) -> DaemonAttributes {
        DaemonAttributes {
            state: Some(spec.state),
            interface: Some(spec.interface.clone()),
            sync_id: Some(spec.sync_id),
            max_length: Some(spec.max_length).filter(|&length| length != 0),
            port: Some(spec.port).filter(|&port| port != 0),
            ttl: Some(spec.ttl).filter(|&ttl| ttl != 0),
            ..DaemonAttributes::default()
        }
        .with_group(spec.group)
    }

    /// The attributes that stop a daemon. Interface and sync id are sent too, as libipvs does, though only the
    /// state counts.
    pub fn stop(role: DaemonRole, sync_id: u32) -> DaemonAttributes {
        DaemonAttributes {
            state: Some(role.number()),
            interface: Some(Vec::new()),
            sync_id: Some(sync_id),
            ..DaemonAttributes::default()
        }
    }

    /// What a reply carries.
    pub fn reply(daemon: &Daemon) -> DaemonAttributes {
        DaemonAttributes {
            state: Some(daemon.role.number()),
            interface: Some(daemon.interface.as_str().as_bytes().to_vec()),
            sync_id: Some(daemon.sync_id),
            max_length: Some(daemon.max_length),
            port: Some(daemon.port),
            ttl: Some(daemon.ttl),
            ..DaemonAttributes::default()
        }
        .with_group(Some(daemon.group))
    }

    /// The daemon these attributes ask for.
    ///
    /// # Errors
    /// [`DecodeError::Missing`] without state, interface or sync id.
    pub fn spec(&self) -> Result<DaemonSpec, DecodeError> {
        Ok(DaemonSpec {
            state: self.state.ok_or(DecodeError::Missing { attribute: "STATE" })?,
            interface: self.interface.clone().ok_or(DecodeError::Missing { attribute: "MCAST_IFN" })?,
            sync_id: self.sync_id.ok_or(DecodeError::Missing { attribute: "SYNC_ID" })?,
            max_length: self.max_length.unwrap_or_default(),
            group: self.any_group(),
            port: self.port.unwrap_or_default(),
            ttl: self.ttl.unwrap_or_default(),
        })
    }

    /// The role these attributes name.
    ///
    /// # Errors
    /// [`DecodeError::Missing`] or [`DecodeError::Impossible`] for the state.
    pub fn role(&self) -> Result<DaemonRole, DecodeError> {
        let state = self.state.ok_or(DecodeError::Missing { attribute: "STATE" })?;
        DaemonRole::from_number(state).map_err(|_| DecodeError::Impossible { attribute: "STATE" })
    }

    /// The daemon a reply carries. What it leaves out (older kernels do) is 0, and the group unspecified.
    ///
    /// # Errors
    /// As [`DaemonAttributes::role`] and [`DaemonAttributes::spec`]; [`DecodeError::Impossible`] for a name
    /// no interface can have.
    pub fn daemon(&self) -> Result<Daemon, DecodeError> {
        let spec = self.spec()?;
        Ok(Daemon {
            role: self.role()?,
            interface: name_of(&spec.interface, "MCAST_IFN", InterfaceName::from_bytes)?,
            sync_id: spec.sync_id,
            max_length: spec.max_length,
            group: spec.group.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            port: spec.port,
            ttl: spec.ttl,
        })
    }

    fn any_group(&self) -> Option<IpAddr> {
        self.group.map(IpAddr::from).or(self.group6.map(IpAddr::from))
    }

    fn with_group(self, group: Option<IpAddr>) -> DaemonAttributes {
        match group {
            None => self,
            Some(IpAddr::V4(v4)) => DaemonAttributes { group: Some(v4.octets()), ..self },
            Some(IpAddr::V6(v6)) => DaemonAttributes { group6: Some(v6.octets()), ..self },
        }
    }
}

impl Contents for DaemonAttributes {
    fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut daemon = DaemonAttributes::default();
        for raw in attributes(payload) {
            match raw.number {
                number::STATE => daemon.state = Some(raw.u32("STATE")?),
                number::MCAST_IFN => daemon.interface = Some(raw.text("MCAST_IFN", 15)?),
                number::SYNC_ID => daemon.sync_id = Some(raw.u32("SYNC_ID")?),
                number::SYNC_MAXLEN => daemon.max_length = Some(raw.u16("SYNC_MAXLEN")?),
                number::MCAST_GROUP => daemon.group = Some(raw.bytes("MCAST_GROUP")?),
                number::MCAST_GROUP6 => daemon.group6 = Some(raw.bytes("MCAST_GROUP6")?),
                number::MCAST_PORT => daemon.port = Some(raw.u16("MCAST_PORT")?),
                number::MCAST_TTL => daemon.ttl = Some(raw.u8("MCAST_TTL")?),
                _ => daemon.unknown.push(raw.keep()),
            }
        }
        Ok(daemon)
    }

    /// Order of the kernel's replies: 1, 2, 3, 4, 7, 8, then 5 or 6.
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        self.state.inspect(|&state| writer.put_u32(number::STATE, state));
        self.interface.as_ref().inspect(|name| writer.put_text(number::MCAST_IFN, name));
        self.sync_id.inspect(|&sync_id| writer.put_u32(number::SYNC_ID, sync_id));
        self.max_length.inspect(|&length| writer.put_u16(number::SYNC_MAXLEN, length));
        self.port.inspect(|&port| writer.put_u16(number::MCAST_PORT, port));
        self.ttl.inspect(|&ttl| writer.put_u8(number::MCAST_TTL, ttl));
        self.group.inspect(|group| writer.put(number::MCAST_GROUP, group));
        self.group6.inspect(|group| writer.put(number::MCAST_GROUP6, group));
        writer.put_kept(&self.unknown);
        writer.into_bytes()
    }
}
