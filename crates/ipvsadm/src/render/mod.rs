//! Listings, printed over [`Write`] (ipvsadm.md §7.1, §8).

mod connections;
mod label;
mod number;
mod order;
mod save;
mod table;

pub use connections::{ConnectionsError, connections};
pub use label::Labels;
pub use order::{servers as order_of_servers, services as order_of_services, sort};
pub use save::save;
pub use table::{Servers, Table, server, service, title, version};

use std::io::{self, Write};

use rlvs_ipvs::model::{Daemon, DaemonRole, Timeouts};

/// Prints the timeouts.
///
/// # Errors
/// Those of the writer.
pub fn timeouts(out: &mut dyn Write, timeouts: &Timeouts) -> io::Result<()> {
    let Timeouts { tcp_s, tcp_fin_s, udp_s } = timeouts;
    writeln!(out, "Timeout (tcp tcpfin udp): {tcp_s} {tcp_fin_s} {udp_s}")
}

/// Prints a sync daemon. What it does not tell (a value of 0, from the length on) is left out.
///
/// # Errors
/// Those of the writer.
pub fn daemon(out: &mut dyn Write, daemon: &Daemon) -> io::Result<()> {
    let role = match daemon.role {
        DaemonRole::Master => "master",
        DaemonRole::Backup => "backup",
    };
    write!(out, "{role} sync daemon (mcast={}, syncid={}", daemon.interface, daemon.sync_id)?;
    if daemon.max_length != 0 {
        write!(out, ", maxlen={}", daemon.max_length)?;
    }
    if !daemon.group.is_unspecified() {
        write!(out, ", group={}", crate::address::Shown(daemon.group))?;
    }
    if daemon.port != 0 {
        write!(out, ", port={}", daemon.port)?;
    }
    if daemon.ttl != 0 {
        write!(out, ", ttl={}", daemon.ttl)?;
    }
    writeln!(out, ")")
}
