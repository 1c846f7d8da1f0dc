//! The same table in the native home and in the kernel's maps; frames through a loaded program; the comparison.

use std::collections::HashSet;

use aya::{
    TestRun,
    programs::{TestRunOptions, XdpMode},
};
use rlvs_core::{
    conn::flags,
    native::NativeTables,
    rows::{Address, Counts, DestRow, FlowKey, HopRow, ServiceKey, Span, dest_flags, family},
    sched::{Scheduler, wrr},
    tables::Tables,
    verdict::{self, Verdict},
    wire::{
        ethernet,
        ipv4::{PROTOCOL_TCP, PROTOCOL_UDP},
    },
};
use rlvsd::{
    clock::Clock,
    counters::Counters,
    loader::{self, DataPlane, Sizes},
    shared::SharedTables,
};

use crate::network::{Network, Port};

/// Rows for connections: fewer than clients ask for, so that the table is full in the end.
const CONNS: u32 = 1500;
const ROWS: u32 = 128;
/// Jiffies a second, as the tables are told: so many that no way out grows old during the test.
const HZ: u32 = 100_000_000;
/// Each timeout is a multiple of this many jiffies, so that deadlines tell them apart however long the test takes.
const TIMEOUT_STEP: u32 = 100_000_000;

/// Frames with room for an IPv6 header run on tc; of shorter ones newer kernels refuse some, by their ethertype.
const PACKET_LEN_MIN: usize = ethernet::HEADER_LEN + 40;

/// One virtual service.
pub struct Service {
    pub protocol: u8,
    pub address: [u8; 4],
    pub port: u16,
    scheduler: Scheduler,
    /// Last byte of 192.168.1.x, port, weight; newest first.
    dests: Vec<(u8, u16, u32)>,
}

/// Every scheduler for TCP and UDP; destinations whose neighbour is known and one whose is not, some with a port of their
/// own, one without weight, and some that services share.
pub fn services() -> Vec<Service> {
    let mut services = Vec::new();
    for (port, (_, scheduler)) in (8000..).zip(Scheduler::ALL) {
        for protocol in [PROTOCOL_TCP, PROTOCOL_UDP] {
            let dests = vec![(2, 80, 3), (3, 0, 2), (4, 80, 1), (3, 81, 1), (2, 8080, 0)];
            services.push(Service { protocol, address: [172, 16, 0, 1], port, scheduler, dests });
        }
    }
    let shared = vec![(2, 80, 1), (3, 80, 1)];
    for last in [2, 3] {
        let (address, scheduler) = ([172, 16, 0, last], Scheduler::RoundRobin);
        services.push(Service { protocol: PROTOCOL_TCP, address, port: 80, scheduler, dests: shared.clone() });
    }
    services
}

/// Tables that the test fills.
trait Fill: Tables {
    fn write_dest(&mut self, id: u32, write: impl FnOnce(&mut DestRow));
    fn publish(&mut self, key: ServiceKey, id: u32);
}

impl Fill for NativeTables {
    fn write_dest(&mut self, id: u32, write: impl FnOnce(&mut DestRow)) {
        write(&mut self.dests[id as usize]);
    }

    fn publish(&mut self, key: ServiceKey, id: u32) {
        self.service_index.insert(key, id);
    }
}

impl Fill for SharedTables {
    fn write_dest(&mut self, id: u32, write: impl FnOnce(&mut DestRow)) {
        assert!(self.dests.update(id, write), "room for destination {id}");
    }

    fn publish(&mut self, key: ServiceKey, id: u32) {
        self.publish_service(&key, id).expect("room in the service index");
    }
}

fn fill(tables: &mut impl Fill) {
    let config = tables.config().expect("a configuration row");
    config.hz.store(HZ);
    config.epoch.store(1);
    for (number, timeout) in (1..).zip(&config.timeouts) {
        timeout.store(number * TIMEOUT_STEP);
    }
    let mut next = 0;
    for (id, service) in (0..).zip(services()) {
        let base = next;
        for (last, port, weight) in &service.dests {
            tables.write_dest(next, |dest| {
                dest.address = Address::v4([192, 168, 1, *last]);
                dest.port = *port;
                dest.family = family::V4;
                dest.service = id;
                dest.weight.store(*weight);
                dest.flags.store(dest_flags::AVAILABLE);
            });
            let member = tables.member(next).expect("room for members");
            member.dest.store(next);
            member.weight.store(*weight);
            next += 1;
        }
        let config = wrr::Config::of(service.dests.iter().map(|(_, _, weight)| *weight));
        let row = tables.service(id).expect("room for services");
        row.members.store(Span { base, len: next - base }.pack());
        row.scheduler.store(service.scheduler as u32);
        if service.scheduler == Scheduler::WeightedRoundRobin {
            row.sched_config.store(config.pack());
            row.sched_state.store(config.fresh_state());
        }
        tables.publish(service_key(&service), id);
    }
    assert!(next <= ROWS);
}

/// What an operator does in the middle of the traffic: takes destinations away, and lets others reach their threshold.
pub fn disturb(tables: &impl Tables) {
    for id in (0..ROWS).step_by(5) {
        let flags = if id % 2 == 0 { 0 } else { dest_flags::AVAILABLE | dest_flags::OVERLOAD };
        tables.dest(id).expect("a destination").flags.store(flags);
    }
}

/// The flows of all connections that there ever were.
pub fn flows(native: &NativeTables) -> impl Iterator<Item = FlowKey> {
    let used = native.conns.iter().take(native.cursor.conns_used.load() as usize);
    used.map(|row| row.identity()).flat_map(|identity| [identity.request_key(), identity.reply_key()])
}

fn service_key(service: &Service) -> ServiceKey {
    let Service { protocol, address, port, .. } = *service;
    ServiceKey { address: Address::v4(address), fwmark: 0, port, protocol, family: family::V4 }
}

/// The native home.
pub fn native(network: &Network) -> NativeTables {
    let mut tables = NativeTables::new(ROWS as usize, ROWS as usize, ROWS as usize, CONNS as usize, 100);
    fill(&mut tables);
    tables.router = network.router();
    tables
}

/// What becomes of a frame, as a hook's return code says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Goes on to the stack.
    Passed,
    /// Thrown away.
    Dropped,
    /// Sent out of some interface.
    Sent,
}

/// The program of a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    Tc,
    Xdp,
}

impl Program {
    /// What a verdict means on this hook.
    fn fate(self, verdict: &Verdict) -> Fate {
        match verdict {
            Verdict::Pass(_) => Fate::Passed,
            Verdict::Drop(_) => Fate::Dropped,
            Verdict::Forward(_) => Fate::Sent,
            // tc has the kernel ask the neighbour and hold the packet; XDP can only have the daemon ask.
            Verdict::Resolve(_) if self == Self::Tc => Fate::Sent,
            Verdict::Resolve(_) => Fate::Dropped,
        }
    }

    /// The return codes of linux/pkt_cls.h and linux/bpf.h.
    fn fate_of_code(self, code: u32) -> Fate {
        match (self, code.cast_signed()) {
            (Self::Tc, -1) | (Self::Xdp, 2) => Fate::Passed,
            (Self::Tc, 2) | (Self::Xdp, 1) => Fate::Dropped,
            (Self::Tc, 7) | (Self::Xdp, 4) => Fate::Sent,
            (program, code) => panic!("{program:?} returned {code}"),
        }
    }

    /// The beginning of the hook's context: `__sk_buff` with `ingress_ifindex` and `ifindex`, or `xdp_md` with
    /// `ingress_ifindex`.
    fn context(self, port: &Port, frame_len: usize) -> Vec<u8> {
        let words: &[u32] = match self {
            Self::Tc => &[0, 0, 0, 0, 0, 0, 0, 0, 0, port.index, port.index],
            Self::Xdp => &[0, frame_len as u32, 0, port.index, 0, 0],
        };
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }
}

/// A loaded data plane of which one program is run.
pub struct Kernel {
    /// Which one.
    pub program: Program,
    plane: aya::Ebpf,
    /// Its tables.
    pub tables: SharedTables,
    verdicts: Counters,
    /// How often each verdict was right.
    expected: Vec<u64>,
    /// Frames that the kernel would not run the program on.
    pub refused: usize,
}

impl Kernel {
    /// Loads the data plane and fills its maps.
    pub fn load(program: Program, network: &Network) -> Self {
        let sizes = Sizes { services: ROWS, dests: ROWS, conns: CONNS };
        let DataPlane { mut programs, maps, mut side } = loader::load(None, sizes).expect("the data plane loads");
        let mut tables = SharedTables::new(maps);
        fill(&mut tables);
        for port in &network.ports {
            let [a, b, c, d, e, f] = port.address;
            side.interfaces.insert(port.index, [a, b, c, d, e, f, 0, 0], 0).expect("room for an interface");
            if program == Program::Xdp {
                // A veth has receive queues for XDP, which a test run wants to see, only while a program is attached.
                let xdp = loader::xdp(&mut programs, loader::XDP_PROGRAM).expect("the XDP program");
                xdp.attach(port.name, XdpMode::default()).expect("the XDP program attaches");
            }
        }
        let expected = vec![0; verdict::COUNTERS as usize];
        Self { program, plane: programs, tables, verdicts: Counters(side.verdicts), expected, refused: 0 }
    }

    /// The kernel's clock.
    pub fn jiffies(&mut self) -> u64 {
        let program = loader::xdp(&mut self.plane, loader::CLOCK_PROGRAM).expect("the clock program");
        Clock::new(program).expect("the kernel's clock").now()
    }

    /// Runs the program on a frame that arrives by `port` and compares what becomes of it with the native verdict and bytes.
    ///
    /// # Errors
    /// The difference.
    pub fn check(&mut self, port: &Port, frame: &[u8], verdict: &Verdict, bytes: &[u8]) -> Result<(), String> {
        let Some((fate, theirs)) = self.run(port, frame) else {
            self.refused += 1;
            return Ok(());
        };
        self.expected[verdict.counter() as usize] += 1;
        let expected = self.program.fate(verdict);
        if fate == expected && theirs == bytes {
            return Ok(());
        }
        let program = self.program;
        Err(format!("{verdict:?}\nnative {expected:?} {bytes:02x?}\n{program:?} {fate:?} {theirs:02x?}"))
    }

    /// Runs the program on a frame that arrives by `port`: what becomes of the frame, and its bytes. `None` where the kernel
    /// makes no packet for tc of so few bytes.
    fn run(&mut self, port: &Port, frame: &[u8]) -> Option<(Fate, Vec<u8>)> {
        let context = self.program.context(port, frame.len());
        let mut out = vec![0; frame.len() + 64];
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.data_out = Some(&mut out);
        options.ctx_in = Some(&context);
        let result = match self.program {
            Program::Tc => loader::tc(&mut self.plane).expect("the tc program").test_run(options),
            Program::Xdp => {
                let program = loader::xdp(&mut self.plane, loader::XDP_PROGRAM).expect("the XDP program");
                program.test_run(options)
            }
        };
        if result.is_err() && self.program == Program::Tc && frame.len() < PACKET_LEN_MIN {
            return None;
        }
        let result = result.unwrap_or_else(|error| panic!("{:?}, {} bytes: {error:?}", self.program, frame.len()));
        out.truncate(result.data_size_out as usize);
        Some((self.program.fate_of_code(result.return_value), out))
    }

    /// Compares the counters by verdict.
    pub fn compare_verdicts(&self) {
        let (drops, others) = self.verdicts.read();
        for (index, name, _) in verdict::NAMES {
            let counted = drops.get(*name).or(others.get(*name));
            assert_eq!(counted, Some(&self.expected[*index as usize]), "{:?} {name}", self.program);
        }
    }
}

/// Compares all that the frames left in the tables. `keys` are the flows that may stand in the index.
pub fn compare(native: &NativeTables, kernel: &Kernel, keys: &HashSet<FlowKey>) {
    let (program, tables) = (kernel.program, &kernel.tables);
    for id in 0..ROWS {
        let (ours, theirs) = (&native.dests[id as usize], tables.dest(id).expect("a destination"));
        let counts = |dest: &DestRow| Counts::unpack(dest.counts.load());
        assert_eq!(counts(ours), counts(theirs), "{program:?}: connections of destination {id}");
        assert_eq!(native.stats.borrow()[id as usize], tables.stats(id), "{program:?}: statistics of destination {id}");
        let state = |row: &rlvs_core::rows::ServiceRow| row.sched_state.load();
        let theirs = state(tables.service(id).expect("a service"));
        assert_eq!(state(&native.services[id as usize]), theirs, "{program:?}: scheduler of service {id}");
    }
    assert_eq!(native.cursor.conns_used.load(), u64::from(tables.conns_used()), "{program:?}: rows used");
    for id in 0..CONNS {
        let (ours, theirs) = (&native.conns[id as usize], tables.conn(id).expect("a connection row"));
        assert_eq!(ours.identity(), theirs.identity(), "{program:?}: row {id}");
        let (our_life, their_life) = (ours.life(), theirs.life());
        assert_eq!((our_life.state, our_life.flags), (their_life.state, their_life.flags), "{program:?}: row {id}");
        if our_life.flags & flags::LIVE != 0 {
            let apart = our_life.deadline.abs_diff(their_life.deadline);
            assert!(apart < u64::from(TIMEOUT_STEP / 2), "{program:?}: row {id}: deadlines {apart} jiffies apart");
            assert_eq!(hop(&ours.request_hop), hop(&theirs.request_hop), "{program:?}: row {id}: way to the server");
            assert_eq!(hop(&ours.reply_hop), hop(&theirs.reply_hop), "{program:?}: row {id}: way to the client");
        }
    }
    for key in keys {
        assert_eq!(native.find_flow(key), tables.find_flow(key), "{program:?}: {key:?}");
    }
}

/// A remembered way without the moment when it was looked up.
fn hop(row: &HopRow) -> (u64, u64, u64) {
    (row.stamp.load() >> 32, row.interface_source.load(), row.source_destination.load())
}
