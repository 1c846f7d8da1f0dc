//! Carries commands out.

use std::io::{self, BufRead, Write};

use rlvs_ipvs::client::{Client, Error};
use rlvs_ipvs::model::{DestinationStatus, Info, ServiceKey, ServiceStatus};

use crate::command::{Columns, Command, Listing, Subject, understand};
use crate::flags::CommandName;
use crate::refusal::{FAILED, Refusal};
use crate::render::{self, ConnectionsError, Labels};
use crate::system::System;
use crate::{kernel, restore, usage, words};

/// Exit status of what was done.
pub const DONE: i32 = 0;
/// Exit status of a listing that failed half-way.
pub const LISTING_FAILED: i32 = 1;

/// Standard input, output and error.
pub struct Streams<'a> {
    /// Lines to restore.
    pub input: &'a mut dyn BufRead,
    /// Listings.
    pub output: &'a mut dyn Write,
    /// Messages.
    pub errors: &'a mut dyn Write,
}

/// An open control interface, and the streams to talk to people.
pub struct Session<'a> {
    /// The name the program was called by, which some messages show.
    pub program: &'a str,
    /// The control interface.
    pub client: Client,
    /// What it said about itself.
    pub info: Info,
    /// The streams.
    pub streams: Streams<'a>,
    /// The machine around.
    pub system: &'a mut dyn System,
}

/// What became of one command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was carried out or refused by the kernel, with this exit status; another line may follow.
    Ran(i32),
    /// It was refused by the program, or asked for help: no line may follow.
    Ended(i32),
}

impl Outcome {
    /// The exit status.
    pub fn exit(self) -> i32 {
        match self {
            Outcome::Ran(exit) | Outcome::Ended(exit) => exit,
        }
    }
}

impl Session<'_> {
    /// Understands a line and carries it out. `restoring` says that it comes from standard input, where no
    /// other restore may start.
    ///
    /// # Errors
    /// Those of the streams.
    pub fn run(&mut self, line: &words::Line, restoring: bool) -> io::Result<Outcome> {
        let refusal = match understand(line, self.system.names()) {
            Ok(Command::Restore) if restoring => Refusal::Hint,
            Ok(command) => return self.perform(&command),
            Err(refusal) => refusal,
        };
        writeln!(self.streams.errors, "{}", refusal.message(self.program))?;
        Ok(Outcome::Ended(refusal.exit()))
    }

    fn perform(&mut self, command: &Command) -> io::Result<Outcome> {
        let (name, result) = match command {
            Command::Help => {
                usage::write(self.streams.output, self.program)?;
                return Ok(Outcome::Ended(DONE));
            }
            Command::Version => {
                writeln!(self.streams.output, "{}", usage::VERSION)?;
                return Ok(Outcome::Ended(DONE));
            }
            Command::Restore => return restore::run(self),
            Command::List(listing) => return self.list(listing).map(Outcome::Ran),
            Command::Save { numeric } => return self.save(*numeric).map(Outcome::Ran),
            Command::AddService(spec) => (CommandName::AddService, self.client.add_service(spec)),
            Command::EditService(spec) => (CommandName::EditService, self.client.set_service(spec)),
            Command::DeleteService(key) => (CommandName::DeleteService, self.client.delete_service(key)),
            Command::AddServer(key, spec) => (CommandName::AddServer, self.client.add_destination(key, spec)),
            Command::EditServer(key, spec) => (CommandName::EditServer, self.client.set_destination(key, spec)),
            Command::DeleteServer(key, server) => {
                (CommandName::DeleteServer, self.client.delete_destination(key, server))
            }
            Command::Flush => (CommandName::Flush, self.client.flush()),
            Command::Zero(key) => (CommandName::Zero, self.client.zero(key.as_ref())),
            Command::SetTimeouts(change) => (CommandName::Set, self.client.set_timeouts(*change)),
            Command::StartDaemon(spec) => (CommandName::StartDaemon, self.client.start_daemon(spec)),
            Command::StopDaemon(role, sync_id) => (CommandName::StopDaemon, self.client.stop_daemon(*role, *sync_id)),
        };
        let exit = match result {
            Ok(()) => DONE,
            Err(error) => self.report(name, &error, FAILED)?,
        };
        Ok(Outcome::Ran(exit))
    }

    /// Says why the other end refused, and returns the exit status.
    fn report(&mut self, command: CommandName, error: &Error, exit: i32) -> io::Result<i32> {
        writeln!(self.streams.errors, "{}", kernel::text(Some(command), error.errno()))?;
        Ok(exit)
    }

    fn list(&mut self, listing: &Listing) -> io::Result<i32> {
        match listing.subject {
            Subject::Connections { with_engine } => self.list_connections(listing, with_engine),
            Subject::Timeouts => match self.client.timeouts() {
                Ok(timeouts) => render::timeouts(self.streams.output, &timeouts).map(|()| DONE),
                Err(error) => self.report(CommandName::List, &error, LISTING_FAILED),
            },
            Subject::Daemons => match self.client.daemons() {
                Ok(daemons) => {
                    daemons.iter().try_for_each(|daemon| render::daemon(self.streams.output, daemon))?;
                    Ok(DONE)
                }
                Err(error) => self.report(CommandName::List, &error, LISTING_FAILED),
            },
            Subject::Services(key, columns) => {
                let services = match key {
                    Some(key) => self.client.service(&key).map(|service| vec![service]),
                    None => self.client.services(),
                };
                let services = match services {
                    Ok(services) => services,
                    Err(error) => return self.report(CommandName::List, &error, LISTING_FAILED),
                };
                if key.is_none() {
                    render::version(self.streams.output, &self.info)?;
                }
                render::title(self.streams.output, columns)?;
                self.list_services(services, listing, columns)
            }
        }
    }

    fn list_services(&mut self, services: Vec<ServiceStatus>, listing: &Listing, columns: Columns) -> io::Result<i32> {
        for service in ordered_services(services, !listing.unsorted) {
            let servers = match self.servers(service.service.key(), !listing.unsorted) {
                Ok(servers) => servers,
                Err(error) => return self.report(CommandName::List, &error, LISTING_FAILED),
            };
            let labels = labels(&*self.system, listing.numeric);
            let table = render::Table { labels, columns, exact: listing.exact };
            render::service(self.streams.output, &table, &service)?;
            for server in &servers {
                render::server(self.streams.output, &table, &service, server)?;
            }
        }
        Ok(DONE)
    }

    fn save(&mut self, numeric: bool) -> io::Result<i32> {
        let services = match self.client.services() {
            Ok(services) => services,
            Err(error) => return self.report(CommandName::Save, &error, LISTING_FAILED),
        };
        for service in ordered_services(services, true) {
            let servers = match self.servers(service.service.key(), true) {
                Ok(servers) => servers,
                Err(error) => return self.report(CommandName::Save, &error, LISTING_FAILED),
            };
            render::save(self.streams.output, labels(&*self.system, numeric), &service, &servers)?;
        }
        Ok(DONE)
    }

    fn list_connections(&mut self, listing: &Listing, with_engine: bool) -> io::Result<i32> {
        let Ok(text) = self.system.connections() else {
            writeln!(self.streams.errors, "cannot open file /proc/net/ip_vs_conn")?;
            return Ok(LISTING_FAILED);
        };
        let labels = labels(&*self.system, listing.numeric);
        match render::connections(self.streams.output, labels, &text, with_engine) {
            Ok(()) => Ok(DONE),
            Err(ConnectionsError::Write(error)) => Err(error),
            Err(error) => {
                writeln!(self.streams.errors, "{error}")?;
                Ok(LISTING_FAILED)
            }
        }
    }

    fn servers(&mut self, service: &ServiceKey, sorted: bool) -> Result<Vec<DestinationStatus>, Error> {
        let servers = self.client.destinations(service)?;
        if !sorted {
            return Ok(servers);
        }
        Ok(render::sort(servers, &|a: &DestinationStatus, b: &DestinationStatus| {
            render::order_of_servers(a.destination.key(), b.destination.key())
        }))
    }
}

fn ordered_services(services: Vec<ServiceStatus>, sorted: bool) -> Vec<ServiceStatus> {
    if !sorted {
        return services;
    }
    render::sort(services, &|a: &ServiceStatus, b: &ServiceStatus| {
        render::order_of_services(a.service.key(), b.service.key())
    })
}

fn labels(system: &dyn System, numeric: bool) -> Labels<'_> {
    Labels { names: (!numeric).then(|| system.names()) }
}
