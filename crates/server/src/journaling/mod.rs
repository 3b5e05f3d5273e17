//! Journaling: what all shards know of the journal, and what has been asked of it.
//!
//! What is done about it stands above, in `persistence/`: that needs the keys, the other shards and their clients, and this does not.

mod jobs;
mod mode;

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sterna_journal::{FsyncPolicy, Journal, Lsn, Refusal, Rejected};
use sterna_keyspace::{GROUPS_MAX, KeyGroup};

use crate::config::Config;
use crate::lock::{Level, Mutex};

use jobs::Jobs;
pub(crate) use jobs::{Job, Kind, Outcome};
pub(crate) use mode::Mode;
use mode::ModeCell;

/// The number of a write that is in no record: what depends on it waits for a snapshot.
pub(crate) const IN_NO_RECORD: u64 = u64::MAX;

/// See the module.
#[derive(Default)]
pub(crate) struct Journaling {
    /// Set when the files are first used: at the start, or by the first job. Never again, because the partitions hold it, too.
    pub(crate) opened: OnceLock<Arc<Journal>>,
    pub(crate) mode: ModeCell,
    /// What the disk did not take is being undone; see `persistence/rollback.rs`.
    pub(crate) is_rolling_back: AtomicBool,
    /// Keys of a group of a cluster are being replaced: those of one at a time.
    pub(crate) is_mending: AtomicBool,
    /// Groups of keys that are missing for a moment and are read back, a bit each; all, where there is one.
    pub(crate) missing_groups: AtomicU64,
    pub(crate) epoch: Epoch,
    pub(crate) loading: Loading,
    pub(crate) jobs: Jobs,
    /// Held while a snapshot becomes the one that counts, and while keys are read back.
    pub(crate) publication: Mutex<(), { Level::Publication as u8 }>,
    /// What the journal's disk said last, while it takes no writes.
    pub(crate) trouble: Mutex<Option<String>, { Level::DiskTrouble as u8 }>,
}

/// The epoch of the positions of messages that are handed out now: see `persistence/epoch.rs`.
#[derive(Debug)]
pub(crate) struct Epoch {
    pub(crate) number: AtomicU64,
    /// The file may be there. Set before it is written; who clears it removes it.
    pub(crate) has_file: AtomicBool,
}

impl Default for Epoch {
    fn default() -> Epoch {
        Epoch { number: AtomicU64::new(random()), has_file: AtomicBool::new(true) }
    }
}

fn random() -> u64 {
    RandomState::new().hash_one("an epoch")
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

    pub(crate) fn is_called_off(&self) -> bool {
        self.is_called_off.load(Relaxed)
    }

    /// Errors: it is to end.
    pub(crate) fn go_on(&self) -> Result<(), Rejected> {
        if self.is_called_off() {
            Err(Rejected("the server was stopped while it was loading"))
        } else {
            Ok(())
        }
    }
}

impl Journaling {
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
    pub(crate) fn set_missing(&self, group: KeyGroup, are_missing: bool) {
        match are_missing {
            true => self.missing_groups.fetch_or(bits_of(group), Ordering::AcqRel),
            false => self.missing_groups.fetch_and(!bits_of(group), Ordering::AcqRel),
        };
    }

    /// The journal, if it keeps every write.
    pub(crate) fn journal(&self) -> Option<&Arc<Journal>> {
        self.opened.get().filter(|_| self.mode().is_on())
    }

    /// The journal, if replies wait for it.
    pub(crate) fn awaited(&self) -> Option<&Arc<Journal>> {
        self.opened.get().filter(|_| self.mode().has_replies_wait())
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
        if let Some(journal) = self.awaited()
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
            Mode::Saving | Mode::TurningOn | Mode::Settling => match journal.admit() {
                Err(Refusal::Backlog) => Err(Refusal::Backlog),
                _ => Ok(()),
            },
            Mode::Loading | Mode::Off => Ok(()),
        }
    }

    /// A write is in memory that is in no record: no other is taken before a snapshot holds it, and a snapshot that counts
    /// on the log is given up.
    #[cold]
    pub(crate) fn leave_gap(&self) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_one_group_that_are_missing_are_not_all_keys() {
        let journaling = Journaling::default();
        let [one, two] = [0, 1].map(|index| KeyGroup { index, count: 2 });
        journaling.set_missing(two, true);
        assert_eq!(journaling.missing_groups(), 0b10);
        journaling.set_missing(one, true);
        journaling.set_missing(two, false);
        assert_eq!(journaling.missing_groups(), 0b01);
        journaling.set_missing(one, false);
        assert_eq!(journaling.missing_groups(), 0);
        journaling.set_missing(KeyGroup::WHOLE, true);
        assert!(journaling.is_loading());
        journaling.set_missing(KeyGroup::WHOLE, false);
        assert_eq!(journaling.missing_groups(), 0);
    }
}
