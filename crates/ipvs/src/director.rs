//! The owner of a table, as the control interface sees it.

use crate::Errno;
use crate::model::{
    Daemon, DaemonRole, DaemonSpec, DestinationKey, DestinationSpec, DestinationStatus, Info, ServiceKey, ServiceSpec,
    ServiceStatus, Stats, Table, Timeouts, TimeoutsChange,
};

/// What [`endpoint::handle`](crate::endpoint::handle) asks of the owner of a virtual-server table.
///
/// The error numbers are those of [`Table`]'s methods of the same names, which do all checking: an owner with
/// a data plane calls the table first, and writes its rows after. An owner may add errors of its own
/// (`ENOMEM`, `ENOSPC`); clients print them.
pub trait Director {
    /// Version and size.
    fn info(&self) -> Result<Info, Errno>;

    /// All services with their statistics, in dump order.
    fn services(&self) -> Result<Vec<ServiceStatus>, Errno>;

    /// One service with its statistics; `ESRCH` if there is none.
    fn service(&self, key: &ServiceKey) -> Result<ServiceStatus, Errno>;

    /// Whether there is this service, without its counters, which may take long to sum up.
    ///
    /// # Errors
    /// As [`Self::service`].
    fn require_service(&self, key: &ServiceKey) -> Result<(), Errno> {
        self.service(key).map(drop)
    }

    /// The destinations of a service with connections and statistics, newest first; `ESRCH` if there is no
    /// such service.
    fn destinations(&self, service: &ServiceKey) -> Result<Vec<DestinationStatus>, Errno>;

    /// Adds a service.
    fn add_service(&mut self, spec: &ServiceSpec) -> Result<(), Errno>;

    /// Replaces everything set on a service; its statistics and destinations stay.
    fn set_service(&mut self, spec: &ServiceSpec) -> Result<(), Errno>;

    /// Removes a service with its destinations.
    fn delete_service(&mut self, key: &ServiceKey) -> Result<(), Errno>;

    /// Adds a destination.
    fn add_destination(&mut self, service: &ServiceKey, spec: &DestinationSpec) -> Result<(), Errno>;

    /// Replaces everything set on a destination; its statistics and connections stay.
    fn set_destination(&mut self, service: &ServiceKey, spec: &DestinationSpec) -> Result<(), Errno>;

    /// Removes a destination.
    fn delete_destination(&mut self, service: &ServiceKey, key: &DestinationKey) -> Result<(), Errno>;

    /// Removes all services. Timeouts, daemons and connection entries stay.
    fn flush(&mut self) -> Result<(), Errno>;

    /// Zeroes the statistics of one service and its destinations (`ESRCH` if there is no such service), or of
    /// all services.
    fn zero(&mut self, service: Option<&ServiceKey>) -> Result<(), Errno>;

    /// The timeouts.
    fn timeouts(&self) -> Result<Timeouts, Errno>;

    /// Changes timeouts.
    fn set_timeouts(&mut self, change: TimeoutsChange) -> Result<(), Errno>;

    /// The sync daemons that run, master first.
    fn daemons(&self) -> Result<Vec<Daemon>, Errno>;

    /// Starts a sync daemon.
    fn start_daemon(&mut self, spec: &DaemonSpec) -> Result<(), Errno>;

    /// Stops a sync daemon; `ESRCH` if it does not run.
    fn stop_daemon(&mut self, role: DaemonRole) -> Result<(), Errno>;
}

/// A table without a data plane: all counters are zero, daemons only noted. Tests run on it.
impl Director for Table {
    fn info(&self) -> Result<Info, Errno> {
        Ok(Table::info(self))
    }

    fn services(&self) -> Result<Vec<ServiceStatus>, Errno> {
        let services = Table::services(self).map(|entry| entry.service().clone());
        Ok(services.map(|service| ServiceStatus { service, stats: Stats::default() }).collect())
    }

    fn service(&self, key: &ServiceKey) -> Result<ServiceStatus, Errno> {
        let service = Table::service(self, key)?.service().clone();
        Ok(ServiceStatus { service, stats: Stats::default() })
    }

    fn destinations(&self, service: &ServiceKey) -> Result<Vec<DestinationStatus>, Errno> {
        let entry = Table::service(self, service)?;
        Ok(entry.destinations().copied().map(DestinationStatus::idle).collect())
    }

    fn add_service(&mut self, spec: &ServiceSpec) -> Result<(), Errno> {
        Table::add_service(self, spec).map(drop)
    }

    fn set_service(&mut self, spec: &ServiceSpec) -> Result<(), Errno> {
        Table::set_service(self, spec).map(drop)
    }

    fn delete_service(&mut self, key: &ServiceKey) -> Result<(), Errno> {
        Table::delete_service(self, key).map(drop)
    }

    fn add_destination(&mut self, service: &ServiceKey, spec: &DestinationSpec) -> Result<(), Errno> {
        Table::add_destination(self, service, spec).map(drop)
    }

    fn set_destination(&mut self, service: &ServiceKey, spec: &DestinationSpec) -> Result<(), Errno> {
        Table::set_destination(self, service, spec).map(drop)
    }

    fn delete_destination(&mut self, service: &ServiceKey, key: &DestinationKey) -> Result<(), Errno> {
        Table::delete_destination(self, service, key).map(drop)
    }

    fn flush(&mut self) -> Result<(), Errno> {
        Table::flush(self);
        Ok(())
    }

    fn zero(&mut self, service: Option<&ServiceKey>) -> Result<(), Errno> {
        service.map_or(Ok(()), |key| Table::service(self, key).map(drop))
    }

    fn timeouts(&self) -> Result<Timeouts, Errno> {
        Ok(Table::timeouts(self))
    }

    fn set_timeouts(&mut self, change: TimeoutsChange) -> Result<(), Errno> {
        Table::set_timeouts(self, change).map(drop)
    }

    fn daemons(&self) -> Result<Vec<Daemon>, Errno> {
        Ok(Table::daemons(self).cloned().collect())
    }

    fn start_daemon(&mut self, spec: &DaemonSpec) -> Result<(), Errno> {
        Table::start_daemon(self, spec).map(drop)
    }

    fn stop_daemon(&mut self, role: DaemonRole) -> Result<(), Errno> {
        Table::stop_daemon(self, role).map(drop)
    }
}
