//! `rlvs`: labs, and the commands around the director's daemon.

#![forbid(unsafe_code)]

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::anyhow;
use clap::{Args, Parser, Subcommand};
use rlvs::lab::{self, Claim, Downed, Error, Programs, Stop, daemon::Hook, nat::NatLab, preflight};

/// The Linux Virtual Server on eBPF: labs and tools.
#[derive(Parser)]
#[command(name = "rlvs", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a whole LVS cluster on this machine
    #[command(subcommand)]
    Lab(Lab),
    /// Show the daemon of this network namespace: interfaces, table sizes, what became of packets
    Status {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Show which packets were dropped and why, with the last of each reason
    Drops(rlvs::drops::Options),
    /// Read and write the settings that IPVS has in /proc/sys/net/ipv4/vs, in the manner of sysctl
    Sysctl(rlvs::sysctl::Options),
    /// Rules that give packets a firewall mark, for services by mark (ipvsadm -f)
    #[command(subcommand)]
    Mark(rlvs::mark::Command),
    /// Print the text of a file that IPVS has under /proc/net
    Proc {
        /// Which file
        file: rlvs::proc::File,
    },
    /// Take forwarding away: remove the programs and tables that a daemon left in this network namespace
    Unload,
}

#[derive(Subcommand)]
enum Lab {
    /// Balance HTTP requests over two real servers by NAT, as an LVS course does with four computers
    Nat(Nat),
    /// Take down all labs: those left up by --keep, and what is left of those that were killed
    Down,
}

#[derive(Args)]
struct Nat {
    /// How many requests the client makes, one after the other
    // The director keeps a row per connection for two minutes, in a table of 16,384.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    requests: u32,
    /// Where the director's programs are attached
    #[arg(long, value_enum, default_value_t)]
    hook: Hook,
    /// Leave the lab up until Ctrl-C, and say how to enter its hosts
    #[arg(long)]
    keep: bool,
    /// Print the outcome as one JSON object
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    match run(&Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            // Not eprintln!: it panics where nobody reads stderr any more.
            let _ = writeln!(io::stderr().lock(), "rlvs: {error}");
            match error.downcast_ref() {
                // As a shell reports a program that a signal ended.
                Some(Error::Stopped(signal)) => ExitCode::from(u8::try_from(128 + signal).unwrap_or(1)),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Lab(Lab::Nat(options)) => nat(options),
        Command::Lab(Lab::Down) => down(),
        Command::Status { json } => rlvs::status::status(*json).map(|()| ExitCode::SUCCESS),
        Command::Drops(options) => rlvs::drops::drops(options).map(|()| ExitCode::SUCCESS),
        Command::Sysctl(options) => {
            rlvs::sysctl::sysctl(options).map(|good| if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Mark(command) => rlvs::mark::mark(command).map(|()| ExitCode::SUCCESS),
        Command::Proc { file } => rlvs::proc::proc(*file).map(|()| ExitCode::SUCCESS),
        Command::Unload => {
            if !rlvs::unload::unload()? {
                writeln!(io::stdout(), "nothing is loaded in this network namespace")?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn nat(options: &Nat) -> anyhow::Result<ExitCode> {
    preflight::check()?;
    let programs = Programs::find()?;
    let stop = Stop::on_signals()?;
    let mut lab = NatLab::up(Claim::take("nat")?, programs, options.hook, &stop)?;
    let report = lab.request(options.requests as usize, &stop)?;
    let mut out = io::stdout().lock();
    let written = if options.json {
        serde_json::to_writer(&mut out, &report).map_err(io::Error::from).and_then(|()| writeln!(out))
    } else {
        report.write_text(&mut out)
    };
    written.and_then(|()| out.flush()).map_err(|error| anyhow!("cannot write the outcome: {error}"))?;
    drop(out);
    if options.keep {
        lab.keep(&stop)?;
    }
    drop(lab);
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn down() -> anyhow::Result<ExitCode> {
    preflight::check_root()?;
    let downed = lab::down()?;
    let mut out = io::stdout().lock();
    if downed.is_empty() {
        writeln!(out, "no lab is up")?;
    }
    for downed in downed {
        match downed {
            Downed::Stopped { lab, pid } => writeln!(out, "stopped the {lab} lab (process {pid})")?,
            Downed::Cleared { lab } => writeln!(out, "removed what was left of the {lab} lab")?,
        }
    }
    Ok(ExitCode::SUCCESS)
}
