//! Persistence: what joins the keyspace and the journal. What all shards know of that is below, in `journaling/`.
//!
//! ```text
//! start     files ─► Recovery ─► Rebuild ─► partitions                     load.rs restore.rs
//! a write   partitions ─► Sink ─► journal ─► segments                      sink.rs
//! a reply   output queue ─ held until durable ─► socket                    shard/durability.rs
//! a failure what the disk did not take is undone                           rollback.rs
//! snapshot  partitions, a few keys at a time ─► SnapshotWriter             snapshot.rs
//! switching on, off, and for one snapshot                                  switch.rs jobs.rs
//! moving in files of Redis ─► Dataset ─► files                              foreign.rs import.rs dataset.rs
//! copies of the files, and a node that becomes one                         copy.rs
//! whether a position of a message still means what it meant                epoch.rs
//! ```
//!
//! What is in a record: the effects of one command, or of one transaction with the blocked commands it answered. What is in
//! an item of a snapshot: a byte for the database and the key; then 1 if another part of the same value follows, else 0,
//! and bytes of [`sterna_keyspace::write_state`].
//!
//! Invariants
//! - A write runs only if the journal takes it (`admission.rs` asks), and its record stands in the journal before the locks of
//!   its keys go.
//! - No reply leaves before every record that it depends on is durable (`appendfsync always`), or written to the file.
//! - Without a journal all of this is a branch on a `None`.

mod at_rest;
mod copy;
mod dataset;
mod epoch;
pub(crate) mod foreign;
pub(crate) mod import;
mod jobs;
mod load;
mod planted;
mod replicated;
mod restore;
mod rollback;
#[cfg(test)]
mod simulation;
mod sink;
mod snapshot;
pub(crate) mod switch;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{Ordering, Ordering::Relaxed, fence};
use std::time::Instant;

use sterna_journal::{Event, FsyncPolicy, Journal, Options, PAYLOAD_BYTES_MAX, Refusal, TornTail};

use crate::config::{AppendFsync, Config};
use crate::journaling::Mode;
use crate::mailbox::Mail;
use crate::server::Server;

use at_rest::DATABASES;
pub use at_rest::replay_at_rest;
pub(crate) use copy::files_of_one_moment;
pub use copy::{JournalFile, witness_of};
pub use dataset::{Dataset, LoadError, LoadOptions, Loaded, OnProgress};
pub use foreign::ForeignFiles;
pub use import::ImportError;
pub use load::JournalError;
pub(crate) use load::{Loader, open};
pub use replicated::{LogSeat, SeatError};
pub(crate) use restore::Rebuild;
use snapshot::has_grown;
pub(crate) use snapshot::sizes;

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
        payload_bytes_max: usize::try_from(config.journal_record_max_bytes)
            .map_or(PAYLOAD_BYTES_MAX, |bytes| bytes.min(PAYLOAD_BYTES_MAX)),
        ..Options::default()
    }
}

impl Server {
    /// Takes note of what the journal's thread tells.
    fn on_journal_event(self: &Arc<Server>, event: Event) {
        match event {
            Event::Durable(_) | Event::Written(_) => {}
            Event::Stopped { refusal, cause } => {
                if self.journaling.mode().is_on() {
                    tracing::error!(%cause, "{refusal}: writes are refused until it works again");
                } else {
                    tracing::warn!(%cause, "{refusal}: no snapshot is taken until it works again");
                }
                *self.journaling.trouble.lock() = Some(cause);
                rollback::begin(self);
            }
            Event::Resumed => {
                tracing::warn!("the disk takes writes again");
                *self.journaling.trouble.lock() = None;
            }
        }
        self.wake_awaiting();
    }

    /// Whether a write may run now, as [`Persistence::admit`] says it, and as far as what waits for the log of a cluster.
    #[inline]
    pub(crate) fn admit_write(&self, journal: &Journal) -> Result<(), Refusal> {
        self.journaling.admit(journal)?;
        if self.logs.iter().any(|log| log.is_full()) { Err(Refusal::Backlog) } else { Ok(()) }
    }

    /// Notifies every shard whose connections wait for the disk.
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

    /// Whether stopping in order takes a snapshot: there are save points, and something that is neither in the last snapshot
    /// nor in a journal that is on.
    pub(crate) fn must_save_at_end(&self) -> bool {
        let mode = self.journaling.mode();
        mode != Mode::Loading
            && !mode.is_on()
            && !self.config().save_points().is_empty()
            && self.changes_since_save() > 0
    }

    /// Writes and syncs what is left, after the shards have stopped.
    ///
    /// Errors: the disk failed, and the last writes may be lost.
    pub(crate) fn close_journal(&self) -> Result<(), sterna_journal::Error> {
        self.journaling.jobs.close();
        let Some(journal) = self.journaling.opened.get() else { return Ok(()) };
        let began = Instant::now();
        journal.close()?;
        self.close_epoch();
        tracing::info!(last = %journal.durable_lsn(), ms = began.elapsed().as_millis() as u64, "the journal is closed");
        Ok(())
    }
}
