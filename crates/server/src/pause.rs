//! CLIENT PAUSE: until when, and what, all clients are held back. It lasts as long as it was to last, whatever is done to the
//! system's clock meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::lock::{Level, Mutex};
use crate::time::Clock;

/// What a pause holds back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PauseMode {
    /// Commands that write or publish.
    Write,
    /// Every command.
    All,
}

/// The pause of this server.
#[derive(Debug, Default)]
pub(crate) struct Pause {
    /// Whether a pause may be in force: read with every command, and cleared when one is found to have ended.
    on: AtomicBool,
    current: Mutex<Option<(PauseMode, Instant)>, { Level::Pause as u8 }>,
}

impl Pause {
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Pauses until `end`. A pause in force is never shortened or made weaker, as in Redis.
    pub(crate) fn start(&self, mode: PauseMode, end: Instant, now: Instant) {
        let mut current = self.current.lock();
        let kept = current.filter(|&(_, old)| old > now);
        *current = Some(kept.map_or((mode, end), |(old_mode, old)| (old_mode.max(mode), old.max(end))));
        self.on.store(true, Ordering::Relaxed);
    }

    /// CLIENT UNPAUSE.
    pub(crate) fn stop(&self) {
        *self.current.lock() = None;
        self.on.store(false, Ordering::Relaxed);
    }

    /// Whether a command must wait now.
    pub(crate) fn holds_back(&self, is_write: bool, now: Instant) -> bool {
        let mut current = self.current.lock();
        match *current {
            Some((_, end)) if end <= now => {
                *current = None;
                self.on.store(false, Ordering::Relaxed);
                false
            }
            Some((mode, _)) => mode == PauseMode::All || is_write,
            None => false,
        }
    }

    /// When it ends.
    pub(crate) fn end(&self, clock: &Clock) -> Instant {
        self.current.lock().map_or(clock.instant, |(_, end)| end)
    }

    /// What INFO says: the reason and the time left in milliseconds.
    pub(crate) fn describe(&self, now: Instant) -> Option<(PauseMode, u64)> {
        let (mode, end) = self.current.lock().filter(|&(_, end)| end > now)?;
        Some((mode, u64::try_from((end - now).as_millis()).unwrap_or(u64::MAX)))
    }
}
