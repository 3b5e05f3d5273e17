//! Ziplist: what Redis before 7.0 kept small values in, and wrote to its files. It is only read here.
//!
//! ```text
//! ┌ total bytes u32 ┬ offset of the last u32 ┬ entries u16 ┬ entry ┬ entry ┬ … ┬ 0xff ┐
//!
//! entry      length of the one before: u8, or 0xfe and u32 │ encoding │ bytes
//! encoding   00llllll                   string of 6 bits' length
//!            01llllll l                 of 14 bits', high bits first
//!            10...... llll              of 32 bits', big endian
//!            11000000 · 11010000 · 11100000 · 11110000 · 11111110      i16 · i32 · i64 · i24 · i8, little endian
//!            1111vvvv                   v − 1: 0 to 12
//! ```
//!
//! Source: the description of the format in Redis's `ziplist.c`, and files of Redis 3.2 to 6.2.

use crate::listpack;

const HEADER_BYTES: usize = 10;
const END: u8 = 0xff;
/// Number of entries meaning "count them".
const COUNT_UNKNOWN: u16 = u16::MAX;

/// The entries as the elements of a listpack, without its frame, and how many they are; `None`: damaged.
pub(crate) fn elements(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let total = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let announced = u16::from_le_bytes(bytes.get(8..HEADER_BYTES)?.try_into().ok()?);
    if total != bytes.len() || *bytes.last()? != END {
        return None;
    }
    let mut rest = bytes.get(HEADER_BYTES..bytes.len() - 1)?;
    let (mut out, mut count) = (Vec::with_capacity(rest.len()), 0);
    while !rest.is_empty() {
        read_entry(&mut rest, &mut out)?;
        count += 1;
    }
    (announced == COUNT_UNKNOWN || usize::from(announced) == count).then_some((out, count))
}

fn read_entry(from: &mut &[u8], out: &mut Vec<u8>) -> Option<()> {
    let before_len = if *from.first()? == 0xfe { 5 } else { 1 };
    from.split_off(..before_len)?;
    let encoding = *from.split_off_first()?;
    let text_len = match encoding >> 6 {
        0 => usize::from(encoding & 0x3f),
        1 => usize::from(encoding & 0x3f) << 8 | usize::from(*from.split_off_first()?),
        2 => u32::from_be_bytes(from.split_off(..4)?.try_into().ok()?) as usize,
        _ => {
            listpack::write_int(out, read_int(encoding, from)?);
            return Some(());
        }
    };
    listpack::write_string(out, from.split_off(..text_len)?);
    Some(())
}

fn read_int(encoding: u8, from: &mut &[u8]) -> Option<i64> {
    let len = match encoding {
        0xc0 => 2,
        0xd0 => 4,
        0xe0 => 8,
        0xf0 => 3,
        0xfe => 1,
        0xf1..=0xfd => return Some(i64::from(encoding & 0x0f) - 1),
        _ => return None,
    };
    Some(listpack::little_endian(from.split_off(..len)?))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn texts(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
        let (elements, count) = elements(bytes)?;
        let mut rest = &elements[..];
        let texts: Vec<_> =
            std::iter::from_fn(|| listpack::read(&mut rest)).map(|element| element.to_bytes()).collect();
        assert_eq!(texts.len(), count);
        Some(texts)
    }

    /// A ziplist of these entries, each given without the length of the one before.
    pub(crate) fn ziplist(entries: &[&[u8]]) -> Vec<u8> {
        let mut body = Vec::new();
        let mut before = 0;
        for entry in entries {
            let start = body.len();
            match u8::try_from(before).ok().filter(|&len| len < 0xfe) {
                Some(len) => body.push(len),
                None => {
                    body.push(0xfe);
                    body.extend_from_slice(&(before as u32).to_le_bytes());
                }
            }
            body.extend_from_slice(entry);
            before = body.len() - start;
        }
        let total = (HEADER_BYTES + body.len() + 1) as u32;
        let last = (HEADER_BYTES + body.len() - before) as u32;
        let count = entries.len() as u16;
        [&total.to_le_bytes()[..], &last.to_le_bytes(), &count.to_le_bytes(), &body, &[END]].concat()
    }

    #[test]
    fn every_encoding_is_read() {
        let medium = [&[0x41, 0x2c][..], &[b'm'; 300]].concat();
        let long = [&[0x80, 0, 0, 0x50, 0][..], &[b'l'; 20_480]].concat();
        let entries: &[(&[u8], &[u8])] = &[
            (b"\x05hello", b"hello"),
            (&medium, &[b'm'; 300]),
            (&long, &[b'l'; 20_480]),
            (b"\xc0\x00\x80", b"-32768"),
            (b"\xd0\x00\x00\x00\x80", b"-2147483648"),
            (b"\xe0\xff\xff\xff\xff\xff\xff\xff\x7f", b"9223372036854775807"),
            (b"\xf0\xff\xff\x7f", b"8388607"),
            (b"\xfe\x80", b"-128"),
            (b"\xf1", b"0"),
            (b"\xfd", b"12"),
            (b"\x00", b""),
        ];
        let bytes = ziplist(&entries.iter().map(|(entry, _)| *entry).collect::<Vec<_>>());
        let expected: Vec<Vec<u8>> = entries.iter().map(|(_, text)| text.to_vec()).collect();
        assert_eq!(texts(&bytes), Some(expected));
        assert_eq!(texts(&ziplist(&[])), Some(vec![]));
    }

    #[test]
    fn damage_is_refused_or_gives_other_texts() {
        let bytes = ziplist(&[b"\x05hello", b"\xf3", b"\xc0\x01\x02", b"\x01x"]);
        assert!((0..bytes.len()).all(|cut| texts(&bytes[..cut]).is_none()));
        for index in 0..bytes.len() {
            for flip in 1..=255 {
                let mut bad = bytes.clone();
                bad[index] ^= flip;
                texts(&bad);
            }
        }
    }
}
