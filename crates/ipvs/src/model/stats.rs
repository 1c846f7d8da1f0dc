//! Counters and rates, and what a table says about itself.

use std::fmt;

/// Totals since creation or the last zeroing, 64-bit (stats.md §1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Connections scheduled.
    pub connections: u64,
    /// Packets from clients.
    pub packets_in: u64,
    /// Packets from real servers.
    pub packets_out: u64,
    /// Bytes from clients, counted by IP total length.
    pub bytes_in: u64,
    /// Bytes from real servers, counted by IP total length.
    pub bytes_out: u64,
}

/// Estimated rates per second, as shown (already scaled down, stats.md §3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Connections per second.
    pub connections: u64,
    /// Packets per second from clients.
    pub packets_in: u64,
    /// Packets per second from real servers.
    pub packets_out: u64,
    /// Bytes per second from clients.
    pub bytes_in: u64,
    /// Bytes per second from real servers.
    pub bytes_out: u64,
}

/// Statistics of a service or destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Totals.
    pub totals: Totals,
    /// Rates.
    pub rates: Rates,
}

impl Stats {
    /// The ten numbers in the order of their attributes (netlink.md §3.5): five totals, five rates.
    pub fn numbers(&self) -> [u64; 10] {
        let (t, r) = (self.totals, self.rates);
        [
            t.connections,
            t.packets_in,
            t.packets_out,
            t.bytes_in,
            t.bytes_out,
            r.connections,
            r.packets_in,
            r.packets_out,
            r.bytes_in,
            r.bytes_out,
        ]
    }

    /// The statistics with these ten numbers: the inverse of [`Stats::numbers`].
    pub fn from_numbers(numbers: [u64; 10]) -> Stats {
        let [connections, packets_in, packets_out, bytes_in, bytes_out, cps, pps_in, pps_out, bps_in, bps_out] =
            numbers;
        Stats {
            totals: Totals { connections, packets_in, packets_out, bytes_in, bytes_out },
            rates: Rates {
                connections: cps,
                packets_in: pps_in,
                packets_out: pps_out,
                bytes_in: bps_in,
                bytes_out: bps_out,
            },
        }
    }
}

/// Version of the control interface, `major.minor.patch` in bits 16..24, 8..16 and 0..8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32);

impl Version {
    /// 1.2.1, the version of every kernel this crate speaks to and the one it answers.
    pub const IPVS_1_2_1: Version = Version::new(1, 2, 1);

    /// The version of these three parts.
    pub const fn new(major: u8, minor: u8, patch: u8) -> Version {
        Version((major as u32) << 16 | (minor as u32) << 8 | patch as u32)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", (self.0 >> 16) & 0xff, (self.0 >> 8) & 0xff, self.0 & 0xff)
    }
}

/// What GET_INFO answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// Version of the control interface.
    pub version: Version,
    /// Number of buckets of the connection table (4096 by default), shown as `size=`.
    pub connection_table_size: u32,
}

impl Default for Info {
    /// Version 1.2.1 and 4096 buckets, the kernel's default.
    fn default() -> Info {
        Info { version: Version::IPVS_1_2_1, connection_table_size: 4096 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_print_their_three_parts() {
        assert_eq!(Version(0x0001_0201), Version::IPVS_1_2_1);
        assert_eq!(Version::IPVS_1_2_1.to_string(), "1.2.1");
    }

    #[test]
    fn numbers_round_trip() {
        let numbers = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
        assert_eq!(Stats::from_numbers(numbers).numbers(), numbers);
    }
}
