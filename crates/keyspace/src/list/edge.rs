//! The first or the last node of a large list, open at both ends: what a queue pushes and pops.
//!
//! ```text
//!   ┌ room ┬ element ┬ element ┬ … ┐ spare capacity        elements as in a listpack, without its frame
//!   0    start                  bytes.len()
//! ```
//!
//! Adding and taking at either end moves nothing, where a listpack would move all that it holds.
//!
//! Invariants: `len` elements from `start` on; none, and both are 0. Cost: amortised O(bytes of the element).

use super::End;
use crate::listpack::{self, Element};
use crate::packed::Packed;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Edge {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

/// Room that is made at the front at least, bytes, when there is none.
const ROOM_MIN: usize = 64;

impl Edge {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements.
    #[inline]
    pub(super) fn elements(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// Becomes a copy of `node`.
    pub(super) fn fill(&mut self, node: &Packed) {
        self.clear();
        self.bytes.extend_from_slice(node.elements());
        self.len = node.len();
    }

    /// As a node that is packed tightly; the edge is empty then.
    pub(super) fn seal(&mut self) -> Packed {
        // A node's bound keeps both numbers far below what one can count.
        let node =
            Packed::from_elements(self.elements(), self.len).expect("an edge is within a node's bound");
        self.clear();
        node
    }

    pub(super) fn push_back(&mut self, text: &[u8]) {
        let used = self.bytes.len() - self.start;
        if self.start > used && self.bytes.capacity() - self.bytes.len() < listpack::string_bytes(text) {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        listpack::write_string(&mut self.bytes, text);
        self.len += 1;
    }

    pub(super) fn push_front(&mut self, text: &[u8]) {
        let end = self.bytes.len();
        listpack::write_string(&mut self.bytes, text);
        let added = self.bytes.len() - end;
        if self.start < added {
            self.make_room(added);
        }
        let end = self.bytes.len() - added;
        self.start -= added;
        self.bytes.copy_within(end.., self.start);
        self.bytes.truncate(end);
        self.len += 1;
    }

    /// Takes the first element; it is shown to `taken`. False: there is none.
    #[inline]
    pub(super) fn pop_front(&mut self, taken: impl FnOnce(Element<'_>)) -> bool {
        let mut rest = self.elements();
        let before = rest.len();
        let Some(element) = listpack::read(&mut rest) else { return false };
        let bytes = before - rest.len();
        taken(element);
        self.start += bytes;
        self.len -= 1;
        self.clear_if_empty();
        true
    }

    /// Takes the last element; it is shown to `taken`. False: there is none.
    #[inline]
    pub(super) fn pop_back(&mut self, taken: impl FnOnce(Element<'_>)) -> bool {
        let elements = self.elements();
        let Some(bytes) = listpack::last_element_bytes(elements) else { return false };
        let Some(element) = listpack::read(&mut &elements[elements.len() - bytes..]) else { return false };
        taken(element);
        self.bytes.truncate(self.bytes.len() - bytes);
        self.len -= 1;
        self.clear_if_empty();
        true
    }

    /// Removes `count` elements, no more than there are, from an end.
    pub(super) fn cut(&mut self, end: End, count: usize) {
        if count >= self.len {
            return self.clear();
        }
        for _ in 0..count {
            match end {
                End::Front => self.pop_front(|_| {}),
                End::Back => self.pop_back(|_| {}),
            };
        }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        (self.start, self.len) = (0, 0);
    }

    fn clear_if_empty(&mut self) {
        if self.len == 0 {
            self.clear();
        }
    }

    /// Moves everything, so that there is room for `needed` bytes, and as much again as there is, in front.
    fn make_room(&mut self, needed: usize) {
        let used = self.bytes.len() - self.start;
        let room = needed + used.max(ROOM_MIN);
        let mut bytes = Vec::with_capacity(room + used + needed);
        bytes.resize(room, 0);
        bytes.extend_from_slice(self.elements());
        (self.bytes, self.start) = (bytes, room);
    }

    /// Panics unless this is what the module says.
    pub(super) fn check(&self) {
        let (mut rest, mut count) = (self.elements(), 0);
        while listpack::read(&mut rest).is_some() {
            count += 1;
        }
        assert!(rest.is_empty() && count == self.len);
        assert!(count > 0 || (self.start == 0 && self.bytes.is_empty()));
    }
}
