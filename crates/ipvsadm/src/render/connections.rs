//! Connections, from the text of `ip_vs_conn` (ipvsadm.md §8.5, netlink.md §8).

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};

use rlvs_ipvs::model::Protocol;

use super::label::Labels;

/// Why connections cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionsError {
    /// The text is not that of the file.
    #[error("unexpected input from /proc/net/ip_vs_conn")]
    Unexpected,
    /// The listing cannot be written.
    #[error(transparent)]
    Write(#[from] io::Error),
}

/// One line of the file.
struct Entry<'a> {
    protocol: &'a str,
    ends: [(IpAddr, u16); 3],
    state: &'a str,
    expires_s: u32,
    /// Name and data of the persistence engine.
    engine: Option<(&'a str, &'a str)>,
}

/// Prints the connections in the text of the file, in its order. The first line of the text is its title.
///
/// # Errors
/// [`ConnectionsError::Unexpected`] if there is no title or a line is none of the file's; what was printed
/// before stays printed. [`ConnectionsError::Write`] as the writer says.
pub fn connections(
    out: &mut dyn Write,
    labels: Labels<'_>,
    text: &str,
    with_engine: bool,
) -> Result<(), ConnectionsError> {
    let mut lines = text.lines();
    lines.next().ok_or(ConnectionsError::Unexpected)?;
    let more = if with_engine { "        pe name          pe_data" } else { "" };
    writeln!(out, "IPVS connection entries")?;
    writeln!(out, "pro expire state       source             virtual            destination{more}")?;
    for line in lines {
        let entry = parse(line).ok_or(ConnectionsError::Unexpected)?;
        print(out, labels, &entry, with_engine)?;
    }
    Ok(())
}

fn print(out: &mut dyn Write, labels: Labels<'_>, entry: &Entry<'_>, with_engine: bool) -> io::Result<()> {
    let protocol = protocol(entry.protocol);
    let [client, service, server] = entry.ends.map(|(address, port)| labels.endpoint(address, port, protocol));
    let expires = format!("{:02}:{:02}", entry.expires_s / 60, entry.expires_s % 60);
    write!(out, "{:<3} {expires:<6} {:<11} {client:<18} {service:<18} ", entry.protocol, entry.state)?;
    match entry.engine.filter(|_| with_engine) {
        Some((name, data)) => writeln!(out, "{server:<16} {name:<18} {data}"),
        None => writeln!(out, "{server}"),
    }
}

fn parse(line: &str) -> Option<Entry<'_>> {
    let mut words = line.split_ascii_whitespace();
    let protocol = words.next()?;
    let mut end = || Some((parse_address(words.next()?)?, u16::from_str_radix(words.next()?, 16).ok()?));
    let ends = [end()?, end()?, end()?];
    let state = words.next()?;
    let expires_s = words.next()?.parse().ok()?;
    let engine = words.next().zip(words.next());
    Some(Entry { protocol, ends, state, expires_s, engine })
}

/// Eight hex digits, or an address in its usual form.
fn parse_address(word: &str) -> Option<IpAddr> {
    let is_hex = word.len() == 8 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hex {
        return u32::from_str_radix(word, 16).ok().map(|bits| Ipv4Addr::from_bits(bits).into());
    }
    word.parse().ok()
}

fn protocol(name: &str) -> Option<Protocol> {
    match name {
        "TCP" => Some(Protocol::TCP),
        "UDP" => Some(Protocol::UDP),
        "SCTP" => Some(Protocol::SCTP),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(text: &str) -> (String, Result<(), ConnectionsError>) {
        let mut out = Vec::new();
        let result = connections(&mut out, Labels { names: None }, text, false);
        (String::from_utf8(out).expect("text"), result)
    }

    #[test]
    fn odd_texts_are_refused() {
        assert!(matches!(listed(""), (out, Err(ConnectionsError::Unexpected)) if out.is_empty()));
        for line in ["TCP", "TCP 0A090002 9C40 0A000001 0050 0A080002 1F90 NONE x", "TCP x 1 x 1 x 1 NONE 1", ""] {
            assert!(matches!(listed(&format!("title\n{line}\n")).1, Err(ConnectionsError::Unexpected)), "{line:?}");
        }
    }

    #[test]
    fn addresses_in_any_form() {
        let (out, result) = listed("title\nTCP 10.9.0.2 9C40 2001:db8::1 0050 0A080002 1F90 NONE 3661\n");
        assert!(result.is_ok());
        let last = out.lines().last().expect("a line");
        assert_eq!(last, "TCP 61:01  NONE        10.9.0.2:40000     [2001:db8::1]:80   10.8.0.2:8080");
    }
}
