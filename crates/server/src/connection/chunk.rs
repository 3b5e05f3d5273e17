//! Chunks: the append-only buffers in which frames and replies are encoded, once.
//!
//! ```text
//!   Appender.current ──► Chunk [frame 1][frame 2][frame 3]........ room
//!                          ▲        ▲
//!   output queues ─────────┴ Range ─┘   (reference, start, end)
//! ```
//!
//! Invariants
//! - Bytes that a [`Range`] covers never change: a chunk is only appended to, and is cleared only when the appender is
//!   the last to hold it.
//! - Chunks belong to one shard (`Rc`, `RefCell`): another shard gets a message, never a chunk.
//!
//! A chunk of megabytes, one long reply, is not freed by the shard that has sent its end: giving back its memory takes
//! milliseconds (see [`free_long_with`]).
//!
//! Cost: a delivery is a reference and two offsets. In a shard that keeps up, every turn writes into the same memory
//! again, so that it stays in the processor's cache.

use std::cell::{Ref, RefCell};
use std::rc::Rc;

/// Room of a chunk. Large enough that a burst of small frames is one range a subscriber, small enough that a slow
/// subscriber pins little beside what it waits for.
pub(crate) const CHUNK_BYTES: usize = 64 * 1024;

/// Replies longer than this get a chunk of their own, so that what is queued beside them doesn't keep them alive.
pub(super) const LARGE_BYTES: usize = 4 * CHUNK_BYTES;

/// An append-only buffer, shared by the output queues of one shard.
#[derive(Debug, Default)]
pub(crate) struct Chunk(RefCell<Vec<u8>>);

/// From so many bytes on a buffer is slow to free: some 50 µs.
const SLOW_BYTES: usize = 1 << 20;

/// Frees a long buffer somewhere else.
type FreeLong = Box<dyn Fn(Vec<u8>)>;

thread_local! {
    static FREE_LONG: RefCell<Option<FreeLong>> = const { RefCell::new(None) };
}

/// Says where the long buffers of this thread are freed; without that they are freed here.
pub(crate) fn free_long_with(free: impl Fn(Vec<u8>) + 'static) {
    FREE_LONG.set(Some(Box::new(free)));
}

/// Frees a buffer, somewhere else if it is long.
pub(crate) fn free_long(buffer: Vec<u8>) {
    if buffer.capacity() >= SLOW_BYTES {
        // While the thread ends there is none.
        let _ = FREE_LONG.try_with(|free| {
            if let Some(free) = &*free.borrow() {
                free(buffer);
            }
        });
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        free_long(std::mem::take(self.0.get_mut()));
    }
}

/// A run of bytes of one chunk. Never empty inside a queue.
#[derive(Debug, Clone)]
pub(crate) struct Range {
    chunk: Rc<Chunk>,
    start: usize,
    end: usize,
}

impl Range {
    /// Bytes that are in no other queue, and not none.
    pub(crate) fn of(bytes: Vec<u8>) -> Range {
        let end = bytes.len();
        Range { chunk: Rc::new(Chunk(RefCell::new(bytes))), start: 0, end }
    }

    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether both lie in one chunk.
    #[inline]
    pub(crate) fn is_beside(&self, other: &Range) -> bool {
        Rc::ptr_eq(&self.chunk, &other.chunk)
    }

    /// Whether both are the same bytes of one chunk.
    pub(crate) fn is(&self, other: &Range) -> bool {
        self.is_beside(other) && (self.start, self.end) == (other.start, other.end)
    }

    /// How many ranges keep its chunk alive, with whoever may append to it.
    pub(crate) fn holders(&self) -> usize {
        Rc::strong_count(&self.chunk)
    }

    /// Bytes that it keeps alive.
    pub(crate) fn pinned_bytes(&self) -> usize {
        self.chunk.0.borrow().capacity()
    }

    /// Makes this range longer by `next` if that one begins where this one ends.
    #[inline]
    pub(crate) fn extend(&mut self, next: &Range) -> bool {
        let continues = self.end == next.start && self.is_beside(next);
        if continues {
            self.end = next.end;
        }
        continues
    }

    /// The bytes `from..to` of it, which are not none.
    pub(crate) fn part(&self, from: usize, to: usize) -> Range {
        debug_assert!(from < to && to <= self.len());
        Range { chunk: Rc::clone(&self.chunk), start: self.start + from, end: self.start + to }
    }

    /// The bytes, from `skip` on.
    pub(crate) fn bytes(&self, skip: usize) -> Ref<'_, [u8]> {
        Ref::map(self.chunk.0.borrow(), |bytes| &bytes[self.start + skip..self.end])
    }
}

/// The place where the next bytes of one kind go.
#[derive(Debug, Default)]
pub(crate) struct Appender {
    current: Rc<Chunk>,
    /// Chunks begin as small as what is written first, and grow.
    is_frugal: bool,
}

impl Appender {
    /// An appender for one queue, whose chunks are as large as they need to be.
    pub(crate) fn frugal() -> Appender {
        Appender { is_frugal: true, ..Appender::default() }
    }

    /// Appends what `encode` writes, about `bytes` of it, and returns where it lies.
    #[inline]
    pub(crate) fn append(&mut self, bytes: usize, encode: impl FnOnce(&mut Vec<u8>)) -> Range {
        self.make_room(bytes);
        let mut buf = self.current.0.borrow_mut();
        let start = buf.len();
        encode(&mut buf);
        Range { chunk: Rc::clone(&self.current), start, end: buf.len() }
    }

    /// Lends the buffer out, to write replies of unknown length into; [`Appender::give_back`] returns it.
    pub(crate) fn lend(&mut self) -> Vec<u8> {
        self.make_room(0);
        self.current.0.take()
    }

    /// Lets queues find the bytes that lie in the lent buffer before it comes back: `lent` is what it holds, which is copied. Nothing if
    /// that has been done, or none is lent.
    pub(crate) fn show(&self, lent: &[u8]) {
        if self.current.0.borrow().capacity() == 0 {
            self.current.0.replace(lent.to_vec());
        }
    }

    /// Whether `range` lies in the buffer that is lent out next, or now.
    pub(crate) fn may_lend(&self, range: &Range) -> bool {
        Rc::ptr_eq(&self.current, &range.chunk)
    }

    /// Takes the lent buffer back; the bytes written since `start` become a range.
    pub(crate) fn give_back(&mut self, buf: Vec<u8>, start: usize) -> Option<Range> {
        let end = buf.len();
        if end.saturating_sub(start) > LARGE_BYTES {
            return Some(self.give_back_large(buf, start));
        }
        self.current.0.replace(buf);
        (end > start).then(|| Range { chunk: Rc::clone(&self.current), start, end })
    }

    /// Makes what was written since `start` a chunk of its own. What lay before it stays where queues look for it, as a copy.
    #[cold]
    fn give_back_large(&mut self, mut buf: Vec<u8>, start: usize) -> Range {
        self.current.0.replace(buf[..start].to_vec());
        let end = buf.len();
        if buf.capacity() > end + end / 4 {
            buf.shrink_to_fit();
        }
        Range { chunk: Rc::new(Chunk(RefCell::new(buf))), start, end }
    }

    /// Called once a turn: if all bytes have been sent, the memory is used again from its start.
    pub(crate) fn recycle(&mut self) {
        if Rc::strong_count(&self.current) != 1 {
            return;
        }
        let mut buf = self.current.0.borrow_mut();
        if buf.capacity() > 4 * CHUNK_BYTES {
            *buf = Vec::new();
        } else {
            buf.clear();
        }
    }

    #[inline]
    fn make_room(&mut self, bytes: usize) {
        let buf = self.current.0.borrow();
        let full = !buf.is_empty() && buf.len() + bytes > CHUNK_BYTES;
        let unborn = buf.capacity() == 0;
        drop(buf);
        if full || unborn {
            self.roll(bytes);
        }
    }

    #[cold]
    fn roll(&mut self, bytes: usize) {
        let unborn = self.current.0.borrow().capacity() == 0;
        if !unborn {
            self.recycle();
        }
        let reusable = {
            let buf = self.current.0.borrow();
            buf.is_empty() && buf.capacity() >= bytes.max(CHUNK_BYTES)
        };
        if !reusable {
            let room = if self.is_frugal { bytes } else { bytes.max(CHUNK_BYTES) };
            self.current = Rc::new(Chunk(RefCell::new(Vec::with_capacity(room))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_that_follow_each_other_are_one_range() {
        let mut appender = Appender::default();
        let mut first = appender.append(3, |buf| buf.extend_from_slice(b"abc"));
        let second = appender.append(2, |buf| buf.extend_from_slice(b"de"));
        assert!(first.extend(&second));
        assert_eq!(&*first.bytes(1), b"bcde");
    }

    #[test]
    fn a_chunk_is_used_again_only_when_nobody_waits_for_its_bytes() {
        let mut appender = Appender::default();
        let held = appender.append(4, |buf| buf.extend_from_slice(b"keep"));
        appender.recycle();
        let next = appender.append(4, |buf| buf.extend_from_slice(b"next"));
        assert_eq!((&*held.bytes(0), &*next.bytes(0)), (&b"keep"[..], &b"next"[..]));
        drop((held, next));
        appender.recycle();
        let fresh = appender.append(1, |buf| buf.push(b'x'));
        assert_eq!((fresh.start, fresh.end), (0, 1));
    }

    #[test]
    fn what_lies_in_a_lent_buffer_can_be_shown_to_those_who_wait_for_it() {
        let mut appender = Appender::default();
        let held = appender.append(4, |buf| buf.extend_from_slice(b"keep"));
        let mut buf = appender.lend();
        appender.show(&buf);
        assert_eq!(&*held.bytes(0), b"keep");
        buf.extend_from_slice(b"next");
        let next = appender.give_back(buf, 4).expect("it isn't empty");
        assert_eq!((&*held.bytes(0), &*next.bytes(0)), (&b"keep"[..], &b"next"[..]));
    }

    #[test]
    fn a_long_buffer_is_handed_over_when_its_last_reader_is_done_and_a_short_one_is_not() {
        let freed = Rc::new(RefCell::new(Vec::new()));
        let sizes = Rc::clone(&freed);
        free_long_with(move |buffer| sizes.borrow_mut().push(buffer.len()));
        let long = Range::of(vec![b'x'; SLOW_BYTES]);
        let reader = long.clone();
        drop((long, Range::of(vec![b'y'; SLOW_BYTES / 2])));
        assert!(freed.borrow().is_empty());
        drop(reader);
        assert_eq!(*freed.borrow(), [SLOW_BYTES]);
    }

    #[test]
    fn a_large_reply_is_not_kept_by_what_was_queued_before_it() {
        let mut appender = Appender::default();
        let mut buf = appender.lend();
        buf.extend_from_slice(b"+PONG");
        let small = appender.give_back(buf, 0).expect("it isn't empty");
        let mut buf = appender.lend();
        let start = buf.len();
        buf.resize(start + LARGE_BYTES + 1, b'y');
        let large = appender.give_back(buf, start).expect("it isn't empty");
        assert!(!small.is_beside(&large) && small.pinned_bytes() <= CHUNK_BYTES);
        assert_eq!(
            (&*small.bytes(0), large.len(), large.bytes(0)[0]),
            (&b"+PONG"[..], LARGE_BYTES + 1, b'y')
        );
        let mut buf = appender.lend();
        let start = buf.len();
        buf.extend_from_slice(b"+OK");
        assert_eq!(&*appender.give_back(buf, start).expect("it isn't empty").bytes(0), b"+OK");
    }

    #[test]
    fn a_frame_larger_than_a_chunk_gets_one_of_its_own_size() {
        let mut appender = Appender::default();
        let small = appender.append(1, |buf| buf.push(b'x'));
        let large = appender.append(3 * CHUNK_BYTES, |buf| buf.resize(3 * CHUNK_BYTES, b'y'));
        assert_eq!((large.start, large.len()), (0, 3 * CHUNK_BYTES));
        assert_eq!(&*small.bytes(0), b"x");
    }
}
