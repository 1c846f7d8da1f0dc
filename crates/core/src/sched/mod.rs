//! Schedulers: which destination a new connection gets. Picks are IPVS's own, exactly (schedulers.md).
//!
//! A scheduler's state is one word that it replaces by compare-and-swap. Of two CPUs that schedule in the same moment one
//! chooses again, as if it had come second; so the sequence of picks is the sequence that one CPU would make.

pub mod least;
pub mod rr;
pub mod wrr;

use crate::rows::{DestRow, MemberRow, ServiceRow, Span, dest_flags};
use crate::tables::Tables;

/// How often a CPU chooses again because another one chose in the same moment. The last choice stands in any case: under
/// such a rush no order is the right one.
const PICK_TRIES: u32 = 4;

/// The schedulers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Scheduler {
    /// None: no connection is ever scheduled.
    None = 0,
    /// Round robin.
    RoundRobin = 1,
    /// Weighted round robin.
    WeightedRoundRobin = 2,
    /// Least connections.
    LeastConnection = 3,
    /// Least connections for its weight.
    WeightedLeastConnection = 4,
    /// Shortest expected delay.
    ShortestExpectedDelay = 5,
    /// Never queue: an idle one if there is one, else as the shortest expected delay.
    NeverQueue = 6,
    /// Failover: the heaviest.
    Failover = 7,
    /// Overflow: the heaviest that has not more active connections than its weight.
    Overflow = 8,
}

impl Scheduler {
    /// All of them, with the names that `ipvsadm -s` takes.
    pub const ALL: [(&'static str, Self); 9] = [
        ("none", Self::None),
        ("rr", Self::RoundRobin),
        ("wrr", Self::WeightedRoundRobin),
        ("lc", Self::LeastConnection),
        ("wlc", Self::WeightedLeastConnection),
        ("sed", Self::ShortestExpectedDelay),
        ("nq", Self::NeverQueue),
        ("fo", Self::Failover),
        ("ovf", Self::Overflow),
    ];

    /// The scheduler of this name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(n, _)| *n == name).map(|(_, scheduler)| *scheduler)
    }

    /// The scheduler with this number in [`ServiceRow::scheduler`].
    pub fn by_number(number: u32) -> Option<Self> {
        Self::ALL.iter().find(|(_, scheduler)| *scheduler as u32 == number).map(|(_, scheduler)| *scheduler)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, scheduler)| *scheduler == self).map_or("none", |(name, _)| *name)
    }
}

/// What a scheduler chose and the state it leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    /// Number of the destination row; `None` if no destination is eligible.
    pub dest: Option<u32>,
    /// New [`ServiceRow::sched_state`].
    pub state: u64,
}

/// Chooses a destination for a new connection of `service`.
pub fn pick<T: Tables>(tables: &T, service: &ServiceRow) -> Option<u32> {
    let scheduler = service.scheduler.load();
    let mut chosen = None;
    for _ in 0..PICK_TRIES {
        let span = Span::unpack(service.members.load());
        let state = service.sched_state.load();
        let pick = if scheduler == Scheduler::RoundRobin as u32 {
            rr::pick(tables, span, state)
        } else if scheduler == Scheduler::WeightedRoundRobin as u32 {
            wrr::pick(tables, span, state, service.sched_config.load())
        } else if scheduler == Scheduler::None as u32 {
            return None;
        } else {
            least::pick(tables, span, state, scheduler)
        };
        chosen = pick.dest;
        if pick.state == state || T::swap(&service.sched_state, state, pick.state) == state {
            break;
        }
    }
    chosen
}

/// Member number `index` of `span`; `None` past its end.
fn member<T: Tables>(tables: &T, span: Span, index: u32) -> Option<&MemberRow> {
    if index < span.len { tables.member(span.base.wrapping_add(index)) } else { None }
}

/// Whether a destination takes new connections: weight above 0, below its upper threshold (schedulers.md section 0).
fn eligible<T: Tables>(tables: &T, member: &MemberRow) -> bool {
    let accepts = |dest: &DestRow| dest.flags.load() & dest_flags::OVERLOAD == 0;
    member.weight.load() > 0 && tables.dest(member.dest.load()).is_some_and(accepts)
}

#[cfg(test)]
mod tests;
