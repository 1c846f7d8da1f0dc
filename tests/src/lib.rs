//! Scenarios in network namespaces: real programs, real packets, both hooks.
//!
//! A scenario is one function in `tests/*.rs` that takes the hook; [`on_both_hooks`] makes two tests of it. It brings up a
//! [`Cluster`] (hosts, web servers, the daemon), configures it with the very words an operator types, lets real programs
//! talk through it, and compares what they got, what `ipvsadm` shows and what the daemon counted. Everything that waits has
//! a deadline ([`eventually`]), and a cluster that goes out of scope, also by a failed assertion, takes all of it down.
//!
//! What a machine lacks is said on stderr ([`need`]): `SKIPPED: ...`. With `RLVS_TEST_REQUIRE_ALL=1` it is a failure instead.
//! The programs under test are those in `RLVS_BIN_DIR`, by default the workspace's `target/release`.

mod background;
mod cluster;
pub mod differential;
pub mod loaded;
pub mod need;
pub mod talk;
mod unwrap;
pub mod view;
mod wait;

pub use background::Background;
pub use cluster::{CLIENT, Cluster, GATEWAY, REAL1, REAL2, Ran, VIP, WEB, patience};
pub use rlvs::lab::Hook;
pub use unwrap::{GUE_PORT, Unwrap};
pub use wait::{eventually, note};

/// Makes two tests of each scenario, one for each hook: `tc::NAME` and `xdp::NAME`.
#[macro_export]
macro_rules! on_both_hooks {
    ($($scenario:ident),+ $(,)?) => {
        mod tc {
            $(#[test] fn $scenario() { super::$scenario($crate::Hook::Tc) })+
        }
        mod xdp {
            $(#[test] fn $scenario() { super::$scenario($crate::Hook::Xdp) })+
        }
    };
}
