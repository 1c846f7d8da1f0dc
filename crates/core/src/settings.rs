//! The files that IPVS has in /proc/sys/net/ipv4/vs: names, defaults, and which values may be written (connections.md
//! section 13). Data and checks only; what a setting does stands where it is read.

use crate::rows::Setting;

/// Which numbers may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Every number of 32 bits.
    Any,
    /// From the first to the last.
    Range(i32, i32),
    /// Powers of two.
    PowerOfTwo,
    /// Two numbers, neither negative; the first below the second unless that is 0.
    Threshold,
}

/// What a setting is before anybody writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Default {
    /// These numbers.
    Numbers(&'static [i32]),
    /// A 32nd of the machine's pages.
    PagesBy32,
}

/// A file.
#[derive(Clone, Copy, Debug)]
pub struct Sysctl {
    /// Its name, without `net.ipv4.vs.`.
    pub name: &'static str,
    /// Where its numbers stand: one, or two for [`Rule::Threshold`].
    pub settings: &'static [Setting],
    /// Its default.
    pub default: Default,
    /// What may be written.
    pub rule: Rule,
}

const fn any(name: &'static str, settings: &'static [Setting], default: &'static [i32]) -> Sysctl {
    Sysctl { name, settings, default: Default::Numbers(default), rule: Rule::Any }
}

const fn mode(name: &'static str, settings: &'static [Setting]) -> Sysctl {
    Sysctl { name, settings, default: Default::Numbers(&[0]), rule: Rule::Range(0, 3) }
}

/// All of them, by name.
pub const ALL: &[Sysctl] = &[
    any("am_droprate", &[Setting::AmDroprate], &[10]),
    any("amemthresh", &[Setting::Amemthresh], &[1024]),
    any("backup_only", &[Setting::BackupOnly], &[0]),
    any("cache_bypass", &[Setting::CacheBypass], &[0]),
    any("conn_reuse_mode", &[Setting::ConnReuseMode], &[1]),
    any("conntrack", &[Setting::Conntrack], &[0]),
    any("debug_level", &[Setting::DebugLevel], &[0]),
    mode("drop_entry", &[Setting::DropEntry]),
    mode("drop_packet", &[Setting::DropPacket]),
    any("expire_nodest_conn", &[Setting::ExpireNodestConn], &[0]),
    any("expire_quiescent_template", &[Setting::ExpireQuiescentTemplate], &[0]),
    any("ignore_tunneled", &[Setting::IgnoreTunneled], &[0]),
    any("lblc_expiration", &[Setting::LblcExpiration], &[86_400]),
    any("lblcr_expiration", &[Setting::LblcrExpiration], &[86_400]),
    any("nat_icmp_send", &[Setting::NatIcmpSend], &[0]),
    any("pmtu_disc", &[Setting::PmtuDisc], &[1]),
    any("run_estimation", &[Setting::RunEstimation], &[1]),
    any("schedule_icmp", &[Setting::ScheduleIcmp], &[0]),
    mode("secure_tcp", &[Setting::SecureTcp]),
    any("sloppy_sctp", &[Setting::SloppySctp], &[0]),
    any("sloppy_tcp", &[Setting::SloppyTcp], &[0]),
    any("snat_reroute", &[Setting::SnatReroute], &[1]),
    any("sync_persist_mode", &[Setting::SyncPersistMode], &[0]),
    Sysctl { rule: Rule::PowerOfTwo, ..any("sync_ports", &[Setting::SyncPorts], &[1]) },
    Sysctl { default: Default::PagesBy32, ..any("sync_qlen_max", &[Setting::SyncQlenMax], &[]) },
    any("sync_refresh_period", &[Setting::SyncRefreshPeriod], &[0]),
    Sysctl { rule: Rule::Range(0, 3), ..any("sync_retries", &[Setting::SyncRetries], &[0]) },
    any("sync_sock_size", &[Setting::SyncSockSize], &[0]),
    Sysctl { rule: Rule::Threshold, ..any("sync_threshold", &[Setting::SyncThreshold, Setting::SyncPeriod], &[3, 50]) },
    Sysctl { rule: Rule::Range(0, 1), ..any("sync_version", &[Setting::SyncVersion], &[1]) },
];

/// The file of this name.
pub fn by_name(name: &str) -> Option<&'static Sysctl> {
    ALL.iter().find(|sysctl| sysctl.name == name)
}

impl Rule {
    /// Whether these numbers may be written: as many as the file has.
    pub fn allows(self, numbers: &[i32]) -> bool {
        match (self, numbers) {
            (Self::Any, _) => true,
            (Self::Range(first, last), [number]) => (first..=last).contains(number),
            (Self::PowerOfTwo, [number]) => *number > 0 && number.count_ones() == 1,
            (Self::Threshold, [threshold, period]) => {
                *threshold >= 0 && *period >= 0 && (*period == 0 || threshold < period)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::SETTINGS;

    #[test]
    fn names_are_in_order_and_settings_have_places_of_their_own() {
        assert!(ALL.windows(2).all(|pair| pair[0].name < pair[1].name));
        let mut used = [false; SETTINGS];
        for setting in ALL.iter().flat_map(|sysctl| sysctl.settings) {
            let place = &mut used[*setting as usize];
            assert!(!*place, "{setting:?} twice");
            *place = true;
        }
        assert_eq!(used.iter().filter(|used| **used).count(), 31, "every setting is some file's");
    }

    #[test]
    fn every_default_may_be_written() {
        for sysctl in ALL {
            if let Default::Numbers(numbers) = sysctl.default {
                assert!(sysctl.rule.allows(numbers), "{}", sysctl.name);
                assert_eq!(numbers.len(), sysctl.settings.len(), "{}", sysctl.name);
            }
        }
    }

    /// connections.md section 13, "Rejected writes".
    #[test]
    fn what_the_kernel_refuses() {
        let allows = |name: &str, numbers: &[i32]| by_name(name).map(|sysctl| sysctl.rule.allows(numbers));
        for (name, good, bad) in [
            ("drop_entry", [0, 3], [-1, 4]),
            ("drop_packet", [1, 2], [-1, 4]),
            ("secure_tcp", [0, 3], [-1, 4]),
            ("sync_ports", [1, 1 << 20], [0, 3]),
            ("sync_version", [0, 1], [-1, 2]),
            ("sync_retries", [0, 3], [-1, 4]),
        ] {
            for number in good {
                assert_eq!(allows(name, &[number]), Some(true), "{name} {number}");
            }
            for number in bad {
                assert_eq!(allows(name, &[number]), Some(false), "{name} {number}");
            }
        }
        assert_eq!(allows("sync_threshold", &[3, 50]), Some(true));
        assert_eq!(allows("sync_threshold", &[3, 0]), Some(true));
        for bad in [[-1, 50], [3, -1], [50, 50]] {
            assert_eq!(allows("sync_threshold", &bad), Some(false), "{bad:?}");
        }
        assert_eq!(allows("conn_reuse_mode", &[-7]), Some(true));
        assert_eq!(allows("nosuch", &[0]), None);
    }
}
