//! Which partitions: a set of indices that comes out in order.

use sterna_keyspace::PARTITIONS_MAX;

/// A set of partition indices, which comes out in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Indices([u64; PARTITIONS_MAX / 64]);

impl Indices {
    /// A bit for each index.
    pub(super) fn of_words(words: [u64; PARTITIONS_MAX / 64]) -> Indices {
        Indices(words)
    }

    /// Adds an index below [`PARTITIONS_MAX`].
    pub(crate) fn insert(&mut self, index: usize) {
        self.0[index / 64] |= 1 << (index % 64);
    }

    /// Adds all of `other`.
    pub(crate) fn extend(&mut self, other: Indices) {
        self.0.iter_mut().zip(other.0).for_each(|(word, other)| *word |= other);
    }

    /// Whether an index is here.
    pub(super) fn has(&self, index: usize) -> bool {
        self.0[index / 64] & (1 << (index % 64)) != 0
    }

    /// How many are below this one, if it is here.
    #[inline]
    pub(super) fn place_of(&self, index: usize) -> Option<usize> {
        let (word, bit) = (index / 64, 1 << (index % 64));
        if self.0[word] & bit == 0 {
            return None;
        }
        let before: u32 = self.0[..word].iter().map(|word| word.count_ones()).sum();
        Some((before + (self.0[word] & (bit - 1)).count_ones()) as usize)
    }

    /// Whether all of `other` are here.
    pub(super) fn contains(&self, other: Indices) -> bool {
        self.0.iter().zip(other.0).all(|(word, other)| other & !word == 0)
    }

    /// The indices, rising.
    pub(crate) fn iter(self) -> Iter {
        Iter { left: self, word: 0 }
    }
}

/// See [`Indices::iter`].
#[derive(Debug)]
pub(crate) struct Iter {
    left: Indices,
    /// Those before it have none left.
    word: usize,
}

impl Iterator for Iter {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        loop {
            let bits = self.left.0.get_mut(self.word)?;
            if *bits != 0 {
                let bit = bits.trailing_zeros() as usize;
                *bits &= *bits - 1;
                return Some(64 * self.word + bit);
            }
            self.word += 1;
        }
    }
}
