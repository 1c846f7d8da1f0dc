//! Frames that need what no hook can do: errors to send, datagrams to cut, fragments to hold.
//!
//! The data plane copies such a frame into a ring buffer ([`rlvs_core::rows::Handed`]) and drops it. A held fragment goes through
//! the very code of the data plane once more, here, when the first one of its datagram has passed.

mod checksum;
pub mod fragment;
mod limit;
pub mod refuse;
mod send;

use std::{
    collections::VecDeque,
    io,
    rc::Rc,
    time::{Duration, Instant},
};

use aya::maps::{MapData, RingBuf};
use rlvs_core::{
    director::direct,
    native::Frame,
    rows::{HANDED_LEN, Handed, task},
    scratch::Scratch,
    verdict::Verdict,
};
use tokio::time::{MissedTickBehavior, interval};
use zerocopy::FromBytes;

use crate::{owner::Owner, watch::watch};
use limit::Limit;
use send::Sender;

/// How long a fragment is held. Linux keeps the fragments of a datagram for 30 s; here only their order is mended, and fragments
/// of one datagram are at most a few round trips apart.
const HOLD_MAX: Duration = Duration::from_millis(500);
/// How often held fragments are looked at, and the ring beside its own wake-ups.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);
/// Most fragments held: a flood of them must not fill the memory. With frames of 1500 bytes, 6 MB.
const HELD_MAX: usize = 4096;

/// A fragment that waits.
struct Held {
    frame: Vec<u8>,
    until: Instant,
}

/// Deals with what is handed over.
pub struct Hands {
    sender: Sender,
    limit: Limit,
    held: VecDeque<Held>,
}

impl Hands {
    /// Opens the sockets that it sends by.
    ///
    /// # Errors
    /// Where the kernel refuses them.
    pub fn new() -> io::Result<Self> {
        Ok(Self { sender: Sender::new()?, limit: Limit::new(), held: VecDeque::new() })
    }

    /// Deals with frames until the ring is gone.
    ///
    /// # Errors
    /// Where the ring cannot be read.
    pub async fn run(mut self, ring: RingBuf<MapData>, served: Rc<crate::server::Served>) -> io::Result<()> {
        let mut ring = watch(ring)?;
        let mut ticks = interval(LOOK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if self.held.is_empty() {
                ring.readable_mut().await?.clear_ready();
            } else {
                ticks.tick().await;
            }
            while let Some(record) = ring.get_mut().next() {
                self.take(&record, &served.owner.borrow());
            }
            self.look(&served.owner.borrow());
        }
    }

    /// One record.
    fn take(&mut self, record: &[u8], owner: &Owner) {
        let Ok((handed, frame)) = Handed::read_from_prefix(record) else { return };
        debug_assert!(record.len() >= HANDED_LEN);
        // The ring keeps records in units of 8 bytes.
        let frame = &frame[..frame.len().min(handed.len as usize)];
        match handed.task {
            task::REFUSE => self.refuse(&handed, frame),
            task::FRAGMENT if frame.len() == handed.len as usize => {
                self.send_cut(frame.to_vec(), handed.interface, handed.info)
            }
            task::HOLD if frame.len() == handed.len as usize => self.hold(frame.to_vec(), owner),
            // Longer than what is handed over: no link that this host knows carries it.
            _ => {}
        }
    }

    fn refuse(&mut self, handed: &Handed, frame: &[u8]) {
        if let Some(error) = refuse::error(handed, frame)
            && self.limit.allows(&error, Instant::now())
        {
            self.sender.packet(&error);
        }
    }

    fn send_cut(&mut self, mut frame: Vec<u8>, interface: u32, mtu: u32) {
        checksum::complete(&mut frame);
        for piece in fragment::cut(&frame, mtu as usize) {
            self.sender.frame(&piece, interface);
        }
    }

    fn hold(&mut self, frame: Vec<u8>, owner: &Owner) {
        if self.forward(frame.clone(), owner) || self.held.len() >= HELD_MAX {
            return;
        }
        self.held.push_back(Held { frame, until: Instant::now() + HOLD_MAX });
    }

    /// Lets held fragments go whose first one has passed, and those that waited too long.
    fn look(&mut self, owner: &Owner) {
        let now = Instant::now();
        for _ in 0..self.held.len() {
            let Some(held) = self.held.pop_front() else { return };
            if now < held.until && !self.forward(held.frame.clone(), owner) {
                self.held.push_back(held);
            }
        }
    }

    /// Sends a frame through the data plane; returns whether its fate is known.
    fn forward(&mut self, mut frame: Vec<u8>, owner: &Owner) -> bool {
        let mut scratch = Scratch::NEW;
        let mut packet = Frame { bytes: &mut frame, for_this_host: true };
        match direct(&mut packet, owner.tables(), &mut scratch, owner.now()) {
            Verdict::Hold => return false,
            Verdict::Forward => self.sender.frame(&frame, scratch.way.hop.interface),
            Verdict::Fragment => self.send_cut(frame, scratch.way.hop.interface, scratch.way.mtu),
            _ => {}
        }
        true
    }
}
