//! How much a node of a list holds: `list-max-listpack-size` with Redis's meaning.
//!
//! Where nodes end can be seen from outside (OBJECT ENCODING tells a list of one small node from any other), so sizes are
//! counted as Redis counts them: in bytes of a listpack, its frame included, and a new element as its length and 8 more.
//!
//! Source: `list-max-listpack-size` in redis.conf; the bounds were compared with a running Redis 8.2.

use crate::collection::Limits;
use crate::listpack::{self, FRAME_BYTES};

/// Bytes of a node for −1 to −5.
const SIZES: [usize; 5] = [4096, 8192, 16_384, 32_768, 65_536];
/// Where elements are counted, a node has no more bytes than this all the same.
const COUNTED_BYTES_MAX: usize = 8192;
/// What an element takes in a listpack beside its bytes, at most, as Redis estimates it.
const ELEMENT_OVERHEAD_BYTES: usize = 8;

/// What nodes hold at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fill {
    size: Size,
    /// An element of so many bytes has a node of its own, even if a node may be larger.
    alone_bytes: usize,
}

/// The directive's two meanings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    /// As many bytes.
    Bytes(usize),
    /// As many elements, and [`COUNTED_BYTES_MAX`].
    Elements(usize),
}

impl Fill {
    /// From what is configured.
    #[inline]
    pub(super) fn new(limits: &Limits) -> Fill {
        let directive = limits.list_node;
        let size = match directive {
            0.. => Size::Elements(directive.max(1) as usize),
            _ => Size::Bytes(SIZES[(directive.unsigned_abs() as usize).min(SIZES.len()) - 1]),
        };
        Fill { size, alone_bytes: limits.list_alone_bytes }
    }

    /// Whether as much is too much for one node. `bytes` are those of the elements.
    #[inline]
    pub(super) fn is_exceeded(self, bytes: usize, elements: usize) -> bool {
        let bytes = bytes + FRAME_BYTES;
        match self.size {
            Size::Bytes(most) => bytes > most,
            Size::Elements(most) => bytes > COUNTED_BYTES_MAX || elements > most,
        }
    }

    /// Whether a node of these elements takes another one of this length.
    #[inline]
    pub(super) fn admits(self, elements: &[u8], len: usize, text_len: usize) -> bool {
        !self.is_large(text_len)
            && !self.is_exceeded(elements.len() + text_len + ELEMENT_OVERHEAD_BYTES, len + 1)
            && !self.is_plain(elements, len)
    }

    /// Whether a node of these elements is that of one large one.
    #[inline]
    pub(super) fn is_plain(self, elements: &[u8], len: usize) -> bool {
        // In a listpack it takes more bytes than it has.
        len == 1
            && self.is_large(elements.len())
            && listpack::read(&mut &elements[..]).is_some_and(|only| self.is_large(only.text().len()))
    }

    /// Bytes of a node at most.
    pub(super) fn bytes_max(self) -> usize {
        match self.size {
            Size::Bytes(most) => most,
            Size::Elements(_) => COUNTED_BYTES_MAX,
        }
    }

    /// Whether an element of this length has a node of its own.
    #[inline]
    pub(super) fn is_large(self, text_len: usize) -> bool {
        text_len > self.bytes_max() || text_len >= self.alone_bytes
    }

    /// Whether a list of one node with as much is kept as a small one once it has shrunk: below half of the limit, so that
    /// a list about as long as that doesn't go to and fro.
    pub(super) fn is_small(self, bytes: usize, elements: usize, has_shrunk: bool) -> bool {
        let share = if has_shrunk { 2 } else { 1 };
        match self.size {
            Size::Bytes(most) => bytes + FRAME_BYTES <= most / share,
            Size::Elements(most) => elements <= most / share,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The elements of a node with one of this length.
    fn one(text_len: usize) -> Vec<u8> {
        let mut elements = Vec::new();
        listpack::write_string(&mut elements, &vec![b'y'; text_len]);
        elements
    }

    fn fill(list_node: i32) -> Fill {
        Fill::new(&Limits { list_node, ..Limits::DEFAULT })
    }

    #[test]
    fn a_positive_directive_counts_elements_and_a_negative_one_names_a_size() {
        assert_eq!(fill(0).size, Size::Elements(1));
        assert_eq!(fill(128).size, Size::Elements(128));
        assert_eq!(fill(-1).size, Size::Bytes(4096));
        assert_eq!(fill(-5).size, Size::Bytes(65_536));
        assert_eq!(fill(i32::MIN).size, Size::Bytes(65_536));
    }

    #[test]
    fn counted_nodes_have_a_bound_in_bytes_too() {
        let fill = fill(1000);
        assert!(!fill.is_exceeded(8185, 2) && fill.is_exceeded(8186, 2) && fill.is_exceeded(10, 1001));
        assert!(fill.is_large(8193) && !fill.is_large(8192));
        assert!(!fill.admits(&one(9000), 1, 1));
        assert!(fill.is_plain(&one(8193), 1) && !fill.is_plain(&one(8192), 1));
    }

    #[test]
    fn an_element_may_be_told_to_stand_alone_before_a_node_is_full() {
        let fill = Fill::new(&Limits { list_alone_bytes: 10, ..Limits::DEFAULT });
        assert!(fill.is_large(10) && !fill.is_large(9));
        assert!(!fill.admits(&one(10), 1, 1) && !fill.admits(&one(1), 1, 10) && fill.admits(&one(9), 1, 9));
    }
}
