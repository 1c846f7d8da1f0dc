//! States of connections (connections.md section 6).
//!
//! Protocols differ by data alone: each has a row of a table for every direction and event.

use crate::{bounded, flow::Event, wire::protocol};

/// States of TCP, numbered as in IPVS's sync protocol.
pub mod tcp {
    /// None yet.
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
    /// Unused by the tables except to leave it.
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
}

/// States of SCTP, numbered as in IPVS's sync protocol.
pub mod sctp {
    /// None yet.
    pub const NONE: u8 = 0;
    /// The client began.
    pub const INIT1: u8 = 1;
    /// It began again.
    pub const INIT: u8 = 2;
    /// Cookie sent.
    pub const COOKIE_SENT: u8 = 3;
    /// Cookie replied.
    pub const COOKIE_REPLIED: u8 = 4;
    /// Waiting for a cookie.
    pub const COOKIE_WAIT: u8 = 5;
    /// Cookie received.
    pub const COOKIE: u8 = 6;
    /// Cookie echoed.
    pub const COOKIE_ECHOED: u8 = 7;
    /// Both sides talk.
    pub const ESTABLISHED: u8 = 8;
    /// The real server ends it.
    pub const SHUTDOWN_SENT: u8 = 9;
    /// The client ends it.
    pub const SHUTDOWN_RECEIVED: u8 = 10;
    /// The end was acknowledged.
    pub const SHUTDOWN_ACK_SENT: u8 = 11;
    /// Refused.
    pub const REJECTED: u8 = 12;
    /// Over.
    pub const CLOSED: u8 = 13;
    /// Number of states.
    pub const STATES: usize = 14;
    /// The states' names in /proc/net/ip_vs_conn, by number.
    pub const NAMES: [&str; STATES] = [
        "NONE",
        "INIT1",
        "INIT",
        "C-SENT",
        "C-REPLIED",
        "C-WAIT",
        "COOKIE",
        "C-ECHOED",
        "ESTABLISHED",
        "S-SENT",
        "S-RECEIVED",
        "S-ACK-SENT",
        "REJECTED",
        "CLOSED",
    ];
}

/// States of persistence templates.
pub mod template {
    /// No connection of it was ever established.
    pub const NONE: u8 = 0;
    /// One was.
    pub const ASSURED: u8 = 1;
}

/// Which part of a table a packet reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// From the client, while answers pass here too.
    Input = 0,
    /// From the real server.
    Output = 1,
    /// From the client, no answer having been seen.
    InputOnly = 2,
}

/// Events of TCP: syn, fin, ack, rst, none of them.
const TCP_EVENTS: usize = 5;
/// Events of SCTP, in the order of the tables below.
const SCTP_EVENTS: usize = 10;

/// `TCP[table * TCP_EVENTS + event][state]`.
const TCP: [[u8; tcp::STATES]; 3 * TCP_EVENTS] = {
    use tcp::{
        CLOSE as CL, CLOSE_WAIT as CW, ESTABLISHED as ES, FIN_WAIT as FW, LAST_ACK as LA, LISTEN as LI, SYN_RECV as SR,
        SYN_SENT as SS, TIME_WAIT as TW,
    };
    [
        //   NO  ES  SS  SR  FW  TW  CL  CW  LA  LI  SA
        /* I */
        [SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR], // syn
        [CL, CW, SS, TW, TW, TW, CL, CW, LA, LI, TW], // fin
        [ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES], // ack
        [CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, SR], // rst
        [CL; tcp::STATES],                            // none of them
        /* O */
        [SS, ES, SS, SR, SS, SS, SS, SS, SS, LI, SR], // syn
        [TW, FW, SS, TW, FW, TW, CL, TW, LA, LI, TW], // fin
        [ES, ES, SS, ES, FW, TW, CL, CW, LA, ES, ES], // ack
        [CL, CL, SS, CL, CL, TW, CL, CL, CL, CL, CL], // rst
        [CL; tcp::STATES],                            // none of them
        /* X */
        [SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR], // syn
        [CL, FW, SS, TW, FW, TW, CL, CW, LA, LI, TW], // fin
        [ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES], // ack
        [CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, CL], // rst
        [CL; tcp::STATES],                            // none of them
    ]
};

/// The table of secure_tcp: [`TCP`] but for what connections.md section 6 lists.
const TCP_SECURE: [[u8; tcp::STATES]; 3 * TCP_EVENTS] = {
    use tcp::{CLOSE, CLOSE_WAIT, FIN_WAIT, LAST_ACK, LISTEN, NONE, SYN_RECV, SYNACK, TIME_WAIT};
    const SYN: usize = 0;
    const FIN: usize = 1;
    const ACK: usize = 2;
    const RST: usize = 3;
    const O: usize = TCP_EVENTS;
    const X: usize = 2 * TCP_EVENTS;
    let mut table = TCP;
    table[SYN][SYNACK as usize] = SYNACK;
    table[FIN][SYNACK as usize] = SYNACK;
    table[ACK][SYN_RECV as usize] = SYN_RECV;
    table[ACK][SYNACK as usize] = SYNACK;
    table[RST][SYNACK as usize] = CLOSE;
    table[O + SYN][SYN_RECV as usize] = SYNACK;
    table[O + SYN][SYNACK as usize] = SYNACK;
    let from = [NONE, FIN_WAIT, TIME_WAIT, CLOSE, CLOSE_WAIT, LAST_ACK, LISTEN, SYNACK];
    let mut at = 0;
    while at < from.len() {
        table[X + SYN][from[at] as usize] = SYNACK;
        at += 1;
    }
    table
};

/// `SCTP[table * STATES + state][event]`, as connections.md section 6 lays it out.
const SCTP: [[u8; SCTP_EVENTS]; 3 * sctp::STATES] = {
    use sctp::{
        CLOSED as CL, COOKIE as CO, COOKIE_ECHOED as CE, COOKIE_REPLIED as CR, COOKIE_SENT as CS, COOKIE_WAIT as CW,
        ESTABLISHED as ES, INIT as IN, INIT1 as I1, REJECTED as RJ, SHUTDOWN_ACK_SENT as SA, SHUTDOWN_RECEIVED as SR,
        SHUTDOWN_SENT as SS,
    };
    [
        // data init iack echo cack shut sack comp err abort
        /* I */
        [ES, I1, CW, CR, ES, SR, CL, CL, CL, CL],
        [I1, IN, CW, IN, I1, I1, IN, CL, I1, CL],
        [IN, IN, CW, IN, IN, IN, IN, CL, IN, CL],
        [CS, CS, CS, CR, CS, CS, CS, CS, CS, CL],
        [CR, CR, CR, CR, CR, CR, CR, CR, CR, CL],
        [CW, CW, CO, CW, CW, CW, CW, CW, CW, RJ],
        [CO, CO, CO, CO, CO, CO, CO, CO, CO, CL],
        [CE, CE, CE, CE, ES, CE, CE, CE, CL, CL],
        [ES, ES, ES, ES, ES, SR, ES, ES, ES, CL],
        [SS, SS, SS, SS, SS, SS, CL, SS, SS, CL],
        [SR, SR, SR, SR, SR, SR, SR, SR, SR, CL],
        [SA, SA, SA, SA, SA, SA, CL, CL, SA, CL],
        [RJ, IN, RJ, RJ, RJ, RJ, RJ, RJ, RJ, CL],
        [CL, IN, CL, CL, CL, CL, CL, CL, CL, CL],
        /* O */
        [ES, CW, CS, CE, ES, SS, SA, CL, CL, CL],
        [I1, CW, CS, CE, ES, SS, SA, I1, CL, RJ],
        [IN, CW, CS, CE, ES, SS, SA, IN, CL, CL],
        [CS, CW, CS, CE, ES, SS, SA, CS, CL, CL],
        [CR, CW, CR, CE, ES, SS, SA, CR, CL, CL],
        [CW, CW, CW, CE, ES, SS, CW, CW, CW, CL],
        [CO, CW, CO, CE, ES, SS, CO, CO, CO, CL],
        [CE, CW, CE, CE, ES, SS, CE, CE, CE, CL],
        [ES, ES, ES, ES, ES, SS, ES, ES, ES, CL],
        [SS, CW, SS, SS, SS, SS, SA, SS, SS, CL],
        [SR, CW, SR, SR, SR, SR, SA, SR, SR, CL],
        [SA, CW, SA, SA, SA, SA, SA, SA, SA, CL],
        [RJ, CW, RJ, RJ, RJ, RJ, RJ, RJ, RJ, CL],
        [CL, CW, CL, CL, CL, CL, CL, CL, CL, CL],
        /* X */
        [ES, I1, CE, ES, ES, SR, CL, CL, CL, CL],
        [I1, IN, CE, ES, I1, I1, IN, CL, I1, CL],
        [IN, IN, CE, ES, IN, IN, IN, CL, IN, CL],
        [CS, IN, CE, ES, ES, CS, CS, CL, CS, CL],
        [CR, IN, CE, ES, ES, CR, CR, CL, CR, CL],
        [ES, IN, CE, ES, CW, CW, CW, CW, CW, RJ],
        [CO, CO, CO, CO, ES, CO, CO, CO, CO, CL],
        [CE, CE, CE, CE, ES, CE, CE, CE, CE, CL],
        [ES, ES, ES, ES, ES, SR, CL, ES, ES, CL],
        [SS, SS, SS, SS, SS, SS, CL, SS, SS, CL],
        [SR, SR, SR, SR, SR, SR, SR, CL, SR, CL],
        [SA, SA, SA, SA, SA, SA, CL, CL, SA, CL],
        [RJ, IN, RJ, RJ, RJ, RJ, RJ, RJ, RJ, CL],
        [CL, IN, CL, CL, CL, CL, CL, CL, CL, CL],
    ]
};

/// Where the rows of each table begin in [`NEXT`].
const TCP_AT: usize = 0;
const TCP_SECURE_AT: usize = TCP_AT + 3 * TCP_EVENTS;
const SCTP_AT: usize = TCP_SECURE_AT + 3 * TCP_EVENTS;
/// States of a row in [`NEXT`], and rows, both powers of two: any index is within it.
const ROW: usize = 16;
const NEXT_LEN: usize = 64 * ROW;

/// `NEXT[(start of the protocol's table + table * events + event) * ROW + state]`.
static NEXT: [u8; NEXT_LEN] = {
    let mut flat = [0; NEXT_LEN];
    let mut row = 0;
    while row < 3 * TCP_EVENTS {
        let mut state = 0;
        while state < tcp::STATES {
            flat[(TCP_AT + row) * ROW + state] = TCP[row][state];
            flat[(TCP_SECURE_AT + row) * ROW + state] = TCP_SECURE[row][state];
            state += 1;
        }
        row += 1;
    }
    let mut table = 0;
    while table < 3 {
        let mut state = 0;
        while state < sctp::STATES {
            let mut event = 0;
            while event < SCTP_EVENTS {
                let to = (SCTP_AT + table * SCTP_EVENTS + event) * ROW + state;
                flat[to] = SCTP[table * sctp::STATES + state][event];
                event += 1;
            }
            state += 1;
        }
        table += 1;
    }
    flat
};

/// The state that `event` leads to from `state`. `secure` is whether secure_tcp is in force. Protocols with one state stay in it.
pub fn next(protocol: u8, secure: bool, table: Table, event: Event, state: u8) -> u8 {
    let (start, events) = match protocol {
        protocol::TCP if secure => (TCP_SECURE_AT, TCP_EVENTS),
        protocol::TCP => (TCP_AT, TCP_EVENTS),
        protocol::SCTP => (SCTP_AT, SCTP_EVENTS),
        _ => return 0,
    };
    let row = start + table as usize * events + usize::from(event.0);
    NEXT[bounded::index::<NEXT_LEN>(row * ROW + usize::from(state & (ROW as u8 - 1)))]
}

/// Whether a connection in `state` counts in ActiveConn (connections.md section 8).
pub fn is_active(protocol: u8, state: u8) -> bool {
    match protocol {
        protocol::TCP => matches!(state, tcp::ESTABLISHED | tcp::SYN_SENT | tcp::SYN_RECV | tcp::SYNACK),
        protocol::SCTP => state == sctp::ESTABLISHED,
        _ => false,
    }
}

/// Whether both sides of a connection in `state` talk, where the protocol knows of it.
pub fn is_established(protocol: u8, state: u8) -> bool {
    match protocol {
        protocol::TCP => state == tcp::ESTABLISHED,
        protocol::SCTP => state == sctp::ESTABLISHED,
        _ => false,
    }
}

/// A connection's state as /proc/net/ip_vs_conn names it.
pub fn name(protocol: u8, state: u8) -> &'static str {
    let state = usize::from(state);
    match protocol {
        protocol::TCP => tcp::NAMES.get(state).copied().unwrap_or("NONE"),
        protocol::SCTP => sctp::NAMES.get(state).copied().unwrap_or("NONE"),
        _ => "UDP",
    }
}
