//! The modes that act by themselves when memory is low (connections.md section 11).

use rlvs_core::{rows::Setting, tables::Tables};

use super::Owner;
use crate::memory;

/// How often memory is looked at, in seconds.
pub const INTERVAL_S: u64 = 1;

/// Values of a mode.
const AUTOMATIC_OFF: u32 = 1;
const AUTOMATIC_ON: u32 = 2;
const ALWAYS: u32 = 3;

/// What a mode is after a look at memory: its own value, and whether it is on.
fn step(mode: u32, memory_is_low: bool) -> (u32, bool) {
    match (mode, memory_is_low) {
        (AUTOMATIC_OFF | AUTOMATIC_ON, true) => (AUTOMATIC_ON, true),
        (AUTOMATIC_OFF | AUTOMATIC_ON, false) => (AUTOMATIC_OFF, false),
        (mode, _) => (mode, mode == ALWAYS),
    }
}

/// drop_packet: one of how many packets is dropped. `mode` is the mode's own value, after [`step`] found it on.
fn drop_rate(mode: u32, am_droprate: i32, amemthresh: i64, available: i64) -> u32 {
    let rate = match mode {
        ALWAYS => am_droprate.into(),
        _ => amemthresh / (amemthresh - available).max(1),
    };
    // Every packet where the rate means nothing.
    u32::try_from(rate.max(1)).unwrap_or(u32::MAX)
}

impl Owner {
    /// Looks at memory and turns the modes on or off.
    pub fn defend(&mut self) {
        let Some(config) = self.tables.config() else { return };
        let setting = |setting: Setting| config.setting(setting);
        let threshold = i64::from(setting(Setting::Amemthresh) as i32);
        // Memory of which the kernel says nothing is not low.
        let available = memory::available().unwrap_or(i64::MAX);
        let low = available < threshold;
        let next = |mode: Setting| -> (u32, bool) {
            let (value, on) = step(setting(mode), low);
            if let Some(cell) = config.settings.get(mode as usize) {
                cell.store(value);
            }
            (value, on)
        };
        let (mode, on) = next(Setting::DropPacket);
        let rate = if on { drop_rate(mode, setting(Setting::AmDroprate) as i32, threshold, available) } else { 0 };
        config.drop_rate.store(rate);
        let (_, secure) = next(Setting::SecureTcp);
        config.tcp_table.store(secure.into());
        let (_, thin) = next(Setting::DropEntry);
        self.thins = thin;
    }

    /// The second's work: looks at the kernel's ports and at memory, and thins out the connections where that is on.
    pub fn guard(&mut self) {
        self.refresh_ports();
        self.defend();
        if self.thins {
            let now = self.clock.now();
            let ended = self.thinning.run(&self.tables, now, u64::from(self.clock.hz()));
            tracing::debug!("drop_entry ended {ended} connections");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn automatic_modes_flip_and_others_stay() {
        for (mode, low, after) in [
            (0, true, (0, false)),
            (0, false, (0, false)),
            (1, true, (2, true)),
            (1, false, (1, false)),
            (2, true, (2, true)),
            (2, false, (1, false)),
            (3, true, (3, true)),
            (3, false, (3, true)),
        ] {
            assert_eq!(step(mode, low), after, "{mode} {low}");
        }
    }

    #[test]
    fn the_rate_is_the_operators_or_follows_the_lack() {
        assert_eq!(drop_rate(ALWAYS, 5, 1024, 0), 5);
        assert_eq!(drop_rate(ALWAYS, -1, 1024, 0), 1);
        assert_eq!(drop_rate(AUTOMATIC_ON, 5, 1024, 1000), 42);
        assert_eq!(drop_rate(AUTOMATIC_ON, 5, 1024, 0), 1);
    }
}
