//! Serving those whom a write of this shard has woken and who were too many for one go: a slice a turn, see `partitions/unserved.rs`.

use std::sync::Arc;

use sterna_keyspace::WhoIsServed;

use crate::shard::Shard;

impl Shard {
    /// Whether there is something to do for [`Shard::serve_unserved`].
    pub(super) fn has_unserved(&self) -> bool {
        self.serves_rest && self.unfollowed.is_empty() && !self.server.partitions.is_busy()
    }

    /// A slice of what is left to serve.
    pub(super) fn serve_unserved(&mut self) {
        // What it publishes waits for shards that are behind.
        if !self.has_unserved() || self.credit.behind() != 0 {
            return;
        }
        let server = Arc::clone(&self.server);
        let Some(mut held) = server.partitions.hold_unserved(self.index) else {
            self.serves_rest = false;
            // A script may have served the last: who waits for the keys has not been told.
            server.notify_shards();
            return;
        };
        if held.is_empty() || server.partitions.is_busy() {
            // A script that has named them serves all who are left.
            return;
        }
        let leads = held.first_index().is_some_and(|index| self.goes_on_leading(index));
        let whom = if leads { WhoIsServed::All } else { WhoIsServed::Readers };
        let is_over = held.serve_some(whom, &mut self.changes);
        self.remember_served();
        drop(held);
        self.spread_changes();
        if is_over {
            server.notify_shards();
        }
    }
}
