//! The client against the endpoint, over a transport in memory.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::rc::Rc;

use super::*;
use crate::endpoint::{Caller, handle};
use crate::model::{ForwardingMethod, Protocol, Support, Table};

/// Hands datagrams to an endpoint and its answers back.
struct Loop {
    table: Rc<RefCell<Table>>,
    can_admin: bool,
    answers: VecDeque<Vec<u8>>,
}

impl Transport for Loop {
    fn send(&mut self, datagram: &[u8]) -> Result<(), Errno> {
        let caller = Caller { port_id: 4711, can_admin: self.can_admin };
        self.answers.extend(handle(&mut *self.table.borrow_mut(), caller, datagram));
        Ok(())
    }

    fn receive(&mut self) -> Result<Vec<u8>, Errno> {
        self.answers.pop_front().ok_or(Errno::CONNRESET)
    }
}

fn open(can_admin: bool) -> Client {
    let table = Table::new(Support::new(["rr"], ["sip"]), Box::new(()));
    let transport = Loop { table: Rc::new(RefCell::new(table)), can_admin, answers: VecDeque::new() };
    Client::open(Box::new(transport)).expect("the family resolves without privilege")
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn what_is_added_is_listed() {
    let mut client = open(true);
    let key = ServiceKey::Address { protocol: Protocol::TCP, address: address("2001:db8::1"), port: 80 };
    client.add_service(&ServiceSpec::new(key, "rr")).expect("added");
    assert_eq!(client.add_service(&ServiceSpec::new(key, "rr")), Err(Error::Refused(Errno::EXIST)));
    for last in 1..=100 {
        let spec = DestinationSpec::new(address(&format!("2001:db8:1::{last:x}")), 8080, ForwardingMethod::MASQUERADE);
        client.add_destination(&key, &spec).expect("added");
    }
    let services = client.services().expect("listed");
    assert_eq!(services.len(), 1);
    assert_eq!(services[0], client.service(&key).expect("there"));
    assert_eq!(services[0].service.scheduler_text(), "rr");
    // More than one datagram, newest first.
    let destinations = client.destinations(&key).expect("listed");
    assert_eq!(destinations.len(), 100);
    assert_eq!(destinations[0].destination.key().address, address("2001:db8:1::64"));
    client.flush().expect("flushed");
    assert_eq!(client.service(&key), Err(Error::Refused(Errno::SRCH)));
    assert_eq!(client.destinations(&key), Ok(Vec::new()));
}

#[test]
fn without_privilege_all_is_refused() {
    let mut client = open(false);
    let refused = Error::Refused(Errno::PERM);
    assert_eq!(client.info(), Err(refused.clone()));
    assert_eq!(client.services(), Err(refused.clone()));
    assert_eq!(client.flush(), Err(refused));
}

#[test]
fn timeouts_and_daemons() {
    let mut client = open(true);
    client.set_timeouts(TimeoutsChange { tcp_s: 0, tcp_fin_s: 30, udp_s: 0 }).expect("set");
    assert_eq!(client.timeouts(), Ok(Timeouts { tcp_s: 900, tcp_fin_s: 30, udp_s: 300 }));
    assert_eq!(client.daemons(), Ok(Vec::new()));
    assert_eq!(client.stop_daemon(DaemonRole::Master, 0), Err(Error::Refused(Errno::SRCH)));
    assert_eq!(client.info(), Ok(Info::default()));
}

#[test]
fn a_silent_end_is_an_error() {
    struct Silent;
    impl Transport for Silent {
        fn send(&mut self, _datagram: &[u8]) -> Result<(), Errno> {
            Ok(())
        }
        fn receive(&mut self) -> Result<Vec<u8>, Errno> {
            Err(Errno::CONNRESET)
        }
    }
    assert_eq!(Client::open(Box::new(Silent)).map(drop), Err(Error::Transport(Errno::CONNRESET)));
}
