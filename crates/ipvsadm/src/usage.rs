//! The version line and the usage text.

use std::io::{self, Write};

use crate::flags::{self, Flag, Help, Section};

/// The line `-v` prints, and `-h` begins with.
pub const VERSION: &str = "ipvsadm v1.31 2019/12/24 (compiled with popt and IPVS v1.2.1)";

/// The forms of a command line.
const FORMS: &str = "\
Usage:
  ipvsadm -A|E virtual-service [-s scheduler] [-p [timeout]] [-M netmask] [--pe persistence_engine] [-b sched-flags]
  ipvsadm -D virtual-service
  ipvsadm -C
  ipvsadm -R
  ipvsadm -S [-n]
  ipvsadm -a|e virtual-service -r server-address [options]
  ipvsadm -d virtual-service -r server-address
  ipvsadm -L|l [virtual-service] [options]
  ipvsadm -Z [virtual-service]
  ipvsadm --set tcp tcpfin udp
  ipvsadm --start-daemon {master|backup} [daemon-options]
  ipvsadm --stop-daemon {master|backup}
  ipvsadm -h
";

/// The sections with their titles; a title starts a new paragraph or not.
const SECTIONS: [(Section, &str); 4] = [
    (Section::Commands, "\nCommands:\nEither long or short options are allowed."),
    (Section::Services, "\nvirtual-service:"),
    (Section::Options, "\nOptions:"),
    (Section::Daemons, "Daemon Options:"),
];

/// Writes the version line and the usage text.
///
/// # Errors
/// Those of the writer.
pub fn write(out: &mut dyn Write) -> io::Result<()> {
    write!(out, "{VERSION}\n{FORMS}")?;
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
