//! The kernel's jiffies, as the daemon reads them.

use std::{io, thread, time::Duration};

use anyhow::{Result, anyhow};
use aya::{
    TestRun,
    programs::{TestRunOptions, Xdp},
};
use rustix::time::{ClockId, clock_gettime};

/// Turns CLOCK_MONOTONIC, which a process can read, into jiffies, which the data plane counts in: both advance together
/// (jiffies are updated from that clock), so one common reading ties them for good.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    tie: Clocks,
    hz: u32,
}

impl Clock {
    /// Reads both clocks by `program` and finds out the kernel's tick rate.
    ///
    /// # Errors
    /// Where the kernel refuses to run the program, or ticks at a rate that no kernel is built with.
    pub fn new(program: &Xdp) -> Result<Self> {
        let tie = Clocks::read(program)?;
        let hz = match tie.hz_at_a_glance() {
            Some(hz) => hz,
            None => {
                thread::sleep(WATCH);
                Clocks::read(program)?.hz_since(&tie)?
            }
        };
        Ok(Self { tie, hz })
    }

    /// Jiffies per second.
    pub fn hz(&self) -> u32 {
        self.hz
    }

    /// Jiffies now, exact to one.
    pub fn now(&self) -> u64 {
        let time = clock_gettime(ClockId::Monotonic);
        let ns = (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64);
        let ticks = u128::from(ns.saturating_sub(self.tie.monotonic_ns)) * u128::from(self.hz) / 1_000_000_000;
        self.tie.jiffies + ticks as u64
    }
}

/// Tick rates that Linux can be built with (kernel/Kconfig.hz).
const RATES: [u32; 4] = [100, 250, 300, 1000];
/// How long to watch the clocks where one look does not tell the rate: six ticks between 250 and 300.
const WATCH: Duration = Duration::from_millis(120);

/// The kernel's clocks, read at one moment.
#[derive(Clone, Copy, Debug)]
struct Clocks {
    jiffies: u64,
    monotonic_ns: u64,
}

impl Clocks {
    fn read(program: &Xdp) -> io::Result<Self> {
        // The shortest frame that BPF_PROG_TEST_RUN takes is an Ethernet header; a minimal frame is as good.
        let frame = [0u8; 64];
        let mut answer = [0u8; 64];
        let mut options = TestRunOptions::new();
        options.data_in = Some(&frame);
        options.data_out = Some(&mut answer);
        program.test_run(options).map_err(io::Error::other)?;
        let word =
            |at: usize| -> u64 { answer[at..].first_chunk().map_or(0, |bytes: &[u8; 8]| u64::from_ne_bytes(*bytes)) };
        Ok(Self { jiffies: word(0), monotonic_ns: word(8) })
    }

    /// The tick rate, where this one look tells it.
    ///
    /// Jiffies begin five minutes before their 32-bit overflow, so with the right rate they tell the time since the start,
    /// as CLOCK_MONOTONIC does. (Around five minutes after the start every rate does; before, and long after, one.)
    fn hz_at_a_glance(&self) -> Option<u32> {
        let up_s = self.monotonic_ns as f64 / 1e9;
        let fits = |hz: &u32| {
            let begin = (1u64 << 32) - 300 * u64::from(*hz);
            let up_by_jiffies_s = self.jiffies.wrapping_sub(begin) as i64 as f64 / f64::from(*hz);
            (up_by_jiffies_s - up_s).abs() < 5.0 + up_s * 0.01
        };
        let mut fitting = RATES.into_iter().filter(fits);
        fitting.next().filter(|_| fitting.next().is_none())
    }

    /// The tick rate by a second look some time after the first.
    fn hz_since(&self, earlier: &Self) -> Result<u32> {
        let seconds = self.monotonic_ns.saturating_sub(earlier.monotonic_ns) as f64 / 1e9;
        let rate = self.jiffies.saturating_sub(earlier.jiffies) as f64 / seconds;
        let nearest = RATES.into_iter().min_by(|a, b| distance(*a, rate).total_cmp(&distance(*b, rate)));
        let nearest = nearest.filter(|hz| distance(*hz, rate) < 0.15);
        nearest.ok_or_else(|| anyhow!("cannot tell the kernel's tick rate: about {rate:.0} a second"))
    }
}

/// How far a measured rate is from `hz`, relative to it.
fn distance(hz: u32, rate: f64) -> f64 {
    (rate / f64::from(hz) - 1.0).abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clocks(hz: u64, up_s: u64, late_s: u64) -> Clocks {
        let jiffies = (1 << 32) - 300 * hz + (up_s - late_s) * hz;
        Clocks { jiffies, monotonic_ns: up_s * 1_000_000_000 }
    }

    #[test]
    fn one_look_tells_the_rate_soon_and_long_after_the_start() {
        for hz in RATES {
            for (up_s, late_s) in [(10, 0), (7, 3), (60, 1), (3600, 2), (90 * 86_400, 3)] {
                assert_eq!(clocks(hz.into(), up_s, late_s).hz_at_a_glance(), Some(hz), "{hz} {up_s}");
            }
            assert_eq!(clocks(hz.into(), 300, 0).hz_at_a_glance(), None, "every rate fits then");
        }
    }

    #[test]
    fn two_looks_tell_it_at_any_time() {
        for hz in RATES {
            let earlier = clocks(hz.into(), 300, 0);
            let ticks = u64::from(hz) * 12 / 100;
            let later = Clocks { jiffies: earlier.jiffies + ticks, monotonic_ns: earlier.monotonic_ns + 120_000_000 };
            assert_eq!(later.hz_since(&earlier).ok(), Some(hz));
        }
        let earlier = clocks(100, 300, 0);
        let stopped = Clocks { monotonic_ns: earlier.monotonic_ns + 120_000_000, ..earlier };
        assert!(stopped.hz_since(&earlier).is_err());
    }
}
