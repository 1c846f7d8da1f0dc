//! The hashes of the schedulers (schedulers.md sections 0 and 12). All take numbers, not bytes of packets.

/// Multiplicative hash of `value` to `bits` bits, 1..=32.
#[inline(always)]
pub fn hash32(value: u32, bits: u32) -> u32 {
    const MULTIPLIER: u32 = 0x61C8_8647;
    value.wrapping_mul(MULTIPLIER) >> (32 - bits)
}

/// SipHash-1-3 of the four little-endian bytes of `value`, truncated to 32 bits. Both halves of the key are `key`.
#[inline(always)]
pub fn siphash(key: u64, value: u32) -> u32 {
    let mut state = Sip([
        key ^ 0x736f_6d65_7073_6575,
        key ^ 0x646f_7261_6e64_6f6d,
        key ^ 0x6c79_6765_6e65_7261,
        key ^ 0x7465_6462_7974_6573,
    ]);
    // The last block of a message: what is left of it, and its length in the highest byte.
    let block = (4 << 56) | u64::from(value);
    state.0[3] ^= block;
    state.round();
    state.0[0] ^= block;
    state.0[2] ^= 0xff;
    state.round();
    state.round();
    state.round();
    let Sip([a, b, c, d]) = state;
    (a ^ b ^ c ^ d) as u32
}

struct Sip([u64; 4]);

impl Sip {
    #[inline(always)]
    fn round(&mut self) {
        let Self([a, b, c, d]) = self;
        *a = a.wrapping_add(*b);
        *c = c.wrapping_add(*d);
        *b = b.rotate_left(13) ^ *a;
        *d = d.rotate_left(16) ^ *c;
        *a = a.rotate_left(32);
        *c = c.wrapping_add(*b);
        *a = a.wrapping_add(*d);
        *b = b.rotate_left(17) ^ *c;
        *d = d.rotate_left(21) ^ *a;
        *c = c.rotate_left(32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// schedulers.md section 12, "v=0".
    #[test]
    fn siphash_of_nothing() {
        assert_eq!(siphash(2_654_435_761, 0), 0x1d5a_77c2);
        assert_eq!(siphash(2_654_446_892, 0), 0xf882_433f);
    }
}
