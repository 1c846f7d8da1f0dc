//! Replies: what an endpoint answers and a client reads.

use super::arguments::VERSION;
use super::attribute::{Writer, attributes};
use super::header::{number, put_generic};
use super::{
    Arguments, Command, DaemonAttributes, DecodeError, DestinationAttributes, Frame, Header, Nest, ServiceAttributes,
};
use crate::Errno;
use crate::model::{Daemon, DestinationStatus, Info, ServiceStatus, Timeouts, Version};

/// Attribute of GET_INFO's reply: version.
const INFO_VERSION: u16 = 1;
/// Attribute of GET_INFO's reply: number of buckets of the connection table.
const INFO_CONN_TAB_SIZE: u16 = 2;

/// Data in a reply. The nest, where there is one, is the first attribute: some clients read no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A service; command 1.
    Service(Box<ServiceAttributes>),
    /// A destination; command 5.
    Destination(Box<DestinationAttributes>),
    /// A sync daemon; command 9.
    Daemon(DaemonAttributes),
    /// The timeouts; command 12.
    Timeouts(Timeouts),
    /// Version and size; command 14.
    Info(Info),
}

impl From<&ServiceStatus> for Reply {
    fn from(status: &ServiceStatus) -> Reply {
        Reply::Service(Box::new(ServiceAttributes::reply(status)))
    }
}

impl From<&DestinationStatus> for Reply {
    fn from(status: &DestinationStatus) -> Reply {
        Reply::Destination(Box::new(DestinationAttributes::reply(status)))
    }
}

impl From<&Daemon> for Reply {
    fn from(daemon: &Daemon) -> Reply {
        Reply::Daemon(DaemonAttributes::reply(daemon))
    }
}

impl Reply {
    /// Appends the reply as one message with this header, whose length is filled in.
    pub fn encode(&self, datagram: &mut Vec<u8>, header: Header) {
        put_generic(datagram, header, self.command().number(), VERSION, &self.attributes());
    }

    /// Reads a reply of this command.
    ///
    /// # Errors
    /// [`DecodeError::UnknownCommand`] for a command no reply carries, or what its attributes lack or break.
    pub fn decode(command: u8, payload: &[u8]) -> Result<Reply, DecodeError> {
        match Command::from_number(command)? {
            Command::NewService => Ok(Reply::Service(Box::new(Arguments::decode(payload)?.service()?.clone()))),
            Command::NewDest => Ok(Reply::Destination(Box::new(Arguments::decode(payload)?.destination()?.clone()))),
            Command::NewDaemon => Ok(Reply::Daemon(Arguments::decode(payload)?.daemon()?.clone())),
            Command::SetConfig => {
                let sent = Arguments::decode(payload)?.timeouts.change();
                let timeouts = Timeouts { tcp_s: sent.tcp_s, tcp_fin_s: sent.tcp_fin_s, udp_s: sent.udp_s };
                Ok(Reply::Timeouts(timeouts))
            }
            Command::SetInfo => read_info(payload).map(Reply::Info),
            _ => Err(DecodeError::UnknownCommand { number: command }),
        }
    }

    fn command(&self) -> Command {
        match self {
            Reply::Service(_) => Command::NewService,
            Reply::Destination(_) => Command::NewDest,
            Reply::Daemon(_) => Command::NewDaemon,
            Reply::Timeouts(_) => Command::SetConfig,
            Reply::Info(_) => Command::SetInfo,
        }
    }

    fn attributes(&self) -> Vec<u8> {
        let mut arguments = Arguments::default();
        match self {
            Reply::Service(service) => arguments.service = Some(Nest::reply((**service).clone())),
            Reply::Destination(destination) => arguments.destination = Some(Nest::reply((**destination).clone())),
            Reply::Daemon(daemon) => arguments.daemon = Some(Nest::reply(daemon.clone())),
            Reply::Timeouts(timeouts) => {
                arguments.timeouts.tcp_s = Some(timeouts.tcp_s);
                arguments.timeouts.tcp_fin_s = Some(timeouts.tcp_fin_s);
                arguments.timeouts.udp_s = Some(timeouts.udp_s);
            }
            Reply::Info(info) => return write_info(info),
        }
        arguments.encode()
    }
}

/// One message a client reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// The request was executed.
    Ack,
    /// The request was refused.
    Refused(Errno),
    /// The dump is complete.
    Done,
    /// Data: command and attributes.
    Data {
        /// Command number.
        command: u8,
        /// Its attributes.
        attributes: &'a [u8],
    },
}

impl<'a> Answer<'a> {
    /// Reads a message.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] if it ends within a header or error number.
    pub fn decode(frame: &Frame<'a>) -> Result<Answer<'a>, DecodeError> {
        match frame.header.kind {
            number::ERROR => {
                let code = frame.payload().first_chunk::<4>().ok_or(DecodeError::Truncated)?;
                let errno = i32::from_ne_bytes(*code).checked_neg().and_then(Errno::from_number);
                Ok(errno.map_or(Answer::Ack, Answer::Refused))
            }
            number::DONE => Ok(Answer::Done),
            _ => {
                let generic = frame.generic().ok_or(DecodeError::Truncated)?;
                Ok(Answer::Data { command: generic.command, attributes: generic.attributes })
            }
        }
    }
}

fn read_info(payload: &[u8]) -> Result<Info, DecodeError> {
    let (mut version, mut size) = (None, None);
    for raw in attributes(payload) {
        match raw.number {
            INFO_VERSION => version = Some(Version(raw.u32("VERSION")?)),
            INFO_CONN_TAB_SIZE => size = Some(raw.u32("CONN_TAB_SIZE")?),
            _ => {}
        }
    }
    Ok(Info {
        version: version.ok_or(DecodeError::Missing { attribute: "VERSION" })?,
        connection_table_size: size.ok_or(DecodeError::Missing { attribute: "CONN_TAB_SIZE" })?,
    })
}

fn write_info(info: &Info) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.put_u32(INFO_VERSION, info.version.0);
    writer.put_u32(INFO_CONN_TAB_SIZE, info.connection_table_size);
    writer.into_bytes()
}
