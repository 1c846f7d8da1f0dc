//! Programs that run beside a scenario.

use std::{
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use rlvs::lab::Netns;

use crate::wait::eventually;

/// A program at work in a host. Dropped, it is killed.
pub struct Background {
    child: Child,
    line: String,
}

impl Background {
    /// Starts it; what it prints goes nowhere unless the command says otherwise.
    ///
    /// # Panics
    /// Where it cannot be started.
    pub fn start(netns: &Netns, command: &mut Command) -> Self {
        let line = format!("{command:?}");
        let child = netns.spawn(command.stdin(Stdio::null())).unwrap_or_else(|error| panic!("{line}: {error}"));
        Self { child, line }
    }

    /// Whether it is still at work.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// Where that takes longer than `time_max`.
    pub fn wait(mut self, time_max: Duration) -> ExitStatus {
        let what = format!("the end of {}", self.line);
        eventually(&what, time_max, || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err("it runs on".into()),
            Err(error) => Err(error.to_string()),
        })
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
