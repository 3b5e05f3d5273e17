//! The bytes of a string value, however it keeps them.

use std::cell::OnceCell;
use std::ops::Range;

use sterna_protocol::Reply;

use crate::listpack::Element;
use crate::string::long::{Long, PART_BYTES};

/// The bytes of a string value: those it holds, or the digits of an integer.
///
/// It is a slice of bytes; of a string in parts that is a copy, made when it is first asked for. What may be long is read
/// through [`Text::pieces`] or one of the others here, which copy nothing.
pub struct Text<'a>(Inner<'a>);

enum Inner<'a> {
    Held(&'a [u8]),
    Digits { buffer: [u8; 20], start: u8 },
    Parts { long: &'a Long, whole: OnceCell<Box<[u8]>> },
}

/// Longest text that is read as a number. Source: Redis reads floats of up to 5 KiB of text.
const NUMBER_BYTES_MAX: usize = 5 * 1024;

impl<'a> Text<'a> {
    #[inline]
    pub(crate) fn held(bytes: &'a [u8]) -> Text<'a> {
        Text(Inner::Held(bytes))
    }

    pub(crate) fn parts(long: &'a Long) -> Text<'a> {
        Text(Inner::Parts { long, whole: OnceCell::new() })
    }

    /// How many bytes they are.
    #[inline]
    pub fn len(&self) -> usize {
        match &self.0 {
            Inner::Held(bytes) => bytes.len(),
            Inner::Digits { buffer, start } => buffer.len() - usize::from(*start),
            Inner::Parts { long, .. } => long.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes in `range`, which ends where they do or before, in pieces; each but the first begins at a multiple of
    /// `PART_BYTES`.
    pub fn pieces(&self, range: Range<usize>) -> impl Iterator<Item = &[u8]> {
        let (long, held) = match &self.0 {
            Inner::Parts { long, .. } => (Some(long.pieces(range)), None),
            _ => (None, Some(aligned(self, range))),
        };
        long.into_iter().flatten().chain(held.into_iter().flatten())
    }

    /// All bytes, in pieces that begin at multiples of `PART_BYTES`.
    pub fn all_pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces(0..self.len())
    }

    /// Fills `out` with the bytes from `at` on, and with zeros behind their end.
    pub(crate) fn read_at(&self, at: usize, out: &mut [u8]) {
        let end = self.len().min(at.saturating_add(out.len()));
        let mut filled = 0;
        if at < end {
            for piece in self.pieces(at..end) {
                out[filled..filled + piece.len()].copy_from_slice(piece);
                filled += piece.len();
            }
        }
        out[filled..].fill(0);
    }

    /// Writes the bytes as a reply.
    #[inline]
    pub(crate) fn reply(&self, reply: &mut Reply<'_>) {
        match &self.0 {
            Inner::Parts { long, .. } => reply.bulk_pieces(long.len(), long.pieces(0..long.len())),
            _ => reply.bulk(self),
        }
    }

    /// The bytes, if they are so few that they may be a number.
    ///
    /// `None`: no number is as long, and to look at all of a long string's bytes would take time.
    pub(crate) fn as_short(&self) -> Option<&[u8]> {
        (self.len() <= NUMBER_BYTES_MAX).then_some(self)
    }

    /// Whether the bytes are these.
    pub(crate) fn is(&self, bytes: &[u8]) -> bool {
        self.len() == bytes.len() && self.all_pieces().zip(bytes.chunks(PART_BYTES)).all(|(a, b)| a == b)
    }
}

/// The pieces of `range`, the first of which ends at a multiple of [`PART_BYTES`].
fn aligned(bytes: &[u8], range: Range<usize>) -> impl Iterator<Item = &[u8]> {
    let to_border = PART_BYTES - range.start % PART_BYTES;
    let (first, rest) = bytes[range.clone()].split_at(range.len().min(to_border));
    std::iter::once(first).filter(|first| !first.is_empty()).chain(rest.chunks(PART_BYTES))
}

impl<'a> From<Element<'a>> for Text<'a> {
    #[inline]
    fn from(element: Element<'a>) -> Text<'a> {
        match element {
            Element::Text(bytes) => Text::held(bytes),
            Element::Int(number) => Text::from(number),
        }
    }
}

impl From<i64> for Text<'_> {
    fn from(number: i64) -> Self {
        let mut itoa = itoa::Buffer::new();
        let digits = itoa.format(number).as_bytes();
        let mut buffer = [0; 20];
        // An i64 has at most 19 digits and a sign.
        let start = buffer.len() - digits.len();
        buffer[start..].copy_from_slice(digits);
        Text(Inner::Digits { buffer, start: start as u8 })
    }
}

impl std::ops::Deref for Text<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Inner::Held(bytes) => bytes,
            Inner::Digits { buffer, start } => &buffer[usize::from(*start)..],
            Inner::Parts { long, whole } => whole.get_or_init(|| {
                let mut bytes = Vec::with_capacity(long.len());
                long.pieces(0..long.len()).for_each(|piece| bytes.extend_from_slice(piece));
                bytes.into()
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_keep_bytes_reads_alike() {
        let bytes: Vec<u8> = (0..3 * PART_BYTES as u32 + 10).map(|number| (number % 251) as u8).collect();
        let long = Long::from(&bytes[..]);
        let texts = [Text::held(&bytes), Text::parts(&long)];
        let border = PART_BYTES;
        for range in [0..0, 0..1, 0..bytes.len(), 5..border, border..border + 1, border - 1..2 * border + 1] {
            for text in &texts {
                let pieces: Vec<&[u8]> = text.pieces(range.clone()).collect();
                assert_eq!(pieces.concat(), bytes[range.clone()]);
                let mut at = range.start;
                for piece in pieces {
                    assert!(at == range.start || at.is_multiple_of(PART_BYTES));
                    at += piece.len();
                }
            }
        }
        for text in &texts {
            assert_eq!(**text, bytes[..]);
            assert!(text.is(&bytes) && !text.is(&bytes[1..]));
            let mut end = [9; 4];
            text.read_at(bytes.len() - 2, &mut end);
            assert_eq!(end, [bytes[bytes.len() - 2], bytes[bytes.len() - 1], 0, 0]);
            text.read_at(usize::MAX, &mut end);
            assert_eq!(end, [0; 4]);
        }
    }
}
