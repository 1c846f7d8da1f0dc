//! Addresses as typed and as shown (ipvsadm.md §5.1).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rlvs_ipvs::model::Protocol;

use crate::resolve::Names;
use crate::values::{is_blank, number_in};

/// An address with a port that may have been left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// The address.
    pub address: IpAddr,
    /// The port in host order.
    pub port: Option<u16>,
}

/// Reads `host`, `host:port`, `[v6]:port` or a bare IPv6 address. Port names are looked up with the protocol,
/// and not at all without one.
pub fn parse(text: &str, protocol: Option<Protocol>, names: &dyn Names) -> Option<HostPort> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    if let Some(bracketed) = text.strip_prefix('[') {
        let (inside, outside) = bracketed.split_once(']')?;
        let port = outside.strip_prefix(':')?;
        return match inside.parse::<Ipv6Addr>() {
            Ok(v6) => Some(HostPort { address: v6.into(), port: Some(parse_port(port, protocol, names)?) }),
            // What is no IPv6 address within brackets is read as if it stood alone; the port outside is lost.
            Err(_) => parse_v4(inside, protocol, names),
        };
    }
    if let Ok(v6) = text.parse::<Ipv6Addr>() {
        return Some(HostPort { address: v6.into(), port: None });
    }
    parse_v4(text, protocol, names)
}

/// The IPv4 address of a host: numbers by the C library's loose rules, else a name.
pub fn host_v4(text: &str, names: &dyn Names) -> Option<Ipv4Addr> {
    loose_v4(text).or_else(|| names.host_address(text))
}

fn parse_v4(text: &str, protocol: Option<Protocol>, names: &dyn Names) -> Option<HostPort> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let address = IpAddr::V4(host_v4(host, names)?);
    let port = match port {
        Some(port) => Some(parse_port(port, protocol, names)?),
        None => None,
    };
    Some(HostPort { address, port })
}

/// A port as a number 0..=65535, else as a service's name.
fn parse_port(text: &str, protocol: Option<Protocol>, names: &dyn Names) -> Option<u16> {
    number_in(text, 0..=u16::MAX).or_else(|| names.service_port(text, protocol?))
}

/// One to four numbers in decimal, octal (`0..`) or hexadecimal (`0x..`), of which the last fills all bytes
/// left. What follows a blank is ignored.
fn loose_v4(text: &str) -> Option<Ipv4Addr> {
    let text = text.split(is_blank).next()?;
    let parts: Vec<u32> = text.split('.').map(loose_number).collect::<Option<_>>()?;
    let (last, leading) = parts.split_last()?;
    let mut value = 0u32;
    for (index, &part) in leading.iter().enumerate() {
        let part = u8::try_from(part).ok()?;
        value |= u32::from(part) << 24u32.checked_sub(8 * u32::try_from(index).ok()?)?;
    }
    let bits_left = 32u32.checked_sub(8 * u32::try_from(leading.len()).ok()?).filter(|&bits| bits > 0)?;
    let fits = bits_left == 32 || *last < 1 << bits_left;
    fits.then(|| Ipv4Addr::from_bits(value | last))
}

fn loose_number(text: &str) -> Option<u32> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.len() > 1 && text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    let is_number = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix));
    if is_number { u32::from_str_radix(digits, radix).ok() } else { None }
}

/// An address as the C library prints it: it shows the last 32 bits of IPv4-mapped and IPv4-compatible
/// addresses in dotted form, where Rust shows only those of the former so.
#[derive(Clone, Copy, Debug)]
pub struct Shown(pub IpAddr);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V6(v6) => match v6.segments() {
                // Six zero groups exactly: with seven the last group stands alone.
                [0, 0, 0, 0, 0, 0, high, _] if high != 0 => {
                    let [.., a, b, c, d] = v6.octets();
                    write!(f, "::{}", Ipv4Addr::new(a, b, c, d))
                }
                _ => write!(f, "{v6}"),
            },
            IpAddr::V4(v4) => write!(f, "{v4}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolve::NoNames;

    fn read(text: &str) -> Option<(String, Option<u16>)> {
        parse(text, Some(Protocol::TCP), &NoNames).map(|found| (found.address.to_string(), found.port))
    }

    fn is(address: &str, port: Option<u16>) -> Option<(String, Option<u16>)> {
        Some((address.to_owned(), port))
    }

    #[test]
    fn what_reads_as_an_address() {
        assert_eq!(read("10.0.0.1:80"), is("10.0.0.1", Some(80)));
        assert_eq!(read("10.0.0.1: 080"), is("10.0.0.1", Some(80)));
        assert_eq!(read("10.1"), is("10.0.0.1", None));
        assert_eq!(read("0x0a000001"), is("10.0.0.1", None));
        assert_eq!(read("012.0.0.1 x:80"), is("10.0.0.1", Some(80)));
        assert_eq!(read("[2001:db8::1]:80"), is("2001:db8::1", Some(80)));
        assert_eq!(read("2001:db8::1:80"), is("2001:db8::1:80", None));
        assert_eq!(read("[10.0.0.1]:80"), is("10.0.0.1", None));
        assert_eq!(read("[10.0.0.1:81]:80"), is("10.0.0.1", Some(81)));
    }

    #[test]
    fn what_does_not() {
        for text in [
            "",
            "10",
            ":80",
            ":",
            "10.0.0.1:",
            "10.0.0.1:65536",
            "10.0.0.1:http",
            "1.2.3.4:5:6",
            "[2001:db8::1]",
            "[10.0.0.1]",
            "[2001:db8::1]80",
            "[2001:db8::1",
            "256.0.0.1",
            "1.2.3.4.5",
            "1.2.3.256",
            "1..2",
            "08.1.1.1",
            "host",
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }

    #[test]
    fn addresses_as_the_c_library_shows_them() {
        for (text, shown) in [
            ("::", "::"),
            ("::1", "::1"),
            ("::102:304", "::1.2.3.4"),
            ("::ffff:1.2.3.4", "::ffff:1.2.3.4"),
            ("2001:db8:0:0:1:0:0:0", "2001:db8:0:0:1::"),
            ("1:0:2:3:4:5:6:7", "1:0:2:3:4:5:6:7"),
        ] {
            let address: Ipv6Addr = text.parse().expect("an address");
            assert_eq!(Shown(address.into()).to_string(), shown);
        }
    }
}
