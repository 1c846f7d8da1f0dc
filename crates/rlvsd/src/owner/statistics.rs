//! Statistics: counted by packets for each destination and CPU, looked at every two seconds, shown since they were zeroed
//! (stats.md sections 2 and 3).

use rlvs_core::{
    rows::{Setting, Stats},
    tables::Tables,
};
use rlvs_ipvs::model::{self, ServiceKey, Totals};

use super::{Owner, estimator, estimator::Estimator, services::Entry};

impl Owner {
    /// Looks at all counters and moves all rates on by one interval; not where run_estimation is 0.
    pub fn estimate(&mut self) {
        if !self.tables.config().is_some_and(|config| config.is_on(Setting::RunEstimation)) {
            return;
        }
        let all: Vec<Stats> = (0..self.dest_ids.end()).map(|id| self.tables.stats(id)).collect();
        let of = |id: u32| all.get(id as usize).copied().unwrap_or_default();
        for entry in self.entries.values_mut() {
            let mut total = entry.departed(&self.tables);
            for id in entry.roster.dests() {
                let stats = of(id);
                total = total.plus(stats);
                self.dest_rates.entry(id).or_default().update(&stats);
            }
            entry.rates.update(&total);
        }
        // What packets counted for rows that have other destinations by now is in there as well: totals never shrink.
        self.total.update(&all.into_iter().fold(Stats::default(), Stats::plus));
    }

    /// Begins with what was counted before this daemon.
    pub(super) fn take_over_totals(&mut self) {
        let total = (0..self.dest_ids.end()).map(|id| self.tables.stats(id)).fold(Stats::default(), Stats::plus);
        self.total = Estimator::at(&total);
    }

    /// Statistics of a service as a client sees them.
    pub(super) fn service_stats(&self, entry: &Entry) -> model::Stats {
        let base = self.tables.services.get(entry.id).map_or(Stats::default(), |row| row.zero_base);
        entry.rates.shown(&base)
    }

    /// Statistics of destination row `id` as a client sees them.
    pub(super) fn dest_stats(&self, id: u32) -> model::Stats {
        let base = self.tables.dests.get(id).map_or(Stats::default(), |row| row.zero_base);
        self.dest_rates.get(&id).copied().unwrap_or_else(|| Estimator::at(&base)).shown(&base)
    }

    /// Statistics over everything that ever was, as a client sees them.
    pub(super) fn total_stats(&self) -> model::Stats {
        self.total.shown(&self.total_base)
    }

    /// What each possible CPU has counted, never zeroed.
    pub(super) fn cpu_totals(&self) -> Vec<Totals> {
        let mut cpus: Vec<Stats> = Vec::new();
        for id in 0..self.dest_ids.end() {
            for (cpu, stats) in self.tables.stats_by_cpu(id).enumerate() {
                match cpus.get_mut(cpu) {
                    Some(sum) => *sum = sum.plus(stats),
                    None => cpus.push(stats),
                }
            }
        }
        if cpus.is_empty() {
            cpus = self.tables.stats_by_cpu(0).collect();
        }
        cpus.iter().map(estimator::totals).collect()
    }

    /// Zeroes the statistics of a service and its destinations.
    pub(super) fn zero_service(&mut self, key: &ServiceKey) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        for id in entry.roster.dests() {
            let Some(rates) = self.dest_rates.get_mut(&id) else { continue };
            let base = rates.zero();
            self.tables.dests.update(id, |row| row.zero_base = base);
        }
        let base = entry.rates.zero();
        self.tables.services.update(entry.id, |row| row.zero_base = base);
    }

    /// Zeroes all statistics.
    pub(super) fn zero_all(&mut self) {
        let keys: Vec<ServiceKey> = self.entries.keys().copied().collect();
        keys.iter().for_each(|key| self.zero_service(key));
        self.total_base = self.total.zero();
    }
}
