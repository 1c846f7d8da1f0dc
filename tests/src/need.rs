//! What a scenario needs of the machine, and how it says that something is missing.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Once,
};

use rlvs::lab::{self, Programs, preflight};

use crate::wait::note;

/// Set to 1, what is missing is a failure.
const REQUIRE_ALL: &str = "RLVS_TEST_REQUIRE_ALL";
/// Where the programs under test are.
const BIN_DIR: &str = "RLVS_BIN_DIR";
/// Where a user's `PATH` may not lead, but Debian puts programs.
const SYSTEM_DIRS: [&str; 4] = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin"];

/// Whether this machine can run scenarios at all: root, network namespaces, a kernel with BPF.
///
/// The first call also removes what earlier runs left that were killed.
pub fn lab() -> bool {
    static SWEPT: Once = Once::new();
    match preflight::check() {
        Ok(()) => {
            SWEPT.call_once(|| drop(lab::sweep()));
            true
        }
        Err(error) => missing(&error.to_string()),
    }
}

/// Whether these programs are there, each with the Debian package that has it.
pub fn programs(wanted: &[(&str, &str)]) -> bool {
    wanted.iter().all(|(program, package)| {
        find(program).is_some() || missing(&format!("no {program} here; Debian has it in the package {package}"))
    })
}

/// Whether the kernel is at least of this version.
pub fn kernel(major: u32, minor: u32) -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit()).map_while(|number| number.parse().ok());
    let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    version >= (major, minor) || skip(&format!("needs Linux {major}.{minor}, and this is {}", release.trim_end()))
}

/// The programs under test.
///
/// # Panics
/// Where they have not been built.
pub fn programs_under_test() -> Programs {
    let dir = bin_dir();
    Programs::in_dir(&dir).unwrap_or_else(|| {
        panic!("no rlvsd and ipvsadm in {}: build them with `cargo build --release`, or set {BIN_DIR}", dir.display())
    })
}

/// The directory of the programs under test.
pub fn bin_dir() -> PathBuf {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release");
    let dir = env::var_os(BIN_DIR).map_or(default, PathBuf::from);
    dir.canonicalize().unwrap_or(dir)
}

/// `PATH` for commands of a scenario: the programs under test come first.
pub fn search_path() -> String {
    let path = env::var("PATH").unwrap_or_default();
    format!("{}:{path}:{}", bin_dir().display(), SYSTEM_DIRS.join(":"))
}

/// The file of a program that a command of a scenario would start.
pub fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&search_path()).map(|dir| dir.join(program)).find(|path| {
        path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    })
}

/// Says what is missing, so that it is seen although the test passes; always false.
fn missing(what: &str) -> bool {
    let required = env::var(REQUIRE_ALL).is_ok_and(|value| value == "1");
    assert!(!required, "{what} ({REQUIRE_ALL}=1)");
    skip(what)
}

/// Says why a scenario is left out; always false.
pub fn skip(why: &str) -> bool {
    let scenario = std::thread::current().name().unwrap_or("a scenario").to_owned();
    note(&format!("SKIPPED: {scenario}: {why}"));
    false
}
