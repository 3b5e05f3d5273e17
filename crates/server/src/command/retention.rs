//! Channels that remember (`retain`): a message to one of them is kept in a stream before it is handed out.
//!
//! 0. A PUBLISH by itself waits until what other shards have mailed is handed out, so that step 3 finds little.
//! 1. The partition of the stream is locked: by PUBLISH itself, by EXEC, or by the script that publishes.
//! 2. The message is appended, as by XADD. Its ID is the message's position; if it fails, nobody is sent anything.
//! 3. What other shards have mailed so far is handed out here. All earlier messages of the channel are among it, since they
//!    were mailed under the same lock.
//! 4. The message is handed out here, or joins the run of those before it, and is mailed to the other shards. If step 3 would take longer
//!    than a moment, it is mailed to this shard as well, behind what stands there (`shard/later.rs`).
//! 5. The partition is unlocked.
//!
//! So every shard hands out a channel's messages in the order of their IDs, and a message that somebody was sent is in the
//! stream. A run of one connection's messages goes on over several locks: what others have published meanwhile is in the mail, and
//! step 3 ends the run before it hands that out. So does whoever goes live here. Other shards are woken when the turn ends, as for
//! any message; who looks before finds what is in the mail. Cost: an XADD and a PUBLISH.
//!
//! A message that takes long to copy, or whose patterns take long to find, is prepared in slices before step 1 (`shard/long.rs`, `wide.rs`).

use std::sync::Arc;

use sterna_command::Flags;
use sterna_keyspace::Retention;
use sterna_keyspace::stream::EntryId;
use sterna_protocol::Args;

use super::Failure;
use super::table::Row;
use crate::limits::REMEMBERED_BYTES_MAX;
use crate::partitions::{Held, Indices, Scene};
use crate::shard::Shard;

/// Whether a message is so short that it can be remembered.
pub(super) fn check_length(payload: &[u8]) -> Result<(), Failure> {
    if payload.len() <= REMEMBERED_BYTES_MAX {
        return Ok(());
    }
    Err(Failure::text(format!(
        "ERR the message is too long: a channel that remembers takes at most {REMEMBERED_BYTES_MAX} bytes"
    )))
}

impl Shard {
    /// Whether what this request publishes is kept: its channel remembers.
    #[inline]
    pub(super) fn is_retained(&self, row: &Row, args: Args<'_>) -> bool {
        row.has(Flags::RETAINS)
            && !self.config.retain.0.is_empty()
            && args.get(1).is_some_and(|channel| self.config.retention_of(channel).is_some())
    }

    /// The key under which it is kept, if it is.
    #[inline]
    pub(crate) fn retained(&self, row: &Row, args: Args<'_>) -> Option<Vec<u8>> {
        // Where no channel remembers, that is one look.
        if self.config.retain.0.is_empty() { None } else { self.key_if_retained(row, args) }
    }

    fn key_if_retained(&self, row: &Row, args: Args<'_>) -> Option<Vec<u8>> {
        let channel = args.get(1)?;
        self.is_retained(row, args).then(|| self.config.retained_key(channel))
    }

    /// PUBLISH to a channel that remembers; how many deliveries it caused.
    pub(super) fn publish_and_keep(
        &mut self,
        slot: usize,
        key: &[u8],
        args: Args<'_>,
    ) -> Result<usize, Failure> {
        let server = Arc::clone(&self.server);
        let partitions = &server.partitions;
        let mut needed = Indices::default();
        needed.insert(partitions.index_of(key));
        let mut held = partitions.hold_for(needed, || std::iter::once(key));
        if held.is_busy() {
            return Err(self.keys_taken());
        }
        let published = self.keep_and_publish(slot, &mut held, key, args);
        self.mail_outbox_quietly();
        held.serve_ready(self.clock.now_ms, &mut self.changes);
        self.remember_served();
        drop(held);
        self.spread_changes();
        published
    }

    /// The same with the partition of `key` locked. The caller hands the effects on.
    pub(super) fn publish_in(
        &mut self,
        slot: usize,
        held: &mut Held<'_>,
        key: &[u8],
        args: Args<'_>,
    ) -> Result<usize, Failure> {
        let published = self.keep_and_publish(slot, held, key, args);
        if published.is_err() {
            self.forget_found();
        }
        self.end_run();
        self.mail_outbox();
        published
    }

    /// Steps 2 to 4, but for the mail.
    fn keep_and_publish(
        &mut self,
        slot: usize,
        held: &mut Held<'_>,
        key: &[u8],
        args: Args<'_>,
    ) -> Result<usize, Failure> {
        let (channel, payload) = (args.get(1).unwrap_or_default(), args.get(2).unwrap_or_default());
        check_length(payload)?;
        let id = self.remember(slot, held, key, channel, payload)?;
        Ok(self.publish_remembered(channel, payload, id))
    }

    /// Appends a message to the channel's stream, and removes what its rule lets go. Answers the entry's ID.
    fn remember(
        &mut self,
        slot: usize,
        held: &mut Held<'_>,
        key: &[u8],
        channel: &[u8],
        payload: &[u8],
    ) -> Result<Option<EntryId>, Failure> {
        let config = Arc::clone(&self.config);
        let Some(rule) = config.retention_of(channel) else { return Ok(None) };
        let retention =
            Retention { maxlen: rule.maxlen, max_age_ms: rule.maxage_s.unwrap_or(0).saturating_mul(1000) };
        let scene = Scene { db: 0, ..self.scene_of(slot, false) };
        Ok(Some(held.remember(key, payload, retention, scene, &mut self.changes)?))
    }
}
