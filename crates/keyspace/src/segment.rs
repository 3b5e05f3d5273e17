//! A segment: some hundred records behind each other in one allocation, and an index of where each begins.
//!
//! ```text
//! index   [ tags and offsets, in groups: index.rs ]                   3 bytes a place
//!                         │
//!               ┌─────────┴──────────┐
//! bytes   [ record │ record │ (dead) │ record │ … │ room ]            the next record goes behind the last
//!                              │
//! kept    [ value │ free │ value │ … ]                                what is not within its record
//! ```
//!
//! A key of 16 bytes with a value of 10 is a record of 33 bytes; with its place in the index and the room that is left, it
//! costs some 42 bytes, where an allocation of its own would cost 48 and a pointer of 8 to it.
//!
//! A record that grows moves behind the last; what it leaves is *dead* until the segment is packed: when there is no room for
//! another, or when a quarter is dead.
//!
//! Invariants (`check`)
//! - A record is found by its key. No two places of the index name the same bytes.
//! - `dead_bytes` = what no place names.
//! - What is kept is named by exactly one record, or is free and in `free_kept`.
//!
//! Cost: everything on one record O(1), at worst copying the segment: 14 KiB, a few microseconds.

use crate::hash::KeyHash;
use crate::index::{Index, NOWHERE, Spot};
use crate::record::{self, Draft, EXPIRY_BYTES, Kept, NewValue, RECORD_BYTES_MAX, Record};
use crate::value::NEVER;

/// The most bytes of records that a segment has before it splits. Above 14 KiB the allocator rounds
/// up to pages, and adds one.
pub(crate) const SEGMENT_BYTES_MAX: usize = 13_824;

const _: () = assert!(
    class_of(with_room(SEGMENT_BYTES_MAX)) <= 14 << 10
        && class_of(with_room(SEGMENT_BYTES_MAX + RECORD_BYTES_MAX)) < NOWHERE as usize,
    "the largest segment has an allocation of less than pages, and its last byte an offset"
);

/// Records whose positions share a prefix.
///
/// What a look-up reads stands in one cache line.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(crate) struct Segment {
    kept: Vec<Kept>,
    bytes: Vec<u8>,
    index: Index,
    free_kept: Vec<u16>,
    dead_bytes: u32,
    /// How many top bits of the position its records share.
    pub(crate) depth: u32,
}

/// Bytes that the allocator hands out for so many: 16 times something, from 128 on four sizes up to each power of two.
pub(crate) const fn class_of(bytes: usize) -> usize {
    if bytes <= 128 {
        return bytes.next_multiple_of(16);
    }
    bytes.next_multiple_of(1 << ((bytes - 1).ilog2() - 2))
}

/// As much, and enough that a segment in which records die is not packed at once again.
const fn with_room(bytes: usize) -> usize {
    bytes + bytes / 32
}

impl Segment {
    /// An empty one, with room for so much, and with an index for about as many records as it will have when it is full: that
    /// is not made anew meanwhile, for which all keys would be hashed.
    fn with_capacity(depth: u32, size: Size) -> Segment {
        let full = size.records * SEGMENT_BYTES_MAX / size.bytes.max(1);
        Segment {
            index: Index::with_capacity(full.clamp(size.records, 2 * size.records)),
            bytes: Vec::with_capacity(class_of(size.bytes)),
            kept: Vec::with_capacity(size.kept),
            depth,
            ..Segment::default()
        }
    }

    /// How many records.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// Bytes of its records.
    #[inline]
    pub(crate) fn live_bytes(&self) -> usize {
        self.bytes.len() - self.dead_bytes as usize
    }

    /// Bytes that records have left, which the next ones will take.
    #[inline]
    pub(crate) fn dead_bytes(&self) -> usize {
        self.dead_bytes as usize
    }

    /// Bytes on the heap, but for what kept values point to.
    pub(crate) fn allocated_bytes(&self) -> usize {
        self.index.allocated_bytes()
            + self.bytes.capacity()
            + self.kept.capacity() * size_of::<Kept>()
            + self.free_kept.capacity() * size_of::<u16>()
    }

    /// The first record of this hash for which `wanted` holds.
    #[inline]
    pub(crate) fn find(&self, hash: u64, wanted: impl Fn(Record<'_>) -> bool) -> Option<Spot> {
        self.index.find(hash, |at| wanted(self.record_at(at)))
    }

    /// The record of this key, if it has not expired; `usage`: it is used like that from now on.
    #[inline]
    pub(crate) fn find_live(
        &mut self,
        hash: u64,
        key: &[u8],
        now_ms: u64,
        usage: Option<u32>,
    ) -> Option<Spot> {
        let spot = self.find(hash, |record| record.has_key(key))?;
        if self.at(spot).is_expired(now_ms) {
            return None;
        }
        if let Some(usage) = usage {
            self.set_usage(spot, usage);
        }
        Some(spot)
    }

    /// Where a look-up begins to read.
    #[inline]
    pub(crate) fn index_address(&self, hash: u64) -> Option<*const u8> {
        self.index.group(hash).map(|group| std::ptr::from_ref(group).cast())
    }

    /// Where the record of a key with this hash begins, mostly.
    #[inline]
    pub(crate) fn record_address(&self, hash: u64) -> Option<*const u8> {
        let at = self.index.guess(hash)?;
        self.bytes.get(usize::from(at)).map(std::ptr::from_ref)
    }

    #[inline]
    fn record_at(&self, at: u16) -> Record<'_> {
        Record::at(&self.bytes[usize::from(at)..], &self.kept)
    }

    /// The record just found.
    #[inline]
    pub(crate) fn at(&self, spot: Spot) -> Record<'_> {
        self.record_at(spot.at)
    }

    /// Its bytes, and those behind it.
    #[inline]
    fn bytes_at(&mut self, spot: Spot) -> &mut [u8] {
        &mut self.bytes[usize::from(spot.at)..]
    }

    /// The value of a record just found, if it is not within the record.
    #[inline]
    pub(crate) fn kept_mut(&mut self, spot: Spot) -> Option<&mut Kept> {
        let kept_at = self.at(spot).kept_at()?;
        Some(&mut self.kept[usize::from(kept_at)])
    }

    /// Its records, in the order of the index.
    pub(crate) fn records(&self) -> impl Iterator<Item = Record<'_>> + Clone {
        self.index.offsets().map(|at| self.record_at(at))
    }

    /// Adds a record whose key is not there yet.
    pub(crate) fn insert(&mut self, of: &KeyHash, hash: u64, draft: Draft<'_>) -> Spot {
        if self.index.is_full() {
            self.rebuild_index(of);
        }
        let at = self.append(draft);
        self.index.insert(hash, at)
    }

    /// Writes a record behind the last; returns where.
    fn append(&mut self, draft: Draft<'_>) -> u16 {
        let len = draft.len();
        self.make_room(len);
        let at = self.bytes.len();
        self.bytes.resize(at + len, 0);
        let Segment { bytes, kept, free_kept, .. } = self;
        draft.write(&mut bytes[at..], |value| keep(kept, free_kept, value));
        offset(at)
    }

    /// Puts another record in the place of one just found, for the same key; returns where it is, and what was kept of the
    /// old one.
    pub(crate) fn replace(&mut self, spot: Spot, draft: Draft<'_>) -> (Spot, Kept) {
        let (old_len, old_kept) = (self.at(spot).len(), self.at(spot).kept_at());
        let displaced = self.release(old_kept);
        let len = draft.len();
        if len <= old_len {
            let Segment { bytes, kept, free_kept, .. } = self;
            draft.write(&mut bytes[usize::from(spot.at)..], |value| keep(kept, free_kept, value));
            self.dead_bytes += (old_len - len) as u32;
            self.pack_if_sparse();
            return (self.index.renewed(spot), displaced);
        }
        // What was there is dead before there is room, and may make it.
        self.dead_bytes += old_len as u32;
        self.index.move_to(spot, NOWHERE);
        let at = self.append(draft);
        (self.index.move_to(spot, at), displaced)
    }

    /// Puts a string in the place of one of the same kind and length; false, and nothing is changed: see
    /// [`record::overwrite`].
    #[inline]
    pub(crate) fn overwrite(&mut self, spot: Spot, value: &NewValue<'_>, expiry_ms: u64, usage: u32) -> bool {
        record::overwrite(self.bytes_at(spot), value, expiry_ms, usage)
    }

    /// Puts an integer in the place of another one; false, and nothing is changed: there is something else.
    #[inline]
    pub(crate) fn set_number(&mut self, spot: Spot, number: i64, usage: u32) -> bool {
        record::set_number(self.bytes_at(spot), number, usage)
    }

    /// Takes out a record just found; returns what was kept of it.
    pub(crate) fn remove(&mut self, of: &KeyHash, spot: Spot) -> Kept {
        let (len, kept) = (self.at(spot).len(), self.at(spot).kept_at());
        let removed = self.release(kept);
        self.index.remove(spot);
        self.dead_bytes += len as u32;
        self.shrink(of);
        removed
    }

    /// Changes how a record just found is used.
    #[inline]
    pub(crate) fn set_usage(&mut self, spot: Spot, usage: u32) {
        record::set_usage(self.bytes_at(spot), usage);
    }

    /// Changes when a record just found expires; returns where it is.
    pub(crate) fn set_expiry(&mut self, spot: Spot, expiry_ms: u64) -> Spot {
        if record::set_expiry(self.bytes_at(spot), expiry_ms) {
            return spot;
        }
        let len = self.at(spot).len();
        if expiry_ms == NEVER {
            record::take_expiry(&mut self.bytes_at(spot)[..len]);
            self.dead_bytes += EXPIRY_BYTES as u32;
            return spot;
        }
        self.make_room(len + EXPIRY_BYTES);
        let old = usize::from(self.index.renewed(spot).at);
        let at = offset(self.bytes.len());
        record::push_expiring(&mut self.bytes, old..old + len, expiry_ms);
        self.dead_bytes += len as u32;
        self.index.move_to(spot, at)
    }

    /// Takes out what a record names; of the record there is nothing left to say.
    fn release(&mut self, kept_at: Option<u16>) -> Kept {
        let Some(at) = kept_at else { return Kept::Free };
        self.free_kept.push(at);
        std::mem::take(&mut self.kept[usize::from(at)])
    }

    /// Sees to it that so many bytes can be appended.
    #[inline]
    fn make_room(&mut self, bytes: usize) {
        if self.bytes.len() + bytes > self.bytes.capacity() {
            self.pack(bytes);
        }
    }

    /// Puts the records behind each other, with room for so many bytes more.
    fn pack(&mut self, more_bytes: usize) {
        let wanted = self.live_bytes() + more_bytes;
        if self.dead_bytes == 0 {
            // Nothing but the end changes, and the next size of the allocator has room for more than this.
            self.bytes.reserve_exact(class_of(wanted) - self.bytes.len());
            return;
        }
        let mut packed = Vec::with_capacity(class_of(with_room(wanted)));
        for at in self.index.offsets_mut() {
            let from = &self.bytes[usize::from(*at)..];
            *at = offset(packed.len());
            packed.extend_from_slice(&from[..Record::at(from, &self.kept).len()]);
        }
        self.bytes = packed;
        self.dead_bytes = 0;
        if self.free_kept.len() > 8 + self.kept.len() / 4 {
            self.pack_kept();
        }
    }

    /// Puts what is kept behind each other.
    fn pack_kept(&mut self) {
        let mut packed = Vec::with_capacity(self.kept.len() - self.free_kept.len() + 1);
        for at in self.index.offsets_mut() {
            let bytes = &mut self.bytes[usize::from(*at)..];
            if let Some(kept_at) = Record::at(bytes, &[]).kept_at() {
                record::set_kept_at(bytes, packed.len() as u16);
                packed.push(std::mem::take(&mut self.kept[usize::from(kept_at)]));
            }
        }
        self.kept = packed;
        self.free_kept = Vec::new();
    }

    /// Gives back what records have left, where that is much.
    #[inline]
    fn pack_if_sparse(&mut self) {
        if self.dead_bytes() > self.live_bytes() / 3 + 256 {
            self.pack(0);
        }
    }

    /// Gives back what is not used, where that is much.
    fn shrink(&mut self, of: &KeyHash) {
        if self.len() == 0 {
            *self = Segment { depth: self.depth, ..Segment::default() };
            return;
        }
        self.pack_if_sparse();
        if self.index.is_sparse() {
            self.rebuild_index(of);
        }
    }

    /// Makes an index for one record more, without places that were removed.
    fn rebuild_index(&mut self, of: &KeyHash) {
        let mut index = Index::with_capacity(self.len() * 3 / 2 + 1);
        for at in self.index.offsets() {
            index.insert(self.record_at(at).hash(of), at);
        }
        self.index = index;
    }

    /// Takes out the records for whose hashes this holds, into a segment of their own; both share one bit more.
    pub(crate) fn split(&mut self, of: &KeyHash, goes: impl Fn(u64) -> bool) -> Segment {
        let depth = self.depth + 1;
        let old = std::mem::take(self);
        let mut sizes = [Size::default(); 2];
        let hashed: Vec<(u64, u16)> = old
            .index
            .offsets()
            .map(|at| {
                let record = old.record_at(at);
                let hash = record.hash(of);
                sizes[usize::from(goes(hash))].add(record);
                (hash, at)
            })
            .collect();
        let [mut stays, mut upper] = sizes.map(|size| Segment::with_capacity(depth, size));
        let Segment { bytes, mut kept, .. } = old;
        for (hash, at) in hashed {
            let to = if goes(hash) { &mut upper } else { &mut stays };
            to.adopt(hash, &bytes[usize::from(at)..], &mut kept);
        }
        *self = stays;
        upper
    }

    /// Adds the records of the segment it once split from; they share one bit less.
    pub(crate) fn join(&mut self, of: &KeyHash, other: Segment) {
        let mut size = Size::default();
        self.records().chain(other.records()).for_each(|record| size.add(record));
        let mut joined = Segment::with_capacity(self.depth - 1, size);
        for mut part in [std::mem::take(self), other] {
            for at in part.index.offsets() {
                let hash = part.record_at(at).hash(of);
                joined.adopt(hash, &part.bytes[usize::from(at)..], &mut part.kept);
            }
        }
        *self = joined;
    }

    /// Adds the record at the beginning of `bytes`, with what is kept of it; there is room.
    fn adopt(&mut self, hash: u64, bytes: &[u8], kept: &mut [Kept]) {
        let record = Record::at(bytes, kept);
        let (at, len, kept_at) = (self.bytes.len(), record.len(), record.kept_at());
        self.bytes.extend_from_slice(&bytes[..len]);
        if let Some(from) = kept_at {
            let value = std::mem::take(&mut kept[usize::from(from)]);
            record::set_kept_at(&mut self.bytes[at..], keep(&mut self.kept, &mut self.free_kept, value));
        }
        self.index.insert(hash, offset(at));
    }

    /// Panics if an invariant of the module does not hold.
    pub(crate) fn check(&self, of: &KeyHash) {
        self.index.check();
        assert_eq!(self.live_bytes(), self.records().map(Record::len).sum::<usize>());
        let mut kept: Vec<u16> = self.records().filter_map(Record::kept_at).collect();
        assert!(kept.iter().all(|&at| !matches!(self.kept[usize::from(at)], Kept::Free)));
        kept.extend(&self.free_kept);
        kept.sort_unstable();
        assert!((0..self.kept.len()).eq(kept.into_iter().map(usize::from)));
        for at in self.index.offsets() {
            let key = self.record_at(at).key();
            assert_eq!(self.record_at(at).hash(of), of.of(key));
            assert_eq!(self.find(of.of(key), |record| record.has_key(key)).map(|spot| spot.at), Some(at));
        }
    }
}

/// What records need.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    records: usize,
    bytes: usize,
    kept: usize,
}

impl Size {
    fn add(&mut self, record: Record<'_>) {
        self.records += 1;
        self.bytes += record.len();
        self.kept += usize::from(record.kept_at().is_some());
    }
}

/// Puts a value where there is room; returns where.
fn keep(kept: &mut Vec<Kept>, free: &mut Vec<u16>, value: Kept) -> u16 {
    if let Some(at) = free.pop() {
        kept[usize::from(at)] = value;
        return at;
    }
    if kept.len() == kept.capacity() {
        let capacity = class_of((kept.len() + 1) * size_of::<Kept>()) / size_of::<Kept>();
        kept.reserve_exact(capacity.max(kept.len() + 1) - kept.len());
    }
    kept.push(value);
    // A segment splits long before it has so many records of 9 bytes at least.
    u16::try_from(kept.len() - 1).expect("a segment keeps less than 65 536 values")
}

/// As it stands in the index.
#[inline]
fn offset(at: usize) -> u16 {
    // A segment splits long before; see `SEGMENT_BYTES_MAX`.
    u16::try_from(at).ok().filter(|&at| at != NOWHERE).expect("a segment has less than 65 535 bytes")
}
