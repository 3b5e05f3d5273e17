//! The collection that is at a key: how it is edited, and how its key comes and goes with its elements.

use super::Slot;
use crate::collection::{self, Collection, Edited, Edits, Elements};
use crate::error::Error;
use crate::event::{self, EventKind};
use crate::garbage::Garbage;
use crate::record::Draft;
use crate::table::Place;
use crate::value::{NEVER, Value};

impl Slot<'_> {
    /// The collection that is here; `None`: there is nothing.
    #[inline]
    pub(crate) fn elements<T: Elements>(&self) -> Result<Option<T::View<'_>>, Error> {
        match self.value() {
            None => Ok(None),
            Some(value) => match T::seen(value) {
                None => Err(Error::WrongType),
                seen => Ok(seen),
            },
        }
    }

    /// Has the collection that lies in its record lie apart from it, where it can change.
    fn set_apart(&mut self, place: Place) -> Place {
        let value = self.database.table.at(place).value().to_value();
        self.put_apart(place, value)
    }

    /// Has `value` lie apart in place of the collection that lies in its record.
    fn put_apart(&mut self, place: Place, value: Value) -> Place {
        let record = self.database.table.at(place);
        self.database.heap_bytes += value.heap_bytes();
        let draft = Draft::apart(self.key, value, record.expiry_ms(), record.usage());
        let (place, _) = self.database.table.replace(self.hash, place, draft);
        self.place = Some(place);
        place
    }

    /// Lets `edit` change the collection that is here, or an empty one if there is nothing, and record how; `event` is
    /// what the change is known by, if one was recorded. A collection without elements does not stay: what is recorded then
    /// is that the key is gone, which holds wherever it is applied. During a snapshot that is where the key was not there
    /// anymore when its turn came: only what was done to it since the snapshot began, and how it was emptied would not fit.
    pub(crate) fn edit<T: Elements, R>(
        &mut self,
        event: EventKind,
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
        // What lies in its record is changed beside it, and stays there if nothing was changed.
        let packed = match self.place.map(|place| self.database.table.at(place)) {
            Some(record) if record.is_packed() => {
                T::seen(record.value()).ok_or(Error::WrongType)?;
                Some(record.value().to_value())
            }
            _ => None,
        };
        let Slot { database, settings, log, key, now_ms, .. } = self;
        let db = database.number();
        let limits = &settings.limits;
        let effects_before = log.effects().len();
        let (now_ms, tag) = (*now_ms, T::TAG);
        let mut edits = Edits { log, db, key, tag, now_ms, limits, count: 0, subkeys: 0..0 };
        let is_new = self.place.is_none();
        let (result, is_gone, count, subkeys) = match (self.place, packed) {
            (Some(place), Some(mut copy)) => {
                let before_ms = copy.soonest_ms();
                let result = edit(T::of_mut(&mut copy).ok_or(Error::WrongType)?, &mut edits);
                let (count, subkeys) = (edits.count, edits.subkeys);
                let (after_ms, is_gone) = (copy.soonest_ms(), copy.is_emptied());
                // One that became large for what was not added after all stays so, as in Redis.
                let is_changed = count > 0 || is_gone || self.log.effects().len() > effects_before;
                let place = match is_changed || copy.packed().is_none() {
                    true => self.put_apart(place, copy),
                    false => place,
                };
                self.mark_written(place);
                self.reindex_parts(before_ms, after_ms);
                (result, is_gone, count, subkeys)
            }
            (Some(place), None) => {
                let Some(value) = database.table.kept_mut(place).and_then(T::of_mut) else {
                    return Err(Error::WrongType);
                };
                let (before_bytes, before_ms) = (value.view().heap_bytes(), value.view().soonest_ms());
                let result = edit(value, &mut edits);
                let view = value.view();
                let (after_ms, is_gone) = (view.soonest_ms(), view.is_empty());
                database.heap_bytes = database.heap_bytes + view.heap_bytes() - before_bytes;
                let (count, subkeys) = (edits.count, edits.subkeys);
                self.mark_written(place);
                self.reindex_parts(before_ms, after_ms);
                (result, is_gone, count, subkeys)
            }
            (None, _) => {
                let mut value = T::default();
                let result = edit(&mut value, &mut edits);
                let (is_gone, count, subkeys) = (value.view().is_empty(), edits.count, edits.subkeys);
                if !is_gone {
                    self.insert(value.into_value().into(), NEVER);
                }
                (result, is_gone, count, subkeys)
            }
        };
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
        Ok(Edited { result, count, is_new: is_new && !is_gone, is_gone: is_gone && !is_new, subkeys })
    }

    /// Notes what an edit that is known by `event` did to the key.
    #[inline]
    pub(crate) fn event_edited<R>(&mut self, event: EventKind, edited: &Edited<R>) {
        if edited.count == 0 {
            return;
        }
        if edited.is_new {
            self.event(event::NEW);
        }
        self.event_of(event, edited.subkeys.clone());
        if edited.is_gone {
            self.event(event::DEL);
        }
    }

    /// Applies a change of the collection of this type that is here, or of an empty one. False, and nothing is changed: it
    /// doesn't fit.
    pub(crate) fn apply(&mut self, tag: u8, change: &[u8]) -> bool {
        let Some(place) = self.place else {
            let Some(mut value) = collection::empty(tag) else { return false };
            if !value.apply(tag, change, &self.settings.limits) {
                return false;
            }
            if !value.is_emptied() {
                self.insert(value.into(), NEVER);
            }
            return true;
        };
        let is_packed = self.database.table.at(place).is_packed();
        let place = if is_packed { self.set_apart(place) } else { place };
        let Some(value) = self.database.table.kept_mut(place) else { return false };
        let (before_bytes, before_ms) = (value.heap_bytes(), value.soonest_ms());
        let applied = value.apply(tag, change, &self.settings.limits);
        let (is_gone, after_ms) = (value.is_emptied(), value.soonest_ms());
        self.database.heap_bytes = self.database.heap_bytes + value.heap_bytes() - before_bytes;
        self.reindex_parts(before_ms, after_ms);
        if is_gone {
            self.remove_emptied();
        }
        applied
    }

    /// Removes the collection here, which has no element left.
    fn remove_emptied(&mut self) {
        let Some(place) = self.place.take() else { return };
        self.forget(place);
        let removed = self.database.table.remove(self.hash, place);
        self.log.discard(removed.and_then(Garbage::of_value));
    }
}
