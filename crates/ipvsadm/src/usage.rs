//! The version line and the usage text.

use std::io::{self, Write};

use crate::flags::{self, Flag, Help, Section};

/// The line `-v` prints, and `-h` begins with.
pub const VERSION: &str = "ipvsadm v1.31 2019/12/24 (compiled with popt and IPVS v1.2.1)";

/// The forms of a command line, without the program's name.
const FORMS: [&str; 13] = [
    "-A|E virtual-service [-s scheduler] [-p [timeout]] [-M netmask] [--pe persistence_engine] [-b sched-flags]",
    "-D virtual-service",
    "-C",
    "-R",
    "-S [-n]",
    "-a|e virtual-service -r server-address [options]",
    "-d virtual-service -r server-address",
    "-L|l [virtual-service] [options]",
    "-Z [virtual-service]",
    "--set tcp tcpfin udp",
    "--start-daemon {master|backup} [daemon-options]",
    "--stop-daemon {master|backup}",
    "-h",
];

/// The sections with their titles; a title starts a new paragraph or not.
const SECTIONS: [(Section, &str); 4] = [
    (Section::Commands, "\nCommands:\nEither long or short options are allowed."),
    (Section::Services, "\nvirtual-service:"),
    (Section::Options, "\nOptions:"),
    (Section::Daemons, "Daemon Options:"),
];

/// Writes the version line and the usage text of a program called by this name.
///
/// # Errors
/// Those of the writer.
pub fn write(out: &mut dyn Write, program: &str) -> io::Result<()> {
    writeln!(out, "{VERSION}\nUsage:")?;
    FORMS.iter().try_for_each(|form| writeln!(out, "  {program} {form}"))?;
    for (section, title) in SECTIONS {
        writeln!(out, "{title}")?;
        for flag in flags::all() {
            if let Some(help) = flag.help.filter(|help| help.section == section) {
                write_flag(out, flag, &help)?;
            }
        }
    }
    Ok(())
}

fn write_flag(out: &mut dyn Write, flag: &Flag, help: &Help) -> io::Result<()> {
    let (long, short, argument) = (flag.long, help.short, help.argument);
    let (left, column) = match help.section {
        Section::Commands if short.is_empty() => (format!("  --{long} {argument}"), 30),
        Section::Commands => (format!("  --{long:<16}{short}"), 30),
        Section::Services => (format!("{:<19} {argument}", format!("  --{long}{short}")), 38),
        Section::Options if short.is_empty() => (format!("{:<18}{argument}", format!("  --{long}")), 38),
        Section::Options => (format!("  --{long:<13}{short} {argument}"), 38),
        Section::Daemons => (format!("  --{long} {argument}"), 38),
    };
    let mut lines = help.text.lines();
    writeln!(out, "{left:<column$}{}", lines.next().unwrap_or_default())?;
    lines.try_for_each(|line| writeln!(out, "{:<column$}{line}", ""))
}
