//! The control sockets: IPVS's netlink messages on `@ipvs`, JSON lines on `@rlvs`. Both are in the abstract namespace and so
//! belong to the network namespace, as IPVS's table does.

use std::{
    cell::{Cell, RefCell},
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
    rc::Rc,
    time::{Duration, Instant},
};

use rlvs_core::verdict;
use rlvs_ipvs::{
    Errno, client,
    endpoint::{self, Caller},
    local::{self, DropReason, InterfaceStatus, MarkChoice, ProcFile, Reply, Request, Status},
};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, recv,
    send, socket_with, sockopt::socket_peercred,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, unix::AsyncFd},
    net::{UnixListener as AsyncUnixListener, UnixStream},
    task::spawn_local,
    time::timeout,
};

use crate::{attach::Attachments, counters::Counters, drops::Samples, owner::Owner, watch::watch};

/// Largest request datagram in bytes: any of IPVS's is below 1 KiB; what is longer is cut off and refused as malformed.
const DATAGRAM_MAX: usize = 16 * 1024;
/// Clients served at once on each socket. Each costs a descriptor and some kilobytes.
const CLIENTS_MAX: usize = 512;
/// How long a client may be silent in the middle of a JSON exchange.
const PATIENCE: Duration = Duration::from_secs(10);
/// CAP_NET_ADMIN, linux/capability.h.
const CAP_NET_ADMIN: u32 = 12;

/// What the sockets serve.
pub struct Served {
    /// The table.
    pub owner: RefCell<Owner>,
    /// The interfaces.
    pub attachments: RefCell<Attachments>,
    /// Counters by verdict.
    pub counters: Counters,
    /// Beginnings of dropped frames.
    pub samples: Samples,
    /// When this daemon began.
    pub since: Instant,
}

impl Served {
    /// Every reason for drops, with its count and its last packets.
    fn drops(&self) -> Vec<DropReason> {
        let clock = self.owner.borrow().clock();
        let (counts, _) = self.counters.read();
        let reason = |&(index, name, meaning): &(u32, &str, &str)| {
            let count = *counts.get(name)?;
            let samples = self.samples.of(index, clock.now(), clock.hz().into());
            Some(DropReason { name: name.to_owned(), meaning: meaning.to_owned(), count, samples })
        };
        verdict::NAMES.iter().filter_map(reason).collect()
    }
}

/// The sockets, taken but not served yet.
pub struct Sockets {
    control: OwnedFd,
    local: UnixListener,
}

impl Sockets {
    /// Takes both names. This comes first of all: whoever has them is the only daemon of the network namespace.
    ///
    /// # Errors
    /// `AddrInUse` where another daemon has them.
    pub fn take() -> io::Result<Self> {
        let control = socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        bind(&control, &SocketAddrUnix::new_abstract_name(client::SOCKET_NAME)?)?;
        let local = UnixListener::bind_addr(&SocketAddr::from_abstract_name(local::SOCKET_NAME)?)?;
        Ok(Self { control, local })
    }

    /// Serves them from now on.
    ///
    /// # Errors
    /// Where the kernel refuses to listen.
    pub fn serve(self, served: &Rc<Served>) -> io::Result<()> {
        listen(&self.control, CLIENTS_MAX as i32)?;
        let control = watch(self.control)?;
        self.local.set_nonblocking(true)?;
        let local = AsyncUnixListener::from_std(self.local)?;
        spawn_local(accept_control(control, Rc::clone(served)));
        spawn_local(accept_local(local, Rc::clone(served)));
        Ok(())
    }
}

/// One place among [`CLIENTS_MAX`], given back when dropped.
struct Place(Rc<Cell<usize>>);

impl Place {
    fn take(taken: &Rc<Cell<usize>>) -> Option<Self> {
        (taken.get() < CLIENTS_MAX).then(|| {
            taken.set(taken.get() + 1);
            Self(Rc::clone(taken))
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// After an error of `accept` that will not go away at once (no descriptors left): how long to leave it alone.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

async fn accept_control(listener: AsyncFd<OwnedFd>, served: Rc<Served>) {
    let taken = Rc::default();
    let mut port_id = 0u32;
    loop {
        let accepted = ready(&listener, |fd| accept_with(fd, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)).await;
        match (accepted, Place::take(&taken)) {
            (Ok(client), Some(place)) => {
                port_id = port_id.wrapping_add(1).max(1);
                spawn_local(serve_control(client, port_id, Rc::clone(&served), place));
            }
            // No place: closing it at once says so.
            (Ok(_), None) => {}
            (Err(error), _) => {
                tracing::warn!("accepting a client: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_control(client: OwnedFd, port_id: u32, served: Rc<Served>, _place: Place) {
    let caller = Caller { port_id, can_admin: may_administer(&client) };
    let Ok(client) = watch(client) else { return };
    let mut buffer = vec![0; DATAGRAM_MAX];
    loop {
        let length = match ready(&client, |fd| recv(fd, &mut *buffer, RecvFlags::empty())).await {
            Ok((length, _)) if length > 0 => length,
            // Closed, or reset with answers unread, which is how ipvsadm says goodbye.
            _ => return,
        };
        let answers = endpoint::handle(&mut *served.owner.borrow_mut(), caller, &buffer[..length.min(DATAGRAM_MAX)]);
        for answer in answers {
            let sent = ready_to_write(&client, |fd| send(fd, &answer, SendFlags::NOSIGNAL)).await;
            if sent.is_err() {
                return;
            }
        }
    }
}

/// Waits until `call` would not block, and calls it.
async fn ready<T>(fd: &AsyncFd<OwnedFd>, mut call: impl FnMut(&OwnedFd) -> rustix::io::Result<T>) -> io::Result<T> {
    loop {
        let mut guard = fd.readable().await?;
        if let Ok(result) = guard.try_io(|fd| call(fd.get_ref()).map_err(io::Error::from)) {
            return result;
        }
    }
}

/// As [`ready`], for writing.
async fn ready_to_write<T>(
    fd: &AsyncFd<OwnedFd>,
    mut call: impl FnMut(&OwnedFd) -> rustix::io::Result<T>,
) -> io::Result<T> {
    loop {
        let mut guard = fd.writable().await?;
        if let Ok(result) = guard.try_io(|fd| call(fd.get_ref()).map_err(io::Error::from)) {
            return result;
        }
    }
}

/// Whether the process that connected is root with CAP_NET_ADMIN. Users of other user namespaces have other numbers here.
fn may_administer(client: &impl AsFd) -> bool {
    let Ok(peer) = socket_peercred(client) else { return false };
    peer.uid.is_root() && effective_capabilities(peer.pid.as_raw_nonzero().get()) & (1 << CAP_NET_ADMIN) != 0
}

/// CapEff of a process; 0 where it cannot be read, as for one that ended.
fn effective_capabilities(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let hex = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    hex.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}

async fn accept_local(listener: AsyncUnixListener, served: Rc<Served>) {
    let taken = Rc::default();
    loop {
        match (listener.accept().await, Place::take(&taken)) {
            (Ok((stream, _)), Some(place)) => {
                spawn_local(serve_local(stream, Rc::clone(&served), place));
            }
            (Ok(_), None) => {}
            (Err(error), _) => {
                tracing::warn!("accepting a client: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_local(stream: UnixStream, served: Rc<Served>, _place: Place) {
    let can_admin = may_administer(&stream);
    let exchange = async {
        let (read, mut write) = stream.into_split();
        let mut line = String::new();
        let mut reader = BufReader::new(read.take(local::REQUEST_MAX));
        reader.read_line(&mut line).await?;
        let reply = if can_admin { answer(&served, &line) } else { refused(Errno::PERM, "you must be root") };
        let mut reply = serde_json::to_vec(&reply)?;
        reply.push(b'\n');
        write.write_all(&reply).await
    };
    // A client that is slow or gone is its own problem.
    let _ = timeout(PATIENCE, exchange).await;
}

fn refused(errno: Errno, reason: &str) -> Reply {
    Reply::Refused { errno: errno.number(), reason: reason.into() }
}

fn answer(served: &Served, line: &str) -> Reply {
    match serde_json::from_str(line) {
        Ok(Request::Proc { file }) => proc_file(&served.owner.borrow(), file),
        Ok(Request::Status) => Reply::Status(status(served)),
        Ok(Request::Sysctls) => Reply::Sysctls { values: served.owner.borrow().sysctls() },
        Ok(Request::Marks) => Reply::Marks { rules: served.owner.borrow().marks() },
        Ok(Request::Drops) => Reply::Drops { reasons: served.drops() },
        Ok(change) => match apply(&mut served.owner.borrow_mut(), &change) {
            Ok(()) => Reply::Done,
            Err(errno) => refused(errno, &errno.text()),
        },
        Err(error) => refused(Errno::INVAL, &format!("not a request: {error}")),
    }
}

/// Carries out a request that changes something.
fn apply(owner: &mut Owner, change: &Request) -> Result<(), Errno> {
    match change {
        Request::SetSysctl { name, value } => owner.set_sysctl(name, value),
        Request::AddMark { rule } => owner.add_mark(rule),
        Request::DeleteMark { rule: MarkChoice::Rule(rule) } => owner.delete_mark(rule),
        Request::DeleteMark { rule: MarkChoice::Place(place) } => {
            let place = place.checked_sub(1).ok_or(Errno::NOENT)?;
            owner.delete_mark_at(place as usize)
        }
        Request::FlushMarks => {
            owner.flush_marks();
            Ok(())
        }
        Request::Proc { .. } | Request::Status | Request::Sysctls | Request::Marks | Request::Drops => {
            Err(Errno::INVAL)
        }
    }
}

fn proc_file(owner: &Owner, file: ProcFile) -> Reply {
    match owner.proc_text(file) {
        Ok(text) => Reply::Proc { text },
        Err(errno) => refused(errno, "the table contradicts itself"),
    }
}

fn status(served: &Served) -> Status {
    let [services, destinations, connections, connections_max] = served.owner.borrow().sizes();
    let interface = |attachment: &crate::attach::Attachment| {
        let status = InterfaceStatus { hook: attachment.hook.to_string(), reason: attachment.reason.clone() };
        (attachment.name.clone(), status)
    };
    let (drops, counters) = served.counters.read();
    Status {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        uptime_s: served.since.elapsed().as_secs(),
        interfaces: served.attachments.borrow().iter().map(interface).collect(),
        services,
        destinations,
        connections,
        connections_max,
        drops,
        counters,
    }
}
