//! Round robin (schedulers.md section 1).
//!
//! State: the place of the destination picked last, counted from the end of the list (1 is the oldest); 0 at the start. New
//! destinations come in front of the list, so places stay.

use core::ops::ControlFlow;

use super::tree::Tree;
use super::{Pick, Scheduler, View, eligible, member};
use crate::rows::Span;
use crate::tables::{Tables, Walk};

/// Picks the first eligible destination after the one picked last, wrapping round once.
#[inline(always)]
pub fn pick<T: Tables>(tables: &T, view: View, state: u64) -> Pick {
    let place = state as u32;
    let tree = Tree::of(view, Scheduler::RoundRobin as u32);
    if tree.exists() {
        let from = if place == 0 { 0 } else { tree.leaves.wrapping_sub(place).wrapping_add(1) };
        let mut leaf = if from <= tree.leaves { tree.next(tables, from, 1) } else { None };
        if leaf.is_none() && from != 0 {
            leaf = tree.next(tables, 0, 1);
        }
        let Some(leaf) = leaf else {
            return Pick { dest: None, state };
        };
        if let Some(dest) = tree.eligible(tables, leaf) {
            return Pick { dest: Some(dest), state: tree.leaves.wrapping_sub(leaf).into() };
        }
    }
    let next = if place == 0 { 0 } else { view.span.len.wrapping_sub(place).wrapping_add(1) };
    let mut turn = Turn { span: view.span, next, picked: None };
    tables.walk(view.span.len, &mut turn);
    match turn.picked {
        Some(dest) => Pick { dest: Some(dest), state: view.span.len.wrapping_sub(turn.next).wrapping_add(1).into() },
        None => Pick { dest: None, state },
    }
}

struct Turn {
    span: Span,
    /// Index of the next destination to look at.
    next: u32,
    picked: Option<u32>,
}

impl<T: Tables> Walk<T> for Turn {
    #[inline(always)]
    fn step(&mut self, tables: &T, _: u32) -> ControlFlow<()> {
        if self.next >= self.span.len {
            self.next = 0;
        }
        let candidate = member(tables, self.span, self.next);
        self.next += 1;
        match candidate {
            Some(member) if eligible(tables, member) => {
                self.picked = Some(member.dest.load());
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        }
    }
}
