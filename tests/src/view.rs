//! What `ipvsadm` prints, read back into numbers.

use std::collections::BTreeMap;

/// A real server's line of `ipvsadm -L -n`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The virtual service it stands under.
    pub service: String,
    /// Its address and port.
    pub address: String,
    /// How it is reached: `Masq`.
    pub forward: String,
    /// Its weight.
    pub weight: u32,
    /// ActiveConn.
    pub active: u32,
    /// InActConn.
    pub inactive: u32,
}

/// The real servers of an `ipvsadm -L -n`, in the order printed.
///
/// # Panics
/// Where a line is none of `ipvsadm`'s.
pub fn servers(listing: &str) -> Vec<Server> {
    let mut service = String::new();
    let mut servers = Vec::new();
    // Two lines of title, and the version above them unless one service was asked for.
    for line in listing.lines().skip_while(|line| !line.starts_with("  -> ")).skip(1) {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            ["->", address, forward, weight, active, inactive] => servers.push(Server {
                service: service.clone(),
                address: address.into(),
                forward: forward.into(),
                weight: number(weight),
                active: number(active),
                inactive: number(inactive),
            }),
            ["TCP" | "UDP" | "SCTP" | "FWM", address, ..] => service = address.into(),
            _ => panic!("not a line of a listing: {line:?}"),
        }
    }
    servers
}

/// A line of `ipvsadm -L -n -c`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Connection {
    /// `TCP` or `UDP`.
    pub protocol: String,
    /// Its client.
    pub source: String,
    /// The virtual service it came to.
    pub service: String,
    /// The real server it goes to.
    pub destination: String,
    /// Its state.
    pub state: String,
    /// Seconds until it expires.
    pub expires_s: u32,
}

impl Connection {
    /// What stays the same from one look to the next.
    pub fn identity(&self) -> [&str; 5] {
        [&self.protocol, &self.source, &self.service, &self.destination, &self.state]
    }
}

/// The connections of an `ipvsadm -L -n -c`, sorted.
///
/// # Panics
/// Where a line is none of `ipvsadm`'s.
pub fn connections(listing: &str) -> Vec<Connection> {
    let mut lines = listing.lines();
    assert_eq!(lines.next(), Some("IPVS connection entries"));
    assert_eq!(lines.next(), Some("pro expire state       source             virtual            destination"));
    let mut connections: Vec<_> = lines
        .map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            let [protocol, expires, state, source, service, destination] = words[..] else {
                panic!("not a line of a connection listing: {line:?}")
            };
            let (minutes, seconds) = expires.split_once(':').unwrap_or_else(|| panic!("no minutes: {line:?}"));
            let text = str::to_owned;
            Connection {
                protocol: text(protocol),
                source: text(source),
                service: text(service),
                destination: text(destination),
                state: text(state),
                expires_s: number::<u32>(minutes) * 60 + number::<u32>(seconds),
            }
        })
        .collect();
    connections.sort();
    connections
}

/// Conns, InPkts, OutPkts, InBytes, OutBytes.
pub type Stats = [u64; 5];

/// The numbers of an `ipvsadm -L -n --stats --exact`, by the address of the service or server.
///
/// # Panics
/// Where a line is none of `ipvsadm`'s.
pub fn stats(listing: &str) -> BTreeMap<String, Stats> {
    let lines = listing.lines().skip_while(|line| !line.starts_with("  -> ")).skip(1);
    lines
        .map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            let [_, address, conns, in_packets, out_packets, in_bytes, out_bytes] = words[..] else {
                panic!("not a line of statistics: {line:?}")
            };
            (address.to_owned(), [conns, in_packets, out_packets, in_bytes, out_bytes].map(number))
        })
        .collect()
}

fn number<N: std::str::FromStr>(word: &str) -> N {
    word.parse().unwrap_or_else(|_| panic!("not a number: {word:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings_are_read_back() {
        let listing = "IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  172.16.0.1:80 wrr
  -> 192.168.1.2:80               Masq    2      1          40        
UDP  172.16.0.1:53 rr
";
        let [server] = &servers(listing)[..] else { panic!("{listing}") };
        assert_eq!((server.service.as_str(), server.address.as_str()), ("172.16.0.1:80", "192.168.1.2:80"));
        assert_eq!((server.weight, server.active, server.inactive), (2, 1, 40));
    }

    #[test]
    fn connections_are_read_back() {
        let listing = "IPVS connection entries
pro expire state       source             virtual            destination
TCP 01:59  TIME_WAIT   172.16.0.100:56978 172.16.0.1:80      192.168.1.2:80
";
        let [connection] = &connections(listing)[..] else { panic!("{listing}") };
        assert_eq!((connection.expires_s, connection.state.as_str()), (119, "TIME_WAIT"));
        assert_eq!(connection.identity()[1..4], ["172.16.0.100:56978", "172.16.0.1:80", "192.168.1.2:80"]);
    }

    #[test]
    fn statistics_are_read_back() {
        let listing = "IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes
  -> RemoteAddress:Port
UDP  172.16.0.1:53                       6        6        6      228      228
  -> 192.168.1.2:53                      3        3        3      114      114
";
        let stats = stats(listing);
        assert_eq!(stats["172.16.0.1:53"], [6, 6, 6, 228, 228]);
        assert_eq!(stats["192.168.1.2:53"], [3, 3, 3, 114, 114]);
    }
}
