//! The kernel's error numbers, as IPVS answers them (netlink.md §4).

use std::fmt;

/// A Linux error number, 1..=4095, as a positive value in host order.
///
/// IPVS and its clients tell errors apart by number alone, so this is the error type of every refusal in
/// this crate. A number without a constant here is still carried faithfully: a newer kernel may answer it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Errno(u16);

/// Defines the known numbers once: constant, symbolic name, and the C library's text for it.
macro_rules! errnos {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        impl Errno {
            $($(#[$doc])* pub const $name: Errno = Errno($number);)*
        }

        /// Number, symbolic name and text of every error number this crate names.
        const KNOWN: &[(u16, &str, &str)] = &[$(($number, stringify!($name), $text)),*];
    };
}

errnos! {
    /// The caller lacks CAP_NET_ADMIN in the user namespace of the network namespace.
    PERM = 1, "Operation not permitted";
    /// Unknown scheduler, persistence engine or destination.
    NOENT = 2, "No such file or directory";
    /// No such service, or no such daemon runs.
    SRCH = 3, "No such process";
    /// A call was interrupted.
    INTR = 4, "Interrupted system call";
    /// Input or output failed.
    IO = 5, "Input/output error";
    /// A table is full.
    NOMEM = 12, "Cannot allocate memory";
    /// The caller may not reach this object.
    ACCES = 13, "Permission denied";
    /// A dump is already under way on this socket.
    BUSY = 16, "Device or resource busy";
    /// The service, destination or daemon is already there.
    EXIST = 17, "File exists";
    /// Unknown interface.
    NODEV = 19, "No such device";
    /// Malformed or contradictory request.
    INVAL = 22, "Invalid argument";
    /// No room for another row.
    NOSPC = 28, "No space left on device";
    /// Weight below zero, or lower threshold above the upper one.
    RANGE = 34, "Numerical result out of range";
    /// The bytes are no message of the expected protocol.
    PROTO = 71, "Protocol error";
    /// A message did not fit.
    MSGSIZE = 90, "Message too long";
    /// IPVS is not there.
    NOPROTOOPT = 92, "Protocol not available";
    /// Unknown command, or a command in the wrong form (do instead of dump).
    OPNOTSUPP = 95, "Operation not supported";
    /// Address family other than IPv4 and IPv6.
    AFNOSUPPORT = 97, "Address family not supported by protocol";
    /// An IPv6 multicast group has no usable address or route on the interface.
    NETUNREACH = 101, "Network is unreachable";
    /// The peer closed the connection before it answered.
    CONNRESET = 104, "Connection reset by peer";
    /// Nobody listens there.
    CONNREFUSED = 111, "Connection refused";
}

impl Errno {
    /// The error of this number; 0 and numbers above 4095 are no error numbers.
    pub const fn from_number(number: i32) -> Option<Errno> {
        if number >= 1 && number <= 4095 { Some(Errno(number as u16)) } else { None }
    }

    /// The positive number, 1..=4095.
    pub const fn number(self) -> i32 {
        self.0 as i32
    }

    /// The symbolic name without its leading `E` (`"SRCH"`), if this crate names the number.
    pub fn name(self) -> Option<&'static str> {
        KNOWN.iter().find(|known| known.0 == self.0).map(|known| known.1)
    }

    /// The C library's text for the number, as `strerror` gives it in the C locale.
    pub fn text(self) -> String {
        match KNOWN.iter().find(|known| known.0 == self.0) {
            Some(known) => known.2.to_owned(),
            None => {
                let text = std::io::Error::from_raw_os_error(self.number()).to_string();
                // The standard library appends " (os error N)" to the C library's text.
                text.split(" (os error").next().unwrap_or_default().to_owned()
            }
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "E{name}"),
            None => write!(f, "Errno({})", self.0),
        }
    }
}

impl std::error::Error for Errno {}

impl From<rustix::io::Errno> for Errno {
    fn from(error: rustix::io::Errno) -> Errno {
        Errno::from_number(error.raw_os_error()).unwrap_or(Errno::IO)
    }
}

impl From<&std::io::Error> for Errno {
    /// The number the system gave, or `EIO` for an error the standard library made itself.
    fn from(error: &std::io::Error) -> Errno {
        error.raw_os_error().and_then(Errno::from_number).unwrap_or(Errno::IO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_of_the_c_library() {
        for &(number, name, text) in KNOWN {
            let system = std::io::Error::from_raw_os_error(i32::from(number)).to_string();
            assert_eq!(format!("{text} (os error {number})"), system, "E{name}");
        }
    }

    #[test]
    fn only_error_numbers_are_errors() {
        assert_eq!(Errno::from_number(0), None);
        assert_eq!(Errno::from_number(-3), None);
        assert_eq!(Errno::from_number(4096), None);
        assert_eq!(Errno::from_number(3), Some(Errno::SRCH));
        assert_eq!(format!("{:?}", Errno::SRCH), "ESRCH");
        assert_eq!(Errno::from_number(110).map(Errno::text).as_deref(), Some("Connection timed out"));
    }
}
