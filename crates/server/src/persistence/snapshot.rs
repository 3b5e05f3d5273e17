//! Snapshots: the keys as they are, so that the log before can go. Nobody forks and nobody stops.
//!
//! A thread of its own walks the partitions. It locks one, clones what a few keys hold (a stream's sealed blocks are shared,
//! not copied), reads the journal's last LSN while no write of these keys can run, and unlocks; then it encodes and writes.
//! So a writer waits for a few clones at most, and memory grows by what is written between two looks at one key.
//!
//! When: the journal has grown (`auto-aof-rewrite-*`), a save point is due (`save`), or BGSAVE, BGREWRITEAOF, SAVE,
//! SHUTDOWN SAVE ask for one. One at a time; what is asked for meanwhile is taken once more afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering, Ordering::Relaxed};
use std::thread;
use std::time::Instant;

use sterna_journal::{Error, Journal, Lsn, Refusal, SnapshotInfo, SnapshotWriter};
use sterna_keyspace::{Value, write_state};

use crate::config::Config;
use crate::lock::{Condvar, Level, Mutex};
use crate::server::Server;
use crate::time::unix_ms;

/// Keys cloned under one lock.
const KEYS_PER_LOOK: usize = 32;

/// Bytes of one item; a larger value comes in several, so that it needs no memory of its own size.
const PART_BYTES: usize = 1 << 20;

/// Who wants a snapshot: INFO and LASTSAVE tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// BGSAVE, SAVE, a save point.
    Save,
    /// BGREWRITEAOF, growth of the journal.
    Rewrite,
}

/// What is known of the snapshots of this run.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    state: Mutex<State, { Level::Snapshots as u8 }>,
    ended: Condvar,
    /// No more: the server stops.
    is_stopping: AtomicBool,
    is_wanted_at_end: AtomicBool,
    /// Unix time in seconds of the last one that succeeded, or of the start.
    pub(crate) last_s: AtomicU64,
    /// Changes of the keyspace when it was begun.
    changes_at_last: AtomicU64,
    /// Keys written by the one that runs.
    pub(crate) keys: AtomicU64,
    pub(crate) saves: Kind,
    pub(crate) rewrites: Kind,
}

/// What INFO says of one kind.
#[derive(Debug, Default)]
pub(crate) struct Kind {
    pub(crate) done: AtomicU64,
    pub(crate) has_failed: AtomicBool,
    /// Seconds the last one took, + 1; 0 for none yet.
    took_s: AtomicI64,
}

#[derive(Debug, Default)]
struct State {
    running: Option<(Cause, Instant)>,
    /// Asked for while another ran.
    next: Option<Cause>,
    /// How many have ended.
    ended: u64,
    last_failure: Option<String>,
    /// Unix time in seconds before which none is tried again by itself, after a failure.
    not_before_s: u64,
}

/// Seconds after a failure until growth or a save point asks again.
const RETRY_S: u64 = 60;

/// What asking for a snapshot led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Started,
    /// One runs; another follows.
    Queued,
}

impl Kind {
    /// Seconds the last one took; -1: none yet.
    pub(crate) fn took_s(&self) -> i64 {
        self.took_s.load(Relaxed) - 1
    }
}

impl Snapshots {
    pub(super) fn begin(&self, now_s: u64) {
        self.last_s.store(now_s, Relaxed);
    }

    /// What runs, and for how many seconds.
    pub(crate) fn running(&self) -> Option<(Cause, u64)> {
        self.state.lock().running.map(|(cause, since)| (cause, since.elapsed().as_secs()))
    }

    /// Whether another of this kind is to follow.
    pub(crate) fn is_queued(&self, cause: Cause) -> bool {
        self.state.lock().next == Some(cause)
    }

    /// SHUTDOWN SAVE.
    pub(crate) fn want_at_end(&self) {
        self.is_wanted_at_end.store(true, Relaxed);
    }

    pub(super) fn is_wanted_at_end(&self) -> bool {
        self.is_wanted_at_end.load(Relaxed)
    }

    /// Has the one that runs give up, and waits for that.
    pub(super) fn stop(&self) {
        self.is_stopping.store(true, Relaxed);
        let mut state = self.state.lock();
        while state.running.is_some() {
            self.ended.wait(&mut state);
        }
    }

    fn kind(&self, cause: Cause) -> &Kind {
        match cause {
            Cause::Save => &self.saves,
            Cause::Rewrite => &self.rewrites,
        }
    }
}

impl Server {
    /// Has a snapshot taken, now or after the one that runs. Errors: no thread can be started.
    pub(crate) fn ask_for_snapshot(
        self: &Arc<Server>,
        journal: &Arc<Journal>,
        cause: Cause,
    ) -> std::io::Result<Asked> {
        let mut state = self.persistence.snapshots.state.lock();
        if state.running.is_some() {
            state.next = Some(cause);
            return Ok(Asked::Queued);
        }
        let (server, journal) = (Arc::clone(self), Arc::clone(journal));
        let run = move || server.take_asked(&journal, cause);
        thread::Builder::new().name("snapshot".to_owned()).spawn(run)?;
        state.running = Some((cause, Instant::now()));
        Ok(Asked::Started)
    }

    /// SAVE: has one taken and waits. Errors: why it failed.
    pub(crate) fn snapshot_and_wait(self: &Arc<Server>, journal: &Arc<Journal>) -> Result<(), String> {
        crate::lock::assert_nothing_held();
        let snapshots = &self.persistence.snapshots;
        let ended = snapshots.state.lock().ended;
        let asked = self.ask_for_snapshot(journal, Cause::Save).map_err(|error| error.to_string())?;
        let wanted = ended + if asked == Asked::Queued { 2 } else { 1 };
        let mut state = snapshots.state.lock();
        while state.ended < wanted && state.running.is_some() {
            snapshots.ended.wait(&mut state);
        }
        state.last_failure.clone().map_or(Ok(()), Err)
    }

    fn take_asked(self: &Arc<Server>, journal: &Arc<Journal>, cause: Cause) {
        // Behind those who serve clients: it has time. A kernel that refuses leaves it where it is.
        let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS);
        let snapshots = &self.persistence.snapshots;
        let began = Instant::now();
        let result = take(self, journal);
        let kind = snapshots.kind(cause);
        kind.took_s.store(began.elapsed().as_secs() as i64 + 1, Relaxed);
        kind.has_failed.store(result.is_err(), Relaxed);
        if result.is_ok() {
            kind.done.fetch_add(1, Relaxed);
        }
        let mut state = snapshots.state.lock();
        state.running = None;
        state.ended += 1;
        state.last_failure = None;
        if let Err(error) = result {
            tracing::warn!(%error, "the snapshot failed; the one before and the whole log still count");
            state.last_failure = Some(error.to_string());
            state.not_before_s = unix_ms() / 1000 + RETRY_S;
        }
        let next = state.next.take();
        snapshots.ended.notify_all();
        drop(state);
        if let Some(next) = next
            && !snapshots.is_stopping.load(Relaxed)
            && let Err(error) = self.ask_for_snapshot(journal, next)
        {
            tracing::warn!(%error, "the next snapshot is not taken");
        }
    }

    /// Asks for a snapshot if the configuration says that one is due; ten times a second.
    pub(crate) fn look_after_journal(self: &Arc<Server>, config: &Config) {
        let Some(journal) = self.persistence.journal().filter(|_| !self.persistence.loading.is_on()) else {
            return;
        };
        let snapshots = &self.persistence.snapshots;
        let now_s = unix_ms() / 1000;
        {
            let state = snapshots.state.lock();
            if state.running.is_some() || now_s < state.not_before_s {
                return;
            }
        }
        let cause = if self.persistence.has_gap.load(Relaxed) || has_grown(journal, config) {
            Cause::Rewrite
        } else if self.is_save_point(config, now_s) {
            Cause::Save
        } else {
            return;
        };
        if snapshots.is_stopping.load(Relaxed) || journal.admit().is_err() {
            return;
        }
        if let Err(error) = self.ask_for_snapshot(journal, cause) {
            tracing::warn!(%error, "no snapshot is taken");
        }
    }

    fn is_save_point(&self, config: &Config, now_s: u64) -> bool {
        if config.save.is_empty() {
            return false;
        }
        let snapshots = &self.persistence.snapshots;
        let since_s = now_s.saturating_sub(snapshots.last_s.load(Relaxed));
        let changes = self.changes_since_save();
        config.save.iter().any(|point| since_s >= point.seconds && changes >= point.changes && changes > 0)
    }

    /// Changes of the keyspace since the last snapshot was begun.
    pub(crate) fn changes_since_save(&self) -> u64 {
        self.changes().saturating_sub(self.persistence.snapshots.changes_at_last.load(Relaxed))
    }

    /// A write is in memory that is in no record: no other is taken before a snapshot holds it.
    #[cold]
    pub(super) fn leave_gap(&self) {
        tracing::error!("a write is too large for the journal: writes are refused until a snapshot is taken");
        self.persistence.has_gap.store(true, Ordering::Release);
    }
}

/// Of the thread that snapshots, on the scale from -20 to 19.
const NICENESS: i32 = 10;

/// Bytes of snapshot and log, now and after the last snapshot.
pub(crate) fn sizes(journal: &Journal) -> (u64, u64) {
    let stats = journal.stats();
    let base = stats.snapshot.map_or(0, |snapshot| snapshot.bytes);
    (base + stats.log_bytes, base)
}

/// Redis's rule for rewriting its log.
fn has_grown(journal: &Journal, config: &Config) -> bool {
    let (now, base) = sizes(journal);
    let growth = u128::from(now) * 100 / u128::from(base.max(1));
    config.auto_aof_rewrite_percentage > 0
        && now > config.auto_aof_rewrite_min_size
        && growth >= 100 + u128::from(config.auto_aof_rewrite_percentage)
}

/// Takes a snapshot.
pub(super) fn take(server: &Server, journal: &Journal) -> Result<SnapshotInfo, Error> {
    let snapshots = &server.persistence.snapshots;
    let began = Instant::now();
    let changes = server.changes();
    let had_gap = server.persistence.has_gap.load(Ordering::Acquire);
    snapshots.keys.store(0, Relaxed);
    let mut writer = journal.snapshot()?;
    let mut walk = Walk { keys: Vec::new(), stamp: Lsn::ZERO, bytes: Vec::new() };
    let partitions = &server.partitions;
    for index in 0..partitions.count() {
        for db in 0..partitions.databases() {
            let mut from = Some(0);
            while let Some(position) = from {
                if snapshots.is_stopping.load(Relaxed) && !snapshots.is_wanted_at_end() {
                    return Err(Refusal::Closed.into());
                }
                from = partitions.visit(index, db, position, KEYS_PER_LOOK, |record| {
                    // The partition is locked: this is the keys' last record, or one of another partition.
                    walk.stamp = journal.last_lsn();
                    walk.keys.push((record.key().into(), record.value().clone(), record.expire_at_ms()));
                });
                snapshots.keys.fetch_add(walk.keys.len() as u64, Relaxed);
                walk.write(&mut writer, db)?;
            }
        }
    }
    let info = writer.finish()?;
    snapshots.last_s.store(unix_ms() / 1000, Relaxed);
    snapshots.changes_at_last.store(changes, Relaxed);
    if had_gap {
        server.persistence.has_gap.store(false, Ordering::Release);
    }
    let ms = began.elapsed().as_millis() as u64;
    tracing::info!(items = info.items, bytes = info.bytes, ms, start = %info.start, "snapshot taken, log cut");
    Ok(info)
}

/// What was cloned under the last lock.
struct Walk {
    keys: Vec<(Box<[u8]>, Value, Option<u64>)>,
    stamp: Lsn,
    bytes: Vec<u8>,
}

impl Walk {
    fn write(&mut self, writer: &mut SnapshotWriter, db: usize) -> Result<(), Error> {
        let stamp = self.stamp;
        for (key, value, expire_at_ms) in self.keys.drain(..) {
            // Databases are numbered below 255.
            let name = [&[db as u8], &*key].concat();
            let mut result = Ok(());
            self.bytes.clear();
            self.bytes.push(LAST_PART);
            write_state(&mut self.bytes, &value, expire_at_ms, &mut |bytes| {
                if bytes.len() >= PART_BYTES && result.is_ok() {
                    bytes[0] = MORE_FOLLOWS;
                    result = writer.item(&name, stamp, bytes);
                    bytes.clear();
                    bytes.push(LAST_PART);
                }
            });
            result?;
            writer.item(&name, stamp, &self.bytes)?;
        }
        Ok(())
    }
}

/// First byte of an item.
const LAST_PART: u8 = 0;
const MORE_FOLLOWS: u8 = 1;
