//! How many subscribers a name has, on which shards.
//!
//! ```text
//!   on one or two shards    16 bytes, no heap     [shard, count] [shard, count]
//!   on more                 mask │ total │ counts by shard, up to the highest that ever had one
//! ```
//!
//! The value that the server keeps for each channel, and the trie for each pattern: PUBLISH answers the total, and
//! sends the message to the shards of the mask. Locks, and who may change what when, are the server's.
//!
//! Invariants: no shard is in both pairs; a pair with count 0 names no shard; the total and the mask say what the
//! counts say. What has spread stays spread until it is empty.

/// The most shards there can be: one bit of a mask each.
pub const SHARDS_MAX: usize = 64;

/// Subscribers counted by shard. Empty by default.
#[derive(Clone, Debug, Default)]
pub struct InterestCounts(Counts);

#[derive(Clone, Debug)]
enum Counts {
    Pairs { shards: [u8; 2], counts: [u32; 2] },
    Spread(Box<Spread>),
}

#[derive(Clone, Debug)]
struct Spread {
    mask: u64,
    total: u64,
    counts: Vec<u32>,
}

impl Default for Counts {
    fn default() -> Self {
        Counts::Pairs { shards: [0; 2], counts: [0; 2] }
    }
}

impl InterestCounts {
    /// No interest.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts one more subscriber on `shard`, which is below [`SHARDS_MAX`].
    pub fn add(&mut self, shard: usize) {
        assert!(shard < SHARDS_MAX, "the server has at most {SHARDS_MAX} shards");
        match &mut self.0 {
            Counts::Pairs { shards, counts } => {
                let own = (0..2).find(|at| counts[*at] > 0 && usize::from(shards[*at]) == shard);
                let Some(at) = own.or_else(|| (0..2).find(|at| counts[*at] == 0)) else {
                    self.spread();
                    return self.add(shard);
                };
                shards[at] = shard as u8;
                counts[at] += 1;
            }
            Counts::Spread(spread) => spread.add(shard, 1),
        }
    }

    /// Counts one subscriber less on `shard`; `false`, and nothing changes, if none is counted there.
    pub fn remove(&mut self, shard: usize) -> bool {
        match &mut self.0 {
            Counts::Pairs { shards, counts } => {
                let own = (0..2).find(|at| counts[*at] > 0 && usize::from(shards[*at]) == shard);
                if let Some(at) = own {
                    counts[at] -= 1;
                }
                own.is_some()
            }
            Counts::Spread(spread) => {
                let removed = spread.remove(shard);
                if spread.total == 0 {
                    self.0 = Counts::default();
                }
                removed
            }
        }
    }

    /// Subscribers on `shard`.
    pub fn on(&self, shard: usize) -> u32 {
        match &self.0 {
            Counts::Pairs { shards, counts } => {
                (0..2).filter(|at| usize::from(shards[*at]) == shard).map(|at| counts[at]).sum()
            }
            Counts::Spread(spread) => spread.counts.get(shard).copied().unwrap_or(0),
        }
    }

    /// Subscribers on all shards.
    pub fn total(&self) -> u64 {
        match &self.0 {
            Counts::Pairs { counts: [first, second], .. } => u64::from(*first) + u64::from(*second),
            Counts::Spread(spread) => spread.total,
        }
    }

    /// The shards that have subscribers: bit n is shard n's.
    pub fn mask(&self) -> u64 {
        match &self.0 {
            Counts::Pairs { shards: [first, second], counts: [on_first, on_second] } => {
                u64::from(*on_first > 0) << first | u64::from(*on_second > 0) << second
            }
            Counts::Spread(spread) => spread.mask,
        }
    }

    /// Whether there are no subscribers.
    pub fn is_empty(&self) -> bool {
        self.total() == 0
    }

    /// Heap memory.
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Counts::Pairs { .. } => 0,
            Counts::Spread(spread) => size_of::<Spread>() + spread.counts.capacity() * size_of::<u32>(),
        }
    }

    fn spread(&mut self) {
        let Counts::Pairs { shards, counts } = self.0 else { return };
        let mut spread = Spread { mask: 0, total: 0, counts: Vec::new() };
        for (shard, count) in shards.into_iter().zip(counts).filter(|(_, count)| *count > 0) {
            spread.add(usize::from(shard), count);
        }
        self.0 = Counts::Spread(Box::new(spread));
    }
}

impl Spread {
    fn add(&mut self, shard: usize, more: u32) {
        if self.counts.len() <= shard {
            self.counts.resize(shard + 1, 0);
        }
        self.counts[shard] += more;
        self.total += u64::from(more);
        self.mask |= 1 << shard;
    }

    fn remove(&mut self, shard: usize) -> bool {
        let Some(count) = self.counts.get_mut(shard).filter(|count| **count > 0) else { return false };
        *count -= 1;
        self.total -= 1;
        self.mask &= !(u64::from(*count == 0) << shard);
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn two_shards_fit_without_heap() {
        assert_eq!(size_of::<InterestCounts>(), 16);
        let mut counts = InterestCounts::new();
        for shard in [63, 0, 63] {
            counts.add(shard);
        }
        assert_eq!((counts.total(), counts.mask(), counts.heap_bytes()), (3, 1 << 63 | 1, 0));
    }

    proptest! {
        #[test]
        fn counts_masks_and_totals_agree(steps in prop::collection::vec((any::<bool>(), 0..SHARDS_MAX), 0..300)) {
            let mut counts = InterestCounts::new();
            let mut model = [0u32; SHARDS_MAX];
            for (add, shard) in steps {
                // Few shards in half the cases, so that counts above one and returns to none happen.
                let shard = if shard % 2 == 0 { shard % 4 } else { shard };
                if add {
                    counts.add(shard);
                    model[shard] += 1;
                } else {
                    prop_assert_eq!(counts.remove(shard), model[shard] > 0);
                    model[shard] = model[shard].saturating_sub(1);
                }
                let mask = (0..SHARDS_MAX).filter(|shard| model[*shard] > 0).fold(0u64, |mask, n| mask | 1 << n);
                prop_assert_eq!(counts.mask(), mask);
                prop_assert_eq!(counts.total(), model.iter().map(|count| u64::from(*count)).sum::<u64>());
                prop_assert_eq!(counts.is_empty(), mask == 0);
                for (shard, count) in model.iter().enumerate() {
                    prop_assert_eq!(counts.on(shard), *count);
                }
            }
        }
    }
}
