//! Datagrams to the control interface: as they are, and with a right netlink header before them. The table stays one that can be
//! listed, and every answer is messages of the right length.

#![no_main]

#[path = "../../crates/ipvsadm/tests/suite/support/machine.rs"]
#[allow(dead_code)]
mod machine;

use libfuzzer_sys::fuzz_target;
use rlvs_ipvs::endpoint::{Caller, handle};
use rlvs_ipvs::message::{CONTROLLER, FAMILY_ID, flags, frames};
use rlvs_ipvs::model::Table;

const CALLER: Caller = Caller { port_id: 4711, can_admin: true };

fn answer(table: &mut Table, datagram: &[u8]) {
    for reply in handle(table, CALLER, datagram) {
        // The kernel pads messages to words, behind the length that they say.
        let len: usize = frames(&reply).map(|frame| (frame.header.length as usize).next_multiple_of(4)).sum();
        assert_eq!(len, reply.len(), "an answer that is no row of messages");
    }
}

fn message(kind: u16, form: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::from((16 + body.len() as u32).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((flags::REQUEST | flags::ACK | form).to_ne_bytes());
    bytes.extend([7, 0, 0, 0, 9, 0, 0, 0]);
    bytes.extend(body);
    bytes
}

fuzz_target!(|input: &[u8]| {
    let mut table = Table::new(machine::recorded_support(), Box::new(machine::LoopbackHost));
    let mut rest = input;
    // Each piece: what to do with it, its length, its bytes.
    while let [what, len, tail @ ..] = rest {
        let (piece, tail) = tail.split_at(usize::from(*len).min(tail.len()));
        rest = tail;
        match what % 4 {
            0 => answer(&mut table, piece),
            1 => answer(&mut table, &message(CONTROLLER, 0, piece)),
            2 => answer(&mut table, &message(FAMILY_ID, flags::DUMP, piece)),
            _ => answer(&mut table, &message(FAMILY_ID, 0, piece)),
        }
    }
    // Command 4 lists services (netlink.md section 4).
    answer(&mut table, &message(FAMILY_ID, flags::DUMP, &[4, 1, 0, 0]));
});
