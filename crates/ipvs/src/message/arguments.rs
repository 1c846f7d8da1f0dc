//! The top-level attributes, which all commands share (netlink.md §3.1), and requests made of them.

use super::attribute::{Attribute, Writer, attributes};
use super::header::put_generic;
use super::{
    Command, DaemonAttributes, DecodeError, DestinationAttributes, GenericFrame, Header, Nest, ServiceAttributes,
};
use crate::model::{DaemonRole, DaemonSpec, DestinationKey, DestinationSpec, ServiceKey, ServiceSpec, TimeoutsChange};

mod number {
    pub const SERVICE: u16 = 1;
    pub const DEST: u16 = 2;
    pub const DAEMON: u16 = 3;
    pub const TIMEOUT_TCP: u16 = 4;
    pub const TIMEOUT_TCP_FIN: u16 = 5;
    pub const TIMEOUT_UDP: u16 = 6;
}

/// Version that requests and replies of IPVS carry.
pub(super) const VERSION: u8 = 1;

/// The three timeouts as attributes, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeoutAttributes {
    /// Established TCP connections.
    pub tcp_s: Option<u32>,
    /// TCP connections in FIN_WAIT.
    pub tcp_fin_s: Option<u32>,
    /// UDP.
    pub udp_s: Option<u32>,
}

impl TimeoutAttributes {
    /// The change these attributes ask for; what is missing stays.
    pub fn change(&self) -> TimeoutsChange {
        TimeoutsChange {
            tcp_s: self.tcp_s.unwrap_or_default(),
            tcp_fin_s: self.tcp_fin_s.unwrap_or_default(),
            udp_s: self.udp_s.unwrap_or_default(),
        }
    }
}

impl From<TimeoutsChange> for TimeoutAttributes {
    fn from(change: TimeoutsChange) -> TimeoutAttributes {
        TimeoutAttributes { tcp_s: Some(change.tcp_s), tcp_fin_s: Some(change.tcp_fin_s), udp_s: Some(change.udp_s) }
    }
}

/// The top-level attributes of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    /// A service.
    pub service: Option<Nest<ServiceAttributes>>,
    /// A destination.
    pub destination: Option<Nest<DestinationAttributes>>,
    /// A sync daemon.
    pub daemon: Option<Nest<DaemonAttributes>>,
    /// Timeouts.
    pub timeouts: TimeoutAttributes,
    /// Attributes of other numbers.
    pub unknown: Vec<Attribute>,
}

impl Arguments {
    /// Reads top-level attributes. Nests that break the policy are kept as such, see [`Nest`].
    ///
    /// # Errors
    /// [`DecodeError::TooShort`] for a timeout of fewer than 4 bytes.
    pub fn decode(payload: &[u8]) -> Result<Arguments, DecodeError> {
        let mut arguments = Arguments::default();
        for raw in attributes(payload) {
            match raw.number {
                number::SERVICE => arguments.service = Some(Nest::decode(raw)),
                number::DEST => arguments.destination = Some(Nest::decode(raw)),
                number::DAEMON => arguments.daemon = Some(Nest::decode(raw)),
                number::TIMEOUT_TCP => arguments.timeouts.tcp_s = Some(raw.u32("TIMEOUT_TCP")?),
                number::TIMEOUT_TCP_FIN => arguments.timeouts.tcp_fin_s = Some(raw.u32("TIMEOUT_TCP_FIN")?),
                number::TIMEOUT_UDP => arguments.timeouts.udp_s = Some(raw.u32("TIMEOUT_UDP")?),
                _ => arguments.unknown.push(raw.keep()),
            }
        }
        Ok(arguments)
    }

    /// The attributes as bytes, in the order of their numbers, those kept last.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        self.service.as_ref().inspect(|nest| nest.encode(number::SERVICE, &mut writer));
        self.destination.as_ref().inspect(|nest| nest.encode(number::DEST, &mut writer));
        self.daemon.as_ref().inspect(|nest| nest.encode(number::DAEMON, &mut writer));
        self.timeouts.tcp_s.inspect(|&seconds| writer.put_u32(number::TIMEOUT_TCP, seconds));
        self.timeouts.tcp_fin_s.inspect(|&seconds| writer.put_u32(number::TIMEOUT_TCP_FIN, seconds));
        self.timeouts.udp_s.inspect(|&seconds| writer.put_u32(number::TIMEOUT_UDP, seconds));
        writer.put_kept(&self.unknown);
        writer.into_bytes()
    }

    /// The attributes of the service.
    ///
    /// # Errors
    /// [`DecodeError::Missing`], or the breach of the policy in the nest.
    pub fn service(&self) -> Result<&ServiceAttributes, DecodeError> {
        self.service.as_ref().ok_or(DecodeError::Missing { attribute: "SERVICE" })?.contents()
    }

    /// The attributes of the destination.
    ///
    /// # Errors
    /// As [`Arguments::service`].
    pub fn destination(&self) -> Result<&DestinationAttributes, DecodeError> {
        self.destination.as_ref().ok_or(DecodeError::Missing { attribute: "DEST" })?.contents()
    }

    /// The attributes of the daemon.
    ///
    /// # Errors
    /// As [`Arguments::service`].
    pub fn daemon(&self) -> Result<&DaemonAttributes, DecodeError> {
        self.daemon.as_ref().ok_or(DecodeError::Missing { attribute: "DAEMON" })?.contents()
    }
}

/// A request: a command, its form, and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The command.
    pub command: Command,
    /// Whether a dump is asked for.
    pub dump: bool,
    /// The arguments.
    pub arguments: Arguments,
}

impl Request {
    /// A request without arguments.
    pub fn plain(command: Command, dump: bool) -> Request {
        Request { command, dump, arguments: Arguments::default() }
    }

    /// NEW_SERVICE or SET_SERVICE with all that is set on the service.
    pub fn put_service(command: Command, spec: &ServiceSpec) -> Request {
        Request::about(command, false, ServiceAttributes::full(spec))
    }

    /// A command about a service that is identified alone: DEL_SERVICE, GET_SERVICE, GET_DEST, ZERO.
    pub fn about_service(command: Command, dump: bool, key: &ServiceKey) -> Request {
        Request::about(command, dump, ServiceAttributes::identifying(key))
    }

    /// NEW_DEST or SET_DEST with all that is set on the destination.
    pub fn put_destination(command: Command, service: &ServiceKey, spec: &DestinationSpec) -> Request {
        Request::about_service(command, false, service).with_destination(DestinationAttributes::full(spec))
    }

    /// DEL_DEST.
    pub fn delete_destination(service: &ServiceKey, key: &DestinationKey) -> Request {
        let destination = DestinationAttributes::identifying(key);
        Request::about_service(Command::DelDest, false, service).with_destination(destination)
    }

    /// SET_CONFIG.
    pub fn set_timeouts(change: TimeoutsChange) -> Request {
        let mut request = Request::plain(Command::SetConfig, false);
        request.arguments.timeouts = change.into();
        request
    }

    /// NEW_DAEMON.
    pub fn start_daemon(spec: &DaemonSpec) -> Request {
        let mut request = Request::plain(Command::NewDaemon, false);
        request.arguments.daemon = Some(Nest::request(DaemonAttributes::start(spec)));
        request
    }

    /// DEL_DAEMON.
    pub fn stop_daemon(role: DaemonRole, sync_id: u32) -> Request {
        let mut request = Request::plain(Command::DelDaemon, false);
        request.arguments.daemon = Some(Nest::request(DaemonAttributes::stop(role, sync_id)));
        request
    }

    /// Reads the generic-netlink part of a request whose header asked for a dump or not.
    ///
    /// # Errors
    /// [`DecodeError::UnknownCommand`], also for a command in the wrong form; then as [`Arguments::decode`].
    pub fn decode(frame: &GenericFrame<'_>, dump: bool) -> Result<Request, DecodeError> {
        let command = Command::from_number(frame.command)?;
        let possible = if dump { command.can_dump() } else { command.can_do() };
        if !possible {
            return Err(DecodeError::UnknownCommand { number: frame.command });
        }
        Ok(Request { command, dump, arguments: Arguments::decode(frame.attributes)? })
    }

    /// The request as one datagram with this header, whose length is filled in.
    pub fn encode(&self, header: Header) -> Vec<u8> {
        let mut datagram = Vec::new();
        put_generic(&mut datagram, header, self.command.number(), VERSION, &self.arguments.encode());
        datagram
    }

    fn about(command: Command, dump: bool, service: ServiceAttributes) -> Request {
        let arguments = Arguments { service: Some(Nest::request(service)), ..Arguments::default() };
        Request { command, dump, arguments }
    }

    fn with_destination(mut self, destination: DestinationAttributes) -> Request {
        self.arguments.destination = Some(Nest::request(destination));
        self
    }
}
