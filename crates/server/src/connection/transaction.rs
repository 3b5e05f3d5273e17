//! What MULTI has queued and WATCH watches, for one connection.

use std::sync::{Arc, OnceLock};

use hashbrown::HashSet;
use sterna_command::{Flags, Row};
use sterna_keyspace::{WATCHED_KEY_BYTES, Watch};
use sterna_protocol::OwnedArgs;

use super::Connection;
use super::waits::FilesRead;

/// What a connection has queued and watches. Exists only while there is either.
#[derive(Debug, Default)]
pub(crate) struct Transaction {
    pub(crate) is_open: bool,
    /// A command was refused while queueing: EXEC will not run.
    pub(crate) is_spoilt: bool,
    pub(crate) queued: Vec<(&'static Row, OwnedArgs)>,
    pub(crate) queued_bytes: usize,
    /// How many of them have been looked at, while EXEC waits, for what is to be compiled before they are executed.
    pub(crate) compiled_ahead: usize,
    /// DEBUG is queued, perhaps with sleeps that EXEC has yet to wait for.
    pub(crate) has_debug: bool,
    /// What is in the files that it asks for, once they have been read; empty while they are.
    pub(crate) files: Option<Arc<OnceLock<FilesRead>>>,
    /// The flag that touches of the watched keys set.
    pub(crate) watch: Arc<Watch>,
    pub(crate) watched: HashSet<(u8, Box<[u8]>)>,
}

/// What the allocator has at least for a name.
const NAME_BYTES_MIN: usize = 16;

/// Bytes that a client may have queued while memory is short: more are refused, whatever they do.
const QUEUED_WHEN_SHORT_BYTES: usize = 1 << 20;

/// Bytes that what was read from files may hold: enough that it is not freed on a shard.
const FILES_BYTES: usize = 1 << 20;

/// Whether CLIENT PAUSE WRITE holds the command back: it writes, publishes, or runs a script that may.
pub(crate) fn may_write(row: &Row) -> bool {
    row.spec.flags.intersects(Flags::WRITE.union(Flags::MAY_REPLICATE))
        || row.has(Flags::RUNS_SCRIPT) && !row.has(Flags::READONLY)
}

impl Transaction {
    /// EXEC will refuse to run. Outside MULTI there is nothing to spoil.
    pub(crate) fn spoil(&mut self) {
        self.is_spoilt |= self.is_open;
    }

    /// Whether what is queued is much, with so many bytes, where memory is short.
    pub(crate) fn is_large_with(&self, bytes: usize) -> bool {
        self.queued_bytes.saturating_add(bytes) > QUEUED_WHEN_SHORT_BYTES
    }

    /// Whether any queued command may need memory.
    pub(crate) fn may_need_memory(&self) -> bool {
        self.queued.iter().any(|(row, _)| row.has(Flags::DENYOOM))
    }

    /// Whether CLIENT PAUSE WRITE holds any queued command back.
    pub(crate) fn has_writes(&self) -> bool {
        self.queued.iter().any(|(row, _)| may_write(row))
    }

    /// Has EXEC fail if a watched key is one that the connection's user may not watch any more.
    pub(crate) fn break_watches_beyond(&self, may_watch: impl Fn(&[u8]) -> bool) {
        if self.watched.iter().any(|(_, key)| !may_watch(key)) {
            self.watch.set_broken();
        }
    }

    /// Whether EXEC will run nothing, whatever is queued.
    pub(crate) fn is_lost(&self) -> bool {
        self.is_spoilt || self.watch.is_broken()
    }

    /// Bytes of what is queued (CLIENT LIST's `multi-mem`).
    pub(crate) fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// All that it holds, its watches in the keyspace included, where each key is kept once more.
    pub(crate) fn heap_bytes(&self) -> usize {
        let files_bytes = if self.files.is_some() { FILES_BYTES } else { 0 };
        let names_bytes: usize = self.watched.iter().map(|(_, key)| key.len().max(NAME_BYTES_MIN)).sum();
        let places_bytes = WATCHED_KEY_BYTES + size_of::<(u8, Box<[u8]>)>() * 3 / 2;
        files_bytes + self.queued_bytes + 2 * names_bytes + self.watched.len() * places_bytes
    }
}

impl Connection {
    /// Whether EXEC would write.
    pub(crate) fn has_queued_writes(&self) -> bool {
        self.transaction.as_ref().is_some_and(|transaction| transaction.has_writes())
    }

    /// Whether a command of this kind is queued. Cost: O(commands).
    pub(crate) fn has_queued(&self, kind: Flags) -> bool {
        self.transaction.as_ref().is_some_and(|transaction| {
            transaction.queued.iter().any(|(row, _)| row.spec.flags.intersects(kind))
        })
    }

    /// How many keys it watches.
    pub(crate) fn watched(&self) -> usize {
        self.transaction.as_ref().map_or(0, |transaction| transaction.watched.len())
    }

    /// Between MULTI and EXEC.
    pub(crate) fn in_multi(&self) -> bool {
        self.transaction.as_ref().is_some_and(|transaction| transaction.is_open)
    }
}
