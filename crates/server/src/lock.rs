//! Locks that know their place in the order.
//!
//! Two threads that take the same two locks in different orders can wait for each other for ever. So there is one order,
//! [`Level`], from top to bottom: a thread that holds a lock takes only those further down. Every lock of this crate is a
//! [`Mutex`] or [`RwLock`] with its level in its type, and a debug build, which tests are, asserts the order at each
//! `lock`, `read` and `write`: an order that is broken fails at the first thread that breaks it, and needs no second
//! thread to come at the wrong moment.
//!
//! ```text
//!   held by this thread   (Change, 0) (Partition, 3) (Partition, 7)
//!                                                        └ the next must be greater: (Partition, 8) or a lower level
//! ```
//!
//! Locks of one level are never held together, but for those that are taken by a rising index (`lock_nth`: partitions), or
//! by the one thread that may wait for them in any order (`lock_among`: those of a script).
//! A read lock counts like any other: a reader that reads again waits for a writer that waits for it.
//!
//! The journal's own locks are below all of these: it calls nothing of this crate while it holds one.
//!
//! Cost: none in a release build; the level is part of the type.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

/// The order, topmost first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Level {
    /// What keeps a snapshot from counting while keys are read back, in a node of a cluster.
    Publication,
    /// The files of settings: one is written at a time.
    SettingsFiles,
    /// One change of the configuration or of the users at a time, from reading the old to the new one's taking effect.
    /// Above the partitions: a change tells them of new options, and a transaction takes it before them.
    Change,
    /// The Lua state, and whatever runs in it: a script locks the keys that it names.
    Scripts,
    /// The right to wait for a partition while holding others.
    Patience,
    /// A part of the keyspace, by index.
    Partition,
    /// What is left of serving those whom a write has woken.
    Unserved,
    /// Libraries of functions, as text.
    Libraries,
    /// Keys that have got a stream as a whole.
    Placed,
    /// The function that has run for too long.
    SlowFunction,
    /// Commands that wait to be run apart.
    Tasks,
    /// Keys that commands which are run apart are about to write.
    Reserved,
    /// Who waits for memory to be given back.
    Purges,
    /// Jobs about the journal's files: what runs, what is asked for.
    Jobs,
    /// What the journal's disk said last.
    DiskTrouble,
    /// Records on their way to the log of a cluster.
    LogQueue,
    /// Presence and cache channels, a stripe: from what is looked up to what is mailed.
    Rooms,
    /// Users of pages.
    SignedIn,
    /// Patterns of all shards.
    Patterns,
    /// Channels of all shards, a stripe.
    Channels,
    /// Prefixes that are broadcast to clients that track them.
    TrackedPrefixes,
    /// Where the search for readers that have left stands.
    TrackedSweep,
    /// Keys that clients have read, a stripe.
    TrackedReads,
    /// Addresses whose logins have failed.
    Logins,
    /// Names under which subscriptions can be resumed.
    Resumables,
    /// Users and their rules.
    Users,
    /// The configuration.
    Config,
    /// The addresses listened on.
    Listening,
    /// Certificates for new connections.
    Tls,
    /// What INFO says of the keyspace.
    KeyspaceFigures,
    /// What INFO says of the log of a cluster.
    LogFigures,
    /// Commands and bytes a second.
    Rates,
    /// SLOWLOG.
    SlowLog,
    /// LATENCY.
    Delays,
    /// ACL LOG.
    AclLog,
    /// Clients of a shard.
    Clients,
    /// Names of a client.
    ClientNames,
    /// CLIENT PAUSE.
    Pause,
    /// Error replies by their first word.
    ErrorCounts,
    /// The busiest channels and patterns of a shard.
    Busiest,
    /// Threads that wait for a moment.
    Signal,
    /// What a client inside the process has sent and is sent.
    Pipe,
}

impl Level {
    /// Every level, for their names.
    #[cfg(debug_assertions)]
    const ALL: [Level; 40] = [
        Level::Publication,
        Level::SettingsFiles,
        Level::Change,
        Level::Scripts,
        Level::Patience,
        Level::Partition,
        Level::Unserved,
        Level::Libraries,
        Level::SlowFunction,
        Level::Tasks,
        Level::Reserved,
        Level::Purges,
        Level::Jobs,
        Level::DiskTrouble,
        Level::LogQueue,
        Level::Rooms,
        Level::SignedIn,
        Level::Patterns,
        Level::Channels,
        Level::TrackedPrefixes,
        Level::TrackedSweep,
        Level::TrackedReads,
        Level::Logins,
        Level::Resumables,
        Level::Users,
        Level::Config,
        Level::Listening,
        Level::Tls,
        Level::KeyspaceFigures,
        Level::LogFigures,
        Level::Rates,
        Level::SlowLog,
        Level::Delays,
        Level::AclLog,
        Level::Clients,
        Level::ClientNames,
        Level::Pause,
        Level::ErrorCounts,
        Level::Busiest,
        Level::Signal,
    ];
}

/// A mutual exclusion at its level.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T, const LEVEL: u8>(parking_lot::Mutex<T>);

/// Many readers or one writer, at its level.
#[derive(Debug, Default)]
pub(crate) struct RwLock<T, const LEVEL: u8>(parking_lot::RwLock<T>);

/// A wait for what another thread does.
#[derive(Debug, Default)]
pub(crate) struct Condvar(parking_lot::Condvar);

/// A guard, and the note that this thread holds it.
#[derive(Debug)]
pub(crate) struct Guard<G> {
    // Unlocked before the note goes: fields are dropped in their order.
    guard: G,
    _note: held::Note,
}

pub(crate) type MutexGuard<'a, T> = Guard<parking_lot::MutexGuard<'a, T>>;
pub(crate) type RwLockReadGuard<'a, T> = Guard<parking_lot::RwLockReadGuard<'a, T>>;
pub(crate) type RwLockWriteGuard<'a, T> = Guard<parking_lot::RwLockWriteGuard<'a, T>>;

impl<T, const LEVEL: u8> Mutex<T, LEVEL> {
    pub(crate) const fn new(value: T) -> Self {
        Mutex(parking_lot::Mutex::new(value))
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.lock_nth(0)
    }

    /// Locks the one with this index among several of its level, which are taken in the order of their indices.
    #[inline]
    pub(crate) fn lock_nth(&self, index: usize) -> MutexGuard<'_, T> {
        let note = held::Note::take(LEVEL, index);
        Guard { guard: self.0.lock(), _note: note }
    }

    /// As [`Mutex::lock_nth`], whatever others of its level this thread holds. Of the threads that lock in this way only one
    /// may do so at a time, and nobody else may wait for a lock of this level while holding another one.
    #[inline]
    pub(crate) fn lock_among(&self, index: usize) -> MutexGuard<'_, T> {
        let note = held::Note::take_among(LEVEL, index);
        Guard { guard: self.0.lock(), _note: note }
    }

    /// As [`Mutex::lock`], if it takes no longer than this.
    pub(crate) fn lock_within(&self, most: Duration) -> Option<MutexGuard<'_, T>> {
        self.lock_nth_within(0, most)
    }

    /// As [`Mutex::lock_nth`], if it takes no longer than this.
    #[inline]
    pub(crate) fn lock_nth_within(&self, index: usize, most: Duration) -> Option<MutexGuard<'_, T>> {
        let note = held::Note::take(LEVEL, index);
        let guard = self.0.try_lock_for(most)?;
        Some(Guard { guard, _note: note })
    }

    /// Whether somebody holds it, as seen in passing.
    pub(crate) fn is_locked(&self) -> bool {
        self.0.is_locked()
    }

    /// As [`Mutex::lock_nth`], if nobody else holds it now.
    #[inline]
    pub(crate) fn try_lock_nth(&self, index: usize) -> Option<MutexGuard<'_, T>> {
        let guard = self.0.try_lock()?;
        Some(Guard { guard, _note: held::Note::take(LEVEL, index) })
    }
}

impl<T, const LEVEL: u8> RwLock<T, LEVEL> {
    pub(crate) const fn new(value: T) -> Self {
        RwLock(parking_lot::RwLock::new(value))
    }

    #[inline]
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        let note = held::Note::take(LEVEL, 0);
        Guard { guard: self.0.read(), _note: note }
    }

    #[inline]
    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
        let note = held::Note::take(LEVEL, 0);
        Guard { guard: self.0.write(), _note: note }
    }
}

impl Condvar {
    /// Unlocks, waits for a notification, locks again. The thread holds no other lock.
    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        held::assert_at_most(1);
        self.0.wait(&mut guard.guard);
    }

    /// The same for this time at most, which is short: whoever wants the other locks of this thread waits with it.
    pub(crate) fn wait_within<T>(&self, guard: &mut MutexGuard<'_, T>, most: Duration) {
        self.0.wait_for(&mut guard.guard, most);
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

impl<G: Deref> Deref for Guard<G> {
    type Target = G::Target;

    #[inline]
    fn deref(&self) -> &G::Target {
        &self.guard
    }
}

impl<G: DerefMut> DerefMut for Guard<G> {
    #[inline]
    fn deref_mut(&mut self) -> &mut G::Target {
        &mut self.guard
    }
}

/// Asserts, in a debug build, that this thread may wait for another one: it holds nothing that the other could need.
#[inline]
pub(crate) fn assert_nothing_held() {
    held::assert_at_most(0);
}

/// What this thread holds: known in debug builds only.
#[cfg(debug_assertions)]
mod held {
    use std::cell::RefCell;

    use super::Level;

    thread_local! {
        /// Level and index of each lock held; rising, because none is taken out of order.
        static HELD: RefCell<Vec<(u8, usize)>> = const { RefCell::new(Vec::new()) };
    }

    /// This thread holds one lock more while this lives.
    #[derive(Debug)]
    pub(super) struct Note((u8, usize));

    impl Note {
        pub(super) fn take(level: u8, index: usize) -> Note {
            HELD.with_borrow_mut(|held| {
                let place = (level, index);
                if let Some(&last) = held.last() {
                    assert!(
                        last < place,
                        "lock order: {} is taken while {} is held",
                        name(place),
                        name(last)
                    );
                }
                held.push(place);
            });
            Note((level, index))
        }

        pub(super) fn take_among(level: u8, index: usize) -> Note {
            HELD.with_borrow_mut(|held| {
                let place = (level, index);
                let at = held.partition_point(|&other| other < place);
                assert!(
                    held[at..].iter().all(|&(other, _)| other == level),
                    "lock order: {} is taken under a lower level",
                    name(place)
                );
                held.insert(at, place);
            });
            Note((level, index))
        }
    }

    impl Drop for Note {
        fn drop(&mut self) {
            HELD.with_borrow_mut(|held| held.retain(|&place| place != self.0));
        }
    }

    pub(super) fn assert_at_most(count: usize) {
        HELD.with_borrow(|held| {
            let names: Vec<String> = held.iter().map(|&place| name(place)).collect();
            assert!(names.len() <= count, "a thread waits for another while it holds {}", names.join(", "));
        });
    }

    fn name((level, index): (u8, usize)) -> String {
        let level = Level::ALL.iter().find(|&&known| known as u8 == level);
        level.map_or_else(|| format!("level {index}"), |level| format!("{level:?} {index}"))
    }
}

/// What this thread holds: not known in a release build.
#[cfg(not(debug_assertions))]
mod held {
    #[derive(Debug)]
    pub(super) struct Note;

    impl Note {
        #[inline(always)]
        pub(super) fn take(_level: u8, _index: usize) -> Note {
            Note
        }

        #[inline(always)]
        pub(super) fn take_among(_level: u8, _index: usize) -> Note {
            Note
        }
    }

    #[inline(always)]
    pub(super) fn assert_at_most(_count: usize) {}
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    type Upper = Mutex<u8, { Level::Change as u8 }>;
    type Middle = Mutex<u8, { Level::Partition as u8 }>;
    type Lower = RwLock<u8, { Level::Users as u8 }>;

    /// Whether `f` breaks the order.
    fn breaks(f: impl FnOnce() + std::panic::UnwindSafe) -> bool {
        std::panic::catch_unwind(f).is_err()
    }

    #[test]
    fn locks_are_taken_from_top_to_bottom_and_released_in_any_order() {
        let (upper, first, second, lower) =
            (Upper::default(), Middle::default(), Middle::default(), Lower::default());
        let (a, b, c, d) = (upper.lock(), first.lock_nth(3), second.lock_nth(7), lower.read());
        drop((b, a, d, c));
        let _lower = lower.write();
        drop(_lower);
        let _upper = upper.lock();
    }

    #[test]
    fn a_lock_taken_under_one_further_down_fails_at_once() {
        assert!(breaks(|| {
            let (upper, lower) = (Upper::default(), Lower::default());
            let _lower = lower.read();
            let _upper = upper.lock();
        }));
        assert!(breaks(|| {
            let lower = Lower::default();
            let _once = lower.read();
            let _twice = lower.read();
        }));
        assert!(breaks(|| {
            let (first, second) = (Middle::default(), Middle::default());
            let _second = second.lock_nth(7);
            let _first = first.lock_nth(3);
        }));
        // The guards that were dropped meanwhile are forgotten.
        assert_nothing_held();
    }

    #[test]
    fn who_waits_for_another_thread_holds_nothing_else() {
        assert!(breaks(|| {
            let upper = Upper::default();
            let _upper = upper.lock();
            assert_nothing_held();
        }));
    }
}
