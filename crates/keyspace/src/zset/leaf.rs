//! A leaf of the tree: up to 64 neighbours of a sorted set, their members' bytes one after the other.
//!
//! ```text
//! scores   [ 1.0 ][ 1.0 ][ 2.5 ] …
//! ends     [  3  ][  8  ][ 12  ] …        where the member ends in `bytes`
//! bytes    a b c d e f g h i j k l …
//! tags     t t t …                        a byte of each member's hash
//! ```
//!
//! Elements are in order of score, then of bytes. A leaf is searched in its scores alone unless they are equal, and for a
//! member in its tags, eight at a time.
//! Cost: search O(log n); insert and remove move what stands behind; finding a member reads the tags.

use std::cmp::Ordering;
use std::ops::Range;

use crate::index::{LOW, first_byte, zero_bytes};

/// Most elements of a leaf.
pub(super) const LEAF_MAX: usize = 64;
/// Room for as many tags, and for that of the element by which a leaf is over until it is split; in whole words.
const TAGS: usize = (LEAF_MAX + 1).next_multiple_of(8);
/// Most bytes of members in a leaf that has more than one.
pub(super) const LEAF_BYTES_MAX: usize = 4096;

/// So many elements and bytes has one that is full because elements come in order.
pub(super) const LEAF_FULL: usize = LEAF_MAX / 8 * 7;
const LEAF_BYTES_FULL: usize = LEAF_BYTES_MAX / 8 * 7;

/// Room that a full vector gets, in elements and in bytes: doubling would leave a quarter of the memory unused.
const GROWTH: usize = 8;
const BYTES_GROWTH: usize = 96;

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

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Leaf {
    scores: Vec<f64>,
    ends: Vec<u32>,
    bytes: Vec<u8>,
    /// Those behind the last element mean nothing.
    tags: [u8; TAGS],
}

impl Default for Leaf {
    fn default() -> Leaf {
        Leaf { scores: Vec::new(), ends: Vec::new(), bytes: Vec::new(), tags: [0; TAGS] }
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
    pub(super) fn len(&self) -> usize {
        self.scores.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.scores.is_empty()
    }

    /// Bytes of the members.
    pub(super) fn member_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        self.scores.capacity() * size_of::<f64>()
            + self.ends.capacity() * size_of::<u32>()
            + self.bytes.capacity()
    }

    #[inline]
    pub(super) fn score(&self, at: usize) -> f64 {
        self.scores[at]
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

    /// The place of a member.
    #[inline]
    pub(super) fn find(&self, of: Tagged<'_>) -> Option<usize> {
        let (len, tag) = (self.len(), u64::from(of.tag) * LOW);
        for (nth, word) in self.tags.as_chunks::<8>().0.iter().enumerate() {
            if 8 * nth >= len {
                break;
            }
            let mut hits = zero_bytes(u64::from_le_bytes(*word) ^ tag);
            while hits != 0 {
                let at = 8 * nth + first_byte(hits);
                if at < len && self.member(at) == of.member {
                    return Some(at);
                }
                hits &= hits - 1;
            }
        }
        None
    }

    /// How many elements are before a place.
    pub(super) fn rank_of(&self, key: Key<'_>) -> usize {
        let equal = equal_range(&self.scores, key.score);
        let (mut from, mut to) = (equal.start, equal.end);
        while from < to {
            let middle = (from + to) / 2;
            if key.is_behind(key.score, || self.member(middle)) { from = middle + 1 } else { to = middle }
        }
        from
    }

    /// Elements seem to come in order: makes room for as many as there are, if there is none for one, so that fewer steps make
    /// room for all. What is left of it goes when the next leaf begins.
    pub(super) fn expect_more(&mut self) {
        if self.scores.len() == self.scores.capacity() {
            let more = self.len().clamp(GROWTH, LEAF_FULL);
            self.scores.reserve_exact(more);
            self.ends.reserve_exact(more);
            self.bytes.reserve_exact(
                (more * self.bytes.len() / self.len().max(1)).clamp(BYTES_GROWTH, LEAF_BYTES_MAX),
            );
        }
    }

    /// Puts an element at `at`, where the order wants it.
    pub(super) fn insert(&mut self, at: usize, score: f64, Tagged { member, tag }: Tagged<'_>) {
        let count = self.len();
        self.tags.copy_within(at..count, at + 1);
        self.tags[at] = tag;
        if self.scores.len() == self.scores.capacity() {
            self.scores.reserve_exact(GROWTH);
            self.ends.reserve_exact(GROWTH);
        }
        if self.bytes.capacity() - self.bytes.len() < member.len() {
            self.bytes.reserve_exact(member.len().max(BYTES_GROWTH));
        }
        let (start, len) = (self.start(at), member.len());
        let old_len = self.bytes.len();
        self.bytes.resize(old_len + len, 0);
        self.bytes.copy_within(start..old_len, start + len);
        self.bytes[start..start + len].copy_from_slice(member);
        self.scores.insert(at, score);
        // A leaf has more than 4 KiB only if it is one member, of at most 512 MiB.
        self.ends.insert(at, start as u32);
        self.ends[at..].iter_mut().for_each(|end| *end += len as u32);
    }

    /// Changes a score; the order wants the element where it is.
    pub(super) fn set_score(&mut self, at: usize, score: f64) {
        self.scores[at] = score;
    }

    /// Removes the elements in `range`.
    pub(super) fn remove(&mut self, range: Range<usize>) {
        let len = self.len();
        self.tags.copy_within(range.end..len, range.start);
        let (start, end) = (self.start(range.start), self.start(range.end));
        self.scores.drain(range.clone());
        self.ends.drain(range.clone());
        self.bytes.drain(start..end);
        self.ends[range.start..].iter_mut().for_each(|at| *at -= (end - start) as u32);
        // What a leaf shrank from is not kept for ever.
        if self.scores.capacity() - self.scores.len() > LEAF_MAX / 2
            || self.bytes.capacity() > 2 * LEAF_BYTES_MAX
        {
            self.shrink();
        }
    }

    /// Takes the elements from `at` on into a leaf of their own.
    pub(super) fn split_off(&mut self, at: usize) -> Leaf {
        let start = self.start(at);
        let mut ends = self.ends.split_off(at);
        ends.iter_mut().for_each(|end| *end -= start as u32);
        let mut tags = [0; TAGS];
        tags[..TAGS - at].copy_from_slice(&self.tags[at..]);
        let right =
            Leaf { scores: self.scores.split_off(at), ends, bytes: self.bytes.split_off(start), tags };
        self.shrink();
        right
    }

    /// Puts the elements of another leaf behind these.
    pub(super) fn append(&mut self, other: &Leaf) {
        let start = self.bytes.len() as u32;
        self.tags[self.scores.len()..][..other.len()].copy_from_slice(&other.tags[..other.len()]);
        self.scores.extend_from_slice(&other.scores);
        self.ends.extend(other.ends.iter().map(|end| end + start));
        self.bytes.extend_from_slice(&other.bytes);
        self.shrink();
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
        if self.len() > LEAF_MAX {
            return self.len() / 2;
        }
        let half = self.bytes.len() as u32 / 2;
        self.ends.partition_point(|&end| end < half).clamp(1, self.len() - 1)
    }

    fn shrink(&mut self) {
        self.scores.shrink_to_fit();
        self.ends.shrink_to_fit();
        self.bytes.shrink_to_fit();
    }
}

/// Which of these scores, which are in order, are this one; where it would be, if none is.
#[inline]
pub(super) fn equal_range(scores: &[f64], score: f64) -> Range<usize> {
    let from = scores.partition_point(|&other| other < score);
    let equal = match scores.get(from) {
        Some(&next) if next == score => scores[from..].partition_point(|&other| other == score),
        _ => 0,
    };
    from..from + equal
}
