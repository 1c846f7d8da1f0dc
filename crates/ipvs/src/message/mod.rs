//! IPVS's generic-netlink messages as pure functions over bytes (netlink.md §1..§5).
//!
//! ```text
//! datagram -> frames -> Command -> Arguments -> (service | destination | daemon | timeouts)    requests
//! datagram -> frames -> Answer  -> Reply                                                       replies
//! ```
//! Attributes come and go as what was sent: every field optional, numbers unchecked, unknown attributes kept.
//! What they mean is checked one level up, where the kernel's order of checks is known. A nest that breaks
//! the policy stays in its [`Nest`] with its reason, since the kernel looks into nests one after the other.
//!
//! Nothing here panics, whatever the bytes: every read is bounded by the slice it reads from.

mod answer;
mod arguments;
mod attribute;
mod command;
mod daemon;
mod destination;
mod family;
mod header;
mod nest;
mod service;
mod stats;

pub use answer::{Answer, Reply};
pub use arguments::{Arguments, Request, TimeoutAttributes};
pub use attribute::Attribute;
pub use command::Command;
pub use daemon::DaemonAttributes;
pub use destination::DestinationAttributes;
pub use family::{CONTROLLER, FAMILY_ID, FAMILY_NAME, FamilyQuery, family_reply, family_request, read_family_id};
pub use header::{Frame, GenericFrame, Header, ack, done, error, frames, put_generic, reply_header};
pub use nest::{Contents, Nest, NestState};
pub use service::{AddressBytes, ServiceAttributes};
pub use stats::StatsAttributes;

/// Flags and types of netlink messages, as [`Header`] carries them.
pub mod flags {
    pub use super::header::number::*;
}

use crate::Errno;

/// Why bytes are no message of IPVS.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A mandatory attribute is not there.
    #[error("attribute {attribute} is missing")]
    Missing {
        /// Its name.
        attribute: &'static str,
    },
    /// A number or fixed field is shorter than its type.
    #[error("attribute {attribute} has {length} bytes, needs {minimum}")]
    TooShort {
        /// Its name.
        attribute: &'static str,
        /// Bytes it has.
        length: usize,
        /// Bytes it needs.
        minimum: usize,
    },
    /// A binary field or text is longer than allowed.
    #[error("attribute {attribute} has {length} bytes, {maximum} are allowed")]
    TooLong {
        /// Its name.
        attribute: &'static str,
        /// Bytes it has.
        length: usize,
        /// Bytes allowed.
        maximum: usize,
    },
    /// A text has no NUL where it must end.
    #[error("attribute {attribute} is not terminated by NUL")]
    Unterminated {
        /// Its name.
        attribute: &'static str,
    },
    /// A field holds a value that no table can have.
    #[error("attribute {attribute} holds an impossible value")]
    Impossible {
        /// Its name.
        attribute: &'static str,
    },
    /// A family number other than those of IPv4 and IPv6.
    #[error("address family {number} is not supported")]
    Family {
        /// The number sent.
        number: u16,
    },
    /// No command of IPVS, or one that is no request.
    #[error("command {number} is unknown")]
    UnknownCommand {
        /// The number sent.
        number: u8,
    },
    /// The message ends within a header.
    #[error("the message ends within a header")]
    Truncated,
}

impl DecodeError {
    /// The error number the kernel answers for this.
    pub fn errno(&self) -> Errno {
        match self {
            DecodeError::Family { .. } => Errno::AFNOSUPPORT,
            DecodeError::UnknownCommand { .. } => Errno::OPNOTSUPP,
            _ => Errno::INVAL,
        }
    }
}

impl From<DecodeError> for Errno {
    fn from(error: DecodeError) -> Errno {
        error.errno()
    }
}
