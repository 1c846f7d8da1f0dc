//! Nothing panics, whatever the bytes; what decodes, encodes to the same meaning.

use proptest::collection::vec;
use proptest::prelude::*;
use rlvs_ipvs::client::{Client, Transport};
use rlvs_ipvs::endpoint::{Caller, DATAGRAM_MAX, handle};
use rlvs_ipvs::message::{
    Answer, Arguments, Command, FAMILY_ID, GenericFrame, Header, Reply, Request, family_request, flags, frames,
    put_generic,
};
use rlvs_ipvs::model::{
    DaemonRole, DestinationSpec, ForwardingMethod, Protocol, ServiceKey, ServiceSpec, Support, Table, TimeoutsChange,
};
use rlvs_ipvs::{Errno, proc_format};

const CALLER: Caller = Caller { port_id: 4711, can_admin: true };

fn key() -> ServiceKey {
    ServiceKey::Address { protocol: Protocol::TCP, address: "10.0.0.1".parse().expect("an address"), port: 80 }
}

/// A table with a service and two destinations.
fn table() -> Table {
    let mut table = Table::new(Support::new(["rr"], ["sip"]), Box::new(()));
    table.add_service(&ServiceSpec::new(key(), "rr")).expect("added");
    for address in ["10.0.1.2", "10.0.1.3"] {
        let address = address.parse().expect("an address");
        let spec = DestinationSpec::new(address, 8080, ForwardingMethod::MASQUERADE);
        table.add_destination(&key(), &spec).expect("added");
    }
    table
}

/// Datagrams with a request of every command.
fn requests() -> Vec<Vec<u8>> {
    let destination = DestinationSpec::new("10.0.1.4".parse().expect("an address"), 80, ForwardingMethod::TUNNEL);
    let service = ServiceSpec { engine: Some(b"sip".to_vec()), ..ServiceSpec::new(key(), "rr") };
    let mut requests = vec![
        Request::put_service(Command::NewService, &service),
        Request::put_service(Command::SetService, &service),
        Request::put_destination(Command::NewDest, &key(), &destination),
        Request::put_destination(Command::SetDest, &key(), &destination),
        Request::delete_destination(&key(), &destination.key),
        Request::set_timeouts(TimeoutsChange { tcp_s: 1, tcp_fin_s: 2, udp_s: 3 }),
        Request::stop_daemon(DaemonRole::Backup, 5),
        Request::about_service(Command::GetDest, true, &key()),
        Request::plain(Command::GetService, true),
        Request::plain(Command::GetDaemon, true),
    ];
    for command in [Command::DelService, Command::GetService, Command::Zero] {
        requests.push(Request::about_service(command, false, &key()));
    }
    for command in [Command::GetConfig, Command::GetInfo, Command::Zero, Command::Flush] {
        requests.push(Request::plain(command, false));
    }
    let mut datagrams: Vec<_> = requests.iter().map(|request| request.encode(header(request.dump))).collect();
    datagrams.push(family_request(header(false)));
    datagrams
}

fn header(dump: bool) -> Header {
    let form = if dump { flags::DUMP } else { 0 };
    Header { length: 0, kind: FAMILY_ID, flags: flags::REQUEST | flags::ACK | form, sequence: 7, port_id: 9 }
}

/// Hands a datagram to everything that reads datagrams, and checks what comes back.
fn read_everywhere(datagram: &[u8]) -> Result<(), TestCaseError> {
    let mut table = table();
    for reply in handle(&mut table, CALLER, datagram) {
        // Only an error, which carries its whole request, may be larger.
        prop_assert!(reply.len() <= DATAGRAM_MAX.max(datagram.len() + 24));
        prop_assert!(frames(&reply).count() > 0, "a reply is made of messages");
        for frame in frames(&reply) {
            prop_assert!(Answer::decode(&frame).is_ok());
        }
    }
    for frame in frames(datagram) {
        let _ = Answer::decode(&frame);
        if let Some(generic) = frame.generic() {
            let _ = Reply::decode(generic.command, generic.attributes);
        }
    }
    let mut client = Client::open(Box::new(Parrot::new(datagram)));
    if let Ok(client) = &mut client {
        let _ = client.services();
    }
    Ok(())
}

/// Answers the first request with a family, every other with the same bytes.
struct Parrot {
    bytes: Vec<u8>,
    answers: Vec<Vec<u8>>,
    sequence: u32,
}

impl Parrot {
    fn new(bytes: &[u8]) -> Parrot {
        Parrot { bytes: bytes.to_vec(), answers: Vec::new(), sequence: 0 }
    }
}

impl Transport for Parrot {
    fn send(&mut self, datagram: &[u8]) -> Result<(), Errno> {
        self.sequence += 1;
        if self.sequence == 1 {
            self.answers = handle(&mut table(), CALLER, datagram);
            self.answers.reverse();
        } else {
            // Under the sequence number asked for, so that the client looks into it.
            let mut answer = self.bytes.clone();
            if let Some(place) = answer.get_mut(8..12) {
                place.copy_from_slice(&self.sequence.to_ne_bytes());
            }
            self.answers = vec![answer];
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<Vec<u8>, Errno> {
        self.answers.pop().ok_or(Errno::CONNRESET)
    }
}

proptest! {
    #[test]
    fn random_bytes(bytes in vec(any::<u8>(), 0..400)) {
        read_everywhere(&bytes)?;
    }

    #[test]
    fn random_attributes_behind_good_headers(
        command in 0u8..20,
        dump in any::<bool>(),
        attributes in vec(any::<u8>(), 0..400),
    ) {
        let mut datagram = Vec::new();
        put_generic(&mut datagram, header(dump), command, 1, &attributes);
        read_everywhere(&datagram)?;
    }

    #[test]
    fn good_requests_with_some_bytes_changed(
        which in any::<prop::sample::Index>(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        let mut datagram = which.get(&requests()).clone();
        for (place, byte) in changes {
            *place.get_mut(&mut datagram) = byte;
        }
        if is_cut {
            datagram.truncate(cut.index(datagram.len()));
        }
        read_everywhere(&datagram)?;
    }

    #[test]
    fn what_decodes_keeps_its_meaning(attributes in vec((0u16..16, any::<bool>(), vec(any::<u8>(), 0..40)), 0..8)) {
        let mut bytes = Vec::new();
        for (number, marked, payload) in attributes {
            let number = if marked { number | 0x8000 } else { number };
            bytes.extend_from_slice(&(4 + payload.len() as u16).to_ne_bytes());
            bytes.extend_from_slice(&number.to_ne_bytes());
            bytes.extend_from_slice(&payload);
            bytes.resize(bytes.len().div_ceil(4) * 4, 0);
        }
        let frame = GenericFrame { command: Command::Zero.number(), version: 1, attributes: &bytes };
        if let Ok(request) = Request::decode(&frame, false) {
            let again = Arguments::decode(&request.arguments.encode());
            prop_assert_eq!(again, Ok(request.arguments));
        }
    }
}

#[test]
fn all_requests_are_answered() {
    for datagram in requests() {
        let replies = handle(&mut table(), CALLER, &datagram);
        assert!(!replies.is_empty());
    }
    // The formats of files take any table.
    assert!(proc_format::table_text(&table().info(), 250, []).ends_with("InActConn\n"));
}
