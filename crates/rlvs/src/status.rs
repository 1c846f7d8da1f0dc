//! `rlvs status`: how the daemon of this network namespace and its data plane are.

use std::io::{self, Write};

use anyhow::Result;
use rlvs_core::verdict;
use rlvs_ipvs::local::{Reply, Request, Status};

use crate::ask::{ask, odd};

/// Asks the daemon and prints what it says: as text, or as JSON in one line.
///
/// # Errors
/// Where no daemon runs here, or it refuses.
pub fn status(json: bool) -> Result<()> {
    let Reply::Status(status) = ask(&Request::Status)? else { return odd() };
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer(&mut out, &status)?;
        writeln!(out)?;
    } else {
        write_text(&mut out, &status)?;
    }
    Ok(())
}

fn write_text(out: &mut impl Write, status: &Status) -> io::Result<()> {
    writeln!(out, "rlvsd {}, process {}, up {} s", status.version, status.pid, status.uptime_s)?;
    writeln!(
        out,
        "{} services, {} destinations, {} of at most {} connections",
        status.services, status.destinations, status.connections, status.connections_max
    )?;
    writeln!(out, "connection synchronisation: not done by this version")?;
    writeln!(out, "\ninterfaces")?;
    for (name, interface) in &status.interfaces {
        writeln!(out, "  {name:<15} {:<4} {}", interface.hook, interface.reason)?;
    }
    writeln!(out, "\npackets")?;
    for (_, name, meaning) in verdict::NAMES {
        let count = status.counters.get(*name).or_else(|| status.drops.get(*name)).copied().unwrap_or(0);
        if count > 0 {
            writeln!(out, "  {name:<25} {count:>12}  {meaning}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlvs_ipvs::local::InterfaceStatus;

    #[test]
    fn text_shows_what_happened_and_leaves_out_what_did_not() -> io::Result<()> {
        let interface = InterfaceStatus { hook: "tc".into(), reason: "as asked for".into() };
        let status = Status {
            version: "0.1.0".into(),
            pid: 7,
            interfaces: [("eth0".into(), interface)].into(),
            drops: [("drop_no_route".into(), 3), ("drop_raced".into(), 0)].into(),
            counters: [("forwarded".into(), 12)].into(),
            ..Status::default()
        };
        let mut text = Vec::new();
        write_text(&mut text, &status)?;
        let text = String::from_utf8_lossy(&text);
        assert!(text.contains("  eth0            tc   as asked for\n"), "{text}");
        assert!(text.contains("  drop_no_route                        3  no route\n"), "{text}");
        assert!(text.contains("  forwarded                           12  rewritten and sent\n"), "{text}");
        assert!(!text.contains("drop_raced"), "{text}");
        Ok(())
    }
}
