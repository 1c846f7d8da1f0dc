//! Taking over what another daemon left: the model is made again from the rows.

use std::collections::HashMap;

use rlvs_core::{
    rows::{DestRow, Span, Words, dest_flags},
    sched::roster::{self, Roster},
    tables::Tables,
};
use rlvs_ipvs::model::{Timeouts, TimeoutsChange};

use super::{Owner, config, convert, estimator::Estimator, limits, services::Entry};
use crate::shared::SharedTables;

/// Service rows in use.
pub fn used_services(tables: &SharedTables) -> impl Iterator<Item = u32> {
    (0..).zip(tables.services.iter()).filter(|(_, row)| row.created != 0).map(|(id, _)| id)
}

/// Destination rows in use.
pub fn used_dests(tables: &SharedTables) -> impl Iterator<Item = u32> {
    (0..).zip(tables.dests.iter()).filter(|(_, row)| row.created != 0).map(|(id, _)| id)
}

/// Room for member lists in use: first slot and length.
pub fn used_members(tables: &SharedTables) -> impl Iterator<Item = (u32, u32)> {
    let rows = tables.services.iter().filter(|row| row.created != 0);
    rows.map(|row| {
        let span = Span::unpack(row.members.load());
        let slots = row.capacity.load().max(span.len);
        ((span.base + span.len).saturating_sub(slots), slots)
    })
}

/// Schedulers' words in use: first word and length.
pub fn used_words(tables: &SharedTables) -> impl Iterator<Item = (u32, u32)> {
    let rows = tables.services.iter().filter(|row| row.created != 0);
    rows.map(|row| Words::unpack(row.words.load())).map(|words| (words.base, roster::words_len(words)))
}

impl Owner {
    /// Reads the rows into the model; into fresh maps it writes the configuration.
    pub(super) fn take_over(&mut self) {
        let found = self.tables.config().is_some_and(|config| config.epoch.load() != 0);
        if found {
            self.take_over_timeouts();
        } else {
            self.write_default_settings();
        }
        self.write_config();
        self.bump_epoch();
        self.take_over_services();
        self.recount_services();
        self.take_over_dests();
        self.ways_stale = true;
        self.take_over_totals();
        self.defend();
        if found {
            let dests: usize = self.entries.values().map(|entry| entry.roster.len()).sum();
            tracing::info!("took over {} services, {dests} destinations and their connections", self.entries.len());
        }
    }

    fn take_over_timeouts(&mut self) {
        let Some(config) = self.tables.config() else { return };
        let Timeouts { tcp_s, tcp_fin_s, udp_s } = config::timeouts_of(config);
        if let Err(error) = self.model.set_timeouts(TimeoutsChange { tcp_s, tcp_fin_s, udp_s }) {
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
            // lblc and lblcr number their bindings from the same count.
            self.created = self.created.max(row.sched_generation());
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
            let roster = Roster::pending(id);
            self.entries.insert(spec.key, Entry::new(id, key, roster, rates));
        }
    }

    fn take_over_dests(&mut self) {
        let mut rows: Vec<(u64, u32)> =
            used_dests(&self.tables).filter_map(|id| Some((self.tables.dests.get(id)?.created, id))).collect();
        rows.sort_unstable();
        // By service row, oldest first.
        let mut lists: HashMap<u32, Vec<u32>> = HashMap::new();
        for (created, id) in rows {
            self.created = self.created.max(created);
            let Some(row) = self.tables.dests.get(id) else { continue };
            let (address, is_available) = (row.address, row.flags.load() & dest_flags::AVAILABLE != 0);
            self.use_address(address);
            if is_available && self.take_over_dest(id) {
                if let Some(row) = self.tables.dests.get(id) {
                    lists.entry(row.service.load()).or_default().push(id);
                }
            } else {
                let Some(row) = self.tables.dests.get(id) else { continue };
                limits::withdraw(row);
                row.leaf.store(0);
                let (service, dest) = (row.service_key, convert::dest_key(row));
                self.throw_away(service, dest, id);
            }
        }
        let now = self.clock.now();
        for entry in self.entries.values_mut() {
            let dests = lists.remove(&entry.id).unwrap_or_default();
            match Roster::resume(&self.tables, &mut self.room.at(now), entry.id, dests) {
                Ok(roster) => entry.roster = roster,
                Err(refused) => tracing::error!("service row {} has lost its list: {refused:?}", entry.id),
            }
            let stats: Vec<_> = entry.roster.dests().map(|id| (id, self.tables.stats(id))).collect();
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
        self.announce(id, spec.key.address);
        let Some(entry) = self.entries.get_mut(&key) else { return false };
        entry.dest_ids.insert(spec.key, id);
        true
    }

    fn service_of(&self, dest: &DestRow) -> Option<rlvs_ipvs::model::ServiceKey> {
        let id = dest.service.load();
        let row = self.tables.services.get(id)?;
        let key = convert::service_spec(row).key;
        (row.created != 0 && self.entries.get(&key)?.id == id).then_some(key)
    }
}
