//! Conversations whose both ends a scenario holds: it decides who says and who closes what, and when.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rlvs::lab::Netns;
use rustix::net::{AddressFamily, SocketType, sockopt};

use crate::wait::eventually;

/// Time for a lost segment or two to be sent again.
const TIME_MAX: Duration = Duration::from_secs(5);

/// Listens in a host.
///
/// # Panics
/// Where that fails.
pub fn listen(netns: &Netns, address: SocketAddr) -> TcpListener {
    let listener = netns.run(|| TcpListener::bind(address)).expect("a thread in the host");
    let listener = listener.unwrap_or_else(|error| panic!("listening on {address} in {}: {error}", netns.name()));
    listener.set_nonblocking(true).expect("a socket that does not block");
    listener
}

/// Connects from a host.
///
/// # Panics
/// Where nobody answers.
pub fn connect(netns: &Netns, address: SocketAddr) -> TcpStream {
    let stream = netns.run(|| TcpStream::connect_timeout(&address, TIME_MAX)).expect("a thread in the host");
    prepared(stream.unwrap_or_else(|error| panic!("connecting to {address} from {}: {error}", netns.name())))
}

/// Connects from a given port of a host, which may have been in use a moment ago.
///
/// # Panics
/// Where nobody answers.
pub fn connect_from(netns: &Netns, port: u16, address: SocketAddr) -> TcpStream {
    let connected = netns.run(|| -> rustix::io::Result<TcpStream> {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        // Bounds `connect` as well.
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(TIME_MAX))?;
        rustix::net::bind(&socket, &SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))?;
        rustix::net::connect(&socket, &address)?;
        Ok(socket.into())
    });
    let stream = connected.expect("a thread in the host");
    prepared(stream.unwrap_or_else(|error| panic!("connecting to {address} from port {port}: {error}")))
}

/// Ends a conversation with a reset instead of a goodbye.
///
/// # Panics
/// Where the socket cannot be told to.
pub fn reset(stream: TcpStream) {
    sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).expect("an end without goodbye");
}

/// Takes the next connection.
///
/// # Panics
/// Where none comes.
pub fn accept(listener: &TcpListener) -> TcpStream {
    eventually("a connection to accept", TIME_MAX, || {
        listener.accept().map(|(stream, _)| prepared(stream)).map_err(|error| error.to_string())
    })
}

/// Has `from` say `words`, and `to` hear exactly them.
///
/// # Panics
/// Where they do not arrive within seconds.
pub fn say(from: &mut TcpStream, to: &mut TcpStream, words: &str) {
    say_unheard(from, words);
    hear(to, words);
}

/// Says `words`, whether or not anybody hears.
///
/// # Panics
/// Where the conversation is over already.
pub fn say_unheard(from: &mut TcpStream, words: &str) {
    from.write_all(words.as_bytes()).unwrap_or_else(|error| panic!("saying {words:?}: {error}"));
}

/// Has `to` hear exactly `words`.
///
/// # Panics
/// Where they do not arrive within seconds.
pub fn hear(to: &mut TcpStream, words: &str) {
    let mut heard = vec![0; words.len()];
    to.read_exact(&mut heard).unwrap_or_else(|error| panic!("waiting for {words:?}: {error}"));
    assert_eq!(String::from_utf8_lossy(&heard), words);
}

/// Asserts that nothing arrives for a while, neither words nor an end nor a reset.
///
/// # Panics
/// Where something does.
pub fn hear_nothing(stream: &mut TcpStream, time: Duration) {
    stream.set_read_timeout(Some(time)).expect("a time limit");
    let heard = stream.read(&mut [0; 16]);
    stream.set_read_timeout(Some(TIME_MAX)).expect("a time limit");
    match heard {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        heard => panic!("silence was expected, not {heard:?}"),
    }
}

fn prepared(stream: TcpStream) -> TcpStream {
    stream.set_nonblocking(false).expect("a socket that blocks");
    stream.set_read_timeout(Some(TIME_MAX)).expect("a time limit");
    stream.set_write_timeout(Some(TIME_MAX)).expect("a time limit");
    stream.set_nodelay(true).expect("no delay");
    stream
}

/// A UDP server that answers every datagram with its name and what it got. Dropped, it stops.
pub struct UdpEcho {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl UdpEcho {
    /// Starts one; it listens when this returns.
    ///
    /// # Panics
    /// Where that fails.
    pub fn start(netns: &Netns, address: SocketAddr, name: &str) -> Self {
        let socket = netns.run(|| UdpSocket::bind(address)).expect("a thread in the host").expect("a UDP socket");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a time limit");
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, name) = (Arc::clone(&stop), name.to_owned());
        let thread = thread::spawn(move || {
            let mut buffer = [0; 2048];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((length, client)) = socket.recv_from(&mut buffer) else { continue };
                let answer = [name.as_bytes(), b" ", &buffer[..length]].concat();
                // A client that has gone is no concern of the server's.
                let _ = socket.send_to(&answer, client);
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for UdpEcho {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic in it has been printed already.
            let _ = thread.join();
        }
    }
}

/// A UDP socket in a host, which hears only what `server` sends.
///
/// # Panics
/// Where that fails.
pub fn udp_client(netns: &Netns, server: SocketAddr) -> UdpSocket {
    let socket = netns.run(|| UdpSocket::bind("0.0.0.0:0")).expect("a thread in the host").expect("a UDP socket");
    socket.connect(server).expect("a route to the server");
    socket
}

/// Asks and waits for the answer, once.
///
/// # Errors
/// Where none comes within `time_max`, as text.
pub fn ask(socket: &UdpSocket, question: &str, time_max: Duration) -> Result<String, String> {
    socket.set_read_timeout(Some(time_max)).expect("a time limit");
    socket.send(question.as_bytes()).map_err(|error| error.to_string())?;
    let mut buffer = [0; 2048];
    let length = socket.recv(&mut buffer).map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}
