//! Labs: a whole LVS cluster in network namespaces of one machine.
//!
//! A lab is made of parts that tests use by themselves:
//!
//! 1. [`Claim`] takes the lab's names, and clears away what a lab that died left under them;
//! 2. [`Topology`] describes hosts and cables and builds them into a [`Network`] of [`Netns`];
//! 3. [`HttpServer`] answers in a real server;
//! 4. [`Daemon`] starts `rlvsd` in a director, and [`Netns::output`] runs `ipvsadm` there;
//! 5. [`client`] sends requests and downloads;
//! 6. each part undoes itself when dropped, in whatever way the lab ends.
//!
//! ```no_run
//! use std::{process::Command, time::Duration};
//! use rlvs::lab::{Claim, Topology, HttpServer};
//!
//! # fn main() -> rlvs::lab::Result<()> {
//! let network = Topology::nat().build(Claim::take("mytest")?)?;
//! let _server = HttpServer::start(network.host("real1")?, ([192, 168, 1, 2], 80).into(), "real1")?;
//! let pinged = network.host("client")?.output(Command::new("ping").args(["-c1", "192.168.1.2"]), Duration::from_secs(5))?;
//! assert!(pinged.status.success());
//! # Ok(())
//! # }
//! ```
//!
//! [`nat`] is the lab that people run.

mod claim;
pub mod client;
pub mod daemon;
mod error;
pub mod expect;
pub mod http;
mod link;
pub mod nat;
pub mod netns;
mod offload;
pub mod preflight;
pub mod process;
mod progress;
pub mod report;
mod stop;
mod topology;

pub use claim::{Claim, Downed, down, sweep};
pub use daemon::{Daemon, DaemonOptions, Hook};
pub use error::{Error, Result};
pub use http::HttpServer;
pub use netns::Netns;
pub use process::Programs;
pub use stop::Stop;
pub use topology::{Address, End, Host, Network, Offloads, Topology};
