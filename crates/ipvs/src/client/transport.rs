//! The two ways to a control interface: rlvsd's Unix socket, and the kernel's netlink socket.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::net::netlink::{GENERIC, SocketAddrNetlink};
use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_peercred};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, bind, connect, recv, send,
    socket_with,
};

use rustix::process::geteuid;

use crate::Errno;

/// Name of rlvsd's socket in the abstract namespace, without its leading NUL. It is of type SEQPACKET; each
/// packet is one netlink datagram.
pub const SOCKET_NAME: &[u8] = b"ipvs";

/// Bytes of a buffer that holds every datagram: a dump's are at most 32 KiB (netlink.md §5).
const BUFFER: usize = 64 * 1024;
/// How long a call waits.
const PATIENCE: Duration = Duration::from_secs(30);

/// Carries netlink datagrams to a control interface and back.
pub trait Transport {
    /// Sends one datagram.
    ///
    /// # Errors
    /// The system's error number.
    fn send(&mut self, datagram: &[u8]) -> Result<(), Errno>;

    /// Waits for one datagram.
    ///
    /// # Errors
    /// The system's error number; `ECONNRESET` if the other end is gone, `EMSGSIZE` if the datagram is too
    /// large.
    fn receive(&mut self) -> Result<Vec<u8>, Errno>;

    /// The port id to put into requests.
    fn port_id(&self) -> u32 {
        0
    }
}

/// A connection to rlvsd in this network namespace.
#[derive(Debug)]
pub struct RlvsTransport {
    socket: OwnedFd,
}

impl RlvsTransport {
    /// Connects.
    ///
    /// # Errors
    /// `ECONNREFUSED` if rlvsd does not run in this network namespace (or another user took its name), or what the
    /// system says.
    pub fn connect() -> Result<RlvsTransport, Errno> {
        RlvsTransport::connect_to(SOCKET_NAME)
    }

    /// Connects to another name in the abstract namespace.
    ///
    /// # Errors
    /// As [`RlvsTransport::connect`].
    pub fn connect_to(name: &[u8]) -> Result<RlvsTransport, Errno> {
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        connect(&socket, &SocketAddrUnix::new_abstract_name(name)?)?;
        if !is_trusted(&socket) {
            return Err(Errno::CONNREFUSED);
        }
        be_patient(&socket)?;
        Ok(RlvsTransport { socket })
    }
}

impl Transport for RlvsTransport {
    fn send(&mut self, datagram: &[u8]) -> Result<(), Errno> {
        send_whole(&self.socket, datagram)
    }

    fn receive(&mut self) -> Result<Vec<u8>, Errno> {
        receive_whole(&self.socket)
    }
}

/// A generic-netlink socket to the kernel, of this network namespace.
#[derive(Debug)]
pub struct KernelTransport {
    socket: OwnedFd,
}

impl KernelTransport {
    /// Opens and binds a socket; the kernel chooses the port id.
    ///
    /// # Errors
    /// What the system says.
    pub fn open() -> Result<KernelTransport, Errno> {
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(GENERIC))?;
        bind(&socket, &SocketAddrNetlink::new(0, 0))?;
        // Port 0 is the kernel; once connected, a datagram goes there and only there.
        connect(&socket, &SocketAddrNetlink::new(0, 0))?;
        be_patient(&socket)?;
        Ok(KernelTransport { socket })
    }
}

impl Transport for KernelTransport {
    fn send(&mut self, datagram: &[u8]) -> Result<(), Errno> {
        send_whole(&self.socket, datagram)
    }

    fn receive(&mut self) -> Result<Vec<u8>, Errno> {
        receive_whole(&self.socket)
    }
}

/// Whether the other end of a Unix socket is root's or our own: anybody may take a name in the abstract namespace, and
/// what we say there is meant for the director.
pub(crate) fn is_trusted(socket: &impl AsFd) -> bool {
    socket_peercred(socket).is_ok_and(|peer| peer.uid.is_root() || peer.uid == geteuid())
}

fn be_patient(socket: &OwnedFd) -> Result<(), Errno> {
    set_socket_timeout(socket, Timeout::Recv, Some(PATIENCE))?;
    set_socket_timeout(socket, Timeout::Send, Some(PATIENCE))?;
    Ok(())
}

fn send_whole(socket: &OwnedFd, datagram: &[u8]) -> Result<(), Errno> {
    let sent = rustix::io::retry_on_intr(|| send(socket, datagram, SendFlags::NOSIGNAL))?;
    if sent == datagram.len() { Ok(()) } else { Err(Errno::MSGSIZE) }
}

fn receive_whole(socket: &OwnedFd) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; BUFFER];
    // With TRUNC the length is the datagram's, even if the buffer is shorter.
    let (_, length) = rustix::io::retry_on_intr(|| recv(socket, &mut buffer[..], RecvFlags::TRUNC))?;
    match length {
        0 => Err(Errno::CONNRESET),
        _ if length > buffer.len() => Err(Errno::MSGSIZE),
        _ => {
            buffer.truncate(length);
            Ok(buffer)
        }
    }
}
