//! `maxmemory-clients`: above it the clients that hold most memory are closed, the largest first.
//!
//! Each shard keeps the sum of what its clients hold, as of the last look at each ([`Connection::publish_gauges`]), so
//! that asking whether all are within the limit is an addition a shard. When they are not, a shard looks at its own
//! clients anew and closes the largest of all as long as that is its own; if another shard has a larger one, it is woken
//! to do the same. So nobody is closed for a figure that isn't true any more.
//!
//! Source: what counts, who is spared (CLIENT NO-EVICT) and the lower bound are Redis's client eviction.
//!
//! [`Connection::publish_gauges`]: crate::connection::Connection::publish_gauges

use std::sync::Arc;
use std::time::Instant;

use crate::connection::CloseReason;
use crate::connection::client::{Client, mark};
use crate::limits::CLIENTS_BYTES_MIN;
use crate::log_limit::Cause;
use crate::shard::{CLOSING_TIME_MAX, Shard};

impl Shard {
    /// What all clients together may hold, if there is a limit.
    pub(super) fn clients_bytes_max(&self) -> Option<u64> {
        let bytes = self.config.maxmemory_clients.bytes(self.config.maxmemory);
        (bytes > 0).then(|| bytes.max(CLIENTS_BYTES_MIN))
    }

    /// Closes this shard's clients that are the largest of all while all hold too much. Called once a turn.
    pub(super) fn evict_clients(&mut self) {
        let Some(bytes_max) = self.clients_bytes_max() else { return };
        if self.server.client_bytes() <= bytes_max {
            return;
        }
        self.connections.iter().for_each(|(_, connection)| connection.publish_gauges());
        let mut clients = self.server.clients();
        clients.retain(|client| !client.has_mark(mark::NO_EVICT));
        clients.sort_by_cached_key(|client| std::cmp::Reverse(client.memory_bytes()));
        let began = Instant::now();
        for client in clients {
            if self.server.client_bytes() <= bytes_max {
                return;
            }
            if usize::from(client.shard) != self.index {
                return self.server.shards[usize::from(client.shard)].mailbox.wake();
            }
            self.evict(&client);
            if began.elapsed() > CLOSING_TIME_MAX {
                // Each may have waited for thousands of keys. The rest in the next turn, which comes at once.
                return self.handle().mailbox.wake();
            }
        }
    }

    fn evict(&mut self, client: &Arc<Client>) {
        let me = client.place();
        if self.connection_of(me).is_none() {
            return;
        }
        if self.server.log_limits.admits(Cause::Evicted, self.clock.now_ms) {
            let client = self.describe(me.slot);
            tracing::warn!(%client, "evicting a client: all clients together hold more than maxmemory-clients");
        }
        self.close(me.slot, CloseReason::Evicted);
    }
}
