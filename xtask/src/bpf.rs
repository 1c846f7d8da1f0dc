//! The eBPF object: built from `crates/core` and `crates/ebpf`, committed, embedded by rlvsd.
//!
//! The build does not depend on where it happens: sources are laid into a workspace of their own (cargo hashes the places of
//! packages outside the workspace into symbol names), and paths are mapped away. So the same toolchain makes the same bytes
//! anywhere, and `--check` can compare them.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use xshell::{Shell, cmd};

use crate::packages;

/// The committed object.
const OBJECT: &str = "crates/rlvsd/bpf/rlvs.bpf.o";
/// The toolchain that made it.
const TOOLCHAIN: &str = "crates/rlvsd/bpf/toolchain.txt";
/// Lock file of the eBPF workspace.
const LOCK: &str = "crates/ebpf/bpf.lock";
/// Where the eBPF workspace is laid out.
const STAGE: &str = "target/bpf-stage";
const TARGET: &str = "bpfel-unknown-none";

/// Debian's compiler with a `core` for eBPF stands beside rustup's; LLVM of the same version is what bpf-linker needs.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_LLVM: &str = "/usr/lib/llvm-22";
const DEBIAN_PACKAGES: [&str; 5] =
    ["rustc-web", "libstd-rust-web-dev-bpf", "llvm-22", "llvm-22-dev", "libpolly-22-dev"];
const LINKER_VERSION: &str = "0.13.0";

/// A compiler, linker and strip that make eBPF objects.
struct Toolchain {
    /// Environment variables for cargo.
    env: Vec<(&'static str, String)>,
    /// Further arguments for cargo.
    args: Vec<&'static str>,
    strip: PathBuf,
    /// Versions of all of them, one a line.
    versions: String,
}

/// Builds the object and records the toolchain.
///
/// # Errors
/// Where there is no toolchain, or it fails.
pub fn update(shell: &Shell) -> Result<()> {
    let toolchain = Toolchain::find(shell)?;
    let object = build(shell, &toolchain)?;
    fs::copy(Path::new(STAGE).join("Cargo.lock"), LOCK).context("keeping the lock file")?;
    fs::write(OBJECT, &object).with_context(|| format!("writing {OBJECT}"))?;
    fs::write(TOOLCHAIN, &toolchain.versions).with_context(|| format!("writing {TOOLCHAIN}"))?;
    eprintln!("{OBJECT}: {} bytes\n{}", object.len(), toolchain.versions.trim_end());
    Ok(())
}

/// Compares the committed object with a fresh build. Where another toolchain is all there is, the fresh object is proven
/// instead: it must load, run, and decide as the native core does.
///
/// # Errors
/// Where the objects differ, or the proof fails.
pub fn check(shell: &Shell) -> Result<()> {
    let toolchain = Toolchain::find(shell)?;
    let recorded = fs::read_to_string(TOOLCHAIN).with_context(|| format!("reading {TOOLCHAIN}"))?;
    let fresh = build(shell, &toolchain)?;
    if toolchain.versions == recorded {
        if fs::read(OBJECT)? != fresh {
            let kept = Path::new(STAGE).join("fresh.bpf.o");
            fs::write(&kept, fresh)?;
            bail!("{OBJECT} is not what the sources make (see {}): run `cargo xtask bpf`", kept.display());
        }
        eprintln!("{OBJECT} equals a fresh build");
        return Ok(());
    }
    eprintln!("this machine's toolchain is not the recorded one, so the objects cannot be compared byte by byte:");
    eprintln!("recorded:\n{recorded}here:\n{}", toolchain.versions);
    let object = env::current_dir()?.join(STAGE).join("fresh.bpf.o");
    fs::write(&object, fresh)?;
    let _env = shell.push_env("RLVS_BPF_OBJECT", &object);
    cmd!(shell, "cargo test -p rlvs-tests --test parity -- --nocapture").run()?;
    eprintln!("a fresh object of this toolchain loads, runs and passes the parity test");
    Ok(())
}

impl Toolchain {
    /// Debian's, installed if need be and allowed; elsewhere nightly with rust-src.
    fn find(shell: &Shell) -> Result<Self> {
        if packages::may_install(shell) || Path::new(DEBIAN_LLVM).exists() {
            Self::debian(shell)
        } else {
            Self::nightly(shell)
        }
    }

    fn debian(shell: &Shell) -> Result<Self> {
        packages::install(shell, &DEBIAN_PACKAGES)?;
        let linker = linker(shell, Some(DEBIAN_LLVM))?;
        let rustc = cmd!(shell, "{DEBIAN_RUSTC} --version --verbose").quiet().read()?;
        Ok(Self {
            env: vec![("RUSTC", DEBIAN_RUSTC.into()), ("RUSTC_BOOTSTRAP", "1".into())],
            args: vec![],
            strip: Path::new(DEBIAN_LLVM).join("bin/llvm-strip"),
            versions: versions(&rustc, &linker),
        })
    }

    fn nightly(shell: &Shell) -> Result<Self> {
        let rustc = cmd!(shell, "rustc +nightly --version --verbose").quiet().read().context(
            "no eBPF toolchain: install nightly Rust with rust-src, LLVM's tools and bpf-linker, or use Debian 12",
        )?;
        let linker = linker(shell, None)?;
        Ok(Self {
            env: vec![("RUSTUP_TOOLCHAIN", "nightly".into())],
            args: vec!["-Zbuild-std=core"],
            strip: "llvm-strip".into(),
            versions: versions(&rustc, &linker),
        })
    }
}

/// The version of bpf-linker, which is installed if it is missing or another.
fn linker(shell: &Shell, llvm: Option<&str>) -> Result<String> {
    let version = || cmd!(shell, "bpf-linker --version").quiet().ignore_stderr().read();
    let wanted = format!("bpf-linker {LINKER_VERSION}");
    if version().ok().as_deref() != Some(&wanted) {
        let mut features = vec![];
        let _env = llvm.map(|llvm| {
            features = vec!["--no-default-features", "--features", "llvm-22"];
            shell.push_env("LLVM_PREFIX", llvm)
        });
        cmd!(shell, "cargo install --quiet bpf-linker --locked --version {LINKER_VERSION} {features...}").run()?;
    }
    version().context("bpf-linker was installed but cannot be run: is cargo's bin folder in PATH?")
}

fn versions(rustc: &str, linker: &str) -> String {
    let wanted = |line: &&str| line.starts_with("release:") || line.starts_with("LLVM version:");
    let rustc: Vec<&str> = rustc.lines().filter(wanted).collect();
    format!("rustc {}\n{linker}\n", rustc.join(", "))
}

/// Builds the object and returns its bytes, without debug sections.
fn build(shell: &Shell, toolchain: &Toolchain) -> Result<Vec<u8>> {
    stage(shell)?;
    let stage = env::current_dir()?.join(STAGE);
    let _env: Vec<_> = toolchain.env.iter().map(|(name, value)| shell.push_env(name, value)).collect();
    let _dir = shell.push_dir(&stage);
    cmd!(shell, "cargo fetch --quiet --target {TARGET}").run()?;
    let mut flags = vec![
        "-Clinker=bpf-linker".to_owned(),
        "-Clink-arg=--btf".into(),
        // Copies inside the stack as straight moves, not calls to a byte loop.
        "-Clink-arg=--disable-expand-memcpy-in-order".into(),
        // In every crate: the loader relocates function information of all of them.
        "-Cdebuginfo=2".into(),
        "-Ctarget-cpu=v3".into(),
        format!("--remap-path-prefix={}=rlvs", stage.display()),
    ];
    flags.extend(registries()?.iter().map(|source| format!("--remap-path-prefix={}=registry", source.display())));
    let _flags = shell.push_env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    let _target = shell.push_env("CARGO_TARGET_DIR", stage.join("target"));
    let args = &toolchain.args;
    cmd!(shell, "cargo build --quiet --release --package rlvs-ebpf --target {TARGET} {args...}").run()?;
    let built = stage.join("target").join(TARGET).join("release/rlvs");
    let stripped = stage.join("rlvs.bpf.o");
    let strip = &toolchain.strip;
    cmd!(shell, "{strip} --strip-debug -o {stripped} {built}").run()?;
    fs::read(&stripped).with_context(|| format!("reading {}", stripped.display()))
}

/// Lays core and ebpf side by side in a workspace of their own.
fn stage(shell: &Shell) -> Result<()> {
    let stage = Path::new(STAGE);
    for name in ["core", "ebpf"] {
        let to = stage.join(name);
        shell.remove_path(&to)?;
        copy_tree(&Path::new("crates").join(name), &to)?;
    }
    let manifest = fs::read_to_string("Cargo.toml")?;
    let shared = manifest.find("[workspace.package]").context("no [workspace.package] in Cargo.toml")?;
    let end = manifest.find("[profile.").unwrap_or(manifest.len());
    let profile = "[profile.release]\nlto = true\npanic = \"abort\"\ncodegen-units = 1\ndebug = 2\n";
    let members = "[workspace]\nresolver = \"3\"\nmembers = [\"core\", \"ebpf\"]\n\n";
    fs::write(stage.join("Cargo.toml"), format!("{members}{}{profile}", &manifest[shared..end]))?;
    if Path::new(LOCK).exists() {
        fs::copy(LOCK, stage.join("Cargo.lock"))?;
    }
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            // What cargo built there by hand is none of ours.
            if entry.file_name() != "target" {
                copy_tree(&source, &target)?;
            }
        } else {
            fs::copy(&source, &target)?;
        }
    }
    Ok(())
}

/// The folders that hold the sources of dependencies, one for each registry or mirror.
fn registries() -> Result<Vec<PathBuf>> {
    let home = match env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => Path::new(&env::var_os("HOME").context("neither CARGO_HOME nor HOME is set")?).join(".cargo"),
    };
    let sources = home.join("registry/src");
    let entries = fs::read_dir(&sources).with_context(|| format!("reading {}", sources.display()))?;
    Ok(entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
}
