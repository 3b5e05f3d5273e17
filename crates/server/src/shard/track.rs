//! How a connection tracks: what CLIENT TRACKING asked for.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use crate::connection::client::mark;
use crate::connection::tracking::{Mode, Reads};
use crate::shard::Shard;

/// Prefixes that are taken away at once: some 0.1 ms.
pub(super) const PART_PREFIXES: usize = 256;

impl Shard {
    /// Has the connection track from now on, or in another mode. Prefixes are added to those it had.
    pub(crate) fn track(&mut self, slot: usize, mut mode: Mode) {
        self.track_elsewhere(slot, &mode);
        let old = self.connections[slot].tracking.take();
        if old.is_none() {
            self.server.partitions.add_tracker();
        }
        if let Reads::Broadcast(prefixes) = &mut mode.reads {
            let mut all = match old.map(|old| old.reads) {
                Some(Reads::Broadcast(had)) => had,
                _ => {
                    self.server.tracking.broadcasting[self.index].fetch_add(1, Ordering::AcqRel);
                    BTreeSet::new()
                }
            };
            for prefix in std::mem::take(prefixes) {
                if !all.contains(&prefix) {
                    self.tracking.add(&prefix, slot);
                    self.server.tracking.add_prefix(&prefix);
                    all.insert(prefix);
                }
            }
            *prefixes = all;
        }
        mode.prefix_bytes = mode.reads.prefix_bytes();
        let connection = &mut self.connections[slot];
        let client = &connection.client;
        client.set_mark(mark::TRACKING, true);
        client.set_mark(mark::TRACKING_BROKEN, false);
        client.set_mark(mark::TRACKING_BROADCAST, mode.is_broadcast());
        client.redirect.store(mode.redirect.unwrap_or(0) as i64, Ordering::Relaxed);
        connection.tracking = Some(Box::new(mode));
    }

    /// Takes some of the connection's prefixes away, [`PART_PREFIXES`] of them or all that are left.
    pub(super) fn forget_some_prefixes(&mut self, slot: usize) {
        let Some(mode) = &mut self.connections[slot].tracking else { return };
        let Reads::Broadcast(prefixes) = &mut mode.reads else { return };
        for prefix in std::iter::from_fn(|| prefixes.pop_first()).take(PART_PREFIXES) {
            self.tracking.remove(&prefix, slot);
            self.server.tracking.remove_prefix(&prefix);
        }
    }

    /// Has the connection track no more. What the table remembers of it goes when the keys change, or
    /// with a sweep.
    pub(crate) fn untrack(&mut self, slot: usize) {
        let Some(mode) = self.connections[slot].tracking.take() else { return };
        self.untrack_elsewhere(slot);
        let connection = &self.connections[slot];
        let client = &connection.client;
        client.set_mark(mark::TRACKING | mark::TRACKING_BROKEN | mark::TRACKING_BROADCAST, false);
        client.redirect.store(-1, Ordering::Relaxed);
        if let Reads::Broadcast(prefixes) = &mode.reads {
            for prefix in prefixes {
                self.tracking.remove(prefix, slot);
                self.server.tracking.remove_prefix(prefix);
            }
            self.server.tracking.broadcasting[self.index].fetch_sub(1, Ordering::AcqRel);
        }
        self.server.partitions.remove_tracker();
        self.server.tracking.note_departure();
    }
}
