//! The schedulers that take the best destination by one comparison: lc, wlc, sed, nq, fo, ovf (schedulers.md sections 3 to 8).
//!
//! Each gives a destination a cost and a weight, and takes the one with the least cost for its weight. Quotients are compared
//! by cross-multiplication, as in the kernel; of equals the first in the list is taken. They keep no state.

use core::ops::ControlFlow;

use super::{Pick, Scheduler, member};
use crate::rows::{Counts, Span, dest_flags};
use crate::tables::{Tables, Walk};

/// Picks by the rule of `scheduler`, a number of [`Scheduler`].
pub fn pick<T: Tables>(tables: &T, span: Span, state: u64, scheduler: u32) -> Pick {
    // Kernels before 6.7 verify a loop's body once, in the state that it finds first, and remove what cannot happen then: the
    // comparison with an earlier candidate. So the search begins with zeros that the verifier knows nothing of.
    let zero = tables.config().map_or(0, |config| config.reserved.load());
    let none = u64::from(zero);
    let mut search = Search { span, scheduler, cost: none, weight: none, found: zero, best: zero };
    tables.walk(span.len, &mut search);
    Pick { dest: (search.found != 0).then_some(search.best), state }
}

/// The best destination so far.
struct Search {
    span: Span,
    scheduler: u32,
    cost: u64,
    weight: u64,
    /// Not 0 once there is one.
    found: u32,
    best: u32,
}

impl<T: Tables> Walk<T> for Search {
    fn step(&mut self, tables: &T, index: u32) -> ControlFlow<()> {
        let Some(member) = member(tables, self.span, index) else {
            return ControlFlow::Break(());
        };
        let weight = member.weight.load();
        let id = member.dest.load();
        let Some(dest) = tables.dest(id).filter(|dest| weight > 0 && dest.flags.load() & dest_flags::OVERLOAD == 0)
        else {
            return ControlFlow::Continue(());
        };
        let counts = Counts::unpack(dest.counts.load());
        if self.scheduler == Scheduler::Overflow as u32 && counts.active > weight {
            return ControlFlow::Continue(());
        }
        let (cost, weight) = score(self.scheduler, counts, weight);
        let idle = self.scheduler == Scheduler::NeverQueue as u32 && counts.active == 0;
        // Products stay below 2^63: a cost has at most 41 bits, and more than 2^32 connections there are not.
        if idle || self.found == 0 || self.cost.wrapping_mul(weight) > cost.wrapping_mul(self.weight) {
            self.found = 1;
            self.best = id;
            self.cost = cost;
            self.weight = weight;
        }
        if idle { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// Cost and weight of a destination under a scheduler.
fn score(scheduler: u32, counts: Counts, weight: u32) -> (u64, u64) {
    let active = u64::from(counts.active);
    // An inactive connection costs 1/256 of an active one (schedulers.md section 0).
    let overhead = active * 256 + u64::from(counts.inactive);
    if scheduler == Scheduler::LeastConnection as u32 {
        (overhead, 1)
    } else if scheduler == Scheduler::WeightedLeastConnection as u32 {
        (overhead, weight.into())
    } else if scheduler == Scheduler::Failover as u32 || scheduler == Scheduler::Overflow as u32 {
        // The heaviest.
        (1, weight.into())
    } else {
        // sed, nq: as if the connection were there already.
        (active + 1, weight.into())
    }
}

#[cfg(test)]
mod tests {
    use std::string::String;

    use super::*;
    use crate::native::NativeTables;

    /// Three reals added in the order 1 (weight 3), 2 (weight 2), 3 (weight 1); twelve SYNs left in SYN_RECV.
    fn picks(scheduler: Scheduler) -> String {
        let tables = NativeTables::new(1, 4, 3, 1, 100);
        for (slot, (real, weight)) in [(3, 1), (2, 2), (1, 3)].into_iter().enumerate() {
            tables.members[slot].dest.store(real);
            tables.members[slot].weight.store(weight);
            tables.dests[real as usize].flags.store(dest_flags::AVAILABLE);
        }
        let span = Span { base: 0, len: 3 };
        let pick = |_| match pick(&tables, span, 0, scheduler as u32).dest {
            Some(real) => {
                NativeTables::add(&tables.dests[real as usize].counts, Counts::ONE_ACTIVE);
                char::from(b'0' + real as u8)
            }
            None => '-',
        };
        (0..12).map(pick).collect()
    }

    /// schedulers.md, table of section 0: recorded from the kernel.
    #[test]
    fn picks_are_the_kernels() {
        assert_eq!(picks(Scheduler::LeastConnection), "321321321321");
        assert_eq!(picks(Scheduler::WeightedLeastConnection), "321121321121");
        assert_eq!(picks(Scheduler::ShortestExpectedDelay), "121321121321");
        assert_eq!(picks(Scheduler::NeverQueue), "321121121321");
        assert_eq!(picks(Scheduler::Failover), "111111111111");
        assert_eq!(picks(Scheduler::Overflow), "111122233---");
    }

    /// schedulers.md section 0: one active connection weighs as much as 256 inactive ones, no more.
    #[test]
    fn an_active_connection_is_256_inactive_ones() {
        let tables = NativeTables::new(1, 2, 2, 1, 100);
        for real in 0..2 {
            tables.members[real].dest.store(real as u32);
            tables.members[real].weight.store(1);
        }
        tables.dests[0].counts.store(Counts::ONE_ACTIVE);
        let span = Span { base: 0, len: 2 };
        let lc = Scheduler::LeastConnection as u32;
        for (inactive, picked) in [(255, 1), (256, 0), (257, 0)] {
            tables.dests[1].counts.store(inactive * Counts::ONE_INACTIVE);
            assert_eq!(pick(&tables, span, 0, lc).dest, Some(picked), "{inactive}");
        }
        tables.dests[0].flags.store(dest_flags::OVERLOAD);
        assert_eq!(pick(&tables, span, 0, lc).dest, Some(1), "an overloaded one is none");
        tables.members[1].weight.store(0);
        assert_eq!(pick(&tables, span, 0, lc).dest, None);
    }
}
