//! Taking over what another daemon left: the model is made again from the rows.

use std::collections::HashMap;

use rlvs_core::{
    conn::timeout,
    rows::{ABI, DestRow, Span, dest_flags},
    sched::Scheduler,
    tables::Tables,
};
use rlvs_ipvs::model::TimeoutsChange;

use super::{Owner, convert, estimator::Estimator, services::Entry};
use crate::shared::SharedTables;

/// Service rows in use.
pub fn used_services(tables: &SharedTables) -> impl Iterator<Item = u32> {
    (0..).zip(tables.services.iter()).filter(|(_, row)| row.created != 0).map(|(id, _)| id)
}

/// Destination rows in use.
pub fn used_dests(tables: &SharedTables) -> impl Iterator<Item = u32> {
    (0..).zip(tables.dests.iter()).filter(|(_, row)| row.created != 0).map(|(id, _)| id)
}

/// Member lists in use.
pub fn used_spans(tables: &SharedTables) -> impl Iterator<Item = (u32, u32)> {
    let rows = tables.services.iter().filter(|row| row.created != 0);
    rows.map(|row| Span::unpack(row.members.load())).map(|span| (span.base, span.len))
}

impl Owner {
    /// Reads the rows into the model; into fresh maps it writes the configuration.
    pub(super) fn take_over(&mut self) {
        let found = self.tables.config().is_some_and(|config| config.epoch.load() != 0);
        if found {
            self.take_over_timeouts();
        }
        if let Some(config) = self.tables.config() {
            config.abi.store(ABI);
            config.hz.store(self.clock.hz());
        }
        self.write_timeouts();
        self.bump_epoch();
        self.take_over_services();
        self.take_over_dests();
        if found {
            let dests: usize = self.entries.values().map(|entry| entry.dests.len()).sum();
            tracing::info!("took over {} services, {dests} destinations and their connections", self.entries.len());
        }
    }

    fn take_over_timeouts(&mut self) {
        let Some(config) = self.tables.config() else { return };
        let hz = config.hz.load().max(1);
        let seconds = |index: usize| config.timeouts.get(index).map_or(0, |cell| cell.load() / hz);
        let change = TimeoutsChange {
            tcp_s: seconds(timeout::TCP_ESTABLISHED),
            tcp_fin_s: seconds(timeout::TCP_FIN_WAIT),
            udp_s: seconds(timeout::UDP),
        };
        if let Err(error) = self.model.set_timeouts(change) {
            tracing::warn!("timeouts of the last daemon not taken over: {error}");
        }
    }

    fn take_over_services(&mut self) {
        let mut rows: Vec<(u64, u32)> =
            used_services(&self.tables).filter_map(|id| Some((self.tables.services.get(id)?.created, id))).collect();
        rows.sort_unstable();
        for (created, id) in rows {
            self.created = self.created.max(created);
            let Some(row) = self.tables.services.get(id) else { continue };
            let scheduler = Scheduler::by_number(row.scheduler.load()).unwrap_or(Scheduler::None);
            let (key, spec, departed) = (row.key, convert::service_spec(row), row.departed);
            if let Err(error) = self.model.add_service(&spec) {
                tracing::error!("service row {id} not taken over: {error}");
                continue;
            }
            // A daemon that died between row and index left the row alone.
            if self.tables.find_service(&key) != Some(id)
                && let Err(error) = self.tables.publish_service(&key, id)
            {
                tracing::error!("service row {id}: {error}");
            }
            let rates = Estimator::at(&departed);
            let entry = Entry { id, key, scheduler, dests: Vec::new(), dest_ids: HashMap::new(), rates };
            self.entries.insert(spec.key, entry);
        }
    }

    fn take_over_dests(&mut self) {
        let mut rows: Vec<(u64, u32)> =
            used_dests(&self.tables).filter_map(|id| Some((self.tables.dests.get(id)?.created, id))).collect();
        rows.sort_unstable();
        for (created, id) in rows {
            self.created = self.created.max(created);
            let Some(row) = self.tables.dests.get(id) else { continue };
            if row.flags.load() & dest_flags::AVAILABLE == 0 || !self.take_over_dest(id) {
                let Some(row) = self.tables.dests.get(id) else { continue };
                row.flags.store(0);
                self.trash.insert((row.service_key, convert::dest_key(row)), id);
            }
        }
        let keys: Vec<_> = self.entries.keys().copied().collect();
        for key in keys {
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            let stats: Vec<_> = entry.dests.iter().map(|id| (*id, self.tables.stats(*id))).collect();
            let total = stats.iter().fold(entry.departed(&self.tables), |sum, (_, stats)| sum.plus(*stats));
            entry.rates = Estimator::at(&total);
            self.dest_rates.extend(stats.iter().map(|(id, stats)| (*id, Estimator::at(stats))));
        }
    }

    /// Puts a destination row back into its service; false where that is gone.
    fn take_over_dest(&mut self, id: u32) -> bool {
        let Some(row) = self.tables.dests.get(id) else { return false };
        let spec = convert::dest_spec(row);
        let Some(key) = self.service_of(row) else { return false };
        if let Err(error) = self.model.add_destination(&key, &spec) {
            tracing::error!("destination row {id} not taken over: {error}");
            return false;
        }
        self.announce(spec.key.address);
        let Some(entry) = self.entries.get_mut(&key) else { return false };
        entry.dests.insert(0, id);
        entry.dest_ids.insert(spec.key, id);
        true
    }

    fn service_of(&self, dest: &DestRow) -> Option<rlvs_ipvs::model::ServiceKey> {
        let row = self.tables.services.get(dest.service)?;
        let key = convert::service_spec(row).key;
        (row.created != 0 && self.entries.get(&key)?.id == dest.service).then_some(key)
    }
}
