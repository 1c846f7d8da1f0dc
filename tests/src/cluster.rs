//! The course's NAT cluster: client, director with the daemon, two real servers with their web servers.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Command, ExitStatus},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use rlvs::lab::{
    Claim, Daemon, DaemonOptions, Hook, HttpServer, Netns, Network, Offloads, Stop, Topology, client, expect,
};
use rlvs_ipvs::local::{self, Reply, Request, Status};

use crate::{
    need,
    view::{self, Connection, Server, Stats},
    wait::eventually,
};

/// The client.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 100);
/// The director's address outside, which virtual services have.
pub const VIP: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 1);
/// The director's address inside, the real servers' gateway.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);
/// The first real server.
pub const REAL1: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 2);
/// The second real server.
pub const REAL2: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 3);
/// The virtual web service.
pub const WEB: SocketAddr = SocketAddr::new(IpAddr::V4(VIP), 80);

/// The real servers' hosts, in the order in which the course adds them.
const REALS: [(&str, Ipv4Addr); 2] = [("real1", REAL1), ("real2", REAL2)];
/// Their weights in the course.
const WEIGHTS: [u32; 2] = [2, 3];
/// For a command that changes or shows something.
const COMMAND_TIME_MAX: Duration = Duration::from_secs(10);
/// For one request, a lost SYN included.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(3);
/// How much of the daemon's log a failure shows.
const LOG_TAIL: usize = 30;

/// How long a scenario waits for what should take a moment.
pub const fn patience() -> Duration {
    Duration::from_secs(5)
}

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

impl Ran {
    /// What it printed, if it succeeded.
    fn success(self, line: &str) -> String {
        assert_eq!(self.code, Some(0), "`{line}` failed; it said:\n{}{}", self.stdout, self.stderr);
        self.stdout
    }
}

/// Longer than clients wait at most for what packets counted: the daemon looks every two seconds, as IPVS does.
const STATS_LAG: Duration = Duration::from_millis(2200);

/// The cluster. Dropped, it is taken down: daemon, servers, hosts.
pub struct Cluster {
    daemon: Option<Daemon>,
    web: Vec<HttpServer>,
    network: Network,
    /// How the daemon is started.
    pub options: DaemonOptions,
}

impl Cluster {
    /// The hosts, without any server or daemon; `None`, and a line on stderr, where this machine cannot have them.
    pub fn build(hook: Hook) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if !need::lab() || !need::programs(&[("ip", "iproute2")]) {
            return None;
        }
        let programs = need::programs_under_test();
        let name = format!("t{}n{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let offloads = if hook == Hook::Xdp { Offloads::ForXdp } else { Offloads::Default };
        let claim = Claim::take(&name).expect("a lab's name");
        let network = Topology::nat().offloads(offloads).build(claim).expect("the hosts");
        let log = network.claim().dir().join("rlvsd.log");
        let options = DaemonOptions { hook, ..DaemonOptions::new(programs.rlvsd, log) };
        Some(Self { daemon: None, web: Vec::new(), network, options })
    }

    /// The hosts with web servers and the daemon, which has no service yet.
    pub fn up(hook: Hook) -> Option<Self> {
        let mut cluster = Self::build(hook)?;
        cluster.serve_web();
        cluster.start();
        Some(cluster)
    }

    /// All of it, balancing web requests as in the course.
    pub fn balancing(hook: Hook) -> Option<Self> {
        let cluster = Self::up(hook)?;
        cluster.add_web_service();
        Some(cluster)
    }

    /// Starts a web server in each real server; it answers with the host's name.
    pub fn serve_web(&mut self) {
        self.web.extend(REALS.map(|(name, address)| {
            HttpServer::start(self.host(name), (address, 80).into(), name).expect("a web server")
        }));
    }

    /// Starts the daemon, and waits until it serves.
    pub fn start(&mut self) {
        let daemon = Daemon::start(self.host("director"), &self.options, &Stop::never());
        self.daemon = Some(daemon.unwrap_or_else(|error| panic!("{error}")));
    }

    /// Has the daemon be started by `ip netns exec`, as people start it: with a mount namespace and a /sys of its own.
    pub fn start_by_ip_netns_exec(&mut self) {
        let script = self.dir().join("rlvsd");
        let (netns, program) = (self.host("director").name(), self.options.program.display());
        let line = format!("#!/bin/sh\nexec ip netns exec {netns} {program} \"$@\"\n");
        std::fs::write(&script, line).expect("a script");
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&script, executable).expect("a script that runs");
        let program = std::mem::replace(&mut self.options.program, script);
        self.start();
        self.options.program = program;
    }

    /// Kills the daemon, as a crash would.
    pub fn kill(&mut self) -> ExitStatus {
        self.daemon.take().expect("a daemon").kill().expect("its end")
    }

    /// Asks the daemon to end.
    pub fn terminate(&mut self) -> ExitStatus {
        self.daemon.take().expect("a daemon").stop().expect("its end")
    }

    /// The daemon's process.
    pub fn daemon_pid(&self) -> u32 {
        self.daemon.as_ref().expect("a daemon").pid()
    }

    /// Asserts that the daemon runs.
    pub fn assert_daemon_runs(&mut self) {
        let ended = self.daemon.as_mut().expect("a daemon").ended();
        assert_eq!(ended, None, "rlvsd has ended");
    }

    /// Takes forwarding away with `rlvs unload`.
    pub fn unload(&self) {
        self.run("director", "rlvs unload");
    }

    /// The course's commands: a web service, weighted round robin, two real servers with weights 2 and 3.
    pub fn add_web_service(&self) {
        self.ipvsadm("-C");
        self.ipvsadm("-A -t 172.16.0.1:80 -s wrr");
        for ((_, address), weight) in REALS.iter().zip(WEIGHTS) {
            self.ipvsadm(&format!("-a -t 172.16.0.1:80 -r {address}:80 -m -w {weight}"));
        }
    }

    /// Names of the real servers that the course's service picks for its first `count` connections.
    pub fn wrr_picks(count: usize) -> Vec<&'static str> {
        expect::wrr(&WEIGHTS, count).into_iter().map(|pick| REALS[pick].0).collect()
    }

    /// A host's namespace.
    pub fn host(&self, name: &str) -> &Netns {
        self.network.host(name).expect("a host of the cluster")
    }

    /// A namespace of the cluster's for one more host.
    pub fn new_host(&self, name: &str) -> Netns {
        Netns::create(&self.network.claim().netns_name(name)).expect("a namespace")
    }

    /// A directory for files, removed with the cluster.
    pub fn dir(&self) -> PathBuf {
        self.network.claim().dir()
    }

    /// Runs a command line, split at blanks, in a host; returns what it printed. Fails where it fails.
    pub fn run(&self, host: &str, line: &str) -> String {
        self.try_run(host, line).success(line)
    }

    /// Runs a command line, split at blanks, in a host.
    pub fn try_run(&self, host: &str, line: &str) -> Ran {
        let mut words = line.split_whitespace();
        let mut command = self.command(words.next().expect("a program"));
        self.try_command(host, command.args(words), COMMAND_TIME_MAX)
    }

    /// Runs a shell script by `ip netns exec`, as people do; returns what it printed. Fails where one of its lines fails.
    pub fn shell(&self, host: &str, script: &str, time_max: Duration) -> String {
        let netns = self.host(host).name();
        let mut command = self.command("ip");
        // `ip` changes over by itself: where it is started does not matter.
        self.try_command(host, command.args(["netns", "exec", netns, "sh", "-ec", script]), time_max).success(script)
    }

    /// A command that finds the programs under test first.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(need::find(program).unwrap_or_else(|| program.into()));
        // Some programs say in their messages how they were called.
        command.arg0(program).env("PATH", need::search_path()).env("LC_ALL", "C");
        command
    }

    /// Runs a command in a host.
    pub fn try_command(&self, host: &str, command: &mut Command, time_max: Duration) -> Ran {
        let output = self.host(host).output(command, time_max).unwrap_or_else(|error| panic!("{error}"));
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Runs `ipvsadm` in the director; returns what it printed. Fails where it fails.
    pub fn ipvsadm(&self, words: &str) -> String {
        self.run("director", &format!("ipvsadm {words}"))
    }

    /// Runs `ipvsadm` in the director.
    pub fn try_ipvsadm(&self, words: &str) -> Ran {
        self.try_run("director", &format!("ipvsadm {words}"))
    }

    /// The real servers that `ipvsadm` lists.
    pub fn servers(&self) -> Vec<Server> {
        view::servers(&self.ipvsadm("-L -n"))
    }

    /// ActiveConn and InActConn of a real server, by its address and port.
    pub fn counts(&self, address: &str) -> (u32, u32) {
        let servers = self.servers();
        let server = servers.iter().find(|server| server.address == address);
        let server = server.unwrap_or_else(|| panic!("no {address} in {servers:?}"));
        (server.active, server.inactive)
    }

    /// The connections that `ipvsadm` lists, sorted.
    pub fn connections(&self) -> Vec<Connection> {
        view::connections(&self.ipvsadm("-L -n -c"))
    }

    /// Waits until the daemon has looked at all that was counted so far: what clients see, and what `-Z` takes from it.
    pub fn settle(&self) {
        std::thread::sleep(STATS_LAG);
    }

    /// The statistics that `ipvsadm` lists, by address, once the daemon has looked at all that happened so far.
    pub fn stats(&self) -> BTreeMap<String, Stats> {
        self.settle();
        view::stats(&self.ipvsadm("-L -n --stats --exact"))
    }

    /// How the daemon says it is.
    pub fn status(&self) -> Status {
        match self.host("director").run(|| local::call(&Request::Status)).expect("a thread in the director") {
            Ok(Reply::Status(status)) => status,
            other => panic!("no status: {other:?}"),
        }
    }

    /// The drops that the daemon has counted, those that never happened left out.
    pub fn drops(&self) -> BTreeMap<String, u64> {
        self.status().drops.into_iter().filter(|(_, count)| *count > 0).collect()
    }

    /// Makes web requests one after the other, each over a connection of its own; returns who answered.
    pub fn requests(&self, server: SocketAddr, count: usize) -> Vec<String> {
        let exchanges = client::requests(self.host("client"), server, count, REQUEST_TIME_MAX, &Stop::never(), |_| ())
            .expect("a client");
        let answers = exchanges.into_iter().enumerate().map(|(index, exchange)| match exchange {
            Ok(answer) => answer.server,
            Err(error) => panic!("request {} of {count} to {server}: {error}", index + 1),
        });
        answers.collect()
    }

    /// Waits until nothing but closed connections is left: both ends have said goodbye, and the director saw it.
    pub fn wait_idle(&self) {
        eventually("no active connection", patience(), || {
            let servers = self.servers();
            if servers.iter().all(|server| server.active == 0) { Ok(()) } else { Err(format!("{servers:?}")) }
        });
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Ok(log) = std::fs::read_to_string(&self.options.log)
        {
            let lines: Vec<_> = log.lines().collect();
            eprintln!("the end of rlvsd's log:\n{}", lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n"));
        }
    }
}
