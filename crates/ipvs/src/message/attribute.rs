//! Netlink attributes: `u16 length (with this header), u16 number, payload, padding to 4 bytes`, host order.

use super::DecodeError;

/// Bit of an attribute's number that marks a nest. Requests may carry it or not; kernel replies never do.
pub(super) const NESTED: u16 = 0x8000;
/// The bits of the number field that are the number; the top two are markers.
const NUMBER_MASK: u16 = 0x3fff;
/// Bytes of an attribute's header.
const HEADER: usize = 4;
/// Largest payload: the length field counts header and payload in 16 bits.
const PAYLOAD_MAX: usize = u16::MAX as usize - HEADER;

/// An attribute this crate does not know, kept as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Number field with its marker bits.
    pub number: u16,
    /// Payload without padding.
    pub payload: Vec<u8>,
}

/// One attribute of a message, borrowed.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawAttribute<'a> {
    /// Number without marker bits.
    pub number: u16,
    /// Number field with marker bits.
    pub marked_number: u16,
    /// Payload without padding.
    pub payload: &'a [u8],
}

impl RawAttribute<'_> {
    /// Whether the nest marker is set.
    pub fn is_marked(&self) -> bool {
        self.marked_number & NESTED != 0
    }

    /// An owned copy.
    pub fn keep(&self) -> Attribute {
        Attribute { number: self.marked_number, payload: self.payload.to_vec() }
    }
}

/// Walks the attributes in `bytes`. Like the kernel it stops without complaint at an attribute whose length
/// is below 4 or beyond the end.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = RawAttribute<'_>> {
    std::iter::from_fn(move || {
        let (header, _) = bytes.split_first_chunk::<HEADER>()?;
        let [a, b, c, d] = *header;
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let marked_number = u16::from_ne_bytes([c, d]);
        let payload = bytes.get(HEADER..length)?;
        bytes = bytes.get(padded(length)..).unwrap_or_default();
        Some(RawAttribute { number: marked_number & NUMBER_MASK, marked_number, payload })
    })
}

/// The length with its padding to a multiple of 4.
pub(super) const fn padded(length: usize) -> usize {
    length.div_ceil(4) * 4
}

/// Reading of payloads by the kernel's policy: too short is refused, longer is accepted and cut.
impl<'a> RawAttribute<'a> {
    fn start<const N: usize>(&self, name: &'static str) -> Result<[u8; N], DecodeError> {
        let start = self.payload.first_chunk::<N>().copied();
        start.ok_or(DecodeError::TooShort { attribute: name, length: self.payload.len(), minimum: N })
    }

    /// First byte.
    pub fn u8(&self, name: &'static str) -> Result<u8, DecodeError> {
        self.start(name).map(u8::from_ne_bytes)
    }

    /// First two bytes in host order.
    pub fn u16(&self, name: &'static str) -> Result<u16, DecodeError> {
        self.start(name).map(u16::from_ne_bytes)
    }

    /// First two bytes in network order.
    pub fn u16_be(&self, name: &'static str) -> Result<u16, DecodeError> {
        self.start(name).map(u16::from_be_bytes)
    }

    /// First four bytes in host order.
    pub fn u32(&self, name: &'static str) -> Result<u32, DecodeError> {
        self.start(name).map(u32::from_ne_bytes)
    }

    /// First eight bytes in host order.
    pub fn u64(&self, name: &'static str) -> Result<u64, DecodeError> {
        self.start(name).map(u64::from_ne_bytes)
    }

    /// First `N` bytes.
    pub fn bytes<const N: usize>(&self, name: &'static str) -> Result<[u8; N], DecodeError> {
        self.start(name)
    }

    /// The whole payload, at most `maximum` bytes.
    pub fn binary(&self, name: &'static str, maximum: usize) -> Result<&'a [u8], DecodeError> {
        if self.payload.len() > maximum {
            let length = self.payload.len();
            return Err(DecodeError::TooLong { attribute: name, length, maximum });
        }
        Ok(self.payload)
    }

    /// The bytes before the NUL that must stand within the first `maximum + 1`. One NUL may follow the text;
    /// a payload longer than that is refused like an unterminated one.
    pub fn text(&self, name: &'static str, maximum: usize) -> Result<Vec<u8>, DecodeError> {
        let window = self.payload.get(..maximum + 1).unwrap_or(self.payload);
        let end = window.iter().position(|&byte| byte == 0);
        let end = end.ok_or(DecodeError::Unterminated { attribute: name })?;
        let without_nul = self.payload.strip_suffix(&[0]).unwrap_or(self.payload);
        if without_nul.len() > maximum {
            return Err(DecodeError::TooLong { attribute: name, length: without_nul.len(), maximum });
        }
        Ok(window.get(..end).unwrap_or_default().to_vec())
    }
}

/// Builds a sequence of attributes.
#[derive(Clone, Debug, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// The attributes written, padded to a multiple of 4.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Appends an attribute. A payload too long for the length field is cut; nothing this crate decodes or
    /// builds is that long.
    pub fn put(&mut self, number: u16, payload: &[u8]) {
        let payload = payload.get(..PAYLOAD_MAX).unwrap_or(payload);
        let length = (HEADER + payload.len()) as u16;
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&number.to_ne_bytes());
        self.bytes.extend_from_slice(payload);
        self.bytes.resize(padded(self.bytes.len()), 0);
    }

    /// Appends a byte.
    pub fn put_u8(&mut self, number: u16, value: u8) {
        self.put(number, &[value]);
    }

    /// Appends 16 bits in host order.
    pub fn put_u16(&mut self, number: u16, value: u16) {
        self.put(number, &value.to_ne_bytes());
    }

    /// Appends 16 bits in network order.
    pub fn put_u16_be(&mut self, number: u16, value: u16) {
        self.put(number, &value.to_be_bytes());
    }

    /// Appends 32 bits in host order.
    pub fn put_u32(&mut self, number: u16, value: u32) {
        self.put(number, &value.to_ne_bytes());
    }

    /// Appends 64 bits in host order.
    pub fn put_u64(&mut self, number: u16, value: u64) {
        self.put(number, &value.to_ne_bytes());
    }

    /// Appends text with a NUL behind it.
    pub fn put_text(&mut self, number: u16, text: &[u8]) {
        let mut payload = text.to_vec();
        payload.push(0);
        self.put(number, &payload);
    }

    /// Appends a nest without the marker bit, as the kernel does in replies.
    pub fn put_nest(&mut self, number: u16, fill: impl FnOnce(&mut Writer)) {
        let mut nest = Writer::default();
        fill(&mut nest);
        self.put(number, &nest.bytes);
    }

    /// Appends attributes that were kept.
    pub fn put_kept(&mut self, kept: &[Attribute]) {
        for attribute in kept {
            self.put(attribute.number, &attribute.payload);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(payload: &[u8]) -> RawAttribute<'_> {
        RawAttribute { number: 1, marked_number: 1, payload }
    }

    #[test]
    fn walking_stops_at_broken_lengths() {
        let good = [5, 0, 1, 0x80, 9, 0, 0, 0];
        for broken in [&[3, 0, 1, 0][..], &[9, 0, 1, 0, 1], &[1, 0], &[0, 0, 0, 0]] {
            let bytes = [&good[..], broken].concat();
            let found: Vec<_> = attributes(&bytes).collect();
            assert_eq!(found.len(), 1);
            assert_eq!((found[0].number, found[0].is_marked(), found[0].payload), (1, true, &[9][..]));
        }
    }

    #[test]
    fn texts_need_a_nul_and_room() {
        assert_eq!(raw(b"rr\0").text("SCHED_NAME", 15), Ok(b"rr".to_vec()));
        assert_eq!(raw(b"\0").text("SCHED_NAME", 15), Ok(Vec::new()));
        assert_eq!(raw(b"rr\0\0").text("SCHED_NAME", 15), Ok(b"rr".to_vec()));
        let unterminated = Err(DecodeError::Unterminated { attribute: "SCHED_NAME" });
        assert_eq!(raw(b"rr").text("SCHED_NAME", 15), unterminated);
        assert_eq!(raw(b"").text("SCHED_NAME", 15), unterminated);
        assert_eq!(raw(b"0123456789abcdef\0").text("SCHED_NAME", 15), unterminated);
        assert!(raw(b"0123456789abcde\0").text("SCHED_NAME", 15).is_ok());
        assert!(raw(&[0; 18]).text("SCHED_NAME", 15).is_err());
    }

    #[test]
    fn integers_may_be_longer_than_their_type() {
        assert_eq!(raw(&[1, 0, 0, 0, 7]).u32("TIMEOUT"), Ok(1));
        let short = DecodeError::TooShort { attribute: "TIMEOUT", length: 3, minimum: 4 };
        assert_eq!(raw(&[1, 0, 0]).u32("TIMEOUT"), Err(short));
        assert_eq!(raw(&[0x1f, 0x90]).u16_be("PORT"), Ok(8080));
    }
}
