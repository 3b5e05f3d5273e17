//! The records of one database in one partition: a hash table that grows in small steps and can be walked in order.
//!
//! Extendible hashing: the top bits of a key's position (see `hash.rs`) select a segment (`segment.rs`), which holds some
//! hundred records. A full segment splits in two by the next bit; two sparse neighbours become one. A segment that has split
//! less often than the deepest ones fills several entries of the directory.
//!
//! ```text
//! directory (depth 2)     segments
//!   00 ─────────────────► [ 0…: depth 1, up to 13.5 KiB of records ]
//!   01 ─────────────────►        (the same)
//!   10 ─────────────────► [ 10…: depth 2 ]
//!   11 ─────────────────► [ 11…: depth 2 ]
//! ```
//!
//! Why not one `HashTable`: it doubles all at once, which at ten million keys holds a lock for a second; and it can
//! only be walked by bucket, an order that every growth changes. Here the longest step moves one segment, and the
//! walk goes by position, a pure function of the key:
//!
//! **SCAN.** A cursor is a position, and it means "every record below has been dealt with". A record that is there
//! during the whole walk is returned exactly once, whatever is added, removed, split or joined meanwhile.
//!
//! **When a segment splits** follows from its size alone. Keys don't stand evenly in the order ([`position`]), so that segments
//! are of all sizes at all times: at any moment few split, and the memory that growing ones leave is taken by those that come
//! after them. Otherwise all would be full at the same time, and what a key takes would swing with their number.
//!
//! Invariants (`check`)
//! - A record stands in the segment that the directory names for its position.
//! - A segment of depth d is named by 2^(depth − d) neighbouring entries, whose positions share their top d bits.
//! - `len` and `dead_bytes` are the sums over the segments.
//!
//! Cost: look-up O(1), one step more than a plain table; insert O(1), at worst moving a segment and, once in 2ⁿ
//! splits, copying a directory of 4 bytes per ~300 records. A record takes its bytes and about 9 more.
//! Source: Fagin et al., *Extendible Hashing*, 1979; Dragonfly's `dash.h` for splitting by segments.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::hash::{KeyHash, POSITION_BITS, POSITIONS, position};
use crate::index::Spot;
use crate::record::{Draft, EXPIRY_BYTES, Kept, NewValue, Record};
use crate::segment::{SEGMENT_BYTES_MAX, Segment};
use crate::stride::Stride;
use crate::value::{NEVER, Value};

/// Below this a segment looks whether it can join its neighbour. Far below half of a full one, so that splits and joins don't
/// alternate.
const SEGMENT_BYTES_SPARSE: usize = SEGMENT_BYTES_MAX / 16;
/// Deepest directory: 2^28 entries serve 10^11 records. Behind it segments grow without splitting.
const DEPTH_MAX: u32 = 28;

const _: () = assert!(DEPTH_MAX < POSITION_BITS, "a segment always has a next bit to split by");

/// Records by key.
#[derive(Debug)]
pub(crate) struct Table {
    hash: KeyHash,
    /// Index into `segments` by the top `depth` bits of a position; 2^depth entries.
    directory: Vec<u32>,
    depth: u32,
    segments: Vec<Segment>,
    /// Indices in `segments` that joins left unused.
    unused: Vec<u32>,
    /// How many segments have the directory's own depth; at zero the directory can be halved.
    deepest: usize,
    len: usize,
    /// Bytes that records have left and no other has taken since: memory that is in use and asks for none.
    dead_bytes: usize,
    /// The sum of `dead_bytes` over the tables of a partition, for whoever does not hold its lock; written with it held.
    dead_of_all: Arc<AtomicUsize>,
}

/// Where a record stands, until one is added, removed or moved: the highest bit, its segment, and its spot there.
///
/// One number, which is written and read as a whole. Of a struct of three its reader would load all at once what was just stored
/// one by one, for which the processor waits until it has left the store buffer: twice in an INCR, some 5 ns each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place(NonZeroU64);

const _: () = assert!(size_of::<Option<Place>>() == 8 && DEPTH_MAX < 31, "a segment's number leaves a bit");

/// What makes the number of a place another one than zero.
const HIGHEST: NonZeroU64 = NonZeroU64::new(1 << 63).expect("it is not zero");

impl Place {
    #[inline]
    fn new(segment: u32, spot: Spot) -> Place {
        debug_assert!(segment < 1 << 31, "there are no more segments than entries");
        let number = u64::from(segment) << 32 | u64::from(spot.word());
        Place(HIGHEST | number)
    }

    #[inline]
    fn segment(self) -> u32 {
        (self.0.get() >> 32) as u32 & !(1 << 31)
    }

    #[inline]
    fn spot(self) -> Spot {
        Spot::of_word(self.0.get() as u32)
    }
}

/// What was taken out of a table.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) value: Value,
    pub(crate) expire_at_ms: Option<u64>,
    pub(crate) usage: u32,
}

/// Where a look-up reads: two places, the second of which is known when the first has been read. The addresses are for whoever has fetched
/// what is there beforehand, and for nothing else.
#[derive(Debug, Clone, Copy)]
pub struct LookUp<'a> {
    segment: &'a Segment,
    hash: u64,
}

impl LookUp<'_> {
    /// The index.
    #[inline]
    pub fn index(self) -> Option<*const u8> {
        self.segment.index_address(self.hash)
    }

    /// The record, mostly. The index is read for it.
    #[inline]
    pub fn record(self) -> Option<*const u8> {
        self.segment.record_address(self.hash)
    }
}

impl Table {
    pub(crate) fn new(hash: KeyHash, dead_of_all: Arc<AtomicUsize>) -> Table {
        Table {
            hash,
            directory: vec![0],
            depth: 0,
            segments: vec![Segment::default()],
            unused: Vec::new(),
            deepest: 1,
            len: 0,
            dead_bytes: 0,
            dead_of_all,
        }
    }

    /// Its dead bytes go with it.
    pub(crate) fn forget_dead(&mut self) {
        self.count_dead(self.dead_bytes, 0);
    }

    /// A part of the dead bytes became this.
    #[inline]
    fn count_dead(&mut self, before: usize, after: usize) {
        if before == after {
            return;
        }
        // Nobody else writes it meanwhile: the partition is locked.
        let all = self.dead_of_all.load(Relaxed);
        self.dead_of_all.store((all + after).saturating_sub(before), Relaxed);
        self.dead_bytes = self.dead_bytes + after - before;
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of the table itself, records included but not what they point to.
    pub(crate) fn allocated_bytes(&self) -> usize {
        let records = self.segments.iter().map(Segment::allocated_bytes).sum::<usize>();
        records + self.segments.capacity() * size_of::<Segment>() + self.directory.capacity() * 4
    }

    #[inline]
    pub(crate) fn find(&self, hash: u64, key: &[u8]) -> Option<Place> {
        self.search(hash, |record| record.has_key(key))
    }

    /// As [`Table::find`], of a record that has not expired; `usage`: it is used like that from now on.
    #[inline]
    pub(crate) fn find_live(
        &mut self,
        hash: u64,
        key: &[u8],
        now_ms: u64,
        usage: Option<u32>,
    ) -> Option<Place> {
        let segment = self.directory[self.entry_of(position(hash))];
        let spot = self.segments[segment as usize].find_live(hash, key, now_ms, usage)?;
        Some(Place::new(segment, spot))
    }

    /// Where a look-up of this hash reads.
    #[inline]
    pub(crate) fn look_up_of(&self, hash: u64) -> LookUp<'_> {
        let segment = self.directory[self.entry_of(position(hash))];
        LookUp { segment: &self.segments[segment as usize], hash }
    }

    /// The first record whose key has this hash and for which `wanted` holds.
    pub(crate) fn find_where(&self, hash: u64, wanted: impl Fn(Record<'_>) -> bool) -> Option<Place> {
        self.search(hash, |record| wanted(record) && record.hash(&self.hash) == hash)
    }

    /// The first record for which `wanted` holds of those that may have this hash: the index compares a few bits of it.
    #[inline]
    fn search(&self, hash: u64, wanted: impl Fn(Record<'_>) -> bool) -> Option<Place> {
        let segment = self.directory[self.entry_of(position(hash))];
        let spot = self.segments[segment as usize].find(hash, wanted)?;
        Some(Place::new(segment, spot))
    }

    /// The record at a place just found.
    #[inline]
    pub(crate) fn at(&self, place: Place) -> Record<'_> {
        self.segments[place.segment() as usize].at(place.spot())
    }

    /// The value of the record at a place just found, unless it is within the record.
    #[inline]
    pub(crate) fn kept_mut(&mut self, place: Place) -> Option<&mut Value> {
        self.segments[place.segment() as usize].kept_mut(place.spot()).map(Kept::value_mut)
    }

    /// Changes how the record at a place just found is used.
    #[inline]
    pub(crate) fn set_usage(&mut self, place: Place, usage: u32) {
        self.segments[place.segment() as usize].set_usage(place.spot(), usage);
    }

    /// Changes when the record at a place just found expires; returns its place.
    pub(crate) fn set_expiry(&mut self, hash: u64, place: Place, expiry_ms: u64) -> Place {
        let longer = expiry_ms != NEVER && self.at(place).expiry_ms() == NEVER;
        let place = if longer { self.with_room(hash, place, EXPIRY_BYTES) } else { place };
        let spot = self.change(place.segment(), |segment, _| segment.set_expiry(place.spot(), expiry_ms));
        Place::new(place.segment(), spot)
    }

    /// Adds a record whose key is not there yet.
    #[inline]
    pub(crate) fn insert(&mut self, hash: u64, draft: Draft<'_>) -> Place {
        let entry = self.make_room(hash, draft.len());
        let segment = self.directory[entry];
        let spot = self.change(segment, |segment, of| segment.insert(of, hash, draft));
        self.len += 1;
        Place::new(segment, spot)
    }

    /// Puts another record for the same key into a place just found; returns its place, and what was there, unless it was
    /// within the record.
    #[inline]
    pub(crate) fn replace(&mut self, hash: u64, place: Place, draft: Draft<'_>) -> (Place, Option<Value>) {
        let more = draft.len().saturating_sub(self.at(place).len());
        let place = if more > 0 { self.with_room(hash, place, more) } else { place };
        let (spot, old) = self.change(place.segment(), |segment, _| segment.replace(place.spot(), draft));
        (Place::new(place.segment(), spot), old.into_value())
    }

    /// Puts a string in the place of one of the same kind and length, at a place just found; false, and nothing is changed: it
    /// is another, or only one of both expires.
    #[inline]
    pub(crate) fn overwrite(
        &mut self,
        place: Place,
        value: &NewValue<'_>,
        expiry_ms: u64,
        usage: u32,
    ) -> bool {
        self.segments[place.segment() as usize].overwrite(place.spot(), value, expiry_ms, usage)
    }

    /// Puts an integer in the place of another one, at a place just found; false, and nothing is changed: there is something else.
    #[inline]
    pub(crate) fn set_number(&mut self, place: Place, number: i64, usage: u32) -> bool {
        self.segments[place.segment() as usize].set_number(place.spot(), number, usage)
    }

    /// Removes the record at a place just found; returns what it held, unless it was within the record.
    pub(crate) fn remove(&mut self, hash: u64, place: Place) -> Option<Value> {
        let removed = self.change(place.segment(), |segment, of| segment.remove(of, place.spot()));
        self.len -= 1;
        if self.depth > 0 && self.segments[place.segment() as usize].live_bytes() < SEGMENT_BYTES_SPARSE {
            self.join(self.entry_of(position(hash)));
        }
        removed.into_value()
    }

    /// Takes out the record at a place just found.
    pub(crate) fn take(&mut self, hash: u64, place: Place) -> Taken {
        let record = self.at(place);
        let (expire_at_ms, usage) = (record.expire_at_ms(), record.usage());
        let small = record.kept_at().is_none().then(|| record.value().to_value());
        let value = self.remove(hash, place).or(small).expect("a value is small or kept");
        Taken { value, expire_at_ms, usage }
    }

    /// Changes a segment and counts what is dead in it.
    #[inline]
    fn change<R>(&mut self, segment: u32, change: impl FnOnce(&mut Segment, &KeyHash) -> R) -> R {
        let Table { hash, segments, .. } = self;
        let segment = &mut segments[segment as usize];
        let before = segment.dead_bytes();
        let result = change(segment, hash);
        let after = segment.dead_bytes();
        self.count_dead(before, after);
        result
    }

    /// Splits the segment for this hash until so many bytes have room in it; returns its entry.
    #[inline]
    fn make_room(&mut self, hash: u64, bytes: usize) -> usize {
        let mut entry = self.entry_of(position(hash));
        loop {
            let segment = &self.segments[self.directory[entry] as usize];
            if segment.live_bytes() + bytes <= SEGMENT_BYTES_MAX || !self.split(entry) {
                return entry;
            }
            entry = self.entry_of(position(hash));
        }
    }

    /// Has a record at a place just found become longer; returns its place.
    fn with_room(&mut self, hash: u64, place: Place, more_bytes: usize) -> Place {
        let segment = &self.segments[place.segment() as usize];
        if segment.live_bytes() + more_bytes <= SEGMENT_BYTES_MAX {
            return place;
        }
        let depth = segment.depth;
        let key: Vec<u8> = segment.at(place.spot()).key().into();
        let entry = self.make_room(hash, more_bytes);
        if self.segments[self.directory[entry] as usize].depth == depth {
            return place;
        }
        self.find(hash, &key).expect("a split loses no record")
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        self.segments.iter().flat_map(Segment::records)
    }

    /// Walks the records in order of position from `from` on and shows them to `visit` until the stride is over. Returns where to go
    /// on, or `None` at the end.
    ///
    /// Cost: O(the stride + records of a segment).
    pub(crate) fn scan<'a>(
        &'a self,
        from: u64,
        stride: &mut Stride<'_>,
        mut visit: impl FnMut(&mut Stride<'_>, Record<'a>),
    ) -> Option<u64> {
        let mut from = from;
        let mut found = Vec::new();
        while from < POSITIONS {
            let (segment, end) = self.segment_over(from);
            found.clear();
            found.extend(segment.records().filter_map(|record| {
                let at = position(record.hash(&self.hash));
                (at >= from).then_some((at, record))
            }));
            let bytes = found.iter().map(|(_, record)| record.key().len()).sum();
            if let Some(next) = stride.show(&mut found, bytes, |record| record.key().len(), &mut visit) {
                return Some(next);
            }
            from = end;
            if stride.is_over() && end < POSITIONS {
                return Some(end);
            }
        }
        None
    }

    /// A record near a random place: `random` has uniform bits. `None` only if the table is empty.
    ///
    /// Every segment is as likely as the share of the positions it covers, which is the share of the records it is
    /// expected to hold.
    pub(crate) fn sample(&self, random: u64) -> Option<Record<'_>> {
        let mut from = position(random);
        // Once around, from the segment of the position on.
        for _ in 0..=self.directory.len() {
            let (segment, end) = self.segment_over(from);
            if segment.len() > 0 {
                let nth = random.rotate_left(32) % segment.len() as u64;
                return segment.records().nth(nth as usize);
            }
            from = end % POSITIONS;
        }
        None
    }

    /// Shows `count` neighbouring records near a random place to `visit`, or fewer.
    pub(crate) fn draw(&self, random: u64, count: u32, visit: impl FnMut(Record<'_>)) {
        let mut from = position(random);
        for _ in 0..=self.directory.len() {
            let (segment, end) = self.segment_over(from);
            let len = segment.len();
            if len > 0 {
                let nth = (random.rotate_left(32) % len as u64) as usize;
                let records = segment.records();
                return records
                    .clone()
                    .skip(nth)
                    .chain(records.take(nth))
                    .take(count as usize)
                    .for_each(visit);
            }
            from = end % POSITIONS;
        }
    }

    /// The entry of the directory for a position.
    #[inline]
    fn entry_of(&self, position: u64) -> usize {
        (position >> (POSITION_BITS - self.depth)) as usize
    }

    /// The segment that covers a position, and the first position behind it.
    fn segment_over(&self, position: u64) -> (&Segment, u64) {
        let segment = &self.segments[self.directory[self.entry_of(position)] as usize];
        let width = POSITIONS >> segment.depth;
        (segment, (position / width + 1) * width)
    }

    /// The directory's entries for a segment of `depth` that `entry` belongs to.
    fn entries_of(&self, entry: usize, depth: u32) -> std::ops::Range<usize> {
        let span = 1 << (self.depth - depth);
        let start = entry / span * span;
        start..start + span
    }

    /// Splits the segment of this entry by the next bit. False: it is as deep as can be.
    fn split(&mut self, entry: usize) -> bool {
        let old = self.directory[entry] as usize;
        let depth = self.segments[old].depth;
        if depth == DEPTH_MAX {
            return false;
        }
        let mut entry = entry;
        if depth == self.depth {
            self.directory = self.directory.iter().flat_map(|&segment| [segment, segment]).collect();
            self.depth += 1;
            self.deepest = 0;
            entry *= 2;
        }
        let entries = self.entries_of(entry, depth);
        let bit = 1 << (POSITION_BITS - depth - 1);

        let new = self.change(old as u32, |segment, of| segment.split(of, |hash| position(hash) & bit != 0));
        let index = match self.unused.pop() {
            Some(index) => {
                self.segments[index as usize] = new;
                index
            }
            None => {
                // An eighth more than is needed, where a `Vec` would double.
                if self.segments.len() == self.segments.capacity() {
                    self.segments.reserve_exact(1 + self.segments.len() / 8);
                }
                self.segments.push(new);
                self.segments.len() as u32 - 1
            }
        };
        self.directory[entries.start + entries.len() / 2..entries.end].fill(index);
        if depth + 1 == self.depth {
            self.deepest += 2;
        }
        true
    }

    /// Joins the segment of this entry with the neighbour it once split from, if both are sparse; and so on upwards.
    fn join(&mut self, entry: usize) {
        let mut entry = entry;
        loop {
            let depth = self.segments[self.directory[entry] as usize].depth;
            if depth == 0 {
                return;
            }
            let entries = self.entries_of(entry, depth - 1);
            let (lower, upper) = (self.directory[entries.start], self.directory[entries.end - 1]);
            let [low, high] = [lower, upper].map(|index| &self.segments[index as usize]);
            let bytes = low.live_bytes() + high.live_bytes();
            if low.depth != high.depth || bytes > 2 * SEGMENT_BYTES_SPARSE {
                return;
            }
            let high = std::mem::take(&mut self.segments[upper as usize]);
            self.count_dead(high.dead_bytes(), 0);
            self.change(lower, |low, of| low.join(of, high));
            self.unused.push(upper);
            self.directory[entries.clone()].fill(lower);
            entry = entries.start;
            if depth == self.depth {
                self.deepest -= 2;
                entry = self.halve_directory(entry);
            }
        }
    }

    /// Halves the directory while no segment needs its full depth; returns what became of `entry`.
    fn halve_directory(&mut self, entry: usize) -> usize {
        let mut entry = entry;
        while self.deepest == 0 && self.depth > 0 {
            self.directory = self.directory.iter().step_by(2).copied().collect();
            self.depth -= 1;
            entry /= 2;
            // A segment of the new full depth has one entry, any other an even number of equal ones.
            self.deepest =
                self.directory.iter().filter(|&&s| self.segments[s as usize].depth == self.depth).count();
        }
        if self.depth == 0 {
            // The only live segment becomes the first, and the places of the others go.
            self.segments.swap(0, self.directory[0] as usize);
            self.segments.truncate(1);
            self.segments.shrink_to_fit();
            self.unused.clear();
            self.directory = vec![0];
        }
        entry
    }

    /// Panics if an invariant of the module does not hold.
    pub(crate) fn check(&self) {
        assert_eq!(self.directory.len(), 1 << self.depth);
        assert_eq!(self.len, self.segments.iter().map(Segment::len).sum::<usize>());
        assert_eq!(self.dead_bytes, self.segments.iter().map(Segment::dead_bytes).sum::<usize>());
        assert!(self.dead_bytes <= self.dead_of_all.load(Relaxed));
        let mut entry = 0;
        let (mut live, mut deepest) = (0, 0);
        while entry < self.directory.len() {
            let index = self.directory[entry];
            let segment = &self.segments[index as usize];
            let entries = self.entries_of(entry, segment.depth);
            assert_eq!(entries.start, entry);
            assert!(self.directory[entries.clone()].iter().all(|&other| other == index));
            segment.check(&self.hash);
            for record in segment.records() {
                assert!(entries.contains(&self.entry_of(position(record.hash(&self.hash)))));
            }
            live += 1;
            deepest += usize::from(segment.depth == self.depth);
            entry = entries.end;
        }
        assert_eq!(live + self.unused.len(), self.segments.len());
        assert_eq!(deepest, self.deepest);
    }
}

#[cfg(test)]
mod tests;
