//! The virtual-server table of one network namespace, with the kernel's semantics.

use std::net::IpAddr;

use super::service::NO_SCHEDULER;
use super::{
    Daemon, DaemonRole, DaemonSpec, Destination, DestinationKey, DestinationSpec, EngineName, Host, Info, Netmask,
    NewestFirst, SchedulerName, Service, ServiceKey, ServiceSpec, Support, Timeouts, TimeoutsChange,
};
use crate::Errno;

/// A service of a table with its destinations.
#[derive(Clone, Debug)]
pub struct ServiceEntry {
    service: Service,
    destinations: NewestFirst<DestinationKey, Destination>,
}

impl ServiceEntry {
    /// The service.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// Its destinations, newest first.
    pub fn destinations(&self) -> impl Iterator<Item = &Destination> {
        self.destinations.values()
    }

    /// One destination.
    pub fn destination(&self, key: &DestinationKey) -> Option<&Destination> {
        self.destinations.get(key)
    }

    /// Number of destinations.
    pub fn destination_count(&self) -> usize {
        self.destinations.len()
    }
}

/// Services, destinations, timeouts and daemons.
///
/// Every change is checked in the kernel's order and refused with the kernel's error number (netlink.md §4).
/// A refused change changes nothing. The table knows no traffic: whoever owns the data plane keeps counters.
#[derive(Debug)]
pub struct Table {
    support: Support,
    host: Box<dyn Host>,
    services: NewestFirst<ServiceKey, ServiceEntry>,
    timeouts: Timeouts,
    master: Option<Daemon>,
    backup: Option<Daemon>,
    info: Info,
}

impl Table {
    /// An empty table with the kernel's default timeouts, on a data plane that supports this and a host that
    /// answers this.
    pub fn new(support: Support, host: Box<dyn Host>) -> Table {
        Table {
            support,
            host,
            services: NewestFirst::new(),
            timeouts: Timeouts::default(),
            master: None,
            backup: None,
            info: Info::default(),
        }
    }

    /// Version and size.
    pub fn info(&self) -> Info {
        self.info
    }

    /// Changes what GET_INFO answers.
    pub fn set_info(&mut self, info: Info) {
        self.info = info;
    }

    /// What the data plane supports.
    pub fn support(&self) -> &Support {
        &self.support
    }

    /// The services, newest first.
    pub fn services(&self) -> impl Iterator<Item = &ServiceEntry> {
        self.services.values()
    }

    /// Number of services.
    pub fn service_count(&self) -> usize {
        self.services.len()
    }

    /// One service.
    ///
    /// # Errors
    /// `ESRCH` if there is no such service.
    pub fn service(&self, key: &ServiceKey) -> Result<&ServiceEntry, Errno> {
        self.services.get(key).ok_or(Errno::SRCH)
    }

    /// Adds a service and returns it.
    ///
    /// # Errors
    /// `EEXIST` if the key is taken; `ENOENT` for an unknown scheduler, then for an unknown persistence engine;
    /// `EINVAL` for an IPv6 prefix length outside 1..=128.
    pub fn add_service(&mut self, spec: &ServiceSpec) -> Result<&Service, Errno> {
        if self.services.contains(&spec.key) {
            return Err(Errno::EXIST);
        }
        let service = self.checked_service(spec, 0)?;
        self.services.insert(spec.key, ServiceEntry { service, destinations: NewestFirst::new() });
        self.service(&spec.key).map(ServiceEntry::service)
    }

    /// Replaces everything set on a service, and returns it. Its destinations stay.
    ///
    /// # Errors
    /// `ESRCH` if there is no such service, else as [`Table::add_service`] without `EEXIST`.
    pub fn set_service(&mut self, spec: &ServiceSpec) -> Result<&Service, Errno> {
        let old = self.service(&spec.key)?.service.flags.bits();
        let service = self.checked_service(spec, old)?;
        let entry = self.services.get_mut(&spec.key).ok_or(Errno::SRCH)?;
        entry.service = service;
        Ok(&entry.service)
    }

    /// Removes a service with its destinations, and returns them.
    ///
    /// # Errors
    /// `ESRCH` if there is no such service.
    pub fn delete_service(&mut self, key: &ServiceKey) -> Result<ServiceEntry, Errno> {
        self.services.remove(key).ok_or(Errno::SRCH)
    }

    /// Adds a destination and returns it.
    ///
    /// # Errors
    /// `ESRCH` if there is no such service; `EINVAL` if the families differ and a daemon runs or the method is
    /// not a tunnel; `ERANGE` and `EINVAL` as [`Destination::new`]; `EEXIST` if the key is taken; `EINVAL` if
    /// the address is not unicast.
    pub fn add_destination(&mut self, service: &ServiceKey, spec: &DestinationSpec) -> Result<&Destination, Errno> {
        let destination = self.checked_destination(service, spec)?;
        if self.service(service)?.destinations.contains(&spec.key) {
            return Err(Errno::EXIST);
        }
        if !self.is_unicast(spec.key.address) {
            return Err(Errno::INVAL);
        }
        let entry = self.services.get_mut(service).ok_or(Errno::SRCH)?;
        entry.destinations.insert(spec.key, destination);
        entry.destinations.get(&spec.key).ok_or(Errno::NOENT)
    }

    /// Replaces everything set on a destination, and returns it. Its place in the dump order stays.
    ///
    /// # Errors
    /// As [`Table::add_destination`], but `ENOENT` if there is no such destination, and the address is not
    /// looked at again.
    pub fn set_destination(&mut self, service: &ServiceKey, spec: &DestinationSpec) -> Result<&Destination, Errno> {
        let destination = self.checked_destination(service, spec)?;
        let entry = self.services.get_mut(service).ok_or(Errno::SRCH)?;
        let stored = entry.destinations.get_mut(&spec.key).ok_or(Errno::NOENT)?;
        *stored = destination;
        Ok(stored)
    }

    /// Removes a destination and returns it.
    ///
    /// # Errors
    /// `ESRCH` if there is no such service, `ENOENT` if it has no such destination.
    pub fn delete_destination(&mut self, service: &ServiceKey, key: &DestinationKey) -> Result<Destination, Errno> {
        let entry = self.services.get_mut(service).ok_or(Errno::SRCH)?;
        entry.destinations.remove(key).ok_or(Errno::NOENT)
    }

    /// Removes all services. Timeouts and daemons stay.
    pub fn flush(&mut self) {
        self.services.clear();
    }

    /// The timeouts.
    pub fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    /// Changes timeouts and returns all three.
    ///
    /// # Errors
    /// `EINVAL` as [`Timeouts::changed`].
    pub fn set_timeouts(&mut self, change: TimeoutsChange) -> Result<Timeouts, Errno> {
        self.timeouts = self.timeouts.changed(change)?;
        Ok(self.timeouts)
    }

    /// The daemons that run, master first.
    pub fn daemons(&self) -> impl Iterator<Item = &Daemon> {
        self.master.iter().chain(&self.backup)
    }

    /// Notes that a daemon runs, and returns it with its defaults filled in.
    ///
    /// # Errors
    /// `EINVAL` if a destination's family differs from its service's (synchronisation cannot carry it), else as
    /// [`Daemon::new`].
    pub fn start_daemon(&mut self, spec: &DaemonSpec) -> Result<&Daemon, Errno> {
        if spec.group.is_some_and(|group| !group.is_multicast()) || self.has_mixed_families() {
            return Err(Errno::INVAL);
        }
        let daemon = Daemon::new(spec, self.host.as_ref(), |role| self.daemon(role).is_some())?;
        Ok(self.daemon_slot(daemon.role).insert(daemon))
    }

    /// Notes that a daemon no longer runs, and returns it.
    ///
    /// # Errors
    /// `ESRCH` if no such daemon runs.
    pub fn stop_daemon(&mut self, role: DaemonRole) -> Result<Daemon, Errno> {
        self.daemon_slot(role).take().ok_or(Errno::SRCH)
    }

    fn daemon(&self, role: DaemonRole) -> Option<&Daemon> {
        self.daemons().find(|daemon| daemon.role == role)
    }

    fn daemon_slot(&mut self, role: DaemonRole) -> &mut Option<Daemon> {
        match role {
            DaemonRole::Master => &mut self.master,
            DaemonRole::Backup => &mut self.backup,
        }
    }

    /// The service asked for, if scheduler, engine and netmask are good, looked at in this order.
    fn checked_service(&self, spec: &ServiceSpec, old_flags: u32) -> Result<Service, Errno> {
        let scheduler = self.checked_scheduler(&spec.scheduler)?;
        let engine = self.checked_engine(spec.engine.as_deref())?;
        Ok(Service {
            key: spec.key,
            scheduler,
            engine,
            flags: spec.flags.applied_to(old_flags),
            timeout_s: spec.timeout_s,
            netmask: Netmask::from_wire(spec.key.family(), spec.netmask)?,
        })
    }

    fn checked_scheduler(&self, name: &[u8]) -> Result<Option<SchedulerName>, Errno> {
        if name == NO_SCHEDULER.as_bytes() {
            return Ok(None);
        }
        let known = self.support.schedulers.iter().find(|known| known.as_bytes() == name);
        let name = known.and_then(|known| SchedulerName::new(known));
        name.map(Some).ok_or(Errno::NOENT)
    }

    fn checked_engine(&self, name: Option<&[u8]>) -> Result<Option<EngineName>, Errno> {
        let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(None) };
        let known = self.support.engines.iter().find(|known| known.as_bytes() == name);
        let name = known.and_then(|known| EngineName::new(known));
        name.map(Some).ok_or(Errno::NOENT)
    }

    /// The destination asked for, if its service exists, the families may go together, and its own values are
    /// good, looked at in this order.
    fn checked_destination(&self, service: &ServiceKey, spec: &DestinationSpec) -> Result<Destination, Errno> {
        self.service(service)?;
        let mixed = spec.key.family() != service.family();
        let tunnel = spec.method == super::ForwardingMethod::TUNNEL;
        if mixed && (!tunnel || self.daemons().next().is_some()) {
            return Err(Errno::INVAL);
        }
        Destination::new(spec)
    }

    fn has_mixed_families(&self) -> bool {
        let mut entries = self.services.iter();
        entries.any(|(key, entry)| entry.destinations().any(|destination| destination.key.family() != key.family()))
    }

    /// Whether an address can be a destination (netlink.md §4).
    fn is_unicast(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => {
                !(v4.is_unspecified() || v4.is_broadcast() || v4.is_multicast() || self.host.is_broadcast(v4))
            }
            IpAddr::V6(v6) => {
                let odd = v6.is_unspecified()
                    || v6.is_multicast()
                    || v6.to_ipv4_mapped().is_some()
                    || v6.is_unicast_link_local();
                !odd || self.host.is_local(address)
            }
        }
    }
}
