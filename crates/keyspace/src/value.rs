//! What is kept under a key.

use std::sync::Arc;

use crate::bytes::Bytes;
use crate::collection::Collection;
use crate::fields::Hash;
use crate::listpack::Element;
use crate::set::Set;
use crate::stream::Stream;

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
    /// Unix time in seconds of the last use; wraps in 2106.
    pub(crate) used_at_s: u32,
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
    /// A string that was appended to, with room to grow. Copies share it until one grows.
    Grown(Arc<Vec<u8>>),
    /// A stream.
    Stream(Box<Stream>),
    /// A hash.
    Hash(Hash),
    /// A set.
    Set(Set),
}

/// Longest string that Redis keeps in one allocation with its header; the only trace is OBJECT ENCODING.
const EMBSTR_BYTES_MAX: usize = 44;

/// The bytes of a string value: those it holds, or the digits of an integer.
pub struct Text<'a>(TextInner<'a>);

enum TextInner<'a> {
    Held(&'a [u8]),
    Digits { buffer: [u8; 20], start: u8 },
}

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
            Value::Str(bytes) => Some(Text(TextInner::Held(bytes))),
            Value::Grown(bytes) => Some(Text(TextInner::Held(bytes))),
            _ => None,
        }
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
            Value::Int(_) | Value::Str(_) | Value::Grown(_) | Value::Stream(_) => None,
            Value::Hash(hash) => Some(hash),
        }
    }

    /// The collection, whichever type it has, if it is one.
    pub(crate) fn collection_mut(&mut self) -> Option<&mut dyn Collection> {
        match self {
            Value::Set(set) => Some(set),
            Value::Int(_) | Value::Str(_) | Value::Grown(_) | Value::Stream(_) => None,
            Value::Hash(hash) => Some(hash),
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
        if let Value::Grown(bytes) = self {
            let bytes = Arc::make_mut(bytes);
            bytes.extend_from_slice(tail);
            return Some(bytes.len());
        }
        let head = self.text()?;
        let mut bytes = Vec::with_capacity(head.len() + tail.len());
        bytes.extend_from_slice(&head);
        bytes.extend_from_slice(tail);
        let len = bytes.len();
        *self = Value::Grown(Arc::new(bytes));
        Some(len)
    }

    /// As TYPE says it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Int(_) | Value::Str(_) | Value::Grown(_) => "string",
            Value::Stream(_) => "stream",
            _ => self.as_collection().type_name(),
        }
    }

    /// As OBJECT ENCODING says it.
    pub fn encoding(&self) -> &'static str {
        match self {
            Value::Int(_) => "int",
            Value::Str(bytes) if bytes.len() <= EMBSTR_BYTES_MAX => "embstr",
            Value::Str(_) | Value::Grown(_) => "raw",
            Value::Stream(_) => "stream",
            _ => self.as_collection().encoding(),
        }
    }

    /// The soonest expiry of a part of it, or [`NEVER`].
    #[inline]
    pub(crate) fn soonest_ms(&self) -> u64 {
        match self {
            Value::Hash(hash) => hash.soonest_ms(),
            _ => NEVER,
        }
    }

    /// Bytes on the heap, not counting this enum.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Value::Int(_) => 0,
            Value::Str(bytes) => bytes.heap_bytes(),
            Value::Grown(bytes) => 16 + size_of::<Vec<u8>>() + bytes.capacity(),
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

    /// Seconds since its last use.
    pub fn idle_s(&self, now_ms: u64) -> u64 {
        (now_ms / 1000).saturating_sub(u64::from(self.used_at_s))
    }

    /// Bytes that it takes, its place in the table included.
    pub fn usage_bytes(&self) -> usize {
        size_of::<Record>() + 1 + self.heap_bytes()
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.key.heap_bytes() + self.value.heap_bytes()
    }
}

impl<'a> From<Element<'a>> for Text<'a> {
    #[inline]
    fn from(element: Element<'a>) -> Text<'a> {
        match element {
            Element::Text(bytes) => Text(TextInner::Held(bytes)),
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
        Text(TextInner::Digits { buffer, start: start as u8 })
    }
}

impl std::ops::Deref for Text<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            TextInner::Held(bytes) => bytes,
            TextInner::Digits { buffer, start } => &buffer[usize::from(*start)..],
        }
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
