//! Persistence: what joins the keyspace and the journal.
//!
//! ```text
//! start     files ─► Recovery ─► Rebuild ─► partitions                     load.rs restore.rs
//! a write   partitions ─► Sink ─► journal ─► segments                      sink.rs
//! a reply   output queue ─ held until durable ─► socket                    shard/durability.rs
//! a failure what the disk did not take is undone                           rollback.rs
//! snapshot  partitions, a few keys at a time ─► SnapshotWriter             snapshot.rs
//! switching on, off, and for one snapshot                                  mode.rs switch.rs jobs.rs
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
mod mode;
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
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, Ordering::Relaxed, fence};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use sterna_journal::{
    Event, FsyncPolicy, Journal, Lsn, Options, PAYLOAD_BYTES_MAX, Refusal, Rejected, TornTail,
};
use sterna_keyspace::{GROUPS_MAX, KeyGroup};

use crate::config::{AppendFsync, Config};
use crate::lock::{Level, Mutex};
use crate::mailbox::Mail;
use crate::server::Server;

use at_rest::DATABASES;
pub use at_rest::replay_at_rest;
pub(crate) use copy::files_of_one_moment;
pub use copy::{JournalFile, witness_of};
pub use dataset::{Dataset, LoadError, LoadOptions, Loaded, OnProgress};
use epoch::Epoch;
pub use foreign::ForeignFiles;
pub use import::ImportError;
pub(crate) use jobs::{Job, Jobs, Kind, Outcome};
pub use load::JournalError;
pub(crate) use load::{Loader, open};
pub(crate) use mode::Mode;
use mode::ModeCell;
pub use replicated::{LogSeat, SeatError};
pub(crate) use restore::Rebuild;
pub(crate) use sink::IN_NO_RECORD;
use snapshot::has_grown;
pub(crate) use snapshot::sizes;

/// What all shards know of it.
#[derive(Default)]
pub(crate) struct Persistence {
    /// Set when the files are first used: at the start, or by the first job. Never again, because the partitions hold it, too.
    opened: OnceLock<Arc<Journal>>,
    mode: ModeCell,
    /// What the disk did not take is being undone; see `rollback.rs`.
    is_rolling_back: AtomicBool,
    /// Keys of a group of a cluster are being replaced: those of one at a time.
    is_mending: AtomicBool,
    /// Groups of keys that are missing for a moment and are read back, a bit each; all, where there is one.
    missing_groups: AtomicU64,
    epoch: Epoch,
    pub(crate) loading: Loading,
    pub(crate) jobs: Jobs,
    /// Held while a snapshot becomes the one that counts, and while keys are read back.
    publication: Mutex<(), { Level::Publication as u8 }>,
    /// What the journal's disk said last, while it takes no writes.
    trouble: Mutex<Option<String>, { Level::DiskTrouble as u8 }>,
}

/// How long a copy waits for the disk.
const AWAIT_MAX: Duration = Duration::from_secs(30);

/// How far the start is.
#[derive(Debug, Default)]
pub(crate) struct Loading {
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
    /// Whether writes are recorded, and what for.
    #[inline]
    pub(crate) fn mode(&self) -> Mode {
        self.mode.get()
    }

    /// Whether the keys are not there yet.
    pub(crate) fn is_loading(&self) -> bool {
        self.mode() == Mode::Loading || self.missing_groups() == bits_of(KeyGroup::WHOLE)
    }

    /// The groups of keys that are missing for a moment, a bit each.
    pub(crate) fn missing_groups(&self) -> u64 {
        self.missing_groups.load(Ordering::Acquire)
    }

    /// Keys of a group are missing from now on, or no more.
    fn set_missing(&self, group: KeyGroup, are_missing: bool) {
        match are_missing {
            true => self.missing_groups.fetch_or(bits_of(group), Ordering::AcqRel),
            false => self.missing_groups.fetch_and(!bits_of(group), Ordering::AcqRel),
        };
    }

    /// The journal, if it keeps every write.
    pub(crate) fn journal(&self) -> Option<&Arc<Journal>> {
        self.opened.get().filter(|_| self.mode().is_on())
    }

    /// The journal, while nothing is recorded for a snapshot that does not count yet.
    pub(crate) fn at_rest(&self) -> Option<&Arc<Journal>> {
        self.opened.get().filter(|_| !matches!(self.mode(), Mode::Loading | Mode::Saving | Mode::TurningOn))
    }

    /// The journal, if writes go into it, be it for a snapshot only.
    pub(crate) fn recording(&self) -> Option<&Arc<Journal>> {
        self.opened.get().filter(|_| self.mode().records())
    }

    /// Waits until what has been written is as safe as its replies promise, for a thread of its own.
    pub(crate) fn await_last_record(&self) {
        if let Some(journal) = self.journal()
            && journal.policy() == FsyncPolicy::Always
        {
            // A disk that fails is told of elsewhere.
            let _ = journal.wait_durable(journal.last_lsn(), Some(AWAIT_MAX));
        }
    }

    /// Whether this record is one that is in no journal, and no snapshot has it either.
    pub(crate) fn is_missing(&self, lsn: Lsn) -> bool {
        lsn.0 == IN_NO_RECORD && self.mode() == Mode::Failed
    }

    /// Whether a write is in memory and in no record.
    pub(crate) fn has_gap(&self) -> bool {
        self.mode() == Mode::Failed
    }

    /// Whether what can be read may be something that is about to be undone.
    pub(crate) fn is_rolling_back(&self) -> bool {
        self.is_rolling_back.load(Ordering::Acquire)
    }

    /// Whether a write may run now.
    ///
    /// What is recorded only for a snapshot is nobody's promise: a disk that fails is the snapshot's affair, and only what
    /// waits in memory must not grow.
    #[inline]
    pub(crate) fn admit(&self, journal: &Journal) -> Result<(), Refusal> {
        match self.mode() {
            Mode::On | Mode::TurningOff => journal.admit(),
            Mode::Failed => Err(Refusal::DiskFailed),
            Mode::Saving | Mode::TurningOn => match journal.admit() {
                Err(Refusal::Backlog) => Err(Refusal::Backlog),
                _ => Ok(()),
            },
            Mode::Loading | Mode::Off => Ok(()),
        }
    }

    /// A write is in memory that is in no record: no other is taken before a snapshot holds it, and a snapshot that counts
    /// on the log is given up.
    #[cold]
    fn leave_gap(&self) {
        if self.mode().is_on() {
            tracing::error!(
                "a write is too large for the journal: others are refused until a snapshot has it"
            );
            self.mode.leave_gap();
        } else {
            tracing::error!("a write is too large for the journal: the snapshot that runs is given up");
            self.jobs.call_off();
        }
    }

    /// Whether snapshots are all that is kept and the last one failed: then a write would be kept by nothing.
    pub(crate) fn is_unable_to_save(&self, config: &Config) -> bool {
        self.jobs.saves.has_failed.load(Relaxed)
            && !self.mode().is_on()
            && config.stop_writes_on_bgsave_error
            && !config.save_points().is_empty()
    }

    /// What is wrong with the disk, as the system says it.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.lock().clone()
    }
}

/// The bit of a group of keys; every bit is that of all keys.
fn bits_of(group: KeyGroup) -> u64 {
    if group == KeyGroup::WHOLE { u64::MAX } else { 1 << group.index }
}

const _: () = assert!(GROUPS_MAX as u32 <= u64::BITS, "each group has a bit");

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
                if self.persistence.mode().is_on() {
                    tracing::error!(%cause, "{refusal}: writes are refused until it works again");
                } else {
                    tracing::warn!(%cause, "{refusal}: no snapshot is taken until it works again");
                }
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

    /// Whether a write may run now, as [`Persistence::admit`] says it, and as far as what waits for the log of a cluster.
    #[inline]
    pub(crate) fn admit_write(&self, journal: &Journal) -> Result<(), Refusal> {
        self.persistence.admit(journal)?;
        if self.logs.iter().any(|log| log.is_full()) { Err(Refusal::Backlog) } else { Ok(()) }
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

    /// Whether stopping in order takes a snapshot: there are save points, and something that is neither in the last snapshot
    /// nor in a journal that is on.
    pub(crate) fn must_save_at_end(&self) -> bool {
        let mode = self.persistence.mode();
        mode != Mode::Loading
            && !mode.is_on()
            && !self.config().save_points().is_empty()
            && self.changes_since_save() > 0
    }

    /// Writes and syncs what is left, after the shards have stopped.
    ///
    /// Errors: the disk failed, and the last writes may be lost.
    pub(crate) fn close_journal(&self) -> Result<(), sterna_journal::Error> {
        self.persistence.jobs.close();
        let Some(journal) = self.persistence.opened.get() else { return Ok(()) };
        let began = Instant::now();
        journal.close()?;
        self.close_epoch();
        tracing::info!(last = %journal.durable_lsn(), ms = began.elapsed().as_millis() as u64, "the journal is closed");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_one_group_that_are_missing_are_not_all_keys() {
        let persistence = Persistence::default();
        let [one, two] = [0, 1].map(|index| KeyGroup { index, count: 2 });
        persistence.set_missing(two, true);
        assert_eq!(persistence.missing_groups(), 0b10);
        persistence.set_missing(one, true);
        persistence.set_missing(two, false);
        assert_eq!(persistence.missing_groups(), 0b01);
        persistence.set_missing(one, false);
        assert_eq!(persistence.missing_groups(), 0);
        persistence.set_missing(KeyGroup::WHOLE, true);
        assert!(persistence.is_loading());
        persistence.set_missing(KeyGroup::WHOLE, false);
        assert_eq!(persistence.missing_groups(), 0);
    }
}
