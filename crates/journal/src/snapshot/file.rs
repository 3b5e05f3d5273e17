//! A snapshot's file: items into frames, and back.
//!
//! A header and frames ([`crate::record`]); a frame's payload is one of
//!
//! ```text
//! item   ┌──┬──────────┬─────────┬─────┬───────┐     end   ┌──┬──────────┬──────────┐
//!        │1 │ stamp u64│ klen u32│ key │ value │           │2 │ items u64│ end u64  │
//!        └──┴──────────┴─────────┴─────┴───────┘           └──┴──────────┴──────────┘
//! ```
//!
//! The end comes once and last. A file without it, or with anything behind it, is damaged: a snapshot counts only after it
//! was synced as a whole, so it has no torn end.
//!
//! Memory: [`WRITE_BYTES`], or the largest item. Cost: one copy and one crc over each byte.

use crate::Lsn;
use crate::disk::{Disk, DiskFile};
use crate::error::{Error, Fault, Refusal};
use crate::header::{FileKind, HEADER_BYTES, Header, JournalId};
use crate::manifest::SnapshotInfo;
use crate::record::{
    self, FRAME_BYTES, FRAME_PAYLOAD_BYTES_MAX, FrameReader, Kind, PAYLOAD_BYTES_MAX, Resync, Step,
};
use crate::segment::UNFINISHED;

const SUFFIX: &str = ".snapshot";
const ITEM: u8 = 1;
const END: u8 = 2;
/// Bytes of an item's payload beside key and value.
const ITEM_BYTES: usize = 13;
/// Bytes of the end's payload.
const END_BYTES: usize = 17;

/// Bytes gathered for one write.
pub const WRITE_BYTES: usize = 512 * 1024;

/// Bytes written between two syncs: what a sync of the log may have to queue behind.
pub const SYNC_BYTES: u64 = 4 << 20;

/// Bytes that a snapshot needs for an item beside its key and value.
pub const ITEM_OVERHEAD_BYTES: usize = FRAME_BYTES + ITEM_BYTES;

/// The name of the snapshot with this number.
pub(crate) fn snapshot_name(number: u64) -> String {
    format!("{number:020}{SUFFIX}")
}

/// The number in a snapshot's name; `None` if it is not one.
pub(crate) fn snapshot_number(name: &str) -> Option<u64> {
    let number = name.strip_suffix(SUFFIX)?.parse().ok()?;
    (snapshot_name(number) == name).then_some(number)
}

/// A snapshot's file being written, under a temporary name.
pub(crate) struct SnapshotFile {
    file: Box<dyn DiskFile>,
    number: u64,
    start: Lsn,
    seed: u32,
    /// Blank frames not yet written.
    frames: Vec<u8>,
    /// Bytes in the file, and up to where they are synced.
    written: u64,
    synced: u64,
    /// Index of the first frame in `frames`, modulo 2³² like in the file.
    index: u32,
    items: u64,
    /// See [`crate::Options::frame_payload_max`].
    frame_payload_max: usize,
}

impl SnapshotFile {
    pub(crate) fn create(
        disk: &dyn Disk,
        journal: JournalId,
        number: u64,
        start: Lsn,
        salt: u64,
    ) -> Result<SnapshotFile, Error> {
        let header = Header { kind: FileKind::Snapshot, journal, number, base: start.0, salt };
        let (header, seed) = header.encode();
        let name = snapshot_name(number) + UNFINISHED;
        let file = disk.create(&name).map_err(Error::io("create", &name))?;
        file.write_at(&header, 0).map_err(Error::io("write", &name))?;
        let frames = Vec::with_capacity(WRITE_BYTES);
        let written = HEADER_BYTES as u64;
        Ok(SnapshotFile {
            file,
            number,
            start,
            seed,
            frames,
            written,
            synced: 0,
            index: 0,
            items: 0,
            frame_payload_max: FRAME_PAYLOAD_BYTES_MAX,
        })
    }

    /// The longest payload of one frame, if not the default.
    pub(crate) fn set_frame_payload_max(&mut self, frame_payload_max: usize) {
        self.frame_payload_max = frame_payload_max;
    }

    /// Bytes written so far, and about to be.
    pub(crate) fn bytes(&self) -> u64 {
        self.written + self.frames.len() as u64
    }

    /// Adds an item. Errors: `TooLarge`, nothing was added; otherwise the file is lost.
    pub(crate) fn item(&mut self, key: &[u8], stamp: Lsn, value: &[u8]) -> Result<(), Error> {
        let length = ITEM_BYTES + key.len() + value.len();
        if length > PAYLOAD_BYTES_MAX || u32::try_from(key.len()).is_err() {
            return Err(Refusal::TooLarge.into());
        }
        // A large item must not stand in memory beside a full buffer.
        if self.frames.len() + length > WRITE_BYTES {
            self.write()?;
        }
        let at = self.frames.len();
        record::push_blank_header(Kind::Record, 0, &mut self.frames);
        self.frames.push(ITEM);
        self.frames.extend_from_slice(&stamp.0.to_le_bytes());
        self.frames.extend_from_slice(&(key.len() as u32).to_le_bytes());
        self.frames.extend_from_slice(key);
        self.frames.extend_from_slice(value);
        record::set_length(&mut self.frames, at, self.frame_payload_max);
        self.items += 1;
        Ok(())
    }

    /// Writes the end and syncs; see [`SnapshotInfo::end`].
    pub(crate) fn finish(&mut self, end: Lsn) -> Result<SnapshotInfo, Error> {
        record::push_blank_header(Kind::Record, END_BYTES, &mut self.frames);
        self.frames.push(END);
        self.frames.extend_from_slice(&self.items.to_le_bytes());
        self.frames.extend_from_slice(&end.0.to_le_bytes());
        self.write()?;
        self.sync()?;
        let SnapshotFile { number, start, items, written: bytes, .. } = *self;
        Ok(SnapshotInfo { number, start, end, items, bytes })
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
        Error::io(action, &(snapshot_name(self.number) + UNFINISHED))(error)
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

/// The same of a snapshot that may be damaged; `None`: it is not there, or nothing of it can be read.
pub(crate) fn open_damaged(
    disk: &dyn Disk,
    journal: JournalId,
    info: &SnapshotInfo,
) -> Result<Option<FrameReader>, Error> {
    match open(disk, journal, info) {
        Err(Error::Damaged { .. }) => {}
        Err(Error::Missing { .. } | Error::Misplaced { .. }) => return Ok(None),
        opened => return opened.map(Some),
    }
    let name = snapshot_name(info.number);
    let file = disk.open(&name).map_err(Error::io("open", &name))?;
    let mut damaged = [0; HEADER_BYTES];
    if file.read_at(&mut damaged, 0).map_err(Error::io("read", &name))? < HEADER_BYTES {
        return Ok(None);
    }
    match Header::recover(FileKind::Snapshot, journal, info.number, &damaged) {
        Some((header, seed)) if header.base == info.start.0 => {
            FrameReader::new(file, &name, seed, HEADER_BYTES as u64, 0).map(Some)
        }
        _ => Ok(None),
    }
}

/// An item where it stands.
pub(crate) struct ItemAt<'a> {
    pub(crate) file: &'a str,
    pub(crate) offset: u64,
    pub(crate) key: &'a [u8],
    pub(crate) stamp: Lsn,
    pub(crate) value: &'a [u8],
}

/// Hands over every item that `reader`, which has just been opened, finds, and sees that they are exactly those of `info`.
///
/// Errors: damage, at the first frame that is not right; or what `item` returned.
pub(crate) fn items(
    reader: &mut FrameReader,
    info: &SnapshotInfo,
    item: &mut dyn FnMut(ItemAt<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut items = 0;
    loop {
        match reader.advance()? {
            Step::Frame(Kind::Record) => {}
            Step::Frame(Kind::SyncMark | Kind::Part) => return Err(reader.damage(Fault::NotARecord)),
            Step::End => return Err(reader.damage(Fault::Cut)),
            Step::Bad(fault) => return Err(reader.damage(fault)),
        }
        match Part::decode(reader.payload()).ok_or_else(|| reader.damage(Fault::Contradiction))? {
            Part::Item { key, stamp, value } => {
                if stamp < info.start || stamp > info.end {
                    return Err(reader.damage(Fault::Contradiction));
                }
                items += 1;
                item(ItemAt { file: reader.name(), offset: reader.begin(), key, stamp, value })?;
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

/// Hands over every intact item, those behind damage included (`salvage.rs` says how frames are found there).
///
/// The first items behind damage, as far as they are one key's, are left out: they may be the rest of a value that came in several
/// items, the first of which is lost.
pub(crate) fn intact_items(
    reader: &mut FrameReader,
    info: &SnapshotInfo,
    item: &mut dyn FnMut(ItemAt<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut budget = reader.file_bytes().saturating_mul(16).saturating_add(1 << 20);
    let (mut is_behind_damage, mut headless, mut doubtful_to) = (false, None::<Vec<u8>>, None);
    loop {
        match reader.advance()? {
            Step::Frame(Kind::Record) => {
                if doubtful_to.take().is_some_and(|index| reader.index() <= index) {
                    continue;
                }
                let Some(Part::Item { key, stamp, value }) = Part::decode(reader.payload()) else { continue };
                if std::mem::take(&mut is_behind_damage) {
                    headless = Some(key.to_vec());
                }
                if headless.as_deref() == Some(key) {
                    continue;
                }
                headless = None;
                if (info.start..=info.end).contains(&stamp) {
                    item(ItemAt { file: reader.name(), offset: reader.begin(), key, stamp, value })?;
                }
            }
            Step::Frame(Kind::SyncMark | Kind::Part) => {}
            Step::End => return Ok(()),
            Step::Bad(_) => match reader.resync(&mut budget)? {
                Resync::Found { doubtful, .. } => (is_behind_damage, doubtful_to) = (true, doubtful),
                Resync::Nothing { .. } => return Ok(()),
            },
        }
    }
}
