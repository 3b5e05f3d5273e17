//! Names under which subscriptions can be resumed, over all shards.
//!
//! ```text
//!                  subscribes under a name            its socket breaks
//!   (nobody) ──────────────────────────► attached ──────────────────────► detached ──► (nobody), after `resume-window`
//!                                           ▲                                 │
//!                                           └──── another one subscribes ─────┘
//! ```
//!
//! A user and a name have at most one *holder*: the connection that subscribed last under them. What becomes of the
//! connections themselves is the shards' business (`shard/detach.rs`, `shard/succession.rs`).
//!
//! Invariant: the holder is replaced, marked or removed only by who knows that it still is the holder, so that of two shards
//! one does it.
//!
//! Cost: a lock and a lookup when a named connection first subscribes, and when it ends; nothing where `resume-window` is 0.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::{Duration, Instant};

use hashbrown::HashMap;

use crate::connection::resumption::Identity;
use crate::connection::state::ConnectionRef;
use crate::lock::{Level, Mutex};

/// Names whose messages were given up that are remembered, and for how long.
const EXPIRED_MAX: usize = 10_000;
const EXPIRED_TIME_MAX: Duration = Duration::from_secs(3600);

/// The connection that an identity belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) shard: usize,
    pub(crate) who: ConnectionRef,
    pub(crate) is_detached: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Resumables {
    inner: Mutex<Inner, { Level::Resumables as u8 }>,
    /// Connections that are detached. A number that stands for itself, as the next one.
    pub(crate) detached: AtomicUsize,
    /// Connections that have taken over the subscriptions of another one, since the start.
    pub(crate) resumed: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    holders: HashMap<Arc<Identity>, Holder>,
    expired: HashMap<Arc<Identity>, Expired>,
    /// The same identities, when that was, and its number, the oldest first. Who has come back since is still here.
    expired_order: VecDeque<(Instant, u64, Arc<Identity>)>,
    /// How many have been noted since the start.
    expired_count: u64,
}

/// Of detached connections that ended without a successor.
#[derive(Debug, Default)]
struct Expired {
    /// Messages that they held.
    messages: u64,
    /// The number of the last of them.
    last: u64,
}

impl Resumables {
    /// Who holds `identity`.
    pub(crate) fn holder(&self, identity: &Identity) -> Option<Holder> {
        self.inner.lock().holders.get(identity).copied()
    }

    /// Makes `new` the holder if that is `expected` still. False: it is not.
    pub(crate) fn claim(&self, identity: &Arc<Identity>, expected: Option<Holder>, new: Holder) -> bool {
        let mut inner = self.inner.lock();
        if inner.holders.get(&**identity).copied() != expected {
            return false;
        }
        inner.holders.insert(Arc::clone(identity), new);
        true
    }

    /// Marks the holder as detached. False: `who` is not the holder.
    pub(crate) fn detach(&self, identity: &Identity, who: ConnectionRef) -> bool {
        match self.inner.lock().holders.get_mut(identity) {
            Some(holder) if holder.who == who => {
                holder.is_detached = true;
                true
            }
            _ => false,
        }
    }

    /// `who` holds `identity` no longer.
    pub(crate) fn release(&self, identity: &Identity, who: ConnectionRef) {
        let mut inner = self.inner.lock();
        if inner.holders.get(identity).is_some_and(|holder| holder.who == who) {
            inner.holders.remove(identity);
        }
    }

    /// A detached connection has ended with so many messages that nobody has got.
    pub(crate) fn note_expired(&self, identity: &Arc<Identity>, messages: u64, now: Instant) {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        inner.expired_count += 1;
        let expired = inner.expired.entry(Arc::clone(identity)).or_default();
        (expired.messages, expired.last) = (expired.messages + messages, inner.expired_count);
        inner.expired_order.push_back((now, inner.expired_count, Arc::clone(identity)));
        while let Some((at, ..)) = inner.expired_order.front()
            && (inner.expired_order.len() > EXPIRED_MAX || now.duration_since(*at) > EXPIRED_TIME_MAX)
        {
            if let Some((_, number, oldest)) = inner.expired_order.pop_front()
                && inner.expired.get(&*oldest).is_some_and(|expired| expired.last == number)
            {
                inner.expired.remove(&*oldest);
            }
        }
    }

    /// The messages that were given up under `identity` since this was last asked.
    pub(crate) fn take_expired(&self, identity: &Identity) -> Option<u64> {
        self.inner.lock().expired.remove(identity).map(|expired| expired.messages)
    }

    /// Forgets what was given up: nobody is to be told.
    pub(crate) fn forget_expired(&self) {
        let mut inner = self.inner.lock();
        (inner.expired, inner.expired_order) = Default::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(name: &str) -> Arc<Identity> {
        Arc::new(Identity { user: (*b"default").into(), name: name.into() })
    }

    fn holder(slot: usize) -> Holder {
        Holder { shard: 0, who: ConnectionRef { slot, id: slot as u64 + 1 }, is_detached: false }
    }

    #[test]
    fn of_two_that_want_the_same_name_one_gets_it() {
        let (names, me) = (Resumables::default(), identity("a"));
        assert!(names.claim(&me, None, holder(1)) && !names.claim(&me, None, holder(2)));
        assert!(names.claim(&me, Some(holder(1)), holder(2)));
        assert!(!names.detach(&me, holder(1).who), "it holds the name no more");
        names.release(&me, holder(1).who);
        assert_eq!(names.holder(&me), Some(holder(2)));
        assert!(names.detach(&me, holder(2).who));
        assert!(!names.claim(&me, Some(holder(2)), holder(3)), "it is detached");
        names.release(&me, holder(2).who);
        assert_eq!(names.holder(&me), None);
    }

    #[test]
    fn what_was_given_up_is_told_once_and_the_oldest_are_forgotten() {
        let (names, now) = (Resumables::default(), Instant::now());
        names.note_expired(&identity("a"), 3, now);
        names.note_expired(&identity("a"), 4, now);
        assert_eq!((names.take_expired(&identity("a")), names.take_expired(&identity("a"))), (Some(7), None));
        for number in 0..=EXPIRED_MAX {
            names.note_expired(&identity(&number.to_string()), 1, now);
        }
        assert_eq!((names.take_expired(&identity("0")), names.take_expired(&identity("1"))), (None, Some(1)));
        names.note_expired(&identity("late"), 1, now + 2 * EXPIRED_TIME_MAX);
        assert_eq!(
            (names.take_expired(&identity("2")), names.take_expired(&identity("late"))),
            (None, Some(1))
        );
        names.note_expired(&identity("a"), 1, now);
        names.forget_expired();
        assert_eq!(names.take_expired(&identity("a")), None);
        // Who has come back meanwhile is not forgotten for what he was told then.
        names.note_expired(&identity("a"), 1, now);
        names.take_expired(&identity("a"));
        names.note_expired(&identity("a"), 2, now);
        (1..EXPIRED_MAX).for_each(|number| names.note_expired(&identity(&number.to_string()), 1, now));
        assert_eq!(names.take_expired(&identity("a")), Some(2));
        (0..EXPIRED_MAX).for_each(|number| names.note_expired(&identity(&number.to_string()), 1, now));
        assert_eq!(names.take_expired(&identity("a")), None);
    }
}
