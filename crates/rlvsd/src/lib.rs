//! The director's daemon.
pub mod loader;
pub mod maps;
