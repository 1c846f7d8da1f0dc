//! Source hashing (schedulers.md section 11): the table, and the slots of a client.
//!
//! The daemon fills the table anew whenever a destination is added, edited or removed.

use super::{Ask, hash::hash32};
use crate::rows::NO_DEST;

/// Slots of a table.
pub const SLOTS: u32 = 256;
const BITS: u32 = SLOTS.trailing_zeros();

/// Deals the slots out to `dests`, numbers of rows with their weights: in turn, as many at a time as the weight says, and one
/// to a destination of weight 0.
pub fn fill(table: &mut [u32], dests: &[(u32, u32)]) {
    table.fill(NO_DEST);
    let shares = dests.iter().cycle().flat_map(|(dest, weight)| {
        let slots = usize::try_from(*weight).unwrap_or(usize::MAX).max(1);
        core::iter::repeat_n(*dest, slots)
    });
    for (slot, dest) in table.iter_mut().zip(shares) {
        *slot = dest;
    }
}

/// The slot of a client that comes from `port` (0 where ports do not count).
#[inline(always)]
pub fn slot(ask: &Ask, port: u32) -> u32 {
    hash32(port.wrapping_add(ask.client.fold()), BITS)
}

/// Where a client of `slot` looks for the `offset`th time, if the destination at its slot takes no connections. IPVS hashes
/// `slot` once more as an offset, so it begins at twice the hash.
#[inline(always)]
pub fn fallback(slot: u32, offset: u32) -> u32 {
    slot.wrapping_mul(2).wrapping_add(offset) & (SLOTS - 1)
}
