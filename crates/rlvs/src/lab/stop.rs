//! The wish to end early, carried from the signal to every place that waits.

use std::{io, sync::Arc, thread};

use tokio::{
    runtime,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

use super::error::{Error, Result};

/// Tells the lab's steps that SIGINT, SIGTERM or SIGHUP has come. Clones share one state.
///
/// The steps return [`Error::Stopped`] when they see it, so the lab ends by the same path as on a failure: every guard on
/// the way out removes what it made. Once raised it stays raised; more signals change nothing, so that an impatient second
/// Ctrl-C cannot interrupt the clean-up.
#[derive(Clone, Debug)]
pub struct Stop(Arc<watch::Sender<Option<i32>>>);

impl Stop {
    /// One that no signal raises.
    pub fn never() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// Takes over SIGINT, SIGTERM and SIGHUP for the rest of the process's life.
    pub fn on_signals() -> Result<Self> {
        let stop = Self::never();
        let raised = stop.clone();
        let failed = |source| Error::Io { doing: "cannot handle signals".into(), source };
        let (installed, wait_installed) = std::sync::mpsc::channel();
        thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
                    Ok(runtime) => runtime,
                    Err(error) => return drop(installed.send(Err(error))),
                };
                runtime.block_on(async {
                    match handlers() {
                        Ok(handlers) => {
                            // The receiver waits below; if it is gone there is nobody left to tell.
                            let _ = installed.send(Ok(()));
                            raise_on_signal(&raised, handlers).await;
                        }
                        Err(error) => drop(installed.send(Err(error))),
                    }
                });
            })
            .map_err(failed)?;
        wait_installed.recv().unwrap_or_else(|_| Err(io::ErrorKind::Other.into())).map_err(failed)?;
        Ok(stop)
    }

    /// Raises it, as the signal of that number would.
    pub fn raise(&self, signal: i32) {
        self.0.send_if_modified(|state| state.is_none() && state.replace(signal).is_none());
    }

    /// The signal that asked to end, if one has.
    pub fn signal(&self) -> Option<i32> {
        *self.0.borrow()
    }

    /// Fails with [`Error::Stopped`] once it is raised.
    pub fn check(&self) -> Result<()> {
        self.signal().map_or(Ok(()), |signal| Err(Error::Stopped(signal)))
    }

    /// Completes when it is raised. Works in any runtime.
    pub async fn raised(&self) -> i32 {
        let mut state = self.0.subscribe();
        match state.wait_for(Option::is_some).await.map(|state| *state) {
            Ok(Some(signal)) => signal,
            // The sender lives as long as `self`, and the predicate excludes None: not reached, and waiting is harmless.
            _ => std::future::pending().await,
        }
    }
}

fn handlers() -> io::Result<[(i32, Signal); 3]> {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let [interrupt, terminate, hangup] = kinds.map(|kind| signal(kind).map(|handler| (kind.as_raw_value(), handler)));
    Ok([interrupt?, terminate?, hangup?])
}

async fn raise_on_signal(stop: &Stop, mut handlers: [(i32, Signal); 3]) {
    let [(interrupt_no, interrupt), (terminate_no, terminate), (hangup_no, hangup)] = &mut handlers;
    loop {
        tokio::select! {
            _ = interrupt.recv() => stop.raise(*interrupt_no),
            _ = terminate.recv() => stop.raise(*terminate_no),
            _ = hangup.recv() => stop.raise(*hangup_no),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_first_signal() {
        let stop = Stop::never();
        assert!(stop.check().is_ok());
        stop.raise(2);
        stop.raise(15);
        assert_eq!(stop.signal(), Some(2));
        assert!(matches!(stop.check(), Err(Error::Stopped(2))));
    }
}
