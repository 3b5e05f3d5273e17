//! A set of byte values, one bit each.

/// Bit `b & 63` of word `b >> 6` says whether byte `b` is in the set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ByteSet([u64; 4]);

impl ByteSet {
    /// Adds the bytes from `low` to `high`, both included; none if `low` is above `high`.
    pub(crate) fn insert_range(&mut self, low: u8, high: u8) {
        for byte in low..=high {
            self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
        }
    }

    pub(crate) fn complement(self) -> Self {
        ByteSet(self.0.map(|word| !word))
    }

    pub(crate) fn contains(&self, byte: u8) -> bool {
        self.0[usize::from(byte >> 6)] >> (byte & 63) & 1 == 1
    }

    /// How many bytes are in the set: 0 to 256.
    pub(crate) fn len(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// The smallest byte, if any.
    pub(crate) fn first(&self) -> Option<u8> {
        (u8::MIN..=u8::MAX).find(|byte| self.contains(*byte))
    }
}
