//! The counters of a destination, and the thresholds that follow them (connections.md section 8). The one place that counts
//! connections.

use crate::rows::{Counts, DestRow, dest_flags};
use crate::sched;
use crate::tables::Tables;

/// How often a flag's change is tried against other changes of the same word. Each failure means that another CPU has just
/// decided by newer counters.
const FLAG_TRIES: u32 = 4;

/// A connection (`delta`: what it adds to the counters) or template (`delta` 0) that binds to a destination.
pub fn bind<T: Tables>(tables: &T, dest: &DestRow, delta: u64) {
    sched::tally(tables, dest, delta);
    let upper = dest.upper_threshold.load();
    if upper != 0 && total(dest) >= u64::from(upper) {
        set_overload(tables, dest, true);
    }
}

/// The opposite of [`bind`].
pub fn unbind<T: Tables>(tables: &T, dest: &DestRow, delta: u64) {
    sched::tally(tables, dest, delta.wrapping_neg());
    let (upper, lower) = (u64::from(dest.upper_threshold.load()), u64::from(dest.lower_threshold.load()));
    let relieved = match (upper, lower) {
        (0, 0) => true,
        (upper, 0) => total(dest) * 4 < upper * 3,
        (_, lower) => total(dest) < lower,
    };
    if relieved {
        set_overload(tables, dest, false);
    }
}

/// A connection that moves between the two counters.
pub fn moved<T: Tables>(tables: &T, dest: &DestRow, delta: u64) {
    sched::tally(tables, dest, delta);
}

fn total(dest: &DestRow) -> u64 {
    let counts = Counts::unpack(dest.counts.load());
    u64::from(counts.active) + u64::from(counts.inactive)
}

fn set_overload<T: Tables>(tables: &T, dest: &DestRow, on: bool) {
    for _ in 0..FLAG_TRIES {
        let seen = dest.flags.load();
        let wanted = if on { seen | dest_flags::OVERLOAD } else { seen & !dest_flags::OVERLOAD };
        if seen == wanted {
            return;
        }
        if T::swap(&dest.flags, seen, wanted) == seen {
            // Eligibility changed: what schedulers keep beside the counters has to follow.
            sched::flagged(tables, dest);
            return;
        }
    }
}
