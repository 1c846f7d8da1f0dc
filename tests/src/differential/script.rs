//! What a scenario does, and the transcript of it.
//!
//! Each step appends lines: what was done (`$` a command, `>` a packet), and, indented, what came of it. Numbers that depend
//! on when exactly one looks are written `~N`; two transcripts agree on them within one.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use rlvs_ipvs::local::ProcFile;

use super::{
    decode::{self, Frame},
    frame::{self, Packet},
    lab::{Lab, System, neighbour},
};

/// So many packets are sent between two looks at what came out.
const BURST: usize = 64;
/// How often a table is read until it says the same twice.
const LOOKS_MAX: usize = 20;
/// How coarse the clock may be that connections expire by.
const TICK_S: f64 = 0.01;
/// Kernel IPVS sums its counters up every two seconds (stats.md section 2).
const SNAPSHOT: Duration = Duration::from_millis(2300);

/// A scenario at work.
pub struct Script {
    lab: Lab,
    lines: Vec<String>,
    /// When a packet of a protocol was last sent between two ends, the client first.
    sent: BTreeMap<(&'static str, SocketAddr, SocketAddr), Instant>,
    /// When a packet from or to a client was last sent.
    sent_of: BTreeMap<IpAddr, Instant>,
    sent_last: Instant,
}

/// A row of the connection table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// As the table names it.
    pub protocol: String,
    /// Client.
    pub client: SocketAddr,
    /// Virtual service.
    pub service: SocketAddr,
    /// Real server.
    pub real: SocketAddr,
    /// State.
    pub state: String,
    /// Seconds until it expires, counted from the last packet to or from this client.
    pub expires_s: u64,
    /// What a persistence engine keeps.
    pub rest: String,
}

impl Script {
    /// Begins in a lab.
    pub fn new(lab: Lab) -> Self {
        Self { lab, lines: Vec::new(), sent: BTreeMap::new(), sent_of: BTreeMap::new(), sent_last: Instant::now() }
    }

    /// Ends; the transcript.
    pub fn transcript(self) -> Vec<String> {
        self.lines
    }

    /// Appends a heading.
    pub fn title(&mut self, words: &str) {
        self.lines.push(format!("# {words}"));
    }

    fn say(&mut self, line: impl AsRef<str>) {
        self.lines.push(line.as_ref().trim_end().to_owned());
    }

    /// Runs `ipvsadm`.
    pub fn ipvsadm(&mut self, words: &str) {
        self.command(&format!("ipvsadm {words}"));
    }

    /// Runs several `ipvsadm`.
    pub fn ipvsadms<W: AsRef<str>>(&mut self, lines: impl IntoIterator<Item = W>) {
        lines.into_iter().for_each(|words| self.ipvsadm(words.as_ref()));
    }

    /// Runs a command line in the director; what it prints goes into the transcript.
    pub fn command(&mut self, line: &str) {
        let ran = self.lab.run(line);
        self.say(format!("$ {line}"));
        for printed in ran.stdout.lines().chain(ran.stderr.lines()) {
            self.say(format!("  {printed}"));
        }
        match ran.code {
            Some(0) => {}
            Some(code) => self.say(format!("  exit {code}")),
            None => self.say("  killed"),
        }
    }

    /// Sets a sysctl of IPVS.
    pub fn sysctl(&mut self, name: &str, value: impl ToString) {
        let value = value.to_string();
        let set = self.lab.sysctl(name, &value);
        self.say(format!("$ sysctl {name}={value}"));
        if let Err(error) = set {
            self.say(format!("  {error}"));
        }
    }

    /// Sets another sysctl of the director's.
    pub fn set(&mut self, name: &str, value: &str) {
        let set = self.lab.set(name.to_owned(), value);
        self.say(format!("$ sysctl {name}={value}"));
        if let Err(error) = set {
            self.say(format!("  {error}"));
        }
    }

    /// Sets the MTU of an interface of the director's.
    pub fn mtu(&mut self, interface: &str, mtu: u32) {
        self.command(&format!("ip link set {interface} mtu {mtu}"));
    }

    /// Gives packets of `protocol` (tcp, udp) to a virtual address and port the mark.
    pub fn mark(&mut self, mark: u32, protocol: &str, service: &str, port: u16) {
        self.say(format!("$ mark {mark} {protocol} {service} {port}"));
        let line = match self.lab.system() {
            System::Kernel => {
                let program = if service.contains(':') { "ip6tables-legacy" } else { "iptables-legacy" };
                let to = format!("-d {service} -p {protocol} --dport {port}");
                format!("{program} -t mangle -A PREROUTING {to} -j MARK --set-mark {mark}")
            }
            System::Rlvs(_) => format!(
                "rlvs mark add --destination {service} --protocol {protocol} --destination-port {port} --mark {mark}"
            ),
        };
        let ran = self.lab.run(&line);
        if ran.code != Some(0) {
            let complaint = ran.stderr.lines().next().unwrap_or("no words").to_owned();
            self.say(format!("  {complaint}"));
        }
    }

    fn note_sent(&mut self, packet: &Packet, client: SocketAddr, other: SocketAddr) {
        self.sent_last = Instant::now();
        self.sent_of.insert(client.ip(), self.sent_last);
        let protocol = match packet.protocol_number() {
            frame::TCP => "TCP",
            frame::UDP => "UDP",
            frame::SCTP => "SCTP",
            _ => return,
        };
        self.sent.insert((protocol, client, other), self.sent_last);
    }

    /// When a packet was last sent that restarted a row's timer, as far as that can be told.
    fn sent_of(&self, protocol: &str, client: SocketAddr, others: [SocketAddr; 2]) -> Instant {
        let exact = self
            .sent
            .iter()
            .filter(|((name, one, other), _)| *name == protocol && *one == client && others.contains(other));
        exact.map(|(_, when)| *when).max().or_else(|| self.sent_of.get(&client.ip()).copied()).unwrap_or(self.sent_last)
    }

    /// Has the client send a packet; everything that comes out goes into the transcript.
    pub fn client(&mut self, packet: &Packet) {
        self.say(format!("> client: {}", decode::packet(&packet.bytes())));
        self.send_from_client(packet);
        self.settle();
    }

    /// Has a real send a packet; everything that comes out goes into the transcript.
    pub fn real(&mut self, packet: &Packet) {
        self.say(format!("> real: {}", decode::packet(&packet.bytes())));
        self.send_from_real(packet);
        self.settle();
    }

    /// Has the client send packets one right after the other.
    pub fn clients(&mut self, packets: &[Packet]) {
        for packet in packets {
            self.say(format!("> client: {}", decode::packet(&packet.bytes())));
            self.send_from_client(packet);
        }
        self.settle();
    }

    /// Has a real send packets one right after the other.
    pub fn reals(&mut self, packets: &[Packet]) {
        for packet in packets {
            self.say(format!("> real: {}", decode::packet(&packet.bytes())));
            self.send_from_real(packet);
        }
        self.settle();
    }

    /// Sends from the client without a word in the transcript; what comes out is dropped at the next [`Script::discard`].
    pub fn send_from_client(&mut self, packet: &Packet) {
        self.lab.send_from_client(packet);
        self.note_sent(packet, packet.from(), packet.to());
    }

    /// Sends from a real without a word in the transcript.
    pub fn send_from_real(&mut self, packet: &Packet) {
        self.lab.send_from_real(packet);
        self.note_sent(packet, packet.to(), packet.from());
    }

    /// Waits until all that was sent has been forwarded, and forgets what came out.
    pub fn discard(&mut self) {
        self.lab.settle();
    }

    /// Gives something that works by itself a moment.
    pub fn pause_ms(&mut self, milliseconds: u64) {
        thread::sleep(Duration::from_millis(milliseconds));
    }

    fn settle(&mut self) {
        let (at_client, at_reals) = self.lab.settle();
        let nothing = at_client.is_empty() && at_reals.is_empty();
        for frame in at_client.iter().chain(&at_reals) {
            let line = format!("  {}: {}", neighbour(frame.link_destination), decode::packet(&frame.packet));
            self.say(line);
        }
        if nothing {
            self.say("  nothing");
        }
    }

    /// Sends packets from clients and says, for each, the number of the real that gets it; `-` for none.
    pub fn picks(&mut self, label: &str, packets: &[Packet]) {
        let picks = self.picked(packets);
        self.say(format!("picks {label}: {}", picks.join(" ")));
    }

    /// Sends packets from clients; for each, the number of the real that gets it.
    pub fn picked(&mut self, packets: &[Packet]) -> Vec<String> {
        let mut picks = Vec::new();
        for burst in packets.chunks(BURST) {
            burst.iter().for_each(|packet| self.send_from_client(packet));
            let (_, at_reals) = self.lab.settle();
            let mut taken: BTreeMap<(IpAddr, u16), Vec<&Frame>> = BTreeMap::new();
            for frame in &at_reals {
                frame.source().into_iter().for_each(|source| taken.entry(source).or_default().push(frame));
            }
            picks.extend(burst.iter().map(|packet| {
                let frames = taken.get_mut(&(packet.source, packet.from().port()));
                match frames.filter(|frames| !frames.is_empty()) {
                    Some(frames) => frames.remove(0).link_destination[5].to_string(),
                    None => "-".to_owned(),
                }
            }));
        }
        picks
    }

    /// The connection table.
    ///
    /// The kernel has one for all network namespaces and shows it in pieces: while connections come and go in another one, it
    /// may leave a row out. So it is read until it says the same twice.
    pub fn rows(&self) -> Vec<Row> {
        let read = || {
            let text = self.lab.proc(ProcFile::IpVsConn);
            let now = Instant::now();
            let mut rows: Vec<_> = text.lines().skip(1).map(|line| self.row(line, now)).collect();
            rows.sort();
            rows
        };
        let identity = |rows: &[Row]| {
            rows.iter().map(|row| (row.client, row.service, row.real, row.state.clone())).collect::<Vec<_>>()
        };
        self.twice(read, |rows| identity(rows))
    }

    /// What `look` sees once it has seen the same twice in a row.
    fn twice<T, I: PartialEq>(&self, look: impl Fn() -> T, identity: impl Fn(&T) -> I) -> T {
        let mut seen = look();
        for _ in 0..LOOKS_MAX {
            let again = look();
            if identity(&again) == identity(&seen) {
                return again;
            }
            seen = again;
        }
        seen
    }

    fn row(&self, line: &str, now: Instant) -> Row {
        let words: Vec<_> = line.split_whitespace().collect();
        let [protocol, client, cport, service, vport, real, dport, state, expires, rest @ ..] = &words[..] else {
            panic!("not a line of a connection table: {line:?}")
        };
        let end = |address, port| SocketAddr::new(address_of(address), u16::from_str_radix(port, 16).expect("a port"));
        let (client, service, real) = (end(client, cport), end(service, vport), end(real, dport));
        let sent = self.sent_of(protocol, client, [service, real]);
        let left: f64 = expires.parse().expect("seconds");
        // The seconds that the table shows are rounded down, but for those of a clock that has not ticked yet.
        let timeout = (left + now.saturating_duration_since(sent).as_secs_f64() - TICK_S).ceil();
        Row {
            protocol: (*protocol).to_owned(),
            client,
            service,
            real,
            state: (*state).to_owned(),
            expires_s: timeout as u64,
            rest: rest.join(" "),
        }
    }

    /// Puts the connection table into the transcript.
    pub fn conns(&mut self) {
        let rows = self.rows();
        self.say("connections:");
        for row in rows {
            let Row { protocol, client, service, real, state, expires_s, rest } = row;
            self.say(format!("  {protocol} {client} {service} {real} {state} ~{expires_s} {rest}"));
        }
    }

    /// Puts the connection table as `ipvsadm` lists it into the transcript: its lines sorted, since the order is that of a hash
    /// table, and its times as seconds from the last packet on.
    pub fn listed_conns(&mut self) {
        let read = || {
            let printed = self.lab.run("ipvsadm -L -n -c").stdout;
            let since_s = self.sent_last.elapsed().as_secs_f64() - TICK_S;
            let mut lines: Vec<_> = printed.lines().map(|line| with_seconds(line, since_s)).collect();
            lines.get_mut(2..).unwrap_or_default().sort_by_key(|line| without_seconds(line));
            lines
        };
        let lines = self.twice(read, |lines| lines.iter().map(|line| without_seconds(line)).collect::<Vec<_>>());
        self.say("$ ipvsadm -L -n -c");
        lines.iter().for_each(|line| self.say(format!("  {line}")));
    }

    /// For each label and client port: the state of the client's connection and its timeout.
    pub fn states(&mut self, wanted: &[(String, u16)]) {
        let rows = self.rows();
        for (label, port) in wanted {
            let row = rows.iter().find(|row| row.client.port() == *port);
            let found = row.map_or_else(|| "none".to_owned(), |row| format!("{} ~{}", row.state, row.expires_s));
            self.say(format!("{label}: {found}"));
        }
    }

    /// Puts the services with their destinations into the transcript.
    pub fn table(&mut self) {
        self.ipvsadm("-L -n");
    }

    /// Puts the statistics into the transcript.
    pub fn stats(&mut self) {
        thread::sleep(SNAPSHOT);
        self.ipvsadm("-L -n --stats --exact");
    }

    /// Lets time pass.
    pub fn wait_s(&mut self, seconds: u64) {
        self.say(format!("wait {seconds} s"));
        thread::sleep(Duration::from_secs(seconds));
    }
}

/// A line of a listing whose word `MM:SS` has become seconds, counted from the last packet, `since_s` ago.
fn with_seconds(line: &str, since_s: f64) -> String {
    let seconds = |word: &str| {
        let (minutes, seconds) = word.split_once(':')?;
        Some(minutes.parse::<u32>().ok()? * 60 + seconds.parse::<u32>().ok()?)
    };
    let time = line.split_whitespace().nth(1).unwrap_or_default();
    match seconds(time) {
        Some(seconds) => line.replacen(time, &format!("~{}", (f64::from(seconds) + since_s).ceil()), 1),
        None => line.to_owned(),
    }
}

/// Such a line without the seconds.
fn without_seconds(line: &str) -> String {
    line.split_whitespace().filter(|word| !word.starts_with('~')).collect::<Vec<_>>().join(" ")
}

/// An address as files under /proc/net write it.
fn address_of(word: &str) -> IpAddr {
    if word.contains(':') {
        word.parse::<Ipv6Addr>().expect("an address").into()
    } else {
        Ipv4Addr::from(u32::from_str_radix(word, 16).expect("an address")).into()
    }
}

/// An address and a port.
pub fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().expect("an address"), port)
}
