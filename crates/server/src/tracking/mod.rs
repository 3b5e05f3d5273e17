//! Client-side caching: who has read which keys, and telling them when one has changed.
//!
//! ```text
//!   A: GET k ── remembers (k, A) ──► table ◄── takes (k, …) out ── B: SET k
//!                                                   │
//!   A ◄── push `invalidate [k]` ── A's shard ◄── mail ┘
//! ```
//!
//! A client tracks in one of two ways. By default the server remembers what it reads (`table.rs`). Broadcasting, it
//! remembers nothing and tells of every change under the client's prefixes, once a turn (`shard/broadcast.rs`). Either way
//! the message goes to the client itself (RESP3) or to the connection it is redirected to (`shard/tell.rs`).
//!
//! Why no invalidation is lost, whichever shards read and write:
//!
//! 1. A read is remembered *before* it runs.
//! 2. A write collects its keys if anybody tracks, and asks that with its partitions locked. If the reader locked them
//!    first, its tracking had begun and the writer sees so; if the writer did, the reader reads what was written.
//! 3. When its partitions are unlocked, the writer takes the readers of its keys out of the table and mails their
//!    shards. A reader that isn't there any more has been taken by another writer, and is told by that one.
//! 4. A shard reads its mail between requests: the reply to the read stands in the reader's output queue before the
//!    message that ends it.
//!
//! The price is that a read between a write and its third step may be told of a change that it has seen already. A
//! client then asks once more than it had to.
//!
//! Keys are the same in every database here, as they are in Redis.
//!
//! Cost while nobody tracks: a relaxed load for each command on keys, a null pointer looked at for each request.
//! Source: CLIENT TRACKING; the order of replies and pushes is Redis's.

pub(crate) mod table;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::connection::client::ClientId;
use crate::limits::TRACKED_READS_PER_SWEEP;
use crate::lock::{Level, Mutex, RwLock};
use table::{SweepAt, Table};

/// What all shards share.
#[derive(Debug)]
pub(crate) struct Tracking {
    pub(crate) table: Table,
    /// Prefixes that are broadcast, and how many clients ask for each.
    prefixes: RwLock<BTreeMap<Box<[u8]>, usize>, { Level::TrackedPrefixes as u8 }>,
    /// Where the search for readers that have left stands; `None`: none has left since the last round.
    sweep: Mutex<Option<SweepAt>, { Level::TrackedSweep as u8 }>,
    /// Clients have left since the round began.
    has_departed: AtomicBool,
    /// Clients that broadcast, by shard. Raised before CLIENT TRACKING is answered, read by each write that was collected.
    pub(crate) broadcasting: Box<[AtomicUsize]>,
}

impl Tracking {
    pub(crate) fn new(shards: usize) -> Tracking {
        Tracking {
            table: Table::default(),
            prefixes: RwLock::default(),
            sweep: Mutex::default(),
            has_departed: AtomicBool::new(false),
            broadcasting: std::iter::repeat_with(AtomicUsize::default).take(shards).collect(),
        }
    }

    /// Keys that somebody has read (INFO's `tracking_total_keys`).
    pub(crate) fn keys(&self) -> usize {
        self.table.keys()
    }

    /// Pairs of a key and a client that has read it (INFO's `tracking_total_items`).
    pub(crate) fn items(&self) -> usize {
        self.table.items()
    }

    /// Different prefixes that are broadcast (INFO's `tracking_total_prefixes`).
    pub(crate) fn prefixes(&self) -> usize {
        self.prefixes.read().len()
    }

    /// A client tracks no more. What is remembered of it is searched for and forgotten, a little in each tick.
    pub(crate) fn note_departure(&self) {
        self.has_departed.store(true, Ordering::Release);
    }

    /// Looks at some entries of the table and forgets readers that `is_there` doesn't know. Called once a tick.
    pub(crate) fn sweep(&self, is_there: impl Fn(ClientId, u16) -> bool) {
        let mut sweep = self.sweep.lock();
        if sweep.is_none() && !self.has_departed.swap(false, Ordering::AcqRel) {
            return;
        }
        let at = sweep.get_or_insert_default();
        if self.table.sweep(at, TRACKED_READS_PER_SWEEP, |reader| is_there(reader.client, reader.shard)) {
            *sweep = None;
        }
    }

    pub(crate) fn add_prefix(&self, prefix: &[u8]) {
        *self.prefixes.write().entry(prefix.into()).or_default() += 1;
    }

    pub(crate) fn remove_prefix(&self, prefix: &[u8]) {
        let mut prefixes = self.prefixes.write();
        if let Some(clients) = prefixes.get_mut(prefix) {
            *clients -= 1;
            if *clients == 0 {
                prefixes.remove(prefix);
            }
        }
    }

    /// Whether somebody asks to be told of every change of this key.
    pub(crate) fn is_broadcast(&self, key: &[u8]) -> bool {
        self.broadcasting_shards().next().is_some()
            && beginnings_of(key, &self.prefixes.read()).next().is_some()
    }

    /// Shards with clients that broadcast.
    pub(crate) fn broadcasting_shards(&self) -> impl Iterator<Item = usize> {
        let has_any = |clients: &AtomicUsize| clients.load(Ordering::Acquire) > 0;
        self.broadcasting
            .iter()
            .enumerate()
            .filter(move |(_, clients)| has_any(clients))
            .map(|(shard, _)| shard)
    }
}

/// The prefixes that `key` begins with, the longest first.
///
/// The last prefix at or before `key` in order is one of them, or shares with `key` a beginning that all of them lie in;
/// so each step is one lookup. Cost: O(log N) a step, N prefixes, and seldom more steps than answers.
pub(crate) fn beginnings_of<'a, V>(
    key: &'a [u8],
    prefixes: &'a BTreeMap<Box<[u8]>, V>,
) -> impl Iterator<Item = (&'a [u8], &'a V)> {
    let mut left = Some(key);
    std::iter::from_fn(move || {
        while let Some(beginning) = left {
            let up_to = (Bound::Unbounded, Bound::Included(beginning));
            let (prefix, value) = prefixes.range::<[u8], _>(up_to).next_back()?;
            if beginning.starts_with(prefix) {
                left = prefix.len().checked_sub(1).map(|len| &key[..len]);
                return Some((&**prefix, value));
            }
            let shared = prefix.iter().zip(beginning).take_while(|(one, other)| one == other).count();
            left = Some(&key[..shared]);
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_beginnings_of_a_key_are_those_that_a_comparison_with_every_prefix_finds(
            prefixes in prop::collection::btree_set("[abc]{0,4}", 0..20),
            key in "[abc]{0,6}",
        ) {
            let map: BTreeMap<Box<[u8]>, ()> = prefixes.iter().map(|p| (p.as_bytes().into(), ())).collect();
            let found: Vec<&[u8]> = beginnings_of(key.as_bytes(), &map).map(|(prefix, ())| prefix).collect();
            let mut expected: Vec<&[u8]> =
                prefixes.iter().filter(|p| key.starts_with(p.as_str())).map(|p| p.as_bytes()).collect();
            expected.sort_by_key(|prefix| std::cmp::Reverse(prefix.len()));
            prop_assert_eq!(found, expected);
        }
    }
}
