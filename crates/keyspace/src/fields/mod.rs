//! Hashes: names and values under a key, each of which may expire on its own.
//!
//! ```text
//! small   [name, value, name, value…]      one packed allocation, in the order the fields came
//! large   segments (`table.rs`)            by the hash of their names; every hash in which a field ever expired
//! ```
//!
//! A small hash becomes large when it gets more fields than `hash-max-listpack-entries`, a name or value longer than
//! `hash-max-listpack-value`, or an expiry; it stays large until it is written anew. OBJECT ENCODING says what Redis would
//! have: a hash that is large only for its expiries is a `listpackex` there, and counts as small here.
//!
//! A field that is due stays until somebody removes it: a command that names it ([`Hash::remove_due_of`]), the active cycle
//! ([`Hash::remove_due`]), or a write that puts another in its place. Whoever reads passes the time and is not shown it; only
//! [`HashRef::len`] counts it, as HLEN does in Redis.
//!
//! Copies of a large hash share its segments until one is written.
//!
//! Cost, for n fields: find, set, remove O(1), in a small hash O(bytes); the soonest expiry O(1).

mod edit;
mod effect;
mod fieldset;
#[cfg(test)]
mod model;
mod rdb;
mod segment;
mod small;
mod snapshot;
mod soonest;
mod table;

use crate::collection::{Collection, Elements, Form, Limits};
use crate::compact::Segments;
use crate::listpack::Element;
use crate::packed::{self, BareRef, Packed, PackedRef};
use crate::stride::Stride;
use crate::value::{NEVER, Value, ValueRef};
use small::SmallRef;
use table::Table;

pub(crate) use edit::{Expiry, FieldChange};
pub use fieldset::Fieldset;
pub(crate) use rdb::VALKEY_EXPIRING_HASH;
pub use rdb::for_valkey;
pub(crate) use segment::Segment as FieldSegment;

/// Bytes of a small hash, whatever is configured: they are moved by every change.
const SMALL_BYTES_MAX: usize = 1 << 20;

/// A hash; see the module.
#[derive(Debug, Clone)]
pub struct Hash(Form<Packed, Box<Large>>);

/// A hash as it is read: a small one may lie in the record of its key.
#[derive(Debug, Clone, Copy)]
pub struct HashRef<'a>(Form<SmallRef<'a>, &'a Large>);

#[derive(Debug, Clone)]
struct Large {
    table: Table,
    /// Whether it would be packed, did no field expire.
    counts_as_small: bool,
}

const _: () = assert!(size_of::<Hash>() == 16, "a record keeps one beside its tag");

/// One field.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field<'a> {
    pub(crate) name: Element<'a>,
    pub(crate) value: Element<'a>,
    /// Unix time in milliseconds after which it is gone, or [`NEVER`].
    pub(crate) expire_at_ms: u64,
}

impl Field<'_> {
    /// When it expires; `None`: never.
    pub(crate) fn expiry(&self) -> Option<u64> {
        (self.expire_at_ms != NEVER).then_some(self.expire_at_ms)
    }

    /// Whether it is gone at `now_ms`. Its last millisecond still counts as life, as in Redis.
    #[inline]
    pub(crate) fn is_due(&self, now_ms: u64) -> bool {
        now_ms > self.expire_at_ms
    }
}

impl Default for Hash {
    fn default() -> Hash {
        Hash(Form::Small(Packed::default()))
    }
}

impl Hash {
    /// A hash of these fields, of which no two have the same name.
    pub(crate) fn of_distinct<'a>(
        fields: impl ExactSizeIterator<Item = (&'a [u8], &'a [u8])> + Clone,
        limits: &Limits,
    ) -> Hash {
        let len = fields.len();
        let bytes: usize = fields.clone().map(|(name, value)| name.len() + value.len()).sum();
        let is_small =
            bytes < SMALL_BYTES_MAX && fields.clone().all(|(name, value)| fits(limits, len, [name, value]));
        let mut hash = Hash::default();
        if let (Form::Small(packed), true) = (&mut hash.0, is_small) {
            fields.for_each(|(name, value)| packed.push_back([name, value]));
            return hash;
        }
        for (name, value) in fields {
            hash.put(name, value, Expiry::Clear, limits);
        }
        hash
    }

    /// Takes the form that so many fields need: as Redis, which asks how many are named, not how many of them are new.
    fn make_room(&mut self, named: usize, limits: &Limits) {
        if named as u64 > limits.hash_entries {
            self.make_large().counts_as_small = false;
        }
    }

    /// Sets a field, due or not; true: it is new.
    fn put(&mut self, name: &[u8], value: &[u8], expiry: Expiry, limits: &Limits) -> bool {
        if let Form::Small(packed) = &mut self.0
            && !matches!(expiry, Expiry::At(_))
            && fits(limits, packed.len() / 2, [name, value])
        {
            if let Some(at) = packed.view().find(name, 2) {
                let value_at = packed.view().iter_from(at).nth(1).map_or(at, |(at, _)| at);
                packed.replace(value_at, value);
                return false;
            }
            if fits(limits, packed.len() / 2 + 1, []) && packed.heap_bytes() < SMALL_BYTES_MAX {
                packed.push_back([name, value]);
                return true;
            }
        }
        let large = self.make_large();
        let is_new = large.table.put(name, value, |old_ms| expiry.after(old_ms));
        large.counts_as_small &= fits(limits, large.table.len(), [name, value]);
        is_new
    }

    /// Sets the expiry of a field, due or not; false: it is not there.
    fn set_expiry(&mut self, name: &[u8], at_ms: u64) -> bool {
        if at_ms == NEVER && !self.view().has_expiries() {
            return self.view().stored(name).is_some();
        }
        self.make_large().table.set_expiry(name, at_ms)
    }

    /// Removes a field, due or not; false: it is not there.
    fn remove(&mut self, name: &[u8]) -> bool {
        match &mut self.0 {
            Form::Small(packed) => {
                let at = packed.view().find(name, 2);
                at.inspect(|&at| packed.remove(at, 2)).is_some()
            }
            Form::Large(large) => large.table.remove(name),
        }
    }

    /// Makes it large, if it is not; as if it were small, until something says otherwise.
    fn make_large(&mut self) -> &mut Large {
        if let Form::Small(packed) = &self.0 {
            let mut table = Table::default();
            for Field { name, value, .. } in pairs(packed.view()) {
                table.put(&name.text(), &value.text(), |_| NEVER);
            }
            self.0 = Form::Large(Box::new(Large { table, counts_as_small: true }));
        }
        match &mut self.0 {
            Form::Large(large) => large,
            Form::Small(_) => unreachable!("it was made large"),
        }
    }
}

impl<'a> HashRef<'a> {
    /// A small one in the record of its key.
    #[inline]
    pub(crate) fn of_bare(bare: BareRef<'a>) -> HashRef<'a> {
        HashRef(Form::Small(SmallRef::Bare(bare)))
    }

    /// The same as a value of its own, which shares what is large.
    pub(crate) fn to_hash(self) -> Hash {
        Hash(match self.0 {
            Form::Small(small) => Form::Small(small.to_packed()),
            Form::Large(large) => Form::Large(Box::new(large.clone())),
        })
    }

    /// Where its fields are looked up, if it is large.
    #[inline]
    pub(crate) fn large(self) -> Option<&'a Segments<FieldSegment>> {
        match self.0 {
            Form::Large(large) => Some(large.table.segments()),
            Form::Small(_) => None,
        }
    }

    /// How many fields, those included that are due.
    pub(crate) fn len(self) -> usize {
        match self.0 {
            Form::Small(small) => small.len(),
            Form::Large(large) => large.table.len(),
        }
    }

    /// The field of this name, unless it is due.
    #[inline]
    pub(crate) fn field(self, name: &[u8], now_ms: u64) -> Option<Field<'a>> {
        self.stored(name).filter(|field| !field.is_due(now_ms))
    }

    /// The value of the field of this name, unless it is due.
    #[inline]
    pub(crate) fn get(self, name: &[u8], now_ms: u64) -> Option<Element<'a>> {
        self.field(name, now_ms).map(|field| field.value)
    }

    /// The field of this name, due or not.
    #[inline]
    fn stored(self, name: &[u8]) -> Option<Field<'a>> {
        match self.0 {
            Form::Small(small) => small.find(name),
            Form::Large(large) => large.table.find(name),
        }
    }

    /// Every field, due or not; of a small hash in order.
    fn stored_fields(self) -> impl Iterator<Item = Field<'a>> {
        let (small, table) = match self.0 {
            Form::Small(small) => (Some(small), None),
            Form::Large(large) => (None, Some(&large.table)),
        };
        small.into_iter().flat_map(SmallRef::iter).chain(table.into_iter().flat_map(Table::iter))
    }

    /// Every field that is not due; of a small hash in order.
    pub(crate) fn fields(self, now_ms: u64) -> impl Iterator<Item = Field<'a>> {
        self.stored_fields().filter(move |field| !field.is_due(now_ms))
    }

    /// How many fields that are not due. Cost: O(1), and O(fields of the parts in which some are due).
    pub(crate) fn live_len(self, now_ms: u64) -> usize {
        match self.0 {
            Form::Small(small) => small.len(),
            Form::Large(large) => large.table.len() - large.table.due_len(now_ms),
        }
    }

    /// Passes the fields of the part at a place that are not due to `visit`, and moves the place on to the next; false: there is
    /// no further part. A part is some hundreds of fields of a large hash; a small one is one part. The first place is 0.
    pub(crate) fn visit_part(self, place: &mut usize, now_ms: u64, visit: impl FnMut(Field<'_>)) -> bool {
        match self.0 {
            Form::Large(large) => {
                let part = large.table.part_at(place);
                part.map(|fields| fields.filter(|field| !field.is_due(now_ms)).for_each(visit)).is_some()
            }
            Form::Small(small) => {
                let is_first = std::mem::replace(place, 1) == 0;
                small.iter().filter(|_| is_first).for_each(visit);
                is_first
            }
        }
    }

    /// Whether the field of this name is there, and due.
    pub(crate) fn is_due(self, name: &[u8], now_ms: u64) -> bool {
        self.stored(name).is_some_and(|field| field.is_due(now_ms))
    }

    /// Whether a field may be due.
    pub(crate) fn may_have_due(self, now_ms: u64) -> bool {
        now_ms > self.soonest_ms()
    }

    /// Shows the fields that are not due to `visit` until the stride is over; returns where to go on, `None` at the end. A field that is
    /// there during a whole walk is met once; a small hash is walked at once.
    pub(crate) fn scan(
        self,
        from: u64,
        stride: &mut Stride<'_>,
        now_ms: u64,
        mut visit: impl FnMut(&mut Stride<'_>, Field<'a>),
    ) -> Option<u64> {
        match self.0 {
            Form::Large(large) if !large.counts_as_small => {
                large.table.scan(from, stride, |stride, field| {
                    if !field.is_due(now_ms) {
                        visit(stride, field);
                    }
                })
            }
            _ => {
                self.fields(now_ms).for_each(|field| visit(stride, field));
                None
            }
        }
    }

    /// A field near a random place, due or not; `random` has uniform bits. `None` only if there is none.
    pub(crate) fn sample(self, random: u64) -> Option<Field<'a>> {
        match self.0 {
            Form::Small(small) => small.iter().nth((random % small.len().max(1) as u64) as usize),
            Form::Large(large) => large.table.sample(random),
        }
    }

    /// The soonest expiry of a field, or [`NEVER`].
    #[inline]
    pub(crate) fn soonest_ms(self) -> u64 {
        match self.0 {
            Form::Small(_) => NEVER,
            Form::Large(large) => large.table.soonest_ms(),
        }
    }

    /// Whether a field expires, due or not.
    fn has_expiries(self) -> bool {
        self.soonest_ms() != NEVER
    }
}

/// Whether a hash of so many fields, these texts among them, is small.
fn fits<const N: usize>(limits: &Limits, fields: usize, texts: [&[u8]; N]) -> bool {
    let most = limits.hash_entries.min(packed::ELEMENTS_MAX as u64 / 2);
    fields as u64 <= most && texts.iter().all(|text| text.len() as u64 <= limits.hash_value_bytes)
}

/// The fields of a small hash.
fn pairs(packed: PackedRef<'_>) -> impl Iterator<Item = Field<'_>> {
    SmallRef::Packed(packed).iter()
}

impl Collection for HashRef<'_> {
    fn tag(&self) -> u8 {
        Hash::TAG
    }

    fn type_name(&self) -> &'static str {
        "hash"
    }

    fn encoding(&self) -> &'static str {
        match self.0 {
            Form::Small(_) => "listpack",
            Form::Large(large) if large.counts_as_small => "listpackex",
            Form::Large(_) => "hashtable",
        }
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn heap_bytes(&self) -> usize {
        match self.0 {
            Form::Small(small) => small.bytes(),
            Form::Large(large) => size_of::<Large>() + large.table.heap_bytes(),
        }
    }

    fn soonest_ms(&self) -> u64 {
        HashRef::soonest_ms(*self)
    }

    fn write(&self, out: &mut Vec<u8>, pause: &mut dyn FnMut(&mut Vec<u8>)) {
        self.write_snapshot(out, pause);
    }

    fn write_rdb(&self, out: &mut Vec<u8>) -> u16 {
        self.write_payload(out)
    }
}

impl Elements for Hash {
    const TAG: u8 = 8;
    type View<'a> = HashRef<'a>;

    #[inline]
    fn view(&self) -> HashRef<'_> {
        HashRef(match &self.0 {
            Form::Small(packed) => Form::Small(SmallRef::Packed(packed.view())),
            Form::Large(large) => Form::Large(large),
        })
    }

    #[inline]
    fn seen(value: ValueRef<'_>) -> Option<HashRef<'_>> {
        match value {
            ValueRef::Hash(hash) => Some(hash),
            _ => None,
        }
    }

    #[inline]
    fn of_mut(value: &mut Value) -> Option<&mut Hash> {
        match value {
            Value::Hash(hash) => Some(hash),
            _ => None,
        }
    }

    #[inline]
    fn packed(&self) -> Option<&[u8]> {
        match &self.0 {
            Form::Small(packed) => Some(packed.view().bytes()),
            Form::Large(_) => None,
        }
    }

    fn into_value(self) -> Value {
        Value::Hash(self)
    }

    fn apply(&mut self, change: &[u8], limits: &Limits) -> bool {
        self.apply_change(change, limits)
    }

    fn check(&self) {
        match &self.0 {
            Form::Small(packed) => {
                packed.view().check();
                assert!(packed.len().is_multiple_of(2));
            }
            Form::Large(large) => large.table.check(),
        }
    }
}
