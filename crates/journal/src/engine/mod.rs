//! The engine: everything the journal does to the disk while it runs, one turn at a time.
//!
//! It has no thread and no clock. In production a thread calls [`Engine::turn`] and sleeps as long as it is told to; a
//! simulation calls it with whatever time and crashes the disk between any two operations.
//!
//! A turn: write what was appended → sync, if the policy says so → tell → new segment, if this one is full → commands.
//! Under `everysec` and `no` shards write for themselves ([`crate::pen`]), and go on doing so while the engine syncs.
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
//! - While failing, nothing is told durable and nothing is written but under a temporary name.
//! - A sync mark vouches only for what a sync of the same segment had covered before it was written.
//! - The pen is never held during a sync: what a sync delays is the next sync.

mod failure;
mod files;
mod give_up;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use crate::disk::Disk;
use crate::error::{Error, Refusal};
use crate::front::{Command, Event, Front, Notify};
use crate::manifest::Manifest;
use crate::pen::{Pen, Wrote};
use crate::policy::{Draw, FsyncPolicy, Options};
use crate::segment::{ActiveSegment, Place};
#[cfg(any(test, feature = "simulation"))]
use crate::simulation::planted::{Planted, WithoutDirectorySync};
use crate::{Lsn, Stats};
pub(crate) use files::remove;
pub use give_up::GivenUp;

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
    /// At this time, and before for a command or a sync that is asked for: what is pending is written by others, or can't be.
    At(u64),
    /// Never: closed.
    Closed,
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
    /// The end of the log.
    pen: Arc<Mutex<Pen>>,
    /// Number of the active segment, and its base.
    number: u64,
    base: Lsn,
    /// A segment that was to follow failed while it got its name: it may be there after a crash, and would make void what
    /// the active segment holds above its base.
    may_have_successor: bool,
    durable: Lsn,
    /// Since when, by the clock of the turns, there are unsynced records.
    unsynced_since: Option<u64>,
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
    /// Snapshots up to this number may hold what was given up, and never count.
    snapshots_void_to: u64,
}

impl Engine {
    pub(crate) fn new(
        station: Station,
        front: Arc<Front>,
        notify: Notify,
        manifest: Manifest,
        pen: Pen,
        snapshots: u64,
    ) -> Engine {
        let Station { disk, options, draw, lock } = station;
        let (number, base) = (pen.active.number, pen.active.base);
        Engine {
            disk,
            options,
            draw,
            lock,
            durable: front.durable_lsn(),
            front,
            notify,
            manifest,
            manifest_retry_at: None,
            pen: Arc::new(Mutex::new(pen)),
            number,
            base,
            may_have_successor: false,
            unsynced_since: None,
            synced_at: 0,
            wrote: false,
            health: Health::Well,
            refusal: None,
            stats: Stats::default(),
            snapshots_void_to: 0,
            snapshots: snapshots.max(manifest.snapshot.map_or(0, |snapshot| snapshot.number)),
        }
    }

    pub(crate) fn pen(&self) -> &Arc<Mutex<Pen>> {
        &self.pen
    }

    pub(crate) fn notify(&self) -> &Notify {
        &self.notify
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

    /// What is done instead if there was no room for a segment to write to: as if it had become full just now.
    pub(crate) fn begin_full(&mut self, error: &Error) {
        // An attempt may have given it its name. The next one begins with the same record, so it takes the same name.
        self.fail(0, error);
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
        commands.extend(self.front.take_commands());
        let closing = commands.iter().any(|command| matches!(command, Command::Close(_)));
        let outcome = self
            .write(now_ms)
            .and_then(|()| self.sync_if_due(now_ms, closing))
            .and_then(|()| self.write_again(now_ms))
            .and_then(|()| if closing { self.sync_rest(now_ms) } else { Ok(()) })
            .and_then(|()| self.roll_if_full(now_ms));
        if let Err(error) = outcome {
            self.fail(now_ms, &error);
        }
        self.confirm_manifest(now_ms);
        for command in commands {
            self.execute(now_ms, command);
        }
    }

    /// Writes what is pending, and is told of failures that others have met while writing.
    fn write(&mut self, now_ms: u64) -> Result<(), Error> {
        let mut pen = self.pen.lock();
        let wrote = pen.write(&self.front);
        if let Some(error) = pen.failure.take() {
            return Err(error);
        }
        let written = pen.written;
        if wrote == Wrote::Nothing && self.is_mark_wanted(&pen, now_ms) {
            pen.write_mark()?;
        }
        drop(pen);
        #[cfg(any(test, feature = "simulation"))]
        {
            // A planted bug has told it.
            self.durable = self.durable.max(self.front.durable_lsn());
        }
        if written > self.durable {
            self.unsynced_since.get_or_insert(now_ms);
        }
        self.wrote = matches!(wrote, Wrote::All { .. });
        if self.wrote && self.front.policy() != FsyncPolicy::Always && self.front.is_news(written) {
            (self.notify)(Event::Written(written));
        }
        Ok(())
    }

    /// Whether a sync mark should stand alone, because nothing came after a sync.
    fn is_mark_wanted(&self, pen: &Pen, now_ms: u64) -> bool {
        pen.mark_due.is_some()
            && pen.written == self.durable
            && now_ms >= self.synced_at + IDLE_MARK_MS
            && !pen.active.is_empty()
    }

    fn sync_if_due(&mut self, now_ms: u64, closing: bool) -> Result<(), Error> {
        let unsynced_bytes = self.pen.lock().unsynced_bytes;
        let due = self.unsynced_since.is_some_and(|since| {
            closing
                || self.front.sync_wanted() > self.durable
                || unsynced_bytes >= self.options.unsynced_bytes_max
                || match self.front.policy() {
                    FsyncPolicy::Always => true,
                    FsyncPolicy::EverySec => now_ms >= since + EVERY_SEC_MS,
                    FsyncPolicy::No => false,
                }
        });
        if due { self.sync(now_ms) } else { Ok(()) }
    }

    /// Writes what had to wait for a sync to end, because too much was unsynced.
    fn write_again(&mut self, now_ms: u64) -> Result<(), Error> {
        if self.front.policy() == FsyncPolicy::Always { Ok(()) } else { self.write(now_ms) }
    }

    /// Writes and syncs until nothing is left: the journal takes nothing more.
    fn sync_rest(&mut self, now_ms: u64) -> Result<(), Error> {
        while self.unsynced_since.is_some() {
            self.sync(now_ms)?;
            self.write(now_ms)?;
        }
        Ok(())
    }

    /// Syncs what is written. Others go on writing meanwhile.
    fn sync(&mut self, now_ms: u64) -> Result<(), Error> {
        let (file, name, lsn, offset) = {
            let pen = self.pen.lock();
            let (file, name) = pen.active.file();
            (file, name, pen.written, pen.active.bytes)
        };
        let began = Instant::now();
        self.front.during_sync(|| file.sync()).map_err(Error::io("sync", &name))?;
        self.note_sync_time(began);
        self.synced_at = now_ms;
        self.now_durable(lsn, offset, now_ms);
        Ok(())
    }

    /// A sync of records that began then is done. For people: nothing goes by it.
    fn note_sync_time(&mut self, began: Instant) {
        self.stats.last_sync_time = began.elapsed();
        self.stats.sync_time += self.stats.last_sync_time;
    }

    /// Everything up to `lsn`, which ends at `offset`, is durable: tells.
    fn now_durable(&mut self, lsn: Lsn, offset: u64, now_ms: u64) {
        let written = {
            let mut pen = self.pen.lock();
            pen.synced(lsn, offset);
            pen.written
        };
        self.durable = lsn;
        self.unsynced_since = (written > lsn).then_some(now_ms);
        self.front.set_durable(lsn);
        self.stats.syncs += 1;
        (self.notify)(Event::Durable(lsn));
    }

    fn roll_if_full(&mut self, now_ms: u64) -> Result<(), Error> {
        let is_full = {
            let pen = self.pen.lock();
            pen.active.bytes >= self.options.segment_bytes && !pen.active.is_empty()
        };
        if is_full { self.roll(now_ms) } else { Ok(()) }
    }

    /// Ends the segment and begins the next.
    ///
    /// 1. Sync: the next one's base is the first record that this does not cover.
    /// 2. Those that came since are copied into a draft of the next, and that is synced. Meanwhile more are written, into
    ///    the old segment, where a killed process would leave them.
    /// 3. With the pen in hand: the rest is copied, the draft gets its name, and from here on it is written to.
    /// 4. The directory is synced. Only now does what step 2 has synced count as durable: before, a power loss may bring
    ///    the old segment back as the last one.
    fn roll(&mut self, now_ms: u64) -> Result<(), Error> {
        self.sync_written(now_ms)?;
        let next = self.draft(self.number + 1, self.durable.next())?;
        self.go_on_in(now_ms, next)
    }

    /// Step 1: syncs what is written, if anything is unsynced.
    fn sync_written(&mut self, now_ms: u64) -> Result<(), Error> {
        if self.unsynced_since.is_some() { self.sync(now_ms) } else { Ok(()) }
    }

    /// The other steps: makes the draft `next` the segment that is written to.
    fn go_on_in(&mut self, now_ms: u64, mut next: ActiveSegment) -> Result<(), Error> {
        let mut ends = VecDeque::new();
        let copied = self.copy(next.base, &mut next, &mut ends)?;
        let copied_to = next.bytes;
        let began = Instant::now();
        self.front.during_sync(|| next.sync())?;
        self.switch(copied.next(), next, ends)?;
        #[cfg(any(test, feature = "simulation"))]
        let skips = Planted::NoDirectorySync.is_active();
        #[cfg(not(any(test, feature = "simulation")))]
        let skips = false;
        if !skips {
            self.front
                .during_sync(|| self.disk.sync_dir())
                .map_err(Error::io("sync the directory of", "a segment"))?;
        }
        if copied > self.durable {
            self.note_sync_time(began);
            self.now_durable(copied, copied_to, now_ms);
        } else {
            self.pen.lock().note_synced(copied_to);
        }
        let manifest = self.manifest;
        // Not a reason to stop: the manifest's last segment is a lower bound, and it is tried again.
        let _ = self.put_manifest(manifest);
        Ok(())
    }

    /// Copies what is written from `from` on into `next`; returns the last record written.
    fn copy(&self, from: Lsn, next: &mut ActiveSegment, ends: &mut VecDeque<u64>) -> Result<Lsn, Error> {
        let mut pen = self.pen.lock();
        if let Some(error) = pen.failure.take() {
            return Err(error);
        }
        pen.copy(from, next, ends)?;
        Ok(pen.written)
    }

    /// Copies the rest, from `from` on, gives `next` its name and goes on in it.
    fn switch(&mut self, from: Lsn, mut next: ActiveSegment, mut ends: VecDeque<u64>) -> Result<(), Error> {
        let pen = self.pen.clone();
        let mut pen = pen.lock();
        if let Some(error) = pen.failure.take() {
            return Err(error);
        }
        pen.copy(from, &mut next, &mut ends)?;
        self.may_have_successor = true;
        next.rename(&*self.disk)?;
        self.note_segment(&next, pen.active.bytes);
        pen.follow(next, ends);
        Ok(())
    }

    /// Begins the segment that is to follow the active one, or to replace it.
    fn draft(&mut self, number: u64, base: Lsn) -> Result<ActiveSegment, Error> {
        let place = Place { journal: self.manifest.journal, number, base };
        ActiveSegment::draft(&*self.disk, place, self.draw.next())
    }

    fn publish_segment(&mut self, segment: &mut ActiveSegment) -> Result<(), Error> {
        self.may_have_successor |= segment.number > self.number;
        #[cfg(any(test, feature = "simulation"))]
        if Planted::NoDirectorySync.is_active() {
            return segment.publish(&WithoutDirectorySync(&*self.disk));
        }
        segment.publish(&*self.disk)
    }

    /// `next`, which has its name, is the active segment; the one before ended after `bytes`.
    fn note_segment(&mut self, next: &ActiveSegment, bytes: u64) {
        let mut segments = self.front.segments.lock();
        if let Some(last) = segments.last_mut() {
            last.bytes = bytes;
        }
        segments.retain(|segment| segment.number != next.number);
        segments.push(next.segment());
        drop(segments);
        self.manifest.last_segment = next.number;
        self.may_have_successor &= next.number == self.number;
        (self.number, self.base) = (next.number, next.base);
    }

    /// Marks the end of a log that is closed, so that the next start need not write it again.
    ///
    /// Not synced: if the sync failed, it would be the page with the last durable records that it failed for.
    fn mark_end(&mut self) {
        let mut pen = self.pen.lock();
        if pen.mark_due.is_some() && !pen.active.is_empty() {
            let _ = pen.write_mark();
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
            Health::Failing { retry_at } => Next::At(retry_at),
            Health::Well => {
                let is_mark_due = {
                    let pen = self.pen.lock();
                    pen.mark_due.is_some() && !pen.active.is_empty()
                };
                let mark_at = is_mark_due.then_some(self.synced_at + IDLE_MARK_MS);
                let mark_at = mark_at.or(self.manifest_retry_at);
                match (self.front.policy(), self.unsynced_since) {
                    (FsyncPolicy::Always, _) if self.wrote => Next::Joined(now_ms + JOIN_MS),
                    (FsyncPolicy::EverySec, Some(since)) => Next::At(since + EVERY_SEC_MS),
                    (FsyncPolicy::No, Some(_)) => Next::Idle,
                    _ => by(mark_at),
                }
            }
        }
    }

    pub(super) fn publish_stats(&mut self) {
        let (bytes, unsynced_bytes) = {
            let pen = self.pen.lock();
            (pen.active.bytes, pen.unsynced_bytes)
        };
        let mut segments = self.front.segments.lock();
        if let Some(last) = segments.last_mut() {
            last.bytes = bytes;
        }
        self.stats.log_bytes = segments.iter().map(|segment| segment.bytes).sum();
        self.stats.segments = segments.len();
        drop(segments);
        self.stats.unsynced_bytes = unsynced_bytes;
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
