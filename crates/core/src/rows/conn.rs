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
}

/// A connection: 128 bytes, two cache lines. The first is all that an established request needs besides its way out.
#[cfg_attr(not(target_arch = "bpf"), derive(zerocopy::FromZeros))]
#[repr(C)]
pub struct ConnRow {
    /// [`Life`]: deadline, state and flags. Everything else holds still while the connection lives.
    pub life: Cell64,
    /// Ports: client (bits 48..), VIP (32..48), RIP (16..32), then protocol (8..16) and [`family`] (0..8).
    pub ports: Cell64,
    /// Number of the destination row.
    pub dest: Cell32,
    /// Forwarding method, as in [`DestRow::method`] when the connection was made.
    pub method: Cell32,
    /// When the daemon retired this row, low 32 bits of the jiffies: it is used again only after a grace period.
    pub retired_at: Cell32,
    /// Always 0.
    pub reserved: Cell32,
    /// VIP.
    pub virtual_address: [Cell32; 4],
    /// Client address.
    pub client_address: [Cell32; 4],
    /// RIP.
    pub dest_address: [Cell32; 4],
    /// Way to the destination.
    pub request_hop: HopRow,
    /// Way to the client.
    pub reply_hop: HopRow,
}

const _: () = assert!(size_of::<ConnRow>() == 128);

/// The fields of a connection that never change while it lives, read or written at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Number of the destination row.
    pub dest: u32,
    /// Forwarding method.
    pub method: u32,
}

impl ConnIdentity {
    /// The flow of the client's packets.
    pub fn request_key(&self) -> FlowKey {
        FlowKey {
            source: self.client,
            destination: self.virtual_address,
            source_port: self.client_port,
            destination_port: self.virtual_port,
            protocol: self.protocol,
            family: self.family,
            zero: 0,
        }
    }

    /// The flow of the real server's answers as they reach the director: from the RIP under masquerading, from the VIP under
    /// every other method (connections.md section 2, look-up "out").
    pub fn reply_key(&self) -> FlowKey {
        let mut key = self.request_key().reversed();
        if self.method == method::MASQUERADING {
            key.source = self.dest_address;
            key.source_port = self.dest_port;
        }
        key
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
        let ports = self.ports.load();
        ConnIdentity {
            client: load_address(&self.client_address),
            virtual_address: load_address(&self.virtual_address),
            dest_address: load_address(&self.dest_address),
            client_port: (ports >> 48) as u16,
            virtual_port: (ports >> 32) as u16,
            dest_port: (ports >> 16) as u16,
            protocol: (ports >> 8) as u8,
            family: ports as u8,
            dest: self.dest.load(),
            method: self.method.load(),
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
        self.method.store(identity.method);
        self.request_hop.stamp.store(0);
        self.reply_hop.stamp.store(0);
    }
}
