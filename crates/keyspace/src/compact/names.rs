//! Elements that are names and nothing else, packed behind each other: the table of sets.
//!
//! ```text
//! segment   bytes  [len][name][len][name][gone][    ][127][place u16] …      behind each other, as they came
//!           index  { hash of a name → where its length stands, u16 }         three bytes a place: index.rs
//!           long   names of more than 100 bytes, each an allocation of its own that copies share, and its hash
//! ```
//!
//! The top bit of a length says that its name has been removed; when that is a quarter of the bytes, the segment is packed
//! anew. So a name costs its length, 6 bytes, and some 10 % of room to grow: 27 bytes for one of 19, where an allocation
//! for each takes 24 and the pointer to it, at the usual load, 12 more.
//!
//! Invariants (`check`)
//! - Each entry of the index is the place of a length without its top bit, and each such place has one entry.
//! - `gone_bytes` is what removed names take; `long_bytes` the lengths of the long ones.

use std::sync::Arc;

use super::{SEGMENT_MAX, Segment, Segments, capacity_for, hash_of, room_in_index};
use crate::ahead::{Extent, extent};
use crate::index::{Index, NOWHERE, Places, Spot};

/// Names; see `compact/mod.rs`.
pub(crate) type NameTable = Segments<Names>;

/// Longest name that stands among the others: 448 of them, and as much again by a third that is gone, fit 64 KiB.
const SHORT_MAX: usize = 100;
/// In the place of a length: the name is a long one, whose number follows.
const LONG: u8 = 127;
/// The name is gone.
const GONE: u8 = 0x80;
/// What an [`Arc`] adds to a name.
const ARC_BYTES: usize = 16;
/// What a name takes, mostly, its length included.
const USUAL_BYTES: usize = 32;
/// Bytes of removed names that are not worth packing anew.
const GONE_BYTES_MIN: usize = 256;

const _: () = assert!(SEGMENT_MAX * (1 + SHORT_MAX) * 4 / 3 + 256 <= NOWHERE as usize, "places are u16");

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    bytes: Vec<u8>,
    index: Index,
    long: Vec<Long>,
    gone_bytes: usize,
    long_bytes: usize,
}

/// A name that is an allocation of its own. It is copied and hashed when it comes, and not when its segment grows, splits or is walked.
#[derive(Debug, Clone)]
struct Long {
    hash: u64,
    name: Arc<[u8]>,
}

/// What stands at a place of the index.
#[derive(Debug, Clone, Copy)]
enum Entry<'a> {
    Short(&'a [u8]),
    Long(&'a Long),
}

impl<'a> Entry<'a> {
    fn name(self) -> &'a [u8] {
        match self {
            Entry::Short(name) => name,
            Entry::Long(long) => &long.name,
        }
    }

    fn hash(self) -> u64 {
        match self {
            Entry::Short(name) => hash_of(name),
            Entry::Long(long) => long.hash,
        }
    }

    /// Whether it is the same name as another one.
    #[inline]
    fn is(self, other: Entry<'_>) -> bool {
        match (self, other) {
            (Entry::Short(ours), Entry::Short(theirs)) => ours == theirs,
            (Entry::Long(ours), Entry::Long(theirs)) => ours.hash == theirs.hash && ours.name == theirs.name,
            _ => false,
        }
    }

    /// Bytes in its segment, without those of its length.
    fn len(self) -> usize {
        match self {
            Entry::Short(name) => name.len(),
            Entry::Long(_) => 2,
        }
    }
}

impl NameTable {
    /// Whether this name is there.
    #[inline]
    pub(crate) fn contains(&self, name: &[u8]) -> bool {
        self.contains_hashed(hash_of(name), name)
    }

    /// [`NameTable::contains`] for a name whose hash is known.
    #[inline]
    pub(crate) fn contains_hashed(&self, hash: u64, name: &[u8]) -> bool {
        self.segment(hash).find(hash, name).is_some()
    }

    /// Adds a name; false: it is there already.
    #[inline]
    pub(crate) fn insert(&mut self, name: &[u8]) -> bool {
        let hash = hash_of(name);
        let is_new = !self.contains_hashed(hash, name);
        if is_new {
            self.add(hash, |segment| segment.insert(hash, name));
        }
        is_new
    }

    /// Removes a name; false: it is not there.
    #[inline]
    pub(crate) fn remove(&mut self, name: &[u8]) -> bool {
        let hash = hash_of(name);
        let Some(spot) = self.segment(hash).find(hash, name) else { return false };
        self.take(hash, |segment| segment.remove(spot));
        true
    }
}

impl Names {
    /// Where all its names stand.
    pub(crate) fn all(&self) -> Places {
        self.index.used()
    }

    /// Those of `places` whose names `other` has, too. Cost: O(places), without a hash of the names.
    pub(crate) fn common(&self, other: &Names, places: &Places) -> Places {
        let is_same =
            |ours: u16, theirs: u16| self.entry_at(usize::from(ours)).is(other.entry_at(usize::from(theirs)));
        self.index.common(&other.index, places, is_same)
    }

    /// Keeps those of `places` for whose hash and name `is_kept` holds.
    pub(crate) fn retain(&self, places: &mut Places, is_kept: impl Fn(u64, &[u8]) -> bool) {
        self.index.retain(places, |at| {
            let entry = self.entry_at(usize::from(at));
            is_kept(entry.hash(), entry.name())
        });
    }

    /// Shows the names in these places to `visit`, until it returns false; whether it never did.
    pub(crate) fn visit<'a>(&'a self, places: &Places, mut visit: impl FnMut(&'a [u8]) -> bool) -> bool {
        self.index.visit(places, |at| visit(self.name_at(usize::from(at))))
    }

    #[inline]
    fn find(&self, hash: u64, name: &[u8]) -> Option<Spot> {
        self.index.find(hash, |place| self.name_at(usize::from(place)) == name)
    }

    /// The name whose length stands at a place of the index.
    #[inline]
    fn name_at(&self, place: usize) -> &[u8] {
        self.entry_at(place).name()
    }

    #[inline]
    fn entry_at(&self, place: usize) -> Entry<'_> {
        let (len, rest) = (self.bytes[place], &self.bytes[place + 1..]);
        match len {
            LONG => Entry::Long(&self.long[usize::from(u16::from_le_bytes([rest[0], rest[1]]))]),
            _ => Entry::Short(&rest[..usize::from(len)]),
        }
    }

    fn insert(&mut self, hash: u64, name: &[u8]) {
        if name.len() <= SHORT_MAX {
            self.adopt(hash, Entry::Short(name));
        } else {
            self.adopt(hash, Entry::Long(&Long { hash, name: name.into() }));
        }
    }

    /// Adds a name, perhaps of another segment, with which it shares a long one.
    fn adopt(&mut self, hash: u64, entry: Entry<'_>) {
        let place = self.bytes.len();
        self.make_room(1 + entry.len());
        match entry {
            Entry::Short(name) => {
                self.bytes.push(name.len() as u8);
                self.bytes.extend_from_slice(name);
            }
            Entry::Long(long) => {
                self.bytes.push(LONG);
                self.bytes.extend_from_slice(&(self.long.len() as u16).to_le_bytes());
                self.long.push(long.clone());
                self.long_bytes += long.name.len() + ARC_BYTES;
            }
        }
        if self.index.is_full() {
            self.rebuild_index();
        }
        self.index.insert(hash, place as u16);
    }

    /// Makes an index for some names more, or one that is not far too large.
    #[cold]
    fn rebuild_index(&mut self) {
        let mut index = Index::with_capacity(room_in_index(self.index.len()));
        for place in self.index.offsets() {
            index.insert(self.entry_at(usize::from(place)).hash(), place);
        }
        self.index = index;
    }

    fn make_room(&mut self, more: usize) {
        let (len, capacity) = (self.bytes.len(), self.bytes.capacity());
        if len + more > capacity {
            self.bytes.reserve_exact(capacity_for(len + more, 1) - len);
        }
    }

    /// Removes the name at a place just found.
    fn remove(&mut self, spot: Spot) {
        self.index.remove(spot);
        let at = usize::from(spot.at);
        let len = self.bytes[at];
        self.bytes[at] |= GONE;
        self.gone_bytes += taken(len);
        if len == LONG {
            let number = usize::from(u16::from_le_bytes([self.bytes[at + 1], self.bytes[at + 2]]));
            let name = std::mem::replace(&mut self.long[number].name, Arc::from([]));
            self.long_bytes -= name.len();
        }
        if self.gone_bytes > GONE_BYTES_MIN.max(self.bytes.len() / 4) {
            *self = Names::of(&Vec::from_iter(self.entries()));
        } else if self.index.is_sparse() {
            self.rebuild_index();
        }
    }

    /// The names with their hashes, in the order in which they came.
    fn entries(&self) -> impl Iterator<Item = (u64, Entry<'_>)> {
        self.places().map(|place| {
            let entry = self.entry_at(place);
            (entry.hash(), entry)
        })
    }

    /// Where the lengths of names stand, in the order in which these came.
    fn places(&self) -> impl Iterator<Item = usize> {
        let mut at = 0;
        std::iter::from_fn(move || {
            loop {
                let (place, &len) = (at, self.bytes.get(at)?);
                at += taken(len & !GONE);
                if len & GONE == 0 {
                    return Some(place);
                }
            }
        })
    }

    /// A segment of these names, which come with their hashes, and with room for the next ones.
    fn of(names: &[(u64, Entry<'_>)]) -> Names {
        let bytes = names.iter().map(|(_, entry)| 1 + entry.len()).sum();
        let mut all = Names {
            bytes: Vec::with_capacity(capacity_for(bytes, 1)),
            index: Index::with_capacity(room_in_index(names.len())),
            ..Names::default()
        };
        names.iter().for_each(|&(hash, entry)| all.adopt(hash, entry));
        all
    }
}

/// Bytes of a name, its length included.
fn taken(len: u8) -> usize {
    1 + if len == LONG { 2 } else { usize::from(len) }
}

impl Segment for Names {
    type Item<'a> = &'a [u8];

    fn name<'a>(item: &'a [u8]) -> &'a [u8]
    where
        Self: 'a,
    {
        item
    }

    #[inline]
    fn len(&self) -> usize {
        self.index.len()
    }

    #[inline]
    fn heap_bytes(&self) -> usize {
        self.bytes.capacity()
            + self.index.allocated_bytes()
            + self.long.capacity() * size_of::<Long>()
            + self.long_bytes
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.places().map(|place| self.name_at(place))
    }

    fn hashed(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.entries().map(|(hash, entry)| (hash, entry.name()))
    }

    fn pick(&self, random: u64) -> Option<&[u8]> {
        Some(self.name_at(usize::from(self.index.pick(random)?)))
    }

    fn split(&mut self, goes: impl Fn(u64) -> bool) -> Names {
        let most = self.len();
        let (mut stay, mut go) = (Vec::with_capacity(most), Vec::with_capacity(most));
        self.entries().for_each(|named| if goes(named.0) { &mut go } else { &mut stay }.push(named));
        let [stay, go] = [stay, go].map(|names| Names::of(&names));
        *self = stay;
        go
    }

    fn join(&mut self, other: Names) {
        other.entries().for_each(|(hash, entry)| self.adopt(hash, entry));
    }

    #[inline]
    fn index(&self) -> &Index {
        &self.index
    }

    #[inline]
    fn extent_at(&self, at: u16) -> Extent {
        extent(
            self.bytes.get(usize::from(at)..).map_or(&[][..], |bytes| &bytes[..bytes.len().min(USUAL_BYTES)]),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::*;
    use crate::stride::Stride;

    fn check(table: &NameTable) {
        table.check();
        for part in &table.parts {
            let segment = &part.segment;
            let mut places: Vec<usize> = segment.index.offsets().map(usize::from).collect();
            places.sort_unstable();
            let (mut at, mut live, mut gone_bytes) = (0, Vec::new(), 0);
            while let Some(&len) = segment.bytes.get(at) {
                if len & GONE == 0 {
                    live.push(at)
                } else {
                    gone_bytes += taken(len & !GONE)
                }
                at += taken(len & !GONE);
            }
            assert_eq!((places, at), (live, segment.bytes.len()));
            assert_eq!(gone_bytes, segment.gone_bytes);
            let long_bytes: usize = segment.long.iter().map(|long| long.name.len() + ARC_BYTES).sum();
            assert_eq!(long_bytes, segment.long_bytes);
        }
    }

    fn name(number: u32) -> Vec<u8> {
        // Every seventh is a long one.
        let width = if number % 7 == 3 { 130 + number as usize % 50 } else { number as usize % 30 };
        format!("{number:0width$}").into_bytes()
    }

    #[derive(Debug, Clone)]
    enum Step {
        Insert(std::ops::Range<u32>),
        Remove(std::ops::Range<u32>),
        Copy,
    }

    fn step() -> impl Strategy<Value = Step> {
        let range = || (0u32..2_000, prop_oneof![Just(1u32), 1u32..1_500]);
        prop_oneof![
            4 => range().prop_map(|(from, count)| Step::Insert(from..from + count)),
            4 => range().prop_map(|(from, count)| Step::Remove(from..from + count)),
            1 => Just(Step::Copy),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn it_is_a_set_and_a_copy_stays_as_it_was(steps in proptest::collection::vec(step(), 0..40)) {
            let (mut table, mut model) = (NameTable::default(), HashSet::new());
            let mut copies = Vec::new();
            for step in steps {
                match step {
                    Step::Insert(numbers) => for number in numbers {
                        prop_assert_eq!(table.insert(&name(number)), model.insert(name(number)));
                    },
                    Step::Remove(numbers) => for number in numbers {
                        prop_assert_eq!(table.remove(&name(number)), model.remove(&name(number)));
                    },
                    Step::Copy => copies.push((table.clone(), model.clone())),
                }
                check(&table);
                prop_assert_eq!(table.len(), model.len());
            }
            copies.push((table, model));
            for (table, model) in copies {
                check(&table);
                let all: HashSet<Vec<u8>> = table.iter().map(<[u8]>::to_vec).collect();
                prop_assert_eq!(&all, &model);
                prop_assert!(all.iter().all(|name| table.contains(name)));
                let mut walked = HashSet::new();
                let mut from = Some(0);
                while let Some(at) = from {
                    let mut stride = Stride::new(7, 400, None);
                    from = table.scan(at, &mut stride, |_, name| assert!(walked.insert(name.to_vec())));
                }
                prop_assert_eq!(&walked, &model);
            }
        }
    }

    #[test]
    fn every_name_is_drawn_as_often_as_the_others() {
        let mut random = fastrand::Rng::with_seed(1);
        for len in [1, 10, 400, 1_000] {
            let mut table = NameTable::default();
            (0..len).for_each(|number| assert!(table.insert(&name(number))));
            let mut drawn: HashMap<&[u8], u32> = HashMap::new();
            for _ in 0..200 * len {
                *drawn.entry(table.sample(random.u64(..)).unwrap()).or_default() += 1;
            }
            assert_eq!(drawn.len(), len as usize);
            // Five standard deviations around 200.
            assert!(drawn.values().all(|count| (130..=270).contains(count)), "{len}");
        }
    }

    #[test]
    fn a_long_name_is_hashed_once_and_copied_once_however_its_table_grows_and_shrinks_and_is_walked() {
        let name = |number: usize| [&number.to_le_bytes()[..], &[b'x'; 5_000]].concat();
        let mut table = NameTable::default();
        for number in 0..2_000 {
            assert!(table.insert(&name(number)));
        }
        let kept: HashSet<*const u8> = table.iter().map(<[u8]>::as_ptr).collect();
        let before = crate::hash::hashed_bytes();
        let mut from = Some(0);
        let mut walked = 0;
        while let Some(at) = from {
            let mut bytes = 0;
            from = table.scan(at, &mut Stride::new(1_000, 20_000, None), |_, name| bytes += name.len());
            assert!(bytes <= 25_008, "as many as are asked for, and one");
            walked += bytes;
        }
        assert_eq!(walked, 2_000 * 5_008);
        assert_eq!(crate::hash::hashed_bytes(), before);
        for number in 0..1_990 {
            assert!(table.remove(&name(number)));
        }
        assert_eq!(crate::hash::hashed_bytes(), before + 1_990 * 5_008, "those that are asked for");
        check(&table);
        assert!(table.iter().all(|name| kept.contains(&name.as_ptr())));
    }

    #[test]
    fn what_is_taken_out_again_leaves_no_bytes() {
        let mut table = NameTable::default();
        for round in 0..20 {
            (0..5_000).for_each(|number| assert!(table.insert(&name(5_000 * round + number))));
            (0..5_000).for_each(|number| assert!(table.remove(&name(5_000 * round + number))));
            check(&table);
        }
        assert!(table.is_empty() && table.heap_bytes() < 2_048, "{}", table.heap_bytes());
    }

    #[test]
    fn a_million_names_take_less_than_thirty_bytes_each_beyond_what_is_shared() {
        let mut table = NameTable::default();
        (0..200_000).for_each(|number| assert!(table.insert(format!("member:{number:012}").as_bytes())));
        let each = table.heap_bytes() as f64 / 200_000.0;
        assert!(each < 30.0, "{each} bytes for a name of 19");
    }
}
