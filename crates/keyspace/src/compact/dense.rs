//! Elements that are lent out, by name: the table of hashes and sorted sets.
//!
//! ```text
//! segment   elements [e0][e1][e2] … [e_n]         behind each other, so that any is drawn in one step
//!           index    { hash of a name → its u16 }  three bytes a place: index.rs
//! ```
//!
//! Cost: an element takes its own size, 5 bytes of the index, and some 10 % of room to grow.

use super::{Segment, Segments, capacity_for, hash_of, room_in_index};
use crate::ahead::{Extent, extent};
use crate::index::{Index, Spot};

/// Something with a name that does not change.
pub(crate) trait Keyed: Clone {
    /// What it is found by.
    fn name(&self) -> &[u8];

    /// Whether it is found by this.
    #[inline]
    fn has_name(&self, name: &[u8]) -> bool {
        self.name() == name
    }

    /// The hash of such a name.
    #[inline]
    fn hash_of(name: &[u8]) -> u64 {
        hash_of(name)
    }

    /// Bytes on the heap, not counting itself.
    fn heap_bytes(&self) -> usize;

    /// See [`Segment::bytes`].
    #[inline]
    fn walked_bytes(&self) -> Option<usize> {
        Some(self.name().len())
    }
}

/// Elements by name; see `compact/mod.rs`.
pub(crate) type Compact<T> = Segments<Dense<T>>;

/// See the module. With its count of owners it is one cache line.
#[derive(Debug, Clone)]
pub(crate) struct Dense<T> {
    elements: Vec<T>,
    /// Places in `elements`; 2^16 are far more than a segment has before it splits.
    index: Index,
    /// What the elements have on the heap.
    content_bytes: usize,
}

impl<T> Default for Dense<T> {
    fn default() -> Dense<T> {
        Dense { elements: Vec::new(), index: Index::default(), content_bytes: 0 }
    }
}

impl<T: Keyed> Compact<T> {
    /// An empty table.
    pub(crate) fn new() -> Compact<T> {
        Segments::default()
    }

    /// The element of this name.
    #[inline]
    pub(crate) fn get(&self, name: &[u8]) -> Option<&T> {
        let hash = T::hash_of(name);
        let segment = self.segment(hash);
        segment.find(hash, name).map(|spot| &segment.elements[usize::from(spot.at)])
    }

    /// Lets `update` change the element of this name, but not the name; `None`: there is none.
    #[inline]
    pub(crate) fn update<R>(&mut self, name: &[u8], update: impl FnOnce(&mut T) -> R) -> Option<R> {
        let hash = T::hash_of(name);
        let spot = self.segment(hash).find(hash, name)?;
        Some(self.change(hash, |segment| {
            let element = &mut segment.elements[usize::from(spot.at)];
            let before = element.heap_bytes();
            let result = update(element);
            segment.content_bytes += element.heap_bytes();
            segment.content_bytes -= before;
            result
        }))
    }

    /// Adds an element whose name is not there yet.
    #[inline]
    pub(crate) fn insert(&mut self, element: T) {
        debug_assert!(self.get(element.name()).is_none());
        let hash = T::hash_of(element.name());
        self.add(hash, |segment| segment.insert(hash, element));
    }

    /// Takes out the element of this name.
    #[inline]
    pub(crate) fn remove(&mut self, name: &[u8]) -> Option<T> {
        let hash = T::hash_of(name);
        let spot = self.segment(hash).find(hash, name)?;
        Some(self.take(hash, |segment| segment.remove(spot)))
    }
}

impl<T: Keyed> Dense<T> {
    /// The element to which the index points with this.
    #[inline]
    pub(crate) fn at(&self, at: u16) -> Option<&T> {
        self.elements.get(usize::from(at))
    }

    #[inline]
    fn find(&self, hash: u64, name: &[u8]) -> Option<Spot> {
        self.index.find(hash, |place| self.elements[usize::from(place)].has_name(name))
    }

    #[inline]
    fn insert(&mut self, hash: u64, element: T) {
        let len = self.elements.len();
        if len == self.elements.capacity() {
            self.elements.reserve_exact(capacity_for(len + 1, size_of::<T>()).max(len + 1) - len);
        }
        if self.index.is_full() {
            self.rebuild_index();
        }
        self.content_bytes += element.heap_bytes();
        self.elements.push(element);
        self.index.insert(hash, len as u16);
    }

    /// Makes an index for some elements more, or one that is not far too large.
    #[cold]
    fn rebuild_index(&mut self) {
        self.index = index_of(&self.elements);
    }

    /// Removes the element at a place just found; the last one moves there.
    fn remove(&mut self, spot: Spot) -> T {
        self.index.remove(spot);
        let element = self.elements.swap_remove(usize::from(spot.at));
        self.content_bytes -= element.heap_bytes();
        if let Some(moved) = self.elements.get(usize::from(spot.at)) {
            let last = self.elements.len() as u16;
            let found = self.index.find(T::hash_of(moved.name()), |place| place == last);
            self.index.move_to(found.expect("the index has every element"), spot.at);
        }
        self.give_back();
        element
    }

    /// Shrinks what has become far too large.
    fn give_back(&mut self) {
        let (len, capacity) = (self.elements.len(), self.elements.capacity());
        if capacity > 8 && len < capacity / 2 {
            self.elements.shrink_to(capacity_for(len + 1, size_of::<T>()));
        }
        if self.index.is_sparse() {
            self.rebuild_index();
        }
    }

    /// A segment of these elements.
    fn of(elements: Vec<T>) -> Dense<T> {
        let index = index_of(&elements);
        let content_bytes = elements.iter().map(T::heap_bytes).sum();
        Dense { elements, index, content_bytes }
    }
}

/// An index of these elements, with room for others.
fn index_of<T: Keyed>(elements: &[T]) -> Index {
    let mut index = Index::with_capacity(room_in_index(elements.len()));
    for (place, element) in (0..).zip(elements) {
        index.insert(T::hash_of(element.name()), place);
    }
    index
}

impl<T: Keyed> Segment for Dense<T> {
    type Item<'a>
        = &'a T
    where
        T: 'a;

    fn name<'a>(item: &'a T) -> &'a [u8]
    where
        T: 'a,
    {
        item.name()
    }

    #[inline]
    fn bytes<'a>(item: &'a T) -> Option<usize>
    where
        T: 'a,
    {
        item.walked_bytes()
    }

    #[inline]
    fn len(&self) -> usize {
        self.elements.len()
    }

    #[inline]
    fn heap_bytes(&self) -> usize {
        self.elements.capacity() * size_of::<T>() + self.index.allocated_bytes() + self.content_bytes
    }

    fn iter(&self) -> impl Iterator<Item = &T> {
        self.elements.iter()
    }

    fn hashed(&self) -> impl Iterator<Item = (u64, &T)> {
        self.elements.iter().map(|element| (T::hash_of(element.name()), element))
    }

    fn pick(&self, random: u64) -> Option<&T> {
        self.elements.get((random % self.elements.len().max(1) as u64) as usize)
    }

    fn split(&mut self, goes: impl Fn(u64) -> bool) -> Dense<T> {
        let all = std::mem::take(&mut self.elements);
        let (mut stays, mut gone) = (Vec::new(), Vec::new());
        for side in [&mut stays, &mut gone] {
            side.reserve_exact(capacity_for(all.len() / 2, size_of::<T>()));
        }
        for element in all {
            if goes(T::hash_of(element.name())) { &mut gone } else { &mut stays }.push(element);
        }
        *self = Dense::of(stays);
        Dense::of(gone)
    }

    fn join(&mut self, other: Dense<T>) {
        for element in other.elements {
            self.insert(T::hash_of(element.name()), element);
        }
    }

    #[inline]
    fn index(&self) -> &Index {
        &self.index
    }

    #[inline]
    fn extent_at(&self, at: u16) -> Extent {
        extent(self.elements.get(usize::from(at)..=usize::from(at)).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::super::SEGMENT_MAX;
    use super::*;
    use crate::stride::Stride;

    /// A name and what changes about it.
    #[derive(Debug, Clone, PartialEq)]
    struct Pair(Box<[u8]>, Vec<u8>);

    impl Keyed for Pair {
        fn name(&self) -> &[u8] {
            &self.0
        }

        fn heap_bytes(&self) -> usize {
            self.0.len() + self.1.capacity()
        }
    }

    fn pair(number: u32) -> Pair {
        Pair(name(number).into(), Vec::new())
    }

    fn name(number: u32) -> Vec<u8> {
        format!("name:{number}").into_bytes()
    }

    fn table(numbers: std::ops::Range<u32>) -> Compact<Pair> {
        let mut table = Compact::new();
        numbers.for_each(|number| table.insert(pair(number)));
        table
    }

    fn check(table: &Compact<Pair>) {
        table.check();
        for part in &table.parts {
            let segment = &part.segment;
            let bytes: usize = segment.elements.iter().map(Keyed::heap_bytes).sum();
            assert_eq!(bytes, segment.content_bytes);
            assert_eq!(segment.index.len(), segment.elements.len());
            for (place, element) in segment.elements.iter().enumerate() {
                let found = segment.find(hash_of(element.name()), element.name()).map(|spot| spot.at);
                assert_eq!(found, Some(place as u16));
            }
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Put(u32, u8),
        PutMany(u32),
        Remove(u32),
        RemoveMany(u32),
        Copy,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0u32..2_000, any::<u8>()).prop_map(|(number, bytes)| Step::Put(number, bytes)),
            2 => (0u32..2_000).prop_map(Step::PutMany),
            6 => (0u32..2_000).prop_map(Step::Remove),
            2 => (0u32..2_000).prop_map(Step::RemoveMany),
            1 => Just(Step::Copy),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn it_is_a_map_and_a_copy_stays_as_it_was(steps in proptest::collection::vec(step(), 0..40)) {
            let (mut table, mut model) = (Compact::<Pair>::new(), HashMap::new());
            let mut copies = Vec::new();
            for step in steps {
                match step {
                    Step::Put(number, bytes) => {
                        let value = vec![bytes; usize::from(bytes)];
                        if table.update(&name(number), |pair| pair.1 = value.clone()).is_none() {
                            table.insert(Pair(name(number).into(), value.clone()));
                        }
                        model.insert(name(number), value);
                    }
                    Step::PutMany(from) => {
                        for number in from..from + 700 {
                            if table.get(&name(number)).is_none() {
                                table.insert(pair(number));
                                model.insert(name(number), Vec::new());
                            }
                        }
                    }
                    Step::Remove(number) => {
                        let removed = table.remove(&name(number)).map(|pair| pair.1);
                        prop_assert_eq!(removed, model.remove(&name(number)));
                    }
                    Step::RemoveMany(from) => {
                        for number in from..from + 1_500 {
                            prop_assert_eq!(table.remove(&name(number)).is_some(), model.remove(&name(number)).is_some());
                        }
                    }
                    Step::Copy => copies.push((table.clone(), model.clone())),
                }
                check(&table);
                prop_assert_eq!(table.len(), model.len());
            }
            copies.push((table, model));
            for (table, model) in copies {
                check(&table);
                prop_assert_eq!(table.iter().count(), model.len());
                for pair in table.iter() {
                    prop_assert_eq!(model.get(&*pair.0), Some(&pair.1));
                    prop_assert_eq!(table.get(&pair.0), Some(pair));
                }
            }
        }
    }

    #[test]
    fn growth_and_shrinkage_leave_nothing_behind() {
        let mut table = table(0..20_000);
        check(&table);
        let segments = table.parts.len();
        assert!((20_000 / SEGMENT_MAX..20_000 / (SEGMENT_MAX / 4)).contains(&segments), "{segments}");
        for number in 0..20_000 {
            if number % 200 != 7 {
                assert_eq!(table.remove(&name(number)), Some(pair(number)));
            }
        }
        check(&table);
        assert!(table.parts.len() - table.unused.len() <= 2, "100 elements stand in one segment, or in two");
        (0..20_000).for_each(|number| assert_eq!(table.get(&name(number)).is_some(), number % 200 == 7));
        (0..20_000).for_each(|number| drop(table.remove(&name(number))));
        check(&table);
        assert!(table.is_empty() && table.heap_bytes() < 2_048, "{}", table.heap_bytes());
    }

    #[test]
    fn segments_split_at_different_moments() {
        let mut table = table(0..50_000);
        let fill = |table: &Compact<Pair>| table.len() as f64 / table.parts.len() as f64;
        let (mut least, mut most) = (fill(&table), fill(&table));
        for number in 50_000..120_000 {
            table.insert(pair(number));
            least = least.min(fill(&table));
            most = most.max(fill(&table));
        }
        assert!(
            most / least < 1.3,
            "with one threshold it is 2: between {least} and {most} elements a segment"
        );
    }

    #[test]
    fn a_write_to_a_copied_table_copies_one_segment() {
        let mut table = table(0..50_000);
        let copy = table.clone();
        table.update(&name(7), |pair| pair.1 = vec![1]);
        let shared = |(one, other): (&super::super::Part<_>, &super::super::Part<_>)| {
            crate::shared::Shared::ptr_eq(&one.segment, &other.segment)
        };
        let parts = table.parts.iter().zip(&copy.parts);
        assert_eq!(parts.filter(|&pair| !shared(pair)).count(), 1);
        assert_eq!(copy.get(&name(7)), Some(&pair(7)));
        check(&table);
        check(&copy);
    }

    /// The promise that SSCAN, HSCAN and ZSCAN rest on, with elements added and removed between any two steps.
    #[test]
    fn a_walk_visits_what_stays_exactly_once_whatever_comes_and_goes() {
        let mut random = fastrand::Rng::with_seed(7);
        for round in 0..30 {
            let staying = random.u32(1..3_000);
            let mut table = table(0..staying);
            let mut passing = if round % 3 == 1 { 10_000..30_000 } else { 10_000..10_000 };
            passing.clone().for_each(|number| table.insert(pair(number)));
            let mut visits: HashMap<Vec<u8>, usize> = HashMap::new();
            let mut from = Some(0);
            while let Some(position) = from {
                let mut stride = Stride::new(random.usize(1..60), random.usize(1..1_000), None);
                from = table.scan(position, &mut stride, |_, pair| {
                    *visits.entry(pair.0.to_vec()).or_default() += 1;
                });
                // Growth in the first third of the rounds, shrinkage in the second, churn in the last; growing faster
                // than it is walked, a table is never walked to its end.
                let (adds, removes) = [(300, 0), (0, 300), (200, 200)][round % 3];
                for _ in 0..if passing.end < 40_000 { adds } else { 0 } {
                    table.insert(pair(passing.end));
                    passing.end += 1;
                }
                for number in passing.by_ref().take(removes) {
                    table.remove(&name(number));
                }
            }
            check(&table);
            for number in 0..staying {
                assert_eq!(visits.get(&name(number)), Some(&1), "round {round}, element {number}");
            }
        }
    }

    #[test]
    fn a_step_visits_as_many_as_it_is_asked_for() {
        let table = table(0..5_000);
        let (mut from, mut steps) = (Some(0), 0);
        while let Some(position) = from {
            let mut visited = 0;
            from = table.scan(position, &mut Stride::new(10, usize::MAX, None), |_, _| visited += 1);
            // More only where two elements share a position of 40 bits.
            assert!((10..=11).contains(&visited) || from.is_none());
            steps += 1;
        }
        assert!((490..=501).contains(&steps), "{steps}");
    }

    #[test]
    fn every_element_is_drawn_as_often_as_the_others() {
        assert!(Compact::<Pair>::new().sample(1).is_none());
        let mut random = fastrand::Rng::with_seed(1);
        for len in [1, 10, 400, 1_000] {
            let table = table(0..len);
            let mut drawn: HashMap<&[u8], u32> = HashMap::new();
            for _ in 0..200 * len {
                *drawn.entry(table.sample(random.u64(..)).unwrap().name()).or_default() += 1;
            }
            assert_eq!(drawn.len(), len as usize);
            // Five standard deviations around 200.
            let counts: HashSet<u32> = drawn.into_values().collect();
            assert!(counts.iter().all(|&count| (130..=270).contains(&count)), "{len}: {counts:?}");
        }
    }
}
