//! Every scheduler, natively and in the kernel: the same lists, edits and connections, the same picks, and in the end the
//! same trees, tables and states.
//!
//! The kernel runs the program `rlvs_schedule`, which is the core's scheduler and nothing else, on frames that hold a
//! question.

use aya::{Ebpf, TestRun, programs::TestRunOptions};
use rlvs_core::{
    native::{Dice, NativeTables},
    rows::{Address, Counts, DestRow, NO_DEST, Setting, Words, dest_flags, family},
    sched::{
        self, Ask, Question, Scheduler,
        roster::{self, Roster, Space},
    },
    tables::Tables,
};
use rlvs_tests::need;
use rlvsd::{
    loader::{self, DataPlane, Sizes},
    shared::SharedTables,
};
use zerocopy::{FromBytes, IntoBytes};

/// Destinations of a long list, which has a tree, and of a short one.
const LONG: u32 = 150;
const SHORT: u32 = 7;
const HZ: u32 = 1000;
const STEPS: usize = 1500;
/// Rows for destinations: those of all lists, and those that come later.
const DESTS: u32 = 12_288;

#[test]
fn native_and_kernel_pick_the_same() {
    if !need::lab() {
        return;
    }
    for seed in [1, 2] {
        let mut homes = Homes::load();
        let mut service = 0;
        for (name, scheduler) in Scheduler::ALL {
            for len in [SHORT, LONG] {
                let steps = homes.run(service, scheduler, len, Dice(seed * 1000 + u64::from(service)));
                println!("{name} among {len}: {steps} picks the same");
                service += 1;
            }
        }
    }
}

/// Time of a pick in the kernel, in nanoseconds: of many, the one that a quarter undercut.
fn pick_ns(homes: &mut Homes, scheduler: Scheduler, len: u32) -> u64 {
    homes.kernel.begin(0, Scheduler::None);
    for id in 0..len {
        // The half that is asked first takes no connections.
        homes.kernel.add(0, id, if id < len / 2 { id % 9 + 1 } else { 0 });
    }
    homes.kernel.roster.bind(&homes.kernel.tables, &mut homes.kernel.room, scheduler, 7).expect("room");
    let question = question(&ask(2, 1), 0, NO_DEST, 0);
    let program = loader::xdp(&mut homes.programs, loader::SCHEDULE_PROGRAM).expect("the program is in the object");
    let run = || {
        let mut options = TestRunOptions::new();
        options.data_in = Some(question.as_bytes());
        u64::from(program.test_run(options).expect("the program runs").duration.as_nanos() as u32)
    };
    let mut times: Vec<u64> = (0..400).map(|_| run()).collect();
    homes.kernel.roster.dissolve(&homes.kernel.tables, &mut homes.kernel.room);
    homes.kernel.room = Bump::default();
    times.sort_unstable();
    times[times.len() / 4]
}

#[test]
fn picks_among_many_take_hardly_longer() {
    if !need::lab() {
        return;
    }
    let mut homes = Homes::load();
    for (name, scheduler) in Scheduler::ALL {
        let many = if scheduler == Scheduler::MaglevHashing { 4093 } else { 10_000 };
        let (few, many) = (pick_ns(&mut homes, scheduler, 10), pick_ns(&mut homes, scheduler, many));
        println!("{name}: {few} ns among 10, {many} ns among many");
        // What a run costs by itself is in both.
        assert!(many <= few * 5, "{name}: {few} ns, {many} ns");
    }
}

/// Room that is never given back.
#[derive(Default)]
struct Bump {
    members: u32,
    words: u32,
}

impl Space for Bump {
    fn take_members(&mut self, slots: u32) -> Option<u32> {
        self.members += slots;
        Some(self.members - slots)
    }

    fn give_members(&mut self, _: u32, _: u32) {}

    fn take_words(&mut self, words: u32) -> Option<u32> {
        self.words += words;
        Some(self.words - words)
    }

    fn give_words(&mut self, _: u32, _: u32) {}
}

/// One home: its tables and where its room ends.
struct Home<T> {
    tables: T,
    room: Bump,
    roster: Roster,
}

/// Tables whose destination rows the test fills.
trait Fill: Tables {
    fn fill(&mut self, id: u32, fill: impl FnOnce(&mut DestRow));
}

impl Fill for NativeTables {
    fn fill(&mut self, id: u32, fill: impl FnOnce(&mut DestRow)) {
        fill(&mut self.dests[id as usize]);
    }
}

impl Fill for SharedTables {
    fn fill(&mut self, id: u32, fill: impl FnOnce(&mut DestRow)) {
        assert!(self.dests.update(id, fill), "room for destination {id}");
    }
}

impl<T: Fill> Home<T> {
    fn new(tables: T) -> Self {
        let config = tables.config().expect("a configuration row");
        config.hz.store(HZ);
        config.settings[Setting::LblcrExpiration as usize].store(86_400);
        Self { tables, room: Bump::default(), roster: Roster::pending(0) }
    }

    fn begin(&mut self, service: u32, scheduler: Scheduler) {
        self.roster = Roster::new(&self.tables, service);
        self.roster.bind(&self.tables, &mut self.room, scheduler, service + 1).expect("room");
    }

    fn add(&mut self, service: u32, id: u32, weight: u32) {
        self.tables.fill(id, |dest| {
            dest.address = Address::v4([192, 168, (id >> 8) as u8, id as u8]);
            dest.port = 80;
            dest.family = family::V4;
            dest.service.store(service);
            dest.weight.store(weight);
            dest.last_weight.store(weight);
            dest.flags.store(dest_flags::AVAILABLE);
        });
        self.roster.insert(&self.tables, &mut self.room, id).expect("room");
    }

    fn edit(&mut self, id: u32, weight: u32) {
        self.tables.dest(id).expect("a row").weight.store(weight);
        self.roster.edit(&self.tables, id);
    }

    fn remove(&mut self, id: u32) {
        self.tables.dest(id).expect("a row").flags.store(0);
        assert!(self.roster.remove(&self.tables, &mut self.room, id));
    }

    fn overload(&mut self, id: u32, on: bool) {
        let dest = self.tables.dest(id).expect("a row");
        dest.flags.store(dest_flags::AVAILABLE | if on { dest_flags::OVERLOAD } else { 0 });
        sched::flagged(&self.tables, dest);
    }

    fn flags(&self, service: u32, flags: u32) {
        self.tables.service(service).expect("a row").flags.store(flags);
    }

    /// What the scheduler has written of a service: its state, and its trees or table.
    fn state(&self, service: u32) -> Vec<u64> {
        let row = self.tables.service(service).expect("a row");
        let words = Words::unpack(row.words.load());
        let word = |slot| self.tables.word(slot).expect("a word").load();
        let words = (words.base..words.base + roster::words_len(words)).map(word);
        [row.sched_state.load(), row.sched_config.load(), row.members.load()].into_iter().chain(words).collect()
    }
}

struct Homes {
    native: Home<NativeTables>,
    kernel: Home<SharedTables>,
    programs: Ebpf,
    next: u32,
}

impl Homes {
    fn load() -> Self {
        let sizes = Sizes { services: 64, dests: DESTS, conns: 16 };
        let DataPlane { mut programs, maps, .. } = loader::load(None, sizes).expect("the data plane loads");
        let program = loader::xdp(&mut programs, loader::SCHEDULE_PROGRAM).expect("the program is in the object");
        program.load().expect("the scheduler's program loads");
        let native = NativeTables::new(64, DESTS as usize, DESTS as usize * 4, 0, HZ);
        Self { native: Home::new(native), kernel: Home::new(SharedTables::new(maps)), programs, next: 0 }
    }

    fn ask_kernel(&mut self, mut question: Question) -> u32 {
        let program = loader::xdp(&mut self.programs, loader::SCHEDULE_PROGRAM).expect("the program is in the object");
        let mut options = TestRunOptions::new();
        let frame = question.as_bytes().to_vec();
        let mut answer = vec![0; frame.len()];
        options.data_in = Some(&frame);
        options.data_out = Some(&mut answer);
        let result = program.test_run(options).expect("the program runs");
        assert_eq!(result.return_value, 2, "XDP_PASS");
        question = Question::read_from_bytes(&answer).expect("the same length");
        question.dest
    }

    fn add(&mut self, service: u32, weight: u32) {
        let id = self.next;
        self.next += 1;
        self.native.add(service, id, weight);
        self.kernel.add(service, id, weight);
    }

    /// Random steps on a new service in both homes; returns how many picks were the same.
    fn run(&mut self, service: u32, scheduler: Scheduler, len: u32, mut dice: Dice) -> usize {
        self.native.begin(service, scheduler);
        self.kernel.begin(service, scheduler);
        for _ in 0..len {
            self.add(service, dice.below(9) as u32);
        }
        let (mut now, mut picks) = (1_000_000, 0);
        for step in 0..STEPS {
            let list: Vec<u32> = self.native.roster.dests().collect();
            let one = list[dice.below(list.len())];
            match dice.below(40) {
                0 => self.add(service, dice.below(9) as u32),
                1 if list.len() > 2 => {
                    self.native.remove(one);
                    self.kernel.remove(one);
                }
                2 => {
                    let weight = dice.below(12) as u32;
                    self.native.edit(one, weight);
                    self.kernel.edit(one, weight);
                }
                3..=5 => {
                    let on = dice.once_in(2);
                    self.native.overload(one, on);
                    self.kernel.overload(one, on);
                }
                6..=8 => {
                    let delta = dice.one_of(&[Counts::ONE_ACTIVE, Counts::ONE_INACTIVE, Counts::ONE_ACTIVE * 40]);
                    self.tally(one, delta);
                }
                9 => now += dice.one_of(&[1, 1000, 90_000 * 1000]),
                10 => {
                    let flags = dice.one_of(&[0, 0x8, 0x10, 0x18]);
                    self.native.flags(service, flags);
                    self.kernel.flags(service, flags);
                }
                _ => {
                    picks += usize::from(self.pick(service, scheduler, &mut dice, now).unwrap_or_else(|difference| {
                        panic!("{scheduler:?} among {len}, step {step}: {difference}");
                    }));
                }
            }
        }
        assert_eq!(self.native.state(service), self.kernel.state(service), "{scheduler:?} among {len}");
        if scheduler != Scheduler::None {
            assert!(picks > STEPS / 20, "{scheduler:?} among {len}: {picks} picks");
        }
        picks
    }

    /// A connection more or less at a destination.
    fn tally(&mut self, dest: u32, delta: u64) {
        sched::tally(&self.native.tables, self.native.tables.dest(dest).expect("a row"), delta);
        self.ask_kernel(question(&ask(0, 0), 0, dest, delta));
    }

    /// One pick in both homes and the connection that follows; whether there was one.
    fn pick(&mut self, service: u32, scheduler: Scheduler, dice: &mut Dice, now: u64) -> Result<bool, String> {
        let ask = Ask { now, ..ask(dice.bits() as u32, dice.below(6) as u32) };
        let row = self.native.tables.service(service).expect("a row");
        let native = sched::pick(&self.native.tables, row, &ask).unwrap_or(NO_DEST);
        let mut kernel = self.ask_kernel(question(&ask, service, NO_DEST, 0));
        if scheduler == Scheduler::PowerOfTwo && kernel != NO_DEST {
            // By chance: what is picked must be eligible, no more.
            let dest = self.kernel.tables.dest(kernel).ok_or("a destination that is none")?;
            if dest.weight.load() == 0 || dest.flags.load() != dest_flags::AVAILABLE {
                return Err(format!("{kernel} is not eligible"));
            }
            kernel = native;
        }
        if native != kernel {
            return Err(format!("natively {native}, in the kernel {kernel}: {ask:?}"));
        }
        if native != NO_DEST {
            self.tally(native, dice.one_of(&[Counts::ONE_ACTIVE, Counts::ONE_INACTIVE]));
        }
        Ok(native != NO_DEST)
    }
}

/// A client, IPv4 or IPv6, that asks for one of a few addresses.
fn ask(client: u32, destination: u32) -> Ask {
    let is_v6 = client & 1 == 1;
    let (family, rest) = if is_v6 { (family::V6, client.rotate_left(7)) } else { (family::V4, 0) };
    let destination = Address([0x0a00_0000u32.to_be() | destination.to_be(), 0, 0, 0]);
    Ask { client: Address([client, 0, rest, 0]), destination, client_port: client as u16, family, now: 0 }
}

fn question(ask: &Ask, service: u32, dest: u32, delta: u64) -> Question {
    let Ask { client, destination, client_port, family, now } = *ask;
    Question { client, destination, now, delta, service, dest, client_port, family, zero: 0 }
}
