//! What the owner shows: services and destinations with their counters, and the texts of the files under /proc/net.

use rlvs_core::{
    conn::{Life, state},
    rows::{ConnRow, Counts},
    tables::Tables,
};
use rlvs_ipvs::{
    Errno,
    director::Director,
    local::ProcFile,
    model::{DestinationStatus, Service, ServiceKey, ServiceStatus},
    proc_format::{self, ConnEntry},
};

use super::{Owner, convert};

impl Owner {
    pub(super) fn service_status(&self, service: &Service) -> Result<ServiceStatus, Errno> {
        let entry = self.entries.get(service.key()).ok_or(Errno::SRCH)?;
        Ok(ServiceStatus { service: service.clone(), stats: self.service_stats(entry) })
    }

    pub(super) fn destination_statuses(&self, service: &ServiceKey) -> Result<Vec<DestinationStatus>, Errno> {
        let entry = self.entries.get(service).ok_or(Errno::SRCH)?;
        let model = self.model.service(service)?;
        let status = |dest: &rlvs_ipvs::model::Destination| {
            let id = *entry.dest_ids.get(dest.key()).ok_or(Errno::NOENT)?;
            let row = self.tables.dests.get(id).ok_or(Errno::NOENT)?;
            let counts = Counts::unpack(row.counts.load());
            Ok(DestinationStatus {
                destination: *dest,
                active_connections: counts.active,
                inactive_connections: counts.inactive,
                persistent_connections: row.persistent.load() as u32,
                stats: self.dest_stats(id),
            })
        };
        model.destinations().map(status).collect()
    }

    /// The text of a file that IPVS has under /proc/net (stats.md section 4).
    ///
    /// # Errors
    /// None but a contradiction between model and rows.
    pub fn proc_text(&self, file: ProcFile) -> Result<String, Errno> {
        Ok(match file {
            ProcFile::IpVs => return self.table_text(),
            ProcFile::IpVsConn => proc_format::conn_text(self.conn_entries()),
            ProcFile::IpVsConnSync => proc_format::conn_sync_text(self.conn_entries()),
            ProcFile::IpVsStats => proc_format::stats_text(&self.total_stats()),
            ProcFile::IpVsStatsPercpu => proc_format::stats_percpu_text(&self.cpu_totals(), &self.total_stats()),
            ProcFile::IpVsApp => proc_format::APP_TEXT.to_owned(),
        })
    }

    /// Connections and templates whose time is not over, newest row first.
    fn conn_entries(&self) -> impl Iterator<Item = ConnEntry<'static>> {
        let (now, hz) = (self.clock.now(), u64::from(self.clock.hz()));
        let rows = (0..self.tables.conns_used()).rev().filter_map(|id| self.tables.conn(id));
        rows.filter_map(move |row| {
            let life = row.life();
            life.is_current(now).then(|| conn_entry(row, life, (life.deadline - now) / hz))
        })
    }

    /// By address first, then by firewall mark, as the kernel's two tables come one after the other.
    fn table_text(&self) -> Result<String, Errno> {
        let (by_mark, mut services): (Vec<_>, Vec<_>) =
            self.services()?.into_iter().partition(|status| status.service.key().mark() != 0);
        services.extend(by_mark);
        let dests: Vec<Vec<DestinationStatus>> =
            services.iter().map(|status| self.destinations(status.service.key())).collect::<Result<_, _>>()?;
        let rows = services.iter().zip(dests.iter().map(Vec::as_slice));
        Ok(proc_format::table_text(&self.info()?, self.clock.hz(), rows))
    }

    /// Numbers of services, destinations, connections, and the most connections there can be.
    pub fn sizes(&self) -> [u64; 4] {
        let dests: usize = self.entries.values().map(|entry| entry.roster.len()).sum();
        [self.entries.len() as u64, dests as u64, self.live, self.tables.conns.len() as u64]
    }
}

fn conn_entry(row: &ConnRow, life: Life, expires_s: u64) -> ConnEntry<'static> {
    let identity = row.identity();
    let [client, service, destination] = convert::ends(&identity);
    let name = match life.state {
        state::template::ASSURED if life.is_template() && identity.protocol != 0 => "ASSURED",
        _ if life.is_template() => "NONE",
        number => state::name(identity.protocol, number),
    };
    ConnEntry {
        protocol: identity.protocol,
        client,
        service,
        destination,
        state: name,
        expires_s: u32::try_from(expires_s).unwrap_or(u32::MAX),
        engine: None,
    }
}
