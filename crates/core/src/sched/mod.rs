//! Schedulers: which destination a new connection gets. Picks are IPVS's own, exactly (schedulers.md).
//!
//! A scheduler's state is one word that it replaces by compare-and-swap. Of two CPUs that schedule in the same moment one
//! chooses again, as if it had come second; so the sequence of picks is the sequence that one CPU would make.
//!
//! | schedulers | how they choose |
//! |---|---|
//! | [`rr`], [`wrr`] | by their place in the list |
//! | [`least`]: lc wlc sed nq fo ovf | the best by one comparison |
//! | [`twos`] | the better of two at random |
//! | [`hash_table`]: dh sh mh | by a table that the daemon filled ([`dh`], [`sh`], [`mh`]) |
//! | [`lblc`], [`lblcr`] | what they remember of the address asked for, else as wlc |
//!
//! In short lists they look at every destination; in others a [`tree`] over the list knows the answer. The daemon's half of
//! it, lists and trees and tables as operators change them, is [`roster`].

pub mod dh;
pub mod hash;
pub mod hash_table;
pub mod lblc;
pub mod lblcr;
pub mod least;
pub mod mh;
#[cfg(not(target_arch = "bpf"))]
pub mod roster;
pub mod rr;
pub mod sh;
pub mod tree;
pub mod twos;
pub mod wrr;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::rows::{Address, DestRow, MemberRow, NO_DEST, ServiceRow, Span, Words, dest_flags};
use crate::tables::Tables;

/// How often a CPU chooses again because another one chose in the same moment. The last choice stands in any case: under
/// such a rush no order is the right one.
const PICK_TRIES: u32 = 4;

/// The schedulers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    /// Power of two choices: the less loaded of two at random.
    PowerOfTwo = 9,
    /// By a hash of the address that was asked for.
    DestinationHashing = 10,
    /// By a hash of the client's address.
    SourceHashing = 11,
    /// By a hash of the client's address, in Maglev's table.
    MaglevHashing = 12,
    /// The one that served the address asked for before, unless it is overloaded.
    LocalityBased = 13,
    /// The least loaded of a set that serves the address asked for; the set grows when they are overloaded.
    LocalityBasedReplicated = 14,
}

impl Scheduler {
    /// All of them, with the names that `ipvsadm -s` takes.
    pub const ALL: [(&'static str, Self); 15] = [
        ("none", Self::None),
        ("rr", Self::RoundRobin),
        ("wrr", Self::WeightedRoundRobin),
        ("lc", Self::LeastConnection),
        ("wlc", Self::WeightedLeastConnection),
        ("sed", Self::ShortestExpectedDelay),
        ("nq", Self::NeverQueue),
        ("fo", Self::Failover),
        ("ovf", Self::Overflow),
        ("twos", Self::PowerOfTwo),
        ("dh", Self::DestinationHashing),
        ("sh", Self::SourceHashing),
        ("mh", Self::MaglevHashing),
        ("lblc", Self::LocalityBased),
        ("lblcr", Self::LocalityBasedReplicated),
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

    /// Whether it is lblc or lblcr, which remember addresses.
    pub fn remembers(self) -> bool {
        matches!(self, Self::LocalityBased | Self::LocalityBasedReplicated)
    }
}

/// What a scheduler may want to know of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The client's address.
    pub client: Address,
    /// The address that it asked for.
    pub destination: Address,
    /// The client's port, host byte order; 0 unless the protocol is TCP, UDP or SCTP.
    pub client_port: u16,
    /// [`crate::rows::family`] of the addresses.
    pub family: u8,
    /// Now, in jiffies.
    pub now: u64,
}

/// What the program `rlvs_schedule` is asked, in a test frame.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C, packed)]
pub struct Question {
    /// [`Ask::client`].
    pub client: Address,
    /// [`Ask::destination`].
    pub destination: Address,
    /// [`Ask::now`].
    pub now: u64,
    /// What to [`tally`].
    pub delta: u64,
    /// Number of the service to pick for.
    pub service: u32,
    /// The destination to tally for; [`crate::rows::NO_DEST`] to pick one, whose number stands here afterwards.
    pub dest: u32,
    /// [`Ask::client_port`].
    pub client_port: u16,
    /// [`Ask::family`].
    pub family: u8,
    /// Always 0.
    pub zero: u8,
}

/// Where a service's list and its scheduler's words stand, read once for a pick.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// The list.
    pub span: Span,
    /// The words.
    pub words: Words,
}

impl View {
    /// Of a service, as it stands.
    #[inline(always)]
    pub fn of(service: &ServiceRow) -> Self {
        Self { span: Span::unpack(service.members.load()), words: Words::unpack(service.words.load()) }
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
#[inline(always)]
pub fn pick<T: Tables>(tables: &T, service: &ServiceRow, ask: &Ask) -> Option<u32> {
    let scheduler = service.scheduler.load();
    let dest = if scheduler == Scheduler::None as u32 {
        NO_DEST
    } else if scheduler == Scheduler::RoundRobin as u32 {
        by_turn(tables, service)
    } else if scheduler == Scheduler::WeightedRoundRobin as u32 {
        by_weighted_turn(tables, service)
    } else if scheduler < Scheduler::PowerOfTwo as u32 {
        by_comparison(tables, service)
    } else if scheduler == Scheduler::PowerOfTwo as u32 {
        by_chance(tables, service)
    } else if scheduler == Scheduler::LocalityBased as u32 {
        by_locality(tables, service, ask)
    } else if scheduler == Scheduler::LocalityBasedReplicated as u32 {
        by_replicated_locality(tables, service, ask)
    } else {
        by_hash(tables, service, ask)
    };
    (dest != NO_DEST).then_some(dest)
}

// Functions of their own, so that their stack is used one at a time. A function of BPF returns one register, so "none" is
// `NO_DEST` here.

#[inline(never)]
fn by_turn<T: Tables>(tables: &T, service: &ServiceRow) -> u32 {
    in_turn(tables, service, |view, state| rr::pick(tables, view, state))
}

#[inline(never)]
fn by_weighted_turn<T: Tables>(tables: &T, service: &ServiceRow) -> u32 {
    in_turn(tables, service, |view, state| wrr::pick(tables, view, state, service.sched_config.load()))
}

#[inline(never)]
fn by_comparison<T: Tables>(tables: &T, service: &ServiceRow) -> u32 {
    least::pick(tables, View::of(service), service.scheduler.load()).unwrap_or(NO_DEST)
}

#[inline(never)]
fn by_chance<T: Tables>(tables: &T, service: &ServiceRow) -> u32 {
    twos::pick(tables, View::of(service)).unwrap_or(NO_DEST)
}

#[inline(never)]
fn by_hash<T: Tables>(tables: &T, service: &ServiceRow, ask: &Ask) -> u32 {
    hash_table::pick(tables, View::of(service).words, service.flags.load(), ask).unwrap_or(NO_DEST)
}

#[inline(never)]
fn by_locality<T: Tables>(tables: &T, service: &ServiceRow, ask: &Ask) -> u32 {
    lblc::pick(tables, View::of(service), service.sched_config.load() as u32, ask).unwrap_or(NO_DEST)
}

#[inline(never)]
fn by_replicated_locality<T: Tables>(tables: &T, service: &ServiceRow, ask: &Ask) -> u32 {
    lblcr::pick(tables, View::of(service), service.sched_config.load() as u32, ask).unwrap_or(NO_DEST)
}

/// The schedulers that go on from where they stopped: they try until no other CPU chose in the same moment.
#[inline(always)]
fn in_turn<T: Tables>(tables: &T, service: &ServiceRow, pick: impl Fn(View, u64) -> Pick) -> u32 {
    // Not an `Option`: what stands beside `None` is undefined, and the verifier minds when it is moved.
    let mut dest = NO_DEST | unknown_zero(tables);
    for _ in 0..PICK_TRIES {
        let state = service.sched_state.load();
        let pick = pick(View::of(service), state);
        dest = pick.dest.unwrap_or(NO_DEST);
        if pick.state == state || T::swap(&service.sched_state, state, pick.state) == state {
            break;
        }
    }
    dest
}

/// Adds `delta` to the counters of destination `dest`: the one way to change them, as trees are built over them.
#[inline(always)]
pub fn tally<T: Tables>(tables: &T, dest: &DestRow, delta: u64) {
    T::add(&dest.counts, delta);
    tree::counted(tables, dest);
}

/// To be called after [`DestRow::flags`] changed.
#[inline(always)]
pub fn flagged<T: Tables>(tables: &T, dest: &DestRow) {
    tree::changed(tables, dest);
}

/// Member number `index` of `span`; `None` past its end.
#[inline(always)]
fn member<T: Tables>(tables: &T, span: Span, index: u32) -> Option<&MemberRow> {
    if index < span.len { tables.member(span.base.wrapping_add(index)) } else { None }
}

/// Whether a destination takes new connections: weight above 0, below its upper threshold (schedulers.md section 0).
#[inline(always)]
fn eligible<T: Tables>(tables: &T, member: &MemberRow) -> bool {
    let accepts = |dest: &DestRow| dest.flags.load() & dest_flags::OVERLOAD == 0;
    member.weight.load() > 0 && tables.dest(member.dest.load()).is_some_and(accepts)
}

/// A zero that the verifier knows nothing of: what a loop's body reads must not look constant to it where the loop begins
/// (docs/decisions/0007).
#[inline(always)]
fn unknown_zero<T: Tables>(tables: &T) -> u32 {
    tables.config().map_or(0, |config| config.reserved.load())
}

#[cfg(test)]
mod tests;
