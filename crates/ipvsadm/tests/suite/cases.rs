//! The recorded command lines (ipvsadm.md §0), each run in-process against a table in memory.
//!
//! `data/cases.jsonl` was recorded from ipvsadm 1.31 on Linux 6.1's IPVS: for every case the commands that set the
//! table up, the command line, and what came of it, the table afterwards included.

use crate::support::corpus::{Differences, cases, conclude};
use crate::support::{LoopbackHost, Machine, recorded_support};
use rlvs_ipvs::model::Table;
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    id: String,
    setup: Vec<Vec<String>>,
    argv: Vec<String>,
    stdin: Option<String>,
    stdout: String,
    stderr: String,
    exit: i32,
    after: After,
}

/// What two listings show afterwards.
#[derive(Deserialize)]
struct After {
    save: String,
    thresholds: String,
}

#[test]
fn command_lines_do_what_was_recorded() {
    let cases: Vec<Case> = cases(include_str!("../data/cases.jsonl"));
    conclude("command lines", cases.iter().map(|case| (case.id.as_str(), case.argv.join(" "), differences(case))));
}

fn differences(case: &Case) -> Differences {
    let table = Table::new(recorded_support(), Box::new(LoopbackHost));
    let title = format!("{}\n", rlvs_ipvs::proc_format::CONN_HEADER);
    let mut machine = Machine::new(table, Some(title));
    for argv in &case.setup {
        machine.run(&words(argv), "");
    }
    let ran = machine.run(&words(&case.argv), case.stdin.as_deref().unwrap_or_default());
    let mut differences = Differences::default();
    differences.compare("stdout", &case.stdout, &ran.stdout);
    differences.compare("stderr", &case.stderr, &ran.stderr);
    differences.compare("exit", &case.exit.to_string(), &ran.exit.to_string());
    differences.compare("after, -S -n", &case.after.save, &machine.run(&["ipvsadm", "-S", "-n"], "").stdout);
    let thresholds = machine.run(&["ipvsadm", "-L", "-n", "--thresholds"], "").stdout;
    differences.compare("after, -L -n --thresholds", &case.after.thresholds, &thresholds);
    differences
}

fn words(argv: &[String]) -> Vec<&str> {
    argv.iter().map(String::as_str).collect()
}
