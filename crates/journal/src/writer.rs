//! The journal as the rest of the server sees it: append, flush, wait, snapshot, close.
//!
//! One thread runs the [engine](crate::engine) and sleeps in between; everything here only touches memory, but for what
//! says that it blocks, and for `flush`.
//!
//! Who writes. Under `EverySec` and `No` whoever flushes writes what all shards have appended, on its own thread: no wake-up,
//! and the reply that waits for it leaves at once. While a sync runs, a file system may let a writer wait for it; then the
//! second thread writes, and tells [`Event::Written`]. So a sync that takes seconds delays no shard and no reply. It writes
//! megabytes as well, for which a shard has no time.
//!
//! What one sync serves. Under `Always` the thread sleeps until a shard's `flush`, takes what all shards have appended,
//! writes it in one call, syncs once and tells everybody. What comes meanwhile waits for the next `flush`, or a moment.
//! A single client costs one sync per operation; five hundred cost one sync per batch.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::chain::{At, Chain, Pass};
use crate::disk::Disk;
use crate::engine::{Engine, GivenUp, Next};
use crate::error::{Error, Refusal};
use crate::front::{Command, Event, Front, Parked};
use crate::log::{self, Log};
use crate::pen::{Pen, Wrote};
use crate::policy::FsyncPolicy;
use crate::recovery::{self, Report, Restore};
use crate::snapshot::SnapshotWriter;
use crate::{Lsn, SnapshotInfo, Stats};

/// How often the files are looked at while the engine replaces some; it does so once per segment or snapshot.
const CHAIN_ATTEMPTS: u32 = 100;

/// An open journal. Share it behind an `Arc`; dropping it closes it.
pub struct Journal {
    front: Arc<Front>,
    pen: Arc<Mutex<Pen>>,
    disk: Arc<dyn Disk>,
    /// Those that sync and write; none if it is stepped by a simulation, or closed.
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// How long a shard waits for another that writes before it leaves that to the thread for it. A write of what one turn has
/// appended takes microseconds.
const PEN_WAIT_MAX: Duration = Duration::from_micros(500);

impl Journal {
    pub(crate) fn run(mut engine: Engine) -> Result<Journal, Error> {
        let (front, pen) = (engine.front().clone(), engine.pen().clone());
        let (disk, notify) = (engine.disk().clone(), engine.notify().clone());
        let shared = front.clone();
        let syncs = thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || {
                let started = Instant::now();
                loop {
                    let now_ms = started.elapsed().as_millis() as u64;
                    let at = |ms: u64| Some(started + Duration::from_millis(ms));
                    match engine.turn(now_ms) {
                        Next::Idle => shared.park(Parked::Idle, None),
                        Next::By(ms) => shared.park(Parked::Idle, at(ms)),
                        Next::Joined(ms) => shared.park(Parked::Joined, at(ms)),
                        Next::At(ms) => shared.park(Parked::Quiet, at(ms)),
                        Next::Closed => return,
                    }
                }
            })
            .map_err(Error::io("start the thread of", "the journal"))?;
        let mut journal = Journal { front, pen, disk, threads: Mutex::new(vec![syncs]) };
        // If this one can't be started, dropping the journal ends the other.
        let (front, pen) = (journal.front.clone(), journal.pen.clone());
        let writes = thread::Builder::new()
            .name("journal-write".to_owned())
            .spawn(move || {
                while front.await_write_wanted() {
                    let written = write(&front, &pen);
                    if front.is_news(written) {
                        notify(Event::Written(written));
                    }
                }
            })
            .map_err(Error::io("start the writing thread of", "the journal"))?;
        journal.threads.get_mut().push(writes);
        Ok(journal)
    }

    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn stepped(engine: &Engine) -> Journal {
        let (front, pen) = (engine.front().clone(), engine.pen().clone());
        Journal { front, pen, disk: engine.disk().clone(), threads: Mutex::default() }
    }

    /// Whether writes are taken now. To be asked before a write command is executed: afterwards it is too late, and
    /// [`append`](Self::append) takes the record in any case, so that state and log never part.
    ///
    /// Cost: two atomic loads.
    #[inline]
    pub fn admit(&self) -> Result<(), Refusal> {
        self.front.admit()
    }

    /// Appends a record and returns its LSN. It is in memory, and on its way to the disk at the next [`flush`](Self::flush).
    ///
    /// `payload`: opaque, at most [`PAYLOAD_BYTES_MAX`](crate::PAYLOAD_BYTES_MAX) bytes. LSNs follow the order of calls: call it
    /// under the lock that orders writes to the keys concerned.
    /// Errors (nothing was appended): `TooLarge`, `Closed`. A failing disk is not an error here, see `admit`.
    /// Cost: one lock, one copy.
    #[inline]
    pub fn append(&self, payload: &[u8]) -> Result<Lsn, Refusal> {
        self.front.append(payload)
    }

    /// Like [`append`](Self::append) for a payload that is long: it is not copied here, but by the thread that writes it.
    ///
    /// Cost: one lock.
    pub fn append_long(&self, payload: Vec<u8>) -> Result<Lsn, Refusal> {
        self.front.append_long(payload)
    }

    /// Like [`append`](Self::append), with the payload written straight into the journal's buffer.
    ///
    /// `encode` must only append to the vector it is given, be short, and not call the journal: it runs under its lock.
    #[inline]
    pub fn append_with(&self, encode: impl FnOnce(&mut Vec<u8>)) -> Result<Lsn, Refusal> {
        self.front.append_with(encode)
    }

    /// Sends what was appended on its way. To be called after the appends and outside locks.
    ///
    /// Under `Always` the journal's thread starts on it at once, so this is best called when no more are to be expected soon;
    /// and what is flushed while a sync runs may wait a moment for more, unless it is flushed again after that. Otherwise it
    /// is written here and now, unless that could mean to wait: then a thread writes it, and [`Event::Written`] tells.
    /// Cost: under `Always` an atomic load, and a system call only if the thread sleeps; otherwise one write.
    #[inline]
    pub fn flush(&self) {
        if self.front.policy() == FsyncPolicy::Always {
            return self.front.flush();
        }
        if self.front.written_lsn() < self.front.appended_lsn() {
            self.write_now();
        }
    }

    fn write_now(&self) {
        // While the disk fails, what is appended waits for it in memory.
        if matches!(self.admit(), Err(Refusal::DiskFull | Refusal::DiskFailed | Refusal::Closed)) {
            return;
        }
        if self.front.is_left_to_thread() {
            return self.front.want_write();
        }
        match self.pen.try_lock_for(PEN_WAIT_MAX) {
            Some(mut pen) => write_with(&self.front, &mut pen),
            None => self.front.want_write(),
        }
    }

    /// LSN of the last record appended. Read while no write of a key can run, it is that key's stamp.
    #[inline]
    pub fn last_lsn(&self) -> Lsn {
        self.front.appended_lsn()
    }

    /// Every record up to here was handed to the system: it survives a crash of this process.
    #[inline]
    pub fn written_lsn(&self) -> Lsn {
        self.front.written_lsn()
    }

    /// Every record up to here survives a power loss.
    #[inline]
    pub fn durable_lsn(&self) -> Lsn {
        self.front.durable_lsn()
    }

    /// Syncs up to `lsn`, whatever the policy, and blocks until that is done; false if `timeout` passed before.
    ///
    /// Errors: the disk does not work, and the record is not durable. It may become so later.
    pub fn wait_durable(&self, lsn: Lsn, timeout: Option<Duration>) -> Result<bool, Refusal> {
        self.front.wait_durable(lsn, timeout)
    }

    /// Asks for a sync up to `lsn`, whatever the policy, and does not wait; [`Event::Durable`](crate::Event::Durable) tells.
    pub fn request_sync(&self, lsn: Lsn) {
        self.front.want_sync(lsn);
    }

    /// When records are synced.
    pub fn policy(&self) -> FsyncPolicy {
        self.front.policy()
    }

    /// Changes when records are synced, from the next turn of the journal's thread on.
    pub fn set_policy(&self, policy: FsyncPolicy) {
        self.front.set_policy(policy);
    }

    /// Bytes of records in memory: what waits to be written, and what is kept until no failed write can reach it any more.
    pub fn kept_bytes(&self) -> usize {
        self.front.kept_bytes()
    }

    /// What the journal knows about itself.
    pub fn stats(&self) -> Stats {
        self.front.stats.lock().clone()
    }

    /// Begins a snapshot: ends the segment, so that the log can be cut there. Blocks for two syncs.
    ///
    /// Appending goes on meanwhile. Errors: `SnapshotBusy` if one is being taken; otherwise the disk's, nothing changed.
    pub fn snapshot(&self) -> Result<SnapshotWriter, Error> {
        let (answer, begun) = sync_channel(1);
        self.front.command(Command::BeginSnapshot(answer))?;
        let place = begun.recv().unwrap_or(Err(Refusal::Closed.into()))?;
        SnapshotWriter::create(self.disk.clone(), self.front.clone(), place)
    }

    /// Loads all state again from the files, up to the last record appended before the call; syncs first. Blocks.
    ///
    /// The caller sees to it that no snapshot is finished meanwhile.
    pub fn reload(&self, restore: &mut dyn Restore) -> Result<Report, Error> {
        let until = self.last_lsn();
        self.wait_durable(until, None)?;
        recovery::reload(&*self.disk, &self.chain()?, until, restore)
    }

    /// Gives up every record that is not safe yet (durable under `Always`, else written), if the disk does not take it;
    /// `None` if it does. Blocks for a turn of the engine.
    ///
    /// To be called only when no write can run, and by who undoes what the records did: see [`GivenUp`].
    pub fn give_up(&self) -> Result<Option<GivenUp>, Refusal> {
        let (answer, given_up) = sync_channel(1);
        self.front.command(Command::GiveUp(answer))?;
        given_up.recv().map_err(|_| Refusal::Closed)
    }

    /// Whether a record was given up: a reply that depends on it must not leave.
    #[inline]
    pub fn is_given_up(&self, lsn: Lsn) -> bool {
        let (above, up_to) = self.front.given_up();
        above < lsn && lsn <= up_to
    }

    /// The last record that was given up; zero if none ever was.
    #[inline]
    pub fn given_up_to(&self) -> Lsn {
        self.front.given_up().1
    }

    /// Loads the state without what was given up. Blocks. Errors: the files can't be read.
    pub fn read_back(&self, given_up: &GivenUp, restore: &mut dyn Restore) -> Result<(), Error> {
        recovery::reload(&*self.disk, &self.chain()?, given_up.durable, restore)?;
        for (lsn, payload) in given_up.kept.iter().filter(|(_, payload)| !payload.is_empty()) {
            restore.record(*lsn, payload).map_err(|rejected| Error::Rejected {
                file: "the journal in memory".to_owned(),
                offset: lsn.0,
                why: rejected.0,
            })?;
        }
        Ok(())
    }

    /// The snapshot that [`read_back`](Self::read_back) begins with, and the epoch.
    pub fn read_back_from(&self) -> Result<(Option<SnapshotInfo>, u64), Error> {
        let manifest = self.chain()?.map(|chain| chain.manifest);
        Ok(manifest.map_or((None, 0), |manifest| (manifest.snapshot, manifest.epoch)))
    }

    /// The files as they are now. The engine may be replacing them: what is missing in one moment is there in the next.
    fn chain(&self) -> Result<Option<Chain>, Error> {
        let mut attempts = 0;
        loop {
            match Chain::read(&*self.disk) {
                Err(Error::Missing { .. }) if attempts < CHAIN_ATTEMPTS => {}
                Err(Error::Io { source, .. })
                    if attempts < CHAIN_ATTEMPTS && source.kind() == io::ErrorKind::NotFound => {}
                outcome => return outcome,
            }
            attempts += 1;
        }
    }

    /// Writes and syncs everything, stops the thread and releases the directory.
    ///
    /// Errors: the disk failed; records above [`durable_lsn`](Self::durable_lsn) may be lost. It is closed in any case.
    pub fn close(&self) -> Result<(), Error> {
        let threads = std::mem::take(&mut *self.threads.lock());
        if threads.is_empty() {
            return Ok(());
        }
        let (answer, closed) = sync_channel(1);
        self.front.command(Command::Close(answer))?;
        let outcome = closed.recv().unwrap_or(Err(Refusal::Closed.into()));
        for thread in threads {
            // A panic on that thread was reported there; here it means that the answer above was an error.
            let _ = thread.join();
        }
        outcome
    }

    /// What the writing thread does, while the engine syncs.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn write_beside_sync(&self) {
        let is_failing = matches!(self.admit(), Err(Refusal::DiskFull | Refusal::DiskFailed));
        if self.policy() != FsyncPolicy::Always
            && !is_failing
            && let Some(mut pen) = self.pen.try_lock()
        {
            write_with(&self.front, &mut pen);
        }
    }

    /// The front, for simulations that wait for answers without blocking.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn front(&self) -> &Arc<Front> {
        &self.front
    }

    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }
}

/// Writes what is pending, and returns what is written.
fn write(front: &Front, pen: &Mutex<Pen>) -> Lsn {
    let mut pen = pen.lock();
    front.during_write(|| write_with(front, &mut pen));
    pen.written
}

/// Writes what is pending, and wakes the engine if that makes work for it: a failure, or something to be synced.
fn write_with(front: &Front, pen: &mut Pen) {
    match pen.write(front) {
        Wrote::Nothing | Wrote::All { wants_sync: false } => {}
        Wrote::All { wants_sync: true } | Wrote::NotNow => front.wake(),
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // Who wants to know whether it worked calls `close`.
        let _ = self.close();
    }
}

impl Log for Journal {
    fn append(&self, payload: &[u8]) -> Result<Lsn, Refusal> {
        let lsn = Journal::append(self, payload)?;
        self.flush();
        Ok(lsn)
    }

    fn durable_lsn(&self) -> Lsn {
        Journal::durable_lsn(self)
    }

    fn read_from(
        &self,
        from: Lsn,
        visit: &mut dyn FnMut(Lsn, &[u8]) -> ControlFlow<()>,
    ) -> Result<Lsn, Error> {
        let until = Journal::durable_lsn(self);
        let mut next = from;
        if from > until {
            return Ok(next);
        }
        let Some(chain) = self.chain()? else {
            return Ok(next);
        };
        let first = chain.segments.first().map_or(Lsn::ZERO, |link| link.segment.base);
        if from < first {
            return Err(Error::Trimmed { asked: from, first });
        }
        chain.pass(&*self.disk, from, &mut |at: At<'_>| {
            let flow = visit(at.lsn, at.payload);
            next = at.lsn.next();
            Ok(if flow.is_break() || at.lsn >= until { Pass::Enough } else { Pass::On })
        })?;
        Ok(next)
    }

    fn trim_before(&self, lsn: Lsn) -> Result<(), Error> {
        let (answer, trimmed) = sync_channel(1);
        self.front.command(Command::TrimBefore(lsn, answer))?;
        trimmed.recv().unwrap_or(Err(Refusal::Closed.into()))
    }

    fn put_snapshot(&self) -> Result<Box<dyn log::SnapshotSink>, Error> {
        Ok(Box::new(self.snapshot()?))
    }

    fn snapshot(&self) -> Result<Option<SnapshotInfo>, Error> {
        Ok(self.stats().snapshot)
    }

    fn replay(&self, restore: &mut dyn Restore) -> Result<Lsn, Error> {
        Ok(self.reload(restore)?.last)
    }
}
