//! The server's clock: read once a turn and once a command, and handed down from there.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The time at the start of a turn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    /// Unix time, milliseconds.
    pub(crate) now_ms: u64,
    /// Monotonic.
    pub(crate) instant: Instant,
}

impl Clock {
    pub(crate) fn now() -> Clock {
        Clock { now_ms: unix_ms(), instant: Instant::now() }
    }

    pub(crate) fn tick(&mut self) {
        *self = Clock::now();
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
