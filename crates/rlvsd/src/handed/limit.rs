//! How many ICMP errors are sent: as many as the kernel would send itself.

use std::{
    collections::HashMap,
    fs,
    net::IpAddr,
    time::{Duration, Instant},
};

use rlvs_core::wire::icmp;

use super::refuse::Error;

/// Errors in all: a thousand a second, fifty of them at once (net.ipv4.icmp_msgs_per_sec and icmp_msgs_burst, as Linux has them).
const PER_SECOND: f64 = 1000.0;
const BURST: f64 = 50.0;
/// Errors to one host at once; after them one for each net.ipv4.icmp_ratelimit.
const HOST_BURST: f64 = 6.0;
/// Hosts remembered; when there are more, those that may have everything again are forgotten.
const HOSTS_MAX: usize = 10_000;

/// A bucket of tokens.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    /// Takes a token; `per_second` come back, and there are never more than `burst`.
    fn take(&mut self, now: Instant, per_second: f64, burst: f64) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * per_second).min(burst);
        self.at = now;
        let allowed = self.tokens >= 1.0;
        if allowed {
            self.tokens -= 1.0;
        }
        allowed
    }
}

/// Counts errors.
#[derive(Debug)]
pub struct Limit {
    all: Bucket,
    hosts: HashMap<IpAddr, Bucket>,
}

impl Limit {
    /// None sent yet.
    pub fn new() -> Self {
        Self { all: Bucket { tokens: BURST, at: Instant::now() }, hosts: HashMap::new() }
    }

    /// Whether one more error may be sent.
    pub fn allows(&mut self, error: &Error, now: Instant) -> bool {
        // "Fragmentation needed" is never held back: without it a connection hangs.
        let (kind, code) = error.kind;
        let is_size = match error.to {
            IpAddr::V4(_) => kind == icmp::UNREACHABLE && code == icmp::FRAGMENTATION_NEEDED,
            IpAddr::V6(_) => kind == icmp::V6_TOO_BIG,
        };
        let interval = ratelimit(error.to);
        if is_size || interval.is_zero() {
            return true;
        }
        if !self.all.take(now, PER_SECOND, BURST) {
            return false;
        }
        if self.hosts.len() >= HOSTS_MAX {
            let full = interval.mul_f64(HOST_BURST);
            self.hosts.retain(|_, bucket| now.saturating_duration_since(bucket.at) < full);
        }
        let bucket = self.hosts.entry(error.to).or_insert(Bucket { tokens: HOST_BURST, at: now });
        bucket.take(now, 1.0 / interval.as_secs_f64(), HOST_BURST)
    }
}

/// The kernel's setting: after how long one more error goes to the same host. Zero turns all limits off.
fn ratelimit(to: IpAddr) -> Duration {
    let file = match to {
        IpAddr::V4(_) => "/proc/sys/net/ipv4/icmp_ratelimit",
        IpAddr::V6(_) => "/proc/sys/net/ipv6/icmp/ratelimit",
    };
    let text = fs::read_to_string(file).unwrap_or_default();
    Duration::from_millis(text.trim().parse().unwrap_or(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_one_a_second() {
        let mut bucket = Bucket { tokens: HOST_BURST, at: Instant::now() };
        let begin = bucket.at;
        let taken = |bucket: &mut Bucket, ms: u64| {
            (0..10).filter(|_| bucket.take(begin + Duration::from_millis(ms), 1.0, HOST_BURST)).count()
        };
        assert_eq!(taken(&mut bucket, 0), 6);
        assert_eq!(taken(&mut bucket, 999), 0);
        assert_eq!(taken(&mut bucket, 3100), 3);
        assert_eq!(taken(&mut bucket, 60_000), 6);
    }
}
