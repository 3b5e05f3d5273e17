//! What a command did, for everyone who must know: collected while it runs, taken by the server afterwards.
//!
//! | collected | for | when |
//! |---|---|---|
//! | effects | the journal | [`Wants::effects`] |
//! | events | keyspace notifications | their class is in [`Wants::events`] |
//! | touched keys | client-side caching | [`Wants::touched`] |
//! | ready keys | blocked readers, see `wait.rs` | somebody waits for the key |
//!
//! Two of them outlast [`Changes::clear`], because a transaction is one to whom they matter: effects until the journal
//! has them ([`Changes::logged`]), and ready keys until their waiters have been served.
//!
//! WATCH needs nothing from here: its flags are set at once (see `watch.rs`). What nobody wants costs a branch.
//! One `Changes` is reused for every command of a shard; [`Changes::clear`] keeps its buffers, unless they are large.

use std::ops::Range;
use std::sync::Arc;

use crate::effect;
use crate::event::{EventClasses, EventKind};
use crate::fields::Fieldset;
use crate::garbage::Garbage;
use crate::groups::KeyGroup;
use crate::ready::Ready;
use crate::stream::EntryId;
use crate::subkeys::{self, Subkeys};
use crate::value::ValueRef;
use crate::wait::{Look, Served, Waiter};

/// What is to be collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wants {
    /// Effects, for a journal.
    pub effects: bool,
    /// Events of these classes.
    pub events: EventClasses,
    /// Touched keys.
    pub touched: bool,
    /// Keys whose streams were changed, in their groups at least, which touches nobody.
    pub edited: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Changes {
    wants: Wants,
    effects: Vec<u8>,
    /// The bytes of the keys that the lists below name, and of what events are about.
    keys: Vec<u8>,
    events: Vec<Noted>,
    touched: Vec<KeyAt>,
    /// Wanted by whoever runs a command apart, and taken before anything is cleared.
    edited: Vec<KeyAt>,
    ready: Ready,
    /// Whether some of those whom a write has woken are still to be served.
    unserved: bool,
    served: Vec<Served>,
    /// What is slow to free: dropped when this is cleared, which is after the locks are released, unless taken before.
    garbage: Vec<Garbage>,
    expiry_paused: bool,
    /// The look at who is there that holds for what is executed.
    look: Look,
    /// What the request names that its connection has stated before (HIMPORT).
    fieldset: Option<Arc<Fieldset>>,
    flushed: bool,
    /// Streams that are under keys of the first database where they were not before. Like effects these outlast
    /// [`Changes::clear`].
    placed: Vec<PlacedStream>,
    count: u64,
    lsn: Option<u64>,
}

/// A stream that came to a key of the first database as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedStream {
    /// The key; `None`: all keys are another database's.
    pub key: Option<Box<[u8]>>,
    /// No ID above was given under the key before.
    pub until: EntryId,
}

/// What happened to one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyEvent<'a> {
    /// What it was.
    pub event: EventKind,
    /// The database, by its number.
    pub db: usize,
    /// The key.
    pub key: &'a [u8],
    /// Which of its elements it happened to, where that is told of and somebody wants to know.
    pub subkeys: Subkeys<'a>,
}

/// An event, its key, and which of the key's elements it is about.
type Noted = (EventKind, KeyAt, Range<usize>);

fn shown<'k>(keys: &'k [u8], (event, at, subkeys): &Noted) -> KeyEvent<'k> {
    KeyEvent {
        event: *event,
        db: at.db,
        key: &keys[at.bytes.clone()],
        subkeys: Subkeys::of(&keys[subkeys.clone()]),
    }
}

/// Events that nobody has been told of yet, in order.
#[derive(Debug, Default)]
pub struct Events {
    keys: Vec<u8>,
    events: Vec<Noted>,
    at: usize,
}

impl Events {
    /// The first that is left.
    pub fn first(&self) -> Option<KeyEvent<'_>> {
        self.events.get(self.at).map(|noted| shown(&self.keys, noted))
    }

    /// That one has been told of.
    pub fn advance(&mut self) {
        self.at += 1;
    }

    /// Bytes of the list.
    pub fn heap_bytes(&self) -> usize {
        self.keys.len() + self.events.len() * size_of::<Noted>()
    }
}

#[derive(Debug, Clone)]
struct KeyAt {
    db: usize,
    bytes: Range<usize>,
}

impl Changes {
    /// Nothing yet; collects what `wants` says.
    pub fn new(wants: Wants) -> Changes {
        Changes { wants, ..Changes::default() }
    }

    /// What is collected.
    pub fn wants(&self) -> Wants {
        self.wants
    }

    /// Takes what a command that was run apart has collected: its effects, events and count, in the place of what was counted
    /// since `count`.
    pub(crate) fn adopt(&mut self, apart: &mut Changes, count: u64) {
        if self.effects.is_empty() {
            self.effects = std::mem::take(&mut apart.effects);
        } else {
            self.effects.append(&mut apart.effects);
        }
        for KeyEvent { event, db, key, subkeys } in apart.events() {
            let subkeys = self.subkeys(subkeys.iter());
            self.event_of(event, db, key, subkeys);
        }
        self.count = count + apart.count;
        self.placed.append(&mut apart.placed);
    }

    /// Changes what is collected from now on.
    pub fn set_wants(&mut self, wants: Wants) {
        self.wants = wants;
    }

    /// Changes whether effects are collected from now on.
    #[inline]
    pub fn want_effects(&mut self, yes: bool) {
        self.wants.effects = yes;
    }

    /// Changes whether touched keys are collected from now on.
    #[inline]
    pub fn want_touched(&mut self, yes: bool) {
        self.wants.touched = yes;
    }

    /// What is executed from now on was read before now: who is there is looked at anew. No other look has this number.
    #[inline]
    pub fn begin_look(&mut self, number: u64) {
        self.look = Look { number, ahead: 0 };
    }

    pub(crate) fn look_mut(&mut self) -> &mut Look {
        &mut self.look
    }

    /// Whether nothing was collected or counted.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
            && self.touched.is_empty()
            && self.events.is_empty()
            && self.served.is_empty()
            && !self.unserved
            && !self.flushed
            && self.garbage.is_empty()
            && self.effects.is_empty()
            && self.lsn.is_none()
    }

    /// The count and the record, which are forgotten, if that is all there is: most writes concern nobody else.
    #[inline]
    pub fn take_count(&mut self) -> Option<(u64, Option<u64>)> {
        let is_all = self.events.is_empty()
            && self.touched.is_empty()
            && self.served.is_empty()
            && self.garbage.is_empty()
            && !self.flushed
            && !self.unserved
            && self.keys.is_empty();
        is_all.then(|| (std::mem::take(&mut self.count), self.lsn.take()))
    }

    /// Forgets everything collected, but for effects that are not logged and ready keys that are not served.
    pub fn clear(&mut self) {
        clear(&mut self.keys);
        clear(&mut self.events);
        clear(&mut self.touched);
        clear(&mut self.edited);
        self.served.clear();
        self.garbage.clear();
        self.flushed = false;
        self.count = 0;
        self.lsn = None;
    }

    /// The journal has the effects: forgets them. `lsn`: which record they are; `None` where no journal is kept.
    ///
    /// Called while the locks of their keys are held, so that the journal's order is the keys' own.
    #[inline]
    pub fn logged(&mut self, lsn: Option<u64>) {
        clear(&mut self.effects);
        self.lsn = lsn.or(self.lsn);
    }

    /// Forgets effects that are not logged, and ready keys that are not served: they came to nothing.
    pub fn forget(&mut self) {
        clear(&mut self.effects);
        self.placed.clear();
        self.ready = Ready::default();
    }

    /// The last record of the journal that the reply depends on.
    pub fn lsn(&self) -> Option<u64> {
        self.lsn
    }

    /// The effects in order, encoded as `effect.rs` describes; empty if nothing changed.
    #[inline]
    pub fn effects(&self) -> &[u8] {
        &self.effects
    }

    /// Hands them over, if they are so long that their buffer would not be kept.
    #[inline]
    pub fn take_long_effects(&mut self) -> Option<Vec<u8>> {
        (self.effects.len() > KEPT_BYTES_MAX).then(|| std::mem::take(&mut self.effects))
    }

    /// The events in order.
    pub fn events(&self) -> impl ExactSizeIterator<Item = KeyEvent<'_>> {
        self.events.iter().map(|noted| shown(&self.keys, noted))
    }

    /// Bytes of the names that they are about.
    pub fn names_bytes(&self) -> usize {
        self.keys.len()
    }

    /// Takes the events, to be told of later.
    pub fn take_events(&mut self) -> Events {
        Events { keys: std::mem::take(&mut self.keys), events: std::mem::take(&mut self.events), at: 0 }
    }

    /// Database and name of the keys that were written to, in order and with repetitions.
    pub fn touched(&self) -> impl ExactSizeIterator<Item = (usize, &[u8])> {
        self.touched.iter().map(|at| (at.db, &self.keys[at.bytes.clone()]))
    }

    /// Whether a database was emptied, or shows another's keys: client-side caches then drop everything, `touched` names no key for it.
    pub fn flushed(&self) -> bool {
        self.flushed
    }

    pub(crate) fn note_placed(&mut self, placed: PlacedStream) {
        self.placed.push(placed);
    }

    /// Whether any stream did, since these were last taken.
    #[inline]
    pub fn has_placed(&self) -> bool {
        !self.placed.is_empty()
    }

    /// The streams that came to keys of the first database as a whole.
    pub fn take_placed(&mut self) -> Vec<PlacedStream> {
        std::mem::take(&mut self.placed)
    }

    /// How many changes were made, as `rdb_changes_since_last_save` counts them.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The blocked commands that were answered, in the order they arrived.
    pub fn served(&mut self) -> std::vec::Drain<'_, Served> {
        self.served.drain(..)
    }

    /// The waiters of those commands.
    pub fn served_waiters(&self) -> impl ExactSizeIterator<Item = &Waiter> {
        self.served.iter().map(|served| &*served.waiter)
    }

    pub(crate) fn push_served(&mut self, served: Served) {
        self.served.push(served);
    }

    #[inline]
    pub(crate) fn event(&mut self, event: EventKind, db: usize, key: &[u8]) {
        self.event_of(event, db, key, 0..0);
    }

    /// Notes an event that is about some elements: what [`Changes::subkeys`] returned.
    #[inline]
    pub(crate) fn event_of(&mut self, event: EventKind, db: usize, key: &[u8], subkeys: Range<usize>) {
        if self.wants.events.contains(event.class) {
            let at = self.keep(db, key);
            self.events.push((event, at, subkeys));
        }
    }

    /// Notes names of elements for an event to follow, if anybody is told of them.
    #[inline]
    pub(crate) fn subkeys<'a>(&mut self, names: impl Iterator<Item = &'a [u8]>) -> Range<usize> {
        if !self.wants.events.intersects(EventClasses::SUBKEYS) {
            return 0..0;
        }
        let start = self.keys.len();
        subkeys::write(&mut self.keys, names);
        start..self.keys.len()
    }

    #[inline]
    pub(crate) fn touch(&mut self, db: usize, key: &[u8]) {
        self.count += 1;
        if self.wants.touched {
            let at = self.keep(db, key);
            self.touched.push(at);
        }
    }

    /// The key touched last is told of before the one touched before it.
    pub(crate) fn tell_last_first(&mut self) {
        if let [.., one, other] = &mut self.touched[..] {
            std::mem::swap(one, other);
        }
    }

    /// Notes that a stream was changed.
    #[inline]
    pub(crate) fn edit(&mut self, db: usize, key: &[u8]) {
        if self.wants.edited {
            let at = self.keep(db, key);
            self.edited.push(at);
        }
    }

    /// Names of the keys whose streams were changed, with repetitions.
    pub(crate) fn edited(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.edited.iter().map(|at| &self.keys[at.bytes.clone()])
    }

    pub(crate) fn ready(&mut self, db: usize, key: &[u8]) {
        self.ready.push(db, key);
    }

    #[inline]
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The next key whose waiters are to be served: serving one may add others.
    pub(crate) fn next_ready(&mut self) -> Option<(usize, Box<[u8]>)> {
        self.ready.next()
    }

    pub(crate) fn has_next_ready(&self) -> bool {
        self.ready.left().next().is_some()
    }

    /// Whether a key has been noted as ready, served or not.
    pub(crate) fn is_ready(&self, db: usize, key: &[u8]) -> bool {
        self.ready.has(db, key)
    }

    /// Takes the keys that are ready; what serving them adds comes to those in their place.
    pub(crate) fn replace_ready(&mut self, ready: Ready) -> Ready {
        std::mem::replace(&mut self.ready, ready)
    }

    /// Notes that some of those whom a write has woken are still to be served.
    pub fn note_unserved(&mut self) {
        self.unserved = true;
    }

    /// Whether that was noted, since this was last asked.
    pub fn take_unserved(&mut self) -> bool {
        std::mem::take(&mut self.unserved)
    }

    pub(crate) fn effect_set(
        &mut self,
        db: usize,
        key: &[u8],
        value: ValueRef<'_>,
        expire_at_ms: Option<u64>,
    ) {
        if self.wants.effects {
            effect::write_set(&mut self.effects, db, key, value, expire_at_ms);
        }
    }

    pub(crate) fn effect_delete(&mut self, db: usize, key: &[u8]) {
        if self.wants.effects {
            effect::write(&mut self.effects, effect::DELETE, db, key, |_| {});
        }
    }

    pub(crate) fn effect_expire(&mut self, db: usize, key: &[u8], at_ms: Option<u64>) {
        if self.wants.effects {
            effect::write(&mut self.effects, effect::EXPIRE, db, key, |body| {
                effect::write_expiry(body, at_ms)
            });
        }
    }

    pub(crate) fn effect_append(&mut self, db: usize, key: &[u8], tail: &[u8]) {
        if self.wants.effects {
            effect::write(&mut self.effects, effect::APPEND, db, key, |body| body.extend_from_slice(tail));
        }
    }

    pub(crate) fn effect_patch(&mut self, db: usize, key: &[u8], offset: usize, bytes: &[u8]) {
        if self.wants.effects {
            effect::write(&mut self.effects, effect::PATCH, db, key, |body| {
                effect::write_varint(body, offset as u64);
                body.extend_from_slice(bytes);
            });
        }
    }

    /// Notes that a database, or all, was emptied of a group's keys, which have been counted. `db` is the number it is stored under.
    pub(crate) fn note_flush(&mut self, db: Option<usize>, group: KeyGroup) {
        self.flushed = true;
        if self.wants.effects {
            effect::write_flush(&mut self.effects, db, group);
        }
    }

    /// Notes that a library of functions has this code, or is gone.
    pub fn note_library(&mut self, name: &[u8], code: Option<&[u8]>) {
        self.count += 1;
        if self.wants.effects {
            effect::write_library(&mut self.effects, name, code);
        }
    }

    /// Notes that all libraries, which had these names, are gone: one change, as where there are none.
    pub fn note_no_libraries<'a>(&mut self, names: impl Iterator<Item = &'a [u8]>) {
        let count = self.count;
        names.for_each(|name| self.note_library(name, None));
        self.count = count + 1;
    }

    /// Notes that the databases show these stored ones from now on.
    pub(crate) fn note_databases(&mut self, shown: &[u8]) {
        self.count += 1;
        self.flushed = true;
        if self.wants.effects {
            effect::write_databases(&mut self.effects, shown);
        }
    }

    /// Whether effects are collected.
    #[inline]
    pub(crate) fn wants_effects(&self) -> bool {
        self.wants.effects
    }

    /// Takes back the effects behind the first `bytes` bytes of them.
    #[inline]
    pub(crate) fn forget_effects(&mut self, bytes: usize) {
        self.effects.truncate(bytes);
    }

    /// Takes what is slow to free.
    pub(crate) fn discard(&mut self, garbage: impl IntoIterator<Item = Garbage>) {
        self.garbage.extend(garbage);
    }

    /// Hands over what is slow to free; dropping it is the caller's.
    pub fn take_garbage(&mut self) -> Vec<Garbage> {
        std::mem::take(&mut self.garbage)
    }

    /// Whether readers leave keys that are due where they are, as if they were gone (CLIENT PAUSE).
    #[inline]
    pub fn pause_expiry(&mut self, yes: bool) {
        self.expiry_paused = yes;
    }

    /// Lends the fieldset that the next command names; `None`: there is none of this name, or it names none.
    pub fn lend(&mut self, fieldset: Option<Arc<Fieldset>>) {
        self.fieldset = fieldset;
    }

    /// What was lent.
    pub fn fieldset(&self) -> Option<&Arc<Fieldset>> {
        self.fieldset.as_ref()
    }

    #[inline]
    pub(crate) fn is_expiry_paused(&self) -> bool {
        self.expiry_paused
    }

    /// Notes a change of a stream, which `fill` writes.
    #[inline]
    pub(crate) fn effect_stream(&mut self, db: usize, key: &[u8], fill: impl FnOnce(&mut Vec<u8>)) {
        if self.wants.effects {
            effect::write(&mut self.effects, effect::STREAM, db, key, fill);
        }
    }

    /// Notes a change of a collection, which `fill` writes.
    #[inline]
    pub(crate) fn effect_elements(
        &mut self,
        tag: u8,
        db: usize,
        key: &[u8],
        fill: impl FnOnce(&mut Vec<u8>),
    ) {
        if self.wants.effects {
            effect::write(&mut self.effects, tag, db, key, fill);
        }
    }

    /// Counts changes beside the one that [`Changes::touch`] counts.
    #[inline]
    pub(crate) fn count_more(&mut self, changes: u64) {
        self.count += changes;
    }

    /// Takes back changes that were counted: what is one change to a client, or none, may touch two keys, or one.
    pub(crate) fn count_less(&mut self, changes: u64) {
        self.count -= changes;
    }

    /// Counts a change that touches nothing watched: of a group, not of what is in its stream.
    pub(crate) fn count_one(&mut self) {
        self.count += 1;
    }

    fn keep(&mut self, db: usize, key: &[u8]) -> KeyAt {
        let start = self.keys.len();
        self.keys.extend_from_slice(key);
        KeyAt { db, bytes: start..self.keys.len() }
    }
}

/// Bytes of a list that are kept for the next command. More, which a large value or a long transaction needs once, would
/// be memory that nobody uses and `maxmemory` counts.
const KEPT_BYTES_MAX: usize = 256 << 10;

fn clear<T>(list: &mut Vec<T>) {
    if list.capacity() * size_of::<T>() > KEPT_BYTES_MAX {
        *list = Vec::new();
    } else {
        list.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_large_value_needed_is_not_kept_for_the_next_command() {
        let mut changes =
            Changes::new(Wants { effects: true, events: EventClasses::all(), touched: true, edited: true });
        for value_bytes in [100, 1 << 20] {
            changes.effect_set(0, b"k", ValueRef::Text(&vec![b'x'; value_bytes]), None);
            changes.touch(0, &vec![b'k'; value_bytes]);
            changes.logged(Some(1));
            changes.clear();
            let kept = changes.effects.capacity() + changes.keys.capacity();
            assert!(kept <= 2 * KEPT_BYTES_MAX, "{kept} bytes are kept");
            assert!(value_bytes > 100 || kept > 0, "small buffers are used again");
        }
    }
}
