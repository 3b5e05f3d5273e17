//! Buckets of channels: what interest is told by between nodes.

/// How many there are: as many as a byte says. A node that listens to one channel of a bucket gets all messages of it.
pub const BUCKETS: usize = 256;

/// The bucket of a channel, the same on every node and in every version.
#[inline]
pub fn bucket_of(channel: &[u8]) -> u8 {
    crc32c::crc32c(channel) as u8
}

/// A set of buckets: bit `n % 64` of word `n / 64` is bucket `n`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BucketSet(pub [u64; BUCKETS / 64]);

impl BucketSet {
    /// Every bucket.
    pub fn all() -> BucketSet {
        BucketSet([u64::MAX; BUCKETS / 64])
    }

    /// Adds a bucket.
    pub fn insert(&mut self, bucket: u8) {
        self.0[usize::from(bucket) / 64] |= 1 << (bucket % 64);
    }

    /// Whether the bucket is in it.
    pub fn contains(&self, bucket: u8) -> bool {
        self.0[usize::from(bucket) / 64] & 1 << (bucket % 64) != 0
    }

    /// Whether all buckets of `other` are in it.
    pub fn contains_all(&self, other: &BucketSet) -> bool {
        self.0.iter().zip(other.0).all(|(own, other)| other & !own == 0)
    }

    /// What is in either.
    pub fn union(&self, other: &BucketSet) -> BucketSet {
        BucketSet(std::array::from_fn(|word| self.0[word] | other.0[word]))
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// The buckets in it, rising.
    pub fn iter(&self) -> impl Iterator<Item = u8> {
        let set = *self;
        (0..=u8::MAX).filter(move |bucket| set.contains(*bucket))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nodes of two versions must agree.
    #[test]
    fn a_channel_lies_where_it_always_did() {
        assert_eq!((bucket_of(b""), bucket_of(b"news"), bucket_of(b"123456789")), (0, 0xad, 0x83));
    }

    #[test]
    fn a_set_holds_what_was_added() {
        let mut set = BucketSet::default();
        assert!(set.is_empty());
        [0, 63, 64, 255, 64].iter().for_each(|&bucket| set.insert(bucket));
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 63, 64, 255]);
        assert_eq!((set.len(), set.contains(1)), (4, false));
        assert!(BucketSet::all().contains_all(&set) && !set.contains_all(&BucketSet::all()));
        assert_eq!(set.union(&BucketSet::all()), BucketSet::all());
    }
}
