//! A small sorted set: member, score, member, score… in one packed allocation, in order.
//!
//! As in Redis's listpack, so DUMP copies it. A score is kept as its digits, of which a whole number is an integer; −0 is 0
//! there, as it is in Redis. Cost: everything O(bytes), which the limits bound.

use std::ops::Range;

use super::leaf::{Key, order};
use crate::listpack::Element;
use crate::packed::{At, Packed};

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

/// The score that an element stands for; `None`: it is no number.
#[inline]
pub(super) fn score_of(element: Element<'_>) -> Option<f64> {
    match element {
        Element::Int(number) => Some(number as f64),
        Element::Text(text) => {
            std::str::from_utf8(text).ok()?.parse().ok().filter(|score: &f64| !score.is_nan())
        }
    }
}

/// The digits of a score, as Redis keeps them.
pub(super) fn write_score(out: &mut Vec<u8>, score: f64) {
    sterna_protocol::write_double(out, if score == 0.0 { 0.0 } else { score });
}

/// An element: its place, its member, its score.
type Item<'a> = (At, Element<'a>, f64);

/// The elements in order.
pub(super) fn iter(packed: &Packed) -> impl Iterator<Item = Item<'_>> {
    let mut elements = packed.iter();
    std::iter::from_fn(move || {
        let (at, member) = elements.next()?;
        let (_, score) = elements.next()?;
        // Whatever came from outside was checked when it was read.
        Some((at, member, score_of(score).unwrap_or(0.0)))
    })
}

/// The elements from the last to the first.
pub(super) fn iter_back(packed: &Packed) -> impl Iterator<Item = Item<'_>> {
    let mut elements = packed.iter_back();
    std::iter::from_fn(move || {
        let (_, score) = elements.next()?;
        let (at, member) = elements.next()?;
        Some((at, member, score_of(score).unwrap_or(0.0)))
    })
}

/// Where a member is, and its score.
pub(super) fn find(packed: &Packed, member: &[u8]) -> Option<(At, f64)> {
    let at = packed.find(member, 2)?;
    let (_, score) = packed.iter_from(at).nth(1)?;
    Some((at, score_of(score).unwrap_or(0.0)))
}

/// How many elements are before a place.
pub(super) fn rank_of(packed: &Packed, key: Key<'_>) -> usize {
    let mut digits = Digits::default();
    iter(packed)
        .take_while(|&(_, member, score)| match order(score, key.score) {
            std::cmp::Ordering::Equal => key.is_behind(score, || digits.bytes(member)),
            before => before.is_lt(),
        })
        .count()
}

/// Puts an element that is not there where it belongs.
pub(super) fn insert(packed: &mut Packed, member: &[u8], score: f64) {
    let key = Key::of(score, member);
    let mut digits = Digits::default();
    let behind = iter(packed).find(|&(_, other, other_score)| match order(other_score, score) {
        std::cmp::Ordering::Equal => !key.is_behind(score, || digits.bytes(other)),
        before => before.is_gt(),
    });
    let behind = behind.map(|(at, ..)| at);
    let mut text = Vec::with_capacity(24);
    write_score(&mut text, score);
    let element = [member, &text];
    match behind {
        Some(at) => {
            packed.splice(at, 0, element);
        }
        None => packed.push_back(element),
    }
}

/// Removes the elements of these ranks.
pub(super) fn remove(packed: &mut Packed, ranks: Range<usize>) {
    if !ranks.is_empty()
        && let Some(at) = packed.nth(2 * ranks.start as i64)
    {
        packed.remove(at, 2 * ranks.len());
    }
}
