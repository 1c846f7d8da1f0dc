//! `rlvs drops`: which packets were dropped, why, and what the last of them looked like.

pub mod summary;

use std::io::{self, Write};

use anyhow::{Result, bail};
use clap::Args;
use rlvs_ipvs::local::{DropReason, Reply, Request, Sample};
use serde::Serialize;

use crate::ask::{ask, odd};
use summary::summary;

/// What was typed.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Print one JSON array
    #[arg(long)]
    json: bool,
    /// Only this reason, with or without `drop_` before it
    #[arg(long, value_name = "NAME")]
    reason: Option<String>,
    /// Print the bytes of the packets as well
    #[arg(long)]
    hex: bool,
}

/// A reason in JSON: as the daemon tells it, and what each packet is.
#[derive(Serialize)]
struct Shown<'a> {
    name: &'a str,
    meaning: &'a str,
    count: u64,
    samples: Vec<ShownSample<'a>>,
}

#[derive(Serialize)]
struct ShownSample<'a> {
    #[serde(flatten)]
    sample: &'a Sample,
    summary: String,
}

/// Asks and prints.
///
/// # Errors
/// Where no daemon runs here, or there is no such reason.
pub fn drops(options: &Options) -> Result<()> {
    let Reply::Drops { mut reasons } = ask(&Request::Drops)? else { return odd() };
    if let Some(wanted) = &options.reason {
        reasons.retain(|reason| reason.name == *wanted || reason.name.strip_prefix("drop_") == Some(wanted));
        if reasons.is_empty() {
            bail!("there is no reason {wanted}: `rlvs drops` lists them");
        }
    }
    let mut out = io::stdout().lock();
    if options.json {
        let shown: Vec<Shown<'_>> = reasons.iter().map(shown).collect();
        serde_json::to_writer(&mut out, &shown)?;
        writeln!(out)?;
    } else {
        reasons.iter().try_for_each(|reason| write_text(&mut out, reason, options.hex))?;
    }
    Ok(())
}

fn shown(reason: &DropReason) -> Shown<'_> {
    let sample = |sample| ShownSample { sample, summary: described(sample) };
    Shown {
        name: &reason.name,
        meaning: &reason.meaning,
        count: reason.count,
        samples: reason.samples.iter().map(sample).collect(),
    }
}

fn write_text(out: &mut impl Write, reason: &DropReason, hex: bool) -> io::Result<()> {
    writeln!(out, "{:<26} {:>12}  {}", reason.name, reason.count, reason.meaning)?;
    for sample in &reason.samples {
        writeln!(out, "  {:>8}  {:<15} {}", ago(sample.age_ms), sample.interface, described(sample))?;
        if hex {
            write_bytes(out, &bytes(&sample.bytes))?;
        }
    }
    Ok(())
}

fn write_bytes(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    for (line, chunk) in bytes.chunks(16).enumerate() {
        write!(out, "            {:04x} ", line * 16)?;
        chunk.iter().try_for_each(|byte| write!(out, " {byte:02x}"))?;
        writeln!(out)?;
    }
    Ok(())
}

fn described(sample: &Sample) -> String {
    format!("{}, {} bytes", summary(&bytes(&sample.bytes)), sample.length)
}

/// The bytes of hexadecimal digits, up to the first that is none.
fn bytes(hex: &str) -> Vec<u8> {
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    hex.as_bytes().chunks_exact(2).map_while(pair).collect()
}

/// A time in the past, in its largest unit.
fn ago(age_ms: u64) -> String {
    match age_ms / 1000 {
        0 => format!("{age_ms} ms"),
        seconds @ 1..=119 => format!("{seconds} s"),
        seconds @ 120..=7199 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_with_its_packets() -> io::Result<()> {
        let sample = Sample { age_ms: 61_000, interface: "eth0".into(), length: 3, bytes: "0a0b0c".into() };
        let reason =
            DropReason { name: "drop_no_route".into(), meaning: "no route".into(), count: 12, samples: vec![sample] };
        let mut text = Vec::new();
        write_text(&mut text, &reason, true)?;
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "drop_no_route                        12  no route");
        assert_eq!(lines[1], "      61 s  eth0            a frame cut off in its Ethernet header, 3 bytes");
        assert_eq!(lines[2], "            0000  0a 0b 0c");
        Ok(())
    }

    #[test]
    fn digits_become_bytes_and_times_units() {
        assert_eq!(bytes("0aFf7"), [10, 255]);
        assert!(bytes("zz").is_empty());
        assert_eq!(
            ["5 ms", "1 s", "119 s", "2 min", "2 h"],
            [5, 1999, 119_999, 120_000, 7_200_000].map(ago).each_ref().map(String::as_str)
        );
    }
}
