//! Text of the files IPVS has under `/proc/net` (stats.md §4, netlink.md §8).

use std::fmt::Write;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::model::{
    DestinationStatus, ForwardingMethod, Info, Netmask, Protocol, Service, ServiceFlags, ServiceKey, ServiceStatus,
    Stats, Totals,
};

/// First line of `ip_vs_conn`, without newline.
pub const CONN_HEADER: &str = "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData";

/// First line of `ip_vs_conn_sync`, without newline.
pub const CONN_SYNC_HEADER: &str = "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Origin Expires";

/// One connection as `ip_vs_conn` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnEntry<'a> {
    /// IP protocol number; 0 for templates of services by firewall mark.
    pub protocol: u8,
    /// Client.
    pub client: SocketAddr,
    /// Virtual service; of the client's family.
    pub service: SocketAddr,
    /// Destination, in its own family.
    pub destination: SocketAddr,
    /// Name of the state, such as `ESTABLISHED`.
    pub state: &'a str,
    /// Seconds left, truncated.
    pub expires_s: u32,
    /// Name and data of the persistence engine.
    pub engine: Option<(&'a str, &'a str)>,
}

/// A line of `ip_vs_conn`, without newline.
pub fn conn_line(entry: &ConnEntry<'_>) -> String {
    let mut line = format!("{} {:>7}", conn_ends(entry), entry.expires_s);
    if let Some((name, data)) = entry.engine {
        line.extend([" ", name, " ", data]);
    }
    line
}

/// What both files say of a connection first: protocol, ends, state.
fn conn_ends(entry: &ConnEntry<'_>) -> String {
    format!(
        "{:<3} {} {:04X} {} {:04X} {} {:04X} {:<11}",
        protocol_name(entry.protocol),
        hex_address(entry.client.ip()),
        entry.client.port(),
        hex_address(entry.service.ip()),
        entry.service.port(),
        hex_address(entry.destination.ip()),
        entry.destination.port(),
        entry.state,
    )
}

/// The text of `ip_vs_conn_sync`; every connection began here.
pub fn conn_sync_text<'a>(entries: impl IntoIterator<Item = ConnEntry<'a>>) -> String {
    let mut text = format!("{CONN_SYNC_HEADER}\n");
    for entry in entries {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{} {:<6} {:>7}", conn_ends(&entry), "LOCAL", entry.expires_s);
    }
    text
}

/// The text of `ip_vs_conn`.
pub fn conn_text<'a>(entries: impl IntoIterator<Item = ConnEntry<'a>>) -> String {
    let mut text = format!("{CONN_HEADER}\n");
    for entry in entries {
        text.push_str(&conn_line(&entry));
        text.push('\n');
    }
    text
}

/// The text of `ip_vs`: services in the order given, each with its destinations. Persistence is shown in ticks of the
/// kernel, of which there are `hz` a second.
pub fn table_text<'a>(
    info: &Info,
    hz: u32,
    services: impl IntoIterator<Item = (&'a ServiceStatus, &'a [DestinationStatus])>,
) -> String {
    let mut text = format!(
        "IP Virtual Server version {} (size={})\n\
         Prot LocalAddress:Port Scheduler Flags\n  \
         -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n",
        info.version, info.connection_table_size
    );
    for (status, destinations) in services {
        text.push_str(&service_line(&status.service, hz));
        text.push('\n');
        for destination in destinations {
            text.push_str(&destination_line(destination));
            text.push('\n');
        }
    }
    text
}

/// The text of `ip_vs_stats`.
pub fn stats_text(stats: &Stats) -> String {
    let [conns, packets_in, packets_out, bytes_in, bytes_out, cps, pps_in, pps_out, bps_in, bps_out] = stats.numbers();
    format!(
        "   Total Incoming Outgoing         Incoming         Outgoing\n   \
            Conns  Packets  Packets            Bytes            Bytes\n\
         {conns:8X} {packets_in:8X} {packets_out:8X} {bytes_in:16X} {bytes_out:16X}\n\n \
          Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s\n\
         {cps:8X} {pps_in:8X} {pps_out:8X} {bps_in:16X} {bps_out:16X}\n"
    )
}

/// The text of `ip_vs_stats_percpu`: raw totals of each CPU, then those of all of them since they were zeroed, and rates.
pub fn stats_percpu_text(cpus: &[Totals], stats: &Stats) -> String {
    let mut text = "       Total Incoming Outgoing         Incoming         Outgoing\n\
                    CPU    Conns  Packets  Packets            Bytes            Bytes\n"
        .to_owned();
    for (cpu, totals) in cpus.iter().enumerate() {
        let Totals { connections, packets_in, packets_out, bytes_in, bytes_out } = totals;
        // Writing to a String cannot fail.
        let _ =
            writeln!(text, "{cpu:3X} {connections:8X} {packets_in:8X} {packets_out:8X} {bytes_in:16X} {bytes_out:16X}");
    }
    let [conns, packets_in, packets_out, bytes_in, bytes_out, cps, pps_in, pps_out, bps_in, bps_out] = stats.numbers();
    let _ = write!(
        text,
        "  ~ {conns:8X} {packets_in:8X} {packets_out:8X} {bytes_in:16X} {bytes_out:16X}\n\n     \
         Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s\n    \
         {cps:8X} {pps_in:8X} {pps_out:8X} {bps_in:16X} {bps_out:16X}\n"
    );
    text
}

/// The text of `ip_vs_app` where no helper is loaded.
pub const APP_TEXT: &str = "prot port    usecnt name\n";

fn protocol_name(protocol: u8) -> String {
    let name = match protocol {
        0 => "IP",
        1 => "ICMP",
        6 => "TCP",
        17 => "UDP",
        58 => "ICMPv6",
        132 => "SCTP",
        other => return format!("IP_{other}"),
    };
    name.to_owned()
}

/// Eight hex digits, or eight groups of four with colons.
fn hex_address(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => format!("{:08X}", v4.to_bits()),
        IpAddr::V6(v6) => full_groups(v6),
    }
}

fn full_groups(address: Ipv6Addr) -> String {
    address.segments().map(|group| format!("{group:04x}")).join(":")
}

fn service_line(service: &Service, hz: u32) -> String {
    let scheduler = service.scheduler_text();
    let ops = if service.flags().contains(ServiceFlags::ONE_PACKET) { "ops " } else { "" };
    let mut line = match *service.key() {
        ServiceKey::Address { protocol, address: IpAddr::V4(v4), port } => {
            format!("{}  {:08X}:{port:04X} {scheduler} {ops} ", service_protocol(protocol), v4.to_bits())
        }
        ServiceKey::Address { protocol, address: IpAddr::V6(v6), port } => {
            format!("{}  [{}]:{port:04X} {scheduler} ", service_protocol(protocol), full_groups(v6))
        }
        ServiceKey::Mark { mark, .. } => format!("FWM  {mark:08X} {scheduler} {ops}"),
    };
    // An IPv6 prefix length appears byte-swapped.
    if service.is_persistent() {
        let ticks = service.timeout_s().wrapping_mul(hz);
        let netmask = match service.netmask() {
            Netmask::V4(mask) => mask.to_bits(),
            Netmask::V6(length) => u32::from(length).swap_bytes(),
        };
        // Writing to a String cannot fail.
        let _ = write!(line, "persistent {ticks} {netmask:08X}");
    }
    line
}

fn service_protocol(protocol: Protocol) -> String {
    protocol_name(u8::try_from(protocol.0).unwrap_or(u8::MAX))
}

fn destination_line(status: &DestinationStatus) -> String {
    let destination = &status.destination;
    let key = destination.key();
    let address = match key.address {
        IpAddr::V4(v4) => format!("{:08X}:{:04X}     ", v4.to_bits(), key.port),
        IpAddr::V6(v6) => format!("[{}]:{:04X}", full_groups(v6), key.port),
    };
    let method = match destination.method() {
        ForwardingMethod::LOCAL => "Local",
        ForwardingMethod::TUNNEL => "Tunnel",
        ForwardingMethod::DIRECT => "Route",
        _ => "Masq",
    };
    let (weight, active, inactive) =
        (destination.weight().get(), status.active_connections, status.inactive_connections);
    format!("  -> {address} {method:<7} {weight:<6} {active:<10} {inactive:<10}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::director::Director;
    use crate::model::{DestinationSpec, FlagsChange, ServiceSpec, Support, Table, Tunnel};

    fn socket(text: &str) -> SocketAddr {
        text.parse().expect("a socket address")
    }

    #[test]
    fn lines_of_the_kernel() {
        let entry = ConnEntry {
            protocol: 6,
            client: socket("10.9.0.2:40000"),
            service: socket("10.0.0.1:80"),
            destination: socket("10.8.0.2:8080"),
            state: "ESTABLISHED",
            expires_s: 59,
            engine: None,
        };
        let line = "TCP 0A090002 9C40 0A000001 0050 0A080002 1F90 ESTABLISHED      59";
        assert_eq!(conn_line(&entry), line);
        let mixed = ConnEntry { destination: socket("[2001:db8:8::2]:80"), expires_s: 895, ..entry.clone() };
        let line = "TCP 0A090002 9C40 0A000001 0050 2001:0db8:0008:0000:0000:0000:0000:0002 0050 ESTABLISHED     895";
        assert_eq!(conn_line(&mixed), line);
        let sip = ConnEntry {
            protocol: 17,
            client: socket("10.9.0.2:0"),
            service: socket("10.0.0.1:5060"),
            destination: socket("10.8.0.2:5060"),
            state: "ASSURED",
            expires_s: 55,
            engine: Some(("sip", "abc123@host")),
        };
        let line = "UDP 0A090002 0000 0A000001 13C4 0A080002 13C4 ASSURED          55 sip abc123@host";
        assert_eq!(conn_line(&sip), line);
        assert_eq!(conn_text([entry]).lines().count(), 2);
    }

    /// stats.md section 4: the origin stands between state and seconds.
    #[test]
    fn connections_with_their_origin() {
        let entry = ConnEntry {
            protocol: 0,
            client: socket("10.9.0.0:0"),
            service: socket("0.0.0.7:0"),
            destination: socket("10.8.0.2:0"),
            state: "NONE",
            expires_s: 59,
            engine: None,
        };
        let text = conn_sync_text([entry]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Origin Expires");
        assert_eq!(lines[1], "IP  0A090000 0000 00000007 0000 0A080002 0000 NONE        LOCAL       59");
    }

    #[test]
    fn statistics_of_each_cpu() {
        let cpus = [Totals { connections: 10, ..Totals::default() }, Totals { bytes_out: 255, ..Totals::default() }];
        let text = stats_percpu_text(&cpus, &Stats::from_numbers([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]));
        let expected = [
            "       Total Incoming Outgoing         Incoming         Outgoing",
            "CPU    Conns  Packets  Packets            Bytes            Bytes",
            "  0        A        0        0                0                0",
            "  1        0        0        0                0               FF",
            "  ~        1        2        3                4                5",
            "",
            "     Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s",
            "           6        7        8                9                A",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn odd_protocols_have_numbers() {
        assert_eq!(protocol_name(47), "IP_47");
        assert_eq!(protocol_name(0), "IP");
    }

    #[test]
    fn the_table_as_the_kernel_prints_it() {
        let mut table = Table::new(Support::new(["rr", "sh"], []), Box::new(()));
        let service = |address: &str, protocol, port| ServiceKey::Address {
            protocol,
            address: address.parse().expect("an address"),
            port,
        };
        let v4 = service("10.0.0.1", Protocol::UDP, 53);
        let flags = FlagsChange::all(ServiceFlags::PERSISTENT | ServiceFlags::ONE_PACKET);
        let spec = ServiceSpec { flags, timeout_s: 300, ..ServiceSpec::new(v4, "rr") };
        table.add_service(&spec).expect("added");
        let destination = DestinationSpec {
            tunnel: Tunnel::default(),
            ..DestinationSpec::new("10.0.1.2".parse().expect("an address"), 53, ForwardingMethod::DIRECT)
        };
        table.add_destination(&v4, &destination).expect("added");
        table.add_service(&ServiceSpec::new(service("2001:db8::1", Protocol::TCP, 80), "sh")).expect("added");
        let services = Director::services(&table).expect("services");
        let destinations: Vec<_> = services
            .iter()
            .map(|status| Director::destinations(&table, status.service.key()).expect("destinations"))
            .collect();
        let rows = services.iter().zip(destinations.iter().map(Vec::as_slice));
        let text = table_text(&Info::default(), 100, rows);
        let expected = "IP Virtual Server version 1.2.1 (size=4096)\n\
            Prot LocalAddress:Port Scheduler Flags\n  \
            -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n\
            TCP  [2001:0db8:0000:0000:0000:0000:0000:0001]:0050 sh \n\
            UDP  0A000001:0035 rr ops  persistent 30000 FFFFFFFF\n  \
            -> 0A000102:0035      Route   1      0          0         \n";
        assert_eq!(text, expected);
    }

    #[test]
    fn statistics_are_upper_case_hex() {
        let text = stats_text(&Stats::from_numbers([10, 255, 3, 4, 5, 6, 7, 8, 9, 4096]));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "   Total Incoming Outgoing         Incoming         Outgoing");
        assert_eq!(lines[1], "   Conns  Packets  Packets            Bytes            Bytes");
        assert_eq!(lines[2], "       A       FF        3                4                5");
        assert_eq!(lines[3], "");
        assert_eq!(lines[4], " Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s");
        assert_eq!(lines[5], "       6        7        8                9             1000");
    }
}
