//! Durations by size: how often a command took how long.
//!
//! Sixteen buckets for each power of two of nanoseconds, so a bucket is at most 1/16 wide:
//!
//! ```text
//!   ns      0 1 … 15 │ 16 17 … 31 │ 32–33 34–35 … 62–63 │ 64–67 …
//!   bucket  0 1 … 15 │ 16 17 … 31 │ 32    33    … 47    │ 48 …
//! ```
//!
//! Written by one thread with plain loads and stores, read by any. Cost: one addition a duration, 5 KiB once the first
//! has been counted.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::connection::client::Client;

/// Power of two: buckets for each power of two.
const STEPS: usize = 16;

/// Durations from 2^DOUBLINGS nanoseconds (17 seconds) on share the last bucket.
const DOUBLINGS: usize = 34;

const BUCKETS: usize = (DOUBLINGS - 3) * STEPS;

/// One command's durations on one shard.
#[derive(Debug, Default)]
pub(crate) struct Histogram(OnceLock<Box<[AtomicU64]>>);

impl Histogram {
    /// Counts `took`. Only the owning thread calls it.
    #[inline]
    pub(crate) fn count(&self, took: Duration) {
        let buckets = self.0.get_or_init(|| (0..BUCKETS).map(|_| AtomicU64::new(0)).collect());
        Client::add(&buckets[bucket_of(took.as_nanos() as u64)], 1);
    }

    /// Forgets what was counted. A duration that is being counted meanwhile may survive it.
    pub(crate) fn reset(&self) {
        self.0.get().into_iter().flatten().for_each(|bucket| bucket.store(0, Relaxed));
    }
}

#[inline]
fn bucket_of(ns: u64) -> usize {
    if ns < STEPS as u64 {
        return ns as usize;
    }
    let doublings = ns.ilog2() as usize;
    let step = (ns >> (doublings - 4)) as usize % STEPS;
    ((doublings - 3) * STEPS + step).min(BUCKETS - 1)
}

/// The largest number of nanoseconds that bucket `index` counts.
fn upper_end(index: usize) -> u64 {
    if index < STEPS {
        return index as u64;
    }
    let doublings = index / STEPS + 3;
    let step = (index % STEPS + STEPS) as u64;
    ((step + 1) << (doublings - 4)) - 1
}

/// The sum of one command's histograms over all shards.
#[derive(Debug)]
pub(crate) struct Durations {
    buckets: Vec<u64>,
    pub(crate) count: u64,
}

impl Durations {
    pub(crate) fn sum<'a>(histograms: impl Iterator<Item = &'a Histogram>) -> Durations {
        let mut buckets = vec![0; BUCKETS];
        for counted in histograms.filter_map(|histogram| histogram.0.get()) {
            buckets.iter_mut().zip(counted).for_each(|(sum, bucket)| *sum += bucket.load(Relaxed));
        }
        let count = buckets.iter().sum();
        Durations { buckets, count }
    }

    /// What was counted after `before`, an earlier sum of the same.
    pub(crate) fn since(&self, before: &Durations) -> Durations {
        let pairs = self.buckets.iter().zip(&before.buckets);
        // A reset makes counts smaller.
        let buckets: Vec<u64> = pairs.map(|(now, then)| now.saturating_sub(*then)).collect();
        let count = buckets.iter().sum();
        Durations { buckets, count }
    }

    /// All of them together, nanoseconds: too much by at most a sixteenth.
    pub(crate) fn total(&self) -> u64 {
        let rows = self.buckets.iter().enumerate();
        rows.map(|(index, count)| count.saturating_mul(upper_end(index))).fold(0, u64::saturating_add)
    }

    /// The duration that `percent` of all don't exceed, nanoseconds.
    pub(crate) fn percentile(&self, percent: f64) -> u64 {
        let wanted = ((self.count as f64 * percent / 100.0).ceil() as u64).max(1);
        let mut seen = 0;
        let reaches = |count: &u64| {
            seen += count;
            seen >= wanted
        };
        self.buckets.iter().position(reaches).map_or(0, upper_end)
    }

    /// How many took less than 2^`power` nanoseconds, from 2^4 on.
    pub(crate) fn below(&self, power: u32) -> u64 {
        self.buckets.iter().take((power as usize - 3) * STEPS).sum()
    }

    /// How many took at most so long, for each power of two of 1024 ns from the first that any reaches to the last:
    /// pairs of microseconds and a count.
    ///
    /// Source: the microseconds are those that Redis's LATENCY HISTOGRAM shows, whose buckets are 1/128 wide.
    pub(crate) fn doublings(&self) -> Vec<(u64, u64)> {
        let mut rows = Vec::new();
        let mut reported = 0;
        for power in 10..DOUBLINGS as u32 {
            let end = 1_u64 << power;
            let count = self.below(power);
            if count > reported {
                rows.push(((end + end / 128 - 1) / 1000, count));
                reported = count;
            }
            if count == self.count {
                return rows;
            }
        }
        rows.push(((1 << DOUBLINGS) / 1000, self.count));
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_bucket_is_at_most_a_sixteenth_wide_and_buckets_follow_each_other(ns in 0_u64..1 << DOUBLINGS) {
            let bucket = bucket_of(ns);
            prop_assert!(ns <= upper_end(bucket));
            prop_assert!(upper_end(bucket) - ns <= ns / 16);
            prop_assert!(bucket == 0 || upper_end(bucket - 1) < ns);
        }
    }

    fn durations(us: &[u64]) -> Durations {
        let histogram = Histogram::default();
        us.iter().for_each(|&us| histogram.count(Duration::from_micros(us)));
        Durations::sum([&histogram, &Histogram::default()].into_iter())
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_durations() {
        let all: Vec<u64> = (1..=1000).collect();
        let durations = durations(&all);
        for (percent, us) in [(50.0, 500.0), (99.0, 990.0), (99.9, 999.0), (100.0, 1000.0)] {
            let found = durations.percentile(percent) as f64 / 1000.0;
            assert!((us..us * 17.0 / 16.0 + 0.001).contains(&found), "p{percent}: {found}");
        }
    }

    #[test]
    fn doublings_count_what_took_no_longer() {
        assert_eq!(durations(&[0, 1, 3, 30, 30, 1000]).doublings(), [(1, 2), (4, 3), (33, 5), (1056, 6)]);
        assert_eq!(durations(&[]).doublings(), []);
        let longest = durations(&[100_000_000]).doublings();
        assert_eq!(longest.last().map(|&(_, count)| count), Some(1));
    }

    #[test]
    fn a_duration_beyond_all_buckets_is_in_the_last() {
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }
}
