//! Power of two choices (schedulers.md section 9): two destinations at random, by weight; the less loaded of them.

use core::ops::ControlFlow;

use super::tree::{Tree, forget};
use super::{Scheduler, View, eligible, member, unknown_zero};
use crate::rows::{Counts, Span};
use crate::tables::{Tables, Walk};

/// Picks the better of two.
#[inline(always)]
pub fn pick<T: Tables>(tables: &T, view: View) -> Option<u32> {
    let tree = Tree::of(view, Scheduler::PowerOfTwo as u32);
    let total = total(tables, view, tree);
    if total == 0 {
        return None;
    }
    let numbers = [below(tables, total), below(tables, total)];
    let mut chosen = [0; 2];
    for (number, chosen) in numbers.into_iter().zip(&mut chosen) {
        *chosen = choose(tables, view, tree, number)?;
    }
    let [(first_cost, first_weight), (second_cost, second_weight)] = chosen.map(|id| load(tables, id));
    // 32-bit products, as in the kernel.
    let second_is_better = second_weight.wrapping_mul(first_cost) > first_weight.wrapping_mul(second_cost);
    let [first, second] = chosen;
    Some(if second_is_better { second } else { first })
}

/// Overhead and weight of a destination.
#[inline(always)]
fn load<T: Tables>(tables: &T, id: u32) -> (i32, i32) {
    let Some(dest) = tables.dest(id) else {
        return (0, 0);
    };
    let counts = Counts::unpack(dest.counts.load());
    (counts.active.wrapping_mul(256).wrapping_add(counts.inactive) as i32, dest.weight.load() as i32)
}

/// A number of 0..=`total`: inclusive, so that the first destination has one chance more than its weight.
#[inline(always)]
fn below<T: Tables>(tables: &T, total: u64) -> u64 {
    let numbers = total.wrapping_add(1);
    if numbers >> 32 == 0 {
        return (u64::from(tables.random()).wrapping_mul(numbers)) >> 32;
    }
    let bits = (u64::from(tables.random()) << 32) | u64::from(tables.random());
    bits.checked_rem(numbers).unwrap_or(0)
}

/// The sum of the weights of all that are eligible.
#[inline(always)]
fn total<T: Tables>(tables: &T, view: View, tree: Tree) -> u64 {
    if tree.exists() {
        return tree.below(tables, 1);
    }
    let mut sum = Draw::new(view.span, u64::MAX, unknown_zero(tables));
    tables.walk(view.span.len, &mut sum);
    sum.passed
}

/// The first destination at which the weights add up to `number`.
#[inline(always)]
fn choose<T: Tables>(tables: &T, view: View, tree: Tree, number: u64) -> Option<u32> {
    let zero = unknown_zero(tables);
    if tree.exists() {
        let mut descent = Descent { tree, node: forget(1, zero), rest: number, zero };
        tables.walk(tree.leaves, &mut descent);
        if let Some(dest) = tree.eligible(tables, descent.node.wrapping_sub(tree.leaves)) {
            return Some(dest);
        }
    }
    let mut draw = Draw::new(view.span, number, zero);
    tables.walk(view.span.len, &mut draw);
    (draw.found != 0).then_some(draw.dest)
}

/// On the way through the list, adding up weights.
struct Draw {
    span: Span,
    rest: u64,
    passed: u64,
    dest: u32,
    /// Not 0 once there is one.
    found: u32,
    /// A zero that keeps the verifier from following the sum through every step.
    zero: u64,
}

impl Draw {
    #[inline(always)]
    fn new(span: Span, rest: u64, zero: u32) -> Self {
        let wide = (u64::from(zero) << 32) | u64::from(zero);
        Self { span, rest, passed: wide, dest: zero, found: zero, zero: wide }
    }
}

impl<T: Tables> Walk<T> for Draw {
    #[inline(always)]
    fn step(&mut self, tables: &T, index: u32) -> ControlFlow<()> {
        let Some(member) = member(tables, self.span, index) else {
            return ControlFlow::Break(());
        };
        if !eligible(tables, member) {
            return ControlFlow::Continue(());
        }
        self.passed = self.passed.wrapping_add(member.weight.load().into()).wrapping_add(self.zero);
        if self.passed < self.rest {
            return ControlFlow::Continue(());
        }
        self.dest = member.dest.load();
        self.found = 1;
        ControlFlow::Break(())
    }
}

/// On the way down the tree of sums.
struct Descent {
    tree: Tree,
    node: u32,
    rest: u64,
    /// See [`forget`].
    zero: u32,
}

impl<T: Tables> Walk<T> for Descent {
    #[inline(always)]
    fn step(&mut self, tables: &T, _: u32) -> ControlFlow<()> {
        if self.node >= self.tree.leaves {
            return ControlFlow::Break(());
        }
        let left = self.node << 1;
        let sum = self.tree.below(tables, left);
        if sum > 0 && self.rest <= sum {
            self.node = forget(left, self.zero);
        } else {
            self.rest = self.rest.wrapping_sub(sum);
            self.node = forget(left | 1, self.zero);
        }
        ControlFlow::Continue(())
    }
}
