//! Writing services and destinations into the rows.

use std::collections::HashMap;

use rlvs_core::{
    rows::{self, ServiceRow, Span, Stats, dest_flags},
    sched::{Scheduler, rr, wrr},
};
use rlvs_ipvs::{
    Errno,
    model::{Destination, DestinationKey, Service, ServiceKey},
};

use super::{Owner, convert, estimator::Estimator};
use crate::shared::SharedTables;

/// What the owner keeps of a service beside the model.
#[derive(Debug)]
pub struct Entry {
    /// Number of its row.
    pub id: u32,
    /// Its key in the data plane.
    pub key: rows::ServiceKey,
    /// Its scheduler.
    pub scheduler: Scheduler,
    /// Rows of its destinations, newest first: the list that schedulers walk.
    pub dests: Vec<u32>,
    /// Where to find the row of a destination.
    pub dest_ids: HashMap<DestinationKey, u32>,
    /// Its rates.
    pub rates: Estimator,
}

impl Entry {
    /// Statistics of destinations that left.
    pub fn departed(&self, tables: &SharedTables) -> Stats {
        tables.services.get(self.id).map_or(Stats::default(), |row| row.departed)
    }
}

/// What happened to the list of destinations; schedulers remember places in it.
#[derive(Clone, Copy, Debug)]
enum Edit {
    Inserted,
    Removed(u32),
    Weights,
    /// The scheduler itself is new.
    Bound,
}

fn scheduler_of(service: &Service) -> Result<Scheduler, Errno> {
    Scheduler::by_name(service.scheduler_text()).ok_or(Errno::NOENT)
}

/// Whether a service row was given out anew after a destination row was filled.
fn is_reborn(tables: &SharedTables, dest: u32, service: u32) -> bool {
    let ages = tables.dests.get(dest).zip(tables.services.get(service));
    ages.is_none_or(|(dest, service)| service.created > dest.created)
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
            row.members.store(Span::default().pack());
            row.scheduler.store(scheduler as u32);
            row.departed = Stats::default();
            row.zero_base = Stats::default();
            row.created = created;
        });
        let rates = Estimator::default();
        let entry = Entry { id, key, scheduler, dests: Vec::new(), dest_ids: HashMap::new(), rates };
        self.entries.insert(*service.key(), entry);
        self.publish(service.key(), Edit::Bound)?;
        self.tables.publish_service(&key, id).map_err(|error| {
            tracing::error!("service index: {error}");
            Errno::NOMEM
        })
    }

    /// Writes what an edit may change of a service.
    pub(super) fn rewrite_service(&mut self, service: &Service) -> Result<(), Errno> {
        let scheduler = scheduler_of(service)?;
        let entry = self.entries.get_mut(service.key()).ok_or(Errno::SRCH)?;
        let (key, changed) = (entry.key, entry.scheduler != scheduler);
        entry.scheduler = scheduler;
        self.tables.services.update(entry.id, |row| {
            convert::fill_service(row, key, service);
            row.scheduler.store(scheduler as u32);
        });
        // IPVS leaves the state of a scheduler alone that stays the same.
        if changed { self.publish(service.key(), Edit::Bound) } else { Ok(()) }
    }

    /// Removes a service that the model no longer has; its destinations linger while connections name them.
    pub(super) fn erase_service(&mut self, key: &ServiceKey) {
        let Some(entry) = self.entries.remove(key) else { return };
        let now = self.clock.now();
        self.tables.hide_service(&entry.key);
        if let Some(row) = self.tables.services.get(entry.id) {
            let span = Span::unpack(row.members.load());
            row.members.store(Span::default().pack());
            self.give_span(span, now);
        }
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
        let entry = self.entries.get_mut(service).ok_or(Errno::SRCH)?;
        let revived = self.trash.remove(&(entry.key, *dest.key()));
        let id = revived.or_else(|| self.dest_ids.take(now)).ok_or(Errno::NOSPC)?;
        let stats = self.tables.stats(id);
        let (service_id, key) = (entry.id, entry.key);
        // A revived destination of this very service row continues its statistics; another begins at zero.
        let continues = revived.is_some()
            && self.tables.dests.get(id).is_some_and(|row| row.service == service_id)
            && !is_reborn(&self.tables, id, service_id);
        self.tables.dests.update(id, |row| {
            convert::fill_dest(row, service_id, key, dest);
            row.created = created;
            row.idle_since = 0;
            if !continues {
                row.zero_base = stats;
            }
            row.weight.store(dest.weight().get());
            row.flags.store(dest_flags::AVAILABLE);
        });
        self.tables.services.update(service_id, |row| row.departed = row.departed.minus(stats));
        self.dest_rates.insert(id, Estimator::at(&stats));
        entry.dests.insert(0, id);
        entry.dest_ids.insert(*dest.key(), id);
        let published = self.publish(service, Edit::Inserted);
        if published.is_err() {
            self.forget_dest(service, dest.key());
        }
        published
    }

    /// Writes what an edit may change of a destination.
    pub(super) fn rewrite_dest(&mut self, service: &ServiceKey, dest: &Destination) -> Result<(), Errno> {
        let entry = self.entries.get(service).ok_or(Errno::SRCH)?;
        let id = *entry.dest_ids.get(dest.key()).ok_or(Errno::NOENT)?;
        let (service_id, key) = (entry.id, entry.key);
        self.tables.dests.update(id, |row| {
            convert::fill_dest(row, service_id, key, dest);
            row.weight.store(dest.weight().get());
        });
        self.publish(service, Edit::Weights)
    }

    /// Takes a destination from its service.
    pub(super) fn detach_dest(&mut self, service: &ServiceKey, dest: &DestinationKey) -> Result<(), Errno> {
        let (key, id, place) = self.forget_dest(service, dest).ok_or(Errno::NOENT)?;
        let published = self.publish(service, Edit::Removed(place));
        self.retire_dest(key, *dest, id);
        published
    }

    /// Takes a destination from the owner's list: service key, row and place it had.
    fn forget_dest(&mut self, service: &ServiceKey, dest: &DestinationKey) -> Option<(rows::ServiceKey, u32, u32)> {
        let entry = self.entries.get_mut(service)?;
        let id = entry.dest_ids.remove(dest)?;
        let place = entry.dests.iter().position(|row| *row == id)?;
        entry.dests.remove(place);
        let stats = self.tables.stats(id);
        self.tables.services.update(entry.id, |row| row.departed = row.departed.plus(stats));
        self.dest_rates.remove(&id);
        Some((entry.key, id, place as u32))
    }

    /// Marks a destination row as removed and keeps it until nobody names it.
    fn retire_dest(&mut self, key: rows::ServiceKey, dest: DestinationKey, id: u32) {
        self.dest_rates.remove(&id);
        self.tables.dests.update(id, |row| {
            row.flags.store(0);
            row.idle_since = 0;
        });
        self.trash.insert((key, dest), id);
    }

    /// Lets the data plane see a service's list as it is now.
    fn publish(&mut self, service: &ServiceKey, edit: Edit) -> Result<(), Errno> {
        let now = self.clock.now();
        let entry = self.entries.get(service).ok_or(Errno::SRCH)?;
        let row = self.tables.services.get(entry.id).ok_or(Errno::SRCH)?;
        let old = Span::unpack(row.members.load());
        let len = entry.dests.len() as u32;
        // A list that keeps its length and order may be written over: each member's words change by themselves.
        let in_place = matches!(edit, Edit::Weights | Edit::Bound) && old.len == len;
        let base = if in_place || len == 0 { old.base } else { self.spans.take(len, now).ok_or(Errno::NOSPC)? };
        for (place, id) in entry.dests.iter().enumerate() {
            let weight = self.tables.dests.get(*id).map_or(0, |dest| dest.weight.load());
            if let Some(member) = self.tables.members.get(base + place as u32) {
                member.dest.store(*id);
                member.weight.store(weight);
            }
        }
        row.members.store(Span { base, len }.pack());
        self.schedule_anew(entry, row, edit);
        if !in_place {
            self.give_span(old, now);
        }
        Ok(())
    }

    /// Brings the scheduler's state in line with an edited list.
    fn schedule_anew(&self, entry: &Entry, row: &ServiceRow, edit: Edit) {
        let state = row.sched_state.load();
        let state = match (entry.scheduler, edit) {
            (Scheduler::RoundRobin, Edit::Bound) => 0,
            (Scheduler::RoundRobin, Edit::Inserted) => rr::after_insertion(state),
            (Scheduler::RoundRobin, Edit::Removed(place)) => rr::after_removal(state, place),
            (Scheduler::RoundRobin, Edit::Weights) => return,
            (Scheduler::WeightedRoundRobin, edit) => {
                let weights =
                    entry.dests.iter().filter_map(|id| self.tables.dests.get(*id)).map(|dest| dest.weight.load());
                let config = wrr::Config::of(weights);
                row.sched_config.store(config.pack());
                if matches!(edit, Edit::Bound) { config.fresh_state() } else { config.state_after_edit(state) }
            }
            // The others decide by the counters alone.
            _ => 0,
        };
        row.sched_state.store(state);
    }

    fn give_span(&mut self, span: Span, now: u64) {
        if span.len > 0 {
            self.spans.give(span.base, span.len, now);
        }
    }

    pub(super) fn next_created(&mut self) -> u64 {
        self.created += 1;
        self.created
    }

    /// Zeroes the statistics of a service and its destinations.
    pub(super) fn zero_service(&mut self, key: &ServiceKey) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let mut total = entry.departed(&self.tables);
        for id in &entry.dests {
            let stats = self.tables.stats(*id);
            total = total.plus(stats);
            self.tables.dests.update(*id, |row| row.zero_base = stats);
            self.dest_rates.entry(*id).or_default().zero(&stats);
        }
        self.tables.services.update(entry.id, |row| row.zero_base = total);
        entry.rates.zero(&total);
    }
}
