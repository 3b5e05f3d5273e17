//! Client-side caching: who has read which keys, and telling them when one has changed.
//!
//! ```text
//!   A: GET k ── remembers (k, A) ──► table ◄── takes (k, …) out ── B: SET k
//!                                                   │
//!   A ◄── push `invalidate [k]` ── A's shard ◄── mail ┘
//! ```
//!
//! A client tracks in one of two ways. By default the server remembers what it reads (`table.rs`). Broadcasting, it
//! remembers nothing and tells of every change under the client's prefixes, once a turn (`broadcast.rs`). Either way
//! the message goes to the client itself (RESP3) or to the connection it is redirected to (`tell.rs`).
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

mod broadcast;
mod mode;
mod table;
mod tell;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::lock::{Level, RwLock};
pub(crate) use broadcast::{Batch, Local};
pub(crate) use mode::{Mode, Reads};
use table::Table;
pub(crate) use tell::Invalidation;

/// What all shards share.
#[derive(Debug)]
pub(crate) struct Tracking {
    table: Table,
    /// Prefixes that are broadcast, and how many clients ask for each.
    prefixes: RwLock<BTreeMap<Box<[u8]>, usize>, { Level::TrackedPrefixes as u8 }>,
    /// Clients that broadcast, by shard. Raised before CLIENT TRACKING is answered, read by each write that was collected.
    broadcasting: Box<[AtomicUsize]>,
}

impl Tracking {
    pub(crate) fn new(shards: usize) -> Tracking {
        Tracking {
            table: Table::default(),
            prefixes: RwLock::default(),
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

    fn add_prefix(&self, prefix: &[u8]) {
        *self.prefixes.write().entry(prefix.into()).or_default() += 1;
    }

    fn remove_prefix(&self, prefix: &[u8]) {
        let mut prefixes = self.prefixes.write();
        if let Some(clients) = prefixes.get_mut(prefix) {
            *clients -= 1;
            if *clients == 0 {
                prefixes.remove(prefix);
            }
        }
    }

    /// Whether somebody asks to be told of every change of this key.
    fn is_broadcast(&self, key: &[u8]) -> bool {
        self.broadcasting_shards().next().is_some()
            && self.prefixes.read().keys().any(|prefix| key.starts_with(prefix))
    }

    /// Shards with clients that broadcast.
    fn broadcasting_shards(&self) -> impl Iterator<Item = usize> {
        let has_any = |clients: &AtomicUsize| clients.load(Ordering::Acquire) > 0;
        self.broadcasting
            .iter()
            .enumerate()
            .filter(move |(_, clients)| has_any(clients))
            .map(|(shard, _)| shard)
    }
}
