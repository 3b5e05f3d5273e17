//! The server's clock: read once a turn and once a command, and handed down from there.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::ticks::Stopwatch;

/// The time at the start of a turn, and after each of its commands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    /// Unix time, milliseconds.
    pub(crate) now_ms: u64,
    /// Monotonic.
    pub(crate) instant: Instant,
    stopwatch: Stopwatch,
}

impl Clock {
    pub(crate) fn now() -> Clock {
        let mut stopwatch = Stopwatch::default();
        Clock { now_ms: unix_ms(), instant: stopwatch.start(), stopwatch }
    }

    /// Asks the system for both.
    pub(crate) fn tick(&mut self) {
        self.now_ms = unix_ms();
        self.instant = self.stopwatch.start();
    }

    /// It is later by now.
    pub(crate) fn advance(&mut self) {
        self.advance_from(self.instant);
    }

    /// It is later by now. Returns how long it has been since it was asked last.
    #[inline]
    pub(crate) fn lap(&mut self) -> Duration {
        let Some(lap) = self.stopwatch.lap() else { return self.advance_from(self.instant) };
        self.instant += lap;
        lap
    }

    /// It is later by now. Returns how long it has been since `began`, mostly the last time that this was asked.
    #[inline]
    pub(crate) fn advance_from(&mut self, began: Instant) -> Duration {
        let is_last = self.instant == began;
        match self.stopwatch.lap() {
            Some(lap) => {
                self.instant += lap;
                if is_last {
                    return lap;
                }
            }
            None => self.instant = Instant::now(),
        }
        self.instant.saturating_duration_since(began)
    }

    /// What comes next began then.
    pub(crate) fn set_back(&mut self, instant: Instant) {
        self.instant = instant;
        self.stopwatch.stop();
    }
}

/// Unix time in microseconds (TIME).
pub(crate) fn unix_us() -> u64 {
    since_epoch().as_micros() as u64
}

/// Unix time in milliseconds.
pub(crate) fn unix_ms() -> u64 {
    since_epoch().as_millis() as u64
}

fn since_epoch() -> Duration {
    // A clock before 1970 counts as 1970: nothing here has a meaning before.
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
