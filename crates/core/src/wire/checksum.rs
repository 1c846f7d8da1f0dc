//! The Internet checksum, changed incrementally (RFC 1624).
//!
//! A checksum that was wrong stays wrong by the same amount: damage on the way in remains visible at the receiver
//! (IPVS does the same: forwarding.md section 3).

use zerocopy::network_endian::U16;

/// A checksum field as it stands in a header.
pub type Field = U16;

/// What a rewrite changes under a transport checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Address before and after, 32 bits in host byte order.
    pub address: (u32, u32),
    /// Port before and after, host byte order.
    pub port: (u16, u16),
    /// UDP over IPv4: a field of 0 means "no checksum" and stays; a result of 0 is written as 0xFFFF (RFC 768).
    pub zero_means_none: bool,
}

/// Folds a sum of at most 65,537 16-bit words into 16 bits: the first round leaves at most one carry, the second takes it.
fn fold(mut sum: u32) -> u16 {
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// The ones' complement sum of the two halves of `word`, not folded.
fn halves(word: u32) -> u32 {
    (word >> 16) + (word & 0xffff)
}

/// Replaces 32 bits (two aligned 16-bit words) `before` by `after` under `field`: RFC 1624 equation 3.
pub fn replace(field: &mut Field, before: u32, after: u32) {
    let sum = u32::from(!field.get()) + halves(!before) + halves(after);
    field.set(!fold(sum));
}

/// Applies `change` to a complete (not partial) transport checksum.
pub fn apply(field: &mut Field, change: &Change) {
    if change.zero_means_none && field.get() == 0 {
        return;
    }
    replace(field, change.address.0, change.address.1);
    replace(field, u32::from(change.port.0), u32::from(change.port.1));
    if change.zero_means_none && field.get() == 0 {
        field.set(0xffff);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    /// The checksum of `words` from first principles (RFC 1071).
    fn whole(words: &[u16]) -> u16 {
        let mut sum: u64 = words.iter().map(|w| u64::from(*w)).sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    proptest! {
        #[test]
        fn incremental_equals_whole(mut words in proptest::collection::vec(any::<u16>(), 4..40), after: u32, port: u16) {
            // An all-zero packet is the one case in which +0 and -0 differ; no IP packet is all zero.
            words.push(0x4500);
            let mut field = Field::new(whole(&words));
            let before = (u32::from(words[0]) << 16) | u32::from(words[1]);
            let change = Change { address: (before, after), port: (words[2], port), zero_means_none: false };
            apply(&mut field, &change);
            let mut changed: Vec<u16> = words.clone();
            changed[0] = (after >> 16) as u16;
            changed[1] = after as u16;
            changed[2] = port;
            prop_assert_eq!(field.get(), whole(&changed));
        }

        #[test]
        fn there_and_back_is_the_identity(sum in 1u16.., a: u32, b: u32, p: u16, q: u16) {
            let mut field = Field::new(sum);
            apply(&mut field, &Change { address: (a, b), port: (p, q), zero_means_none: true });
            apply(&mut field, &Change { address: (b, a), port: (q, p), zero_means_none: true });
            // 0 and 0xFFFF are the same number in ones' complement.
            prop_assert!(field.get() == sum || (field.get() | sum) == 0xffff && (field.get() & sum) == 0);
        }
    }

    #[test]
    fn udp_without_checksum_stays_without() {
        let mut field = Field::new(0);
        apply(&mut field, &Change { address: (1, 2), port: (3, 4), zero_means_none: true });
        assert_eq!(field.get(), 0);
    }
}
