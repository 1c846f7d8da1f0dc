//! The director's links, routes and neighbours, made in the kernel and known to the native core.

use std::{
    cell::Cell,
    fs,
    io::Write,
    net::Ipv4Addr,
    process::{Command, Stdio},
    rc::Rc,
};

use rlvs_core::{
    forward::next_hop::{NextHop, Route, RouteQuery, Unresolved},
    native::Router,
    rows::Address,
    verdict::Drop,
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

/// The link to the clients, 172.16.0.0/24.
const OUTSIDE: usize = 0;
/// The link to the real servers, 192.168.1.0/24.
const INSIDE: usize = 1;
/// Neighbours whose address is known, and stays so, by the last byte of both their IP address and their link-layer address.
const KNOWN: [(usize, u8); 5] = [(OUTSIDE, 10), (OUTSIDE, 11), (OUTSIDE, 13), (INSIDE, 2), (INSIDE, 3)];
/// The director's own last byte on both links.
const DIRECTOR: u8 = 254;
/// The outside neighbour that leads to 10.0.0.0/8.
const GATEWAY: u8 = 10;

/// The links, and by which of them the current frame arrives.
pub struct Network {
    /// Outside, inside, and one by which nothing is forwarded.
    pub ports: [Port; 3],
    arrival: Rc<Cell<bool>>,
}

impl Network {
    /// Makes links, addresses, routes and neighbours in this thread's network namespace.
    pub fn build() -> Self {
        // Nobody should speak on these links but the test.
        for name in ["all", "default"] {
            // A kernel without IPv6 has no such file and needs none.
            let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1");
        }
        let names = ["outside", "inside", "closed"];
        let mut script = String::new();
        for (number, name) in names.iter().enumerate() {
            let address = text(port_address(number));
            // Room for the longest frame, so that no length is too much for the way out.
            script += &format!("link add {name} address {address} mtu 2000 type veth peer name {name}-far mtu 2000\n");
            script += &format!("link set {name}-far up\nlink set {name} up\n");
        }
        script +=
            &format!("addr add 172.16.0.{DIRECTOR}/24 dev outside\naddr add 192.168.1.{DIRECTOR}/24 dev inside\n");
        for (link, last) in KNOWN {
            let (ip, mac, name) = (Ipv4Addr::from(on_link(link, last)), text(neighbour(link, last)), names[link]);
            script += &format!("neigh add {ip} lladdr {mac} dev {name} nud permanent\n");
        }
        script += &format!("route add 10.0.0.0/8 via 172.16.0.{GATEWAY}\nroute add unreachable 10.66.0.0/16\n");
        ip(&script);
        fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("forwarding on");
        fs::write("/proc/sys/net/ipv4/conf/closed/forwarding", "0").expect("forwarding off on one link");
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
        Box::new(move |query: &RouteQuery| {
            if !forwards.get() {
                return Route::Unreachable(Drop::ForwardingDisabled);
            }
            let (link, last) = match query.to.v4_bytes() {
                [10, 66, ..] => return Route::Unreachable(Drop::NoRoute),
                [10, ..] => (OUTSIDE, GATEWAY),
                [172, 16, 0, last] => (OUTSIDE, last),
                [192, 168, 1, last] => (INSIDE, last),
                _ => return Route::Unreachable(Drop::NoRoute),
            };
            match last {
                // The director itself and broadcasts are not forwarded to.
                DIRECTOR | 255 => Route::Unreachable(Drop::NoRoute),
                0 => Route::Unreachable(Drop::NoRoute),
                _ if KNOWN.contains(&(link, last)) => Route::Ready(NextHop {
                    interface: ports[link].index,
                    source: ports[link].address,
                    destination: neighbour(link, last),
                }),
                _ => Route::Unresolved(Unresolved {
                    interface: ports[link].index,
                    neighbour: Address::v4(on_link(link, last)),
                }),
            }
        })
    }
}

fn port_address(number: usize) -> Mac {
    [2, 0, 0, 0, number as u8, DIRECTOR]
}

fn neighbour(link: usize, last: u8) -> Mac {
    [2, 0, 0, 1, link as u8, last]
}

fn on_link(link: usize, last: u8) -> [u8; 4] {
    if link == OUTSIDE { [172, 16, 0, last] } else { [192, 168, 1, last] }
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
