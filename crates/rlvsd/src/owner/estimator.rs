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

    fn zero(&mut self, counter: u64) {
        *self = Self { last: counter, average: 0 };
    }
}

/// The rates of a service or destination.
#[derive(Clone, Copy, Debug, Default)]
pub struct Estimator {
    conns: Rate<10>,
    in_packets: Rate<10>,
    out_packets: Rate<10>,
    in_bytes: Rate<5>,
    out_bytes: Rate<5>,
}

impl Estimator {
    /// An estimator that has seen these counters.
    pub fn at(stats: &Stats) -> Self {
        let mut new = Self::default();
        new.zero(stats);
        new
    }

    /// Moves on to these counters.
    pub fn update(&mut self, stats: &Stats) {
        self.conns.update(stats.conns);
        self.in_packets.update(stats.in_packets);
        self.out_packets.update(stats.out_packets);
        self.in_bytes.update(stats.in_bytes);
        self.out_bytes.update(stats.out_bytes);
    }

    /// Forgets the past.
    pub fn zero(&mut self, stats: &Stats) {
        self.conns.zero(stats.conns);
        self.in_packets.zero(stats.in_packets);
        self.out_packets.zero(stats.out_packets);
        self.in_bytes.zero(stats.in_bytes);
        self.out_bytes.zero(stats.out_bytes);
    }

    /// The rates beside totals, as a client sees them.
    pub fn with_totals(&self, totals: &Stats) -> model::Stats {
        model::Stats {
            totals: model::Totals {
                connections: totals.conns,
                packets_in: totals.in_packets,
                packets_out: totals.out_packets,
                bytes_in: totals.in_bytes,
                bytes_out: totals.out_bytes,
            },
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
            let rates = estimator.with_totals(&stats).rates;
            shown.push((rates.connections, rates.bytes_in));
        }
        let recorded = [(12, 500), (9, 375), (7, 281), (5, 211), (4, 158), (3, 119), (2, 89), (2, 67)];
        assert_eq!(shown, recorded);
    }
}
