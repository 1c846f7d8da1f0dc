//! The second interface of rlvsd: JSON lines, for what IPVS has no message for.
//!
//! A client connects to the stream socket [`SOCKET_NAME`] in the abstract namespace (so it belongs to the network
//! namespace), sends one [`Request`] on one line, and reads one [`Reply`] on one line.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Errno, client::is_trusted, marks::MarkRule};

/// Name of the socket in the abstract namespace, without its leading NUL.
pub const SOCKET_NAME: &str = "rlvs";
/// Largest request line in bytes a server needs to read.
pub const REQUEST_MAX: u64 = 64 * 1024;
/// Largest reply line in bytes a client reads: some four million connections.
pub const REPLY_MAX: u64 = 512 * 1024 * 1024;
/// How long a client waits for each read and write.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// The text of a file that IPVS has under `/proc/net`.
    Proc {
        /// Which file.
        file: ProcFile,
    },
    /// How the daemon and its data plane are.
    Status,
    /// Every setting.
    Sysctls,
    /// Writes a setting.
    SetSysctl {
        /// Its name, without `net.ipv4.vs.`.
        name: String,
        /// What to write, as text.
        value: String,
    },
    /// The rules that mark packets.
    Marks,
    /// Adds a rule after the others.
    AddMark {
        /// The rule.
        rule: MarkRule,
    },
    /// Removes a rule.
    DeleteMark {
        /// Which.
        rule: MarkChoice,
    },
    /// Removes all rules.
    FlushMarks,
    /// What was dropped, and why.
    Drops,
}

/// Which rule is meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum MarkChoice {
    /// The one at this place, counted from 1.
    Place(u32),
    /// The one that says this.
    Rule(MarkRule),
}

/// A file that IPVS has under `/proc/net` (stats.md §4); in JSON its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcFile {
    /// Services and destinations.
    IpVs,
    /// Connections.
    IpVsConn,
    /// Connections with their origin.
    IpVsConnSync,
    /// Totals and rates.
    IpVsStats,
    /// Totals and rates per CPU.
    IpVsStatsPercpu,
    /// Application helpers.
    IpVsApp,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// The text of a file, every line with its newline.
    Proc {
        /// The text.
        text: String,
    },
    /// How the daemon and its data plane are.
    Status(Status),
    /// Every setting's text, by name without `net.ipv4.vs.`.
    Sysctls {
        /// The settings.
        values: BTreeMap<String, String>,
    },
    /// The rules that mark packets, in the order in which they are tried.
    Marks {
        /// The rules.
        rules: Vec<MarkRule>,
    },
    /// What was dropped, by reason.
    Drops {
        /// Every reason that there is.
        reasons: Vec<DropReason>,
    },
    /// It is done.
    Done,
    /// The request was not understood or not possible.
    Refused {
        /// Error number, positive.
        errno: i32,
        /// Why, for people.
        reason: String,
    },
}

/// How the daemon and its data plane are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Version of the daemon.
    pub version: String,
    /// Process id of the daemon.
    pub pid: u32,
    /// Seconds since the daemon took over.
    pub uptime_s: u64,
    /// Interfaces with a data plane, by name.
    pub interfaces: BTreeMap<String, InterfaceStatus>,
    /// Number of services.
    pub services: u64,
    /// Number of destinations over all services.
    pub destinations: u64,
    /// Number of connection entries.
    pub connections: u64,
    /// Largest number of connection entries.
    pub connections_max: u64,
    /// Packets dropped, by reason.
    pub drops: BTreeMap<String, u64>,
    /// Other counters, by name.
    pub counters: BTreeMap<String, u64>,
}

/// A reason for which packets are dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DropReason {
    /// Its name, such as `drop_no_route`.
    pub name: String,
    /// What it means, for people.
    pub meaning: String,
    /// How many packets.
    pub count: u64,
    /// The last of them, newest first.
    pub samples: Vec<Sample>,
}

/// The beginning of a dropped frame.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sample {
    /// How long ago it was dropped, in milliseconds.
    pub age_ms: u64,
    /// Name of the interface by which it came.
    pub interface: String,
    /// Length of the whole frame in bytes.
    pub length: u32,
    /// Its first bytes, in hexadecimal digits.
    pub bytes: String,
}

/// How the data plane stands on one interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InterfaceStatus {
    /// Where it is attached: `xdp` or `tc`.
    pub hook: String,
    /// Why there.
    pub reason: String,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket cannot be reached, read or written.
    #[error("cannot talk to rlvsd: {0}")]
    Socket(#[from] std::io::Error),
    /// The reply is no reply.
    #[error("rlvsd's reply is malformed: {0}")]
    Malformed(#[from] serde_json::Error),
    /// rlvsd refused, with an error number (if it is one) and a reason.
    #[error("rlvsd refused: {reason}")]
    Refused {
        /// Error number.
        errno: Option<Errno>,
        /// Why.
        reason: String,
    },
}

impl Error {
    /// Whether nobody listens: rlvsd does not run in this network namespace.
    pub fn is_absent(&self) -> bool {
        matches!(self, Error::Socket(error) if error.kind() == std::io::ErrorKind::ConnectionRefused)
    }
}

/// The address of rlvsd's stream socket in this network namespace.
///
/// # Errors
/// None in practice: the name is short enough.
pub fn socket_address() -> std::io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(SOCKET_NAME)
}

/// Asks rlvsd in this network namespace, and waits for the answer.
///
/// # Errors
/// [`Error::Socket`] if nobody listens or 30 s pass in silence, [`Error::Malformed`], [`Error::Refused`].
pub fn call(request: &Request) -> Result<Reply, Error> {
    let stream = UnixStream::connect_addr(&socket_address()?)?;
    if !is_trusted(&stream) {
        return Err(Error::Socket(std::io::ErrorKind::ConnectionRefused.into()));
    }
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    exchange(&stream, request)
}

/// The text of a file that IPVS has under `/proc/net`, from rlvsd.
///
/// # Errors
/// As [`call`].
pub fn proc_text(file: ProcFile) -> Result<String, Error> {
    match call(&Request::Proc { file })? {
        Reply::Proc { text } => Ok(text),
        _ => Err(Error::Refused { errno: None, reason: "it answered another question".to_owned() }),
    }
}

/// Sends a request over a connected stream and reads the reply. [`Reply::Refused`] is returned as an error.
///
/// # Errors
/// As [`call`].
pub fn exchange<S>(stream: S, request: &Request) -> Result<Reply, Error>
where
    S: Copy + Read + Write,
{
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    let mut writer = stream;
    writer.write_all(&line)?;
    let mut line = Vec::new();
    BufReader::new(stream).take(REPLY_MAX).read_until(b'\n', &mut line)?;
    match serde_json::from_slice(&line)? {
        Reply::Refused { errno, reason } => Err(Error::Refused { errno: Errno::from_number(errno), reason }),
        reply => Ok(reply),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_is_as_documented() {
        let request = Request::Proc { file: ProcFile::IpVsConn };
        let json = serde_json::to_string(&request).expect("json");
        assert_eq!(json, r#"{"request":"proc","file":"ip_vs_conn"}"#);
        assert_eq!(serde_json::from_str::<Request>(&json).expect("a request"), request);
        assert_eq!(serde_json::to_string(&Request::Status).expect("json"), r#"{"request":"status"}"#);
        let choice = r#"{"request":"delete_mark","rule":2}"#;
        let request = Request::DeleteMark { rule: MarkChoice::Place(2) };
        assert_eq!(serde_json::from_str::<Request>(choice).expect("a request"), request);
        assert_eq!(serde_json::to_string(&Reply::Done).expect("json"), r#"{"reply":"done"}"#);
        let reply: Reply = serde_json::from_str(r#"{"reply":"status","version":"1","later":7}"#).expect("a reply");
        assert_eq!(reply, Reply::Status(Status { version: "1".to_owned(), ..Status::default() }));
    }

    #[test]
    fn a_call_over_a_real_socket() {
        let (client, server) = UnixStream::pair().expect("a pair");
        let served = std::thread::spawn(move || {
            let mut line = String::new();
            BufReader::new(&server).read_line(&mut line).expect("a line");
            (&server).write_all(b"{\"reply\":\"refused\",\"errno\":95,\"reason\":\"no\"}\n").expect("written");
            line
        });
        let error = exchange(&client, &Request::Status).expect_err("refused");
        assert!(matches!(error, Error::Refused { errno: Some(Errno::OPNOTSUPP), .. }), "{error}");
        assert_eq!(served.join().expect("a line"), "{\"request\":\"status\"}\n");
    }
}
