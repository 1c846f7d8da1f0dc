//! Maglev hashing (schedulers.md section 12): the table, and the slots of a client.
//!
//! Each destination has its own order in which it wants the slots; they choose in turn, as often in a row as their weight
//! says. The daemon fills the table anew whenever a destination is added, edited or removed.

use super::{Ask, hash::siphash};
use crate::rows::NO_DEST;

/// Slots of a table, and the most destinations of a service: a prime, the kernel's default.
pub const SLOTS: u32 = 4093;
/// Turns of the heaviest destination stay below two to this power.
const TURN_BITS: u32 = 6;
const KEY_OFFSET: u64 = 2_654_435_761;
const KEY_SKIP: u64 = 2_654_446_892;

/// A destination, as it takes part in the filling.
#[derive(Clone, Copy, Debug)]
pub struct Contender {
    /// Number of its row.
    pub dest: u32,
    /// The last weight that was not 0.
    weight: u32,
    /// The slot that it asks for next.
    next: u32,
    /// From one slot that it asks for to the next, 1..[`SLOTS`].
    skip: u32,
}

impl Contender {
    /// Destination `dest`, whose address folds to `address`. `weight` is its last weight that was not 0.
    pub fn new(dest: u32, address: u32, port: u16, weight: u32) -> Self {
        let value = address.wrapping_add(port.into());
        let next = siphash(KEY_OFFSET, value) % SLOTS;
        let skip = siphash(KEY_SKIP, value) % (SLOTS - 1) + 1;
        Self { dest, weight, next, skip }
    }

    /// The first slot that it wants among those that are free.
    fn claim(&mut self, table: &mut [u32]) {
        loop {
            if let Some(slot) = table.get_mut(self.next as usize).filter(|slot| **slot == NO_DEST) {
                *slot = self.dest;
                return;
            }
            self.next += self.skip;
            if self.next >= SLOTS {
                self.next -= SLOTS;
            }
        }
    }
}

/// Deals the slots out. `table` has [`SLOTS`] of them; `contenders` come in the order of the list.
pub fn fill(table: &mut [u32], contenders: &mut [Contender]) {
    table.fill(NO_DEST);
    let step = contenders.iter().fold(0, |step, contender| gcd(step, contender.weight));
    let heaviest = contenders.iter().map(|contender| contender.weight).max().unwrap_or(0);
    let Some(heaviest) = heaviest.checked_div(step) else {
        return;
    };
    let shift = (u32::BITS - heaviest.leading_zeros()).saturating_sub(TURN_BITS);
    let mut free = table.len();
    while free > 0 {
        for contender in &mut *contenders {
            let turns = (contender.weight / step) >> shift;
            let turns = if contender.weight == 0 { 0 } else { turns.max(1) };
            for _ in 0..turns {
                if free == 0 {
                    return;
                }
                contender.claim(table);
                free -= 1;
            }
        }
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// The slot of a client that comes from `port` (0 where ports do not count). `offset` is 0 for its own slot, see
/// [`fallback`] for others.
#[inline(always)]
pub fn slot(ask: &Ask, port: u32, offset: u32) -> u32 {
    siphash(KEY_OFFSET, offset.wrapping_add(port).wrapping_add(ask.client.fold())) % SLOTS
}

/// The offset at which a client of `slot` looks for the `tries`th time, if the destination at its slot takes no
/// connections.
#[inline(always)]
pub fn fallback(slot: u32, tries: u32) -> u32 {
    slot.wrapping_add(tries) % SLOTS
}
