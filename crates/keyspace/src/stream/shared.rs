//! A vector and an ordered list of names whose copies share what neither has changed since.
//!
//! ```text
//! chunks   [●] [●] [●] …                 a vector; a copy copies this and nothing else
//!           └ up to 64 elements, behind an `Arc`
//! ```
//!
//! A group may have 100 000 consumers. A snapshot, COPY and DUMP take copies of it, and the first change after that copies one
//! chunk of each.
//!
//! Cost, for n elements: by index O(1), by name O(log n + n / 64 to make room for another chunk); a copy O(n / 64); a write
//! after a copy copies one chunk.

use std::sync::Arc;

/// Elements in a chunk at most.
const CHUNK: usize = 64;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct SharedVec<T> {
    /// All but the last are full.
    chunks: Vec<Arc<Vec<T>>>,
}

impl<T> Default for SharedVec<T> {
    fn default() -> SharedVec<T> {
        SharedVec { chunks: Vec::new() }
    }
}

impl<T: Clone> SharedVec<T> {
    pub(crate) fn len(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len())
    }

    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        self.chunks.get(index / CHUNK)?.get(index % CHUNK)
    }

    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        let chunk = self.chunks.get_mut(index / CHUNK).filter(|chunk| index % CHUNK < chunk.len())?;
        Arc::make_mut(chunk).get_mut(index % CHUNK)
    }

    pub(crate) fn push(&mut self, value: T) {
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK => Arc::make_mut(last).push(value),
            _ => self.chunks.push(Arc::new(vec![value])),
        }
    }

    #[cfg(any(test, debug_assertions))]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }
}

/// Names, each once, in the order of their bytes, with a value each.
#[derive(Debug, Clone)]
pub(crate) struct SharedNames<V> {
    /// None is empty.
    chunks: Vec<Arc<Chunk<V>>>,
    len: usize,
}

type Chunk<V> = Vec<(Arc<[u8]>, V)>;

impl<V> Default for SharedNames<V> {
    fn default() -> SharedNames<V> {
        SharedNames { chunks: Vec::new(), len: 0 }
    }
}

impl<V: Copy> SharedNames<V> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, name: &[u8]) -> Option<V> {
        let (chunk, at) = self.place(name);
        at.ok().map(|at| self.chunks[chunk][at].1)
    }

    /// In the order of their bytes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<[u8]>, V)> {
        self.chunks.iter().flat_map(|chunk| chunk.iter()).map(|(name, value)| (name, *value))
    }

    /// Adds a name, which is not there.
    pub(crate) fn insert(&mut self, name: Arc<[u8]>, value: V) {
        let (at_chunk, at) = self.place(&name);
        let at = at.unwrap_or_else(|at| at);
        self.len += 1;
        let chunks = self.chunks.len();
        let Some(chunk) = self.chunks.get_mut(at_chunk) else {
            return self.chunks.push(Arc::new(vec![(name, value)]));
        };
        let is_behind_all = at_chunk + 1 == chunks && at == chunk.len();
        let chunk = Arc::make_mut(chunk);
        chunk.insert(at, (name, value));
        if chunk.len() > CHUNK {
            // Names that come in order leave full chunks behind.
            let upper = chunk.split_off(if is_behind_all { CHUNK } else { CHUNK / 2 });
            self.chunks.insert(at_chunk + 1, Arc::new(upper));
        }
    }

    pub(crate) fn remove(&mut self, name: &[u8]) -> Option<V> {
        let (at_chunk, at) = self.place(name);
        let (_, value) = Arc::make_mut(self.chunks.get_mut(at_chunk)?).remove(at.ok()?);
        self.len -= 1;
        if self.chunks[at_chunk].is_empty() {
            self.chunks.remove(at_chunk);
        }
        Some(value)
    }

    /// The chunk in which a name is or would be, and where.
    fn place(&self, name: &[u8]) -> (usize, Result<usize, usize>) {
        let chunk = self.chunks.partition_point(|chunk| &*chunk[0].0 <= name).saturating_sub(1);
        let at = self
            .chunks
            .get(chunk)
            .map_or(Err(0), |chunk| chunk.binary_search_by(|(other, _)| (**other).cmp(name)));
        (chunk, at)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn names_are_those_of_a_map_and_copies_stay_what_they_are(
            steps in prop::collection::vec((0u8..3, 0u16..400), 1..600),
        ) {
            let (mut names, mut model) = (SharedNames::default(), BTreeMap::new());
            let mut copies = Vec::new();
            for (step, (what, number)) in steps.into_iter().enumerate() {
                let name: Arc<[u8]> = format!("{number}").into_bytes().into();
                if what == 0 {
                    prop_assert_eq!(names.remove(&name), model.remove(&name));
                } else if names.get(&name).is_none() {
                    names.insert(Arc::clone(&name), step);
                    model.insert(Arc::clone(&name), step);
                }
                prop_assert_eq!(names.get(&name), model.get(&name).copied());
                if step % 50 == 0 {
                    copies.push((names.clone(), model.clone()));
                }
            }
            copies.push((names, model));
            for (names, model) in copies {
                prop_assert_eq!(names.len(), model.len());
                let of_model = model.iter().map(|(name, value)| (name, *value));
                prop_assert!(names.iter().eq(of_model));
            }
        }
    }

    #[test]
    fn a_vector_is_written_by_one_chunk_and_its_copy_stays_what_it_is() {
        let mut vector = SharedVec::default();
        (0..1000).for_each(|number| vector.push(number));
        let copy = vector.clone();
        *vector.get_mut(500).unwrap() = 0;
        vector.push(1000);
        assert_eq!((vector.len(), copy.len()), (1001, 1000));
        assert_eq!((vector.get(500), copy.get(500), vector.get(1001)), (Some(&0), Some(&500), None));
        assert!(vector.get_mut(1001).is_none());
        let shared = vector.chunks.iter().zip(&copy.chunks).filter(|(one, other)| Arc::ptr_eq(one, other));
        assert_eq!(shared.count(), copy.chunks.len() - 2);
        assert!(copy.iter().copied().eq(0..1000));
    }
}
