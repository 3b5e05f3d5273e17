//! Snapshots: the state of every key, each as of a moment of its own, taken while writes go on.
//!
//! Nobody forks and nobody stops. The owner of the state walks its keys; for each it takes, under the lock that orders the
//! key's writes, a cheap immutable view and the LSN of the last record appended (the *stamp*), and hands both in here.
//!
//! ```text
//! log      ──100──101──102──103──104──105──106──107──►
//! start       ▲ segment ends here, the new one begins at 101
//! key a           ▲ stamp 101: holds 100, 101
//! key b                         ▲ stamp 104
//! finish                                  ▲ end = 106, the last record there was; it must be durable before the
//!                                           snapshot counts
//! ```
//!
//! At a start the items are loaded, then the records from `start + 1` on are replayed; for each key, effects at or below
//! its stamp are skipped ([`Lsn::covers`]). A key with no item was absent when the walk passed it, and gets every effect;
//! an effect on all keys (FLUSHALL) removes only keys whose stamp is below it.
//!
//! The steps, and who takes them
//! 1. `begin`, engine: sync, new segment with base *b*; start = *b* − 1. So the log can later be cut exactly there.
//! 2. `item` …, caller's thread: into a file under a temporary name, synced every [`SYNC_BYTES`], so that a sync of the
//!    log never queues behind gigabytes.
//! 3. `finish`, caller's thread: end mark with counts, last sync.
//! 4. `finish`, engine: log durable up to `end`. Otherwise a crash could leave keys that are newer than the log, whose
//!    LSNs would be given again; or miss keys that were deleted before the walk came by and are not yet in the log. (So
//!    the highest stamp is not enough: that a key is absent is as of a moment, too.) Then rename, sync of the directory,
//!    manifest: from here on it counts.
//! 5. `finish`, caller's thread: segments with nothing above `start`, and the snapshot before, are removed.
//!
//! Its bytes are the business of `file.rs`.

mod file;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

use crate::disk::Disk;
use crate::error::{Error, Refusal};
use crate::front::{Command, Front};
use crate::header::JournalId;
use crate::manifest::SnapshotInfo;
use crate::recovery::Restore;
use crate::segment::UNFINISHED;
use crate::{Lsn, engine, log};

pub use file::{ITEM_OVERHEAD_BYTES, SYNC_BYTES, WRITE_BYTES};
pub(crate) use file::{
    ItemAt, Part, SnapshotFile, intact_items, items, open, open_damaged, snapshot_name, snapshot_number,
};

/// What the engine gives to who begins a snapshot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SnapshotPlace {
    pub(crate) journal: JournalId,
    pub(crate) number: u64,
    pub(crate) salt: u64,
    pub(crate) start: Lsn,
}

/// A snapshot being written. Dropping it before [`finish`](Self::finish) gives it up and removes what was written.
pub struct SnapshotWriter {
    disk: Arc<dyn Disk>,
    front: Arc<Front>,
    file: SnapshotFile,
    place: SnapshotPlace,
    finished: bool,
}

/// A snapshot that is written and synced, while the engine makes it count.
pub struct Publication {
    info: SnapshotInfo,
    done: Receiver<Result<Vec<String>, Error>>,
    writer: SnapshotWriter,
}

impl SnapshotWriter {
    pub(crate) fn create(
        disk: Arc<dyn Disk>,
        front: Arc<Front>,
        place: SnapshotPlace,
    ) -> Result<Self, Error> {
        let SnapshotPlace { journal, number, salt, start } = place;
        let mut file = SnapshotFile::create(&*disk, journal, number, start, salt)
            .inspect_err(|_| front.end_snapshot(number))?;
        file.set_frame_payload_max(front.frame_payload_max);
        Ok(SnapshotWriter { disk, front, file, place, finished: false })
    }

    /// Records up to this LSN will not be needed beside the snapshot; no stamp may be lower.
    pub fn start(&self) -> Lsn {
        self.place.start
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.file.bytes()
    }

    /// Adds the state of `key` as of `stamp`: the journal's `last_lsn` read while no write of that key could run.
    ///
    /// A key may come in several items, if whoever loads them knows how to join them; they need the same stamp.
    /// Blocks for the disk every [`WRITE_BYTES`]. Errors: the snapshot is lost, the log is as before. `TooLarge`: nothing
    /// was added.
    ///
    /// # Panics
    /// If `stamp` is below [`start`](Self::start): the key would miss records between the two.
    pub fn item(&mut self, key: &[u8], stamp: Lsn, value: &[u8]) -> Result<(), Error> {
        assert!(stamp >= self.place.start, "an item stamped {stamp} in a snapshot from {}", self.place.start);
        self.file.item(key, stamp, value)
    }

    /// Makes the snapshot the one to start from, and cuts the log behind its start. Blocks until that is done.
    ///
    /// Errors: the snapshot does not count, the former one and the whole log still do.
    pub fn finish(self) -> Result<SnapshotInfo, Error> {
        self.complete()?.wait()
    }

    /// Writes and syncs the rest, and asks the engine to make it count, without waiting for that.
    pub fn complete(mut self) -> Result<Publication, Error> {
        // What was not captured was seen to be absent, at the latest now.
        let info = self.file.finish(self.front.appended_lsn())?;
        let (answer, done) = sync_channel(1);
        self.front.command(Command::PublishSnapshot(info, answer))?;
        Ok(Publication { info, done, writer: self })
    }
}

impl Drop for SnapshotWriter {
    fn drop(&mut self) {
        if !self.finished {
            // If it can't be removed now, the next start does it. After a failed publication it has its final name, and
            // stays until a manifest that does not name it is known to be in place.
            let _ = self.disk.unlink(&(snapshot_name(self.place.number) + UNFINISHED));
            self.front.end_snapshot(self.place.number);
        }
    }
}

impl Publication {
    /// Waits until the snapshot counts.
    pub fn wait(mut self) -> Result<SnapshotInfo, Error> {
        let done = self.done.recv().unwrap_or(Err(Refusal::Closed.into()));
        self.settle(done)
    }

    /// The outcome if there is one, without waiting. To be asked until there is, and not again.
    pub fn try_wait(&mut self) -> Option<Result<SnapshotInfo, Error>> {
        let done = match self.done.try_recv() {
            Ok(done) => done,
            Err(TryRecvError::Disconnected) => Err(Refusal::Closed.into()),
            Err(TryRecvError::Empty) => return None,
        };
        Some(self.settle(done))
    }

    fn settle(&mut self, done: Result<Vec<String>, Error>) -> Result<SnapshotInfo, Error> {
        let leftovers = done?;
        self.writer.finished = true;
        engine::remove(&*self.writer.disk, &leftovers);
        self.writer.front.end_snapshot(self.info.number);
        Ok(self.info)
    }
}

impl log::SnapshotSink for SnapshotWriter {
    fn start(&self) -> Lsn {
        SnapshotWriter::start(self)
    }

    fn item(&mut self, key: &[u8], stamp: Lsn, value: &[u8]) -> Result<(), Error> {
        SnapshotWriter::item(self, key, stamp, value)
    }

    fn finish(self: Box<Self>) -> Result<SnapshotInfo, Error> {
        SnapshotWriter::finish(*self)
    }
}

/// Loads every item of the snapshot that the manifest describes as `info`.
pub(crate) fn load(
    disk: &dyn Disk,
    journal: JournalId,
    info: &SnapshotInfo,
    restore: &mut dyn Restore,
) -> Result<(), Error> {
    let mut reader = open(disk, journal, info)?;
    items(&mut reader, info, &mut |at| {
        restore.item(at.key, at.stamp, at.value).map_err(|rejected| Error::Rejected {
            file: at.file.to_owned(),
            offset: at.offset,
            why: rejected.0,
        })
    })
}
