//! Changes of a small sorted set. What moves is moved within its rows, and a row that becomes too narrow makes the set anew.

use std::ops::Range;

use super::layout::{Kept, Layout, Shape};
use super::{Key, Small};

impl Small {
    /// A set of these elements, which are in order and of which no member is there twice.
    pub(super) fn of_items(items: &[(Kept<'_>, f64)]) -> Small {
        Small::of_shape(Shape::of(items.len(), items), items)
    }

    /// The same; they have room in this shape.
    fn of_shape(shape: Shape, items: &[(Kept<'_>, f64)]) -> Small {
        if items.is_empty() {
            return Small::default();
        }
        let layout = Layout::new(shape, items.len());
        let member_bytes: usize = items.iter().map(|(member, _)| member.bytes().len()).sum();
        let mut bytes = vec![0; layout.members + member_bytes];
        layout.write_head(&mut bytes);
        let mut start = layout.members;
        for (rank, (member, score)) in items.iter().enumerate() {
            layout.write_score(&mut bytes, rank, *score);
            layout.write_member(&mut bytes, rank, member);
            let end = start + member.bytes().len();
            bytes[start..end].copy_from_slice(member.bytes());
            start = end;
        }
        Small(bytes.into())
    }

    /// Makes the rows wide enough for an element in a set of so many.
    #[inline]
    fn make_room(&mut self, count: usize, member: Kept<'_>, score: f64) {
        if !self.0.is_empty() && !self.rows().at.shape.has_room(count, member.length(), score) {
            self.widen(count, member, score);
        }
    }

    #[cold]
    fn widen(&mut self, count: usize, member: Kept<'_>, score: f64) {
        let rows = self.rows();
        let kept = rows.items(0..rows.len()).map(|(member, score)| (Kept::of_element(member), score));
        let all: Vec<(Kept<'_>, f64)> = kept.chain([(member, score)]).collect();
        *self = Small::of_shape(Shape::of(count, &all), &all[..all.len() - 1]);
    }

    /// Puts an element that is not there where it belongs.
    pub(in crate::zset) fn insert(&mut self, member: &[u8], score: f64) {
        let kept = Kept::of(member);
        let count = self.rows().len() + 1;
        self.make_room(count, kept, score);
        if count == 1 {
            *self = Small::of_items(&[(kept, score)]);
            return;
        }
        let (rank, old) = (self.rows().rank_of(Key::of(score, member)), self.rows().at);
        let member_at = old.members + self.rows().offset(rank);
        let new = Layout::new(old.shape, count);
        let mut bytes = std::mem::take(&mut self.0).into_vec();
        let (old_len, new_len) =
            (bytes.len(), bytes.len() + (new.members - old.members) + kept.bytes().len());
        // Exactly what is needed: the allocator's size classes leave the room that a growing value uses.
        bytes.reserve_exact(new_len - old_len);
        bytes.resize(new_len, 0);
        // From the last byte on, which all move to the end.
        let by = new.members - old.members;
        bytes.copy_within(member_at..old_len, member_at + by + kept.bytes().len());
        bytes.copy_within(old.members..member_at, new.members);
        let mut end = old.members;
        for (row, to) in old.rows().iter().zip(new.rows()).rev() {
            let split = row.start + row.width * rank;
            bytes.copy_within(split..end, to.start + row.width * (rank + 1));
            bytes.copy_within(row.start..split, to.start);
            end = row.start;
        }
        new.write_head(&mut bytes);
        new.write_score(&mut bytes, rank, score);
        new.write_member(&mut bytes, rank, &kept);
        bytes[member_at + by..][..kept.bytes().len()].copy_from_slice(kept.bytes());
        self.0 = bytes.into_boxed_slice();
    }

    /// Gives the element of a rank another score.
    pub(in crate::zset) fn change(&mut self, from: usize, member: &[u8], score: f64) {
        let kept = Kept::of(member);
        self.make_room(self.rows().len(), kept, score);
        let rows = self.rows();
        let before = rows.rank_of(Key::of(score, member));
        // It was counted itself if it moves behind others.
        let to = if before > from { before - 1 } else { before };
        let layout = rows.at;
        if to != from {
            let (own, other) = (layout.members + rows.offset(from), layout.members + rows.offset(before));
            let len = kept.bytes().len();
            let bytes = &mut self.0;
            for row in layout.rows() {
                shift(bytes, row.start + row.width * from, row.width, row.start + row.width * before);
            }
            let at = shift(bytes, own, len, other);
            bytes[at..at + len].copy_from_slice(kept.bytes());
            layout.write_member(bytes, to, &kept);
        }
        layout.write_score(&mut self.0, to, score);
    }

    /// Removes the elements of these ranks, which are there.
    pub(in crate::zset) fn remove(&mut self, ranks: Range<usize>) {
        let (rows, old) = (self.rows(), self.rows().at);
        let left = old.count - ranks.len();
        if left == 0 {
            self.0 = Box::default();
            return;
        }
        let (start, end) = (old.members + rows.offset(ranks.start), old.members + rows.offset(ranks.end));
        let new = Layout::new(old.shape, left);
        let mut bytes = std::mem::take(&mut self.0).into_vec();
        // From the first byte on, which all move to the beginning.
        let all = old.rows();
        for (nth, (row, to)) in all.iter().zip(new.rows()).enumerate() {
            let row_end = all.get(nth + 1).map_or(old.members, |next| next.start);
            let (first, behind) = (row.start + row.width * ranks.start, row.start + row.width * ranks.end);
            bytes.copy_within(row.start..first, to.start);
            bytes.copy_within(behind..row_end, to.start + row.width * ranks.start);
        }
        bytes.copy_within(old.members..start, new.members);
        let tail = new.members + (start - old.members);
        bytes.copy_within(end.., tail);
        bytes.truncate(tail + (bytes.len() - end));
        new.write_head(&mut bytes);
        self.0 = bytes.into_boxed_slice();
    }
}

/// Moves what is between the `len` bytes at `from` and the place `to` over them, and returns where they are to be now. They are not
/// kept.
#[inline]
fn shift(bytes: &mut [u8], from: usize, len: usize, to: usize) -> usize {
    if to > from {
        bytes.copy_within(from + len..to, from);
        to - len
    } else {
        bytes.copy_within(to..from, to + len);
        to
    }
}
