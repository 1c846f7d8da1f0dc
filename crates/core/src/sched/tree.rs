//! A tree over a member list: what a scheduler would find by walking the whole list, found in a few steps.
//!
//! The leaves are the slots of the list, in its order. Each inner node holds what its two children come to under a rule: the
//! leaf that wins ([`rule`]), or the sum of the weights ([`SUM`]). Node 1 is the root, the children of node n are 2n and
//! 2n + 1, the leaves follow the inner nodes. A list as short as [`LINEAR_MAX`] has none.
//!
//! Whoever changes a counter, weight or flag climbs from the leaf to the root and makes every node right that the change
//! concerns. There are no locks. A node is right if it says what its children come to now; who wrote one looks again before
//! going on, so the last to write a node has seen the last change under it. Until then a pick may find a destination that
//! another CPU is just about to overtake; one that is not eligible is noticed, and the list is walked instead.

use core::ops::ControlFlow;

use super::least::{Standing, rule, standing};
use super::{Scheduler, View, unknown_zero};
use crate::rows::{DestRow, dest_flags};
#[cfg(not(target_arch = "bpf"))]
use crate::rows::{ServiceRow, Words};
use crate::tables::{Tables, Walk};

/// Lists with room for so many members have no tree: looking at all of them costs as much.
pub const LINEAR_MAX: u32 = 16;

/// A tree has at most so many levels below the root: more destinations than tables have.
const LEVELS_MAX: u32 = 24;

/// Steps of a climb: each level is looked at, written, and looked at again; the rest is for nodes that others change.
const CLIMB_STEPS: u32 = 3 * LEVELS_MAX;

/// Steps of a search: up and down again.
const SEARCH_STEPS: u32 = 2 * LEVELS_MAX + 2;

/// The rule of a tree of sums: nodes hold the weight of the eligible destinations below them.
pub const SUM: u32 = 101;

/// The rule of the tree that a scheduler wants first of all; 0 where it wants none.
#[inline(always)]
pub fn rule_of(scheduler: u32) -> u32 {
    if scheduler == Scheduler::RoundRobin as u32 || scheduler == Scheduler::WeightedRoundRobin as u32 {
        rule::HEAVIEST
    } else if scheduler == Scheduler::PowerOfTwo as u32 {
        SUM
    } else if scheduler >= Scheduler::LocalityBased as u32 {
        rule::WEIGHTED
    } else if scheduler >= Scheduler::DestinationHashing as u32 {
        0
    } else {
        scheduler
    }
}

/// Whether the scheduler has a second tree, of [`rule::SPARE`], behind its first.
#[inline(always)]
pub fn has_second(scheduler: u32) -> bool {
    scheduler == Scheduler::LocalityBased as u32 || scheduler == Scheduler::LocalityBasedReplicated as u32
}

/// A tree and the list it stands on.
#[derive(Clone, Copy, Debug)]
pub struct Tree {
    /// Slot of the first leaf.
    pub slots: u32,
    /// Word of node 0, which is not used.
    pub nodes: u32,
    /// Number of leaves, a power of two; 0 where there is no tree. (An `Option` would leave the other fields undefined, and
    /// the verifier minds when they are moved all the same.)
    pub leaves: u32,
    /// By what leaves are compared.
    pub rule: u32,
}

impl Tree {
    /// The tree of a service that `scheduler` keeps, by that scheduler's first rule.
    #[inline(always)]
    pub fn of(view: View, scheduler: u32) -> Self {
        let is_there = view.words.levels != 0 && view.words.scheduler == scheduler;
        let leaves = if is_there { 1u32.wrapping_shl(view.words.levels) } else { 0 };
        let slots = view.span.base.wrapping_add(view.span.len).wrapping_sub(leaves);
        Self { slots, nodes: view.words.base, leaves, rule: rule_of(scheduler) }
    }

    /// Whether there is a tree at all.
    #[inline(always)]
    pub fn exists(&self) -> bool {
        self.leaves != 0
    }

    /// The tree behind it: see [`has_second`].
    #[inline(always)]
    pub fn second(self) -> Self {
        Self { nodes: self.nodes.wrapping_add(self.leaves), rule: rule::SPARE, ..self }
    }

    /// The winner among all, as leaf + 1; 0 where nobody is eligible.
    #[inline(always)]
    pub fn winner<T: Tables>(&self, tables: &T) -> u32 {
        self.below(tables, 1) as u32
    }

    /// The destination at a leaf, if it is eligible.
    #[inline(always)]
    pub fn eligible<T: Tables>(&self, tables: &T, leaf: u32) -> Option<u32> {
        let member = tables.member(self.slots.wrapping_add(leaf))?;
        let id = member.dest.load();
        standing(self.rule, tables.dest(id)?, member.weight.load()).map(|_| id)
    }

    /// What stands at a node, or at a leaf: the winner below it as leaf + 1, or the sum.
    #[inline(always)]
    pub fn below<T: Tables>(&self, tables: &T, node: u32) -> u64 {
        if node < self.leaves {
            return tables.word(self.nodes.wrapping_add(node)).map_or(0, |word| word.load());
        }
        let leaf = node.wrapping_sub(self.leaves);
        if self.rule == SUM { self.weight(tables, leaf).into() } else { u64::from(leaf) + 1 }
    }

    /// The weight at a leaf, 0 where it is not eligible.
    #[inline(always)]
    pub fn weight<T: Tables>(&self, tables: &T, leaf: u32) -> u32 {
        let Some(member) = tables.member(self.slots.wrapping_add(leaf)) else {
            return 0;
        };
        let weight = member.weight.load();
        if weight == 0 {
            return 0;
        }
        let accepts = |dest: &DestRow| dest.flags.load() & dest_flags::OVERLOAD == 0;
        if tables.dest(member.dest.load()).is_some_and(accepts) { weight } else { 0 }
    }

    /// How a winner (leaf + 1) stands now.
    #[inline(always)]
    fn standing<T: Tables>(&self, tables: &T, winner: u64) -> Option<Standing> {
        let leaf = (winner as u32).checked_sub(1)?;
        let member = tables.member(self.slots.wrapping_add(leaf))?;
        standing(self.rule, tables.dest(member.dest.load())?, member.weight.load())
    }

    /// What the children of a node come to: `left` and `right` are what [`Self::below`] says of them.
    #[inline(always)]
    fn outcome<T: Tables>(&self, tables: &T, left: u64, right: u64) -> u64 {
        if self.rule == SUM {
            return left.wrapping_add(right);
        }
        match (self.standing(tables, left), self.standing(tables, right)) {
            (Some(earlier), Some(later)) if earlier.gives_way_to(&later) => right,
            (Some(_), _) => left,
            (None, Some(_)) => right,
            (None, None) => 0,
        }
    }

    /// The greatest weight of those below a node, 0 where nobody is eligible. For [`rule::HEAVIEST`].
    #[inline(always)]
    fn heaviest<T: Tables>(&self, tables: &T, node: u32) -> u32 {
        (self.below(tables, node) as u32).checked_sub(1).map_or(0, |leaf| self.weight(tables, leaf))
    }

    /// The greatest weight of all that are eligible. For [`rule::HEAVIEST`].
    #[inline(always)]
    pub fn heaviest_of_all<T: Tables>(&self, tables: &T) -> u32 {
        self.heaviest(tables, 1)
    }

    /// The first leaf from `from` on whose destination is eligible and at least so heavy. For [`rule::HEAVIEST`]. It is for
    /// the caller to check what it gets: others may change the tree meanwhile.
    #[inline(always)]
    pub fn next<T: Tables>(&self, tables: &T, from: u32, at_least: u32) -> Option<u32> {
        let zero = unknown_zero(tables);
        // A search from the beginning descends from the root. Any other climbs from the leaf before `from`.
        let descends = u32::from(from == 0 && self.heaviest(tables, 1) >= at_least);
        let node = if from == 0 { 1 } else { self.leaves.wrapping_add(from).wrapping_sub(1) };
        let mut search =
            Search { tree: *self, at_least, node: forget(node, zero), descends: descends | zero, found: zero, zero };
        tables.walk(SEARCH_STEPS, &mut search);
        search.found.checked_sub(1)
    }

    /// Makes all nodes right, from the leaves on.
    #[cfg(not(target_arch = "bpf"))]
    pub fn settle<T: Tables>(self, tables: &T) {
        for node in (1..self.leaves).rev() {
            let Some(word) = tables.word(self.nodes + node) else { return };
            for _ in 0..CLIMB_STEPS {
                let seen = word.load();
                let (left, right) = (self.below(tables, 2 * node), self.below(tables, 2 * node + 1));
                let now = self.outcome(tables, left, right);
                if seen == now {
                    break;
                }
                T::swap(word, seen, now);
            }
        }
    }
}

/// On the way from a leaf to the root.
struct Climb {
    tree: Tree,
    /// The node, or at first the leaf, below which all is right.
    child: u32,
    /// Not 0 if this climb changed the child's parent: then what is above it must be looked at.
    changed: u32,
    /// See [`forget`].
    zero: u32,
}

/// `node`, of which the verifier knows nothing any more. Each shift tells it one more bit, so that it would take every step
/// of a loop for a new one. `zero` comes from [`unknown_zero`].
#[inline(always)]
pub fn forget(node: u32, zero: u32) -> u32 {
    node.wrapping_add(zero)
}

impl Climb {
    #[inline(always)]
    fn new<T: Tables>(tables: &T, tree: Tree, leaf: u32) -> Self {
        let zero = unknown_zero(tables);
        Self { tree, child: tree.leaves.wrapping_add(leaf), changed: zero, zero }
    }
}

impl<T: Tables> Walk<T> for Climb {
    #[inline(always)]
    fn step(&mut self, tables: &T, _: u32) -> ControlFlow<()> {
        let node = self.child >> 1;
        if node == 0 {
            return ControlFlow::Break(());
        }
        let Some(word) = tables.word(self.tree.nodes.wrapping_add(node)) else {
            return ControlFlow::Break(());
        };
        let seen = word.load();
        let left = self.tree.below(tables, self.child & !1);
        let right = self.tree.below(tables, self.child | 1);
        let now = self.tree.outcome(tables, left, right);
        if seen != now {
            // Written or not, the node is looked at again: the children may have changed before it was written.
            T::swap(word, seen, now);
            self.changed = 1;
            return ControlFlow::Continue(());
        }
        let from_child = if self.child & 1 == 0 { left } else { right };
        if self.changed == 0 && now != from_child {
            // The other child has won and wins again: nothing changes above.
            return ControlFlow::Break(());
        }
        self.child = forget(node, self.zero);
        self.changed = 0;
        ControlFlow::Continue(())
    }
}

/// On the way to the first leaf that is heavy enough.
struct Search {
    tree: Tree,
    at_least: u32,
    node: u32,
    /// Not 0 once the node is known to have such a leaf below it.
    descends: u32,
    /// Leaf + 1.
    found: u32,
    /// See [`forget`].
    zero: u32,
}

impl<T: Tables> Walk<T> for Search {
    #[inline(always)]
    fn step(&mut self, tables: &T, _: u32) -> ControlFlow<()> {
        if self.descends != 0 {
            if self.node >= self.tree.leaves {
                self.found = self.node.wrapping_sub(self.tree.leaves).wrapping_add(1);
                return ControlFlow::Break(());
            }
            let left = self.node << 1;
            let next = if self.tree.heaviest(tables, left) >= self.at_least { left } else { left | 1 };
            self.node = forget(next, self.zero);
            return ControlFlow::Continue(());
        }
        if self.node <= 1 {
            return ControlFlow::Break(());
        }
        if self.node & 1 == 0 && self.tree.heaviest(tables, self.node | 1) >= self.at_least {
            self.node = forget(self.node | 1, self.zero);
            self.descends = 1;
        } else {
            self.node = forget(self.node >> 1, self.zero);
        }
        ControlFlow::Continue(())
    }
}

/// Brings the tree over a destination's service in line with its counters.
#[inline(always)]
pub fn counted<T: Tables>(tables: &T, dest: &DestRow) {
    update(tables, dest, 0);
}

/// Brings the tree over a destination's service in line with its weight and flags.
#[inline(always)]
pub fn changed<T: Tables>(tables: &T, dest: &DestRow) {
    // A barrier: the nodes are read after the change was written, on every CPU.
    T::add(&dest.counts, 0);
    update(tables, dest, 1);
}

/// With `all` 0 for those trees alone that depend on counters. Returns 0: a function of BPF returns something.
#[inline(never)]
fn update<T: Tables>(tables: &T, dest: &DestRow, all: u32) -> u32 {
    let Some(leaf) = dest.leaf.load().checked_sub(1) else {
        return 0;
    };
    let Some(service) = tables.service(dest.service.load()) else {
        return 0;
    };
    let view = View::of(service);
    let tree = Tree::of(view, view.words.scheduler);
    if leaf >= tree.leaves || (all == 0 && (tree.rule == rule::HEAVIEST || tree.rule == SUM)) {
        return 0;
    }
    let mut climb = Climb::new(tables, tree, leaf);
    tables.walk(CLIMB_STEPS, &mut climb);
    if has_second(view.words.scheduler) {
        climb = Climb::new(tables, tree.second(), leaf);
        tables.walk(CLIMB_STEPS, &mut climb);
    }
    0
}

/// The words that a scheduler wants for a list with this many slots, a power of two.
#[cfg(not(target_arch = "bpf"))]
pub fn words(scheduler: Scheduler, slots: u32) -> Words {
    let number = scheduler as u32;
    let wanted = slots > LINEAR_MAX && rule_of(number) != 0;
    Words { base: 0, scheduler: number, levels: if wanted { slots.trailing_zeros() } else { 0 } }
}

/// How many words a service's tree takes.
#[cfg(not(target_arch = "bpf"))]
pub fn size(words: Words) -> u32 {
    let trees = if has_second(words.scheduler) { 2 } else { 1 };
    if words.levels == 0 { 0 } else { trees << words.levels }
}

/// Makes all nodes of a service's trees right.
#[cfg(not(target_arch = "bpf"))]
pub fn settle<T: Tables>(tables: &T, service: &ServiceRow) {
    let view = View::of(service);
    let tree = Tree::of(view, view.words.scheduler);
    tree.settle(tables);
    if tree.exists() && has_second(view.words.scheduler) {
        tree.second().settle(tables);
    }
}
