//! Values by slot, in pages that stay where they are: room for more is made without copying those that are there.
//!
//! A vector that doubles copies 30 MB for the 65 537th connection of a shard, and the pages that it leaves count as memory in use until
//! they are given back. A slot that was freed last is used next, so the pages that are used are few.

use std::ops::{Index, IndexMut};

/// Values in a page.
const PAGE_LEN: usize = 64;

type Page<T> = Box<[Option<T>]>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    pages: Vec<Page<T>>,
    /// Slots that were freed, the latest last.
    vacant: Vec<usize>,
    /// The slots so far, vacant ones too.
    slots: usize,
}

impl<T> Slab<T> {
    pub(crate) fn new() -> Slab<T> {
        Slab { pages: Vec::new(), vacant: Vec::new(), slots: 0 }
    }

    /// The slot that the next value has.
    pub(crate) fn next_slot(&self) -> usize {
        self.vacant.last().copied().unwrap_or(self.slots)
    }

    /// Puts a value into [`Slab::next_slot`].
    pub(crate) fn insert(&mut self, value: T) -> &mut T {
        let slot = self.vacant.pop().unwrap_or(self.slots);
        self.slots = self.slots.max(slot + 1);
        if slot / PAGE_LEN == self.pages.len() {
            self.pages.push((0..PAGE_LEN).map(|_| None).collect());
        }
        self.pages[slot / PAGE_LEN][slot % PAGE_LEN].insert(value)
    }

    #[inline]
    pub(crate) fn get(&self, slot: usize) -> Option<&T> {
        self.pages.get(slot / PAGE_LEN)?.get(slot % PAGE_LEN)?.as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, slot: usize) -> Option<&mut T> {
        self.pages.get_mut(slot / PAGE_LEN)?.get_mut(slot % PAGE_LEN)?.as_mut()
    }

    pub(crate) fn contains(&self, slot: usize) -> bool {
        self.get(slot).is_some()
    }

    /// Takes a value out, if it is there.
    pub(crate) fn remove(&mut self, slot: usize) -> Option<T> {
        let value = self.pages.get_mut(slot / PAGE_LEN)?.get_mut(slot % PAGE_LEN)?.take()?;
        self.vacant.push(slot);
        Some(value)
    }

    /// The values with their slots, in the order of these.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        let entries = self.pages.iter().flat_map(|page| page.iter()).enumerate();
        entries.filter_map(|(slot, value)| Some((slot, value.as_ref()?)))
    }

    /// No slot so far is as large.
    pub(crate) fn slots(&self) -> usize {
        self.slots
    }
}

impl<T> Index<usize> for Slab<T> {
    type Output = T;

    #[inline]
    #[track_caller]
    fn index(&self, slot: usize) -> &T {
        self.get(slot).expect("a slot with a value")
    }
}

impl<T> IndexMut<usize> for Slab<T> {
    #[inline]
    #[track_caller]
    fn index_mut(&mut self, slot: usize) -> &mut T {
        self.get_mut(slot).expect("a slot with a value")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_slab_holds_what_a_map_by_slot_holds() {
        let (mut slab, mut model, mut random) = (Slab::new(), BTreeMap::new(), 7_u64);
        for value in 0..20_000_u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // More come than go, then fewer.
            let comes = (random >> 33) % 100 < if value < 10_000 { 60 } else { 40 };
            if comes {
                let slot = slab.next_slot();
                assert!(model.insert(slot, value).is_none(), "slot {slot} is somebody's");
                assert_eq!(*slab.insert(value), value);
            } else {
                let slot = (random >> 40) as usize % (slab.slots() + 2);
                assert_eq!(slab.remove(slot), model.remove(&slot));
                assert!(!slab.contains(slot));
            }
        }
        assert!(model.len() > PAGE_LEN && model.keys().all(|&slot| slot < slab.slots()));
        assert!(slab.iter().map(|(slot, &value)| (slot, value)).eq(model.iter().map(|(&k, &v)| (k, v))));
        assert!(model.iter().all(|(&slot, &value)| slab[slot] == value));
    }

    #[test]
    fn a_value_stays_where_it_is_while_others_come() {
        let mut slab = Slab::new();
        slab.insert(0);
        let place: *const i32 = &raw const slab[0];
        (1..10_000).for_each(|value| {
            slab.insert(value);
        });
        assert_eq!(place, &raw const slab[0]);
    }

    #[test]
    fn the_slot_that_was_freed_last_is_used_next() {
        let mut slab = Slab::new();
        (0..3).for_each(|value| {
            slab.insert(value);
        });
        assert_eq!((slab.remove(0), slab.remove(2), slab.remove(2)), (Some(0), Some(2), None));
        assert_eq!(slab.next_slot(), 2);
        slab.insert(7);
        assert_eq!((slab.next_slot(), slab.slots()), (0, 3));
    }
}
