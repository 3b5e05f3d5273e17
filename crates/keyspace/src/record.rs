//! A record: all that is known of one key, in one run of bytes of its segment (`segment.rs`).
//!
//! ```text
//!           0      1         2        6              6 or 14
//!         [ head │ key len │ usage  │ expiry       │ key …… │ value …… ]
//!           1      1         4        8, if any
//!
//! head    bits 0–3: what the value is; bit 4: there is an expiry
//!
//! value   Int     8 bytes
//!         Text    length, 1 byte; so many bytes
//!         Packed  length, 1 or 2 bytes; so many bytes: a small collection, whose tag (`collection.rs`) is in the head; a hash's
//!                 elements have no backlens here (`packed.rs`), which were a twelfth of one with short names and values
//!         Kept    2 bytes: where in the segment's list of values it is
//!         Named   as Kept, and the key is there as well, with its hash; its length here is 0
//! ```
//!
//! Small strings are here as a whole, so that a key costs its bytes and its value's, 7 more, and a place of 4 in its segment's
//! index; and so are small collections that were put here whole. Everything else (large collections, those that were changed
//! since, streams, long strings, strings that are changed in places) is a [`Value`] in the segment's list, and so is what has a
//! long key.
//!
//! A collection that is to change leaves its record for good (until it is loaded, restored or copied), for the cost of one copy:
//! growing here it would move what is behind it, or itself, each time.

use std::ops::Range;

use crate::collection::{self, Elements};
use crate::effect;
use crate::fields::Hash;
use crate::hash::KeyHash;
use crate::packed::PackedRef;
use crate::value::{NEVER, Value, ValueRef};

/// Longest key within a record.
const KEY_MAX: usize = 255;
/// Longest string within a record. Most segments have 7 to 14 KiB, so that the longest fill one by dozens.
const TEXT_MAX: usize = 255;
/// Largest collection within a record. Above, what is left of a size of the allocator is a small part of it.
const PACKED_MAX: usize = 512;
/// From this length of a collection on its high byte is added to this, and the low one follows.
const LONG_FIRST: usize = 240;

const _: () = assert!(PACKED_MAX >> 8 < 256 - LONG_FIRST, "a byte says the high one");

/// The longest record.
pub(crate) const RECORD_BYTES_MAX: usize = 6 + 8 + KEY_MAX + 2 + PACKED_MAX;

const KIND: u8 = 0b1111;
const INT: u8 = 0;
const TEXT: u8 = 1;
const KEPT: u8 = 2;
const NAMED: u8 = 3;
const EXPIRES: u8 = 0b1_0000;

const _: () = assert!(
    effect::COLLECTIONS_FIRST > NAMED && effect::COLLECTIONS_LAST <= KIND,
    "the tag of a collection says what the value is"
);

const KEY_LEN_AT: usize = 1;
const USAGE: Range<usize> = 2..6;
const EXPIRY: Range<usize> = 6..14;

/// What a segment keeps beside the bytes of its records.
#[derive(Debug, Default)]
pub(crate) enum Kept {
    /// Nothing: the next one takes its place.
    #[default]
    Free,
    Value(Value),
    /// With a key that is too long for a record.
    Named(Box<Named>),
}

/// A value with its key. A key may have 2 MiB: it is hashed when it comes, and neither when its segment grows nor in a walk.
#[derive(Debug)]
pub(crate) struct Named {
    hash: u64,
    key: Box<[u8]>,
    value: Value,
}

const _: () = assert!(size_of::<Kept>() == size_of::<Value>(), "what is free costs no word of its own");

impl Kept {
    #[inline]
    fn value(&self) -> &Value {
        match self {
            Kept::Value(value) => value,
            Kept::Named(named) => &named.value,
            Kept::Free => unreachable!("a record names a value that is kept"),
        }
    }

    pub(crate) fn into_value(self) -> Option<Value> {
        match self {
            Kept::Free => None,
            Kept::Value(value) => Some(value),
            Kept::Named(named) => Some(named.value),
        }
    }

    pub(crate) fn value_mut(&mut self) -> &mut Value {
        match self {
            Kept::Value(value) => value,
            Kept::Named(named) => &mut named.value,
            Kept::Free => unreachable!("a record names a value that is kept"),
        }
    }
}

/// A value that is to be put under a key.
#[derive(Debug)]
pub enum NewValue<'a> {
    /// A string that is the decimal form of an integer.
    Int(i64),
    /// A string as it was set.
    Text(&'a [u8]),
    /// Any other.
    Value(Value),
}

impl<'a> NewValue<'a> {
    /// A string value; canonical integers are recognised.
    #[inline]
    pub(crate) fn string(bytes: &'a [u8]) -> NewValue<'a> {
        match crate::value::integer(bytes) {
            Some(number) => NewValue::Int(number),
            None => NewValue::Text(bytes),
        }
    }

    pub(crate) fn as_ref(&self) -> ValueRef<'_> {
        match self {
            NewValue::Int(number) => ValueRef::Int(*number),
            NewValue::Text(bytes) => ValueRef::Text(bytes),
            NewValue::Value(value) => ValueRef::from(value),
        }
    }

    fn into_value(self) -> Value {
        match self {
            NewValue::Int(number) => Value::Int(number),
            NewValue::Text(bytes) => Value::Str(bytes.into()),
            NewValue::Value(value) => value,
        }
    }
}

impl From<Value> for NewValue<'_> {
    fn from(value: Value) -> Self {
        NewValue::Value(value)
    }
}

/// All that is known of one key.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    /// From its first byte on; where it ends follows from what it says.
    bytes: &'a [u8],
    kept: &'a [Kept],
}

impl<'a> Record<'a> {
    /// The record that begins where `bytes` do; `kept` is its segment's.
    #[inline]
    pub(crate) fn at(bytes: &'a [u8], kept: &'a [Kept]) -> Record<'a> {
        Record { bytes, kept }
    }

    #[inline]
    fn kind(self) -> u8 {
        self.bytes[0] & KIND
    }

    #[inline]
    fn has_expiry(self) -> bool {
        self.bytes[0] & EXPIRES != 0
    }

    /// Where the key begins.
    #[inline]
    fn key_at(self) -> usize {
        if self.has_expiry() { EXPIRY.end } else { USAGE.end }
    }

    /// Where the value begins.
    #[inline]
    fn value_at(self) -> usize {
        self.key_at() + usize::from(self.bytes[KEY_LEN_AT])
    }

    /// Bytes of the record itself.
    #[inline]
    pub(crate) fn len(self) -> usize {
        let at = self.value_at();
        at + match self.kind() {
            INT => 8,
            TEXT => 1 + usize::from(self.bytes[at]),
            KEPT | NAMED => 2,
            _ => packed_range(self.bytes, at).end - at,
        }
    }

    /// Whether the value is a collection within the record.
    #[inline]
    pub(crate) fn is_packed(self) -> bool {
        self.kind() > NAMED
    }

    /// Where its value is kept, if it is not within the record.
    #[inline]
    pub(crate) fn kept_at(self) -> Option<u16> {
        matches!(self.kind(), KEPT | NAMED).then(|| short_at(self.bytes, self.value_at()))
    }

    #[inline]
    fn kept(self) -> Option<&'a Kept> {
        Some(&self.kept[usize::from(self.kept_at()?)])
    }

    /// Whether this is its name.
    // Asked in each look-up: a call would take as long as the comparison.
    #[inline(always)]
    pub(crate) fn has_key(self, key: &[u8]) -> bool {
        if self.kind() == NAMED {
            return self.has_long_key(key);
        }
        let start = self.key_at();
        usize::from(self.bytes[KEY_LEN_AT]) == key.len() && is_same(&self.bytes[start..][..key.len()], key)
    }

    #[cold]
    fn has_long_key(self, key: &[u8]) -> bool {
        self.key() == key
    }

    /// Its name.
    #[inline]
    pub fn key(self) -> &'a [u8] {
        if self.kind() == NAMED
            && let Some(Kept::Named(named)) = self.kept()
        {
            return &named.key;
        }
        &self.bytes[self.key_at()..self.value_at()]
    }

    /// The hash of its name; `of` is what its keyspace hashes with. Cost: O(1).
    #[inline]
    pub(crate) fn hash(self, of: &KeyHash) -> u64 {
        if self.kind() == NAMED
            && let Some(Kept::Named(named)) = self.kept()
        {
            return named.hash;
        }
        of.of(self.key())
    }

    /// Its value.
    #[inline]
    pub fn value(self) -> ValueRef<'a> {
        let at = self.value_at();
        match self.kind() {
            TEXT => {
                let len = usize::from(self.bytes[at]);
                ValueRef::Text(&self.bytes[at + 1..at + 1 + len])
            }
            INT => ValueRef::Int(number_at(self.bytes, at) as i64),
            KEPT | NAMED => ValueRef::from(self.kept[usize::from(short_at(self.bytes, at))].value()),
            tag => collection::of_packed(tag, &self.bytes[packed_range(self.bytes, at)]),
        }
    }

    /// Unix time in milliseconds after which it is gone, or [`NEVER`].
    #[inline]
    pub(crate) fn expiry_ms(self) -> u64 {
        if self.has_expiry() { number_at(self.bytes, EXPIRY.start) } else { NEVER }
    }

    /// Unix time in milliseconds after which it is gone; `None`: it stays.
    pub fn expire_at_ms(self) -> Option<u64> {
        self.has_expiry().then(|| self.expiry_ms())
    }

    /// Whether it is gone at `now_ms`. Its last millisecond still counts as life, as in Redis.
    #[inline]
    pub fn is_expired(self, now_ms: u64) -> bool {
        self.has_expiry() && now_ms > self.expiry_ms()
    }

    /// How it is used: see `usage.rs`.
    #[inline]
    pub(crate) fn usage(self) -> u32 {
        usage_in(self.bytes)
    }

    /// Seconds since its last use, if that is what is noted of keys.
    pub fn idle_s(self, now_ms: u64) -> u64 {
        (now_ms / 1000).saturating_sub(u64::from(self.usage()))
    }

    /// Bytes that it takes, its place in the index included.
    pub fn usage_bytes(self) -> usize {
        let kept = self.kept_at().map_or(0, |_| size_of::<Kept>());
        self.len() + size_of::<u32>() + kept + self.heap_bytes()
    }

    /// Bytes beside those of its segment.
    pub(crate) fn heap_bytes(self) -> usize {
        match self.kept() {
            None => 0,
            Some(Kept::Named(named)) => size_of::<Named>() + named.key.len() + named.value.heap_bytes(),
            Some(kept) => kept.value().heap_bytes(),
        }
    }
}

impl std::fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Record({}: {:?})", self.key().escape_ascii(), self.value())
    }
}

/// Where the bytes of a collection are whose length stands at a place.
#[inline]
fn packed_range(bytes: &[u8], at: usize) -> Range<usize> {
    match usize::from(bytes[at]) {
        len @ ..LONG_FIRST => at + 1..at + 1 + len,
        high => at + 2..at + 2 + ((high - LONG_FIRST) << 8 | usize::from(bytes[at + 1])),
    }
}

/// Whether two runs of bytes of one length are the same. Most keys have 4 to 32: their ends are compared as numbers, which may
/// overlap, in less time than a call takes.
#[inline(always)]
fn is_same(a: &[u8], b: &[u8]) -> bool {
    match a.len() {
        8..=16 => has_same_ends::<8>(a, b),
        17..=32 => has_same_ends::<16>(a, b),
        4..8 => has_same_ends::<4>(a, b),
        _ => a == b,
    }
}

#[inline(always)]
fn has_same_ends<const N: usize>(a: &[u8], b: &[u8]) -> bool {
    a.first_chunk::<N>() == b.first_chunk() && a.last_chunk::<N>() == b.last_chunk()
}

#[inline]
fn number_at(bytes: &[u8], at: usize) -> u64 {
    let bytes = bytes[at..].first_chunk().expect("a record has all of its bytes");
    u64::from_le_bytes(*bytes)
}

#[inline]
fn short_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

#[inline]
fn usage_in(record: &[u8]) -> u32 {
    u32::from_le_bytes(*record[USAGE.start..].first_chunk().expect("a record has all of its bytes"))
}

/// How a record in `bytes` is used, from now on.
#[inline]
pub(crate) fn set_usage(bytes: &mut [u8], usage: u32) {
    bytes[USAGE].copy_from_slice(&usage.to_le_bytes());
}

/// Changes when the record in `bytes` expires, where that does not change its length; false: it would.
#[inline]
pub(crate) fn set_expiry(bytes: &mut [u8], expiry_ms: u64) -> bool {
    let has_expiry = bytes[0] & EXPIRES != 0;
    if has_expiry != (expiry_ms != NEVER) {
        return false;
    }
    if has_expiry {
        bytes[EXPIRY].copy_from_slice(&expiry_ms.to_le_bytes());
    }
    true
}

/// Puts an integer in the place of another one; false, and nothing is changed: there is something else.
#[inline]
pub(crate) fn set_number(bytes: &mut [u8], number: i64, usage: u32) -> bool {
    let record = Record::at(bytes, &[]);
    let (kind, at) = (record.kind(), record.value_at());
    if kind != INT {
        return false;
    }
    bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
    set_usage(bytes, usage);
    true
}

/// Puts a string in the place of one of the same kind and length, where that does not change the record's; false, and nothing
/// is changed: it would.
#[inline]
pub(crate) fn overwrite(bytes: &mut [u8], value: &NewValue<'_>, expiry_ms: u64, usage: u32) -> bool {
    let record = Record::at(bytes, &[]);
    let (kind, at) = (record.kind(), record.value_at());
    match value {
        NewValue::Int(number) if kind == INT && set_expiry(bytes, expiry_ms) => {
            bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        NewValue::Text(text)
            if kind == TEXT && usize::from(bytes[at]) == text.len() && set_expiry(bytes, expiry_ms) =>
        {
            bytes[at + 1..at + 1 + text.len()].copy_from_slice(text);
        }
        _ => return false,
    }
    set_usage(bytes, usage);
    true
}

/// Appends the record in `range`, which has no expiry, with one.
pub(crate) fn push_expiring(bytes: &mut Vec<u8>, range: Range<usize>, expiry_ms: u64) {
    let start = bytes.len();
    bytes.extend_from_within(range.start..range.start + USAGE.end);
    bytes[start] |= EXPIRES;
    bytes.extend_from_slice(&expiry_ms.to_le_bytes());
    bytes.extend_from_within(range.start + USAGE.end..range.end);
}

/// Takes its expiry out of a record, which is so much shorter then.
pub(crate) fn take_expiry(record: &mut [u8]) {
    record[0] &= !EXPIRES;
    record.copy_within(EXPIRY.end.., USAGE.end);
}

/// Has the record in `bytes`, whose value is kept, say that it is kept there.
pub(crate) fn set_kept_at(bytes: &mut [u8], kept_at: u16) {
    let at = Record::at(bytes, &[]).value_at();
    bytes[at..at + 2].copy_from_slice(&kept_at.to_le_bytes());
}

/// Bytes by which a record is longer with an expiry.
pub(crate) const EXPIRY_BYTES: usize = EXPIRY.end - EXPIRY.start;

/// A record that is to be written.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    kind: u8,
    /// Empty if it is kept with the value.
    key: &'a [u8],
    usage: u32,
    expiry_ms: u64,
    value: DraftValue<'a>,
}

#[derive(Debug)]
enum DraftValue<'a> {
    Int(i64),
    Text(&'a [u8]),
    /// A small collection, and how many bytes it has in the record.
    Packed(Value, usize),
    Keep(Kept),
}

/// The tag of a small collection, and how many bytes it has in a record; `None`: it is large.
fn packed_len(value: &Value) -> Option<(u8, usize)> {
    let (tag, bytes) = value.packed()?;
    let is_hash = tag == Hash::TAG;
    Some((tag, if is_hash { PackedRef::of_bytes(bytes).bare_bytes() } else { bytes.len() }))
}

/// Writes a small collection as it is in a record.
fn write_packed(value: &Value, out: &mut [u8]) {
    match value.packed() {
        Some((Hash::TAG, bytes)) => PackedRef::of_bytes(bytes).write_bare(out),
        Some((_, bytes)) => out.copy_from_slice(bytes),
        None => {}
    }
}

impl<'a> Draft<'a> {
    /// Of a value that is to change, and is kept whatever its size.
    pub(crate) fn apart(key: &'a [u8], value: Value, expiry_ms: u64, usage: u32) -> Draft<'a> {
        debug_assert!(key.len() <= KEY_MAX, "what has a long key is kept anyway");
        Draft { kind: KEPT, key, usage, expiry_ms, value: DraftValue::Keep(Kept::Value(value)) }
    }

    /// `hash` is the key's.
    pub(crate) fn new(
        hash: u64,
        key: &'a [u8],
        value: NewValue<'a>,
        expiry_ms: u64,
        usage: u32,
    ) -> Draft<'a> {
        let (kind, key, value) = match value {
            value if key.len() > KEY_MAX => {
                let named = Box::new(Named { hash, key: key.into(), value: value.into_value() });
                (NAMED, &[][..], DraftValue::Keep(Kept::Named(named)))
            }
            NewValue::Int(number) | NewValue::Value(Value::Int(number)) => {
                (INT, key, DraftValue::Int(number))
            }
            NewValue::Text(bytes) if bytes.len() <= TEXT_MAX => (TEXT, key, DraftValue::Text(bytes)),
            value => {
                let value = value.into_value();
                match packed_len(&value) {
                    Some((tag, len)) if len <= PACKED_MAX => (tag, key, DraftValue::Packed(value, len)),
                    _ => (KEPT, key, DraftValue::Keep(Kept::Value(value))),
                }
            }
        };
        Draft { kind, key, usage, expiry_ms, value }
    }

    pub(crate) fn len(&self) -> usize {
        let head = if self.expiry_ms == NEVER { USAGE.end } else { EXPIRY.end };
        let value = match &self.value {
            DraftValue::Int(_) => 8,
            DraftValue::Text(bytes) => 1 + bytes.len(),
            DraftValue::Packed(_, len) => len + if *len < LONG_FIRST { 1 } else { 2 },
            DraftValue::Keep(_) => 2,
        };
        head + self.key.len() + value
    }

    /// Writes it to the beginning of `out`; `keep` says where what is not within it is kept.
    #[inline]
    pub(crate) fn write(self, out: &mut [u8], keep: impl FnOnce(Kept) -> u16) {
        let expires = self.expiry_ms != NEVER;
        out[0] = self.kind | if expires { EXPIRES } else { 0 };
        // Neither it nor a text is longer than a byte can say: see `new`.
        out[KEY_LEN_AT] = self.key.len() as u8;
        set_usage(out, self.usage);
        let mut at = USAGE.end;
        if expires {
            out[EXPIRY].copy_from_slice(&self.expiry_ms.to_le_bytes());
            at = EXPIRY.end;
        }
        out[at..at + self.key.len()].copy_from_slice(self.key);
        at += self.key.len();
        match self.value {
            DraftValue::Int(number) => out[at..at + 8].copy_from_slice(&number.to_le_bytes()),
            DraftValue::Text(bytes) => {
                out[at] = bytes.len() as u8;
                out[at + 1..at + 1 + bytes.len()].copy_from_slice(bytes);
            }
            DraftValue::Packed(value, len) => {
                if len < LONG_FIRST {
                    out[at] = len as u8;
                    at += 1;
                } else {
                    // At most `PACKED_MAX`.
                    [out[at], out[at + 1]] = [(LONG_FIRST + (len >> 8)) as u8, len as u8];
                    at += 2;
                }
                write_packed(&value, &mut out[at..at + len]);
            }
            DraftValue::Keep(kept) => out[at..at + 2].copy_from_slice(&keep(kept).to_le_bytes()),
        }
    }
}
