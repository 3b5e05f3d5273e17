//! Where the partitions put their effects: the journal's end.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Weak};

use sterna_journal::Journal;
use sterna_keyspace::{Effect, Effects, KeyGroup, What};

use crate::journaling::IN_NO_RECORD;
use crate::partitions::EffectLog;
use crate::replication::Replication;
use crate::server::Server;

/// The journal, as the partitions see it.
pub(super) struct Sink {
    pub(super) journal: Arc<Journal>,
    pub(super) server: Weak<Server>,
    /// The logs of a cluster's groups of keys, one of which gets every record, too; empty without a cluster.
    pub(super) logs: Box<[Arc<Replication>]>,
}

impl EffectLog for Sink {
    #[inline]
    fn append(&self, effects: &[u8]) -> u64 {
        self.put(Cow::Borrowed(effects))
    }

    fn append_long(&self, effects: Vec<u8>) -> u64 {
        self.put(Cow::Owned(effects))
    }

    fn note_placed(&self) {
        if let Some(server) = self.server.upgrade() {
            server.unsettle_epoch();
        }
    }
}

impl Sink {
    #[inline]
    fn put(&self, effects: Cow<'_, [u8]>) -> u64 {
        // A record of any length is one: it is there as a whole after a crash, or not at all.
        let appended = match (&*self.logs, effects) {
            ([], Cow::Borrowed(effects)) => self.journal.append(effects),
            ([], Cow::Owned(long)) => self.journal.append_long(long),
            ([log], effects) => log.append(&self.journal, &effects),
            (logs, effects) => logs[group_of(&effects, logs.len())].append(&self.journal, &effects),
        };
        appended.map_or_else(|_| self.append_nowhere(), |lsn| lsn.0)
    }

    /// The write has been made and can't be taken back: what the journal does not take leaves a gap, which only a snapshot
    /// closes, and no write is taken before there is one.
    #[cold]
    fn append_nowhere(&self) -> u64 {
        if let Some(server) = self.server.upgrade() {
            server.journaling.leave_gap();
            if !self.logs.is_empty() && !server.is_stopping() {
                tracing::error!("what is in no record can't be in the log of the cluster: this node stops");
                server.stop();
            }
        }
        IN_NO_RECORD
    }
}

/// Which of so many groups of keys a record is about: commands, transactions and scripts are about one. Libraries are with the first.
fn group_of(effects: &[u8], groups: usize) -> usize {
    let of = |effect: Effect<'_>| match (effect.what, effect.db) {
        (What::Flush { group }, _) => group.index,
        (_, None) => 0,
        (_, Some(_)) => KeyGroup::of_key(effect.key, groups as u16),
    };
    let mut all = Effects::new(effects).flatten().map(of);
    let group = all.next().unwrap_or(0);
    debug_assert!(all.all(|other| other == group), "a record is about keys of one group");
    usize::from(group)
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sink({})", self.journal.last_lsn())
    }
}
