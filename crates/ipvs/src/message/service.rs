//! The SERVICE nest (netlink.md §3.2).

use std::net::IpAddr;

use super::attribute::{Attribute, Writer, attributes};
use super::{Contents, DecodeError, StatsAttributes};
use crate::model::{
    EngineName, Family, FlagsChange, Netmask, Protocol, SchedulerName, Service, ServiceKey, ServiceSpec, ServiceStatus,
};

mod number {
    pub const AF: u16 = 1;
    pub const PROTOCOL: u16 = 2;
    pub const ADDR: u16 = 3;
    pub const PORT: u16 = 4;
    pub const FWMARK: u16 = 5;
    pub const SCHED_NAME: u16 = 6;
    pub const FLAGS: u16 = 7;
    pub const TIMEOUT: u16 = 8;
    pub const NETMASK: u16 = 9;
    pub const STATS: u16 = 10;
    pub const PE_NAME: u16 = 11;
    pub const STATS64: u16 = 12;
}

/// An address as sent: 0..=16 bytes, in network order, with no family of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressBytes {
    bytes: [u8; 16],
    length: u8,
}

impl AddressBytes {
    /// These bytes, unless they are more than 16.
    pub fn new(sent: &[u8]) -> Option<AddressBytes> {
        let mut bytes = [0; 16];
        bytes.get_mut(..sent.len())?.copy_from_slice(sent);
        Some(AddressBytes { bytes, length: sent.len() as u8 })
    }

    /// The bytes as sent.
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }

    /// The address of a family in these bytes; missing bytes are 0, bytes after an IPv4 address are ignored.
    pub fn address(&self, family: Family) -> IpAddr {
        let [a, b, c, d, ..] = self.bytes;
        match family {
            Family::V4 => IpAddr::from([a, b, c, d]),
            Family::V6 => IpAddr::from(self.bytes),
        }
    }
}

impl From<IpAddr> for AddressBytes {
    /// All 16 bytes, as replies and libipvs carry them: IPv4 addresses are followed by zeros.
    fn from(address: IpAddr) -> AddressBytes {
        let mut bytes = [0; 16];
        match address {
            IpAddr::V4(v4) => bytes[..4].copy_from_slice(&v4.octets()),
            IpAddr::V6(v6) => bytes = v6.octets(),
        }
        AddressBytes { bytes, length: 16 }
    }
}

/// The attributes of a SERVICE nest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceAttributes {
    /// Address family number.
    pub family: Option<u16>,
    /// Protocol number.
    pub protocol: Option<u16>,
    /// Virtual address.
    pub address: Option<AddressBytes>,
    /// Virtual port in host order (network order on the wire).
    pub port: Option<u16>,
    /// Firewall mark; replaces the three above.
    pub mark: Option<u32>,
    /// Bytes of the scheduler's name.
    pub scheduler: Option<Vec<u8>>,
    /// Bytes of the persistence engine's name.
    pub engine: Option<Vec<u8>>,
    /// Flags and their mask.
    pub flags: Option<FlagsChange>,
    /// Timeout of persistence in seconds.
    pub timeout_s: Option<u32>,
    /// Netmask, see [`Netmask::from_wire`].
    pub netmask: Option<[u8; 4]>,
    /// Statistics, narrow; only in replies.
    pub stats: Option<StatsAttributes<false>>,
    /// Statistics, wide; only in replies.
    pub stats64: Option<StatsAttributes<true>>,
    /// Attributes of other numbers.
    pub unknown: Vec<Attribute>,
}

impl ServiceAttributes {
    /// Identifying attributes alone.
    pub fn identifying(key: &ServiceKey) -> ServiceAttributes {
        let family = Some(key.family().number());
        match *key {
            ServiceKey::Address { protocol, address, port } => ServiceAttributes {
                family,
                protocol: Some(protocol.0),
                address: Some(address.into()),
                port: Some(port),
                ..ServiceAttributes::default()
            },
            ServiceKey::Mark { mark, .. } => {
                ServiceAttributes { family, mark: Some(mark.get()), ..ServiceAttributes::default() }
            }
        }
    }

    /// The full set that asks for a service.
    pub fn full(spec: &ServiceSpec) -> ServiceAttributes {
        ServiceAttributes {
            scheduler: Some(spec.scheduler.clone()),
            engine: spec.engine.clone(),
            flags: Some(spec.flags),
            timeout_s: Some(spec.timeout_s),
            netmask: Some(spec.netmask),
            ..ServiceAttributes::identifying(&spec.key)
        }
    }

    /// What a reply carries.
    pub fn reply(status: &ServiceStatus) -> ServiceAttributes {
        let service = &status.service;
        ServiceAttributes {
            scheduler: Some(service.scheduler_text().as_bytes().to_vec()),
            engine: service.engine().map(|name| name.as_str().as_bytes().to_vec()),
            flags: Some(FlagsChange::all(service.flags().bits())),
            timeout_s: Some(service.timeout_s()),
            netmask: Some(service.netmask().to_wire()),
            stats: Some(StatsAttributes(status.stats)),
            stats64: Some(StatsAttributes(status.stats)),
            ..ServiceAttributes::identifying(service.key())
        }
    }

    /// The key these attributes identify, in the kernel's order of checks (netlink.md §4 "Service part").
    ///
    /// # Errors
    /// [`DecodeError::Missing`] unless there are a family and a mark, or a family, protocol, address and port;
    /// then [`DecodeError::Family`].
    pub fn key(&self) -> Result<ServiceKey, DecodeError> {
        let family = self.family.ok_or(DecodeError::Missing { attribute: "AF" });
        let parts = (self.protocol, self.address, self.port);
        match (self.mark, parts) {
            (Some(mark), _) => Ok(ServiceKey::marked(family_of(family?)?, mark)),
            (None, (Some(protocol), Some(address), Some(port))) => {
                let address = address.address(family_of(family?)?);
                Ok(ServiceKey::Address { protocol: Protocol(protocol), address, port })
            }
            (None, _) => Err(DecodeError::Missing { attribute: "FWMARK, or PROTOCOL, ADDR and PORT" }),
        }
    }

    /// The service these attributes ask for.
    ///
    /// # Errors
    /// As [`ServiceAttributes::key`], then [`DecodeError::Missing`] unless the full set is there.
    pub fn spec(&self) -> Result<ServiceSpec, DecodeError> {
        let key = self.key()?;
        Ok(ServiceSpec {
            key,
            scheduler: self.scheduler.clone().ok_or(DecodeError::Missing { attribute: "SCHED_NAME" })?,
            engine: self.engine.clone(),
            flags: self.flags.ok_or(DecodeError::Missing { attribute: "FLAGS" })?,
            timeout_s: self.timeout_s.ok_or(DecodeError::Missing { attribute: "TIMEOUT" })?,
            netmask: self.netmask.ok_or(DecodeError::Missing { attribute: "NETMASK" })?,
        })
    }

    /// The service a reply carries. Without STATS64 the narrow statistics count, without both there are none.
    ///
    /// # Errors
    /// As [`ServiceAttributes::spec`], and [`DecodeError::Impossible`] for values no table can hold.
    pub fn status(&self) -> Result<ServiceStatus, DecodeError> {
        let spec = self.spec()?;
        let netmask = Netmask::from_wire(spec.key.family(), spec.netmask);
        let engine = spec.engine.filter(|name| !name.is_empty());
        let service = Service {
            key: spec.key,
            scheduler: read_scheduler(&spec.scheduler)?,
            engine: engine.map(|name| name_of(&name, "PE_NAME", EngineName::from_bytes)).transpose()?,
            flags: spec.flags.applied_to(0),
            timeout_s: spec.timeout_s,
            netmask: netmask.map_err(|_| DecodeError::Impossible { attribute: "NETMASK" })?,
        };
        let stats = self.stats64.map(|wide| wide.0).or(self.stats.map(|narrow| narrow.0));
        Ok(ServiceStatus { service, stats: stats.unwrap_or_default() })
    }
}

impl Contents for ServiceAttributes {
    fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut service = ServiceAttributes::default();
        for raw in attributes(payload) {
            match raw.number {
                number::AF => service.family = Some(raw.u16("AF")?),
                number::PROTOCOL => service.protocol = Some(raw.u16("PROTOCOL")?),
                number::ADDR => service.address = AddressBytes::new(raw.binary("ADDR", 16)?),
                number::PORT => service.port = Some(raw.u16_be("PORT")?),
                number::FWMARK => service.mark = Some(raw.u32("FWMARK")?),
                number::SCHED_NAME => service.scheduler = Some(raw.text("SCHED_NAME", 15)?),
                number::PE_NAME => service.engine = Some(raw.text("PE_NAME", 16)?),
                number::FLAGS => service.flags = Some(read_flags(raw.binary("FLAGS", 8)?)),
                number::TIMEOUT => service.timeout_s = Some(raw.u32("TIMEOUT")?),
                number::NETMASK => service.netmask = Some(raw.bytes("NETMASK")?),
                number::STATS => service.stats = Some(Contents::decode(raw.payload)?),
                number::STATS64 => service.stats64 = Some(Contents::decode(raw.payload)?),
                _ => service.unknown.push(raw.keep()),
            }
        }
        Ok(service)
    }

    /// Order of the kernel's replies: 1, 2, 3, 4 or 5, 6, 11, 7, 8, 9, 10, 12.
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        self.family.inspect(|&family| writer.put_u16(number::AF, family));
        self.protocol.inspect(|&protocol| writer.put_u16(number::PROTOCOL, protocol));
        self.address.inspect(|address| writer.put(number::ADDR, address.as_slice()));
        self.port.inspect(|&port| writer.put_u16_be(number::PORT, port));
        self.mark.inspect(|&mark| writer.put_u32(number::FWMARK, mark));
        self.scheduler.as_ref().inspect(|name| writer.put_text(number::SCHED_NAME, name));
        self.engine.as_ref().inspect(|name| writer.put_text(number::PE_NAME, name));
        self.flags.inspect(|flags| writer.put(number::FLAGS, &flags_to_wire(*flags)));
        self.timeout_s.inspect(|&timeout_s| writer.put_u32(number::TIMEOUT, timeout_s));
        self.netmask.inspect(|netmask| writer.put(number::NETMASK, netmask));
        self.stats.inspect(|stats| writer.put(number::STATS, &stats.encode()));
        self.stats64.inspect(|stats| writer.put(number::STATS64, &stats.encode()));
        writer.put_kept(&self.unknown);
        writer.into_bytes()
    }
}

/// The family of a number, with the reason this module speaks in.
pub(super) fn family_of(number: u16) -> Result<Family, DecodeError> {
    Family::from_number(number).map_err(|_| DecodeError::Family { number })
}

/// A name of this attribute, or that it is impossible.
pub(super) fn name_of<T>(
    bytes: &[u8],
    attribute: &'static str,
    make: impl Fn(&[u8]) -> Option<T>,
) -> Result<T, DecodeError> {
    make(bytes).ok_or(DecodeError::Impossible { attribute })
}

/// The scheduler named in a reply: `none` and the empty name mean that there is none.
fn read_scheduler(name: &[u8]) -> Result<Option<SchedulerName>, DecodeError> {
    match name {
        b"" | b"none" => Ok(None),
        _ => name_of(name, "SCHED_NAME", SchedulerName::from_bytes).map(Some),
    }
}

/// Flags and mask; missing bytes count as 0.
fn read_flags(sent: &[u8]) -> FlagsChange {
    let mut bytes = [0; 8];
    for (byte, sent) in bytes.iter_mut().zip(sent) {
        *byte = *sent;
    }
    let [a, b, c, d, e, f, g, h] = bytes;
    FlagsChange { bits: u32::from_ne_bytes([a, b, c, d]), mask: u32::from_ne_bytes([e, f, g, h]) }
}

fn flags_to_wire(flags: FlagsChange) -> [u8; 8] {
    let ([a, b, c, d], [e, f, g, h]) = (flags.bits.to_ne_bytes(), flags.mask.to_ne_bytes());
    [a, b, c, d, e, f, g, h]
}
