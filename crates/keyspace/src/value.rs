//! What is kept under a key.

use std::sync::Arc;

use crate::bytes::Bytes;
use crate::collection::Collection;
use crate::fields::Hash;
use crate::list::List;
use crate::rdb;
use crate::set::Set;
use crate::stream::Stream;
use crate::string::{Long, PART_BYTES, Text};
use crate::zset::Zset;

/// Longest string. Source: Redis's `proto-max-bulk-len` by default, and its bound before that was an option.
pub(crate) const STRING_BYTES_MAX: usize = 512 << 20;

/// Everything known about one key; one cache line.
#[derive(Debug, Clone)]
pub struct Record {
    /// Its name.
    pub(crate) key: Bytes,
    /// Its value.
    pub(crate) value: Value,
    /// Unix time in milliseconds after which it is gone, or [`NEVER`].
    pub(crate) expire_at_ms: u64,
    /// How it is used: see `usage.rs`.
    pub(crate) usage: u32,
}

/// `expire_at_ms` of a key that stays.
pub(crate) const NEVER: u64 = u64::MAX;

const _: () = assert!(size_of::<Record>() == 64, "a record fills a cache line and no more");

/// A value.
#[derive(Debug, Clone)]
pub enum Value {
    /// A string that is the decimal form of an integer.
    Int(i64),
    /// A string as it was set.
    Str(Bytes),
    /// A short string that was changed in places, with room to grow. Copies share it until one changes.
    Grown(Arc<Vec<u8>>),
    /// A long one, from `PART_BYTES` on.
    Long(Arc<Long>),
    /// A stream.
    Stream(Box<Stream>),
    /// A hash.
    Hash(Hash),
    /// A list.
    List(List),
    /// A set.
    Set(Set),
    /// A sorted set.
    Zset(Zset),
}

/// Longest string that Redis keeps in one allocation with its header; the only trace is OBJECT ENCODING.
const EMBSTR_BYTES_MAX: usize = 44;

impl Value {
    /// A string value; canonical integers are recognised.
    pub fn string(bytes: &[u8]) -> Value {
        match integer(bytes) {
            Some(number) => Value::Int(number),
            None => Value::Str(Bytes::from(bytes)),
        }
    }

    /// The bytes, if it is a string.
    #[inline]
    pub fn text(&self) -> Option<Text<'_>> {
        match self {
            Value::Int(number) => Some(Text::from(*number)),
            Value::Str(bytes) => Some(Text::held(bytes)),
            Value::Grown(bytes) => Some(Text::held(bytes)),
            Value::Long(long) => Some(Text::parts(long)),
            _ => None,
        }
    }

    /// Whether it is a string.
    pub fn is_string(&self) -> bool {
        matches!(self, Value::Int(_) | Value::Str(_) | Value::Grown(_) | Value::Long(_))
    }

    /// The stream, if it is one.
    #[inline]
    pub fn stream(&self) -> Option<&Stream> {
        match self {
            Value::Stream(stream) => Some(stream),
            _ => None,
        }
    }

    /// The collection, whichever type it has, if it is one.
    #[inline]
    pub(crate) fn collection(&self) -> Option<&dyn Collection> {
        match self {
            Value::Set(set) => Some(set),
            Value::Hash(hash) => Some(hash),
            Value::Int(_) | Value::Str(_) | Value::Grown(_) | Value::Long(_) | Value::Stream(_) => None,
            Value::List(list) => Some(list),
            Value::Zset(zset) => Some(zset),
        }
    }

    /// The collection, whichever type it has, if it is one.
    pub(crate) fn collection_mut(&mut self) -> Option<&mut dyn Collection> {
        match self {
            Value::Set(set) => Some(set),
            Value::Hash(hash) => Some(hash),
            Value::Int(_) | Value::Str(_) | Value::Grown(_) | Value::Long(_) | Value::Stream(_) => None,
            Value::List(list) => Some(list),
            Value::Zset(zset) => Some(zset),
        }
    }

    /// The collection that a value is which is neither a string nor a stream.
    pub(crate) fn as_collection(&self) -> &dyn Collection {
        self.collection().expect("a value is a string, a stream or a collection")
    }

    /// Puts bytes behind a string and returns its new length; `None`, and nothing is changed, for any other value.
    ///
    /// Cost: amortised O(`tail`), after the first time.
    pub(crate) fn append(&mut self, tail: &[u8]) -> Option<usize> {
        let len = self.text()?.len();
        self.write(len, tail)
    }

    /// Writes bytes into a string at an offset, with zeros between where it is shorter, and returns its new length; `None`,
    /// and nothing is changed, for any other value.
    ///
    /// Cost: as [`Long`]'s, but for a string that is changed for the first time, which is copied if it is short.
    pub(crate) fn write(&mut self, offset: usize, bytes: &[u8]) -> Option<usize> {
        let end = offset + bytes.len();
        let len = self.text()?.len().max(end);
        self.make_changeable(len);
        match self {
            Value::Grown(grown) => {
                let grown = Arc::make_mut(grown);
                if grown.len() == offset {
                    grown.extend_from_slice(bytes);
                } else {
                    grown.resize(len, 0);
                    grown[offset..end].copy_from_slice(bytes);
                }
            }
            Value::Long(long) => Arc::make_mut(long).write(offset, bytes),
            _ => return None,
        }
        Some(len)
    }

    /// Keeps the string, which is going to have `len` bytes, in a form that is changed in places.
    pub(crate) fn make_changeable(&mut self, len: usize) {
        let changeable = match self {
            Value::Long(_) => return,
            Value::Grown(_) if len < PART_BYTES => return,
            Value::Str(bytes) if len >= PART_BYTES => {
                let long =
                    bytes.shared().map_or_else(|| Long::from(&bytes[..]), |base| Long::over(base.clone()));
                Value::Long(Arc::new(long))
            }
            _ => match self.text() {
                Some(text) if len >= PART_BYTES => Value::Long(Arc::new(Long::from(&text[..]))),
                Some(text) => {
                    let mut bytes = Vec::with_capacity(len);
                    bytes.extend_from_slice(&text);
                    Value::Grown(Arc::new(bytes))
                }
                None => return,
            },
        };
        *self = changeable;
    }

    /// Panics if what a string counts is not what is there; for tests and fuzz targets.
    pub(crate) fn check(&self) {
        if let Value::Long(long) = self {
            long.check();
        }
    }

    /// What a long string no longer uses of the one it was made from.
    pub(crate) fn take_unused_base(&mut self) -> Option<Value> {
        let Value::Long(long) = self else { return None };
        // A copy that shares it would be made for nothing: it takes it when it is written to for the next time.
        Some(Value::Str(Arc::get_mut(long)?.take_unused_base()?.into()))
    }

    /// As TYPE says it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Int(_) | Value::Str(_) | Value::Grown(_) | Value::Long(_) => "string",
            Value::Stream(_) => "stream",
            _ => self.as_collection().type_name(),
        }
    }

    /// As OBJECT ENCODING says it.
    pub fn encoding(&self) -> &'static str {
        match self {
            Value::Int(_) => "int",
            Value::Str(bytes) if bytes.len() <= EMBSTR_BYTES_MAX => "embstr",
            Value::Str(_) | Value::Grown(_) | Value::Long(_) => "raw",
            Value::Stream(_) => "stream",
            _ => self.as_collection().encoding(),
        }
    }

    /// The soonest expiry of a part of it, or [`NEVER`].
    #[inline]
    pub(crate) fn soonest_ms(&self) -> u64 {
        match self {
            Value::Hash(hash) => hash.soonest_ms(),
            Value::Stream(stream) => stream.soonest_ms(),
            _ => NEVER,
        }
    }

    /// Bytes of the value in Redis's database file. Cost: O(bytes).
    pub fn serialized_bytes(&self) -> usize {
        rdb::serialized_bytes(self)
    }

    /// Bytes on the heap, not counting this enum.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Value::Int(_) => 0,
            Value::Str(bytes) => bytes.heap_bytes(),
            Value::Grown(bytes) => 16 + size_of::<Vec<u8>>() + bytes.capacity(),
            Value::Long(long) => 16 + size_of::<Long>() + long.heap_bytes(),
            Value::Stream(stream) => size_of::<Stream>() + stream.heap_bytes(),
            _ => self.as_collection().heap_bytes(),
        }
    }
}

impl Record {
    /// Its value.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Its name.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// Unix time in milliseconds after which it is gone; `None`: it stays.
    pub fn expire_at_ms(&self) -> Option<u64> {
        (self.expire_at_ms != NEVER).then_some(self.expire_at_ms)
    }

    /// Whether it is gone at `now_ms`. Its last millisecond still counts as life, as in Redis.
    #[inline]
    pub fn is_expired(&self, now_ms: u64) -> bool {
        now_ms > self.expire_at_ms
    }

    /// Seconds since its last use, if that is what is noted of keys.
    pub fn idle_s(&self, now_ms: u64) -> u64 {
        (now_ms / 1000).saturating_sub(u64::from(self.usage))
    }

    /// Bytes that it takes, its place in the table included.
    pub fn usage_bytes(&self) -> usize {
        size_of::<Record>() + 1 + self.heap_bytes()
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.key.heap_bytes() + self.value.heap_bytes()
    }
}

/// The integer that `bytes` are the only decimal form of: no plus, no leading zeros, no `-0`, no blanks.
///
/// Source: Redis's `string2ll`. Whatever this accepts is printed back as the same bytes.
pub(crate) fn integer(bytes: &[u8]) -> Option<i64> {
    let (negative, digits) = match bytes {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    let mut magnitude = 0u64;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        // At most 19 digits: below 10^19, which fits.
        magnitude = magnitude * 10 + u64::from(digit - b'0');
    }
    if negative { 0i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_form_is_an_integer() {
        for number in [0, 1, -1, 9, 10, i64::MAX, i64::MIN, i64::MIN + 1, 1_000_000_007] {
            assert_eq!(integer(number.to_string().as_bytes()), Some(number));
            assert_eq!(*Text::from(number), *number.to_string().as_bytes());
        }
        for text in [
            "",
            "-",
            "+1",
            "-0",
            "00",
            "01",
            "-01",
            " 1",
            "1 ",
            "1.0",
            "1e3",
            "0x1",
            "9223372036854775808",
            "-9223372036854775809",
            "99999999999999999999",
            "18446744073709551615",
        ] {
            assert_eq!(integer(text.as_bytes()), None, "{text:?}");
        }
    }
}
