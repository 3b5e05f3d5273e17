//! Slots with stable 4-byte ids, in chunks that come and go.
//!
//! ```text
//!   chunks  [ s s s s … ] [ s · s s … ] [ ] [ s s ]        s used   · free, listed in its chunk
//!              full           open       │    open
//!                                        └ emptied: its memory has gone back
//!   id = 1 + chunk × CHUNK_SLOTS + slot, so that Option<Id> takes no more room than an id
//! ```
//!
//! Growing never moves what is there: a million-slot `Vec` would copy itself, with everyone waiting, each time it
//! doubles. Shrinking gives memory back chunk by chunk, and all of it with the last slot.
//!
//! Invariants
//! - A chunk is in `open` exactly once if it has fewer than `CHUNK_SLOTS` used slots, else not at all.
//! - A chunk's `free` lists exactly its slots that are `None`; a chunk without used slots owns no memory.

use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroU32;

/// So many that the table of chunks of a million slots (47 KiB) stays in a core's near caches: with 256, walking a
/// cold trie took a tenth longer. So few that a chunk empties now and then.
const CHUNK_SLOTS: usize = 1024;

/// Values of `T`, whose ids are marked with `Of`: `T` itself, unless holders of ids must not name it.
pub(crate) struct Arena<T, Of = T> {
    chunks: Vec<Chunk<T>>,
    open: Vec<u32>,
    used: usize,
    of: PhantomData<fn() -> Of>,
}

struct Chunk<T> {
    slots: Vec<Option<T>>,
    free: Vec<u16>,
}

const _: () = assert!(CHUNK_SLOTS <= 1 << u16::BITS, "a slot's number in its chunk is kept in a u16");

impl<T, Of> Default for Arena<T, Of> {
    fn default() -> Self {
        Arena { chunks: Vec::new(), open: Vec::new(), used: 0, of: PhantomData }
    }
}

impl<T, Of> Arena<T, Of> {
    pub(crate) fn len(&self) -> usize {
        self.used
    }

    /// One more than the highest index an id of this arena has.
    pub(crate) fn index_end(&self) -> usize {
        self.chunks.len() * CHUNK_SLOTS
    }

    /// Panics when 2³² − 1 slots are in use: at 40 bytes a slot that is beyond 160 GiB.
    pub(crate) fn insert(&mut self, value: T) -> Id<Of> {
        self.used += 1;
        let number = match self.open.last() {
            Some(&number) => number as usize,
            None => {
                let number = self.chunks.len();
                self.chunks.push(Chunk { slots: Vec::new(), free: Vec::new() });
                self.open.push(u32::try_from(number).expect("a chunk number has fewer bits than an id"));
                number
            }
        };
        let chunk = &mut self.chunks[number];
        let slot = match chunk.free.pop() {
            Some(slot) => {
                chunk.slots[usize::from(slot)] = Some(value);
                usize::from(slot)
            }
            None => {
                chunk.slots.push(Some(value));
                chunk.slots.len() - 1
            }
        };
        if chunk.used() == CHUNK_SLOTS {
            self.open.pop();
        }
        Id::at(number * CHUNK_SLOTS + slot)
    }

    /// Panics unless `id` is in use: ids are only held by what owns the slot.
    pub(crate) fn remove(&mut self, id: Id<Of>) -> T {
        let (number, slot) = id.place();
        let chunk = &mut self.chunks[number];
        let was_full = chunk.used() == CHUNK_SLOTS;
        let value = chunk.slots[slot].take().expect(DANGLING);
        chunk.free.push(slot as u16);
        if chunk.used() == 0 {
            *chunk = Chunk { slots: Vec::new(), free: Vec::new() };
        }
        if was_full {
            self.open.push(number as u32);
        }
        self.used -= 1;
        if self.used == 0 {
            *self = Arena::default();
        }
        value
    }

    #[inline]
    pub(crate) fn get(&self, id: Id<Of>) -> &T {
        let (number, slot) = id.place();
        self.chunks[number].slots[slot].as_ref().expect(DANGLING)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: Id<Of>) -> &mut T {
        let (number, slot) = id.place();
        self.chunks[number].slots[slot].as_mut().expect(DANGLING)
    }

    /// The slot of this index, if it is in use.
    pub(crate) fn at(&self, index: usize) -> Option<&T> {
        self.chunks.get(index / CHUNK_SLOTS)?.slots.get(index % CHUNK_SLOTS)?.as_ref()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flat_map(|chunk| chunk.slots.iter().flatten())
    }

    /// Cost: O(chunks).
    pub(crate) fn heap_bytes(&self) -> usize {
        let own = self.chunks.capacity() * size_of::<Chunk<T>>() + self.open.capacity() * size_of::<u32>();
        let chunk = |chunk: &Chunk<T>| {
            chunk.slots.capacity() * size_of::<Option<T>>() + chunk.free.capacity() * size_of::<u16>()
        };
        own + self.chunks.iter().map(chunk).sum::<usize>()
    }

    /// Panics if an invariant of the module's head doesn't hold.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        let mut open = self.open.clone();
        open.sort_unstable();
        let with_room = (0u32..).zip(&self.chunks).filter(|(_, chunk)| chunk.used() < CHUNK_SLOTS);
        assert_eq!(open, with_room.map(|(number, _)| number).collect::<Vec<_>>());
        assert_eq!(self.used, self.iter().count());
        for chunk in &self.chunks {
            assert!(chunk.used() > 0 || chunk.slots.capacity() == 0);
            let mut free = chunk.free.clone();
            free.sort_unstable();
            let empty = (0..).zip(&chunk.slots).filter(|(_, slot)| slot.is_none());
            assert_eq!(free, empty.map(|(slot, _): (usize, _)| slot as u16).collect::<Vec<_>>());
        }
    }
}

const DANGLING: &str = "an id is given up when its slot is removed";

impl<T> Chunk<T> {
    fn used(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

/// A slot of an arena whose ids are marked with `Of`.
pub(crate) struct Id<Of> {
    above: NonZeroU32,
    of: PhantomData<fn() -> Of>,
}

impl<Of> Id<Of> {
    fn at(index: usize) -> Self {
        let above = u32::try_from(index + 1).ok().and_then(NonZeroU32::new);
        Id { above: above.expect("fewer than 2³² slots are in use"), of: PhantomData }
    }

    /// From 0, dense: fit to index a side table.
    #[inline]
    pub(crate) fn index(self) -> usize {
        self.above.get() as usize - 1
    }

    #[inline]
    fn place(self) -> (usize, usize) {
        (self.index() / CHUNK_SLOTS, self.index() % CHUNK_SLOTS)
    }
}

// Derived ones would ask the same of the mark.
impl<Of> Clone for Id<Of> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<Of> Copy for Id<Of> {}
impl<Of> PartialEq for Id<Of> {
    fn eq(&self, other: &Self) -> bool {
        self.above == other.above
    }
}
impl<Of> Eq for Id<Of> {}
impl<Of> fmt::Debug for Id<Of> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.index())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removed_slots_are_used_again_and_memory_goes_back_with_the_last() {
        let mut arena: Arena<usize> = Arena::default();
        let mut ids: Vec<_> = (0..5000).map(|n| (n, arena.insert(n))).collect();
        arena.check();
        let full_bytes = arena.heap_bytes();
        for _ in 0..2500 {
            let (n, id) = ids.swap_remove(ids.len() / 3);
            assert_eq!(arena.remove(id), n);
        }
        arena.check();
        ids.extend((5000..7500).map(|n| (n, arena.insert(n))));
        arena.check();
        assert!(arena.heap_bytes() <= full_bytes + full_bytes / 10);
        for (n, id) in ids {
            assert_eq!(*arena.get(id), n);
            arena.remove(id);
        }
        assert_eq!(arena.heap_bytes(), 0);
    }

    #[test]
    fn a_chunk_that_empties_gives_its_memory_back_while_others_stay() {
        let mut arena: Arena<usize> = Arena::default();
        let ids: Vec<_> = (0..10 * CHUNK_SLOTS).map(|n| arena.insert(n)).collect();
        let full_bytes = arena.heap_bytes();
        for id in &ids[CHUNK_SLOTS..] {
            arena.remove(*id);
        }
        arena.check();
        assert!(arena.heap_bytes() < full_bytes / 4);
    }
}
