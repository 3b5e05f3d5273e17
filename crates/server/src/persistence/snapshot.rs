//! Snapshots: the keys as they are, so that the log before can go. Nobody forks and nobody stops.
//!
//! A thread of its own walks the partitions. It locks one, clones what a few keys hold (a stream's sealed blocks are shared,
//! not copied), reads the journal's last LSN while no write of these keys can run, and unlocks; then it encodes and writes.
//! So a writer waits for a few clones at most, and memory grows by what is written between two looks at one key.
//!
//! The keys are captured at different moments; what makes them one state is the log from the snapshot's start to its end.
//! So a snapshot without `appendonly` records as well, but only while it runs (`switch.rs`).
//!
//! When: the journal has grown (`auto-aof-rewrite-*`), a save point is due (`save`), or BGSAVE, BGREWRITEAOF, SAVE,
//! SHUTDOWN ask for one. See `jobs.rs`.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use sterna_config::Config;
use sterna_journal::{Error, Journal, Lsn, Refusal, SnapshotInfo, SnapshotWriter};
use sterna_keyspace::{LIBRARIES, Value, write_state};

use crate::partitions::Partitions;
use crate::server::Server;
use crate::time::unix_ms;

/// Keys cloned under one lock, at most: as many as are about [`BYTES_PER_LOCK`], going by those before.
const KEYS_PER_LOCK: usize = 32;

/// Bytes cloned under one lock, about: a fraction of a millisecond. A single string may be longer.
const BYTES_PER_LOCK: usize = 256 << 10;

/// Bytes of one item; a larger value comes in several, so that it needs no memory of its own size.
const PART_BYTES: usize = 1 << 20;

/// Bytes of snapshot and log, now and after the last snapshot.
pub(crate) fn sizes(journal: &Journal) -> (u64, u64) {
    let stats = journal.stats();
    let base = stats.snapshot.map_or(0, |snapshot| snapshot.bytes);
    (base + stats.log_bytes, base)
}

/// Redis's rule for rewriting its log.
pub(super) fn has_grown(journal: &Journal, config: &Config) -> bool {
    let (now, base) = sizes(journal);
    let growth = u128::from(now) * 100 / u128::from(base.max(1));
    config.auto_aof_rewrite_percentage > 0
        && now > config.auto_aof_rewrite_min_size
        && growth >= 100 + u128::from(config.auto_aof_rewrite_percentage)
}

/// A snapshot that holds every key and does not count yet.
pub(super) struct Captured {
    writer: SnapshotWriter,
    began: Instant,
    changes: u64,
    generation: u64,
}

/// Walks the keys while writes are recorded. Errors: the disk's, or that the job was called off; nothing has changed.
pub(super) fn capture(server: &Server, journal: &Journal) -> Result<Captured, Error> {
    let jobs = &server.journaling.jobs;
    let (began, changes) = (Instant::now(), server.changes());
    let generation = super::replicated::generation(server);
    jobs.keys.store(0, Relaxed);
    let mut writer = begin(server, journal)?;
    write_all(&server.partitions, journal, &mut writer, &mut |keys| {
        jobs.keys.fetch_add(keys as u64, Relaxed);
        if jobs.is_called_off() { Err(Refusal::Closed.into()) } else { Ok(()) }
    })?;
    Ok(Captured { writer, began, changes, generation })
}

/// Writes every key. `note` is told of some keys at a time, and can end it.
pub(super) fn write_all(
    partitions: &Partitions,
    journal: &Journal,
    writer: &mut SnapshotWriter,
    note: &mut dyn FnMut(usize) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut walk =
        Walk { keys: Vec::new(), cloned_bytes: 0, keys_per_lock: 1, stamp: Lsn::ZERO, bytes: Vec::new() };
    let (libraries, stamp) = partitions.settled_libraries(|| journal.last_lsn());
    for (name, code) in &libraries {
        let name = [&[LIBRARIES], &**name].concat();
        // One is shorter than a part: see `LIBRARIES_BYTES_MAX`.
        writer.item(&name, stamp, &[&[LAST_PART], &**code].concat())?;
    }
    // Read behind the snapshot's start: a swap after that is in the log that follows.
    write_databases(writer, &partitions.shown(), journal.last_lsn())?;
    for index in 0..partitions.count() {
        for stored in 0..partitions.databases() {
            let mut from = Some(0);
            while let Some(position) = from {
                from = partitions.visit_settled(index, stored, position, walk.keys_per_lock, |record| {
                    // The partition is locked: this is the keys' last record, or one of another partition.
                    walk.stamp = journal.last_lsn();
                    let value = record.value().to_value();
                    walk.note_bytes(&value);
                    walk.keys.push((record.key().into(), value, record.expire_at_ms()));
                });
                walk.pace();
                note(walk.keys.len())?;
                walk.write(writer, stored)?;
            }
        }
    }
    Ok(())
}

/// Begins a snapshot while no key is missing. What the disk did not take is undone by emptying keys and reading them back
/// (`rollback.rs`): a walk that met them in between would lose them for good.
///
/// One that is begun before records are given up never counts. So it is begun first and then asked whether any are: if a
/// rollback began after that, this snapshot is void; if it was under way, it is waited for, and another is begun.
fn begin(server: &Server, journal: &Journal) -> Result<SnapshotWriter, Error> {
    loop {
        let writer = journal.snapshot()?;
        if !server.journaling.is_rolling_back() {
            return Ok(writer);
        }
        drop(writer);
        let jobs = &server.journaling.jobs;
        jobs.moments.wait_until(|| !server.journaling.is_rolling_back() || jobs.is_called_off());
        if jobs.is_called_off() {
            return Err(Refusal::Closed.into());
        }
    }
}

impl Captured {
    /// Makes it what a start begins with; the log before it goes.
    pub(super) fn publish(self, server: &Server) -> Result<SnapshotInfo, Error> {
        let _not_read_back = super::replicated::confirm(server, self.generation)?;
        let info = self.writer.finish()?;
        let jobs = &server.journaling.jobs;
        jobs.last_s.store(unix_ms() / 1000, Relaxed);
        jobs.changes_at_last.store(self.changes, Relaxed);
        let ms = self.began.elapsed().as_millis() as u64;
        tracing::info!(items = info.items, bytes = info.bytes, ms, start = %info.start, "snapshot taken, log cut");
        Ok(info)
    }
}

/// Takes a snapshot while every write is recorded anyway.
pub(super) fn take(server: &Server, journal: &Journal) -> Result<SnapshotInfo, Error> {
    // These writes are in memory when the walk begins. One that is made meanwhile may be behind the walk: then the next
    // snapshot, which is due at once, is the one that closes the gaps.
    let gaps = server.journaling.mode.gaps();
    let info = capture(server, journal)?.publish(server)?;
    if gaps.is_some_and(|gaps| server.journaling.mode.close(gaps)) {
        // Their replies wait for this.
        server.notify_shards();
    }
    Ok(info)
}

/// What was cloned under the last lock.
struct Walk {
    keys: Vec<(Box<[u8]>, Value, Option<u64>)>,
    /// Bytes of the strings among them: what is cloned whole.
    cloned_bytes: usize,
    /// Keys of the next lock.
    keys_per_lock: usize,
    stamp: Lsn,
    bytes: Vec<u8>,
}

impl Walk {
    fn note_bytes(&mut self, value: &Value) {
        if matches!(value, Value::Str(_) | Value::Grown(_)) {
            self.cloned_bytes += value.heap_bytes();
        }
    }

    /// Has the next lock last about as long as it may.
    fn pace(&mut self) {
        self.keys_per_lock = match self.cloned_bytes {
            bytes if bytes > BYTES_PER_LOCK => (self.keys_per_lock / 4).max(1),
            bytes if bytes < BYTES_PER_LOCK / 2 => (self.keys_per_lock * 2).min(KEYS_PER_LOCK),
            _ => self.keys_per_lock,
        };
        self.cloned_bytes = 0;
    }

    fn write(&mut self, writer: &mut SnapshotWriter, stored: usize) -> Result<(), Error> {
        let stamp = self.stamp;
        for (key, value, expire_at_ms) in self.keys.drain(..) {
            // Databases are numbered below 255.
            let name = [&[stored as u8], &*key].concat();
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

/// Which stored databases are shown, if any was swapped: an item of no database.
fn write_databases(writer: &mut SnapshotWriter, shown: &[u8], stamp: Lsn) -> Result<(), Error> {
    if !shown.is_empty() {
        writer.item(DATABASES_ITEM, stamp, &[&[LAST_PART], shown].concat())?;
    }
    Ok(())
}

/// The name of the item that says which stored databases are shown: that of a library without a name, which there is not.
pub(super) const DATABASES_ITEM: &[u8] = &[LIBRARIES];

/// First byte of an item.
const LAST_PART: u8 = 0;
const MORE_FOLLOWS: u8 = 1;
