//! The three settable connection timeouts.

use crate::Errno;

/// Timeouts of connection states in seconds, as `--set` changes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Established TCP connections.
    pub tcp_s: u32,
    /// TCP connections in FIN_WAIT.
    pub tcp_fin_s: u32,
    /// UDP.
    pub udp_s: u32,
}

impl Default for Timeouts {
    /// 900, 120 and 300 s, the kernel's defaults.
    fn default() -> Timeouts {
        Timeouts { tcp_s: 900, tcp_fin_s: 120, udp_s: 300 }
    }
}

/// New timeouts in seconds as sent; 0 keeps the old value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeoutsChange {
    /// Established TCP connections.
    pub tcp_s: u32,
    /// TCP connections in FIN_WAIT.
    pub tcp_fin_s: u32,
    /// UDP.
    pub udp_s: u32,
}

/// Largest timeout in seconds: `INT_MAX / HZ` at HZ = 100 (netlink.md §4). A kernel with another HZ has
/// another limit; this is the recorded one.
const MAX_S: u32 = i32::MAX as u32 / 100;

impl Timeouts {
    /// These timeouts after the change. All three values are checked before any is taken.
    ///
    /// # Errors
    /// `EINVAL` if a value is above `INT_MAX / HZ` (so also if it is negative as a signed number).
    pub fn changed(self, change: TimeoutsChange) -> Result<Timeouts, Errno> {
        if [change.tcp_s, change.tcp_fin_s, change.udp_s].iter().any(|&seconds| seconds > MAX_S) {
            return Err(Errno::INVAL);
        }
        let pick = |new: u32, old: u32| if new == 0 { old } else { new };
        Ok(Timeouts {
            tcp_s: pick(change.tcp_s, self.tcp_s),
            tcp_fin_s: pick(change.tcp_fin_s, self.tcp_fin_s),
            udp_s: pick(change.udp_s, self.udp_s),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_keeps_and_one_bad_value_spoils_all() {
        let change = TimeoutsChange { tcp_s: 0, tcp_fin_s: 30, udp_s: 0 };
        assert_eq!(Timeouts::default().changed(change), Ok(Timeouts { tcp_s: 900, tcp_fin_s: 30, udp_s: 300 }));
        for bad in [21_474_837, u32::MAX] {
            let change = TimeoutsChange { tcp_s: 5, tcp_fin_s: 0, udp_s: bad };
            assert_eq!(Timeouts::default().changed(change), Err(Errno::INVAL));
        }
        let change = TimeoutsChange { udp_s: 21_474_836, ..TimeoutsChange::default() };
        assert!(Timeouts::default().changed(change).is_ok());
    }
}
