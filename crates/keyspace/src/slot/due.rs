//! Parts of a value whose time is over: fields of a hash, entries of a stream.

use super::Slot;
use crate::collection::{Edits, Elements};
use crate::event;
use crate::fields::{Hash, HashRef};
use crate::stream::effect::Change;
use crate::value::{Value, ValueRef};

impl Slot<'_> {
    /// Removes parts that are due of what is here, at most about `most`: fields of a hash, entries of a stream. Returns how
    /// many.
    pub(crate) fn expire_parts(&mut self, most: usize) -> usize {
        let now_ms = self.now_ms;
        match self.value().filter(|value| value.soonest_ms() < now_ms) {
            Some(ValueRef::Kept(Value::Stream(_))) => self.expire_entries(most as u64),
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
        self.expire_some_fields(|hash, edits| hash.remove_due(edits, most))
    }

    /// Removes the fields of these names that are due of the hash that is here, if it is one.
    #[inline]
    pub(crate) fn expire_fields_of<'n>(&mut self, names: impl Iterator<Item = &'n [u8]>) {
        let is_due = |hash: &HashRef<'_>| hash.may_have_due(self.now_ms);
        if self.value().and_then(Hash::seen).is_some_and(|hash| is_due(&hash)) {
            self.expire_some_fields(|hash, edits| hash.remove_due_of(edits, names));
        }
    }

    #[cold]
    fn expire_some_fields(&mut self, remove: impl FnOnce(&mut Hash, &mut Edits<'_>) -> usize) -> usize {
        let removed = self.edit(event::HEXPIRED, remove).unwrap_or(0);
        self.count_expired_fields(removed);
        self.log.count_less(removed as u64);
        removed
    }

    /// Counts fields that went because they were given a time that is over.
    pub(crate) fn count_expired_fields(&mut self, fields: usize) {
        self.stats.expired_fields += fields as u64;
    }
}
