//! What shards tell each other of keys that have changed, for the clients that hold copies.

use std::collections::BTreeMap;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::connection::client::ClientId;

/// Keys that changed in a turn, and who changed each last; `None`: it expired.
pub(crate) type InvalidationBatch = BTreeMap<Box<[u8]>, Option<ClientId>>;

/// News for the connections of another shard.
#[derive(Debug)]
pub(crate) enum Invalidation {
    /// A key that these have read has changed.
    Key { readers: SmallVec<[ClientId; 2]>, key: Arc<[u8]> },
    /// A key that the client has read was changed by a command of its own, which had waited.
    Own { client: ClientId, key: Arc<[u8]> },
    /// A database was emptied.
    Everything,
    /// Keys that have changed, for those that broadcast.
    Batch(Arc<InvalidationBatch>),
    /// What `from` is told, for `to`, which it redirects to: a list, or `None` for everything.
    Redirected { from: ClientId, to: ClientId, list: Option<Arc<[u8]>> },
}

impl Invalidation {
    /// Bytes that it holds.
    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            Invalidation::Key { readers, key } => key.len() + readers.len() * size_of::<ClientId>(),
            Invalidation::Own { key, .. } => key.len(),
            Invalidation::Everything => 0,
            Invalidation::Batch(batch) => batch.keys().map(|key| key.len() + size_of_val(key)).sum(),
            Invalidation::Redirected { list, .. } => list.as_ref().map_or(0, |list| list.len()),
        }
    }
}
