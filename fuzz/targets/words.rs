//! ipvsadm's command line, and lines to restore, against a table in memory. What is saved afterwards restores to the same.

#![no_main]

#[path = "../../crates/ipvsadm/tests/suite/support/machine.rs"]
#[allow(dead_code)]
mod machine;

use libfuzzer_sys::fuzz_target;
use machine::{LoopbackHost, Machine, recorded_support};
use rlvs_ipvs::model::Table;

fn machine() -> Machine<Table> {
    Machine::new(Table::new(recorded_support(), Box::new(LoopbackHost)), None)
}

/// What `--save` shows.
fn saved(machine: &mut Machine<Table>) -> String {
    machine.run(&["ipvsadm", "-S", "-n"], "").stdout
}

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let mut first = machine();
    // The first line is a command line, the others are restored.
    let (line, lines) = text.split_once('\n').unwrap_or((text, ""));
    first.run(&["ipvsadm", "-R"], lines);
    let words: Vec<&str> = std::iter::once("ipvsadm").chain(line.split(' ').filter(|word| !word.is_empty())).collect();
    first.run(&words, "");
    let text = saved(&mut first);
    let mut second = machine();
    let ran = second.run(&["ipvsadm", "-R"], &text);
    assert_eq!(saved(&mut second), text, "{ran:?}");
});
