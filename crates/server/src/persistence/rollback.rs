//! Rolling back: what was executed and then not taken by the disk is undone, and whoever waits for it gets MISCONF.
//!
//! A write is executed before its record is on the disk; its reply, and every reply that may show it, waits
//! (`shard/durability.rs`). If the disk then fails, the record could stay in memory until there is room again; but then the
//! writer waits without end, and readers would be shown what a crash takes back. So:
//!
//! 1. The journal tells that its disk fails. From now on writes are refused, and no reply leaves that depends on what is not
//!    safe.
//! 2. Commands on keys are answered `LOADING` (of a cluster with several groups, those on the group's keys); this waits until every shard is past what it was executing, and past its mail.
//! 3. The journal gives up what is not safe ([`Journal::give_up`]). If the disk has recovered meanwhile, that is nothing.
//! 4. The keys (and the libraries) that those records changed are emptied, and filled again from the files: snapshot and log, for these keys alone.
//! 5. Shards answer MISCONF in place of each reply that depends on what was given up, and go on: reads are served, writes
//!    refused until the disk works.
//!
//! What is equivalent and what is not: nobody is told of a write, or shown one, that is then lost; and a write that was answered
//! with MISCONF is not there afterwards, unless the power fails while the disk does. Events and invalidations are hints that
//! may have left (docs/differences.md).
//!
//! Cost: one pass over snapshot and log, during which commands on keys are refused; nothing while the disk works.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use sterna_journal::{Error, GivenUp, Journal};
use sterna_keyspace::{Effect, Effects, KeyGroup, What};

use super::Rebuild;
use super::restore::Target;
use crate::journaling::{Loading, Mode};
use crate::partitions::Partitions;
use crate::server::Server;

/// How often who waits for another group of keys looks again.
const PAUSE: Duration = Duration::from_millis(5);

/// A key in its database.
type Name = (usize, Box<[u8]>);

/// What the lost records changed.
struct Changed {
    keys: ChangedKeys,
    libraries: bool,
}

enum ChangedKeys {
    These(HashSet<Name>),
    /// One of them emptied a database: all of the group.
    AllOf(KeyGroup),
}

/// Some keys of a keyspace: effects on others are passed over.
struct Only<'a> {
    partitions: &'a Partitions,
    changed: &'a Changed,
}

/// Rolls back on a thread of its own, which is started by the journal's.
pub(super) fn begin(server: &Arc<Server>) {
    // A start on a full disk: nothing has been executed yet.
    if server.journaling.opened.get().is_none() {
        return;
    }
    if !server.logs.is_empty() {
        // What this node can't keep the log may have: nothing of it can be undone here alone, and nobody is told that it had no effect.
        server.logs.iter().for_each(|log| log.resign(Some(u64::MAX)));
        tracing::error!("this node can't keep what the cluster's log has: it stops");
        return server.stop();
    }
    server.journaling.is_rolling_back.store(true, Ordering::Release);
    let of = Arc::clone(server);
    let run = move || {
        if let Err(error) = roll_back(&of) {
            tracing::error!(%error, "what the disk did not take can't be undone: the server stops");
            of.stop();
        }
        of.journaling.is_rolling_back.store(false, Ordering::Release);
        of.moments.notify();
        of.journaling.jobs.moments.notify();
        of.notify_shards();
    };
    if let Err(error) = thread::Builder::new().name("rollback".to_owned()).spawn(run) {
        tracing::error!(%error, "replies wait until the disk works again");
    }
}

fn roll_back(server: &Arc<Server>) -> Result<(), Error> {
    // What was answered before replies waited is not to be undone: either the disk gets it, or `appendonly` is not turned on.
    server.moments.wait_until(|| server.journaling.mode() != Mode::Settling);
    // Without `appendonly` nobody was promised anything; and while it is turned off nobody is any more.
    let keeps = matches!(server.journaling.mode(), Mode::On | Mode::Failed);
    let Some(journal) = server.journaling.journal().filter(|_| keeps) else {
        return Ok(());
    };
    let began = Instant::now();
    server.journaling.set_missing(KeyGroup::WHOLE, true);
    let outcome = undo(server, journal);
    server.journaling.set_missing(KeyGroup::WHOLE, outcome.is_err());
    server.await_shards();
    let lost = outcome?;
    if lost > 0 {
        let ms = began.elapsed().as_millis() as u64;
        tracing::warn!(records = lost, ms, "what the disk did not take is undone, and answered with MISCONF");
    }
    Ok(())
}

/// Steps 2 to 4; returns how many records were undone.
fn undo(server: &Arc<Server>, journal: &Journal) -> Result<usize, Error> {
    // Twice: mail that was on its way when a shard first looked has been read when it looks again.
    server.await_shards();
    server.await_shards();
    if server.is_stopping() {
        return Ok(0);
    }
    let Some(given_up) = journal.give_up()? else { return Ok(0) };
    if !given_up.lost.is_empty() {
        restore(server, journal, &given_up)?;
    }
    Ok(given_up.lost.len())
}

fn restore(server: &Server, journal: &Journal, given_up: &GivenUp) -> Result<(), Error> {
    let changed = changed(&given_up.lost, KeyGroup::WHOLE);
    let (snapshot, epoch) = journal.read_back_from()?;
    let only = emptied(server, &changed);
    // What is loaded is no start, and is not to be called off as one.
    let progress = Loading::default();
    let mut rebuild = Rebuild::new(only, snapshot, epoch, &progress);
    journal.read_back(given_up, &mut rebuild)
}

/// The keys that were changed, which are not there any more.
fn emptied<'a>(server: &'a Server, changed: &'a Changed) -> Only<'a> {
    let mut only = Only { partitions: &server.partitions, changed };
    only.empty(None, KeyGroup::WHOLE);
    if changed.libraries {
        server.partitions.libraries().clear();
    }
    only
}

/// Undoes what these records of a group did, which are void in the journal: keys that they changed are read back. Blocks.
pub(super) fn undo_records(
    server: &Server,
    journal: &Journal,
    group: KeyGroup,
    records: &[Arc<[u8]>],
) -> Result<(), Error> {
    let changed = changed(records, group);
    while_missing(server, group, || {
        let progress = Loading::default();
        let mut rebuild = Rebuild::new(emptied(server, &changed), None, 0, &progress);
        journal.reload(&mut rebuild).map(|_| ())
    })
}

/// Runs `replace`, which puts others in the place of a group's keys. Commands on these are answered `LOADING` meanwhile, and for good
/// if it fails; no snapshot becomes the one that counts. Blocks.
pub(super) fn while_missing<R, E>(
    server: &Server,
    group: KeyGroup,
    replace: impl FnOnce() -> Result<R, E>,
) -> Result<R, E> {
    let persistence = &server.journaling;
    // One group of keys at a time. No lock is held by who waits for shards.
    while persistence.is_mending.swap(true, Ordering::AcqRel) {
        thread::sleep(PAUSE);
    }
    persistence.is_rolling_back.store(true, Ordering::Release);
    persistence.set_missing(group, true);
    // Twice: mail that was on its way when a shard first looked has been read when it looks again.
    server.await_shards();
    server.await_shards();
    let outcome = {
        let _no_snapshot = persistence.publication.lock();
        replace()
    };
    persistence.set_missing(group, outcome.is_err());
    persistence.is_rolling_back.store(false, Ordering::Release);
    persistence.is_mending.store(false, Ordering::Release);
    server.moments.notify();
    persistence.jobs.moments.notify();
    server.notify_shards();
    outcome
}

/// What these records of a group have changed.
fn changed(lost: &[impl AsRef<[u8]>], group: KeyGroup) -> Changed {
    let (mut keys, mut libraries) = (HashSet::new(), false);
    for payload in lost {
        for effect in Effects::new(payload.as_ref()) {
            match effect {
                Ok(effect @ Effect { db: Some(db), key, .. }) if effect.of_all().is_none() => {
                    keys.insert((db, key.into()));
                }
                Ok(Effect { what: What::Library { .. } | What::NoLibrary, .. }) => libraries = true,
                // It was made a moment ago, so it can be read; were it not, nothing could be said of the keys.
                _ => return Changed { keys: ChangedKeys::AllOf(group), libraries: group.index == 0 },
            }
        }
    }
    Changed { keys: ChangedKeys::These(keys), libraries }
}

impl Only<'_> {
    fn holds(&self, db: usize, key: &[u8]) -> bool {
        match &self.changed.keys {
            ChangedKeys::These(keys) => keys.contains(&(db, key.into())),
            ChangedKeys::AllOf(group) => group.has(key),
        }
    }

    /// Removes what there is of a group's keys in a database, or in all.
    fn empty(&mut self, db: Option<usize>, flushed: KeyGroup) {
        match &self.changed.keys {
            ChangedKeys::AllOf(KeyGroup::WHOLE) => {
                self.partitions.apply(Effect { db, key: b"", what: What::Flush { group: KeyGroup::WHOLE } });
                if db.is_none() {
                    self.partitions.apply(Effect { db, key: b"", what: What::Databases { shown: &[] } });
                }
            }
            ChangedKeys::AllOf(group) if flushed == KeyGroup::WHOLE || flushed == *group => {
                self.partitions.apply(Effect { db, key: b"", what: What::Flush { group: *group } });
            }
            ChangedKeys::AllOf(_) => {}
            ChangedKeys::These(keys) => {
                let is_gone = |(of, key): &&Name| db.is_none_or(|db| db == *of) && flushed.has(key);
                for (of, key) in keys.iter().filter(is_gone) {
                    self.partitions.apply(Effect { db: Some(*of), key, what: What::Delete });
                }
            }
        }
    }
}

impl Target for Only<'_> {
    fn apply(&mut self, effect: Effect<'_>) -> bool {
        match effect {
            Effect { db, what: What::Flush { group }, .. } => {
                self.empty(db, group);
                true
            }
            Effect { what: What::Library { .. } | What::NoLibrary, .. } if !self.changed.libraries => true,
            // Of what was swapped nothing is lost, or everything is read again.
            Effect { what: What::Databases { .. }, .. }
                if !matches!(self.changed.keys, ChangedKeys::AllOf(KeyGroup::WHOLE)) =>
            {
                true
            }
            Effect { db: Some(db), key, .. } if !self.holds(db, key) => true,
            effect => self.partitions.apply(effect),
        }
    }

    fn remove_where(&mut self, db: usize, doomed: &mut dyn FnMut(&[u8]) -> bool) {
        match &self.changed.keys {
            ChangedKeys::AllOf(group) => {
                self.partitions.remove_where(db, &mut |key| group.has(key) && doomed(key));
            }
            ChangedKeys::These(keys) => {
                for (_, key) in keys.iter().filter(|(of, key)| *of == db && doomed(key)) {
                    self.partitions.apply(Effect { db: Some(db), key, what: What::Delete });
                }
            }
        }
    }

    fn databases(&self) -> usize {
        self.partitions.databases()
    }
}

#[cfg(test)]
mod tests {
    use sterna_keyspace::{Value, flush_all};

    use super::*;

    #[test]
    fn what_a_flush_of_one_group_removed_is_read_back_and_no_key_of_another_is_touched() {
        let [one, two] = [0, 1].map(|index| KeyGroup { index, count: 2 });
        let partitions = Partitions::grouped(2, 4, 1);
        let set = |key: &'static [u8], number| {
            let what = What::Set { value: Value::Int(number), expire_at_ms: None };
            Effect { db: Some(0), key, what }
        };
        let number = |key: &[u8]| {
            partitions.peek(0, key, 0, |record| match record.value().to_value() {
                Value::Int(number) => number,
                value => panic!("{value:?}"),
            })
        };
        // The first group's key has a later value than the journal says that counts.
        partitions.apply(set(b"{bar}", 2));
        let changed = changed(&[flush_all(two)], two);
        let mut only = Only { partitions: &partitions, changed: &changed };
        only.empty(None, KeyGroup::WHOLE);
        for effect in [
            set(b"{bar}", 1),
            set(b"foo", 1),
            Effect { db: None, key: b"", what: What::Flush { group: one } },
            Effect { db: Some(0), key: b"{bar}", what: What::Delete },
        ] {
            assert!(only.apply(effect));
        }
        assert_eq!((number(b"{bar}"), number(b"foo")), (Ok(Some(2)), Ok(Some(1))));
        only.apply(Effect { db: Some(0), key: b"", what: What::Flush { group: two } });
        assert_eq!((number(b"{bar}"), number(b"foo")), (Ok(Some(2)), Ok(None)));
    }
}
