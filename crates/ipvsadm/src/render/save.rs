//! The table as command lines (ipvsadm.md §7.1).

use std::io::{self, Write};

use rlvs_ipvs::model::{
    Destination, DestinationStatus, ForwardingMethod, Service, ServiceFlags, ServiceStatus, Tunnel, TunnelKind,
};

use super::label::Labels;
use super::table::coarse_mask;
use crate::scheduler_flags;

/// Prints a service and its servers as the lines that make them.
///
/// # Errors
/// Those of the writer.
pub fn save(
    out: &mut dyn Write,
    labels: Labels<'_>,
    status: &ServiceStatus,
    servers: &[DestinationStatus],
) -> io::Result<()> {
    let service = &status.service;
    let option = labels.service_option(service.key());
    writeln!(out, "-A {option}{}", service_options(service))?;
    for server in servers {
        let key = server.destination.key();
        let name = labels.server(service.key(), key.address, key.port);
        writeln!(out, "-a {option} -r {name}{}", server_options(&server.destination))?;
    }
    Ok(())
}

fn service_options(service: &Service) -> String {
    let scheduler = service.scheduler_text();
    let mut text = format!(" -s {scheduler}");
    if service.is_persistent() {
        text.push_str(&format!(" -p {}", service.timeout_s()));
        if let Some(mask) = coarse_mask(service) {
            text.push_str(&format!(" -M {mask}"));
        }
    }
    if let Some(engine) = service.engine() {
        text.push_str(&format!(" --pe {engine}"));
    }
    if service.flags().contains(ServiceFlags::ONE_PACKET) {
        text.push_str(" -o");
    }
    if let Some(flags) = scheduler_flags::text(service.flags(), scheduler) {
        text.push_str(&format!(" -b {flags}"));
    }
    text
}

fn server_options(destination: &Destination) -> String {
    let weight = destination.weight().get();
    match destination.method() {
        ForwardingMethod::MASQUERADE => format!(" -m -w {weight}"),
        ForwardingMethod::TUNNEL => format!(" -i -w {weight}{}", tunnel_options(destination.tunnel())),
        // Local delivery has no option of its own.
        _ => format!(" -g -w {weight}"),
    }
}

fn tunnel_options(tunnel: Tunnel) -> String {
    let checksum = match tunnel.flags {
        Tunnel::CSUM => "--tun-csum",
        Tunnel::REMCSUM => "--tun-remcsum",
        _ => "--tun-nocsum",
    };
    match tunnel.kind {
        TunnelKind::GUE => format!(" --tun-type gue --tun-port {} {checksum}", tunnel.port),
        TunnelKind::GRE => format!(" --tun-type gre {checksum}"),
        _ => " --tun-type ipip".to_owned(),
    }
}
