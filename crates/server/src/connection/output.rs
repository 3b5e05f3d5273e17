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
//! every chunk holds those bytes, and not the chunks.
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

use super::chunk::{Appender, Range};

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
}

impl OutputQueue {
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
        let (Some(first), Some(last)) = (self.ranges.get(self.settled), self.ranges.back()) else { return };
        if !first.is_beside(last) {
            self.settle_groups();
        }
    }

    #[cold]
    fn settle_groups(&mut self) {
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
            let skip = if self.ranges.is_empty() { std::mem::take(&mut self.sent) } else { 0 };
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
        *self = OutputQueue::default();
        unsent
    }

    fn consume(&mut self, bytes: usize) {
        self.queued_bytes -= bytes;
        self.sent += bytes;
        while let Some(first) = self.ranges.front()
            && self.sent >= first.len()
        {
            self.sent -= first.len();
            self.ranges.pop_front();
            self.settled = self.settled.saturating_sub(1);
        }
        if self.ranges.is_empty() {
            self.own = None;
        }
        if self.ranges.is_empty() && self.ranges.capacity() > IDLE_RANGES_MAX {
            self.ranges = VecDeque::new();
        }
    }

    /// Heap of the queue itself, without the chunks, which are shared.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.ranges.capacity() * size_of::<Range>()
    }

    #[cfg(test)]
    fn check(&self) {
        let total: usize = self.ranges.iter().map(Range::len).sum();
        assert_eq!(self.queued_bytes + self.sent, total);
        assert!(self.ranges.iter().all(|range| range.len() > 0) && self.settled <= self.ranges.len());
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
    fn what_is_most_of_its_chunk_stays_shared() {
        let (mut shared, mut queue) = (Appender::default(), OutputQueue::default());
        for _ in 0..3 {
            queue.push(shared.append(40 * 1024, |buf| buf.resize(buf.len() + 40 * 1024, b'x')));
            queue.settle();
        }
        assert!(queue.own.is_none());
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
