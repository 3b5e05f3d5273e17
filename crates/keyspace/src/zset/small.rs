//! A small sorted set: member, score, member, score… in one packed allocation, in order.
//!
//! As in Redis's listpack, so DUMP copies it. A score is kept as its digits, of which a whole number is an integer; −0 is 0
//! there, as it is in Redis. Cost: everything O(bytes), which the limits bound.

use std::ops::Range;

use super::leaf::{Key, order};
use crate::listpack::Element;
use crate::packed::{At, Packed, PackedRef};

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
        Element::Text(text) => short_decimal(text)
            .or_else(|| std::str::from_utf8(text).ok()?.parse().ok().filter(|score: &f64| !score.is_nan())),
    }
}

/// A number of at most fifteen digits with a point among them, which is what most scores are that are not whole: digits and
/// power of ten are exact as doubles, so one division rounds as reading them would.
///
/// Source: Clinger, *How to read floating point numbers accurately*, 1990.
#[inline]
fn short_decimal(text: &[u8]) -> Option<f64> {
    const POWERS: [f64; 16] =
        [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
    let (is_negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    if digits.len() > 16 {
        return None;
    }
    let (mut number, mut point) = (0u64, None);
    for (at, &byte) in digits.iter().enumerate() {
        match byte {
            b'0'..=b'9' => number = number * 10 + u64::from(byte - b'0'),
            b'.' if point.is_none() => point = Some(at),
            _ => return None,
        }
    }
    let behind = digits.len() - point? - 1;
    let score = number as f64 / POWERS[behind];
    (digits.len() > 1).then_some(if is_negative { -score } else { score })
}

/// The digits of a score, as Redis keeps them.
pub(super) fn write_score(out: &mut Vec<u8>, score: f64) {
    sterna_protocol::write_double(out, if score == 0.0 { 0.0 } else { score });
}

/// An element: its place, its member, its score.
type Item<'a> = (At, Element<'a>, f64);

/// The elements in order.
pub(super) fn iter(packed: PackedRef<'_>) -> impl Iterator<Item = Item<'_>> {
    let mut elements = packed.iter();
    std::iter::from_fn(move || {
        let (at, member) = elements.next()?;
        let (_, score) = elements.next()?;
        // Whatever came from outside was checked when it was read.
        Some((at, member, score_of(score).unwrap_or(0.0)))
    })
}

/// The elements from the last to the first.
pub(super) fn iter_back(packed: PackedRef<'_>) -> impl Iterator<Item = Item<'_>> {
    let mut elements = packed.iter_back();
    std::iter::from_fn(move || {
        let (_, score) = elements.next()?;
        let (at, member) = elements.next()?;
        Some((at, member, score_of(score).unwrap_or(0.0)))
    })
}

/// Where a member is, and its score.
pub(super) fn find(packed: PackedRef<'_>, member: &[u8]) -> Option<(At, f64)> {
    let at = packed.find(member, 2)?;
    Some((at, score_at(packed, at)?))
}

/// The score of the member at a place.
pub(super) fn score_at(packed: PackedRef<'_>, at: At) -> Option<f64> {
    let (_, score) = packed.iter_from(at).nth(1)?;
    Some(score_of(score).unwrap_or(0.0))
}

/// How many elements are before a place.
pub(super) fn rank_of(packed: PackedRef<'_>, key: Key<'_>) -> usize {
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
    let (to, _) = place_for(packed.view(), None, member, score);
    let mut text = Vec::with_capacity(24);
    write_score(&mut text, score);
    packed.splice(to, 0, [member, &text]);
}

/// Gives the element at `at` another score.
pub(super) fn change(packed: &mut Packed, at: At, member: &[u8], score: f64) {
    let (to, stays) = place_for(packed.view(), Some(at), member, score);
    let mut text = Vec::with_capacity(24);
    write_score(&mut text, score);
    match packed.view().next(at) {
        Some(score_at) if stays => packed.replace(score_at, &text),
        _ => packed.relocate(at, 2, to, &[member, &text]),
    }
}

/// Before which place an element belongs, and whether that is just behind the one at `own`, which is passed over.
fn place_for(packed: PackedRef<'_>, own: Option<At>, member: &[u8], score: f64) -> (At, bool) {
    let key = Key::of(score, member);
    let mut digits = Digits::default();
    let mut last = None;
    for (at, other, other_score) in iter(packed) {
        if Some(at) != own {
            let is_before = match order(other_score, score) {
                std::cmp::Ordering::Equal => key.is_behind(other_score, || digits.bytes(other)),
                before => before.is_lt(),
            };
            if !is_before {
                return (at, last.is_some() && last == own);
            }
        }
        last = Some(at);
    }
    (packed.end(), last.is_some() && last == own)
}

/// Shows the members of some ranks, until `visit` has had enough.
pub(super) fn visit_members(
    packed: PackedRef<'_>,
    ranks: Range<usize>,
    visit: &mut dyn FnMut(&[u8]) -> bool,
) {
    let mut digits = Digits::default();
    let Some(at) = packed.nth(2 * ranks.start as i64) else { return };
    let mut elements = packed.iter_from(at);
    for _ in ranks {
        let Some((_, member)) = elements.next() else { return };
        elements.next();
        if !visit(digits.bytes(member)) {
            return;
        }
    }
}

/// Removes the elements of these ranks.
pub(super) fn remove(packed: &mut Packed, ranks: Range<usize>) {
    if !ranks.is_empty()
        && let Some(at) = packed.view().nth(2 * ranks.start as i64)
    {
        packed.remove(at, 2 * ranks.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_decimals_are_read_as_the_library_reads_them() {
        for text in
            ["0.5", "1.25", "-0.1", "123456789.123456", "0.000001", "1.", ".5", "-0.0", "9999999.99999999"]
        {
            let read = short_decimal(text.as_bytes()).expect(text);
            assert_eq!(read.to_bits(), text.parse::<f64>().expect(text).to_bits(), "{text}");
        }
        for text in ["", ".", "-", "-.", "12", "1e5", "1.2.3", "inf", "nan", "0x1", "123456789.12345678"] {
            assert_eq!(short_decimal(text.as_bytes()), None, "{text}");
        }
    }
}
