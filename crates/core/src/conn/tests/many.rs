//! A million random operations on one CPU, after which every counter and index entry is accounted for.

use super::*;
use crate::native::Dice;
use crate::rows::dest_flags;
use std::println;

const OPERATIONS: usize = 1_200_000;
/// Fewer than flows, so that the table is full at times.
const ROWS: u32 = 72;
const DESTS: u32 = 5;

/// Clients, services and destinations that meet at random.
struct World {
    tables: NativeTables,
    dice: Dice,
    now: u64,
    opened: usize,
    refused: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let tables = NativeTables::new(0, DESTS as usize, 0, ROWS as usize, HZ);
        tables.dests.iter().for_each(|dest| dest.flags.store(dest_flags::AVAILABLE));
        Self { tables, dice: Dice(seed), now: START, opened: 0, refused: 0 }
    }

    fn operate(&mut self) {
        match self.dice.below(100) {
            0..50 => self.request(),
            50..90 => self.reply(),
            90..94 => self.now += self.dice.below(seconds(1) as usize) as u64,
            94 => self.now += self.dice.below(seconds(130) as usize) as u64,
            95..98 => sweep(&self.tables, ROWS, self.now),
            _ => {
                let dest = &self.tables.dests[self.dice.below(DESTS as usize)];
                dest.flags.store(dest.flags.load() ^ dest_flags::AVAILABLE);
            }
        }
    }

    fn event(&mut self, protocol: u8) -> Event {
        let of_tcp = [Event::Syn, Event::Syn, Event::Ack, Event::Ack, Event::Ack, Event::Fin, Event::Rst, Event::Bare];
        if protocol == PROTOCOL_TCP { self.dice.one_of(&of_tcp) } else { Event::Datagram }
    }

    /// A client's packet: of a connection, or one that opens a connection where it may.
    fn request(&mut self) {
        let protocol = self.dice.one_of(&[PROTOCOL_TCP, PROTOCOL_TCP, PROTOCOL_UDP]);
        let client = self.dice.below(60) as u8;
        let dest = self.dice.below(DESTS as usize) as u32;
        let mut identity = identity(protocol, client, dest);
        identity.method = self.dice.one_of(&[0, 0, 3]);
        let event = self.event(protocol);
        let flow = packet(identity.request_key(), event);
        let now = Now { jiffies: self.now, config: &self.tables.config };
        if let Some(found) = find(&self.tables, &flow, &now) {
            if is_available(&self.tables, found.row.dest.load()) {
                assert_eq!(touch(&self.tables, &found, &flow, &now), Some(()), "nobody else is here");
            }
        } else if matches!(event, Event::Syn | Event::Datagram) && is_available(&self.tables, dest) {
            match open(&self.tables, &identity, Life::born(&identity, event, &now)) {
                Ok(_) => self.opened += 1,
                Err(OpenError::Full) => self.refused += 1,
                Err(error) => panic!("{error:?} with nobody else here"),
            }
        }
    }

    /// A real server's packet of some row's connection, which may be over.
    fn reply(&mut self) {
        let row = self.dice.below(ROWS as usize);
        let identity = self.tables.conns[row].identity();
        let event = self.event(identity.protocol);
        let flow = packet(identity.reply_key(), event);
        let now = Now { jiffies: self.now, config: &self.tables.config };
        if let Some(found) = find(&self.tables, &flow, &now) {
            assert_eq!(touch(&self.tables, &found, &flow, &now), Some(()), "nobody else is here");
        }
    }
}

fn is_available(tables: &NativeTables, dest: u32) -> bool {
    tables.dests[dest as usize].flags.load() & dest_flags::AVAILABLE != 0
}

#[test]
fn a_million_operations_leave_every_connection_accounted_for() {
    let seed = 0x1b_05;
    println!("seed {seed:#x}");
    let mut world = World::new(seed);
    for operation in 0..OPERATIONS {
        world.operate();
        if operation % 500 == 0 {
            audit(&world.tables, ROWS, DESTS, &world.tables.flows.borrow());
        }
    }
    audit(&world.tables, ROWS, DESTS, &world.tables.flows.borrow());
    println!("{} opened, {} refused for lack of room", world.opened, world.refused);
    assert!(world.opened > 30_000 && world.refused > 1_000, "the run must reach both");

    // With everything over, nothing is left.
    world.now += seconds(1000);
    sweep(&world.tables, ROWS, world.now);
    assert!(world.tables.flows.borrow().is_empty());
    assert!((0..DESTS).all(|dest| counts(&world.tables, dest) == (0, 0)));
}
