//! What a connection has sent and what has not been executed of it.
//!
//! ```text
//!   partial  [ one request .......... ]     cut off by the end of what has arrived, or whole and held back
//!   unread   [ 64 KiB ] [ 64 KiB ] ...      what came behind it and nobody has parsed
//! ```
//!
//! Nothing of it is copied at once if it is long: what waits stands in blocks, and a request that outgrows its buffer is
//! copied to a larger one a piece at a time, while what comes behind it is left unread.
//!
//! Invariants
//! - No block is empty; `read` is less than the length of the first, and 0 without one.
//! - `bytes` is what the blocks hold beyond `read`.
//! - `next` holds the beginning of `bytes`, and has a capacity only while these are copied there.

use std::collections::VecDeque;

use sterna_protocol::Parser;

/// Bytes of unread input that are kept together.
const BLOCK_BYTES: usize = 64 << 10;

/// Bytes of a request that are copied in one go.
const COPIED_AT_ONCE: usize = 256 << 10;

/// A request of which so much has arrived is believed about its length.
const LONG_REQUEST_BYTES: usize = 1 << 20;

/// Room behind the argument that a request is made room for: small ones may follow.
const ROOM_BEHIND: usize = 64 << 10;

/// One request: its bytes so far, and where the parser stopped in them.
#[derive(Debug, Default)]
pub(crate) struct Partial {
    pub(crate) request: Growing,
    pub(crate) parser: Parser,
    /// It is all there, and the parser has its arguments; it could not be executed yet.
    pub(crate) is_whole: bool,
}

/// Bytes of one request, which become more.
#[derive(Debug, Default)]
pub(crate) struct Growing {
    bytes: Vec<u8>,
    /// Where they are being copied to.
    next: Vec<u8>,
}

/// Bytes that wait to be parsed.
#[derive(Debug, Default)]
pub(crate) struct Unread {
    blocks: VecDeque<Vec<u8>>,
    /// What has been used of the first block.
    read: usize,
    bytes: usize,
}

impl Partial {
    /// A request of which these bytes have arrived.
    pub(crate) fn of(bytes: &[u8], parser: Parser) -> Partial {
        Partial { request: Growing { bytes: bytes.to_vec(), next: Vec::new() }, parser, is_whole: false }
    }

    /// Whether it can be gone on with though nothing more arrives.
    pub(crate) fn is_backlog(&self) -> bool {
        self.is_whole || self.request.is_moving()
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        size_of::<Partial>() + self.request.capacity() + self.parser.heap_bytes()
    }
}

impl Growing {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes of memory that it has.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity() + self.next.capacity()
    }

    /// Whether it is being copied to a larger buffer: until that is done nothing can be appended.
    pub(crate) fn is_moving(&self) -> bool {
        self.next.capacity() > 0
    }

    /// Appends `more`, of a request that will have `at_least` bytes. False: nothing was appended, since it needs a larger
    /// buffer, to which it is copied by [`go_on`](Self::go_on).
    pub(crate) fn append(&mut self, more: &[u8], at_least: usize) -> bool {
        if self.is_moving() {
            return false;
        }
        let (len, room) = (self.bytes.len(), self.bytes.capacity() - self.bytes.len());
        if room < more.len() && len > COPIED_AT_ONCE {
            let is_believed = len >= LONG_REQUEST_BYTES && at_least > 2 * len;
            self.next =
                Vec::with_capacity(if is_believed { at_least + ROOM_BEHIND } else { 2 * len + more.len() });
            return false;
        }
        self.bytes.extend_from_slice(more);
        true
    }

    /// Copies some more of it to the larger buffer. Returns the one that it had, once it is not needed any more.
    pub(crate) fn go_on(&mut self) -> Option<Vec<u8>> {
        let copied = self.next.len();
        let piece = COPIED_AT_ONCE.min(self.bytes.len() - copied);
        self.next.extend_from_slice(&self.bytes[copied..copied + piece]);
        let is_done = self.next.len() == self.bytes.len();
        is_done.then(|| std::mem::replace(&mut self.bytes, std::mem::take(&mut self.next)))
    }

    /// Leaves only the first `len` bytes.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl Unread {
    pub(crate) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// How many bytes wait.
    pub(crate) fn len(&self) -> usize {
        self.bytes
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        // Only the last block has room, and the first bytes that are not needed any more.
        let room = self.blocks.back().map_or(0, |last| last.capacity() - last.len());
        size_of::<Unread>() + self.bytes + self.read + room + self.blocks.capacity() * size_of::<Vec<u8>>()
    }

    /// Puts bytes behind all others.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        match self.blocks.back_mut() {
            Some(last) if last.len() + bytes.len() <= BLOCK_BYTES => last.extend_from_slice(bytes),
            _ if bytes.is_empty() => {}
            _ => self.blocks.push_back(bytes.to_vec()),
        }
    }

    /// Puts bytes before all others.
    pub(crate) fn push_front(&mut self, block: Vec<u8>) {
        if let Some(first) = self.blocks.front_mut()
            && self.read > 0
        {
            first.drain(..self.read);
            self.read = 0;
        }
        if !block.is_empty() {
            self.bytes += block.len();
            self.blocks.push_front(block);
        }
    }

    /// Takes the first block out, and says from where on it is unread.
    pub(crate) fn take(&mut self) -> Option<(Vec<u8>, usize)> {
        let block = self.blocks.pop_front()?;
        let read = std::mem::take(&mut self.read);
        self.bytes -= block.len() - read;
        Some((block, read))
    }

    /// Gives back the block that was taken last, of which `read` bytes have been used by now.
    pub(crate) fn give_back(&mut self, block: Vec<u8>, read: usize) {
        if read < block.len() {
            self.bytes += block.len() - read;
            self.read = read;
            self.blocks.push_front(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(len: usize) -> Vec<u8> {
        (0..len).map(|n| n as u8).collect()
    }

    #[test]
    fn a_request_that_grows_is_copied_a_piece_at_a_time_and_stays_what_it_is() {
        let all = numbered(5 << 20);
        let mut growing = Growing::default();
        let (mut at, mut copied) = (0, 0);
        while at < all.len() {
            let end = all.len().min(at + 60_000);
            if growing.append(&all[at..end], 0) {
                at = end;
                continue;
            }
            assert!(growing.is_moving());
            while growing.is_moving() {
                let before = growing.next.len();
                let old = growing.go_on();
                let now = if old.is_some() { growing.len() } else { growing.next.len() };
                assert!(now - before <= COPIED_AT_ONCE);
                copied += now - before;
            }
        }
        assert_eq!(growing.bytes(), all);
        assert!(copied <= 2 * all.len(), "{copied} bytes copied");
    }

    #[test]
    fn a_long_argument_is_made_room_for_once() {
        let mut growing = Growing::default();
        let piece = numbered(64 << 10);
        let announced = 40 << 20;
        let mut moves = 0;
        while growing.len() < announced {
            if !growing.append(&piece, announced) {
                moves += 1;
                while growing.is_moving() {
                    growing.go_on();
                }
            }
        }
        assert!(moves <= 4, "{moves} moves");
        assert!(growing.capacity() <= announced + ROOM_BEHIND);
    }

    #[test]
    fn what_waits_is_taken_in_its_order_whatever_is_given_back_or_put_before_it() {
        let mut unread = Unread::default();
        let all = numbered(300_000);
        all.chunks(7_001).for_each(|piece| unread.push(piece));
        unread.push(&[]);
        assert_eq!(unread.len(), all.len());
        let mut seen = Vec::new();
        let mut turn = 0;
        while let Some((block, read)) = unread.take() {
            turn += 1;
            assert!(block.len() <= BLOCK_BYTES && read < block.len());
            let end = block.len().min(read + 10_000);
            seen.extend_from_slice(&block[read..end]);
            unread.give_back(block, end);
            assert_eq!(unread.len() + seen.len(), all.len());
            if turn == 5 {
                // Put before everything that waits: what was seen last, once more.
                let again = seen.split_off(seen.len() - 100);
                unread.push_front(again);
            }
        }
        assert_eq!(seen, all);
        assert!(unread.is_empty());
        assert_eq!(unread.len(), 0);
    }
}
