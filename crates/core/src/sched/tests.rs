//! The recorded picks of schedulers.md, and random lists and edits against step-by-step models of its algorithms.

use proptest::prelude::*;
use std::{string::String, vec::Vec};

use super::*;
use crate::native::NativeTables;

/// One change of a service, as an operator makes it, or `Pick`s between them.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// This many new connections.
    Pick(usize),
    /// A new destination of this weight.
    Add(u32),
    /// The destination at this place of the list (modulo its length) gets this weight.
    Edit(usize, u32),
    /// The destination at this place is removed.
    Delete(usize),
    /// The destination at this place reaches its upper threshold, or falls below the lower one.
    Overload(usize, bool),
    /// The scheduler is bound anew, as when an edit changes it.
    Rebind,
}

/// A service on native tables, changed the way the daemon changes one.
struct Service {
    tables: NativeTables,
    scheduler: Scheduler,
    /// Numbers of the destinations, newest first.
    list: Vec<u32>,
    /// Number of the next destination that [`Step::Add`] makes.
    next: u32,
}

impl Service {
    const DESTS_MAX: usize = 64;

    fn new(scheduler: Scheduler) -> Self {
        let tables = NativeTables::new(1, Self::DESTS_MAX, Self::DESTS_MAX, 0, 1000);
        let mut service = Self { tables, scheduler, list: Vec::new(), next: 1 };
        service.row().scheduler.store(scheduler as u32);
        service.apply(Step::Rebind);
        service
    }

    /// A service whose destinations 1, 2, .. were added in this order with these weights.
    fn with(scheduler: Scheduler, weights: &[u32]) -> Self {
        let mut service = Self::new(scheduler);
        weights.iter().for_each(|weight| service.add(*weight));
        service
    }

    fn row(&self) -> &ServiceRow {
        &self.tables.services[0]
    }

    fn add(&mut self, weight: u32) {
        self.apply(Step::Add(weight));
    }

    fn edit(&mut self, dest: u32, weight: u32) {
        self.apply(Step::Edit(self.place(dest), weight));
    }

    fn delete(&mut self, dest: u32) {
        self.apply(Step::Delete(self.place(dest)));
    }

    fn place(&self, dest: u32) -> usize {
        self.list.iter().position(|listed| *listed == dest).expect("a destination of the list")
    }

    fn apply(&mut self, step: Step) {
        let len = self.list.len();
        let state = self.row().sched_state.load();
        let rr_state = match step {
            Step::Pick(times) => {
                self.picks(times);
                return;
            }
            Step::Overload(place, on) => {
                if len > 0 {
                    self.overload(self.list[place % len], on);
                }
                return;
            }
            Step::Edit(..) | Step::Delete(_) if len == 0 => return,
            Step::Edit(place, weight) => {
                self.tables.dests[self.list[place % len] as usize].weight.store(weight);
                state
            }
            Step::Delete(place) => {
                self.list.remove(place % len);
                rr::after_removal(state, (place % len) as u32)
            }
            Step::Add(weight) => {
                if self.next as usize == Self::DESTS_MAX {
                    return;
                }
                self.tables.dests[self.next as usize].weight.store(weight);
                self.list.insert(0, self.next);
                self.next += 1;
                rr::after_insertion(state)
            }
            Step::Rebind => 0,
        };
        let weight = |dest: &u32| self.tables.dests[*dest as usize].weight.load();
        for (member, dest) in self.tables.members.iter().zip(&self.list) {
            member.dest.store(*dest);
            member.weight.store(weight(dest));
        }
        self.row().members.store(Span { base: 0, len: self.list.len() as u32 }.pack());
        if self.scheduler == Scheduler::WeightedRoundRobin {
            let config = wrr::Config::of(self.list.iter().map(weight));
            self.row().sched_config.store(config.pack());
            let fresh = matches!(step, Step::Rebind);
            self.row().sched_state.store(if fresh { config.fresh_state() } else { config.state_after_edit(state) });
        } else {
            self.row().sched_state.store(rr_state);
        }
    }

    fn overload(&self, dest: u32, on: bool) {
        self.tables.dests[dest as usize].flags.store(if on { dest_flags::OVERLOAD } else { 0 });
    }

    fn pick(&self) -> Option<u32> {
        super::pick(&self.tables, self.row())
    }

    /// The next picks as schedulers.md writes them: one digit each, "-" for none.
    fn picks(&self, times: usize) -> String {
        let digit = |dest| char::from_digit(dest, 36).expect("few destinations");
        (0..times).map(|_| self.pick().map_or('-', digit)).collect()
    }
}

mod recorded {
    use super::*;
    use Scheduler::{RoundRobin, WeightedRoundRobin};

    /// Section 0, first row: reals 1 (w3), 2 (w2), 3 (w1).
    #[test]
    fn rr_goes_through_the_list_newest_first() {
        assert_eq!(Service::with(RoundRobin, &[3, 2, 1]).picks(12), "321321321321");
    }

    /// Section 1: "`3213`, delete 3 -> `21212`, add 4 -> `14214`, set w(2)=0 -> `141414`".
    #[test]
    fn rr_through_edits() {
        let mut service = Service::with(RoundRobin, &[3, 2, 1]);
        assert_eq!(service.picks(4), "3213");
        service.delete(3);
        assert_eq!(service.picks(5), "21212");
        service.add(1);
        assert_eq!(service.picks(5), "14214");
        service.edit(2, 0);
        assert_eq!(service.picks(6), "141414");
    }

    /// Section 1: "reals 1..4 w1: `43`, delete 3 (the last picked) -> `214214`".
    #[test]
    fn rr_goes_on_after_the_place_of_a_deleted_destination() {
        let mut service = Service::with(RoundRobin, &[1, 1, 1, 1]);
        assert_eq!(service.picks(2), "43");
        service.delete(3);
        assert_eq!(service.picks(6), "214214");
    }

    /// Section 0: delete + add moves to the head; the model of section 1 says what follows.
    #[test]
    fn rr_keeps_its_place_when_a_destination_moves_to_the_head() {
        let mut service = Service::with(RoundRobin, &[1, 1, 1]);
        assert_eq!(service.picks(2), "32");
        service.delete(1);
        service.add(1); // The head, as number 4: the list is 4 3 2 and 2 was picked last.
        assert_eq!(service.picks(4), "4324");
    }

    /// Section 0, row wrr.
    #[test]
    fn wrr_with_weights_3_2_1() {
        assert_eq!(Service::with(WeightedRoundRobin, &[3, 2, 1]).picks(12), "321121321121");
    }

    /// Section 2, the table of weights.
    #[test]
    fn wrr_with_recorded_weights() {
        let recorded: [(&[u32], &str); 4] = [
            (&[4, 2, 2], "321132113211321132113211"),
            (&[5, 3, 0], "211121212111212121112121"),
            (&[6, 4], "211212112121121211212112"),
            (&[7, 5, 3], "321112121321321321112121"),
        ];
        for (weights, picks) in recorded {
            assert_eq!(Service::with(WeightedRoundRobin, weights).picks(24), picks, "weights {weights:?}");
        }
    }

    /// Section 2: "weights 3,2,1: `3211`; edit w(3)=5 -> `313213213331`; delete 1 -> `332323333`; add 4 w2 ->
    /// `432432333432`".
    #[test]
    fn wrr_through_edits() {
        let mut service = Service::with(WeightedRoundRobin, &[3, 2, 1]);
        assert_eq!(service.picks(4), "3211");
        service.edit(3, 5);
        assert_eq!(service.picks(12), "313213213331");
        service.delete(1);
        assert_eq!(service.picks(9), "332323333");
        service.add(2);
        assert_eq!(service.picks(12), "432432333432");
    }

    /// Section 2: "weights 3,2,1 with real 1 limited to 2 connections: `32112322322322`". The connections stay, so the limit
    /// is reached with the second one, which is when IPVS sets the flag; here the test does.
    #[test]
    fn wrr_passes_by_an_overloaded_destination() {
        let service = Service::with(WeightedRoundRobin, &[3, 2, 1]);
        let mut picks = String::new();
        while picks.len() < 14 {
            picks += &service.picks(1);
            if picks.matches('1').count() == 2 {
                service.overload(1, true);
            }
        }
        assert_eq!(picks, "32112322322322");
    }

    /// Section 0: "nothing eligible -> none" for every scheduler, and scheduler `none` always.
    #[test]
    fn nobody_eligible_is_no_pick() {
        for scheduler in [RoundRobin, WeightedRoundRobin] {
            let mut service = Service::new(scheduler);
            assert_eq!(service.picks(3), "---", "{scheduler:?} without destinations");
            service.add(0);
            service.add(0);
            assert_eq!(service.picks(3), "---", "{scheduler:?} with weights 0");
            service.edit(1, 4);
            assert_eq!(service.picks(3), "111", "{scheduler:?} with one weight");
            service.overload(1, true);
            assert_eq!(service.picks(3), "---", "{scheduler:?} with one destination, overloaded");
            service.overload(1, false);
            assert_eq!(service.picks(3), "111", "{scheduler:?} with the load gone");
        }
        assert_eq!(Service::with(Scheduler::None, &[1, 1]).picks(3), "---");
    }

    /// The weights that forbid walking the list once a step: 2^31 - 1 and 1.
    #[test]
    fn wrr_with_the_largest_weight_skips_the_empty_rounds() {
        let service = Service::with(WeightedRoundRobin, &[1, i32::MAX as u32]);
        // Built by successive adds, the list is served once at current weight 1, then from the top.
        assert_eq!(service.picks(6), "212222");
        service.overload(2, true);
        assert_eq!(service.picks(4), "1111");
    }
}

/// The algorithms of schedulers.md, word by word, over a list of their own.
mod model {
    use super::*;

    #[derive(Clone, Copy, Debug)]
    struct Dest {
        number: u32,
        weight: i64,
        overload: bool,
    }

    /// Where a scheduler stands: at the head of the list or at a destination.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum At {
        Head,
        Dest(u32),
    }

    #[derive(Debug)]
    pub struct Model {
        list: Vec<Dest>,
        next: u32,
        wrr: bool,
        /// rr: `cur`; wrr: `pos`.
        pub at: At,
        /// wrr: `cw`.
        pub cw: i64,
        mw: i64,
        di: i64,
    }

    impl Model {
        pub fn new(scheduler: Scheduler) -> Self {
            let wrr = scheduler == Scheduler::WeightedRoundRobin;
            Self { list: Vec::new(), next: 1, wrr, at: At::Head, cw: 0, mw: 0, di: 1 }
        }

        pub fn apply(&mut self, step: Step) {
            let len = self.list.len();
            match step {
                Step::Pick(_) => unreachable!("picks are compared one by one"),
                Step::Overload(place, on) => {
                    if len > 0 {
                        self.list[place % len].overload = on;
                    }
                    return;
                }
                Step::Edit(..) | Step::Delete(_) if len == 0 => return,
                Step::Edit(place, weight) => self.list[place % len].weight = weight.into(),
                Step::Delete(place) => {
                    let place = place % len;
                    let gone = self.list.remove(place);
                    if self.at == At::Dest(gone.number) {
                        self.at = place.checked_sub(1).map_or(At::Head, |before| At::Dest(self.list[before].number));
                    }
                }
                Step::Add(weight) => {
                    if self.next as usize == Service::DESTS_MAX {
                        return;
                    }
                    self.list.insert(0, Dest { number: self.next, weight: weight.into(), overload: false });
                    self.next += 1;
                }
                Step::Rebind => self.at = At::Head,
            }
            if self.wrr {
                self.weigh_anew(matches!(step, Step::Rebind));
            }
        }

        /// Section 2: "scheduler bound" and "add, delete or edit of any dest".
        fn weigh_anew(&mut self, bound: bool) {
            let gcd = |a: i64, b: i64| (1..=a.max(b)).rev().find(|d| a % d == 0 && b % d == 0).unwrap_or(0);
            self.di = self.list.iter().map(|dest| dest.weight).filter(|w| *w > 0).fold(0, gcd).max(1);
            let heaviest = self.list.iter().map(|dest| dest.weight).max().unwrap_or(0);
            self.mw = if heaviest == 0 { 0 } else { heaviest - (self.di - 1) };
            self.at = At::Head;
            if bound || self.cw > self.mw || self.cw == 0 {
                self.cw = self.mw;
            } else if self.di > 1 {
                self.cw = self.cw / self.di * self.di + 1;
            }
        }

        pub fn pick(&mut self) -> Option<u32> {
            if self.wrr { self.pick_wrr() } else { self.pick_rr() }
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
            let picked = turn.copied().find(|dest| dest.weight > 0 && !dest.overload)?.number;
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
    }

    /// Where the rows say that the scheduler stands, in the model's words: place and current weight.
    pub fn state_of(service: &Service) -> (At, i64) {
        let state = service.row().sched_state.load();
        let (position, current) = match service.scheduler {
            Scheduler::WeightedRoundRobin => (state >> 32, state as u32),
            _ => (state, 0),
        };
        let place = (position as usize).checked_sub(1);
        (place.map_or(At::Head, |place| At::Dest(service.list[place])), current.into())
    }
}

/// Weights that meet in steps of 1 and more, often 0.
fn weight() -> impl Strategy<Value = u32> {
    let step = prop_oneof![Just(1u32), Just(2), Just(3), Just(10), Just(50)];
    prop_oneof![1 => Just(0), 6 => (step, 0u32..9).prop_map(|(step, times)| step * times)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (1usize..12).prop_map(Step::Pick),
        4 => weight().prop_map(Step::Add),
        4 => (any::<usize>(), weight()).prop_map(|(place, weight)| Step::Edit(place, weight)),
        2 => any::<usize>().prop_map(Step::Delete),
        4 => (any::<usize>(), any::<bool>()).prop_map(|(place, on)| Step::Overload(place, on)),
        1 => Just(Step::Rebind),
    ]
}

/// Runs the same steps through rows and model and compares every pick and the state that each leaves behind.
fn agree(scheduler: Scheduler, weights: &[u32], steps: &[Step]) -> Result<(), TestCaseError> {
    let mut service = Service::new(scheduler);
    let mut model = model::Model::new(scheduler);
    let adds = weights.iter().map(|weight| Step::Add(*weight));
    for step in adds.chain(steps.iter().copied()) {
        if let Step::Pick(times) = step {
            for _ in 0..times {
                prop_assert_eq!(service.pick(), model.pick(), "{:?}", model);
                prop_assert_eq!(model::state_of(&service), (model.at, model.cw), "{:?}", model);
            }
        } else {
            service.apply(step);
            model.apply(step);
            prop_assert_eq!(model::state_of(&service), (model.at, model.cw), "after {:?}: {:?}", step, model);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn wrr_equals_the_literal_algorithm(
        weights in proptest::collection::vec(weight(), 0..8),
        steps in proptest::collection::vec(step(), 0..60),
    ) {
        agree(Scheduler::WeightedRoundRobin, &weights, &steps)?;
    }

    #[test]
    fn rr_equals_the_literal_algorithm(
        weights in proptest::collection::vec(weight(), 0..8),
        steps in proptest::collection::vec(step(), 0..60),
    ) {
        agree(Scheduler::RoundRobin, &weights, &steps)?;
    }
}
