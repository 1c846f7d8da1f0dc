//! Questions to the daemon of this network namespace.

use anyhow::{Result, bail};
use rlvs_ipvs::local::{self, Error, Reply, Request};

/// Asks, and waits for the answer.
///
/// # Errors
/// Where no daemon runs here; as [`local::call`] otherwise.
pub(crate) fn ask(request: &Request) -> Result<Reply> {
    match local::call(request) {
        Ok(reply) => Ok(reply),
        Err(error) if error.is_absent() => bail!("rlvsd does not run in this network namespace"),
        Err(error) => Err(error.into()),
    }
}

/// Has the daemon do something.
///
/// # Errors
/// As [`ask`]; a refusal in the daemon's own words alone.
pub(crate) fn tell(request: &Request) -> Result<()> {
    match ask(request) {
        Ok(Reply::Done) => Ok(()),
        Ok(_) => odd(),
        Err(error) => match error.downcast() {
            Ok(Error::Refused { reason, .. }) => bail!("{reason}"),
            Ok(error) => Err(error.into()),
            Err(error) => Err(error),
        },
    }
}

/// What to say of an answer to another question.
pub(crate) fn odd<T>() -> Result<T> {
    bail!("rlvsd answered another question")
}
