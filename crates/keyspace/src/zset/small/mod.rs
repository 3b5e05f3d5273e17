//! A small sorted set: its elements in order, in rows within one allocation, or within the record of its key.
//!
//! ```text
//! shape    1 byte: which of the rows below have what width
//! count    1 byte, or 2
//! tags     t t t …            a byte of each member's hash, in a set that has had more than 16 elements
//! lengths  l l l …            of the members: a byte each, or 4; the highest bit says that the member is an integer
//! scores   s s s …            whole numbers of 1, 2 or 4 bytes, with up to three decimals, or doubles: what all need
//! members  ──► a b c d e …    one after the other
//! ```
//!
//! DUMP, snapshots and the journal have it as Redis's listpack, which is as long or longer: there each element would have to be
//! read to find the next. Here a member is found by its tag, eight at a time, a score by halving, and where a member's bytes are is the
//! sum of the lengths before it.
//!
//! Invariants
//! - Elements are in order of score, then of bytes; no member is there twice. An empty set has no bytes.
//! - A member that reads as an integer is kept as one, so that equal members have equal bytes.
//! - A score of −0 is 0, as in Redis's listpack.
//! - Rows become wider as elements need it, and narrow again only when the set is made anew.
//!
//! Cost: finding a member, a rank or a score reads the rows and no other members; changes move what is behind, in O(bytes), which
//! the limits bound.

use std::ops::Range;

use super::leaf::Key;
use crate::index::{LOW, first_byte, zero_bytes};
use crate::listpack::{self, Element};
use crate::packed::PackedRef;

mod change;
mod layout;
mod score;

use layout::{INTEGER, Kept, Layout, Shape};
use score::score_of;
pub(super) use score::write_score;

/// Digits of a member that is an integer.
#[derive(Default)]
pub(crate) struct Digits(itoa::Buffer);

impl Digits {
    /// The bytes of an element.
    #[inline]
    pub(crate) fn bytes<'s>(&'s mut self, element: Element<'s>) -> &'s [u8] {
        match element {
            Element::Int(number) => self.0.format(number).as_bytes(),
            Element::Text(text) => text,
        }
    }
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Small(Box<[u8]>);

/// The bytes of one that is read.
#[derive(Clone, Copy)]
pub(crate) struct SmallRef<'a>(&'a [u8]);

/// One that is read: where its rows are follows from how it begins, which is read once.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    bytes: &'a [u8],
    at: Layout,
}

impl Small {
    /// As it is read.
    #[inline]
    pub(super) fn rows(&self) -> Rows<'_> {
        self.view().rows()
    }

    #[inline]
    pub(super) fn view(&self) -> SmallRef<'_> {
        SmallRef(&self.0)
    }
}

impl<'a> SmallRef<'a> {
    /// What [`SmallRef::bytes`] gave.
    #[inline]
    pub(super) fn of_bytes(bytes: &'a [u8]) -> SmallRef<'a> {
        SmallRef(bytes)
    }

    /// All of it, as the module draws it.
    #[inline]
    pub(super) fn bytes(self) -> &'a [u8] {
        self.0
    }

    #[inline]
    pub(super) fn rows(self) -> Rows<'a> {
        Rows { bytes: self.0, at: Layout::of(self.0) }
    }

    /// The same in an allocation of its own.
    pub(super) fn to_small(self) -> Small {
        Small(self.0.into())
    }
}

impl<'a> Rows<'a> {
    /// How many elements.
    #[inline]
    pub(super) fn len(self) -> usize {
        self.at.count
    }

    /// The score of a rank that is there.
    #[inline]
    pub(super) fn score(self, rank: usize) -> f64 {
        self.at.score(self.bytes, rank)
    }

    /// The member of a rank that is there.
    #[inline]
    pub(super) fn member(self, rank: usize) -> Element<'a> {
        self.element(self.offset(rank), self.at.length(self.bytes, rank))
    }

    /// The member of this length whose bytes begin so far behind the first's.
    #[inline]
    fn element(self, offset: usize, length: u32) -> Element<'a> {
        let start = self.at.members + offset;
        let bytes = &self.bytes[start..start + layout::bytes_of(length)];
        if length & INTEGER == 0 {
            Element::Text(bytes)
        } else {
            Element::Int(listpack::little_endian(bytes))
        }
    }

    /// How far behind the first member's the bytes of a rank's begin; the end is a rank as well.
    #[inline]
    fn offset(self, rank: usize) -> usize {
        self.at.offset(self.bytes, rank)
    }

    /// The rank of a member.
    #[inline]
    pub(super) fn find(self, member: &[u8]) -> Option<usize> {
        // One that is longer than all of it has no length here, nor is it hashed.
        if member.len() > self.bytes.len() && listpack::canonical_int(member).is_none() {
            return None;
        }
        self.find_kept(&Kept::of(member))
    }

    #[inline]
    fn find_kept(self, member: &Kept<'_>) -> Option<usize> {
        if self.at.searches_tags() { self.find_by_tag(member) } else { self.find_by_length(member) }
    }

    fn find_by_length(self, member: &Kept<'_>) -> Option<usize> {
        let (wanted, mut start) = (member.length(), self.at.members);
        for rank in 0..self.at.count {
            let length = self.at.length(self.bytes, rank);
            let end = start + layout::bytes_of(length);
            if length == wanted && layout::is_same(&self.bytes[start..end], member.bytes()) {
                return Some(rank);
            }
            start = end;
        }
        None
    }

    fn find_by_tag(self, member: &Kept<'_>) -> Option<usize> {
        let (count, tag) = (self.at.count, u64::from(member.tag()) * LOW);
        // The rank up to which lengths have been added up, and their sum: members may be chosen so that all have one tag.
        let (mut known, mut offset) = (0, 0);
        for first in (0..count).step_by(8) {
            // Behind the tags stand at least as many lengths, which are read with the last of them.
            let word = self.bytes[self.at.tags + first..].first_chunk()?;
            let mut hits = zero_bytes(u64::from_le_bytes(*word) ^ tag);
            while hits != 0 {
                let rank = first + first_byte(hits);
                if rank < count && self.at.length(self.bytes, rank) == member.length() {
                    offset += self.at.bytes_between(self.bytes, known..rank);
                    known = rank;
                    let start = self.at.members + offset;
                    if layout::is_same(&self.bytes[start..][..member.bytes().len()], member.bytes()) {
                        return Some(rank);
                    }
                }
                hits &= hits - 1;
            }
        }
        None
    }

    /// How many elements are before a place.
    pub(super) fn rank_of(self, key: Key<'_>) -> usize {
        let mut digits = Digits::default();
        let (mut first, mut size) = (0, self.at.count);
        while size > 0 {
            let half = size / 2;
            let rank = first + half;
            if key.is_behind(self.score(rank), || digits.bytes(self.member(rank))) {
                first = rank + 1;
                size -= half + 1;
            } else {
                size = half;
            }
        }
        first
    }

    /// The members of these ranks, which are there.
    #[inline]
    pub(super) fn members(self, ranks: Range<usize>) -> Members<'a> {
        let (at, width) = (self.at.lengths, self.at.shape.length_bytes());
        let lengths = &self.bytes[at + width * ranks.start..at + width * ranks.end];
        let members = &self.bytes[self.at.members + self.offset(ranks.start)..];
        Members { lengths, width, members }
    }

    /// The elements of these ranks, which are there.
    #[inline]
    pub(super) fn items(self, ranks: Range<usize>) -> Items<'a> {
        let (at, width) = (self.at.scores, self.at.shape.score_bytes());
        let scores = &self.bytes[at + width * ranks.start..at + width * ranks.end];
        Items { members: self.members(ranks), scores, shape: self.at.shape }
    }

    /// The elements of these ranks, which are there, from the last to the first.
    pub(super) fn items_back(self, ranks: Range<usize>) -> impl Iterator<Item = (Element<'a>, f64)> {
        let mut end = self.offset(ranks.end);
        ranks.rev().map(move |rank| {
            let length = self.at.length(self.bytes, rank);
            end -= layout::bytes_of(length);
            (self.element(end, length), self.score(rank))
        })
    }

    /// Appends it as a listpack of member, score, member, score….
    pub(super) fn write_listpack(self, out: &mut Vec<u8>) {
        let (start, mut digits) = (out.len(), Vec::with_capacity(24));
        out.extend_from_slice(&[0; 6]);
        for (member, score) in self.items(0..self.len()) {
            match member {
                Element::Int(number) => listpack::write_int(out, number),
                Element::Text(text) => listpack::write_string(out, text),
            }
            if self.at.shape.is_whole() {
                listpack::write_int(out, score as i64);
            } else {
                digits.clear();
                write_score(&mut digits, score);
                listpack::write_string(out, &digits);
            }
        }
        out.push(listpack::END);
        // Owners bound the bytes far below 4 GiB, and the elements of a listpack to `ELEMENTS_MAX`.
        let (total, elements) = ((out.len() - start) as u32, 2 * self.len() as u16);
        out[start..start + 4].copy_from_slice(&total.to_le_bytes());
        out[start + 4..start + 6].copy_from_slice(&elements.to_le_bytes());
    }

    /// Panics unless the bytes are what the module says.
    pub(super) fn check(self) {
        assert_eq!(self.bytes.is_empty(), self.len() == 0);
        assert_eq!(self.at.members + self.offset(self.len()), self.bytes.len());
        let (mut before, mut here) = (Digits::default(), Digits::default());
        for rank in 0..self.len() {
            let (member, score) = (self.member(rank), self.score(rank));
            assert!(!score.is_nan() && score.to_bits() != (-0.0f64).to_bits());
            let text = here.bytes(member);
            let kept = Kept::of(text);
            assert_eq!(kept.length(), self.at.length(self.bytes, rank));
            assert!(!self.at.has_tags() || self.bytes[self.at.tags + rank] == kept.tag());
            assert_eq!(self.find(text), Some(rank));
            assert!(
                rank == 0
                    || Key::of(score, text)
                        .is_behind(self.score(rank - 1), || before.bytes(self.member(rank - 1)))
            );
        }
    }
}

impl std::fmt::Debug for Rows<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let items = self.items(0..self.len());
        f.debug_map()
            .entries(items.map(|(member, score)| (member.to_bytes().escape_ascii().to_string(), score)))
            .finish()
    }
}

impl std::fmt::Debug for SmallRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.rows().fmt(f)
    }
}

/// See [`Rows::members`].
#[derive(Clone)]
pub(super) struct Members<'a> {
    /// Of those to come, so many bytes each.
    lengths: &'a [u8],
    width: usize,
    /// From the next one on.
    members: &'a [u8],
}

impl<'a> Iterator for Members<'a> {
    type Item = Element<'a>;

    #[inline]
    fn next(&mut self) -> Option<Element<'a>> {
        let (length, lengths) = self.lengths.split_at_checked(self.width)?;
        let length = layout::length_of(length);
        let (member, members) = self.members.split_at_checked(layout::bytes_of(length))?;
        (self.lengths, self.members) = (lengths, members);
        Some(if length & INTEGER == 0 {
            Element::Text(member)
        } else {
            Element::Int(listpack::little_endian(member))
        })
    }
}

/// See [`Rows::items`].
#[derive(Clone)]
pub(super) struct Items<'a> {
    members: Members<'a>,
    /// Of those to come, so many bytes each.
    scores: &'a [u8],
    shape: Shape,
}

impl<'a> Iterator for Items<'a> {
    type Item = (Element<'a>, f64);

    #[inline]
    fn next(&mut self) -> Option<(Element<'a>, f64)> {
        let (score, scores) = self.scores.split_at_checked(self.shape.score_bytes())?;
        self.scores = scores;
        Some((self.members.next()?, self.shape.score_of(score)))
    }
}

impl Small {
    /// A set of elements that are packed as member, score, member, score… as this has them; `None`: they are not in order, a member is
    /// there twice, or a score is no number.
    pub(super) fn of_packed(packed: PackedRef<'_>) -> Option<Small> {
        if packed.is_empty() || !packed.len().is_multiple_of(2) {
            return None;
        }
        let (mut elements, mut items) = (packed.iter(), Vec::with_capacity(packed.len() / 2));
        while let (Some((_, member)), Some((_, score))) = (elements.next(), elements.next()) {
            let kept = Kept::of_element(member);
            if kept.bytes().len() >= INTEGER as usize {
                return None;
            }
            items.push((kept, score_of(score)?));
        }
        let small = Small::of_items(&items);
        (small.rows().is_in_order() && small.rows().has_no_member_twice()).then_some(small)
    }
}

impl Rows<'_> {
    fn is_in_order(self) -> bool {
        let (mut before, mut here) = (Digits::default(), Digits::default());
        let items = || self.items(0..self.len());
        items().zip(items().skip(1)).all(|((left, left_score), (right, right_score))| {
            let left = before.bytes(left);
            Key::of(right_score, here.bytes(right)).is_behind(left_score, || left)
        })
    }

    fn has_no_member_twice(self) -> bool {
        let mut members: Vec<Element<'_>> = self.members(0..self.len()).collect();
        members.sort_unstable();
        members.windows(2).all(|pair| pair[0] != pair[1])
    }
}
