//! What the owner shows: services and destinations with their counters, and the list of connections.

use rlvs_core::{
    conn::{Life, tcp},
    rows::{Counts, Stats},
    tables::Tables,
    wire::ipv4::PROTOCOL_TCP,
};
use rlvs_ipvs::{
    Errno,
    director::Director,
    model::{DestinationStatus, Service, ServiceKey, ServiceStatus},
    proc_format::{self, ConnEntry},
};

use super::{Owner, convert, estimator::Estimator};

impl Owner {
    pub(super) fn service_status(&self, service: &Service) -> Result<ServiceStatus, Errno> {
        let entry = self.entries.get(service.key()).ok_or(Errno::SRCH)?;
        let base = self.tables.services.get(entry.id).map_or(Stats::default(), |row| row.zero_base);
        let totals = self.service_stats(entry).minus(base);
        Ok(ServiceStatus { service: service.clone(), stats: entry.rates.with_totals(&totals) })
    }

    pub(super) fn destination_statuses(&self, service: &ServiceKey) -> Result<Vec<DestinationStatus>, Errno> {
        let entry = self.entries.get(service).ok_or(Errno::SRCH)?;
        let model = self.model.service(service)?;
        let status = |dest: &rlvs_ipvs::model::Destination| {
            let id = *entry.dest_ids.get(dest.key()).ok_or(Errno::NOENT)?;
            let row = self.tables.dests.get(id).ok_or(Errno::NOENT)?;
            let counts = Counts::unpack(row.counts.load());
            let rates = self.dest_rates.get(&id).copied().unwrap_or_default();
            Ok(DestinationStatus {
                destination: *dest,
                active_connections: counts.active,
                inactive_connections: counts.inactive,
                persistent_connections: 0,
                stats: rates.with_totals(&self.tables.stats(id).minus(row.zero_base)),
            })
        };
        model.destinations().map(status).collect()
    }

    /// The text of /proc/net/ip_vs_conn: connections whose time is not over, newest row first.
    pub fn conn_text(&self) -> String {
        let (now, hz) = (self.clock.now(), u64::from(self.clock.hz()));
        let rows = (0..self.tables.conns_used()).rev().filter_map(|id| self.tables.conn(id));
        let entries = rows.filter_map(|row| {
            let life = row.life();
            life.is_current(now).then(|| {
                let identity = row.identity();
                let [client, service, destination] = convert::ends(&identity);
                ConnEntry {
                    protocol: identity.protocol,
                    client,
                    service,
                    destination,
                    state: state_name(identity.protocol, life),
                    expires_s: ((life.deadline - now) / hz) as u32,
                    engine: None,
                }
            })
        });
        proc_format::conn_text(entries)
    }

    /// The text of /proc/net/ip_vs.
    ///
    /// # Errors
    /// None but a contradiction between model and rows.
    pub fn table_text(&self) -> Result<String, Errno> {
        let services = self.services()?;
        let dests: Vec<Vec<DestinationStatus>> =
            services.iter().map(|status| self.destinations(status.service.key())).collect::<Result<_, _>>()?;
        let rows = services.iter().zip(dests.iter().map(Vec::as_slice));
        Ok(proc_format::table_text(&self.info()?, rows))
    }

    /// The text of /proc/net/ip_vs_stats: totals and rates over all services.
    ///
    /// # Errors
    /// None but a contradiction between model and rows.
    pub fn stats_text(&self) -> Result<String, Errno> {
        let mut sum = Estimator::default().with_totals(&Stats::default()).numbers();
        for status in self.services()? {
            for (sum, number) in sum.iter_mut().zip(status.stats.numbers()) {
                *sum = sum.wrapping_add(number);
            }
        }
        Ok(proc_format::stats_text(&rlvs_ipvs::model::Stats::from_numbers(sum)))
    }

    /// Numbers of services, destinations, connections, and the most connections there can be.
    pub fn sizes(&self) -> [u64; 4] {
        let dests: usize = self.entries.values().map(|entry| entry.dests.len()).sum();
        [self.entries.len() as u64, dests as u64, self.live, self.tables.conns.len() as u64]
    }
}

fn state_name(protocol: u8, life: Life) -> &'static str {
    if protocol == PROTOCOL_TCP { tcp::NAMES.get(usize::from(life.state)).copied().unwrap_or("NONE") } else { "UDP" }
}
