//! Destination hashing (schedulers.md section 10): the table, and the slot of a packet.
//!
//! The daemon fills the table anew when a destination is added or removed, not when one is edited.

use super::{Ask, hash::hash32};
use crate::rows::NO_DEST;

/// Slots of a table.
pub const SLOTS: u32 = 256;
const BITS: u32 = SLOTS.trailing_zeros();

/// Deals the slots out to `dests` in turn, whatever their weights.
pub fn fill(table: &mut [u32], dests: &[u32]) {
    table.fill(NO_DEST);
    for (slot, dest) in table.iter_mut().zip(dests.iter().cycle()) {
        *slot = *dest;
    }
}

/// The slot of a packet.
#[inline(always)]
pub fn slot(ask: &Ask) -> u32 {
    hash32(ask.destination.fold(), BITS)
}
