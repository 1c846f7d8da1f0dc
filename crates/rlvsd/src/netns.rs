//! The network namespace that the daemon serves.

use std::{io, mem::size_of, os::fd::AsRawFd, os::unix::net::UnixDatagram};

/// The number that names this thread's network namespace. Unlike the inode of the namespace it is never given out twice
/// while the machine runs, so pins of a namespace that is gone are never mistaken for those of a new one.
///
/// # Errors
/// Where the kernel is older than 5.14.
pub fn cookie() -> io::Result<u64> {
    let socket = UnixDatagram::unbound()?;
    let mut cookie = 0u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: an open socket, and a buffer of the length given that outlives the call. JUSTIFICATION: no safe interface
    // knows this option.
    let failed = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if failed == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}
