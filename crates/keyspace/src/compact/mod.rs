//! The hash table of large sets, hashes and sorted sets: elements by name, in small segments that copies share.
//!
//! Extendible hashing, as the table of keys (`table.rs`): the top bits of a name's position (`hash.rs`) select a segment.
//! A full segment splits in two by the next bit; two sparse neighbours become one.
//!
//! ```text
//! directory (depth 2)     parts
//!   00 ─────────────────► depth 1, segment [ 0… ]              a copy of the table holds the same segments;
//!   01 ─────────────────►        (the same)                   the first change of one copies it
//!   10 ─────────────────► depth 2, segment [ 10… ]
//!   11 ─────────────────► depth 2, segment [ 11… ]
//! ```
//!
//! How a segment keeps its elements is its own business ([`Segment`]): [`Dense`] holds values that are lent out, and is
//! what [`Compact`] is made of; `names.rs` holds names and nothing else, for sets.
//!
//! **When a segment splits** follows from its size alone: at 448 elements of usual size. Elements don't stand evenly in the
//! order ([`position`]), so that segments are of all sizes at all times. Otherwise all would be full at one moment and half empty
//! after it, and the memory that they leave then would be of sizes that none asks for.
//!
//! **A walk** goes by position, a pure function of the name: a cursor means "every element below has been dealt with". An
//! element that is there during the whole walk is returned exactly once, whatever comes and goes meanwhile.
//!
//! **Where elements expire**, a segment knows its soonest expiry, and the table which segment has the soonest of all: an index
//! of a few hundredths of what one of elements would take, and as cheap to copy as the rest.
//!
//! Invariants (`check`)
//! - An element stands in the segment that the directory names for its position.
//! - A segment of depth d is named by 2^(depth − d) neighbouring entries, whose positions share their top d bits.
//! - `len` and `segment_bytes` are the sums over the segments; `soonest` has those in which something expires.
//!
//! Cost: everything on one element O(1), at worst moving the 448 elements of a segment, or copying them when a copy of the
//! table holds them as well; once in 2ⁿ splits a directory of 4 bytes per ~320 elements is copied. A copy of the table:
//! 24 bytes and a reference per ~320 elements.
//! Source: Fagin et al., *Extendible Hashing*, 1979.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use crate::ahead::Extent;
use crate::hash::{KeyHash, POSITION_BITS, POSITIONS, even_position, position};
use crate::index::Index;
use crate::shared::{Shared, own};
use crate::stride::Stride;
use crate::value::NEVER;

mod dense;
mod names;
mod probe;

pub(crate) use dense::{Compact, Dense, Keyed};
pub(crate) use names::{NameTable, Names};
pub(crate) use probe::Probe;

/// The most elements that a segment has before it splits.
pub(crate) const SEGMENT_MAX: usize = 448;
/// Below this a segment looks whether it can join its neighbour. Far below half of [`SEGMENT_MAX`], so that splits
/// and joins don't alternate.
const SEGMENT_SPARSE: usize = SEGMENT_MAX / 8;
/// Deepest directory: 2^28 entries serve 10^11 elements. Behind it segments grow without splitting.
const DEPTH_MAX: u32 = 28;

const _: () = assert!(DEPTH_MAX < POSITION_BITS, "a segment always has a next bit to split by");

/// Elements for which an index has room that is made for so many. A segment that has split makes no other until it splits again.
fn room_in_index(len: usize) -> usize {
    // Below, it would be sparse.
    let is_of_usual_size = len > SEGMENT_MAX * 2 / 5 && len < SEGMENT_MAX;
    if is_of_usual_size { SEGMENT_MAX } else { len * 3 / 2 + 1 }
}

/// What an entry of `soonest` takes, about.
const SOONEST_BYTES: usize = 24;

/// What its count of owners adds to a segment.
const COUNT_BYTES: usize = size_of::<usize>();

/// The hash of an element's name: one seed for all tables of the process, so that a copy may share segments.
#[inline]
pub(crate) fn hash_of(name: &[u8]) -> u64 {
    static HASH: LazyLock<KeyHash> = LazyLock::new(KeyHash::random);
    HASH.of(name)
}

/// The elements whose positions share a prefix.
pub(crate) trait Segment: Clone + Default {
    /// What it lends out of an element.
    type Item<'a>: Copy
    where
        Self: 'a;

    /// The name of an element.
    fn name<'a>(item: Self::Item<'a>) -> &'a [u8]
    where
        Self: 'a;

    /// Bytes of an element, as a walk counts them; `None`: they are not here, and whoever is shown it counts them.
    #[inline]
    fn bytes<'a>(item: Self::Item<'a>) -> Option<usize>
    where
        Self: 'a,
    {
        Some(Self::name(item).len())
    }

    /// How many elements.
    fn len(&self) -> usize;

    /// For how many elements of usual size it counts where it is to split, or to join another. Cost: O(1).
    #[inline]
    fn weight(&self) -> usize {
        self.len()
    }

    /// Bytes on the heap. Cost: O(1).
    fn heap_bytes(&self) -> usize;

    /// The soonest expiry of its elements, or [`NEVER`]. Cost: O(1).
    fn soonest_ms(&self) -> u64 {
        NEVER
    }

    /// Its elements, in any order.
    fn iter(&self) -> impl Iterator<Item = Self::Item<'_>>;

    /// The same with the hashes of their names. Cost: O(elements), however long they are.
    fn hashed(&self) -> impl Iterator<Item = (u64, Self::Item<'_>)>;

    /// Any of its elements, each as likely as the others; `None`: there is none.
    fn pick(&self, random: u64) -> Option<Self::Item<'_>>;

    /// Takes out the elements for whose hashes this holds.
    fn split(&mut self, goes: impl Fn(u64) -> bool) -> Self;

    /// Adds the elements of another one.
    fn join(&mut self, other: Self);

    /// Where its elements begin, by their hashes.
    fn index(&self) -> &Index;

    /// What is read of the element to which the index points with this, mostly.
    fn extent_at(&self, at: u16) -> Extent;
}

/// Segments by position; see the module.
#[derive(Debug, Clone)]
pub(crate) struct Segments<S> {
    /// Index into `parts` by the top `depth` bits of a position; 2^depth entries.
    directory: Vec<u32>,
    depth: u32,
    parts: Vec<Part<S>>,
    /// Indices in `parts` that joins left unused.
    unused: Vec<u32>,
    /// How many segments have the directory's own depth; at zero the directory can be halved.
    deepest: usize,
    len: usize,
    segment_bytes: usize,
    /// Soonest expiry and index in `parts` of each segment that has one.
    soonest: BTreeSet<(u64, u32)>,
}

#[derive(Debug, Clone)]
struct Part<S> {
    /// How many top bits of the position its elements share.
    depth: u32,
    segment: Shared<S>,
}

impl<S: Segment> Default for Segments<S> {
    fn default() -> Segments<S> {
        let first = Part { depth: 0, segment: Shared::new(S::default()) };
        Segments {
            segment_bytes: bytes_of(&*first.segment),
            directory: vec![0],
            depth: 0,
            parts: vec![first],
            unused: Vec::new(),
            deepest: 1,
            len: 0,
            soonest: BTreeSet::new(),
        }
    }
}

/// Bytes that a segment takes, itself included.
fn bytes_of<S: Segment>(segment: &S) -> usize {
    COUNT_BYTES + size_of::<S>() + segment.heap_bytes()
}

impl<S: Segment> Segments<S> {
    /// How many elements.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes on the heap, all included; what copies share is counted in each.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.segment_bytes
            + self.parts.capacity() * size_of::<Part<S>>()
            + (self.directory.capacity() + self.unused.capacity()) * size_of::<u32>()
            + self.soonest.len() * SOONEST_BYTES
    }

    /// The segment that holds the elements of this hash.
    #[inline]
    pub(crate) fn segment(&self, hash: u64) -> &S {
        &self.parts[self.directory[self.entry_of(position(hash))] as usize].segment
    }

    /// Changes the segment that holds the elements of this hash, without adding or removing any.
    #[inline]
    pub(crate) fn change<R>(&mut self, hash: u64, change: impl FnOnce(&mut S) -> R) -> R {
        let index = self.directory[self.entry_of(position(hash))];
        self.write(index, change)
    }

    /// Lets `insert` add an element of this hash to its segment, which has room for it.
    #[inline]
    pub(crate) fn add<R>(&mut self, hash: u64, insert: impl FnOnce(&mut S) -> R) -> R {
        let mut entry = self.entry_of(position(hash));
        loop {
            let part = &self.parts[self.directory[entry] as usize];
            if part.segment.weight() < SEGMENT_MAX || !self.split(entry) {
                break;
            }
            entry = self.entry_of(position(hash));
        }
        self.len += 1;
        self.write(self.directory[entry], insert)
    }

    /// Lets `remove` take an element of this hash out of its segment.
    #[inline]
    pub(crate) fn take<R>(&mut self, hash: u64, remove: impl FnOnce(&mut S) -> R) -> R {
        let entry = self.entry_of(position(hash));
        let index = self.directory[entry];
        let removed = self.write(index, remove);
        self.len -= 1;
        if self.depth > 0 && self.parts[index as usize].segment.weight() < SEGMENT_SPARSE {
            self.join(entry);
        }
        removed
    }

    /// The soonest expiry of all elements, or [`NEVER`].
    pub(crate) fn soonest_ms(&self) -> u64 {
        self.soonest.first().map_or(NEVER, |&(at_ms, _)| at_ms)
    }

    /// The segments with an element that expires before `now_ms`, the one with the soonest first.
    pub(crate) fn due(&self, now_ms: u64) -> impl Iterator<Item = &S> {
        let due = self.soonest.iter().take_while(move |&&(at_ms, _)| at_ms < now_ms);
        due.map(|&(_, index)| &*self.parts[index as usize].segment)
    }

    /// All elements, by segments in the order of their positions: two tables with the same elements differ in their order only
    /// as these came in another.
    pub(crate) fn iter(&self) -> impl Iterator<Item = S::Item<'_>> {
        let mut place = 0;
        let segments = std::iter::from_fn(move || self.segment_at(&mut place));
        segments.flat_map(S::iter)
    }

    /// The segment at a place, which moves on to the next; `None`: there is no further one. The first place is 0. For tables
    /// that do not change meanwhile.
    pub(crate) fn segment_at(&self, place: &mut usize) -> Option<&S> {
        let part = &self.parts[*self.directory.get(*place)? as usize];
        *place += 1 << (self.depth - part.depth);
        Some(&part.segment)
    }

    /// The segments that have all that is here of what the segment at a place of another table may have; `None`: they are more than
    /// `most`.
    pub(crate) fn segments_like(&self, other: &Segments<S>, place: usize, most: usize) -> Option<Vec<&S>> {
        let theirs = &other.parts[*other.directory.get(place)? as usize];
        let (mut from, width) = ((place as u64) << (POSITION_BITS - other.depth), POSITIONS >> theirs.depth);
        let end = from + width;
        let mut found = Vec::new();
        while from < end {
            if found.len() == most {
                return None;
            }
            let (segment, next) = self.segment_over(from);
            found.push(segment);
            from = next;
        }
        Some(found)
    }

    /// Passes all elements to `visit` in order of position, so that tables with the same elements are walked alike, whatever
    /// became of them before.
    pub(crate) fn for_each_in_order<'a>(&'a self, mut visit: impl FnMut(S::Item<'a>)) {
        let (mut from, mut found) = (0, Vec::new());
        while from < POSITIONS {
            let (segment, end) = self.segment_over(from);
            found.clear();
            found.extend(segment.hashed().map(|(hash, item)| (position(hash), item)));
            found.sort_unstable_by(|(at, item), (other_at, other)| {
                at.cmp(other_at).then_with(|| S::name(*item).cmp(S::name(*other)))
            });
            found.iter().for_each(|&(_, item)| visit(item));
            from = end;
        }
    }

    /// Walks the elements in order of position from `from` on and shows them to `visit` until the stride is over. Returns where to go
    /// on, or `None` at the end.
    ///
    /// Cost: O(the stride + elements of a segment).
    pub(crate) fn scan<'a>(
        &'a self,
        from: u64,
        stride: &mut Stride<'_>,
        mut visit: impl FnMut(&mut Stride<'_>, S::Item<'a>),
    ) -> Option<u64> {
        let mut from = from;
        let mut found = Vec::new();
        while from < POSITIONS {
            let (segment, end) = self.segment_over(from);
            found.clear();
            found.extend(segment.hashed().filter_map(|(hash, item)| {
                let at = position(hash);
                (at >= from).then_some((at, item))
            }));
            let bytes_of = |item| S::bytes(item).unwrap_or(0);
            let bytes = found.iter().try_fold(0, |sum: usize, &(_, item)| Some(sum + S::bytes(item)?));
            let next = stride.show(&mut found, bytes.unwrap_or(usize::MAX), bytes_of, &mut visit);
            from = next.unwrap_or(end);
            if next.is_some() || stride.is_over() {
                return Some(from).filter(|&next| next < POSITIONS);
            }
        }
        None
    }

    /// Any element; `None`: there is none. `random` has uniform bits.
    ///
    /// A segment is drawn by the share of the positions it covers and accepted in proportion to how full that is, so
    /// that each element is as likely as any other. Cost: O(1) on average.
    pub(crate) fn sample(&self, random: u64) -> Option<S::Item<'_>> {
        if self.is_empty() {
            return None;
        }
        let mut random = random;
        // Elements stand up to one and a half times as close as on the whole: twice that is hardly ever exceeded, and half of the
        // draws are accepted.
        for _ in 0..64 {
            let part = self.part_over(even_position(random));
            random = mixed(random);
            let bound =
                if self.depth == 0 { self.len as u64 } else { ((2 * self.len as u64) >> part.depth) + 1 };
            if random % bound < part.segment.len() as u64 {
                return part.segment.pick(mixed(random));
            }
            random = mixed(random);
        }
        self.parts.iter().find_map(|part| part.segment.pick(random))
    }

    /// The entry of the directory for a position.
    #[inline]
    fn entry_of(&self, position: u64) -> usize {
        (position >> (POSITION_BITS - self.depth)) as usize
    }

    #[inline]
    fn part_over(&self, position: u64) -> &Part<S> {
        &self.parts[self.directory[self.entry_of(position)] as usize]
    }

    /// The segment that covers a position, and the first position behind it.
    fn segment_over(&self, position: u64) -> (&S, u64) {
        let part = self.part_over(position);
        let width = POSITIONS >> part.depth;
        (&part.segment, (position / width + 1) * width)
    }

    /// The directory's entries for a segment of `depth` that `entry` belongs to.
    fn entries_of(&self, entry: usize, depth: u32) -> std::ops::Range<usize> {
        let span = 1 << (self.depth - depth);
        let start = entry / span * span;
        start..start + span
    }

    /// Changes a segment, its own copy of it if it is shared, and counts its bytes.
    #[inline]
    fn write<R>(&mut self, index: u32, change: impl FnOnce(&mut S) -> R) -> R {
        let segment = &mut self.parts[index as usize].segment;
        let (before, before_ms) = (segment.heap_bytes(), segment.soonest_ms());
        let segment = own(segment);
        let result = change(segment);
        self.segment_bytes += segment.heap_bytes();
        self.segment_bytes -= before;
        let after_ms = segment.soonest_ms();
        if before_ms != after_ms {
            self.note_soonest(index, before_ms, after_ms);
        }
        result
    }

    fn note_soonest(&mut self, index: u32, old_ms: u64, new_ms: u64) {
        if old_ms != NEVER {
            self.soonest.remove(&(old_ms, index));
        }
        if new_ms != NEVER {
            self.soonest.insert((new_ms, index));
        }
    }

    /// Splits the segment of this entry by the next bit. False: it is as deep as can be.
    #[cold]
    fn split(&mut self, entry: usize) -> bool {
        let old = self.directory[entry];
        let depth = self.parts[old as usize].depth;
        if depth == DEPTH_MAX {
            return false;
        }
        let mut entry = entry;
        if depth == self.depth {
            self.directory = self.directory.iter().flat_map(|&index| [index, index]).collect();
            self.depth += 1;
            self.deepest = 0;
            entry *= 2;
        }
        let entries = self.entries_of(entry, depth);
        let bit = 1 << (POSITION_BITS - depth - 1);
        let upper = self.write(old, |segment| segment.split(|hash| position(hash) & bit != 0));
        self.segment_bytes += bytes_of(&upper);
        let upper_ms = upper.soonest_ms();
        self.parts[old as usize].depth = depth + 1;
        let new = Part { depth: depth + 1, segment: Shared::new(upper) };
        let index = match self.unused.pop() {
            Some(index) => {
                self.parts[index as usize] = new;
                index
            }
            None => {
                self.parts.push(new);
                self.parts.len() as u32 - 1
            }
        };
        self.note_soonest(index, NEVER, upper_ms);
        self.directory[entries.start + entries.len() / 2..entries.end].fill(index);
        if depth + 1 == self.depth {
            self.deepest += 2;
        }
        true
    }

    /// Joins the segment of this entry with the neighbour it once split from, if both are sparse; and so on upwards.
    #[cold]
    fn join(&mut self, entry: usize) {
        let mut entry = entry;
        loop {
            let depth = self.parts[self.directory[entry] as usize].depth;
            if depth == 0 {
                return;
            }
            let entries = self.entries_of(entry, depth - 1);
            let (lower, upper) = (self.directory[entries.start], self.directory[entries.end - 1]);
            let [low, high] = [lower, upper].map(|index| &self.parts[index as usize]);
            if low.depth != high.depth || low.segment.weight() + high.segment.weight() > 2 * SEGMENT_SPARSE {
                return;
            }
            let moved = std::mem::take(&mut self.parts[upper as usize].segment);
            self.segment_bytes -= bytes_of(&*moved);
            self.note_soonest(upper, moved.soonest_ms(), NEVER);
            self.write(lower, |segment| segment.join(Shared::unwrap_or_clone(moved)));
            self.parts[lower as usize].depth = depth - 1;
            self.unused.push(upper);
            self.directory[entries.clone()].fill(lower);
            entry = entries.start;
            if depth == self.depth {
                self.deepest -= 2;
                entry = self.halve_directory(entry);
            }
        }
    }

    /// Halves the directory while no segment needs its full depth; returns what became of `entry`.
    fn halve_directory(&mut self, entry: usize) -> usize {
        let mut entry = entry;
        while self.deepest == 0 && self.depth > 0 {
            self.directory = self.directory.iter().step_by(2).copied().collect();
            self.depth -= 1;
            entry /= 2;
            // A segment of the new full depth has one entry, any other an even number of equal ones.
            self.deepest = self
                .directory
                .iter()
                .filter(|&&index| self.parts[index as usize].depth == self.depth)
                .count();
        }
        if self.depth == 0 {
            // The only live segment becomes the first, and the places of the others go.
            let index = self.directory[0];
            let soonest_ms = self.parts[index as usize].segment.soonest_ms();
            self.note_soonest(index, soonest_ms, NEVER);
            self.note_soonest(0, NEVER, soonest_ms);
            self.parts.swap(0, index as usize);
            self.parts.truncate(1);
            self.parts.shrink_to_fit();
            self.unused = Vec::new();
            self.directory = vec![0];
        }
        entry
    }

    /// Panics if an invariant of the module does not hold.
    pub(crate) fn check(&self) {
        assert_eq!(self.directory.len(), 1 << self.depth);
        let mut entry = 0;
        let (mut live, mut deepest, mut len, mut bytes) = (0, 0, 0, 0);
        let mut soonest = BTreeSet::new();
        while entry < self.directory.len() {
            let index = self.directory[entry];
            let part = &self.parts[index as usize];
            let entries = self.entries_of(entry, part.depth);
            assert_eq!(entries.start, entry);
            assert!(self.directory[entries.clone()].iter().all(|&other| other == index));
            for (hash, _) in part.segment.hashed() {
                assert!(entries.contains(&self.entry_of(position(hash))));
            }
            assert_eq!(part.segment.iter().count(), part.segment.len());
            live += 1;
            len += part.segment.len();
            bytes += bytes_of(&*part.segment);
            soonest.insert((part.segment.soonest_ms(), index));
            deepest += usize::from(part.depth == self.depth);
            entry = entries.end;
        }
        assert_eq!(live + self.unused.len(), self.parts.len());
        soonest.retain(|&(at_ms, _)| at_ms != NEVER);
        assert_eq!(soonest, self.soonest);
        assert_eq!((len, bytes, deepest), (self.len, self.segment_bytes, self.deepest));
    }
}

/// Another number, each bit of which depends on every bit of this one.
///
/// Source: the finaliser of SplitMix64 (Steele, Lea, Flood, 2014).
pub(crate) fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Random numbers, for draws that leave no effect but what they took: each follows from the one before.
#[derive(Debug)]
pub(crate) struct Draws(u64);

impl Draws {
    /// The numbers that follow from this one.
    pub(crate) fn new(seed: u64) -> Draws {
        Draws(seed)
    }

    /// The next number, of uniform bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0)
    }
}

/// How many elements of `element_bytes` a vector for `len` of them has room for: as many as fill the block that the
/// allocator hands out, of which there are four sizes from one power of two to the next.
pub(crate) fn capacity_for(len: usize, element_bytes: usize) -> usize {
    let bytes = (len * element_bytes).max(16);
    let step = (bytes.next_power_of_two() / 8).max(16);
    bytes.next_multiple_of(step) / element_bytes.max(1)
}
