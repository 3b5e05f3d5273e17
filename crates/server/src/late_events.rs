//! Keyspace events of a write that are published later than with it: very many, in slices (`command/notify.rs`), and those of whatever
//! the shard writes before these are out, so that all come in the order of the writes.
//!
//! They stand in the mail of their own shard. Meanwhile it is behind itself (`shard/credit.rs`): whoever writes what is told of waits.
//! Other shards are mailed them when they are told. So whatever is published behind them waits: a PUBLISH, a script (beside which others
//! are served meanwhile), and a transaction that goes on in slices. For one that is one piece they are told at once.

use sterna_keyspace::Events;

use crate::matching::Matching;

/// See the module.
#[derive(Debug)]
pub(crate) struct LateEvents {
    pub(crate) events: Events,
    /// How far the telling of the first has come.
    pub(crate) told: Told,
}

/// How far the telling of an event has come.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Classes of channels that it has been published to, in the order of the table in `command/notify.rs`.
    pub(crate) classes: usize,
    /// How many bytes of the names that it is about have been told of, each by itself.
    pub(crate) names_bytes: usize,
    /// The patterns that match the next channel, where finding them takes long.
    pub(crate) matching: Option<Matching>,
}

impl LateEvents {
    pub(crate) fn heap_bytes(&self) -> usize {
        self.events.heap_bytes()
    }
}

/// Letters with events of one shard.
#[derive(Debug, Default)]
pub(crate) struct LateLetters {
    pub(crate) put: u64,
    pub(crate) told: u64,
}

impl LateLetters {
    /// Whether there are any.
    pub(crate) fn are_there(&self) -> bool {
        self.told < self.put
    }
}
