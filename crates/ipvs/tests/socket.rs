//! The client and the endpoint over a real socket, as rlvsd serves it.

use std::os::fd::OwnedFd;

use rlvs_ipvs::Errno;
use rlvs_ipvs::client::{Client, Error, RlvsTransport};
use rlvs_ipvs::endpoint::{Caller, handle};
use rlvs_ipvs::model::{DestinationSpec, ForwardingMethod, Protocol, ServiceKey, ServiceSpec, Support, Table};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketType, accept, bind, listen, recv, send, socket,
};

/// A listening socket in the abstract namespace, under a name no other process uses.
fn listen_at(name: &str) -> (OwnedFd, Vec<u8>) {
    let name = format!("rlvs-ipvs-test-{name}-{}", std::process::id()).into_bytes();
    let listener = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).expect("a socket");
    bind(&listener, &SocketAddrUnix::new_abstract_name(&name).expect("an address")).expect("bound");
    listen(&listener, 1).expect("listening");
    (listener, name)
}

/// Serves one connection until the client closes it.
fn serve(listener: &OwnedFd, mut table: Table) -> Table {
    let connection = accept(listener).expect("a connection");
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let (_, length) = recv(&connection, &mut buffer[..], RecvFlags::empty()).expect("a datagram");
        if length == 0 {
            return table;
        }
        for reply in handle(&mut table, Caller { port_id: 1, can_admin: true }, &buffer[..length]) {
            send(&connection, &reply, SendFlags::NOSIGNAL).expect("sent");
        }
    }
}

#[test]
fn a_table_is_built_and_listed_over_a_socket() {
    let (listener, name) = listen_at("table");
    let table = Table::new(Support::new(["rr"], []), Box::new(()));
    let server = std::thread::spawn(move || serve(&listener, table));
    let mut client = Client::open(Box::new(RlvsTransport::connect_to(&name).expect("connected"))).expect("opened");
    let address = "10.0.0.1".parse().expect("an address");
    let key = ServiceKey::Address { protocol: Protocol::UDP, address, port: 53 };
    client.add_service(&ServiceSpec::new(key, "rr")).expect("added");
    for port in 1..=200 {
        let spec = DestinationSpec::new(address, port, ForwardingMethod::MASQUERADE);
        client.add_destination(&key, &spec).expect("added");
    }
    let ports: Vec<_> = client.destinations(&key).expect("listed").iter().map(|d| d.destination.key().port).collect();
    assert_eq!(ports, (1..=200).rev().collect::<Vec<_>>());
    drop(client);
    assert_eq!(server.join().expect("served").service_count(), 1);
}

#[test]
fn nobody_there_is_refused() {
    assert_eq!(RlvsTransport::connect_to(b"rlvs-ipvs-test-nobody").map(drop), Err(Errno::CONNREFUSED));
}

#[test]
fn a_server_that_hangs_up_is_a_reset() {
    let (listener, name) = listen_at("hangup");
    let server = std::thread::spawn(move || {
        let connection = accept(&listener).expect("a connection");
        let _ = recv(&connection, &mut [0; 1024][..], RecvFlags::empty()).expect("a datagram");
    });
    let transport = RlvsTransport::connect_to(&name).expect("connected");
    let opened = Client::open(Box::new(transport)).map(drop);
    assert_eq!(opened, Err(Error::Transport(Errno::CONNRESET)));
    server.join().expect("hung up");
}
