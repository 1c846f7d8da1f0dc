//! What the program needs of the machine it runs on.

use std::io;

use rlvs_ipvs::client::{self, Backend, Client, Connection, Peer};
use rlvs_ipvs::local::{self, ProcFile};

use crate::resolve::{Names, SystemNames};

/// The machine: control interface, connection file, names. Tests bring their own.
pub trait System {
    /// Opens the control interface.
    ///
    /// # Errors
    /// Why it cannot be opened; `ENOPROTOOPT` if there is none.
    fn connect(&mut self, backend: Option<Backend>) -> Result<Client, client::Error>;

    /// The text of `ip_vs_conn`, from whoever [`System::connect`] reached.
    ///
    /// # Errors
    /// Why there is none.
    fn connections(&mut self) -> io::Result<String>;

    /// The names that are known.
    fn names(&self) -> &dyn Names;
}

/// The machine the program really runs on.
#[derive(Debug, Default)]
pub struct ThisSystem {
    /// The backend to use unless the command line names one.
    pub backend: Backend,
    peer: Option<Peer>,
    names: SystemNames,
}

impl ThisSystem {
    /// This machine, with this backend unless the command line names one.
    pub fn new(backend: Backend) -> ThisSystem {
        ThisSystem { backend, ..ThisSystem::default() }
    }
}

impl System for ThisSystem {
    fn connect(&mut self, backend: Option<Backend>) -> Result<Client, client::Error> {
        let Connection { client, peer } = client::connect(backend.unwrap_or(self.backend))?;
        self.peer = Some(peer);
        Ok(client)
    }

    fn connections(&mut self) -> io::Result<String> {
        match self.peer {
            Some(Peer::Rlvs) => local::proc_text(ProcFile::IpVsConn).map_err(io::Error::other),
            _ => std::fs::read_to_string("/proc/net/ip_vs_conn"),
        }
    }

    fn names(&self) -> &dyn Names {
        &self.names
    }
}
