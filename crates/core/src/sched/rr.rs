//! Round robin (schedulers.md section 1).
//!
//! State: how many list elements lie before the place to go on from; 0 at the start, i + 1 after element i was picked.

use super::{Pick, eligible, member};
use crate::rows::Span;
use crate::tables::{Tables, Walk};
use core::ops::ControlFlow;

/// Picks the first eligible destination after the one picked last, wrapping round once.
pub fn pick<T: Tables>(tables: &T, span: Span, state: u64) -> Pick {
    let mut turn = Turn { span, next: state as u32, picked: None };
    tables.walk(span.len, &mut turn);
    match turn.picked {
        Some(dest) => Pick { dest: Some(dest), state: u64::from(turn.next) },
        None => Pick { dest: None, state },
    }
}

/// The state after element `index` left the list (the order of the others stays): the element before it, if it was the one
/// picked last, becomes that.
pub fn after_removal(state: u64, index: u32) -> u64 {
    if u64::from(index) < state { state - 1 } else { state }
}

/// The state after an element was put at the head of the list.
pub fn after_insertion(state: u64) -> u64 {
    if state == 0 { 0 } else { state + 1 }
}

struct Turn {
    span: Span,
    next: u32,
    picked: Option<u32>,
}

impl<T: Tables> Walk<T> for Turn {
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
