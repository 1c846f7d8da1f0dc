//! Connections.

use super::{Address, FlowKey, method};
use crate::cell::{Cell32, Cell64};
use crate::conn::Life;

/// A cached way out: see [`crate::forward::next_hop`], which alone reads and writes these words.
#[cfg_attr(not(target_arch = "bpf"), derive(zerocopy::FromZeros))]
#[repr(C)]
pub struct HopRow {
    /// Epoch (high half) and the jiffies of the look-up, low 32 bits; epoch 0 means "nothing cached".
    pub stamp: Cell64,
    /// Interface index (high half), bytes 0..4 of the source address.
    pub interface_source: Cell64,
    /// Bytes 4..6 of the source address, then the six of the destination address.
    pub source_destination: Cell64,
    /// Largest IP packet, in bytes, that this way takes.
    pub mtu: Cell64,
}

/// A connection or a persistence template: 192 bytes, three cache lines. The first two are all that an established request
/// needs.
#[cfg_attr(not(target_arch = "bpf"), derive(zerocopy::FromZeros))]
#[repr(C)]
pub struct ConnRow {
    /// [`Life`]: deadline, state and flags. Everything else but what is marked "changes" holds still while it lives.
    pub life: Cell64,
    /// Ports: client (bits 48..), VIP (32..48), RIP (16..32), then protocol (8..16) and [`family`](super::family) (0..8).
    pub ports: Cell64,
    /// Number of the destination row.
    pub dest: Cell32,
    /// [`method`] when the connection was made (0..8), [`family`](super::family) of the RIP (8..16), [`kind`](super::kind) (16..32).
    pub method: Cell32,
    /// Packets from the client, as far as anybody asks. Changes.
    pub in_packets: Cell32,
    /// Number, plus 1, of the template row that controls this connection; 0 for none.
    pub controller: Cell32,
    /// VIP; of a firewall-mark service's template: the mark.
    pub virtual_address: [Cell32; 4],
    /// Way to the destination. Changes.
    pub request_hop: HopRow,
    /// RIP.
    pub dest_address: [Cell32; 4],
    /// Client address.
    pub client_address: [Cell32; 4],
    /// Way to the client. Changes.
    pub reply_hop: HopRow,
    /// How many connections this template controls. Changes.
    pub controlled: Cell64,
    /// A template's timeout in jiffies: 60 s for good once it came due while connections needed it. Changes.
    pub timeout: Cell32,
    /// When this row was retired, low 32 bits of the jiffies: it is used again only after a grace period.
    pub retired_at: Cell32,
    /// Always 0: fills the third cache line.
    pub reserved: [Cell64; 4],
}

const _: () = assert!(size_of::<ConnRow>() == 192);

/// The fields of a connection that never change while it lives, read or written at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ConnIdentity {
    /// Client address.
    pub client: Address,
    /// VIP.
    pub virtual_address: Address,
    /// RIP.
    pub dest_address: Address,
    /// Client port, host byte order.
    pub client_port: u16,
    /// Port of the virtual service as the client asked for it, host byte order.
    pub virtual_port: u16,
    /// Port on the real server, host byte order.
    pub dest_port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// [`family`].
    pub family: u8,
    /// [`family`](super::family) of the RIP.
    pub dest_family: u8,
    /// Forwarding [`method`].
    pub method: u8,
    /// [`kind`](super::kind): a connection or a template.
    pub kind: u16,
    /// Number of the destination row.
    pub dest: u32,
    /// Number, plus 1, of the template row that controls it; 0 for none.
    pub controller: u32,
}

impl ConnIdentity {
    /// No connection: what a scratch row begins with.
    pub const NONE: Self = Self {
        client: Address([0; 4]),
        virtual_address: Address([0; 4]),
        dest_address: Address([0; 4]),
        client_port: 0,
        virtual_port: 0,
        dest_port: 0,
        protocol: 0,
        family: 0,
        dest_family: 0,
        method: 0,
        kind: 0,
        dest: 0,
        controller: 0,
    };

    /// The flow of the client's packets.
    pub fn request_key(&self) -> FlowKey {
        let mut key = FlowKey::NONE;
        self.write_request_key(&mut key);
        key
    }

    /// Writes [`Self::request_key`] where it is to stand: programs have little stack to build it on.
    #[inline(always)]
    pub fn write_request_key(&self, key: &mut FlowKey) {
        key.source = self.client;
        key.destination = self.virtual_address;
        key.source_port = self.client_port;
        key.destination_port = self.virtual_port;
        key.protocol = self.protocol;
        key.family = self.family;
        key.kind = self.kind;
    }

    /// The flow of the real server's answers as they reach the director: from the RIP under masquerading, from the VIP under
    /// every other method (connections.md section 2, look-up "out"). A template has none.
    pub fn reply_key(&self) -> FlowKey {
        let mut key = FlowKey::NONE;
        self.write_reply_key(&mut key);
        key
    }

    /// Writes [`Self::reply_key`] where it is to stand.
    #[inline(always)]
    pub fn write_reply_key(&self, key: &mut FlowKey) {
        let masquerades = self.method == method::MASQUERADING;
        key.source = if masquerades { self.dest_address } else { self.virtual_address };
        key.source_port = if masquerades { self.dest_port } else { self.virtual_port };
        key.destination = self.client;
        key.destination_port = self.client_port;
        key.protocol = self.protocol;
        key.family = self.family;
        key.kind = self.kind;
    }
}

fn load_address(words: &[Cell32; 4]) -> Address {
    let [a, b, c, d] = words;
    Address([a.load(), b.load(), c.load(), d.load()])
}

fn store_address(words: &[Cell32; 4], address: &Address) {
    let [a, b, c, d] = words;
    let Address([e, f, g, h]) = *address;
    a.store(e);
    b.store(f);
    c.store(g);
    d.store(h);
}

impl ConnRow {
    /// The connection's life as it stands.
    pub fn life(&self) -> Life {
        Life::unpack(self.life.load())
    }

    /// Reads the fields that hold still.
    pub fn identity(&self) -> ConnIdentity {
        let (ports, method) = (self.ports.load(), self.method.load());
        ConnIdentity {
            client: load_address(&self.client_address),
            virtual_address: load_address(&self.virtual_address),
            dest_address: load_address(&self.dest_address),
            client_port: (ports >> 48) as u16,
            virtual_port: (ports >> 32) as u16,
            dest_port: (ports >> 16) as u16,
            protocol: (ports >> 8) as u8,
            family: ports as u8,
            dest_family: (method >> 8) as u8,
            method: method as u8,
            kind: (method >> 16) as u16,
            dest: self.dest.load(),
            controller: self.controller.load(),
        }
    }

    /// Writes the fields that hold still and forgets cached next hops. Only for a row that no look-up finds yet.
    pub fn set_identity(&self, identity: &ConnIdentity) {
        store_address(&self.client_address, &identity.client);
        store_address(&self.virtual_address, &identity.virtual_address);
        store_address(&self.dest_address, &identity.dest_address);
        let ports = (u64::from(identity.client_port) << 48)
            | (u64::from(identity.virtual_port) << 32)
            | (u64::from(identity.dest_port) << 16)
            | (u64::from(identity.protocol) << 8)
            | u64::from(identity.family);
        self.ports.store(ports);
        self.dest.store(identity.dest);
        let kind = u32::from(identity.kind) << 16;
        self.method.store(kind | (u32::from(identity.dest_family) << 8) | u32::from(identity.method));
        self.controller.store(identity.controller);
        self.controlled.store(0);
        self.timeout.store(0);
        self.in_packets.store(0);
        self.request_hop.stamp.store(0);
        self.reply_hop.stamp.store(0);
    }
}
