//! Snapshots: the state of every key, each as of a moment of its own, taken while writes go on.
//!
//! Nobody forks and nobody stops. The owner of the state walks its keys; for each it takes, under the lock that orders the
//! key's writes, a cheap immutable view and the LSN of the last record appended (the *stamp*), and hands both in here.
//!
//!     log      ──100──101──102──103──104──105──106──107──►
//!     start       ▲ segment ends here, the new one begins at 101
//!     key a           ▲ stamp 101: holds 100, 101
//!     key b                         ▲ stamp 104
//!     finish                                  ▲ end = 106, the last record there was; it must be durable before the
//!                                               snapshot counts
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
//! 5. Engine: segments with nothing above `start`, and the snapshot before, are removed.
//!
//! The file is a header and frames ([`crate::record`]); a frame's payload is one of
//!
//!     item   ┌──┬──────────┬─────────┬─────┬───────┐     end   ┌──┬──────────┬──────────┐
//!            │1 │ stamp u64│ klen u32│ key │ value │           │2 │ items u64│ end u64  │
//!            └──┴──────────┴─────────┴─────┴───────┘           └──┴──────────┴──────────┘
//!
//! Memory: [`WRITE_BYTES`], or the largest item. Cost: one copy and one crc over each byte.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

use crate::disk::{Disk, DiskFile};
use crate::error::{Error, Fault, Refusal};
use crate::front::{Command, Front};
use crate::header::{FileKind, HEADER_BYTES, Header, JournalId};
use crate::manifest::SnapshotInfo;
use crate::record::{self, FRAME_BYTES, FrameReader, Kind, PAYLOAD_BYTES_MAX, Step};
use crate::recovery::Restore;
use crate::segment::UNFINISHED;
use crate::{Lsn, log};

const SUFFIX: &str = ".snapshot";
const ITEM: u8 = 1;
const END: u8 = 2;
/// Bytes of an item beside key and value.
const ITEM_BYTES: usize = 13;

/// Bytes gathered for one write.
pub const WRITE_BYTES: usize = 512 * 1024;
/// Bytes written between two syncs.
pub const SYNC_BYTES: u64 = 4 << 20;

/// The name of the snapshot with this number.
pub(crate) fn snapshot_name(number: u64) -> String {
    format!("{number:020}{SUFFIX}")
}

/// The number in a snapshot's name; `None` if it is not one.
pub(crate) fn snapshot_number(name: &str) -> Option<u64> {
    let number = name.strip_suffix(SUFFIX)?.parse().ok()?;
    (snapshot_name(number) == name).then_some(number)
}

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
    file: Box<dyn DiskFile>,
    place: SnapshotPlace,
    seed: u32,
    /// Blank frames not yet written.
    frames: Vec<u8>,
    /// Bytes in the file, and up to where they are synced.
    written: u64,
    synced: u64,
    /// Index of the first frame in `frames`, modulo 2³² like in the file.
    index: u32,
    items: u64,
    /// See [`SnapshotInfo::end`]; known only when it is complete.
    end: Lsn,
    finished: bool,
}

/// A snapshot that is written and synced, while the engine makes it count.
pub struct Publication {
    info: SnapshotInfo,
    done: Receiver<Result<(), Error>>,
    writer: SnapshotWriter,
}

impl SnapshotWriter {
    pub(crate) fn create(disk: Arc<dyn Disk>, front: Arc<Front>, place: SnapshotPlace) -> Result<Self, Error> {
        let SnapshotPlace { journal, number, salt, start } = place;
        let (header, seed) =
            Header { kind: FileKind::Snapshot, journal, number, base: start.0, salt }.encode();
        let name = snapshot_name(number) + UNFINISHED;
        let file = disk.create(&name).map_err(Error::io("create", &name));
        let file = file.inspect_err(|_| front.end_snapshot(number))?;
        let written = HEADER_BYTES as u64;
        let mut writer = SnapshotWriter {
            disk,
            front,
            file,
            place,
            seed,
            frames: Vec::with_capacity(WRITE_BYTES),
            written,
            synced: 0,
            index: 0,
            items: 0,
            end: start,
            finished: false,
        };
        writer.file.write_at(&header, 0).map_err(Error::io("write", &name))?;
        Ok(writer)
    }

    /// Records up to this LSN will not be needed beside the snapshot; no stamp may be lower.
    pub fn start(&self) -> Lsn {
        self.place.start
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.written + self.frames.len() as u64
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
        let length = ITEM_BYTES + key.len() + value.len();
        if length > PAYLOAD_BYTES_MAX {
            return Err(Refusal::TooLarge.into());
        }
        // An item must not be held beside a full buffer.
        if self.frames.len() + length > WRITE_BYTES {
            self.write()?;
        }
        record::push_blank_header(Kind::Record, length, &mut self.frames);
        self.frames.push(ITEM);
        self.frames.extend_from_slice(&stamp.0.to_le_bytes());
        self.frames.extend_from_slice(&(key.len() as u32).to_le_bytes());
        self.frames.extend_from_slice(key);
        self.frames.extend_from_slice(value);
        self.items += 1;
        Ok(())
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
        self.end = self.front.appended_lsn();
        record::push_blank_header(Kind::Record, 17, &mut self.frames);
        self.frames.push(END);
        self.frames.extend_from_slice(&self.items.to_le_bytes());
        self.frames.extend_from_slice(&self.end.0.to_le_bytes());
        self.write()?;
        self.sync()?;
        let info = SnapshotInfo {
            number: self.place.number,
            start: self.place.start,
            end: self.end,
            items: self.items,
            bytes: self.written,
        };
        let (answer, done) = sync_channel(1);
        self.front.command(Command::PublishSnapshot(info, answer))?;
        Ok(Publication { info, done, writer: self })
    }

    fn write(&mut self) -> Result<(), Error> {
        self.index = record::seal(&mut self.frames, self.seed, self.index);
        self.file.write_at(&self.frames, self.written).map_err(|error| self.error("write", error))?;
        self.written += self.frames.len() as u64;
        self.frames.clear();
        self.frames.shrink_to(WRITE_BYTES);
        if self.written - self.synced >= SYNC_BYTES { self.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> Result<(), Error> {
        self.file.sync().map_err(|error| self.error("sync", error))?;
        self.synced = self.written;
        Ok(())
    }

    fn error(&self, action: &'static str, error: std::io::Error) -> Error {
        Error::io(action, &(snapshot_name(self.place.number) + UNFINISHED))(error)
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

    /// The outcome if there is one, without waiting.
    pub fn try_wait(mut self) -> Result<Result<SnapshotInfo, Error>, Publication> {
        match self.done.try_recv() {
            Ok(done) => Ok(self.settle(done)),
            Err(TryRecvError::Disconnected) => Ok(self.settle(Err(Refusal::Closed.into()))),
            Err(TryRecvError::Empty) => Err(self),
        }
    }

    fn settle(&mut self, done: Result<(), Error>) -> Result<SnapshotInfo, Error> {
        done?;
        self.writer.finished = true;
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

/// One frame of a snapshot, decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    Item { key: &'a [u8], stamp: Lsn, value: &'a [u8] },
    End { items: u64, end: Lsn },
}

impl<'a> Part<'a> {
    pub(crate) fn decode(payload: &'a [u8]) -> Option<Part<'a>> {
        let (&tag, rest) = payload.split_first()?;
        let (first, rest) = rest.split_first_chunk::<8>()?;
        let first = u64::from_le_bytes(*first);
        match tag {
            ITEM => {
                let (length, rest) = rest.split_first_chunk::<4>()?;
                let (key, value) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
                Some(Part::Item { key, stamp: Lsn(first), value })
            }
            END => Some(Part::End { items: first, end: Lsn(u64::from_le_bytes(rest.try_into().ok()?)) }),
            _ => None,
        }
    }
}

/// Opens a snapshot and verifies its header against what the manifest says.
pub(crate) fn open(disk: &dyn Disk, journal: JournalId, info: &SnapshotInfo) -> Result<FrameReader, Error> {
    let name = snapshot_name(info.number);
    let file = match disk.open(&name) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::Missing { file: name, why: "the manifest names it" });
        }
        file => file.map_err(Error::io("open", &name))?,
    };
    let (header, seed) = Header::read(FileKind::Snapshot, &*file, &name)?;
    let misplaced = |why| Error::Misplaced { file: name.clone(), why };
    if header.journal != journal {
        return Err(misplaced("it is another journal's"));
    }
    if header.number != info.number || header.base != info.start.0 {
        return Err(misplaced("it is another snapshot"));
    }
    FrameReader::new(file, &name, seed, HEADER_BYTES as u64, 0)
}

/// Loads every item of the snapshot that the manifest describes as `info`.
///
/// Whatever is not exactly what was written is an error: a snapshot was synced before it counted, so it has no torn end.
pub(crate) fn load(
    disk: &dyn Disk,
    journal: JournalId,
    info: &SnapshotInfo,
    restore: &mut dyn Restore,
) -> Result<(), Error> {
    let mut reader = open(disk, journal, info)?;
    let mut items = 0;
    loop {
        match reader.advance()? {
            Step::Frame(Kind::Record) => {}
            Step::Frame(Kind::SyncMark) => return Err(reader.damage(Fault::NotARecord)),
            Step::End => return Err(reader.damage(Fault::Cut)),
            Step::Bad(fault) => return Err(reader.damage(fault)),
        }
        match Part::decode(reader.payload()).ok_or_else(|| reader.damage(Fault::Contradiction))? {
            Part::Item { key, stamp, value } => {
                if stamp < info.start || stamp > info.end {
                    return Err(reader.damage(Fault::Contradiction));
                }
                items += 1;
                restore.item(key, stamp, value).map_err(|rejected| Error::Rejected {
                    file: reader.name().to_owned(),
                    offset: reader.offset(),
                    why: rejected.0,
                })?;
            }
            Part::End { items: promised, end } => {
                let whole = promised == items && items == info.items && end == info.end;
                if !whole || reader.frame_end() != reader.file_bytes() {
                    return Err(reader.damage(Fault::Contradiction));
                }
                return Ok(());
            }
        }
    }
}

/// Bytes that a snapshot needs for an item beside its key and value.
pub const ITEM_OVERHEAD_BYTES: usize = FRAME_BYTES + ITEM_BYTES;
