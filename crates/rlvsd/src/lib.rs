//! The director's daemon: loads the data plane, owns the table, expires connections, keeps statistics.
//!
//! ```text
//! @ipvs  -> server -> rlvs_ipvs::endpoint -> owner (model, then rows) -> shared memory of the maps
//! @rlvs  -> server -> status, /proc texts
//! kernel -> network -> attach (interfaces), owner.bump_epoch (routes, neighbours)
//! ring   -> network::Resolver -> kernel's neighbour table
//! timers -> owner.sweep (expire), owner.estimate (rates)
//! ```
//!
//! One thread does it all, so the table needs no lock; packets never wait for it.

pub mod attach;
pub mod bpffs;
pub mod clock;
pub mod counters;
pub mod daemon;
pub mod drops;
pub mod expire;
pub mod handed;
pub mod host;
pub mod loader;
pub mod maps;
mod memory;
pub mod netns;
pub mod network;
pub mod owner;
pub mod pool;
pub mod server;
pub mod shared;
mod thinning;
pub mod watch;

pub use daemon::unload;
