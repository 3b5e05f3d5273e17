//! Where the partitions put their effects: the journal's end.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Weak};

use sterna_journal::Journal;

use crate::partitions::EffectLog;
use crate::replication::Replication;
use crate::server::Server;

/// The number of a write that is in no record: what depends on it waits for a snapshot.
pub(crate) const IN_NO_RECORD: u64 = u64::MAX;

/// The journal, as the partitions see it.
pub(super) struct Sink {
    pub(super) journal: Arc<Journal>,
    pub(super) server: Weak<Server>,
    /// The log of a cluster, which gets every record, too.
    pub(super) replication: Option<Arc<Replication>>,
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
        let appended = match (&self.replication, effects) {
            (Some(replication), effects) => replication.append(&self.journal, &effects),
            (None, Cow::Borrowed(effects)) => self.journal.append(effects),
            (None, Cow::Owned(long)) => self.journal.append_long(long),
        };
        appended.map_or_else(|_| self.append_nowhere(), |lsn| lsn.0)
    }

    /// The write has been made and can't be taken back: what the journal does not take leaves a gap, which only a snapshot
    /// closes, and no write is taken before there is one.
    #[cold]
    fn append_nowhere(&self) -> u64 {
        if let Some(server) = self.server.upgrade() {
            server.persistence.leave_gap();
            if self.replication.is_some() && !server.is_stopping() {
                tracing::error!("what is in no record can't be in the log of the cluster: this node stops");
                server.stop();
            }
        }
        IN_NO_RECORD
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sink({})", self.journal.last_lsn())
    }
}
