//! The director's links, routes and neighbours, made in the kernel and known to the native core.

use std::{
    cell::Cell,
    fs,
    io::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    process::{Command, Stdio},
    rc::Rc,
};

use rlvs_core::{
    forward::next_hop::{NextHop, Reach, RouteQuery, Unresolved, Way},
    native::Router,
    rows::family,
    wire::ethernet::Mac,
};

/// An interface by which frames arrive.
#[derive(Clone, Debug)]
pub struct Port {
    /// Its name.
    pub name: &'static str,
    /// Its index.
    pub index: u32,
    /// Its link-layer address.
    pub address: Mac,
    /// Whether the kernel forwards what arrives by it.
    pub forwards: bool,
}

/// The link to the clients: 172.16.0.0/24, fd00:172::/64.
pub const OUTSIDE: usize = 0;
/// The link to the real servers: 192.168.1.0/24, fd00:192::/64.
pub const INSIDE: usize = 1;
/// Neighbours whose address is known, and stays so, by the last byte of both their IP addresses and their link-layer address.
const KNOWN: [(usize, u8); 6] =
    [(OUTSIDE, 10), (OUTSIDE, 11), (OUTSIDE, 13), (INSIDE, 2), (INSIDE, 3), (INSIDE, NARROW)];
/// The director's own last byte on both links.
pub const DIRECTOR: u8 = 254;
/// The outside neighbour that leads to 10.0.0.0/8 and fd00:10::/32.
const GATEWAY: u8 = 10;
/// What the links take: the longest frame, in a tunnel too.
pub const MTU: u16 = 2000;
/// The inside neighbour to which less than that may be sent.
pub const NARROW: u8 = 5;
const NARROW_MTU: u16 = 1290;

/// The links, and by which of them the current frame arrives.
pub struct Network {
    /// Outside, inside, and one by which nothing is forwarded.
    pub ports: [Port; 3],
    arrival: Rc<Cell<bool>>,
}

impl Network {
    /// Makes links, addresses, routes and neighbours in this thread's network namespace.
    pub fn build() -> Self {
        let names = ["outside", "inside", "closed"];
        // Nobody should speak on these links but the test: so their far ends have no addresses at all.
        set("ipv6/conf/default/disable_ipv6", "1");
        let mut script = String::new();
        for (number, name) in names.iter().enumerate() {
            let address = text(port_address(number));
            script +=
                &format!("link add {name} address {address} mtu {MTU} type veth peer name {name}-far mtu {MTU}\n");
            script += &format!("link set {name}-far up\nlink set {name} up\n");
        }
        ip(&script);
        names.iter().for_each(|name| set(&format!("ipv6/conf/{name}/disable_ipv6"), "0"));
        let mut script = String::new();
        for (link, name) in [(OUTSIDE, "outside"), (INSIDE, "inside")] {
            script += &format!("addr add {}/24 dev {name}\n", on_link(link, DIRECTOR));
            script += &format!("addr add {}/64 dev {name} nodad\n", on_link_v6(link, DIRECTOR));
        }
        for (link, last) in KNOWN {
            let (mac, name) = (text(neighbour(link, last)), names[link]);
            for ip in [on_link(link, last), on_link_v6(link, last)] {
                script += &format!("neigh add {ip} lladdr {mac} dev {name} nud permanent\n");
            }
        }
        for (on, remote, unreachable, length) in [
            (on_link as fn(usize, u8) -> IpAddr, "10.0.0.0/8", "10.66.0.0/16", 32),
            (on_link_v6, "fd00:10::/32", "fd00:66::/32", 128),
        ] {
            script +=
                &format!("route add {remote} via {}\nroute add unreachable {unreachable}\n", on(OUTSIDE, GATEWAY));
            script += &format!("route add {}/{length} dev inside mtu lock {NARROW_MTU}\n", on(INSIDE, NARROW));
        }
        ip(&script);
        set("ipv4/ip_forward", "1");
        set("ipv4/conf/closed/forwarding", "0");
        set("ipv6/conf/all/forwarding", "1");
        set("ipv6/conf/closed/forwarding", "0");
        let port = |number: usize| Port {
            name: names[number],
            index: index(names[number]),
            address: port_address(number),
            forwards: names[number] != "closed",
        };
        Self { ports: [port(0), port(1), port(2)], arrival: Rc::default() }
    }

    /// The next frame arrives by this port.
    pub fn arrive_by(&self, port: usize) {
        self.arrival.set(self.ports[port].forwards);
    }

    /// Answers as the kernel does, from what [`Self::build`] told it.
    pub fn router(&self) -> Router {
        let (forwards, ports) = (Rc::clone(&self.arrival), self.ports.clone());
        Box::new(move |query: &RouteQuery, way: &mut Way| {
            // The kernel looks at IPv6's loopback address before anything else.
            if query.family == family::V6 && query.to.is_loopback(family::V6) {
                return Reach::NoRoute;
            }
            if !forwards.get() {
                return Reach::ForwardingDisabled;
            }
            let Some((link, last)) = destination(query) else { return Reach::NoRoute };
            let neighbour_ip = if query.family == family::V6 { on_link_v6(link, last) } else { on_link(link, last) };
            way.unresolved = Unresolved {
                interface: ports[link].index,
                family: query.family.into(),
                neighbour: crate::homes::address(neighbour_ip),
            };
            way.mtu = if (link, last) == (INSIDE, NARROW) { NARROW_MTU } else { MTU }.into();
            if !KNOWN.contains(&(link, last)) {
                return Reach::Unresolved;
            }
            way.hop = NextHop {
                interface: ports[link].index,
                source: ports[link].address,
                destination: neighbour(link, last),
            };
            Reach::Ready
        })
    }
}

/// The link and the last byte of the neighbour that leads there.
fn destination(query: &RouteQuery) -> Option<(usize, u8)> {
    let (link, last) = if query.family == family::V6 {
        match query.to.v6_bytes() {
            [0xfd, 0, 0, 0x10, ..] => (OUTSIDE, GATEWAY),
            [0xfd, 0, 1, 0x72, .., last] => (OUTSIDE, last),
            [0xfd, 0, 1, 0x92, .., last] => (INSIDE, last),
            _ => return None,
        }
    } else {
        match query.to.v4_bytes() {
            [10, 66, ..] => return None,
            [10, ..] => (OUTSIDE, GATEWAY),
            [172, 16, 0, last] => (OUTSIDE, last),
            [192, 168, 1, last] => (INSIDE, last),
            _ => return None,
        }
    };
    // The director itself and broadcasts are not forwarded to.
    (!matches!(last, DIRECTOR | 255 | 0)).then_some((link, last))
}

fn port_address(number: usize) -> Mac {
    [2, 0, 0, 0, number as u8, DIRECTOR]
}

fn neighbour(link: usize, last: u8) -> Mac {
    [2, 0, 0, 1, link as u8, last]
}

/// The IPv4 address of a host on a link.
pub fn on_link(link: usize, last: u8) -> IpAddr {
    if link == OUTSIDE { Ipv4Addr::new(172, 16, 0, last) } else { Ipv4Addr::new(192, 168, 1, last) }.into()
}

/// The IPv6 address of a host on a link.
pub fn on_link_v6(link: usize, last: u8) -> IpAddr {
    let net = if link == OUTSIDE { 0x172 } else { 0x192 };
    Ipv6Addr::new(0xfd00, net, 0, 0, 0, 0, 0, last.into()).into()
}

fn set(name: &str, value: &str) {
    fs::write(format!("/proc/sys/net/{name}"), value).unwrap_or_else(|error| panic!("{name}: {error}"));
}

fn text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn index(name: &str) -> u32 {
    // Not /sys/class/net, which shows the namespace that mounted it.
    let output = Command::new("ip").args(["-o", "link", "show", name]).output().expect("ip");
    let line = String::from_utf8_lossy(&output.stdout);
    line.split(':').next().and_then(|index| index.parse().ok()).unwrap_or_else(|| panic!("index of {name} in {line:?}"))
}

/// Runs `ip` commands.
fn ip(script: &str) {
    let mut child = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().expect("ip can be started");
    child.stdin.take().expect("a pipe").write_all(script.as_bytes()).expect("ip reads its commands");
    assert!(child.wait().expect("ip ends").success(), "ip failed in:\n{script}");
}
