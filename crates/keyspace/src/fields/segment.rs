//! A segment of a large hash: some fields, packed into one buffer, and an index of where each begins.
//!
//! ```text
//! index  hash of a name → u32 ──┐                    hashbrown, 5 bytes a bucket
//! bytes  [field][field][unused][field][field]…
//!
//! field  head v │ expiry u64 │ value length v │ name │ value       head = name length · 4 + far · 2 + timed
//!        head v │ expiry u64 │ place u32                           far: name and value are `far[place]`, one allocation
//! ```
//!
//! `v` is a varint; the expiry (Unix milliseconds) is there if the field has one. Fields of some length lie apart, so that
//! a segment stays small enough to be copied: whoever shares it (COPY, a snapshot) has it copied by the next write.
//!
//! A field whose length changes is written anew at the end, and what is unused is squeezed out when it is a quarter.
//!
//! Invariants (`check`)
//! - Every index entry is the beginning of a field; the fields' bytes and `unused` add up to all bytes.
//! - `soonest` is what `soonest.rs` says of the fields' expiries.
//! - A place in `far` is taken by one field, or is `None`.
//!
//! Cost: find O(1); put and remove O(1) amortised.

use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashTable;

use super::Field;
use super::soonest::Soonest;
use crate::compact::{self, hash_of};
use crate::listpack::Element;
use crate::stream::varint;
use crate::value::NEVER;

/// Bytes of name and value together that lie in the segment: at most 112 KiB for all, which are copied in some µs.
const NEAR_BYTES_MAX: usize = 256;
/// Unused bytes below which nothing is squeezed out.
const UNUSED_BYTES_MIN: usize = 256;

const TIMED: u64 = 1;
const FAR: u64 = 2;
const TIME_BYTES: usize = 8;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    /// When they expire.
    soonest: Soonest,
    index: HashTable<u32>,
    bytes: Vec<u8>,
    /// Of `bytes`, how many belong to no field any more.
    unused: usize,
    /// Name and value of fields that lie apart.
    far: Vec<Option<Arc<[u8]>>>,
    /// Bytes of those.
    far_bytes: usize,
}

/// A field of a segment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item<'a> {
    pub(super) name: &'a [u8],
    pub(super) value: &'a [u8],
    pub(super) expire_at_ms: u64,
}

impl<'a> From<Item<'a>> for Field<'a> {
    #[inline]
    fn from(item: Item<'a>) -> Field<'a> {
        let Item { name, value, expire_at_ms } = item;
        Field { name: Element::Text(name), value: Element::Text(value), expire_at_ms }
    }
}

/// Where a field begins, until the segment changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct At(u32);

/// A field taken apart.
struct Parsed {
    name_len: usize,
    expire_at_ms: u64,
    /// What follows head and expiry, value or place included.
    body: Range<usize>,
    kind: Kind,
}

enum Kind {
    /// Where the name begins; the value lies behind it, up to the end of the body.
    Near {
        name: usize,
    },
    Far {
        place: usize,
    },
}

impl Default for Segment {
    fn default() -> Segment {
        Segment {
            soonest: Soonest::default(),
            index: HashTable::new(),
            bytes: Vec::new(),
            unused: 0,
            far: Vec::new(),
            far_bytes: 0,
        }
    }
}

impl compact::Segment for Segment {
    type Item<'a> = Item<'a>;

    fn name<'a>(item: Item<'a>) -> &'a [u8]
    where
        Self: 'a,
    {
        item.name
    }

    fn len(&self) -> usize {
        self.index.len()
    }

    fn heap_bytes(&self) -> usize {
        self.bytes.capacity()
            + self.index.allocation_size()
            + self.far.capacity() * size_of::<Option<Arc<[u8]>>>()
            + self.far_bytes
            + self.soonest.heap_bytes()
    }

    fn soonest_ms(&self) -> u64 {
        self.soonest.ms()
    }

    fn iter(&self) -> impl Iterator<Item = Item<'_>> {
        self.index.iter().map(|&at| self.at(At(at)))
    }

    fn pick(&self, random: u64) -> Option<Item<'_>> {
        // A bucket in two is taken, at least after it has shrunk; what is drawn in vain leaves the field as likely as others.
        let mut random = random;
        if self.index.is_empty() {
            return None;
        }
        for _ in 0..32 {
            let bucket = (random >> 32) as usize & (self.index.num_buckets() - 1);
            if let Some(&at) = self.index.get_bucket(bucket) {
                return Some(self.at(At(at)));
            }
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        }
        self.iter().next()
    }

    fn split(&mut self, goes: impl Fn(u64) -> bool) -> Segment {
        let mut halves = [Segment::default(), Segment::default()];
        let live = self.bytes.len() - self.unused;
        halves.iter_mut().for_each(|half| half.bytes.reserve_exact(live / 2));
        self.pour(|hash| usize::from(goes(hash)), &mut halves);
        let [stays, goes] = halves;
        *self = stays;
        goes
    }

    fn join(&mut self, other: Segment) {
        other.pour(|_| 0, std::array::from_mut(self));
    }
}

impl Segment {
    #[inline]
    pub(super) fn find(&self, hash: u64, name: &[u8]) -> Option<At> {
        self.index.find(hash, |&at| self.name_at(at) == name).map(|&at| At(at))
    }

    /// The field at a place just found.
    #[inline]
    pub(super) fn at(&self, At(at): At) -> Item<'_> {
        let parsed = self.parse(at);
        let (name, value) = match parsed.kind {
            Kind::Near { name } => self.bytes[name..parsed.body.end].split_at(parsed.name_len),
            Kind::Far { place } => self.far_at(place).split_at(parsed.name_len),
        };
        Item { name, value, expire_at_ms: parsed.expire_at_ms }
    }

    /// Adds a field whose name is not there.
    pub(super) fn add(&mut self, hash: u64, name: &[u8], value: &[u8], at_ms: u64) {
        let at = self.write(name, value, at_ms);
        self.soonest.add(at_ms);
        let Segment { index, bytes, far, .. } = self;
        index.insert_unique(hash, at, |&at| hash_of(name_of(bytes, far, at)));
    }

    /// Gives the field at a place just found, which has this hash, another value and expiry.
    pub(super) fn replace(&mut self, hash: u64, At(at): At, value: &[u8], at_ms: u64) {
        let old = self.parse(at);
        if let Kind::Near { name } = old.kind
            && old.body.end - name - old.name_len == value.len()
            && (old.expire_at_ms == NEVER) == (at_ms == NEVER)
        {
            self.bytes[name + old.name_len..old.body.end].copy_from_slice(value);
            self.write_time(&old, at_ms);
            self.note_changed_expiry(old.expire_at_ms, at_ms);
            return;
        }
        let name = self.name_at(at).to_vec();
        let old_ms = self.let_go(at);
        let new = self.write(&name, value, at_ms);
        self.move_to(hash, at, new);
        self.note_changed_expiry(old_ms, at_ms);
        self.squeeze();
    }

    /// Gives the field at a place just found, which has this hash, another expiry.
    pub(super) fn set_expiry(&mut self, hash: u64, At(at): At, at_ms: u64) {
        let old = self.parse(at);
        if (old.expire_at_ms == NEVER) == (at_ms == NEVER) {
            self.write_time(&old, at_ms);
        } else {
            let far = if matches!(old.kind, Kind::Far { .. }) { FAR } else { 0 };
            let new = self.bytes.len() as u32;
            self.grow(old.body.len() + 10 + TIME_BYTES);
            self.write_head(old.name_len, far, at_ms);
            self.bytes.extend_from_within(old.body.clone());
            self.unused += old.body.end - at as usize;
            self.move_to(hash, at, new);
        }
        self.note_changed_expiry(old.expire_at_ms, at_ms);
        self.squeeze();
    }

    /// Removes the field at a place just found, which has this hash.
    pub(super) fn remove(&mut self, hash: u64, At(at): At) {
        let old_ms = self.let_go(at);
        if let Ok(entry) = self.index.find_entry(hash, |&other| other == at) {
            entry.remove();
        }
        self.note_changed_expiry(old_ms, NEVER);
        self.squeeze();
        let Segment { index, bytes, far, .. } = self;
        // At an eighth: the index of half the size is then at most a quarter full, and far from growing again.
        if index.capacity() > 28 && index.len() < index.capacity() / 8 {
            index.shrink_to(2 * index.len(), |&at| hash_of(name_of(bytes, far, at)));
        }
    }

    /// Copies every field into the one of `targets` that `choose` says.
    fn pour(&self, choose: impl Fn(u64) -> usize, targets: &mut [Segment]) {
        for &at in &self.index {
            let parsed = self.parse(at);
            let hash = hash_of(self.name_at(at));
            let target = &mut targets[choose(hash)];
            let new = target.bytes.len() as u32;
            target.grow(parsed.body.end - at as usize);
            match parsed.kind {
                Kind::Near { .. } => {
                    target.bytes.extend_from_slice(&self.bytes[at as usize..parsed.body.end]);
                }
                Kind::Far { place } => {
                    let place = target.keep_far(self.far[place].clone());
                    target.write_head(parsed.name_len, FAR, parsed.expire_at_ms);
                    target.bytes.extend_from_slice(&place.to_le_bytes());
                }
            }
            target.soonest.add(parsed.expire_at_ms);
            let Segment { index, bytes, far, .. } = target;
            index.insert_unique(hash, new, |&at| hash_of(name_of(bytes, far, at)));
        }
    }

    /// Writes a field behind the others; returns where.
    fn write(&mut self, name: &[u8], value: &[u8], at_ms: u64) -> u32 {
        let at = self.bytes.len() as u32;
        let len = name.len() + value.len();
        if len > NEAR_BYTES_MAX {
            let place = self.keep_far(Some([name, value].concat().into()));
            self.write_head(name.len(), FAR, at_ms);
            self.bytes.extend_from_slice(&place.to_le_bytes());
        } else {
            self.grow(len + 4 + if at_ms == NEVER { 0 } else { TIME_BYTES });
            self.write_head(name.len(), 0, at_ms);
            varint::write(&mut self.bytes, value.len() as u64);
            self.bytes.extend_from_slice(name);
            self.bytes.extend_from_slice(value);
        }
        at
    }

    fn write_head(&mut self, name_len: usize, far: u64, at_ms: u64) {
        let timed = if at_ms == NEVER { 0 } else { TIMED };
        varint::write(&mut self.bytes, (name_len as u64) << 2 | far | timed);
        if at_ms != NEVER {
            self.bytes.extend_from_slice(&at_ms.to_le_bytes());
        }
    }

    /// Writes the expiry of a field that has one, and keeps one.
    fn write_time(&mut self, field: &Parsed, at_ms: u64) {
        if at_ms != NEVER {
            let end = field.body.start;
            self.bytes[end - TIME_BYTES..end].copy_from_slice(&at_ms.to_le_bytes());
        }
    }

    /// Makes room for some bytes: an eighth more than is needed, where a `Vec` would double.
    fn grow(&mut self, more: usize) {
        if self.bytes.capacity() - self.bytes.len() < more {
            self.bytes.reserve_exact(more.max(self.bytes.len() / 8));
        }
    }

    /// Notes that the bytes of a field are unused, and frees what lies apart; returns its expiry.
    fn let_go(&mut self, at: u32) -> u64 {
        let parsed = self.parse(at);
        self.unused += parsed.body.end - at as usize;
        if let Kind::Far { place } = parsed.kind
            && let Some(text) = self.far[place].take()
        {
            self.far_bytes -= far_bytes(&text);
        }
        parsed.expire_at_ms
    }

    fn keep_far(&mut self, text: Option<Arc<[u8]>>) -> u32 {
        self.far_bytes += text.as_deref().map_or(0, far_bytes);
        let free = self.far.iter().position(Option::is_none);
        let place = free.unwrap_or_else(|| {
            self.far.reserve_exact(1 + self.far.len() / 8);
            self.far.push(None);
            self.far.len() - 1
        });
        self.far[place] = text;
        // Never more than there are fields.
        place as u32
    }

    fn far_at(&self, place: usize) -> &[u8] {
        self.far[place].as_deref().unwrap_or_default()
    }

    fn move_to(&mut self, hash: u64, from: u32, to: u32) {
        if let Some(at) = self.index.find_mut(hash, |&at| at == from) {
            *at = to;
        }
    }

    /// Moves the fields together if too much is unused.
    fn squeeze(&mut self) {
        if self.unused < UNUSED_BYTES_MIN.max(self.bytes.len() / 4) && self.unused < self.bytes.len() {
            return;
        }
        let mut bytes = Vec::with_capacity(self.bytes.len() - self.unused);
        for index in self.index.iter_mut() {
            let at = *index;
            let end = parse(&self.bytes, at).body.end;
            *index = bytes.len() as u32;
            bytes.extend_from_slice(&self.bytes[at as usize..end]);
        }
        self.bytes = bytes;
        self.unused = 0;
        while let Some(None) = self.far.last() {
            self.far.pop();
        }
    }

    /// The expiry of a field was one and is another, and the field says so already.
    fn note_changed_expiry(&mut self, old_ms: u64, new_ms: u64) {
        let Segment { soonest, index, bytes, .. } = self;
        soonest.change(old_ms, new_ms, || index.iter().map(|&at| parse(bytes, at).expire_at_ms));
    }

    #[inline]
    fn name_at(&self, at: u32) -> &[u8] {
        name_of(&self.bytes, &self.far, at)
    }

    #[inline]
    fn parse(&self, at: u32) -> Parsed {
        parse(&self.bytes, at)
    }

    /// Panics unless what the module says holds.
    pub(super) fn check(&self) {
        let mut used = 0;
        for &at in &self.index {
            let name = self.name_at(at);
            assert_eq!(self.find(hash_of(name), name), Some(At(at)));
            used += self.parse(at).body.end - at as usize;
        }
        assert_eq!(used + self.unused, self.bytes.len());
        self.soonest.check(compact::Segment::iter(self).map(|field| field.expire_at_ms));
        let apart = self.index.iter().filter(|&&at| matches!(self.parse(at).kind, Kind::Far { .. })).count();
        assert_eq!(apart, self.far.iter().flatten().count());
        assert_eq!(self.far_bytes, self.far.iter().flatten().map(|text| far_bytes(text)).sum::<usize>());
    }
}

/// Bytes that text which lies apart takes, its counts included.
fn far_bytes(text: &[u8]) -> usize {
    text.len() + 16
}

#[inline]
fn parse(bytes: &[u8], at: u32) -> Parsed {
    let start = at as usize;
    let (head, rest) = varint::read(&bytes[start..]).unwrap_or_default();
    let mut body = bytes.len() - rest.len();
    let mut expire_at_ms = NEVER;
    if head & TIMED != 0
        && let Some(time) = rest.first_chunk()
    {
        expire_at_ms = u64::from_le_bytes(*time);
        body += TIME_BYTES;
    }
    let name_len = (head >> 2) as usize;
    if head & FAR != 0 {
        let place = bytes[body..].first_chunk().map_or(0, |place| u32::from_le_bytes(*place));
        let kind = Kind::Far { place: place as usize };
        return Parsed { name_len, expire_at_ms, body: body..body + 4, kind };
    }
    let (value_len, rest) = varint::read(&bytes[body..]).unwrap_or_default();
    let name = bytes.len() - rest.len();
    let end = name + name_len + value_len as usize;
    Parsed { name_len, expire_at_ms, body: body..end, kind: Kind::Near { name } }
}

#[inline]
fn name_of<'a>(bytes: &'a [u8], far: &'a [Option<Arc<[u8]>>], at: u32) -> &'a [u8] {
    let parsed = parse(bytes, at);
    match parsed.kind {
        Kind::Near { name } => &bytes[name..name + parsed.name_len],
        Kind::Far { place } => &far[place].as_deref().unwrap_or_default()[..parsed.name_len],
    }
}
