//! The algorithms of schedulers.md, word by word, over a list of their own.

use super::*;
use crate::native::Dice;

#[derive(Clone, Copy, Debug)]
struct Dest {
    number: u32,
    weight: i64,
    last_weight: i64,
    overload: bool,
    active: i64,
    inactive: i64,
}

impl Dest {
    fn eligible(&self) -> bool {
        self.weight > 0 && !self.overload
    }

    fn overhead(&self) -> i64 {
        256 * self.active + self.inactive
    }
}

/// Where a scheduler stands: at the head of the list or at a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    Head,
    Dest(u32),
}

/// What lblc and lblcr remember of an address.
#[derive(Clone, Debug, Default)]
struct Remembered {
    /// Newest first.
    set: Vec<u32>,
    changed: u64,
}

pub struct Model {
    scheduler: Scheduler,
    list: Vec<Dest>,
    /// Removed ones, which a set may still name.
    gone: Vec<Dest>,
    next: u32,
    /// rr: `cur`; wrr: `pos`.
    at: At,
    /// wrr: `cw`.
    cw: i64,
    mw: i64,
    di: i64,
    /// dh, sh, mh.
    table: Vec<u32>,
    /// lblc, lblcr.
    cache: HashMap<Address, Remembered>,
    dice: Dice,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:?} at {:?}, cw {} mw {} di {}: {:?}",
            self.scheduler, self.at, self.cw, self.mw, self.di, self.list
        )
    }
}

impl Model {
    pub fn new(scheduler: Scheduler) -> Self {
        let (list, gone, table, cache) = (Vec::new(), Vec::new(), Vec::new(), HashMap::new());
        Self { scheduler, list, gone, next: 1, at: At::Head, cw: 0, mw: 0, di: 1, table, cache, dice: Dice(1) }
    }

    pub fn numbers(&self) -> Vec<u32> {
        self.list.iter().map(|dest| dest.number).collect()
    }

    pub fn state(&self) -> (At, i64) {
        (self.at, self.cw)
    }

    pub fn apply(&mut self, step: Step) {
        let len = self.list.len();
        match step {
            Step::Pick(..) => unreachable!("picks are compared one by one"),
            Step::Wait(_) | Step::Restart => return,
            Step::Overload(..) | Step::Count(..) | Step::Edit(..) | Step::Delete(_) if len == 0 => return,
            Step::Overload(place, on) => {
                self.list[place % len].overload = on;
                return;
            }
            Step::Count(place, active, inactive) => {
                let dest = &mut self.list[place % len];
                (dest.active, dest.inactive) = (active.into(), inactive.into());
                return;
            }
            Step::Edit(place, weight) => {
                let dest = &mut self.list[place % len];
                dest.weight = weight.into();
                if weight != 0 {
                    dest.last_weight = weight.into();
                }
            }
            Step::Delete(place) => {
                let place = place % len;
                let gone = self.list.remove(place);
                self.gone.push(gone);
                if self.at == At::Dest(gone.number) {
                    self.at = place.checked_sub(1).map_or(At::Head, |before| At::Dest(self.list[before].number));
                }
            }
            Step::Add(weight) => {
                if self.next as usize == DESTS {
                    return;
                }
                let (number, weight) = (self.next, weight.into());
                let dest = Dest { number, weight, last_weight: weight, overload: false, active: 0, inactive: 0 };
                self.list.insert(0, dest);
                self.next += 1;
            }
            Step::Rebind => {
                self.at = At::Head;
                self.cache.clear();
            }
        }
        match self.scheduler {
            Scheduler::WeightedRoundRobin => self.weigh_anew(matches!(step, Step::Rebind)),
            Scheduler::DestinationHashing if !matches!(step, Step::Edit(..)) => {
                self.table = self.numbers().into_iter().cycle().take(256).collect();
            }
            Scheduler::SourceHashing => self.fill_sh(),
            Scheduler::MaglevHashing => self.fill_mh(),
            _ => {}
        }
    }

    /// Section 2: "scheduler bound" and "add, delete or edit of any dest".
    fn weigh_anew(&mut self, bound: bool) {
        self.di = self.list.iter().map(|dest| dest.weight).filter(|w| *w > 0).fold(0, divisor).max(1);
        let heaviest = self.list.iter().map(|dest| dest.weight).max().unwrap_or(0);
        self.mw = if heaviest == 0 { 0 } else { heaviest - (self.di - 1) };
        self.at = At::Head;
        if bound || self.cw > self.mw || self.cw == 0 {
            self.cw = self.mw;
        } else if self.di > 1 {
            self.cw = self.cw / self.di * self.di + 1;
        }
    }

    /// Section 11.
    fn fill_sh(&mut self) {
        self.table.clear();
        let (mut place, mut count) = (0, 0);
        while self.table.len() < 256 && !self.list.is_empty() {
            let dest = self.list[place];
            self.table.push(dest.number);
            count += 1;
            if count >= dest.weight {
                (place, count) = ((place + 1) % self.list.len(), 0);
            }
        }
    }

    /// Section 12.
    fn fill_mh(&mut self) {
        const M: usize = 4093;
        let g = self.list.iter().map(|dest| dest.last_weight).filter(|w| *w > 0).fold(0, divisor);
        self.table = std::vec![0; M];
        if g == 0 {
            return;
        }
        let mw = self.list.iter().map(|dest| dest.last_weight).max().unwrap_or(0) / g;
        let shift = (i64::from(64 - mw.leading_zeros()) - 6).max(0);
        let hash = |key, number| hash::siphash(key, real(number).fold() + 80) as usize;
        let mut perm: Vec<usize> = self.list.iter().map(|dest| hash(2_654_435_761, dest.number) % M).collect();
        let mut taken = 0;
        loop {
            for (dest, perm) in self.list.iter().zip(&mut perm) {
                let turns = (dest.last_weight / g) >> shift;
                let turns = if turns == 0 && dest.last_weight != 0 { 1 } else { turns };
                let skip = hash(2_654_446_892, dest.number) % (M - 1) + 1;
                for _ in 0..turns {
                    while self.table[*perm] != 0 {
                        *perm = (*perm + skip) % M;
                    }
                    self.table[*perm] = dest.number;
                    taken += 1;
                    if taken == M {
                        return;
                    }
                }
            }
        }
    }

    /// A pick, and a connection that becomes active.
    pub fn connect(&mut self, ask: &Ask) -> Option<u32> {
        let picked = self.pick(ask);
        if let Some(dest) = self.list.iter_mut().find(|dest| Some(dest.number) == picked) {
            dest.active += 1;
        }
        picked
    }

    fn pick(&mut self, ask: &Ask) -> Option<u32> {
        match self.scheduler {
            Scheduler::None => None,
            Scheduler::RoundRobin => self.pick_rr(),
            Scheduler::WeightedRoundRobin => self.pick_wrr(),
            Scheduler::LeastConnection => self.least(|dest| (dest.overhead(), 1)),
            Scheduler::WeightedLeastConnection => self.wlc(),
            Scheduler::ShortestExpectedDelay => self.least(|dest| (dest.active + 1, dest.weight)),
            Scheduler::NeverQueue => {
                let idle = self.list.iter().find(|dest| dest.eligible() && dest.active == 0);
                idle.map(|dest| dest.number).or_else(|| self.least(|dest| (dest.active + 1, dest.weight)))
            }
            Scheduler::Failover => self.heaviest(|dest| dest.eligible()),
            Scheduler::Overflow => {
                self.heaviest(|dest| !dest.overload && dest.weight != 0 && dest.active <= dest.weight)
            }
            Scheduler::PowerOfTwo => self.pick_twos(),
            Scheduler::DestinationHashing => self.at_slot(hash::hash32(ask.destination.fold(), 8)),
            Scheduler::SourceHashing => self.at_slot(hash::hash32(ask.client.fold(), 8)),
            Scheduler::MaglevHashing => self.at_slot(hash::siphash(2_654_435_761, ask.client.fold()) % 4093),
            Scheduler::LocalityBased => self.pick_lblc(ask),
            Scheduler::LocalityBasedReplicated => self.pick_lblcr(ask),
        }
    }

    fn listed(&self, number: u32) -> Option<&Dest> {
        self.list.iter().find(|dest| dest.number == number)
    }

    /// Sections 10 to 12 without fallback.
    fn at_slot(&self, slot: u32) -> Option<u32> {
        let number = *self.table.get(slot as usize)?;
        self.listed(number).filter(|dest| dest.eligible()).map(|dest| dest.number)
    }

    /// How many list elements lie before the one after `at`.
    fn after(&self, at: At) -> usize {
        match at {
            At::Head => 0,
            At::Dest(number) => {
                1 + self.list.iter().position(|dest| dest.number == number).expect("deletion moves `at`")
            }
        }
    }

    /// Section 1.
    fn pick_rr(&mut self) -> Option<u32> {
        let start = self.after(self.at);
        let turn = self.list[start..].iter().chain(&self.list[..start]);
        let picked = turn.copied().find(Dest::eligible)?.number;
        self.at = At::Dest(picked);
        Some(picked)
    }

    /// Section 2, steps 1 to 5.
    fn pick_wrr(&mut self) -> Option<u32> {
        if self.mw == 0 {
            return None;
        }
        let start = self.at;
        let mut stop = None;
        let (mut last, mut restarted) = (false, false);
        let mut from = self.after(start);
        loop {
            for dest in &self.list[from..] {
                if !dest.overload && dest.weight >= self.cw {
                    self.at = At::Dest(dest.number);
                    return Some(dest.number);
                }
                if stop == Some(At::Dest(dest.number)) {
                    self.at = At::Dest(dest.number);
                    return None;
                }
            }
            self.cw -= self.di;
            if self.cw <= 0 {
                self.cw = self.mw;
                if last || start == At::Head {
                    self.at = At::Head;
                    return None;
                }
                restarted = true;
            }
            last = self.cw <= self.di;
            if last && restarted && start != At::Head {
                stop = Some(start);
            }
            from = 0;
        }
    }

    /// Sections 3 to 6: the first with the least cost for its weight.
    fn least(&self, cost: impl Fn(&Dest) -> (i64, i64)) -> Option<u32> {
        let mut eligible = self.list.iter().filter(|dest| dest.eligible());
        let mut best = eligible.next()?;
        for dest in eligible {
            let ((best_cost, best_weight), (cost, weight)) = (cost(best), cost(dest));
            if best_cost * weight > cost * best_weight {
                best = dest;
            }
        }
        Some(best.number)
    }

    fn wlc(&self) -> Option<u32> {
        self.least(|dest| (dest.overhead(), dest.weight))
    }

    /// Sections 7 and 8.
    fn heaviest(&self, takes: impl Fn(&&Dest) -> bool) -> Option<u32> {
        let mut best: Option<&Dest> = None;
        for dest in self.list.iter().filter(takes) {
            if best.is_none_or(|best| dest.weight > best.weight) {
                best = Some(dest);
            }
        }
        best.map(|dest| dest.number)
    }

    /// Section 9.
    fn pick_twos(&mut self) -> Option<u32> {
        let eligible: Vec<Dest> = self.list.iter().copied().filter(Dest::eligible).collect();
        let total: i64 = eligible.iter().map(|dest| dest.weight).sum();
        if total == 0 {
            return None;
        }
        let mut random = || ((self.dice.bits() & 0xffff_ffff) as i64 * (total + 1)) >> 32;
        let numbers = [random(), random()];
        let [first, second] = numbers.map(|mut number| {
            let mut choice = eligible.iter().filter(|dest| {
                number -= dest.weight;
                number <= 0
            });
            *choice.next().expect("the sum is not exceeded")
        });
        let second_is_better = second.weight * first.overhead() > first.weight * second.overhead();
        Some(if second_is_better { second } else { first }.number)
    }

    /// Section 13: overloaded(d).
    fn is_overloaded(&self, dest: &Dest) -> bool {
        dest.active > dest.weight && self.list.iter().any(|other| 2 * other.active < other.weight)
    }

    /// Section 13.
    fn pick_lblc(&mut self, ask: &Ask) -> Option<u32> {
        if let Some(found) = self.cache.get(&ask.destination)
            && let Some(dest) = self.listed(found.set[0])
            && dest.weight > 0
            && !self.is_overloaded(dest)
        {
            return Some(dest.number);
        }
        let chosen = self.wlc()?;
        self.cache.entry(ask.destination).or_default().set = std::vec![chosen];
        Some(chosen)
    }

    /// Section 14.
    fn pick_lblcr(&mut self, ask: &Ask) -> Option<u32> {
        if let Some(mut found) = self.cache.get(&ask.destination).cloned() {
            let all = || self.list.iter().chain(&self.gone);
            let member = |number: &u32| *all().find(|dest| dest.number == *number).expect("it was there once");
            let members: Vec<Dest> = found.set.iter().map(member).collect();
            let mut least: Option<Dest> = None;
            for dest in members.iter().filter(|dest| !dest.overload && self.listed(dest.number).is_some()) {
                match least {
                    None if dest.weight > 0 => least = Some(*dest),
                    Some(best) if best.overhead() * dest.weight > dest.overhead() * best.weight => least = Some(*dest),
                    _ => {}
                }
            }
            if found.set.len() > 1 && ask.now > found.changed + 86_400 * u64::from(HZ) {
                let mut most: Option<Dest> = None;
                for dest in members.iter().filter(|dest| dest.weight > 0) {
                    if most.is_none_or(|most| most.overhead() * dest.weight < dest.overhead() * most.weight) {
                        most = Some(*dest);
                    }
                }
                if let Some(most) = most {
                    found.set.retain(|number| *number != most.number);
                    found.changed = ask.now;
                    self.cache.insert(ask.destination, found);
                }
            }
            if let Some(least) = least.filter(|dest| !self.is_overloaded(dest)) {
                return Some(least.number);
            }
        }
        let chosen = self.wlc()?;
        let entry = self.cache.entry(ask.destination).or_default();
        if !entry.set.contains(&chosen) {
            entry.set.insert(0, chosen);
            entry.changed = ask.now;
        }
        Some(chosen)
    }
}

fn divisor(a: i64, b: i64) -> i64 {
    (1..=a.max(b)).rev().find(|d| a % d == 0 && b % d == 0).unwrap_or(0)
}

/// Where the rows say that the scheduler stands, in the model's words: place and current weight.
pub fn state_of(service: &Service) -> (At, i64) {
    let state = service.row().sched_state.load();
    let (place, current) = match service.roster.scheduler() {
        Scheduler::WeightedRoundRobin => (state >> 32, state as u32),
        Scheduler::RoundRobin => (state, 0),
        _ => (0, 0),
    };
    if place == 0 {
        return (At::Head, current.into());
    }
    let span = Span::unpack(service.row().members.load());
    let slot = span.base + span.len - place as u32;
    (At::Dest(service.tables.members[slot as usize].dest.load()), current.into())
}
