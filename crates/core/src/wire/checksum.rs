//! The Internet checksum, changed incrementally (RFC 1624).
//!
//! A checksum that was wrong stays wrong by the same amount: damage on the way in remains visible at the receiver
//! (IPVS does the same: forwarding.md section 3).

use zerocopy::network_endian::U16;

use crate::rows::Address;

/// A checksum field as it stands in a header.
pub type Field = U16;

/// A ones' complement sum of 16-bit words as they stand in memory, not folded: what the kernel calls a `__wsum`. The sum does not
/// depend on the byte order of words as long as it is the same everywhere (RFC 1071 section 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(pub u32);

impl Sum {
    /// One more word, as it stands in memory.
    #[must_use]
    pub fn with(self, word: u32) -> Self {
        let (sum, carry) = self.0.overflowing_add(word);
        Self(sum + u32::from(carry))
    }

    /// One word less.
    #[must_use]
    pub fn without(self, word: u32) -> Self {
        self.with(!word)
    }

    /// All four words of an address.
    #[must_use]
    pub fn with_address(self, address: &Address) -> Self {
        let [a, b, c, d] = address.0;
        self.with(a).with(b).with(c).with(d)
    }

    /// An address less.
    #[must_use]
    pub fn without_address(self, address: &Address) -> Self {
        let [a, b, c, d] = address.0;
        self.without(a).without(b).without(c).without(d)
    }

    /// A number as the last 16 bits of a word of the packet: a port, a length, a protocol in a pseudo-header.
    #[must_use]
    pub fn with_number(self, number: u16) -> Self {
        self.with(u32::from(number.to_be()))
    }

    /// In 16 bits, as they stand in memory.
    pub fn folded(self) -> u16 {
        let sum = (self.0 & 0xffff) + (self.0 >> 16);
        (sum + (sum >> 16)) as u16
    }

    /// The checksum field of data with this sum.
    pub fn checksum(self) -> Field {
        Field::from_bytes((!self.folded()).to_ne_bytes())
    }
}

/// What a rewrite changes under a transport checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The new address less the old one; part of the pseudo-header.
    pub address: Sum,
    /// Port before and after, host byte order.
    pub port: (u16, u16),
    /// UDP: a field of 0 means "no checksum" and stays; a result of 0 is written as 0xFFFF (RFC 768).
    pub zero_means_none: bool,
}

impl Change {
    /// The whole change.
    fn sum(&self) -> Sum {
        let (before, after) = self.port;
        self.address.without(u32::from(before.to_be())).with_number(after)
    }
}

/// Adds `change` to what `field` sums up: RFC 1624 equation 3.
pub fn add(field: &mut Field, change: Sum) {
    let sum = change.with(u32::from(!u16::from_ne_bytes(field.to_bytes())));
    *field = sum.checksum();
}

/// Replaces 32 bits (two aligned 16-bit words) `before` by `after` under `field`, both as they stand in memory.
pub fn replace(field: &mut Field, before: u32, after: u32) {
    add(field, Sum::default().without(before).with(after));
}

/// Applies `change` to a complete (not partial) transport checksum.
pub fn apply(field: &mut Field, change: &Change) {
    if change.zero_means_none && field.get() == 0 {
        return;
    }
    add(field, change.sum());
    if change.zero_means_none && field.get() == 0 {
        field.set(0xffff);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The checksum of `words` from first principles (RFC 1071).
    fn whole(words: &[u16]) -> u16 {
        let mut sum: u64 = words.iter().map(|w| u64::from(*w)).sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    fn in_memory(high: u16, low: u16) -> u32 {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        u32::from_ne_bytes([a, b, c, d])
    }

    proptest! {
        #[test]
        fn incremental_equals_whole(mut words in proptest::collection::vec(any::<u16>(), 9..40), after: [u16; 8], port: u16) {
            // An all-zero packet is the one case in which +0 and -0 differ; no IP packet is all zero.
            words.push(0x4500);
            let mut field = Field::new(whole(&words));
            let address = |words: &[u16]| Address([
                in_memory(words[0], words[1]), in_memory(words[2], words[3]),
                in_memory(words[4], words[5]), in_memory(words[6], words[7]),
            ]);
            let sum = Sum::default().without_address(&address(&words)).with_address(&address(&after));
            apply(&mut field, &Change { address: sum, port: (words[8], port), zero_means_none: false });
            words[..8].copy_from_slice(&after);
            words[8] = port;
            prop_assert_eq!(field.get(), whole(&words));
        }

        #[test]
        fn there_and_back_is_the_identity(sum in 1u16.., a: u32, b: u32, p: u16, q: u16) {
            let mut field = Field::new(sum);
            let (there, back) = (Sum::default().without(a).with(b), Sum::default().without(b).with(a));
            apply(&mut field, &Change { address: there, port: (p, q), zero_means_none: true });
            apply(&mut field, &Change { address: back, port: (q, p), zero_means_none: true });
            // 0 and 0xFFFF are the same number in ones' complement.
            prop_assert!(field.get() == sum || (field.get() | sum) == 0xffff && (field.get() & sum) == 0);
        }
    }

    #[test]
    fn udp_without_checksum_stays_without() {
        let mut field = Field::new(0);
        let change = Change { address: Sum::default().without(1).with(2), port: (3, 4), zero_means_none: true };
        apply(&mut field, &change);
        assert_eq!(field.get(), 0);
    }
}
