//! The table: its title, services, servers (ipvsadm.md §8.1..§8.3).

use std::io::{self, Write};

use rlvs_ipvs::model::{
    DestinationStatus, Family, ForwardingMethod, Info, Netmask, Service, ServiceFlags, ServiceStatus, Stats, Tunnel,
    TunnelKind,
};

use super::label::Labels;
use super::number::{column, plain_column};
use crate::command::Columns;
use crate::scheduler_flags;

/// Width of a service's name before numbers.
const SERVICE_WIDTH: usize = 33;
/// Width of a server's name.
const SERVER_WIDTH: usize = 28;

/// How to print a table.
#[derive(Clone, Copy)]
pub struct Table<'a> {
    /// How to show addresses.
    pub labels: Labels<'a>,
    /// Which columns.
    pub columns: Columns,
    /// Numbers in full.
    pub exact: bool,
}

/// The servers of a service.
pub type Servers = Vec<DestinationStatus>;

/// Prints the version and size of the control interface.
///
/// # Errors
/// Those of the writer.
pub fn version(out: &mut dyn Write, info: &Info) -> io::Result<()> {
    writeln!(out, "IP Virtual Server version {} (size={})", info.version, info.connection_table_size)
}

/// Prints the title of the columns.
///
/// # Errors
/// Those of the writer.
pub fn title(out: &mut dyn Write, columns: Columns) -> io::Result<()> {
    const NAME: &str = "Prot LocalAddress:Port";
    const SERVER: &str = "  -> RemoteAddress:Port";
    let numbers = |titles: [&str; 5]| titles.map(|title| format!(" {title:>8}")).concat();
    let (first, second) = match columns {
        Columns::Default => {
            (format!("{NAME} Scheduler Flags"), format!("{SERVER}           Forward Weight ActiveConn InActConn"))
        }
        Columns::TunInfo => (
            format!("{NAME} Scheduler Flags"),
            format!("{SERVER}           Forward TunnelInfo    Weight ActiveConn InActConn"),
        ),
        Columns::Stats => {
            let titles = numbers(["Conns", "InPkts", "OutPkts", "InBytes", "OutBytes"]);
            (format!("{NAME:<SERVICE_WIDTH$}{titles}"), SERVER.to_owned())
        }
        Columns::Rate => {
            let titles = numbers(["CPS", "InPPS", "OutPPS", "InBPS", "OutBPS"]);
            (format!("{NAME:<SERVICE_WIDTH$}{titles}"), SERVER.to_owned())
        }
        Columns::Thresholds => (
            format!(
                "{NAME:<SERVICE_WIDTH$} {:<10} {:<10} {:<10} {:<10}",
                "Uthreshold", "Lthreshold", "ActiveConn", "InActConn"
            ),
            SERVER.to_owned(),
        ),
        Columns::PersistentConn => (
            format!(
                "{NAME:<SERVICE_WIDTH$} {:<9} {:<11} {:<10} {:<10}",
                "Weight", "PersistConn", "ActiveConn", "InActConn"
            ),
            SERVER.to_owned(),
        ),
    };
    writeln!(out, "{first}\n{second}")
}

/// Prints the line of a service.
///
/// # Errors
/// Those of the writer.
pub fn service(out: &mut dyn Write, table: &Table<'_>, status: &ServiceStatus) -> io::Result<()> {
    let service = &status.service;
    let name = table.labels.service(service.key());
    let name = match table.columns {
        Columns::Stats | Columns::Rate => fitted(&name, SERVICE_WIDTH, service.key().family()),
        _ => name,
    };
    write!(out, "{name}")?;
    match table.columns {
        Columns::Stats => write!(out, "{}", totals(&status.stats, table.exact))?,
        Columns::Rate => {
            let rates = status.stats.numbers().into_iter().skip(5);
            write!(out, "{}", rates.map(|rate| column(rate, table.exact)).collect::<String>())?;
        }
        _ => write!(out, "{}", settings(service))?,
    }
    writeln!(out)
}

/// Prints the line of a server.
///
/// # Errors
/// Those of the writer.
pub fn server(
    out: &mut dyn Write,
    table: &Table<'_>,
    service: &ServiceStatus,
    status: &DestinationStatus,
) -> io::Result<()> {
    let destination = &status.destination;
    let key = destination.key();
    let name = table.labels.server(service.service.key(), key.address, key.port);
    write!(out, "  -> {}", fitted(&name, SERVER_WIDTH, key.family()))?;
    let weight = destination.weight().get();
    let (active, inactive) = (status.active_connections, status.inactive_connections);
    let method = method_name(destination.method());
    match table.columns {
        Columns::Default => writeln!(out, " {method:<7} {weight:<6} {active:<10} {inactive:<10}"),
        Columns::TunInfo => {
            let tunnel = tunnel_info(destination.method(), destination.tunnel());
            writeln!(out, " {method:<7} {tunnel:<13} {weight:<6} {active:<10} {inactive:<10}")
        }
        Columns::Thresholds => {
            let (upper, lower) = (destination.upper_threshold(), destination.lower_threshold());
            writeln!(out, " {upper:<10} {lower:<10} {active:<10} {inactive:<10}")
        }
        Columns::PersistentConn => {
            let persistent = status.persistent_connections;
            writeln!(out, " {weight:<9} {persistent:<11} {active:<10} {inactive:<10}")
        }
        Columns::Stats => writeln!(out, "{}", totals(&narrowed(&status.stats), table.exact)),
        Columns::Rate => writeln!(out, "{}", server_rates(&narrowed(&status.stats), table.exact)),
    }
}

/// Padded to a width, and cut to it for IPv4. IPv6 names are never cut.
fn fitted(name: &str, width: usize, family: Family) -> String {
    match family {
        Family::V4 => format!("{name:<width$.width$}"),
        Family::V6 => format!("{name:<width$}"),
    }
}

/// A server's statistics as the original reads them: all but the totals of bytes modulo 2^32.
fn narrowed(stats: &Stats) -> Stats {
    let mut numbers = stats.numbers();
    for (index, number) in numbers.iter_mut().enumerate() {
        let is_byte_total = index == 3 || index == 4;
        if !is_byte_total {
            *number = u64::from(*number as u32);
        }
    }
    Stats::from_numbers(numbers)
}

fn totals(stats: &Stats, exact: bool) -> String {
    stats.numbers().into_iter().take(5).map(|total| column(total, exact)).collect()
}

/// Rates of a server: the first three in full, unlike those of a service.
fn server_rates(stats: &Stats, exact: bool) -> String {
    let rates = stats.numbers().into_iter().skip(5).enumerate();
    rates.map(|(index, rate)| if index < 3 { plain_column(rate) } else { column(rate, exact) }).collect()
}

/// ` SCHED`, then what else is set.
fn settings(service: &Service) -> String {
    let scheduler = service.scheduler_text();
    let mut text = format!(" {scheduler}");
    if let Some(flags) = scheduler_flags::text(service.flags(), scheduler) {
        text.push_str(&format!(" ({flags})"));
    }
    if service.is_persistent() {
        text.push_str(&format!(" persistent {}", service.timeout_s()));
        if let Some(mask) = coarse_mask(service) {
            text.push_str(&format!(" mask {mask}"));
        }
        if let Some(engine) = service.engine() {
            text.push_str(&format!(" pe {engine}"));
        }
    }
    if service.flags().contains(ServiceFlags::ONE_PACKET) {
        text.push_str(" ops");
    }
    text
}

/// The netmask of a service, if it is not that of a single address.
pub(super) fn coarse_mask(service: &Service) -> Option<String> {
    let mask = service.netmask();
    let text = match mask {
        Netmask::V4(mask) => mask.to_string(),
        Netmask::V6(length) => length.to_string(),
    };
    (mask != Netmask::host(service.key().family())).then_some(text)
}

fn method_name(method: ForwardingMethod) -> &'static str {
    match method {
        ForwardingMethod::LOCAL => "Local",
        ForwardingMethod::TUNNEL => "Tunnel",
        ForwardingMethod::DIRECT => "Route",
        _ => "Masq",
    }
}

fn tunnel_info(method: ForwardingMethod, tunnel: Tunnel) -> String {
    if method != ForwardingMethod::TUNNEL {
        return "n/a".to_owned();
    }
    let checksum = match tunnel.flags {
        Tunnel::CSUM => "+c",
        Tunnel::REMCSUM => "r+c",
        _ => "-c",
    };
    match tunnel.kind {
        TunnelKind::GUE => format!("gue:{}:{checksum}", tunnel.port),
        TunnelKind::GRE => format!("gre:{checksum}"),
        _ => "ipip".to_owned(),
    }
}
