//! The DEST nest (netlink.md §3.3).

use super::attribute::{Attribute, Writer, attributes};
use super::service::family_of;
use super::{AddressBytes, Contents, DecodeError, StatsAttributes};
use crate::model::{
    Destination, DestinationKey, DestinationSpec, DestinationStatus, Family, ForwardingMethod, Tunnel, TunnelKind,
};

mod number {
    pub const ADDR: u16 = 1;
    pub const PORT: u16 = 2;
    pub const FWD_METHOD: u16 = 3;
    pub const WEIGHT: u16 = 4;
    pub const U_THRESH: u16 = 5;
    pub const L_THRESH: u16 = 6;
    pub const ACTIVE_CONNS: u16 = 7;
    pub const INACT_CONNS: u16 = 8;
    pub const PERSIST_CONNS: u16 = 9;
    pub const STATS: u16 = 10;
    pub const ADDR_FAMILY: u16 = 11;
    pub const STATS64: u16 = 12;
    pub const TUN_TYPE: u16 = 13;
    pub const TUN_PORT: u16 = 14;
    pub const TUN_FLAGS: u16 = 15;
}

/// The attributes of a DEST nest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DestinationAttributes {
    /// Address family number; absent or 0 = the family of the service.
    pub family: Option<u16>,
    /// Address.
    pub address: Option<AddressBytes>,
    /// Port in host order (network order on the wire).
    pub port: Option<u16>,
    /// Forwarding method as sent.
    pub method: Option<u32>,
    /// Weight.
    pub weight: Option<i32>,
    /// Kind of encapsulation.
    pub tunnel_kind: Option<u8>,
    /// UDP port of the encapsulation in host order (network order on the wire).
    pub tunnel_port: Option<u16>,
    /// Checksum flags of the encapsulation.
    pub tunnel_flags: Option<u16>,
    /// Upper threshold of connections.
    pub upper_threshold: Option<u32>,
    /// Lower threshold of connections.
    pub lower_threshold: Option<u32>,
    /// Active connections; only in replies.
    pub active_connections: Option<u32>,
    /// Inactive connections; only in replies.
    pub inactive_connections: Option<u32>,
    /// Persistence templates; only in replies.
    pub persistent_connections: Option<u32>,
    /// Statistics, narrow; only in replies.
    pub stats: Option<StatsAttributes<false>>,
    /// Statistics, wide; only in replies.
    pub stats64: Option<StatsAttributes<true>>,
    /// Attributes of other numbers.
    pub unknown: Vec<Attribute>,
}

impl DestinationAttributes {
    /// Identifying attributes alone.
    pub fn identifying(key: &DestinationKey) -> DestinationAttributes {
        DestinationAttributes {
            family: Some(key.family().number()),
            address: Some(key.address.into()),
            port: Some(key.port),
            ..DestinationAttributes::default()
        }
    }

    /// The full set that asks for a destination.
    pub fn full(spec: &DestinationSpec) -> DestinationAttributes {
        DestinationAttributes {
            method: Some(spec.method.number()),
            weight: Some(spec.weight),
            tunnel_kind: Some(spec.tunnel.kind.0),
            tunnel_port: Some(spec.tunnel.port),
            tunnel_flags: Some(spec.tunnel.flags),
            upper_threshold: Some(spec.upper_threshold),
            lower_threshold: Some(spec.lower_threshold),
            ..DestinationAttributes::identifying(&spec.key)
        }
    }

    /// What a reply carries.
    pub fn reply(status: &DestinationStatus) -> DestinationAttributes {
        let destination = &status.destination;
        DestinationAttributes {
            method: Some(destination.method().number()),
            weight: Some(destination.weight().get().cast_signed()),
            tunnel_kind: Some(destination.tunnel().kind.0),
            tunnel_port: Some(destination.tunnel().port),
            tunnel_flags: Some(destination.tunnel().flags),
            upper_threshold: Some(destination.upper_threshold()),
            lower_threshold: Some(destination.lower_threshold()),
            active_connections: Some(status.active_connections),
            inactive_connections: Some(status.inactive_connections),
            persistent_connections: Some(status.persistent_connections),
            stats: Some(StatsAttributes(status.stats)),
            stats64: Some(StatsAttributes(status.stats)),
            ..DestinationAttributes::identifying(destination.key())
        }
    }

    /// The key these attributes identify within a service of this family.
    ///
    /// # Errors
    /// [`DecodeError::Missing`] without address or port, then [`DecodeError::Family`].
    pub fn key(&self, service: Family) -> Result<DestinationKey, DecodeError> {
        let address = self.address.ok_or(DecodeError::Missing { attribute: "ADDR" })?;
        let port = self.port.ok_or(DecodeError::Missing { attribute: "PORT" })?;
        let family = match self.family {
            None | Some(0) => service,
            Some(number) => family_of(number)?,
        };
        Ok(DestinationKey { address: address.address(family), port })
    }

    /// The destination these attributes ask for within a service of this family. Tunnel attributes that are
    /// missing are 0.
    ///
    /// # Errors
    /// [`DecodeError::Missing`] unless the full set is there, then [`DecodeError::Family`].
    pub fn spec(&self, service: Family) -> Result<DestinationSpec, DecodeError> {
        let method = self.method.ok_or(DecodeError::Missing { attribute: "FWD_METHOD" })?;
        let weight = self.weight.ok_or(DecodeError::Missing { attribute: "WEIGHT" })?;
        let upper_threshold = self.upper_threshold.ok_or(DecodeError::Missing { attribute: "U_THRESH" })?;
        let lower_threshold = self.lower_threshold.ok_or(DecodeError::Missing { attribute: "L_THRESH" })?;
        Ok(DestinationSpec {
            key: self.key(service)?,
            method: ForwardingMethod::from_number(method),
            weight,
            upper_threshold,
            lower_threshold,
            tunnel: Tunnel {
                kind: TunnelKind(self.tunnel_kind.unwrap_or_default()),
                port: self.tunnel_port.unwrap_or_default(),
                flags: self.tunnel_flags.unwrap_or_default(),
            },
        })
    }

    /// The destination a reply carries, of a service of this family. Without STATS64 the narrow statistics
    /// count, without both there are none.
    ///
    /// # Errors
    /// As [`DestinationAttributes::spec`]; [`DecodeError::Missing`] without the numbers of connections, and
    /// [`DecodeError::Impossible`] for values no table can hold.
    pub fn status(&self, service: Family) -> Result<DestinationStatus, DecodeError> {
        let destination = Destination::new(&self.spec(service)?);
        let stats = self.stats64.map(|wide| wide.0).or(self.stats.map(|narrow| narrow.0));
        let missing = |attribute| DecodeError::Missing { attribute };
        Ok(DestinationStatus {
            destination: destination.map_err(|_| DecodeError::Impossible { attribute: "DEST" })?,
            active_connections: self.active_connections.ok_or(missing("ACTIVE_CONNS"))?,
            inactive_connections: self.inactive_connections.ok_or(missing("INACT_CONNS"))?,
            persistent_connections: self.persistent_connections.ok_or(missing("PERSIST_CONNS"))?,
            stats: stats.unwrap_or_default(),
        })
    }
}

impl Contents for DestinationAttributes {
    fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut dest = DestinationAttributes::default();
        for raw in attributes(payload) {
            match raw.number {
                number::ADDR => dest.address = AddressBytes::new(raw.binary("ADDR", 16)?),
                number::PORT => dest.port = Some(raw.u16_be("PORT")?),
                number::FWD_METHOD => dest.method = Some(raw.u32("FWD_METHOD")?),
                number::WEIGHT => dest.weight = Some(raw.u32("WEIGHT")?.cast_signed()),
                number::U_THRESH => dest.upper_threshold = Some(raw.u32("U_THRESH")?),
                number::L_THRESH => dest.lower_threshold = Some(raw.u32("L_THRESH")?),
                number::ACTIVE_CONNS => dest.active_connections = Some(raw.u32("ACTIVE_CONNS")?),
                number::INACT_CONNS => dest.inactive_connections = Some(raw.u32("INACT_CONNS")?),
                number::PERSIST_CONNS => dest.persistent_connections = Some(raw.u32("PERSIST_CONNS")?),
                number::STATS => dest.stats = Some(Contents::decode(raw.payload)?),
                number::ADDR_FAMILY => dest.family = Some(raw.u16("ADDR_FAMILY")?),
                number::STATS64 => dest.stats64 = Some(Contents::decode(raw.payload)?),
                number::TUN_TYPE => dest.tunnel_kind = Some(raw.u8("TUN_TYPE")?),
                number::TUN_PORT => dest.tunnel_port = Some(raw.u16_be("TUN_PORT")?),
                number::TUN_FLAGS => dest.tunnel_flags = Some(raw.u16("TUN_FLAGS")?),
                _ => dest.unknown.push(raw.keep()),
            }
        }
        Ok(dest)
    }

    /// Order of the kernel's replies: 1, 2, 3, 4, 13, 14, 15, 5, 6, 7, 8, 9, 11, 10, 12. Requests, which have
    /// no connections and statistics, put the family first, as libipvs does.
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        let is_reply = self.active_connections.is_some();
        let put_family = |writer: &mut Writer| {
            self.family.inspect(|&family| writer.put_u16(number::ADDR_FAMILY, family));
        };
        if !is_reply {
            put_family(&mut writer);
        }
        self.address.inspect(|address| writer.put(number::ADDR, address.as_slice()));
        self.port.inspect(|&port| writer.put_u16_be(number::PORT, port));
        self.method.inspect(|&method| writer.put_u32(number::FWD_METHOD, method));
        self.weight.inspect(|&weight| writer.put_u32(number::WEIGHT, weight.cast_unsigned()));
        self.tunnel_kind.inspect(|&kind| writer.put_u8(number::TUN_TYPE, kind));
        self.tunnel_port.inspect(|&port| writer.put_u16_be(number::TUN_PORT, port));
        self.tunnel_flags.inspect(|&flags| writer.put_u16(number::TUN_FLAGS, flags));
        self.upper_threshold.inspect(|&limit| writer.put_u32(number::U_THRESH, limit));
        self.lower_threshold.inspect(|&limit| writer.put_u32(number::L_THRESH, limit));
        self.active_connections.inspect(|&count| writer.put_u32(number::ACTIVE_CONNS, count));
        self.inactive_connections.inspect(|&count| writer.put_u32(number::INACT_CONNS, count));
        self.persistent_connections.inspect(|&count| writer.put_u32(number::PERSIST_CONNS, count));
        if is_reply {
            put_family(&mut writer);
        }
        self.stats.inspect(|stats| writer.put(number::STATS, &stats.encode()));
        self.stats64.inspect(|stats| writer.put(number::STATS64, &stats.encode()));
        writer.put_kept(&self.unknown);
        writer.into_bytes()
    }
}
