//! What was typed so far, option by option.

use std::collections::BTreeSet;
use std::net::IpAddr;

use rlvs_ipvs::model::{DaemonRole, Family, ForwardingMethod, Netmask, Protocol, ServiceKey, Tunnel};

use crate::flags::OptionName;

/// The values of the options read so far, with the defaults of those that were not (ipvsadm.md §5).
#[derive(Clone, Debug)]
pub struct Draft {
    /// Names of the options given.
    pub given: BTreeSet<OptionName>,
    /// The service of `-t`, `-u`, `--sctp-service` or `-f`.
    pub service: Option<ServiceKey>,
    /// Protocol of the service, by which port names are looked up; a mark counts as TCP.
    pub protocol: Option<Protocol>,
    /// Scheduler; `None` if none or an empty one was given.
    pub scheduler: Option<String>,
    /// Persistence engine, likewise.
    pub engine: Option<String>,
    /// Seconds of persistence, if `-p` was given.
    pub persistence_s: Option<u32>,
    /// Netmask as its attribute carries it.
    pub netmask: [u8; 4],
    /// Whether `-o` was given.
    pub one_packet: bool,
    /// Scheduler flags as typed.
    pub scheduler_flags: String,
    /// The real server: address and port.
    pub server: Option<(IpAddr, u16)>,
    /// Forwarding method.
    pub method: ForwardingMethod,
    /// Weight, not negative.
    pub weight: i32,
    /// Upper threshold.
    pub upper_threshold: u32,
    /// Lower threshold.
    pub lower_threshold: u32,
    /// Tunnel parameters.
    pub tunnel: Tunnel,
    /// Role of a daemon to start or stop.
    pub role: Option<DaemonRole>,
    /// Interface of a daemon.
    pub interface: Option<String>,
    /// Sync id, 0..=255.
    pub sync_id: u32,
    /// Largest sync message; 0 = left to the kernel.
    pub max_length: u16,
    /// Multicast group.
    pub group: Option<IpAddr>,
    /// UDP port of synchronisation; 0 = left to the kernel.
    pub port: u16,
    /// Time to live of sync messages; 0 = left to the kernel.
    pub ttl: u8,
}

impl Default for Draft {
    fn default() -> Draft {
        Draft {
            given: BTreeSet::new(),
            service: None,
            protocol: None,
            scheduler: None,
            engine: None,
            persistence_s: None,
            netmask: Netmask::host(Family::V4).to_wire(),
            one_packet: false,
            scheduler_flags: String::new(),
            server: None,
            method: ForwardingMethod::DIRECT,
            weight: 1,
            upper_threshold: 0,
            lower_threshold: 0,
            tunnel: Tunnel::default(),
            role: None,
            interface: None,
            sync_id: 0,
            max_length: 0,
            group: None,
            port: 0,
            ttl: 0,
        }
    }
}

impl Draft {
    /// Whether an option of this name was given.
    pub fn has(&self, name: OptionName) -> bool {
        self.given.contains(&name)
    }
}
