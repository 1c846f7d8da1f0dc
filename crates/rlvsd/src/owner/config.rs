//! The configuration row: what the owner tells every packet beside services and destinations.

use std::{fs, hash::BuildHasher};

use rlvs_core::{
    conn::timeout,
    rows::{self, ABI, ConfigRow},
    tables::Tables,
    wire::protocol,
};
use rlvs_ipvs::model::Timeouts;

use super::Owner;

/// Port of FTP's control connections.
const FTP_PORT: u16 = 21;

impl Owner {
    /// Writes what the configuration says of the host and the kernel; keeps what an operator set.
    pub(super) fn write_config(&self) {
        let Some(config) = self.tables.config() else { return };
        config.abi.store(ABI);
        config.hz.store(self.clock.hz());
        if config.seed.load() == 0 {
            config.seed.store(random());
        }
        self.refresh_ports();
        self.write_timeouts();
    }

    /// Reads the ports that the kernel's settings name.
    pub(super) fn refresh_ports(&self) {
        let Some(config) = self.tables.config() else { return };
        let numbers = |name: &str| -> Vec<u32> {
            let text = fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap_or_default();
            text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
        };
        // The kernel's defaults where it does not say.
        let unprivileged = numbers("ip_unprivileged_port_start").first().copied().unwrap_or(1024);
        let (first, last) = match numbers("ip_local_port_range")[..] {
            [first, last] => (first, last),
            _ => (32_768, 60_999),
        };
        config.unprivileged_port.store(unprivileged);
        config.local_ports.store((first << 16) | (last & 0xffff));
    }

    /// Writes how many services there are of each kind, each number in one step: packets that pass meanwhile look for them as before.
    pub(super) fn recount_services(&mut self) {
        let keys: Vec<rows::ServiceKey> = self.entries.values().map(|entry| entry.key).collect();
        let Some(config) = self.tables.config() else { return };
        let count = |is: &dyn Fn(&rows::ServiceKey) -> bool| keys.iter().filter(|key| is(key)).count() as u32;
        let by_address = |key: &rows::ServiceKey| key.fwmark == 0;
        for family in [rows::family::V4, rows::family::V6] {
            config.services_of(family).store(count(&|key| key.family == family));
        }
        config.mark_services.store(count(&|key| key.fwmark != 0));
        config.all_ports_services.store(count(&|key| by_address(key) && key.port == 0));
        let is_ftp = |key: &rows::ServiceKey| key.port == FTP_PORT && key.protocol == protocol::TCP;
        config.ftp_services.store(count(&|key| by_address(key) && is_ftp(key)));
        keys.into_iter().filter(by_address).for_each(|key| self.use_address(key.address));
    }

    /// Counts a service of this key in (`by` 1) or out (`by` -1): packets look for those that are there only.
    pub(super) fn count_service(&mut self, key: &rows::ServiceKey, by: i32) {
        if let Some(config) = self.tables.config() {
            let count = config.services_of(key.family);
            count.store(count.load().wrapping_add_signed(by));
        }
        match by {
            _ if key.fwmark != 0 => {}
            1.. => self.use_address(key.address),
            _ => self.disuse_address(key.address),
        }
        let Some(config) = self.tables.config() else { return };
        let counter = if key.fwmark != 0 {
            &config.mark_services
        } else if key.port == 0 {
            &config.all_ports_services
        } else if key.port == FTP_PORT && key.protocol == protocol::TCP {
            &config.ftp_services
        } else {
            return;
        };
        counter.store(counter.load().wrapping_add_signed(by));
    }

    /// Begins a new epoch: every cached next hop is looked up again.
    pub fn bump_epoch(&self) {
        if let Some(config) = self.tables.config() {
            // 0 means "nothing cached".
            config.epoch.store(config.epoch.load().wrapping_add(1).max(1));
        }
    }

    /// Timeouts of the model into the configuration row.
    pub(super) fn write_timeouts(&self) {
        let Some(config) = self.tables.config() else { return };
        let hz = self.clock.hz();
        let Timeouts { tcp_s, tcp_fin_s, udp_s } = self.model.timeouts();
        for (index, (cell, default_s)) in config.timeouts.iter().zip(timeout::DEFAULT_S).enumerate() {
            let seconds = match index {
                timeout::TCP_ESTABLISHED => tcp_s,
                timeout::TCP_FIN_WAIT => tcp_fin_s,
                timeout::UDP => udp_s,
                _ => default_s,
            };
            cell.store(seconds.saturating_mul(hz));
        }
    }
}

/// The timeouts that a configuration row holds, in seconds.
pub(super) fn timeouts_of(config: &ConfigRow) -> Timeouts {
    let hz = config.hz.load().max(1);
    let seconds = |index: usize| config.timeouts.get(index).map_or(0, |cell| cell.load() / hz);
    Timeouts {
        tcp_s: seconds(timeout::TCP_ESTABLISHED),
        tcp_fin_s: seconds(timeout::TCP_FIN_WAIT),
        udp_s: seconds(timeout::UDP),
    }
}

/// A number that nobody outside can foresee: the standard library seeds its hash tables from the kernel's generator.
fn random() -> u32 {
    let seed = std::hash::RandomState::new().hash_one(0u8) as u32;
    seed.max(1)
}
