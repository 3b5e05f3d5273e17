//! The pen: the end of the log, for whoever writes to it next.
//!
//! Who holds its lock takes what all shards have appended and writes it into the active segment, in one go. That is a
//! shard at the end of its turn, the thread that writes while a sync runs, or the engine before it syncs. Nobody syncs
//! while holding it.
//!
//! ```text
//! Pending ──write──► active segment   ┤ durable │ written, a sync may run │ ◄── here
//!                    retained           └─ same page ─┘      └─ batches ─┘
//! ```
//!
//! Invariants
//! - `durable ≤ written ≤ taken`; `retained` holds every record above `durable`, without holes.
//! - After a failure nothing is written before the engine has begun a new segment.
//!
//! Memory: twice `unsynced_bytes_max`; above that records stay in the front until a sync ends, which refuses more than
//! `pending_bytes_max`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::Lsn;
use crate::error::Error;
use crate::front::Front;
use crate::header::HEADER_BYTES;
use crate::policy::{FsyncPolicy, Options};
use crate::record::{self, MARK_BYTES};
use crate::segment::{ActiveSegment, PAGE_BYTES};
#[cfg(any(test, feature = "simulation"))]
use crate::simulation::planted::Planted;

/// A write buffer larger than this is given back rather than filled again.
const SPARE_BYTES_MAX: usize = 4 << 20;

/// Records written and kept in memory until they are beyond the reach of a failed write.
pub(crate) struct Batch {
    /// Blank or sealed frames, the first of them a sync mark.
    pub(crate) frames: Vec<u8>,
    pub(crate) first: Lsn,
    pub(crate) last: Lsn,
    /// Where it ends in the active segment; meaningless while the write failed.
    pub(crate) end: u64,
}

/// Bytes of buffers, for whoever asks without the pen's lock, under which they are written. Relaxed: figures.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Those of the batches that are retained, and the spare one.
    pub(crate) bytes: AtomicUsize,
    /// The one that the front has got for what comes next.
    pub(crate) lent_bytes: AtomicUsize,
}

pub(crate) struct Pen {
    pub(crate) active: ActiveSegment,
    /// Every record above `durable`, and those before it that a failed write could still spoil; oldest first.
    pub(crate) retained: VecDeque<Batch>,
    kept: Arc<Kept>,
    /// Last record taken from the front.
    pub(crate) taken: Lsn,
    pub(crate) written: Lsn,
    /// Bytes written that no sync covers.
    pub(crate) unsynced_bytes: usize,
    /// Everything in the segment before this offset is synced, and no mark says so yet.
    pub(crate) mark_due: Option<u64>,
    /// Everything in the segment before this offset is synced.
    pub(crate) synced_to: u64,
    /// Why nothing is written; taken by the engine, which sees to it.
    pub(crate) failure: Option<Error>,
    has_failed: bool,
    unsynced_bytes_max: usize,
    zero_ahead_bytes: u64,
    spare: Vec<u8>,
}

/// What became of a wish to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrote {
    /// There was nothing to write.
    Nothing,
    /// Everything appended so far is written. `wants_sync`: the engine may not know yet that there is something to sync,
    /// or that there is much.
    All { wants_sync: bool },
    /// Not now: the disk does not take it, or a sync has to end first. The engine goes on with it.
    NotNow,
}

impl Pen {
    pub(crate) fn new(
        active: ActiveSegment,
        retained: VecDeque<Batch>,
        last: Lsn,
        options: &Options,
        kept: Arc<Kept>,
    ) -> Pen {
        let pen = Pen {
            mark_due: Some(active.bytes),
            synced_to: active.bytes,
            active,
            retained,
            kept,
            taken: last,
            written: last,
            unsynced_bytes: 0,
            failure: None,
            has_failed: false,
            unsynced_bytes_max: options.unsynced_bytes_max,
            zero_ahead_bytes: options.zero_ahead_bytes,
            spare: Vec::new(),
        };
        pen.count_retained();
        pen
    }

    /// Writes everything that is pending. A failure is kept in `failure`, and the engine is to be woken.
    pub(crate) fn write(&mut self, front: &Front) -> Wrote {
        if self.has_failed || self.unsynced_bytes >= self.unsynced_bytes_max.saturating_mul(2) {
            return Wrote::NotNow;
        }
        let taken = front.take(self.lend_spare());
        if taken.frames.len() == MARK_BYTES {
            self.keep_spare(taken.frames);
            return Wrote::Nothing;
        }
        let is_first = self.unsynced_bytes == 0;
        match self.write_batch(front, taken.frames, taken.last) {
            Ok(()) => {
                front.set_written(self.written);
                Wrote::All { wants_sync: is_first || self.unsynced_bytes >= self.unsynced_bytes_max }
            }
            Err(error) => {
                self.fail(Some(error));
                Wrote::NotNow
            }
        }
    }

    /// Writes a batch; afterwards the records are in `retained` whether it succeeded or not.
    fn write_batch(&mut self, front: &Front, frames: Vec<u8>, last: Lsn) -> Result<(), Error> {
        let first = self.taken.next();
        self.taken = last;
        self.unsynced_bytes += frames.len();
        self.retain(Batch { frames, first, last, end: u64::MAX });
        #[cfg(any(test, feature = "simulation"))]
        if Planted::SyncBeforeWrite.is_active() {
            self.active.sync()?;
            front.set_written(last);
            front.set_durable(last);
        }
        if front.policy() == FsyncPolicy::Always {
            self.active.zero_ahead(self.zero_ahead_bytes)?;
        }
        let batch = self.retained.back_mut().expect("just pushed");
        let from = match self.mark_due {
            Some(synced_to) => {
                record::set_mark(&mut batch.frames, synced_to);
                0
            }
            None => MARK_BYTES,
        };
        self.active.append(&mut batch.frames[from..])?;
        batch.end = self.active.bytes;
        self.mark_due = None;
        self.written = last;
        self.slim();
        Ok(())
    }

    /// Gives a small batch a buffer of its own size, and its large one back for the next batch.
    fn slim(&mut self) {
        let Some(batch) = self.retained.back_mut() else { return };
        if batch.frames.len() < batch.frames.capacity() / 4 {
            let exact = batch.frames.as_slice().to_vec();
            let exact_bytes = exact.capacity();
            let large = std::mem::replace(&mut batch.frames, exact);
            self.kept.bytes.fetch_add(exact_bytes, Relaxed);
            self.kept.bytes.fetch_sub(large.capacity(), Relaxed);
            self.keep_spare(large);
        }
    }

    fn retain(&mut self, batch: Batch) {
        self.kept.bytes.fetch_add(batch.frames.capacity(), Relaxed);
        self.retained.push_back(batch);
    }

    /// Keeps a buffer for a later batch.
    fn keep_spare(&mut self, frames: Vec<u8>) {
        self.kept.bytes.fetch_add(frames.capacity(), Relaxed);
        self.kept.bytes.fetch_sub(self.spare.capacity(), Relaxed);
        self.spare = frames;
    }

    /// The buffer for what comes next.
    fn lend_spare(&mut self) -> Vec<u8> {
        let spare = std::mem::take(&mut self.spare);
        self.kept.bytes.fetch_sub(spare.capacity(), Relaxed);
        self.kept.lent_bytes.store(spare.capacity(), Relaxed);
        spare
    }

    /// Counts anew what is retained, after a change of more than its ends.
    pub(crate) fn count_retained(&self) {
        let retained: usize = self.retained.iter().map(|batch| batch.frames.capacity()).sum();
        self.kept.bytes.store(retained + self.spare.capacity(), Relaxed);
    }

    /// Writes a sync mark on its own.
    pub(crate) fn write_mark(&mut self) -> Result<(), Error> {
        let Some(synced_to) = self.mark_due.take() else { return Ok(()) };
        let mut mark = Vec::with_capacity(MARK_BYTES);
        record::push_mark(synced_to, &mut mark);
        self.active.append(&mut mark)
    }

    /// Nothing more is written to this segment; `failure` says why, if the engine does not know yet.
    pub(crate) fn fail(&mut self, failure: Option<Error>) {
        self.has_failed = true;
        self.failure = failure;
    }

    /// A sync has covered everything up to `lsn`, which ends at `offset`: forgets what no failed write can reach any more.
    pub(crate) fn synced(&mut self, lsn: Lsn, offset: u64) {
        self.note_synced(offset);
        let page = offset - offset % PAGE_BYTES;
        while self.retained.front().is_some_and(|batch| batch.last <= lsn && batch.end <= page) {
            let frames = self.retained.pop_front().expect("there is a front").frames;
            self.kept.bytes.fetch_sub(frames.capacity(), Relaxed);
            if frames.capacity() > self.spare.capacity() && frames.capacity() <= SPARE_BYTES_MAX {
                self.keep_spare(frames);
            }
        }
        self.count_unsynced(lsn);
    }

    /// Everything before `offset` is synced.
    pub(crate) fn note_synced(&mut self, offset: u64) {
        self.synced_to = offset;
        self.mark_due = Some(offset);
    }

    /// Takes what is pending, as if its write had failed.
    pub(crate) fn take_unwritten(&mut self, front: &Front) {
        self.kept.lent_bytes.store(0, Relaxed);
        let taken = front.take(Vec::new());
        if taken.frames.len() > MARK_BYTES {
            let first = self.taken.next();
            self.taken = taken.last;
            self.retain(Batch { frames: taken.frames, first, last: taken.last, end: u64::MAX });
        }
    }

    /// Has the log end at `offset` for whoever reads it, if the disk takes that much.
    pub(crate) fn make_unreadable(&self, offset: u64) {
        // Zeros are no frame. Inside the file they need no room; and at its end there is nothing to hide.
        let _ = self.active.file().0.write_at(&[0; record::FRAME_BYTES], offset);
    }

    fn count_unsynced(&mut self, durable: Lsn) {
        let unsynced = self.retained.iter().rev().take_while(|batch| batch.last > durable);
        self.unsynced_bytes = unsynced.map(|batch| batch.frames.len()).sum();
    }

    /// Writes the records from `from` on into `next`, and notes where each batch ends there.
    pub(crate) fn copy(
        &mut self,
        from: Lsn,
        next: &mut ActiveSegment,
        ends: &mut VecDeque<u64>,
    ) -> Result<(), Error> {
        for batch in self.retained.iter_mut().filter(|batch| batch.first >= from) {
            next.append(&mut batch.frames[MARK_BYTES..])?;
            ends.push_back(next.bytes);
        }
        Ok(())
    }

    /// Goes on in `next`, which holds every record from its base on; `ends`: where each of their batches ends in it.
    pub(crate) fn follow(&mut self, next: ActiveSegment, ends: VecDeque<u64>) {
        // The old segment is never written to again, so no page of it is in danger.
        self.retained.retain(|batch| batch.first >= next.base);
        self.count_retained();
        for (batch, end) in self.retained.iter_mut().zip(ends) {
            batch.end = end;
        }
        self.active = next;
        self.mark_due = None;
        self.synced_to = HEADER_BYTES as u64;
    }

    /// Goes on after a failure: everything taken is in `next`, and synced.
    pub(crate) fn resume(&mut self, next: ActiveSegment, ends: VecDeque<u64>) {
        self.follow(next, ends);
        self.has_failed = false;
        self.failure = None;
        self.written = self.taken;
        self.synced(self.taken, self.active.bytes);
    }
}
