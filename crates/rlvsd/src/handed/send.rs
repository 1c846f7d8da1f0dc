//! The sockets by which the daemon sends frames and packets.

use std::{
    io::{self, ErrorKind},
    mem::zeroed,
    net::{IpAddr, SocketAddr},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use nix::sys::socket::{MsgFlags, SockaddrStorage, sendto};

use super::refuse::Error;

/// Raw sockets: frames by interface, packets by the host's routes.
pub struct Sender {
    frames: OwnedFd,
    packets: [OwnedFd; 2],
}

/// A raw socket.
fn open(domain: libc::c_int, protocol: libc::c_int) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: `socket` takes scalars; what it returns is ours alone. JUSTIFICATION: nix and rustix do not let a protocol number of
    // 0 be given to a packet socket, which is what keeps it from receiving.
    unsafe {
        let fd = libc::socket(domain, kind, protocol);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
    }
}

impl Sender {
    /// Opens the sockets.
    ///
    /// # Errors
    /// Where the kernel refuses: CAP_NET_RAW is needed.
    pub fn new() -> io::Result<Self> {
        let (v4, v6) = (libc::AF_INET, libc::AF_INET6);
        Ok(Self {
            frames: open(libc::AF_PACKET, 0)?,
            packets: [open(v4, libc::IPPROTO_RAW)?, open(v6, libc::IPPROTO_RAW)?],
        })
    }

    /// Sends a frame out of an interface. What the interface does not take is lost, as on a full queue.
    pub fn frame(&self, frame: &[u8], interface: u32) {
        // SAFETY: an integer structure, for which zero bytes are a value. JUSTIFICATION: nix's form needs a receiving socket's
        // address.
        let mut to: libc::sockaddr_ll = unsafe { zeroed() };
        to.sll_family = libc::AF_PACKET as u16;
        to.sll_ifindex = interface.cast_signed();
        to.sll_halen = 6;
        if let Some(address) = frame.first_chunk::<6>() {
            to.sll_addr[..6].copy_from_slice(address);
        }
        if let Some([high, low]) = frame.get(12..14) {
            to.sll_protocol = u16::from_ne_bytes([*high, *low]);
        }
        let len = size_of::<libc::sockaddr_ll>() as u32;
        // SAFETY: a socket of ours, a slice and an address with their lengths. JUSTIFICATION: see above.
        let sent = unsafe {
            let address = (&raw const to).cast();
            libc::sendto(self.frames.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0, address, len)
        };
        if sent < 0 {
            log(&io::Error::last_os_error(), "a frame");
        }
    }

    /// Sends a whole IP packet by the host's routes.
    pub fn packet(&self, error: &Error) {
        let socket = match error.to {
            IpAddr::V4(_) => &self.packets[0],
            IpAddr::V6(_) => &self.packets[1],
        };
        let to = SockaddrStorage::from(SocketAddr::new(error.to, 0));
        if let Err(errno) = sendto(socket.as_raw_fd(), &error.packet, &to, MsgFlags::empty()) {
            log(&errno.into(), "an ICMP error");
        }
    }
}

fn log(error: &io::Error, what: &str) {
    if error.kind() != ErrorKind::WouldBlock {
        tracing::debug!("sending {what}: {error}");
    }
}
