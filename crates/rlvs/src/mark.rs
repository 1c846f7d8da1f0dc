//! `rlvs mark`: rules that give packets a firewall mark.

use std::io::{self, Write};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use rlvs_ipvs::{
    local::{MarkChoice, Reply, Request},
    marks::{MarkRule, Network, Ports, protocol_number},
    model::Family,
};

use crate::ask::{ask, odd, tell};

/// What to do with the rules.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Add a rule after the others: a packet that fits all of it has the mark
    Add(Words),
    /// Show the rules in the order in which they are tried, in the words that add them
    List {
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Remove a rule: by its number in the list, or by the words that added it
    Delete(Which),
    /// Remove all rules
    Flush,
}

/// A rule as typed.
#[derive(Args, Clone, Debug)]
pub struct Words {
    /// For IPv4 packets; needs no saying where an address says it
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    ipv4: bool,
    /// For IPv6 packets
    #[arg(short = '6', long)]
    ipv6: bool,
    /// Where packets come from
    #[arg(long, value_name = "ADDRESS[/PREFIX]")]
    source: Option<Network>,
    /// Where they go
    #[arg(long, value_name = "ADDRESS[/PREFIX]")]
    destination: Option<Network>,
    /// Their protocol: tcp, udp, sctp, or a number; left out: any
    #[arg(long, value_parser = protocol_number, value_name = "PROTOCOL")]
    protocol: Option<u8>,
    /// Their source port, or range of ports
    #[arg(long, value_name = "PORT[-PORT]")]
    source_port: Option<Ports>,
    /// Their destination port, or range of ports
    #[arg(long, value_name = "PORT[-PORT]")]
    destination_port: Option<Ports>,
    /// The mark, not 0; hexadecimal after 0x
    #[arg(long, value_parser = mark_number, value_name = "MARK")]
    mark: Option<u32>,
}

/// Which rule.
#[derive(Args, Clone, Debug)]
pub struct Which {
    /// Its number in the list
    #[arg(value_name = "NUMBER", exclusive = true)]
    number: Option<u32>,
    #[command(flatten)]
    words: Words,
}

fn mark_number(word: &str) -> Result<u32, String> {
    let parsed = match word.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => word.parse(),
    };
    parsed.map_err(|_| format!("`{word}' is no number of 32 bits"))
}

impl Words {
    /// The rule that they say.
    fn rule(&self) -> Result<MarkRule> {
        let said = match (self.ipv4, self.ipv6) {
            (true, _) => Some(Family::V4),
            (_, true) => Some(Family::V6),
            _ => None,
        };
        let networks = [self.source, self.destination];
        let of_networks = networks.into_iter().flatten().map(|network| network.family()).next();
        let Some(family) = said.or(of_networks) else { bail!("-4 or -6 must say for which packets, or an address") };
        if networks.into_iter().flatten().any(|network| network.family() != family) {
            bail!("source and destination are not of one address family");
        }
        let rule = MarkRule {
            source: self.source.unwrap_or(Network::any(family)),
            destination: self.destination.unwrap_or(Network::any(family)),
            protocol: self.protocol.unwrap_or(0),
            source_ports: self.source_port.unwrap_or(Ports::ANY),
            destination_ports: self.destination_port.unwrap_or(Ports::ANY),
            mark: self.mark.context("--mark is missing")?,
        };
        rule.check()?;
        Ok(rule)
    }
}

/// Does it.
///
/// # Errors
/// What makes no sense, or what the daemon says.
pub fn mark(command: &Command) -> Result<()> {
    match command {
        Command::Add(words) => tell(&Request::AddMark { rule: words.rule()? }),
        Command::List { json } => list(*json),
        Command::Delete(Which { number, words }) => {
            let rule = match number {
                Some(number) => MarkChoice::Place(*number),
                None => MarkChoice::Rule(words.rule()?),
            };
            tell(&Request::DeleteMark { rule })
        }
        Command::Flush => tell(&Request::FlushMarks),
    }
}

fn list(json: bool) -> Result<()> {
    let Reply::Marks { rules } = ask(&Request::Marks)? else { return odd() };
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer(&mut out, &rules)?;
        writeln!(out)?;
    } else {
        for (place, rule) in (1..).zip(&rules) {
            writeln!(out, "{place}: {rule}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        command: Command,
    }

    fn parse(words: &str) -> Result<Command, clap::Error> {
        Line::try_parse_from(["mark"].into_iter().chain(words.split(' '))).map(|line| line.command)
    }

    fn rule(words: &str) -> Result<MarkRule> {
        match parse(&format!("add {words}"))? {
            Command::Add(words) => words.rule(),
            _ => bail!("no rule"),
        }
    }

    #[test]
    fn the_words_of_the_list_make_the_rule_again() -> Result<()> {
        for words in [
            "-4 --source 10.0.0.0/8 --destination 192.0.2.1/32 --protocol tcp --destination-port 80-443 --mark 7",
            "-6 --destination 2001:db8::/32 --protocol sctp --source-port 5 --mark 1",
            "-4 --protocol 47 --mark 4294967295",
            "-6 --mark 1",
        ] {
            assert_eq!(rule(words)?.to_string(), words);
        }
        assert_eq!(rule("--source ::1 --mark 0x10")?.to_string(), "-6 --source ::1/128 --mark 16");
        Ok(())
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for words in [
            "--mark 1",
            "-4",
            "-4 --mark 0",
            "-4 -6 --mark 1",
            "-4 --source ::1 --mark 1",
            "--source 10.0.0.1 --destination ::1 --mark 1",
            "-4 --destination-port 80 --mark 1",
            "-4 --protocol tcp --destination-port 90-80 --mark 1",
            "-4 --protocol ftp --mark 1",
            "-4 --mark x",
        ] {
            assert!(rule(words).is_err(), "{words}");
        }
    }

    #[test]
    fn a_rule_is_deleted_by_number_or_words() -> Result<()> {
        let which = |words: &str| match parse(words)? {
            Command::Delete(which) => Ok(which),
            other => bail!("{other:?}"),
        };
        assert_eq!(which("delete 2")?.number, Some(2));
        let by_words = which("delete -4 --mark 1")?;
        assert_eq!((by_words.number, by_words.words.rule()?.to_string().as_str()), (None, "-4 --mark 1"));
        assert!(which("delete 2 --mark 1").is_err(), "one or the other");
        assert!(which("delete x").is_err());
        assert!(which("delete")?.words.rule().is_err());
        Ok(())
    }
}
