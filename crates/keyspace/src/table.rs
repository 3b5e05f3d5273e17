//! The records of one database in one partition: a hash table that grows in small steps and can be walked in order.
//!
//! Extendible hashing: the top bits of a key's position (see `hash.rs`) select a segment, a small hash table. A full
//! segment splits in two by the next bit; two sparse neighbours become one. A segment that has split less often than
//! the deepest ones fills several entries of the directory.
//!
//! ```text
//! directory (depth 2)     segments
//!   00 ─────────────────► [ 0…: depth 1, up to 448 records ]
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
//! Invariants (`check`)
//! - A record stands in the segment that the directory names for its position.
//! - A segment of depth d is named by 2^(depth − d) neighbouring entries, whose positions share their top d bits.
//! - `len` = sum of the segments' lengths.
//!
//! Cost: look-up O(1), one step more than a plain table; insert O(1), at worst moving 448 records and, once in 2ⁿ
//! splits, copying a directory of 4 bytes per ~300 records. A record takes 64 bytes + 1 at a load of 44–87 %.
//! Source: Fagin et al., *Extendible Hashing*, 1979; Dragonfly's `dash.h` for splitting by segments.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use hashbrown::HashTable;

use crate::hash::{BUCKET_BITS, KeyHash, POSITION_BITS, POSITIONS, position};
use crate::value::Record;

/// A segment with as many records splits before the next one is added: a `HashTable` of 512 buckets is then full.
const SEGMENT_RECORDS_MAX: usize = (1 << BUCKET_BITS) / 8 * 7;
/// Below this a segment looks whether it can join its neighbour. Far below half, so that splits and joins don't alternate.
const SEGMENT_RECORDS_SPARSE: usize = SEGMENT_RECORDS_MAX / 8;
/// Deepest directory: 2^28 entries serve 10^11 records. Behind it segments grow without splitting.
const DEPTH_MAX: u32 = 28;

const _: () = assert!(DEPTH_MAX < POSITION_BITS, "a segment always has a next bit to split by");

/// Bytes of a place for a record.
pub const PLACE_BYTES: usize = size_of::<Record>() + 1;

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
    /// Places that removals left free and no record has taken since: memory that is in use and asks for none.
    free: usize,
    /// The sum of `free` over the tables of a partition, for whoever does not hold its lock; written with it held.
    free_of_all: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Segment {
    /// How many top bits of the position its records share.
    depth: u32,
    records: HashTable<Record>,
}

/// Where a record stands, until the table changes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    segment: u32,
    bucket: usize,
}

impl Table {
    pub(crate) fn new(hash: KeyHash, free_of_all: Arc<AtomicUsize>) -> Table {
        let first = Segment { depth: 0, records: HashTable::new() };
        Table {
            hash,
            directory: vec![0],
            depth: 0,
            segments: vec![first],
            unused: Vec::new(),
            deepest: 1,
            len: 0,
            free: 0,
            free_of_all,
        }
    }

    /// Its free places go with it.
    pub(crate) fn forget_free(&mut self) {
        self.set_free(0);
    }

    #[inline]
    fn set_free(&mut self, free: usize) {
        // Nobody else writes it meanwhile: the partition is locked.
        let all = self.free_of_all.load(Relaxed);
        self.free_of_all.store(all.saturating_sub(self.free) + free, Relaxed);
        self.free = free;
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of the table itself, records included but not what they point to.
    pub(crate) fn allocated_bytes(&self) -> usize {
        let records = self.segments.iter().map(|s| s.records.allocation_size()).sum::<usize>();
        records + self.segments.capacity() * size_of::<Segment>() + self.directory.capacity() * 4
    }

    #[inline]
    pub(crate) fn find(&self, hash: u64, key: &[u8]) -> Option<Place> {
        self.find_where(hash, |record| *record.key == *key)
    }

    /// The first record of this hash for which `wanted` holds.
    #[inline]
    pub(crate) fn find_where(&self, hash: u64, wanted: impl Fn(&Record) -> bool) -> Option<Place> {
        let segment = self.directory[self.entry_of(position(hash))];
        let bucket = self.segments[segment as usize].records.find_bucket_index(hash, wanted)?;
        Some(Place { segment, bucket })
    }

    /// The record at a place just found.
    #[inline]
    pub(crate) fn at(&self, place: Place) -> &Record {
        let record = self.segments[place.segment as usize].records.get_bucket(place.bucket);
        record.expect("a place is used before the table changes")
    }

    /// The record at a place just found.
    #[inline]
    pub(crate) fn at_mut(&mut self, place: Place) -> &mut Record {
        let record = self.segments[place.segment as usize].records.get_bucket_mut(place.bucket);
        record.expect("a place is used before the table changes")
    }

    /// Adds a record whose key is not there yet.
    pub(crate) fn insert(&mut self, hash: u64, record: Record) -> Place {
        let mut entry = self.entry_of(position(hash));
        while self.segments[self.directory[entry] as usize].records.len() >= SEGMENT_RECORDS_MAX {
            if !self.split(entry) {
                break;
            }
            entry = self.entry_of(position(hash));
        }
        let segment = self.directory[entry];
        let Table { hash: of, segments, .. } = self;
        let records = &mut segments[segment as usize].records;
        let bucket = records.insert_unique(hash, record, |r| of.of(&r.key)).bucket_index();
        self.len += 1;
        if self.free > 0 {
            self.set_free(self.free - 1);
        }
        Place { segment, bucket }
    }

    /// Takes out the record at a place just found.
    pub(crate) fn remove(&mut self, place: Place) -> Record {
        let Table { hash, segments, .. } = self;
        let records = &mut segments[place.segment as usize].records;
        let entry = records.get_bucket_entry(place.bucket).expect("a place is used before the table changes");
        let (record, _) = entry.remove();
        let (len, capacity) = (records.len(), records.capacity());
        // At a quarter: the table of half the size is then half full, and far from growing again.
        let mut free = self.free + 1;
        if capacity > 28 && len < capacity / 4 {
            records.shrink_to(2 * len, |r| hash.of(&r.key));
            free = free.saturating_sub(capacity - records.capacity());
        }
        self.len -= 1;
        self.set_free(free);
        if len < SEGMENT_RECORDS_SPARSE && self.depth > 0 {
            let entry = self.entry_of(position(self.hash.of(&record.key)));
            self.join(entry);
        }
        record
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Record> {
        self.segments.iter().flat_map(|segment| segment.records.iter())
    }

    /// Walks the records in order of position from `from` on and passes at least `count` of them to `visit`, if there
    /// are as many. Returns where to go on, or `None` at the end.
    ///
    /// Cost: O(`count` + records of a segment).
    pub(crate) fn scan<'a>(
        &'a self,
        from: u64,
        count: usize,
        mut visit: impl FnMut(&'a Record),
    ) -> Option<u64> {
        let (mut from, mut left) = (from, count);
        let mut found = Vec::new();
        while from < POSITIONS {
            let (segment, end) = self.segment_over(from);
            found.clear();
            found.extend(segment.records.iter().filter_map(|record| {
                let at = position(self.hash.of(&record.key));
                (at >= from).then_some((at, record))
            }));
            if found.len() > left {
                found.sort_unstable_by_key(|&(at, _)| at);
                // Records that share the last position go along: a cursor can't point between them.
                let last = found[left.saturating_sub(1)].0;
                found.iter().take_while(|&&(at, _)| at <= last).for_each(|&(_, record)| visit(record));
                return Some(last + 1);
            }
            found.iter().for_each(|&(_, record)| visit(record));
            left -= found.len();
            from = end;
            if left == 0 && end < POSITIONS {
                return Some(end);
            }
        }
        None
    }

    /// A record near a random place: `random` has uniform bits. `None` only if the table is empty.
    ///
    /// Every segment is as likely as the share of the positions it covers, which is the share of the records it is
    /// expected to hold.
    pub(crate) fn sample(&self, random: u64) -> Option<&Record> {
        let mut from = position(random);
        // Once around, from the segment of the position on.
        for _ in 0..=self.directory.len() {
            let (segment, end) = self.segment_over(from);
            if !segment.records.is_empty() {
                let nth = random.rotate_left(32) % segment.records.len() as u64;
                return segment.records.iter().nth(nth as usize);
            }
            from = end % POSITIONS;
        }
        None
    }

    /// Shows `count` neighbouring records near a random place to `visit`, or fewer.
    pub(crate) fn draw(&self, random: u64, count: u32, visit: impl FnMut(&Record)) {
        let mut from = position(random);
        for _ in 0..=self.directory.len() {
            let (segment, end) = self.segment_over(from);
            let len = segment.records.len();
            if len > 0 {
                let nth = (random.rotate_left(32) % len as u64) as usize;
                let records = segment.records.iter();
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

        let Table { hash, segments, .. } = self;
        let records = &mut segments[old].records;
        let moved: Vec<Record> = records.extract_if(|r| position(hash.of(&r.key)) & bit != 0).collect();
        let mut upper = HashTable::with_capacity(moved.len());
        for record in moved {
            upper.insert_unique(hash.of(&record.key), record, |r| hash.of(&r.key));
        }
        records.shrink_to(0, |r| hash.of(&r.key));
        segments[old].depth = depth + 1;
        let new = Segment { depth: depth + 1, records: upper };
        let index = match self.unused.pop() {
            Some(index) => {
                self.segments[index as usize] = new;
                index
            }
            None => {
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
            if low.depth != high.depth || low.records.len() + high.records.len() > 2 * SEGMENT_RECORDS_SPARSE
            {
                return;
            }
            let moved = std::mem::take(&mut self.segments[upper as usize].records);
            self.set_free(self.free.saturating_sub(moved.capacity()));
            let Table { hash, segments, .. } = self;
            let low = &mut segments[lower as usize];
            for record in moved {
                low.records.insert_unique(hash.of(&record.key), record, |r| hash.of(&r.key));
            }
            low.depth = depth - 1;
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
        assert_eq!(self.len, self.segments.iter().map(|s| s.records.len()).sum::<usize>());
        let mut entry = 0;
        let (mut live, mut deepest) = (0, 0);
        while entry < self.directory.len() {
            let index = self.directory[entry];
            let segment = &self.segments[index as usize];
            let entries = self.entries_of(entry, segment.depth);
            assert_eq!(entries.start, entry);
            assert!(self.directory[entries.clone()].iter().all(|&other| other == index));
            for record in &segment.records {
                assert!(entries.contains(&self.entry_of(position(self.hash.of(&record.key)))));
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
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::value::{NEVER, Value};

    fn record(key: &[u8]) -> Record {
        Record { key: key.into(), value: Value::Int(0), expire_at_ms: NEVER, usage: 0 }
    }

    fn name(number: u32) -> Vec<u8> {
        format!("key:{number}").into_bytes()
    }

    fn add(table: &mut Table, number: u32) {
        let key = name(number);
        let hash = table.hash.of(&key);
        if table.find(hash, &key).is_none() {
            table.insert(hash, record(&key));
        }
    }

    fn remove(table: &mut Table, number: u32) {
        let key = name(number);
        if let Some(place) = table.find(table.hash.of(&key), &key) {
            assert_eq!(*table.remove(place).key, *key);
        }
    }

    #[test]
    fn what_is_inserted_is_found_and_what_is_removed_is_not_through_growth_and_shrinkage() {
        let mut table = Table::new(KeyHash::random(), Arc::default());
        for number in 0..20_000 {
            add(&mut table, number);
        }
        table.check();
        assert!(table.depth >= 5, "20 000 records fill more than 32 segments of 448");
        for number in 0..20_000 {
            if number % 200 != 7 {
                remove(&mut table, number);
            }
            if number % 2_000 == 0 {
                table.check();
            }
        }
        table.check();
        assert!(table.depth <= 1, "100 records are joined into one segment, or stay in two");
        for number in 0..20_000 {
            let key = name(number);
            assert_eq!(table.find(table.hash.of(&key), &key).is_some(), number % 200 == 7);
        }
        for number in 0..20_000 {
            remove(&mut table, number);
        }
        table.check();
        assert_eq!((table.len(), table.segments.len(), table.directory.len()), (0, 1, 1));
        assert!(table.allocated_bytes() < 8 * 1024, "an empty table gives its memory back");
    }

    /// The promise that SCAN rests on, with records added and removed between any two steps.
    #[test]
    fn a_walk_visits_what_stays_exactly_once_whatever_comes_and_goes() {
        let mut random = fastrand::Rng::with_seed(7);
        for round in 0..30 {
            let mut table = Table::new(KeyHash::random(), Arc::default());
            let staying = random.u32(1..3_000);
            (0..staying).for_each(|number| add(&mut table, number));
            let mut passing = 10_000..10_000;
            let mut visits: HashMap<Vec<u8>, usize> = HashMap::new();
            let mut from = Some(0);
            while let Some(position) = from {
                let count = random.usize(1..60);
                from = table
                    .scan(position, count, |record| *visits.entry(record.key.to_vec()).or_default() += 1);
                // Growth in the first third of the rounds, shrinkage in the second, churn in the last.
                let (adds, removes) = [(300, 0), (0, 300), (200, 200)][round % 3];
                if passing.is_empty() && removes > adds {
                    passing = 10_000..30_000;
                    passing.clone().for_each(|number| add(&mut table, number));
                }
                // Not for ever: growing faster than it is walked, a table is never walked to its end.
                for _ in 0..if passing.end < 40_000 { adds } else { 0 } {
                    add(&mut table, passing.end);
                    passing.end += 1;
                }
                for _ in 0..removes {
                    if passing.start < passing.end {
                        remove(&mut table, passing.start);
                        passing.start += 1;
                    }
                }
            }
            table.check();
            for number in 0..staying {
                assert_eq!(visits.get(&name(number)), Some(&1), "round {round}, record {number}");
            }
        }
    }

    #[test]
    fn a_step_visits_as_many_as_it_is_asked_for() {
        let mut table = Table::new(KeyHash::random(), Arc::default());
        (0..5_000).for_each(|number| add(&mut table, number));
        let (mut from, mut steps) = (Some(0), 0);
        while let Some(position) = from {
            let mut visited = 0;
            from = table.scan(position, 10, |_| visited += 1);
            // More only where two records share a position of 40 bits.
            assert!((10..=11).contains(&visited) || from.is_none());
            steps += 1;
        }
        assert!((490..=501).contains(&steps));
    }

    #[test]
    fn a_sample_can_be_any_record() {
        let mut table = Table::new(KeyHash::random(), Arc::default());
        assert!(table.sample(1).is_none());
        (0..1_000).for_each(|number| add(&mut table, number));
        let mut random = fastrand::Rng::with_seed(1);
        let mut seen = std::collections::HashSet::new();
        for _ in 0..20_000 {
            seen.insert(table.sample(random.u64(..)).unwrap().key.to_vec());
        }
        assert!(seen.len() > 990, "{} of 1000", seen.len());
    }
}
