//! Block: a run of entries packed against its first ID and its field names.
//!
//! ```text
//! bytes   ┌ names ┬ entry 0 ┬ entry 1 ┬ entry 2 ┬ …        names = count, (length, name)…
//! starts          └ u16     └ u16     └ u16               where each entry begins
//!
//! entry   ┌ flags ┬ ms − first.ms ┬ seq ┬ values (length, value)…                 the block's own names
//!         └ flags ┴ ms − first.ms ┴ seq ┴ count, (length, name, length, value)…   other names
//!           seq:  absent under `SEQ_ZERO`; minus the first ID's within the first millisecond
//! ```
//!
//! All numbers are varints, so a small entry (20-byte value, names of the block) takes about 24 bytes and 2 for its
//! start: 26, where a listpack takes 31. The starts buy a binary search and reading backwards.
//!
//! A deleted entry keeps its place as a tombstone. Where a block ends is decided as Redis decides it, from the bytes the
//! entries *would* take in a listpack (`listpack_bytes`), because trimming by whole blocks shows it to clients.
//!
//! Invariants
//! - IDs strictly rise, from `first` on; the entry at 0 is `first`, alive or not.
//! - `live` = entries without `DELETED`; `head` = index of the first of them, or the number of entries.
//! - Entries begin within the first 64 KiB; a block is full before that.
//!
//! Cost: push O(bytes); find O(log entries); delete O(1) amortised.

use crate::listpack;
use crate::stream::id::EntryId;
use crate::stream::varint;

const DELETED: u8 = 1;
const SAME_NAMES: u8 = 2;
const SEQ_ZERO: u8 = 4;

/// When a block is full (`stream-node-max-bytes`, `stream-node-max-entries`); 0 is no limit of that kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockLimits {
    /// Most bytes, counted as a listpack would hold them.
    pub bytes_max: u64,
    /// Most entries, tombstones included.
    pub entries_max: u64,
}

/// Redis's own ceiling for a node, for when `bytes_max` is 0 or above it.
const LISTPACK_BYTES_MAX: u64 = 1 << 30;
/// Where the last entry of a block may begin at most.
const START_MAX: usize = u16::MAX as usize;

impl Default for BlockLimits {
    fn default() -> BlockLimits {
        BlockLimits { bytes_max: 4096, entries_max: 100 }
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    first: EntryId,
    bytes: Vec<u8>,
    starts: Vec<u16>,
    live: u16,
    head: u16,
    /// Listpack size of names and entries, without the frame and the two counters that change.
    packed_bytes: u32,
}

/// One entry, as a view of its block.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// Its ID.
    pub id: EntryId,
    pairs: usize,
    /// The block's names, or empty if the entry brings its own.
    names: &'a [u8],
    body: &'a [u8],
}

/// The fields of an entry, in order: name, value.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    left: usize,
    names: Option<&'a [u8]>,
    body: &'a [u8],
}

impl Block {
    /// A block that starts with the entry `id`; `fields` is name, value, name, value….
    ///
    /// `bytes_expected`: how much to reserve, from the block before; 0 if there was none.
    pub(crate) fn new<'f, F>(id: EntryId, fields: F, bytes_expected: usize, entries_expected: usize) -> Block
    where
        F: Iterator<Item = &'f [u8]> + Clone,
    {
        let mut bytes = Vec::with_capacity(bytes_expected);
        let pairs = fields.clone().count() / 2;
        varint::write(&mut bytes, pairs as u64);
        let mut packed_bytes = listpack::int_bytes(pairs as i64) + listpack::int_bytes(0);
        for name in fields.clone().step_by(2) {
            varint::write_bytes(&mut bytes, name);
            packed_bytes += listpack::string_bytes(name);
        }
        let starts = Vec::with_capacity(entries_expected);
        // Redis's protocol limits a request to far less than 4 GiB of names, and a listpack too.
        let packed_bytes = u32::try_from(packed_bytes).unwrap_or(u32::MAX);
        let mut block = Block { first: id, bytes, starts, live: 0, head: 0, packed_bytes };
        block.write(id, fields, true);
        block
    }

    /// Names and entries, packed: with `first_id`, everything there is to know.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The block whose first ID and bytes these are; `None` if the bytes are no block. Walks every entry.
    pub(crate) fn from_bytes(first: EntryId, bytes: &[u8]) -> Option<Block> {
        let (names, mut rest) = varint::read(bytes)?;
        let mut packed = listpack::int_bytes(i64::try_from(names).ok()?) + listpack::int_bytes(0);
        for _ in 0..names {
            let (name, after) = varint::read_bytes(rest)?;
            packed += listpack::string_bytes(name);
            rest = after;
        }
        let mut block =
            Block { first, bytes: Vec::new(), starts: Vec::new(), live: 0, head: 0, packed_bytes: 0 };
        let mut before = None;
        let mut first_live = None;
        while let Some((&flags, body)) = rest.split_first() {
            let start = bytes.len() - rest.len();
            let (id, fields, entry_packed) = walk_entry(first, flags, body, names)?;
            if before.replace(id).is_some_and(|before| before >= id) || (block.len() == 0 && id != first) {
                return None;
            }
            if block.len() > 0 && (start > START_MAX || block.len() >= START_MAX) {
                return None;
            }
            if flags & DELETED == 0 {
                block.live += 1;
                first_live.get_or_insert(block.len());
            }
            block.starts.push(start.min(START_MAX) as u16);
            packed = packed.saturating_add(entry_packed);
            rest = fields;
        }
        if block.len() == 0 {
            return None;
        }
        // As many as there are entries, which `starts` counts in sixteen bits.
        block.head = first_live.unwrap_or(block.len()) as u16;
        block.packed_bytes = u32::try_from(packed).unwrap_or(u32::MAX);
        block.bytes = bytes.to_vec();
        Some(block)
    }

    /// Whether one more entry with `payload_bytes` of names and values goes into this block.
    pub(crate) fn takes(&self, payload_bytes: usize, limits: BlockLimits) -> bool {
        let bytes_max = match limits.bytes_max {
            0 => LISTPACK_BYTES_MAX,
            max => max.min(LISTPACK_BYTES_MAX),
        };
        let within_bytes = ((self.listpack_bytes() + payload_bytes) as u64) < bytes_max;
        let within_entries = limits.entries_max == 0 || (self.len() as u64) < limits.entries_max;
        within_bytes && within_entries && self.bytes.len() <= START_MAX && self.len() < START_MAX
    }

    /// Appends an entry; `id` is above every ID in the block.
    pub(crate) fn push<'f, F>(&mut self, id: EntryId, fields: F)
    where
        F: Iterator<Item = &'f [u8]> + Clone,
    {
        debug_assert!(id > self.last_id());
        let same_names = self.names_are(fields.clone().step_by(2));
        self.write(id, fields, same_names);
    }

    fn write<'f, F>(&mut self, id: EntryId, fields: F, same_names: bool)
    where
        F: Iterator<Item = &'f [u8]> + Clone,
    {
        // The ID of a new block may be written before its first entry: `takes` keeps starts below 64 KiB, and the
        // names of a first entry may be longer than that, which then is the only one.
        let start = self.bytes.len().min(START_MAX) as u16;
        let ms_delta = id.ms - self.first.ms;
        let seq = if ms_delta == 0 { id.seq - self.first.seq } else { id.seq };
        let flags = if same_names { SAME_NAMES } else { 0 } | if seq == 0 { SEQ_ZERO } else { 0 };
        self.bytes.push(flags);
        varint::write(&mut self.bytes, ms_delta);
        if seq != 0 {
            varint::write(&mut self.bytes, seq);
        }
        let packed = self.write_fields(fields, same_names);
        let seq_delta = id.seq.wrapping_sub(self.first.seq) as i64;
        let packed = packed + 2 + listpack::int_bytes(ms_delta as i64) + listpack::int_bytes(seq_delta);
        self.packed_bytes = self.packed_bytes.saturating_add(u32::try_from(packed).unwrap_or(u32::MAX));
        self.starts.push(start);
        self.live += 1;
    }

    /// Writes values, or names and values; returns their listpack size and that of the element count behind them.
    fn write_fields<'f, F>(&mut self, fields: F, same_names: bool) -> usize
    where
        F: Iterator<Item = &'f [u8]> + Clone,
    {
        let mut packed = 0;
        let mut pairs = 0;
        if same_names {
            for value in fields.skip(1).step_by(2) {
                varint::write_bytes(&mut self.bytes, value);
                packed += listpack::string_bytes(value);
                pairs += 1;
            }
            // Flags, ms, seq, and the values.
            return packed + listpack::int_bytes(pairs + 3);
        }
        varint::write(&mut self.bytes, fields.clone().count() as u64 / 2);
        for text in fields {
            varint::write_bytes(&mut self.bytes, text);
            packed += listpack::string_bytes(text);
            pairs += 1;
        }
        let pairs = pairs / 2;
        packed + listpack::int_bytes(pairs) + listpack::int_bytes(2 * pairs + 4)
    }

    fn names_are<'f>(&self, names: impl Iterator<Item = &'f [u8]>) -> bool {
        let (mut left, mut own) = self.names();
        for name in names {
            if left == 0 {
                return false;
            }
            let (mine, rest) = split_text(own);
            if mine != name {
                return false;
            }
            own = rest;
            left -= 1;
        }
        left == 0
    }

    /// How many names, and their bytes (followed by the entries).
    fn names(&self) -> (usize, &[u8]) {
        let (count, rest) = split_number(&self.bytes);
        (count as usize, rest)
    }

    /// The names that entries without their own have.
    pub(crate) fn name_list(&self) -> Vec<&[u8]> {
        let (count, mut rest) = self.names();
        let mut names = Vec::with_capacity(count);
        for _ in 0..count {
            let (name, after) = split_text(rest);
            names.push(name);
            rest = after;
        }
        names
    }

    /// Whether the entry at `index` has the block's names.
    pub(crate) fn has_block_names(&self, index: usize) -> bool {
        self.bytes[self.start(index)] & SAME_NAMES != 0
    }

    pub(crate) fn first_id(&self) -> EntryId {
        self.first
    }

    /// The ID of the last entry, alive or not.
    pub(crate) fn last_id(&self) -> EntryId {
        self.id_at(self.len() - 1)
    }

    /// Entries, tombstones included.
    pub(crate) fn len(&self) -> usize {
        self.starts.len()
    }

    /// Entries that are alive.
    pub(crate) fn live(&self) -> usize {
        usize::from(self.live)
    }

    /// Index of the first entry that is alive, or `len`.
    pub(crate) fn head(&self) -> usize {
        usize::from(self.head)
    }

    /// What a listpack with these entries would take.
    pub(crate) fn listpack_bytes(&self) -> usize {
        let tombstones = self.len() - self.live();
        listpack::FRAME_BYTES
            + listpack::int_bytes(self.live() as i64)
            + listpack::int_bytes(tombstones as i64)
            + self.packed_bytes as usize
    }

    /// Memory held on the heap, in bytes.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.bytes.capacity() + 2 * self.starts.capacity()
    }

    pub(crate) fn packed_len(&self) -> usize {
        self.bytes.len()
    }

    /// Gives back what was reserved and not used.
    pub(crate) fn seal(&mut self) {
        if self.bytes.capacity() > self.bytes.len() + self.bytes.len() / 16 {
            self.bytes.shrink_to_fit();
        }
        self.starts.shrink_to_fit();
    }

    /// Index of the first entry at or above `id`; `len` if there is none.
    pub(crate) fn lower_bound(&self, id: EntryId) -> usize {
        // Reads end, and follow, at the tail far more often than anywhere else.
        if id > self.last_id() {
            return self.len();
        }
        let (mut low, mut high) = (0, self.len() - 1);
        while low < high {
            let middle = (low + high) / 2;
            if self.id_at(middle) < id { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// Index of the entry `id`, if it is there and alive.
    pub(crate) fn find(&self, id: EntryId) -> Option<usize> {
        let index = self.lower_bound(id);
        (index < self.len() && self.id_at(index) == id && self.is_live(index)).then_some(index)
    }

    /// Whether the entry `id`, alive or not, is at `index`.
    pub(crate) fn is_at(&self, index: usize, id: EntryId) -> bool {
        index < self.len() && self.id_at(index) == id
    }

    /// Leaves a tombstone at `index`, which is alive.
    pub(crate) fn delete(&mut self, index: usize) {
        debug_assert!(self.is_live(index));
        let start = self.start(index);
        self.bytes[start] |= DELETED;
        self.live -= 1;
        while self.head() < self.len() && !self.is_live(self.head()) {
            self.head += 1;
        }
    }

    /// Leaves tombstones below `end`.
    pub(crate) fn delete_below(&mut self, end: usize) {
        for index in self.head()..end {
            let start = self.start(index);
            self.live -= u16::from(self.bytes[start] & DELETED == 0);
            self.bytes[start] |= DELETED;
        }
        let head = (end.max(self.head())..self.len()).find(|&index| self.is_live(index));
        self.head = head.unwrap_or(self.len()) as u16;
    }

    /// The index behind the first `count` entries that are alive; `len` if there are fewer.
    pub(crate) fn behind(&self, count: u64) -> usize {
        let mut left = count;
        let mut index = if left > 0 { self.head() } else { 0 };
        while left > 0 && index < self.len() {
            left -= u64::from(self.is_live(index));
            index += 1;
        }
        index
    }

    pub(crate) fn is_live(&self, index: usize) -> bool {
        self.bytes[self.start(index)] & DELETED == 0
    }

    #[inline]
    fn start(&self, index: usize) -> usize {
        match index {
            // The names of a block's first entry alone may pass 64 KiB.
            0 => self.first_start(),
            _ => usize::from(self.starts[index]),
        }
    }

    fn first_start(&self) -> usize {
        match usize::from(self.starts[0]) {
            START_MAX => {
                let (count, mut rest) = self.names();
                for _ in 0..count {
                    rest = split_text(rest).1;
                }
                self.bytes.len() - rest.len()
            }
            start => start,
        }
    }

    #[inline]
    pub(crate) fn id_at(&self, index: usize) -> EntryId {
        self.head_of(&self.bytes[self.start(index)..]).0
    }

    /// The ID of the entry at the start of `bytes`, its flags, and its fields' bytes.
    #[inline]
    fn head_of<'b>(&self, bytes: &'b [u8]) -> (EntryId, u8, &'b [u8]) {
        let flags = bytes[0];
        let (ms_delta, mut rest) = split_number(&bytes[1..]);
        let mut seq = 0;
        if flags & SEQ_ZERO == 0 {
            (seq, rest) = split_number(rest);
        }
        if ms_delta == 0 {
            seq += self.first.seq;
        }
        (EntryId { ms: self.first.ms + ms_delta, seq }, flags, rest)
    }

    /// The entry at `index`, alive or not.
    #[inline]
    pub(crate) fn entry(&self, index: usize) -> Entry<'_> {
        let (id, flags, rest) = self.head_of(&self.bytes[self.start(index)..]);
        if flags & SAME_NAMES != 0 {
            let (pairs, names) = self.names();
            return Entry { id, pairs, names, body: rest };
        }
        let (pairs, body) = split_number(rest);
        Entry { id, pairs: pairs as usize, names: &[], body }
    }

    /// Shows the entries that are alive from `index` up to `end` to `each`, until it says `false`; `false` then, or when
    /// `end` lies within this block. The same as stepping through them, with what they share looked at once.
    #[inline]
    pub(crate) fn visit<'b>(
        &'b self,
        index: usize,
        end: EntryId,
        mut each: impl FnMut(Entry<'b>) -> bool,
    ) -> bool {
        let whole = end >= self.last_id();
        let stop = match end.next() {
            Some(above) if !whole => self.lower_bound(above),
            _ => self.len(),
        };
        let (pairs, names) = self.names();
        for index in index.max(self.head())..stop {
            let (id, flags, rest) = self.head_of(&self.bytes[self.start(index)..]);
            if flags & DELETED != 0 {
                continue;
            }
            let entry = if flags & SAME_NAMES != 0 {
                Entry { id, pairs, names, body: rest }
            } else {
                let (pairs, body) = split_number(rest);
                Entry { id, pairs: pairs as usize, names: &[], body }
            };
            if !each(entry) {
                return false;
            }
        }
        whole
    }

    /// Index of the first entry that is alive from `index` on.
    #[inline]
    pub(crate) fn live_from(&self, index: usize) -> Option<usize> {
        let index = index.max(self.head());
        // No tombstones behind the head: the usual case, and no flags to read.
        if self.live() == self.len() - self.head() {
            return (index < self.len()).then_some(index);
        }
        (index..self.len()).find(|&index| self.is_live(index))
    }

    /// Index of the last entry that is alive below `end`.
    pub(crate) fn live_before(&self, end: usize) -> Option<usize> {
        (self.head()..end).rev().find(|&index| self.is_live(index))
    }

    /// Panics unless the invariants hold.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn check(&self) {
        assert_eq!(self.first, self.id_at(0));
        assert!((1..self.len()).all(|index| self.id_at(index - 1) < self.id_at(index)));
        let live: Vec<usize> = (0..self.len()).filter(|&index| self.is_live(index)).collect();
        assert_eq!(live.len(), self.live());
        assert_eq!(live.first().copied().unwrap_or(self.len()), self.head());
        let again = Block::from_bytes(self.first, &self.bytes).expect("a block's own bytes are a block");
        assert_eq!((again.packed_bytes, &again.starts), (self.packed_bytes, &self.starts));
        for &index in &live {
            self.entry(index).fields().for_each(drop);
        }
    }
}

impl<'a> Entry<'a> {
    /// The names of its block, up to the block's end, if it has those; else nothing. Their place tells blocks apart.
    pub(crate) fn block_names(&self) -> &'a [u8] {
        self.names
    }

    /// Its values in order, if its names are the block's: without looking at those.
    #[inline]
    pub(crate) fn block_values(&self) -> Values<'a> {
        debug_assert!(!self.names.is_empty());
        Values { left: self.pairs, body: self.body }
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.pairs
    }

    /// Whether it has no field, which no entry made by XADD is.
    pub fn is_empty(&self) -> bool {
        self.pairs == 0
    }

    /// Its fields in order.
    #[inline]
    pub fn fields(&self) -> Fields<'a> {
        let names = (!self.names.is_empty()).then_some(self.names);
        Fields { left: self.pairs, names, body: self.body }
    }
}

/// The values of an entry that has its block's names.
#[derive(Debug, Clone)]
pub(crate) struct Values<'a> {
    left: usize,
    body: &'a [u8],
}

impl<'a> Iterator for Values<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        let (value, rest) = split_text(self.body);
        self.body = rest;
        Some(value)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let name = match &mut self.names {
            Some(names) => {
                let (name, rest) = split_text(names);
                *names = rest;
                name
            }
            None => {
                let (name, rest) = split_text(self.body);
                self.body = rest;
                name
            }
        };
        let (value, rest) = split_text(self.body);
        self.body = rest;
        Some((name, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Fields<'_> {}

/// Reads one entry of a block that came from outside: its ID, what follows it, and its listpack size.
fn walk_entry(first: EntryId, flags: u8, body: &[u8], names: u64) -> Option<(EntryId, &[u8], usize)> {
    if flags & !(DELETED | SAME_NAMES | SEQ_ZERO) != 0 {
        return None;
    }
    let (ms_delta, mut rest) = varint::read(body)?;
    let mut seq = 0;
    if flags & SEQ_ZERO == 0 {
        (seq, rest) = varint::read(rest)?;
    }
    if ms_delta == 0 {
        seq = seq.checked_add(first.seq)?;
    }
    let id = EntryId { ms: first.ms.checked_add(ms_delta)?, seq };
    let seq_delta = seq.wrapping_sub(first.seq) as i64;
    let mut packed = 2 + listpack::int_bytes(ms_delta as i64) + listpack::int_bytes(seq_delta);
    let mut texts = names;
    if flags & SAME_NAMES == 0 {
        let (pairs, after) = varint::read(rest)?;
        texts = pairs.checked_mul(2)?;
        packed += listpack::int_bytes(pairs as i64);
        rest = after;
    }
    for _ in 0..texts {
        let (text, after) = varint::read_bytes(rest)?;
        packed = packed.saturating_add(listpack::string_bytes(text));
        rest = after;
    }
    let elements = texts as i64 + if flags & SAME_NAMES == 0 { 4 } else { 3 };
    Some((id, rest, packed.saturating_add(listpack::int_bytes(elements))))
}

/// A number this module wrote; anything else is a bug, read as 0.
#[inline]
fn split_number(bytes: &[u8]) -> (u64, &[u8]) {
    let read = varint::read(bytes);
    debug_assert!(read.is_some());
    read.unwrap_or((0, &[]))
}

/// A text this module wrote; anything else is a bug, read as empty.
#[inline]
fn split_text(bytes: &[u8]) -> (&[u8], &[u8]) {
    let read = varint::read_bytes(bytes);
    debug_assert!(read.is_some());
    read.unwrap_or((&[], &[]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat<'a>(entry: Entry<'a>) -> Vec<&'a [u8]> {
        entry.fields().flat_map(|(name, value)| [name, value]).collect()
    }

    #[test]
    fn entries_are_read_back() {
        let first: [&[u8]; 4] = [b"temperature", b"20", b"place", b"hall"];
        let other: [&[u8]; 2] = [b"note", b"x"];
        let mut block = Block::new(EntryId::new(1000, 5), first.into_iter(), 0, 0);
        block.push(EntryId::new(1000, 6), other.into_iter());
        block.push(EntryId::new(1001, 0), first.into_iter());
        block.push(EntryId::new(1001, 3), first.into_iter());
        block.check();
        assert_eq!(flat(block.entry(0)), first);
        assert_eq!(flat(block.entry(1)), other);
        assert_eq!(flat(block.entry(3)), first);
        let ids: Vec<_> = (0..4).map(|index| block.id_at(index).to_string()).collect();
        assert_eq!(ids, ["1000-5", "1000-6", "1001-0", "1001-3"]);
        assert_eq!(block.lower_bound(EntryId::new(1000, 6)), 1);
        assert_eq!(block.lower_bound(EntryId::new(1000, 7)), 2);
        assert_eq!(block.lower_bound(EntryId::MAX), 4);
        assert_eq!(block.find(EntryId::new(1001, 1)), None);
    }

    #[test]
    fn a_tombstone_is_skipped_and_the_head_moves_on() {
        let fields: [&[u8]; 2] = [b"f", b"v"];
        let mut block = Block::new(EntryId::new(1, 0), fields.into_iter(), 0, 0);
        for ms in 2..=4 {
            block.push(EntryId::new(ms, 0), fields.into_iter());
        }
        block.delete(1);
        assert_eq!((block.live(), block.head()), (3, 0));
        assert_eq!(block.live_from(1), Some(2));
        assert_eq!(block.live_before(2), Some(0));
        block.delete(0);
        assert_eq!(block.head(), 2);
        assert_eq!(block.find(EntryId::new(2, 0)), None);
        block.check();
    }

    #[test]
    fn names_longer_than_a_start_can_say_make_a_block_of_one() {
        let name = vec![b'n'; 100_000];
        let fields: [&[u8]; 2] = [&name, b"v"];
        let block = Block::new(EntryId::new(1, 1), fields.into_iter(), 0, 0);
        assert_eq!(flat(block.entry(0)), fields);
        assert!(!block.takes(2, BlockLimits { bytes_max: 0, entries_max: 0 }));
    }

    #[test]
    fn a_small_entry_takes_at_most_31_bytes() {
        let value = [b'v'; 20];
        let fields: [&[u8]; 2] = [b"field", &value];
        let mut block = Block::new(EntryId::new(1_700_000_000_000, 0), fields.into_iter(), 0, 0);
        for index in 1..100u64 {
            block.push(EntryId::new(1_700_000_000_000 + 3 * index, 0), fields.into_iter());
        }
        block.seal();
        assert!(block.heap_bytes() <= 27 * 100, "{} bytes", block.heap_bytes());
    }
}
