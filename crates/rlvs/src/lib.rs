//! rlvs for people: the labs, and the commands around the director's daemon.
//!
//! [`lab`] builds whole clusters out of network namespaces; the binary runs them, the test-suite reuses their parts.
//! [`unload`] takes a director's forwarding away.

#![forbid(unsafe_code)]

mod ask;
pub mod drops;
pub mod lab;
pub mod mark;
pub mod proc;
pub mod status;
pub mod sysctl;
mod talk;
pub mod unload;
