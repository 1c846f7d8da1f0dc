//! Wire formats: fixed headers as they stand in a frame, all fields in network byte order.
//!
//! None of these functions panics: every header is a fixed-size, unaligned view that the packet's home has bounds-checked.

pub mod checksum;
pub mod ethernet;
pub mod ipv4;
pub mod tcp;
pub mod udp;
