//! Writing services and destinations into the rows.

use std::collections::HashMap;

use rlvs_core::{
    rows::{self, DestRow, Stats, dest_flags},
    sched::{
        Scheduler,
        roster::{Refused, Roster},
    },
};
use rlvs_ipvs::{
    Errno,
    model::{Destination, DestinationKey, Service, ServiceKey},
};

use super::{Owner, cache::Looks, convert, estimator::Estimator, limits};
use crate::{host::LocalHost, shared::SharedTables};

/// What the owner keeps of a service beside the model.
#[derive(Debug)]
pub struct Entry {
    /// Number of its row.
    pub id: u32,
    /// Its key in the data plane.
    pub key: rows::ServiceKey,
    /// Its scheduler and the list of its destinations.
    pub roster: Roster,
    /// Where to find the row of a destination.
    pub dest_ids: HashMap<DestinationKey, u32>,
    /// Its rates.
    pub rates: Estimator,
    /// When what its scheduler remembers is looked through.
    pub looks: Looks,
}

impl Entry {
    /// A service without destinations.
    pub fn new(id: u32, key: rows::ServiceKey, roster: Roster, rates: Estimator) -> Self {
        Self { id, key, roster, dest_ids: HashMap::new(), rates, looks: Looks::default() }
    }
}

impl Entry {
    /// Statistics of destinations that left.
    pub fn departed(&self, tables: &SharedTables) -> Stats {
        tables.services.get(self.id).map_or(Stats::default(), |row| row.departed)
    }
}

/// The error number that says why a list did not change.
pub(super) fn errno(refused: Refused) -> Errno {
    match refused {
        Refused::NoSpace => Errno::NOSPC,
        Refused::TooMany => Errno::INVAL,
        Refused::NoRow => Errno::SRCH,
    }
}

fn scheduler_of(service: &Service) -> Result<Scheduler, Errno> {
    Scheduler::by_name(service.scheduler_text()).ok_or(Errno::NOENT)
}

/// Whether a service row was given out anew after a destination row was filled.
fn is_reborn(tables: &SharedTables, dest: u32, service: u32) -> bool {
    let ages = tables.dests.get(dest).zip(tables.services.get(service));
    ages.is_none_or(|(dest, service)| service.created > dest.created)
}

/// Writes what an operator set on a destination.
fn set_dest(row: &DestRow, dest: &Destination) {
    let old_upper = row.upper_threshold.load();
    convert::fill_dest(row, dest);
    let weight = dest.weight().get();
    if weight != 0 {
        row.last_weight.store(weight);
    }
    limits::change_flags(&row.flags, |flags| limits::after_edit(flags, old_upper, dest.upper_threshold()));
}

impl Owner {
    /// Gives a new service a row and lets packets find it. What is half done after an error, [`Self::erase_service`] undoes.
    pub(super) fn write_service(&mut self, service: &Service) -> Result<(), Errno> {
        let key = convert::service_key(service.key())?;
        let scheduler = scheduler_of(service)?;
        let created = self.next_created();
        let id = self.service_ids.take(self.clock.now()).ok_or(Errno::NOSPC)?;
        self.tables.services.update(id, |row| {
            convert::fill_service(row, key, service);
            row.departed = Stats::default();
            row.zero_base = Stats::default();
            row.created = created;
        });
        let (rates, roster) = (Estimator::default(), Roster::new(&self.tables, id));
        self.entries.insert(*service.key(), Entry::new(id, key, roster, rates));
        self.count_service(&key, 1);
        self.bind(service.key(), scheduler)?;
        self.tables.publish_service(&key, id).map_err(|error| {
            tracing::error!("service index: {error}");
            Errno::NOMEM
        })
    }

    /// Writes what an edit may change of a service.
    pub(super) fn rewrite_service(&mut self, service: &Service) -> Result<(), Errno> {
        let scheduler = scheduler_of(service)?;
        let entry = self.entries.get_mut(service.key()).ok_or(Errno::SRCH)?;
        let (id, key) = (entry.id, entry.key);
        // IPVS leaves the state of a scheduler alone that stays the same.
        if entry.roster.scheduler() != scheduler {
            self.bind(service.key(), scheduler)?;
        }
        self.tables.services.update(id, |row| convert::fill_service(row, key, service));
        Ok(())
    }

    /// Gives a service a scheduler that begins without state.
    fn bind(&mut self, service: &ServiceKey, scheduler: Scheduler) -> Result<(), Errno> {
        let generation = self.next_created() as u32;
        let now = self.clock.now();
        let entry = self.entries.get_mut(service).ok_or(Errno::SRCH)?;
        entry.roster.bind(&self.tables, &mut self.room.at(now), scheduler, generation).map_err(errno)
    }

    /// Removes a service that the model no longer has; its destinations linger while connections name them.
    pub(super) fn erase_service(&mut self, key: &ServiceKey) {
        let Some(mut entry) = self.entries.remove(key) else { return };
        let now = self.clock.now();
        self.tables.hide_service(&entry.key);
        self.count_service(&entry.key, -1);
        entry.roster.dissolve(&self.tables, &mut self.room.at(now));
        for (dest, id) in entry.dest_ids {
            self.retire_dest(entry.key, dest, id);
        }
        self.tables.services.update(entry.id, |row| row.created = 0);
        self.service_ids.give(entry.id, now);
    }

    /// Gives a new destination a row, or the one it had if it was removed a short while ago, and puts it at the head.
    pub(super) fn attach_dest(&mut self, service: &ServiceKey, dest: &Destination) -> Result<(), Errno> {
        let created = self.next_created();
        let now = self.clock.now();
        let local = LocalHost::has(dest.key().address);
        let entry = self.entries.get_mut(service).ok_or(Errno::SRCH)?;
        let revived = self.trash.remove(&(entry.key, *dest.key()));
        let id = revived.or_else(|| self.dest_ids.take(now)).ok_or(Errno::NOSPC)?;
        let stats = self.tables.stats(id);
        let (service_id, key) = (entry.id, entry.key);
        // A revived destination of this very service row continues its statistics; another begins at zero.
        let continues = revived.is_some()
            && self.tables.dests.get(id).is_some_and(|row| row.service.load() == service_id)
            && !is_reborn(&self.tables, id, service_id);
        self.tables.dests.update(id, |row| {
            convert::identify_dest(row, service_id, key, dest);
            row.created = created;
            row.idle_since = 0;
            if !continues {
                row.zero_base = stats;
            }
            if revived.is_none() {
                row.flags.store(0);
                row.last_weight.store(0);
            }
            row.leaf.store(0);
            set_dest(row, dest);
            limits::set_local(row, local);
            limits::change_flags(&row.flags, |flags| flags | dest_flags::AVAILABLE);
        });
        self.tables.services.update(service_id, |row| row.departed = row.departed.minus(stats));
        self.dest_rates.insert(id, Estimator::at(&stats));
        entry.dest_ids.insert(*dest.key(), id);
        let inserted = entry.roster.insert(&self.tables, &mut self.room.at(now), id).map_err(errno);
        if revived.is_none() {
            self.use_address(convert::address(dest.key().address));
        }
        if inserted.is_ok() {
            self.announce(id, dest.key().address);
        } else if let Some((key, id)) = self.forget_dest(service, dest.key()) {
            self.retire_dest(key, *dest.key(), id);
        }
        inserted
    }

    /// Writes what an edit may change of a destination.
    pub(super) fn rewrite_dest(&mut self, service: &ServiceKey, dest: &Destination) -> Result<(), Errno> {
        let entry = self.entries.get_mut(service).ok_or(Errno::SRCH)?;
        let id = *entry.dest_ids.get(dest.key()).ok_or(Errno::NOENT)?;
        set_dest(self.tables.dests.get(id).ok_or(Errno::NOENT)?, dest);
        entry.roster.edit(&self.tables, id);
        // It may be a tunnel from now on.
        self.announce(id, dest.key().address);
        Ok(())
    }

    /// Takes a destination from its service.
    pub(super) fn detach_dest(&mut self, service: &ServiceKey, dest: &DestinationKey) -> Result<(), Errno> {
        let (key, id) = self.forget_dest(service, dest).ok_or(Errno::NOENT)?;
        self.retire_dest(key, *dest, id);
        Ok(())
    }

    /// Takes a destination from the owner's list: service key and row.
    fn forget_dest(&mut self, service: &ServiceKey, dest: &DestinationKey) -> Option<(rows::ServiceKey, u32)> {
        let now = self.clock.now();
        let entry = self.entries.get_mut(service)?;
        let id = entry.dest_ids.remove(dest)?;
        entry.roster.remove(&self.tables, &mut self.room.at(now), id);
        let stats = self.tables.stats(id);
        self.tables.services.update(entry.id, |row| row.departed = row.departed.plus(stats));
        self.dest_rates.remove(&id);
        Some((entry.key, id))
    }

    /// Marks a destination row as removed and keeps it until nobody names it.
    fn retire_dest(&mut self, key: rows::ServiceKey, dest: DestinationKey, id: u32) {
        self.dest_rates.remove(&id);
        self.tables.dests.update(id, |row| {
            limits::withdraw(row);
            row.idle_since = 0;
        });
        self.throw_away(key, dest, id);
    }

    pub(super) fn next_created(&mut self) -> u64 {
        self.created += 1;
        self.created
    }
}
