//! What the keyspace needs to know of a type whose values are made of elements: lists, hashes, sets, sorted sets.
//!
//! Such a value exists while it has elements: the first one creates the key, the last one takes it along. All changes go
//! through `Slot::edit`, which measures, notes the effect and the event, tells watchers and waiters, and removes what has
//! become empty; replay goes through [`Elements::apply`] and does the same.
//!
//! Small values are one run of bytes (`packed.rs`), in an allocation of their own or in the record of their key (`record.rs`);
//! where that ends is configured ([`Limits`]). Whoever reads is given a view, which is the same for both.

use std::fmt;
use std::ops::Range;

use crate::changes::Changes;
use crate::effect;
use crate::fields::{Hash, HashRef};
use crate::list::{List, ListRef};
use crate::packed::{BareRef, PackedRef};
use crate::set::{Set, SetRef};
use crate::value::{NEVER, Value, ValueRef};
use crate::zset::{self, Zset, ZsetRef};

/// Where small values become large: the `*-max-listpack-*` directives and their like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `list-max-listpack-size`: elements a node if positive; −1 to −5: 4, 8, 16, 32 or 64 KiB.
    pub list_node: i32,
    /// An element of a list that has so many bytes has a node of its own: `DEBUG QUICKLIST-PACKED-THRESHOLD`.
    pub list_alone_bytes: usize,
    /// `hash-max-listpack-entries`.
    pub hash_entries: u64,
    /// `hash-max-listpack-value`, bytes.
    pub hash_value_bytes: u64,
    /// `set-max-intset-entries`.
    pub set_integers: u64,
    /// `set-max-listpack-entries`.
    pub set_entries: u64,
    /// `set-max-listpack-value`, bytes.
    pub set_value_bytes: u64,
    /// `zset-max-listpack-entries`.
    pub zset_entries: u64,
    /// `zset-max-listpack-value`, bytes.
    pub zset_value_bytes: u64,
    /// `hll-sparse-max-bytes`: where a HyperLogLog becomes dense.
    pub hll_sparse_bytes: u64,
}

impl Limits {
    /// Redis 8.2's defaults.
    pub const DEFAULT: Limits = Limits {
        list_node: -2,
        list_alone_bytes: usize::MAX,
        hash_entries: 512,
        hash_value_bytes: 64,
        set_integers: 512,
        set_entries: 128,
        set_value_bytes: 64,
        zset_entries: 128,
        zset_value_bytes: 64,
        hll_sparse_bytes: 3000,
    };
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::DEFAULT
    }
}

/// A value that is small, in one run of bytes, or large.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Form<S, L> {
    Small(S),
    Large(L),
}

/// A value made of elements as it is read, whichever its type is.
pub(crate) trait Collection: fmt::Debug {
    /// See [`Elements::TAG`].
    fn tag(&self) -> u8;

    /// As TYPE says it.
    fn type_name(&self) -> &'static str;

    /// As OBJECT ENCODING says it.
    fn encoding(&self) -> &'static str;

    /// Whether there is no element left.
    fn is_empty(&self) -> bool;

    /// Bytes on the heap, or of a small one. Cost: O(1).
    fn heap_bytes(&self) -> usize;

    /// The soonest expiry of an element, in Unix milliseconds, or [`NEVER`]. Cost: O(1).
    fn soonest_ms(&self) -> u64 {
        NEVER
    }

    /// Appends its snapshot form, from which it is read back as it is, its layout in memory included. `pause` is shown
    /// what there is so far, now and then while a large value is written, and may take it away.
    fn write(&self, out: &mut Vec<u8>, pause: &mut dyn FnMut(&mut Vec<u8>));

    /// Appends its type in Redis's database file and its value there; returns the oldest version that has this type.
    fn write_rdb(&self, out: &mut Vec<u8>) -> u16;
}

/// The type of a collection.
pub(crate) trait Elements: fmt::Debug + Default {
    /// Its number in effects, in snapshots and in records.
    const TAG: u8;

    /// The value as it is read.
    type View<'a>: Collection + Copy;

    fn view(&self) -> Self::View<'_>;

    /// The value, if it is of this type.
    fn seen(value: ValueRef<'_>) -> Option<Self::View<'_>>;

    /// The value, if it is of this type.
    fn of_mut(value: &mut Value) -> Option<&mut Self>;

    /// All of a small one: a record may hold these bytes in place of the value.
    fn packed(&self) -> Option<&[u8]>;

    /// As a value.
    fn into_value(self) -> Value;

    /// Applies a change that [`Edits::record`] noted. False, and nothing is changed: it doesn't fit, or is no change.
    fn apply(&mut self, change: &[u8], limits: &Limits) -> bool;

    /// Panics if what is counted is not what is there; for tests and fuzz targets.
    fn check(&self);
}

/// The small collection of the type with this number that is in a record, in these bytes: [`Elements::packed`]'s, but for a hash's,
/// whose elements are without backlens.
#[inline]
pub(crate) fn of_packed(tag: u8, bytes: &[u8]) -> ValueRef<'_> {
    match tag {
        Hash::TAG => ValueRef::Hash(HashRef::of_bare(BareRef::of_bytes(bytes))),
        List::TAG => ValueRef::List(ListRef::of_packed(PackedRef::of_bytes(bytes))),
        Set::TAG => ValueRef::Set(SetRef::of_packed(bytes)),
        _ => ValueRef::Zset(ZsetRef::of_packed(bytes)),
    }
}

/// An empty collection of the type with this number.
pub(crate) fn empty(tag: u8) -> Option<Value> {
    match tag {
        Hash::TAG => Some(Value::Hash(Hash::default())),
        List::TAG => Some(List::default().into_value()),
        Set::TAG => Some(Set::default().into_value()),
        Zset::TAG => Some(Zset::default().into_value()),
        _ => None,
    }
}

/// Reads what [`Collection::write`] wrote.
pub(crate) fn read(tag: u8, from: &[u8]) -> Option<Value> {
    match tag {
        Hash::TAG => Hash::read(from).map(Value::Hash),
        List::TAG => List::read(from).map(Elements::into_value),
        Set::TAG => Set::read(from).map(Value::Set),
        Zset::TAG => zset::read(from),
        _ => None,
    }
}

/// Reads a value of one of these types from Redis's database file; `None`: it is of no such type, or damaged.
pub(crate) fn read_rdb(kind: u8, from: &mut &[u8], limits: &Limits) -> Option<Value> {
    match kind {
        kind if Hash::is_rdb_type(kind) => Hash::read_rdb(kind, from, limits).map(Value::Hash),
        _ if List::is_rdb_type(kind) => List::read_rdb(kind, from, limits).map(Elements::into_value),
        kind if Set::is_rdb_type(kind) => Set::read_rdb(kind, from, limits).map(Value::Set),
        3 | 5 | 12 | 17 => zset::read_rdb(kind, from, limits),
        _ => None,
    }
}

/// Where the changes of one collection go: into the effects, if a journal wants them.
#[derive(Debug)]
pub(crate) struct Edits<'a> {
    pub(crate) log: &'a mut Changes,
    /// The number the database is stored under.
    pub(crate) db: usize,
    pub(crate) key: &'a [u8],
    pub(crate) tag: u8,
    /// Unix time in milliseconds.
    pub(crate) now_ms: u64,
    /// Where small values become large.
    pub(crate) limits: &'a Limits,
    /// Elements that were changed so far.
    pub(crate) count: u64,
    /// Which these are, as [`Changes::subkeys`] notes them.
    pub(crate) subkeys: Range<usize>,
}

impl Edits<'_> {
    /// Notes a change of `elements` elements, at least 1, which `fill` writes for [`Elements::apply`].
    #[inline]
    pub(crate) fn record(&mut self, elements: usize, fill: impl FnOnce(&mut Vec<u8>)) {
        self.count += elements as u64;
        let (db, key) = (self.db, self.key);
        self.log.effect_elements(self.tag, db, key, fill);
    }

    /// Notes which elements the change is about, for its event.
    #[inline]
    pub(crate) fn name<'n>(&mut self, names: impl Iterator<Item = &'n [u8]>) {
        self.subkeys = self.log.subkeys(names);
    }
}

/// What [`Slot::edit_value`](crate::Slot) did.
#[derive(Debug)]
pub(crate) struct Edited<R> {
    /// What the edit returned.
    pub(crate) result: R,
    /// How many elements it changed.
    pub(crate) count: u64,
    /// Whether the key is new.
    pub(crate) is_new: bool,
    /// Whether the key is gone with its last element.
    pub(crate) is_gone: bool,
    /// Which elements it was about, where that is told of.
    pub(crate) subkeys: Range<usize>,
}

/// Whether a number can be a collection's: of an effect, or of a value.
pub(crate) fn is_tag(tag: u8) -> bool {
    (effect::COLLECTIONS_FIRST..=effect::COLLECTIONS_LAST).contains(&tag)
}
