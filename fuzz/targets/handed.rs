//! Frames that the data plane hands to the daemon: to be refused by an ICMP error, and to be cut.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rlvs_core::rows::{Handed, task};
use rlvsd::handed::{fragment, refuse};

/// Longest errors, IP header included (forwarding.md section 4).
const ERROR_MAX: [usize; 2] = [576, 1280];

fuzz_target!(|input: &[u8]| {
    let [kind, code, high, low, frame @ ..] = input else { return };
    let mtu = u16::from_be_bytes([*high, *low]);
    let handed = Handed {
        task: task::REFUSE,
        interface: 1,
        len: frame.len() as u32,
        info: mtu.into(),
        kind: *kind,
        code: *code,
        source: [0; 6],
        destination: [0; 6],
        reserved: [0; 2],
    };
    if let Some(error) = refuse::error(&handed, frame) {
        assert!(error.packet.len() <= ERROR_MAX[usize::from(error.to.is_ipv6())]);
    }
    let mtu = usize::from(mtu);
    for fragment in fragment::cut(frame, mtu) {
        assert!(fragment.len() - 14 <= mtu.max(frame.len() - 14));
    }
});
