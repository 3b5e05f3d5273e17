//! A look at everything that a journal consists of, sound or not.

use std::collections::BTreeSet;

use super::{Check, Torn};
use crate::Lsn;
use crate::chain::{At, Chain, Link, Pass};
use crate::disk::{Disk, DiskFile};
use crate::error::Error;
use crate::header::{FileKind, HEADER_BYTES, Header, JournalId};
use crate::manifest::{MANIFEST, Manifest, SnapshotInfo};
use crate::policy::{Draw, Options};
use crate::record::{FrameReader, Kind, Step};
use crate::salvage::{self};
use crate::segment::{segment_name, segment_number};
use crate::snapshot::{self, ItemAt, Part, snapshot_name, snapshot_number};

/// A look at everything, and the plan that follows from it.
pub(super) struct Survey {
    pub(super) check: Check,
    pub(super) journal: JournalId,
    /// The snapshot that counts, intact or not.
    pub(super) snapshot: Option<SnapshotInfo>,
    pub(super) snapshot_damaged: bool,
    /// Every segment whose header is sound, or can be told, oldest first, if anything is damaged.
    pub(super) readable: Vec<Link>,
    /// The first record that is needed beside the snapshot.
    pub(super) first: Lsn,
    /// The first record that is lost, or would be next.
    pub(super) next: Lsn,
    /// Above every number in use.
    pub(super) numbers_below: u64,
}

impl Survey {
    pub(super) fn make(disk: &dyn Disk) -> Result<Survey, Error> {
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
        survey.survey_snapshot(disk, &snapshots)?;
        survey.survey_log(disk, &segments)?;
        Ok(survey)
    }

    fn survey_snapshot(&mut self, disk: &dyn Disk, snapshots: &BTreeSet<u64>) -> Result<(), Error> {
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
        if self.snapshot_damaged {
            items = 0;
            each_intact_item(disk, self.journal, &info, &mut |_| {
                items += 1;
                Ok(())
            })?;
        }
        self.check.items = items;
        self.check.loss.items = info.items.saturating_sub(items);
        Ok(())
    }

    fn survey_log(&mut self, disk: &dyn Disk, segments: &BTreeSet<u64>) -> Result<(), Error> {
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
            self.survey_behind(disk, segments.range(manifest.first_segment..), damaged)?;
        }
        Ok(())
    }

    /// Counts what a repair would keep and lose. `damaged`: number of the first segment that is not sound to its end.
    fn survey_behind<'a>(
        &mut self,
        disk: &dyn Disk,
        there: impl Iterator<Item = &'a u64>,
        damaged: u64,
    ) -> Result<(), Error> {
        for &number in there {
            let link = match Link::read(disk, self.journal, number) {
                Err(Error::Damaged { .. }) => Link::recover(disk, self.journal, number)?,
                link => noted(link, &mut Vec::new())?,
            };
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
}

/// Notes damage and goes on without; other errors end the look.
pub(super) fn noted<T>(outcome: Result<T, Error>, damage: &mut Vec<Error>) -> Result<Option<T>, Error> {
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

/// Hands over each intact item of a damaged snapshot.
pub(super) fn each_intact_item(
    disk: &dyn Disk,
    journal: JournalId,
    info: &SnapshotInfo,
    item: &mut dyn FnMut(ItemAt<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    match snapshot::open_damaged(disk, journal, info)? {
        Some(mut reader) => snapshot::intact_items(&mut reader, info, item),
        None => Ok(()),
    }
}

/// Hands over each item of a snapshot up to the first damage, which is the error.
fn each_item(
    disk: &dyn Disk,
    journal: JournalId,
    info: &SnapshotInfo,
    item: &mut dyn FnMut(ItemAt<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut reader = snapshot::open(disk, journal, info)?;
    snapshot::items(&mut reader, info, item)
}
