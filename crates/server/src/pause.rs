//! CLIENT PAUSE: until when, and what, all clients are held back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

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
    current: Mutex<Option<(PauseMode, u64)>, { Level::Pause as u8 }>,
}

impl Pause {
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Pauses until `end_ms`. A pause in force is never shortened or made weaker, as in Redis.
    pub(crate) fn start(&self, mode: PauseMode, end_ms: u64, now_ms: u64) {
        let mut current = self.current.lock();
        let kept = current.filter(|&(_, end)| end > now_ms);
        *current = Some(kept.map_or((mode, end_ms), |(old, end)| (old.max(mode), end.max(end_ms))));
        self.on.store(true, Ordering::Relaxed);
    }

    /// CLIENT UNPAUSE.
    pub(crate) fn stop(&self) {
        *self.current.lock() = None;
        self.on.store(false, Ordering::Relaxed);
    }

    /// Whether a command must wait now.
    pub(crate) fn holds_back(&self, is_write: bool, now_ms: u64) -> bool {
        let mut current = self.current.lock();
        match *current {
            Some((_, end_ms)) if end_ms <= now_ms => {
                *current = None;
                self.on.store(false, Ordering::Relaxed);
                false
            }
            Some((mode, _)) => mode == PauseMode::All || is_write,
            None => false,
        }
    }

    /// When it ends, on the monotonic clock.
    pub(crate) fn end(&self, clock: &Clock) -> Instant {
        let left_ms = self.current.lock().map_or(0, |(_, end_ms)| end_ms.saturating_sub(clock.now_ms));
        clock.instant + Duration::from_millis(left_ms)
    }

    /// What INFO says: the reason and the time left in milliseconds.
    pub(crate) fn describe(&self, now_ms: u64) -> Option<(PauseMode, u64)> {
        self.current
            .lock()
            .filter(|&(_, end_ms)| end_ms > now_ms)
            .map(|(mode, end_ms)| (mode, end_ms - now_ms))
    }
}
