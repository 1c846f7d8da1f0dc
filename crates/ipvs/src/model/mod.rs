//! The virtual-server table and everything in it.
//!
//! Two kinds of types stand here. A *spec* is what a client asks for: complete, but not yet checked. The
//! other types are what a table holds, and can only be valid: [`Table`] makes them from specs, in the
//! kernel's order of checks, and answers with the kernel's error numbers (netlink.md §4).

mod daemon;
mod destination;
mod host;
mod name;
mod newest_first;
mod service;
mod stats;
mod table;
mod timeouts;

pub use daemon::{Daemon, DaemonRole, DaemonSpec};
pub use destination::{
    Destination, DestinationKey, DestinationSpec, DestinationStatus, ForwardingMethod, Tunnel, TunnelKind, Weight,
};
pub use host::{Host, Interface, Support};
pub use name::{EngineName, InterfaceName, Name, SchedulerName};
pub use newest_first::NewestFirst;
pub use service::{
    Family, FlagsChange, Netmask, Protocol, Service, ServiceFlags, ServiceKey, ServiceSpec, ServiceStatus,
};
pub use stats::{Info, Rates, Stats, Totals, Version};
pub use table::{ServiceEntry, Table};
pub use timeouts::{Timeouts, TimeoutsChange};
