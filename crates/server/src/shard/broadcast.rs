//! Broadcasting: every change under a prefix, to the clients that asked for the prefix, once a turn.
//!
//! ```text
//!   turn of shard 0:  SET user:1   DEL user:2   SET item:9   SET user:1
//!   batch, mailed to shards where somebody broadcasts:  item:9  user:1  user:2
//!   prefix `user:`, on each:  one message [user:1, user:2] to each of its clients
//! ```
//!
//! A batch is sorted, so that a prefix is a range of it, and a key that changed often is in it once. The message is made once for all
//! who are told the same: clients of one user, but for those that don't want to be told of their own changes and have made some.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use sterna_protocol::Proto;

use crate::acl::User;
use crate::connection::chunk::Range;
use crate::connection::client::ClientId;
use crate::shard::Shard;
use crate::tracking::beginnings_of;

use super::tell::{PUSH, What, list_of};
use crate::invalidation::{Invalidation, InvalidationBatch};

/// A shard's part in tracking.
#[derive(Debug, Default)]
pub(crate) struct Local {
    /// Prefix → slots of this shard's connections that broadcast it.
    prefixes: BTreeMap<Box<[u8]>, BTreeSet<usize>>,
    changed: InvalidationBatch,
    /// Bytes of the names in it.
    changed_bytes: usize,
    /// The command being executed is a read by a connection that tracks.
    pub(super) is_read: bool,
    /// Pushes for the connection being served.
    pub(super) own: Vec<Range>,
    /// How many readers of keys were told in this turn.
    pub(super) told: usize,
}

/// Keys of a batch that are told of together: some 1 ms, if each has a prefix of its own.
const BATCH_KEYS_MAX: usize = 512;

impl Local {
    pub(super) fn add(&mut self, prefix: &[u8], slot: usize) {
        self.prefixes.entry(prefix.into()).or_default().insert(slot);
    }

    pub(super) fn remove(&mut self, prefix: &[u8], slot: usize) {
        if let Some(slots) = self.prefixes.get_mut(prefix) {
            slots.remove(&slot);
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
        self.tracking.changed_bytes += bytes;
        for shard in self.server.tracking.broadcasting_shards() {
            if shard == self.index {
                self.credit.note_local(shard);
            } else {
                self.credit.note_outgoing(shard, bytes);
            }
        }
    }

    /// Bytes of what stands in the batch.
    pub(super) fn batch_bytes(&self) -> usize {
        self.tracking.changed_bytes
    }

    /// Called once a turn, when its replies stand in their queues, and in a script that changes very much.
    pub(crate) fn broadcast_changes(&mut self) {
        self.tracking.told = 0;
        if self.tracking.changed.is_empty() {
            return;
        }
        let mut rest = std::mem::take(&mut self.tracking.changed);
        self.tracking.changed_bytes = 0;
        let (server, mut is_first) = (Arc::clone(&self.server), true);
        while !rest.is_empty() {
            let next = rest.keys().nth(BATCH_KEYS_MAX).cloned();
            let behind = next.map(|key| rest.split_off(&*key)).unwrap_or_default();
            let batch = Arc::new(std::mem::replace(&mut rest, behind));
            for shard in server.tracking.broadcasting_shards() {
                // Of very many the others are told in slices, as those of other shards are.
                if shard == self.index && is_first {
                    self.tell_of_batch(&batch);
                } else {
                    self.post_news(shard, Invalidation::Batch(Arc::clone(&batch)));
                }
            }
            is_first = false;
        }
    }

    /// Tells this shard's connections of the keys under their prefixes.
    pub(super) fn tell_of_batch(&mut self, batch: &InvalidationBatch) {
        // Telling changes no prefix, so they can be put back as they were.
        let prefixes = std::mem::take(&mut self.tracking.prefixes);
        let concerned: BTreeMap<&[u8], &BTreeSet<usize>> =
            batch.keys().flat_map(|key| beginnings_of(key, &prefixes)).collect();
        for (prefix, slots) in concerned {
            let from = (Bound::Included(prefix), Bound::Unbounded);
            let matching = || batch.range::<[u8], _>(from).take_while(|(key, _)| key.starts_with(prefix));
            let changers: BTreeSet<ClientId> = matching().filter_map(|(_, by)| *by).collect();
            let mut of_users: HashMap<*const User, Told> = HashMap::new();
            for &slot in slots {
                let Some(connection) = self.connections.get(slot) else { continue };
                let id = connection.client.id;
                let is_spared = connection.tracking.as_ref().is_some_and(|mode| mode.no_loop);
                let known = || matching().filter(|(key, _)| connection.may_know(key));
                if is_spared && changers.contains(&id) {
                    let of_others = known().filter(|(_, by)| **by != Some(id));
                    if let Some(list) = list_of(of_others.map(|(key, _)| &key[..])) {
                        self.tell(slot, What::Keys(&list));
                    }
                    continue;
                }
                // All others of a user are told the same.
                let user = connection.user.as_ref().map_or(std::ptr::null(), Arc::as_ptr);
                let told = of_users
                    .entry(user)
                    .or_insert_with(|| Told { list: list_of(known().map(|(key, _)| &key[..])), frame: None });
                self.tell_alike(slot, told);
            }
        }
        self.tracking.prefixes = prefixes;
    }

    /// Tells one of many who are told the same.
    fn tell_alike(&mut self, slot: usize, told: &mut Told) {
        let (Some(list), Some(connection)) = (&told.list, self.connections.get_mut(slot)) else { return };
        let is_told_itself = connection.tracking.as_ref().is_some_and(|mode| mode.redirect.is_none());
        if !is_told_itself || connection.proto != Proto::Resp3 || connection.page.is_some() {
            return self.tell(slot, What::Keys(list));
        }
        let appender = &mut self.replies_to_others;
        let frame = told.frame.get_or_insert_with(|| {
            appender.append(PUSH.len() + list.len(), |buf| {
                buf.extend_from_slice(PUSH);
                buf.extend_from_slice(list);
            })
        });
        self.flusher.push_unasked(connection, frame.clone());
    }
}

/// What many are told: keys as a list, if there are any, and the message once it has been made.
struct Told {
    list: Option<Vec<u8>>,
    frame: Option<Range>,
}
