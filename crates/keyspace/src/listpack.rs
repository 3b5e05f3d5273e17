//! Listpack: the packed list in which Redis keeps small values and the entries of a stream, and dumps them.
//!
//! ```text
//! ┌ total bytes u32 ┬ elements u16 ┬ element ┬ element ┬ … ┬ 0xff ┐
//! element = encoding byte(s), payload, length of both written backwards ("backlen")
//! ```
//!
//! A string that is a canonical decimal `i64` is kept as an integer. Small lists are kept in this form, small hashes and sets mostly without
//! backlens (`packed.rs`), small sorted sets in rows (`zset/small/`), which are written as listpacks. Blocks of streams are packed in a format of their own (`block.rs`) and need this one
//! twice: its sizes decide where Redis starts a new node, which trimming with `~` makes visible, and DUMP speaks it.
//!
//! Source: the listpack specification (antirez/listpack) and `redis-server`'s DUMP payloads.

use std::borrow::Cow;

use crate::string::Text;

/// Header and end mark.
pub(crate) const FRAME_BYTES: usize = 7;
/// Number of elements meaning "count them".
const COUNT_UNKNOWN: u16 = u16::MAX;
pub(crate) const END: u8 = 0xff;

/// Bytes an integer element takes, its backlen included.
pub(crate) fn int_bytes(value: i64) -> usize {
    let payload = match value {
        0..=127 => 1,
        -4096..=4095 => 2,
        _ if i16::try_from(value).is_ok() => 3,
        -8_388_608..=8_388_607 => 4,
        _ if i32::try_from(value).is_ok() => 5,
        _ => 9,
    };
    payload + 1
}

/// Bytes a string element takes, its backlen included; less if it reads as an integer.
#[inline]
pub(crate) fn string_bytes(text: &[u8]) -> usize {
    let payload = bare_string_bytes(text);
    payload + backlen_bytes(payload)
}

/// As [`string_bytes`], without a backlen.
#[inline]
pub(crate) fn bare_string_bytes(text: &[u8]) -> usize {
    if let Some(value) = canonical_int(text) {
        return int_bytes(value) - 1;
    }
    text.len()
        + match text.len() {
            0..=63 => 1,
            64..=4095 => 2,
            _ => 5,
        }
}

#[inline]
fn backlen_bytes(payload: usize) -> usize {
    match payload {
        0..=127 => 1,
        128..=16_382 => 2,
        16_383..=2_097_150 => 3,
        2_097_151..=268_435_454 => 4,
        _ => 5,
    }
}

/// Writes elements, which have backlens, without these; `out` has as many bytes as they take then, [`bare_bytes`].
pub(crate) fn write_bare(mut elements: &[u8], mut out: &mut [u8]) {
    while let Some(bare) = element_bytes::<false>(elements) {
        let (to, rest) = out.split_at_mut(bare);
        to.copy_from_slice(&elements[..bare]);
        (out, elements) = (rest, &elements[bare + backlen_bytes(bare)..]);
    }
}

/// Bytes of elements, which have backlens, without these.
pub(crate) fn bare_bytes(mut elements: &[u8]) -> usize {
    let mut bytes = 0;
    while let Some(bare) = element_bytes::<false>(elements) {
        bytes += bare;
        elements = &elements[bare + backlen_bytes(bare)..];
    }
    bytes
}

/// Appends elements with backlens, which have none.
pub(crate) fn write_unbared(mut elements: &[u8], out: &mut Vec<u8>) {
    while let Some(bare) = element_bytes::<false>(elements) {
        let start = out.len();
        out.extend_from_slice(&elements[..bare]);
        write_backlen(out, start);
        elements = &elements[bare..];
    }
}

/// The number that `text` is the one canonical spelling of.
#[inline]
pub(crate) fn canonical_int(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    let mut value = 0u64;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        // Nineteen digits are below 10^19, which fits.
        value = value * 10 + u64::from(digit - b'0');
    }
    match negative {
        true => 0i64.checked_sub_unsigned(value),
        false => i64::try_from(value).ok(),
    }
}

/// Builds a listpack.
#[derive(Debug)]
pub(crate) struct Writer {
    out: Vec<u8>,
    elements: usize,
}

impl Writer {
    pub(crate) fn new() -> Writer {
        Writer { out: vec![0; 6], elements: 0 }
    }

    pub(crate) fn int(&mut self, value: i64) {
        write_int(&mut self.out, value);
        self.elements += 1;
    }

    pub(crate) fn string(&mut self, text: &[u8]) {
        write_string(&mut self.out, text);
        self.elements += 1;
    }

    /// The whole listpack.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.out.push(END);
        let total = self.out.len() as u32;
        let elements = u16::try_from(self.elements).unwrap_or(COUNT_UNKNOWN);
        self.out[..4].copy_from_slice(&total.to_le_bytes());
        self.out[4..6].copy_from_slice(&elements.to_le_bytes());
        self.out
    }
}

/// Appends an integer element.
pub(crate) fn write_int(out: &mut Vec<u8>, value: i64) {
    let start = out.len();
    write_bare_int(out, value);
    write_backlen(out, start);
}

/// As [`write_int`], without a backlen.
pub(crate) fn write_bare_int(out: &mut Vec<u8>, value: i64) {
    let bytes = value.to_le_bytes();
    match int_bytes(value) - 1 {
        1 => out.push(value as u8),
        2 => {
            let bits = (value as u16) & 0x1fff;
            out.extend_from_slice(&[0xc0 | (bits >> 8) as u8, bits as u8]);
        }
        3 => tagged(out, 0xf1, &bytes[..2]),
        4 => tagged(out, 0xf2, &bytes[..3]),
        5 => tagged(out, 0xf3, &bytes[..4]),
        _ => tagged(out, 0xf4, &bytes),
    }
}

/// Appends a string element, or an integer element if it reads as one.
pub(crate) fn write_string(out: &mut Vec<u8>, text: &[u8]) {
    let start = out.len();
    write_bare_string(out, text);
    write_backlen(out, start);
}

/// As [`write_string`], without a backlen.
pub(crate) fn write_bare_string(out: &mut Vec<u8>, text: &[u8]) {
    if let Some(value) = canonical_int(text) {
        return write_bare_int(out, value);
    }
    match text.len() {
        len @ 0..=63 => out.push(0x80 | len as u8),
        len @ 64..=4095 => out.extend_from_slice(&[0xe0 | (len >> 8) as u8, len as u8]),
        len => tagged(out, 0xf0, &(len as u32).to_le_bytes()),
    }
    out.extend_from_slice(text);
}

fn tagged(out: &mut Vec<u8>, tag: u8, payload: &[u8]) {
    out.push(tag);
    out.extend_from_slice(payload);
}

/// Ends the element that begins at `start`.
fn write_backlen(out: &mut Vec<u8>, start: usize) {
    let payload = out.len() - start;
    let len = backlen_bytes(payload);
    for index in (0..len).rev() {
        let bits = (payload >> (7 * index)) as u8 & 0x7f;
        // Read from the right, so every byte but the leftmost says that more follow.
        out.push(if index == len - 1 { bits } else { bits | 0x80 });
    }
}

/// The bytes of the element that ends where `bytes` do, backlen included; `None`: they don't end with an element.
pub(crate) fn last_element_bytes(bytes: &[u8]) -> Option<usize> {
    let (mut payload, mut len) = (0usize, 0);
    for &byte in bytes.iter().rev().take(5) {
        payload |= usize::from(byte & 0x7f) << (7 * len);
        len += 1;
        if byte & 0x80 == 0 {
            return Some(payload + len).filter(|&all| all <= bytes.len());
        }
    }
    None
}

/// The bytes of the element at the beginning of `bytes`, its backlen included if it has one; `None`: its first bytes say that it is
/// none.
///
/// Whoever walks elements knows where one begins only when he has this of the one before. Most are short strings, whose tag says
/// it in half the time that a look into a table takes.
#[inline]
fn element_bytes<const BACKLEN: bool>(bytes: &[u8]) -> Option<usize> {
    let tag = *bytes.first()?;
    if tag & 0xc0 == 0x80 {
        return Some(usize::from(tag & 0x3f) + 1 + usize::from(BACKLEN));
    }
    match ELEMENT_BYTES[usize::from(tag)] {
        0 => long_element_bytes::<BACKLEN>(bytes),
        len => Some(usize::from(len) - usize::from(!BACKLEN)),
    }
}

/// Where the element stands that is so many behind the one at `at`, among elements with or without backlens.
#[inline]
pub(crate) fn skip_in<const BACKLEN: bool>(elements: &[u8], at: usize, count: usize) -> Option<usize> {
    (0..count).try_fold(at, |at, _| Some(at + element_bytes::<BACKLEN>(elements.get(at..)?)?))
}

/// Where the first element equal to `text` begins, of those that are a multiple of `step` away from the first, and how many of
/// those are before it. With a step of 2: of the names of name, value, name, value….
pub(crate) fn find_in<const BACKLEN: bool>(
    elements: &[u8],
    text: &[u8],
    step: usize,
) -> Option<(usize, usize)> {
    let (mut at, mut nth) = (0, 0);
    match (canonical_int(text), short_string_tag(text)) {
        // What most names are is found by comparing bytes; names that differ do so at their end.
        (None, Some(tag)) => loop {
            if *elements.get(at)? == tag
                && let Some(other) = elements.get(at + 1..at + 1 + text.len())
                && other.last() == text.last()
                && other == text
            {
                return Some((nth, at));
            }
            at = skip_in::<BACKLEN>(elements, at, step)?;
            nth += 1;
        },
        (number, _) => loop {
            let is_it = match (read_in::<BACKLEN>(&mut elements.get(at..)?)?, number) {
                (Element::Int(one), Some(other)) => one == other,
                (Element::Text(one), None) => one == text,
                _ => false,
            };
            if is_it {
                return Some((nth, at));
            }
            at = skip_in::<BACKLEN>(elements, at, step)?;
            nth += 1;
        },
    }
}

fn long_element_bytes<const BACKLEN: bool>(bytes: &[u8]) -> Option<usize> {
    let payload = match bytes {
        [tag @ 0xe0..=0xef, low, ..] => 2 + (usize::from(tag & 0x0f) << 8 | usize::from(*low)),
        [0xf0, rest @ ..] => (u32::from_le_bytes(*rest.first_chunk()?) as usize).checked_add(5)?,
        _ => return None,
    };
    payload.checked_add(if BACKLEN { backlen_bytes(payload) } else { 0 })
}

/// By the first byte, what an element takes whose length that says, with its backlen of one byte; 0 for the others.
static ELEMENT_BYTES: [u8; 256] = {
    let mut bytes = [0; 256];
    let mut tag = 0;
    while tag < 256 {
        bytes[tag] = match tag {
            0x00..=0x7f => 2,
            0x80..=0xbf => (tag as u8 & 0x3f) + 2,
            0xc0..=0xdf => 3,
            0xf1 => 4,
            0xf2 => 5,
            0xf3 => 6,
            0xf4 => 10,
            _ => 0,
        };
        tag += 1;
    }
    bytes
};

/// The first byte of a string element of so few bytes that the byte says how many.
#[inline]
pub(crate) fn short_string_tag(text: &[u8]) -> Option<u8> {
    (text.len() <= 63).then_some(0x80 | text.len() as u8)
}

/// Takes the first element off `bytes`; `None`, and they are left as they were: they don't begin with an element.
#[inline]
pub(crate) fn read<'a>(bytes: &mut &'a [u8]) -> Option<Element<'a>> {
    read_in::<true>(bytes)
}

/// As [`read`], of elements with or without backlens.
#[inline]
pub(crate) fn read_in<'a, const BACKLEN: bool>(bytes: &mut &'a [u8]) -> Option<Element<'a>> {
    let &tag = bytes.first()?;
    let len = usize::from(ELEMENT_BYTES[usize::from(tag)]);
    if len == 0 {
        return read_long::<BACKLEN>(bytes);
    }
    let (element, rest) = bytes.split_at_checked(len - usize::from(!BACKLEN))?;
    *bytes = rest;
    let body = &element[1..len - 1];
    Some(match tag {
        0x00..=0x7f => Element::Int(i64::from(tag)),
        0x80..=0xbf => Element::Text(body),
        0xc0..=0xdf => {
            let bits = u16::from(tag & 0x1f) << 8 | u16::from(body[0]);
            // Thirteen bits, two's complement.
            Element::Int(i64::from((bits << 3) as i16 >> 3))
        }
        _ => Element::Int(little_endian(body)),
    })
}

/// As [`read_in`], of a string whose first byte doesn't say how long it is.
#[cold]
fn read_long<'a, const BACKLEN: bool>(bytes: &mut &'a [u8]) -> Option<Element<'a>> {
    let (element, rest) = bytes.split_at_checked(long_element_bytes::<BACKLEN>(bytes)?)?;
    let head = if element[0] == 0xf0 { 5 } else { 2 };
    let text_len = match element[0] {
        0xf0 => u32::from_le_bytes(element.get(1..5)?.try_into().ok()?) as usize,
        tag => usize::from(tag & 0x0f) << 8 | usize::from(element[1]),
    };
    *bytes = rest;
    Some(Element::Text(&element[head..head + text_len]))
}

/// One element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Element<'a> {
    Int(i64),
    Text(&'a [u8]),
}

impl<'a> Element<'a> {
    /// The bytes the client once sent, held or as the digits they are.
    #[inline]
    pub(crate) fn text(self) -> Text<'a> {
        Text::from(self)
    }

    /// As an integer, which a string element never is in a well-formed listpack.
    pub(crate) fn as_int(self) -> Option<i64> {
        match self {
            Element::Int(value) => Some(value),
            Element::Text(text) => canonical_int(text),
        }
    }

    /// How many bytes it takes as `write_string` encodes it; `None`: it is text that would be an integer there.
    fn canonical_bytes(self) -> Option<usize> {
        match self {
            Element::Int(value) => Some(int_bytes(value)),
            Element::Text(text) if canonical_int(text).is_some() => None,
            Element::Text(text) => Some(string_bytes(text)),
        }
    }

    /// As the bytes the client once sent.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        match self {
            Element::Int(value) => itoa::Buffer::new().format(value).as_bytes().to_vec(),
            Element::Text(text) => text.to_vec(),
        }
    }
}

/// Reads the elements of a listpack that came from outside; `None` from `next` is the end or damage, see [`Reader::done`].
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Checks the frame of `bytes`.
    pub(crate) fn new(bytes: &'a [u8]) -> Option<Reader<'a>> {
        let total = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?);
        let well_framed =
            bytes.len() >= FRAME_BYTES && total as usize == bytes.len() && bytes.last() == Some(&END);
        well_framed.then(|| Reader { rest: &bytes[6..] })
    }

    /// Whether only the end mark is left.
    pub(crate) fn done(&self) -> bool {
        self.rest == [END]
    }

    pub(crate) fn int(&mut self) -> Option<i64> {
        self.next()?.as_int()
    }

    pub(crate) fn next(&mut self) -> Option<Element<'a>> {
        read(&mut self.rest)
    }

    /// The elements without their frame, and how many they are, once each has been checked: it is found from the end, too.
    pub(crate) fn elements(bytes: &'a [u8]) -> Option<(&'a [u8], usize)> {
        let (_, all) = Reader::new(bytes)?.rest.split_last()?;
        let (mut rest, mut count) = (all, 0);
        while !rest.is_empty() {
            let before = rest.len();
            read(&mut rest)?;
            let until = &all[..all.len() - rest.len()];
            if last_element_bytes(until) != Some(before - rest.len()) {
                return None;
            }
            count += 1;
        }
        Some((all, count))
    }

    /// As [`Reader::elements`]; those that others encode in another way than `write_string` does are encoded anew, so that
    /// equal elements have equal bytes.
    pub(crate) fn canonical_elements(bytes: &'a [u8]) -> Option<(Cow<'a, [u8]>, usize)> {
        let (all, count) = Reader::elements(bytes)?;
        let (mut rest, mut is_canonical) = (all, true);
        while is_canonical && !rest.is_empty() {
            let before = rest.len();
            let element = read(&mut rest)?;
            is_canonical = element.canonical_bytes() == Some(before - rest.len());
        }
        if is_canonical {
            return Some((all.into(), count));
        }
        let (mut rest, mut anew) = (all, Vec::with_capacity(all.len()));
        while let Some(element) = read(&mut rest) {
            write_string(&mut anew, &element.to_bytes());
        }
        Some((anew.into(), count))
    }
}

/// A little-endian two's complement integer of at most eight bytes.
pub(crate) fn little_endian(bytes: &[u8]) -> i64 {
    let sign = if bytes.last().is_some_and(|top| top & 0x80 != 0) { 0xff } else { 0 };
    let mut wide = [sign; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    i64::from_le_bytes(wide)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTS: &[i64] = &[
        0,
        1,
        127,
        128,
        -1,
        4095,
        -4096,
        4096,
        -4097,
        32_767,
        -32_768,
        32_768,
        8_388_607,
        -8_388_608,
        8_388_608,
        2_147_483_647,
        -2_147_483_648,
        2_147_483_648,
        i64::MAX,
        i64::MIN,
    ];

    #[test]
    fn elements_are_read_back_and_have_the_size_announced() {
        let texts = [0, 1, 20, 63, 64, 125, 126, 127, 4095, 4096, 16_380, 70_000].map(|len| vec![b'x'; len]);
        let mut writer = Writer::new();
        let mut expected_bytes = FRAME_BYTES;
        for &value in INTS {
            writer.int(value);
            expected_bytes += int_bytes(value);
        }
        for text in &texts {
            writer.string(text);
            expected_bytes += string_bytes(text);
        }
        let packed = writer.finish();
        assert_eq!(packed.len(), expected_bytes);

        let mut reader = Reader::new(&packed).unwrap();
        for &value in INTS {
            assert_eq!(reader.next(), Some(Element::Int(value)));
        }
        for text in &texts {
            assert_eq!(reader.next(), Some(Element::Text(text)));
        }
        assert!(reader.done());
    }

    #[test]
    fn only_canonical_numbers_become_integers() {
        for &value in INTS {
            assert_eq!(canonical_int(value.to_string().as_bytes()), Some(value));
        }
        for text in [
            "",
            "-",
            "-0",
            "00",
            "01",
            "+1",
            " 1",
            "1 ",
            "1.0",
            "9223372036854775808",
            "-9223372036854775809",
        ] {
            assert_eq!(canonical_int(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn damage_ends_the_reading() {
        let mut writer = Writer::new();
        writer.string(b"hello");
        let packed = writer.finish();
        for cut in 0..packed.len() {
            assert!(Reader::new(&packed[..cut]).is_none());
        }
        for index in 6..packed.len() - 1 {
            let mut bad = packed.clone();
            bad[index] = 0xf4;
            let mut reader = Reader::new(&bad).unwrap();
            while reader.next().is_some() {}
        }
    }
}
