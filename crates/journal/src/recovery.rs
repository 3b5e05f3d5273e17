//! Recovery: from the files a crash left to a journal that goes on.
//!
//! 1. [`Recovery::open`]: take the lock, read the manifest, verify every header. Nothing is changed.
//! 2. [`Recovery::replay`]: hand over the snapshot's items, then every record behind its start. Nothing is changed, so a
//!    crash in here changes nothing either.
//! 3. [`Recovered::start`]: write the records that are not proven durable into a new segment, which makes the old ones void
//!    and cuts the torn tail at the same instant; then remove what the manifest doesn't name.
//!
//! If there is no room for step 3, the journal starts all the same: in the state that a full disk leaves it in while it runs
//! (`engine/failure.rs`), refusing writes, with what is to be written again in memory. It goes on by itself.
//!
//! Why records are written again in step 3. What was read may stand only in the page cache: a killed process leaves there
//! what it wrote and never synced, and after a failed sync even pages marked clean that are not on the disk, which a
//! later sync reports as safe. So only what a sync mark or a later segment vouches for counts as durable; the
//! rest, at most what one crash can leave unsynced, is written and synced under a new name.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::chain::{At, Chain, Pass, Tail};
use crate::disk::Disk;
use crate::engine::{Engine, Station};
use crate::error::Error;
use crate::front::{Front, Notify};
use crate::header::JournalId;
use crate::manifest::Manifest;
use crate::pen::{Batch, Pen};
use crate::policy::{Draw, Options, SEGMENT_BYTES_MAX, TornTail};
use crate::record::{self, FRAME_BYTES, FrameReader, Kind, MARK_BYTES, Step};
use crate::segment::{ActiveSegment, Place, Segment};
use crate::snapshot::{self, snapshot_number};
use crate::writer::Journal;
use crate::{Lsn, Progress, SnapshotInfo};

/// The name of the lock file.
const LOCK: &str = "LOCK";

/// Claims the directory for this process.
pub(crate) fn lock(disk: &dyn Disk) -> Result<Box<dyn Send>, Error> {
    disk.lock(LOCK).map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => Error::Locked { file: LOCK.to_owned() },
        _ => Error::io("lock", LOCK)(error),
    })
}

/// Bytes of records carried into a new segment in one write.
const CARRY_BYTES: usize = 1 << 20;

/// Whoever rebuilds state from a journal.
pub trait Restore {
    /// Before anything else: the snapshot whose items come first, if there is one.
    fn begin(&mut self, _snapshot: Option<SnapshotInfo>) {}

    /// Sets the state of `key` as of `stamp`. All items come before the first record.
    fn item(&mut self, key: &[u8], stamp: Lsn, value: &[u8]) -> Result<(), Rejected>;

    /// Applies a record, but for its effects on keys whose stamp [covers](Lsn::covers) `lsn`. LSNs rise; one is left out
    /// only if its record has an empty payload, which has no effect.
    fn record(&mut self, lsn: Lsn, payload: &[u8]) -> Result<(), Rejected>;

    /// Told now and then how far the replay is.
    fn progress(&mut self, _progress: Progress) {}
}

/// The receiver of a replay does not understand a payload, and why. The replay stops with [`Error::Rejected`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejected(pub &'static str);

/// A journal's files, locked and their headers verified.
pub struct Recovery {
    station: Station,
    chain: Option<Chain>,
}

/// What a replay found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// LSN of the last record; the next append gets the one after.
    pub last: Lsn,
    /// Items loaded from the snapshot.
    pub items: u64,
    /// Records replayed from the log.
    pub records: u64,
    /// Bytes of the unfinished write at the log's end, which starting the journal cuts. Not 0: warn.
    pub torn_bytes: u64,
    /// See [`Manifest::epoch`].
    pub epoch: u64,
}

/// A journal whose records have been handed over and which can go on.
pub struct Recovered {
    station: Station,
    chain: Option<Chain>,
    tail: Option<Tail>,
    report: Report,
}

impl Recovery {
    /// Locks the directory and looks at its files; an empty directory is an empty journal.
    ///
    /// Errors: `Locked`, and whatever keeps the journal from being read. Nothing was changed.
    pub fn open(disk: Arc<dyn Disk>, options: Options) -> Result<Recovery, Error> {
        let mut options = options;
        options.segment_bytes = options.segment_bytes.min(SEGMENT_BYTES_MAX);
        let lock = lock(&*disk)?;
        let chain = Chain::read(&*disk)?;
        let draw = Draw::new(&options);
        Ok(Recovery { station: Station { disk, options, draw, lock }, chain })
    }

    /// What the journal is made of; `None` if it is new.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.chain.as_ref().map(|chain| &chain.manifest)
    }

    /// Whether there is anything to replay.
    pub fn is_empty(&self) -> bool {
        self.chain.as_ref().is_none_or(|chain| chain.segments.is_empty())
    }

    /// Hands over all state: the snapshot's items, then the records behind it.
    ///
    /// Errors leave the files as they are and `restore` with part of the state: throw it away. A damaged record is never
    /// handed over, but those before it are.
    pub fn replay(self, restore: &mut dyn Restore) -> Result<Recovered, Error> {
        let Recovery { station, chain } = self;
        let (report, tail) = match &chain {
            Some(chain) => replay(&*station.disk, chain, restore)?,
            None => (Report { last: Lsn::ZERO, items: 0, records: 0, torn_bytes: 0, epoch: 0 }, None),
        };
        if let Some(tail) = tail.filter(|tail| tail.torn_bytes > 0)
            && station.options.torn_tail == TornTail::Refuse
        {
            let file = crate::segment::segment_name(tail.number);
            return Err(Error::TornTail { file, offset: tail.offset, bytes: tail.torn_bytes });
        }
        Ok(Recovered { station, chain, tail, report })
    }
}

/// Loads the snapshot and passes over the records behind it.
pub(crate) fn replay(
    disk: &dyn Disk,
    chain: &Chain,
    restore: &mut dyn Restore,
) -> Result<(Report, Option<Tail>), Error> {
    restore.begin(chain.manifest.snapshot);
    let mut items = 0;
    if let Some(info) = &chain.manifest.snapshot {
        snapshot::load(disk, chain.manifest.journal, info, restore)?;
        items = info.items;
    }
    let from = chain.first_needed();
    let total_bytes = if chain.segments.is_empty() { 0 } else { chain.bytes_from(from) };
    let mut records = 0;
    let mut bytes = 0;
    let tail = chain.pass(disk, from, &mut |at: At<'_>| {
        hand_over(&at, restore)?;
        records += 1;
        bytes += (FRAME_BYTES + at.payload.len()) as u64;
        if records % 65_536 == 0 {
            restore.progress(Progress { items, records, bytes, total_bytes });
        }
        Ok(Pass::On)
    })?;
    let last = tail.map_or(Lsn::ZERO, |tail| tail.last);
    if let Some(info) = chain.manifest.snapshot.filter(|info| info.end > last) {
        let snapshot = snapshot::snapshot_name(info.number);
        return Err(Error::LogBehindSnapshot { snapshot, log_end: last, snapshot_end: info.end });
    }
    let torn_bytes = tail.map_or(0, |tail| tail.torn_bytes);
    Ok((Report { last, items, records, torn_bytes, epoch: chain.manifest.epoch }, tail))
}

/// Hands a record over, unless a repair has put it in for one that was lost.
#[inline]
fn hand_over(at: &At<'_>, restore: &mut dyn Restore) -> Result<(), Error> {
    if at.payload.is_empty() {
        return Ok(());
    }
    restore.record(at.lsn, at.payload).map_err(|rejected| Error::Rejected {
        file: at.file.to_owned(),
        offset: at.offset,
        why: rejected.0,
    })
}

/// Loads the state again from the files of a running journal, up to `until`, which must be durable.
pub(crate) fn reload(
    disk: &dyn Disk,
    chain: &Option<Chain>,
    until: Lsn,
    restore: &mut dyn Restore,
) -> Result<Report, Error> {
    let Some(chain) = chain else {
        return Ok(Report { last: Lsn::ZERO, items: 0, records: 0, torn_bytes: 0, epoch: 0 });
    };
    restore.begin(chain.manifest.snapshot);
    let mut items = 0;
    if let Some(info) = &chain.manifest.snapshot {
        snapshot::load(disk, chain.manifest.journal, info, restore)?;
        items = info.items;
    }
    let mut records = 0;
    if chain.first_needed() <= until {
        chain.pass(disk, chain.first_needed(), &mut |at: At<'_>| {
            hand_over(&at, restore)?;
            records += 1;
            Ok(if at.lsn == until { Pass::Enough } else { Pass::On })
        })?;
    }
    Ok(Report { last: until, items, records, torn_bytes: 0, epoch: chain.manifest.epoch })
}

impl Recovered {
    /// What the replay found.
    pub fn report(&self) -> Report {
        self.report
    }

    /// Starts the journal on threads of its own. Every record replayed is durable when this returns, unless the disk is
    /// full: then writes are refused ([`Journal::admit`]) until there is room, and records have become durable before.
    ///
    /// Errors: the disk failed; another attempt finds the same records.
    pub fn start(self, notify: Notify) -> Result<Journal, Error> {
        Journal::run(self.prepare(notify)?)
    }

    /// Like [`start`](Self::start), with an engine that takes a turn only when told to: for simulations.
    #[cfg(any(test, feature = "simulation"))]
    pub fn start_stepped(self, notify: Notify) -> Result<(Journal, crate::simulation::Stepper), Error> {
        let engine = self.prepare(notify)?;
        Ok((Journal::stepped(&engine), crate::simulation::Stepper::new(engine)))
    }

    fn prepare(mut self, notify: Notify) -> Result<Engine, Error> {
        // Opened before anything may take the file's place.
        let doubtful = match (&self.chain, &self.tail) {
            (Some(chain), Some(tail)) => Some(chain.last().frames(&*self.station.disk, tail.doubtful)?),
            _ => None,
        };
        match self.settle() {
            Ok(settled) => {
                let mut engine = self.engine(settled, notify)?;
                engine.begin();
                Ok(engine)
            }
            Err(error @ Error::Io { .. }) if error.is_disk_full() => {
                let unsettled = self.unsettled(doubtful)?;
                let mut engine = self.engine(unsettled, notify)?;
                engine.begin_full(&error);
                Ok(engine)
            }
            Err(error) => Err(error),
        }
    }

    /// Writes what has to be written before the journal goes on.
    fn settle(&mut self) -> Result<Settled, Error> {
        let Recovered { station, chain, tail, report } = self;
        let (manifest, active, retained, mut segments) = match (&chain, &tail) {
            (Some(chain), Some(tail)) => {
                let (active, retained) = carry(station, chain, tail)?;
                let mut segments = chain.segments();
                segments.retain(|segment| segment.number < active.number);
                (Manifest { last_segment: active.number, ..chain.manifest }, active, retained, segments)
            }
            (chain, _) => {
                let (manifest, active) = create(station, chain.as_ref())?;
                (manifest, active, VecDeque::new(), Vec::new())
            }
        };
        segments.push(active.segment());
        manifest.write(&*station.disk)?;
        Ok(Settled { manifest, active, retained, segments, durable: report.last })
    }

    /// The journal as it is, with what is to be written first in memory.
    fn unsettled(&mut self, doubtful: Option<FrameReader>) -> Result<Settled, Error> {
        let Recovered { station, chain, tail, .. } = self;
        if let (Some(chain), Some(tail), Some(mut reader)) = (&chain, &tail, doubtful) {
            let mut retained = VecDeque::new();
            let mut first = tail.doubtful.lsn;
            while first <= tail.last {
                let batch = next_batch(&mut reader, first, tail.last, station.options.frame_payload_max)?;
                first = batch.last.next();
                retained.push_back(batch);
            }
            return Ok(Settled {
                manifest: Manifest { last_segment: tail.number, ..chain.manifest },
                active: ActiveSegment::unwritable(chain.last().segment),
                retained,
                segments: chain.segments(),
                durable: Lsn(tail.doubtful.lsn.0 - 1),
            });
        }
        let manifest = chain.as_ref().map_or_else(|| new_manifest(station), |chain| chain.manifest);
        // Before the first segment, whose base is 1.
        let before = Segment { number: manifest.first_segment - 1, base: Lsn::ZERO, bytes: 0 };
        Ok(Settled {
            manifest,
            active: ActiveSegment::unwritable(before),
            retained: VecDeque::new(),
            segments: Vec::new(),
            durable: Lsn::ZERO,
        })
    }

    fn engine(self, settled: Settled, notify: Notify) -> Result<Engine, Error> {
        let Recovered { station, report, .. } = self;
        let Settled { manifest, active, retained, segments, durable } = settled;
        let front = Front::new(report.last, durable, &station.options);
        *front.segments.lock() = segments;
        let newest = station.disk.list().map_err(Error::io("list the directory of", LOCK))?;
        let snapshots = newest.iter().filter_map(|name| snapshot_number(name)).max().unwrap_or(0);
        let pen = Pen::new(active, retained, report.last, &station.options, Arc::clone(&front.kept));
        Ok(Engine::new(station, front, notify, manifest, pen, snapshots))
    }
}

/// What an engine begins with.
struct Settled {
    manifest: Manifest,
    active: ActiveSegment,
    retained: VecDeque<Batch>,
    segments: Vec<Segment>,
    durable: Lsn,
}

fn new_manifest(station: &mut Station) -> Manifest {
    let journal = JournalId::draw(&mut station.draw);
    Manifest { journal, epoch: 0, first_segment: 1, last_segment: 0, snapshot: None }
}

/// Makes the first segment, and first of all the manifest: a segment without one is a sign of loss.
fn create(station: &mut Station, chain: Option<&Chain>) -> Result<(Manifest, ActiveSegment), Error> {
    let manifest = match chain {
        Some(chain) => chain.manifest,
        None => {
            let manifest = new_manifest(station);
            manifest.write(&*station.disk)?;
            manifest
        }
    };
    let disk = &*station.disk;
    let number = manifest.first_segment;
    let place = Place { journal: manifest.journal, number, base: Lsn::ZERO.next() };
    let mut active = ActiveSegment::draft(disk, place, station.draw.next())?;
    active.publish(disk)?;
    Ok((Manifest { last_segment: number, ..manifest }, active))
}

/// Makes the segment that the journal goes on with, beginning with every record that is not proven durable.
///
/// If that is every record of the last segment, the new one takes its place under the same number; otherwise it follows.
/// Also returns the end of what was carried, for the engine to retain.
fn carry(
    station: &mut Station,
    chain: &Chain,
    tail: &Tail,
) -> Result<(ActiveSegment, VecDeque<Batch>), Error> {
    let disk = &*station.disk;
    let last = chain.last();
    let replaces = tail.doubtful.lsn == last.segment.base;
    let number = tail.number + u64::from(!replaces);
    let place = Place { journal: chain.manifest.journal, number, base: tail.doubtful.lsn };
    let mut active = ActiveSegment::draft(disk, place, station.draw.next())?;

    let mut reader = last.frames(disk, tail.doubtful)?;
    let mut retained = VecDeque::new();
    let mut first = tail.doubtful.lsn;
    while first <= tail.last {
        let batch = next_batch(&mut reader, first, tail.last, station.options.frame_payload_max)?;
        first = batch.last.next();
        retained.push_back(batch);
        let batch = retained.back_mut().expect("just pushed");
        active.append(&mut batch.frames[MARK_BYTES..])?;
        batch.end = active.bytes;
        // The last but one is longer than a page, unless it is the first.
        if retained.len() > 2 {
            retained.pop_front();
        }
    }
    active.publish(disk)?;
    Ok((active, retained))
}

/// Reads records again, from `first` to `last` or until they are [`CARRY_BYTES`].
fn next_batch(
    reader: &mut FrameReader,
    first: Lsn,
    last: Lsn,
    frame_payload_max: usize,
) -> Result<Batch, Error> {
    let mut frames = Vec::new();
    record::push_mark(0, &mut frames);
    let mut lsn = first;
    loop {
        match reader.advance()? {
            Step::Frame(Kind::SyncMark | Kind::Part) => continue,
            Step::Frame(Kind::Record) => {
                record::push_record(reader.payload(), frame_payload_max, &mut frames)
            }
            // They were right a moment ago, in the pass that found the tail.
            Step::Bad(fault) => return Err(reader.damage(fault)),
            Step::End => return Err(reader.damage(crate::Fault::Cut)),
        }
        if lsn == last || frames.len() >= CARRY_BYTES {
            return Ok(Batch { frames, first, last: lsn, end: 0 });
        }
        lsn = lsn.next();
    }
}
