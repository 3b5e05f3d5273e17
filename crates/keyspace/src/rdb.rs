//! Values in the format of Redis's database file, as DUMP and RESTORE exchange them.
//!
//! ```text
//! payload   type u8 │ value │ format version u16 LE │ CRC-64 of all before, LE
//!
//! length    00xxxxxx                     6 bits
//!           01xxxxxx x                  14 bits, high bits first
//!           10000000 xxxx               32 bits, big endian
//!           10000001 xxxxxxxx           64 bits, big endian
//! string    length │ bytes
//!           11000000 i8 · 11000001 i16 LE · 11000010 i32 LE             digits of an integer
//!           11000011 length of what follows │ length of the string │ LZF
//! ```
//!
//! Reading checks everything: the checksum keeps out accidents, not somebody who can compute it.
//! Source: Redis's `rdb.h`; the checksum is the Jones polynomial, reflected, starting at 0 without a final xor.

use crate::collection::{self, Limits};
use crate::error::Error;
use crate::fields::VALKEY_EXPIRING_HASH;
use crate::lzf;
use crate::stream::Stream;
use crate::string::Text;
use crate::value::{Value, ValueRef, integer};

/// Versions that are written: the oldest that can hold the value, so that older servers and Valkey, which refuses the
/// numbers after 11 that Redis gave out later, take it. Redis 7.0 reads this one.
const STRING_VERSION: u16 = 10;
/// Latest version that is read: Valkey 9 writes 80. What a later one changes, if anything, is not known here.
const VERSION_MAX: u16 = 80;

const TYPE_STRING: u8 = 0;

/// What modules have noted about a key, in front of its type (Redis 8.6 and newer); nothing here has a use for it. In
/// Valkey's versions, which begin higher, this byte means something else.
const KEY_META: u8 = 243;
const VALKEY_VERSION_MIN: u16 = 80;

/// The payload for a value.
pub(crate) fn dump<'a>(value: impl Into<ValueRef<'a>>) -> Vec<u8> {
    let (mut out, version) = dump_value(value);
    seal(&mut out, version);
    out
}

/// Type and value as a database file has them, and the version of the file that can.
pub fn dump_value<'a>(value: impl Into<ValueRef<'a>>) -> (Vec<u8>, u16) {
    let (value, mut out) = (value.into(), Vec::new());
    let version = match (value.text(), value.stream()) {
        (Some(text), _) => write_text(&mut out, &text),
        (None, Some(stream)) => {
            let (kind, version) = stream.rdb_type();
            out.push(kind);
            stream.write_rdb(&mut out);
            version
        }
        (None, None) => {
            let collection = value.collection();
            collection.expect("a value is a string, a stream or a collection").write_rdb(&mut out)
        }
    };
    (out, version)
}

fn write_text(out: &mut Vec<u8>, text: &[u8]) -> u16 {
    out.push(TYPE_STRING);
    write_string(out, text);
    STRING_VERSION
}

/// Bytes of the value in a payload, without its type and what seals it.
pub(crate) fn serialized_bytes(value: ValueRef<'_>) -> usize {
    dump(value).len() - (1 + 2 + 8)
}

/// The value in a payload.
pub(crate) fn restore(payload: &[u8], limits: &Limits) -> Result<Value, Error> {
    let (rest, version) = open(payload).ok_or(Error::DumpDamaged)?;
    restore_value(rest, version, limits)
}

/// The value that type and bytes of a database file of this version are.
pub fn restore_value(mut rest: &[u8], version: u16, limits: &Limits) -> Result<Value, Error> {
    if version < VALKEY_VERSION_MIN && rest.first() == Some(&KEY_META) {
        rest = behind_key_meta(rest).ok_or(Error::DumpUnreadable)?;
    }
    // Two servers have given this number to two forms.
    if version < VALKEY_VERSION_MIN && rest.first() == Some(&VALKEY_EXPIRING_HASH) {
        return Err(Error::DumpUnreadable);
    }
    let value = read_value(&mut rest, limits).filter(|_| rest.is_empty());
    value.ok_or(Error::DumpUnreadable)
}

fn read_value(from: &mut &[u8], limits: &Limits) -> Option<Value> {
    match *from.split_off_first()? {
        TYPE_STRING => Some(Value::string(&read_string(from)?)),
        kind if Stream::is_rdb_type(kind) => {
            let stream = Stream::read_rdb(kind, std::mem::take(from))?;
            Some(Value::Stream(Box::new(stream)))
        }
        kind => collection::read_rdb(kind, from, limits),
    }
}

/// What stands behind the notes of modules: a count, and for each a class and tagged values up to an end mark.
fn behind_key_meta(payload: &[u8]) -> Option<&[u8]> {
    let mut rest = payload.get(1..)?;
    for _ in 0..read_length(&mut rest)? {
        rest.split_off(..4)?;
        loop {
            match read_length(&mut rest)? {
                0 => break,
                1 | 2 => drop(read_length(&mut rest)?),
                3 => drop(rest.split_off(..4)?),
                4 => drop(rest.split_off(..8)?),
                5 => drop(read_string(&mut rest)?),
                _ => return None,
            }
        }
    }
    Some(rest)
}

/// Appends version and checksum: ends the payload of a RESTORE.
pub fn seal(out: &mut Vec<u8>, version: u16) {
    out.extend_from_slice(&version.to_le_bytes());
    let checksum = crc64(0, out);
    out.extend_from_slice(&checksum.to_le_bytes());
}

/// The type and value in a payload, if its version is known and its checksum right.
pub(crate) fn open(payload: &[u8]) -> Option<(&[u8], u16)> {
    let (checked, checksum) = payload.split_last_chunk::<8>()?;
    let (body, version) = checked.split_last_chunk::<2>()?;
    let version = u16::from_le_bytes(*version);
    let checksum = u64::from_le_bytes(*checksum);
    (version <= VERSION_MAX && checksum == crc64(0, checked)).then_some((body, version))
}

/// Appends a length.
pub(crate) fn write_length(out: &mut Vec<u8>, length: u64) {
    match length {
        0..=0x3f => out.push(length as u8),
        0x40..=0x3fff => out.extend_from_slice(&(0x4000 | length as u16).to_be_bytes()),
        0x4000..=0xffff_ffff => {
            out.push(0x80);
            out.extend_from_slice(&(length as u32).to_be_bytes());
        }
        _ => {
            out.push(0x81);
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
}

/// Appends a string, small integers by their value; never compressed, which every reader takes.
pub fn write_string(out: &mut Vec<u8>, bytes: &[u8]) {
    match integer(bytes).map(|number| (i8::try_from(number), i16::try_from(number), i32::try_from(number))) {
        Some((Ok(number), ..)) => out.extend_from_slice(&[0xc0, number as u8]),
        Some((_, Ok(number), _)) => {
            out.push(0xc1);
            out.extend_from_slice(&number.to_le_bytes());
        }
        Some((.., Ok(number))) => {
            out.push(0xc2);
            out.extend_from_slice(&number.to_le_bytes());
        }
        Some(_) | None => {
            write_length(out, bytes.len() as u64);
            out.extend_from_slice(bytes);
        }
    }
}

/// Reads a plain length.
pub(crate) fn read_length(from: &mut &[u8]) -> Option<u64> {
    let first = *from.split_off_first()?;
    match first {
        0..=0x3f => Some(u64::from(first)),
        0x40..=0x7f => Some(u64::from(u16::from_be_bytes([first & 0x3f, *from.split_off_first()?]))),
        0x80 => read_array(from).map(|bytes| u64::from(u32::from_be_bytes(bytes))),
        0x81 => read_array(from).map(u64::from_be_bytes),
        _ => None,
    }
}

/// Reads a string in whichever encoding.
pub(crate) fn read_string(from: &mut &[u8]) -> Option<Vec<u8>> {
    let number = match *from.first()? {
        0xc0 => {
            from.split_off_first();
            i64::from(i8::from_le_bytes(read_array(from)?))
        }
        0xc1 => {
            from.split_off_first();
            i64::from(i16::from_le_bytes(read_array(from)?))
        }
        0xc2 => {
            from.split_off_first();
            i64::from(i32::from_le_bytes(read_array(from)?))
        }
        0xc3 => {
            from.split_off_first();
            let packed_len = usize::try_from(read_length(from)?).ok()?;
            let len = usize::try_from(read_length(from)?).ok()?;
            return lzf::unpack(from.split_off(..packed_len)?, len);
        }
        _ => {
            let len = usize::try_from(read_length(from)?).ok()?;
            return from.split_off(..len).map(<[u8]>::to_vec);
        }
    };
    Some(Text::from(number).to_vec())
}

fn read_array<const N: usize>(from: &mut &[u8]) -> Option<[u8; N]> {
    from.split_off(..N)?.try_into().ok()
}

/// The checksum of `bytes` behind what has the checksum `before`; 0 at the beginning.
pub fn crc64(before: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(before, |crc, &byte| CRC64[usize::from(crc as u8 ^ byte)] ^ (crc >> 8))
}

static CRC64: [u64; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { 0x95ac_9329_ac4b_c9b5 ^ (crc >> 1) } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits::DEFAULT;

    #[test]
    fn the_checksum_is_the_one_redis_computes() {
        assert_eq!(crc64(0, b"123456789"), 0xe9c6_d914_c4b8_d9ca);
    }

    #[test]
    fn payloads_of_other_servers_are_read() {
        let cases: &[(&[u8], &[u8])] = &[
            // Valkey 9.1: LZF of 100 times `a`; an integer of one byte.
            (b"\x00\xc3\t@d\x01aa\xe0W\x00\x01aaP\x00'\x89|\x96.?\x95\x85", &[b'a'; 100]),
            (b"\x00\xc0\x05P\x00\xac\x05\x96\xf7\x1d}\xd4\xa5", b"5"),
            // Redis 8.2: integers of two and four bytes; a float.
            (b"\x00\xc1\xf4\x01\x0c\x00T\x82\x86P\xc8\xcf\x8a\xfe", b"500"),
            (b"\x00\xc2 \xa1\x07\x00\x0c\x00\xfc\x18\x91\xf8\xc6\xb0B\xa0", b"500000"),
            (b"\x00\x032.5\x0c\x00\xf4\xe4\x0b\xd2\xbd_\x15\x1b", b"2.5"),
            // Redis 7.0.
            (b"\x00\x15123456789012345678901\n\x00hav\x0f\xfa\xec7z", b"123456789012345678901"),
        ];
        for &(payload, text) in cases {
            let value = restore(payload, &LIMITS).unwrap();
            assert_eq!(*value.text().unwrap(), *text);
            let again = restore(&dump(&value), &LIMITS).unwrap();
            assert_eq!(*again.text().unwrap(), *text);
        }
    }

    #[test]
    fn what_modules_noted_about_a_key_is_passed_over() {
        let mut payload =
            b"\xf3\x02abcd\x02\x40\x80\x05\x03xyz\0efgh\x03\0\0\0\0\x04\0\0\0\0\0\0\0\0\0\0\x02hi".to_vec();
        let body = payload.clone();
        seal(&mut payload, 13);
        assert_eq!(*restore(&payload, &LIMITS).unwrap().text().unwrap(), *b"hi");
        for cut in 0..body.len() {
            let mut payload = body[..cut].to_vec();
            seal(&mut payload, 13);
            assert_eq!(restore(&payload, &LIMITS).unwrap_err(), Error::DumpUnreadable, "cut at {cut}");
        }
    }

    #[test]
    fn damaged_payloads_are_refused() {
        let payload = dump(&Value::string(b"hello"));
        for at in 0..payload.len() {
            let mut damaged = payload.clone();
            damaged[at] ^= 1;
            assert_eq!(restore(&damaged, &LIMITS).unwrap_err(), Error::DumpDamaged, "byte {at}");
            assert_eq!(restore(&payload[..at], &LIMITS).unwrap_err(), Error::DumpDamaged, "cut at {at}");
        }
        let mut list = vec![1, 0];
        seal(&mut list, STRING_VERSION);
        assert_eq!(restore(&list, &LIMITS).unwrap_err(), Error::DumpUnreadable);
        let mut later = vec![TYPE_STRING, 0];
        seal(&mut later, VERSION_MAX + 1);
        assert_eq!(restore(&later, &LIMITS).unwrap_err(), Error::DumpDamaged);
    }

    #[test]
    fn lengths_round_trip_in_every_form() {
        for length in [0, 0x3f, 0x40, 0x3fff, 0x4000, 0xffff_ffff, 0x1_0000_0000, u64::MAX] {
            let mut out = Vec::new();
            write_length(&mut out, length);
            let mut from = &out[..];
            assert_eq!(read_length(&mut from), Some(length));
            assert!(from.is_empty());
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_with_a_right_checksum_are_read_or_refused(mut bytes in proptest::collection::vec(0u8.., 0..64)) {
            bytes.insert(0, TYPE_STRING);
            seal(&mut bytes, STRING_VERSION);
            if let Ok(value) = restore(&bytes, &LIMITS) {
                let text = value.text().map(|text| text.to_vec());
                let again = restore(&dump(&value), &LIMITS).unwrap();
                proptest::prop_assert_eq!(again.text().map(|text| text.to_vec()), text);
            }
        }
    }
}
