//! Links, addresses and routes of the calling thread's network namespace, over netlink.

use std::{
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use rtnetlink::{
    Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder, new_connection,
    packet_route::link::{InfoData, InfoVeth},
};
use rustix::net::{AddressFamily, SocketType, netdevice::name_to_index};

use super::{
    error::{Error, Result},
    netns::Netns,
};

/// A netlink connection into one namespace, for the length of a [`Links::with`].
pub(crate) struct Links(Handle);

impl Links {
    /// Runs `task` in a thread inside `netns`, with a connection to its links.
    pub(crate) fn with<T: Send>(netns: &Netns, task: impl AsyncFnOnce(Links) -> Result<T> + Send) -> Result<T> {
        netns.run(|| {
            let failed = || Error::io::<io::Error>(format!("cannot open netlink in {}", netns.name()));
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed())?;
            runtime.block_on(async {
                let (connection, handle, _unasked) = new_connection().map_err(failed())?;
                tokio::spawn(connection);
                task(Links(handle)).await
            })
        })?
    }

    /// Lays a cable: `name` here, `peer_name` in `peer`.
    pub(crate) async fn add_veth(&self, name: &str, peer: &Netns, peer_name: &str) -> Result<()> {
        // The far end is made in its namespace at once, so its name need not be free in this one.
        let far = LinkMessageBuilder::<LinkUnspec>::new().name(peer_name).setns_by_fd(peer.raw_fd()).build();
        let cable = LinkVeth::new(name, peer_name).set_info_data(InfoData::Veth(InfoVeth::Peer(far))).build();
        let doing = || format!("cannot lay a cable from {name} to {} {peer_name}", peer.name());
        said(doing, "load the veth driver with `modprobe veth`", self.0.link().add(cable).execute()).await
    }

    /// Makes a switch.
    pub(crate) async fn add_bridge(&self, name: &str) -> Result<()> {
        let doing = || format!("cannot make the bridge {name}");
        let bridge = LinkBridge::new(name).build();
        said(doing, "load the bridge driver with `modprobe bridge`", self.0.link().add(bridge).execute()).await
    }

    /// Plugs a link into a switch.
    pub(crate) async fn set_bridge(&self, name: &str, bridge: &str) -> Result<()> {
        let message = LinkUnspec::new_with_name(name).controller(index(bridge)?).build();
        said(|| format!("cannot plug {name} into {bridge}"), "", self.0.link().set(message).execute()).await
    }

    /// Gives a link an address.
    pub(crate) async fn add_address(&self, name: &str, (address, prefix_len): (IpAddr, u8)) -> Result<()> {
        let index = index(name)?;
        let doing = || format!("cannot give {name} the address {address}/{prefix_len}");
        said(doing, "", self.0.address().add(index, address, prefix_len).execute()).await
    }

    /// Brings a link up.
    pub(crate) async fn up(&self, name: &str) -> Result<()> {
        let message = LinkUnspec::new_with_name(name).up().build();
        said(|| format!("cannot bring {name} up"), "", self.0.link().set(message).execute()).await
    }

    /// Sets the default gateway.
    pub(crate) async fn add_default_route(&self, gateway: IpAddr) -> Result<()> {
        let doing = || format!("cannot set the default gateway {gateway}");
        let everywhere = match gateway {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let route = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(everywhere, 0)
            .and_then(|route| route.gateway(gateway))
            .map_err(|error| Error::Netlink { doing: doing(), reason: error.to_string() })?;
        said(doing, "", self.0.route().add(route.build()).execute()).await
    }
}

/// A link's number in the calling thread's namespace.
fn index(name: &str) -> Result<u32> {
    let found = rustix::net::socket(AddressFamily::UNIX, SocketType::DGRAM, None)
        .and_then(|any_socket| name_to_index(any_socket, name));
    found.map_err(Error::io(format!("cannot find the link {name}")))
}

/// Awaits a request and words its failure; where the kernel does not know such a thing, `cure` says how it comes to.
async fn said(
    doing: impl Fn() -> String,
    cure: &str,
    request: impl Future<Output = Result<(), rtnetlink::Error>>,
) -> Result<()> {
    request.await.map_err(|error| {
        let source = reason(&error);
        let unknown = source.kind() == io::ErrorKind::Unsupported && !cure.is_empty();
        let reason = if unknown { format!("{source}; {cure}") } else { source.to_string() };
        Error::Netlink { doing: doing(), reason }
    })
}

fn reason(error: &rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    }
}
