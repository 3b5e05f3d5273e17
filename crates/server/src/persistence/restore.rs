//! From a journal's items and records back to keys.
//!
//! A snapshot's keys were captured at different times, so each has a stamp, the LSN up to which its value holds all
//! effects; replay skips an effect on it that the stamp covers. A key that was not captured was absent when the walk
//! passed it: it gets every effect, and those that were made while it was another key may not fit. Later, at the latest
//! before the snapshot's end, it is deleted or set anew.
//!
//! Between a suspend and a resume effects don't count: they were recorded for a snapshot that came to nothing.
//!
//! A stamp that is the snapshot's start covers no record that is replayed, and none covers a record behind the
//! snapshot's end: so stamps are kept only while they can matter, and a snapshot taken in silence keeps none.
//!
//! A record that begins with *tentative* is kept until a *standing* of its group says that it counts, or never will; at the end those
//! that are left do not count (see `replicated.rs`).
//!
//! Cost: O(bytes); memory for the stamps of the keys that were captured after the first write.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering::Relaxed;

use hashbrown::HashMap;
use sterna_journal::{Lsn, Progress, Rejected, Restore, SnapshotInfo};
use sterna_keyspace::{Effect, Effects, KeyGroup, LIBRARIES, What, read_state};

use super::planted::{Bug, planted};
use super::snapshot::DATABASES_ITEM;
use crate::journaling::Loading;
use crate::partitions::{Held, Partitions};

/// Where keys are put.
pub(crate) trait Target {
    /// Applies an effect; false: it doesn't fit.
    fn apply(&mut self, effect: Effect<'_>) -> bool;
    /// Removes keys of a database.
    fn remove_where(&mut self, db: usize, doomed: &mut dyn FnMut(&[u8]) -> bool);
    /// How many databases there are.
    fn databases(&self) -> usize;
}

/// Puts what a replay hands over into the keyspace.
pub(crate) struct Rebuild<'a, T> {
    target: T,
    /// Stamps of keys, above `start`; by database byte and key.
    stamps: HashMap<Box<[u8]>, Lsn>,
    start: Lsn,
    /// Up to here effects may not fit.
    end: Lsn,
    /// A repair has given up records: effects may not fit ever after.
    is_repaired: bool,
    /// What is read is not part of the state, until it is resumed; see `switch.rs`.
    is_suspended: bool,
    /// Effects that did not fit where they may not.
    pub(crate) misfits: u64,
    /// What is tentative, and what counts, by the group of keys that it is about.
    logs: BTreeMap<KeyGroup, Log>,
    /// Something was written behind a standing that never was in the log.
    is_left_behind: bool,
    /// Name and first parts of a value that comes in several.
    part: Option<(Vec<u8>, Vec<u8>)>,
    items: u64,
    progress: &'a Loading,
}

/// What is known of one group's log.
#[derive(Debug, Default)]
struct Log {
    /// Tentative records of which nothing is known yet.
    tentative: VecDeque<(Lsn, Vec<u8>)>,
    /// What the last standing said.
    standing: Option<Standing>,
}

/// How far a node of a cluster has come with one group's log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Standing {
    /// The last tentative record that counts.
    pub(crate) settled: u64,
    /// How far the log was read.
    pub(crate) witness: Vec<u8>,
}

/// How far a node of a cluster has come.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Standings {
    /// By group of keys; empty: it was none's.
    pub(crate) of: BTreeMap<KeyGroup, Standing>,
    /// Something was written behind them that never was in a log.
    pub(crate) is_left_behind: bool,
}

impl<'a, T: Target> Rebuild<'a, T> {
    /// Rebuilds into `target`, which is empty, what a journal holds that starts with `snapshot`. `epoch`: see `Manifest`.
    pub(crate) fn new(
        target: T,
        snapshot: Option<SnapshotInfo>,
        epoch: u64,
        progress: &'a Loading,
    ) -> Rebuild<'a, T> {
        let (start, end) = snapshot.map_or((Lsn::ZERO, Lsn::ZERO), |snapshot| (snapshot.start, snapshot.end));
        Rebuild {
            target,
            stamps: HashMap::new(),
            start,
            end,
            is_repaired: epoch > 0,
            is_suspended: false,
            misfits: 0,
            logs: BTreeMap::new(),
            is_left_behind: false,
            part: None,
            items: 0,
            progress,
        }
    }

    /// Whether the last effects did not count.
    pub(crate) fn is_suspended(&self) -> bool {
        self.is_suspended
    }

    /// How far the journal says that the logs of a cluster were read.
    pub(crate) fn standings(&self) -> Standings {
        let of = self.logs.iter().filter_map(|(group, log)| Some((*group, log.standing.clone()?)));
        Standings { of: of.collect(), is_left_behind: self.is_left_behind }
    }

    /// As if the snapshot ended there.
    #[cfg(test)]
    pub(super) fn set_end(&mut self, end: Lsn) {
        self.end = end;
    }

    fn set(&mut self, name: &[u8], stamp: Lsn, state: &[u8]) -> Result<(), Rejected> {
        if name == DATABASES_ITEM && planted(Bug::SwapsForgotten) {
            return Ok(());
        }
        if name == DATABASES_ITEM {
            let effect = Effect { db: None, key: b"", what: What::Databases { shown: state } };
            return self.target.apply(effect).then_some(()).ok_or(Rejected("databases beyond `databases`"));
        }
        let (&db, key) = name.split_first().ok_or(Rejected("an item without a database"))?;
        if db == LIBRARIES {
            self.target.apply(Effect { db: None, key, what: What::Library { code: state } });
            self.stamp(name, stamp);
            return Ok(());
        }
        let (value, expire_at_ms) = read_state(state).ok_or(Rejected("a value that can't be read"))?;
        let expire_at_ms = expire_at_ms.filter(|_| !planted(Bug::ExpiryLost));
        let effect = Effect { db: Some(usize::from(db)), key, what: What::Set { value, expire_at_ms } };
        if !self.target.apply(effect) {
            return Err(Rejected("a key in a database beyond `databases`"));
        }
        self.stamp(name, stamp);
        Ok(())
    }

    fn stamp(&mut self, name: &[u8], stamp: Lsn) {
        if stamp > self.start {
            self.stamps.insert(name.into(), stamp);
        }
    }

    /// Whether the key's captured value has this record's effects already.
    fn is_covered(&self, effect: &Effect<'_>, lsn: Lsn, name: &mut Vec<u8>) -> bool {
        let db = match (effect.db, &effect.what) {
            (Some(db), _) => db as u8,
            (None, What::Library { .. } | What::NoLibrary) => LIBRARIES,
            (None, _) => return false,
        };
        name.clear();
        name.push(db);
        name.extend_from_slice(effect.key);
        self.stamps.get(&**name).is_some_and(|stamp| stamp.covers(lsn))
    }

    /// Empties a database, or all, of a group's keys, but for those that were captured later.
    fn flush_around(&mut self, db: Option<usize>, group: KeyGroup, lsn: Lsn) {
        let dbs = db.map_or(0..self.target.databases(), |db| db..db + 1);
        for db in dbs {
            let stamps = &self.stamps;
            self.target.remove_where(db, &mut |key| {
                let name = [&[db as u8], key].concat();
                group.has(key) && !stamps.get(&*name).is_some_and(|stamp| stamp.covers(lsn))
            });
        }
    }

    /// The rest of a value that comes in several items is not there: only a repair leaves one out.
    fn give_up_part(&mut self) -> Result<(), Rejected> {
        if self.part.is_none() {
            return Ok(());
        }
        if !self.is_repaired {
            return Err(Rejected("part of a value is missing"));
        }
        self.part = None;
        self.misfits += 1;
        Ok(())
    }

    /// Whether no stamp covers this record, nor any that is counted later. Those of other groups may be earlier ones.
    fn is_past_stamps(&self, lsn: Lsn) -> bool {
        let is_past = |log: &Log| log.tentative.front().is_none_or(|(at, _)| *at > self.end);
        lsn > self.end && self.logs.values().all(is_past)
    }

    /// What a record that counts did.
    fn count(&mut self, lsn: Lsn, payload: &[u8]) -> Result<(), Rejected> {
        if !self.stamps.is_empty() && (self.is_past_stamps(lsn) || planted(Bug::StampsForgotten)) {
            self.stamps = HashMap::new();
        }
        let mut name = Vec::new();
        for effect in Effects::new(payload) {
            let effect = match effect {
                Ok(effect) => effect,
                // What follows can't be read either. A repair has found it before.
                Err(_) if self.is_repaired => {
                    self.misfits += 1;
                    break;
                }
                Err(_) => return Err(Rejected("an effect that can't be read")),
            };
            match effect.what {
                What::Suspend => self.is_suspended = !planted(Bug::SuspendIgnored),
                What::Resume => self.is_suspended &= planted(Bug::ResumeIgnored),
                _ => {}
            }
            if self.is_suspended {
                continue;
            }
            if !self.stamps.is_empty() {
                if let What::Flush { group } = effect.what
                    && !planted(Bug::FlushSparesNothing)
                {
                    self.flush_around(effect.db, group, lsn);
                    continue;
                }
                if self.is_covered(&effect, lsn, &mut name) {
                    continue;
                }
            }
            if !self.target.apply(effect) && (lsn > self.end || planted(Bug::RuleFromTheStart)) {
                if !self.is_repaired {
                    return Err(Rejected("an effect that does not fit what is there"));
                }
                self.misfits += 1;
            }
        }
        Ok(())
    }
}

impl<T: Target> Restore for Rebuild<'_, T> {
    fn begin(&mut self, snapshot: Option<SnapshotInfo>) {
        (self.start, self.end) =
            snapshot.map_or((Lsn::ZERO, Lsn::ZERO), |snapshot| (snapshot.start, snapshot.end));
    }

    fn item(&mut self, key: &[u8], stamp: Lsn, value: &[u8]) -> Result<(), Rejected> {
        let (&more, bytes) = value.split_first().ok_or(Rejected("an item without a value"))?;
        if self.part.as_ref().is_some_and(|(name, _)| name != key) {
            self.give_up_part()?;
        }
        if more > 1 {
            return Err(Rejected("part of a value is missing"));
        }
        self.progress.go_on()?;
        self.items += 1;
        if self.items.is_multiple_of(1024) {
            self.progress.items.store(self.items, Relaxed);
        }
        match (self.part.take(), more) {
            (None, 0) => self.set(key, stamp, bytes),
            (None, _) => {
                self.part = Some((key.to_vec(), bytes.to_vec()));
                Ok(())
            }
            (Some((name, mut head)), more) => {
                if !planted(Bug::PartLost) {
                    head.extend_from_slice(bytes);
                }
                if more == 1 {
                    self.part = Some((name, head));
                    return Ok(());
                }
                self.set(key, stamp, &head)
            }
        }
    }

    fn record(&mut self, lsn: Lsn, payload: &[u8]) -> Result<(), Rejected> {
        self.progress.go_on()?;
        self.give_up_part()?;
        match Effects::new(payload).next() {
            Some(Ok(Effect { what: What::Tentative { group }, .. })) => {
                self.logs.entry(group).or_default().tentative.push_back((lsn, payload.to_vec()));
                Ok(())
            }
            Some(Ok(Effect { what: What::Standing { group, settled, voids, witness }, .. })) => {
                let log = self.logs.entry(group).or_default();
                log.standing = Some(Standing { settled, witness: witness.to_vec() });
                let mut tentative = std::mem::take(&mut log.tentative);
                while let Some((lsn, payload)) = tentative.pop_front_if(|(at, _)| at.0 <= settled) {
                    self.count(lsn, &payload)?;
                }
                if !voids && let Some(log) = self.logs.get_mut(&group) {
                    log.tentative = tentative;
                }
                Ok(())
            }
            first => {
                self.is_left_behind |=
                    first.is_some() && self.logs.values().any(|log| log.standing.is_some());
                self.count(lsn, payload)
            }
        }
    }

    fn progress(&mut self, progress: Progress) {
        self.progress.items.store(progress.items, Relaxed);
        self.progress.records.store(progress.records, Relaxed);
        self.progress.bytes.store(progress.bytes, Relaxed);
        self.progress.total_bytes.store(progress.total_bytes, Relaxed);
    }
}

impl Target for &Partitions {
    fn apply(&mut self, effect: Effect<'_>) -> bool {
        Partitions::apply(self, effect)
    }

    fn remove_where(&mut self, db: usize, doomed: &mut dyn FnMut(&[u8]) -> bool) {
        Partitions::remove_where(self, db, doomed);
    }

    fn databases(&self) -> usize {
        Partitions::databases(self)
    }
}

impl Target for &mut Held<'_> {
    fn apply(&mut self, effect: Effect<'_>) -> bool {
        Held::apply(self, effect)
    }

    fn remove_where(&mut self, db: usize, doomed: &mut dyn FnMut(&[u8]) -> bool) {
        Held::remove_where(self, db, doomed);
    }

    fn databases(&self) -> usize {
        Held::databases(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sterna_keyspace::{Value, write_set, write_state};

    use super::*;

    const STAMP: Lsn = Lsn(7);

    fn item(value: &Value) -> Vec<u8> {
        let mut bytes = vec![0];
        write_state(&mut bytes, value, None, &mut |_| {});
        bytes
    }

    fn keys(partitions: &Partitions) -> usize {
        partitions.fill(0).iter().map(|fill| fill.keys).sum()
    }

    #[test]
    fn a_stamp_spares_its_key_and_no_other() {
        let (partitions, loading) = (Partitions::new(2, 2), Loading::default());
        let mut rebuild = Rebuild::new(&partitions, None, 0, &loading);
        rebuild.set_end(Lsn(9));
        rebuild.item(b"\x00late", STAMP, &item(&Value::Int(1))).unwrap();
        rebuild.item(b"\x01late", Lsn(3), &item(&Value::Int(2))).unwrap();
        let mut record = sterna_keyspace::flush_all(KeyGroup::WHOLE);
        rebuild.record(Lsn(5), &record).unwrap();
        assert_eq!(keys(&partitions), 1, "the key that was captured after the flush is left");
        write_set(&mut record, 0, b"new", &Value::Int(3), None);
        rebuild.record(Lsn(8), &record).unwrap();
        assert_eq!(keys(&partitions), 1, "the key that the record itself sets");
    }

    #[test]
    fn a_library_is_as_the_last_record_says_that_its_stamp_does_not_cover() {
        let (partitions, loading) = (Partitions::new(2, 2), Loading::default());
        let mut rebuild = Rebuild::new(&partitions, None, 0, &loading);
        rebuild.set_end(Lsn(9));
        rebuild.item(b"\xfflib", STAMP, b"\0new").unwrap();
        rebuild.item(b"\xffother", Lsn(3), b"\0old").unwrap();
        let record = |name: &[u8], code: Option<&[u8]>| {
            let wants = sterna_keyspace::Wants { effects: true, ..Default::default() };
            let mut changes = sterna_keyspace::Changes::new(wants);
            changes.note_library(name, code);
            changes.effects().to_vec()
        };
        rebuild.record(Lsn(5), &record(b"lib", None)).unwrap();
        rebuild.record(Lsn(5), &record(b"other", Some(b"newer"))).unwrap();
        rebuild.record(Lsn(6), &sterna_keyspace::flush_all(KeyGroup::WHOLE)).unwrap();
        rebuild.record(Lsn(6), &record(b"gone", None)).unwrap();
        let (codes, _) = partitions.libraries().all();
        let codes: Vec<_> = codes.iter().map(|(name, code)| (&**name, &**code)).collect();
        assert_eq!(codes, [(&b"lib"[..], &b"new"[..]), (b"other", b"newer")]);
        rebuild.record(Lsn(8), &record(b"lib", None)).unwrap();
        assert_eq!(partitions.libraries().all().0.len(), 1);
    }

    #[test]
    fn what_a_repair_has_left_of_a_value_in_several_parts_is_passed_over() {
        let (partitions, loading) = (Partitions::new(1, 1), Loading::default());
        let bytes = item(&Value::string(&[b'x'; 100]));
        let head = [&[1], &bytes[1..40]].concat();
        let mut rebuild = Rebuild::new(&partitions, None, 1, &loading);
        rebuild.item(b"\x00cut", STAMP, &head).unwrap();
        rebuild.item(b"\x00whole", STAMP, &bytes).unwrap();
        rebuild.item(b"\x00last", STAMP, &head).unwrap();
        rebuild.record(Lsn(8), b"").unwrap();
        assert_eq!((rebuild.misfits, keys(&partitions)), (2, 1));
    }

    #[test]
    fn a_value_in_several_parts_is_joined_and_a_missing_part_is_noticed() {
        let (partitions, loading) = (Partitions::new(1, 1), Loading::default());
        let bytes = item(&Value::string(&[b'x'; 100]));
        let (head, tail) = ([&[1], &bytes[1..40]].concat(), [&[0], &bytes[40..]].concat());
        let mut rebuild = Rebuild::new(&partitions, None, 0, &loading);
        rebuild.item(b"\x00k", STAMP, &head).unwrap();
        assert!(rebuild.record(Lsn(8), b"").is_err());
        rebuild.item(b"\x00k", STAMP, &tail).unwrap();
        assert_eq!(keys(&partitions), 1);
        rebuild.item(b"\x00k", STAMP, &head).unwrap();
        assert!(rebuild.item(b"\x00other", STAMP, &tail).is_err());
    }

    fn tentative(group: KeyGroup, key: &[u8]) -> Vec<u8> {
        let mut record = Vec::new();
        sterna_keyspace::write_tentative(&mut record, group);
        write_set(&mut record, 0, key, &Value::Int(1), None);
        record
    }

    #[test]
    fn a_tentative_record_counts_when_a_standing_says_so_and_never_when_it_is_void() {
        let (partitions, loading) = (Partitions::new(1, 1), Loading::default());
        let mut rebuild = Rebuild::new(&partitions, None, 0, &loading);
        let tentative = |key: &[u8]| tentative(KeyGroup::WHOLE, key);
        let standing =
            |settled, voids, witness| sterna_keyspace::standing(KeyGroup::WHOLE, settled, voids, witness);
        rebuild.record(Lsn(1), &tentative(b"stored")).unwrap();
        rebuild.record(Lsn(2), &tentative(b"void")).unwrap();
        assert_eq!(keys(&partitions), 0, "nothing is known of either");
        rebuild.record(Lsn(3), &standing(1, false, b"one")).unwrap();
        assert_eq!(keys(&partitions), 1);
        rebuild.record(Lsn(4), &standing(1, true, b"two")).unwrap();
        rebuild.record(Lsn(5), &tentative(b"later")).unwrap();
        rebuild.record(Lsn(6), &standing(5, false, b"three")).unwrap();
        rebuild.record(Lsn(7), &tentative(b"last")).unwrap();
        assert_eq!(keys(&partitions), 2, "the one that was void, and the last, are not there");
        let expected = Standing { settled: 5, witness: b"three".to_vec() };
        assert_eq!(rebuild.standings().of, [(KeyGroup::WHOLE, expected)].into());
        assert!(!rebuild.standings().is_left_behind);
        let mut own = Vec::new();
        write_set(&mut own, 0, b"own", &Value::Int(1), None);
        rebuild.record(Lsn(8), &own).unwrap();
        assert!(rebuild.standings().is_left_behind);
    }

    #[test]
    fn a_standing_is_about_the_records_of_its_group_alone_and_stamps_last_as_long_as_any_groups() {
        let [one, two] = [0, 1].map(|index| KeyGroup { index, count: 2 });
        let (partitions, loading) = (Partitions::grouped(2, 2, 1), Loading::default());
        let mut rebuild = Rebuild::new(&partitions, None, 0, &loading);
        rebuild.set_end(Lsn(4));
        // In the second group, with the effect of record 2 already.
        rebuild.item(b"\x00foo", Lsn(3), &item(&Value::string(b"captured"))).unwrap();
        rebuild.record(Lsn(1), &tentative(one, b"bar")).unwrap();
        rebuild.record(Lsn(2), &tentative(two, b"foo")).unwrap();
        rebuild.record(Lsn(5), &tentative(one, b"{bar}2")).unwrap();
        rebuild.record(Lsn(6), &sterna_keyspace::standing(one, 5, true, b"one")).unwrap();
        assert_eq!(keys(&partitions), 3);
        rebuild.record(Lsn(7), &tentative(two, b"{foo}2")).unwrap();
        rebuild.record(Lsn(8), &sterna_keyspace::standing(one, 5, true, b"more")).unwrap();
        rebuild.record(Lsn(9), &sterna_keyspace::standing(two, 7, false, b"two")).unwrap();
        assert_eq!(keys(&partitions), 4, "the first group's standing voids nothing of the second");
        let is_captured =
            |record: sterna_keyspace::Record<'_>| !matches!(record.value().to_value(), Value::Int(_));
        assert_eq!(partitions.peek(0, b"foo", 0, is_captured), Ok(Some(true)), "the stamp still covers it");
        let settled: Vec<_> = rebuild.standings().of.into_values().map(|of| of.settled).collect();
        assert_eq!(settled, [5, 7]);
    }

    #[test]
    fn a_flush_of_one_group_leaves_the_keys_of_others() {
        let [one, two] = [0, 1].map(|index| KeyGroup { index, count: 2 });
        // As a node keeps them, and as a program that knows of no groups.
        for partitions in [Partitions::grouped(2, 4, 2), Partitions::new(4, 2)] {
            let loading = Loading::default();
            let mut rebuild = Rebuild::new(&partitions, None, 0, &loading);
            let mut record = Vec::new();
            for (db, key) in [(0, "{bar}1"), (1, "{bar}2"), (0, "foo"), (1, "{foo}2")] {
                write_set(&mut record, db, key.as_bytes(), &Value::Int(1), None);
            }
            rebuild.record(Lsn(1), &record).unwrap();
            let mut flush = Vec::new();
            sterna_keyspace::write_tentative(&mut flush, two);
            flush.extend_from_slice(&sterna_keyspace::flush_all(two));
            rebuild.record(Lsn(2), &flush).unwrap();
            assert_eq!(keys(&partitions), 4, "it may never have happened");
            rebuild.record(Lsn(3), &sterna_keyspace::standing(two, 2, false, b"two")).unwrap();
            assert_eq!(keys(&partitions), 2);
            assert!(partitions.peek(0, b"{bar}1", 0, |_| ()) == Ok(Some(())));
            rebuild.record(Lsn(4), &sterna_keyspace::flush_all(one)).unwrap();
            assert_eq!(keys(&partitions), 0);
        }
        // Keys that were captured behind the flush stay.
        let (partitions, loading) = (Partitions::grouped(2, 4, 2), Loading::default());
        let mut rebuild = Rebuild::new(&partitions, None, 0, &loading);
        rebuild.set_end(Lsn(9));
        for (key, stamp) in [(&b"\x00foo"[..], STAMP), (b"\x00{foo}2", Lsn(1)), (b"\x00{bar}1", Lsn(1))] {
            rebuild.item(key, stamp, &item(&Value::Int(1))).unwrap();
        }
        rebuild.record(Lsn(5), &sterna_keyspace::flush_all(two)).unwrap();
        assert_eq!(keys(&partitions), 2);
        assert!(partitions.peek(0, b"{foo}2", 0, |_| ()) == Ok(None));
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_a_replay_takes_or_refuses_them(
            key in prop::collection::vec(any::<u8>(), 0..6),
            mut bytes in prop::collection::vec(any::<u8>(), 0..80),
            kind in 0u8..8,
        ) {
            let (partitions, loading) = (Partitions::new(1, 2), Loading::default());
            let mut rebuild = Rebuild::new(&partitions, None, 0, &loading);
            let _ = rebuild.item(&key, STAMP, &bytes);
            let _ = rebuild.record(Lsn(1), &bytes);
            // A known kind gets further.
            bytes.insert(0, kind);
            let _ = rebuild.record(Lsn(8), &bytes);
        }
    }
}
