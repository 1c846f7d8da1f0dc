//! Scenarios that a real kernel and rlvs both run, from the command line.

use std::{env, fs, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand, ValueEnum};
use rlvs_tests::{
    Hook,
    differential::{Scenario, System, compare, guest, lab, run, scenarios},
    need,
};

/// Scenarios that a real kernel and rlvs both run
#[derive(Parser)]
#[command(name = "rlvs-differential")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// List the scenarios
    List,
    /// Boot a real kernel and record what it does
    Record {
        /// Parts of names of scenarios; all without
        words: Vec<String>,
        /// Keep the guest's files here
        #[arg(long)]
        dir: Option<PathBuf>,
    },
    /// Boot a real kernel and compare what it does with what is recorded
    Verify {
        /// Parts of names of scenarios; all without
        words: Vec<String>,
    },
    /// Run scenarios on rlvs and compare with what is recorded
    Compare {
        /// Parts of names of scenarios; all without
        words: Vec<String>,
        /// One hook only
        #[arg(long)]
        hook: Option<Hook>,
        /// Those that are not pending only
        #[arg(long)]
        done: bool,
    },
    /// Run scenarios on a system here and print or write the transcripts
    Run {
        /// Parts of names of scenarios; all without
        words: Vec<String>,
        /// Which IPVS
        #[arg(long)]
        system: SystemName,
        /// A file with the whole names of scenarios
        #[arg(long)]
        names: Option<PathBuf>,
        /// Where to write transcripts
        #[arg(long)]
        out: Option<PathBuf>,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum SystemName {
    /// The running kernel
    Kernel,
    /// rlvs on tc
    Tc,
    /// rlvs on XDP
    Xdp,
}

fn main() -> ExitCode {
    match execute(Args::parse().task) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("rlvs-differential: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(task: Task) -> Result<ExitCode> {
    match task {
        Task::List => scenarios::all().iter().for_each(|scenario| println!("{}", scenario.name)),
        Task::Record { words, dir } => record(&scenarios::named(&words), dir)?,
        Task::Verify { words } => return verify(&scenarios::named(&words)),
        Task::Compare { words, hook, done } => {
            let pending = compare::pending();
            let mut wanted = scenarios::named(&words);
            wanted.retain(|scenario| !done || !pending.contains(scenario.name));
            return compare_with_recorded(&wanted, hook);
        }
        Task::Run { words, system, names, out } => {
            let mut wanted = scenarios::named(&words);
            if let Some(names) = names {
                let names = fs::read_to_string(&names).with_context(|| format!("reading {}", names.display()))?;
                wanted.retain(|scenario| names.lines().any(|name| name == scenario.name));
            }
            run_here(&wanted, system, out)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn run_here(wanted: &[Scenario], system: SystemName, out: Option<PathBuf>) -> Result<()> {
    let system = match system {
        SystemName::Kernel => System::Kernel,
        SystemName::Tc => System::Rlvs(Hook::Tc),
        SystemName::Xdp => System::Rlvs(Hook::Xdp),
    };
    if system == System::Kernel {
        lab::load_modules();
    }
    if !lab::has_what_it_needs() {
        bail!("programs are missing");
    }
    run(system, wanted, |scenario, transcript| {
        let text = format!("{}\n", transcript.join("\n"));
        match &out {
            Some(out) => {
                let path = out.join(scenario.name).with_extension("txt");
                let written = fs::create_dir_all(path.parent().unwrap_or(out)).and_then(|()| fs::write(&path, text));
                written.unwrap_or_else(|error| panic!("writing {}: {error}", path.display()));
            }
            None => print!("== {}\n{text}", scenario.name),
        }
    });
    Ok(())
}

/// Runs scenarios in a guest; the transcripts, and what to call the system.
fn run_in_guest(wanted: &[Scenario], dir: Option<PathBuf>) -> Result<(rlvs_tests::differential::Transcripts, String)> {
    let runner = env::current_exe().context("the name of this program")?;
    let temporary = dir.clone().unwrap_or_else(|| env::temp_dir().join(format!("rlvs-guest-{}", std::process::id())));
    let result = guest::run(&runner, &temporary, wanted);
    if dir.is_none() {
        fs::remove_dir_all(&temporary).with_context(|| format!("removing {}", temporary.display()))?;
    }
    result.map_err(|error| anyhow::anyhow!("{error}"))
}

fn record(wanted: &[Scenario], dir: Option<PathBuf>) -> Result<()> {
    let (transcripts, system) = run_in_guest(wanted, dir)?;
    let mut failed = 0;
    for (name, transcript) in &transcripts {
        if let Some(complaint) = transcript.iter().find(|line| line.starts_with('!')) {
            eprintln!("{name}: {complaint}");
            failed += 1;
        } else {
            compare::record(name, &system, transcript)?;
        }
    }
    if failed > 0 {
        bail!("{failed} of {} scenarios were not recorded", transcripts.len());
    }
    println!("recorded {} scenarios under {system}", transcripts.len());
    Ok(())
}

fn verify(wanted: &[Scenario]) -> Result<ExitCode> {
    let (transcripts, system) = run_in_guest(wanted, None)?;
    println!("== {system} against the recordings");
    Ok(report(&compare::with_recorded(&transcripts, &[]), &[]))
}

fn compare_with_recorded(wanted: &[Scenario], hook: Option<Hook>) -> Result<ExitCode> {
    if !need::lab() || !lab::has_what_it_needs() {
        bail!("scenarios cannot run here");
    }
    let intended = compare::intended();
    let pending: Vec<_> = compare::pending().into_iter().collect();
    let mut code = ExitCode::SUCCESS;
    for hook in hook.map_or(vec![Hook::Tc, Hook::Xdp], |hook| vec![hook]) {
        let system = System::Rlvs(hook);
        println!("== {system}");
        let outcome =
            compare::with_recorded(&run(system, wanted, |scenario, _| eprintln!("{}", scenario.name)), &intended);
        if report(&outcome, &pending) != ExitCode::SUCCESS {
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

fn report(outcome: &compare::Outcome, pending: &[String]) -> ExitCode {
    for (name, differences) in &outcome.different {
        let note = if pending.contains(name) { " (pending)" } else { "" };
        println!("-- {name}{note}\n{differences}");
    }
    for name in outcome.equal.iter().filter(|name| pending.contains(name)) {
        println!("no longer pending: {name}");
    }
    outcome.unrecorded.iter().for_each(|name| println!("not recorded: {name}"));
    println!(
        "{} equal, {} different, {} not recorded",
        outcome.equal.len(),
        outcome.different.len(),
        outcome.unrecorded.len()
    );
    let unexpected = outcome.different.iter().any(|(name, _)| !pending.contains(name));
    if unexpected || !outcome.unrecorded.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
