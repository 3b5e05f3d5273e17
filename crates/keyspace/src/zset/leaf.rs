//! A leaf of the tree: up to 64 neighbours of a sorted set, their members' bytes one after the other.
//!
//! ```text
//! tags     t t t …                        a byte of each member's hash
//! scores   [ 1.0 ][ 1.0 ][ 2.5 ] …
//! ends     [  3  ][  8  ][ 12  ] …        where the member ends in `bytes`
//! bytes    ──► a b c d e f g h i j k l …  the only piece of its own
//! ```
//!
//! Elements are in order of score, then of bytes. A leaf is searched in its scores alone unless they are equal, and for a
//! member in its tags; both are compared with all at once. It has room for all the elements it may have, so that they come and go without an
//! allocation; a quarter of that stays empty in a set that has seen much, 4 bytes an element.
//! Cost: search O(log n); insert and remove move what stands behind; finding a member reads the tags.

use std::cmp::Ordering;
use std::ops::Range;

use crate::ahead::{Extent, extent};
use crate::compact::capacity_for;
use crate::index::{LOW, first_byte, zero_bytes};

/// Most elements of a leaf.
pub(super) const LEAF_MAX: usize = 64;
/// Room for as many, and for the one by which a leaf is over until it is split.
pub(super) const ROOM: usize = LEAF_MAX + 1;
/// The same for tags, in whole words.
const TAGS: usize = ROOM.next_multiple_of(8);
/// Bytes of members above which a leaf that has more than one is split, once for each element that comes to it: where some are
/// longer it may stay above.
pub(super) const LEAF_BYTES_MAX: usize = 4096;

/// So many elements and bytes has one that is full because elements come in order.
pub(super) const LEAF_FULL: usize = LEAF_MAX / 8 * 7;
const LEAF_BYTES_FULL: usize = LEAF_BYTES_MAX / 8 * 7;

/// Bytes that a leaf which shrinks may have to spare, beside as many as it has.
const SPARE_BYTES: usize = 384;

/// A place between elements.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Key<'a> {
    pub(super) score: f64,
    pub(super) edge: Edge<'a>,
}

/// Where among the members of one score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edge<'a> {
    /// Before all.
    Least,
    /// Before this one.
    At(&'a [u8]),
    /// Behind this one.
    After(&'a [u8]),
    /// Behind all.
    Most,
}

impl<'a> Key<'a> {
    /// Before this element.
    pub(super) fn of(score: f64, member: &'a [u8]) -> Key<'a> {
        Key { score, edge: Edge::At(member) }
    }

    /// Whether an element is before this place.
    #[inline]
    pub(super) fn is_behind<'m>(&self, score: f64, member: impl FnOnce() -> &'m [u8]) -> bool {
        match order(score, self.score) {
            Ordering::Less => true,
            Ordering::Greater => false,
            Ordering::Equal => match self.edge {
                Edge::Least => false,
                Edge::At(edge) => member() < edge,
                Edge::After(edge) => member() <= edge,
                Edge::Most => true,
            },
        }
    }

    /// Whether of the elements from a border of this score on, some may be before this place.
    #[inline]
    pub(super) fn reaches(&self, border: &[u8]) -> bool {
        match self.edge {
            Edge::Least => false,
            Edge::At(edge) | Edge::After(edge) => border <= edge,
            Edge::Most => true,
        }
    }
}

/// The order of two scores, neither of which is NaN.
#[inline]
pub(super) fn order(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or(Ordering::Equal)
}

/// See the module. Behind the last score stand infinities, see [`equal_range`]; the rest there means nothing.
///
/// What the search of a member begins with stands at the beginning.
#[derive(Debug, Clone)]
#[repr(C)]
pub(super) struct Leaf {
    tags: [u8; TAGS],
    len: u32,
    bytes: Vec<u8>,
    scores: [f64; ROOM],
    ends: [u32; ROOM],
}

const _: () = assert!(
    size_of::<Leaf>() <= 896 - size_of::<usize>(),
    "a size of the allocator's, with a count of owners"
);

impl Default for Leaf {
    fn default() -> Leaf {
        Leaf { tags: [0; TAGS], scores: [f64::INFINITY; ROOM], ends: [0; ROOM], len: 0, bytes: Vec::new() }
    }
}

/// A member, and the byte of its hash that its leaf keeps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tagged<'a> {
    pub(super) member: &'a [u8],
    pub(super) tag: u8,
}

impl<'a> Tagged<'a> {
    /// A member of this hash.
    #[inline]
    pub(super) fn of(member: &'a [u8], hash: u64) -> Tagged<'a> {
        Tagged { member, tag: hash as u8 }
    }
}

impl Leaf {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of the members.
    pub(super) fn member_bytes(&self) -> usize {
        self.bytes.len()
    }

    #[inline]
    fn scores(&self) -> &[f64] {
        &self.scores[..self.len()]
    }

    #[inline]
    pub(super) fn score(&self, at: usize) -> f64 {
        self.scores()[at]
    }

    #[inline]
    fn start(&self, at: usize) -> usize {
        if at == 0 { 0 } else { self.ends[at - 1] as usize }
    }

    #[inline]
    pub(super) fn member(&self, at: usize) -> &[u8] {
        &self.bytes[self.start(at)..self.ends[at] as usize]
    }

    /// The elements in order.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], f64)> {
        (0..self.len()).map(|at| (self.member(at), self.score(at)))
    }

    /// Whether it has room for an element more of so many bytes.
    #[inline]
    pub(super) fn has_room(&self, member_bytes: usize) -> bool {
        self.len() < LEAF_MAX && self.bytes.len() + member_bytes <= LEAF_BYTES_MAX
    }

    /// The place of a member.
    #[inline]
    pub(super) fn find(&self, of: Tagged<'_>) -> Option<usize> {
        let mut hits = self.places_of(of.tag);
        while hits != 0 {
            let at = hits.trailing_zeros() as usize;
            if self.member(at) == of.member {
                return Some(at);
            }
            hits &= hits - 1;
        }
        None
    }

    /// A bit for each place with this tag, and perhaps for the one behind it, if its tag differs in the lowest bit: all are compared, so that the processor has none to
    /// guess with which the search ends.
    #[inline]
    fn places_of(&self, tag: u8) -> u64 {
        const { assert!(LEAF_MAX <= 64, "a leaf that is searched has a bit for each place") };
        let (wanted, mut places) = (u64::from(tag) * LOW, 0);
        for (nth, word) in self.tags.as_chunks::<8>().0[..8].iter().enumerate() {
            // The highest bits of the bytes, which are moved to where they are the highest byte.
            let hits = zero_bytes(u64::from_le_bytes(*word) ^ wanted) >> 7;
            places |= (hits.wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * nth);
        }
        places & 1_u64.checked_shl(self.len).map_or(u64::MAX, |behind| behind - 1)
    }

    /// Where the search of a member begins to read.
    #[inline]
    pub(super) fn head(&self) -> Extent {
        (extent(&self.tags).0, std::mem::offset_of!(Leaf, scores))
    }

    /// The first place with this tag: the member's, mostly.
    #[inline]
    pub(super) fn guess(&self, tag: u8) -> Option<usize> {
        let wanted = u64::from(tag) * LOW;
        let words = self.tags.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
        let hits = words.map(|word| zero_bytes(word ^ wanted)).enumerate().find(|(_, hits)| *hits != 0);
        let at = hits.map(|(nth, hits)| 8 * nth + first_byte(hits))?;
        (at < self.len()).then_some(at)
    }

    /// Shows where the score of an element stands, and where it ends.
    #[inline]
    pub(super) fn visit_place(&self, at: usize, visit: &mut impl FnMut(Extent)) {
        visit(extent(&self.scores[at]));
        visit(extent(&self.ends[at]));
    }

    /// What an element at this place would move of where members end.
    #[inline]
    pub(super) fn ends_from(&self, at: usize) -> Extent {
        extent(&self.ends[at.saturating_sub(1)..self.len()])
    }

    /// The same of their bytes.
    #[inline]
    pub(super) fn bytes_from(&self, at: usize) -> Extent {
        extent(&self.bytes[self.start(at)..])
    }

    /// Where the scores are.
    #[inline]
    pub(super) fn all_scores(&self) -> Extent {
        extent(&self.scores)
    }

    /// How many elements are before a place.
    pub(super) fn rank_of(&self, key: Key<'_>) -> usize {
        let equal = equal_range(&self.scores, self.len(), key.score);
        let (mut from, mut to) = (equal.start, equal.end);
        while from < to {
            let middle = (from + to) / 2;
            if key.is_behind(key.score, || self.member(middle)) { from = middle + 1 } else { to = middle }
        }
        from
    }

    /// Elements seem to come in order: makes room for the bytes of as many as there are, if there is none for one more, so that
    /// fewer steps make room for all. What is left of it goes when the next leaf begins.
    pub(super) fn expect_more(&mut self, member_bytes: usize) {
        if self.bytes.capacity() - self.bytes.len() < member_bytes {
            self.make_room(self.bytes.len().clamp(member_bytes, LEAF_BYTES_MAX.max(member_bytes)));
        }
    }

    /// Puts an element at `at`, where the order wants it.
    pub(super) fn insert(&mut self, at: usize, score: f64, Tagged { member, tag }: Tagged<'_>) {
        let (count, start, more) = (self.len(), self.start(at), member.len());
        insert_at(&mut self.tags, at, count, tag);
        insert_at(&mut self.scores, at, count, score);
        // Members have at most 512 MiB, and what is left by a split at most three times as much as the longest.
        insert_at(&mut self.ends, at, count, start as u32);
        self.ends[at..=count].iter_mut().for_each(|end| *end += more as u32);
        self.len += 1;
        let old_len = self.bytes.len();
        if self.bytes.capacity() - old_len < more {
            self.make_room(more);
        }
        self.bytes.extend_from_slice(member);
        if start < old_len {
            self.bytes.copy_within(start..old_len, start + more);
            self.bytes[start..start + more].copy_from_slice(member);
        }
    }

    /// Changes a score; the order wants the element where it is.
    pub(super) fn set_score(&mut self, at: usize, score: f64) {
        self.scores[at] = score;
    }

    /// Removes the elements in `range`.
    pub(super) fn remove(&mut self, range: Range<usize>) {
        let Range { start: from, end: to } = range;
        let (count, start, end) = (self.len(), self.start(from), self.start(to));
        self.tags.copy_within(to..count, from);
        self.scores.copy_within(to..count, from);
        self.ends.copy_within(to..count, from);
        let left = count - (to - from);
        self.scores[left..count].fill(f64::INFINITY);
        self.ends[from..left].iter_mut().for_each(|at| *at -= (end - start) as u32);
        self.len = left as u32;
        self.bytes.copy_within(end.., start);
        self.bytes.truncate(self.bytes.len() - (end - start));
        // What a leaf shrank from is not kept for ever.
        if self.bytes.capacity() > 2 * self.bytes.len() + SPARE_BYTES {
            self.shrink();
        }
    }

    /// Takes the elements from `at` on into a leaf of their own.
    pub(super) fn split_off(&mut self, at: usize) -> Leaf {
        let (start, moved) = (self.start(at), at..self.len());
        let mut right =
            Leaf { len: moved.len() as u32, bytes: self.bytes[start..].to_vec(), ..Leaf::default() };
        right.tags[..moved.len()].copy_from_slice(&self.tags[moved.clone()]);
        right.scores[..moved.len()].copy_from_slice(&self.scores[moved.clone()]);
        for (end, old) in right.ends.iter_mut().zip(&self.ends[moved]) {
            *end = old - start as u32;
        }
        self.scores[at..].fill(f64::INFINITY);
        self.len = at as u32;
        self.bytes.truncate(start);
        self.shrink();
        right
    }

    /// Puts the elements of another leaf behind these.
    pub(super) fn append(&mut self, other: &Leaf) {
        let (start, here, more) = (self.bytes.len() as u32, self.len(), other.len());
        self.tags[here..here + more].copy_from_slice(&other.tags[..more]);
        self.scores[here..here + more].copy_from_slice(other.scores());
        for (end, added) in self.ends[here..].iter_mut().zip(&other.ends[..more]) {
            *end = start + added;
        }
        self.len += other.len;
        self.make_room(other.bytes.len());
        self.bytes.extend_from_slice(&other.bytes);
    }

    /// Makes room for so many bytes of members more, and takes what the allocator gives beyond them: doubling would leave a quarter of
    /// the memory unused.
    fn make_room(&mut self, more: usize) {
        let len = self.bytes.len();
        self.bytes.reserve_exact(capacity_for(len + more, 1) - len);
    }

    fn shrink(&mut self) {
        self.bytes.shrink_to(capacity_for(self.bytes.len(), 1));
    }

    /// Whether elements that come in order go to the next one.
    pub(super) fn is_above_full(&self) -> bool {
        self.len() > LEAF_FULL || self.bytes.len() > LEAF_BYTES_FULL && self.len() > 1
    }

    /// Whether it must be split.
    pub(super) fn is_over(&self) -> bool {
        self.len() > LEAF_MAX || self.bytes.len() > LEAF_BYTES_MAX && self.len() > 1
    }

    /// Where to split it: in the middle of its elements, or of its bytes if it is those that are too many.
    pub(super) fn middle(&self) -> usize {
        let len = self.len();
        if len > LEAF_MAX {
            return len / 2;
        }
        let half = self.bytes.len() as u32 / 2;
        self.ends[..len].partition_point(|&end| end < half).clamp(1, len - 1)
    }
}

/// Puts `value` at `at` into the first `len` of an array, which has room behind them.
#[inline]
pub(super) fn insert_at<T: Copy>(array: &mut [T], at: usize, len: usize, value: T) {
    array.copy_within(at..len, at + 1);
    array[at] = value;
}

/// Which of the first `len` scores, which are in order, are this one; where it would be, if none is. Behind them stand infinities,
/// so that all are compared, whatever their number: that is fewer steps that wait for each other than halving takes, and what is not
/// in the caches comes all at once and not one line after the other.
#[inline]
pub(super) fn equal_range(scores: &[f64; ROOM], len: usize, score: f64) -> Range<usize> {
    let below: u64 = scores.iter().map(|other| u64::from(*other < score)).sum();
    let from = below as usize;
    let behind = &scores[from.min(len)..len];
    let equal = match behind {
        [first, ..] if *first != score => 0,
        // Most scores are one element's.
        [_, second, ..] if *second != score => 1,
        _ => behind.partition_point(|&other| other == score),
    };
    from..from + equal
}
