//! Where the rows of a small sorted set are, and how what is in them is kept.

use std::ops::Range;

use crate::listpack::{self, Element};

/// In a length: the member is an integer, in so many bytes.
pub(super) const INTEGER: u32 = 1 << 31;
/// The same where lengths are bytes.
const SHORT_INTEGER: u8 = 1 << 7;
/// Elements that are searched without tags.
const TAGLESS_MAX: usize = 16;

/// Which rows there are, and how wide. In bits:
///
/// ```text
/// 0–1   scores have 1, 2, 4 or 8 bytes; those of 8 are doubles, others whole numbers
/// 2     there are tags
/// 3     lengths have 4 bytes
/// 4     the count has 2 bytes
/// 5–6   so many decimals the whole numbers end with: 0.25 and 3 are 25 and 300 with two
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Shape(u8);

const SCORES: u8 = 0b11;
const TAGS: u8 = 1 << 2;
const LONG: u8 = 1 << 3;
const MANY: u8 = 1 << 4;
const DECIMALS_AT: u8 = 5;

/// By how much a whole number is larger than the score, for each number of decimals.
const POWERS: [f64; 4] = [1.0, 10.0, 100.0, 1000.0];

/// The whole number by which a score is kept with so many decimals; `None`: by none. It is a double exactly, as is the power of ten, so
/// that their quotient is the double that a reader of the digits takes the score for.
#[inline]
fn whole_of(score: f64, decimals: usize) -> Option<i32> {
    let power = POWERS[decimals];
    let scaled = score * power;
    let whole = (scaled + 0.5f64.copysign(scaled)) as i32;
    (f64::from(whole) / power == score).then_some(whole)
}

impl Shape {
    /// What these elements need in a set of so many.
    pub(super) fn of(count: usize, elements: &[(Kept<'_>, f64)]) -> Shape {
        let decimals_of = |score| (0..POWERS.len()).find(|&decimals| whole_of(score, decimals).is_some());
        let lengths = elements.iter().map(|(member, _)| Shape::flags(count, member.length()));
        let flags = lengths.fold(0, |all, one| all | one);
        let doubles = Shape(flags | SCORES);
        let most = elements.iter().try_fold(0, |most, (_, score)| Some(decimals_of(*score)?.max(most)));
        let Some(decimals) = most else { return doubles };
        let whole = [0, 1, 2].map(|width| Shape(flags | width | (decimals as u8) << DECIMALS_AT));
        let fits = |shape: &Shape| elements.iter().all(|(_, score)| shape.keeps(*score));
        whole.into_iter().find(fits).unwrap_or(doubles)
    }

    fn flags(count: usize, length: u32) -> u8 {
        let tags = if count > TAGLESS_MAX { TAGS } else { 0 };
        let long = if length & !INTEGER >= u32::from(SHORT_INTEGER) { LONG } else { 0 };
        let many = if count > usize::from(u8::MAX) { MANY } else { 0 };
        tags | long | many
    }

    /// Whether an element has room in a set of so many.
    #[inline]
    pub(super) fn has_room(self, count: usize, length: u32, score: f64) -> bool {
        Shape::flags(count, length) & !self.0 == 0 && self.keeps(score)
    }

    /// Whether a score has room.
    #[inline]
    fn keeps(self, score: f64) -> bool {
        self.has_doubles()
            || whole_of(score, self.decimals()).is_some_and(|whole| match self.0 & SCORES {
                0 => i8::try_from(whole).is_ok(),
                1 => i16::try_from(whole).is_ok(),
                _ => true,
            })
    }

    #[inline]
    fn decimals(self) -> usize {
        usize::from(self.0 >> DECIMALS_AT) % POWERS.len()
    }

    /// Whether all scores are whole.
    pub(super) fn is_whole(self) -> bool {
        !self.has_doubles() && self.decimals() == 0
    }

    /// The score in these bytes of the row.
    #[inline]
    pub(super) fn score_of(self, bytes: &[u8]) -> f64 {
        let whole = match *bytes {
            [score] => i32::from(score as i8),
            [low, high] => i32::from(i16::from_le_bytes([low, high])),
            [a, b, c, d] => i32::from_le_bytes([a, b, c, d]),
            _ => return bytes.first_chunk().map_or(0.0, |bytes| f64::from_le_bytes(*bytes)),
        };
        match self.decimals() {
            0 => f64::from(whole),
            decimals => f64::from(whole) / POWERS[decimals],
        }
    }

    #[inline]
    fn has_doubles(self) -> bool {
        self.0 & SCORES == SCORES
    }

    /// Bytes of a score.
    #[inline]
    pub(super) fn score_bytes(self) -> usize {
        1 << (self.0 & SCORES)
    }

    /// Bytes of a length.
    #[inline]
    pub(super) fn length_bytes(self) -> usize {
        if self.0 & LONG == 0 { 1 } else { 4 }
    }

    #[inline]
    fn tag_bytes(self) -> usize {
        usize::from(self.0 & TAGS != 0)
    }
}

/// Where the rows begin, in bytes from the first of all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub(super) shape: Shape,
    pub(super) count: usize,
    pub(super) tags: usize,
    pub(super) lengths: usize,
    pub(super) scores: usize,
    pub(super) members: usize,
}

/// A row whose elements have one width: where it begins, and the width.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) start: usize,
    pub(super) width: usize,
}

impl Layout {
    /// Of a set of this shape.
    #[inline]
    pub(super) fn new(shape: Shape, count: usize) -> Layout {
        let tags = if count == 0 {
            0
        } else if shape.0 & MANY == 0 {
            2
        } else {
            3
        };
        let lengths = tags + count * shape.tag_bytes();
        let scores = lengths + count * shape.length_bytes();
        let members = scores + count * shape.score_bytes();
        Layout { shape, count, tags, lengths, scores, members }
    }

    /// Of a set in these bytes.
    #[inline]
    pub(super) fn of(bytes: &[u8]) -> Layout {
        match *bytes {
            [shape, low, high, ..] if shape & MANY != 0 => {
                Layout::new(Shape(shape), usize::from(u16::from_le_bytes([low, high])))
            }
            [shape, count, ..] => Layout::new(Shape(shape), usize::from(count)),
            _ => Layout::new(Shape::default(), 0),
        }
    }

    /// Writes what stands before the rows.
    #[inline]
    pub(super) fn write_head(&self, bytes: &mut [u8]) {
        bytes[0] = self.shape.0;
        let count = self.count.to_le_bytes();
        bytes[1..self.tags].copy_from_slice(&count[..self.tags - 1]);
    }

    #[inline]
    pub(super) fn has_tags(&self) -> bool {
        self.shape.0 & TAGS != 0
    }

    /// Whether tags are of use: a set that has become smaller keeps them, and may have fewer bytes than are read at once.
    #[inline]
    pub(super) fn searches_tags(&self) -> bool {
        self.has_tags() && self.count > TAGLESS_MAX
    }

    /// The rows before the members.
    #[inline]
    pub(super) fn rows(&self) -> [Row; 3] {
        [
            Row { start: self.tags, width: self.shape.tag_bytes() },
            Row { start: self.lengths, width: self.shape.length_bytes() },
            Row { start: self.scores, width: self.shape.score_bytes() },
        ]
    }

    /// The length of a rank's member.
    #[inline]
    pub(super) fn length(&self, bytes: &[u8], rank: usize) -> u32 {
        let width = self.shape.length_bytes();
        length_of(&bytes[self.lengths + width * rank..][..width])
    }

    /// How many bytes the members before a rank have.
    #[inline]
    pub(super) fn offset(&self, bytes: &[u8], rank: usize) -> usize {
        self.bytes_between(bytes, 0..rank)
    }

    /// How many bytes the members of these ranks have.
    #[inline]
    pub(super) fn bytes_between(&self, bytes: &[u8], ranks: Range<usize>) -> usize {
        if self.shape.0 & LONG == 0 {
            sum_of_lengths(&bytes[self.lengths + ranks.start..self.lengths + ranks.end])
        } else {
            ranks.map(|rank| bytes_of(self.length(bytes, rank))).sum()
        }
    }

    #[inline]
    pub(super) fn score(&self, bytes: &[u8], rank: usize) -> f64 {
        let width = self.shape.score_bytes();
        self.shape.score_of(&bytes[self.scores + width * rank..][..width])
    }

    /// Writes a score that has room here.
    #[inline]
    pub(super) fn write_score(&self, bytes: &mut [u8], rank: usize, score: f64) {
        let width = self.shape.score_bytes();
        let row = &mut bytes[self.scores + width * rank..][..width];
        if width == 8 {
            // −0 is 0.
            row.copy_from_slice(&(score + 0.0).to_le_bytes());
        } else {
            let whole = whole_of(score, self.shape.decimals()).unwrap_or_default();
            row.copy_from_slice(&whole.to_le_bytes()[..width]);
        }
    }

    /// Writes tag and length of a member.
    #[inline]
    pub(super) fn write_member(&self, bytes: &mut [u8], rank: usize, member: &Kept<'_>) {
        if self.has_tags() {
            bytes[self.tags + rank] = member.tag();
        }
        let length = member.length();
        if self.shape.0 & LONG == 0 {
            bytes[self.lengths + rank] = (length >> 24) as u8 & SHORT_INTEGER | length as u8;
        } else {
            bytes[self.lengths + 4 * rank..][..4].copy_from_slice(&length.to_le_bytes());
        }
    }
}

/// The bytes of a member of this length.
#[inline]
pub(super) fn bytes_of(length: u32) -> usize {
    (length & !INTEGER) as usize
}

/// The length in these bytes of the row.
#[inline]
pub(super) fn length_of(bytes: &[u8]) -> u32 {
    match *bytes {
        [length] => u32::from(length & SHORT_INTEGER) << 24 | u32::from(length & !SHORT_INTEGER),
        _ => bytes.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes)),
    }
}

/// The sum of lengths that are bytes, eight at a time.
#[inline]
fn sum_of_lengths(lengths: &[u8]) -> usize {
    const EVEN: u64 = 0x00ff_00ff_00ff_00ff;
    const LENGTHS: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    // In four sums of 16 bits, to which each word adds at most 254, together to at most 32 512.
    const WORDS_MAX: usize = 32;
    let (words, rest) = lengths.as_chunks::<8>();
    let mut sum = 0;
    for words in words.chunks(WORDS_MAX) {
        let mut sums = 0;
        for word in words {
            let word = u64::from_le_bytes(*word) & LENGTHS;
            sums += (word & EVEN) + (word >> 8 & EVEN);
        }
        sum += (sums.wrapping_mul(0x0001_0001_0001_0001) >> 48) as usize;
    }
    sum + rest.iter().map(|&length| usize::from(length & !SHORT_INTEGER)).sum::<usize>()
}

/// Whether two runs of bytes of one length are the same: members that differ mostly do so at their end.
#[inline]
pub(super) fn is_same(a: &[u8], b: &[u8]) -> bool {
    a.last() == b.last() && a == b
}

/// A member as it is kept.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kept<'a> {
    Text(&'a [u8]),
    /// Little-endian two's complement, of which so many bytes say all.
    Int([u8; 8], usize),
}

impl<'a> Kept<'a> {
    /// Of a member that a client names.
    #[inline]
    pub(super) fn of(text: &'a [u8]) -> Kept<'a> {
        match listpack::canonical_int(text) {
            Some(number) => Kept::int(number),
            None => Kept::Text(text),
        }
    }

    /// Of a member that was read.
    #[inline]
    pub(super) fn of_element(element: Element<'a>) -> Kept<'a> {
        match element {
            Element::Int(number) => Kept::int(number),
            Element::Text(text) => Kept::Text(text),
        }
    }

    #[inline]
    fn int(number: i64) -> Kept<'a> {
        let signs = if number < 0 { number.leading_ones() } else { number.leading_zeros() };
        // With a bit for the sign.
        Kept::Int(number.to_le_bytes(), (65 - signs as usize).div_ceil(8))
    }

    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Kept::Text(text) => text,
            Kept::Int(bytes, len) => &bytes[..*len],
        }
    }

    /// See [`INTEGER`].
    #[inline]
    pub(super) fn length(&self) -> u32 {
        // The owner's limits are far below 2³¹ bytes.
        match self {
            Kept::Text(text) => text.len() as u32,
            Kept::Int(_, len) => INTEGER | *len as u32,
        }
    }

    /// A byte of a hash. Whoever chooses members so that all have the same makes the search of one compare them all, as one without
    /// tags does.
    #[inline]
    pub(super) fn tag(&self) -> u8 {
        const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
        let bytes = self.bytes();
        let (words, rest) = bytes.as_chunks::<8>();
        let mut hash = bytes.len() as u64;
        for word in words {
            hash = mixed(hash ^ u64::from_le_bytes(*word), FACTOR);
        }
        let last = match bytes.last_chunk() {
            Some(last) => u64::from_le_bytes(*last),
            None => rest.iter().fold(0, |word, &byte| word << 8 | u64::from(byte)),
        };
        (mixed(hash ^ last, FACTOR) >> 56) as u8
    }
}

#[inline]
fn mixed(hash: u64, factor: u64) -> u64 {
    let hash = hash.wrapping_mul(factor);
    hash ^ hash >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_added_up_whatever_their_number() {
        let lengths: Vec<u8> = (0..3000u32).map(|n| (n * 37 % 256) as u8).collect();
        for count in (0..70).chain([255, 256, 257, 511, 512, 3000]) {
            let expected: usize = lengths[..count].iter().map(|&length| bytes_of(length_of(&[length]))).sum();
            assert_eq!(sum_of_lengths(&lengths[..count]), expected, "{count}");
        }
        assert_eq!(sum_of_lengths(&[0xff; 1000]), 127_000);
    }

    #[test]
    fn an_integer_has_as_many_bytes_as_it_needs() {
        for (number, len) in [
            (0, 1),
            (127, 1),
            (128, 2),
            (-128, 1),
            (-129, 2),
            (32_767, 2),
            (32_768, 3),
            (i64::MAX, 8),
            (i64::MIN, 8),
        ] {
            let kept = Kept::of_element(Element::Int(number));
            assert_eq!((listpack::little_endian(kept.bytes()), kept.bytes().len()), (number, len));
        }
    }

    #[test]
    fn scores_have_as_many_bytes_as_they_need() {
        let widths = [
            (&[0.0, -0.0, 127.0, -128.0][..], 1, 0),
            (&[128.0], 2, 0),
            (&[-129.0], 2, 0),
            (&[32_768.0], 4, 0),
            (&[2_147_483_647.0, -2_147_483_648.0], 4, 0),
            (&[2_147_483_648.0], 8, 0),
            (&[0.5, 1.0, -12.8], 1, 1),
            (&[0.5, 13.0], 2, 1),
            (&[0.25, 0.1], 1, 2),
            (&[0.125, 1e6], 4, 3),
            (&[0.125, 1e7], 8, 0),
            (&[1e-4], 8, 0),
            (&[1.0 / 3.0], 8, 0),
            (&[0.1 + 0.2], 8, 0),
            (&[1e300], 8, 0),
            (&[f64::INFINITY, 1.0], 8, 0),
            (&[f64::NEG_INFINITY], 8, 0),
        ];
        for (scores, width, decimals) in widths {
            let elements: Vec<_> = scores.iter().map(|&score| (Kept::of(b"a"), score)).collect();
            let shape = Shape::of(1, &elements);
            assert_eq!((shape.score_bytes(), shape.decimals()), (width, decimals), "{scores:?}");
            let layout = Layout::new(shape, 1);
            for &score in scores {
                assert!(shape.has_room(1, 1, score));
                let mut bytes = [0; 16];
                layout.write_score(&mut bytes, 0, score);
                assert_eq!(layout.score(&bytes, 0).to_bits(), (score + 0.0).to_bits(), "{scores:?}");
            }
        }
    }
}
