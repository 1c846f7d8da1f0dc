//! The data plane of rlvs.
//!
//! One source, three homes: compiled into the tc and the XDP program (crate `rlvs-ebpf`), and natively, where it is tested,
//! fuzzed and used by the daemon to expire connections. A packet's journey, in the order in which the modules should be read:
//!
//! 1. [`packet`]: what a home offers to read and write a frame; [`wire`]: the headers in it, [`mod@wire::checksum`] their sums;
//! 2. [`flow`]: frame -> addresses, ports, protocol event;
//! 3. [`director`]: the decision, one named stage after the other;
//! 4. [`tables`]: what a home offers to look things up; [`rows`]: the layout of what is found; [`cell`]: what changes in it;
//! 5. [`conn`]: connections, their states, timeouts and counters; [`sched`]: which destination a new one gets;
//! 6. [`forward`]: rewriting and the next hop;
//! 7. [`verdict`]: how the packet leaves, and under which name that is counted.
//!
//! What is deliberately absent: a clock (time is an argument), allocation (but for [`sched::roster`], which is the daemon's
//! alone), knowledge of maps or sockets, and `unsafe`.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(any(test, feature = "native"))]
extern crate std;

#[cfg(not(target_arch = "bpf"))]
extern crate alloc;

pub mod begin;
mod bounded;
pub mod cell;
pub mod conn;
pub mod director;
pub mod flow;
pub mod forward;
#[cfg(any(test, feature = "native"))]
pub mod native;
pub mod packet;
pub mod rows;
pub mod sched;
pub mod scratch;
pub mod settings;
pub mod tables;
pub mod verdict;
pub mod wire;
