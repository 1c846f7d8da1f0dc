//! Descriptors that the event loop watches.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use aya::maps::{MapData, RingBuf};
use tokio::io::unix::AsyncFd;

/// Types that own one descriptor, the same from beginning to end.
trait OwnsDescriptor: AsRawFd {}
impl OwnsDescriptor for OwnedFd {}
impl OwnsDescriptor for RingBuf<MapData> {}

#[expect(private_bounds, reason = "what may be watched is decided here")]
/// Watches what owns a descriptor.
///
/// # Errors
/// Where the kernel refuses.
pub fn watch<T: OwnsDescriptor>(owner: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: `OwnsDescriptor` says that the descriptor stays open and the same while its owner lives. JUSTIFICATION:
    // tokio's safe constructors are deprecated for want of exactly this promise.
    Ok(unsafe { AsyncFd::register(owner)? })
}
