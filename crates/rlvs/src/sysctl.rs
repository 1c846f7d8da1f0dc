//! `rlvs sysctl`: the settings that IPVS has in /proc/sys/net/ipv4/vs, read and written in the manner of sysctl(8).

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use anyhow::{Result, anyhow};
use clap::Args;
use rlvs_ipvs::{
    Errno,
    local::{self, Error, Reply, Request},
};

use crate::{
    ask::{ask, odd},
    talk::warn,
};

/// What every name begins with, whether or not it is typed.
const PREFIX: &str = "net.ipv4.vs.";

/// What was typed.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Show every setting
    #[arg(short = 'a', long)]
    all: bool,
    /// Show values without names
    #[arg(short = 'n', long)]
    values: bool,
    /// Show names without values
    #[arg(short = 'N', long)]
    names: bool,
    /// Say nothing of names that do not exist
    #[arg(short = 'e', long)]
    ignore: bool,
    /// Do not show what was set
    #[arg(short = 'q', long)]
    quiet: bool,
    /// Every setting is to be written: refuse those without a value
    #[arg(short = 'w', long)]
    write: bool,
    /// Settings to show, and to write where a value is given; `net.ipv4.vs.` may be left out
    #[arg(value_name = "NAME[=VALUE]", required_unless_present = "all")]
    settings: Vec<String>,
}

/// What one word asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wish<'a> {
    Show(String),
    Write(String, &'a str),
}

impl<'a> Wish<'a> {
    /// What a word says; `None` for one that says nothing.
    fn of(word: &'a str) -> Option<Self> {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.trim())),
            None => (word, None),
        };
        // sysctl(8) takes slashes for dots as well.
        let name = name.trim().replace('/', ".");
        let name = name.strip_prefix(PREFIX).unwrap_or(&name).to_owned();
        match value {
            _ if name.is_empty() => None,
            Some("") => None,
            Some(value) => Some(Self::Write(name, value)),
            None => Some(Self::Show(name)),
        }
    }
}

/// Reads and writes settings. Returns whether everything went well: what does not is said on stderr, and the rest is done.
///
/// # Errors
/// Where no daemon runs here, or nobody reads.
pub fn sysctl(options: &Options) -> Result<bool> {
    let mut out = io::stdout().lock();
    if options.all {
        for (name, value) in &read()? {
            show(&mut out, options, name, value)?;
        }
        return Ok(true);
    }
    let mut good = true;
    for word in &options.settings {
        let done = match Wish::of(word) {
            Some(Wish::Write(name, value)) => write(&mut out, options, &name, value)?,
            Some(Wish::Show(name)) if !options.write => read_one(&mut out, options, &name)?,
            _ => Err(format!("\"{word}\" must be of the form name=value")),
        };
        if let Err(reason) = done {
            warn(reason);
            good = false;
        }
    }
    Ok(good)
}

fn read() -> Result<BTreeMap<String, String>> {
    match ask(&Request::Sysctls)? {
        Reply::Sysctls { values } => Ok(values),
        _ => odd(),
    }
}

/// The inner error is what to say of a setting that cannot be shown.
fn read_one(out: &mut impl Write, options: &Options, name: &str) -> Result<Result<(), String>> {
    match read()?.get(name) {
        Some(value) => Ok(Ok(show(out, options, name, value)?)),
        None => Ok(absent(options, name)),
    }
}

/// As [`read_one`], for writing.
fn write(out: &mut impl Write, options: &Options, name: &str, value: &str) -> Result<Result<(), String>> {
    let request = Request::SetSysctl { name: name.to_owned(), value: value.to_owned() };
    match local::call(&request) {
        Ok(Reply::Done) => {
            if !options.quiet {
                show(out, options, name, value)?;
            }
            Ok(Ok(()))
        }
        Err(Error::Refused { errno: Some(Errno::NOENT), .. }) => Ok(absent(options, name)),
        Err(Error::Refused { reason, .. }) => Ok(Err(format!("setting key \"{PREFIX}{name}\": {reason}"))),
        Err(error) if error.is_absent() => Err(anyhow!("rlvsd does not run in this network namespace")),
        Err(error) => Err(error.into()),
        Ok(_) => odd(),
    }
}

fn absent(options: &Options, name: &str) -> Result<(), String> {
    if options.ignore {
        return Ok(());
    }
    let path = format!("{PREFIX}{name}").replace('.', "/");
    Err(format!("cannot stat /proc/sys/{path}: No such file or directory"))
}

fn show(out: &mut impl Write, options: &Options, name: &str, value: &str) -> io::Result<()> {
    match (options.names, options.values) {
        (true, _) => writeln!(out, "{PREFIX}{name}"),
        (false, true) => writeln!(out, "{value}"),
        (false, false) => writeln!(out, "{PREFIX}{name} = {value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_say_what_to_do() {
        let show = |name: &str| Some(Wish::Show(name.to_owned()));
        let write = |name: &str, value| Some(Wish::Write(name.to_owned(), value));
        assert_eq!(Wish::of("drop_entry"), show("drop_entry"));
        assert_eq!(Wish::of("net.ipv4.vs.drop_entry"), show("drop_entry"));
        assert_eq!(Wish::of("net/ipv4/vs/drop_entry"), show("drop_entry"));
        assert_eq!(Wish::of("drop_entry=3"), write("drop_entry", "3"));
        assert_eq!(Wish::of("net.ipv4.vs.sync_threshold = 3 50"), write("sync_threshold", "3 50"));
        assert_eq!(Wish::of("a=b=c"), write("a", "b=c"));
        for nothing in ["", "=", "=3", "drop_entry=", "net.ipv4.vs."] {
            assert_eq!(Wish::of(nothing), None, "{nothing}");
        }
    }
}
