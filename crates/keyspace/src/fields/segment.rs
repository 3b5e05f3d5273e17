//! A segment of a large hash: some fields, packed into one buffer, and an index of where each begins.
//!
//! ```text
//! index  hash of a name → u16 ──┐                    3 bytes a place: index.rs
//! bytes  [field][field][unused][field][field]…
//!
//! field  head v │ expiry u64 │ value length v │ name │ value       head = name length · 4 + far · 2 + timed
//!        head v │ expiry u64 │ place u32                           far: name and value are `far[place]`, one allocation, with the hash
//! ```
//!
//! `v` is a varint; the expiry (Unix milliseconds) is there if the field has one. Fields of some length lie apart, so that
//! a segment stays small enough to be copied: whoever shares it (COPY, a snapshot) has it copied by the next write. So do
//! fields that became long where there is no room left, which a u16 can name.
//!
//! A field whose length changes is written anew at the end, and what is unused is squeezed out when it is a quarter.
//!
//! Invariants (`check`)
//! - Every index entry is the beginning of a field; the fields' bytes and `unused` add up to all bytes, of which there are at
//!   most [`BYTES_MAX`].
//! - `soonest` is what `soonest.rs` says of the fields' expiries.
//! - A place in `far` is taken by one field, or is `None`.
//!
//! Cost: find O(1); put and remove O(1) amortised.

use std::ops::Range;
use std::sync::Arc;

use super::Field;
use super::soonest::Soonest;
use crate::ahead::{Extent, extent};
use crate::compact::{self, SEGMENT_MAX, capacity_for, hash_of};
use crate::index::{Index, NOWHERE, Spot};
use crate::listpack::Element;
use crate::stream::varint;
use crate::value::NEVER;

/// Bytes of name and value together that lie in the segment.
const NEAR_BYTES_MAX: usize = 256;
/// The most bytes of fields: what places can name.
const BYTES_MAX: usize = NOWHERE as usize;
/// The longest field that lies apart: a head, an expiry, and a place.
const FAR_FIELD_BYTES: usize = 5 + TIME_BYTES + 4;
/// What fields that lie near leave room for: that all lie apart.
const NEAR_MAX: usize = BYTES_MAX - (SEGMENT_MAX + 1) * FAR_FIELD_BYTES;
/// So many bytes weigh as much as a field of usual length: a segment with long ones splits while a third as much may be unused.
const WEIGHT_BYTES: usize = NEAR_MAX * 3 / 4 / SEGMENT_MAX;
/// What a field takes, mostly.
const USUAL_BYTES: usize = 48;
/// Unused bytes below which nothing is squeezed out.
const UNUSED_BYTES_MIN: usize = 256;

const TIMED: u64 = 1;
const FAR: u64 = 2;
const TIME_BYTES: usize = 8;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Segment {
    /// When they expire.
    soonest: Soonest,
    index: Index,
    bytes: Vec<u8>,
    /// Of `bytes`, how many belong to no field any more.
    unused: usize,
    /// Fields that lie apart.
    far: Vec<Option<Far>>,
    /// Bytes of those.
    far_bytes: usize,
}

/// A field that lies apart. It may be long: it is hashed when it comes, and not when its segment grows or is walked.
#[derive(Debug, Clone)]
struct Far {
    /// Of its name.
    hash: u64,
    /// Name and value.
    text: Arc<[u8]>,
}

/// A field of a segment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Item<'a> {
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

impl compact::Segment for Segment {
    type Item<'a> = Item<'a>;

    fn name<'a>(item: Item<'a>) -> &'a [u8]
    where
        Self: 'a,
    {
        item.name
    }

    fn bytes<'a>(item: Item<'a>) -> Option<usize>
    where
        Self: 'a,
    {
        Some(item.name.len() + item.value.len())
    }

    fn len(&self) -> usize {
        self.index.len()
    }

    fn heap_bytes(&self) -> usize {
        self.bytes.capacity()
            + self.index.allocated_bytes()
            + self.far.capacity() * size_of::<Option<Far>>()
            + self.far_bytes
            + self.soonest.heap_bytes()
    }

    #[inline]
    fn weight(&self) -> usize {
        self.len().max((self.bytes.len() - self.unused) / WEIGHT_BYTES)
    }

    fn soonest_ms(&self) -> u64 {
        self.soonest.ms()
    }

    fn iter(&self) -> impl Iterator<Item = Item<'_>> {
        self.index.offsets().map(|at| self.field_at(at))
    }

    fn hashed(&self) -> impl Iterator<Item = (u64, Item<'_>)> {
        self.index.offsets().map(|at| (self.hash_at(at), self.field_at(at)))
    }

    fn pick(&self, random: u64) -> Option<Item<'_>> {
        Some(self.field_at(self.index.pick(random)?))
    }

    fn split(&mut self, goes: impl Fn(u64) -> bool) -> Segment {
        let mut halves = [Segment::default(), Segment::default()];
        let live = self.bytes.len() - self.unused;
        for half in &mut halves {
            half.bytes.reserve_exact(capacity_for(live / 2, 1));
            half.index = Index::with_capacity(self.len() / 2);
        }
        self.pour(|hash| usize::from(goes(hash)), &mut halves);
        let [stays, goes] = halves;
        *self = stays;
        goes
    }

    fn join(&mut self, other: Segment) {
        other.pour(|_| 0, std::array::from_mut(self));
    }

    #[inline]
    fn index(&self) -> &Index {
        &self.index
    }

    #[inline]
    fn extent_at(&self, at: u16) -> Extent {
        extent(
            self.bytes.get(usize::from(at)..).map_or(&[][..], |bytes| &bytes[..bytes.len().min(USUAL_BYTES)]),
        )
    }
}

impl Segment {
    #[inline]
    pub(super) fn find(&self, hash: u64, name: &[u8]) -> Option<Spot> {
        self.index.find(hash, |at| self.name_at(at) == name)
    }

    /// The field at a place just found.
    #[inline]
    pub(super) fn at(&self, spot: Spot) -> Item<'_> {
        self.field_at(spot.at)
    }

    #[inline]
    fn field_at(&self, at: u16) -> Item<'_> {
        let parsed = self.parse(at);
        let (name, value) = match parsed.kind {
            Kind::Near { name } => self.bytes[name..parsed.body.end].split_at(parsed.name_len),
            Kind::Far { place } => self.far_at(place).split_at(parsed.name_len),
        };
        Item { name, value, expire_at_ms: parsed.expire_at_ms }
    }

    /// Adds a field whose name is not there.
    pub(super) fn add(&mut self, hash: u64, name: &[u8], value: &[u8], at_ms: u64) {
        let at = self.write(hash, name, value, at_ms);
        self.soonest.add(at_ms);
        self.point_to(hash, at);
    }

    /// Has the index hold a field that was just written.
    fn point_to(&mut self, hash: u64, at: u16) {
        if self.index.is_full() {
            self.rebuild_index();
        }
        self.index.insert(hash, at);
    }

    /// Makes an index for some fields more, or one that is not far too large.
    #[cold]
    fn rebuild_index(&mut self) {
        let mut index = Index::with_capacity(self.index.len() * 5 / 4 + 1);
        for at in self.index.offsets() {
            index.insert(self.hash_at(at), at);
        }
        self.index = index;
    }

    /// Gives the field at a place just found another value and expiry.
    pub(super) fn replace(&mut self, spot: Spot, value: &[u8], at_ms: u64) {
        let old = self.parse(spot.at);
        if let Kind::Near { name } = old.kind
            && old.body.end - name - old.name_len == value.len()
            && (old.expire_at_ms == NEVER) == (at_ms == NEVER)
        {
            self.bytes[name + old.name_len..old.body.end].copy_from_slice(value);
            self.write_time(&old, at_ms);
            self.note_changed_expiry(old.expire_at_ms, at_ms);
            return;
        }
        let (hash, name) = (self.hash_at(spot.at), self.name_at(spot.at).to_vec());
        let old_ms = self.let_go(spot.at);
        self.index.move_to(spot, NOWHERE);
        let new = self.write(hash, &name, value, at_ms);
        self.index.move_to(spot, new);
        self.note_changed_expiry(old_ms, at_ms);
        self.squeeze();
    }

    /// Gives the field at a place just found another expiry.
    pub(super) fn set_expiry(&mut self, spot: Spot, at_ms: u64) {
        let old = self.parse(spot.at);
        if (old.expire_at_ms == NEVER) == (at_ms == NEVER) {
            self.write_time(&old, at_ms);
            self.note_changed_expiry(old.expire_at_ms, at_ms);
        } else if matches!(old.kind, Kind::Near { .. }) {
            let value = self.at(spot).value.to_vec();
            self.replace(spot, &value, at_ms);
        } else {
            // Its text stays where it is.
            self.make_room(FAR_FIELD_BYTES, BYTES_MAX);
            let old_at = self.index.renewed(spot).at;
            let old = self.parse(old_at);
            let new = self.bytes.len() as u16;
            self.write_head(old.name_len, FAR, at_ms);
            self.bytes.extend_from_within(old.body.clone());
            self.unused += old.body.end - usize::from(old_at);
            self.index.move_to(spot, new);
            self.note_changed_expiry(old.expire_at_ms, at_ms);
            self.squeeze();
        }
    }

    /// Removes the field at a place just found.
    pub(super) fn remove(&mut self, spot: Spot) {
        let old_ms = self.let_go(spot.at);
        self.index.remove(spot);
        self.note_changed_expiry(old_ms, NEVER);
        self.squeeze();
        if self.index.is_sparse() {
            self.rebuild_index();
        }
    }

    /// Copies every field into the one of `targets` that `choose` says.
    fn pour(&self, choose: impl Fn(u64) -> usize, targets: &mut [Segment]) {
        for at in self.index.offsets() {
            let parsed = self.parse(at);
            let hash = self.hash_at(at);
            let target = &mut targets[choose(hash)];
            target.make_room(parsed.body.end - usize::from(at), BYTES_MAX);
            let new = target.bytes.len() as u16;
            match parsed.kind {
                Kind::Near { .. } => {
                    target.bytes.extend_from_slice(&self.bytes[usize::from(at)..parsed.body.end]);
                }
                Kind::Far { place } => {
                    let place = target.keep_far(self.far[place].clone());
                    target.write_head(parsed.name_len, FAR, parsed.expire_at_ms);
                    target.bytes.extend_from_slice(&place.to_le_bytes());
                }
            }
            target.soonest.add(parsed.expire_at_ms);
            target.point_to(hash, new);
        }
    }

    /// Writes a field behind the others, whose name has this hash; returns where.
    fn write(&mut self, hash: u64, name: &[u8], value: &[u8], at_ms: u64) -> u16 {
        let len = name.len() + value.len();
        let near = len + 4 + if at_ms == NEVER { 0 } else { TIME_BYTES };
        if len <= NEAR_BYTES_MAX && self.make_room(near, NEAR_MAX) {
            let at = self.bytes.len() as u16;
            self.write_head(name.len(), 0, at_ms);
            varint::write(&mut self.bytes, value.len() as u64);
            self.bytes.extend_from_slice(name);
            self.bytes.extend_from_slice(value);
            return at;
        }
        let place = self.keep_far(Some(Far { hash, text: [name, value].concat().into() }));
        self.make_room(FAR_FIELD_BYTES, BYTES_MAX);
        let at = self.bytes.len() as u16;
        self.write_head(name.len(), FAR, at_ms);
        self.bytes.extend_from_slice(&place.to_le_bytes());
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

    /// Makes room for some bytes, as much as the allocator's next size has; false: that would be more than `most` in all.
    fn make_room(&mut self, more: usize, most: usize) -> bool {
        // Not for a few bytes, which would be squeezed out again and again; what lies apart finds room in any case.
        let unused_min = if most == BYTES_MAX { 1 } else { self.bytes.len() / 16 };
        if self.bytes.len() + more > most && self.unused >= unused_min {
            self.squeeze_out();
        }
        let len = self.bytes.len();
        if len + more > most {
            return false;
        }
        if self.bytes.capacity() - len < more {
            self.bytes.reserve_exact(capacity_for(len + more, 1) - len);
        }
        true
    }

    /// Notes that the bytes of a field are unused, and frees what lies apart; returns its expiry.
    fn let_go(&mut self, at: u16) -> u64 {
        let parsed = self.parse(at);
        self.unused += parsed.body.end - usize::from(at);
        if let Kind::Far { place } = parsed.kind
            && let Some(far) = self.far[place].take()
        {
            self.far_bytes -= far_bytes(&far);
        }
        parsed.expire_at_ms
    }

    fn keep_far(&mut self, far: Option<Far>) -> u32 {
        self.far_bytes += far.as_ref().map_or(0, far_bytes);
        let free = self.far.iter().position(Option::is_none);
        let place = free.unwrap_or_else(|| {
            self.far.reserve_exact(1 + self.far.len() / 8);
            self.far.push(None);
            self.far.len() - 1
        });
        self.far[place] = far;
        // Never more than there are fields.
        place as u32
    }

    fn far_at(&self, place: usize) -> &[u8] {
        self.far[place].as_ref().map_or(&[], |far| &far.text)
    }

    /// Moves the fields together if too much is unused.
    fn squeeze(&mut self) {
        if self.unused >= UNUSED_BYTES_MIN.max(self.bytes.len() / 4) || self.unused == self.bytes.len() {
            self.squeeze_out();
        }
    }

    /// Moves the fields together.
    fn squeeze_out(&mut self) {
        let live = self.bytes.len() - self.unused;
        let mut bytes = Vec::with_capacity(if live == 0 { 0 } else { capacity_for(live, 1) });
        for at in self.index.offsets_mut() {
            let start = usize::from(*at);
            let end = parse(&self.bytes, *at).body.end;
            *at = bytes.len() as u16;
            bytes.extend_from_slice(&self.bytes[start..end]);
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
        soonest.change(old_ms, new_ms, || index.offsets().map(|at| parse(bytes, at).expire_at_ms));
    }

    #[inline]
    fn name_at(&self, at: u16) -> &[u8] {
        name_of(&self.bytes, &self.far, at)
    }

    /// The hash of a field's name. Cost: O(1).
    #[inline]
    fn hash_at(&self, at: u16) -> u64 {
        let parsed = self.parse(at);
        match parsed.kind {
            Kind::Near { name } => hash_of(&self.bytes[name..name + parsed.name_len]),
            Kind::Far { place } => self.far[place].as_ref().map_or(0, |far| far.hash),
        }
    }

    #[inline]
    fn parse(&self, at: u16) -> Parsed {
        parse(&self.bytes, at)
    }

    /// Panics unless what the module says holds.
    pub(super) fn check(&self) {
        let mut used = 0;
        for at in self.index.offsets() {
            let name = self.name_at(at);
            assert_eq!(self.find(hash_of(name), name).map(|spot| spot.at), Some(at));
            assert_eq!(self.hash_at(at), hash_of(name));
            used += self.parse(at).body.end - usize::from(at);
        }
        self.index.check();
        assert!(self.bytes.len() <= BYTES_MAX);
        assert_eq!(used + self.unused, self.bytes.len());
        self.soonest.check(compact::Segment::iter(self).map(|field| field.expire_at_ms));
        let apart =
            self.index.offsets().filter(|&at| matches!(self.parse(at).kind, Kind::Far { .. })).count();
        assert_eq!(apart, self.far.iter().flatten().count());
        assert_eq!(self.far_bytes, self.far.iter().flatten().map(far_bytes).sum::<usize>());
    }
}

/// Bytes that the text of a field which lies apart takes, its counts included.
fn far_bytes(far: &Far) -> usize {
    far.text.len() + 16
}

#[inline]
fn parse(bytes: &[u8], at: u16) -> Parsed {
    let start = usize::from(at);
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
fn name_of<'a>(bytes: &'a [u8], far: &'a [Option<Far>], at: u16) -> &'a [u8] {
    let parsed = parse(bytes, at);
    match parsed.kind {
        Kind::Near { name } => &bytes[name..name + parsed.name_len],
        Kind::Far { place } => far[place].as_ref().map_or(&[], |far| &far.text[..parsed.name_len]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> Vec<u8> {
        format!("field:{number}").into_bytes()
    }

    fn spot(segment: &Segment, number: usize) -> Spot {
        segment.find(hash_of(&name(number)), &name(number)).expect("it is there")
    }

    fn check_some(segment: &Segment, number: usize) {
        if number.is_multiple_of(16) {
            segment.check();
        }
    }

    /// As many fields as a segment can have, each as long as one that lies near: more than places can name.
    #[test]
    fn fields_that_become_long_where_there_is_no_room_lie_apart() {
        let mut segment = Segment::default();
        for number in 0..SEGMENT_MAX {
            segment.add(hash_of(&name(number)), &name(number), b"short", NEVER);
        }
        let long = |number: usize| vec![number as u8; NEAR_BYTES_MAX - 12];
        for number in 0..SEGMENT_MAX {
            segment.replace(spot(&segment, number), &long(number), NEVER);
            check_some(&segment, number);
        }
        assert!(segment.far_bytes > 0 && segment.bytes.len() > BYTES_MAX / 2);
        for at_ms in [5, NEVER, 7] {
            for number in 0..SEGMENT_MAX {
                segment.set_expiry(spot(&segment, number), at_ms);
                check_some(&segment, number);
            }
            for number in 0..SEGMENT_MAX {
                let item = segment.at(spot(&segment, number));
                assert_eq!((item.value, item.expire_at_ms), (&long(number)[..], at_ms));
            }
        }
        for number in 0..SEGMENT_MAX {
            segment.replace(spot(&segment, number), b"short", NEVER);
        }
        segment.check();
        assert_eq!((segment.far_bytes, segment.soonest.ms()), (0, NEVER));
        for number in 0..SEGMENT_MAX {
            segment.remove(spot(&segment, number));
            check_some(&segment, number);
        }
        assert_eq!(segment.bytes.len(), 0);
    }

    /// The longest that lie near, and some that are just too long for that, as many as a segment can have.
    #[test]
    fn names_are_found_at_the_bounds_of_what_lies_near_whatever_becomes_of_their_segment() {
        let long = |number: usize| {
            let mut long = name(number);
            long.resize(NEAR_BYTES_MAX + number % 4 / 3, b'x');
            long
        };
        let check = |segment: &Segment| {
            segment.check();
            for number in 0..SEGMENT_MAX {
                let name = long(number);
                let item = segment.at(segment.find(hash_of(&name), &name).expect("it is there"));
                assert_eq!((item.name, item.value, item.expire_at_ms), (&name[..], &b""[..], number as u64));
            }
        };
        let mut segment = Segment::default();
        for number in 0..SEGMENT_MAX {
            let name = long(number);
            segment.add(hash_of(&name), &name, b"", number as u64);
        }
        check(&segment);
        let upper = compact::Segment::split(&mut segment, |hash| hash & 1 != 0);
        upper.check();
        segment.check();
        compact::Segment::join(&mut segment, upper);
        check(&segment);
    }
}
