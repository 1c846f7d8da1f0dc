//! Rules that give packets a firewall mark. Netfilter's own marks are set after rlvs has seen a packet, so rlvs has rules of its
//! own; the first that fits decides.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::model::Family;

/// A network: an address whose host bits are 0, and how many bits are those of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// A text that is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}' is no address, and no network like 192.0.2.0/24 or 2001:db8::/32")]
pub struct NetworkError(String);

impl Network {
    /// The network of an address; bits beyond the first `prefix` do not matter. `None` where the family has not so many.
    pub fn new(address: IpAddr, prefix: u8) -> Option<Network> {
        let address = match address {
            IpAddr::V4(v4) if prefix <= 32 => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & ones_v4(prefix))),
            IpAddr::V6(v6) if prefix <= 128 => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & ones_v6(prefix))),
            _ => return None,
        };
        Some(Network { address, prefix })
    }

    /// The network that every address of a family is in.
    pub fn any(family: Family) -> Network {
        Network { address: family.unspecified(), prefix: 0 }
    }

    /// Its address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// How many bits are those of the network.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Those bits, as an address.
    pub fn mask(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(ones_v4(self.prefix))),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(ones_v6(self.prefix))),
        }
    }

    /// The network of an address and the mask that [`Network::mask`] gave.
    pub fn masked(address: IpAddr, mask: IpAddr) -> Option<Network> {
        let prefix = match mask {
            IpAddr::V4(v4) => v4.to_bits().leading_ones(),
            IpAddr::V6(v6) => v6.to_bits().leading_ones(),
        };
        Network::new(address, u8::try_from(prefix).ok()?)
    }

    /// Its family.
    pub fn family(&self) -> Family {
        Family::of(self.address)
    }
}

fn ones_v4(count: u8) -> u32 {
    !u32::MAX.checked_shr(count.into()).unwrap_or(0)
}

fn ones_v6(count: u8) -> u128 {
    !u128::MAX.checked_shr(count.into()).unwrap_or(0)
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Network, NetworkError> {
        let parsed = match text.split_once('/') {
            Some((address, prefix)) => address.parse().ok().zip(prefix.parse().ok()),
            None => text.parse().ok().map(|address: IpAddr| (address, if address.is_ipv4() { 32 } else { 128 })),
        };
        let network = parsed.and_then(|(address, prefix)| Network::new(address, prefix));
        network.ok_or_else(|| NetworkError(text.to_owned()))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl TryFrom<String> for Network {
    type Error = NetworkError;

    fn try_from(text: String) -> Result<Network, NetworkError> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> String {
        network.to_string()
    }
}

/// Ports in host order, the first and the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ports(pub u16, pub u16);

impl Ports {
    /// Every port.
    pub const ANY: Ports = Ports(0, u16::MAX);
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Ports, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let ports = first.parse().ok().zip(last.parse().ok()).filter(|(first, last)| first <= last);
        let (first, last) = ports.ok_or_else(|| format!("`{text}' is no port and no range like 80-443"))?;
        Ok(Ports(first, last))
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == self.1 { write!(f, "{}", self.0) } else { write!(f, "{}-{}", self.0, self.1) }
    }
}

/// A rule: a packet that fits all of it has the mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MarkRule {
    /// Where packets come from.
    pub source: Network,
    /// Where they go; of the same family.
    pub destination: Network,
    /// IP protocol number, 0 for any.
    pub protocol: u8,
    /// Source ports; all of them unless the protocol has ports.
    pub source_ports: Ports,
    /// Destination ports; all of them unless the protocol has ports.
    pub destination_ports: Ports,
    /// The mark, not 0.
    pub mark: u32,
}

/// Why a rule makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// The networks are not of one family.
    #[error("source and destination are not of one address family")]
    Families,
    /// A mark of 0 is no mark.
    #[error("mark 0 is no mark")]
    NoMark,
    /// Ports without a protocol that has them.
    #[error("only tcp, udp and sctp have ports")]
    NoPorts,
    /// A range that ends before it begins.
    #[error("a range of ports ends before it begins")]
    PortRange,
}

/// Protocols with ports, by number and name.
const WITH_PORTS: [(u8, &str); 3] = [(6, "tcp"), (17, "udp"), (132, "sctp")];

impl MarkRule {
    /// The family of the packets it is for.
    pub fn family(&self) -> Family {
        self.source.family()
    }

    /// Whether it makes sense.
    ///
    /// # Errors
    /// The first thing that does not.
    pub fn check(&self) -> Result<(), RuleError> {
        let ports = [self.source_ports, self.destination_ports];
        if self.source.family() != self.destination.family() {
            return Err(RuleError::Families);
        }
        if self.mark == 0 {
            return Err(RuleError::NoMark);
        }
        if ports.iter().any(|ports| ports.0 > ports.1) {
            return Err(RuleError::PortRange);
        }
        let has_ports = WITH_PORTS.iter().any(|(number, _)| *number == self.protocol);
        if !has_ports && ports != [Ports::ANY; 2] {
            return Err(RuleError::NoPorts);
        }
        Ok(())
    }
}

/// The number of a protocol, from its name or number.
///
/// # Errors
/// What to say of a word that is neither.
pub fn protocol_number(word: &str) -> Result<u8, String> {
    let named = WITH_PORTS.iter().find(|(_, name)| *name == word).map(|(number, _)| *number);
    let number = named.or_else(|| word.parse().ok());
    number.ok_or_else(|| format!("`{word}' is none of tcp, udp, sctp, and no number below 256"))
}

/// The words of `rlvs mark add` that make this rule.
impl fmt::Display for MarkRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let any = Network::any(self.family());
        f.write_str(match self.family() {
            Family::V4 => "-4",
            Family::V6 => "-6",
        })?;
        for (name, network) in [("source", self.source), ("destination", self.destination)] {
            if network != any {
                write!(f, " --{name} {network}")?;
            }
        }
        match WITH_PORTS.iter().find(|(number, _)| *number == self.protocol) {
            Some((_, name)) => write!(f, " --protocol {name}")?,
            None if self.protocol != 0 => write!(f, " --protocol {}", self.protocol)?,
            None => {}
        }
        for (name, ports) in [("source", self.source_ports), ("destination", self.destination_ports)] {
            if ports != Ports::ANY {
                write!(f, " --{name}-port {ports}")?;
            }
        }
        write!(f, " --mark {}", self.mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().expect("a network")
    }

    fn rule() -> MarkRule {
        MarkRule {
            source: network("10.1.2.3/8"),
            destination: network("192.0.2.1"),
            protocol: 6,
            source_ports: Ports::ANY,
            destination_ports: Ports(80, 443),
            mark: 7,
        }
    }

    #[test]
    fn networks_lose_their_host_bits_and_come_back_from_their_masks() {
        for (text, shown) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("1.2.3.4/0", "0.0.0.0/0"),
            ("2001:db8:ffff::1/33", "2001:db8:8000::/33"),
            ("::1", "::1/128"),
            ("ffff::/0", "::/0"),
        ] {
            let network = network(text);
            assert_eq!(network.to_string(), shown);
            assert_eq!(Network::masked(network.address(), network.mask()), Some(network));
        }
        for bad in ["", "10.0.0.0/33", "::/129", "10.0.0.0/", "/8", "10.0.0/8", "10.0.0.0/-1", "a"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }

    #[test]
    fn ranges_of_ports() {
        assert_eq!("80".parse(), Ok(Ports(80, 80)));
        assert_eq!("0-65535".parse(), Ok(Ports::ANY));
        for bad in ["", "-", "80-", "443-80", "65536", "a-b", "1-2-3"] {
            assert!(bad.parse::<Ports>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        assert_eq!(rule().check(), Ok(()));
        assert_eq!(MarkRule { mark: 0, ..rule() }.check(), Err(RuleError::NoMark));
        assert_eq!(MarkRule { source: network("::/0"), ..rule() }.check(), Err(RuleError::Families));
        assert_eq!(MarkRule { protocol: 1, ..rule() }.check(), Err(RuleError::NoPorts));
        assert_eq!(MarkRule { protocol: 0, destination_ports: Ports::ANY, ..rule() }.check(), Ok(()));
        assert_eq!(MarkRule { source_ports: Ports(2, 1), ..rule() }.check(), Err(RuleError::PortRange));
    }

    #[test]
    fn a_rule_is_its_words_and_its_json() {
        let words =
            "-4 --source 10.0.0.0/8 --destination 192.0.2.1/32 --protocol tcp --destination-port 80-443 --mark 7";
        assert_eq!(rule().to_string(), words);
        let any = Network::any(Family::V6);
        let all = MarkRule { source: any, destination: any, protocol: 47, destination_ports: Ports::ANY, ..rule() };
        assert_eq!(all.to_string(), "-6 --protocol 47 --mark 7");
        let json = serde_json::to_string(&rule()).expect("json");
        assert!(json.starts_with(r#"{"source":"10.0.0.0/8","destination":"192.0.2.1/32","protocol":6,"#), "{json}");
        assert_eq!(serde_json::from_str::<MarkRule>(&json).expect("a rule"), rule());
    }

    #[test]
    fn protocols_by_name_and_number() {
        assert_eq!(protocol_number("sctp"), Ok(132));
        assert_eq!(protocol_number("47"), Ok(47));
        assert!(protocol_number("256").is_err() && protocol_number("x").is_err());
    }
}
