//! CRC32c (RFC 9260 appendix A), changed without reading what did not change.
//!
//! A CRC is linear: the sums of two packets of one length differ by the sum of their difference, followed by as many zero
//! bytes as stand behind it. Zero bytes multiply the remainder by x^8 each, modulo the polynomial; many of them are a power,
//! which squaring reaches in 16 steps. So a new port costs the same however long the packet is, and a checksum that was wrong
//! stays wrong.

use core::hint::black_box;

use crate::bounded;

/// The Castagnoli polynomial, bits reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// The polynomial 1, bits reversed.
const ONE: u32 = 1 << 31;

/// `POWERS[k]`: x^(8 * 2^k) modulo the polynomial, bits reversed; each is the square of the one before.
static POWERS: [u32; 16] = [
    0x0080_0000,
    0x0000_8000,
    0x82f6_3b78,
    0x6ea2_d55c,
    0x18b8_ea18,
    0x510a_c59a,
    0xb82b_e955,
    0xb8fd_b1e7,
    0x88e5_6f72,
    0x74c3_60a4,
    0xe417_2b16,
    0x0d65_762a,
    0x35d7_3a62,
    0x2846_1564,
    0xbf45_5269,
    0xe2ea_32dc,
];

/// The product of two polynomials modulo [`POLYNOMIAL`], bits reversed. Not inlined: the kernel counts instructions.
#[inline(never)]
fn multiply(a: u32, b: u32) -> u32 {
    let (mut a, mut product) = (a, 0);
    for bit in 0..32 {
        // Behind the compiler's back: it would make branches of these masks, each of which the verifier follows both ways.
        product ^= a & 0u32.wrapping_sub(black_box((b >> (31 - bit)) & 1));
        a = (a >> 1) ^ (POLYNOMIAL & 0u32.wrapping_sub(black_box(a & 1)));
    }
    product
}

/// How the checksum changes when the 32-bit word `difference` (old word XOR new word, as it stands in memory, first byte lowest) is
/// XORed into a packet, `behind` bytes before its end.
#[inline(never)]
pub fn change(difference: u32, behind: u16) -> u32 {
    // The remainder of the four bytes: they stand 4 bytes before a CRC of their own.
    let mut sum = multiply(difference, POWERS[2]);
    for k in 0..16 {
        // The power or 1, without a branch that the verifier would follow both ways.
        let mask = 0u32.wrapping_sub(black_box(u32::from(behind >> k) & 1));
        sum = multiply(sum, (POWERS[bounded::index::<16>(k)] & mask) | (ONE & !mask));
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    /// From first principles, bit by bit.
    fn whole(bytes: &[u8]) -> u32 {
        let mut crc = !0u32;
        for byte in bytes {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = if crc & 1 != 0 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
            }
        }
        !crc
    }

    #[test]
    fn each_power_is_the_square_of_the_one_before() {
        assert_eq!(POWERS[0], ONE >> 8);
        assert!(POWERS.windows(2).all(|pair| pair[1] == multiply(pair[0], pair[0])));
    }

    #[test]
    fn the_check_value_is_right() {
        assert_eq!(whole(b"123456789"), 0xe306_9283);
    }

    proptest! {
        #[test]
        fn a_changed_word_changes_the_sum_as_foretold(
            mut bytes in proptest::collection::vec(any::<u8>(), 4..3000),
            at: prop::sample::Index,
            new: [u8; 4],
        ) {
            let before = whole(&bytes);
            let at = at.index(bytes.len() - 3);
            let old: Vec<u8> = bytes[at..at + 4].to_vec();
            bytes[at..at + 4].copy_from_slice(&new);
            let difference = u32::from_le_bytes(new) ^ u32::from_le_bytes([old[0], old[1], old[2], old[3]]);
            let behind = (bytes.len() - at - 4) as u16;
            prop_assert_eq!(whole(&bytes), before ^ change(difference, behind));
        }
    }
}
