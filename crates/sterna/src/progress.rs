//! A bar on the standard error, if somebody can see it.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// How far something is.
pub(crate) struct Progress {
    is_seen: bool,
    shown: Option<Instant>,
}

const BAR: usize = 40;
const BETWEEN_BARS: Duration = Duration::from_millis(100);

impl Progress {
    pub(crate) fn new() -> Progress {
        Progress { is_seen: std::io::stderr().is_terminal(), shown: None }
    }

    /// `done` of `total` in whichever unit, and how many keys that are.
    pub(crate) fn show(&mut self, done: u64, total: u64, keys: u64) {
        if !self.is_seen || self.shown.is_some_and(|shown| shown.elapsed() < BETWEEN_BARS) {
            return;
        }
        self.shown = Some(Instant::now());
        let share = (done as f64 / total.max(1) as f64).min(1.0);
        let filled = (share * BAR as f64) as usize;
        let bar = "█".repeat(filled) + &"░".repeat(BAR - filled);
        eprint!("\r{bar} {:3.0} %  {keys} keys", share * 100.0);
        // What can't be shown is not worth failing for.
        let _ = std::io::stderr().flush();
    }

    /// Removes the bar.
    pub(crate) fn end(&self) {
        if self.shown.is_some() {
            eprint!("\r{}\r", " ".repeat(BAR + 40));
        }
    }
}
