//! The owner of the table: what the control interface changes, checked by the model, written into the rows.
//!
//! The model ([`Table`]) decides what is allowed; the rows are the truth that survives the daemon. Each change is written so
//! that a packet sees the table before it or after it: lists are written beside the old ones and replaced by one word.

mod addresses;
pub mod cache;
mod config;
pub mod convert;
pub mod defence;
pub mod estimator;
mod limits;
mod marks;
mod services;
mod statistics;
mod sysctl;
mod takeover;
mod views;
mod ways;

use std::{collections::HashMap, rc::Rc, time::Instant};

use rlvs_core::{
    conn::GRACE_MS,
    rows::{self, Setting, Stats},
    sched::Scheduler,
    tables::Tables,
};
use rlvs_ipvs::{
    Errno,
    director::Director,
    model::{
        Daemon, DaemonRole, DaemonSpec, DestinationKey, DestinationSpec, DestinationStatus, Info, ServiceKey,
        ServiceSpec, ServiceStatus, Support, Table, Timeouts, TimeoutsChange,
    },
};

use tokio::sync::{Notify, mpsc::UnboundedSender};

use crate::{
    clock::Clock,
    expire,
    host::LocalHost,
    network::Newcomer,
    pool::{IdPool, Room, SpanPool},
    shared::SharedTables,
    thinning::Thinning,
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
    /// When the trash is looked at again, in jiffies; nothing where it is empty.
    trash_scan: Option<u64>,
    /// Set off when destinations were removed whose connections should go with them.
    removal: Rc<Notify>,
    /// Whether connections are thinned out (drop_entry).
    thins: bool,
    thinning: Thinning,
    dest_rates: HashMap<u32, Estimator>,
    /// Over everything that ever was.
    total: Estimator,
    /// What `total` had seen at the last `--zero`. Forgotten with the daemon.
    total_base: Stats,
    service_ids: IdPool,
    dest_ids: IdPool,
    room: Room,
    /// When the rules that mark packets were written last.
    marks_written: Option<Instant>,
    /// Number of the next service or destination in the order of creation.
    created: u64,
    addresses: addresses::Addresses,
    /// Connections that lived at the last sweep.
    live: u64,
    /// Whether the host's routes or addresses changed since the owner looked.
    ways_stale: bool,
    /// Where to say which real servers are new, so that their neighbours are known before the first packet.
    newcomers: UnboundedSender<Newcomer>,
}

impl Owner {
    /// The owner of these tables, with whatever stands in them. It tells `newcomers` the address of every destination.
    pub fn new(tables: SharedTables, clock: Clock, newcomers: UnboundedSender<Newcomer>) -> Self {
        let schedulers = Scheduler::ALL.iter().filter(|(_, kind)| *kind != Scheduler::None).map(|(name, _)| *name);
        let model = Table::new(Support::new(schedulers, []), Box::new(LocalHost));
        let grace = (GRACE_MS * u64::from(clock.hz())).div_ceil(1000);
        let service_ids = IdPool::new(tables.services.len() as u32, grace, takeover::used_services(&tables));
        let dest_ids = IdPool::new(tables.dests.len() as u32, grace, takeover::used_dests(&tables));
        let room = Room {
            members: SpanPool::new(tables.members.len() as u32, grace, takeover::used_members(&tables)),
            words: SpanPool::new(tables.words.len() as u32, grace, takeover::used_words(&tables)),
        };
        let mut owner = Self {
            tables,
            model,
            clock,
            entries: HashMap::new(),
            trash: HashMap::new(),
            trash_scan: None,
            removal: Rc::default(),
            thins: false,
            thinning: Thinning::default(),
            dest_rates: HashMap::new(),
            total: Estimator::default(),
            total_base: Stats::default(),
            service_ids,
            dest_ids,
            room,
            marks_written: None,
            created: 1,
            addresses: addresses::Addresses::default(),
            live: 0,
            ways_stale: false,
            newcomers,
        };
        owner.take_over();
        owner
    }

    /// The tables, as the data plane sees them.
    pub fn tables(&self) -> &SharedTables {
        &self.tables
    }

    /// The kernel's jiffies.
    pub fn now(&self) -> u64 {
        self.clock.now()
    }

    /// The clock that the table goes by.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Ends expired connections and frees what nobody uses any more.
    pub fn sweep(&mut self) {
        self.refresh_ways();
        let (now, hz) = (self.clock.now(), u64::from(self.clock.hz()));
        self.live = expire::sweep(&self.tables, now, hz);
        if self.trash_scan.is_some_and(|due| now >= due) {
            self.sweep_trash(now, hz);
        }
    }

    /// Frees removed destinations that nothing has named for long enough.
    fn sweep_trash(&mut self, now: u64, hz: u64) {
        let over = expire::sweep_trash(&mut self.tables, self.trash.values().copied(), now, hz);
        self.forget_dests(&over);
        for id in over {
            self.trash.retain(|_, row| *row != id);
            self.tables.dests.update(id, |row| row.created = 0);
            let address = self.tables.dests.get(id).map(|row| row.address);
            address.into_iter().for_each(|address| self.disuse_address(address));
            self.dest_ids.give(id, now);
        }
        self.trash_scan = (!self.trash.is_empty()).then_some(now + expire::TRASH_SCAN_S * hz);
    }

    /// Keeps a removed destination until nothing names it, and arms the first look at it.
    pub(super) fn throw_away(&mut self, key: rows::ServiceKey, dest: DestinationKey, id: u32) {
        self.trash.insert((key, dest), id);
        let due = self.clock.now() + expire::TRASH_SCAN_S * u64::from(self.clock.hz());
        self.trash_scan.get_or_insert(due);
        if self.tables.config().is_some_and(|config| config.is_on(Setting::ExpireNodestConn)) {
            self.removal.notify_one();
        }
    }

    /// What tells of removals after which [`Self::flush_removed`] should be called.
    pub fn removal(&self) -> Rc<Notify> {
        Rc::clone(&self.removal)
    }

    /// Ends the connections of removed destinations.
    pub fn flush_removed(&mut self) {
        expire::flush_removed(&self.tables, self.clock.now());
    }
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

    fn require_service(&self, key: &ServiceKey) -> Result<(), Errno> {
        self.model.service(key).map(drop)
    }

    fn destinations(&self, service: &ServiceKey) -> Result<Vec<DestinationStatus>, Errno> {
        self.destination_statuses(service)
    }

    fn add_service(&mut self, spec: &ServiceSpec) -> Result<(), Errno> {
        let service = self.model.add_service(spec)?.clone();
        let added = self.write_service(&service);
        if added.is_err() {
            self.model.delete_service(&spec.key)?;
            self.erase_service(&spec.key);
        }
        added
    }

    fn set_service(&mut self, spec: &ServiceSpec) -> Result<(), Errno> {
        let row = self.entries.get(&spec.key).and_then(|entry| self.tables.services.get(entry.id));
        let before = row.map(convert::service_spec);
        let service = self.model.set_service(spec)?.clone();
        let rewritten = self.rewrite_service(&service);
        if rewritten.is_err()
            && let Some(before) = before
        {
            self.model.set_service(&before)?;
        }
        rewritten
    }

    fn delete_service(&mut self, key: &ServiceKey) -> Result<(), Errno> {
        self.model.delete_service(key)?;
        self.erase_service(key);
        Ok(())
    }

    fn add_destination(&mut self, service: &ServiceKey, spec: &DestinationSpec) -> Result<(), Errno> {
        self.model.service(service)?;
        let dest = *self.model.add_destination(service, spec)?;
        let added = self.attach_dest(service, &dest);
        if added.is_err() {
            self.model.delete_destination(service, &spec.key)?;
        }
        added
    }

    fn set_destination(&mut self, service: &ServiceKey, spec: &DestinationSpec) -> Result<(), Errno> {
        self.model.service(service)?;
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
            None => self.zero_all(),
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
