//! Says which eBPF object to embed: the committed one, or, for checking another, the one that RLVS_BPF_OBJECT names.

/// The committed object, from the folder of the file that embeds it. No absolute path: checkouts may share build results.
const COMMITTED: &str = "../bpf/rlvs.bpf.o";

fn main() {
    println!("cargo::rerun-if-env-changed=RLVS_BPF_OBJECT");
    println!("cargo::rerun-if-changed=bpf/rlvs.bpf.o");
    let object = std::env::var("RLVS_BPF_OBJECT").unwrap_or_else(|_| COMMITTED.to_owned());
    println!("cargo::rustc-env=RLVS_EMBEDDED_OBJECT={object}");
}
