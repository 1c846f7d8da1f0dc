//! Weighted round robin (schedulers.md section 2).
//!
//! IPVS walks the list again and again, lowering the current weight by one step a round, and takes the first destination
//! at least that heavy. Rounds in which nobody is heavy enough are skipped here by going at once to the highest step that
//! somebody reaches; so a pick costs at most two walks, whatever the weights, and the picks are the same.
//!
//! State: position (high half; 0 is the head, else the place counted from the end of the list, as in [`super::rr`]) and
//! current weight. Config: highest step (high half) and step width, from [`Config`].

use core::ops::ControlFlow;

use super::tree::Tree;
use super::{Pick, Scheduler, View, eligible, member};
use crate::rows::Span;
use crate::tables::{Tables, Walk};

fn pack(high: u32, low: u32) -> u64 {
    (u64::from(high) << 32) | u64::from(low)
}

/// What the weights of a service amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The highest current weight, `maximum - (step - 1)`; 0 where no destination has a weight.
    pub highest: u32,
    /// Greatest common divisor of the weights above 0; 1 where there is none.
    pub step: u32,
}

impl Config {
    /// Of these weights.
    pub fn of(weights: impl Iterator<Item = u32>) -> Self {
        let (mut maximum, mut step) = (0, 0);
        for weight in weights {
            maximum = weight.max(maximum);
            step = gcd(step, weight);
        }
        let step = step.max(1);
        Self { highest: if maximum == 0 { 0 } else { maximum - (step - 1) }, step }
    }

    /// With one more weight.
    pub fn with(self, weight: u32) -> Self {
        if weight == 0 {
            return self;
        }
        let maximum = if self.highest == 0 { 0 } else { self.highest + (self.step - 1) };
        let step = if maximum == 0 { weight } else { gcd(self.step, weight) };
        Self { highest: maximum.max(weight) - (step - 1), step }
    }

    /// From [`Self::pack`].
    pub fn unpack(word: u64) -> Self {
        Self { highest: (word >> 32) as u32, step: word as u32 }
    }

    /// As one word.
    pub fn pack(self) -> u64 {
        pack(self.highest, self.step)
    }

    /// State of a service that just got this scheduler.
    pub fn fresh_state(self) -> u64 {
        pack(0, self.highest)
    }

    /// State after a destination was added, edited or removed.
    pub fn state_after_edit(self, state: u64) -> u64 {
        let current = state as u32;
        let current = if current > self.highest || current == 0 {
            self.highest
        } else if self.step > 1 {
            current / self.step * self.step + 1
        } else {
            current
        };
        pack(0, current)
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Picks by the current weight, lowering it as IPVS does.
#[inline(always)]
pub fn pick<T: Tables>(tables: &T, view: View, state: u64, config: u64) -> Pick {
    let Config { highest, step } = Config { highest: (config >> 32) as u32, step: config as u32 };
    let (position, current) = ((state >> 32) as u32, state as u32);
    if highest == 0 {
        return Pick { dest: None, state };
    }
    // The rest of the round that is under way.
    let rest = Round::first(tables, view, position, current);
    if rest.place != 0 {
        return Pick { dest: Some(rest.dest), state: pack(rest.place, current) };
    }
    // The next rounds: first those below the current weight, then from the top.
    let reached = rest.heaviest.saturating_sub(step.wrapping_sub(1));
    let next = if current > step {
        reached.min(current - step)
    } else if position == 0 {
        return Pick { dest: None, state: pack(0, highest) };
    } else {
        reached.min(highest)
    };
    if next == 0 {
        return Pick { dest: None, state: exhausted(position, current, highest, step) };
    }
    let round = Round::first(tables, view, 0, next);
    if round.place != 0 {
        return Pick { dest: Some(round.dest), state: pack(round.place, next) };
    }
    // The list changed under the walk.
    Pick { dest: None, state: pack(0, highest) }
}

/// The state that IPVS leaves when nobody at all is eligible: it gives up either at the head, having come past the lowest
/// step (from anywhere above it, or from the head), or where it began, having gone once through all steps.
fn exhausted(position: u32, current: u32, highest: u32, step: u32) -> u64 {
    if current > step || position == 0 {
        pack(0, highest)
    } else {
        let lowest = (highest - 1).checked_rem(step).unwrap_or(0) + 1;
        pack(position, lowest)
    }
}

/// One walk over the list: the first eligible destination after a place that is at least `at_least` heavy, and the
/// heaviest of all that were passed.
struct Round {
    span: Span,
    /// Index to begin at.
    from: u32,
    at_least: u32,
    /// Place of what was found, counted from the end; 0 where nothing was.
    place: u32,
    dest: u32,
    heaviest: u32,
}

impl Round {
    /// The first after `place`; 0 is the head.
    #[inline(always)]
    fn first<T: Tables>(tables: &T, view: View, place: u32, at_least: u32) -> Self {
        let span = view.span;
        let mut round = Self { span, from: 0, at_least, place: 0, dest: 0, heaviest: 0 };
        let tree = Tree::of(view, Scheduler::WeightedRoundRobin as u32);
        if tree.exists() {
            let from = if place == 0 { 0 } else { tree.leaves.wrapping_sub(place).wrapping_add(1) };
            let Some(leaf) = tree.next(tables, from, at_least) else {
                round.heaviest = tree.heaviest_of_all(tables);
                return round;
            };
            if let Some(dest) = tree.eligible(tables, leaf) {
                round.place = tree.leaves.wrapping_sub(leaf);
                round.dest = dest;
                return round;
            }
        }
        if place != 0 {
            round.from = span.len.wrapping_sub(place).wrapping_add(1);
        }
        tables.walk(span.len, &mut round);
        round
    }
}

impl<T: Tables> Walk<T> for Round {
    #[inline(always)]
    fn step(&mut self, tables: &T, index: u32) -> ControlFlow<()> {
        let Some(member) = member(tables, self.span, index) else {
            return ControlFlow::Break(());
        };
        let weight = member.weight.load();
        let wanted = index >= self.from && weight >= self.at_least;
        if (!wanted && weight <= self.heaviest) || !eligible(tables, member) {
            return ControlFlow::Continue(());
        }
        if weight > self.heaviest {
            self.heaviest = weight;
        }
        if wanted {
            self.place = self.span.len.wrapping_sub(index);
            self.dest = member.dest.load();
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}
