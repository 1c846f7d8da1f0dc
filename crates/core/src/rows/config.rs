//! The configuration: one row that every packet reads and the daemon alone writes.

use crate::cell::{Cell32, Cell64};

/// Number of timeouts in [`ConfigRow::timeouts`]; indexed by [`crate::conn::timeout`].
pub const TIMEOUTS: usize = 64;
/// Number of settings in [`ConfigRow::settings`]; indexed by [`Setting`].
pub const SETTINGS: usize = 32;

/// The settings that IPVS has as files in /proc/sys/net/ipv4/vs (connections.md section 13), as far as they are one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum Setting {
    /// Below this many free pages memory counts as low.
    Amemthresh = 0,
    /// One of how many packets drop_packet drops when it is always on.
    AmDroprate = 1,
    /// A backup balances nothing.
    BackupOnly = 2,
    /// A firewall-mark service without a destination lets packets go where they wanted.
    CacheBypass = 3,
    /// Which connections make way for a client that begins anew (a bitmap).
    ConnReuseMode = 4,
    /// Netfilter's connection tracking sees balanced packets.
    Conntrack = 5,
    /// Thins out the connection table when memory is low.
    DropEntry = 6,
    /// Drops some of the packets that would open a connection when memory is low.
    DropPacket = 7,
    /// A connection whose destination is gone ends at its next packet.
    ExpireNodestConn = 8,
    /// A template whose destination has weight 0 is not used.
    ExpireQuiescentTemplate = 9,
    /// Packets that leave a tunnel here are not balanced again.
    IgnoreTunneled = 10,
    /// Seconds after which an unused entry of lblc goes.
    LblcExpiration = 11,
    /// Seconds after which an unused entry of lblcr goes, and its set shrinks.
    LblcrExpiration = 12,
    /// Packets from a real server that belong to no connection are refused.
    NatIcmpSend = 13,
    /// "Don't fragment" counts for what goes through a tunnel.
    PmtuDisc = 14,
    /// Rates are worked out.
    RunEstimation = 15,
    /// ICMP errors may open a connection.
    ScheduleIcmp = 16,
    /// TCP's states under attack (0 to 3).
    SecureTcp = 17,
    /// Any SCTP chunk opens a connection.
    SloppySctp = 18,
    /// Any TCP packet opens a connection.
    SloppyTcp = 19,
    /// Replies are routed by their new source.
    SnatReroute = 20,
    /// How much the kernel writes to its log.
    DebugLevel = 21,
    /// Templates alone are synchronised.
    SyncPersistMode = 22,
    /// How many UDP ports synchronisation uses.
    SyncPorts = 23,
    /// How many messages of synchronisation may wait.
    SyncQlenMax = 24,
    /// Seconds after which an unchanged connection is sent again.
    SyncRefreshPeriod = 25,
    /// How often it is sent again.
    SyncRetries = 26,
    /// Bytes of the buffers of synchronisation's sockets.
    SyncSockSize = 27,
    /// Packets after which a connection is sent for the first time.
    SyncThreshold = 28,
    /// Packets after which it is sent again.
    SyncPeriod = 29,
    /// Version of the messages of synchronisation.
    SyncVersion = 30,
}

/// The only row of the configuration map.
#[cfg_attr(not(target_arch = "bpf"), derive(zerocopy::FromZeros))]
#[repr(C)]
pub struct ConfigRow {
    /// [`super::ABI`].
    pub abi: Cell32,
    /// Jiffies per second of the running kernel.
    pub hz: Cell32,
    /// Bumped when a route or neighbour changes: next hops cached under another epoch are looked up again. Never 0.
    pub epoch: Cell32,
    /// Always 0, which the verifier cannot know.
    pub reserved: Cell32,
    /// [`super::Span`] of the rules that mark packets, in the order in which they are tried.
    pub marks: Cell64,
    /// How many services are for FTP (TCP, port 21): without one nobody looks for it.
    pub ftp_services: Cell32,
    /// How many services are for every port (port 0).
    pub all_ports_services: Cell32,
    /// How many services go by a firewall mark.
    pub mark_services: Cell32,
    /// Lowest port that a user may take (net.ipv4.ip_unprivileged_port_start): FTP's data connections begin there.
    pub unprivileged_port: Cell32,
    /// The table of TCP states in force: 1 for that of secure_tcp, which the daemon turns on and off.
    pub tcp_table: Cell32,
    /// drop_packet in force: one of so many packets that would open a connection is dropped; 0 for none.
    pub drop_rate: Cell32,
    /// First and last port (host byte order, high and low half) for the outer source port of GUE
    /// (net.ipv4.ip_local_port_range).
    pub local_ports: Cell32,
    /// Seed of hashes that nobody outside may foresee.
    pub seed: Cell32,
    /// How many services there are for IPv4 and for IPv6: without one of a family nothing of that family is balanced, known
    /// connections included (connections.md section 10).
    pub services: [Cell32; 2],
    /// [`Setting`]s by number, as the operator set them (two's complement).
    pub settings: [Cell32; SETTINGS],
    /// Timeouts in jiffies.
    pub timeouts: [Cell32; TIMEOUTS],
}

impl ConfigRow {
    /// What the operator set.
    pub fn setting(&self, setting: Setting) -> u32 {
        self.settings[crate::bounded::index::<SETTINGS>(setting as usize)].load()
    }

    /// How many services there are for a [`super::family`].
    pub fn services_of(&self, family: u8) -> &Cell32 {
        let [v4, v6] = &self.services;
        if family == super::family::V6 { v6 } else { v4 }
    }

    /// Whether a switch is on.
    pub fn is_on(&self, setting: Setting) -> bool {
        self.setting(setting) != 0
    }
}

/// The only row of the cursor map: written by the data plane, apart from [`ConfigRow`] so as not to share its cache lines.
#[cfg_attr(not(target_arch = "bpf"), derive(zerocopy::FromZeros))]
#[repr(C)]
pub struct CursorRow {
    /// Connection rows below this number have been in use; those from here on never were.
    pub conns_used: Cell64,
    /// Packets that would have opened a connection while [`ConfigRow::drop_rate`] was not 0.
    pub drop_turn: Cell64,
}

// Rows of a memory-mapped array must not straddle its 8-byte elements.
const _: () = assert!(size_of::<ConfigRow>().is_multiple_of(8));
