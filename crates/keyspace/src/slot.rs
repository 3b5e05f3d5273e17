//! The place of one key: looked up once, and everything that can happen to the key happens here.
//!
//! Every change keeps the expiry index and the memory count, notes its effect, and touches the key (watchers, waiters,
//! client caches). A change takes the event it is known by, so a command can't leave it out.

mod due;
mod elements;

use std::ops::Range;
use std::sync::Arc;

use crate::changes::{Changes, PlacedStream};
use crate::collection::Limits;
use crate::event::{self, EventKind};
use crate::eviction::Noted;
use crate::expiry;
use crate::garbage::Garbage;
use crate::partition::{Database, Settings, Stats};
use crate::record::{Draft, NewValue, Record};
use crate::recorder::Recorder;
use crate::stream::{EntryId, Stream};
use crate::table::{Place, Taken};
use crate::usage::{self, Frequency};
use crate::value::{NEVER, Value, ValueRef};
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
            // Time changed it, and no client.
            slot.log.count_less(1);
        }
        slot
    }

    /// The key.
    pub fn key(&self) -> &'a [u8] {
        self.key
    }

    /// What is there.
    #[inline]
    pub fn record(&self) -> Option<Record<'_>> {
        self.place.map(|place| self.database.table.at(place))
    }

    /// The value that is there.
    #[inline]
    pub fn value(&self) -> Option<ValueRef<'_>> {
        self.record().map(Record::value)
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.place.is_none()
    }

    /// When what is there expires; `None`: never, or there is nothing.
    #[inline]
    pub fn expire_at_ms(&self) -> Option<u64> {
        self.record().and_then(Record::expire_at_ms)
    }

    /// What is there, for as long as the borrow of the partition.
    pub fn into_record(self) -> Option<Record<'a>> {
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
        let usage = match self.settings.eviction.noted() {
            Noted::LastUse => usage::seconds(self.now_ms),
            Noted::LastChange => return,
            Noted::Frequency(frequency) => self.used_once_more(place, frequency),
        };
        self.database.table.set_usage(place, usage);
    }

    #[cold]
    fn used_once_more(&self, place: Place, frequency: Frequency) -> u32 {
        let usage = self.database.table.at(place).usage();
        // As random as it must be: it is another for each use.
        let uses = self.stats.hits.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let random = (self.hash ^ uses ^ u64::from(usage)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        frequency.used(usage, self.now_ms, random)
    }

    /// Marks what is there as not used for some seconds, if that is what is noted of keys.
    pub fn mark_idle(&mut self, idle_s: u64) {
        if let (Some(place), Noted::LastUse | Noted::LastChange) =
            (self.place, self.settings.eviction.noted())
        {
            let used_at_ms = self.now_ms.saturating_sub(idle_s.saturating_mul(1000));
            self.database.table.set_usage(place, usage::seconds(used_at_ms));
        }
    }

    /// Gives what is there a count of its uses, if they are counted.
    pub fn mark_frequency(&mut self, count: u8) {
        if let (Some(place), Noted::Frequency(_)) = (self.place, self.settings.eviction.noted()) {
            self.database.table.set_usage(place, usage::word_of(count.into(), self.now_ms));
        }
    }

    /// Marks what is there as used like a copy of it that was used meanwhile.
    pub(crate) fn mark_as(&mut self, usage: u32) {
        if let Some(place) = self.place {
            self.database.table.set_usage(place, usage);
        }
    }

    /// The value becomes this one, which differs from what was there in what no watcher need be told of; nothing is recorded.
    /// Nothing happens where there is nothing.
    pub(crate) fn replace(&mut self, value: Value) {
        let Some(place) = self.place else { return };
        let expiry_ms = self.database.table.at(place).expiry_ms();
        self.rewrite(place, value.into(), expiry_ms);
        self.watched.edit(self.db, self.hash, self.key);
    }

    /// The value becomes this one, an answer to what it was: INCR and its like.
    pub fn set<'v>(&mut self, value: impl Into<NewValue<'v>>, expire_at_ms: Option<u64>, event: EventKind) {
        if self.put(value, expire_at_ms) == Displaced::Nothing {
            self.event(event::NEW);
        }
        self.event(event);
    }

    /// The value becomes this integer, an answer to what it was; when it expires stays.
    pub(crate) fn set_number(&mut self, number: i64, event: EventKind) {
        let expire_at_ms = self.expire_at_ms();
        let is_done = self.place.is_some_and(|place| {
            let table = &mut self.database.table;
            let usage = written(self.settings, self.now_ms, || Some(table.at(place).usage()));
            table.set_number(place, number, usage)
        });
        if !is_done {
            return self.set(NewValue::Int(number), expire_at_ms, event);
        }
        // Mostly it takes the place of another: nothing but its eight bytes changes.
        if self.log.wants_effects() {
            self.log.effect_set(self.database.number(), self.key, ValueRef::Int(number), expire_at_ms);
        }
        self.touch();
        self.event(event);
    }

    /// The value becomes this one, whatever it was: SET and its like.
    pub fn overwrite<'v>(
        &mut self,
        value: impl Into<NewValue<'v>>,
        expire_at_ms: Option<u64>,
        event: EventKind,
    ) {
        match self.put(value, expire_at_ms) {
            Displaced::Nothing => self.event(event::NEW),
            displaced => self.event_displaced(displaced),
        }
        self.event(event);
    }

    /// The same, for a value of which the event names some elements.
    pub(crate) fn overwrite_named<'n>(
        &mut self,
        value: Value,
        event: EventKind,
        names: impl Iterator<Item = &'n [u8]>,
    ) {
        match self.put(value, None) {
            Displaced::Nothing => self.event(event::NEW),
            displaced => self.event_displaced(displaced),
        }
        let subkeys = self.log.subkeys(names);
        self.event_of(event, subkeys);
    }

    /// The key holds this value, which was under another one, or comes from outside.
    pub(crate) fn place(&mut self, value: Value, expire_at_ms: Option<u64>) -> Displaced {
        if let (0, Some(stream)) = (self.db, value.stream()) {
            let before = self.record().and_then(|record| Some(record.value().stream()?.last_id()));
            // Where there was one that is gone, the clock says more than what is there.
            let now = EntryId::new(self.now_ms, u64::MAX);
            let until = now.max(stream.last_id()).max(before.unwrap_or(EntryId::MIN));
            self.log.note_placed(PlacedStream { key: Some(self.key.into()), until });
        }
        self.put(value, expire_at_ms)
    }

    /// The value becomes this one; events are left to the caller. Only for commands that report two keys at once, which
    /// have an order of their own.
    pub(crate) fn put<'v>(&mut self, value: impl Into<NewValue<'v>>, expire_at_ms: Option<u64>) -> Displaced {
        let value = value.into();
        if self.log.wants_effects() {
            self.log.effect_set(self.database.number(), self.key, value.as_ref(), expire_at_ms);
        }
        let new_expiry = expire_at_ms.unwrap_or(NEVER);
        let displaced = match self.place {
            Some(place) => {
                let record = self.database.table.at(place);
                let old_expiry = record.expiry_ms();
                let usage = written(self.settings, self.now_ms, || Some(record.usage()));
                // Most strings are as long as the ones before them: nothing but bytes changes.
                let displaced = if self.database.table.overwrite(place, &value, new_expiry, usage) {
                    Displaced::SameType
                } else {
                    self.rewrite(place, value, new_expiry)
                };
                self.reindex(old_expiry, new_expiry);
                displaced
            }
            None => {
                self.insert(value, new_expiry);
                self.reindex(NEVER, new_expiry);
                Displaced::Nothing
            }
        };
        self.touch();
        displaced
    }

    /// Puts a value in the place of another, and keeps the books but for the key's expiry.
    fn rewrite(&mut self, place: Place, value: NewValue<'_>, expiry_ms: u64) -> Displaced {
        let record = self.database.table.at(place);
        let is_retyped = record.value().type_name() != value.as_ref().type_name();
        let usage = written(self.settings, self.now_ms, || Some(record.usage()));
        let (old_bytes, old_soonest) = (record.heap_bytes(), record.value().soonest_ms());
        let draft = Draft::new(self.hash, self.key, value, expiry_ms, usage);
        let (place, old) = self.database.table.replace(self.hash, place, draft);
        self.place = Some(place);
        self.log.discard(old.and_then(Garbage::of_value));
        let record = self.database.table.at(place);
        let new_soonest = record.value().soonest_ms();
        self.database.heap_bytes = self.database.heap_bytes + record.heap_bytes() - old_bytes;
        self.reindex_parts(old_soonest, new_soonest);
        if is_retyped { Displaced::OtherType } else { Displaced::SameType }
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
    pub fn append(&mut self, tail: &[u8], event: EventKind) -> Option<usize> {
        if self.is_empty() {
            self.set(NewValue::string(tail), None, event);
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
            self.insert(Value::Grown(Arc::default()).into(), NEVER);
            self.event(event::NEW);
        }
        let len = self.edit_text(|value| value.write(offset, bytes))?;
        self.log.effect_patch(self.database.number(), self.key, offset, bytes);
        Some(len)
    }

    /// Tells of writes to the string that is here.
    pub(crate) fn patched(&mut self, changes: u64, event: EventKind) {
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
        let place = self.place?;
        let record = self.database.table.at(place);
        let usage = written(self.settings, self.now_ms, || Some(record.usage()));
        let expiry_ms = record.expiry_ms();
        let Some(value) = self.database.table.kept_mut(place) else {
            let mut value = self.database.table.at(place).value().to_value();
            let len = edit(&mut value)?;
            self.rewrite(place, value.into(), expiry_ms);
            return Some(len);
        };
        let before_bytes = value.heap_bytes();
        let len = edit(value)?;
        let unused = value.take_unused_base();
        self.database.heap_bytes = self.database.heap_bytes + value.heap_bytes() - before_bytes;
        self.database.table.set_usage(place, usage);
        self.log.discard(unused.and_then(Garbage::of_value));
        Some(len)
    }

    /// Removes what is here; false: there is nothing.
    pub fn delete(&mut self, event: EventKind) -> bool {
        let Some(place) = self.place.take() else { return false };
        self.forget(place);
        let removed = self.database.table.remove(self.hash, place);
        self.log.discard(removed.and_then(Garbage::of_value));
        self.log.effect_delete(self.database.number(), self.key);
        self.touch();
        self.event(event);
        true
    }

    /// Removes what is here and returns it; events are left to the caller, see `put`.
    pub(crate) fn take(&mut self) -> Option<Taken> {
        let place = self.place.take()?;
        self.forget(place);
        let taken = self.database.table.take(self.hash, place);
        self.log.effect_delete(self.database.number(), self.key);
        self.touch();
        Some(taken)
    }

    /// Takes a record that is about to be removed out of the books.
    fn forget(&mut self, place: Place) {
        let record = self.database.table.at(place);
        let (expiry_ms, soonest_ms) = (record.expiry_ms(), record.value().soonest_ms());
        self.database.heap_bytes -= record.heap_bytes();
        self.reindex(expiry_ms, NEVER);
        self.reindex_parts(soonest_ms, NEVER);
    }

    /// Sets or clears the expiry of what is here. False: there is nothing.
    ///
    /// A time that has come already is the caller's to find: it deletes instead.
    pub fn expire_at(&mut self, at_ms: Option<u64>, event: EventKind) -> bool {
        let Some(place) = self.place else { return false };
        let new_expiry = at_ms.unwrap_or(NEVER);
        let old_expiry = self.database.table.at(place).expiry_ms();
        self.place = Some(self.database.table.set_expiry(self.hash, place, new_expiry));
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
    pub fn event(&mut self, event: EventKind) {
        self.log.event(event, self.db, self.key);
    }

    /// Notes another event of this key, which is about these elements, see [`Changes::subkeys`].
    #[inline]
    pub(crate) fn event_of(&mut self, event: EventKind, subkeys: Range<usize>) {
        self.log.event_of(event, self.db, self.key, subkeys);
    }

    /// Makes an empty stream here, where there is nothing. The change that made it necessary touches the key.
    pub(crate) fn create_stream(&mut self) {
        let value = Value::Stream(Box::new(Stream::new()));
        self.log.effect_set(self.database.number(), self.key, ValueRef::from(&value), None);
        self.insert(value.into(), NEVER);
        self.event(event::NEW);
    }

    /// Adds a record where there is none, and keeps the books but for the key's expiry.
    fn insert(&mut self, value: NewValue<'_>, expiry_ms: u64) {
        let usage = written(self.settings, self.now_ms, || None);
        let draft = Draft::new(self.hash, self.key, value, expiry_ms, usage);
        let place = self.database.table.insert(self.hash, draft);
        self.place = Some(place);
        let record = self.database.table.at(place);
        let soonest_ms = record.value().soonest_ms();
        self.database.heap_bytes += record.heap_bytes();
        self.reindex_parts(NEVER, soonest_ms);
    }

    /// Lets `edit` change the stream that is here and record how; `None`: there is something else, or nothing. What
    /// else a change entails (touch, event) is the command's to say.
    pub(crate) fn edit_stream<R>(
        &mut self,
        edit: impl FnOnce(&mut Stream, &mut Recorder<'_>) -> R,
    ) -> Option<R> {
        let db = self.database.number();
        let place = self.place?;
        let Value::Stream(stream) = self.database.table.kept_mut(place)? else { return None };
        let (before_bytes, before_ms) = (stream.heap_bytes(), stream.soonest_ms());
        let mut recorder = Recorder { log: self.log, db, key: self.key, is_changed: false };
        let result = edit(stream, &mut recorder);
        if recorder.is_changed {
            self.log.edit(self.db, self.key);
            self.watched.edit(self.db, self.hash, self.key);
        }
        let after_ms = stream.soonest_ms();
        self.database.heap_bytes = self.database.heap_bytes + stream.heap_bytes() - before_bytes;
        self.mark_written(place);
        self.reindex_parts(before_ms, after_ms);
        Some(result)
    }

    /// Where small collections become large.
    pub(crate) fn limits(&self) -> &'a Limits {
        &self.settings.limits
    }

    /// Notes that a record was changed.
    #[inline]
    fn mark_written(&mut self, place: Place) {
        let table = &self.database.table;
        let usage = written(self.settings, self.now_ms, || Some(table.at(place).usage()));
        self.database.table.set_usage(place, usage);
    }

    /// Counts changes beside those that touched the key.
    pub(crate) fn count_changes(&mut self, changes: u64) {
        self.log.count_more(changes);
    }

    /// Counts a change that watchers need not be told of: of a group, not of what is in its stream.
    pub(crate) fn count_change(&mut self) {
        self.log.count_one();
    }

    /// Has blocked readers check again, though nothing was added: a group is gone, or pending entries are free.
    #[inline]
    pub(crate) fn note_ready(&mut self) {
        if !self.waiters.is_empty() && self.waiters.contains(self.db, self.hash, self.key) {
            self.log.ready(self.db, self.key);
        }
    }

    /// Tells whoever watches, waits for or caches the key that it changed.
    #[inline]
    pub(crate) fn touch(&mut self) {
        self.log.touch(self.db, self.key);
        self.watched.touch(self.db, self.hash, self.key);
        self.note_ready();
    }

    #[inline]
    fn reindex_parts(&mut self, old_ms: u64, new_ms: u64) {
        self.database.part_expiries.reindex(old_ms, new_ms, self.hash);
    }

    #[inline]
    fn reindex(&mut self, old_ms: u64, new_ms: u64) {
        self.database.expiries.reindex(expiry::rounded(old_ms), expiry::rounded(new_ms), self.hash);
    }
}

/// What is noted of a record that is written now; `before` is what was, if it was there.
#[inline]
fn written(settings: &Settings, now_ms: u64, before: impl FnOnce() -> Option<u32>) -> u32 {
    match settings.eviction.noted() {
        Noted::Frequency(_) => before().unwrap_or_else(|| usage::new_count(now_ms)),
        Noted::LastUse | Noted::LastChange => usage::seconds(now_ms),
    }
}
