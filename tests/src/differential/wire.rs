//! The ends of the cables: frames go in and come out here, past any host's stack.

use std::{
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rlvs::lab::Netns;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{
        AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType,
        addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque},
        bind, netdevice, recv, send, socket_with, sockopt,
    },
};

use super::decode::Frame;

/// What the kernel is to keep for us while we look elsewhere; a burst of frames fits.
const BUFFER: usize = 8 << 20;
/// Larger than any frame here.
const FRAME_MAX: usize = 1 << 16;
/// ETH_P_ALL (include/uapi/linux/if_ether.h), in network byte order.
const ALL_PROTOCOLS: u16 = 3_u16.to_be();

/// A packet socket on one interface.
pub struct Wire {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl Wire {
    /// Opens the end of a cable.
    ///
    /// # Panics
    /// Where that fails.
    pub fn open(netns: &Netns, interface: &str) -> Self {
        let socket = netns.run(|| open(interface)).expect("a thread in the host").expect("a packet socket");
        Self { socket, buffer: vec![0; FRAME_MAX] }
    }

    /// Sends a frame as it is.
    ///
    /// # Panics
    /// Where the interface does not take it.
    pub fn send(&self, frame: &[u8]) {
        loop {
            match send(&self.socket, frame, SendFlags::empty()) {
                // The queue is full for a moment.
                Err(Errno::NOBUFS | Errno::INTR) => std::thread::yield_now(),
                sent => {
                    sent.expect("a frame sent");
                    return;
                }
            }
        }
    }

    /// Takes the next frame that a scenario cares for, waiting for it until the deadline.
    ///
    /// # Panics
    /// Where the socket fails.
    pub fn next(&mut self, deadline: Instant) -> Option<Frame> {
        loop {
            match recv(&self.socket, &mut self.buffer[..], RecvFlags::DONTWAIT) {
                Ok((_, length)) => {
                    if let Some(frame) = self.buffer.get(..length).and_then(Frame::read) {
                        return Some(frame);
                    }
                }
                Err(Errno::AGAIN) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return None;
                    }
                    self.wait(left);
                }
                Err(Errno::INTR) => {}
                Err(error) => panic!("receiving a frame: {error}"),
            }
        }
    }

    fn wait(&self, time_max: Duration) {
        let time = Timespec::try_from(time_max).expect("a wait of seconds");
        // A failure shows at the next attempt to receive.
        let _ = poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&time));
    }
}

fn open(interface: &str) -> rustix::io::Result<OwnedFd> {
    let protocol = Protocol::from_raw(u32::from(ALL_PROTOCOLS).try_into().expect("not zero"));
    let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, Some(protocol))?;
    let index = netdevice::name_to_index(&socket, interface)?;
    bind(&socket, &LinkAddress::of(index))?;
    sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER)?;
    Ok(socket)
}

/// `struct sockaddr_ll` (include/uapi/linux/if_packet.h), which rustix does not have.
#[repr(C)]
struct LinkAddress {
    family: u16,
    protocol: u16,
    index: u32,
    hardware_type: u16,
    packet_type: u8,
    address_length: u8,
    address: [u8; 8],
}

impl LinkAddress {
    fn of(index: u32) -> Self {
        Self {
            family: AddressFamily::PACKET.as_raw(),
            protocol: ALL_PROTOCOLS,
            index,
            hardware_type: 0,
            packet_type: 0,
            address_length: 0,
            address: [0; 8],
        }
    }
}

// SAFETY: the closure gets a pointer to a whole, initialised `sockaddr_ll` and its length, both good until it returns.
// JUSTIFICATION: rustix opens packet sockets but has no type for their addresses.
unsafe impl SocketAddrArg for LinkAddress {
    unsafe fn with_sockaddr<R>(&self, task: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R) -> R {
        task(std::ptr::from_ref(self).cast(), size_of::<Self>() as SocketAddrLen)
    }
}
