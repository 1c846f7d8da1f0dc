//! The far end of tunnels, for kernels without modules for them.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    num::NonZeroU32,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rlvs::lab::Netns;
use rustix::net::{self, AddressFamily, Protocol, RecvFlags, SendFlags, SocketType, sockopt};

/// The port of GUE.
pub const GUE_PORT: u16 = 6080;
const IPIP: u32 = 4;
const IPV6: u32 = 41;
const UDP: u32 = 17;
const GRE: u32 = 47;
/// IP packets as they are, header included.
const RAW: u32 = 255;

/// Takes packets out of IP in IP, GRE and GUE that come to a host and gives them to the host itself. Dropped, it stops.
pub struct Unwrap {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Unwrap {
    /// Starts it; it listens when this returns.
    ///
    /// # Panics
    /// Where that fails.
    pub fn start(netns: &Netns) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut sockets: Vec<(OwnedFd, AddressFamily, u32)> = Vec::new();
        for family in [AddressFamily::INET, AddressFamily::INET6] {
            sockets.extend([IPIP, IPV6, GRE].map(|protocol| (raw(netns, family, protocol), family, protocol)));
        }
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, GUE_PORT));
        let gue = netns.run(|| UdpSocket::bind(any)).expect("a thread in the host").expect("a UDP socket");
        // What a socket of UDP gives has no outer header, as with IPv6.
        sockets.push((gue.into(), AddressFamily::INET6, GUE_PORT.into()));
        // One of IPv6 would refuse packets without a checksum.
        sockets.push((raw(netns, AddressFamily::INET6, UDP), AddressFamily::INET6, UDP));
        let threads = sockets.into_iter().map(|(socket, family, protocol)| {
            let inside = [AddressFamily::INET, AddressFamily::INET6].map(|family| raw(netns, family, RAW));
            sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(Duration::from_millis(50)))
                .expect("a time limit");
            let stopped = Arc::clone(&stop);
            thread::spawn(move || {
                let mut buffer = vec![0; 65_536];
                while !stopped.load(Ordering::Relaxed) {
                    let Ok((len, _)) = net::recv(&socket, &mut buffer, RecvFlags::empty()) else { continue };
                    if let Some(packet) = inner(&buffer[..len], family, protocol) {
                        deliver(&inside, packet);
                    }
                }
            })
        });
        let threads = threads.collect();
        Self { stop, threads }
    }
}

impl Drop for Unwrap {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic in it has been printed already.
            let _ = thread.join();
        }
    }
}

fn raw(netns: &Netns, family: AddressFamily, protocol: u32) -> OwnedFd {
    let protocol = NonZeroU32::new(protocol).map(Protocol::from_raw);
    let socket = netns.run(|| net::socket(family, SocketType::RAW, protocol)).expect("a thread in the host");
    socket.expect("a raw socket")
}

/// The packet inside one that a socket of this kind got.
fn inner(bytes: &[u8], family: AddressFamily, protocol: u32) -> Option<&[u8]> {
    let outer = if family == AddressFamily::INET { usize::from(bytes.first()? & 15) * 4 } else { 0 };
    let bytes = bytes.get(outer..)?;
    let header = match protocol {
        GRE if bytes.first()? & 0x80 != 0 => 8,
        GRE => 4,
        IPIP | IPV6 => 0,
        UDP if bytes.get(2..4)? != GUE_PORT.to_be_bytes() => return None,
        UDP => 12,
        _ => 4,
    };
    bytes.get(header..)
}

/// Gives a packet to the host, which has its destination address.
fn deliver([v4, v6]: &[OwnedFd; 2], packet: &[u8]) {
    let to_v4 = packet.get(16..20).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()).map(Ipv4Addr::from);
    let to_v6 = packet.get(24..40).and_then(|bytes| <[u8; 16]>::try_from(bytes).ok()).map(Ipv6Addr::from);
    // A packet that the host refuses is one that never arrives: the test notices.
    let _ = match (packet.first().map(|byte| byte >> 4), to_v4, to_v6) {
        (Some(4), Some(to), _) => net::sendto(v4, packet, SendFlags::empty(), &SocketAddr::from((to, 0))),
        (Some(6), _, Some(to)) => net::sendto(v6, packet, SendFlags::empty(), &SocketAddr::from((to, 0))),
        _ => Ok(0),
    };
}
