//! What the kernel's verifier makes of the programs, held against the numbers in docs/verifier.md.
//!
//! Numbers that grow unseen end in a program that some kernel refuses. So growth by more than [`GROWTH_MAX`] fails until it
//! is recorded on purpose: `RLVS_RECORD=1 cargo test -p rlvs-tests --test verifier`.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

use object::{Object, ObjectSection, ObjectSymbol};
use rlvs_tests::need;
use rlvsd::loader::{self, OBJECT, Sizes};
use rustix::system::uname;

/// By how much a number may grow unrecorded: a tenth.
const GROWTH_MAX: f64 = 1.1;
/// The head of the table in docs/verifier.md.
const HEAD: &str = "| program | verifier instructions | stack bytes | translated bytes | native bytes |";

/// Instructions walked by the verifier, deepest stack byte, size in the kernel's instructions, size in the machine's.
type Numbers = [u64; 4];

#[test]
fn programs_load_and_have_not_grown() {
    if !need::lab() {
        return;
    }
    let now = measure();
    let kernel = kernel();
    for (program, numbers) in &now {
        println!("{program}: {numbers:?} on {kernel}");
    }
    if !Path::new(env!("CARGO_MANIFEST_DIR")).exists() {
        println!("this is not the checkout that the test was built from: loaded, not compared");
        return;
    }
    let text = fs::read_to_string(document()).expect("docs/verifier.md");
    if env::var_os("RLVS_RECORD").is_some() {
        fs::write(document(), recorded(&text, &kernel, &now)).expect("docs/verifier.md is writable");
        return;
    }
    if !text.contains(&format!("Linux {kernel} ")) {
        println!("the numbers recorded are of another kernel than {kernel}: loaded, not compared");
        return;
    }
    assert_eq!(grown(&parse(&text), &now), Vec::<String>::new(), "record it if it is meant: RLVS_RECORD=1");
}

#[test]
fn growth_is_noticed() {
    let before = BTreeMap::from([("p".to_owned(), [1000, 100, 0, 5])]);
    let with = |numbers| BTreeMap::from([("p".to_owned(), numbers)]);
    assert!(grown(&before, &with([1100, 110, 0, 5])).is_empty(), "a tenth is allowed");
    assert_eq!(grown(&before, &with([1101, 100, 0, 5])).len(), 1);
    assert_eq!(grown(&before, &with([1, 1, 1, 6])).len(), 2, "from nothing to something is growth");
    assert_eq!(grown(&BTreeMap::new(), &with([1, 1, 1, 1])).len(), 1, "a program that is not recorded");
}

#[test]
fn what_is_recorded_is_read_again() {
    let numbers = BTreeMap::from([("p".to_owned(), [1, 2, 3, 4]), ("q".to_owned(), [5, 6, 7, 8])]);
    let text = recorded("# Title\n\nRecorded on Linux 1.2 with an old table.\n\n| old |\n|---|\n", "6.1", &numbers);
    assert_eq!(parse(&text), numbers);
    assert!(text.starts_with("# Title\n") && text.contains("Linux 6.1 ") && !text.contains("old"), "{text}");
}

/// Loads every program and asks the kernel.
fn measure() -> BTreeMap<String, Numbers> {
    let mut loaded = loader::load(None, Sizes { services: 16, dests: 16, conns: 16 }).expect("the programs load");
    let schedule = loader::xdp(&mut loaded.programs, loader::SCHEDULE_PROGRAM).expect("the program is in the object");
    schedule.load().expect("the scheduler's program loads");
    let mut stacks = stacks();
    let programs = loaded.programs.programs().map(|(name, program)| {
        let info = program.info().expect("a loaded program has information");
        let instructions = info.verified_instruction_count().unwrap_or(0).into();
        let stack = stacks.remove(name).expect("every program is in the object");
        let translated = info.size_translated().unwrap_or(0).into();
        (name.to_owned(), [instructions, stack, translated, info.size_jitted().into()])
    });
    programs.collect()
}

/// The deepest byte of the stack that each program of the object touches in its own frame.
fn stacks() -> BTreeMap<String, u64> {
    let file = object::File::parse(OBJECT).expect("the object is an ELF file");
    let programs = file.symbols().filter(|symbol| symbol.is_global() && symbol.size() > 0);
    let stack = |symbol: object::Symbol<'_, '_>| {
        let section = file.section_by_index(symbol.section_index()?).ok()?;
        let code = section.data_range(symbol.address(), symbol.size()).ok()??;
        Some((symbol.name().ok()?.to_owned(), deepest(code)))
    };
    programs.filter_map(stack).collect()
}

/// The deepest offset from the frame pointer (r10) in a function's code: loads, stores, and addresses made of it.
fn deepest(code: &[u8]) -> u64 {
    const FRAME: u8 = 10;
    const MOVE: u8 = 0xbf;
    const ADD: u8 = 0x07;
    let mut deepest = 0;
    let mut address = None;
    for instruction in code.chunks_exact(8) {
        let (class, to, from) = (instruction[0] & 7, instruction[1] & 15, instruction[1] >> 4);
        let offset = i64::from(i16::from_le_bytes([instruction[2], instruction[3]]));
        let immediate = i64::from(i32::from_le_bytes(instruction[4..8].try_into().expect("four bytes")));
        // Class 1 loads from `from`; 2 and 3 store to `to`.
        let touches = (class == 1 && from == FRAME) || (matches!(class, 2 | 3) && to == FRAME);
        if touches {
            deepest = deepest.max(-offset);
        }
        if instruction[0] == ADD && address == Some(to) {
            deepest = deepest.max(-immediate);
        }
        address = (instruction[0] == MOVE && from == FRAME).then_some(to);
    }
    deepest.unsigned_abs()
}

/// Major and minor number of the running kernel.
fn kernel() -> String {
    let release = uname().release().to_string_lossy().into_owned();
    release.split('.').take(2).collect::<Vec<_>>().join(".")
}

fn document() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/verifier.md")
}

/// The table of a document.
fn parse(text: &str) -> BTreeMap<String, Numbers> {
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.trim().strip_prefix("| ")?.trim_end_matches('|').split('|').map(str::trim);
        let name = cells.next()?.to_owned();
        let numbers: Vec<u64> = cells.filter_map(|cell| cell.parse().ok()).collect();
        Some((name, numbers.try_into().ok()?))
    });
    rows.collect()
}

/// The document with another table: the last thing in it, from the line that names the kernel on.
fn recorded(text: &str, kernel: &str, numbers: &BTreeMap<String, Numbers>) -> String {
    let kept = text.find("Recorded on ").map_or(text, |at| &text[..at]);
    let rows: String =
        numbers.iter().map(|(name, [a, b, c, d])| format!("| {name} | {a} | {b} | {c} | {d} |\n")).collect();
    format!("{kept}Recorded on Linux {kernel} (x86-64).\n\n{HEAD}\n|---|---|---|---|---|\n{rows}")
}

/// What grew by more than is allowed.
fn grown(before: &BTreeMap<String, Numbers>, now: &BTreeMap<String, Numbers>) -> Vec<String> {
    const NAMES: [&str; 4] = ["verifier instructions", "stack bytes", "translated bytes", "native bytes"];
    let mut grown = vec![];
    for (program, numbers) in now {
        let Some(old) = before.get(program) else {
            grown.push(format!("{program} is not recorded"));
            continue;
        };
        let changes = NAMES.iter().zip(old.iter().zip(numbers));
        let larger = changes.filter(|(_, (old, new))| **new as f64 > **old as f64 * GROWTH_MAX);
        grown.extend(larger.map(|(name, (old, new))| format!("{program}: {name} {old} -> {new}")));
    }
    grown
}
