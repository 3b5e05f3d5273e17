//! An inner node of the tree: its children, and the borders between them.

use super::super::leaf::{Key, ROOM, equal_range, insert_at};

/// Behind the last child's score stand infinities, see [`equal_range`], and empty texts; the rest there means nothing.
#[derive(Debug, Clone)]
pub(super) struct Inner {
    pub(super) len: usize,
    pub(super) counts: [u64; ROOM],
    pub(super) scores: [f64; ROOM],
    pub(super) children: [u32; ROOM],
    pub(super) texts: [Box<[u8]>; ROOM],
}

/// A node, as its parent knows it.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) count: u64,
    pub(super) score: f64,
    pub(super) text: Box<[u8]>,
    pub(super) node: u32,
}

impl Default for Inner {
    fn default() -> Inner {
        let texts = std::array::from_fn(|_| [].into());
        Inner { len: 0, counts: [0; ROOM], scores: [f64::INFINITY; ROOM], children: [0; ROOM], texts }
    }
}

impl Inner {
    /// How many elements are under it.
    pub(super) fn count(&self) -> u64 {
        self.counts[..self.len].iter().sum()
    }

    /// The places of the children beside this one.
    pub(super) fn neighbours(&self, at: usize) -> impl Iterator<Item = usize> {
        at.checked_sub(1).into_iter().chain(Some(at + 1).filter(|&next| next < self.len))
    }

    /// The last child in which something may be before `key`, or the first.
    #[inline]
    pub(super) fn child_for(&self, key: Key<'_>) -> usize {
        let equal = equal_range(&self.scores, self.len, key.score);
        let (mut from, mut to) = (equal.start.max(1), equal.end.max(1));
        while from < to {
            let middle = (from + to) / 2;
            if key.reaches(&self.texts[middle]) { from = middle + 1 } else { to = middle }
        }
        from - 1
    }

    /// The child in which the element of this rank is; `rank` becomes its rank there.
    #[inline]
    pub(super) fn child_of_rank(&self, rank: &mut u64) -> usize {
        let mut at = 0;
        while at + 1 < self.len && *rank >= self.counts[at] {
            *rank -= self.counts[at];
            at += 1;
        }
        at
    }

    pub(super) fn insert(&mut self, at: usize, Child { count, score, text, node }: Child) {
        let len = self.len;
        insert_at(&mut self.counts, at, len, count);
        insert_at(&mut self.scores, at, len, score);
        insert_at(&mut self.children, at, len, node);
        self.texts[at..=len].rotate_right(1);
        self.texts[at] = text;
        self.len += 1;
    }

    pub(super) fn remove(&mut self, at: usize) -> Child {
        let (count, score, node) = (self.counts[at], self.scores[at], self.children[at]);
        let text = std::mem::take(&mut self.texts[at]);
        let behind = at + 1..self.len;
        self.counts.copy_within(behind.clone(), at);
        self.scores.copy_within(behind.clone(), at);
        self.children.copy_within(behind, at);
        self.texts[at..self.len].rotate_left(1);
        self.len -= 1;
        self.scores[self.len] = f64::INFINITY;
        Child { count, score, text, node }
    }

    /// There is no border below its first child any more, which has no other before it: where it was is returned.
    pub(super) fn open_below(&mut self) -> (f64, Box<[u8]>) {
        (std::mem::replace(&mut self.scores[0], f64::NEG_INFINITY), std::mem::take(&mut self.texts[0]))
    }

    /// Takes the children from `at` on into a node of their own, below whose first is a border still.
    pub(super) fn split_off(&mut self, at: usize) -> Inner {
        let mut right = Inner::default();
        right.take_from(self, at);
        self.len = at;
        self.scores[at..].fill(f64::INFINITY);
        right
    }

    /// Puts the children of another node behind these. There is a border below its first.
    pub(super) fn append(&mut self, mut other: Inner) {
        self.take_from(&mut other, 0);
    }

    /// Puts the children of another node from a place on behind these. It keeps their numbers, but not their texts.
    fn take_from(&mut self, other: &mut Inner, from: usize) {
        let (taken, len) = (from..other.len, self.len + other.len - from);
        self.counts[self.len..len].copy_from_slice(&other.counts[taken.clone()]);
        self.scores[self.len..len].copy_from_slice(&other.scores[taken.clone()]);
        self.children[self.len..len].copy_from_slice(&other.children[taken.clone()]);
        self.texts[self.len..len].swap_with_slice(&mut other.texts[taken]);
        self.len = len;
    }
}
