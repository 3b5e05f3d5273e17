//! What is kept under a key.

use std::sync::Arc;

use crate::bytes::Bytes;
use crate::collection::{Collection, Elements, Limits};
use crate::fields::{Hash, HashRef};
use crate::list::{List, ListRef};
use crate::rdb;
use crate::set::{Set, SetRef};
use crate::stream::Stream;
use crate::string::{Long, PART_BYTES, Text};
use crate::zset::{Direction, Zset, ZsetRef};

/// Longest string. Source: Redis's `proto-max-bulk-len` by default, and its bound before that was an option.
pub(crate) const STRING_BYTES_MAX: usize = 512 << 20;

/// `expire_at_ms` of a key that stays.
pub(crate) const NEVER: u64 = u64::MAX;

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

    /// Applies a change of the collection of this type. False, and nothing is changed: it doesn't fit.
    pub(crate) fn apply(&mut self, tag: u8, change: &[u8], limits: &Limits) -> bool {
        match self {
            Value::Hash(hash) if tag == Hash::TAG => hash.apply(change, limits),
            Value::List(list) if tag == List::TAG => list.apply(change, limits),
            Value::Set(set) if tag == Set::TAG => set.apply(change, limits),
            Value::Zset(zset) if tag == Zset::TAG => zset.apply(change, limits),
            _ => false,
        }
    }

    /// Whether it is a collection without elements.
    pub(crate) fn is_emptied(&self) -> bool {
        ValueRef::from(self).collection().is_some_and(Collection::is_empty)
    }

    /// The tag and the bytes of a small collection.
    #[inline]
    pub(crate) fn packed(&self) -> Option<(u8, &[u8])> {
        match self {
            Value::Hash(hash) => Some((Hash::TAG, hash.packed()?)),
            Value::List(list) => Some((List::TAG, list.packed()?)),
            Value::Set(set) => Some((Set::TAG, set.packed()?)),
            Value::Zset(zset) => Some((Zset::TAG, zset.packed()?)),
            _ => None,
        }
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

    /// Panics if what it counts is not what is there; for tests and fuzz targets.
    pub(crate) fn check(&self) {
        match self {
            Value::Long(long) => long.check(),
            Value::Hash(hash) => hash.check(),
            Value::List(list) => list.check(),
            Value::Set(set) => set.check(),
            Value::Zset(zset) => zset.check(),
            Value::Int(_) | Value::Str(_) | Value::Grown(_) | Value::Stream(_) => {}
        }
    }

    /// What a long string no longer uses of the one it was made from.
    pub(crate) fn take_unused_base(&mut self) -> Option<Value> {
        let Value::Long(long) = self else { return None };
        // A copy that shares it would be made for nothing: it takes it when it is written to for the next time.
        Some(Value::Str(Arc::get_mut(long)?.take_unused_base()?.into()))
    }

    /// The soonest expiry of a part of it, or [`NEVER`].
    #[inline]
    pub(crate) fn soonest_ms(&self) -> u64 {
        match self {
            Value::Hash(hash) => hash.view().soonest_ms(),
            Value::Stream(stream) => stream.soonest_ms(),
            _ => NEVER,
        }
    }

    /// Bytes on the heap, not counting this enum.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Value::Int(_) => 0,
            Value::Str(bytes) => bytes.heap_bytes(),
            Value::Grown(bytes) => 16 + size_of::<Vec<u8>>() + bytes.capacity(),
            Value::Long(long) => 16 + size_of::<Long>() + long.heap_bytes(),
            Value::Stream(stream) => size_of::<Stream>() + stream.heap_bytes(),
            Value::Hash(hash) => hash.view().heap_bytes(),
            Value::List(list) => list.view().heap_bytes(),
            Value::Set(set) => set.view().heap_bytes(),
            Value::Zset(zset) => zset.view().heap_bytes(),
        }
    }
}

/// A value as it is seen under its key: what is small is in the key's record, and no [`Value`].
#[derive(Debug, Clone, Copy)]
pub enum ValueRef<'a> {
    /// A string that is the decimal form of an integer.
    Int(i64),
    /// A string as it was set, short enough to be copied.
    Text(&'a [u8]),
    /// A hash.
    Hash(HashRef<'a>),
    /// A list.
    List(ListRef<'a>),
    /// A set.
    Set(SetRef<'a>),
    /// A sorted set.
    Zset(ZsetRef<'a>),
    /// Anything else.
    Kept(&'a Value),
}

impl<'a> From<&'a Value> for ValueRef<'a> {
    #[inline]
    fn from(value: &'a Value) -> ValueRef<'a> {
        match value {
            Value::Int(number) => ValueRef::Int(*number),
            Value::Str(bytes) if bytes.shared().is_none() => ValueRef::Text(bytes),
            Value::Hash(hash) => ValueRef::Hash(hash.view()),
            Value::List(list) => ValueRef::List(list.view()),
            Value::Set(set) => ValueRef::Set(set.view()),
            Value::Zset(zset) => ValueRef::Zset(zset.view()),
            Value::Str(_) | Value::Grown(_) | Value::Long(_) | Value::Stream(_) => ValueRef::Kept(value),
        }
    }
}

impl<'a> ValueRef<'a> {
    /// A copy, which shares what is large.
    pub fn to_value(self) -> Value {
        match self {
            ValueRef::Int(number) => Value::Int(number),
            ValueRef::Text(bytes) => Value::Str(bytes.into()),
            ValueRef::Hash(hash) => Value::Hash(hash.to_hash()),
            ValueRef::List(list) => Value::List(list.to_list()),
            ValueRef::Set(set) => Value::Set(set.to_set()),
            ValueRef::Zset(zset) => Value::Zset(zset.to_zset()),
            ValueRef::Kept(value) => value.clone(),
        }
    }

    /// The bytes, if it is a string.
    #[inline]
    pub fn text(self) -> Option<Text<'a>> {
        match self {
            ValueRef::Int(number) => Some(Text::from(number)),
            ValueRef::Text(bytes) => Some(Text::held(bytes)),
            ValueRef::Kept(value) => value.text(),
            ValueRef::Hash(_) | ValueRef::List(_) | ValueRef::Set(_) | ValueRef::Zset(_) => None,
        }
    }

    /// Whether it is a string.
    pub fn is_string(self) -> bool {
        match self {
            ValueRef::Int(_) | ValueRef::Text(_) => true,
            ValueRef::Kept(value) => value.is_string(),
            ValueRef::Hash(_) | ValueRef::List(_) | ValueRef::Set(_) | ValueRef::Zset(_) => false,
        }
    }

    /// Bytes of what is small, or on the heap, of anything else.
    pub fn heap_bytes(self) -> usize {
        match self {
            ValueRef::Int(_) => 0,
            ValueRef::Text(bytes) => bytes.len(),
            ValueRef::Kept(value) => value.heap_bytes(),
            _ => self.as_collection().heap_bytes(),
        }
    }

    /// How many elements it has; a string is one.
    pub fn elements(self) -> usize {
        match self {
            ValueRef::Int(_) | ValueRef::Text(_) => 1,
            ValueRef::Hash(hash) => hash.len(),
            ValueRef::List(list) => list.len() as usize,
            ValueRef::Set(set) => set.len(),
            ValueRef::Zset(zset) => zset.len(),
            ValueRef::Kept(value) => value.stream().map_or(1, |stream| stream.len() as usize),
        }
    }

    /// Bytes of the values of these fields, if it is a hash.
    pub fn bytes_of_fields<'n>(self, names: impl Iterator<Item = &'n [u8]>, now_ms: u64) -> usize {
        let ValueRef::Hash(hash) = self else { return 0 };
        names.filter_map(|name| hash.get(name, now_ms)).map(|value| value.text().len()).sum()
    }

    /// Whether elements are taken from its ends.
    pub fn has_ends(self) -> bool {
        matches!(self, ValueRef::List(_) | ValueRef::Zset(_))
    }

    /// Bytes of `count` elements behind the first `from`, counted from the one end or the other, whichever are more: the next to be taken
    /// from it. Of what has no ends, none.
    pub fn bytes_at_ends(self, from: usize, count: usize) -> usize {
        let to = from.saturating_add(count);
        match self {
            ValueRef::List(list) => {
                let bytes_at = |index| list.get(index).map_or(0, |element| element.text().len());
                let (from, to) = (list.len().min(from as u64), list.len().min(to as u64));
                let first: usize = (from..to).map(bytes_at).sum();
                let last: usize = (from..to).map(|index| bytes_at(list.len() - 1 - index)).sum();
                first.max(last)
            }
            ValueRef::Zset(zset) => {
                let (from, to) = (from.min(zset.len()), to.min(zset.len()));
                let bytes = |ranks| {
                    let mut bytes = 0;
                    zset.visit(ranks, Direction::Forward, |member, _| bytes += member.len());
                    bytes
                };
                bytes(from..to).max(bytes(zset.len() - to..zset.len() - from))
            }
            _ => 0,
        }
    }

    /// The stream, if it is one.
    #[inline]
    pub fn stream(self) -> Option<&'a Stream> {
        match self {
            ValueRef::Kept(value) => value.stream(),
            _ => None,
        }
    }

    /// The collection, whichever type it has, if it is one.
    #[inline]
    pub(crate) fn collection(&self) -> Option<&dyn Collection> {
        match self {
            ValueRef::Hash(hash) => Some(hash),
            ValueRef::List(list) => Some(list),
            ValueRef::Set(set) => Some(set),
            ValueRef::Zset(zset) => Some(zset),
            ValueRef::Int(_) | ValueRef::Text(_) | ValueRef::Kept(_) => None,
        }
    }

    /// The collection that a value is which is neither a string nor a stream.
    fn as_collection(&self) -> &dyn Collection {
        self.collection().expect("a value is a string, a stream or a collection")
    }

    /// As TYPE says it.
    pub fn type_name(self) -> &'static str {
        match self {
            ValueRef::Int(_) | ValueRef::Text(_) => "string",
            ValueRef::Kept(value) => value.stream().map_or("string", |_| "stream"),
            _ => self.as_collection().type_name(),
        }
    }

    /// As OBJECT ENCODING says it.
    pub fn encoding(self) -> &'static str {
        match self {
            ValueRef::Int(_) => "int",
            ValueRef::Text(bytes) if bytes.len() <= EMBSTR_BYTES_MAX => "embstr",
            ValueRef::Text(_) => "raw",
            ValueRef::Kept(value) => value.stream().map_or("raw", |_| "stream"),
            _ => self.as_collection().encoding(),
        }
    }

    /// The soonest expiry of a part of it, or [`NEVER`].
    #[inline]
    pub(crate) fn soonest_ms(self) -> u64 {
        match self {
            ValueRef::Hash(hash) => hash.soonest_ms(),
            ValueRef::Kept(value) => value.soonest_ms(),
            _ => NEVER,
        }
    }

    /// Bytes of the value in Redis's database file. Cost: O(bytes).
    pub fn serialized_bytes(self) -> usize {
        rdb::serialized_bytes(self)
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
