//! The kernel's links, routes and neighbours: read, watched, and asked to resolve.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::{Duration, Instant},
};

use aya::maps::{MapData, RingBuf};
use futures_util::{StreamExt, TryStreamExt};
use rlvs_core::{rows::family, wire::ethernet::Mac};
use rtnetlink::{
    Handle, MulticastGroup, RouteMessageBuilder, new_multicast_connection,
    packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload},
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        link::{LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage},
        neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState},
        route::{RouteAddress, RouteAttribute, RouteVia},
    },
    sys::SocketAddr,
};

use tokio::sync::mpsc::UnboundedReceiver;

use crate::watch::watch;

/// How often the kernel is asked about the same neighbour at most. While its own question is under way it ignores ours, so
/// this only spares system calls; it should be shorter than TCP's first retransmission (200 ms), for when a neighbour is
/// lost right after it was found.
const ASK_INTERVAL: Duration = Duration::from_millis(100);
/// How many neighbours are remembered as asked for before the list is tidied.
const ASKED_MAX: usize = 4096;

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its link-layer address.
    pub address: Mac,
    /// Its kind, if it is virtual: `veth`, `bridge`, ..
    pub kind: Option<String>,
}

impl Interface {
    /// The Ethernet interface of a message; `None` for others and for loopback.
    fn of(message: &LinkMessage) -> Option<Self> {
        let header = &message.header;
        if header.link_layer_type != LinkLayerType::Ether || header.flags.contains(LinkFlags::Loopback) {
            return None;
        }
        let mut interface = Self { index: header.index, name: String::new(), address: Mac::default(), kind: None };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => interface.name.clone_from(name),
                LinkAttribute::Address(bytes) => interface.address = *bytes.first_chunk()?,
                LinkAttribute::LinkInfo(infos) => {
                    interface.kind = infos.iter().find_map(|info| match info {
                        LinkInfo::Kind(kind) => Some(kind.to_string()),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
        Some(interface)
    }
}

/// Something changed in the kernel's tables.
#[derive(Debug)]
pub enum Event {
    /// An interface is there, new or changed.
    Interface(Interface),
    /// An interface is gone.
    InterfaceGone(u32),
    /// Routes or addresses changed: cached next hops may be wrong, and so may what the host says of destinations.
    Ways,
    /// A known neighbour changed: cached next hops may be wrong.
    Neighbours,
}

/// A destination of which the owner wants to know the way.
#[derive(Clone, Copy, Debug)]
pub struct Newcomer {
    /// Number of its row.
    pub dest: u32,
    /// Its address.
    pub address: IpAddr,
}

/// A way to an address, as the kernel would take it.
#[derive(Clone, Copy, Debug)]
struct Way {
    interface: u32,
    /// The gateway, or the address itself.
    neighbour: IpAddr,
    /// The host's own address that packets on this way leave from.
    source: Option<IpAddr>,
}

/// A connection to the kernel's tables.
pub struct Network {
    handle: Handle,
    messages: futures_channel::mpsc::UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>,
    /// Addresses of neighbours that were known.
    known: HashMap<(u32, IpAddr), Vec<u8>>,
}

impl Network {
    /// Connects, and begins to watch.
    ///
    /// # Errors
    /// Where the kernel refuses a netlink socket.
    pub fn connect() -> io::Result<Self> {
        let groups = [
            MulticastGroup::Link,
            MulticastGroup::Neigh,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Route,
            MulticastGroup::Ipv6Ifaddr,
        ];
        let (connection, handle, messages) = new_multicast_connection(&groups)?;
        tokio::spawn(connection);
        Ok(Self { handle, messages, known: HashMap::new() })
    }

    /// A handle that can be used while [`Self::next`] waits.
    pub fn resolver(&self) -> Resolver {
        Resolver { handle: self.handle.clone(), asked: HashMap::new() }
    }

    /// The Ethernet interfaces.
    ///
    /// # Errors
    /// Where the kernel does not answer.
    pub async fn interfaces(&self) -> io::Result<Vec<Interface>> {
        let links: Vec<LinkMessage> =
            self.handle.link().get().execute().try_collect().await.map_err(io::Error::other)?;
        Ok(links.iter().filter_map(Interface::of).collect())
    }

    /// Waits for the next change that matters. `None` when the kernel closed the connection.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            let (message, _) = self.messages.next().await?;
            let NetlinkPayload::InnerMessage(message) = message.payload else { continue };
            let event = match message {
                // A bridge tells of its ports in the same words; that a port left is not that the interface is gone.
                RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link)
                    if link.header.interface_family != AddressFamily::Unspec =>
                {
                    None
                }
                RouteNetlinkMessage::NewLink(link) => Interface::of(&link).map(Event::Interface),
                RouteNetlinkMessage::DelLink(link) => Some(Event::InterfaceGone(link.header.index)),
                RouteNetlinkMessage::NewRoute(_)
                | RouteNetlinkMessage::DelRoute(_)
                | RouteNetlinkMessage::NewAddress(_)
                | RouteNetlinkMessage::DelAddress(_) => Some(Event::Ways),
                RouteNetlinkMessage::NewNeighbour(neighbour) => self.neighbour_changed(&neighbour, false),
                RouteNetlinkMessage::DelNeighbour(neighbour) => self.neighbour_changed(&neighbour, true),
                _ => None,
            };
            if event.is_some() {
                return event;
            }
        }
    }

    /// A neighbour that changes its address or loses it makes cached next hops wrong; one that is new does not, and neither
    /// does the kernel's verifying that an address is still right, which it does all the time.
    fn neighbour_changed(&mut self, message: &NeighbourMessage, gone: bool) -> Option<Event> {
        let mut ip = None;
        let mut address = None;
        for attribute in &message.attributes {
            match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => ip = Some(IpAddr::V4(*v4)),
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => ip = Some(IpAddr::V6(*v6)),
                NeighbourAttribute::LinkLayerAddress(bytes) => address = Some(bytes.clone()),
                _ => {}
            }
        }
        let key = (message.header.ifindex, ip?);
        let lost = gone || matches!(message.header.state, NeighbourState::Failed | NeighbourState::Incomplete);
        let changed = match address.filter(|_| !lost) {
            Some(address) => self.known.insert(key, address.clone()).is_some_and(|old| old != address),
            None => self.known.remove(&key).is_some(),
        };
        changed.then_some(Event::Neighbours)
    }
}

/// Asks the kernel to find out, or to keep verifying, neighbours that the data plane uses.
pub struct Resolver {
    handle: Handle,
    asked: HashMap<(u32, IpAddr), Instant>,
}

impl Resolver {
    /// Serves the data plane's questions, and makes the way to every new real server known, until the ring cannot be read.
    /// Tells `found` the source address of each way, `None` where there is no way.
    ///
    /// # Errors
    /// That of the ring.
    pub async fn run(
        mut self,
        ring: RingBuf<MapData>,
        mut newcomers: UnboundedReceiver<Newcomer>,
        found: impl Fn(Newcomer, Option<IpAddr>),
    ) -> io::Result<()> {
        let mut ring = watch(ring)?;
        loop {
            tokio::select! {
                ready = ring.readable_mut() => {
                    let mut ready = ready?;
                    let mut questions = Vec::new();
                    while let Some(record) = ready.get_inner_mut().next() {
                        questions.extend(question(&record));
                    }
                    ready.clear_ready();
                    for (interface, ip) in questions {
                        self.ask(interface, ip).await;
                    }
                }
                Some(newcomer) = newcomers.recv() => {
                    let way = self.way_to(newcomer.address).await;
                    found(newcomer, way.and_then(|way| way.source));
                    // Without a route there is nobody to ask; the data plane will say so.
                    if let Some(way) = way {
                        self.ask(way.interface, way.neighbour).await;
                    }
                }
            }
        }
    }

    /// The way to an address; `None` where there is none, or none that leads to a neighbour.
    async fn way_to(&self, ip: IpAddr) -> Option<Way> {
        let question = match ip {
            IpAddr::V4(v4) => RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(v4, 32).build(),
            IpAddr::V6(v6) => RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(v6, 128).build(),
        };
        let answer = self.handle.route().get(question).execute().try_next().await.ok()??;
        let mut interface = None;
        let (mut neighbour, mut source) = (ip, None);
        for attribute in answer.attributes {
            match attribute {
                RouteAttribute::Oif(index) => interface = Some(index),
                RouteAttribute::Gateway(address) => neighbour = route_ip(&address)?,
                RouteAttribute::Via(RouteVia::Inet6(gateway)) => neighbour = IpAddr::V6(gateway),
                RouteAttribute::PrefSource(address) => source = route_ip(&address),
                _ => {}
            }
        }
        Some(Way { interface: interface?, neighbour, source })
    }

    async fn ask(&mut self, interface: u32, ip: IpAddr) {
        let now = Instant::now();
        if self.asked.len() >= ASKED_MAX {
            self.asked.retain(|_, when| now.duration_since(*when) < ASK_INTERVAL);
        }
        if self.asked.get(&(interface, ip)).is_some_and(|when| now.duration_since(*when) < ASK_INTERVAL) {
            return;
        }
        self.asked.insert((interface, ip), now);
        // Being told that such an entry is in use, kernels from 5.16 on take its permanence away, and with it the address.
        if self.is_permanent(interface, ip).await {
            return;
        }
        // "In use": the kernel sends its question if it does not know or is no longer sure, as if it had a packet to send.
        let mut request = self.handle.neighbours().add(interface, ip).replace();
        let header = &mut request.message_mut().header;
        header.state = NeighbourState::None;
        header.flags = NeighbourFlags::Use;
        if let Err(error) = request.execute().await {
            tracing::warn!("asking for neighbour {ip} on interface {interface}: {error}");
        }
    }

    /// Whether somebody has entered the neighbour's address by hand.
    async fn is_permanent(&mut self, interface: u32, ip: IpAddr) -> bool {
        let mut question = NeighbourMessage::default();
        question.header.ifindex = interface;
        let (family, destination) = match ip {
            IpAddr::V4(v4) => (AddressFamily::Inet, NeighbourAddress::Inet(v4)),
            IpAddr::V6(v6) => (AddressFamily::Inet6, NeighbourAddress::Inet6(v6)),
        };
        question.header.family = family;
        question.attributes.push(NeighbourAttribute::Destination(destination));
        let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetNeighbour(question));
        request.header.flags = NLM_F_REQUEST;
        let Ok(mut answers) = self.handle.request(request) else { return false };
        // An error says that there is no such neighbour yet.
        matches!(
            answers.next().await.map(|answer| answer.payload),
            Some(NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(neighbour)))
                if neighbour.header.state == NeighbourState::Permanent
        )
    }
}

fn route_ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

/// What the data plane wrote: interface, family, address; integers in the native byte order.
fn question(record: &[u8]) -> Option<(u32, IpAddr)> {
    let (interface, rest) = record.split_first_chunk::<4>()?;
    let (family, address) = rest.split_first_chunk::<4>()?;
    let ip = if u32::from_ne_bytes(*family) == u32::from(family::V6) {
        IpAddr::V6(Ipv6Addr::from(*address.first_chunk::<16>()?))
    } else {
        IpAddr::V4(Ipv4Addr::from(*address.first_chunk::<4>()?))
    };
    Some((u32::from_ne_bytes(*interface), ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_of_both_families_and_of_none() {
        let record = |family: u8, address: [u8; 16]| {
            [&7u32.to_ne_bytes()[..], &u32::from(family).to_ne_bytes(), &address].concat()
        };
        let v4 = record(family::V4, *b"\x0a\x01\x02\x03............");
        assert_eq!(question(&v4), Some((7, IpAddr::from([10, 1, 2, 3]))));
        let v6 = record(family::V6, Ipv6Addr::LOCALHOST.octets());
        assert_eq!(question(&v6), Some((7, IpAddr::V6(Ipv6Addr::LOCALHOST))));
        assert_eq!(question(&v6[..20]), None);
    }
}
