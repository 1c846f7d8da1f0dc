//! Live progress on stderr: a bar at a terminal, a few lines elsewhere.

use std::io::{IsTerminal, stderr};

use indicatif::{ProgressBar, ProgressStyle};

use crate::talk::say;

/// How many lines stand for the bar where there is no terminal.
const LINES: usize = 4;

/// Counts requests for whoever watches.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    total: usize,
    done: usize,
    failed: usize,
}

impl Progress {
    /// Begins with none of `total` done.
    pub(crate) fn new(total: usize) -> Self {
        let bar = stderr().is_terminal().then(|| ProgressBar::new(total as u64));
        if let (Some(bar), Ok(style)) =
            (&bar, ProgressStyle::with_template("{bar:40} {pos}/{len} requests, last answer from {msg}"))
        {
            bar.set_style(style);
        }
        Self { bar, total, done: 0, failed: 0 }
    }

    /// One more is done: who answered it, if anybody did.
    pub(crate) fn step(&mut self, answered_by: Option<&str>) {
        let before = self.done * LINES / self.total.max(1);
        self.done += 1;
        self.failed += usize::from(answered_by.is_none());
        match &self.bar {
            Some(bar) => {
                bar.set_message(answered_by.unwrap_or("nobody").to_owned());
                bar.inc(1);
            }
            None if self.done * LINES / self.total.max(1) > before => {
                say(format_args!("  {}/{} requests, {} failed", self.done, self.total, self.failed));
            }
            None => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
