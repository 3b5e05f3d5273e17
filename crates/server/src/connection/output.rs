//! Output queue: the bytes a connection has been promised and has not yet been sent.
//!
//! A delivery copies nothing: it appends a range of a shared chunk, and a range that continues the last one extends
//! it, so a burst to one subscriber is one range and one `send`.
//!
//! ```text
//!     ranges  [chunk 7: 128..640] [chunk 9: 0..64]
//!                       └ `sent` bytes of the first range have reached the socket
//! ```
//!
//! A queue whose socket is full may stay as it is for long, so it is *settled*: where neighbouring ranges of one chunk are
//! less than half of it, they are copied to a chunk that only this queue has. A subscriber that waits for a few bytes out of
//! every chunk holds those bytes, and not the chunks. The same holds, a moment later, for what is left of its first chunk and its last;
//! where the first is a long reply whose client has stopped shortly before its end, all of it counts as the client's memory until
//! then.
//!
//! Where a broken connection is to be resumed (`backlog.rs`), ranges that have been sent are *kept* until the peer's TCP has
//! acknowledged them.
//!
//! Invariants
//! - `queued_bytes` = sum of the ranges' lengths − `sent`.
//! - No range is empty, and neighbours never touch within one chunk.
//! - A range keeps its chunk alive; the queue writes only to its own.
//! - Settled ranges keep at most `PINNED_PER_BYTE` times their length alive.
//!
//! Cost: push O(1), 24 bytes a range, and once its socket is full a copy of what is scattered; flush O(ranges sent).
//! Source: limits per client class are Redis's `client-output-buffer-limit` (redis.conf).

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use smallvec::SmallVec;

use super::chunk::{Appender, LARGE_BYTES, Range};

/// Ranges handed to one `writev`; more than the kernel gains anything from.
const SLICES_MAX: usize = 64;

/// Bytes that a range of a full queue may keep alive for each of its own.
const PINNED_PER_BYTE: usize = 2;

/// A queue that drained keeps room for so few ranges; an idle connection owns no more.
const IDLE_RANGES_MAX: usize = 4;

/// Ranges of chunks, in the order they go out.
#[derive(Debug, Default)]
pub(crate) struct OutputQueue {
    ranges: VecDeque<Range>,
    /// Bytes of the first range that have been sent.
    sent: usize,
    /// Bytes promised and not yet sent.
    queued_bytes: usize,
    /// So many ranges at the front are settled.
    settled: usize,
    /// Where settled ranges are copied to; gone when the queue has drained.
    own: Option<Box<Appender>>,
    /// Ranges that have been sent and may have been lost on their way; `None`: nobody will ask for them.
    kept: Option<Box<Kept>>,
    /// The first range begins with a frame, whatever of it has been sent.
    is_framed: bool,
}

/// Ranges that were popped when they had been sent, the oldest first. With the `sent` bytes of the queue's first range they are
/// what was written to the socket last.
#[derive(Debug, Default)]
struct Kept {
    ranges: OutputQueue,
    /// Asks the socket how much has been acknowledged when there are more ranges, or more bytes.
    ranges_max: usize,
    bytes_max: usize,
}

/// Ranges, and bytes, that are kept before the socket is asked again. (It is asked ten times a second in any case.)
const KEPT_RANGES_MIN: usize = 64;
const KEPT_BYTES_MIN: usize = 1 << 20;

impl OutputQueue {
    /// Keeps from now on what is sent, or no longer.
    pub(crate) fn keep_sent(&mut self, keeps: bool) {
        if keeps && self.kept.is_none() {
            self.kept = Some(Box::new(Kept {
                ranges: OutputQueue::default(),
                ranges_max: KEPT_RANGES_MIN,
                bytes_max: KEPT_BYTES_MIN,
            }));
        } else if !keeps {
            self.kept = None;
        }
    }

    /// Whether it is time to ask how much of what is kept has been acknowledged.
    #[inline]
    pub(crate) fn keeps_much(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| {
            kept.ranges.len() > kept.ranges_max || kept.ranges.queued_bytes > kept.bytes_max
        })
    }

    /// Whether anything is kept.
    pub(crate) fn keeps_any(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| !kept.ranges.is_empty())
    }

    /// Of what was written, only the last `unacknowledged` bytes have to be kept: forgets the ranges before them.
    pub(crate) fn acknowledge(&mut self, unacknowledged: usize) {
        let Some(kept) = &mut self.kept else { return };
        let ranges = &mut kept.ranges;
        let mut acknowledged = (ranges.queued_bytes + self.sent).saturating_sub(unacknowledged);
        while let Some(first) = ranges.ranges.front()
            && first.len() <= acknowledged
        {
            let bytes = first.len();
            acknowledged -= bytes;
            ranges.consume(bytes);
        }
        ranges.settle();
        kept.ranges_max = (2 * ranges.len()).max(KEPT_RANGES_MIN);
        kept.bytes_max = (2 * ranges.queued_bytes).max(KEPT_BYTES_MIN);
    }

    /// What was sent and what was not, as one queue without a socket, and how many bytes of it were written before the last
    /// `unacknowledged`.
    pub(super) fn take_all(&mut self, unacknowledged: usize) -> (VecDeque<Range>, usize) {
        let kept = self.kept.take().unwrap_or_default();
        let (mut all, written) = (kept.ranges.ranges, kept.ranges.queued_bytes + self.sent);
        all.append(&mut self.ranges);
        *self = OutputQueue::default();
        (all, written - unacknowledged.min(written))
    }

    /// What was sent and what was not, in this order, and how many bytes of it were written.
    pub(super) fn all(&self) -> (impl Iterator<Item = &Range>, usize) {
        let kept = self.kept.as_ref().map(|kept| &kept.ranges);
        let written = kept.map_or(0, |kept| kept.queued_bytes) + self.sent;
        (kept.into_iter().flat_map(|kept| &kept.ranges).chain(&self.ranges), written)
    }

    /// Keeps the beginning of a frame until its end has been sent.
    pub(crate) fn keep_frames(&mut self) {
        self.is_framed = true;
    }

    /// What has yet to be sent of the frame that has been begun. `len_of`: how long the frame is that bytes begin with.
    pub(crate) fn rest_of_frame(&self, len_of: impl Fn(&[u8]) -> Option<usize>) -> Vec<u8> {
        debug_assert!(self.is_framed);
        let Some(first) = self.ranges.front() else { return Vec::new() };
        let bytes = first.bytes(0);
        let mut end = 0_usize;
        while end < self.sent {
            let len = bytes.get(end..).and_then(&len_of).unwrap_or(bytes.len()).max(1);
            end = end.saturating_add(len).min(bytes.len());
        }
        bytes[self.sent..end].to_vec()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Bytes queued, as `client-output-buffer-limit` counts them and CLIENT LIST shows them (`omem`): a byte shared
    /// with other queues counts in each, because each client has yet to take it.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Ranges queued (CLIENT LIST's `oll`).
    pub(crate) fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Appends `range`.
    #[inline]
    pub(crate) fn push(&mut self, range: Range) {
        self.queued_bytes += range.len();
        if !self.ranges.back_mut().is_some_and(|last| last.extend(&range)) {
            self.ranges.push_back(range);
        }
    }

    /// The socket is full: copies what keeps too much alive. The ranges of the last chunk may become more yet and stay.
    pub(crate) fn settle(&mut self) {
        if self.is_unsettled() {
            self.settle_groups(None);
        }
    }

    /// The same for one of many queues that wait for the same messages: they share what is copied.
    pub(crate) fn settle_with(&mut self, others: &mut LastCopy) {
        if self.is_unsettled() {
            self.settle_groups(Some(others));
        }
    }

    /// The socket has been full for a moment, and may be for long: copies what is left of chunks of which the queue still needs
    /// little, at its front, of which something has been sent, and at its end. Chunks that others wait for, too, are theirs in
    /// part. Returns how many bytes it has copied, at most `bytes_max` at either end.
    pub(crate) fn settle_ends(&mut self, bytes_max: usize) -> usize {
        let mut copied = 0;
        let first = self.group_of(0..self.ranges.len());
        if let Some(bytes) = self.scattered(first.clone(), bytes_max) {
            copied += bytes.len();
            self.sent = if self.may_cut() { 0 } else { self.sent };
            self.settled = self.settled.saturating_sub(first.len()) + 1;
            self.ranges.drain(first);
            self.ranges.push_front(Range::of(bytes));
        }
        let last = self.group_of((0..self.ranges.len()).rev());
        if last.start > 0
            && let Some(bytes) = self.scattered(last.clone(), bytes_max)
        {
            copied += bytes.len();
            self.ranges.truncate(last.start);
            let own = self.own.get_or_insert_with(|| Box::new(Appender::frugal()));
            let copy = own.append(bytes.len(), |buf| buf.extend_from_slice(&bytes));
            if !self.ranges.back_mut().is_some_and(|range| range.extend(&copy)) {
                self.ranges.push_back(copy);
            }
            self.settled = self.ranges.len();
        }
        copied
    }

    /// The first of these ranges, with those behind it that lie in the same chunk.
    fn group_of(&self, order: impl Iterator<Item = usize>) -> std::ops::Range<usize> {
        let mut group: Option<std::ops::Range<usize>> = None;
        for index in order {
            match &mut group {
                None => group = Some(index..index + 1),
                Some(group) if self.ranges[group.start].is_beside(&self.ranges[index]) => {
                    *group = group.start.min(index)..group.end.max(index + 1);
                }
                Some(_) => break,
            }
        }
        group.unwrap_or_default()
    }

    /// The bytes of a group that have yet to be sent, if these are not none, and little of what it keeps alive for nobody else.
    fn scattered(&self, group: std::ops::Range<usize>, bytes_max: usize) -> Option<Vec<u8>> {
        let ranges = self.ranges.range(group.clone());
        let first = self.ranges.get(group.start)?;
        let skip = if group.start == 0 && self.may_cut() { self.sent } else { 0 };
        let length = ranges.clone().map(Range::len).sum::<usize>() - skip;
        let holders = first.holders() + 1 - group.len();
        if length > bytes_max || length * PINNED_PER_BYTE >= first.pinned_bytes() / holders {
            return None;
        }
        let mut bytes = Vec::with_capacity(length);
        for (i, range) in ranges.enumerate() {
            bytes.extend_from_slice(&range.bytes(if i == 0 { skip } else { 0 }));
        }
        Some(bytes)
    }

    /// Whether what has been sent of the first range may be forgotten.
    fn may_cut(&self) -> bool {
        self.kept.is_none() && !self.is_framed
    }

    /// Bytes of the first range that have yet to be sent.
    fn rest_of_first(&self) -> usize {
        self.ranges.front().map_or(0, |first| first.len() - self.sent)
    }

    #[inline]
    fn is_unsettled(&self) -> bool {
        let (first, last) = (self.ranges.get(self.settled), self.ranges.back());
        first.is_some_and(|first| last.is_some_and(|last| !first.is_beside(last)))
    }

    #[cold]
    fn settle_groups(&mut self, mut others: Option<&mut LastCopy>) {
        let mut rest: VecDeque<Range> = self.ranges.drain(self.settled..).collect();
        while let (Some(first), Some(last)) = (rest.front(), rest.back())
            && !first.is_beside(last)
        {
            let count = rest.iter().take_while(|range| range.is_beside(first)).count();
            let length: usize = rest.iter().take(count).map(Range::len).sum();
            if length * PINNED_PER_BYTE >= first.pinned_bytes() {
                self.ranges.extend(rest.drain(..count));
                continue;
            }
            // Where what is sent is kept, a range begins with a frame.
            let goes_on = self.ranges.is_empty() && self.may_cut();
            let skip = if goes_on { std::mem::take(&mut self.sent) } else { 0 };
            if let Some(others) = &mut others {
                self.ranges.push_back(others.copy_of(rest.drain(..count).collect()));
                continue;
            }
            let own = self.own.get_or_insert_with(|| Box::new(Appender::frugal()));
            let copy = own.append(length - skip, |buf| {
                for (i, range) in rest.drain(..count).enumerate() {
                    buf.extend_from_slice(&range.bytes(if i == 0 { skip } else { 0 }));
                }
            });
            if !self.ranges.back_mut().is_some_and(|last| last.extend(&copy)) {
                self.ranges.push_back(copy);
            }
        }
        self.settled = self.ranges.len();
        self.ranges.append(&mut rest);
    }

    /// Hands as much as one call takes, up to `bytes_max`, to `write`, and forgets what it took.
    ///
    /// Returns the bytes taken; the queue is non-empty when called.
    pub(crate) fn write_some(
        &mut self,
        bytes_max: usize,
        mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let taken = if self.ranges.len() == 1 {
            let bytes = self.ranges[0].bytes(self.sent);
            write(&[IoSlice::new(&bytes[..bytes.len().min(bytes_max)])])?
        } else {
            let borrows: SmallVec<[_; SLICES_MAX]> = (self.ranges.iter().take(SLICES_MAX).enumerate())
                .map(|(i, range)| range.bytes(if i == 0 { self.sent } else { 0 }))
                .collect();
            let mut slices: SmallVec<[_; SLICES_MAX]> = SmallVec::new();
            let mut room = bytes_max;
            for bytes in &borrows {
                slices.push(IoSlice::new(&bytes[..bytes.len().min(room)]));
                room = room.saturating_sub(bytes.len());
                if room == 0 {
                    break;
                }
            }
            write(&slices)?
        };
        self.consume(taken);
        Ok(taken)
    }

    /// Takes out everything that was not sent.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        let mut unsent = Vec::with_capacity(self.queued_bytes);
        for (i, range) in self.ranges.iter().enumerate() {
            unsent.extend_from_slice(&range.bytes(if i == 0 { self.sent } else { 0 }));
        }
        let mut kept = self.kept.take();
        if let (Some(kept), Some(first)) = (&mut kept, self.ranges.front())
            && self.sent > 0
        {
            kept.ranges.push(first.part(0, self.sent));
        }
        *self = OutputQueue { kept, ..OutputQueue::default() };
        unsent
    }

    fn consume(&mut self, bytes: usize) {
        self.queued_bytes -= bytes;
        self.sent += bytes;
        while let Some(first) = self.ranges.front()
            && self.sent >= first.len()
        {
            self.sent -= first.len();
            let range = self.ranges.pop_front();
            if let (Some(kept), Some(range)) = (&mut self.kept, range) {
                kept.ranges.push(range);
            }
            self.settled = self.settled.saturating_sub(1);
        }
        if self.ranges.is_empty() {
            self.own = None;
        }
        if self.ranges.is_empty() && self.ranges.capacity() > IDLE_RANGES_MAX {
            self.ranges = VecDeque::new();
        }
    }

    /// Takes out the first range; nothing of it has been sent.
    pub(super) fn pop_range(&mut self) -> Option<Range> {
        let range = self.ranges.pop_front()?;
        self.queued_bytes -= range.len();
        self.settled = self.settled.saturating_sub(1);
        Some(range)
    }

    /// The first range.
    pub(super) fn front(&self) -> Option<Range> {
        self.ranges.front().cloned()
    }

    /// Drops the first `bytes` of the first range; nothing of it has been sent.
    pub(super) fn skip(&mut self, bytes: usize) {
        match self.ranges.front_mut() {
            Some(first) if bytes > 0 && bytes < first.len() => {
                *first = first.part(bytes, first.len());
                self.queued_bytes -= bytes;
            }
            Some(_) if bytes > 0 => drop(self.pop_range()),
            _ => {}
        }
    }

    pub(super) fn for_each_range(&self, f: impl FnMut(&Range)) {
        self.ranges.iter().for_each(f);
    }

    /// Heap of the queue itself, without the chunks, which are shared, but with what it keeps alive of a long one that has been
    /// sent already.
    pub(crate) fn heap_bytes(&self) -> usize {
        let pinned = self.ranges.front().map_or(0, Range::pinned_bytes);
        let sent = if pinned > LARGE_BYTES { pinned.saturating_sub(self.rest_of_first()) } else { 0 };
        let kept = self.kept.as_ref().map_or(0, |kept| size_of::<Kept>() + kept.ranges.heap_bytes());
        self.ranges.capacity() * size_of::<Range>() + kept + sent
    }

    #[cfg(test)]
    fn check(&self) {
        let total: usize = self.ranges.iter().map(Range::len).sum();
        assert_eq!(self.queued_bytes + self.sent, total);
        assert!(self.ranges.iter().all(|range| range.len() > 0) && self.settled <= self.ranges.len());
    }
}

/// The group of ranges that was copied last: the queues of detached connections that wait for the same messages have the same
/// groups, and are settled one after the other.
#[derive(Debug, Default)]
pub(crate) struct LastCopy {
    group: Vec<Range>,
    copy: Option<Range>,
}

impl LastCopy {
    /// A copy of the ranges of a group; the last one, if it is of the same.
    fn copy_of(&mut self, group: Vec<Range>) -> Range {
        let is_same = group.len() == self.group.len()
            && group.iter().zip(&self.group).all(|(one, other)| one.is(other));
        if let Some(copy) = self.copy.as_ref().filter(|_| is_same) {
            return copy.clone();
        }
        let mut bytes = Vec::with_capacity(group.iter().map(Range::len).sum());
        group.iter().for_each(|range| bytes.extend_from_slice(&range.bytes(0)));
        let copy = Range::of(bytes);
        (self.group, self.copy) = (group, Some(copy.clone()));
        copy
    }

    /// Lets go of the chunk that the group lies in.
    pub(crate) fn forget(&mut self) {
        if self.copy.is_some() {
            *self = LastCopy::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::chunk::Appender;
    use super::*;

    proptest! {
        #[test]
        fn what_is_pushed_comes_out_once_in_order(frames in prop::collection::vec((0u8..2, 1usize..300), 1..60),
                                                  takes in prop::collection::vec(1usize..500, 1..80)) {
            let mut appenders = [Appender::default(), Appender::default()];
            let (mut queue, mut expected, mut sent) = (OutputQueue::default(), Vec::new(), Vec::new());
            let mut takes = takes.into_iter().cycle();
            for (i, (which, len)) in frames.into_iter().enumerate() {
                let bytes = vec![i as u8; len];
                expected.extend_from_slice(&bytes);
                queue.push(appenders[which as usize].append(len, |buf| buf.extend_from_slice(&bytes)));
                queue.check();
                if i % 4 == 0 {
                    queue.settle();
                    queue.check();
                }
                if i % 7 == 0 {
                    queue.settle_ends(1 << 16);
                    queue.check();
                }
                if i % 3 == 0 {
                    take(&mut queue, takes.next().unwrap_or(1), &mut sent);
                }
            }
            while !queue.is_empty() {
                take(&mut queue, takes.next().unwrap_or(1), &mut sent);
            }
            prop_assert_eq!(sent, expected);
            prop_assert_eq!(queue.queued_bytes(), 0);
        }
    }

    #[test]
    fn a_few_bytes_of_every_chunk_do_not_keep_the_chunks() {
        let (mut shared, mut queue) = (Appender::default(), OutputQueue::default());
        for number in 0..200_u8 {
            queue.push(shared.append(64, |buf| buf.extend_from_slice(&[number; 64])));
            queue.settle();
            shared.append(60 * 1024, |buf| buf.resize(buf.len() + 60 * 1024, b'x'));
        }
        let mut pinned: Vec<&Range> = Vec::new();
        for range in &queue.ranges {
            if !pinned.iter().any(|other| other.is_beside(range)) {
                pinned.push(range);
            }
        }
        let pinned_bytes: usize = pinned.iter().map(|range| range.pinned_bytes()).sum();
        assert!(
            pinned_bytes <= 2 * 200 * 64 + 64 * 1024,
            "{pinned_bytes} bytes for {}",
            queue.queued_bytes()
        );
        let mut sent = Vec::new();
        while !queue.is_empty() {
            take(&mut queue, 1000, &mut sent);
        }
        let expected: Vec<u8> = (0..200_u8).flat_map(|number| [number; 64]).collect();
        assert_eq!(sent, expected);
    }

    #[test]
    fn what_is_left_of_a_long_reply_is_counted_and_then_copied_where_it_is_little() {
        let (mut appender, mut queue) = (Appender::default(), OutputQueue::default());
        let mut reply = vec![b'x'; 3 << 20];
        reply.extend_from_slice(b"the end");
        let reply = Range::of(reply);
        queue.push(reply.clone());
        queue.push(appender.append(5, |buf| buf.extend_from_slice(b"+PONG")));
        let mut sent = Vec::new();
        take(&mut queue, 2 << 20, &mut sent);
        assert!(queue.heap_bytes() >= 2 << 20, "what is sent and kept counts");
        assert_eq!(queue.settle_ends(64 << 10), 5, "of the reply it is much yet");
        take(&mut queue, 1 << 20, &mut sent);
        assert_eq!(queue.settle_ends(64 << 10), 7);
        drop(reply);
        queue.check();
        assert!(queue.heap_bytes() < 64 << 10, "{}", queue.heap_bytes());
        assert_eq!(queue.settle_ends(64 << 10), 0, "once is enough");
        while !queue.is_empty() {
            take(&mut queue, 4, &mut sent);
        }
        assert!(sent.ends_with(b"xthe end+PONG"), "{}", sent[sent.len() - 20..].escape_ascii());
        assert_eq!(sent.len(), (3 << 20) + 7 + 5);
    }

    #[test]
    fn a_queue_that_stands_still_keeps_neither_its_first_nor_its_last_chunk_for_a_few_bytes() {
        let (mut shared, mut queue) = (Appender::default(), OutputQueue::default());
        queue.push(shared.append(50_000, |buf| buf.resize(buf.len() + 50_000, b'a')));
        shared.append(15_000, |buf| buf.resize(buf.len() + 15_000, b'x'));
        for letter in [b'b', b'c'] {
            queue.push(shared.append(100, |buf| buf.resize(buf.len() + 100, letter)));
            shared.append(30_000, |buf| buf.resize(buf.len() + 30_000, b'x'));
        }
        let mut sent = Vec::new();
        take(&mut queue, 49_990, &mut sent);
        assert_eq!(queue.settle_ends(64 << 10), 10 + 200);
        queue.check();
        let pinned: usize = queue.ranges.iter().map(Range::pinned_bytes).sum();
        assert!(pinned < 1000, "{pinned}");
        assert_eq!(queue.settle_ends(64 << 10), 0, "once is enough");
        while !queue.is_empty() {
            take(&mut queue, 77, &mut sent);
        }
        assert_eq!(sent, [vec![b'a'; 50_000], vec![b'b'; 100], vec![b'c'; 100]].concat());
    }

    #[test]
    fn what_many_wait_for_is_not_copied_for_each() {
        let mut shared = Appender::default();
        let range = shared.append(100, |buf| buf.resize(buf.len() + 100, b'x'));
        let mut queues: Vec<OutputQueue> = (0..1000).map(|_| OutputQueue::default()).collect();
        queues.iter_mut().for_each(|queue| queue.push(range.clone()));
        assert!(queues.iter_mut().all(|queue| queue.settle_ends(64 << 10) == 0));
    }

    #[test]
    fn what_is_most_of_its_chunk_stays_shared() {
        let (mut shared, mut queue) = (Appender::default(), OutputQueue::default());
        for _ in 0..3 {
            queue.push(shared.append(40 * 1024, |buf| buf.resize(buf.len() + 40 * 1024, b'x')));
            queue.settle();
        }
        assert!(queue.own.is_none());
    }

    proptest! {
        #[test]
        fn what_is_kept_and_what_is_queued_is_all_that_was_not_acknowledged(
            frames in prop::collection::vec((0u8..2, 1usize..300), 1..60),
            takes in prop::collection::vec((1usize..500, 0usize..300), 1..80),
            begins_at in 0usize..20,
        ) {
            let mut appenders = [Appender::default(), Appender::default()];
            let (mut queue, mut expected, mut sent) = (OutputQueue::default(), Vec::new(), Vec::new());
            let mut takes = takes.into_iter().cycle();
            let (mut kept_from, count) = (0, frames.len());
            for (i, (which, len)) in frames.into_iter().enumerate() {
                if i == begins_at {
                    kept_from = sent.len();
                    queue.keep_sent(true);
                }
                let bytes = vec![i as u8; len];
                expected.extend_from_slice(&bytes);
                queue.push(appenders[which as usize].append(len, |buf| buf.extend_from_slice(&bytes)));
                if i % 4 == 0 {
                    queue.settle();
                }
                if i % 7 == 0 {
                    queue.settle_ends(1 << 16);
                }
                let (most, unacknowledged) = takes.next().unwrap_or_default();
                if i % 3 == 0 {
                    take(&mut queue, most, &mut sent);
                }
                if i % 5 == 0 {
                    queue.acknowledge(unacknowledged);
                    kept_from = kept_from.max(sent.len().saturating_sub(unacknowledged));
                }
                queue.check();
            }
            if begins_at >= count {
                kept_from = sent.len();
                queue.keep_sent(true);
            }
            let unacknowledged = (sent.len() - kept_from).min(takes.next().unwrap_or_default().1);
            let (all, skip) = queue.take_all(unacknowledged);
            let all: Vec<u8> = all.iter().flat_map(|range| range.bytes(0).to_vec()).collect();
            prop_assert_eq!(&all[skip..], &expected[sent.len() - unacknowledged..]);
        }
    }

    fn take(queue: &mut OutputQueue, most: usize, sent: &mut Vec<u8>) {
        if queue.is_empty() {
            return;
        }
        let result = queue.write_some(most + 7, |slices| {
            let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            let n = most.min(all.len());
            sent.extend_from_slice(&all[..n]);
            Ok(n)
        });
        assert!(result.is_ok());
        queue.check();
    }
}
