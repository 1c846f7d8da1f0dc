//! TCP states (connections.md section 6, normal table).

use crate::{bounded, flow::Event};

/// State numbers, as in IPVS's sync protocol.
pub const NONE: u8 = 0;
/// Both sides talk.
pub const ESTABLISHED: u8 = 1;
/// The real server began.
pub const SYN_SENT: u8 = 2;
/// The client began.
pub const SYN_RECV: u8 = 3;
/// The real server closed first.
pub const FIN_WAIT: u8 = 4;
/// Both closed.
pub const TIME_WAIT: u8 = 5;
/// Reset.
pub const CLOSE: u8 = 6;
/// The client closed first.
pub const CLOSE_WAIT: u8 = 7;
/// Unused by the normal table except to leave it.
pub const LAST_ACK: u8 = 8;
/// Expected by a helper.
pub const LISTEN: u8 = 9;
/// Used by secure_tcp.
pub const SYNACK: u8 = 10;
/// Number of states.
pub const STATES: usize = 11;

/// The states' names in /proc/net/ip_vs_conn, by number.
pub const NAMES: [&str; STATES] = [
    "NONE",
    "ESTABLISHED",
    "SYN_SENT",
    "SYN_RECV",
    "FIN_WAIT",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "SYNACK",
];

/// Which part of the table a packet reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// From the client, while answers pass here too.
    Input = 0,
    /// From the real server.
    Output = 1,
    /// From the client, no answer having been seen.
    InputOnly = 2,
}

/// `TABLE[table * 4 + event][state]`, events in the order syn, fin, ack, rst.
const TABLE: [[u8; STATES]; 12] = {
    const NO: u8 = NONE;
    const ES: u8 = ESTABLISHED;
    const SS: u8 = SYN_SENT;
    const SR: u8 = SYN_RECV;
    const FW: u8 = FIN_WAIT;
    const TW: u8 = TIME_WAIT;
    const CL: u8 = CLOSE;
    const CW: u8 = CLOSE_WAIT;
    const LA: u8 = LAST_ACK;
    const LI: u8 = LISTEN;
    // NO is no state that a packet leads to; naming it keeps the columns below readable.
    let _ = NO;
    [
        //   NO  ES  SS  SR  FW  TW  CL  CW  LA  LI  SA
        /* I */
        [SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR], // syn
        [CL, CW, SS, TW, TW, TW, CL, CW, LA, LI, TW], // fin
        [ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES], // ack
        [CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, SR], // rst
        /* O */
        [SS, ES, SS, SR, SS, SS, SS, SS, SS, LI, SR], // syn
        [TW, FW, SS, TW, FW, TW, CL, TW, LA, LI, TW], // fin
        [ES, ES, SS, ES, FW, TW, CL, CW, LA, ES, ES], // ack
        [CL, CL, SS, CL, CL, TW, CL, CL, CL, CL, CL], // rst
        /* X */
        [SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR], // syn
        [CL, FW, SS, TW, FW, TW, CL, CW, LA, LI, TW], // fin
        [ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES], // ack
        [CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, CL], // rst
    ]
};

/// [`TABLE`] with rows of 16, and 16 of them: any 8-bit index is within it.
static NEXT: [u8; 256] = {
    let mut flat = [CLOSE; 256];
    let mut at = 0;
    while at < 12 * STATES {
        let (row, state) = (at / STATES, at % STATES);
        flat[row * 16 + state] = TABLE[row][state];
        at += 1;
    }
    flat
};

/// The state that `event` leads to from `state`. A packet without SYN, FIN, ACK and RST closes (connections.md section 6).
pub fn next(table: Table, event: Event, state: u8) -> u8 {
    let event = match event {
        Event::Syn => 0,
        Event::Fin => 1,
        Event::Ack => 2,
        Event::Rst => 3,
        Event::Bare | Event::Datagram => return CLOSE,
    };
    let row = table as usize * 4 + event;
    NEXT[bounded::index::<256>(row * 16 + usize::from(state & 15))]
}

/// Whether a connection in `state` counts in ActiveConn (connections.md section 8).
pub fn is_active(state: u8) -> bool {
    matches!(state, ESTABLISHED | SYN_SENT | SYN_RECV | SYNACK)
}
