//! The project's own tasks: `cargo xtask TASK`.

mod bpf;
mod differential;
mod kernels;
mod packages;
mod test;

use std::{env, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use xshell::Shell;

/// The project's own tasks
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build the eBPF object that rlvsd embeds, and record the toolchain that built it
    Bpf {
        /// Change nothing; fail unless the committed object is what the recorded toolchain makes of the sources
        #[arg(long)]
        check: bool,
    },
    /// Boot Debian's kernel in an emulator and run lab, load and parity tests in it (about a minute)
    VerifyKernels,
    /// Boot a real kernel and record what its IPVS does in the differential scenarios (about ten minutes)
    RecordDifferential {
        /// Parts of names of scenarios; all without
        words: Vec<String>,
    },
    /// Run all checks: format, lints, licences, every test, and the eBPF object
    Test,
}

fn main() -> ExitCode {
    match run(&Args::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: &Task) -> Result<()> {
    // Tasks name files from the folder of the workspace, from wherever they are called.
    env::set_current_dir(root()?)?;
    let shell = Shell::new()?;
    match task {
        Task::Bpf { check: false } => bpf::update(&shell),
        Task::Bpf { check: true } => bpf::check(&shell),
        Task::VerifyKernels => kernels::verify(&shell),
        Task::RecordDifferential { words } => differential::record(&shell, words),
        Task::Test => test::run(&shell),
    }
}

/// The folder of the workspace.
fn root() -> Result<PathBuf> {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map(PathBuf::from).context("xtask lies in no folder")
}
