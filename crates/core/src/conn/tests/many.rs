//! A million random operations on one CPU, after which every counter and index entry is accounted for: packets of every kind of
//! service, expiry, destinations that leave and return, edits, settings.

use super::*;
use crate::director::direct;
use crate::native::packets::{self, Packet, Transport};
use crate::native::{Dice, Frame, every_kind};
use crate::rows::{Setting, dest_flags};
use crate::scratch::Scratch;
use crate::verdict::Verdict;
use crate::wire::{protocol, sctp, tcp as wire_tcp};
use std::collections::BTreeMap;
use std::println;
use std::vec::Vec;

const OPERATIONS: usize = 1_000_000;
const AUDIT_EVERY: usize = 2000;
/// Fewer than flows, so that the table is full at times.
const ROWS: u32 = 150;
const DESTS: u32 = every_kind::DESTS;
const ENDS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 9]];

/// Clients, services and destinations that meet at random.
struct World {
    tables: NativeTables,
    /// One for all packets: in the kernel too each finds what the one before left.
    scratch: Scratch,
    dice: Dice,
    now: u64,
    verdicts: BTreeMap<u32, usize>,
}

impl World {
    fn new(seed: u64) -> Self {
        let tables = every_kind::tables(ROWS as usize);
        Self { tables, scratch: Scratch::NEW, dice: Dice(seed), now: START, verdicts: BTreeMap::new() }
    }

    fn operate(&mut self) {
        match self.dice.below(1000) {
            0..480 => self.request(),
            480..880 => self.row_packet(),
            880..940 => self.now += self.dice.below(seconds(1) as usize) as u64,
            940..948 => self.now += self.dice.below(seconds(130) as usize) as u64,
            948..978 => sweep(&self.tables, ROWS, self.now),
            978..988 => self.edit_dest(),
            988..992 => self.now += 1,
            992..994 => self.tables.fragments.borrow_mut().clear(),
            _ => self.set(),
        }
    }

    fn transport(&mut self, protocol: u8) -> Transport {
        use wire_tcp::{ACK, FIN, RST, SYN};
        match protocol {
            protocol::TCP => Transport::Tcp(self.dice.one_of(&[
                SYN,
                SYN,
                SYN,
                ACK,
                ACK,
                ACK,
                FIN | ACK,
                RST,
                SYN | ACK,
                SYN | RST,
                0,
            ])),
            protocol::UDP => Transport::Udp(self.dice.once_in(2)),
            _ if self.dice.once_in(2) => Transport::Sctp(sctp::chunk::INIT),
            _ => Transport::Sctp(self.dice.below(15) as u8),
        }
    }

    /// A client's packet for a service: of a connection, or one that opens a connection where it may.
    fn request(&mut self) {
        let service = self.dice.below(every_kind::SERVICES as usize) as u32;
        let (kind, v6) = every_kind::kind_of(service);
        let (address, mut port) = every_kind::virtual_end(service);
        if kind.port == 21 && self.dice.once_in(2) {
            port = every_kind::ANY_PORT;
        }
        // Mark services take any protocol.
        let any = [protocol::TCP, protocol::UDP, protocol::SCTP];
        let protocol = if kind.mark == 0 { kind.protocol } else { self.dice.one_of(&any) };
        let transport = self.transport(protocol);
        let client = (every_kind::host(v6, 3, 1 + self.dice.below(3) as u8), 40_000 + self.dice.below(2) as u16);
        self.send(&Packet::new(client, (address, port), transport));
    }

    /// A packet about some row's connection, which may be over: of either side, or an error about one.
    fn row_packet(&mut self) {
        let identity = self.tables.conns[self.dice.below(ROWS as usize)].identity();
        if identity.kind != kind::FLOW || identity.protocol == 0 {
            return;
        }
        let key = if self.dice.once_in(2) { identity.reply_key() } else { identity.request_key() };
        let v6 = key.family == family::V6;
        let end = |address: Address, port: u16| {
            let address = if v6 { address.v6_bytes().into() } else { address.v4_bytes().into() };
            (address, port)
        };
        let transport = self.transport(identity.protocol);
        let packet =
            Packet::new(end(key.source, key.source_port), end(key.destination, key.destination_port), transport);
        if self.dice.once_in(10) {
            let what = if v6 { (1, 4) } else { (3, 1) };
            let error = packets::error(packet.destination.0, packet.source.0, 9, what, &packet.bytes());
            self.arrive(&error);
        } else {
            self.send(&packet);
        }
    }

    /// Whole or, of IPv4, one of its fragments.
    fn send(&mut self, packet: &Packet) {
        let mut packet = packet.clone();
        if self.dice.once_in(20) {
            packet.id_fragment =
                [0, self.dice.below(8) as u8, 0x20 * self.dice.below(2) as u8, self.dice.below(2) as u8];
        }
        self.arrive(&packet.bytes());
    }

    fn arrive(&mut self, packet: &[u8]) {
        let mut bytes = packets::framed(ENDS, packet);
        let frame = &mut Frame { bytes: &mut bytes, for_this_host: true };
        let verdict = direct(frame, &self.tables, &mut self.scratch, self.now);
        assert!(
            !matches!(verdict, Verdict::DropRaced | Verdict::DropUnwritable),
            "{verdict:?} with nobody else here: {:?}",
            self.scratch
        );
        *self.verdicts.entry(verdict.counter()).or_default() += 1;
    }

    /// A destination leaves or returns, or gets another weight or other thresholds.
    fn edit_dest(&mut self) {
        let id = self.dice.below(DESTS as usize) as u32;
        let dest = &self.tables.dests[id as usize];
        match self.dice.below(3) {
            0 => {
                let available = dest.flags.load() & dest_flags::AVAILABLE != 0;
                every_kind::set_available(&self.tables, id, !available);
            }
            1 => every_kind::set_weight(&self.tables, id, self.dice.one_of(&[0, 1, 1, 3])),
            _ => {
                let (lower, upper) = self.dice.one_of(&[(0, 0), (0, 0), (0, 2), (1, 3)]);
                dest.lower_threshold.store(lower);
                dest.upper_threshold.store(upper);
                if upper == 0 {
                    // As the daemon does (section 8, "edit").
                    dest.flags.store(dest.flags.load() & !dest_flags::OVERLOAD);
                }
            }
        }
    }

    fn set(&mut self) {
        let config = &self.tables.config;
        let (setting, values): (_, &[u32]) = self.dice.one_of(&[
            (Setting::ConnReuseMode, &[0, 1, 1, 2, 3][..]),
            (Setting::ExpireNodestConn, &[0, 1]),
            (Setting::ExpireQuiescentTemplate, &[0, 1]),
            (Setting::SloppyTcp, &[0, 1]),
            (Setting::SloppySctp, &[0, 1]),
            (Setting::ScheduleIcmp, &[0, 1]),
            (Setting::CacheBypass, &[0, 1]),
            (Setting::BackupOnly, &[0, 0, 0, 1]),
        ]);
        config.settings[setting as usize].store(self.dice.one_of(values));
        config.tcp_table.store(self.dice.below(2) as u32);
        config.drop_rate.store(self.dice.one_of(&[0, 0, 0, 3]));
        config.epoch.store(config.epoch.load() + 1);
    }
}

#[test]
fn a_million_operations_leave_every_connection_accounted_for() {
    let seed = 0x1b_05;
    println!("seed {seed:#x}");
    let mut world = World::new(seed);
    for operation in 0..OPERATIONS {
        world.operate();
        if operation % AUDIT_EVERY == 0 {
            audit(&world.tables, ROWS, DESTS, &world.tables.flows.borrow());
        }
    }
    audit(&world.tables, ROWS, DESTS, &world.tables.flows.borrow());
    let conns: u64 = world.tables.stats.borrow().iter().map(|stats| stats.conns).sum();
    let names = crate::verdict::NAMES;
    let name = |number: u32| names.iter().find(|name| name.0 == number).map_or("?", |name| name.1);
    let verdicts: Vec<_> = world.verdicts.iter().map(|(number, count)| (name(*number), count)).collect();
    println!("{conns} connections, {verdicts:?}");
    assert!(conns > 30_000, "the run must get somewhere");
    for verdict in [
        Verdict::PassNotScheduled,
        Verdict::PassFragment,
        Verdict::PassReply,
        Verdict::PassNoConnection,
        Verdict::PassBackupOnly,
        Verdict::PassFtpData,
        Verdict::DropNoDestination,
        Verdict::DropDestinationRemoved,
        Verdict::DropTableFull,
        Verdict::DropDefenceRate,
        Verdict::Forward,
        Verdict::Deliver,
        Verdict::Hold,
    ] {
        assert!(world.verdicts.contains_key(&verdict.counter()), "the run must reach {verdict:?}");
    }

    // With everything over, nothing is left: connections go first, then the templates that they needed.
    for _ in 0..4 {
        world.now += seconds(1000);
        sweep(&world.tables, ROWS, world.now);
    }
    assert!(world.tables.flows.borrow().is_empty());
    assert!((0..DESTS).all(|dest| counts(&world.tables, dest) == (0, 0)));
    assert!(world.tables.dests.iter().all(|dest| dest.persistent.load() == 0));
    assert!(world.tables.conns.iter().all(|row| !row.life().is_live()));
}
