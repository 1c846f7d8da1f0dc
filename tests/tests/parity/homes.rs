//! The same table in the native home and in the kernel's maps; frames through a loaded program; the comparison.

use std::{collections::HashSet, net::IpAddr};

use aya::{
    TestRun,
    maps::{MapData, ProgramArray},
    programs::{TestRunOptions, XdpMode},
};
use rlvs_core::{
    conn::flags,
    native::{NativeTables, frames::sum},
    rows::{
        Address, Counts, DestRow, FlowKey, Forwarding, HopRow, MarkRow, ServiceKey, Setting, Span, address_use,
        dest_flags, family, method, service_flags, tunnel,
    },
    sched::{Scheduler, wrr},
    tables::Tables,
    verdict::{self, Verdict},
    wire::{ethernet, protocol},
};
use rlvsd::{
    clock::Clock,
    counters::Counters,
    loader::{self, DataPlane, Sizes},
    shared::SharedTables,
};
use zerocopy::FromZeros;

use crate::network::{self, INSIDE, Network, OUTSIDE, Port, on_link, on_link_v6};

/// Rows for connections: fewer than clients ask for, so that the table is full in the end.
const CONNS: u32 = 1500;
const ROWS: u32 = 512;
/// Jiffies a second, as the tables are told: so many that no way out grows old during the test.
const HZ: u32 = 10_000_000;
/// Each timeout is a multiple of this many jiffies, so that deadlines tell them apart however long the test takes.
const TIMEOUT_STEP: u32 = 60_000_000;

/// Frames with room for an IPv6 header run on tc; of shorter ones newer kernels refuse some, by their ethertype.
const PACKET_LEN_MIN: usize = ethernet::HEADER_LEN + 40;

/// The firewall mark of packets to [`MARKED`].
const MARK: u32 = 7;
/// Last byte of the address all of whose packets are marked.
const MARKED: u8 = 9;
/// The destination port of GUE.
const GUE_PORT: u16 = 6080;

/// One virtual service.
pub struct Service {
    pub protocol: u8,
    pub address: IpAddr,
    pub port: u16,
    /// Whether clients' packets are forwarded under another address.
    pub masquerades: bool,
    mark: u32,
    flags: u32,
    scheduler: Scheduler,
    /// Newest first.
    dests: Vec<Dest>,
}

/// One real server of a service.
#[derive(Clone, Copy)]
struct Dest {
    address: IpAddr,
    port: u16,
    weight: u32,
    forwarding: Forwarding,
    tunnel_source: Option<IpAddr>,
    is_local: bool,
}

fn dest(address: IpAddr, port: u16, weight: u32) -> Dest {
    Dest { address, port, weight, forwarding: Forwarding::default(), tunnel_source: None, is_local: false }
}

fn direct(address: IpAddr) -> Dest {
    let forwarding = Forwarding { method: method::DIRECT, ..Forwarding::default() };
    Dest { forwarding, ..dest(address, 0, 1) }
}

fn tunnel(address: IpAddr, kind: u8, flags: u8) -> Dest {
    let forwarding = Forwarding { method: method::TUNNEL, tunnel: kind, tunnel_flags: flags, tunnel_port: GUE_PORT };
    let source =
        if address.is_ipv6() { on_link_v6(INSIDE, network::DIRECTOR) } else { on_link(INSIDE, network::DIRECTOR) };
    Dest { forwarding, tunnel_source: Some(source), ..dest(address, 0, 1) }
}

fn service(protocol: u8, address: IpAddr, port: u16, scheduler: Scheduler, dests: Vec<Dest>) -> Service {
    let masquerades = dests.iter().any(|dest| dest.forwarding.method == method::MASQUERADING);
    Service { protocol, address, port, masquerades, mark: 0, flags: 0, scheduler, dests }
}

/// Every scheduler that needs no words of its own (`tests/schedulers.rs` runs all), for TCP, UDP and SCTP; destinations whose
/// neighbour is known and one whose is not, some with a port of their own, one without weight, and some that services share.
/// Every forwarding method by both versions of IP, persistence, marks, all ports, one-packet scheduling.
pub fn services() -> Vec<Service> {
    use Scheduler::RoundRobin;
    let mut services = Vec::new();
    for on in [on_link, on_link_v6] {
        let (vip, real) = (|last| on(OUTSIDE, last), |last| on(INSIDE, last));
        for (port, (_, scheduler)) in (8000..).zip(Scheduler::ALL.into_iter().take(9)) {
            for protocol in [protocol::TCP, protocol::UDP] {
                let dests = [(2, 80, 3), (3, 0, 2), (4, 80, 1), (3, 81, 1), (2, 8080, 0)];
                let dests = dests.map(|(last, port, weight)| dest(real(last), port, weight)).into();
                services.push(service(protocol, vip(1), port, scheduler, dests));
            }
        }
        let shared = vec![dest(real(2), 80, 1), dest(real(3), 80, 1)];
        for last in [2, 3] {
            services.push(service(protocol::TCP, vip(last), 80, RoundRobin, shared.clone()));
        }
        services.push(service(protocol::SCTP, vip(1), 80, RoundRobin, shared.clone()));
        // The last one takes little at a time.
        let dests = vec![dest(real(2), 500, 1), dest(real(network::NARROW), 500, 1)];
        services.push(service(protocol::UDP, vip(1), 500, RoundRobin, dests));
        for port in 80..84 {
            let dests = vec![dest(real(network::NARROW), 80, 1)];
            services.push(service(protocol::TCP, vip(4), port, RoundRobin, dests));
        }
        let local = Dest { is_local: true, ..dest(real(network::DIRECTOR), 80, 1) };
        let loopback = if vip(1).is_ipv6() { "::1" } else { "127.0.0.1" }.parse().expect("an address");
        let dests = vec![local, Dest { is_local: true, ..dest(loopback, 80, 1) }];
        services.push(service(protocol::TCP, vip(5), 80, RoundRobin, dests));
        for protocol in [protocol::TCP, protocol::UDP, protocol::SCTP] {
            services.push(service(protocol, vip(6), 80, RoundRobin, vec![direct(real(2)), direct(real(4))]));
            let mut dests = Vec::new();
            for real in [on_link(INSIDE, 2), on_link_v6(INSIDE, 2)] {
                dests.push(tunnel(real, tunnel::IPIP, 0));
                for kind in [tunnel::GRE, tunnel::GUE] {
                    dests.extend([0, tunnel::CHECKSUM].map(|flags| tunnel(real, kind, flags)));
                }
            }
            dests.extend([tunnel(real(network::NARROW), tunnel::IPIP, 0), tunnel(real(4), tunnel::GRE, 0)]);
            dests.push(Dest { tunnel_source: None, ..tunnel(real(3), tunnel::GUE, 0) });
            services.push(service(protocol, vip(7), 80, RoundRobin, dests));
        }
        let persistent = service_flags::PERSISTENT;
        services.push(Service { flags: persistent, ..service(protocol::TCP, vip(8), 80, RoundRobin, shared.clone()) });
        services.push(Service { flags: persistent, ..service(protocol::UDP, vip(8), 0, RoundRobin, shared.clone()) });
        let one_packet = service_flags::ONE_PACKET;
        services.push(Service { flags: one_packet, ..service(protocol::UDP, vip(8), 53, RoundRobin, shared.clone()) });
        let marked = service(protocol::TCP, vip(MARKED), 80, RoundRobin, shared);
        services.push(Service { mark: MARK, flags: persistent, ..marked });
    }
    services
}

/// Tables that the test fills.
trait Fill: Tables {
    fn write_dest(&mut self, id: u32, write: impl FnOnce(&mut DestRow));
    fn publish(&mut self, key: ServiceKey, id: u32);
    fn write_mark(&mut self, slot: u32, mark: MarkRow);
    fn balance(&mut self, address: Address);
}

impl Fill for NativeTables {
    fn write_dest(&mut self, id: u32, write: impl FnOnce(&mut DestRow)) {
        write(&mut self.dests[id as usize]);
    }

    fn publish(&mut self, key: ServiceKey, id: u32) {
        self.service_index.insert(key, id);
    }

    fn write_mark(&mut self, slot: u32, mark: MarkRow) {
        assert_eq!(self.marks.len(), slot as usize);
        self.marks.push(mark);
    }

    fn balance(&mut self, address: Address) {
        self.balanced.insert(address);
    }
}

impl Fill for SharedTables {
    fn write_dest(&mut self, id: u32, write: impl FnOnce(&mut DestRow)) {
        assert!(self.dests.update(id, write), "room for destination {id}");
    }

    fn publish(&mut self, key: ServiceKey, id: u32) {
        self.publish_service(&key, id).expect("room in the service index");
    }

    fn write_mark(&mut self, slot: u32, mark: MarkRow) {
        assert!(self.marks.update(slot, |row| *row = mark), "room for mark {slot}");
    }

    fn balance(&mut self, address: Address) {
        self.set_use(&address, address_use::BALANCED).expect("room for addresses");
    }
}

fn fill(tables: &mut impl Fill) {
    let config = tables.config().expect("a configuration row");
    config.hz.store(HZ);
    config.epoch.store(1);
    config.services.iter().for_each(|count| count.store(1));
    for (number, timeout) in (1..).zip(&config.timeouts) {
        timeout.store(number * TIMEOUT_STEP);
    }
    for setting in [Setting::ConnReuseMode, Setting::PmtuDisc, Setting::ScheduleIcmp] {
        config.settings[setting as usize].store(1);
    }
    config.unprivileged_port.store(1024);
    config.local_ports.store((32_768 << 16) | 60_999);
    config.seed.store(99);
    config.all_ports_services.store(1);
    config.mark_services.store(1);
    config.marks.store(Span { base: 0, len: 2 }.pack());
    for (slot, on) in (0..).zip([on_link, on_link_v6]) {
        let destination = on(OUTSIDE, MARKED);
        let mut mark = MarkRow::new_zeroed();
        mark.destination = address(destination);
        mark.destination_mask = Address([u32::MAX; 4]);
        (mark.source_port_last, mark.destination_port_last) = (u16::MAX, u16::MAX);
        (mark.mark, mark.family) = (MARK, family(destination));
        tables.write_mark(slot, mark);
    }
    let mut next = 0;
    for (id, service) in (0..).zip(services()) {
        let base = next;
        tables.balance(address(service.address));
        for dest in &service.dests {
            tables.balance(address(dest.address));
            tables.write_dest(next, |row| {
                row.address = address(dest.address);
                row.port = dest.port;
                row.family = family(dest.address);
                row.service.store(id);
                row.weight.store(dest.weight);
                row.flags.store(dest_flags::AVAILABLE | if dest.is_local { dest_flags::LOCAL } else { 0 });
                row.forwarding.store(dest.forwarding.pack());
                let source = dest.tunnel_source.map(address).unwrap_or_default();
                row.tunnel_source.iter().zip(source.0).for_each(|(cell, word)| cell.store(word));
            });
            let member = tables.member(next).expect("room for members");
            member.dest.store(next);
            member.weight.store(dest.weight);
            next += 1;
        }
        let config = wrr::Config::of(service.dests.iter().map(|dest| dest.weight));
        let row = tables.service(id).expect("room for services");
        row.members.store(Span { base, len: next - base }.pack());
        row.scheduler.store(service.scheduler as u32);
        row.flags.store(service.flags);
        row.timeout_s.store(5);
        row.family.store(family(service.address).into());
        row.client_mask.iter().for_each(|cell| cell.store(u32::MAX));
        if service.scheduler == Scheduler::WeightedRoundRobin {
            row.sched_config.store(config.pack());
            row.sched_state.store(config.fresh_state());
        }
        tables.publish(service_key(&service), id);
    }
    assert!(next <= ROWS, "{next} destinations");
}

/// An address as rows hold it.
pub fn address(ip: IpAddr) -> Address {
    match ip {
        IpAddr::V4(ip) => Address::v4(ip.octets()),
        IpAddr::V6(ip) => Address::v6(ip.octets()),
    }
}

fn family(ip: IpAddr) -> u8 {
    if ip.is_ipv6() { family::V6 } else { family::V4 }
}

/// What an operator does in the middle of the traffic: takes destinations away, lets others reach their threshold, and has ICMP
/// errors open no connections any more.
pub fn disturb(tables: &impl Tables) {
    tables.config().expect("a configuration row").settings[Setting::ScheduleIcmp as usize].store(0);
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
    let family = family(service.address);
    if service.mark != 0 {
        return ServiceKey { address: Address::default(), fwmark: service.mark, port: 0, protocol: 0, family };
    }
    let Service { protocol, port, .. } = *service;
    ServiceKey { address: address(service.address), fwmark: 0, port, protocol, family }
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
    fn fate(self, verdict: Verdict) -> Fate {
        match verdict {
            // The daemon sends what the programs cannot.
            Verdict::Fragment | Verdict::Hold => Fate::Dropped,
            Verdict::Forward => Fate::Sent,
            // tc has the kernel ask the neighbour and hold the packet; XDP can only have the daemon ask.
            Verdict::Resolve if self == Self::Tc => Fate::Sent,
            Verdict::Resolve => Fate::Dropped,
            Verdict::Deliver => Fate::Passed,
            other if other.is_pass() => Fate::Passed,
            _ => Fate::Dropped,
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
    /// The programs that programs go on with, which the kernel forgets where nobody holds them.
    _stages: Vec<ProgramArray<MapData>>,
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
            let [mtu_high, mtu_low] = network::MTU.to_be_bytes();
            side.interfaces
                .insert(port.index, [a, b, c, d, e, f, mtu_high, mtu_low], 0)
                .expect("room for an interface");
            if program == Program::Xdp {
                // A veth has receive queues for XDP, which a test run wants to see, only while a program is attached.
                let xdp = loader::xdp(&mut programs, loader::XDP_PROGRAM).expect("the XDP program");
                xdp.attach(port.name, XdpMode::default()).expect("the XDP program attaches");
            }
        }
        let expected = vec![0; verdict::COUNTERS as usize];
        let (verdicts, stages) = (Counters(side.verdicts), side.stages);
        Self { program, plane: programs, tables, verdicts, _stages: stages, expected, refused: 0 }
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
    pub fn check(&mut self, port: &Port, frame: &[u8], verdict: Verdict, bytes: &[u8]) -> Result<(), String> {
        let Some((fate, theirs)) = self.run(port, frame) else {
            self.refused += 1;
            return Ok(());
        };
        self.expected[verdict.counter() as usize] += 1;
        let expected = self.program.fate(verdict);
        let counted: u64 = self.verdicts.0.get(&verdict.counter(), 0).expect("a counter").iter().sum();
        let is_counted = counted == self.expected[verdict.counter() as usize];
        let (theirs, bytes) = (without_chance(frame, &theirs), without_chance(frame, bytes));
        if fate == expected && theirs == bytes && is_counted {
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

/// The bytes of a frame without the identification of an outer IPv4 header, which is a random number, and the checksum over it.
fn without_chance(before: &[u8], after: &[u8]) -> Vec<u8> {
    let mut bytes = after.to_vec();
    let is_wrapped = after.len() > before.len();
    if is_wrapped && after[12..14] == [8, 0] {
        let outer = &mut bytes[14..34];
        assert_eq!(sum(outer), 0xffff, "the outer header's checksum: {outer:02x?}");
        outer[4..6].fill(0);
        outer[10..12].fill(0);
    }
    bytes
}

/// Compares all that the frames left in the tables. `keys` are the flows that may stand in the index.
pub fn compare(native: &NativeTables, kernel: &Kernel, keys: &HashSet<FlowKey>) {
    let (program, tables) = (kernel.program, &kernel.tables);
    for id in 0..ROWS {
        let (ours, theirs) = (&native.dests[id as usize], tables.dest(id).expect("a destination"));
        let counts = |dest: &DestRow| Counts::unpack(dest.counts.load());
        assert_eq!(counts(ours), counts(theirs), "{program:?}: connections of destination {id}");
        assert_eq!(ours.persistent.load(), theirs.persistent.load(), "{program:?}: templates of destination {id}");
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
        assert_eq!(ours.in_packets.load(), theirs.in_packets.load(), "{program:?}: row {id}: packets");
        assert_eq!(
            ours.controlled.load(),
            theirs.controlled.load(),
            "{program:?}: row {id}: connections of a template"
        );
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
fn hop(row: &HopRow) -> [u64; 4] {
    [row.stamp.load() >> 32, row.interface_source.load(), row.source_destination.load(), row.mtu.load()]
}
