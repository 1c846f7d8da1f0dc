//! A blocking client of IPVS's control interface.
//!
//! ```text
//! Backend -> connect -> Transport -> Client -> requests
//! ```
//! The same messages go to rlvsd over a Unix socket, and to the kernel over generic netlink.

mod backend;
mod transport;

pub use backend::{Backend, Connection, Peer, UnknownBackend, connect};
pub(crate) use transport::is_trusted;
pub use transport::{KernelTransport, RlvsTransport, SOCKET_NAME, Transport};

use crate::Errno;
use crate::message::{
    Answer, CONTROLLER, Command, DecodeError, Header, Reply, Request, family_request, flags, frames, read_family_id,
};
use crate::model::{
    Daemon, DaemonRole, DaemonSpec, DestinationKey, DestinationSpec, DestinationStatus, Info, ServiceKey, ServiceSpec,
    ServiceStatus, Timeouts, TimeoutsChange,
};

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The other end refused it.
    #[error("refused: {0}")]
    Refused(Errno),
    /// It could not be sent, or the answer not received.
    #[error("cannot talk to the control interface: {0}")]
    Transport(Errno),
    /// The answer is malformed.
    #[error("malformed answer: {0}")]
    Malformed(#[from] DecodeError),
}

impl Error {
    /// The error number that says it best; `EINVAL` for a malformed answer.
    pub fn errno(&self) -> Errno {
        match self {
            Error::Refused(errno) | Error::Transport(errno) => *errno,
            Error::Malformed(_) => Errno::INVAL,
        }
    }
}

/// A client with the family's number resolved. One request is under way at a time.
pub struct Client {
    transport: Box<dyn Transport>,
    family: u16,
    sequence: u32,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("family", &self.family).finish_non_exhaustive()
    }
}

impl Client {
    /// Asks for the family's number, and keeps the transport for requests.
    ///
    /// # Errors
    /// [`Error::Refused`] with `ENOENT` if the other end has no IPVS; any other [`Error`].
    pub fn open(transport: Box<dyn Transport>) -> Result<Client, Error> {
        let mut client = Client { transport, family: CONTROLLER, sequence: 0 };
        let request = family_request(client.next_header(false));
        let mut family = None;
        client.exchange(&request, |_, attributes| {
            family = Some(read_family_id(attributes)?);
            Ok(())
        })?;
        client.family = family.ok_or(DecodeError::Missing { attribute: "FAMILY_ID" })?;
        Ok(client)
    }

    /// Version and size.
    pub fn info(&mut self) -> Result<Info, Error> {
        match self.one(&Request::plain(Command::GetInfo, false))? {
            Reply::Info(info) => Ok(info),
            _ => Err(unexpected()),
        }
    }

    /// All services, in dump order.
    pub fn services(&mut self) -> Result<Vec<ServiceStatus>, Error> {
        self.all(&Request::plain(Command::GetService, true), |reply| match reply {
            Reply::Service(service) => service.status(),
            _ => Err(DecodeError::Missing { attribute: "SERVICE" }),
        })
    }

    /// One service.
    ///
    /// # Errors
    /// [`Error::Refused`] with `ESRCH` if there is none.
    pub fn service(&mut self, key: &ServiceKey) -> Result<ServiceStatus, Error> {
        match self.one(&Request::about_service(Command::GetService, false, key))? {
            Reply::Service(service) => Ok(service.status()?),
            _ => Err(unexpected()),
        }
    }

    /// The destinations of a service, in dump order; none if there is no such service.
    pub fn destinations(&mut self, service: &ServiceKey) -> Result<Vec<DestinationStatus>, Error> {
        let request = Request::about_service(Command::GetDest, true, service);
        self.all(&request, |reply| match reply {
            Reply::Destination(destination) => destination.status(service.family()),
            _ => Err(DecodeError::Missing { attribute: "DEST" }),
        })
    }

    /// Adds a service.
    pub fn add_service(&mut self, spec: &ServiceSpec) -> Result<(), Error> {
        self.run(&Request::put_service(Command::NewService, spec))
    }

    /// Replaces everything set on a service.
    pub fn set_service(&mut self, spec: &ServiceSpec) -> Result<(), Error> {
        self.run(&Request::put_service(Command::SetService, spec))
    }

    /// Removes a service with its destinations.
    pub fn delete_service(&mut self, key: &ServiceKey) -> Result<(), Error> {
        self.run(&Request::about_service(Command::DelService, false, key))
    }

    /// Adds a destination.
    pub fn add_destination(&mut self, service: &ServiceKey, spec: &DestinationSpec) -> Result<(), Error> {
        self.run(&Request::put_destination(Command::NewDest, service, spec))
    }

    /// Replaces everything set on a destination.
    pub fn set_destination(&mut self, service: &ServiceKey, spec: &DestinationSpec) -> Result<(), Error> {
        self.run(&Request::put_destination(Command::SetDest, service, spec))
    }

    /// Removes a destination.
    pub fn delete_destination(&mut self, service: &ServiceKey, key: &DestinationKey) -> Result<(), Error> {
        self.run(&Request::delete_destination(service, key))
    }

    /// Removes all services.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.run(&Request::plain(Command::Flush, false))
    }

    /// Zeroes the statistics of one service, or of all.
    pub fn zero(&mut self, service: Option<&ServiceKey>) -> Result<(), Error> {
        let request = match service {
            Some(key) => Request::about_service(Command::Zero, false, key),
            None => Request::plain(Command::Zero, false),
        };
        self.run(&request)
    }

    /// The timeouts.
    pub fn timeouts(&mut self) -> Result<Timeouts, Error> {
        match self.one(&Request::plain(Command::GetConfig, false))? {
            Reply::Timeouts(timeouts) => Ok(timeouts),
            _ => Err(unexpected()),
        }
    }

    /// Changes timeouts.
    pub fn set_timeouts(&mut self, change: TimeoutsChange) -> Result<(), Error> {
        self.run(&Request::set_timeouts(change))
    }

    /// The sync daemons that run, master first.
    pub fn daemons(&mut self) -> Result<Vec<Daemon>, Error> {
        self.all(&Request::plain(Command::GetDaemon, true), |reply| match reply {
            Reply::Daemon(daemon) => daemon.daemon(),
            _ => Err(DecodeError::Missing { attribute: "DAEMON" }),
        })
    }

    /// Starts a sync daemon.
    pub fn start_daemon(&mut self, spec: &DaemonSpec) -> Result<(), Error> {
        self.run(&Request::start_daemon(spec))
    }

    /// Stops a sync daemon. The sync id is sent along, but not looked at.
    pub fn stop_daemon(&mut self, role: DaemonRole, sync_id: u32) -> Result<(), Error> {
        self.run(&Request::stop_daemon(role, sync_id))
    }

    fn run(&mut self, request: &Request) -> Result<(), Error> {
        let datagram = request.encode(self.next_header(request.dump));
        self.exchange(&datagram, |_, _| Ok(()))
    }

    fn one(&mut self, request: &Request) -> Result<Reply, Error> {
        let mut replies = self.all(request, Ok)?;
        replies.pop().ok_or_else(unexpected)
    }

    /// Sends a request and reads all its data.
    fn all<T>(
        &mut self,
        request: &Request,
        mut read: impl FnMut(Reply) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, Error> {
        let datagram = request.encode(self.next_header(request.dump));
        let mut found = Vec::new();
        self.exchange(&datagram, |command, attributes| {
            found.push(read(Reply::decode(command, attributes)?)?);
            Ok(())
        })?;
        Ok(found)
    }

    fn next_header(&mut self, dump: bool) -> Header {
        self.sequence = self.sequence.wrapping_add(1);
        let form = if dump { flags::DUMP } else { 0 };
        Header {
            length: 0,
            kind: self.family,
            flags: flags::REQUEST | flags::ACK | form,
            sequence: self.sequence,
            port_id: self.transport.port_id(),
        }
    }

    /// Sends a datagram and hands the data of its answer to `take`, until ACK, refusal or end of dump. After a
    /// malformed answer the rest is still read, so that the next request finds a quiet line.
    fn exchange(
        &mut self,
        datagram: &[u8],
        mut take: impl FnMut(u8, &[u8]) -> Result<(), DecodeError>,
    ) -> Result<(), Error> {
        self.transport.send(datagram).map_err(Error::Transport)?;
        let mut outcome = Ok(());
        loop {
            let received = self.transport.receive().map_err(Error::Transport)?;
            for frame in frames(&received).filter(|frame| frame.header.sequence == self.sequence) {
                match Answer::decode(&frame)? {
                    Answer::Ack | Answer::Done => return outcome.map_err(Error::Malformed),
                    Answer::Refused(errno) => return Err(Error::Refused(errno)),
                    Answer::Data { command, attributes } => {
                        outcome = outcome.and_then(|()| take(command, attributes));
                    }
                }
            }
        }
    }
}

/// The answer belongs to another question.
fn unexpected() -> Error {
    Error::Malformed(DecodeError::Missing { attribute: "of the answer" })
}

#[cfg(test)]
mod tests;
