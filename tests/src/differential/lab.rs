//! A director between a client's cable and its reals', under kernel IPVS or under rlvs.
//!
//! ```text
//! clients 10.0.0.1..20, fd00::1..20      director                     reals 10.0.1.1..20, fd01::1..20
//!          packet socket ------ eth0  10.0.0.254, VIPs 10.0.0.100..109
//!                                     fd00::fe,   VIPs fd00::100..103
//!                               eth1  10.0.1.254, fd01::fe ------------- packet socket
//! ```
//!
//! Nobody but the director has a stack: its neighbours are entered by hand, one link-layer address each, so that a frame says
//! which real it is for even where its IP addresses do not. The default route leads to client 1.

use std::{
    fmt, fs,
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use rlvs::lab::{Claim, Daemon, DaemonOptions, End, Hook, Host, Netns, Network, Offloads, Stop, Topology, process};
use rlvs_ipvs::local::{self, ProcFile};

use super::{
    decode::Frame,
    frame::{self, Packet},
    guest,
    wire::Wire,
};
use crate::{Ran, need};

/// How long after its marker a frame may come past a kernel.
const LATE_BY_KERNEL: Duration = Duration::from_micros(300);
/// How long after its marker a frame may come that a daemon sends, which has to be woken.
const LATE_BY_DAEMON: Duration = Duration::from_millis(40);
/// For any command.
const COMMAND_TIME_MAX: Duration = Duration::from_secs(20);
/// How long a marker may be on its way, on a machine that does much else.
const MARKER_TIME_MAX: Duration = Duration::from_secs(5);
/// Where distributions have their `ipvsadm`.
const SYSTEM_IPVSADM: [&str; 2] = ["/usr/sbin/ipvsadm", "/sbin/ipvsadm"];

/// Which IPVS it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// The running kernel's own, driven by the distribution's `ipvsadm`.
    Kernel,
    /// rlvs at this hook, driven by its own `ipvsadm`.
    Rlvs(Hook),
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel => f.write_str("kernel"),
            Self::Rlvs(hook) => write!(f, "rlvs on {hook}"),
        }
    }
}

/// Director, cables, and what reads and writes at their ends. Dropped, all of it is removed.
pub struct Lab {
    system: System,
    client: Wire,
    reals: Wire,
    markers: u32,
    _daemon: Option<Daemon>,
    network: Network,
}

impl Lab {
    /// Builds it, and starts the daemon where one is needed.
    ///
    /// # Panics
    /// Where something is missing; [`need`] tells before.
    pub fn build(system: System) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("d{}n{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let offloads = if system == System::Rlvs(Hook::Xdp) { Offloads::ForXdp } else { Offloads::Default };
        let network = Topology::new()
            .host(Host::new("client"))
            .host(Host::new("director").forwarding())
            .host(Host::new("reals"))
            .cable(End::new("client", "eth0"), End::new("director", "eth0"))
            .cable(End::new("reals", "eth0"), End::new("director", "eth1"))
            .offloads(offloads)
            .build(Claim::take(&name).expect("a lab's name"))
            .expect("the hosts");
        let host = |name| network.host(name).expect("a host of the lab");
        for silent in ["client", "reals"] {
            host(silent).run(silence).expect("a thread in the host");
        }
        let director = host("director");
        let plan = network.claim().dir().join("plan");
        fs::write(&plan, addresses()).expect("the plan of addresses");
        director.run(open_up).expect("a thread in the director");
        director.check_output(Command::new("ip").arg("-batch").arg(&plan), COMMAND_TIME_MAX).expect("addresses");
        for interface in ["eth0", "eth1"] {
            // Else packets that the director makes itself leave with half a checksum.
            let mut off = Command::new("ethtool");
            director.check_output(off.args(["-K", interface, "tx", "off"]), COMMAND_TIME_MAX).expect("no offload");
        }
        let daemon = match system {
            System::Kernel => None,
            System::Rlvs(hook) => {
                let log = network.claim().dir().join("rlvsd.log");
                let options = DaemonOptions {
                    hook,
                    // Several start at the same time, on a machine that may do much else.
                    ready_time_max: Duration::from_secs(60),
                    ..DaemonOptions::new(need::programs_under_test().rlvsd, log)
                };
                Some(Daemon::start(director, &options, &Stop::never()).unwrap_or_else(|error| panic!("{error}")))
            }
        };
        let (client, reals) = (Wire::open(host("client"), "eth0"), Wire::open(host("reals"), "eth0"));
        Self { system, client, reals, markers: 0, _daemon: daemon, network }
    }

    /// Which IPVS it runs.
    pub fn system(&self) -> System {
        self.system
    }

    /// The director's namespace.
    pub fn director(&self) -> &Netns {
        self.network.host("director").expect("a host of the lab")
    }

    /// Has the client send a packet, and does not look what comes of it.
    pub fn send_from_client(&self, packet: &Packet) {
        self.client.send(&framed(packet, 0));
    }

    /// Has a real send a packet, and does not look what comes of it.
    pub fn send_from_real(&self, packet: &Packet) {
        self.reals.send(&framed(packet, 1));
    }

    /// What came out at the client's and at the reals' end since the last call, in order.
    ///
    /// Packets queue behind one another, so that what is sent last is forwarded last: a marker, once in each direction, tells
    /// that everything before it has left.
    ///
    /// # Panics
    /// Where the director forwards nothing at all.
    pub fn settle(&mut self) -> (Vec<Frame>, Vec<Frame>) {
        self.markers += 1;
        let number = self.markers.to_be_bytes().to_vec();
        let (client, real) = ("10.0.0.250".parse().expect("an address"), "10.0.1.250".parse().expect("an address"));
        self.send_from_client(&frame::raw(client, real, frame::EXPERIMENT, number.clone()));
        let mut at_reals = until(&mut self.reals, self.markers);
        self.send_from_real(&frame::raw(real, client, frame::EXPERIMENT, number));
        let mut at_client = until(&mut self.client, self.markers);
        // What XDP redirects goes another way than the marker; what a daemon sends comes when it has been woken.
        let late = if self.system == System::Kernel { LATE_BY_KERNEL } else { LATE_BY_DAEMON };
        let deadline = Instant::now() + late;
        at_reals.extend(std::iter::from_fn(|| self.reals.next(deadline)).filter(|frame| frame.marker().is_none()));
        at_client.extend(std::iter::from_fn(|| self.client.next(deadline)).filter(|frame| frame.marker().is_none()));
        (at_client, at_reals)
    }

    /// Runs a command line, split at blanks, in the director.
    ///
    /// # Panics
    /// Where it cannot be started or does not end.
    pub fn run(&self, line: &str) -> Ran {
        let mut words = line.split_whitespace();
        let name = words.next().expect("a program");
        let mut command = Command::new(self.program(name));
        std::os::unix::process::CommandExt::arg0(&mut command, name).args(words).env("LC_ALL", "C");
        let output = self.output(&mut command);
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// All that a command prints, however slow the machine is to hand it over.
    fn output(&self, command: &mut Command) -> Output {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = self.director().spawn(command).unwrap_or_else(|error| panic!("{error}"));
        let running = i32::try_from(child.id()).ok().and_then(process::Running::open);
        let (ended, wait) = mpsc::channel::<()>();
        let watchdog = thread::spawn(move || {
            if wait.recv_timeout(COMMAND_TIME_MAX) == Err(RecvTimeoutError::Timeout)
                && let Some(running) = running
            {
                running.kill();
            }
        });
        let output = child.wait_with_output().expect("what a command printed");
        drop(ended);
        watchdog.join().expect("a watchdog");
        output
    }

    fn program(&self, name: &str) -> PathBuf {
        let found = match (self.system, name) {
            (System::Kernel, "ipvsadm") => system_ipvsadm(),
            (System::Kernel, _) => None,
            (System::Rlvs(_), name) => need::find(name),
        };
        found.unwrap_or_else(|| name.into())
    }

    /// Sets a sysctl of IPVS.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<(), String> {
        match self.system {
            System::Kernel => self.set("net.ipv4.vs.".to_owned() + name, value),
            System::Rlvs(_) => {
                let ran = self.run(&format!("rlvs sysctl {name}={}", value.replace(' ', ",")));
                if ran.code == Some(0) { Ok(()) } else { Err(complaint(&ran.stderr)) }
            }
        }
    }

    /// Sets a sysctl of the director's, by its name with dots.
    pub fn set(&self, name: String, value: &str) -> Result<(), String> {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        let written = self.director().run(|| fs::write(path, value)).expect("a thread in the director");
        written.map_err(|error| io_words(&error))
    }

    /// The text of a file under /proc/net.
    ///
    /// # Panics
    /// Where there is none.
    pub fn proc(&self, file: ProcFile) -> String {
        let read = || match self.system {
            System::Kernel => fs::read_to_string(format!("/proc/thread-self/net/{}", file_name(file)))
                .map_err(|error| io_words(&error)),
            System::Rlvs(_) => local::proc_text(file).map_err(|error| error.to_string()),
        };
        let text = self.director().run(read).expect("a thread in the director");
        text.unwrap_or_else(|error| panic!("reading {}: {error}", file_name(file)))
    }
}

fn file_name(file: ProcFile) -> &'static str {
    match file {
        ProcFile::IpVs => "ip_vs",
        ProcFile::IpVsConn => "ip_vs_conn",
        ProcFile::IpVsConnSync => "ip_vs_conn_sync",
        ProcFile::IpVsStats => "ip_vs_stats",
        ProcFile::IpVsStatsPercpu => "ip_vs_stats_percpu",
        ProcFile::IpVsApp => "ip_vs_app",
    }
}

/// An error's words without its number.
/// The system's words in a complaint of `rlvs sysctl`, which says before them what it was about.
fn complaint(stderr: &str) -> String {
    let line = stderr.lines().next().unwrap_or_default();
    line.rsplit_once(": ").map_or(line, |(_, words)| words).to_owned()
}

fn io_words(error: &std::io::Error) -> String {
    error.to_string().split(" (os error").next().unwrap_or_default().to_owned()
}

/// The name of whom a link-layer address belongs to.
pub fn neighbour(address: [u8; 6]) -> String {
    match address {
        [2, 0, 0, 0, 0, number] => format!("client {number}"),
        [2, 0, 0, 0, 1, number] => format!("real {number}"),
        _ => "somebody".into(),
    }
}

/// Puts a packet into a frame from a host of cable 0 (client) or 1 (reals) to the director.
fn framed(packet: &Packet, cable: u8) -> Vec<u8> {
    let kind = if packet.source.is_ipv4() { [0x08, 0x00] } else { [0x86, 0xdd] };
    [&[2, 0, 0, 0, cable, 0xfe], &[2, 0, 0, 0, cable, 0xaa], &kind[..], &packet.bytes()].concat()
}

fn until(wire: &mut Wire, marker: u32) -> Vec<Frame> {
    let deadline = Instant::now() + MARKER_TIME_MAX;
    let mut frames = Vec::new();
    loop {
        let frame = wire.next(deadline).expect("a marker that the director forwards");
        match frame.marker() {
            Some(number) if number == marker => return frames,
            Some(_) => {}
            None => frames.push(frame),
        }
    }
}

/// Takes a host's own voice away.
fn silence() {
    for path in ["all", "default"] {
        // A kernel without IPv6 is silent by itself.
        let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{path}/disable_ipv6"), "1");
    }
}

/// Has the director take every packet, say at once what it has to say, and not suggest better ways.
fn open_up() {
    for (path, value) in [
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/default/rp_filter", "0"),
        ("ipv4/conf/eth0/rp_filter", "0"),
        ("ipv4/conf/eth1/rp_filter", "0"),
        // Reals answer directly from the director's virtual address.
        ("ipv4/conf/all/accept_local", "1"),
        ("ipv4/conf/all/send_redirects", "0"),
        ("ipv4/conf/eth0/send_redirects", "0"),
        ("ipv4/conf/eth1/send_redirects", "0"),
        ("ipv4/icmp_ratelimit", "0"),
        ("ipv6/icmp/ratelimit", "0"),
    ] {
        fs::write(format!("/proc/sys/net/{path}"), value).unwrap_or_else(|error| panic!("net/{path}: {error}"));
    }
}

/// What `ip -batch` reads in the director.
fn addresses() -> String {
    let mut plan = String::from(
        "link set eth0 address 02:00:00:00:00:fe
link set eth1 address 02:00:00:00:01:fe
addr add 10.0.0.254/24 dev eth0
addr add 10.0.1.254/24 dev eth1
addr add fd00::fe/64 dev eth0 nodad
addr add fd01::fe/64 dev eth1 nodad
",
    );
    (100..110).for_each(|vip| plan += &format!("addr add 10.0.0.{vip}/32 dev eth0\n"));
    (100..104).for_each(|vip| plan += &format!("addr add fd00::{vip}/128 dev eth0 nodad\n"));
    for (cable, interface) in [(0, "eth0"), (1, "eth1")] {
        for host in (1..=20).chain([250]) {
            let link = format!("lladdr 02:00:00:00:0{cable}:{host:02x} dev {interface} nud permanent");
            plan += &format!("neigh add 10.0.{cable}.{host} {link}\nneigh add fd0{cable}::{host} {link}\n");
        }
    }
    plan + "route add default via 10.0.0.1\nroute add default via fd00::1\n"
}

/// What a lab of this system needs of the machine; says what is missing.
pub fn has_what_it_needs() -> bool {
    need::programs(&[("ip", "iproute2"), ("ethtool", "ethtool")])
}

/// Whether a guest can be booted here. Where not, that is said, and no failure: not every distribution has the kernel as a
/// program, and the recordings stand for it.
pub fn guest_has_what_it_needs() -> bool {
    let programs = [guest::PROGRAM, ("iptables-legacy", "iptables"), ("modprobe", "kmod")];
    let lacking = programs.iter().find(|(program, _)| need::find(program).is_none()).copied();
    let lacking = lacking.or_else(|| system_ipvsadm().is_none().then_some(("the distribution's ipvsadm", "ipvsadm")));
    lacking.is_none_or(|(program, package)| {
        need::skip(&format!(
            "no {program} here, so no real kernel to compare with; Debian has it in the package {package}"
        ))
    })
}

fn system_ipvsadm() -> Option<PathBuf> {
    SYSTEM_IPVSADM.iter().map(PathBuf::from).find(|path| path.exists())
}

/// Loads what kernel IPVS needs, where it is not there yet.
pub fn load_modules() {
    for module in ["ipv6", "ip_vs", "veth", "af_packet", "iptable_mangle", "ip6table_mangle", "xt_mark", "xt_tcpudp"] {
        // Built in, it is no module.
        let _ = process::output(Command::new("modprobe").args(["-q", module]), COMMAND_TIME_MAX);
    }
}
