//! How a packet leaves, and under which name that is counted.
//!
//! A verdict is one number: what else there is to say (the way out, the error to send) stands in the packet's
//! [`Scratch`](crate::scratch::Scratch). The kernel's verifier refuses programs that carry a value along which one branch did not
//! set, and compilers make such values of enums whose variants differ in size (docs/decisions/0011).

/// Declares verdicts with the names under which they are counted and their meanings.
macro_rules! verdicts {
    ($($verdict:ident = $number:literal, $name:literal, $meaning:literal;)*) => {
        /// Every packet leaves through one of these; the number is that of its counter.
        #[must_use]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Verdict {
            $(#[doc = $meaning] $verdict = $number,)*
        }

        /// Number, name and meaning of each verdict. Names are an interface: they appear in `rlvs status` and `rlvs drops`.
        pub const NAMES: &[(u32, &str, &str)] = &[$(($number, $name, $meaning),)*];
    };
}

verdicts! {
    PassNotIp = 0, "pass_not_ip", "neither IPv4 nor IPv6";
    PassMalformed = 1, "pass_malformed", "headers that do not fit the frame";
    PassFragment = 2, "pass_fragment", "a fragment that is none of ours";
    PassOtherProtocol = 3, "pass_other_protocol", "a protocol that is not balanced";
    PassNotForThisHost = 4, "pass_not_for_this_host", "link-layer address of another host or a group";
    PassNoService = 5, "pass_no_service", "no connection and no virtual service";
    PassNotScheduled = 6, "pass_not_scheduled", "for a virtual service, but may not open a connection";
    PassNotReady = 7, "pass_not_ready", "tables not set up";
    PassFtpData = 8, "pass_ftp_data", "an FTP service has no connection for it";
    PassReplyToStack = 9, "pass_reply_to_stack", "a reply with no way, too large or too old: the host's stack says so";
    PassNoConnection = 10, "pass_no_connection", "an ICMP error about a packet of no connection";
    PassBackupOnly = 11, "pass_backup_only", "a backup balances nothing";
    PassReply = 12, "pass_reply", "a reply that is not masqueraded";
    DropNoDestination = 16, "drop_no_destination", "the service has no destination to offer";
    DropDestinationRemoved = 17, "drop_destination_removed", "the connection's destination was removed";
    DropTtlExpired = 18, "drop_ttl_expired", "time to live used up";
    DropTableFull = 19, "drop_table_full", "connection table full";
    DropRaced = 20, "drop_raced", "another CPU changed the connection in the same moment";
    DropNoRoute = 21, "drop_no_route", "no route";
    DropForwardingDisabled = 22, "drop_forwarding_disabled", "forwarding is off where it came in";
    DropUnwritable = 23, "drop_unwritable", "frame not writable";
    DropTooBig = 24, "drop_too_big", "larger than the way out takes, and must not be fragmented";
    DropMtuTooSmall = 25, "drop_mtu_too_small", "the way out takes less than IP asks for";
    DropDefenceRate = 26, "drop_defence_rate", "drop_packet thins out new connections";
    DropBadChecksum = 27, "drop_bad_checksum", "an ICMP error with a wrong checksum";
    DropNotAnswered = 28, "drop_not_answered", "from a real server, to no connection (nat_icmp_send)";
    DropStageMissing = 29, "drop_stage_missing", "a stage of the program is not loaded";
    DropNoTunnelSource = 30, "drop_no_tunnel_source", "the director has no address on the way to the tunnel's end";
    DropLoopback = 31, "drop_loopback", "a loopback address as real server, for a packet from outside";
    Forward = 32, "forwarded", "rewritten and sent";
    Resolve = 33, "unresolved", "sent or held while the neighbour's address was asked for";
    Deliver = 34, "delivered", "to a real server that is the director itself";
    Fragment = 35, "fragmented", "rewritten and sent in fragments";
    Hold = 36, "held", "a fragment that came before the first of its datagram";
}

/// Number of counters: more than there are verdicts.
pub const COUNTERS: u32 = 64;
/// The first verdict that drops.
const DROPS: u32 = Verdict::DropNoDestination as u32;
/// The first verdict after those that drop.
const OTHERS: u32 = Verdict::Forward as u32;

impl Verdict {
    /// Index of this verdict's counter, below [`COUNTERS`].
    pub fn counter(self) -> u32 {
        self as u32
    }

    /// Whether the packet is left to the host's own network stack, untouched.
    pub fn is_pass(self) -> bool {
        (self as u32) < DROPS
    }

    /// Whether the packet is thrown away.
    pub fn is_drop(self) -> bool {
        (DROPS..OTHERS).contains(&(self as u32))
    }
}

/// An ICMP or ICMPv6 error that answers a dropped packet; the daemon sends it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Refusal {
    /// ICMP type; 0 for no error.
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
    /// How many hops the quoted packet has less to live than the one that came: IPVS sees that a packet is too big after it
    /// has counted the hop (forwarding.md section 3).
    pub hops: u8,
    /// Always 0.
    pub reserved: u8,
    /// What follows the checksum, host byte order: 0 or an MTU.
    pub info: u32,
}
