//! The layout of what the maps hold: the one definition that data plane and daemon share.
//!
//! Rows that change while packets pass hold atomics, so that every home may read them through a shared reference; what one
//! decision depends on stands together in one 64-bit word ([`Life`], [`Counts`], [`Span`], the scheduler's state) and
//! changes by compare-and-swap. Keys derive [`IntoBytes`], which refuses padding: a padded key would miss silently.
//!
//! Addresses are 16 bytes, IPv4 in the first four; ports stand in host byte order (they are compared and printed, never
//! copied to the wire as they are).

use crate::cell::{Cell32, Cell64};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::conn::Life;

/// Number of this layout. The daemon refuses pinned maps of another number instead of misreading them.
pub const ABI: u32 = 1;

/// An IPv4 or IPv6 address, as transmitted; IPv4 stands in the first four bytes, the rest is zero.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(C)]
pub struct Address(pub [u32; 4]);

impl Address {
    /// The address with these four bytes.
    pub fn v4(bytes: [u8; 4]) -> Self {
        Self([u32::from_ne_bytes(bytes), 0, 0, 0])
    }

    /// The first four bytes: the IPv4 address.
    pub fn v4_bytes(&self) -> [u8; 4] {
        self.0[0].to_ne_bytes()
    }
}

/// Address family numbers, as in AF_INET and AF_INET6.
pub mod family {
    /// IPv4.
    pub const V4: u8 = 2;
    /// IPv6.
    pub const V6: u8 = 10;
}

/// A flow in one direction: what a frame shows.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FlowKey {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// Source port, host byte order.
    pub source_port: u16,
    /// Destination port, host byte order.
    pub destination_port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// [`family`].
    pub family: u8,
    /// Always 0: keeps the key free of padding.
    pub zero: u16,
}

impl FlowKey {
    /// The flow of the answers: both ends exchanged.
    pub fn reversed(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            ..*self
        }
    }
}

/// What the flow index says of a flow: its connection and which way it goes.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct FlowEntry {
    /// Number of the connection row.
    pub conn: u32,
    /// [`crate::conn::Direction`] as a number.
    pub direction: u32,
}

/// Key of a virtual service.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct ServiceKey {
    /// VIP; zero for a firewall-mark service.
    pub address: Address,
    /// Firewall mark; 0 for an address service.
    pub fwmark: u32,
    /// Port, host byte order; 0 for a firewall-mark or all-ports service.
    pub port: u16,
    /// IP protocol number; 0 for a firewall-mark service.
    pub protocol: u8,
    /// [`family`].
    pub family: u8,
}

/// Number of timeouts in [`ConfigRow::timeouts`]; indexed by [`crate::conn::timeout`].
pub const TIMEOUTS: usize = 32;

/// The only row of the configuration map: read for every packet, written by the daemon alone.
#[cfg_attr(not(target_arch = "bpf"), derive(zerocopy::FromZeros))]
#[repr(C)]
pub struct ConfigRow {
    /// [`ABI`].
    pub abi: Cell32,
    /// Jiffies per second of the running kernel.
    pub hz: Cell32,
    /// Bumped when a route or neighbour changes: next hops cached under another epoch are looked up again. Never 0.
    pub epoch: Cell32,
    /// Always 0.
    pub reserved: Cell32,
    /// Timeouts in jiffies.
    pub timeouts: [Cell32; TIMEOUTS],
}

/// The only row of the cursor map: written by the data plane, apart from [`ConfigRow`] so as not to share its cache lines.
#[cfg_attr(not(target_arch = "bpf"), derive(zerocopy::FromZeros))]
#[repr(C)]
pub struct CursorRow {
    /// Connection rows below this number have been in use; those from here on never were.
    pub conns_used: Cell64,
}

/// Where a service's members stand in the slot map: first slot and number, replaced together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Span {
    /// First slot.
    pub base: u32,
    /// Number of slots.
    pub len: u32,
}

impl Span {
    /// As one word: base in the high half.
    pub fn pack(self) -> u64 {
        (u64::from(self.base) << 32) | u64::from(self.len)
    }

    /// From one word.
    pub fn unpack(word: u64) -> Self {
        Self { base: (word >> 32) as u32, len: word as u32 }
    }
}

/// A virtual service.
#[cfg_attr(not(target_arch = "bpf"), derive(zerocopy::FromZeros))]
#[repr(C)]
pub struct ServiceRow {
    /// [`Span`] of its destinations, newest first as IPVS lists them.
    pub members: Cell64,
    /// The scheduler's state, replaced as a whole; each scheduler says what stands in it.
    pub sched_state: Cell64,
    /// What the scheduler precomputed from the weights; each scheduler says what stands in it.
    pub sched_config: Cell64,
    /// [`crate::sched::Scheduler`] as a number.
    pub scheduler: Cell32,
    /// Service flags, as in IPVS's netlink messages.
    pub flags: Cell32,
    /// The fields below are the daemon's: what it needs to take over a table it did not make.
    pub key: ServiceKey,
    /// Persistence timeout, seconds.
    pub timeout_s: u32,
    /// Persistence netmask (IPv4, network order) or prefix length (IPv6).
    pub netmask: u32,
    /// Position in the order of creation; 0 where the row is free.
    pub created: u64,
    /// Statistics of destinations that left the service, so that its totals do not shrink.
    pub departed: Stats,
    /// Statistics at the last `--zero`.
    pub zero_base: Stats,
}

/// Number of destinations the flow may choose from stands in [`Span`]; each is one of these.
#[cfg_attr(not(target_arch = "bpf"), derive(zerocopy::FromZeros))]
#[repr(C)]
pub struct MemberRow {
    /// Number of the destination row.
    pub dest: Cell32,
    /// Its weight, beside it so that a walk reads one array. 0..=2147483647.
    pub weight: Cell32,
}

/// ActiveConn and InActConn of a destination in one word, so that both change together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counts {
    /// Connections in an active state.
    pub active: u32,
    /// The other connections.
    pub inactive: u32,
}

impl Counts {
    /// What to add for one more active connection.
    pub const ONE_ACTIVE: u64 = 1;
    /// What to add for one more inactive connection.
    pub const ONE_INACTIVE: u64 = 1 << 32;

    /// From one word: inactive in the high half.
    pub fn unpack(word: u64) -> Self {
        Self { active: word as u32, inactive: (word >> 32) as u32 }
    }
}

/// Forwarding methods, numbered as in IPVS's netlink messages.
pub mod method {
    /// NAT.
    pub const MASQUERADING: u32 = 0;
}

/// Bits of [`DestRow::flags`].
pub mod dest_flags {
    /// The destination belongs to its service; cleared when it is removed while connections still name it.
    pub const AVAILABLE: u32 = 1;
    /// Its upper threshold was reached.
    pub const OVERLOAD: u32 = 2;
}

/// A destination (real server).
#[cfg_attr(not(target_arch = "bpf"), derive(zerocopy::FromZeros))]
#[repr(C)]
pub struct DestRow {
    /// [`Counts`].
    pub counts: Cell64,
    /// [`dest_flags`].
    pub flags: Cell32,
    /// Weight, 0..=2147483647.
    pub weight: Cell32,
    /// RIP.
    pub address: Address,
    /// Port, host byte order; 0 means "the port the client asked for".
    pub port: u16,
    /// [`family`] of the RIP.
    pub family: u8,
    /// Forwarding method, as in IPVS's netlink messages: 0 masquerading, 1 local, 2 tunnel, 3 direct.
    pub method: u8,
    /// Number of the service row.
    pub service: u32,
    /// Upper connection threshold, 0 for none.
    pub upper_threshold: u32,
    /// Lower connection threshold, 0 for none.
    pub lower_threshold: u32,
    /// Position in the order of creation; 0 where the row is free. The newest stands first in its service's list.
    pub created: u64,
    /// When the daemon saw a removed destination without connections for the first time, in jiffies; 0 otherwise.
    pub idle_since: u64,
    /// Key of the service it belonged to: a destination added again to an equal service gets this row back.
    pub service_key: ServiceKey,
    /// Tunnel parameters, as in IPVS's netlink messages; kept for listings.
    pub tunnel_port: u16,
    /// See [`Self::tunnel_port`].
    pub tunnel_flags: u16,
    /// See [`Self::tunnel_port`].
    pub tunnel_type: u8,
    /// Always 0.
    pub reserved: [u8; 3],
    /// Statistics at the last `--zero`.
    pub zero_base: Stats,
}

/// Traffic counters (stats.md section 1).
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Stats {
    /// Connections scheduled.
    pub conns: u64,
    /// Packets from clients.
    pub in_packets: u64,
    /// IP bytes from clients, before any change.
    pub in_bytes: u64,
    /// Packets to clients.
    pub out_packets: u64,
    /// IP bytes to clients.
    pub out_bytes: u64,
}

impl Stats {
    /// Every counter of `self` and `other` added, wrapping.
    pub fn plus(self, other: Self) -> Self {
        self.each(other, u64::wrapping_add)
    }

    /// Every counter of `other` taken from that of `self`, wrapping.
    pub fn minus(self, other: Self) -> Self {
        self.each(other, u64::wrapping_sub)
    }

    fn each(self, other: Self, f: fn(u64, u64) -> u64) -> Self {
        Self {
            conns: f(self.conns, other.conns),
            in_packets: f(self.in_packets, other.in_packets),
            in_bytes: f(self.in_bytes, other.in_bytes),
            out_packets: f(self.out_packets, other.out_packets),
            out_bytes: f(self.out_bytes, other.out_bytes),
        }
    }
}

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
const _: () = assert!(size_of::<FlowKey>() == 40);
const _: () = assert!(size_of::<ServiceKey>() == 24);
// Rows of a memory-mapped array must not straddle its 8-byte elements.
const _: () =
    assert!(size_of::<ServiceRow>() % 8 == 0 && size_of::<DestRow>() % 8 == 0 && size_of::<ConfigRow>() % 8 == 0);

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
