//! The owner of the table: what the control interface changes, checked by the model, written into the rows.
//!
//! The model ([`Table`]) decides what is allowed; the rows are the truth that survives the daemon. Each change is written so
//! that a packet sees the table before it or after it: lists are written beside the old ones and replaced by one word.

pub mod convert;
pub mod estimator;
mod services;
mod takeover;
mod views;

use std::{collections::HashMap, net::IpAddr};

use rlvs_core::{
    conn::{GRACE_MS, timeout},
    rows::{self, Stats},
    sched::Scheduler,
    tables::Tables,
};
use rlvs_ipvs::{
    Errno,
    director::Director,
    model::{
        Daemon, DaemonRole, DaemonSpec, DestinationKey, DestinationSpec, DestinationStatus, Family, ForwardingMethod,
        Info, Protocol, ServiceFlags, ServiceKey, ServiceSpec, ServiceStatus, Support, Table, Timeouts, TimeoutsChange,
    },
};

use tokio::sync::mpsc::UnboundedSender;

use crate::{
    clock::Clock,
    expire,
    host::LocalHost,
    pool::{IdPool, SpanPool},
    shared::SharedTables,
};
use estimator::Estimator;
use services::Entry;

/// What this data plane does not do yet is refused with this: `ipvsadm` prints "Function not implemented", the log says what.
const NOT_YET: Option<Errno> = Errno::from_number(38);

/// The owner of the table of one network namespace.
pub struct Owner {
    tables: SharedTables,
    model: Table,
    clock: Clock,
    entries: HashMap<ServiceKey, Entry>,
    /// Removed destinations that connections still name, or that were there a moment ago.
    trash: HashMap<(rows::ServiceKey, DestinationKey), u32>,
    dest_rates: HashMap<u32, Estimator>,
    service_ids: IdPool,
    dest_ids: IdPool,
    spans: SpanPool,
    /// Number of the next service or destination in the order of creation.
    created: u64,
    /// Connections that lived at the last sweep.
    live: u64,
    /// Where to say which real servers are new, so that their neighbours are known before the first packet.
    newcomers: UnboundedSender<IpAddr>,
}

impl Owner {
    /// The owner of these tables, with whatever stands in them. It tells `newcomers` the address of every destination.
    pub fn new(tables: SharedTables, clock: Clock, newcomers: UnboundedSender<IpAddr>) -> Self {
        let schedulers = Scheduler::ALL.iter().filter(|(_, kind)| *kind != Scheduler::None).map(|(name, _)| *name);
        let model = Table::new(Support::new(schedulers, []), Box::new(LocalHost));
        let grace = (GRACE_MS * u64::from(clock.hz())).div_ceil(1000);
        let service_ids = IdPool::new(tables.services.len() as u32, grace, takeover::used_services(&tables));
        let dest_ids = IdPool::new(tables.dests.len() as u32, grace, takeover::used_dests(&tables));
        let spans = SpanPool::new(tables.members.len() as u32, grace, takeover::used_spans(&tables));
        let mut owner = Self {
            tables,
            model,
            clock,
            entries: HashMap::new(),
            trash: HashMap::new(),
            dest_rates: HashMap::new(),
            service_ids,
            dest_ids,
            spans,
            created: 1,
            live: 0,
            newcomers,
        };
        owner.take_over();
        owner
    }

    /// Tells of a destination. Nobody listens any more once the daemon ends.
    fn announce(&self, address: IpAddr) {
        let _ = self.newcomers.send(address);
    }

    /// Begins a new epoch: every cached next hop is looked up again.
    pub fn bump_epoch(&self) {
        if let Some(config) = self.tables.config() {
            // 0 means "nothing cached".
            config.epoch.store(config.epoch.load().wrapping_add(1).max(1));
        }
    }

    /// Ends expired connections and frees what nobody uses any more.
    pub fn sweep(&mut self) {
        let (now, hz) = (self.clock.now(), u64::from(self.clock.hz()));
        self.live = expire::sweep(&self.tables, now, hz);
        for id in expire::sweep_trash(&mut self.tables, self.trash.values().copied(), now, hz) {
            self.trash.retain(|_, row| *row != id);
            self.tables.dests.update(id, |row| row.created = 0);
            self.dest_ids.give(id, now);
        }
    }

    /// Moves all rates on by one interval.
    pub fn estimate(&mut self) {
        for entry in self.entries.values_mut() {
            let mut total = entry.departed(&self.tables);
            for id in &entry.dests {
                let stats = self.tables.stats(*id);
                total = total.plus(stats);
                self.dest_rates.entry(*id).or_default().update(&stats);
            }
            entry.rates.update(&total);
        }
    }

    /// Timeouts of the model into the configuration row.
    fn write_timeouts(&self) {
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

    /// Raw statistics of a service: those of its destinations and of those that left it.
    fn service_stats(&self, entry: &Entry) -> Stats {
        entry.dests.iter().fold(entry.departed(&self.tables), |sum, id| sum.plus(self.tables.stats(*id)))
    }
}

/// Refuses what the data plane cannot carry out. Better no service than one that looks like it works.
fn refuse_service(spec: &ServiceSpec) -> Result<(), Errno> {
    let flags = spec.flags.bits & spec.flags.mask;
    let what = match spec.key {
        _ if spec.key.family() == Family::V6 => "IPv6",
        ServiceKey::Mark { .. } => "firewall-mark services",
        ServiceKey::Address { protocol, .. } if protocol != Protocol::TCP && protocol != Protocol::UDP => {
            "protocols other than TCP and UDP"
        }
        _ if flags & ServiceFlags::PERSISTENT != 0 => "persistence",
        _ if flags & ServiceFlags::ONE_PACKET != 0 => "one-packet scheduling",
        _ => return Ok(()),
    };
    refuse(what)
}

/// As [`refuse_service`], for destinations.
fn refuse_dest(spec: &DestinationSpec) -> Result<(), Errno> {
    let what = if spec.method != ForwardingMethod::MASQUERADE {
        "forwarding other than masquerading (-m)"
    } else if spec.upper_threshold != 0 {
        "connection thresholds"
    } else if LocalHost::has(spec.key.address) {
        "a real server on the director itself"
    } else {
        return Ok(());
    };
    refuse(what)
}

fn refuse(what: &str) -> Result<(), Errno> {
    tracing::warn!("refused: this version does not do {what} yet");
    Err(NOT_YET.unwrap_or(Errno::INVAL))
}

impl Director for Owner {
    fn info(&self) -> Result<Info, Errno> {
        Ok(self.model.info())
    }

    fn services(&self) -> Result<Vec<ServiceStatus>, Errno> {
        self.model.services().map(|entry| self.service_status(entry.service())).collect()
    }

    fn service(&self, key: &ServiceKey) -> Result<ServiceStatus, Errno> {
        self.service_status(self.model.service(key)?.service())
    }

    fn destinations(&self, service: &ServiceKey) -> Result<Vec<DestinationStatus>, Errno> {
        self.destination_statuses(service)
    }

    fn add_service(&mut self, spec: &ServiceSpec) -> Result<(), Errno> {
        refuse_service(spec)?;
        let service = self.model.add_service(spec)?.clone();
        let added = self.write_service(&service);
        if added.is_err() {
            self.model.delete_service(&spec.key)?;
            self.erase_service(&spec.key);
        }
        added
    }

    fn set_service(&mut self, spec: &ServiceSpec) -> Result<(), Errno> {
        refuse_service(spec)?;
        let service = self.model.set_service(spec)?.clone();
        self.rewrite_service(&service)
    }

    fn delete_service(&mut self, key: &ServiceKey) -> Result<(), Errno> {
        self.model.delete_service(key)?;
        self.erase_service(key);
        Ok(())
    }

    fn add_destination(&mut self, service: &ServiceKey, spec: &DestinationSpec) -> Result<(), Errno> {
        self.model.service(service)?;
        refuse_dest(spec)?;
        let dest = *self.model.add_destination(service, spec)?;
        let added = self.attach_dest(service, &dest);
        match added {
            Ok(()) => self.announce(spec.key.address),
            Err(_) => _ = self.model.delete_destination(service, &spec.key)?,
        }
        added
    }

    fn set_destination(&mut self, service: &ServiceKey, spec: &DestinationSpec) -> Result<(), Errno> {
        self.model.service(service)?;
        refuse_dest(spec)?;
        let dest = *self.model.set_destination(service, spec)?;
        self.rewrite_dest(service, &dest)
    }

    fn delete_destination(&mut self, service: &ServiceKey, key: &DestinationKey) -> Result<(), Errno> {
        self.model.delete_destination(service, key)?;
        self.detach_dest(service, key)
    }

    fn flush(&mut self) -> Result<(), Errno> {
        self.model.flush();
        let keys: Vec<ServiceKey> = self.entries.keys().copied().collect();
        keys.iter().for_each(|key| self.erase_service(key));
        Ok(())
    }

    fn zero(&mut self, service: Option<&ServiceKey>) -> Result<(), Errno> {
        match service {
            Some(key) => {
                self.model.service(key)?;
                self.zero_service(key);
            }
            None => {
                let keys: Vec<ServiceKey> = self.entries.keys().copied().collect();
                keys.iter().for_each(|key| self.zero_service(key));
            }
        }
        Ok(())
    }

    fn timeouts(&self) -> Result<Timeouts, Errno> {
        Ok(self.model.timeouts())
    }

    fn set_timeouts(&mut self, change: TimeoutsChange) -> Result<(), Errno> {
        self.model.set_timeouts(change)?;
        self.write_timeouts();
        Ok(())
    }

    fn daemons(&self) -> Result<Vec<Daemon>, Errno> {
        Ok(self.model.daemons().cloned().collect())
    }

    fn start_daemon(&mut self, _: &DaemonSpec) -> Result<(), Errno> {
        refuse("connection synchronisation")
    }

    fn stop_daemon(&mut self, role: DaemonRole) -> Result<(), Errno> {
        self.model.stop_daemon(role).map(drop)
    }
}
