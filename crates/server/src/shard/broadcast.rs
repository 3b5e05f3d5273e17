//! Broadcasting: every change under a prefix, to the clients that asked for the prefix, once a turn.
//!
//! ```text
//!   turn of shard 0:  SET user:1   DEL user:2   SET item:9   SET user:1
//!   batch, mailed to shards where somebody broadcasts:  item:9  user:1  user:2
//!   prefix `user:`, on each:  one message [user:1, user:2] to each of its clients
//! ```
//!
//! A batch is sorted, so that a prefix is a range of it, and a key that changed often is in it once.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use crate::connection::chunk::Range;
use crate::connection::client::ClientId;
use crate::mailbox::Mail;
use crate::shard::Shard;
use crate::tracking::beginnings_of;

use super::tell::{What, list_of};
use crate::invalidation::{Batch, Invalidation};

/// A shard's part in tracking.
#[derive(Debug, Default)]
pub(crate) struct Local {
    /// Prefix → slots of this shard's connections that broadcast it.
    prefixes: BTreeMap<Box<[u8]>, Vec<usize>>,
    changed: Batch,
    /// The command being executed is a read by a connection that tracks.
    pub(super) is_read: bool,
    /// Pushes for the connection being served.
    pub(super) own: Vec<Range>,
}

impl Local {
    pub(super) fn add(&mut self, prefix: &[u8], slot: usize) {
        self.prefixes.entry(prefix.into()).or_default().push(slot);
    }

    pub(super) fn remove(&mut self, prefix: &[u8], slot: usize) {
        if let Some(slots) = self.prefixes.get_mut(prefix) {
            slots.retain(|&other| other != slot);
            if slots.is_empty() {
                self.prefixes.remove(prefix);
            }
        }
    }
}

impl Shard {
    /// Notes a change for the turn's batch, if anybody broadcasts it.
    ///
    /// The batch is mailed at the end of the turn, when no request is left that could wait for room in the mail: so what it
    /// will take is counted here, for the request that made the change.
    pub(super) fn note_for_broadcast(&mut self, key: &[u8], by: Option<ClientId>) {
        if !self.server.tracking.is_broadcast(key) {
            return;
        }
        let is_new = self.tracking.changed.insert(key.into(), by).is_none();
        let bytes = if is_new { key.len() + size_of::<Box<[u8]>>() } else { 0 };
        for shard in self.server.tracking.broadcasting_shards() {
            if shard == self.index {
                self.credit.note_local(shard);
            } else {
                self.credit.note_outgoing(shard, bytes);
            }
        }
    }

    /// Called once a turn, when its replies stand in their queues.
    pub(crate) fn broadcast_changes(&mut self) {
        if self.tracking.changed.is_empty() {
            return;
        }
        let batch = Arc::new(std::mem::take(&mut self.tracking.changed));
        let server = Arc::clone(&self.server);
        for shard in server.tracking.broadcasting_shards() {
            if shard == self.index {
                self.tell_of_batch(&batch);
            } else {
                self.post(shard, Mail::Invalidate(Invalidation::Batch(Arc::clone(&batch))));
            }
        }
    }

    /// Tells this shard's connections of the keys under their prefixes.
    pub(super) fn tell_of_batch(&mut self, batch: &Batch) {
        // Telling changes no prefix, so they can be put back as they were.
        let prefixes = std::mem::take(&mut self.tracking.prefixes);
        let concerned: BTreeMap<&[u8], &Vec<usize>> =
            batch.keys().flat_map(|key| beginnings_of(key, &prefixes)).collect();
        for (prefix, slots) in concerned {
            let from = (Bound::Included(prefix), Bound::Unbounded);
            let matching = || batch.range::<[u8], _>(from).take_while(|(key, _)| key.starts_with(prefix));
            let everything = list_of(matching().map(|(key, _)| &key[..]));
            for &slot in slots {
                let Some(connection) = self.connections.get(slot) else { continue };
                let own = connection
                    .tracking
                    .as_ref()
                    .is_some_and(|mode| mode.no_loop)
                    .then_some(connection.client.id);
                let is_told = |key: &[u8], by: &Option<ClientId>| {
                    (own.is_none() || *by != own) && connection.may_know(key)
                };
                let some;
                let list = if matching().any(|(key, by)| !is_told(key, by)) {
                    some = list_of(matching().filter(|(key, by)| is_told(key, by)).map(|(key, _)| &key[..]));
                    &some
                } else {
                    &everything
                };
                if let Some(list) = list {
                    self.tell(slot, What::Keys(list));
                }
            }
        }
        self.tracking.prefixes = prefixes;
    }
}
