//! Appending: which ID a new entry gets, and which block it goes into.

use std::sync::Arc;

use crate::stream::block::{Block, BlockLimits};
use crate::stream::{EntryId, IdRequest, Stream};

/// Why an entry can't be added; the stream is unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddError {
    /// The ID is not above the last one.
    IdTooSmall,
    /// The last ID is the highest there can be.
    IdsExhausted,
}

impl Stream {
    /// The ID a new entry will have.
    ///
    /// `now_ms`: Unix time, milliseconds. A clock that runs behind the last ID does not stop the stream: IDs then count
    /// on from the last one. Source: XADD.
    pub fn next_id(&self, request: IdRequest, now_ms: u64) -> Result<EntryId, AddError> {
        if self.last_id == EntryId::MAX {
            return Err(AddError::IdsExhausted);
        }
        let id = match request {
            IdRequest::Auto if now_ms > self.last_id.ms => EntryId::new(now_ms, 0),
            IdRequest::Auto => self.last_id.next().ok_or(AddError::IdsExhausted)?,
            IdRequest::AutoSeq(ms) if ms == self.last_id.ms => {
                EntryId { ms, seq: self.last_id.seq.checked_add(1).ok_or(AddError::IdTooSmall)? }
            }
            IdRequest::AutoSeq(ms) => EntryId { ms, seq: 0 },
            IdRequest::Exact(id) => id,
        };
        if id > self.last_id { Ok(id) } else { Err(AddError::IdTooSmall) }
    }

    /// Appends an entry.
    ///
    /// `fields`: name, value, name, value… as raw bytes; even length, at least 2; order and duplicates are kept.
    /// Errors (the stream is unchanged): `IdTooSmall` unless `id` is above the last one.
    /// Cost: amortised O(bytes of the entry), and no allocation but a block's.
    /// Source: XADD; an ID stays taken after XDEL or XTRIM.
    pub fn append<'f, F>(&mut self, id: EntryId, fields: F, limits: BlockLimits) -> Result<(), AddError>
    where
        F: Iterator<Item = &'f [u8]> + Clone,
    {
        if id <= self.last_id {
            return Err(AddError::IdTooSmall);
        }
        let payload_bytes: usize = fields.clone().map(<[u8]>::len).sum();
        match &mut self.open {
            Some(open) if open.takes(payload_bytes, limits) => open.push(id, fields),
            Some(_) => {
                let before = self.seal_open();
                // A stream's blocks tend to be alike, so the last one's size saves growing step by step.
                let (bytes, entries) = before.map_or((0, 0), |(bytes, entries)| (bytes + 32, entries));
                self.open = Some(Block::new(id, fields, bytes, entries));
            }
            None => self.open = Some(Block::new(id, fields, 0, 0)),
        }
        self.last_id = id;
        self.len += 1;
        self.entries_added += 1;
        Ok(())
    }

    /// Moves the open block to the sealed ones; returns how many bytes and entries it has.
    fn seal_open(&mut self) -> Option<(usize, usize)> {
        let mut block = self.open.take().filter(|block| block.live() > 0)?;
        block.seal();
        self.sealed_bytes += block.heap_bytes();
        let size = (block.packed_len(), block.len());
        self.sealed.insert(block.first_id(), Arc::new(block));
        Some(size)
    }

    /// Opens the last sealed block again, after the open one has lost its last entry.
    pub(crate) fn reopen_last(&mut self) {
        self.open = self.sealed.pop_last().map(|(_, block)| {
            self.sealed_bytes -= block.heap_bytes();
            Arc::unwrap_or_clone(block)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: [&[u8]; 2] = [b"f", b"v"];

    fn stream_at(id: EntryId) -> Stream {
        let mut stream = Stream::new();
        stream.set_id(id, None, None);
        stream
    }

    #[test]
    fn ids_follow_the_clock_and_never_fall() {
        let at = |ms, seq| stream_at(EntryId::new(ms, seq));
        let ok = |ms, seq| Ok(EntryId::new(ms, seq));
        let cases = [
            (at(0, 0), IdRequest::Auto, ok(100, 0)),
            (at(100, 0), IdRequest::Auto, ok(100, 1)),
            (at(200, 7), IdRequest::Auto, ok(200, 8)),
            (at(200, u64::MAX), IdRequest::Auto, ok(201, 0)),
            (at(0, 0), IdRequest::AutoSeq(0), ok(0, 1)),
            (at(5, 3), IdRequest::AutoSeq(5), ok(5, 4)),
            (at(5, 3), IdRequest::AutoSeq(6), ok(6, 0)),
            (at(5, 3), IdRequest::AutoSeq(4), Err(AddError::IdTooSmall)),
            (at(5, u64::MAX), IdRequest::AutoSeq(5), Err(AddError::IdTooSmall)),
            (at(5, 3), IdRequest::Exact(EntryId::new(5, 4)), ok(5, 4)),
            (at(5, 3), IdRequest::Exact(EntryId::new(5, 3)), Err(AddError::IdTooSmall)),
            (stream_at(EntryId::MAX), IdRequest::Auto, Err(AddError::IdsExhausted)),
        ];
        for (stream, request, expected) in cases {
            assert_eq!(stream.next_id(request, 100), expected, "{request:?} after {}", stream.last_id());
        }
    }

    #[test]
    fn a_block_takes_a_hundred_entries_or_four_kibibytes() {
        let mut stream = Stream::new();
        for ms in 1..=250 {
            stream.append(EntryId::new(ms, 0), FIELDS.into_iter(), BlockLimits::default()).unwrap();
        }
        assert_eq!(stream.blocks(), 3);
        stream.check();

        let large = [b'x'; 1500];
        let mut stream = Stream::new();
        for ms in 1..=6 {
            let fields: [&[u8]; 2] = [b"f", &large];
            stream.append(EntryId::new(ms, 0), fields.into_iter(), BlockLimits::default()).unwrap();
        }
        assert_eq!(stream.blocks(), 3);
    }

    #[test]
    fn an_id_stays_taken() {
        let mut stream = Stream::new();
        let id = EntryId::new(1, 1);
        stream.append(id, FIELDS.into_iter(), BlockLimits::default()).unwrap();
        assert!(stream.delete(id));
        assert_eq!(stream.append(id, FIELDS.into_iter(), BlockLimits::default()), Err(AddError::IdTooSmall));
        assert_eq!((stream.len(), stream.entries_added()), (0, 1));
    }
}
