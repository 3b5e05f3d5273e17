//! Removing entries: one by one (XDEL and its kin) and the oldest (XTRIM).
//!
//! Trimming goes block by block from the front. A block whose entries all have to go goes as a whole; from the first that
//! doesn't, entries are removed one by one, unless the trim is approximate and stops there.
//!
//! What becomes of pending entries that refer to a removed one is a policy, [`References`]. Under `Acked` an entry that a
//! group has still to read or to acknowledge stays, so that a trim can leave holes.
//!
//! Source: XTRIM; `~` with DELREF and ACKED removes something only from Redis 8.4.1 on (redis/redis#14623).

use std::sync::Arc;

use crate::stream::block::Block;
use crate::stream::{EntryId, Stream};

/// What a removal does about pending entries (KEEPREF, DELREF, ACKED).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum References {
    /// They stay, and refer to nothing.
    #[default]
    Keep,
    /// They are removed from every group.
    Drop,
    /// An entry is removed only when no group has still to deliver it or to acknowledge it.
    Acked,
}

/// How far to trim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrimBound {
    /// Until at most as many entries are left.
    MaxLen(u64),
    /// Entries below this ID.
    MinId(EntryId),
}

/// A request to trim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trim {
    /// How far.
    pub bound: TrimBound,
    /// `~`: whole blocks only, and at most as many entries; 0 is no limit. `None` trims exactly.
    pub whole_blocks: Option<u64>,
    /// What becomes of pending entries.
    pub references: References,
}

/// What a trim removed: enough to do the same again without deciding anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trimmed {
    /// How many entries.
    pub removed: u64,
    /// Every entry up to and including this one is gone; `None` if it was not a prefix (see `holes`) or nothing.
    pub through: Option<EntryId>,
    /// Under [`References::Acked`], the IDs removed.
    pub holes: Vec<EntryId>,
    /// Under [`References::Drop`], IDs that left some group's PEL.
    pub dropped: Vec<EntryId>,
}

/// What became of an ID given to XDELEX or XACKDEL; the numbers are their replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeleteOutcome {
    /// There is no such entry.
    Missing = -1,
    /// It was deleted.
    Deleted = 1,
    /// It stays, because a group has still to deliver or to acknowledge it.
    Referenced = 2,
}

/// Entries that an approximate trim looks at, at most, beyond those that it removes: about a millisecond. The next trim
/// goes on from there.
const CHECKED_MAX: usize = 10_000;

impl Stream {
    /// Deletes the entry `id`; `false` if there is none. Pending entries stay. O(log n).
    pub fn delete(&mut self, id: EntryId) -> bool {
        let deleted = self.remove(id);
        if deleted {
            self.max_deleted_id = self.max_deleted_id.max(id);
        }
        deleted
    }

    /// Deletes the entry `id` as `references` says. O(groups × log n).
    ///
    /// Under `Drop`, pending entries go even if the entry itself is gone already.
    pub fn delete_with(&mut self, id: EntryId, references: References) -> DeleteOutcome {
        match references {
            References::Keep => {}
            References::Drop => drop(self.unreference(id)),
            References::Acked if self.is_referenced(id) => return DeleteOutcome::Referenced,
            References::Acked => {}
        }
        if self.delete(id) { DeleteOutcome::Deleted } else { DeleteOutcome::Missing }
    }

    /// Removes entries from the front, as `trim` says.
    ///
    /// Cost: O(blocks removed + entries of the blocks removed in part); under [`References::Acked`] O(entries removed), and
    /// once for every entry that stays O(groups).
    pub fn trim(&mut self, trim: Trim) -> Trimmed {
        match trim.references {
            References::Acked => self.trim_acked(trim),
            References::Keep | References::Drop => self.trim_prefix(trim),
        }
    }

    /// How much work a trim is, about, in elements that are as much as an entry that is looked up, once so many entries more
    /// are in the stream; it is not counted on once it is `enough`.
    pub(crate) fn work_of_trim(&self, trim: Trim, added: u64, enough: usize) -> usize {
        let below = |min| self.work_of_range((EntryId::MIN, min), usize::MAX, 10 * enough);
        let entries = match trim.bound {
            TrimBound::MaxLen(max) => {
                usize::try_from((self.len + added).saturating_sub(max)).unwrap_or(usize::MAX)
            }
            TrimBound::MinId(min) => below(min),
        };
        let limit = trim.whole_blocks.filter(|&limit| limit > 0).unwrap_or(u64::MAX);
        let removed = entries.min(usize::try_from(limit).unwrap_or(usize::MAX));
        match (trim.references, &self.references) {
            // They go block by block.
            (References::Keep, _) => removed / 10,
            (References::Acked, Some(references)) if entries > 0 => {
                let unchecked = references.checked().next().map_or(0, |start| {
                    self.work_of_range((start, references.lowest_cursor()), entries, enough)
                });
                unchecked.saturating_mul(1 + self.groups.len()) + references.free_count().min(removed)
            }
            (References::Acked, _) => entries.saturating_mul(1 + self.groups.len()),
            (References::Drop, _) => removed.saturating_mul(1 + self.groups.len()),
        }
    }

    /// Removes entries that are too old at `now_ms`, Unix time in milliseconds: some `most` of them, by whole blocks, or
    /// those of one block.
    pub(crate) fn trim_aged(&mut self, now_ms: u64, most: u64) -> Trimmed {
        let oldest = EntryId { ms: now_ms.saturating_sub(self.max_age_ms), seq: 0 };
        let trim = |bound, whole_blocks| Trim { bound, whole_blocks, references: References::Keep };
        let trimmed = self.trim(trim(TrimBound::MinId(oldest), Some(most.max(1))));
        if trimmed.removed > 0 {
            return trimmed;
        }
        let front = self.blocks_from_first().next().and_then(|block| block.last_id().next());
        self.trim(trim(TrimBound::MinId(front.map_or(oldest, |next| next.min(oldest))), None))
    }

    fn trim_prefix(&mut self, trim: Trim) -> Trimmed {
        let mut trimmed = Trimmed::default();
        while let Some(key) = self.block_key_after(None) {
            let Some((live, whole)) = self.next_of_trim(key, trim, trimmed.removed) else { break };
            if !whole && trim.whole_blocks.is_some() {
                break;
            }
            if whole && trim.references == References::Keep {
                trimmed.through = self.block_at(key).map(Block::last_id);
                trimmed.removed += live;
                self.remove_block(key);
                continue;
            }
            self.trim_within(key, trim, &mut trimmed);
            if !whole {
                break;
            }
        }
        trimmed
    }

    /// How many entries the block at `key` has, and whether all of them have to go; `None` if the trim ends before it.
    fn next_of_trim(&self, key: EntryId, trim: Trim, removed: u64) -> Option<(u64, bool)> {
        let block = self.block_at(key)?;
        let live = block.live() as u64;
        if self.is_within(trim.bound) || over_limit(trim.whole_blocks, removed + live) {
            return None;
        }
        let whole = match trim.bound {
            TrimBound::MaxLen(max) => self.len.saturating_sub(live) >= max,
            TrimBound::MinId(min) => block.last_id() < min,
        };
        Some((live, whole))
    }

    /// Removes what no group refers to: first of the entries that an earlier trim has looked at, then of the ones behind.
    fn trim_acked(&mut self, trim: Trim) -> Trimmed {
        let mut trimmed = Trimmed::default();
        if !self.is_within(trim.bound) && self.trim_free(trim, &mut trimmed) {
            self.trim_unchecked(trim, &mut trimmed);
        }
        trimmed
    }

    /// `false` if the trim ends here.
    fn trim_free(&mut self, trim: Trim, trimmed: &mut Trimmed) -> bool {
        let lowest_cursor = self.references().lowest_cursor();
        let mut next = self.references().free_from(EntryId::MIN);
        while let Some(id) = next.filter(|&id| id <= lowest_cursor) {
            if !self.contains(id) {
                self.references().note_removed(id);
            } else {
                let Some(key) = self.block_key_of(id) else { break };
                let Some((_, whole)) = self.next_of_trim(key, trim, trimmed.removed) else { return false };
                let below = matches!(trim.bound, TrimBound::MinId(min) if id >= min);
                if below || !whole && trim.whole_blocks.is_some() {
                    return false;
                }
                self.remove(id);
                trimmed.removed += 1;
                trimmed.holes.push(id);
            }
            next = id.next().and_then(|next| self.references().free_from(next));
        }
        true
    }

    fn trim_unchecked(&mut self, trim: Trim, trimmed: &mut Trimmed) {
        let lowest_cursor = self.references().lowest_cursor();
        let mut left_to_check = if trim.whole_blocks.is_some() { CHECKED_MAX } else { usize::MAX };
        while let Some(start) = self.references().checked().next().filter(|&start| start <= lowest_cursor) {
            let Some(first) = self.range(start, lowest_cursor).next().map(|entry| entry.id) else { break };
            let Some(key) = self.block_key_of(first) else { break };
            let Some((live, whole)) = self.next_of_trim(key, trim, trimmed.removed) else { return };
            if !whole && trim.whole_blocks.is_some() || left_to_check == 0 {
                return;
            }
            left_to_check = left_to_check.saturating_sub(live as usize);
            let last = self.block_at(key).map_or(first, Block::last_id).min(lowest_cursor);
            let entries: Vec<EntryId> = self.range(first, last).map(|entry| entry.id).collect();
            for id in entries {
                let stop = match trim.bound {
                    TrimBound::MaxLen(max) => self.len <= max,
                    TrimBound::MinId(min) => id >= min,
                };
                if stop {
                    return;
                }
                let holders = self.holders_of(id);
                self.references().note_checked(id, holders);
                if holders == 0 {
                    self.remove(id);
                    trimmed.removed += 1;
                    trimmed.holes.push(id);
                }
            }
        }
    }

    /// Removes every entry up to and including `last`. What a trim that removed a prefix comes to.
    pub fn trim_through(&mut self, last: EntryId) -> u64 {
        let min = last.next().map_or(TrimBound::MaxLen(0), TrimBound::MinId);
        self.trim(Trim { bound: min, whole_blocks: None, references: References::Keep }).removed
    }

    fn is_within(&self, bound: TrimBound) -> bool {
        matches!(bound, TrimBound::MaxLen(max) if self.len <= max)
    }

    /// Removes the entries of one block that a trim comes to.
    fn trim_within(&mut self, key: EntryId, trim: Trim, trimmed: &mut Trimmed) {
        let Some(block) = self.block_at(key) else { return };
        let end = match trim.bound {
            TrimBound::MaxLen(max) => block.behind(self.len.saturating_sub(max)),
            TrimBound::MinId(min) => block.lower_bound(min),
        };
        let last = (block.head()..end).rev().find(|&index| block.is_live(index));
        let last = last.map(|index| block.id_at(index));
        if trim.references == References::Drop {
            // Of tombstones too: they were deleted alone, and now what refers to them goes.
            let ids: Vec<EntryId> = (0..end).map(|index| block.id_at(index)).collect();
            trimmed.dropped.extend(ids.into_iter().filter(|&id| self.unreference(id)));
        }
        if last.is_some() {
            let before = self.len;
            self.change_block(key, |block| block.delete_below(end));
            trimmed.removed += before - self.len;
            trimmed.through = last;
        }
    }

    /// Removes the entry `id` without recording it as the highest deleted.
    pub(crate) fn remove(&mut self, id: EntryId) -> bool {
        let Some(key) = self.block_key_of(id) else { return false };
        let Some(index) = self.block_at(key).and_then(|block| block.find(id)) else { return false };
        self.change_block(key, |block| block.delete(index));
        if let Some(references) = &mut self.references {
            references.note_removed(id);
        }
        true
    }

    /// The first ID of the block in which `id` is, if it is in any.
    fn block_key_of(&self, id: EntryId) -> Option<EntryId> {
        match &self.open {
            Some(block) if id >= block.first_id() => Some(block.first_id()),
            _ => self.sealed.at_or_below(id).map(|(key, _)| key),
        }
    }

    /// The first ID of the block behind the one that starts at `after`.
    fn block_key_after(&self, after: Option<EntryId>) -> Option<EntryId> {
        let from = match after {
            None => Some(EntryId::MIN),
            Some(after) => after.next(),
        };
        let sealed = from.and_then(|from| self.sealed.from(from).next()).map(|(key, _)| key);
        let open =
            || self.open.as_ref().map(Block::first_id).filter(|&key| after.is_none_or(|after| key > after));
        sealed.or_else(open)
    }

    /// The block that starts at `key`.
    fn block_at(&self, key: EntryId) -> Option<&Block> {
        match &self.open {
            Some(block) if block.first_id() == key => Some(block),
            _ => self.sealed.get(key).map(|block| &**block),
        }
    }

    /// Lets `change` delete entries of the block at `key`.
    fn change_block(&mut self, key: EntryId, change: impl FnOnce(&mut Block)) {
        let (before, after) = match &mut self.open {
            Some(block) if block.first_id() == key => {
                let before = block.live();
                change(block);
                (before, block.live())
            }
            _ => {
                let Some(shared) = self.sealed.get_mut(key) else { return };
                self.sealed_bytes -= shared.heap_bytes();
                // Copies the block if a snapshot or a reader holds it.
                let block = Arc::make_mut(shared);
                let before = block.live();
                change(block);
                self.sealed_bytes += block.heap_bytes();
                (before, block.live())
            }
        };
        self.len -= (before - after) as u64;
        if after == 0 {
            self.remove_block(key);
        }
    }

    /// Drops the block at `key` with the entries still alive in it.
    fn remove_block(&mut self, key: EntryId) {
        if let Some(block) = self.sealed.remove(key) {
            self.sealed_bytes -= block.heap_bytes();
            self.len -= block.live() as u64;
        } else if let Some(block) = self.open.take_if(|block| block.first_id() == key) {
            self.len -= block.live() as u64;
            self.reopen_last();
        }
    }
}

fn over_limit(limit: Option<u64>, removed: u64) -> bool {
    limit.is_some_and(|limit| limit != 0 && removed > limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::BlockLimits;

    fn id(ms: u64) -> EntryId {
        EntryId::new(ms, 0)
    }

    /// 350 entries in blocks of 100; group `g` has read 250 and acknowledged 1..=120 and 200..=229.
    fn sample() -> Stream {
        let mut stream = Stream::new();
        for ms in 1..=350 {
            let fields: [&[u8]; 2] = [b"f", b"v"];
            stream.append(id(ms), fields.into_iter(), BlockLimits::default()).unwrap();
        }
        stream.create_group(b"g", EntryId::MIN, Some(0));
        let mut group = stream.group_mut(b"g").unwrap();
        let consumer = group.create_consumer(b"c", 0).unwrap();
        (1..=250).for_each(|ms| group.insert_pending(id(ms), consumer, 0, 1));
        group.set_id(id(250), Some(250));
        (1..=120).chain(200..230).for_each(|ms| assert!(group.ack(id(ms))));
        drop(group);
        stream
    }

    type Runs<'a> = &'a [(u64, u64)];

    /// First and last ID of each run of consecutive milliseconds.
    fn runs(stream: &Stream) -> Vec<(u64, u64)> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for entry in stream.range(EntryId::MIN, EntryId::MAX) {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == entry.id.ms => *last += 1,
                _ => runs.push((entry.id.ms, entry.id.ms)),
            }
        }
        runs
    }

    #[test]
    fn trims_remove_what_redis_removes() {
        use References::*;
        use TrimBound::*;
        let cases: &[(TrimBound, Option<u64>, References, u64, Runs<'_>)] = &[
            (MaxLen(10), None, Keep, 340, &[(341, 350)]),
            (MaxLen(10), Some(0), Keep, 300, &[(301, 350)]),
            (MaxLen(10), Some(150), Keep, 100, &[(101, 350)]),
            (MaxLen(10), Some(99), Keep, 0, &[(1, 350)]),
            (MaxLen(330), Some(0), Keep, 0, &[(1, 350)]),
            (MaxLen(400), None, Keep, 0, &[(1, 350)]),
            (MaxLen(0), None, Keep, 350, &[]),
            (MinId(id(240)), None, Keep, 239, &[(240, 350)]),
            (MinId(id(240)), Some(0), Keep, 200, &[(201, 350)]),
            (MaxLen(10), None, Acked, 150, &[(121, 199), (230, 350)]),
            (MaxLen(330), None, Acked, 20, &[(21, 350)]),
            (MinId(id(240)), None, Acked, 150, &[(121, 199), (230, 350)]),
            (MinId(id(240)), Some(0), Acked, 121, &[(121, 199), (201, 350)]),
            (MaxLen(10), None, Drop, 340, &[(341, 350)]),
            (MaxLen(10), Some(0), Drop, 300, &[(301, 350)]),
        ];
        for &(bound, whole_blocks, references, removed, left) in cases {
            let mut stream = sample();
            let trim = Trim { bound, whole_blocks, references };
            let trimmed = stream.trim(trim);
            stream.check();
            assert_eq!(trimmed.removed, removed, "{trim:?}");
            assert_eq!(runs(&stream), left, "{trim:?}");
            assert_eq!(stream.max_deleted_id(), EntryId::MIN, "trimming is no deletion");
            let pending = stream.group(b"g").unwrap().pending().len();
            assert_eq!(pending, if references == Drop { 0 } else { 100 }, "{trim:?}");
        }
    }

    #[test]
    fn the_record_of_a_trim_does_the_same_again() {
        for whole_blocks in [None, Some(0)] {
            let mut stream = sample();
            let mut again = stream.clone();
            let trim = Trim { bound: TrimBound::MaxLen(77), whole_blocks, references: References::Keep };
            let trimmed = stream.trim(trim);
            again.trim_through(trimmed.through.unwrap());
            assert_eq!(runs(&stream), runs(&again));
        }
    }

    #[test]
    fn a_middle_block_without_entries_goes_away_and_so_does_the_open_one() {
        let mut stream = sample();
        (101..=200).for_each(|ms| assert!(stream.delete(id(ms))));
        assert_eq!(stream.blocks(), 3);
        (301..=350).for_each(|ms| assert!(stream.delete(id(ms))));
        stream.check();
        assert_eq!((stream.blocks(), stream.len(), stream.max_deleted_id()), (2, 200, id(350)));
        assert!(!stream.delete(id(350)));
        let fields: [&[u8]; 2] = [b"f", b"v"];
        stream.append(id(351), fields.into_iter(), BlockLimits::default()).unwrap();
        assert_eq!(runs(&stream), [(1, 100), (201, 300), (351, 351)]);
        stream.check();
    }

    #[test]
    fn a_trim_leaves_no_block_of_tombstones() {
        let fields: [&[u8]; 2] = [b"f", b"v"];
        let bounds = [(TrimBound::MinId(id(5)), References::Keep), (TrimBound::MaxLen(0), References::Drop)];
        for (bound, references) in bounds {
            let mut stream = Stream::new();
            for ms in [3, 5] {
                stream.append(id(ms), fields.into_iter(), BlockLimits::default()).unwrap();
            }
            assert!(stream.delete(id(5)));
            assert_eq!(stream.trim(Trim { bound, whole_blocks: None, references }).removed, 1);
            stream.check();
            assert_eq!((stream.len(), stream.blocks(), stream.first_id()), (0, 0, EntryId::MIN));
        }
    }

    #[test]
    fn what_refers_to_a_tombstone_goes_with_the_entries_around_it() {
        for whole_blocks in [None, Some(0)] {
            let mut stream = sample();
            (130..=140).for_each(|ms| assert!(stream.delete(id(ms))));
            let bound = TrimBound::MinId(id(201));
            let trimmed = stream.trim(Trim { bound, whole_blocks, references: References::Drop });
            assert_eq!((trimmed.removed, trimmed.dropped.len()), (189, 79));
            assert_eq!(stream.group(b"g").unwrap().pending().first(), Some(id(230)));
            stream.check();
        }
    }

    #[test]
    fn what_was_acknowledged_behind_a_backlog_is_found_without_looking_at_the_backlog_again() {
        let mut stream = sample();
        let trim = Trim { bound: TrimBound::MaxLen(10), whole_blocks: None, references: References::Acked };
        assert_eq!(stream.trim(trim).removed, 150);
        assert_eq!(stream.trim(trim).removed, 0);
        assert_eq!(stream.references().free_from(EntryId::MIN), None);
        stream.create_group(b"late", id(150), None);
        let mut group = stream.group_mut(b"g").unwrap();
        (140..=160).for_each(|ms| assert!(group.ack(id(ms))));
        drop(group);
        stream.check();
        assert_eq!(stream.trim(trim).holes, (140..=150).map(id).collect::<Vec<_>>());
        assert!(stream.is_referenced(id(155)), "the late group has not read it");
        stream.group_mut(b"late").unwrap().set_id(id(170), None);
        assert!(!stream.is_referenced(id(155)));
        let copy = stream.clone();
        assert_eq!(stream.trim(trim).holes, (151..=160).map(id).collect::<Vec<_>>());
        assert!(stream.destroy_group(b"late").is_some());
        stream.check();
        copy.check();
    }

    #[test]
    fn a_delete_in_a_shared_block_leaves_the_other_holder_alone() {
        let mut stream = sample();
        let snapshot = stream.clone();
        assert!(stream.delete(id(50)));
        assert!(snapshot.contains(id(50)));
        assert!(!stream.contains(id(50)));
        stream.check();
        snapshot.check();
    }

    #[test]
    fn an_entry_goes_only_when_every_group_is_done_with_it() {
        let mut stream = sample();
        assert_eq!(stream.delete_with(id(300), References::Acked), DeleteOutcome::Referenced);
        assert_eq!(stream.delete_with(id(130), References::Acked), DeleteOutcome::Referenced);
        assert_eq!(stream.delete_with(id(1), References::Acked), DeleteOutcome::Deleted);
        assert_eq!(stream.delete_with(id(1), References::Acked), DeleteOutcome::Missing);
        assert_eq!(stream.delete_with(id(130), References::Drop), DeleteOutcome::Deleted);
        assert!(!stream.group(b"g").unwrap().pending().contains(id(130)));
        assert_eq!(stream.delete_with(id(131), References::Keep), DeleteOutcome::Deleted);
        assert!(stream.group(b"g").unwrap().pending().contains(id(131)));
    }
}
