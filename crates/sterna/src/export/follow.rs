//! `sterna export --to URL --follow`: what is there, and then everything that changes, until it is told to stop.
//!
//! Sterna tells a client that tracks all keys (CLIENT TRACKING ON BCAST) which have changed, in any database; each is then read and
//! brought as it is by then, or removed.
//!
//! ```text
//! SCAN, DUMP ────────────────────────► RESTORE ─┐
//! invalidate [k …] ─► names ─► DUMP ─► RESTORE ─┼─► Redis, Valkey
//!                                  └─► UNLINK ──┘
//! ```
//!
//! 1. Tracking begins before the copy: what changes while it is made is named. Once every write has been answered, the answer to a
//!    PING on that connection stands behind all that it is to be told, so a round that begins with a PING misses nothing before it.
//! 2. A key that changes often is brought as often as a round takes, not as often as it changes. Keys come one by one: a transaction
//!    is not one step for those who read the target.
//! 3. What changes in the groups of a stream invalidates nothing. Groups are looked at once a second (XINFO STREAM … FULL), and the stream is
//!    brought if they differ from before; and so are libraries of functions.
//! 4. A database that is emptied or swapped, or a connection that breaks: every key is brought again, and what is not there any more
//!    is removed.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use sterna_protocol::decode::Value;
use sterna_rdb::Kind;

use super::Options;
use crate::Failure;
use crate::dumped::{self, PIPELINE};
use crate::import::is_of_source;
use crate::link::{Link, LinkError};
use crate::target::Target;

/// Between two rounds of which the first has found nothing.
const PAUSE: Duration = Duration::from_millis(50);

/// Between two looks at what nobody tells of.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Between two tries to reach the source again.
const RETRY: Duration = Duration::from_millis(500);

/// How long the source may take for an answer.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// The mark of a stream without groups.
const NO_GROUPS: u64 = 0;

/// What has been reached.
#[derive(Default)]
struct Reached {
    /// There has been a copy of everything.
    is_copied: bool,
    /// Keys that were brought or removed since.
    changes: u64,
    /// Streams, by database and key, and a mark of their groups from before they were brought; a stream is brought once more when it
    /// is found to have any.
    groups: BTreeMap<(u64, Vec<u8>), u64>,
    /// The libraries of functions that were brought.
    libraries: Option<Vec<u8>>,
}

/// The source: who tells of changes, and who is asked for values.
struct Source {
    watch: Link,
    reader: Link,
    /// Names of keys that have changed.
    changed: BTreeSet<Vec<u8>>,
    /// Any key may have.
    is_anything: bool,
}

/// Follows the source until a signal.
pub(super) fn follow(options: &Options, target: &mut Target) -> Result<(), Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .map_err(|error| Failure::Io("cannot listen to signals", error))?;
    }
    target.may_be_emptied(&options.reach, options.replace)?;
    target.replace = true;
    let mut reached = Reached::default();
    let mut away_since: Option<Instant> = None;
    loop {
        let error = match Source::open(options) {
            Ok(mut source) => {
                away_since = None;
                match source.pass_on(target, &mut reached, &stop) {
                    Ok(()) => return Ok(()),
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        if !is_of_source(&error, &options.reach) || stop.load(Relaxed) || !reached.is_copied {
            return Err(error);
        }
        let since = *away_since.get_or_insert_with(|| {
            println!("waiting for the source: {error}");
            Instant::now()
        });
        if since.elapsed() > Duration::from_secs(options.away) {
            return Err(error);
        }
        thread::sleep(RETRY);
    }
}

impl Source {
    fn open(options: &Options) -> Result<Source, Failure> {
        let (mut watch, reader) = (Link::open(&options.reach)?, Link::open(&options.reach)?);
        watch.ask(&["HELLO", "3"])?;
        watch.ask(&["CLIENT", "TRACKING", "ON", "BCAST"])?;
        watch.wait_at_most(SILENCE_MAX)?;
        reader.wait_at_most(SILENCE_MAX)?;
        Ok(Source { watch, reader, changed: BTreeSet::new(), is_anything: false })
    }

    fn pass_on(
        &mut self,
        target: &mut Target,
        reached: &mut Reached,
        stop: &AtomicBool,
    ) -> Result<(), Failure> {
        if !reached.is_copied {
            target.clear()?;
        }
        self.bring_all(target, reached, stop)?;
        let verb = if reached.is_copied { "copied again" } else { "copied" };
        reached.is_copied = true;
        println!("{verb}: {} keys", target.tally.total());
        println!("following {}", self.reader.address());
        let mut looked = Instant::now();
        loop {
            // What is done from here on may not be found any more, and what was done before is.
            let is_last = stop.load(Relaxed);
            let before = reached.changes;
            if is_last || looked.elapsed() >= POLL_INTERVAL {
                looked = Instant::now();
                self.bring_libraries(target, reached)?;
                self.compare_groups(reached)?;
            }
            self.gather()?;
            if std::mem::take(&mut self.is_anything) {
                self.bring_all(target, reached, stop)?;
                println!("copied again: {} keys", target.tally.total());
            }
            self.bring_changed(target, reached)?;
            target.settle()?;
            if is_last {
                println!("followed: {} keys were brought again or removed", reached.changes);
                return Ok(());
            }
            if reached.changes == before {
                thread::sleep(PAUSE);
            }
        }
    }

    /// Takes what has been told until now.
    fn gather(&mut self) -> Result<(), Failure> {
        self.watch.send(&["PING"])?;
        loop {
            let Value::Push(parts) = self.watch.receive()? else { return Ok(()) };
            match &parts[..] {
                [kind, Value::Array(keys)] if kind.as_bytes() == Some(b"invalidate") => {
                    self.changed.extend(keys.iter().filter_map(Value::as_bytes).map(<[u8]>::to_vec));
                }
                [kind, Value::Null] if kind.as_bytes() == Some(b"invalidate") => self.is_anything = true,
                _ => {}
            }
        }
    }

    /// Makes the target equal to what the source is, key by key.
    fn bring_all(
        &mut self,
        target: &mut Target,
        reached: &mut Reached,
        stop: &AtomicBool,
    ) -> Result<(), Failure> {
        let is_copied = reached.is_copied;
        target.start_again();
        reached.groups.clear();
        self.bring_libraries(target, reached)?;
        dumped::walk(&mut self.reader, |entry, seen, total| {
            // Half a copy is of no use; whoever has one gets what has changed since.
            if stop.load(Relaxed) && !is_copied {
                return Err(Failure::Stopped("the copy, which is not complete".to_owned()));
            }
            if entry.kind == Kind::Stream {
                reached.groups.insert((entry.db, entry.key.clone()), NO_GROUPS);
            }
            target.bring(entry)?;
            target.progress.show(seen, total, target.tally.total());
            Ok(())
        })?;
        target.settle()?;
        target.progress.end();
        let reader = &mut self.reader;
        let mut gone: Vec<(u64, Vec<u8>)> = Vec::new();
        dumped::scan(&mut target.link, |_, db, keys| {
            reader.ask(&["SELECT", &db.to_string()])?;
            keys.iter().try_for_each(|key| reader.send_about(key, &[b"EXISTS", key]))?;
            for key in keys {
                if reader.receive()?.as_int() == Some(0) {
                    gone.push((db, key.to_vec()));
                }
            }
            Ok(())
        })?;
        // Whichever the scan has selected.
        target.db = u64::MAX;
        for gone in gone.chunk_by(|one, next| one.0 == next.0) {
            for keys in gone.chunks(PIPELINE) {
                let names: Vec<&[u8]> = keys.iter().map(|(_, key)| &key[..]).collect();
                target.remove(keys[0].0, &names)?;
            }
        }
        Ok(())
    }

    /// Brings what has changed, in each database that has keys on either side: tracking names keys, not where they are.
    fn bring_changed(&mut self, target: &mut Target, reached: &mut Reached) -> Result<(), Failure> {
        let changed = std::mem::take(&mut self.changed);
        if changed.is_empty() {
            return Ok(());
        }
        let mut dbs: BTreeSet<u64> = dumped::sizes(&mut self.reader)?.into_keys().collect();
        target.settle()?;
        dbs.extend(dumped::sizes(&mut target.link)?.into_keys());
        let names: Vec<&[u8]> = changed.iter().map(Vec::as_slice).collect();
        for db in dbs {
            self.reader.ask(&["SELECT", &db.to_string()])?;
            for names in names.chunks(PIPELINE) {
                let entries = dumped::dump(&mut self.reader, db, names)?;
                let mut gone: BTreeSet<&[u8]> = names.iter().copied().collect();
                for entry in entries {
                    gone.remove(&entry.key[..]);
                    if entry.kind == Kind::Stream {
                        reached.groups.entry((db, entry.key.clone())).or_insert(NO_GROUPS);
                    }
                    target.bring(entry)?;
                }
                for key in &gone {
                    reached.groups.remove(&(db, key.to_vec()));
                }
                if !gone.is_empty() {
                    target.remove(db, &gone.into_iter().collect::<Vec<_>>())?;
                }
            }
        }
        reached.changes += changed.len() as u64;
        Ok(())
    }

    /// Names the streams whose groups have changed. What is noted of them was so before they are brought.
    fn compare_groups(&mut self, reached: &mut Reached) -> Result<(), Failure> {
        for ((db, key), before) in &mut reached.groups {
            let now = self.state_of_groups(*db, key)?;
            if now != *before {
                *before = now;
                self.changed.insert(key.clone());
            }
        }
        Ok(())
    }

    /// A mark of the groups of a stream: what has been delivered to whom, when, and how much of it waits to be acknowledged.
    fn state_of_groups(&mut self, db: u64, key: &[u8]) -> Result<u64, Failure> {
        self.reader.ask(&["SELECT", &db.to_string()])?;
        let words: [&[u8]; 6] = [b"XINFO", b"STREAM", key, b"FULL", b"COUNT", b"1"];
        self.reader.send_about(key, &words)?;
        let reply = match self.reader.receive() {
            Ok(reply) => reply,
            // It is gone, or is something else by now, which is told of.
            Err(LinkError::Refused { why, .. }) if !why.starts_with("NOPERM") => return Ok(NO_GROUPS),
            Err(error) => return Err(error.into()),
        };
        let parts = reply.as_slice().unwrap_or_default();
        let named = parts.chunks(2).find(|pair| pair[0].as_bytes() == Some(b"groups"));
        match named.and_then(|pair| pair.get(1)) {
            Some(Value::Array(groups)) if !groups.is_empty() => {
                let mut state = DefaultHasher::new();
                format!("{groups:?}").hash(&mut state);
                Ok(state.finish())
            }
            _ => Ok(NO_GROUPS),
        }
    }

    /// Brings the libraries of functions if they are others than before.
    fn bring_libraries(&mut self, target: &mut Target, reached: &mut Reached) -> Result<(), Failure> {
        let libraries = dumped::functions(&mut self.reader)?;
        if libraries == reached.libraries {
            return Ok(());
        }
        target.settle()?;
        target.link.ask(&["FUNCTION", "FLUSH"])?;
        if let Some(libraries) = libraries.clone() {
            target.bring_libraries(libraries)?;
        }
        reached.libraries = libraries;
        Ok(())
    }
}
