//! Ranges: entries between two IDs, forwards or backwards, and the entry with one ID.
//!
//! The start is found by a search over the blocks' first IDs and one inside a block; after that every step is the next
//! entry's bytes.

use std::sync::Arc;

use crate::stream::block::{Block, Entry};
use crate::stream::runs::{self};
use crate::stream::{EntryId, Stream};

/// Finds entries one by one; those that follow each other without a search.
#[derive(Debug, Clone)]
pub(crate) struct Finder<'a> {
    stream: &'a Stream,
    /// Where the last one was.
    last: Option<(&'a Block, usize)>,
}

impl<'a> Finder<'a> {
    /// The entry `id`.
    pub(crate) fn find(&mut self, id: EntryId) -> Option<Entry<'a>> {
        let following = self.last.map(|(block, index)| (block, index + 1));
        let (block, index) = match following.filter(|&(block, index)| block.is_at(index, id)) {
            Some(found) => found,
            None => {
                let block = self.stream.block_of(id)?;
                (block, block.find(id)?)
            }
        };
        self.last = Some((block, index));
        block.is_live(index).then(|| block.entry(index))
    }
}

/// Entries from low to high IDs.
#[derive(Debug, Clone)]
pub struct Forward<'a> {
    /// The block being read and the index to go on from.
    current: Option<(&'a Block, usize)>,
    sealed: Option<runs::From<'a, Arc<Block>>>,
    open: Option<&'a Block>,
    end: EntryId,
}

/// Entries from high to low IDs.
#[derive(Debug, Clone)]
pub struct Backward<'a> {
    /// The block being read and the index below which to go on.
    current: Option<(&'a Block, usize)>,
    sealed: runs::DownFrom<'a, Arc<Block>>,
    start: EntryId,
}

impl Stream {
    /// The entries with `start` ≤ ID ≤ `end`, lowest first.
    #[inline]
    pub fn range(&self, start: EntryId, end: EntryId) -> Forward<'_> {
        let open = self.open.as_ref();
        if let Some(block) = open.filter(|block| start >= block.first_id()) {
            return Forward {
                current: Some((block, block.lower_bound(start))),
                sealed: None,
                open: None,
                end,
            };
        }
        // The block that starts at or before `start` may reach past it.
        let from = self.sealed.at_or_below(start).map_or(start, |(first, _)| first);
        let mut sealed = self.sealed.from(from);
        match sealed.next() {
            Some((_, block)) => {
                let current = Some((&**block, block.lower_bound(start)));
                Forward { current, sealed: Some(sealed), open, end }
            }
            None => Forward { current: open.map(|block| (block, 0)), sealed: None, open: None, end },
        }
    }

    /// The entries with `start` ≤ ID ≤ `end`, highest first.
    pub fn range_backward(&self, start: EntryId, end: EntryId) -> Backward<'_> {
        let below = |block: &Block| match end.next() {
            Some(above) => block.lower_bound(above),
            None => block.len(),
        };
        let mut sealed = self.sealed.down_from(end);
        let current = match self.open.as_ref().filter(|block| end >= block.first_id()) {
            Some(block) => Some((block, below(block))),
            None => sealed.next().map(|(_, block)| (&**block, below(block))),
        };
        Backward { current, sealed, start }
    }

    /// How much work a range of at most `count` entries is, about, in elements that are as much as a small entry; it is not
    /// counted on once it is `enough`. O(blocks looked at).
    pub(crate) fn work_of_range(
        &self,
        (start, end): (EntryId, EntryId),
        count: usize,
        enough: usize,
    ) -> usize {
        let from = self.sealed.at_or_below(start).map_or(start, |(first, _)| first);
        let sealed = self.sealed.from(from).map(|(_, block)| &**block);
        let blocks = sealed.chain(&self.open).skip_while(|block| block.last_id() < start);
        work_of(blocks.take_while(|block| block.first_id() <= end), start, count, enough)
    }

    /// The same for a range that is read from its end.
    pub(crate) fn work_of_range_backward(
        &self,
        (start, end): (EntryId, EntryId),
        count: usize,
        enough: usize,
    ) -> usize {
        let sealed = self.sealed.down_from(end).map(|(_, block)| &**block);
        let blocks = self.open.iter().chain(sealed).skip_while(|block| block.first_id() > end);
        work_of(blocks.take_while(|block| block.last_id() >= start), EntryId::MIN, count, enough)
    }

    /// The entry `id`. O(log n).
    pub fn entry(&self, id: EntryId) -> Option<Entry<'_>> {
        let block = self.block_of(id)?;
        Some(block.entry(block.find(id)?))
    }

    /// For looking up several entries in order.
    pub(crate) fn finder(&self) -> Finder<'_> {
        Finder { stream: self, last: None }
    }

    /// Whether the entry `id` is there. O(log n).
    pub fn contains(&self, id: EntryId) -> bool {
        self.block_of(id).is_some_and(|block| block.find(id).is_some())
    }

    /// Whether the entry `id` was deleted and still has its place in a block.
    #[cfg(test)]
    pub(crate) fn is_tombstone(&self, id: EntryId) -> bool {
        self.block_of(id)
            .is_some_and(|block| block.is_at(block.lower_bound(id), id) && block.find(id).is_none())
    }

    /// The last entry.
    pub fn last_entry(&self) -> Option<Entry<'_>> {
        self.range_backward(EntryId::MIN, EntryId::MAX).next()
    }

    /// The block in which `id` is, if it is anywhere.
    fn block_of(&self, id: EntryId) -> Option<&Block> {
        match &self.open {
            Some(block) if id >= block.first_id() => Some(block),
            _ => self.sealed.at_or_below(id).map(|(_, block)| &**block),
        }
    }
}

/// Bytes of a block that are as much work as a small entry: they are copied.
const BYTES_PER_ELEMENT: usize = 256;

fn work_of<'b>(
    blocks: impl Iterator<Item = &'b Block>,
    start: EntryId,
    count: usize,
    enough: usize,
) -> usize {
    let (mut entries, mut work) = (0, 0);
    for block in blocks {
        // Of a block as much as is taken: what is above the ID, and no more than are asked for.
        let above =
            if block.first_id() < start { block.len() - block.lower_bound(start) } else { block.len() };
        let taken = block.live().min(above).min(count - entries);
        let all = block.len().max(block.listpack_bytes() / BYTES_PER_ELEMENT);
        work += (all * taken.max(1)).div_ceil(block.live().max(1));
        entries += taken;
        if entries >= count || work >= enough {
            break;
        }
    }
    work
}

impl<'a> Forward<'a> {
    /// Shows the entries to `each`, until it says `false`. Quicker than stepping through them.
    #[inline]
    pub(crate) fn visit(mut self, mut each: impl FnMut(Entry<'a>) -> bool) {
        while let Some((block, index)) = self.current {
            if !block.visit(index, self.end, &mut each) {
                return;
            }
            self.step();
        }
    }

    /// Goes on to the next block.
    fn step(&mut self) {
        let sealed = self.sealed.as_mut().and_then(Iterator::next).map(|(_, block)| &**block);
        self.current = sealed.or_else(|| self.open.take()).map(|block| (block, 0));
    }
}

impl<'a> Iterator for Forward<'a> {
    type Item = Entry<'a>;

    #[inline]
    fn next(&mut self) -> Option<Entry<'a>> {
        loop {
            let (block, index) = self.current?;
            if let Some(index) = block.live_from(index) {
                let entry = block.entry(index);
                if entry.id > self.end {
                    self.current = None;
                    return None;
                }
                self.current = Some((block, index + 1));
                return Some(entry);
            }
            self.step();
        }
    }
}

impl<'a> Iterator for Backward<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        loop {
            let (block, end) = self.current?;
            if let Some(index) = block.live_before(end) {
                let entry = block.entry(index);
                if entry.id < self.start {
                    self.current = None;
                    return None;
                }
                self.current = Some((block, index));
                return Some(entry);
            }
            self.current = self.sealed.next().map(|(_, block)| (&**block, block.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::BlockLimits;

    /// Entries 2-0, 4-0, … 2000-0, so that bounds fall on and between them.
    fn even(blocks_of: u64) -> Stream {
        let mut stream = Stream::new();
        let limits = BlockLimits { bytes_max: 0, entries_max: blocks_of };
        for ms in 1..=1000 {
            let fields: [&[u8]; 2] = [b"f", b"v"];
            stream.append(EntryId::new(2 * ms, 0), fields.into_iter(), limits).unwrap();
        }
        stream
    }

    #[test]
    fn both_directions_give_what_a_filter_gives() {
        for blocks_of in [1, 7, 100, 0] {
            let stream = even(blocks_of);
            for (start, end) in
                [(0, 3000), (2, 2), (3, 3), (3, 9), (14, 28), (1999, 2500), (2000, 2000), (9, 3)]
            {
                let expected: Vec<u64> =
                    (1..=1000).map(|ms| 2 * ms).filter(|ms| (start..=end).contains(ms)).collect();
                let (low, high) = (EntryId::new(start, 0), EntryId::new(end, 0));
                let forward: Vec<u64> = stream.range(low, high).map(|entry| entry.id.ms).collect();
                assert_eq!(forward, expected, "{start}..={end} in blocks of {blocks_of}");
                let mut visited = Vec::new();
                stream.range(low, high).visit(|entry| {
                    visited.push(entry.id.ms);
                    visited.len() < 9
                });
                assert!(
                    visited.iter().eq(expected.iter().take(9)),
                    "{start}..={end} in blocks of {blocks_of}"
                );
                let mut backward: Vec<u64> =
                    stream.range_backward(low, high).map(|entry| entry.id.ms).collect();
                backward.reverse();
                assert_eq!(backward, expected, "{start}..={end} backwards in blocks of {blocks_of}");
            }
        }
    }

    #[test]
    fn the_work_of_a_range_is_about_its_entries_however_it_is_bounded() {
        let stream = even(100);
        let all = (EntryId::MIN, EntryId::MAX);
        let some = (EntryId::new(700, 0), EntryId::new(999, 0));
        let behind = (EntryId::new(2001, 0), EntryId::MAX);
        for work in [Stream::work_of_range, Stream::work_of_range_backward] {
            assert_eq!(work(&stream, all, usize::MAX, usize::MAX), 1000);
            assert_eq!(work(&stream, all, usize::MAX, 250), 300);
            assert_eq!(work(&stream, all, 101, usize::MAX), 101, "of the last block one entry is taken");
            assert!((150..=300).contains(&work(&stream, some, usize::MAX, usize::MAX)));
            assert_eq!(work(&stream, behind, usize::MAX, usize::MAX), 0);
            assert_eq!(work(&Stream::new(), all, usize::MAX, usize::MAX), 0);
        }
        let mut long = Stream::new();
        let fields: [&[u8]; 2] = [b"f", &[b'v'; 1 << 20]];
        long.append(EntryId::new(1, 0), fields.into_iter(), BlockLimits::default()).unwrap();
        assert!(long.work_of_range(all, 1, usize::MAX) >= 4096, "bytes are work");
    }

    #[test]
    fn an_entry_is_found_by_its_id_alone() {
        let stream = even(100);
        assert!(stream.contains(EntryId::new(1000, 0)));
        assert!(!stream.contains(EntryId::new(1001, 0)));
        assert!(!stream.contains(EntryId::new(1, 0)));
        assert_eq!(stream.entry(EntryId::new(2000, 0)).map(|entry| entry.len()), Some(1));
        assert_eq!(stream.last_entry().map(|entry| entry.id), Some(EntryId::new(2000, 0)));
    }
}
