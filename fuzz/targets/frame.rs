//! Frames to a director that has a service of every kind. None may make it panic; what passes or is dropped stays as it was, and
//! what goes out has a right IPv4 header if it had one.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rlvs_core::director::direct;
use rlvs_core::native::packets::{self, Packet, Transport, framed};
use rlvs_core::native::{Frame, every_kind, frames};
use rlvs_core::rows::SETTINGS;
use rlvs_core::scratch::Scratch;
use rlvs_core::verdict::Verdict;
use rlvs_core::wire::protocol;

const ENDS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 9]];
/// Frames from here on are bytes as they are; below, packets for a service.
const RAW: u8 = 3 * every_kind::SERVICES as u8;

/// Takes bytes off the front of the input.
struct Input<'i>(&'i [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let Some((byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *byte
    }

    fn bytes(&mut self) -> Vec<u8> {
        let len = usize::from(self.byte()) * 8;
        let (bytes, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        bytes.to_vec()
    }

    /// A frame: what it is for, then its parts.
    fn frame(&mut self) -> Vec<u8> {
        let what = self.byte();
        if what >= RAW {
            return self.bytes();
        }
        let service = u32::from(what) % every_kind::SERVICES;
        let (kind, v6) = every_kind::kind_of(service);
        let flags = self.byte();
        let transport = match kind.protocol {
            protocol::TCP => Transport::Tcp(flags),
            protocol::UDP => Transport::Udp(flags & 1 != 0),
            _ => Transport::Sctp(flags),
        };
        let vip = every_kind::virtual_end(service);
        let client = (every_kind::host(v6, 3, self.byte() % 4), 5000);
        let payload = self.bytes();
        let mut packet = match u32::from(what) / every_kind::SERVICES {
            0 => Packet { payload, ..Packet::new(client, vip, transport) }.bytes(),
            1 => {
                // The answer of one of its real servers.
                let real = service * every_kind::DESTS_EACH + u32::from(flags >> 7);
                let port = if kind.port == 0 || kind.port == 21 { vip.1 } else { 8000 + kind.port };
                let real = (every_kind::host(v6, 2, 1 + real as u8), port);
                Packet { payload, ..Packet::new(real, client, transport) }.bytes()
            }
            _ => {
                let quoted = Packet { payload, ..Packet::new(vip, client, transport) }.bytes();
                packets::error(client.0, vip.0, 9, if v6 { (1, flags) } else { (3, flags) }, &quoted)
            }
        };
        for _ in 0..self.byte() % 4 {
            let (at, byte) = (usize::from(self.byte()), self.byte());
            if let Some(place) = packet.get_mut(at) {
                *place = byte;
            }
        }
        framed(ENDS, &packet)
    }
}

/// Whether a frame has an IPv4 header of 20 bytes with a right checksum.
fn is_sound_v4(frame: &[u8]) -> bool {
    frame.len() >= 34 && frame[12..15] == [8, 0, 0x45] && frames::sum(&frame[14..34]) == 0xffff
}

fuzz_target!(|input: &[u8]| {
    let mut input = Input(input);
    let tables = every_kind::tables(12);
    for _ in 0..input.byte() % 4 {
        tables.config.settings[usize::from(input.byte()) % SETTINGS].store(input.byte().into());
    }
    let mut scratch = Scratch::NEW;
    let mut now = 5_000_000;
    while !input.0.is_empty() {
        let step = input.byte();
        now += u64::from(step >> 1) * 100;
        let frame = input.frame();
        let mut bytes = frame.clone();
        let verdict =
            direct(&mut Frame { bytes: &mut bytes, for_this_host: step & 1 == 0 }, &tables, &mut scratch, now);
        if (verdict.is_pass() || verdict.is_drop()) && verdict != Verdict::DropUnwritable {
            assert_eq!(bytes, frame, "{verdict:?}");
        }
        if verdict == Verdict::Forward && is_sound_v4(&frame) {
            assert!(bytes[12] != 8 || is_sound_v4(&bytes), "{frame:?}\n{bytes:?}");
        }
    }
});
