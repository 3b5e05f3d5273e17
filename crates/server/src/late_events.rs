//! Keyspace events of a write that are published later than with it: very many, in slices (`command/notify.rs`), and those of whatever
//! the shard writes before these are out, so that all come in the order of the writes.
//!
//! They stand in the mail of their own shard. Meanwhile it is behind itself (`shard/credit.rs`): whoever writes what is told of waits.

use sterna_keyspace::Events;

/// See the module.
#[derive(Debug)]
pub(crate) struct LateEvents {
    pub(crate) events: Events,
    /// How many bytes of the names that the first is about have been told of, each by itself.
    pub(crate) told: usize,
}

impl LateEvents {
    pub(crate) fn heap_bytes(&self) -> usize {
        self.events.heap_bytes()
    }
}
