//! Those whom a write has woken and who were too many to be served at once: the rest is served in slices.
//!
//! 1. A write finds that more are left than it may serve ([`serve_ready`](sterna_keyspace::serve_ready)). With its partitions still
//!    locked it *takes* those of the keys whose waiters are left, and of whatever these write to, and leaves the rest here.
//! 2. Whoever would run a command on a partition that is taken finds that out when it has locked it, and waits, as for a
//!    transaction that goes on in slices ([`Error::Busy`](sterna_keyspace::Error::Busy)). All other keys are free.
//! 3. The shard that wrote locks the partitions each turn, serves some more, and hands on what that did.
//! 4. A script that comes to a partition that is taken can't wait, since it holds others: it serves the rest first
//!    ([`Held::settle`](super::Held::settle)).
//! 5. Whom a transaction has woken that changes rights, too, is served when all shards have followed the change, and all who have lost
//!    the right to what they wait for are out of the queues: a rest may be one that only the shard of the transaction serves.
//!
//! So nobody sees a key between the write and the last who is answered. In the journal each slice is a record of its own: a
//! client that is not answered when the server is killed has taken nothing.
//!
//! Invariants
//! - A partition is taken by one rest at most. Who takes a rest out of the list, or puts one there, has all its partitions locked.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use sterna_keyspace::Unserved;

use super::Indices;
use crate::lock::{Level, Mutex};

/// What is left to serve. See the module.
#[derive(Debug, Default)]
pub(super) struct Rests {
    rests: Mutex<Vec<Rest>, { Level::Unserved as u8 }>,
    /// How many there are. Changed and looked at with partitions locked: they are the pair.
    count: AtomicUsize,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Rest {
    pub(super) taken: Indices,
    pub(super) unserved: Box<Unserved>,
    /// Which shard alone serves it, when it is time to: the write has changed rights, too.
    pub(super) shard: Option<usize>,
}

impl Rests {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.count.load(Relaxed) == 0
    }

    /// Whether any of these is taken. They are locked.
    #[inline]
    pub(super) fn takes(&self, mut indices: impl Iterator<Item = usize>) -> bool {
        !self.is_empty() && indices.any(|index| self.partitions_of(index).is_some())
    }

    /// The partitions that are taken together with this one, if it is.
    #[cold]
    pub(super) fn partitions_of(&self, index: usize) -> Option<Indices> {
        self.rests.lock().iter().map(|rest| rest.taken).find(|taken| taken.has(index))
    }

    /// The partitions of the one that this shard serves next.
    pub(super) fn first(&self, shard: usize) -> Option<Indices> {
        if self.is_empty() {
            return None;
        }
        let rests = self.rests.lock();
        rests.iter().find(|rest| rest.shard.is_none_or(|own| own == shard)).map(|rest| rest.taken)
    }

    /// Takes out the rest that has taken the partition of this index.
    pub(super) fn remove(&self, index: usize) -> Option<Rest> {
        let mut rests = self.rests.lock();
        let at = rests.iter().position(|rest| rest.taken.has(index))?;
        self.count.fetch_sub(1, Relaxed);
        Some(rests.remove(at))
    }

    /// Adds one behind the others, which come before its next slice.
    pub(super) fn add(&self, rest: Rest) {
        self.rests.lock().push(rest);
        self.count.fetch_add(1, Relaxed);
    }
}
