//! Timeouts (connections.md section 7).

use super::state::{sctp, tcp};
use crate::bounded;
use crate::rows::{ConfigRow, TIMEOUTS};
use crate::wire::protocol;

/// Where the TCP timeouts begin: one for each state.
pub const TCP: usize = 0;
/// The timeout of established TCP connections.
pub const TCP_ESTABLISHED: usize = TCP + tcp::ESTABLISHED as usize;
/// The timeout of TCP connections that the real server closed.
pub const TCP_FIN_WAIT: usize = TCP + tcp::FIN_WAIT as usize;
/// The UDP timeout.
pub const UDP: usize = 16;
/// The timeout of a connection before its first state.
pub const UNSET: usize = 31;
/// Where the SCTP timeouts begin: one for each state.
pub const SCTP: usize = 32;

/// What a template's timeout becomes, in seconds, once it came due while connections needed it (connections.md section 4).
pub const NEEDED_S: u32 = 60;

/// Seconds, by index.
pub const DEFAULT_S: [u32; TIMEOUTS] = {
    let mut table = [0; TIMEOUTS];
    table[TCP + tcp::NONE as usize] = 2;
    table[TCP + tcp::ESTABLISHED as usize] = 900;
    table[TCP + tcp::SYN_SENT as usize] = 120;
    table[TCP + tcp::SYN_RECV as usize] = 60;
    table[TCP + tcp::FIN_WAIT as usize] = 120;
    table[TCP + tcp::TIME_WAIT as usize] = 120;
    table[TCP + tcp::CLOSE as usize] = 10;
    table[TCP + tcp::CLOSE_WAIT as usize] = 60;
    table[TCP + tcp::LAST_ACK as usize] = 30;
    table[TCP + tcp::LISTEN as usize] = 120;
    table[TCP + tcp::SYNACK as usize] = 120;
    table[UDP] = 300;
    table[UNSET] = 3;
    let mut state = 0;
    while state < sctp::STATES {
        table[SCTP + state] = 61;
        state += 1;
    }
    table[SCTP + sctp::NONE as usize] = 2;
    table[SCTP + sctp::INIT1 as usize] = 4;
    table[SCTP + sctp::REJECTED as usize] = 4;
    table[SCTP + sctp::ESTABLISHED as usize] = 900;
    table
};

/// Which timeout a connection of `protocol` in `state` has.
pub fn index(protocol: u8, state: u8) -> usize {
    match protocol {
        protocol::TCP => TCP + usize::from(state & 15),
        protocol::SCTP => SCTP + usize::from(state & 15),
        _ => UDP,
    }
}

/// Timeout `index` in jiffies.
pub fn jiffies(config: &ConfigRow, index: usize) -> u64 {
    config.timeouts[bounded::index::<TIMEOUTS>(index)].load().into()
}
