//! What a lab found out: for people as text, for programs as JSON.

use std::{
    io::{self, Write},
    time::Duration,
};

use serde::Serialize;

use super::{client::Exchanges, daemon::Hook, expect};

/// How many of the first answers the text shows in order.
const ORDER_SHOWN: usize = 10;
/// How many lines of the connection table the text shows, so that the outcome stays in sight.
const ROWS_SHOWN: usize = 12;

/// A real server as the lab configures it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct RealServer {
    /// The host's name, which its web server answers with.
    pub name: &'static str,
    /// Its address and port, as `ipvsadm` takes them.
    pub address: &'static str,
    /// Its weight.
    pub weight: u32,
}

/// How often one real server answered.
#[derive(Clone, Debug, Serialize)]
pub struct Share {
    /// Which.
    #[serde(flatten)]
    pub server: RealServer,
    /// How often the scheduler must pick it for as many requests.
    pub expected: usize,
    /// How often it answered.
    pub answered: usize,
}

/// A request that was not answered as it should have been.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// Which one, counted from 1.
    pub request: usize,
    /// What went wrong.
    pub error: String,
}

/// How long answers took, in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Latency {
    /// The fastest.
    pub min: u64,
    /// Half took no longer.
    pub median: u64,
    /// The slowest.
    pub max: u64,
}

/// How long the lab's steps took, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Timings {
    /// Building hosts, cables and web servers.
    pub hosts: u64,
    /// From starting the daemon to its being ready.
    pub daemon: u64,
    /// All `ipvsadm` commands.
    pub configure: u64,
    /// All requests.
    pub requests: u64,
}

/// What `ipvsadm` showed after the requests.
#[derive(Clone, Debug, Serialize)]
pub struct Tables {
    /// `ipvsadm -L -n`
    pub services: String,
    /// `ipvsadm -L -n -c`
    pub connections: String,
}

/// The outcome of a lab.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Whether every request was answered, by the server that the scheduler must pick.
    pub ok: bool,
    /// Which lab.
    pub lab: &'static str,
    /// The hook that was asked for.
    pub hook: Hook,
    /// The scheduler.
    pub scheduler: &'static str,
    /// How many requests were asked for.
    pub requests: usize,
    /// How many got a good answer.
    pub answered: usize,
    /// The others that were made.
    pub failures: Vec<Failure>,
    /// Who answered how often.
    pub servers: Vec<Share>,
    /// Who answered, request by request; null where nobody did.
    pub order: Vec<Option<String>>,
    /// Whether that is the scheduler's order.
    pub order_as_expected: bool,
    /// How long answers took; null where there was none.
    pub latency_us: Option<Latency>,
    /// How long the steps took.
    pub timings_ms: Timings,
    /// What `ipvsadm` showed.
    pub tables: Tables,
}

impl Report {
    /// Works out the report of a weighted round robin over `servers`, in the order they were added.
    pub fn wrr(servers: &[RealServer], requests: usize, exchanges: &Exchanges, rest: Rest) -> Self {
        let weights: Vec<_> = servers.iter().map(|server| server.weight).collect();
        let picks = expect::wrr(&weights, requests);
        let order: Vec<_> =
            exchanges.iter().map(|exchange| exchange.as_ref().ok().map(|answer| answer.server.clone())).collect();
        let expected_order = picks.iter().map(|pick| servers[*pick].name);
        let order_as_expected = order.iter().map(Option::as_deref).eq(expected_order.map(Some));
        let shares: Vec<_> = servers
            .iter()
            .enumerate()
            .map(|(index, server)| Share {
                server: *server,
                expected: picks.iter().filter(|pick| **pick == index).count(),
                answered: order.iter().flatten().filter(|name| *name == server.name).count(),
            })
            .collect();
        let failures: Vec<_> = exchanges
            .iter()
            .zip(1..)
            .filter_map(|(exchange, request)| {
                exchange.as_ref().err().map(|error| Failure { request, error: error.to_string() })
            })
            .collect();
        Self {
            // The order implies the shares and that every request was made and answered.
            ok: order_as_expected,
            lab: "nat",
            hook: rest.hook,
            scheduler: "wrr",
            requests,
            answered: exchanges.len() - failures.len(),
            failures,
            servers: shares,
            order,
            order_as_expected,
            latency_us: Latency::of(exchanges),
            timings_ms: rest.timings,
            tables: rest.tables,
        }
    }

    /// Writes it for people.
    pub fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{:<8}{:<18}{:>6}{:>10}{:>10}", "server", "address", "weight", "expected", "answered")?;
        for Share { server, expected, answered } in &self.servers {
            writeln!(out, "{:<8}{:<18}{:>6}{expected:>10}{answered:>10}", server.name, server.address, server.weight)?;
        }
        let first: Vec<_> =
            self.order.iter().take(ORDER_SHOWN).map(|name| name.as_deref().unwrap_or("nobody")).collect();
        writeln!(out, "\norder    {}{}", first.join(" "), if self.order.len() > ORDER_SHOWN { " ..." } else { "" })?;
        if let Some(Latency { min, median, max }) = self.latency_us {
            let [min, median, max] = [min, median, max].map(|us| us as f64 / 1000.0);
            writeln!(out, "latency  min {min:.2} ms, median {median:.2} ms, max {max:.2} ms")?;
        }
        writeln!(out, "\n# ipvsadm -L -n\n{}", self.tables.services.trim_end())?;
        writeln!(out, "\n# ipvsadm -L -n -c")?;
        let rows: Vec<_> = self.tables.connections.trim_end().lines().collect();
        let shown = rows.len().min(ROWS_SHOWN);
        for row in &rows[..shown] {
            writeln!(out, "{row}")?;
        }
        if rows.len() > shown {
            writeln!(out, "... and {} rows more, which --json shows", rows.len() - shown)?;
        }
        for Failure { request, error } in self.failures.iter().take(ORDER_SHOWN) {
            writeln!(out, "request {request}: {error}")?;
        }
        writeln!(out, "\n{}", self.verdict())
    }

    /// The outcome in one line.
    pub fn verdict(&self) -> String {
        let shares: Vec<_> = self.servers.iter().map(|share| share.answered.to_string()).collect();
        let shares = shares.join("/");
        let made = self.order.len();
        if self.ok {
            return format!("ok: {made} requests, no failure, shared {shares} in {}'s order", self.scheduler);
        }
        let expected: Vec<_> = self.servers.iter().map(|share| share.expected.to_string()).collect();
        let expected = expected.join("/");
        if self.failures.is_empty() && shares == expected {
            return format!("FAILED: shared {shares} as it should be, but not in {}'s order", self.scheduler);
        }
        let failed = self.failures.len();
        let gave_up = if made < self.requests { format!(", gave up after {made}") } else { String::new() };
        format!("FAILED: {failed} of {} requests failed{gave_up}; shared {shares} instead of {expected}", self.requests)
    }
}

/// The parts of a [`Report`] that are taken over as they are.
#[derive(Clone, Debug)]
pub struct Rest {
    /// The hook that was asked for.
    pub hook: Hook,
    /// How long the steps took.
    pub timings: Timings,
    /// What `ipvsadm` showed.
    pub tables: Tables,
}

impl Latency {
    fn of(exchanges: &Exchanges) -> Option<Self> {
        let mut all: Vec<_> = exchanges.iter().flatten().map(|answer| micros(answer.latency)).collect();
        all.sort_unstable();
        Some(Self { min: *all.first()?, median: *all.get((all.len() - 1) / 2)?, max: *all.last()? })
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::client::{Answer, RequestError};

    const SERVERS: [RealServer; 2] = [
        RealServer { name: "real1", address: "192.168.1.2:80", weight: 2 },
        RealServer { name: "real2", address: "192.168.1.3:80", weight: 3 },
    ];

    fn report(requests: usize, answers: &str) -> Report {
        let exchanges = answers
            .bytes()
            .map(|byte| match byte {
                b'-' => Err(RequestError::TimedOut(Duration::from_secs(3))),
                digit => Ok(Answer {
                    server: format!("real{}", digit as char),
                    latency: Duration::from_micros(u64::from(digit) * 100),
                }),
            })
            .collect();
        let tables = Tables { services: "services\n".into(), connections: "connections\n".into() };
        Report::wrr(&SERVERS, requests, &exchanges, Rest { hook: Hook::Tc, timings: Timings::default(), tables })
    }

    #[test]
    fn the_scheduler_s_order_is_ok() {
        let report = report(10, "2122121221");
        assert_eq!(report.verdict(), "ok: 10 requests, no failure, shared 4/6 in wrr's order");
        let mut text = Vec::new();
        report.write_text(&mut text).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "\
server  address           weight  expected  answered
real1   192.168.1.2:80         2         4         4
real2   192.168.1.3:80         3         6         6

order    real2 real1 real2 real2 real1 real2 real1 real2 real2 real1
latency  min 4.90 ms, median 5.00 ms, max 5.00 ms

# ipvsadm -L -n
services

# ipvsadm -L -n -c
connections

ok: 10 requests, no failure, shared 4/6 in wrr's order
"
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert_eq!(report(5, "22211").verdict(), "FAILED: shared 2/3 as it should be, but not in wrr's order");
        assert_eq!(report(5, "22222").verdict(), "FAILED: 0 of 5 requests failed; shared 0/5 instead of 2/3");
        assert_eq!(report(5, "21-21").verdict(), "FAILED: 1 of 5 requests failed; shared 2/2 instead of 2/3");
        let gave_up = report(100, "---");
        assert_eq!(gave_up.verdict(), "FAILED: 3 of 100 requests failed, gave up after 3; shared 0/0 instead of 40/60");
        assert!(gave_up.latency_us.is_none());
        // A server that the lab does not know, and an early end without failures.
        assert!(!report(5, "21229").ok && !report(5, "212").ok);
    }

    #[test]
    fn json_has_everything() {
        let json = serde_json::to_value(report(5, "2122-")).unwrap();
        assert_eq!(json["ok"], false);
        assert_eq!(json["hook"], "tc");
        assert_eq!(json["servers"][1]["name"], "real2");
        assert_eq!(json["servers"][1]["answered"], 3);
        assert_eq!(json["order"][4], serde_json::Value::Null);
        assert_eq!(json["failures"][0]["request"], 5);
        assert_eq!(json["latency_us"]["median"], 5000);
        assert_eq!(json["tables"]["services"], "services\n");
    }
}
