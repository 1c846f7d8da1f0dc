//! Says which eBPF object to embed: the committed one, or, for checking another, the one that RLVS_BPF_OBJECT names.

fn main() {
    println!("cargo::rerun-if-env-changed=RLVS_BPF_OBJECT");
    let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/bpf/rlvs.bpf.o");
    let object = std::env::var("RLVS_BPF_OBJECT").unwrap_or_else(|_| committed.to_owned());
    println!("cargo::rerun-if-changed={object}");
    println!("cargo::rustc-env=RLVS_EMBEDDED_OBJECT={object}");
}
