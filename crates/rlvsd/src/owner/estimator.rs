//! Rates (stats.md section 3): an exponentially weighted average, moved on every two seconds.

use rlvs_core::rows::Stats;
use rlvs_ipvs::model::{self, Rates};

/// How often rates move on, in seconds; the scales below belong to it.
pub const INTERVAL_S: u64 = 2;

/// One counter's rate. `SHIFT` fraction bits; half of it is what rounds the value shown.
#[derive(Clone, Copy, Debug, Default)]
struct Rate<const SHIFT: u32> {
    last: u64,
    average: i64,
}

impl<const SHIFT: u32> Rate<SHIFT> {
    fn update(&mut self, counter: u64) {
        // Over two seconds: half the difference, scaled.
        let rate = (counter.wrapping_sub(self.last) as i64).wrapping_shl(SHIFT - 1);
        self.last = counter;
        self.average += (rate - self.average) >> 2;
    }

    fn shown(&self) -> u64 {
        (self.average + (1 << (SHIFT - 1)) - 1).max(0) as u64 >> SHIFT
    }

    fn at(counter: u64) -> Self {
        Self { last: counter, average: 0 }
    }
}

/// What the last interval left of a service, destination or all of them: the counters then, which are those that clients see
/// (stats.md section 2), and the rates.
#[derive(Clone, Copy, Debug, Default)]
pub struct Estimator {
    seen: Stats,
    conns: Rate<10>,
    in_packets: Rate<10>,
    out_packets: Rate<10>,
    in_bytes: Rate<5>,
    out_bytes: Rate<5>,
}

impl Estimator {
    /// An estimator that has seen these counters.
    pub fn at(stats: &Stats) -> Self {
        Self {
            seen: *stats,
            conns: Rate::at(stats.conns),
            in_packets: Rate::at(stats.in_packets),
            out_packets: Rate::at(stats.out_packets),
            in_bytes: Rate::at(stats.in_bytes),
            out_bytes: Rate::at(stats.out_bytes),
        }
    }

    /// Moves on to these counters.
    pub fn update(&mut self, stats: &Stats) {
        self.seen = *stats;
        self.conns.update(stats.conns);
        self.in_packets.update(stats.in_packets);
        self.out_packets.update(stats.out_packets);
        self.in_bytes.update(stats.in_bytes);
        self.out_bytes.update(stats.out_bytes);
    }

    /// Forgets the rates. Returns the counters as seen, from which clients count from now on.
    pub fn zero(&mut self) -> Stats {
        *self = Self::at(&self.seen);
        self.seen
    }

    /// What a client sees: the counters since `base`, and the rates.
    pub fn shown(&self, base: &Stats) -> model::Stats {
        model::Stats {
            totals: totals(&self.seen.minus(*base)),
            rates: Rates {
                connections: self.conns.shown(),
                packets_in: self.in_packets.shown(),
                packets_out: self.out_packets.shown(),
                bytes_in: self.in_bytes.shown(),
                bytes_out: self.out_bytes.shown(),
            },
        }
    }
}

/// Counters in the words of the model.
pub fn totals(stats: &Stats) -> model::Totals {
    model::Totals {
        connections: stats.conns,
        packets_in: stats.in_packets,
        packets_out: stats.out_packets,
        bytes_in: stats.in_bytes,
        bytes_out: stats.out_bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// stats.md section 3: a burst of 100 connections of 40 bytes, as the kernel showed it.
    #[test]
    fn a_burst_decays_as_in_the_kernel() {
        let mut estimator = Estimator::default();
        let stats = Stats { conns: 100, in_packets: 100, in_bytes: 4000, ..Stats::default() };
        let mut shown = Vec::new();
        for _ in 0..8 {
            estimator.update(&stats);
            let rates = estimator.shown(&Stats::default()).rates;
            shown.push((rates.connections, rates.bytes_in));
        }
        let recorded = [(12, 500), (9, 375), (7, 281), (5, 211), (4, 158), (3, 119), (2, 89), (2, 67)];
        assert_eq!(shown, recorded);
    }

    /// stats.md section 2: zeroing counts from what was seen, not from what happened since.
    #[test]
    fn zeroed_at_what_was_seen() {
        let mut estimator = Estimator::default();
        estimator.update(&Stats { conns: 100, ..Stats::default() });
        let base = estimator.zero();
        assert_eq!(estimator.shown(&base), model::Stats::default());
        estimator.update(&Stats { conns: 104, ..Stats::default() });
        let shown = estimator.shown(&base);
        assert_eq!((shown.totals.connections, shown.rates.connections), (4, 0));
    }
}
