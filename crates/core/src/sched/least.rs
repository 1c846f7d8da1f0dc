//! The schedulers that take the best destination by one comparison: lc, wlc, sed, nq, fo, ovf (schedulers.md sections 3 to 8).
//!
//! Each gives a destination a cost and a weight, and takes the one with the least cost for its weight. Quotients are compared
//! by cross-multiplication, as in the kernel; of equals the first in the list is taken. They keep no state.

use core::ops::ControlFlow;

use super::{Scheduler, View, member, tree, unknown_zero};
use crate::rows::{Counts, DestRow, Span, dest_flags};
use crate::tables::{Tables, Walk};

/// By what destinations are compared.
pub mod rule {
    use super::Scheduler;

    /// Least connections.
    pub const CONNECTIONS: u32 = Scheduler::LeastConnection as u32;
    /// Least connections for its weight.
    pub const WEIGHTED: u32 = Scheduler::WeightedLeastConnection as u32;
    /// Idle ones before all others.
    pub const NEVER_QUEUE: u32 = Scheduler::NeverQueue as u32;
    /// The heaviest.
    pub const HEAVIEST: u32 = Scheduler::Failover as u32;
    /// The heaviest that is not full.
    pub const OVERFLOW: u32 = Scheduler::Overflow as u32;
    /// Any that has less than half as many active connections as its weight, whatever its flags: where there is one, others
    /// count as overloaded (schedulers.md section 13).
    pub const SPARE: u32 = 100;
}

/// What a destination puts into the comparison: a cost, and the weight that it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Below 2^41.
    pub cost: u64,
    /// 1..=2147483647.
    pub weight: u64,
}

impl Standing {
    /// Whether a later one in the list takes the place of `self`. Products stay below 2^63: more than 2^32 connections there
    /// are not.
    #[inline(always)]
    pub fn gives_way_to(&self, later: &Self) -> bool {
        self.cost.wrapping_mul(later.weight) > later.cost.wrapping_mul(self.weight)
    }
}

/// How a destination of this weight stands under a rule; `None` where it is not eligible.
#[inline(always)]
pub fn standing(rule: u32, dest: &DestRow, weight: u32) -> Option<Standing> {
    let counts = Counts::unpack(dest.counts.load());
    let active = u64::from(counts.active);
    if rule == rule::SPARE {
        return (active * 2 < u64::from(weight)).then_some(Standing { cost: 1, weight: 1 });
    }
    if weight == 0 || dest.flags.load() & dest_flags::OVERLOAD != 0 {
        return None;
    }
    let weight = u64::from(weight);
    // An inactive connection costs 1/256 of an active one (schedulers.md section 0).
    let overhead = active * 256 + u64::from(counts.inactive);
    if rule == rule::WEIGHTED {
        Some(Standing { cost: overhead, weight })
    } else if rule == rule::CONNECTIONS {
        Some(Standing { cost: overhead, weight: 1 })
    } else if rule == rule::HEAVIEST {
        Some(Standing { cost: 1, weight })
    } else if rule == rule::OVERFLOW {
        (active <= weight).then_some(Standing { cost: 1, weight })
    } else if rule == rule::NEVER_QUEUE && active == 0 {
        Some(Standing { cost: 0, weight })
    } else {
        // sed, nq: as if the connection were there already.
        Some(Standing { cost: active + 1, weight })
    }
}

/// Picks by the rule of `scheduler`, a number of [`Scheduler`].
#[inline(always)]
pub fn pick<T: Tables>(tables: &T, view: View, scheduler: u32) -> Option<u32> {
    best(tables, view, scheduler, tree::Tree::of(view, scheduler))
}

/// The best by a rule: as the tree knows it, or, where there is none or it is just changing, after a walk over the list.
#[inline(always)]
pub fn best<T: Tables>(tables: &T, view: View, rule: u32, tree: tree::Tree) -> Option<u32> {
    if tree.exists() {
        let slot = tree.winner(tables).checked_sub(1)?;
        if let Some(dest) = tree.eligible(tables, slot) {
            return Some(dest);
        }
    }
    // Kernels before 6.7 verify a loop's body once, in the state that it finds first, and remove what cannot happen then: the
    // comparison with an earlier candidate. So the search begins with zeros that the verifier knows nothing of.
    let zero = unknown_zero(tables);
    let none = u64::from(zero);
    let mut search =
        Search { span: view.span, rule, found: zero, best: Standing { cost: none, weight: none }, dest: zero };
    tables.walk(view.span.len, &mut search);
    (search.found != 0).then_some(search.dest)
}

/// The best destination so far.
struct Search {
    span: Span,
    rule: u32,
    /// Not 0 once there is one.
    found: u32,
    dest: u32,
    best: Standing,
}

impl<T: Tables> Walk<T> for Search {
    #[inline(always)]
    fn step(&mut self, tables: &T, index: u32) -> ControlFlow<()> {
        let Some(member) = member(tables, self.span, index) else {
            return ControlFlow::Break(());
        };
        let id = member.dest.load();
        let weight = member.weight.load();
        let Some(standing) = tables.dest(id).and_then(|dest| standing(self.rule, dest, weight)) else {
            return ControlFlow::Continue(());
        };
        if self.found == 0 || self.best.gives_way_to(&standing) {
            self.found = 1;
            self.dest = id;
            self.best = standing;
        }
        ControlFlow::Continue(())
    }
}
