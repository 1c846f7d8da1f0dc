//! All checks, in the order in which they fail fastest.

use std::{env, path::PathBuf, time::Instant};

use anyhow::{Context, Result};
use rustix::process::getuid;
use xshell::{Shell, cmd};

use crate::{bpf, differential, packages};

/// Programs that the scenarios run against the real thing.
const TEST_PACKAGES: [&str; 12] = [
    "curl",
    "dnsmasq-base",
    "ethtool",
    "iperf3",
    "iproute2",
    "iptables",
    "iputils-ping",
    "mount",
    "bind9-dnsutils",
    "nginx-light",
    "traceroute",
    "util-linux",
];
const DENY_VERSION: &str = "0.20.2";

/// One check: its name and what it does.
type Check = (&'static str, fn(&Shell) -> Result<()>);

/// Checks that need no rights.
const UNPRIVILEGED: [Check; 5] = [
    ("format", format),
    ("lints", |shell| Ok(cmd!(shell, "cargo clippy --workspace --all-targets --quiet -- -D warnings").run()?)),
    ("licences and sources of dependencies", deny),
    ("programs", |shell| Ok(cmd!(shell, "cargo build --release --quiet").run()?)),
    ("unit and property tests", |shell| Ok(cmd!(shell, "cargo test --quiet --workspace --exclude rlvs-tests").run()?)),
];

/// Checks in network namespaces, with eBPF programs in the running kernel.
const PRIVILEGED: [Check; 2] = [
    ("the eBPF object", bpf::check),
    ("parity, load and scenarios", |shell| {
        Ok(cmd!(shell, "cargo test --package rlvs-tests --no-fail-fast -- --test-threads=1").run()?)
    }),
];

/// Runs them all; says at the end what was left out and why.
///
/// # Errors
/// That of the first check that fails.
pub fn run(shell: &Shell) -> Result<()> {
    let mut skipped = vec![];
    if packages::may_install(shell) {
        packages::install(shell, &TEST_PACKAGES)?;
        // Not every distribution has that kernel; the test that needs it says so, and relies on what was recorded.
        if let Err(error) = packages::install(shell, &differential::PACKAGES) {
            skipped.push(format!("a real kernel beside the recordings: {error:#}"));
        }
    } else {
        skipped.push(format!("nothing was installed; scenarios skip what needs one of: {}", TEST_PACKAGES.join(" ")));
    }
    UNPRIVILEGED.iter().try_for_each(|check| timed(shell, check))?;
    if getuid().is_root() {
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
        let _programs = shell.push_env("RLVS_BIN_DIR", env::current_dir()?.join(target).join("release"));
        // Here everything can be had, so a scenario that finds a program missing fails.
        let _env = packages::may_install(shell).then(|| shell.push_env("RLVS_TEST_REQUIRE_ALL", "1"));
        PRIVILEGED.iter().try_for_each(|check| timed(shell, check))?;
    } else {
        skipped.extend(PRIVILEGED.iter().map(|(name, _)| format!("{name}: needs root")));
    }
    skipped.iter().for_each(|what| eprintln!("SKIPPED: {what}"));
    eprintln!("all checks passed{}", if skipped.is_empty() { "" } else { ", but for what was skipped" });
    Ok(())
}

fn timed(shell: &Shell, (name, check): &Check) -> Result<()> {
    let begin = Instant::now();
    eprintln!("== {name}");
    check(shell).with_context(|| format!("check failed: {name}"))?;
    eprintln!("== {name}: {:.0} s", begin.elapsed().as_secs_f64());
    Ok(())
}

/// The workspace, and the eBPF crate, which is no member of it.
fn format(shell: &Shell) -> Result<()> {
    cmd!(shell, "cargo fmt --all --check").run()?;
    Ok(cmd!(shell, "rustfmt --check --edition 2024 crates/ebpf/src/main.rs").run()?)
}

/// cargo-deny without its advisories, which come from a repository that a build machine may not reach.
fn deny(shell: &Shell) -> Result<()> {
    let version = cmd!(shell, "cargo-deny --version").quiet().ignore_stderr().read().unwrap_or_default();
    if version.is_empty() {
        cmd!(shell, "cargo install --quiet cargo-deny --locked --version {DENY_VERSION}").run()?;
    }
    Ok(cmd!(shell, "cargo-deny --log-level error check bans licenses sources").run()?)
}
