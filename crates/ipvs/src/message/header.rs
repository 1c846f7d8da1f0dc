//! Netlink and generic-netlink headers, and the messages of netlink itself: ACK, error, done.

use super::attribute::padded;
use crate::Errno;

/// Bytes of a netlink header.
pub(super) const NETLINK_HEADER: usize = 16;
/// Bytes of a netlink header and a generic-netlink header.
const BOTH_HEADERS: usize = 20;

/// Message types and flags of netlink (netlink.md §1).
pub(super) mod number {
    /// Type of an error, or of an ACK if the error number is 0.
    pub const ERROR: u16 = 2;
    /// Type of the end of a dump.
    pub const DONE: u16 = 3;
    /// Types below this belong to netlink itself.
    pub const FIRST_FAMILY: u16 = 16;
    /// Flag of a request; messages without it are not executed.
    pub const REQUEST: u16 = 0x1;
    /// Flag of every message of a dump.
    pub const MULTI: u16 = 0x2;
    /// Flag that asks for an ACK.
    pub const ACK: u16 = 0x4;
    /// Flags that together ask for a dump.
    pub const DUMP: u16 = 0x300;
    /// Flag of an ACK that carries only the header of its request.
    pub const CAPPED: u16 = 0x100;
}

/// A netlink header, in host order on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the whole message, header included, padding excluded.
    pub length: u32,
    /// Type: the number of a generic-netlink family, or below 16 a message of netlink itself.
    pub kind: u16,
    /// Flags.
    pub flags: u16,
    /// Sequence number, repeated in replies.
    pub sequence: u32,
    /// Port id of the sender; in replies that of the receiver.
    pub port_id: u32,
}

impl Header {
    /// Reads a header from the first 16 bytes.
    pub fn decode(bytes: &[u8]) -> Option<Header> {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *bytes.first_chunk::<NETLINK_HEADER>()?;
        Some(Header {
            length: u32::from_ne_bytes([a, b, c, d]),
            kind: u16::from_ne_bytes([e, f]),
            flags: u16::from_ne_bytes([g, h]),
            sequence: u32::from_ne_bytes([i, j, k, l]),
            port_id: u32::from_ne_bytes([m, n, o, p]),
        })
    }

    /// Whether all of these flags are set.
    pub fn has(&self, flags: u16) -> bool {
        self.flags & flags == flags
    }

    /// Whether this is an executable request.
    pub fn is_request(&self) -> bool {
        self.has(number::REQUEST)
    }

    /// Whether an ACK is asked for.
    pub fn wants_ack(&self) -> bool {
        self.has(number::ACK)
    }

    /// Whether a dump is asked for; needs both bits.
    pub fn wants_dump(&self) -> bool {
        self.has(number::DUMP)
    }
}

/// One netlink message within a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its header.
    pub header: Header,
    /// The whole message with its header, without padding.
    pub bytes: &'a [u8],
}

/// The generic-netlink part of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GenericFrame<'a> {
    /// Command number.
    pub command: u8,
    /// Version; not checked in requests, 1 in replies of IPVS, 2 in those of the family controller.
    pub version: u8,
    /// The attributes.
    pub attributes: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The bytes after the netlink header.
    pub fn payload(&self) -> &'a [u8] {
        self.bytes.get(NETLINK_HEADER..).unwrap_or_default()
    }

    /// The generic-netlink part, unless the message is too short for it.
    pub fn generic(&self) -> Option<GenericFrame<'a>> {
        let ([command, version, _, _], attributes) = self.payload().split_first_chunk::<4>()?;
        Some(GenericFrame { command: *command, version: *version, attributes })
    }
}

/// Walks the messages of a datagram. A message whose length is below 16 or beyond the end is ignored with
/// everything after it, as the kernel does (netlink.md §1.2).
pub fn frames(mut datagram: &[u8]) -> impl Iterator<Item = Frame<'_>> {
    std::iter::from_fn(move || {
        let header = Header::decode(datagram)?;
        let length = usize::try_from(header.length).ok().filter(|&length| length >= NETLINK_HEADER)?;
        let bytes = datagram.get(..length)?;
        datagram = datagram.get(padded(length)..).unwrap_or_default();
        Some(Frame { header, bytes })
    })
}

/// Appends a generic-netlink message to a datagram.
pub fn put_generic(datagram: &mut Vec<u8>, header: Header, command: u8, version: u8, attributes: &[u8]) {
    let length = (BOTH_HEADERS + attributes.len()) as u32;
    put_header(datagram, Header { length, ..header });
    datagram.extend_from_slice(&[command, version, 0, 0]);
    datagram.extend_from_slice(attributes);
}

/// A datagram with the ACK of a request: type 2, CAPPED, 36 bytes, error 0 and the request's header.
pub fn ack(request: &Frame<'_>, port_id: u32) -> Vec<u8> {
    answer(request, port_id, number::CAPPED, 0, request.bytes.get(..NETLINK_HEADER).unwrap_or_default())
}

/// A datagram that refuses a request: type 2, no flags, the negative error number and the whole request.
pub fn error(request: &Frame<'_>, port_id: u32, errno: Errno) -> Vec<u8> {
    answer(request, port_id, 0, -errno.number(), request.bytes)
}

/// A datagram that ends the dump asked for: type 3, MULTI, 20 bytes, result 0.
pub fn done(request: &Frame<'_>, port_id: u32) -> Vec<u8> {
    let header = Header { kind: number::DONE, flags: number::MULTI, ..reply_header(request, port_id) };
    let mut datagram = Vec::with_capacity(BOTH_HEADERS);
    put_header(&mut datagram, Header { length: BOTH_HEADERS as u32, ..header });
    datagram.extend_from_slice(&0i32.to_ne_bytes());
    datagram
}

/// The header of a reply with data: the request's type and sequence number, the receiver's port id, no flags.
pub fn reply_header(request: &Frame<'_>, port_id: u32) -> Header {
    Header { length: 0, kind: request.header.kind, flags: 0, sequence: request.header.sequence, port_id }
}

fn answer(request: &Frame<'_>, port_id: u32, flags: u16, number: i32, original: &[u8]) -> Vec<u8> {
    let length = (BOTH_HEADERS + original.len()) as u32;
    let header = Header { length, kind: number::ERROR, flags, ..reply_header(request, port_id) };
    let mut datagram = Vec::with_capacity(padded(BOTH_HEADERS + original.len()));
    put_header(&mut datagram, header);
    datagram.extend_from_slice(&number.to_ne_bytes());
    datagram.extend_from_slice(original);
    datagram.resize(padded(datagram.len()), 0);
    datagram
}

fn put_header(datagram: &mut Vec<u8>, header: Header) {
    datagram.extend_from_slice(&header.length.to_ne_bytes());
    datagram.extend_from_slice(&header.kind.to_ne_bytes());
    datagram.extend_from_slice(&header.flags.to_ne_bytes());
    datagram.extend_from_slice(&header.sequence.to_ne_bytes());
    datagram.extend_from_slice(&header.port_id.to_ne_bytes());
}
