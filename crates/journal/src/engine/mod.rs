//! The engine: everything the journal does to the disk while it runs, one turn at a time.
//!
//! It has no thread and no clock. In production a thread calls [`Engine::turn`] and sleeps as long as it is told to; a
//! simulation calls it with whatever time and crashes the disk between any two operations.
//!
//! A turn: take what was appended → write it → sync, if the policy says so → tell → new segment, if this one is full →
//! commands.
//!
//! ```text
//!                ┌────────────────────────── a new segment holds all that ──────────────────────────┐
//!                ▼                           was not proven durable, synced                         │
//! Health      Well ──── write, sync, create or rename failed ───► Failing ── every retry_ms ────────┘
//!              │                                                    │ clients: DiskFull or DiskFailed
//!              └──────────────── close ────► Closed ◄──── close ────┘ records gather in memory, none is told durable
//! ```
//!
//! What happens in `Failing` is told in [`failure`], what happens to files in [`files`].
//!
//! Invariants
//! - `durable ≤ written ≤ taken`; `retained` holds every record above `durable`, without holes.
//! - While failing, nothing is told durable and nothing is written but under a temporary name.
//! - A sync mark is written only when everything before it in the segment was synced.
//!
//! Memory: `unsynced_bytes_max` + two batches of at most `pending_bytes_max`.

mod failure;
mod files;

use std::collections::VecDeque;
use std::sync::Arc;

use crate::disk::{Disk, is_full};
use crate::error::{Error, Refusal};
use crate::front::{Command, Event, Front, Notify};
use crate::manifest::Manifest;
use crate::policy::{Draw, FsyncPolicy, Options};
use crate::record::{self, FRAME_BYTES, Kind};
use crate::segment::{ActiveSegment, PAGE_BYTES, Place};
#[cfg(any(test, feature = "simulation"))]
use crate::simulation::planted::{Planted, WithoutDirectorySync};
use crate::{Lsn, Stats};
pub(crate) use files::remove;

/// Under `EverySec`, the age in milliseconds at which an unsynced record is synced.
const EVERY_SEC_MS: u64 = 1000;

/// How long after a sync a mark is written if nothing is appended: long enough to stay out of the way of a busy client,
/// short against the time in which damage would have to strike to be taken for a torn tail.
const IDLE_MARK_MS: u64 = 20;

/// Under `Always`, how long records that were appended during a sync wait for the next one unless somebody flushes.
///
/// The clients whom the sync has answered are about to write again. Who sees them come (a shard) flushes when no more do,
/// and one sync then serves all; beginning the next at once, it would serve half as many.
const JOIN_MS: u64 = 2;

/// A write buffer larger than this is given back rather than filled again.
const SPARE_BYTES_MAX: usize = 4 << 20;

/// What a journal stands on: handed from recovery to the engine.
pub(crate) struct Station {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) options: Options,
    pub(crate) draw: Draw,
    /// Holds the directory; released when dropped.
    pub(crate) lock: Box<dyn Send>,
}

/// When the engine wants its next turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// As soon as there is work.
    Idle,
    /// As soon as there is work, and at this time in any case.
    By(u64),
    /// At this time, and before as soon as somebody flushes: what is pending already may be joined by more.
    Joined(u64),
    /// At this time; work that comes before should gather.
    At(u64),
    /// Never: closed.
    Closed,
}

/// Records written and kept in memory until they are beyond the reach of a failed write.
pub(crate) struct Batch {
    /// Blank or sealed frames, the first of them a sync mark.
    pub(crate) frames: Vec<u8>,
    pub(crate) first: Lsn,
    pub(crate) last: Lsn,
    /// Where it ends in the active segment; meaningless while the write failed.
    pub(crate) end: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Well,
    Failing { retry_at: u64 },
    Closed,
}

pub(crate) struct Engine {
    disk: Arc<dyn Disk>,
    options: Options,
    draw: Draw,
    #[expect(dead_code, reason = "held for its Drop")]
    lock: Box<dyn Send>,
    front: Arc<Front>,
    notify: Notify,
    manifest: Manifest,
    /// A write of the manifest failed: which one is on the disk is unknown until a later one succeeds. When to try.
    manifest_retry_at: Option<u64>,
    active: ActiveSegment,
    /// Every record above `durable`, and those before it that a failed write could still spoil; oldest first.
    retained: VecDeque<Batch>,
    /// A segment that was to follow failed while it got its name: it may be there after a crash, and would make void what
    /// the active segment holds above its base.
    ghost: bool,
    /// Last record taken from the front.
    taken: Lsn,
    written: Lsn,
    durable: Lsn,
    /// When the oldest unsynced record was written, by the clock of the turns.
    unsynced_since: u64,
    /// Bytes written since the last sync.
    unsynced_bytes: usize,
    /// Everything in the segment is synced, and no mark behind it says so yet.
    mark_due: bool,
    /// When the last sync ended.
    synced_at: u64,
    /// This turn has written.
    wrote: bool,
    health: Health,
    /// What clients are told while failing.
    refusal: Option<Refusal>,
    stats: Stats,
    /// Number of the newest snapshot ever begun.
    snapshots: u64,
    spare: Vec<u8>,
}

impl Engine {
    pub(crate) fn new(
        station: Station,
        front: Arc<Front>,
        notify: Notify,
        manifest: Manifest,
        active: ActiveSegment,
        retained: VecDeque<Batch>,
        snapshots: u64,
    ) -> Engine {
        let Station { disk, options, draw, lock } = station;
        let last = front.durable_lsn();
        Engine {
            disk,
            options,
            draw,
            lock,
            front,
            notify,
            manifest,
            manifest_retry_at: None,
            active,
            retained,
            ghost: false,
            taken: last,
            written: last,
            durable: last,
            unsynced_since: 0,
            unsynced_bytes: 0,
            mark_due: true,
            synced_at: 0,
            wrote: false,
            health: Health::Well,
            refusal: None,
            stats: Stats::default(),
            snapshots: snapshots.max(manifest.snapshot.map_or(0, |snapshot| snapshot.number)),
            spare: Vec::new(),
        }
    }

    pub(crate) fn front(&self) -> &Arc<Front> {
        &self.front
    }

    pub(crate) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// What is done once before the first turn.
    pub(crate) fn begin(&mut self) {
        remove(&*self.disk, &self.leftovers());
        self.publish_stats();
    }

    /// Does everything there is to do at `now_ms`, and says when to come back. `now_ms` must never fall.
    pub(crate) fn turn(&mut self, now_ms: u64) -> Next {
        self.wrote = false;
        match self.health {
            Health::Closed => return Next::Closed,
            Health::Failing { retry_at } => {
                let commands = self.front.take_commands();
                let closing = commands.iter().any(|command| matches!(command, Command::Close(_)));
                if now_ms >= retry_at || closing {
                    self.recover(now_ms);
                }
                if self.health == Health::Well {
                    self.work(now_ms, commands);
                } else {
                    self.decline(commands);
                }
            }
            Health::Well => self.work(now_ms, Vec::new()),
        }
        self.publish_stats();
        self.next(now_ms)
    }

    /// A turn on a disk that works, as far as anyone knows.
    fn work(&mut self, now_ms: u64, mut commands: Vec<Command>) {
        let taken = self.front.take(std::mem::take(&mut self.spare));
        commands.extend(taken.commands);
        let closing = commands.iter().any(|command| matches!(command, Command::Close(_)));
        let wrote = self.write(now_ms, taken.frames, taken.last);
        let outcome =
            wrote.and_then(|()| self.sync_if_due(now_ms, closing)).and_then(|()| self.roll_if_full(now_ms));
        if let Err(error) = outcome {
            self.fail(now_ms, &error);
        }
        self.confirm_manifest(now_ms);
        for command in commands {
            self.execute(now_ms, command);
        }
    }

    /// Writes a batch; afterwards the records are in `retained` whether it succeeded or not.
    fn write(&mut self, now_ms: u64, frames: Vec<u8>, last: Lsn) -> Result<(), Error> {
        if frames.len() == FRAME_BYTES {
            self.spare = frames;
            return self.mark_if_idle(now_ms);
        }
        let first = self.taken.next();
        self.taken = last;
        if self.written == self.durable {
            self.unsynced_since = now_ms;
        }
        self.unsynced_bytes += frames.len();
        self.retained.push_back(Batch { frames, first, last, end: u64::MAX });
        #[cfg(any(test, feature = "simulation"))]
        if Planted::SyncBeforeWrite.is_active() {
            self.active.sync()?;
            self.front.set_written(last);
            self.durable = last;
            self.front.set_durable(last);
        }
        if self.front.policy() == FsyncPolicy::Always && self.options.zero_ahead_bytes > 0 {
            self.zero_ahead()?;
        }
        let batch = self.retained.back_mut().expect("just pushed");
        let from = if self.mark_due { 0 } else { FRAME_BYTES };
        self.active.append(&mut batch.frames[from..])?;
        batch.end = self.active.bytes;
        self.mark_due = false;
        self.written = last;
        self.wrote = true;
        self.front.set_written(last);
        self.slim();
        Ok(())
    }

    /// Keeps zeros ahead of the log's end, unless there is no room for them: that is no reason to fail.
    fn zero_ahead(&mut self) -> Result<(), Error> {
        match self.active.zero_ahead(self.options.zero_ahead_bytes) {
            Err(Error::Io { source, .. }) if is_full(&source) => {
                self.options.zero_ahead_bytes = 0;
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// Gives a small batch a buffer of its own size, and its large one back for the next batch.
    fn slim(&mut self) {
        let Some(batch) = self.retained.back_mut() else { return };
        if batch.frames.len() < batch.frames.capacity() / 4 {
            let exact = batch.frames.as_slice().to_vec();
            self.spare = std::mem::replace(&mut batch.frames, exact);
        }
    }

    /// Writes a sync mark on its own when nothing came after a sync.
    fn mark_if_idle(&mut self, now_ms: u64) -> Result<(), Error> {
        let idle = self.mark_due && self.written == self.durable && now_ms >= self.synced_at + IDLE_MARK_MS;
        if !idle || self.active.is_empty() {
            return Ok(());
        }
        self.write_mark()
    }

    fn write_mark(&mut self) -> Result<(), Error> {
        self.mark_due = false;
        let mut mark = Vec::with_capacity(FRAME_BYTES);
        record::push_blank_header(Kind::SyncMark, 0, &mut mark);
        self.active.append(&mut mark)
    }

    fn sync_if_due(&mut self, now_ms: u64, closing: bool) -> Result<(), Error> {
        let due = self.written > self.durable
            && (closing
                || self.front.sync_wanted() > self.durable
                || self.unsynced_bytes >= self.options.unsynced_bytes_max
                || match self.front.policy() {
                    FsyncPolicy::Always => true,
                    FsyncPolicy::EverySec => now_ms >= self.unsynced_since + EVERY_SEC_MS,
                    FsyncPolicy::No => false,
                });
        if due { self.sync(now_ms) } else { Ok(()) }
    }

    fn sync(&mut self, now_ms: u64) -> Result<(), Error> {
        self.active.sync()?;
        self.mark_due = true;
        self.synced_at = now_ms;
        self.now_durable(self.written);
        Ok(())
    }

    /// Everything up to `lsn` is durable: forgets what no failed write can reach any more, and tells.
    fn now_durable(&mut self, lsn: Lsn) {
        self.durable = lsn;
        self.unsynced_bytes = 0;
        let page = self.active.bytes - self.active.bytes % PAGE_BYTES;
        while self.retained.front().is_some_and(|batch| batch.end <= page) {
            let frames = self.retained.pop_front().expect("there is a front").frames;
            if frames.capacity() > self.spare.capacity() && frames.capacity() <= SPARE_BYTES_MAX {
                self.spare = frames;
            }
        }
        self.front.set_durable(lsn);
        self.stats.syncs += 1;
        (self.notify)(Event::Durable(lsn));
    }

    fn roll_if_full(&mut self, now_ms: u64) -> Result<(), Error> {
        if self.active.bytes >= self.options.segment_bytes && !self.active.is_empty() {
            self.roll(now_ms)
        } else {
            Ok(())
        }
    }

    /// Ends the segment and begins the next.
    fn roll(&mut self, now_ms: u64) -> Result<(), Error> {
        if self.written > self.durable {
            self.sync(now_ms)?;
        }
        let mut next = self.draft(self.active.number + 1, self.written.next())?;
        self.publish_segment(&mut next)?;
        // The old segment is never written to again, so no page of it is in danger.
        self.retained.clear();
        self.follow(next);
        Ok(())
    }

    /// Begins the segment that is to follow the active one, or to replace it.
    fn draft(&mut self, number: u64, base: Lsn) -> Result<ActiveSegment, Error> {
        let place = Place { journal: self.manifest.journal, number, base };
        ActiveSegment::draft(&*self.disk, place, self.draw.next())
    }

    fn publish_segment(&mut self, segment: &mut ActiveSegment) -> Result<(), Error> {
        self.ghost |= segment.number > self.active.number;
        #[cfg(any(test, feature = "simulation"))]
        if Planted::NoDirectorySync.is_active() {
            return segment.publish(&WithoutDirectorySync(&*self.disk));
        }
        segment.publish(&*self.disk)
    }

    /// Goes on with `next`, which is on the disk.
    fn follow(&mut self, next: ActiveSegment) {
        {
            let mut segments = self.front.segments.lock();
            if let Some(last) = segments.last_mut() {
                last.bytes = self.active.bytes;
            }
            segments.retain(|segment| segment.number != next.number);
            segments.push(next.segment());
        }
        self.manifest.last_segment = next.number;
        self.ghost &= next.number == self.active.number;
        self.active = next;
        self.mark_due = true;
        let manifest = self.manifest;
        // Not a reason to stop: the manifest's last segment is a lower bound, and it is tried again.
        let _ = self.put_manifest(manifest);
    }

    /// Marks the end of a log that is closed, so that the next start need not write it again.
    ///
    /// Not synced: if the sync failed, it would be the page with the last durable records that it failed for.
    fn mark_end(&mut self) {
        if self.mark_due && !self.active.is_empty() {
            let _ = self.write_mark();
        }
    }

    fn close(&mut self) {
        self.health = Health::Closed;
        self.front.set_refusal(Some(Refusal::Closed));
    }

    fn next(&self, now_ms: u64) -> Next {
        let by = |at: Option<u64>| at.map_or(Next::Idle, |at| Next::By(at.max(now_ms)));
        match self.health {
            Health::Closed => Next::Closed,
            Health::Failing { retry_at } => Next::By(retry_at),
            Health::Well => {
                let mark_at =
                    (self.mark_due && !self.active.is_empty()).then_some(self.synced_at + IDLE_MARK_MS);
                let mark_at = mark_at.or(self.manifest_retry_at);
                let unsynced = self.written > self.durable;
                match self.front.policy() {
                    FsyncPolicy::Always if self.wrote => Next::Joined(now_ms + JOIN_MS),
                    FsyncPolicy::Always => by(mark_at),
                    // Just written: let the next records gather.
                    _ if self.wrote => Next::At(now_ms + self.options.write_pace_ms),
                    FsyncPolicy::EverySec if unsynced => by(Some(self.unsynced_since + EVERY_SEC_MS)),
                    FsyncPolicy::No if unsynced => Next::Idle,
                    _ => by(mark_at),
                }
            }
        }
    }

    fn publish_stats(&mut self) {
        let mut segments = self.front.segments.lock();
        if let Some(last) = segments.last_mut() {
            last.bytes = self.active.bytes;
        }
        self.stats.log_bytes = segments.iter().map(|segment| segment.bytes).sum();
        self.stats.segments = segments.len();
        drop(segments);
        self.stats.unsynced_bytes = self.unsynced_bytes;
        self.stats.snapshot = self.manifest.snapshot;
        self.stats.epoch = self.manifest.epoch;
        self.front.stats.lock().clone_from(&self.stats);
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.front.shut();
    }
}
