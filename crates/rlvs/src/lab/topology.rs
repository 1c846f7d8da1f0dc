//! Hosts and cables: described as data, then built.

use std::{fs, net::IpAddr};

use super::{
    claim::{Claim, retire},
    error::{Error, Result},
    link::Links,
    netns::Netns,
    offload::{self, Feature},
};

/// The bridge within a switch.
const BRIDGE: &str = "br0";

/// Turned off at the far ends of native XDP: a partial checksum means nothing to an XDP program, which would send it on as
/// if it were whole, and a segment larger than the MTU does not fit its buffer.
const OFF_FOR_XDP: [Feature<'static>; 5] = [
    ("tx-checksum-ip-generic", false),
    ("tx-tcp-segmentation", false),
    ("tx-tcp6-segmentation", false),
    ("tx-tcp-ecn-segmentation", false),
    ("tx-tcp-mangleid-segmentation", false),
];
/// Turned on at all veths: without it a veth drops what XDP redirects into its peer.
const ON_FOR_XDP: Feature<'static> = ("rx-gro", true);

/// An address with the length of its prefix.
pub type Address = (IpAddr, u8);

/// How the hosts' interfaces are set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Offloads {
    /// As the kernel makes them: everything on.
    #[default]
    Default,
    /// As native XDP on the directors needs them: transmit checksums and segmentation done in software everywhere else, GRO on.
    ForXdp,
}

/// What to build.
#[derive(Clone, Debug, Default)]
pub struct Topology {
    hosts: Vec<Host>,
    cables: Vec<(End, End)>,
    offloads: Offloads,
}

impl Topology {
    /// No host yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The course's NAT lab:
    ///
    /// ```text
    /// client                director                switch        real1  192.168.1.2
    /// 172.16.0.100 ---- VIP 172.16.0.1, 192.168.1.1 ---- bridge --<
    ///                   eth0            eth1                      real2  192.168.1.3
    /// ```
    ///
    /// The real servers' gateway is the director, which NAT depends on. The client's is too, which it does not: so plain
    /// forwarding can be measured against it.
    pub fn nat() -> Self {
        let inside = IpAddr::from([192, 168, 1, 1]);
        let vip = IpAddr::from([172, 16, 0, 1]);
        Self::new()
            .host(Host::new("client").gateway(vip))
            .host(Host::new("director").forwarding())
            .host(Host::new("switch").switching())
            .host(Host::new("real1").gateway(inside))
            .host(Host::new("real2").gateway(inside))
            .cable(
                End::new("client", "eth0").address(([172, 16, 0, 100].into(), 24)),
                End::new("director", "eth0").address((vip, 24)),
            )
            .cable(End::new("director", "eth1").address((inside, 24)), End::new("switch", "to-director"))
            .cable(End::new("real1", "eth0").address(([192, 168, 1, 2].into(), 24)), End::new("switch", "to-real1"))
            .cable(End::new("real2", "eth0").address(([192, 168, 1, 3].into(), 24)), End::new("switch", "to-real2"))
    }

    /// Adds a host.
    pub fn host(mut self, host: Host) -> Self {
        self.hosts.push(host);
        self
    }

    /// Joins two hosts by a veth pair.
    pub fn cable(mut self, one: End, other: End) -> Self {
        self.cables.push((one, other));
        self
    }

    /// Sets how interfaces are set.
    pub fn offloads(mut self, offloads: Offloads) -> Self {
        self.offloads = offloads;
        self
    }

    /// Builds it under a lab's names. On failure, what was built is gone again when this returns.
    pub fn build(&self, claim: Claim) -> Result<Network> {
        let mut network = Network { hosts: Vec::new(), claim };
        for host in &self.hosts {
            let netns = Netns::create(&network.claim.netns_name(&host.name))?;
            network.hosts.push((host.clone(), netns));
        }
        for (host, netns) in &network.hosts {
            Links::with(netns, async |links| {
                links.up("lo").await?;
                if host.switching {
                    links.add_bridge(BRIDGE).await?;
                    links.up(BRIDGE).await?;
                }
                Ok(())
            })?;
            if host.forwarding {
                netns.run(forward)??;
            }
        }
        for (one, other) in &self.cables {
            let peer = network.host(&other.host)?;
            Links::with(network.host(&one.host)?, async |links| {
                links.add_veth(&one.interface, peer, &other.interface).await
            })?;
            for end in [one, other] {
                plug(&network, end)?;
            }
            // After both ends are up: veth becomes a target of XDP redirection only when its peer, being up, turns GRO on.
            if self.offloads == Offloads::ForXdp {
                for end in [one, other] {
                    prepare_for_xdp(&network, end)?;
                }
            }
        }
        // Last, since a gateway must be within reach.
        for (host, netns) in &network.hosts {
            if let Some(gateway) = host.gateway {
                Links::with(netns, async |links| links.add_default_route(gateway).await)?;
            }
        }
        Ok(network)
    }
}

/// Gives one end of a cable its place and addresses, and sets it up.
fn plug(network: &Network, end: &End) -> Result<()> {
    let (host, netns) = network.entry(&end.host)?;
    Links::with(netns, async |links| {
        if host.switching {
            links.set_bridge(&end.interface, BRIDGE).await?;
        }
        for &address in &end.addresses {
            links.add_address(&end.interface, address).await?;
        }
        links.up(&end.interface).await
    })
}

/// Sets the offloads of one end of a cable so that frames arrive whole at a native XDP program.
fn prepare_for_xdp(network: &Network, end: &End) -> Result<()> {
    let (host, netns) = network.entry(&end.host)?;
    let off: &[Feature] = if host.forwarding { &[] } else { &OFF_FOR_XDP };
    let features = [off, &[ON_FOR_XDP]].concat();
    netns
        .run(|| offload::set_features(&end.interface, &features))?
        .map_err(Error::io(format!("cannot set the offloads of {} {}", end.host, end.interface)))
}

/// A host of a [`Topology`].
#[derive(Clone, Debug)]
pub struct Host {
    name: String,
    gateway: Option<IpAddr>,
    forwarding: bool,
    switching: bool,
}

impl Host {
    /// A host that neither routes nor switches.
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), gateway: None, forwarding: false, switching: false }
    }

    /// Sets its default gateway.
    pub fn gateway(mut self, gateway: IpAddr) -> Self {
        self.gateway = Some(gateway);
        self
    }

    /// Makes it forward packets: a router, or a director.
    pub fn forwarding(mut self) -> Self {
        self.forwarding = true;
        self
    }

    /// Makes it a switch: all its cables go into one bridge.
    pub fn switching(mut self) -> Self {
        self.switching = true;
        self
    }
}

/// One end of a cable.
#[derive(Clone, Debug)]
pub struct End {
    host: String,
    interface: String,
    addresses: Vec<Address>,
}

impl End {
    /// An interface of that name on that host, without addresses.
    pub fn new(host: &str, interface: &str) -> Self {
        Self { host: host.into(), interface: interface.into(), addresses: Vec::new() }
    }

    /// Gives it an address.
    pub fn address(mut self, address: Address) -> Self {
        self.addresses.push(address);
        self
    }
}

/// A topology that has been built. Dropped, it ends the directors' daemons and removes every host.
#[derive(Debug)]
pub struct Network {
    hosts: Vec<(Host, Netns)>,
    /// Last, so that the names are given back only when they are free.
    claim: Claim,
}

impl Network {
    /// The namespace of a host.
    pub fn host(&self, name: &str) -> Result<&Netns> {
        self.entry(name).map(|(_, netns)| netns)
    }

    /// All hosts by name, in the order they were described.
    pub fn hosts(&self) -> impl Iterator<Item = (&str, &Netns)> {
        self.hosts.iter().map(|(host, netns)| (host.name.as_str(), netns))
    }

    /// The claim on its names, with the directory for its files.
    pub fn claim(&self) -> &Claim {
        &self.claim
    }

    fn entry(&self, name: &str) -> Result<&(Host, Netns)> {
        self.hosts.iter().find(|(host, _)| host.name == name).ok_or_else(|| Error::UnknownHost(name.into()))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for (_, netns) in &self.hosts {
            retire(netns);
        }
    }
}

fn forward() -> Result<()> {
    // Per namespace, and the calling thread's at that: /proc/sys/net follows whoever opens it.
    for path in ["/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"] {
        match fs::write(path, "1") {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io(format!("cannot write {path}"))(error));
            }
            // A kernel without IPv6 has no such file, and nothing to forward there.
            _ => {}
        }
    }
    Ok(())
}
