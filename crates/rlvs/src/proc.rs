//! `rlvs proc`: the texts that IPVS has under /proc/net.

use std::io::{self, Write};

use anyhow::Result;
use clap::ValueEnum;
use rlvs_ipvs::local::{ProcFile, Reply, Request};

use crate::ask::{ask, odd};

/// A file's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum File {
    /// Services and destinations
    IpVs,
    /// Connections
    IpVsConn,
    /// Connections with their origin
    IpVsConnSync,
    /// Totals and rates
    IpVsStats,
    /// Totals of each CPU
    IpVsStatsPercpu,
    /// Application helpers
    IpVsApp,
}

impl From<File> for ProcFile {
    fn from(file: File) -> Self {
        match file {
            File::IpVs => Self::IpVs,
            File::IpVsConn => Self::IpVsConn,
            File::IpVsConnSync => Self::IpVsConnSync,
            File::IpVsStats => Self::IpVsStats,
            File::IpVsStatsPercpu => Self::IpVsStatsPercpu,
            File::IpVsApp => Self::IpVsApp,
        }
    }
}

/// Prints the text of a file.
///
/// # Errors
/// Where no daemon runs here, or nobody reads.
pub fn proc(file: File) -> Result<()> {
    match ask(&Request::Proc { file: file.into() })? {
        Reply::Proc { text } => Ok(io::stdout().lock().write_all(text.as_bytes())?),
        _ => odd(),
    }
}
