//! The fields of a large hash, by name: packed segments (`segment.rs`) in the table that sets and sorted sets have, too.
//!
//! Cost: find, put and remove O(1). A field takes its bytes, 2 to 4 more, 8 if it expires, and some 9 of index and room.

use super::Field;
use super::segment::{Item, Segment};
use crate::compact::{self, Segments, hash_of};
use crate::stride::Stride;
use crate::value::NEVER;

/// Bytes of names of fields that are removed together because they are due.
const DUE_BYTES: usize = 256 << 10;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Table(Segments<Segment>);

impl Table {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Its segments.
    pub(super) fn segments(&self) -> &Segments<Segment> {
        &self.0
    }

    /// The soonest expiry, or [`NEVER`].
    pub(super) fn soonest_ms(&self) -> u64 {
        self.0.soonest_ms()
    }

    /// Bytes on the heap. Cost: O(1).
    pub(super) fn heap_bytes(&self) -> usize {
        self.0.heap_bytes()
    }

    #[inline]
    pub(super) fn find(&self, name: &[u8]) -> Option<Field<'_>> {
        let hash = hash_of(name);
        let segment = self.0.segment(hash);
        Some(segment.at(segment.find(hash, name)?).into())
    }

    /// Sets a field; `at_ms` gets its expiry so far, or [`NEVER`], and returns the new one. True: the field is new.
    pub(super) fn put(&mut self, name: &[u8], value: &[u8], at_ms: impl FnOnce(u64) -> u64) -> bool {
        let hash = hash_of(name);
        let segment = self.0.segment(hash);
        if let Some(spot) = segment.find(hash, name) {
            let at_ms = at_ms(segment.at(spot).expire_at_ms);
            self.0.change(hash, |segment| segment.replace(spot, value, at_ms));
            return false;
        }
        let at_ms = at_ms(NEVER);
        self.0.add(hash, |segment| segment.add(hash, name, value, at_ms));
        true
    }

    /// Sets the expiry of a field; false: it is not there.
    pub(super) fn set_expiry(&mut self, name: &[u8], at_ms: u64) -> bool {
        let hash = hash_of(name);
        let Some(spot) = self.0.segment(hash).find(hash, name) else { return false };
        self.0.change(hash, |segment| segment.set_expiry(spot, at_ms));
        true
    }

    /// Removes a field; false: it is not there.
    pub(super) fn remove(&mut self, name: &[u8]) -> bool {
        let hash = hash_of(name);
        let Some(spot) = self.0.segment(hash).find(hash, name) else { return false };
        self.0.take(hash, |segment| segment.remove(spot));
        true
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Field<'_>> {
        self.0.iter().map(Field::from)
    }

    /// See [`Segments::for_each_in_order`].
    pub(super) fn for_each_in_order<'a>(&'a self, mut visit: impl FnMut(Field<'a>)) {
        self.0.for_each_in_order(|item| visit(item.into()));
    }

    /// Names of fields that are due, at most `most` and as many as are short or one, those with the soonest expiries first as far as
    /// segments go.
    ///
    /// Cost: O(found + fields of a segment).
    pub(super) fn due(&self, now_ms: u64, most: usize) -> Vec<Box<[u8]>> {
        let items = self.0.due(now_ms).flat_map(compact::Segment::iter);
        let due = items.filter(|item: &Item<'_>| now_ms > item.expire_at_ms);
        let mut stride = Stride::new(most, DUE_BYTES, None);
        let in_stride = due.take_while(|item| {
            let is_taken = !stride.is_over();
            stride.pass(item.name.len());
            is_taken
        });
        in_stride.map(|item| item.name.into()).collect()
    }

    /// How many fields are due. Cost: O(fields of the segments that have one).
    pub(super) fn due_len(&self, now_ms: u64) -> usize {
        let items = self.0.due(now_ms).flat_map(compact::Segment::iter);
        items.filter(|item| now_ms > item.expire_at_ms).count()
    }

    /// The fields of the segment at a place, which moves on to the next; `None`: there is no further one. See
    /// [`Segments::segment_at`].
    pub(super) fn part_at(&self, place: &mut usize) -> Option<impl Iterator<Item = Field<'_>>> {
        Some(compact::Segment::iter(self.0.segment_at(place)?).map(Field::from))
    }

    /// See [`Segments::scan`].
    pub(super) fn scan<'a>(
        &'a self,
        from: u64,
        stride: &mut Stride<'_>,
        mut visit: impl FnMut(&mut Stride<'_>, Field<'a>),
    ) -> Option<u64> {
        self.0.scan(from, stride, |stride, item| visit(stride, item.into()))
    }

    /// See [`Segments::sample`].
    pub(super) fn sample(&self, random: u64) -> Option<Field<'_>> {
        self.0.sample(random).map(Field::from)
    }

    /// Panics if an invariant of its parts does not hold.
    pub(super) fn check(&self) {
        self.0.check();
        let mut place = 0;
        std::iter::from_fn(|| self.0.segment_at(&mut place)).for_each(Segment::check);
    }
}
