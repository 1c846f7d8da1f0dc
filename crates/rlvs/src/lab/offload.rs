//! Offloads of the calling thread's interfaces, over the kernel's ethtool netlink family.
//!
//! Written out here because the `ethtool` crate reads features but cannot set them.

use std::io;

use netlink_packet_generic::{
    GenlFamily, GenlHeader, GenlMessage,
    ctrl::{GenlCtrl, GenlCtrlCmd, nlas::GenlCtrlAttrs},
};
use rtnetlink::{
    packet_core::{
        DecodeError, Emitable, NLM_F_ACK, NLM_F_REQUEST, NetlinkDeserializable, NetlinkMessage, NetlinkPayload,
        NetlinkSerializable, ParseableParametrized,
    },
    sys::{Socket, SocketAddr, protocols::NETLINK_GENERIC},
};

// include/uapi/linux/ethtool_netlink.h
const ETHTOOL_GENL_VERSION: u8 = 1;
const ETHTOOL_MSG_FEATURES_SET: u8 = 12;
const ETHTOOL_A_HEADER_DEV_NAME: u16 = 2;
const ETHTOOL_A_HEADER_FLAGS: u16 = 3;
const ETHTOOL_FLAG_OMIT_REPLY: u32 = 2;
const ETHTOOL_A_FEATURES_HEADER: u16 = 1;
const ETHTOOL_A_FEATURES_WANTED: u16 = 3;
const ETHTOOL_A_BITSET_BITS: u16 = 3;
const ETHTOOL_A_BITSET_BITS_BIT: u16 = 1;
const ETHTOOL_A_BITSET_BIT_NAME: u16 = 2;
const ETHTOOL_A_BITSET_BIT_VALUE: u16 = 3;
const NLA_F_NESTED: u16 = 1 << 15;

/// One feature of an interface, by the name `ethtool -k` lists it under, and whether it shall be on.
pub(crate) type Feature<'a> = (&'a str, bool);

/// Sets features of an interface, as `ethtool -K` does.
pub(crate) fn set_features(interface: &str, features: &[Feature]) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_GENERIC)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let family = family_id(&socket)?;
    let header = GenlHeader { cmd: ETHTOOL_MSG_FEATURES_SET, version: ETHTOOL_GENL_VERSION };
    let message = GenlMessage::new(header, FeaturesSet(features_set(interface, features)), family);
    exchange(&socket, message).map(drop)
}

/// The number the kernel gave the ethtool family.
fn family_id(socket: &Socket) -> io::Result<u16> {
    let ask = GenlCtrl { cmd: GenlCtrlCmd::GetFamily, nlas: vec![GenlCtrlAttrs::FamilyName("ethtool".into())] };
    let answer = exchange(socket, GenlMessage::from_payload(ask))?;
    let id = answer.and_then(|message| {
        message.payload.nlas.iter().find_map(|attribute| match attribute {
            GenlCtrlAttrs::FamilyId(id) => Some(*id),
            _ => None,
        })
    });
    id.ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, "the kernel has no ethtool netlink"))
}

/// Sends one message and returns the answer, if it brings more than an acknowledgement.
fn exchange<P>(socket: &Socket, message: GenlMessage<P>) -> io::Result<Option<GenlMessage<P>>>
where
    P: GenlFamily + Emitable + ParseableParametrized<[u8], GenlHeader> + std::fmt::Debug,
    GenlMessage<P>: NetlinkSerializable + NetlinkDeserializable,
{
    let mut packet = NetlinkMessage::from(message);
    packet.header.flags = NLM_F_REQUEST | NLM_F_ACK;
    packet.finalize();
    let mut bytes = vec![0; packet.buffer_len()];
    packet.serialize(&mut bytes);
    socket.send(&bytes, 0)?;

    let mut answer = None;
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = datagram.as_slice();
        while !rest.is_empty() {
            let packet = NetlinkMessage::<GenlMessage<P>>::deserialize(rest)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            match packet.payload {
                NetlinkPayload::InnerMessage(message) => answer = Some(message),
                NetlinkPayload::Error(error) if error.code.is_none() => return Ok(answer),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                _ => {}
            }
            // Messages are padded to four bytes; the last one may lack its padding.
            let length = (packet.header.length as usize).next_multiple_of(4).max(4);
            rest = rest.get(length..).unwrap_or_default();
        }
    }
}

/// The attributes of an `ETHTOOL_MSG_FEATURES_SET`.
fn features_set(interface: &str, features: &[Feature]) -> Vec<u8> {
    let bits = features.iter().map(|(name, on)| {
        let name = attribute(ETHTOOL_A_BITSET_BIT_NAME, &c_string(name));
        // A flag: its presence is its value.
        let value = if *on { attribute(ETHTOOL_A_BITSET_BIT_VALUE, &[]) } else { Vec::new() };
        nested(ETHTOOL_A_BITSET_BITS_BIT, &[name, value])
    });
    let bits: Vec<_> = bits.collect();
    let header = nested(
        ETHTOOL_A_FEATURES_HEADER,
        &[
            attribute(ETHTOOL_A_HEADER_DEV_NAME, &c_string(interface)),
            attribute(ETHTOOL_A_HEADER_FLAGS, &ETHTOOL_FLAG_OMIT_REPLY.to_ne_bytes()),
        ],
    );
    let wanted = nested(ETHTOOL_A_FEATURES_WANTED, &[nested(ETHTOOL_A_BITSET_BITS, &bits)]);
    [header, wanted].concat()
}

fn nested(kind: u16, attributes: &[Vec<u8>]) -> Vec<u8> {
    attribute(kind | NLA_F_NESTED, &attributes.concat())
}

/// An attribute with its header, padded to four bytes. The lists above stay far below the 64 KiB a length can say.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = (value.len() + 4) as u16;
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn c_string(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

/// A request whose attributes are encoded already.
#[derive(Debug)]
struct FeaturesSet(Vec<u8>);

impl GenlFamily for FeaturesSet {
    fn family_name() -> &'static str {
        "ethtool"
    }

    fn command(&self) -> u8 {
        ETHTOOL_MSG_FEATURES_SET
    }

    fn version(&self) -> u8 {
        ETHTOOL_GENL_VERSION
    }
}

impl Emitable for FeaturesSet {
    fn buffer_len(&self) -> usize {
        self.0.len()
    }

    fn emit(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.0);
    }
}

impl ParseableParametrized<[u8], GenlHeader> for FeaturesSet {
    fn parse_with_param(bytes: &[u8], _header: GenlHeader) -> Result<Self, DecodeError> {
        Ok(Self(bytes.to_vec()))
    }
}
