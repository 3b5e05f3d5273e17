//! The meeting place of the threads that append and the one that writes.
//!
//! ```text
//! shard ──append──►┐  Pending                         Pen              Engine
//! shard ──append──►┤  ┌──────┬────────┬────────┐ take ┌─────────────┐  ┌──────┐
//! shard ──append──►┘  │ mark │ record │ record │ ───► │ seal, write │  │ sync │
//!                     └──────┴────────┴────────┘      └──────┬──────┘  └───┬──┘
//! shard ◄── written_lsn(), durable_lsn(), notifier ──────────┴─────────────┘
//! ```
//!
//! Appending is a copy under one lock, held for as long as the copy takes; the LSN is given under that lock, so the order
//! of LSNs is the order of the bytes. The buffer begins with a blank sync mark, which the engine writes or skips. A long
//! payload is not copied under it: whoever takes the buffer puts it in its place, and that is no shard ([`Front::has_much`]).
//!
//! Invariants
//! - `durable ≤ written ≤ appended`; each only rises.
//! - Every record above `written` is in `Pending` or in the engine's hands.
//!
//! Cost: an append is one uncontended lock, one copy of the payload and 12 bytes; no allocation once the buffers have grown.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::engine::GivenUp;
use crate::error::{Error, Refusal};
use crate::manifest::SnapshotInfo;
use crate::pen::Kept;
use crate::policy::{FsyncPolicy, Options};
use crate::record::{self, FRAME_BYTES, FRAME_PAYLOAD_BYTES_MAX, Kind, MARK_BYTES};
use crate::segment::Segment;
use crate::snapshot::SnapshotPlace;
use crate::{Lsn, Stats};

/// What the journal tells the outside, on one of its threads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Every record up to this LSN now survives a power loss. Replies that wait for it may go.
    Durable(Lsn),
    /// Every record up to this LSN was handed to the system, by a thread of the journal. Under `Always` only
    /// [`Durable`](Self::Durable) is told.
    Written(Lsn),
    /// The disk does not take writes; [`crate::Journal::admit`] says so to clients from now on.
    Stopped {
        /// What clients are told.
        refusal: Refusal,
        /// What the operator is told: file and cause.
        cause: String,
    },
    /// The disk takes writes again, and everything that waited is durable.
    Resumed,
}

/// Bytes that a shard writes itself, as those of one turn usually are; the system copies them in less than a millisecond.
const WRITTEN_BY_SHARDS_MAX: usize = 2 << 20;

/// Who is told of events. Called on the journal's threads: must not block, must not call back into the journal's waits.
pub type Notify = Arc<dyn Fn(Event) + Send + Sync>;

/// Something to be done between two writes.
pub(crate) enum Command {
    /// Ends the segment and says where a snapshot begins.
    BeginSnapshot(SyncSender<Result<SnapshotPlace, Error>>),
    /// Makes a finished snapshot the one to start from, and cuts the log behind it; answers with the files that are now to
    /// be removed, which takes too long for the engine.
    PublishSnapshot(SnapshotInfo, SyncSender<Result<Vec<String>, Error>>),
    /// Gives up what the disk did not take; `None` if it takes it now.
    GiveUp(SyncSender<Option<GivenUp>>),
    /// Removes whole segments before an LSN.
    TrimBefore(Lsn, SyncSender<Result<(), Error>>),
    /// Writes and syncs everything, then stops.
    Close(SyncSender<Result<(), Error>>),
}

/// What was taken in one go, to be written.
pub(crate) struct Taken {
    /// Blank frames: a sync mark, then the records. Only the mark if there are none.
    pub(crate) frames: Vec<u8>,
    /// LSN of the last record appended so far.
    pub(crate) last: Lsn,
}

/// Records appended and not yet taken.
struct Pending {
    /// Blank frames, the first one a sync mark.
    frames: Vec<u8>,
    /// Payloads of records that are not in `frames` yet, and where in it each is to be put.
    long: Vec<(usize, Vec<u8>)>,
    /// Bytes of these.
    long_bytes: usize,
    /// LSN of the next record.
    next: Lsn,
    commands: Vec<Command>,
    /// Somebody wants the engine to check again: a sync or another policy.
    woken: bool,
    closed: bool,
}

/// How the engine's thread waits, so that nobody makes a system call to wake who is awake.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parked {
    /// It runs, and will look at what is pending before it waits.
    Awake,
    /// It waits for a time, a command, or a sync that is asked for. What is pending is written by others, or can't be.
    Quiet,
    /// It waits a moment for others to join what is pending; a flush says that they have.
    Joined,
    /// It waits for work.
    Idle,
}

pub(crate) struct Front {
    pending: Mutex<Pending>,
    work: Condvar,
    /// Somebody wants the writing thread to write; see [`Front::want_write`].
    write_wanted: Mutex<bool>,
    write_work: Condvar,
    /// A sync runs during which shards had better not write: a file system may make them wait for it.
    is_syncing: AtomicBool,
    /// A thread of the journal writes so much that shards had better not wait for its end.
    is_writing_much: AtomicBool,
    /// A [`Parked`]; written under `pending`'s lock, read without it by `flush`.
    parked: AtomicU8,
    /// What `admit` says: 0 is yes; see `set_refusal`.
    refusal: AtomicU8,
    /// Bytes of what is pending, for `admit`, which takes no lock. Exactness is not needed: it is a limit on memory.
    pending_bytes: AtomicUsize,
    /// What the pen keeps, and has lent: its to say.
    pub(crate) kept: Arc<Kept>,
    pending_bytes_max: usize,
    pub(crate) frame_payload_max: usize,
    payload_bytes_max: usize,
    policy: AtomicU8,
    appended: AtomicU64,
    written: AtomicU64,
    durable: AtomicU64,
    /// The last record that others were told is written.
    told: AtomicU64,
    /// The records above the first and up to the second were given up last; read by `is_given_up`.
    given_up: [AtomicU64; 2],
    /// Records up to here may have been acknowledged though they are not durable: they were read at the start, or written
    /// before the policy became `Always`.
    acknowledged: AtomicU64,
    /// Someone waits for this LSN, whatever the policy.
    sync_wanted: AtomicU64,
    /// Guards nothing: waiters for `durable` and for a change of `refusal` sleep on the condition.
    progress: Mutex<()>,
    progressed: Condvar,
    /// Number of the snapshot being taken, 0 if none.
    snapshot_taken: AtomicU64,
    /// The segments of the log, oldest first; the last is the active one.
    pub(crate) segments: Mutex<Vec<Segment>>,
    pub(crate) stats: Mutex<Stats>,
}

impl Front {
    /// A front after recovery, which ended with `last`.
    pub(crate) fn new(last: Lsn, durable: Lsn, options: &Options) -> Arc<Front> {
        let pending = Pending {
            frames: blank(Vec::new()),
            long: Vec::new(),
            long_bytes: 0,
            next: last.next(),
            commands: Vec::new(),
            woken: false,
            closed: false,
        };
        Arc::new(Front {
            pending: Mutex::new(pending),
            work: Condvar::new(),
            write_wanted: Mutex::new(false),
            write_work: Condvar::new(),
            is_syncing: AtomicBool::new(false),
            is_writing_much: AtomicBool::new(false),
            parked: AtomicU8::new(Parked::Awake as u8),
            refusal: AtomicU8::new(0),
            pending_bytes: AtomicUsize::new(0),
            kept: Arc::default(),
            pending_bytes_max: options.pending_bytes_max,
            frame_payload_max: options.frame_payload_max.clamp(1, FRAME_PAYLOAD_BYTES_MAX),
            payload_bytes_max: options.payload_bytes_max,
            policy: AtomicU8::new(options.fsync as u8),
            appended: AtomicU64::new(last.0),
            written: AtomicU64::new(last.0),
            durable: AtomicU64::new(durable.0),
            told: AtomicU64::new(last.0),
            given_up: [AtomicU64::new(0), AtomicU64::new(0)],
            acknowledged: AtomicU64::new(last.0),
            sync_wanted: AtomicU64::new(0),
            progress: Mutex::new(()),
            progressed: Condvar::new(),
            snapshot_taken: AtomicU64::new(0),
            segments: Mutex::new(Vec::new()),
            stats: Mutex::new(Stats::default()),
        })
    }

    /// See [`crate::Journal::append`].
    #[inline]
    pub(crate) fn append(&self, payload: &[u8]) -> Result<Lsn, Refusal> {
        if payload.len() > self.payload_bytes_max {
            return Err(Refusal::TooLarge);
        }
        let mut pending = self.pending.lock();
        if pending.closed {
            return Err(Refusal::Closed);
        }
        record::push_record(payload, self.frame_payload_max, &mut pending.frames);
        Ok(self.number(pending))
    }

    /// See [`crate::Journal::append_long`].
    pub(crate) fn append_long(&self, payload: Vec<u8>) -> Result<Lsn, Refusal> {
        if payload.len() > self.payload_bytes_max {
            return Err(Refusal::TooLarge);
        }
        let mut pending = self.pending.lock();
        if pending.closed {
            return Err(Refusal::Closed);
        }
        let at = pending.frames.len();
        pending.long_bytes += payload.len();
        pending.long.push((at, payload));
        Ok(self.number(pending))
    }

    /// Whether so much is pending that a shard had better not write it.
    #[inline]
    pub(crate) fn has_much(&self) -> bool {
        self.pending_bytes.load(Ordering::Relaxed) > WRITTEN_BY_SHARDS_MAX
    }

    /// See [`crate::Journal::kept_bytes`].
    pub(crate) fn kept_bytes(&self) -> usize {
        let pending_bytes = self.pending_bytes.load(Ordering::Relaxed);
        let lent_bytes = self.kept.lent_bytes.load(Ordering::Relaxed);
        pending_bytes.max(lent_bytes) + self.kept.bytes.load(Ordering::Relaxed)
    }

    /// See [`crate::Journal::append_with`].
    #[inline]
    pub(crate) fn append_with(&self, encode: impl FnOnce(&mut Vec<u8>)) -> Result<Lsn, Refusal> {
        let mut pending = self.pending.lock();
        if pending.closed {
            return Err(Refusal::Closed);
        }
        let at = pending.frames.len();
        record::push_blank_header(Kind::Record, 0, &mut pending.frames);
        let from = pending.frames.len();
        encode(&mut pending.frames);
        let length = pending.frames.len().checked_sub(from).expect("encode only appends");
        if length > self.payload_bytes_max {
            pending.frames.truncate(at);
            return Err(Refusal::TooLarge);
        }
        record::set_length(&mut pending.frames, at, self.frame_payload_max);
        Ok(self.number(pending))
    }

    /// Gives the record just pushed its LSN.
    #[inline]
    fn number(&self, mut pending: MutexGuard<'_, Pending>) -> Lsn {
        let lsn = pending.next;
        pending.next = lsn.next();
        // Relaxed: a limit, see the field.
        self.pending_bytes.store(pending.frames.len() + pending.long_bytes, Ordering::Relaxed);
        // Release, with the Acquire in `appended_lsn`.
        self.appended.store(lsn.0, Ordering::Release);
        lsn
    }

    /// See [`crate::Journal::flush`].
    pub(crate) fn flush(&self) {
        // Acquire, with the Release in `park`. If the engine parks after this load, it has looked at what is pending
        // under the lock, and the append before this call came under that lock: it has seen it.
        let parked = self.parked.load(Ordering::Acquire);
        if parked == Parked::Idle as u8 || parked == Parked::Joined as u8 {
            self.wake();
        }
    }

    pub(crate) fn wake(&self) {
        // Under the lock, so that the engine is either before its look at what is pending or asleep.
        let mut pending = self.pending.lock();
        pending.woken = true;
        self.parked.store(Parked::Awake as u8, Ordering::Release);
        self.work.notify_one();
    }

    /// Has the thread that writes beside the engine write what is pending, and tell.
    pub(crate) fn want_write(&self) {
        *self.write_wanted.lock() = true;
        self.write_work.notify_one();
    }

    /// Waits until somebody wants that; false once the journal is closed.
    pub(crate) fn await_write_wanted(&self) -> bool {
        let mut wanted = self.write_wanted.lock();
        loop {
            if self.admit() == Err(Refusal::Closed) {
                return false;
            }
            if std::mem::take(&mut *wanted) {
                return true;
            }
            self.write_work.wait(&mut wanted);
        }
    }

    /// Whether others are yet to be told that this is written; the caller tells them. Who is told asks for another write if he still
    /// waits, and would do so without end where nothing can be written until a sync ends.
    pub(crate) fn is_news(&self, written: Lsn) -> bool {
        self.told.fetch_max(written.0, Ordering::AcqRel) < written.0
    }

    /// Runs a sync, which shards don't write beside; see [`Front::is_syncing`].
    pub(crate) fn during_sync<T>(&self, sync: impl FnOnce() -> T) -> T {
        self.is_syncing.store(true, Ordering::Relaxed);
        let outcome = sync();
        self.is_syncing.store(false, Ordering::Relaxed);
        outcome
    }

    /// Writes on a thread of the journal, for which shards don't wait if it is much.
    pub(crate) fn during_write<T>(&self, write: impl FnOnce() -> T) -> T {
        self.is_writing_much.store(self.has_much(), Ordering::Relaxed);
        let outcome = write();
        self.is_writing_much.store(false, Ordering::Relaxed);
        outcome
    }

    /// Whether a shard leaves the writing to a thread of the journal. A hint: whoever misses it waits for a file system, or
    /// for the end of a long write, at worst.
    pub(crate) fn is_left_to_thread(&self) -> bool {
        self.is_syncing.load(Ordering::Relaxed)
            || self.is_writing_much.load(Ordering::Relaxed)
            || self.has_much()
    }

    /// Hands a command to the engine and wakes it; `Closed` if it has stopped.
    pub(crate) fn command(&self, command: Command) -> Result<(), Refusal> {
        let mut pending = self.pending.lock();
        if pending.closed {
            return Err(Refusal::Closed);
        }
        if matches!(command, Command::Close(_)) {
            pending.closed = true;
        }
        pending.commands.push(command);
        self.parked.store(Parked::Awake as u8, Ordering::Release);
        self.work.notify_one();
        Ok(())
    }

    /// Takes everything pending, leaving `spare` to be filled.
    pub(crate) fn take(&self, spare: Vec<u8>) -> Taken {
        let spare = blank(spare);
        let mut pending = self.pending.lock();
        self.pending_bytes.store(0, Ordering::Relaxed);
        let frames = std::mem::replace(&mut pending.frames, spare);
        let (long, last) = (std::mem::take(&mut pending.long), Lsn(pending.next.0 - 1));
        let long_bytes = std::mem::take(&mut pending.long_bytes);
        drop(pending);
        Taken { frames: self.with_long(frames, long, long_bytes), last }
    }

    /// Puts long payloads in their places.
    fn with_long(&self, frames: Vec<u8>, long: Vec<(usize, Vec<u8>)>, long_bytes: usize) -> Vec<u8> {
        if long.is_empty() {
            return frames;
        }
        let headers = (long.len() + long_bytes / self.frame_payload_max) * FRAME_BYTES;
        let mut whole = Vec::with_capacity(frames.len() + long_bytes + headers);
        let mut copied = 0;
        for (at, payload) in long {
            whole.extend_from_slice(&frames[copied..at]);
            record::push_record(&payload, self.frame_payload_max, &mut whole);
            copied = at;
        }
        whole.extend_from_slice(&frames[copied..]);
        whole
    }

    /// Takes the commands.
    pub(crate) fn take_commands(&self) -> Vec<Command> {
        let mut pending = self.pending.lock();
        pending.woken = false;
        std::mem::take(&mut pending.commands)
    }

    /// Puts the engine's thread to sleep until there is work, or `until`.
    ///
    /// `Idle`: any flush wakes it, and nothing pending is left behind. `Joined`: any flush wakes it, and what is pending
    /// already waits for that. `Quiet`: neither.
    pub(crate) fn park(&self, how: Parked, until: Option<Instant>) {
        let mut pending = self.pending.lock();
        let work = match how {
            Parked::Awake => return,
            Parked::Quiet | Parked::Joined => false,
            Parked::Idle => pending.frames.len() > MARK_BYTES || !pending.long.is_empty(),
        };
        if work || pending.woken || !pending.commands.is_empty() {
            return;
        }
        self.parked.store(how as u8, Ordering::Release);
        while self.parked.load(Ordering::Relaxed) != Parked::Awake as u8 {
            match until {
                None => self.work.wait(&mut pending),
                Some(until) => {
                    if self.work.wait_until(&mut pending, until).timed_out() {
                        break;
                    }
                }
            }
        }
        self.parked.store(Parked::Awake as u8, Ordering::Release);
    }

    /// The engine is gone: nothing is taken any more, and nobody waits for an answer.
    pub(crate) fn shut(&self) {
        let commands = {
            let mut pending = self.pending.lock();
            pending.closed = true;
            std::mem::take(&mut pending.commands)
        };
        drop(commands);
        self.set_refusal(Some(Refusal::Closed));
    }

    /// See [`crate::Journal::admit`].
    #[inline]
    pub(crate) fn admit(&self) -> Result<(), Refusal> {
        match self.refusal.load(Ordering::Acquire) {
            0 if self.pending_bytes.load(Ordering::Relaxed) <= self.pending_bytes_max => Ok(()),
            0 => Err(Refusal::Backlog),
            1 => Err(Refusal::DiskFull),
            2 => Err(Refusal::DiskFailed),
            _ => Err(Refusal::Closed),
        }
    }

    /// Says to clients from now on whether writes are taken.
    pub(crate) fn set_refusal(&self, refusal: Option<Refusal>) {
        let code = match refusal {
            None => 0,
            Some(Refusal::DiskFull) => 1,
            Some(Refusal::DiskFailed | Refusal::Backlog | Refusal::TooLarge) => 2,
            Some(Refusal::Closed) => 3,
        };
        self.refusal.store(code, Ordering::Release);
        self.progressed();
        if code == 3 {
            self.want_write();
        }
    }

    pub(crate) fn policy(&self) -> FsyncPolicy {
        const ALWAYS: u8 = FsyncPolicy::Always as u8;
        const EVERY_SEC: u8 = FsyncPolicy::EverySec as u8;
        match self.policy.load(Ordering::Relaxed) {
            ALWAYS => FsyncPolicy::Always,
            EVERY_SEC => FsyncPolicy::EverySec,
            _ => FsyncPolicy::No,
        }
    }

    pub(crate) fn set_policy(&self, policy: FsyncPolicy) {
        self.policy.store(policy as u8, Ordering::SeqCst);
        // Replies left, until now, when their record was written.
        self.acknowledged.fetch_max(self.written_lsn().0, Ordering::SeqCst);
        self.wake();
    }

    pub(crate) fn appended_lsn(&self) -> Lsn {
        Lsn(self.appended.load(Ordering::Acquire))
    }

    pub(crate) fn written_lsn(&self) -> Lsn {
        Lsn(self.written.load(Ordering::Acquire))
    }

    pub(crate) fn durable_lsn(&self) -> Lsn {
        Lsn(self.durable.load(Ordering::Acquire))
    }

    pub(crate) fn set_written(&self, lsn: Lsn) {
        debug_assert!(lsn >= self.written_lsn());
        self.written.store(lsn.0, Ordering::Release);
    }

    pub(crate) fn set_durable(&self, lsn: Lsn) {
        debug_assert!(self.durable_lsn() <= lsn && lsn <= self.written_lsn());
        self.durable.store(lsn.0, Ordering::Release);
        self.progressed();
    }

    /// See the field.
    pub(crate) fn acknowledged(&self) -> Lsn {
        Lsn(self.acknowledged.load(Ordering::SeqCst))
    }

    pub(crate) fn set_given_up(&self, above: Lsn, up_to: Lsn) {
        self.given_up[0].store(above.0, Ordering::Release);
        self.given_up[1].store(up_to.0, Ordering::Release);
    }

    pub(crate) fn given_up(&self) -> (Lsn, Lsn) {
        let [above, up_to] = &self.given_up;
        let up_to = Lsn(up_to.load(Ordering::Acquire));
        (Lsn(above.load(Ordering::Acquire)), up_to)
    }

    pub(crate) fn progressed(&self) {
        let _progress = self.progress.lock();
        self.progressed.notify_all();
    }

    /// Claims the right to write a snapshot; false if another has it.
    pub(crate) fn claim_snapshot(&self, number: u64) -> bool {
        self.snapshot_taken.compare_exchange(0, number, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Gives the right back.
    pub(crate) fn end_snapshot(&self, number: u64) {
        let _ = self.snapshot_taken.compare_exchange(number, 0, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Number of the snapshot being written, 0 if none.
    pub(crate) fn snapshot_being_taken(&self) -> u64 {
        self.snapshot_taken.load(Ordering::Acquire)
    }

    pub(crate) fn sync_wanted(&self) -> Lsn {
        Lsn(self.sync_wanted.load(Ordering::Acquire))
    }

    /// Asks for a sync that covers `lsn`, whatever the policy, without waiting for it.
    pub(crate) fn want_sync(&self, lsn: Lsn) {
        self.sync_wanted.fetch_max(lsn.0, Ordering::AcqRel);
        self.wake();
    }

    /// See [`crate::Journal::wait_durable`].
    pub(crate) fn wait_durable(&self, lsn: Lsn, timeout: Option<Duration>) -> Result<bool, Refusal> {
        let until = timeout.map(|timeout| Instant::now() + timeout);
        self.want_sync(lsn);
        let mut progress = self.progress.lock();
        while self.durable_lsn() < lsn {
            match self.admit() {
                Ok(()) | Err(Refusal::Backlog) => {}
                Err(refusal) => return Err(refusal),
            }
            match until {
                None => self.progressed.wait(&mut progress),
                Some(until) => {
                    if self.progressed.wait_until(&mut progress, until).timed_out() {
                        return Ok(self.durable_lsn() >= lsn);
                    }
                }
            }
        }
        Ok(true)
    }
}

/// A buffer that holds the blank sync mark that each batch begins with.
fn blank(mut frames: Vec<u8>) -> Vec<u8> {
    frames.clear();
    record::push_mark(0, &mut frames);
    frames
}
