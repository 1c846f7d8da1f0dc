//! Texts for what the kernel, or rlvsd, refuses (ipvsadm.md §6).

use rlvs_ipvs::Errno;

use crate::flags::CommandName;

/// The text for an error number. Some numbers mean different things to different commands; outside of any
/// command (`None`) they mean what the C library says.
pub fn text(command: Option<CommandName>, errno: Errno) -> String {
    let special = command.and_then(|command| by_command(command, errno)).or_else(|| by_number(errno));
    special.map_or_else(|| errno.text(), str::to_owned)
}

fn by_command(command: CommandName, errno: Errno) -> Option<&'static str> {
    use CommandName as C;
    match (command, errno) {
        (C::AddService, Errno::EXIST) => Some("Service already exists"),
        (C::AddService | C::EditService, Errno::NOENT) => Some("Scheduler or persistence engine not found"),
        (C::EditService | C::DeleteService | C::Zero | C::List, Errno::SRCH) => Some("No such service"),
        (C::AddServer | C::EditServer | C::DeleteServer, Errno::SRCH) => Some("Service not defined"),
        (C::AddServer, Errno::EXIST) => Some("Destination already exists"),
        (C::EditServer | C::DeleteServer, Errno::NOENT) => Some("No such destination"),
        (C::StartDaemon, Errno::EXIST) => Some("Daemon has already run"),
        (C::StopDaemon, Errno::SRCH) => Some("No daemon is running"),
        _ => None,
    }
}

fn by_number(errno: Errno) -> Option<&'static str> {
    match errno {
        // Reaching rlvsd's socket may fail with EACCES where the kernel says EPERM.
        Errno::PERM | Errno::ACCES => Some("Permission denied (you must be root)"),
        Errno::INVAL => Some("Invalid operation.  Possibly wrong module version, address not unicast, ..."),
        Errno::NOPROTOOPT => Some("Protocol not available"),
        Errno::NOMEM => Some("Memory allocation problem"),
        Errno::MSGSIZE => Some("Module is wrong version"),
        Errno::AFNOSUPPORT => Some("Operation not supported with specified address family"),
        Errno::OPNOTSUPP => Some("Operation not supported with IPv6"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_has_many_texts() {
        assert_eq!(text(Some(CommandName::DeleteService), Errno::SRCH), "No such service");
        assert_eq!(text(Some(CommandName::DeleteServer), Errno::SRCH), "Service not defined");
        assert_eq!(text(Some(CommandName::StopDaemon), Errno::SRCH), "No daemon is running");
        assert_eq!(text(Some(CommandName::Flush), Errno::SRCH), "No such process");
        assert_eq!(text(None, Errno::NOENT), "No such file or directory");
        assert_eq!(text(None, Errno::ACCES), "Permission denied (you must be root)");
    }
}
