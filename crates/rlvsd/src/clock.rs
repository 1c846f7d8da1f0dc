//! The kernel's jiffies, as the daemon reads them.

use std::io;

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
        let hz =
            tie.hz().map_err(|ratio| anyhow!("cannot tell the kernel's tick rate (about {ratio:.1} a second?)"))?;
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

/// The kernel's clocks, read at one moment.
#[derive(Clone, Copy, Debug)]
struct Clocks {
    /// Jiffies.
    jiffies: u64,
    /// CLOCK_MONOTONIC in nanoseconds.
    monotonic_ns: u64,
}

impl Clocks {
    /// Reads them.
    ///
    /// # Errors
    /// Where the kernel refuses to run the program.
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

    /// Jiffies per second of the running kernel.
    ///
    /// Jiffies begin five minutes before their 32-bit overflow and tick with CLOCK_MONOTONIC; of the values that a kernel
    /// can be built with, one fits.
    ///
    /// # Errors
    /// The ratio, where none does.
    fn hz(&self) -> Result<u32, f64> {
        let seconds = self.monotonic_ns as f64 / 1e9;
        let ratio = |hz: u32| {
            let begin = (1u64 << 32) - 300 * u64::from(hz);
            self.jiffies.wrapping_sub(begin) as f64 / seconds
        };
        [100, 250, 300, 1000]
            .into_iter()
            .find(|hz| (ratio(*hz) / f64::from(*hz) - 1.0).abs() < 0.05)
            .ok_or_else(|| ratio(1000))
    }
}
