//! Persistence: what joins the keyspace and the journal.
//!
//! ```text
//! start     files ─► Recovery ─► Rebuild ─► partitions                     load.rs restore.rs
//! a write   partitions ─► Sink ─► journal ─► segments                      sink.rs
//! a reply   output queue ─ held until durable ─► socket                    shard/durability.rs
//! a failure what the disk did not take is undone                           rollback.rs
//! snapshot  partitions, a few keys at a time ─► SnapshotWriter             snapshot.rs
//! ```
//!
//! What is in a record: the effects of one command, or of one transaction with the blocked commands it answered. What is in
//! an item of a snapshot: a byte for the database and the key; then 1 if another part of the same value follows, else 0,
//! and bytes of [`sterna_keyspace::write_state`].
//!
//! Invariants
//! - A write runs only if the journal takes it (`dispatch.rs` asks), and its record stands in the journal before the locks of
//!   its keys go.
//! - No reply leaves before every record that it depends on is durable (`appendfsync always`), or written to the file.
//! - Without a journal all of this is a branch on a `None`.

mod at_rest;
mod load;
mod restore;
mod rollback;
#[cfg(test)]
mod simulation;
mod sink;
mod snapshot;
pub(crate) mod switch;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, Ordering::Relaxed, fence};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use sterna_journal::{Event, FsyncPolicy, Journal, Options, Refusal, Rejected, TornTail};

use crate::config::{AppendFsync, Config};
use crate::lock::{Level, Mutex};
use crate::mailbox::Mail;
use crate::server::Server;

pub use at_rest::replay_at_rest;
pub use load::JournalError;
pub(crate) use load::{Loader, open};
pub(crate) use restore::Rebuild;
pub(crate) use snapshot::{Cause, Kind, Snapshots, sizes};

/// What all shards know of it.
#[derive(Default)]
pub(crate) struct Persistence {
    /// Set once the state is loaded; never again, because the partitions hold it, too.
    journal: OnceLock<Arc<Journal>>,
    /// `appendonly` as of now: whether effects are collected.
    is_on: AtomicBool,
    /// What the disk did not take is being undone; see `rollback.rs`.
    is_rolling_back: AtomicBool,
    /// The journal lacks a write that is in memory, until a snapshot has been taken.
    has_gap: AtomicBool,
    pub(crate) loading: Loading,
    pub(crate) snapshots: Snapshots,
    /// What the journal's disk said last, while it takes no writes.
    trouble: Mutex<Option<String>, { Level::DiskTrouble as u8 }>,
}

/// How far the start is.
#[derive(Debug, Default)]
pub(crate) struct Loading {
    /// Set before the shards run; cleared (Release, read Acquire) when every key is there.
    is_on: AtomicBool,
    /// The server stops before it has loaded.
    is_called_off: AtomicBool,
    /// Unix time in seconds.
    pub(crate) since_s: AtomicU64,
    pub(crate) items: AtomicU64,
    pub(crate) records: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) total_bytes: AtomicU64,
}

impl Loading {
    pub(crate) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Acquire)
    }
}

impl Loading {
    /// Ends a load that has not ended.
    pub(crate) fn call_off(&self) {
        self.is_called_off.store(true, Relaxed);
    }

    fn is_called_off(&self) -> bool {
        self.is_called_off.load(Relaxed)
    }

    fn go_on(&self) -> Result<(), Rejected> {
        if self.is_called_off() {
            Err(Rejected("the server was stopped while it was loading"))
        } else {
            Ok(())
        }
    }
}

impl Persistence {
    /// The journal, if there is one and it is in use.
    pub(crate) fn journal(&self) -> Option<&Arc<Journal>> {
        self.journal.get().filter(|_| self.is_on())
    }

    /// Whether writes are, or will be after loading, journaled.
    pub(crate) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Acquire)
    }

    /// Says what `appendonly` is.
    pub(crate) fn set_on(&self, on: bool) {
        self.is_on.store(on, Ordering::Release);
    }

    /// Whether what can be read may be something that is about to be undone.
    pub(crate) fn is_rolling_back(&self) -> bool {
        self.is_rolling_back.load(Ordering::Acquire)
    }

    /// Whether a write may run now.
    #[inline]
    pub(crate) fn admit(&self, journal: &Journal) -> Result<(), Refusal> {
        if self.has_gap.load(Relaxed) {
            return Err(Refusal::DiskFailed);
        }
        journal.admit()
    }

    /// What is wrong with the disk, as the system says it.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.lock().clone()
    }
}

/// Where the journal is.
pub(crate) fn directory(config: &Config) -> PathBuf {
    config.dir.join(&config.appenddirname)
}

pub(crate) fn policy(appendfsync: AppendFsync) -> FsyncPolicy {
    match appendfsync {
        AppendFsync::Always => FsyncPolicy::Always,
        AppendFsync::EverySec => FsyncPolicy::EverySec,
        AppendFsync::No => FsyncPolicy::No,
    }
}

fn options(config: &Config) -> Options {
    Options {
        fsync: policy(config.appendfsync),
        torn_tail: if config.aof_load_truncated { TornTail::Cut } else { TornTail::Refuse },
        ..Options::default()
    }
}

impl Server {
    /// Hears what the journal's thread has to say.
    fn hear(self: &Arc<Server>, event: Event) {
        match event {
            Event::Durable(_) | Event::Written(_) => {}
            Event::Stopped { refusal, cause } => {
                tracing::error!(%cause, "{refusal}: writes are refused until it works again");
                *self.persistence.trouble.lock() = Some(cause);
                rollback::begin(self);
            }
            Event::Resumed => {
                tracing::warn!("the disk takes writes again");
                *self.persistence.trouble.lock() = None;
            }
        }
        self.wake_awaiting();
    }

    /// Has every shard look again whose connections wait for the disk.
    ///
    /// The fence pairs with the one in `Shard::awaits_disk`: either that shard sees the new durable LSN, or this sees its
    /// flag.
    pub(crate) fn wake_awaiting(&self) {
        fence(Ordering::SeqCst);
        for shard in &self.shards {
            if shard.awaits_disk.load(Relaxed) && shard.awaits_disk.swap(false, Ordering::AcqRel) {
                shard.mailbox.push(Mail::Durable);
            }
        }
    }

    /// Writes and syncs what is left, after the shards have stopped; takes a snapshot first if SHUTDOWN SAVE asked for it.
    ///
    /// Errors: the disk failed, and the last writes may be lost.
    pub(crate) fn close_journal(&self) -> Result<(), sterna_journal::Error> {
        let Some(journal) = self.persistence.journal.get() else { return Ok(()) };
        self.persistence.snapshots.stop();
        if self.persistence.snapshots.is_wanted_at_end() {
            snapshot::take(self, journal)?;
        }
        let began = Instant::now();
        journal.close()?;
        tracing::info!(last = %journal.durable_lsn(), ms = began.elapsed().as_millis() as u64, "the journal is closed");
        Ok(())
    }
}
