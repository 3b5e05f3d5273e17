//! Tools for a journal at rest: `check` says what is there, `dump` shows it, `repair` makes it startable again.
//!
//! `check` and `dump` change nothing and take no lock, so they can look at a copy, or at a read-only directory; on a
//! journal in use they see a moment of it. `repair` takes the lock.
//!
//! What a repair does, and why it is safe to interrupt
//! - Every intact record, those behind damage included (`salvage.rs`), is copied into one new segment; the numbers of lost
//!   ones are filled with records that have an empty payload, which a replay skips. So no record gets another's number,
//!   and no stamp in the snapshot covers a new one.
//! - A damaged snapshot is written anew with the items that are intact.
//! - Then the manifest, with a higher epoch: from here on the new files count, and a start passes over effects that do
//!   not fit without the lost ones. A repair that was interrupted before is simply run again.
//! - Nothing that is damaged is deleted: segments from the first damage on and the snapshot get the suffix `.damaged` last.

use std::collections::BTreeSet;

use crate::chain::{At, Chain, Link, Pass};
use crate::disk::{Disk, DiskFile};
use crate::error::Error;
use crate::header::{COUNT_MAX, FileKind, HEADER_BYTES, Header, JournalId};
use crate::manifest::{MANIFEST, Manifest, SnapshotInfo};
use crate::policy::{Draw, Options};
use crate::record::{self, FRAME_BYTES, FRAME_PAYLOAD_BYTES_MAX, FrameReader, Kind, Step};
use crate::recovery::{Report, Restore};
use crate::salvage::{self, GAP_MAX};
use crate::segment::{ActiveSegment, Place, UNFINISHED, segment_name, segment_number};
use crate::snapshot::{self, ItemAt, Part, SnapshotFile, snapshot_name, snapshot_number};
use crate::{Lsn, recovery};

/// Suffix that a repair gives to files that are not part of the journal any more.
const DAMAGED: &str = ".damaged";

/// What a journal holds, and what is wrong with it.
#[derive(Debug, Default)]
pub struct Check {
    /// The manifest, if it is readable.
    pub manifest: Option<Manifest>,
    /// Intact items in the snapshot.
    pub items: u64,
    /// Intact records that a start would replay, up to the first damage.
    pub records: u64,
    /// LSN of the last of them; that of the snapshot's start if there is none.
    pub last: Lsn,
    /// Bytes of all segments and the snapshot.
    pub bytes: u64,
    /// Names of the segments that make up the log, oldest first.
    pub segments: Vec<String>,
    /// An unfinished write at the end, which the next start will cut. Nothing in it was ever durable.
    pub torn: Option<Torn>,
    /// What keeps the journal from starting; none if it is sound.
    pub damage: Vec<Error>,
    /// Intact records behind the first damage, which a repair keeps.
    pub salvageable: u64,
    /// What a repair would give up.
    pub loss: Loss,
}

/// An unfinished write at the log's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// The last segment's name.
    pub file: String,
    /// Where its valid records end.
    pub offset: u64,
    /// How many bytes follow, trailing zeros not counted.
    pub bytes: u64,
}

/// What a repair gives up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loss {
    /// Items that the snapshot should hold and that are not intact.
    pub items: u64,
    /// Records that are not intact. What was lost at the very end can't be counted if nothing behind it tells of it.
    pub records: u64,
    /// Bytes of the log that can't be read as records.
    pub bytes: u64,
    /// Files that are set aside under a new name.
    pub files: Vec<String>,
}

impl Check {
    /// Whether there is a journal at all, or something left of one.
    pub fn is_there(&self) -> bool {
        self.manifest.is_some() || !self.damage.is_empty()
    }

    /// Whether every byte is as it was written. That the effects fit each other is seen by a [`replay`].
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty()
    }
}

/// One thing in a journal, where it stands.
#[derive(Debug, Clone, Copy)]
pub enum Entry<'a> {
    /// A key's state in the snapshot.
    Item {
        /// Name of the file.
        file: &'a str,
        /// Where its frame begins.
        offset: u64,
        /// The key, as the snapshot's writer gave it.
        key: &'a [u8],
        /// The LSN up to which effects are in the value.
        stamp: Lsn,
        /// The state, opaque.
        value: &'a [u8],
    },
    /// A record of the log.
    Record {
        /// Name of the file.
        file: &'a str,
        /// Where its frame begins.
        offset: u64,
        /// Its number.
        lsn: Lsn,
        /// What was appended, opaque.
        payload: &'a [u8],
    },
}

/// Verifies every byte that a start would read. Errors: only what keeps it from looking; damage is in the result.
pub fn check(disk: &dyn Disk) -> Result<Check, Error> {
    Ok(Survey::make(disk)?.check)
}

/// Hands `visit` every item of the snapshot, then every record behind its start, up to the first damage, which is the error.
pub fn dump(disk: &dyn Disk, visit: &mut dyn FnMut(Entry<'_>) -> Result<(), Error>) -> Result<(), Error> {
    let Some(chain) = Chain::read(disk)? else { return Ok(()) };
    if let Some(info) = &chain.manifest.snapshot {
        let mut reader = snapshot::open(disk, chain.manifest.journal, info)?;
        snapshot::items(&mut reader, info, &mut |at| {
            let ItemAt { file, offset, key, stamp, value } = at;
            visit(Entry::Item { file, offset, key, stamp, value })
        })?;
    }
    if chain.segments.is_empty() {
        return Ok(());
    }
    chain.pass(disk, chain.first_needed(), &mut |at: At<'_>| {
        visit(Entry::Record { file: at.file, offset: at.offset, lsn: at.lsn, payload: at.payload })?;
        Ok(Pass::On)
    })?;
    Ok(())
}

/// What the journal is made of; `None` if there is none. Errors: it can't be read.
pub fn manifest(disk: &dyn Disk) -> Result<Option<Manifest>, Error> {
    Manifest::read(disk)
}

/// The names of the files that count beside the manifest: the snapshot, then the segments, oldest first.
pub fn files(disk: &dyn Disk) -> Result<Vec<String>, Error> {
    let Some(manifest) = Manifest::read(disk)? else { return Ok(Vec::new()) };
    let names = disk.list().map_err(Error::io("list the directory of", MANIFEST))?;
    let numbers: BTreeSet<u64> = names.iter().filter_map(|name| segment_number(name)).collect();
    let segments = numbers.range(manifest.first_segment..).map(|&number| segment_name(number));
    Ok(manifest.snapshot.iter().map(|info| snapshot_name(info.number)).chain(segments).collect())
}

/// Does to `restore` what a start does, and nothing to the files. Errors: what would stop a start.
pub fn replay(disk: &dyn Disk, restore: &mut dyn Restore) -> Result<Option<Report>, Error> {
    let Some(chain) = Chain::read(disk)? else { return Ok(None) };
    recovery::replay(disk, &chain, restore).map(|(report, _)| Some(report))
}

/// Has a start pass over effects that do not fit, as after a repair. For a journal whose every byte is right.
pub fn raise_epoch(disk: &dyn Disk) -> Result<(), Error> {
    let _lock = recovery::lock(disk)?;
    let Some(manifest) = Manifest::read(disk)? else { return Ok(()) };
    Manifest { epoch: (manifest.epoch + 1).min(COUNT_MAX), ..manifest }.write(disk)
}

/// Drops what is damaged in log and snapshot, and keeps the rest, so that the journal starts again.
///
/// Returns what `check` saw before, whose `loss` is what is gone. A sound journal is left alone. Errors: it is in use, it was
/// written by a later version, or the disk failed; then run it again.
pub fn repair(disk: &dyn Disk) -> Result<Check, Error> {
    let _lock = recovery::lock(disk)?;
    let survey = Survey::make(disk)?;
    if !survey.check.is_sound() {
        survey.repair(disk)?;
    }
    Ok(survey.check)
}

/// A look at everything, and the plan that follows from it.
struct Survey {
    check: Check,
    journal: JournalId,
    /// The snapshot that counts, intact or not.
    snapshot: Option<SnapshotInfo>,
    snapshot_damaged: bool,
    /// Every segment whose header is sound, oldest first, if anything is damaged.
    readable: Vec<Link>,
    /// The first record that is needed beside the snapshot.
    first: Lsn,
    /// The first record that is lost, or would be next.
    next: Lsn,
    /// Above every number in use.
    numbers_below: u64,
}

impl Survey {
    fn make(disk: &dyn Disk) -> Result<Survey, Error> {
        let names = disk.list().map_err(Error::io("list the directory of", MANIFEST))?;
        let mut check = Check::default();
        check.manifest = noted(Manifest::read(disk), &mut check.damage)?.flatten();
        let segments: BTreeSet<u64> = names.iter().filter_map(|name| segment_number(name)).collect();
        let snapshots: BTreeSet<u64> = names.iter().filter_map(|name| snapshot_number(name)).collect();
        if check.manifest.is_none()
            && check.damage.is_empty()
            && !(segments.is_empty() && snapshots.is_empty())
        {
            let why = "there are segments or snapshots";
            check.damage.push(Error::Missing { file: MANIFEST.to_owned(), why });
        }
        let journal = check.manifest.map_or_else(|| journal_of(disk, &segments), |manifest| manifest.journal);
        let numbers_below =
            segments.iter().chain(&snapshots).max().map_or(1, |newest| newest.saturating_add(1));
        let mut survey = Survey {
            check,
            journal,
            snapshot: None,
            snapshot_damaged: false,
            readable: Vec::new(),
            first: Lsn(1),
            next: Lsn(1),
            numbers_below,
        };
        survey.look_at_snapshot(disk, &snapshots)?;
        survey.look_at_log(disk, &segments)?;
        Ok(survey)
    }

    fn look_at_snapshot(&mut self, disk: &dyn Disk, snapshots: &BTreeSet<u64>) -> Result<(), Error> {
        let named = match self.check.manifest {
            Some(manifest) => manifest.snapshot,
            // Without a manifest: the newest one that is whole.
            None => snapshots.iter().rev().find_map(|&number| whole_snapshot(disk, self.journal, number)),
        };
        self.snapshot = named;
        let Some(info) = named else { return Ok(()) };
        (self.first, self.next) = (info.start.next(), info.start.next());
        self.check.bytes += info.bytes;
        let mut items = 0;
        let seen = each_item(disk, self.journal, &info, &mut |_| {
            items += 1;
            Ok(())
        });
        self.snapshot_damaged = noted(seen, &mut self.check.damage)?.is_none();
        self.check.items = items;
        self.check.loss.items = info.items.saturating_sub(items);
        Ok(())
    }

    fn look_at_log(&mut self, disk: &dyn Disk, segments: &BTreeSet<u64>) -> Result<(), Error> {
        let manifest = self.check.manifest.unwrap_or(Manifest {
            journal: self.journal,
            epoch: 0,
            first_segment: segments.first().copied().unwrap_or(1),
            last_segment: 0,
            snapshot: self.snapshot,
        });
        let mut chain =
            Chain { manifest: Manifest { snapshot: self.snapshot, ..manifest }, segments: Vec::new() };
        let wanted = segments.last().copied().unwrap_or(0).max(manifest.last_segment);
        for number in manifest.first_segment..=wanted {
            match noted(self.link(disk, &chain, number, segments), &mut self.check.damage)? {
                Some(link) => chain.segments.push(link),
                None => break,
            }
        }
        if chain.segments.is_empty() && self.snapshot.is_some() && self.check.is_sound() {
            let file = segment_name(manifest.first_segment);
            self.check.damage.push(Error::Missing { file, why: "there is a snapshot" });
        }
        self.pass(disk, &mut chain)?;
        if self.check.is_sound()
            && let Some(info) = self.snapshot.filter(|info| info.end >= self.next)
        {
            let (snapshot, log_end) = (snapshot_name(info.number), Lsn(self.next.0 - 1));
            self.check.damage.push(Error::LogBehindSnapshot { snapshot, log_end, snapshot_end: info.end });
        }
        for link in &chain.segments {
            self.check.segments.push(segment_name(link.segment.number));
            self.check.bytes += link.segment.bytes;
        }
        if !self.check.is_sound() {
            let damaged = chain.segments.last().map_or(manifest.first_segment, |link| link.segment.number);
            self.look_behind(disk, segments.range(manifest.first_segment..), damaged)?;
        }
        Ok(())
    }

    /// Counts what a repair would keep and lose. `damaged`: number of the first segment that is not sound to its end.
    fn look_behind<'a>(
        &mut self,
        disk: &dyn Disk,
        there: impl Iterator<Item = &'a u64>,
        damaged: u64,
    ) -> Result<(), Error> {
        for &number in there {
            let link = noted(Link::read(disk, self.journal, number), &mut Vec::new())?;
            let base = self.readable.last().map_or(Lsn(1), |before| before.segment.base);
            match link.filter(|link| link.segment.base >= base) {
                Some(link) => self.readable.push(link),
                None => {
                    let name = segment_name(number);
                    self.check.loss.bytes += disk.open(&name).and_then(|file| file.len()).unwrap_or(0);
                }
            }
            if number >= damaged {
                self.check.loss.files.push(segment_name(number));
            }
        }
        let mut behind = 0;
        let salvaged = salvage::records(disk, &self.readable, self.first, &mut |lsn, _| {
            behind += u64::from(lsn >= self.next);
            Ok(())
        })?;
        let given = (salvaged.last.0 + 1).saturating_sub(self.first.0);
        self.check.salvageable = behind;
        self.check.loss.records = given.saturating_sub(salvaged.records);
        self.check.loss.bytes += salvaged.unreadable_bytes;
        Ok(())
    }

    /// Reads the header of a segment that is to follow the chain.
    fn link(
        &self,
        disk: &dyn Disk,
        chain: &Chain,
        number: u64,
        there: &BTreeSet<u64>,
    ) -> Result<Link, Error> {
        let file = segment_name(number);
        if !there.contains(&number) {
            return Err(Error::Missing { file, why: "it should be between others, or the last" });
        }
        let link = Link::read(disk, self.journal, number)?;
        let fits = match chain.segments.last() {
            None => link.segment.base <= self.next && link.segment.base > Lsn::ZERO,
            Some(before) => link.segment.base >= before.segment.base,
        };
        if fits { Ok(link) } else { Err(Error::Misplaced { file, why: "it does not begin where it should" }) }
    }

    /// Passes over the records up to the first damage, and drops the segments behind that from the chain.
    fn pass(&mut self, disk: &dyn Disk, chain: &mut Chain) -> Result<(), Error> {
        self.check.last = Lsn(self.next.0 - 1);
        if chain.segments.is_empty() {
            return Ok(());
        }
        let (mut records, mut last) = (0, self.check.last);
        let passed = chain.pass(disk, self.next, &mut |at: At<'_>| {
            records += 1;
            last = at.lsn;
            Ok(Pass::On)
        });
        self.check.records = records;
        self.check.last = last;
        self.next = last.next();
        match passed {
            Ok(tail) => {
                self.check.torn = tail.filter(|tail| tail.torn_bytes > 0).map(|tail| Torn {
                    file: segment_name(tail.number),
                    offset: tail.offset,
                    bytes: tail.torn_bytes,
                });
            }
            Err(error) => {
                if let Error::Damaged { file, .. } = &error {
                    let number = segment_number(file).unwrap_or(0);
                    chain.segments.retain(|link| link.segment.number <= number);
                }
                noted::<()>(Err(error), &mut self.check.damage)?;
            }
        }
        Ok(())
    }

    fn repair(&self, disk: &dyn Disk) -> Result<(), Error> {
        let mut draw = Draw::new(&Options::default());
        let snapshot = match self.snapshot {
            Some(info) if self.snapshot_damaged => Some(self.salvage_snapshot(disk, &info, draw.next())?),
            snapshot => snapshot,
        };
        let number = self.numbers_below.min(COUNT_MAX);
        let place = Place { journal: self.journal, number, base: self.first };
        let mut segment = ActiveSegment::draft(disk, place, draw.next())?;
        let next = self.copy_intact(disk, &mut segment)?;
        if let Some(info) = snapshot {
            let log_end = Lsn(next.0 - 1);
            if info.end.0.saturating_sub(log_end.0) > GAP_MAX {
                let snapshot = snapshot_name(info.number);
                return Err(Error::LogBehindSnapshot { snapshot, log_end, snapshot_end: info.end });
            }
            fill(&mut segment, next, info.end)?;
        }
        segment.publish(disk)?;
        let epoch = self.check.manifest.map_or(0, |manifest| manifest.epoch);
        Manifest {
            journal: self.journal,
            epoch: (epoch + 1).min(COUNT_MAX),
            first_segment: number,
            last_segment: number,
            snapshot,
        }
        .write(disk)?;
        self.set_aside(disk)
    }

    /// Copies every intact record into `segment`, with empty ones for those between; returns the LSN after the last.
    fn copy_intact(&self, disk: &dyn Disk, segment: &mut ActiveSegment) -> Result<Lsn, Error> {
        const AT_ONCE: usize = 1 << 20;
        let mut next = self.first;
        let mut frames = Vec::new();
        let salvaged = salvage::records(disk, &self.readable, self.first, &mut |lsn, payload| {
            if lsn > next {
                segment.append(&mut frames)?;
                frames.clear();
                fill(segment, next, Lsn(lsn.0 - 1))?;
            }
            next = lsn.next();
            record::push_record(payload, FRAME_PAYLOAD_BYTES_MAX, &mut frames);
            if frames.len() >= AT_ONCE {
                segment.append(&mut frames)?;
                frames.clear();
            }
            Ok(())
        })?;
        segment.append(&mut frames)?;
        // The numbers of what was lost at the end were given, too.
        if salvaged.last >= next && salvaged.last.0 - next.0 <= GAP_MAX {
            fill(segment, next, salvaged.last)?;
            next = salvaged.last.next();
        }
        Ok(next)
    }

    /// Renames what is damaged. The manifest does not name it any more.
    fn set_aside(&self, disk: &dyn Disk) -> Result<(), Error> {
        let snapshot = self.snapshot.filter(|_| self.snapshot_damaged).map(|info| snapshot_name(info.number));
        for name in self.check.loss.files.iter().chain(&snapshot) {
            match disk.rename(name, &format!("{name}{DAMAGED}")) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io("rename", name)(error));
                }
                _ => {}
            }
        }
        disk.sync_dir().map_err(Error::io("sync the directory of", MANIFEST))
    }

    /// Writes a snapshot with the items of a damaged one that are intact.
    fn salvage_snapshot(
        &self,
        disk: &dyn Disk,
        info: &SnapshotInfo,
        salt: u64,
    ) -> Result<SnapshotInfo, Error> {
        let number = self.numbers_below.max(info.number + 1);
        let mut copy = SnapshotFile::create(disk, self.journal, number, info.start, salt)?;
        // It ends with the damage that is known already; what was copied until then is intact.
        let copied = each_item(disk, self.journal, info, &mut |at| copy.item(at.key, at.stamp, at.value));
        noted(copied, &mut Vec::new())?;
        let info = copy.finish(info.end)?;
        let name = snapshot_name(number);
        let unfinished = name.clone() + UNFINISHED;
        disk.rename(&unfinished, &name).map_err(Error::io("rename", &unfinished))?;
        disk.sync_dir().map_err(Error::io("sync the directory of", &name))?;
        Ok(info)
    }
}

/// Appends records without a payload, from `next` to `end`.
fn fill(segment: &mut ActiveSegment, next: Lsn, end: Lsn) -> Result<(), Error> {
    const AT_ONCE: u64 = 65_536;
    let mut next = next.0;
    while next <= end.0 {
        let count = (end.0 - next + 1).min(AT_ONCE);
        let mut frames = Vec::with_capacity(count as usize * FRAME_BYTES);
        for _ in 0..count {
            record::push_record(&[], 1, &mut frames);
        }
        segment.append(&mut frames)?;
        next += count;
    }
    Ok(())
}

/// Notes damage and goes on without; other errors end the look.
fn noted<T>(outcome: Result<T, Error>, damage: &mut Vec<Error>) -> Result<Option<T>, Error> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(
            error @ (Error::Damaged { .. }
            | Error::Missing { .. }
            | Error::Misplaced { .. }
            | Error::LogBehindSnapshot { .. }),
        ) => {
            damage.push(error);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Whose files these are, by the first readable header; a new identity if there is none.
fn journal_of(disk: &dyn Disk, segments: &BTreeSet<u64>) -> JournalId {
    let read = |number: &u64| {
        let name = segment_name(*number);
        let file = disk.open(&name).ok()?;
        Some(Header::read(FileKind::Segment, &*file, &name).ok()?.0.journal)
    };
    segments.iter().find_map(read).unwrap_or_else(|| JournalId::draw(&mut Draw::new(&Options::default())))
}

/// What a manifest would say about a snapshot file, if that is whole.
fn whole_snapshot(disk: &dyn Disk, journal: JournalId, number: u64) -> Option<SnapshotInfo> {
    let name = snapshot_name(number);
    let file: Box<dyn DiskFile> = disk.open(&name).ok()?;
    let bytes = file.len().ok()?;
    let (header, seed) = Header::read(FileKind::Snapshot, &*file, &name).ok()?;
    if header.journal != journal || header.number != number {
        return None;
    }
    let mut reader = FrameReader::new(file, &name, seed, HEADER_BYTES as u64, 0).ok()?;
    while let Ok(Step::Frame(Kind::Record)) = reader.advance() {
        if let Part::End { items, end } = Part::decode(reader.payload())? {
            return Some(SnapshotInfo { number, start: Lsn(header.base), end, items, bytes });
        }
    }
    None
}

/// Hands over each intact item of a snapshot up to the first damage, which is the error.
fn each_item(
    disk: &dyn Disk,
    journal: JournalId,
    info: &SnapshotInfo,
    item: &mut dyn FnMut(ItemAt<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut reader = snapshot::open(disk, journal, info)?;
    snapshot::items(&mut reader, info, item)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::simulated::{Crash, SimulatedDisk};
    use crate::simulation::rig::{Replayed, Rig, options, payload};

    /// A journal with a snapshot of three keys and 12 records in several segments behind it.
    fn sound() -> SimulatedDisk {
        let mut rig = Rig::new(options(300));
        rig.append(5);
        rig.snapshot(&["a", "b", "c"]).unwrap();
        rig.append(12).wait(30);
        rig.crash(Crash::Process)
    }

    fn segments(disk: &SimulatedDisk) -> Vec<String> {
        disk.names().into_iter().filter(|name| name.ends_with(".segment")).collect()
    }

    #[test]
    fn a_sound_journal_checks_dumps_and_is_left_alone_by_a_repair() {
        let disk = sound();
        let checked = check(&disk).unwrap();
        assert!(checked.is_sound());
        assert_eq!((checked.items, checked.records, checked.last), (3, 12, Lsn(17)));
        assert_eq!((checked.torn, &checked.loss), (None, &Loss::default()));
        assert_eq!(checked.segments, segments(&disk));
        let mut lines = Vec::new();
        dump(&disk, &mut |entry| {
            lines.push(match entry {
                Entry::Item { key, stamp, .. } => format!("{} {stamp}", String::from_utf8_lossy(key)),
                Entry::Record { lsn, payload: bytes, .. } => {
                    assert_eq!(bytes, payload(lsn));
                    format!("{lsn}")
                }
            });
            Ok(())
        })
        .unwrap();
        assert_eq!(lines[..4], ["a 5", "b 5", "c 5", "6"]);
        assert_eq!(lines.len(), 15);
        let before: Vec<_> = disk.names().into_iter().map(|name| disk.bytes(&name)).collect();
        assert!(repair(&disk).unwrap().is_sound());
        assert_eq!(disk.names().into_iter().map(|name| disk.bytes(&name)).collect::<Vec<_>>(), before);
    }

    #[test]
    fn a_torn_tail_is_no_damage() {
        let disk = sound();
        let last = segments(&disk).pop().unwrap();
        let mut bytes = disk.bytes(&last).unwrap();
        let offset = bytes.len() as u64;
        bytes.extend(b"an unfinished write");
        disk.put(&last, &bytes);
        let checked = check(&disk).unwrap();
        assert!(checked.is_sound());
        assert_eq!(checked.torn, Some(Torn { file: last, offset, bytes: 19 }));
    }

    #[test]
    fn damage_in_the_log_is_cut_after_saying_what_is_lost() {
        for (position, segment) in segments(&sound()).into_iter().enumerate() {
            let disk = sound();
            let whole = segments(&disk);
            // The first byte of a payload, in the first record of the segment.
            disk.flip_bit(&segment, (64 + 24) * 8);
            let checked = check(&disk).unwrap();
            assert_eq!(checked.damage.len(), 1, "{segment}");
            assert!(checked.damage[0].to_string().contains(&segment));
            assert_eq!(checked.loss.files, whole[position..]);
            assert_eq!(checked.segments, whole[..=position]);
            // What the tool says is what happens: one record is lost, and all behind it are kept.
            assert_eq!((checked.loss.records, checked.loss.items), (1, 0));
            assert_eq!(checked.records + checked.salvageable, 11);

            let repaired = repair(&disk).unwrap();
            assert_eq!(repaired.loss, checked.loss);
            let mut rig = Rig::open(&disk, options(300)).unwrap();
            assert_eq!((rig.report.last, rig.report.epoch), (Lsn(17), 1));
            assert_eq!(rig.replayed.items.len(), 3);
            assert_kept(&rig.replayed, 11);
            for name in &checked.loss.files {
                assert!(disk.names().contains(&format!("{name}.damaged")));
            }
            // And it goes on from there.
            rig.append(3);
            assert_eq!(rig.journal.last_lsn(), Lsn(20));
            let disk = rig.crash(Crash::Power);
            assert_kept(&Rig::open(&disk, options(300)).unwrap().replayed, 14);
        }
    }

    /// Checks that so many records are there, each of them one that was appended, in order.
    fn assert_kept(replayed: &Replayed, records: u64) {
        assert!(replayed.records.is_sorted_by_key(|(lsn, _)| *lsn));
        for (lsn, bytes) in &replayed.records {
            assert_eq!(*bytes, payload(*lsn), "{lsn}");
        }
        assert_eq!(replayed.records.len() as u64, records);
    }

    #[test]
    fn a_flipped_byte_near_the_beginning_loses_one_record_of_ten_thousand() {
        let mut rig = Rig::new(options(1 << 30));
        rig.batch(10_000).turn().wait(30);
        let disk = rig.crash(Crash::Process);
        disk.flip_bit(&segment_name(1), 200 * 8);
        let checked = check(&disk).unwrap();
        assert_eq!((checked.loss.records, checked.records + checked.salvageable), (1, 9_999));
        assert!(checked.loss.bytes < 100, "{:?}", checked.loss);
        repair(&disk).unwrap();
        let rig = Rig::open(&disk, options(1 << 30)).unwrap();
        assert_eq!(rig.report.last, Lsn(10_000));
        assert_kept(&rig.replayed, 9_999);
    }

    #[test]
    fn the_end_of_a_record_whose_parts_are_damaged_is_no_record() {
        let mut rig = Rig::new(options(1 << 30));
        rig.append(2);
        rig.journal.append(&vec![b'l'; 2 * FRAME_PAYLOAD_BYTES_MAX + 5]).unwrap();
        rig.turn();
        rig.batch(2).turn().wait(30);
        let disk = rig.crash(Crash::Process);
        // In its first part, and in its second.
        for offset in [1000, FRAME_PAYLOAD_BYTES_MAX + 5000] {
            disk.flip_bit(&segment_name(1), offset * 8);
            let checked = check(&disk).unwrap();
            assert_eq!((checked.records, checked.salvageable, checked.loss.records), (2, 2, 1));
            disk.flip_bit(&segment_name(1), offset * 8);
        }
        disk.flip_bit(&segment_name(1), 1000 * 8);
        repair(&disk).unwrap();
        assert_kept(&Rig::open(&disk, options(1 << 30)).unwrap().replayed, 4);
    }

    #[test]
    fn whatever_bit_is_flipped_a_repaired_journal_starts_with_a_true_prefix() {
        let disk = sound();
        for name in disk.names() {
            // Every seventh, so that every place in a byte has its turn.
            for bit in (0..disk.bytes(&name).unwrap().len() * 8).step_by(7) {
                let disk = sound();
                disk.flip_bit(&name, bit);
                let sound = check(&disk).unwrap().is_sound();
                let lost = repair(&disk).unwrap().loss;
                let rig = Rig::open(&disk, options(300));
                let rig = rig.unwrap_or_else(|error| panic!("bit {bit} of {name}: {error}"));
                // Nothing tells how many records the last segment held, if its header is gone.
                let is_untold = segments(&disk).iter().all(|segment| *segment != name) && bit < 64 * 8;
                let lost_records =
                    if is_untold { 12 - rig.replayed.records.len() as u64 } else { lost.records };
                assert_kept(&rig.replayed, 12 - lost_records);
                assert!(
                    lost_records <= 1 || name.ends_with(".segment") && bit < 64 * 8,
                    "bit {bit} of {name}"
                );
                assert!(rig.replayed.items.len() as u64 + lost.items >= 3);
                assert_eq!(rig.report.epoch, u64::from(!sound), "bit {bit} of {name}");
                assert!(check(&disk).unwrap().is_sound());
            }
        }
    }

    #[test]
    fn a_repair_that_stops_half_way_is_run_again() {
        let victim = segments(&sound())[1].clone();
        let damaged = || {
            let disk = sound();
            disk.flip_bit(&victim, (64 + 24) * 8);
            disk
        };
        let disk = damaged();
        let before = disk.operations();
        repair(&disk).unwrap();
        let operations = disk.operations() - before;
        for operation in 0..operations {
            for crash in [Crash::Process, Crash::Power] {
                let disk = damaged();
                disk.crash_at(disk.operations() + operation);
                let stopped = repair(&disk);
                assert!(stopped.is_err(), "operation {operation}");
                disk.restart(crash);
                repair(&disk).unwrap();
                let rig = Rig::open(&disk, options(300)).unwrap();
                assert_eq!(rig.report.last, Lsn(17), "operation {operation} {crash:?}");
                assert_kept(&rig.replayed, 11);
            }
        }
    }

    #[test]
    fn missing_files_are_given_up_one_by_one() {
        for name in sound().names() {
            let disk = sound();
            disk.remove(&name);
            let checked = check(&disk).unwrap();
            assert!(!checked.is_sound(), "{name}");
            let lost = repair(&disk).unwrap().loss.records;
            let rig = Rig::open(&disk, options(300)).unwrap();
            assert!(rig.report.last >= Lsn(5), "{name}: {:?}", rig.report);
            // Nothing tells how many records the last segment held.
            let is_untold = name == *segments(&sound()).last().unwrap();
            let kept = rig.replayed.records.len() as u64;
            assert!(
                kept == 12 - lost || is_untold && (1..12).contains(&kept),
                "{name}: {kept} kept, {lost} lost"
            );
            let items = if name.ends_with(".snapshot") { 0 } else { 3 };
            assert_eq!(rig.replayed.items.len(), items, "{name}");
        }
    }

    #[test]
    fn a_log_behind_its_snapshot_is_filled_so_that_no_stamp_covers_a_new_record() {
        let mut rig = Rig::new(options(1 << 20));
        rig.append(5);
        let mut writer = rig.engine.snapshot(&rig.journal, 0).unwrap();
        rig.append(3);
        writer.item(b"a", Lsn(8), b"a as of 8").unwrap();
        let publication = writer.complete().unwrap();
        rig.engine.publish(publication, 0).unwrap();
        let disk = rig.crash(Crash::Process);
        disk.truncate(&segment_name(2), 64);
        assert!(matches!(check(&disk).unwrap().damage[..], [Error::LogBehindSnapshot { .. }]));
        repair(&disk).unwrap();
        let mut rig = Rig::open(&disk, options(300)).unwrap();
        assert_eq!((rig.report.last, rig.replayed.records.len()), (Lsn(8), 0));
        rig.append(1);
        assert_eq!(rig.durable(), 9);
    }

    #[test]
    fn a_journal_in_use_is_not_repaired() {
        let mut rig = Rig::new(options(300));
        rig.append(1);
        assert!(matches!(repair(&rig.disk), Err(Error::Locked { .. })));
    }

    #[test]
    fn an_empty_directory_holds_no_journal() {
        let disk = SimulatedDisk::new(1);
        assert!(!check(&disk).unwrap().is_there());
        dump(&disk, &mut |_| panic!("there is nothing")).unwrap();
    }
}
