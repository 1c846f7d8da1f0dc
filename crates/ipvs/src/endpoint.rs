//! Answers datagrams of IPVS's control interface, as the kernel does (netlink.md §1.2, §4, §5).

use crate::Errno;
use crate::director::Director;
use crate::message::{
    Arguments, CONTROLLER, Command, FAMILY_ID, FamilyQuery, Frame, GenericFrame, Header, Reply, Request, ack, done,
    error, family_reply, flags, frames, reply_header,
};
use crate::model::ServiceKey;

/// Largest datagram of a dump in bytes. Every reader known offers at least this much (netlink.md §5).
pub const DATAGRAM_MAX: usize = 16 * 1024;

/// Who sent a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The port id its socket is bound to; replies carry it, whatever the request carries.
    pub port_id: u32,
    /// Whether it has CAP_NET_ADMIN in the user namespace of the network namespace.
    pub can_admin: bool,
}

/// Executes the requests in a datagram, and returns the datagrams to send back, in order.
///
/// Each reply and each ACK is a datagram of its own; the entries of a dump are packed into datagrams of at
/// most [`DATAGRAM_MAX`] bytes. Bytes that are no message get no answer.
pub fn handle(director: &mut impl Director, caller: Caller, datagram: &[u8]) -> Vec<Vec<u8>> {
    let mut replies = Vec::new();
    for frame in frames(datagram) {
        answer(director, caller, &frame, &mut replies);
    }
    replies
}

/// What a request that was executed answers.
enum Outcome {
    /// Nothing but the ACK.
    Nothing,
    /// One message.
    One(Reply),
    /// A dump.
    Dump(Vec<Reply>),
}

fn answer(director: &mut impl Director, caller: Caller, frame: &Frame<'_>, replies: &mut Vec<Vec<u8>>) {
    let port_id = caller.port_id;
    // What is no request, or belongs to netlink itself, is not executed; it may still ask for its ACK.
    let executable = frame.header.is_request() && frame.header.kind >= flags::FIRST_FAMILY;
    let result = if !executable {
        Ok(true)
    } else if frame.header.kind == CONTROLLER {
        control(caller, frame, replies)
    } else {
        execute(director, caller, frame).map(|outcome| send(outcome, frame, port_id, replies))
    };
    match result {
        Err(errno) => replies.push(error(frame, port_id, errno)),
        Ok(may_ack) if may_ack && frame.header.wants_ack() => replies.push(ack(frame, port_id)),
        Ok(_) => {}
    }
}

/// Encodes an outcome; returns whether an ACK may follow (none follows a dump).
fn send(outcome: Outcome, frame: &Frame<'_>, port_id: u32, replies: &mut Vec<Vec<u8>>) -> bool {
    let header = reply_header(frame, port_id);
    match outcome {
        Outcome::Nothing => true,
        Outcome::One(reply) => {
            let mut datagram = Vec::new();
            reply.encode(&mut datagram, header);
            replies.push(datagram);
            true
        }
        Outcome::Dump(entries) => {
            pack(&entries, Header { flags: flags::MULTI, ..header }, replies);
            replies.push(done(frame, port_id));
            false
        }
    }
}

fn pack(entries: &[Reply], header: Header, replies: &mut Vec<Vec<u8>>) {
    let mut datagram = Vec::new();
    for entry in entries {
        let mut message = Vec::new();
        entry.encode(&mut message, header);
        if !datagram.is_empty() && datagram.len() + message.len() > DATAGRAM_MAX {
            replies.push(std::mem::take(&mut datagram));
        }
        datagram.append(&mut message);
    }
    if !datagram.is_empty() {
        replies.push(datagram);
    }
}

/// Answers the question for the family's number, which needs no privilege.
fn control(caller: Caller, frame: &Frame<'_>, replies: &mut Vec<Vec<u8>>) -> Result<bool, Errno> {
    let generic = frame.generic().ok_or(Errno::INVAL)?;
    let header = reply_header(frame, caller.port_id);
    let mut datagram = Vec::new();
    if frame.header.wants_dump() {
        FamilyQuery::check_command(&generic)?;
        family_reply(&mut datagram, Header { flags: flags::MULTI, ..header });
        replies.push(datagram);
        replies.push(done(frame, caller.port_id));
        return Ok(false);
    }
    if !FamilyQuery::decode(&generic)?.is_ipvs() {
        return Err(Errno::NOENT);
    }
    family_reply(&mut datagram, header);
    replies.push(datagram);
    Ok(true)
}

/// Executes a request of IPVS. Checks come in the kernel's order: family, headers, command and form,
/// privilege, policy of the top level, then the command's own.
fn execute(director: &mut impl Director, caller: Caller, frame: &Frame<'_>) -> Result<Outcome, Errno> {
    if frame.header.kind != FAMILY_ID {
        return Err(Errno::NOENT);
    }
    let generic = frame.generic().ok_or(Errno::INVAL)?;
    let command = Command::from_number(generic.command)?;
    let dump = frame.header.wants_dump();
    if !(if dump { command.can_dump() } else { command.can_do() }) {
        return Err(Errno::OPNOTSUPP);
    }
    if !caller.can_admin {
        return Err(Errno::PERM);
    }
    if dump {
        return Ok(Outcome::Dump(entries(director, command, &generic)));
    }
    let request = Request::decode(&generic, dump)?;
    perform(director, request.command, &request.arguments)
}

/// The entries of a dump. A dump never fails: what cannot be listed is an empty list (netlink.md §4).
fn entries(director: &impl Director, command: Command, generic: &GenericFrame<'_>) -> Vec<Reply> {
    let entries = match command {
        Command::GetService => director.services().map(|services| services.iter().map(Reply::from).collect()),
        Command::GetDest => destinations(director, generic),
        _ => director.daemons().map(|daemons| daemons.iter().map(Reply::from).collect()),
    };
    entries.unwrap_or_default()
}

fn destinations(director: &impl Director, generic: &GenericFrame<'_>) -> Result<Vec<Reply>, Errno> {
    let key = Arguments::decode(generic.attributes)?.service()?.key()?;
    Ok(director.destinations(&key)?.iter().map(Reply::from).collect())
}

fn perform(director: &mut impl Director, command: Command, arguments: &Arguments) -> Result<Outcome, Errno> {
    match command {
        Command::NewService => director.add_service(&arguments.service()?.spec()?)?,
        Command::SetService => director.set_service(&arguments.service()?.spec()?)?,
        Command::DelService => director.delete_service(&arguments.service()?.key()?)?,
        Command::GetService => {
            return director.service(&arguments.service()?.key()?).map(|status| Outcome::One(Reply::from(&status)));
        }
        Command::NewDest => {
            let service = existing_service(director, arguments)?;
            director.add_destination(&service, &arguments.destination()?.spec(service.family())?)?;
        }
        Command::SetDest => {
            let service = existing_service(director, arguments)?;
            director.set_destination(&service, &arguments.destination()?.spec(service.family())?)?;
        }
        Command::DelDest => {
            let service = existing_service(director, arguments)?;
            director.delete_destination(&service, &arguments.destination()?.key(service.family())?)?;
        }
        Command::NewDaemon => director.start_daemon(&arguments.daemon()?.spec()?)?,
        Command::DelDaemon => director.stop_daemon(arguments.daemon()?.role()?)?,
        Command::SetConfig => director.set_timeouts(arguments.timeouts.change())?,
        Command::GetConfig => return director.timeouts().map(|timeouts| Outcome::One(Reply::Timeouts(timeouts))),
        Command::GetInfo => return director.info().map(|info| Outcome::One(Reply::Info(info))),
        Command::Zero => {
            let key = arguments.service.as_ref().map(|_| arguments.service()?.key()).transpose()?;
            director.zero(key.as_ref())?;
        }
        Command::Flush => director.flush()?,
        // Dumps alone, and a reply: `can_do` refused them before.
        Command::GetDest | Command::GetDaemon | Command::SetInfo => return Err(Errno::OPNOTSUPP),
    }
    Ok(Outcome::Nothing)
}

/// The key of the service a destination belongs to. That it exists is checked before the destination is
/// looked at.
fn existing_service(director: &impl Director, arguments: &Arguments) -> Result<ServiceKey, Errno> {
    let key = arguments.service()?.key()?;
    director.require_service(&key).map(|()| key)
}
