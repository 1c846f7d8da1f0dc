//! Which control interface to talk to.

use std::process::{Command, Stdio};
use std::str::FromStr;

use super::{Client, Error, KernelTransport, RlvsTransport};
use crate::Errno;

/// Which control interface is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// rlvsd if it runs in this network namespace, else the kernel.
    #[default]
    Auto,
    /// rlvsd.
    Rlvs,
    /// The kernel's IPVS.
    Kernel,
}

/// A word that names no backend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown backend `{0}'; it may be auto, rlvs or kernel")]
pub struct UnknownBackend(pub String);

impl FromStr for Backend {
    type Err = UnknownBackend;

    fn from_str(word: &str) -> Result<Backend, UnknownBackend> {
        match word {
            "auto" => Ok(Backend::Auto),
            "rlvs" => Ok(Backend::Rlvs),
            "kernel" => Ok(Backend::Kernel),
            other => Err(UnknownBackend(other.to_owned())),
        }
    }
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// rlvsd.
    Rlvs,
    /// The kernel.
    Kernel,
}

/// A client, and who it talks to.
#[derive(Debug)]
pub struct Connection {
    /// The client.
    pub client: Client,
    /// Who is at the other end.
    pub peer: Peer,
}

/// Opens the control interface wanted. The kernel's module is loaded if it is missing.
///
/// # Errors
/// [`Error::Transport`] with `ENOPROTOOPT` if no such interface is there, or what the system says (`EACCES`).
pub fn connect(backend: Backend) -> Result<Connection, Error> {
    match backend {
        Backend::Rlvs => connect_rlvs(),
        Backend::Kernel => connect_kernel(),
        Backend::Auto => match connect_rlvs() {
            Err(Error::Transport(Errno::NOPROTOOPT)) => connect_kernel(),
            other => other,
        },
    }
}

fn connect_rlvs() -> Result<Connection, Error> {
    match RlvsTransport::connect() {
        Ok(transport) => Ok(Connection { client: Client::open(Box::new(transport))?, peer: Peer::Rlvs }),
        Err(Errno::CONNREFUSED) => Err(Error::Transport(Errno::NOPROTOOPT)),
        Err(errno) => Err(Error::Transport(errno)),
    }
}

fn connect_kernel() -> Result<Connection, Error> {
    let client = match open_kernel() {
        Err(Error::Refused(Errno::NOENT)) => {
            load_module();
            open_kernel()
        }
        other => other,
    };
    match client {
        Ok(client) => Ok(Connection { client, peer: Peer::Kernel }),
        Err(Error::Refused(Errno::NOENT)) => Err(Error::Transport(Errno::NOPROTOOPT)),
        Err(error) => Err(error),
    }
}

fn open_kernel() -> Result<Client, Error> {
    let transport = KernelTransport::open().map_err(Error::Transport)?;
    Client::open(Box::new(transport))
}

/// Asks modprobe for the module. Whether it worked shows when the interface is opened again.
fn load_module() {
    let mut modprobe = Command::new("/sbin/modprobe");
    let _ = modprobe.args(["--", "ip_vs"]).stdin(Stdio::null()).status();
}
