//! `rlvsd`: the director's daemon, in the foreground; logs go to stderr.

use std::{io::IsTerminal, process::ExitCode};

use clap::Parser;
use rlvsd::{
    attach::{Choice, TcStyle},
    daemon::{self, Options},
    loader::Sizes,
};
use tracing_subscriber::EnvFilter;

/// The rlvs director's daemon: one for each network namespace. It stays in the foreground and logs to stderr.
/// SIGTERM ends it and leaves forwarding at work; `rlvs unload` ends that.
#[derive(Parser)]
#[command(name = "rlvsd", version)]
struct Args {
    /// Where to hook in: XDP where the driver runs it on real frames and tc elsewhere, or one of them everywhere
    #[arg(long, value_enum, default_value_t = Choice::Auto)]
    hook: Choice,
    /// Interface to balance on; may be given several times. Default: every Ethernet interface, later ones included
    #[arg(long = "interface", value_name = "NAME")]
    interfaces: Vec<String>,
    /// How tc programs are attached
    #[arg(long, value_enum, default_value_t = TcStyle::Auto)]
    tc_attach: TcStyle,
    /// Most connections at once; each takes about 350 bytes, allocated at start
    #[arg(long, value_name = "N", default_value_t = Sizes::CONNS, value_parser = clap::value_parser!(u32).range(1..=MAX_ROWS))]
    max_connections: u32,
    /// Most virtual services
    #[arg(long, value_name = "N", default_value_t = Sizes::SERVICES, value_parser = clap::value_parser!(u32).range(1..=MAX_ROWS))]
    max_services: u32,
    /// Most destinations over all services, removed ones that connections still name included
    #[arg(long, value_name = "N", default_value_t = Sizes::DESTS, value_parser = clap::value_parser!(u32).range(1..=MAX_ROWS))]
    max_destinations: u32,
}

/// Most rows of a table: beyond this the index of flows would not fit the kernel's 32-bit sizes.
const MAX_ROWS: i64 = 1 << 26;

fn main() -> ExitCode {
    let args = Args::parse();
    let filter = EnvFilter::try_from_env("RLVS_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let ansi = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(ansi)
        .init();
    let sizes = Sizes { services: args.max_services, dests: args.max_destinations, conns: args.max_connections };
    let options = Options { hook: args.hook, tc_style: args.tc_attach, interfaces: args.interfaces, sizes };
    match daemon::run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rlvsd: {error:#}");
            ExitCode::FAILURE
        }
    }
}
