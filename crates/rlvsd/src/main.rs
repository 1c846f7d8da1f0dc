//! `rlvsd`.
fn main() {}
