//! The changes of a hash, each with the effect that it leaves.

use smallvec::SmallVec;

use super::{Field, Hash, effect};
use crate::collection::{Edits, Elements};
use crate::value::NEVER;

/// What becomes of a field's expiry when its value is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// It has none any more.
    Clear,
    /// It stays.
    Keep,
    /// Unix time in milliseconds.
    At(u64),
}

impl Expiry {
    /// The expiry of a field that had `old_ms`.
    pub(super) fn after(self, old_ms: u64) -> u64 {
        match self {
            Expiry::Clear => NEVER,
            Expiry::Keep => old_ms,
            Expiry::At(at_ms) => at_ms,
        }
    }
}

/// What is done to a field that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FieldChange {
    /// It goes.
    Remove,
    /// It expires at this Unix time in milliseconds, or never.
    Expire(Option<u64>),
}

/// Names of one request; more than these go to the heap.
type Names<'a> = SmallVec<[&'a [u8]; 8]>;

impl Hash {
    /// Sets fields, name and value by name and value; returns how many are new, which one that is due counts as.
    pub(crate) fn set<'a>(
        &mut self,
        edits: &mut Edits<'_>,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
        expiry: Expiry,
    ) -> usize {
        self.make_room(fields.clone().count(), edits.limits);
        let may_have_due = self.view().may_have_due(edits.now_ms);
        let (mut added, mut count) = (0, 0);
        for (name, value) in fields.clone() {
            // The expiry of a field that is due must not come upon what takes its place.
            let was_due = may_have_due && self.view().is_due(name, edits.now_ms);
            if was_due && expiry == Expiry::Keep {
                self.set_expiry(name, NEVER);
                edits.record(0, |body| effect::write_expire(body, None, [name].into_iter()));
            }
            let is_new = self.put(name, value, expiry, edits.limits);
            added += usize::from(is_new || was_due);
            count += 1;
        }
        edits.name(fields.clone().map(|(name, _)| name));
        edits.record(count, |body| effect::write_set(body, expiry, fields));
        added
    }

    /// Removes the fields of these names that are not due; returns how many.
    pub(crate) fn delete<'a>(
        &mut self,
        edits: &mut Edits<'_>,
        names: impl Iterator<Item = &'a [u8]>,
    ) -> usize {
        self.change_each(edits, names, FieldChange::Remove, |field| field.is_some())
    }

    /// Shows each field of these names to `decide`, nothing in the place of one that is not there or is due, and makes the
    /// change where it says so; returns how many were changed. What is named twice is shown as it then is.
    pub(crate) fn change_each<'a>(
        &mut self,
        edits: &mut Edits<'_>,
        names: impl Iterator<Item = &'a [u8]>,
        change: FieldChange,
        mut decide: impl FnMut(Option<Field<'_>>) -> bool,
    ) -> usize {
        let mut changed = Names::new();
        for name in names {
            let field = self.view().field(name, edits.now_ms);
            let is_there = field.is_some();
            if !decide(field) || !is_there {
                continue;
            }
            match change {
                FieldChange::Remove => self.remove(name),
                FieldChange::Expire(at_ms) => self.set_expiry(name, at_ms.unwrap_or(NEVER)),
            };
            changed.push(name);
        }
        if !changed.is_empty() {
            let names = changed.iter().copied();
            edits.name(names.clone());
            edits.record(changed.len(), |body| match change {
                FieldChange::Remove => effect::write_remove(body, names),
                FieldChange::Expire(at_ms) => effect::write_expire(body, at_ms, names),
            });
        }
        changed.len()
    }

    /// Removes at most `most` fields that are due; returns how many.
    ///
    /// Cost: O(removed + fields of a segment).
    pub(crate) fn remove_due(&mut self, edits: &mut Edits<'_>, most: usize) -> usize {
        let due = match &self.0 {
            super::Form::Small(_) => return 0,
            super::Form::Large(large) => large.table.due(edits.now_ms, most),
        };
        self.remove_those_due(edits, due.iter().map(|name| &**name))
    }

    /// Removes the fields of these names that are due; returns how many.
    pub(crate) fn remove_due_of<'a>(
        &mut self,
        edits: &mut Edits<'_>,
        names: impl Iterator<Item = &'a [u8]>,
    ) -> usize {
        let due = self.due_of(edits.now_ms, names);
        self.remove_those_due(edits, due.iter().copied())
    }

    /// As [`Hash::remove_due_of`], for fields that are set next, which is the change: where they are all there is, they stay
    /// until then, and so does the key with its expiry.
    pub(crate) fn replace_due_of<'a>(
        &mut self,
        edits: &mut Edits<'_>,
        names: impl Iterator<Item = &'a [u8]>,
    ) -> usize {
        if !self.view().may_have_due(edits.now_ms) {
            return 0;
        }
        let due = self.due_of(edits.now_ms, names);
        if due.len() == self.view().len() {
            edits.name(due.iter().copied());
        } else {
            let count = edits.count;
            self.remove_those_due(edits, due.iter().copied());
            edits.count = count;
        }
        due.len()
    }

    /// Those of these names, each once, whose fields are due.
    fn due_of<'a>(&self, now_ms: u64, names: impl Iterator<Item = &'a [u8]>) -> Names<'a> {
        let mut due: Names<'_> = names.filter(|name| self.view().is_due(name, now_ms)).collect();
        due.sort_unstable();
        due.dedup();
        due
    }

    fn remove_those_due<'a>(
        &mut self,
        edits: &mut Edits<'_>,
        due: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
    ) -> usize {
        let count = due.len();
        for name in due.clone() {
            self.remove(name);
        }
        if count > 0 {
            edits.name(due.clone());
            edits.record(count, |body| effect::write_remove(body, due));
        }
        count
    }
}
