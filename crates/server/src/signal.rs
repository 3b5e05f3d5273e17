//! Waking threads that wait for a moment: a script has ended, every shard has taken over a change.
//!
//! What they wait for is said by atomics elsewhere. Whoever changes one notifies afterwards, and locks for that: a thread that
//! has found it unchanged holds the lock until it sleeps, so no notification comes between.

use std::time::{Duration, Instant};

use crate::lock::{Condvar, Level, Mutex};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    lock: Mutex<(), { Level::Signal as u8 }>,
    condvar: Condvar,
}

impl Signal {
    /// Waits until `is_so`. The caller holds no lock; `is_so` takes none.
    pub(crate) fn wait_until(&self, is_so: impl Fn() -> bool) {
        let mut guard = self.lock.lock();
        while !is_so() {
            self.condvar.wait(&mut guard);
        }
    }

    /// The same for this time at most; the caller may hold locks.
    pub(crate) fn wait_within(&self, most: Duration, is_so: impl Fn() -> bool) {
        let until = Instant::now() + most;
        let mut guard = self.lock.lock();
        while !is_so()
            && let left = until.saturating_duration_since(Instant::now())
            && !left.is_zero()
        {
            self.condvar.wait_within(&mut guard, left);
        }
    }

    /// Has those who wait check their condition again.
    pub(crate) fn notify(&self) {
        drop(self.lock.lock());
        self.condvar.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    /// Were one notification missed, this would not end.
    #[test]
    fn whoever_waits_is_woken_by_every_change_however_they_meet() {
        let (signal, turn) = (Signal::default(), AtomicUsize::new(0));
        thread::scope(|scope| {
            for own in 0..3 {
                let (signal, turn) = (&signal, &turn);
                scope.spawn(move || {
                    for _ in 0..2_000 {
                        signal.wait_until(|| turn.load(Ordering::Acquire) % 3 == own);
                        turn.fetch_add(1, Ordering::AcqRel);
                        signal.notify();
                    }
                });
            }
        });
        assert_eq!(turn.into_inner(), 6_000);
    }
}
