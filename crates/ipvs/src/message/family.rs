//! Resolution of the family's number by its name, with generic netlink's controller (netlink.md §1.1).

use super::attribute::{Writer, attributes};
use super::header::put_generic;
use super::{Command, DecodeError, GenericFrame, Header};

/// Type of the controller's messages (`nlctrl`).
pub const CONTROLLER: u16 = 16;
/// Name of IPVS's family, case-sensitive.
pub const FAMILY_NAME: &str = "IPVS";
/// Number of IPVS's family at an endpoint of this crate. A kernel allocates its own; clients ask.
pub const FAMILY_ID: u16 = 28;

/// Controller command: a family as data.
const NEW_FAMILY: u8 = 1;
/// Controller command: which family is this?
const GET_FAMILY: u8 = 3;
/// Version of the controller's replies.
const CONTROLLER_VERSION: u8 = 2;

mod number {
    pub const ID: u16 = 1;
    pub const NAME: u16 = 2;
    pub const VERSION: u16 = 3;
    pub const HDRSIZE: u16 = 4;
    pub const MAXATTR: u16 = 5;
    pub const OPS: u16 = 6;
    pub const OP_ID: u16 = 1;
    pub const OP_FLAGS: u16 = 2;
}

/// What GETFAMILY asks about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FamilyQuery {
    /// The family of this number.
    Id(u16),
    /// The family of this name.
    Name(Vec<u8>),
}

impl FamilyQuery {
    /// Reads a request to the controller. A number goes before a name.
    ///
    /// # Errors
    /// [`DecodeError::UnknownCommand`] for commands other than GETFAMILY; [`DecodeError::Missing`] if neither
    /// number nor name is there, or what breaks the policy.
    pub fn decode(frame: &GenericFrame<'_>) -> Result<FamilyQuery, DecodeError> {
        FamilyQuery::check_command(frame)?;
        let (mut id, mut name) = (None, None);
        for raw in attributes(frame.attributes) {
            match raw.number {
                number::ID => id = Some(raw.u16("FAMILY_ID")?),
                number::NAME => name = Some(raw.text("FAMILY_NAME", 15)?),
                _ => {}
            }
        }
        let by_name = name.map(FamilyQuery::Name);
        id.map(FamilyQuery::Id).or(by_name).ok_or(DecodeError::Missing { attribute: "FAMILY_NAME" })
    }

    /// Whether this is GETFAMILY, the one command of the controller that clients of IPVS use.
    ///
    /// # Errors
    /// [`DecodeError::UnknownCommand`] if it is not.
    pub fn check_command(frame: &GenericFrame<'_>) -> Result<(), DecodeError> {
        let number = frame.command;
        if number == GET_FAMILY { Ok(()) } else { Err(DecodeError::UnknownCommand { number }) }
    }

    /// Whether IPVS's family is asked about.
    pub fn is_ipvs(&self) -> bool {
        match self {
            FamilyQuery::Id(id) => *id == FAMILY_ID,
            FamilyQuery::Name(name) => name == FAMILY_NAME.as_bytes(),
        }
    }
}

/// A datagram that asks for IPVS's family by name; type and length of the header are filled in.
pub fn family_request(header: Header) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.put_text(number::NAME, FAMILY_NAME.as_bytes());
    let mut datagram = Vec::new();
    let header = Header { kind: CONTROLLER, ..header };
    put_generic(&mut datagram, header, GET_FAMILY, 1, &writer.into_bytes());
    datagram
}

/// Appends the controller's answer about IPVS's family: its name, number, version, and commands.
pub fn family_reply(datagram: &mut Vec<u8>, header: Header) {
    let mut writer = Writer::default();
    writer.put_text(number::NAME, FAMILY_NAME.as_bytes());
    writer.put_u16(number::ID, FAMILY_ID);
    writer.put_u32(number::VERSION, 1);
    writer.put_u32(number::HDRSIZE, 0);
    writer.put_u32(number::MAXATTR, 6);
    writer.put_nest(number::OPS, put_operations);
    put_generic(datagram, header, NEW_FAMILY, CONTROLLER_VERSION, &writer.into_bytes());
}

/// The family number in the controller's answer.
///
/// # Errors
/// [`DecodeError::Missing`] or [`DecodeError::TooShort`].
pub fn read_family_id(payload: &[u8]) -> Result<u16, DecodeError> {
    let raw = attributes(payload).find(|raw| raw.number == number::ID);
    raw.ok_or(DecodeError::Missing { attribute: "FAMILY_ID" })?.u16("FAMILY_ID")
}

fn put_operations(writer: &mut Writer) {
    let commands = Command::ALL.into_iter().filter(|command| command.can_do() || command.can_dump());
    for (index, command) in (1u16..).zip(commands) {
        writer.put_nest(index, |operation| {
            operation.put_u32(number::OP_ID, u32::from(command.number()));
            operation.put_u32(number::OP_FLAGS, operation_flags(command));
        });
    }
}

/// Flags of an operation: 0x1 needs CAP_NET_ADMIN, 0x2 do, 0x4 dump, 0x8 has a policy.
fn operation_flags(command: Command) -> u32 {
    let form = match (command.can_do(), command.can_dump()) {
        (true, true) => 0x6,
        (true, false) => 0x2,
        (false, _) => 0x4,
    };
    0x9 | form
}
