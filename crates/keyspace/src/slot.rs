//! The place of one key: looked up once, and everything that can happen to the key happens here.
//!
//! Every change keeps the expiry index and the memory count, notes its effect, and touches the key (watchers, waiters,
//! client caches). A change takes the event it is known by, so a command can't leave it out.

use std::sync::Arc;

use crate::changes::Changes;
use crate::collection::{self, Edited, Edits, Elements, Limits};
use crate::error::Error;
use crate::event::{self, Event};
use crate::eviction::Noted;
use crate::fields::Hash;
use crate::garbage::Garbage;
use crate::partition::{Database, Settings, Stats};
use crate::recorder::Recorder;
use crate::stream::Stream;
use crate::stream::effect::Change;
use crate::table::Place;
use crate::usage;
use crate::value::{NEVER, Record, Value};
use crate::wait::Waiters;
use crate::watch::Watched;

/// The place of one key, empty or not; never an expired record.
#[derive(Debug)]
pub struct Slot<'a> {
    database: &'a mut Database,
    db: usize,
    watched: &'a Watched,
    waiters: &'a Waiters,
    stats: &'a mut Stats,
    settings: &'a Settings,
    log: &'a mut Changes,
    hash: u64,
    key: &'a [u8],
    now_ms: u64,
    place: Option<Place>,
}

/// What a new value took the place of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Displaced {
    Nothing,
    SameType,
    OtherType,
}

impl<'a> Slot<'a> {
    #[expect(
        clippy::too_many_arguments,
        reason = "the borrowed parts of one partition, put together here only"
    )]
    #[inline]
    pub(crate) fn find(
        database: &'a mut Database,
        db: usize,
        watched: &'a Watched,
        waiters: &'a Waiters,
        stats: &'a mut Stats,
        settings: &'a Settings,
        hash: u64,
        key: &'a [u8],
        now_ms: u64,
        log: &'a mut Changes,
    ) -> Slot<'a> {
        let place = database.table.find(hash, key);
        let mut slot =
            Slot { database, db, watched, waiters, stats, settings, log, hash, key, now_ms, place };
        if slot.record().is_some_and(|record| record.is_expired(now_ms)) {
            slot.delete(event::EXPIRED);
            slot.stats.expired += 1;
        }
        slot
    }

    /// The key.
    pub fn key(&self) -> &'a [u8] {
        self.key
    }

    /// What is there.
    #[inline]
    pub fn record(&self) -> Option<&Record> {
        self.place.map(|place| self.database.table.at(place))
    }

    /// The value that is there.
    #[inline]
    pub fn value(&self) -> Option<&Value> {
        self.record().map(|record| &record.value)
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.place.is_none()
    }

    /// When what is there expires; `None`: never, or there is nothing.
    pub fn expire_at_ms(&self) -> Option<u64> {
        self.record().and_then(Record::expire_at_ms)
    }

    /// What is there, for as long as the borrow of the partition.
    pub fn into_record(self) -> Option<&'a Record> {
        let Slot { database, place, .. } = self;
        place.map(|place| database.table.at(place))
    }

    /// Counts a read: a hit, or a miss with its event.
    #[inline]
    pub fn note_read(&mut self) {
        if self.is_empty() {
            self.stats.misses += 1;
            self.event(event::KEY_MISS);
        } else {
            self.stats.hits += 1;
        }
    }

    /// Marks what is there as used now.
    #[inline]
    pub fn mark_used(&mut self) {
        let Some(place) = self.place else { return };
        let usage = &mut self.database.table.at_mut(place).usage;
        match self.settings.eviction.noted() {
            Noted::LastUse => *usage = usage::seconds(self.now_ms),
            Noted::LastChange => {}
            Noted::Frequency(frequency) => {
                // As random as it must be: it is another for each use.
                let uses = self.stats.hits.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let random = (self.hash ^ uses ^ u64::from(*usage)).wrapping_mul(0xff51_afd7_ed55_8ccd);
                *usage = frequency.used(*usage, self.now_ms, random);
            }
        }
    }

    /// Marks what is there as not used for some seconds, if that is what is noted of keys.
    pub fn mark_idle(&mut self, idle_s: u64) {
        if let (Some(place), Noted::LastUse | Noted::LastChange) =
            (self.place, self.settings.eviction.noted())
        {
            let used_at_ms = self.now_ms.saturating_sub(idle_s.saturating_mul(1000));
            self.database.table.at_mut(place).usage = usage::seconds(used_at_ms);
        }
    }

    /// Gives what is there a count of its uses, if they are counted.
    pub fn mark_frequency(&mut self, count: u8) {
        if let (Some(place), Noted::Frequency(_)) = (self.place, self.settings.eviction.noted()) {
            self.database.table.at_mut(place).usage = usage::word_of(count.into(), self.now_ms);
        }
    }

    /// Marks what is there as used like a copy of it that was used meanwhile.
    pub(crate) fn mark_as(&mut self, usage: u32) {
        if let Some(place) = self.place {
            self.database.table.at_mut(place).usage = usage;
        }
    }

    /// The value becomes this one, which differs from what was there in what no watcher need hear of; nothing is recorded.
    /// Nothing happens where there is nothing.
    pub(crate) fn replace(&mut self, value: Value) {
        let Some(place) = self.place else { return };
        let record = self.database.table.at_mut(place);
        self.database.heap_bytes += value.heap_bytes();
        self.database.heap_bytes -= record.value.heap_bytes();
        let old = std::mem::replace(&mut record.value, value);
        let (old_soonest, new_soonest) = (old.soonest_ms(), record.value.soonest_ms());
        self.log.discard(Garbage::of_value(old));
        self.reindex_parts(old_soonest, new_soonest);
        self.watched.edit(self.db, self.hash, self.key);
    }

    /// The value becomes this one, an answer to what it was: INCR and its like.
    pub fn set(&mut self, value: Value, expire_at_ms: Option<u64>, event: Event) {
        if self.put(value, expire_at_ms) == Displaced::Nothing {
            self.event(event::NEW);
        }
        self.event(event);
    }

    /// The value becomes this one, whatever it was: SET and its like.
    pub fn overwrite(&mut self, value: Value, expire_at_ms: Option<u64>, event: Event) {
        match self.put(value, expire_at_ms) {
            Displaced::Nothing => self.event(event::NEW),
            displaced => self.event_displaced(displaced),
        }
        self.event(event);
    }

    /// The value becomes this one; events are left to the caller. Only for commands that report two keys at once, which
    /// have an order of their own.
    pub(crate) fn put(&mut self, value: Value, expire_at_ms: Option<u64>) -> Displaced {
        self.log.effect_set(self.database.number(), self.key, &value, expire_at_ms);
        let new_expiry = expire_at_ms.unwrap_or(NEVER);
        let (settings, now_ms) = (self.settings, self.now_ms);
        let displaced = match self.place {
            Some(place) => {
                let record = self.database.table.at_mut(place);
                let retyped = record.value.type_name() != value.type_name();
                self.database.heap_bytes += value.heap_bytes();
                self.database.heap_bytes -= record.value.heap_bytes();
                let old_expiry = std::mem::replace(&mut record.expire_at_ms, new_expiry);
                let old = std::mem::replace(&mut record.value, value);
                record.usage = written(settings, now_ms, Some(record.usage));
                let (old_soonest, new_soonest) = (old.soonest_ms(), record.value.soonest_ms());
                self.log.discard(Garbage::of_value(old));
                self.reindex(old_expiry, new_expiry);
                self.reindex_parts(old_soonest, new_soonest);
                if retyped { Displaced::OtherType } else { Displaced::SameType }
            }
            None => {
                let usage = written(settings, now_ms, None);
                let record = Record { key: self.key.into(), value, expire_at_ms: new_expiry, usage };
                self.database.heap_bytes += record.heap_bytes();
                let soonest_ms = record.value.soonest_ms();
                self.place = Some(self.database.table.insert(self.hash, record));
                self.reindex(NEVER, new_expiry);
                self.reindex_parts(NEVER, soonest_ms);
                Displaced::Nothing
            }
        };
        self.touch();
        displaced
    }

    /// Notes what a value displaced.
    pub(crate) fn event_displaced(&mut self, displaced: Displaced) {
        if displaced != Displaced::Nothing {
            self.event(event::OVERWRITTEN);
        }
        if displaced == Displaced::OtherType {
            self.event(event::TYPE_CHANGED);
        }
    }

    /// Puts bytes behind the string that is here, or the empty string if there is nothing. Returns the new length;
    /// `None`, and nothing is changed: there is something else.
    pub fn append(&mut self, tail: &[u8], event: Event) -> Option<usize> {
        if self.is_empty() {
            self.set(Value::string(tail), None, event);
            return Some(tail.len());
        }
        let len = self.edit_text(|value| value.append(tail))?;
        self.log.effect_append(self.database.number(), self.key, tail);
        self.touch();
        self.event(event);
        Some(len)
    }

    /// Writes bytes at an offset of the string that is here, or of the empty string if there is nothing; a shorter one is
    /// filled with zeros first. Returns the new length; `None`, and nothing is changed: there is something else.
    ///
    /// Who is to know of it is the caller's: [`Slot::patched`].
    pub(crate) fn write(&mut self, offset: usize, bytes: &[u8]) -> Option<usize> {
        if self.is_empty() {
            let value = Value::Grown(Arc::default());
            self.insert(value);
            self.event(event::NEW);
        }
        let len = self.edit_text(|value| value.write(offset, bytes))?;
        self.log.effect_patch(self.database.number(), self.key, offset, bytes);
        Some(len)
    }

    /// Tells of writes to the string that is here.
    pub(crate) fn patched(&mut self, changes: u64, event: Event) {
        self.log.count_more(changes.saturating_sub(1));
        self.touch();
        self.event(event);
    }

    /// Keeps the string that is here in the form of one that was changed in places, as the commands do that may have changed
    /// it; only OBJECT ENCODING tells.
    pub(crate) fn make_changeable(&mut self) {
        self.edit_text(|value| {
            let len = value.text()?.len();
            value.make_changeable(len);
            Some(len)
        });
    }

    /// Changes the value that is here, if it is a string, and keeps the books.
    fn edit_text(&mut self, edit: impl FnOnce(&mut Value) -> Option<usize>) -> Option<usize> {
        let record = self.database.table.at_mut(self.place?);
        let before_bytes = record.value.heap_bytes();
        let len = edit(&mut record.value)?;
        let unused = record.value.take_unused_base();
        record.usage = written(self.settings, self.now_ms, Some(record.usage));
        self.database.heap_bytes += record.value.heap_bytes();
        self.database.heap_bytes -= before_bytes;
        self.log.discard(unused.and_then(Garbage::of_value));
        Some(len)
    }

    /// Removes what is here; false: there is nothing.
    pub fn delete(&mut self, event: Event) -> bool {
        let Some(record) = self.take() else { return false };
        self.log.discard(Garbage::of_value(record.value));
        self.event(event);
        true
    }

    /// Removes what is here and returns it; events are left to the caller, see `put`.
    pub(crate) fn take(&mut self) -> Option<Record> {
        let record = self.database.table.remove(self.place.take()?);
        self.database.heap_bytes -= record.heap_bytes();
        self.reindex(record.expire_at_ms, NEVER);
        self.reindex_parts(record.value.soonest_ms(), NEVER);
        self.log.effect_delete(self.database.number(), self.key);
        self.touch();
        Some(record)
    }

    /// Sets or clears the expiry of what is here. False: there is nothing.
    ///
    /// A time that has come already is the caller's to find: it deletes instead.
    pub fn expire_at(&mut self, at_ms: Option<u64>, event: Event) -> bool {
        let Some(place) = self.place else { return false };
        let new_expiry = at_ms.unwrap_or(NEVER);
        let old_expiry = std::mem::replace(&mut self.database.table.at_mut(place).expire_at_ms, new_expiry);
        self.reindex(old_expiry, new_expiry);
        self.log.effect_expire(self.database.number(), self.key, at_ms);
        self.touch();
        self.event(event);
        true
    }

    /// Notes the expiry, if there is one, behind effects that leave nothing here for a moment: who applies them makes the key
    /// anew.
    pub(crate) fn note_expiry(&mut self) {
        if let Some(at_ms) = self.expire_at_ms() {
            self.log.effect_expire(self.database.number(), self.key, Some(at_ms));
        }
    }

    /// Notes another event of this key.
    #[inline]
    pub fn event(&mut self, event: Event) {
        self.log.event(event, self.db, self.key);
    }

    /// Makes an empty stream here, where there is nothing. The change that made it necessary touches the key.
    pub(crate) fn create_stream(&mut self) {
        let value = Value::Stream(Box::new(Stream::new()));
        self.log.effect_set(self.database.number(), self.key, &value, None);
        self.insert(value);
        self.event(event::NEW);
    }

    /// Adds a record where there is none.
    fn insert(&mut self, value: Value) {
        let usage = written(self.settings, self.now_ms, None);
        let record = Record { key: self.key.into(), value, expire_at_ms: NEVER, usage };
        self.database.heap_bytes += record.heap_bytes();
        self.place = Some(self.database.table.insert(self.hash, record));
    }

    /// Lets `edit` change the stream that is here and record how; `None`: there is something else, or nothing. What
    /// else a change entails (touch, event) is the command's to say.
    pub(crate) fn edit_stream<R>(
        &mut self,
        edit: impl FnOnce(&mut Stream, &mut Recorder<'_>) -> R,
    ) -> Option<R> {
        let db = self.database.number();
        let record = self.database.table.at_mut(self.place?);
        let Value::Stream(stream) = &mut record.value else { return None };
        let (before_bytes, before_ms) = (stream.heap_bytes(), stream.soonest_ms());
        let mut recorder = Recorder { log: self.log, db, key: self.key, is_changed: false };
        let result = edit(stream, &mut recorder);
        if recorder.is_changed {
            self.log.edit(self.db, self.key);
            self.watched.edit(self.db, self.hash, self.key);
        }
        record.usage = written(self.settings, self.now_ms, Some(record.usage));
        let after_ms = stream.soonest_ms();
        self.database.heap_bytes += stream.heap_bytes();
        self.database.heap_bytes -= before_bytes;
        self.reindex_parts(before_ms, after_ms);
        Some(result)
    }

    /// Where small collections become large.
    pub(crate) fn limits(&self) -> &'a Limits {
        &self.settings.limits
    }

    /// The collection that is here; `None`: there is nothing.
    #[inline]
    pub(crate) fn elements<T: Elements>(&self) -> Result<Option<&T>, Error> {
        match self.value() {
            None => Ok(None),
            Some(value) => T::of(value).map(Some).ok_or(Error::WrongType),
        }
    }

    /// Lets `edit` change the collection that is here, or an empty one if there is nothing, and record how; `event` is
    /// what the change is known by, if one was recorded. A collection without elements does not stay: what is recorded then
    /// is that the key is gone, which holds wherever it is applied. During a snapshot that is where the key was not there
    /// anymore when its turn came: only what was done to it since the snapshot began, and how it was emptied would not fit.
    pub(crate) fn edit<T: Elements, R>(
        &mut self,
        event: Event,
        edit: impl FnOnce(&mut T, &mut Edits<'_>) -> R,
    ) -> Result<R, Error> {
        let edited = self.edit_value(edit)?;
        self.event_edited(event, &edited);
        Ok(edited.result)
    }

    /// As [`Slot::edit`]; events are left to the caller. Only for commands that report two keys at once, which have an order
    /// of their own.
    pub(crate) fn edit_value<T: Elements, R>(
        &mut self,
        edit: impl FnOnce(&mut T, &mut Edits<'_>) -> R,
    ) -> Result<Edited<R>, Error> {
        let Slot { database, settings, log, key, now_ms, .. } = self;
        let db = database.number();
        let limits = &settings.limits;
        let effects_before = log.effects().len();
        let mut edits = Edits { log, db, key, tag: T::TAG, now_ms: *now_ms, limits, count: 0 };
        let is_new = self.place.is_none();
        let mut soonest = (NEVER, NEVER);
        let (result, is_gone) = match self.place {
            Some(place) => {
                let record = database.table.at_mut(place);
                let value = T::of_mut(&mut record.value).ok_or(Error::WrongType)?;
                let (before_bytes, before_ms) = (value.heap_bytes(), value.soonest_ms());
                let result = edit(value, &mut edits);
                let (after_bytes, is_gone) = (value.heap_bytes(), value.is_empty());
                soonest = (before_ms, value.soonest_ms());
                record.usage = written(settings, *now_ms, Some(record.usage));
                database.heap_bytes += after_bytes;
                database.heap_bytes -= before_bytes;
                (result, is_gone)
            }
            None => {
                let mut value = T::default();
                let result = edit(&mut value, &mut edits);
                let is_gone = value.is_empty();
                if !is_gone {
                    soonest.1 = value.soonest_ms();
                    let value = value.into_value();
                    let usage = written(settings, *now_ms, None);
                    let record = Record { key: (*key).into(), value, expire_at_ms: NEVER, usage };
                    database.heap_bytes += record.heap_bytes();
                    self.place = Some(database.table.insert(self.hash, record));
                }
                (result, is_gone)
            }
        };
        let count = edits.count;
        self.reindex_parts(soonest.0, soonest.1);
        if is_gone {
            self.log.forget_effects(effects_before);
            if !is_new {
                self.log.effect_delete(db, self.key);
            }
            self.remove_emptied();
        }
        if count > 0 {
            self.log.count_more(count - 1);
            self.touch();
        }
        Ok(Edited { result, count, is_new: is_new && !is_gone, is_gone: is_gone && !is_new })
    }

    /// Notes what an edit that is known by `event` did to the key.
    pub(crate) fn event_edited<R>(&mut self, event: Event, edited: &Edited<R>) {
        if edited.count == 0 {
            return;
        }
        if edited.is_new {
            self.event(event::NEW);
        }
        self.event(event);
        if edited.is_gone {
            self.event(event::DEL);
        }
    }

    /// Applies a change of the collection of this type that is here, or of an empty one. False, and nothing is changed: it
    /// doesn't fit.
    pub(crate) fn apply(&mut self, tag: u8, change: &[u8]) -> bool {
        let Some(place) = self.place else {
            let Some(mut value) = collection::empty(tag) else { return false };
            let Some(collection) = value.collection_mut() else { return false };
            if !collection.apply(change, &self.settings.limits) {
                return false;
            }
            if !collection.is_empty() {
                let soonest_ms = collection.soonest_ms();
                let record = Record {
                    key: self.key.into(),
                    value,
                    expire_at_ms: NEVER,
                    usage: written(self.settings, self.now_ms, None),
                };
                self.database.heap_bytes += record.heap_bytes();
                self.place = Some(self.database.table.insert(self.hash, record));
                self.reindex_parts(NEVER, soonest_ms);
            }
            return true;
        };
        let record = self.database.table.at_mut(place);
        let before_bytes = record.value.heap_bytes();
        let Some(collection) = record.value.collection_mut().filter(|it| it.tag() == tag) else {
            return false;
        };
        let before_ms = collection.soonest_ms();
        let applied = collection.apply(change, &self.settings.limits);
        let (is_gone, after_ms) = (collection.is_empty(), collection.soonest_ms());
        self.database.heap_bytes += record.value.heap_bytes();
        self.database.heap_bytes -= before_bytes;
        self.reindex_parts(before_ms, after_ms);
        if is_gone {
            self.remove_emptied();
        }
        applied
    }

    /// Removes parts that are due of what is here, at most about `most`: fields of a hash, entries of a stream. Returns how
    /// many.
    pub(crate) fn expire_parts(&mut self, most: usize) -> usize {
        let now_ms = self.now_ms;
        match self.value().filter(|value| value.soonest_ms() < now_ms) {
            Some(Value::Stream(_)) => self.expire_entries(most as u64),
            Some(_) => self.expire_fields(most),
            None => 0,
        }
    }

    fn expire_entries(&mut self, most: u64) -> usize {
        let now_ms = self.now_ms;
        let trimmed = self.edit_stream(|stream, recorder| {
            let trimmed = stream.trim_aged(now_ms, most);
            if let Some(through) = trimmed.through {
                recorder.record(&Change::Trim { through });
            }
            trimmed.removed
        });
        let removed = trimmed.unwrap_or(0);
        if removed > 0 {
            self.touch();
            self.event(event::XTRIM);
        }
        usize::try_from(removed).unwrap_or(usize::MAX)
    }

    fn expire_fields(&mut self, most: usize) -> usize {
        let removed =
            self.edit(event::HEXPIRED, |hash: &mut Hash, edits| hash.remove_due(edits, most)).unwrap_or(0);
        self.stats.expired_fields += removed as u64;
        removed
    }

    /// Removes the collection here, which has no element left.
    fn remove_emptied(&mut self) {
        let Some(place) = self.place.take() else { return };
        let record = self.database.table.remove(place);
        self.database.heap_bytes -= record.heap_bytes();
        self.reindex(record.expire_at_ms, NEVER);
        self.log.discard(Garbage::of_value(record.value));
    }

    /// Counts changes beside those that touched the key.
    pub(crate) fn count_changes(&mut self, changes: u64) {
        self.log.count_more(changes);
    }

    /// Counts a change that watchers need not hear of: of a group, not of what is in its stream.
    pub(crate) fn count_change(&mut self) {
        self.log.count_one();
    }

    /// Lets blocked readers look again, though nothing was added: a group is gone, or pending entries are free.
    pub(crate) fn note_ready(&mut self) {
        if !self.waiters.is_empty() && self.waiters.contains(self.db, self.hash, self.key) {
            self.log.ready(self.db, self.key);
        }
    }

    /// Tells whoever watches, waits for or caches the key that it changed.
    pub(crate) fn touch(&mut self) {
        self.log.touch(self.db, self.key);
        self.watched.touch(self.db, self.hash, self.key);
        self.note_ready();
    }

    #[inline]
    fn reindex_parts(&mut self, old_ms: u64, new_ms: u64) {
        if old_ms == new_ms {
            return;
        }
        if old_ms != NEVER {
            self.database.part_expiries.remove(old_ms, self.hash);
        }
        if new_ms != NEVER {
            self.database.part_expiries.insert(new_ms, self.hash);
        }
    }

    #[inline]
    fn reindex(&mut self, old_ms: u64, new_ms: u64) {
        if old_ms == new_ms {
            return;
        }
        if old_ms != NEVER {
            self.database.expiries.remove(old_ms, self.hash);
        }
        if new_ms != NEVER {
            self.database.expiries.insert(new_ms, self.hash);
        }
    }
}

/// What is noted of a record that is written now; `before` is what was, if it was there.
#[inline]
fn written(settings: &Settings, now_ms: u64, before: Option<u32>) -> u32 {
    match (settings.eviction.noted(), before) {
        (Noted::Frequency(_), Some(before)) => before,
        (Noted::Frequency(_), None) => usage::new_count(now_ms),
        (Noted::LastUse | Noted::LastChange, _) => usage::seconds(now_ms),
    }
}
