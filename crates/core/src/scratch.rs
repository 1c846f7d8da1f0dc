//! What one packet's stages leave for each other. A program has 512 bytes of stack in all, and stages that are programs of their
//! own have none in common: so this stands in a row that each CPU has for itself.

use crate::conn::Direction;
use crate::flow::Flow;
use crate::forward::next_hop::Way;
use crate::rows::{Address, ConnIdentity, FlowKey, Forwarding, NO_DEST};
use crate::verdict::{Refusal, Verdict};

/// Working memory of one packet.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Scratch {
    /// What the frame says.
    pub flow: Flow,
    /// The connection that it belongs to, or that it opens.
    pub identity: ConnIdentity,
    /// Key of a look-up or insertion.
    pub key: FlowKey,
    /// Which way it goes.
    pub direction: Direction,
    /// How packets get to the destination.
    pub forwarding: Forwarding,
    /// Outer source address, if it goes through a tunnel.
    pub tunnel_source: Address,
    /// The way out.
    pub way: Way,
    /// The error that tells the sender why its packet is dropped.
    pub refusal: Refusal,
    /// A connection that has come to its end and makes way for this packet: its row's number, or [`NO_CONN`].
    pub stale: u32,
    /// Its life as it was seen.
    pub stale_seen: u64,
    /// The service that the packet is for: its row's number.
    pub service: u32,
    /// The service's firewall mark; 0 for a service by address.
    pub service_mark: u32,
    /// The service's port, host byte order; 0 for every port.
    pub service_port: u16,
    /// The client's template; [`NO_CONN`] for none.
    pub template: u32,
    /// The destination that was chosen; [`NO_DEST`] for none.
    pub picked: u32,
    /// Number of the connection's row; [`NO_CONN`] for a packet without one.
    pub conn: u32,
    /// Whether the packet is to be sent in fragments.
    pub fragment: bool,
}

/// [`Scratch::conn`] of a packet that belongs to no connection.
pub const NO_CONN: u32 = u32::MAX;

impl Scratch {
    /// Nothing yet.
    pub const NEW: Self = Self {
        flow: Flow::NONE,
        identity: ConnIdentity::NONE,
        key: FlowKey::NONE,
        direction: Direction::Request,
        forwarding: Forwarding { method: 0, tunnel: 0, tunnel_flags: 0, tunnel_port: 0 },
        tunnel_source: Address([0; 4]),
        way: Way::NONE,
        refusal: Refusal { kind: 0, code: 0, hops: 0, reserved: 0, info: 0 },
        stale: NO_CONN,
        stale_seen: 0,
        service: 0,
        service_mark: 0,
        service_port: 0,
        template: NO_CONN,
        picked: NO_DEST,
        conn: NO_CONN,
        fragment: false,
    };

    /// Has the sender be told why its packet is dropped.
    pub fn refuse(&mut self, verdict: Verdict, refusal: Refusal) -> Verdict {
        self.refusal = refusal;
        verdict
    }
}
