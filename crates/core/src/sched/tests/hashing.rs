//! dh, sh and mh against the vectors of schedulers.md sections 10 to 12.

use super::*;
use crate::rows::service_flags::{SCHEDULER_1 as FALLBACK, SCHEDULER_2 as PORT};
use Scheduler::{DestinationHashing, MaglevHashing, SourceHashing};

/// The clients of section 11.
const CLIENTS: [[u8; 4]; 12] = [
    [10, 0, 0, 10],
    [10, 0, 0, 11],
    [10, 0, 0, 12],
    [10, 0, 0, 13],
    [10, 0, 0, 14],
    [10, 0, 0, 15],
    [10, 0, 0, 16],
    [10, 0, 0, 17],
    [192, 0, 2, 7],
    [198, 51, 100, 200],
    [203, 0, 113, 77],
    [172, 16, 5, 4],
];

fn ask(client: Address, client_port: u16) -> Ask {
    Ask { client, destination: virtual_address(0), client_port, family: family::V4, now: 0 }
}

/// fd00::10 and so on, as many as [`CLIENTS`].
fn v6_clients() -> impl Iterator<Item = Address> {
    (0x10u32..0x1c).map(|last| Address([0xfd00_0000u32.to_be(), 0, 0, last.to_be()]))
}

fn v4_clients() -> impl Iterator<Item = Address> {
    CLIENTS.into_iter().map(Address::v4)
}

impl Service {
    /// Reals 10.0.1.1:80 and so on, as section 12 has them.
    fn hashed(scheduler: Scheduler, weights: &[u32], flags: u32) -> Self {
        let mut service = Self::new(scheduler);
        service.row().flags.store(flags);
        for (last, weight) in (1u8..).zip(weights) {
            service.insert(*weight).expect("room");
            service.tables.dests[usize::from(last)].address = Address::v4([10, 0, 1, last]);
            service.edit(last.into(), *weight);
        }
        service
    }

    fn picks_for(&self, asks: impl Iterator<Item = Ask>) -> String {
        digits(asks.map(|ask| super::super::pick(&self.tables, self.row(), &ask)))
    }

    fn picks_of(&self, clients: impl Iterator<Item = Address>) -> String {
        self.picks_for(clients.map(|client| ask(client, 9)))
    }

    /// The table, slot by slot.
    fn table(&self) -> Vec<u32> {
        let words = Words::unpack(self.row().words.load());
        let slot = |slot: u32| {
            let word = self.tables.words[(words.base + slot / 2) as usize].load();
            (word >> (32 * (slot % 2))) as u32
        };
        (0..hash_table::slots(words.scheduler)).map(slot).collect()
    }
}

/// Section 10: virtual addresses 10.0.0.100 to 109.
#[test]
fn dh_picks() {
    let service = Service::with(DestinationHashing, &[3, 2, 1]);
    let ask = |last| Ask { destination: Address::v4([10, 0, 0, last]), ..ask(Address::default(), 0) };
    let slots: Vec<u32> = (100..110).map(|last| dh::slot(&ask(last))).collect();
    assert_eq!(slots, [248, 90, 187, 29, 127, 225, 67, 164, 6, 104]);
    assert_eq!(service.picks_for((100..110).map(ask)), "1321232131");
    assert_eq!(service.table()[..6], [3, 2, 1, 3, 2, 1]);
}

/// Section 10: "not on edit"; weight 0 makes its slots fail.
#[test]
fn dh_does_not_hear_of_edits() {
    let mut service = Service::with(DestinationHashing, &[3, 2, 1]);
    let ask = |last| Ask { destination: Address::v4([10, 0, 0, last]), ..ask(Address::default(), 0) };
    service.edit(1, 0);
    assert_eq!(service.picks_for((100..110).map(ask)), "-32-232-3-");
    service.delete(1);
    assert_eq!(service.table()[..4], [3, 2, 3, 2]);
}

/// Section 11: slots, pattern and counts of slots, picks.
#[test]
fn sh_picks() {
    let service = Service::hashed(SourceHashing, &[3, 2, 1], 0);
    let slots: Vec<u32> = v4_clients().map(|client| sh::slot(&ask(client, 0), 0)).collect();
    assert_eq!(slots, [151, 249, 91, 189, 30, 128, 226, 68, 125, 99, 57, 138]);
    assert_eq!(service.picks_of(v4_clients()), "212132121113");
    assert_eq!(service.picks_of(v6_clients()), "121323212121");
    let table = service.table();
    assert_eq!(table[..12], [3, 2, 2, 1, 1, 1, 3, 2, 2, 1, 1, 1]);
    assert_eq!([1, 2, 3].map(|dest| table.iter().filter(|slot| **slot == dest).count()), [127, 86, 43]);
    let client = Address::v4([10, 0, 0, 9]);
    assert_eq!(service.picks_for((0..12).map(|_| ask(client, 0))), "333333333333");
}

/// Section 11: "real 1 set to w0 after add (table rebuilt)".
#[test]
fn sh_falls_back() {
    let mut service = Service::hashed(SourceHashing, &[3, 2, 1], 0);
    service.edit(1, 0);
    assert_eq!(service.picks_of(v4_clients()), "-2-223232-22");
    service.row().flags.store(FALLBACK);
    assert_eq!(service.picks_of(v4_clients()), "222223232222");
}

/// Section 11: sh-port, client 10.0.0.10.
#[test]
fn sh_hashes_ports() {
    let service = Service::hashed(SourceHashing, &[3, 2, 1], PORT);
    let client = Address::v4([10, 0, 0, 10]);
    assert_eq!(service.picks_for((8000..8024).map(|port| ask(client, port))), "131121323232121321211111");
}

/// Section 12: `H(key1)` of clients.
#[test]
fn mh_hashes() {
    let slot = |last, port: u32| mh::slot(&ask(Address::v4([10, 0, 0, last]), 0), port, 0);
    assert_eq!([slot(9, 0), slot(10, 0), slot(9, 7000)], [2261, 2536, 1782]);
    let hash = |last: u8, port: u32| hash::siphash(2_654_435_761, Address::v4([10, 0, 0, last]).fold() + port);
    assert_eq!([hash(9, 0), hash(10, 0), hash(9, 7000)], [0xc7bd_2e57, 0xab66_b0a1, 0xa593_757e]);
}

/// Section 12: the table of weights 3, 2, 1.
#[test]
fn mh_fills_the_table() {
    use sha2::{Digest, Sha256};

    let table = Service::hashed(MaglevHashing, &[3, 2, 1], 0).table();
    let text: String = digits(table.iter().map(|dest| Some(*dest)));
    assert_eq!(text.len(), 4093);
    assert!(text.starts_with("123213213311121212112113"), "{}", &text[..24]);
    assert_eq!(['1', '2', '3'].map(|dest| text.matches(dest).count()), [2046, 1364, 683]);
    let sum: String = Sha256::digest(&text).iter().map(|byte| std::format!("{byte:02x}")).collect();
    assert_eq!(sum, "1731dd5cb074cd9ced2e01618461ed2f13eccbd571eb37c8ed52f4ebe5cac0ad");
}

/// Section 12: picks.
#[test]
fn mh_picks() {
    let mut service = Service::hashed(MaglevHashing, &[3, 2, 1], 0);
    assert_eq!(service.picks_of(v4_clients()), "122211221113");
    assert_eq!(service.picks_for((0..12).map(|_| ask(Address::v4([10, 0, 0, 9]), 0))), "111111111111");
    service.row().flags.store(PORT);
    let asks = v4_clients().zip(7000..).map(|(client, port)| ask(client, port));
    assert_eq!(service.picks_for(asks), "332122222321");
    service.edit(1, 0);
    service.row().flags.store(0);
    assert_eq!(service.picks_of(v4_clients()), "-222--22---3");
    service.row().flags.store(FALLBACK);
    assert_eq!(service.picks_of(v4_clients()), "222222222223");
}

/// Section 12: an IPv6 service over fd01::1 to fd01::3.
#[test]
fn mh_picks_for_v6_clients() {
    let mut service = Service::hashed(MaglevHashing, &[3, 2, 1], 0);
    service.tables.services[0].key.family = family::V6;
    for last in 1..=3u32 {
        service.tables.dests[last as usize].address = Address([0xfd01_0000u32.to_be(), 0, 0, last.to_be()]);
        service.edit(last, 4 - last);
    }
    assert_eq!(service.picks_of(v6_clients()), "111113211112");
}

/// Section 12: weights that are large, or have a divisor.
#[test]
fn mh_scales_weights() {
    let service = Service::hashed(MaglevHashing, &[1000, 300, 7], 0);
    assert_eq!(service.picks_of(v4_clients()), "121111211111");
    let table = service.table();
    assert_eq!([1, 2, 3].map(|dest| table.iter().filter(|slot| **slot == dest).count()), [3124, 918, 51]);
    let service = Service::hashed(MaglevHashing, &[6400, 3200, 100], 0);
    assert_eq!(service.picks_of(v4_clients()), "122211221111");
}

/// Section 12: a destination added with weight 0 gets no slot.
#[test]
fn mh_gives_nothing_to_a_newcomer_without_weight() {
    let mut service = Service::hashed(MaglevHashing, &[3, 2], 0);
    service.add(0);
    assert!(!service.table().contains(&3));
}

/// Section 12: "fold uses the service's family".
#[test]
fn mh_takes_of_a_v6_real_what_the_services_family_takes() {
    let address = Address([0xfd00_0000u32.to_be(), 0, 0, 5u32.to_be()]);
    let table = |service_family: u8| {
        let mut service = Service::hashed(MaglevHashing, &[1, 1], 0);
        service.tables.services[0].key.family = service_family;
        service.tables.dests[1].address = address;
        service.edit(1, 1);
        service.table()
    };
    let contender = |dest, fold| mh::Contender::new(dest, fold, 80, 1);
    let expected = |fold| {
        let mut table = std::vec![0; 4093];
        let other = contender(2, Address::v4([10, 0, 1, 2]).fold());
        mh::fill(&mut table, &mut [other, contender(1, fold)]);
        table
    };
    assert_eq!(table(family::V4), expected(0xfd00_0000));
    assert_eq!(table(family::V6), expected(0xfd00_0005));
}

/// Section 12: more destinations than slots are refused, and so is the scheduler for a longer list.
#[test]
fn mh_takes_no_more_destinations_than_slots() {
    let mut service = Service::sized(MaglevHashing, 4200);
    // Bound at last: else each would fill the table.
    let bound =
        |service: &mut Service, scheduler| service.roster.bind(&service.tables, &mut service.room, scheduler, 9);
    bound(&mut service, Scheduler::None).expect("no words");
    for _ in 0..4093 {
        service.insert(1).expect("room");
    }
    assert_eq!(bound(&mut service, MaglevHashing), Ok(()));
    assert_eq!(service.insert(1), Err(Refused::TooMany));
    bound(&mut service, Scheduler::None).expect("no words");
    service.insert(1).expect("room");
    assert_eq!(bound(&mut service, MaglevHashing), Err(Refused::TooMany));
}
