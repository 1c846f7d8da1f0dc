//! The recorded listings of tables with traffic, each run in-process against a director that shows them.
//!
//! `data/render.jsonl` was recorded from ipvsadm 1.31 talking to an endpoint that served the table in each case.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use crate::support::corpus::{Differences, cases, conclude};
use crate::support::{LoopbackHost, Machine, recorded_support};
use rlvs_ipvs::Errno;
use rlvs_ipvs::director::Director;
use rlvs_ipvs::model::{
    Daemon, DaemonRole, DaemonSpec, DestinationKey, DestinationSpec, DestinationStatus, Family, FlagsChange,
    ForwardingMethod, Info, InterfaceName, Netmask, Protocol, ServiceKey, ServiceSpec, ServiceStatus, Stats, Table,
    Timeouts, TimeoutsChange, Tunnel, TunnelKind, Version,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    id: String,
    table: Vec<CaseService>,
    ip_vs_conn: Option<String>,
    info: CaseInfo,
    timeouts: [u32; 3],
    daemons: Vec<CaseDaemon>,
    argv: Vec<String>,
    stdout: String,
    stderr: String,
    exit: i32,
}

#[derive(Deserialize)]
struct CaseInfo {
    version: String,
    conn_tab_size: u32,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct CaseService {
    addr: String,
    port: u16,
    proto: u16,
    fwmark: u32,
    af: u16,
    sched: String,
    flags: u32,
    timeout: u32,
    netmask: Option<String>,
    pe: Option<String>,
    stats: CaseStats,
    dests: Vec<CaseDestination>,
}

impl Default for CaseService {
    fn default() -> CaseService {
        CaseService {
            addr: String::new(),
            port: 0,
            proto: 6,
            fwmark: 0,
            af: 2,
            sched: "rr".to_owned(),
            flags: 0,
            timeout: 0,
            netmask: None,
            pe: None,
            stats: CaseStats::default(),
            dests: Vec::new(),
        }
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct CaseDestination {
    addr: String,
    port: u16,
    weight: i32,
    fwd: u32,
    active: u32,
    inactive: u32,
    persist: u32,
    uthresh: u32,
    lthresh: u32,
    tun_type: u8,
    tun_port: u16,
    tun_flags: u16,
    stats: CaseStats,
}

impl Default for CaseDestination {
    fn default() -> CaseDestination {
        CaseDestination {
            addr: String::new(),
            port: 0,
            weight: 1,
            fwd: 0,
            active: 0,
            inactive: 0,
            persist: 0,
            uthresh: 0,
            lthresh: 0,
            tun_type: 0,
            tun_port: 0,
            tun_flags: 0,
            stats: CaseStats::default(),
        }
    }
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct CaseStats {
    conns: u64,
    inpkts: u64,
    outpkts: u64,
    inbytes: u64,
    outbytes: u64,
    cps: u64,
    inpps: u64,
    outpps: u64,
    inbps: u64,
    outbps: u64,
}

impl CaseStats {
    fn stats(self) -> Stats {
        Stats::from_numbers([
            self.conns,
            self.inpkts,
            self.outpkts,
            self.inbytes,
            self.outbytes,
            self.cps,
            self.inpps,
            self.outpps,
            self.inbps,
            self.outbps,
        ])
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseDaemon {
    state: u32,
    mcast_ifn: String,
    syncid: u32,
    sync_maxlen: u16,
    mcast_group: String,
    mcast_port: u16,
    mcast_ttl: u8,
}

/// Shows the table of a case; refuses every change.
struct Recorded {
    table: Table,
    service_stats: HashMap<ServiceKey, Stats>,
    server_status: HashMap<(ServiceKey, DestinationKey), DestinationStatus>,
    info: Info,
    timeouts: Timeouts,
    daemons: Vec<Daemon>,
}

#[test]
fn listings_look_as_recorded() {
    let cases: Vec<Case> = cases(include_str!("../data/render.jsonl"));
    conclude("listings", cases.iter().map(|case| (case.id.as_str(), case.argv.join(" "), differences(case))));
}

fn differences(case: &Case) -> Differences {
    let mut machine = Machine::new(Recorded::new(case), case.ip_vs_conn.clone());
    let words: Vec<&str> = case.argv.iter().map(String::as_str).collect();
    let ran = machine.run(&words, "");
    let mut differences = Differences::default();
    differences.compare("stdout", &case.stdout, &ran.stdout);
    differences.compare("stderr", &case.stderr, &ran.stderr);
    differences.compare("exit", &case.exit.to_string(), &ran.exit.to_string());
    differences
}

impl Recorded {
    fn new(case: &Case) -> Recorded {
        let [tcp_s, tcp_fin_s, udp_s] = case.timeouts;
        let version: Vec<u8> = case.info.version.split('.').map(|part| part.parse().expect("a number")).collect();
        let mut recorded = Recorded {
            table: Table::new(recorded_support(), Box::new(LoopbackHost)),
            service_stats: HashMap::new(),
            server_status: HashMap::new(),
            info: Info {
                version: Version::new(version[0], version[1], version[2]),
                connection_table_size: case.info.conn_tab_size,
            },
            timeouts: Timeouts { tcp_s, tcp_fin_s, udp_s },
            daemons: case.daemons.iter().map(CaseDaemon::daemon).collect(),
        };
        // The endpoint of the recording dumped in the order of the case; the table dumps the newest first.
        for service in case.table.iter().rev() {
            recorded.add(service);
        }
        recorded
    }

    fn add(&mut self, case: &CaseService) {
        let spec = case.spec();
        let key = spec.key;
        self.table.add_service(&spec).expect("a service");
        self.service_stats.insert(key, case.stats.stats());
        for server in case.dests.iter().rev() {
            let destination = *self.table.add_destination(&key, &server.spec()).expect("a server");
            let status = DestinationStatus {
                destination,
                active_connections: server.active,
                inactive_connections: server.inactive,
                persistent_connections: server.persist,
                stats: server.stats.stats(),
            };
            self.server_status.insert((key, *destination.key()), status);
        }
    }
}

impl CaseService {
    fn spec(&self) -> ServiceSpec {
        let key = if self.fwmark != 0 {
            ServiceKey::marked(Family::from_number(self.af).expect("a family"), self.fwmark)
        } else {
            ServiceKey::Address { protocol: Protocol(self.proto), address: address(&self.addr), port: self.port }
        };
        let netmask = self.netmask.as_ref().map(|text| match key.family() {
            Family::V4 => Netmask::V4(text.parse().expect("a mask")),
            Family::V6 => Netmask::V6(text.parse().expect("a length")),
        });
        ServiceSpec {
            flags: FlagsChange::all(self.flags),
            timeout_s: self.timeout,
            engine: self.pe.as_ref().map(|name| name.as_bytes().to_vec()),
            netmask: netmask.unwrap_or(Netmask::host(key.family())).to_wire(),
            ..ServiceSpec::new(key, &self.sched)
        }
    }
}

impl CaseDestination {
    fn spec(&self) -> DestinationSpec {
        DestinationSpec {
            weight: self.weight,
            upper_threshold: self.uthresh,
            lower_threshold: self.lthresh,
            tunnel: Tunnel { kind: TunnelKind(self.tun_type), port: self.tun_port, flags: self.tun_flags },
            ..DestinationSpec::new(address(&self.addr), self.port, ForwardingMethod::from_number(self.fwd))
        }
    }
}

impl CaseDaemon {
    fn daemon(&self) -> Daemon {
        let told = !self.mcast_group.is_empty();
        Daemon {
            role: DaemonRole::from_number(self.state).expect("a role"),
            interface: InterfaceName::new(&self.mcast_ifn).expect("a name"),
            sync_id: self.syncid,
            max_length: self.sync_maxlen,
            group: if told { address(&self.mcast_group) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) },
            port: self.mcast_port,
            ttl: self.mcast_ttl,
        }
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

impl Director for Recorded {
    fn info(&self) -> Result<Info, Errno> {
        Ok(self.info)
    }

    fn services(&self) -> Result<Vec<ServiceStatus>, Errno> {
        self.table.services().map(|entry| Director::service(self, entry.service().key())).collect()
    }

    fn service(&self, key: &ServiceKey) -> Result<ServiceStatus, Errno> {
        let service = self.table.service(key)?.service().clone();
        Ok(ServiceStatus { service, stats: self.service_stats[key] })
    }

    fn destinations(&self, service: &ServiceKey) -> Result<Vec<DestinationStatus>, Errno> {
        let destinations = self.table.service(service)?.destinations();
        Ok(destinations.map(|destination| self.server_status[&(*service, *destination.key())]).collect())
    }

    fn add_service(&mut self, _: &ServiceSpec) -> Result<(), Errno> {
        Err(Errno::OPNOTSUPP)
    }

    fn set_service(&mut self, _: &ServiceSpec) -> Result<(), Errno> {
        Err(Errno::OPNOTSUPP)
    }

    fn delete_service(&mut self, _: &ServiceKey) -> Result<(), Errno> {
        Err(Errno::OPNOTSUPP)
    }

    fn add_destination(&mut self, _: &ServiceKey, _: &DestinationSpec) -> Result<(), Errno> {
        Err(Errno::OPNOTSUPP)
    }

    fn set_destination(&mut self, _: &ServiceKey, _: &DestinationSpec) -> Result<(), Errno> {
        Err(Errno::OPNOTSUPP)
    }

    fn delete_destination(&mut self, _: &ServiceKey, _: &DestinationKey) -> Result<(), Errno> {
        Err(Errno::OPNOTSUPP)
    }

    fn flush(&mut self) -> Result<(), Errno> {
        Err(Errno::OPNOTSUPP)
    }

    fn zero(&mut self, _: Option<&ServiceKey>) -> Result<(), Errno> {
        Err(Errno::OPNOTSUPP)
    }

    fn timeouts(&self) -> Result<Timeouts, Errno> {
        Ok(self.timeouts)
    }

    fn set_timeouts(&mut self, _: TimeoutsChange) -> Result<(), Errno> {
        Err(Errno::OPNOTSUPP)
    }

    fn daemons(&self) -> Result<Vec<Daemon>, Errno> {
        Ok(self.daemons.clone())
    }

    fn start_daemon(&mut self, _: &DaemonSpec) -> Result<(), Errno> {
        Err(Errno::OPNOTSUPP)
    }

    fn stop_daemon(&mut self, _: DaemonRole) -> Result<(), Errno> {
        Err(Errno::OPNOTSUPP)
    }
}
