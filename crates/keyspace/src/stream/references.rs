//! Which entries a group has still to deliver or to acknowledge: what ACKED asks before an entry is removed.
//!
//! ```text
//! entries    1-0  2-0  3-0  4-0  5-0  6-0  7-0  8-0 …
//! held            ×2        ×1                             in so many PELs
//! free       ✓         ✓                                   in none: can be removed
//!            └──────── checked ─┘    └─ not looked at yet
//! cursors                        ▲ lowest     ▲            entries above the lowest are still to be delivered
//! ```
//!
//! A trim that has to find removable entries behind a backlog of half a million pending ones would look at all of them
//! each time. So it notes what it has looked at, and from then on every ID that enters or leaves a PEL is noted too
//! ([`Move`](crate::stream::pending::Move)). The index is made when ACKED is first asked for; streams that never use it
//! don't pay for it.
//!
//! Invariants, for the stream's entries at or below `checked`
//! - An entry is in `held` with the number of PELs it is in, or else in `free`.
//! - `cursors` counts the groups by their cursors.
//!
//! Cost: O(groups × log n) once for an entry that is looked at, O(log n) when it is acknowledged.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::stream::pending::Move;
use crate::stream::runs::Runs;
use crate::stream::{EntryId, Group, Stream};

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReferenceIndex {
    checked: EntryId,
    held: Runs<u32>,
    free: Runs<()>,
    cursors: BTreeMap<EntryId, u32>,
}

impl ReferenceIndex {
    fn new<'g>(groups: impl Iterator<Item = &'g Group>) -> ReferenceIndex {
        let mut index = ReferenceIndex::default();
        groups.for_each(|group| index.add_cursor(group.last_id()));
        index
    }

    /// Up to where entries were looked at.
    pub(crate) fn checked(&self) -> EntryId {
        self.checked
    }

    /// The first entry from `start` on that was looked at and that no PEL has; it may be gone from the stream.
    pub(crate) fn free_from(&self, start: EntryId) -> Option<EntryId> {
        self.free.from(start).next().map(|(id, ())| id)
    }

    /// How many entries were looked at that no PEL has.
    pub(crate) fn free_count(&self) -> usize {
        self.free.len()
    }

    /// Entries above this are still to be delivered to some group.
    pub(crate) fn lowest_cursor(&self) -> EntryId {
        self.cursors.first_key_value().map_or(EntryId::MAX, |(&id, _)| id)
    }

    /// Notes that the entry `id`, the next one, was looked at: it is in `holders` PELs.
    pub(crate) fn note_checked(&mut self, id: EntryId, holders: u32) {
        self.checked = id;
        match holders {
            0 => drop(self.free.insert(id, ())),
            _ => drop(self.held.insert(id, holders)),
        }
    }

    /// Notes that the entry `id` is gone from the stream.
    pub(crate) fn note_removed(&mut self, id: EntryId) {
        self.free.remove(id);
    }

    /// Notes a group whose PEL is empty.
    pub(crate) fn add_cursor(&mut self, id: EntryId) {
        *self.cursors.entry(id).or_default() += 1;
    }

    pub(crate) fn move_cursor(&mut self, from: EntryId, to: EntryId) {
        if from == to {
            return;
        }
        if let Some(groups) = self.cursors.get_mut(&from) {
            *groups -= 1;
            if *groups == 0 {
                self.cursors.remove(&from);
            }
        }
        self.add_cursor(to);
    }

    pub(crate) fn note_moves(&mut self, moves: Vec<Move>) {
        for moved in moves {
            match moved {
                Move::Came(id) if id <= self.checked => {
                    self.free.remove(id);
                    let holders = self.held.get(id).map_or(0, |&holders| holders);
                    self.held.insert(id, holders + 1);
                }
                Move::Left(id) if id <= self.checked => self.note_left(id),
                Move::Came(_) | Move::Left(_) => {}
            }
        }
    }

    fn note_left(&mut self, id: EntryId) {
        match self.held.get(id).copied() {
            Some(1) => {
                self.held.remove(id);
                self.free.insert(id, ());
            }
            Some(holders) => drop(self.held.insert(id, holders - 1)),
            None => {}
        }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        size_of::<ReferenceIndex>()
            + self.held.heap_bytes()
            + self.free.heap_bytes()
            + 32 * self.cursors.len()
    }
}

impl Stream {
    /// The index, made if there is none yet. O(groups) then.
    pub(crate) fn references(&mut self) -> &mut ReferenceIndex {
        let Stream { references, groups, .. } = self;
        references.get_or_insert_with(|| {
            let index = ReferenceIndex::new(groups.values().map(|group| &**group));
            groups.values_mut().for_each(|group| Arc::make_mut(group).pending_mut().collect_moves(true));
            Box::new(index)
        })
    }

    /// Drops the index: something happened that it can't follow in a few steps.
    pub(crate) fn forget_references(&mut self) {
        if self.references.take().is_some() {
            let groups = self.groups.values_mut();
            groups.for_each(|group| Arc::make_mut(group).pending_mut().collect_moves(false));
        }
    }

    /// In how many PELs `id` is. O(groups × log PEL).
    pub(crate) fn holders_of(&self, id: EntryId) -> u32 {
        self.groups.values().map(|group| u32::from(group.pending().contains(id))).sum()
    }

    /// Whether a group has still to deliver `id`, or has it pending. O(groups × log PEL), or O(log n) if a trim has looked
    /// at it.
    pub fn is_referenced(&self, id: EntryId) -> bool {
        match &self.references {
            Some(references) if id > references.lowest_cursor() => true,
            Some(references) if references.free.get(id).is_some() => false,
            Some(references) if references.held.get(id).is_some() => true,
            _ => self.groups.values().any(|group| id > group.last_id() || group.pending().contains(id)),
        }
    }

    /// Removes `id` from every group's PEL; `false` if it was in none.
    pub fn unreference(&mut self, id: EntryId) -> bool {
        let groups = self.groups.iter();
        let holders =
            groups.filter(|(_, group)| group.pending().contains(id)).map(|(name, _)| Arc::clone(name));
        let holders: Vec<Arc<[u8]>> = holders.collect();
        holders
            .iter()
            .fold(false, |any, name| self.group_mut(name).is_some_and(|mut group| group.ack(id)) | any)
    }

    #[cfg(any(test, debug_assertions))]
    pub(crate) fn check_references(&self) {
        let Some(references) = &self.references else { return };
        references.held.check();
        references.free.check();
        let mut cursors = BTreeMap::new();
        self.groups.values().for_each(|group| *cursors.entry(group.last_id()).or_default() += 1);
        assert_eq!(references.cursors, cursors);
        for entry in self.range(EntryId::MIN, references.checked) {
            let holders = self.holders_of(entry.id);
            assert_eq!(references.held.get(entry.id).copied().unwrap_or(0), holders);
            assert_eq!(references.free.get(entry.id).is_some(), holders == 0, "{}", entry.id);
        }
    }
}
