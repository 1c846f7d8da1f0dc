//! drop_entry: thins out the connections when memory is low (connections.md section 11).

use std::hash::BuildHasher;

use rlvs_core::{
    conn::{
        Life,
        state::{sctp, tcp, template::ASSURED},
        timeout,
    },
    rows::{ConnRow, service_flags},
    tables::Tables,
    wire::protocol,
};

use crate::{expire, shared::SharedTables};

/// Of how many rows one is looked at in a second.
const SHARE: u64 = 32;
/// Packets from the client beyond which an idle connection stays.
const PACKETS_MAX: u32 = 8;
/// How long a connection must have been idle, in seconds.
const IDLE_S: u64 = 60;

/// What to do with a connection that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Keep,
    Drop,
    /// Dropped if idle and lucky enough: [`Turns`].
    IfIdle,
}

/// What the table of section 11 says of a connection's protocol and state.
fn fate(protocol: u8, state: u8) -> Fate {
    match (protocol, state) {
        (protocol::TCP, tcp::SYN_RECV | tcp::SYNACK) | (protocol::SCTP, sctp::INIT1 | sctp::INIT) => Fate::Drop,
        (protocol::TCP, tcp::ESTABLISHED) | (protocol::SCTP, sctp::ESTABLISHED) => Fate::IfIdle,
        (protocol::TCP | protocol::SCTP, _) => Fate::Keep,
        _ => Fate::IfIdle,
    }
}

/// As [`fate`], for a template.
fn template_fate(state: u8, one_packet: bool) -> Fate {
    match (one_packet, state == ASSURED) {
        (true, _) => Fate::IfIdle,
        (false, true) => Fate::Keep,
        (false, false) => Fate::Drop,
    }
}

/// Whose turn it is: of the idle connections with `i` packets one in `i` goes, the first of them first.
#[derive(Clone, Copy, Debug, Default)]
struct Turns([u32; PACKETS_MAX as usize + 1]);

impl Turns {
    fn hits(&mut self, packets: u32) -> bool {
        if packets == 0 || packets > PACKETS_MAX {
            return false;
        }
        let Some(left) = self.0.get_mut(packets as usize) else { return false };
        *left = left.saturating_sub(1);
        if *left > 0 {
            return false;
        }
        *left = packets;
        true
    }
}

/// What drop_entry remembers from second to second.
#[derive(Debug)]
pub struct Thinning {
    turns: Turns,
    seed: std::hash::RandomState,
    drawn: u64,
}

impl Default for Thinning {
    fn default() -> Self {
        Self { turns: Turns::default(), seed: std::hash::RandomState::new(), drawn: 0 }
    }
}

impl Thinning {
    /// The work of one second: looks at some rows by chance and ends those whose fate it is. Returns how many. `now` and `hz`
    /// are jiffies and jiffies per second.
    pub fn run(&mut self, tables: &SharedTables, now: u64, hz: u64) -> u64 {
        let used = u64::from(tables.conns_used());
        let mut ended = 0;
        // Of few rows one only now and then, so that each has the same chance in every table.
        let looks = used / SHARE + u64::from(self.draw() % SHARE < used % SHARE);
        for _ in 0..looks {
            let id = (self.draw() % used) as u32;
            let Some(row) = tables.conn(id) else { continue };
            let seen = row.life.load();
            if Life::unpack(seen).is_current(now) && self.condemns(tables, row, Life::unpack(seen), now, hz) {
                ended += u64::from(expire::end(tables, id, row, seen, now));
            }
        }
        ended
    }

    fn draw(&mut self) -> u64 {
        self.drawn = self.drawn.wrapping_add(1);
        self.seed.hash_one(self.drawn)
    }

    fn condemns(&mut self, tables: &SharedTables, row: &ConnRow, life: Life, now: u64, hz: u64) -> bool {
        if row.controlled.load() != 0 {
            return false;
        }
        let template = life.is_template();
        let protocol = row.identity().protocol;
        let (fate, timeout) = if template {
            (template_fate(life.state, is_one_packet(tables, row)), u64::from(row.timeout.load()))
        } else {
            let index = timeout::index(protocol, life.state);
            (fate(protocol, life.state), tables.config().map_or(0, |config| timeout::jiffies(config, index)))
        };
        match fate {
            Fate::Keep => false,
            Fate::Drop => true,
            Fate::IfIdle => {
                let idle = timeout.saturating_sub(life.deadline.saturating_sub(now));
                idle >= IDLE_S * hz && self.turns.hits(row.in_packets.load())
            }
        }
    }
}

/// Whether a row's service schedules every packet.
fn is_one_packet(tables: &SharedTables, row: &ConnRow) -> bool {
    let service = tables.dest(row.dest.load()).and_then(|dest| tables.service(dest.service.load()));
    service.is_some_and(|service| service.flags.load() & service_flags::ONE_PACKET != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_decide_as_in_the_table() {
        for (protocol, state, expected) in [
            (protocol::TCP, 3, Fate::Drop),
            (protocol::TCP, 10, Fate::Drop),
            (protocol::TCP, 1, Fate::IfIdle),
            (protocol::TCP, 5, Fate::Keep),
            (protocol::TCP, 0, Fate::Keep),
            (protocol::SCTP, 1, Fate::Drop),
            (protocol::SCTP, 2, Fate::Drop),
            (protocol::SCTP, 8, Fate::IfIdle),
            (protocol::SCTP, 13, Fate::Keep),
            (17, 0, Fate::IfIdle),
        ] {
            assert_eq!(fate(protocol, state), expected, "{protocol} {state}");
        }
        assert_eq!(template_fate(0, false), Fate::Drop);
        assert_eq!(template_fate(ASSURED, false), Fate::Keep);
        assert_eq!(template_fate(ASSURED, true), Fate::IfIdle);
    }

    #[test]
    fn one_of_every_so_many_goes_the_first_first() {
        let mut turns = Turns::default();
        let mut hits = |packets: u32, times: usize| (0..times).map(|_| turns.hits(packets)).collect::<Vec<_>>();
        assert_eq!(hits(3, 7), [true, false, false, true, false, false, true]);
        assert_eq!(hits(1, 3), [true; 3]);
        assert_eq!(hits(8, 2), [true, false]);
        assert_eq!(hits(0, 2), [false; 2]);
        assert_eq!(hits(9, 2), [false; 2]);
    }
}
