//! How a packet leaves, and under which name that is counted. One place counts: [`Verdict::counter`].

use crate::forward::next_hop::{NextHop, Unresolved};

/// Why a packet was left to the host's own network stack, untouched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Pass {
    /// Not IPv4.
    NotIp = 0,
    /// Headers that do not fit the frame or each other.
    Malformed = 1,
    /// A fragment.
    Fragment = 2,
    /// A protocol that is not balanced.
    OtherProtocol = 3,
    /// Addressed at the link layer to somebody else, or to a group.
    NotForThisHost = 4,
    /// No connection and no virtual service.
    NoService = 5,
    /// A virtual service, but no packet that may open a connection.
    NotScheduled = 6,
    /// The tables are not set up.
    NotReady = 7,
}

/// Why a packet was thrown away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Drop {
    /// The service has no destination to offer.
    NoDestination = 16,
    /// The connection's destination was removed.
    DestinationRemoved = 17,
    /// The packet may not live another hop.
    TtlExpired = 18,
    /// The connection table is full.
    TableFull = 19,
    /// Another CPU opened or ended the same connection in this moment.
    Raced = 20,
    /// No route to the destination or client.
    NoRoute = 21,
    /// The interface it came in by does not forward.
    ForwardingDisabled = 22,
    /// The frame changed under our hands: headers that were there are not any more.
    Unwritable = 23,
}

/// Every packet leaves through one of these.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// To the host's own network stack, untouched.
    Pass(Pass),
    /// Thrown away.
    Drop(Drop),
    /// Rewritten, Ethernet header included; to be sent.
    Forward(NextHop),
    /// Rewritten but for the Ethernet header: the neighbour's address is not known yet.
    Resolve(Unresolved),
}

/// Number of [`Verdict::counter`] values.
pub const COUNTERS: u32 = 64;
const FORWARDED: u32 = 32;
const UNRESOLVED: u32 = 33;

impl Verdict {
    /// Index of this verdict's counter, below [`COUNTERS`].
    pub fn counter(&self) -> u32 {
        match self {
            Self::Pass(reason) => *reason as u32,
            Self::Drop(reason) => *reason as u32,
            Self::Forward(_) => FORWARDED,
            Self::Resolve(_) => UNRESOLVED,
        }
    }
}

/// What [`Verdict::counter`] values are called: index, name, meaning. Names are an interface: they appear in `rlvs status`.
pub const NAMES: &[(u32, &str, &str)] = &[
    (Pass::NotIp as u32, "pass_not_ip", "not IPv4"),
    (Pass::Malformed as u32, "pass_malformed", "headers that do not fit the frame"),
    (Pass::Fragment as u32, "pass_fragment", "an IP fragment"),
    (Pass::OtherProtocol as u32, "pass_other_protocol", "neither TCP nor UDP"),
    (Pass::NotForThisHost as u32, "pass_not_for_this_host", "link-layer address of another host or a group"),
    (Pass::NoService as u32, "pass_no_service", "no connection and no virtual service"),
    (Pass::NotScheduled as u32, "pass_not_scheduled", "for a virtual service, but may not open a connection"),
    (Pass::NotReady as u32, "pass_not_ready", "tables not set up"),
    (Drop::NoDestination as u32, "drop_no_destination", "the service has no destination to offer"),
    (Drop::DestinationRemoved as u32, "drop_destination_removed", "the connection's destination was removed"),
    (Drop::TtlExpired as u32, "drop_ttl_expired", "time to live used up"),
    (Drop::TableFull as u32, "drop_table_full", "connection table full"),
    (Drop::Raced as u32, "drop_raced", "another CPU changed the connection in the same moment"),
    (Drop::NoRoute as u32, "drop_no_route", "no route"),
    (Drop::ForwardingDisabled as u32, "drop_forwarding_disabled", "ip_forward is 0 where it came in"),
    (Drop::Unwritable as u32, "drop_unwritable", "frame not writable"),
    (FORWARDED, "forwarded", "rewritten and sent"),
    (UNRESOLVED, "unresolved", "sent or held while the neighbour's address was asked for"),
];
