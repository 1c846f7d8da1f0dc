//! The language of IPVS: its table, its messages, and the two ends that speak them.
//!
//! ```text
//! what a client asks for                                                            what a table holds
//! ServiceSpec -> client -> Request -> bytes -> endpoint -> ServiceSpec -> Director -> Table -> Service
//! ServiceStatus <- client <- Reply <- bytes <- endpoint <- ServiceStatus <- Director
//! ```
//! - [`model`] is the virtual-server table, valid by construction, with the kernel's checks and error numbers.
//! - [`message`] turns generic-netlink bytes into typed messages and back. It is pure.
//! - [`endpoint`] answers datagrams on behalf of a [`director::Director`]. It is pure too: sockets live with its caller.
//! - [`client`] sends requests to such an endpoint, or to the kernel.
//! - [`local`] is the second interface of rlvsd, for what IPVS has no message for.
//! - [`marks`] are rules that give packets a firewall mark.
//! - [`proc_format`] writes the lines of the files IPVS has under `/proc/net`.
//!
//! The behaviour is that of Linux 6.1's IPVS. Section numbers in comments refer to this project's description
//! of it (netlink.md, stats.md, ipvsadm.md), which was recorded from running kernels.
//!
//! Nothing in this crate panics on any input. Integers are in host order unless an item says otherwise.

#![forbid(unsafe_code)]

pub mod client;
pub mod director;
pub mod endpoint;
mod errno;
pub mod local;
pub mod marks;
pub mod message;
pub mod model;
pub mod proc_format;

pub use errno::Errno;
