//! What the tests of recorded cases share.

pub mod corpus;
mod machine;

pub use machine::{LoopbackHost, Machine, recorded_support};
