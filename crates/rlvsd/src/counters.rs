//! Counters by verdict, summed over CPUs, under the names of `rlvs_core::verdict`.

use std::collections::BTreeMap;

use aya::maps::{MapData, PerCpuArray};
use rlvs_core::verdict;

/// The data plane's verdict counters.
pub struct Counters(pub PerCpuArray<MapData, u64>);

impl Counters {
    /// Drops, and everything else, by name.
    pub fn read(&self) -> (BTreeMap<String, u64>, BTreeMap<String, u64>) {
        let all = verdict::NAMES.iter().map(|(index, name, _)| {
            let cpus = self.0.get(index, 0);
            let sum = cpus.map_or(0, |cpus| cpus.iter().fold(0u64, |sum, count| sum.wrapping_add(*count)));
            ((*name).to_owned(), sum)
        });
        all.partition(|(name, _)| name.starts_with("drop_"))
    }
}
