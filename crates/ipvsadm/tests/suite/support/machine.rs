//! A machine in memory: a table behind an endpoint, and the names and interfaces the recordings assume.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

use rlvs_ipvs::Errno;
use rlvs_ipvs::client::{self, Backend, Client, Transport};
use rlvs_ipvs::director::Director;
use rlvs_ipvs::endpoint::{Caller, handle};
use rlvs_ipvs::model::{Host, Interface, Protocol, Support};
use rlvs_ipvsadm::resolve::{Names, Services};
use rlvs_ipvsadm::{Streams, System, run};

/// Schedulers of the recorded kernel.
const SCHEDULERS: [&str; 13] = ["rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh"];

/// What the recorded kernel supports.
pub fn recorded_support() -> Support {
    Support::new(SCHEDULERS, ["sip"])
}

/// A host with nothing but `lo`, up, MTU 65536.
#[derive(Debug)]
pub struct LoopbackHost;

impl Host for LoopbackHost {
    fn interface(&self, name: &str) -> Option<Interface> {
        (name == "lo").then_some(Interface { mtu: 65536, ipv6_multicast: false })
    }

    fn is_local(&self, address: IpAddr) -> bool {
        address.is_loopback()
    }

    fn is_broadcast(&self, address: Ipv4Addr) -> bool {
        address == Ipv4Addr::new(127, 255, 255, 255)
    }
}

/// `localhost`, and the services of Debian's list that the recordings touch.
struct RecordedNames(Services);

impl RecordedNames {
    fn new() -> RecordedNames {
        RecordedNames(Services::parse(
            "ssh 22/tcp\ntelnet 23/tcp\ndomain 53/tcp\ndomain 53/udp\ntftp 69/udp\nhttp 80/tcp www\nntp 123/udp\n\
             https 443/tcp\nhttps 443/udp\nhttp-alt 8080/tcp webcache\nmdns 5353/udp\nsip 5060/tcp\nsip 5060/udp\n",
        ))
    }
}

impl Names for RecordedNames {
    fn host_address(&self, name: &str) -> Option<Ipv4Addr> {
        (name == "localhost").then_some(Ipv4Addr::LOCALHOST)
    }

    fn address_name(&self, address: IpAddr) -> Option<String> {
        let known = address == IpAddr::V4(Ipv4Addr::LOCALHOST) || address.is_ipv6() && address.is_loopback();
        known.then(|| "localhost".to_owned())
    }

    fn service_port(&self, name: &str, protocol: Protocol) -> Option<u16> {
        self.0.port(name, protocol)
    }

    fn port_name(&self, port: u16, protocol: Protocol) -> Option<String> {
        self.0.name(port, protocol).map(str::to_owned)
    }
}

/// A machine whose control interface is a director in memory.
pub struct Machine<D> {
    /// The director.
    pub director: Rc<RefCell<D>>,
    /// The text of `ip_vs_conn`; `None` if there is no such file.
    pub connections: Option<String>,
    /// Whether the caller has CAP_NET_ADMIN.
    pub can_admin: bool,
    names: RecordedNames,
}

impl<D: Director + 'static> Machine<D> {
    /// A machine with this director.
    pub fn new(director: D, connections: Option<String>) -> Machine<D> {
        Machine { director: Rc::new(RefCell::new(director)), connections, can_admin: true, names: RecordedNames::new() }
    }

    /// Runs the program on the machine; the first word is its name.
    pub fn run(&mut self, argv: &[&str], input: &str) -> Ran {
        let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        let streams = Streams { input: &mut input.as_bytes(), output: &mut output, errors: &mut errors };
        let exit = run(&argv, streams, self);
        Ran { stdout: String::from_utf8(output).expect("text"), stderr: String::from_utf8(errors).expect("text"), exit }
    }
}

impl<D: Director + 'static> System for Machine<D> {
    fn connect(&mut self, _backend: Option<Backend>) -> Result<Client, client::Error> {
        Client::open(Box::new(Loop {
            director: Rc::clone(&self.director),
            can_admin: self.can_admin,
            answers: VecDeque::new(),
        }))
    }

    fn connections(&mut self) -> io::Result<String> {
        self.connections.clone().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn names(&self) -> &dyn Names {
        &self.names
    }
}

struct Loop<D> {
    director: Rc<RefCell<D>>,
    can_admin: bool,
    answers: VecDeque<Vec<u8>>,
}

impl<D: Director> Transport for Loop<D> {
    fn send(&mut self, datagram: &[u8]) -> Result<(), Errno> {
        let caller = Caller { port_id: 4711, can_admin: self.can_admin };
        self.answers.extend(handle(&mut *self.director.borrow_mut(), caller, datagram));
        Ok(())
    }

    fn receive(&mut self) -> Result<Vec<u8>, Errno> {
        self.answers.pop_front().ok_or(Errno::CONNRESET)
    }
}

/// What a run of the program left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Exit status.
    pub exit: i32,
}
