//! Bits of strings: counted, found, combined. The first bit is the highest of the first byte.
//!
//! Everything here goes through a string once, in pieces, and works on words of 64 bits or on slices that the compiler
//! makes vectors of. Bits behind the end of a string are zeros.

use std::ops::Range;

use crate::string::{Long, PART_BYTES, Text};

/// How many bits of `range`, which ends where the string does or before, are set.
pub(crate) fn count(text: &Text<'_>, range: Range<usize>) -> u64 {
    if range.is_empty() {
        return 0;
    }
    let bytes = range.start / 8..range.end.div_ceil(8);
    let whole: u64 =
        text.pieces(bytes.clone()).filter(|piece| **piece != ZEROS[..piece.len()]).map(ones).sum();
    let mut ends = [0; 2];
    text.read_at(bytes.start, &mut ends[..1]);
    text.read_at(bytes.end - 1, &mut ends[1..]);
    let before = ends[0] & !(0xff >> (range.start % 8));
    let behind = ends[1] & low_bits(bytes.end * 8 - range.end);
    whole - u64::from(before.count_ones() + behind.count_ones())
}

/// Parts in which there is nothing to find.
static ZEROS: [u8; PART_BYTES] = [0x00; PART_BYTES];
static ONES: [u8; PART_BYTES] = [0xff; PART_BYTES];

/// The first bit of `range`, which ends where the string does or before, that is `wanted`.
pub(crate) fn find(text: &Text<'_>, wanted: bool, range: Range<usize>) -> Option<usize> {
    let bytes = range.start / 8..range.end.div_ceil(8);
    let skipped = if wanted { 0x00 } else { 0xff };
    let alike = if wanted { &ZEROS } else { &ONES };
    let mut at = bytes.start;
    for piece in text.pieces(bytes) {
        if *piece == alike[..piece.len()] {
            at += piece.len();
            continue;
        }
        let mut from = 0;
        while let Some(distance) = first_other(&piece[from..], skipped) {
            let index = from + distance;
            // Bits that differ from those skipped are set here; those before the range are not asked for.
            let mut byte = piece[index] ^ skipped;
            if at + index == range.start / 8 {
                byte &= 0xff >> (range.start % 8);
            }
            if byte != 0 {
                let found = (at + index) * 8 + byte.leading_zeros() as usize;
                return (found < range.end).then_some(found);
            }
            from = index + 1;
        }
        at += piece.len();
    }
    None
}

/// How BITOP combines strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Set in all.
    And,
    /// Set in any.
    Or,
    /// Set in an odd number.
    Xor,
    /// Not set in the only one.
    Not,
    /// Set in the first and in no other.
    Diff,
    /// Set in another and not in the first.
    Diff1,
    /// Set in the first and in another.
    AndOr,
    /// Set in exactly one.
    One,
}

/// The combination of strings, as long as the longest, in parts: where all are zeros it takes no memory.
pub(crate) fn combine(operation: Operation, texts: &[Text<'_>]) -> Long {
    let len = texts.iter().map(Text::len).max().unwrap_or(0);
    let mut result = Long::default();
    result.grow(len);
    let (mut out, mut seen) = ([0; PART_BYTES], [0; PART_BYTES]);
    for at in (0..len).step_by(PART_BYTES) {
        let end = len.min(at + PART_BYTES);
        let piece = |text: &'_ Text<'_>| at..end.min(text.len()).max(at);
        let (out, seen) = (&mut out[..end - at], &mut seen[..end - at]);
        out.fill(0);
        seen.fill(0);
        for (nth, text) in texts.iter().enumerate() {
            let range = piece(text);
            let bytes = if range.start < text.len() { text.pieces(range).next() } else { None };
            fold(operation, nth, bytes.unwrap_or(&[]), out, seen);
        }
        finish(operation, out, seen);
        result.write(at, out);
    }
    result
}

/// Adds the `nth` string. `out` holds what the first gave or all together did; `seen` what the others have, or, for
/// [`Operation::One`], what more than one has.
fn fold(operation: Operation, nth: usize, bytes: &[u8], out: &mut [u8], seen: &mut [u8]) {
    match operation {
        _ if nth == 0 => out[..bytes.len()].copy_from_slice(bytes),
        Operation::And => {
            let (common, rest) = out.split_at_mut(bytes.len());
            common.iter_mut().zip(bytes).for_each(|(out, byte)| *out &= byte);
            rest.fill(0);
        }
        Operation::Or => out.iter_mut().zip(bytes).for_each(|(out, byte)| *out |= byte),
        Operation::Xor => out.iter_mut().zip(bytes).for_each(|(out, byte)| *out ^= byte),
        Operation::Diff | Operation::Diff1 | Operation::AndOr => {
            seen.iter_mut().zip(bytes).for_each(|(seen, byte)| *seen |= byte);
        }
        Operation::One => out.iter_mut().zip(seen).zip(bytes).for_each(|((out, seen), byte)| {
            *seen |= *out & byte;
            *out |= byte;
        }),
        Operation::Not => {}
    }
}

fn finish(operation: Operation, out: &mut [u8], seen: &[u8]) {
    let pairs = out.iter_mut().zip(seen);
    match operation {
        Operation::And | Operation::Or | Operation::Xor => {}
        Operation::Not => pairs.for_each(|(out, _)| *out = !*out),
        Operation::Diff | Operation::One => pairs.for_each(|(out, seen)| *out &= !seen),
        Operation::Diff1 => pairs.for_each(|(out, seen)| *out = !*out & seen),
        Operation::AndOr => pairs.for_each(|(out, seen)| *out &= seen),
    }
}

fn low_bits(count: usize) -> u8 {
    !(0xffu16 << count) as u8
}

/// Where the first byte is that is not `skipped`.
fn first_other(bytes: &[u8], skipped: u8) -> Option<usize> {
    const STEP: usize = 64;
    let equal = |chunk: &[u8]| chunk.iter().fold(0, |other, byte| other | (byte ^ skipped)) == 0;
    let same = bytes.chunks_exact(STEP).take_while(|chunk| equal(chunk)).count() * STEP;
    bytes[same..].iter().position(|&byte| byte != skipped).map(|index| same + index)
}

/// Words that are worked on side by side, in the registers of any processor.
const LANES: usize = 8;
type Lanes = [u64; LANES];

/// Such rows that are added like digits before anything is counted.
const ROWS: usize = 16;

/// How many bits are set.
///
/// Without an instruction for it, which not every processor has that this runs on, counting a word takes a dozen steps. So
/// sixteen words are added like digits first, in carry-save adders, and only what carries out of them is counted. Source:
/// Harley and Seal, in Warren, *Hacker's Delight*.
fn ones(bytes: &[u8]) -> u64 {
    let (mut ones, mut twos, mut fours, mut eights) = ([0; LANES], [0; LANES], [0; LANES], [0; LANES]);
    let mut sixteens_count = 0;
    let chunks = bytes.chunks_exact(8 * LANES * ROWS);
    let rest = chunks.remainder();
    for chunk in chunks {
        let row = |nth: usize| row_of(&chunk[8 * LANES * nth..]);
        let mut four = |first| {
            let two_a = add(&mut ones, row(first), row(first + 1));
            let two_b = add(&mut ones, row(first + 2), row(first + 3));
            add(&mut twos, two_a, two_b)
        };
        let (four_a, four_b, four_c, four_d) = (four(0), four(4), four(8), four(12));
        let eight_a = add(&mut fours, four_a, four_b);
        let eight_b = add(&mut fours, four_c, four_d);
        sixteens_count += counted(add(&mut eights, eight_a, eight_b));
    }
    let tail: u64 = rest.iter().map(|byte| u64::from(byte.count_ones())).sum();
    16 * sixteens_count + 8 * counted(eights) + 4 * counted(fours) + 2 * counted(twos) + counted(ones) + tail
}

fn row_of(bytes: &[u8]) -> Lanes {
    let (words, _) = bytes.as_chunks::<8>();
    std::array::from_fn(|lane| u64::from_ne_bytes(words[lane]))
}

fn counted(lanes: Lanes) -> u64 {
    lanes.iter().map(|word| u64::from(word.count_ones())).sum()
}

/// Adds two rows to `sum` bit by bit; returns the carries.
#[inline]
fn add(sum: &mut Lanes, a: Lanes, b: Lanes) -> Lanes {
    let mut carry = [0; LANES];
    for lane in 0..LANES {
        let partial = sum[lane] ^ a[lane];
        carry[lane] = sum[lane] & a[lane] | partial & b[lane];
        sum[lane] = partial ^ b[lane];
    }
    carry
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bit(bytes: &[u8], at: usize) -> bool {
        bytes.get(at / 8).is_some_and(|byte| byte >> (7 - at % 8) & 1 == 1)
    }

    fn runs() -> impl Strategy<Value = Vec<u8>> {
        let run = (prop_oneof![Just(0u8), Just(0xff), any::<u8>()], 0usize..1_500)
            .prop_map(|(byte, len)| vec![byte; len]);
        prop::collection::vec(run, 0..4).prop_map(|runs| runs.concat())
    }

    proptest! {
        #[test]
        fn bits_are_counted_and_found_one_by_one(bytes in runs(), a in 0usize..40_000, b in 0usize..40_000) {
            let bits = bytes.len() * 8;
            let range = a.min(b).min(bits)..a.max(b).min(bits);
            let text = Text::held(&bytes);
            let expected = range.clone().filter(|&at| bit(&bytes, at)).count();
            prop_assert_eq!(count(&text, range.clone()), expected as u64);
            for wanted in [false, true] {
                let expected = range.clone().find(|&at| bit(&bytes, at) == wanted);
                prop_assert_eq!(find(&text, wanted, range.clone()), expected);
            }
        }

        #[test]
        fn strings_are_combined_bit_by_bit(texts in prop::collection::vec(runs(), 1..5)) {
            let held: Vec<Text<'_>> = texts.iter().map(|bytes| Text::held(bytes)).collect();
            let len = texts.iter().map(Vec::len).max().unwrap();
            for operation in [
                Operation::And, Operation::Or, Operation::Xor, Operation::Not, Operation::Diff, Operation::Diff1,
                Operation::AndOr, Operation::One,
            ] {
                let result = combine(operation, &held);
                let got: Vec<u8> = result.pieces(0..result.len()).flatten().copied().collect();
                prop_assert_eq!(got.len(), len);
                for at in 0..8 * len {
                    let set: Vec<bool> = texts.iter().map(|bytes| bit(bytes, at)).collect();
                    let (first, others) = (set[0], set[1..].contains(&true));
                    let count = set.iter().filter(|&&set| set).count();
                    let expected = match operation {
                        Operation::And => count == set.len(),
                        Operation::Or => count > 0,
                        Operation::Xor => count % 2 == 1,
                        Operation::Not => !first,
                        Operation::Diff => first && !others,
                        Operation::Diff1 => !first && others,
                        Operation::AndOr => first && others,
                        Operation::One => count == 1,
                    };
                    prop_assert_eq!(bit(&got, at), expected, "{:?} at {}", operation, at);
                }
            }
        }
    }

    #[test]
    fn parts_are_combined_where_they_meet() {
        let long = vec![0xf0; 2 * PART_BYTES + 3];
        let short = vec![0x3c; PART_BYTES - 1];
        let result = combine(Operation::Xor, &[Text::held(&long), Text::held(&short)]);
        let got: Vec<u8> = result.pieces(0..result.len()).flatten().copied().collect();
        assert!(got[..PART_BYTES - 1].iter().all(|&byte| byte == 0xcc));
        assert!(got[PART_BYTES - 1..].iter().all(|&byte| byte == 0xf0));
        let text = Long::from(&got[..]);
        assert_eq!(count(&Text::parts(&text), 0..got.len() * 8), 4 * got.len() as u64);
        assert_eq!(find(&Text::parts(&text), false, PART_BYTES * 8..got.len() * 8), Some(PART_BYTES * 8 + 4));
    }
}
