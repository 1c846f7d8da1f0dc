//! The NAT lab: a client, a director, two real servers; the course's commands; requests; who answered.

use std::{
    net::SocketAddr,
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

use super::{
    Claim, HttpServer, Network, Offloads, Programs, Result, Stop, Topology, client,
    daemon::{Daemon, DaemonOptions, Hook},
    process::command_line,
    progress::Progress,
    report::{RealServer, Report, Rest, Tables, Timings},
};
use crate::talk::{say, warn};

/// What the client talks to.
pub const VIRTUAL_SERVER: &str = "172.16.0.1:80";
/// Who answers behind it, in the order in which they are added.
pub const REAL_SERVERS: [RealServer; 2] = [
    RealServer { name: "real1", address: "192.168.1.2:80", weight: 2 },
    RealServer { name: "real2", address: "192.168.1.3:80", weight: 3 },
];

/// Time for a SYN to be lost once, and to spare.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(3);
const COMMAND_TIME_MAX: Duration = Duration::from_secs(5);
/// How many lines of the daemon's log are shown when requests fail.
const LOG_TAIL: usize = 10;

/// What is up of a NAT lab. Dropped, it takes everything down, in this order of its fields.
#[derive(Debug)]
pub struct NatLab {
    daemon: Daemon,
    _servers: Vec<HttpServer>,
    network: Network,
    programs: Programs,
    hook: Hook,
    timings: Timings,
}

impl NatLab {
    /// Brings it up: hosts, web servers, daemon, configuration. What was done is undone if a step fails.
    pub fn up(claim: Claim, programs: Programs, hook: Hook, stop: &Stop) -> Result<Self> {
        let mut timings = Timings::default();
        let offloads = if hook == Hook::Xdp { Offloads::ForXdp } else { Offloads::Default };
        let start = Instant::now();
        let network = Topology::nat().offloads(offloads).build(claim)?;
        let servers = REAL_SERVERS
            .iter()
            .map(|server| HttpServer::start(network.host(server.name)?, socket_address(server.address)?, server.name))
            .collect::<Result<_>>()?;
        timings.hosts = millis(start);
        let names: Vec<_> = network.hosts().map(|(_, netns)| netns.name()).collect();
        say(format_args!("hosts: {}", names.join(" ")));
        stop.check()?;

        let start = Instant::now();
        let options =
            DaemonOptions { hook, ..DaemonOptions::new(&programs.rlvsd, network.claim().dir().join("rlvsd.log")) };
        let daemon = Daemon::start(network.host("director")?, &options, stop)?;
        timings.daemon = millis(start);
        say(format_args!("director: rlvsd --hook {hook} is up, process {}", daemon.pid()));

        let mut lab = Self { daemon, _servers: servers, network, programs, hook, timings };
        let start = Instant::now();
        lab.configure(stop)?;
        lab.timings.configure = millis(start);
        Ok(lab)
    }

    /// The hosts.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Makes requests to the virtual server from the client, one after the other, and reports who answered.
    pub fn request(&mut self, count: usize, stop: &Stop) -> Result<Report> {
        say(format_args!("client: {count} requests to http://{VIRTUAL_SERVER}/"));
        let start = Instant::now();
        let mut progress = Progress::new(count);
        let exchanges = client::requests(
            self.network.host("client")?,
            socket_address(VIRTUAL_SERVER)?,
            count,
            REQUEST_TIME_MAX,
            stop,
            |exchange| progress.step(exchange.as_ref().ok().map(|answer| answer.server.as_str())),
        )?;
        drop(progress);
        self.timings.requests = millis(start);
        let rest = Rest { hook: self.hook, timings: self.timings, tables: self.tables()? };
        let report = Report::wrr(&REAL_SERVERS, count, &exchanges, rest);
        if !report.failures.is_empty() {
            say(format_args!("the end of rlvsd's log:\n{}", self.daemon.log_tail(LOG_TAIL)));
        }
        Ok(report)
    }

    /// Runs `ipvsadm` in the director.
    pub fn ipvsadm(&self, args: &[&str]) -> Result<Output> {
        let mut command = Command::new(&self.programs.ipvsadm);
        self.network.host("director")?.check_output(command.args(args), COMMAND_TIME_MAX)
    }

    /// Says how to use it and leaves it up until `stop` is raised.
    pub fn keep(&mut self, stop: &Stop) -> Result<()> {
        say("\nthe lab stays up until Ctrl-C; enter its hosts from another terminal:");
        let director = self.network.host("director")?.name();
        let client = self.network.host("client")?.name();
        say(format_args!("  ip netns exec {client} curl http://172.16.0.1/"));
        say(format_args!("  ip netns exec {director} {} -L -n", self.programs.ipvsadm.display()));
        for (_, netns) in self.network.hosts() {
            say(format_args!("  ip netns exec {} bash", netns.name()));
        }
        say(format_args!("rlvsd is process {}, its log {}", self.daemon.pid(), self.daemon.log().display()));
        let mut told = false;
        while stop.signal().is_none() {
            if let Some(status) = self.daemon.ended().filter(|_| !told) {
                warn(format_args!("rlvsd has ended ({status}); what it loaded goes on forwarding"));
                told = true;
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// The course's commands.
    fn configure(&self, stop: &Stop) -> Result<()> {
        self.told(&["-C"])?;
        self.told(&["-A", "-t", VIRTUAL_SERVER, "-s", "wrr"])?;
        for RealServer { address, weight, .. } in REAL_SERVERS {
            stop.check()?;
            self.told(&["-a", "-t", VIRTUAL_SERVER, "-r", address, "-m", "-w", &weight.to_string()])?;
        }
        Ok(())
    }

    /// Echoes the command as it would be typed, then runs it.
    fn told(&self, args: &[&str]) -> Result<Output> {
        say(format_args!("director# {}", command_line(Command::new("ipvsadm").args(args))));
        self.ipvsadm(args)
    }

    fn tables(&self) -> Result<Tables> {
        let printed = |args: &[&str]| Ok(String::from_utf8_lossy(&self.ipvsadm(args)?.stdout).into_owned());
        Ok(Tables { services: printed(&["-L", "-n"])?, connections: printed(&["-L", "-n", "-c"])? })
    }
}

fn socket_address(text: &str) -> Result<SocketAddr> {
    text.parse().map_err(|_| super::Error::BadName(text.into()))
}

fn millis(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}
