//! How a key is used, in one word of its record: when last, or how often.
//!
//! ```text
//! when last    Unix time in seconds; wraps in 2106
//! how often    8 unused │ minutes, 16 bits │ count, 8 bits
//!                         └ when the count was lowered last; wraps every 45 days
//! ```
//!
//! Which of the two it is follows from the eviction policy, and nothing in a record tells: after a change of policy the words
//! mean something else until the keys have been used again, as in Redis.
//!
//! The count is logarithmic: the higher it is, the rarer a use raises it, and it falls by one every so many minutes without
//! use. A new key begins with some, or it would go before it could be used.
//! Source: redis.conf's explanation of `lfu-log-factor` and `lfu-decay-time`.

/// The count of a new key.
const NEW: u32 = 5;
const COUNT_BITS: u32 = 8;
const COUNT_MAX: u32 = 255;
const MINUTES_MASK: u32 = 0xffff;

/// How the count rises and falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frequency {
    /// `lfu-log-factor`: the larger, the rarer a use is counted.
    pub log_factor: u32,
    /// `lfu-decay-time`: minutes without use for which the count falls by one; 0: it never does.
    pub decay_minutes: u32,
}

impl Frequency {
    /// Redis's defaults.
    pub const DEFAULT: Frequency = Frequency { log_factor: 10, decay_minutes: 1 };

    /// The word of a key that was used now.
    pub(crate) fn used(self, word: u32, now_ms: u64, random: u64) -> u32 {
        let count = self.count(word, now_ms);
        let above = u64::from(count.saturating_sub(NEW));
        let rarity = above * u64::from(self.log_factor) + 1;
        // One in `rarity` uses, for the upper half of the bits is as good as a fraction.
        let is_counted = (random >> 32) * rarity < 1 << 32;
        word_of((count + u32::from(is_counted)).min(COUNT_MAX), now_ms)
    }

    /// The count as it is now.
    pub(crate) fn count(self, word: u32, now_ms: u64) -> u32 {
        let count = word & COUNT_MAX;
        if self.decay_minutes == 0 {
            return count;
        }
        let then = word >> COUNT_BITS & MINUTES_MASK;
        let passed = minutes(now_ms).wrapping_sub(then) & MINUTES_MASK;
        count.saturating_sub(passed / self.decay_minutes)
    }
}

/// The word of a new key, if words are counts.
pub(crate) fn new_count(now_ms: u64) -> u32 {
    word_of(NEW, now_ms)
}

/// The word of a key whose count is this.
pub(crate) fn word_of(count: u32, now_ms: u64) -> u32 {
    minutes(now_ms) << COUNT_BITS | count
}

/// The word of a key that was used then, if words are times.
pub(crate) fn seconds(ms: u64) -> u32 {
    (ms / 1000) as u32
}

fn minutes(now_ms: u64) -> u32 {
    (now_ms / 60_000) as u32 & MINUTES_MASK
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: u64 = 60_000;

    fn count_after(uses: u32, log_factor: u32) -> u32 {
        let frequency = Frequency { log_factor, decay_minutes: 1 };
        let mut random = fastrand::Rng::with_seed(7);
        let word = (0..uses).fold(new_count(0), |word, _| frequency.used(word, 0, random.u64(..)));
        frequency.count(word, 0)
    }

    /// The table of redis.conf: counts after so many uses, by factor.
    #[test]
    fn counts_rise_as_redis_s_do() {
        let rows = [(100, [104, 18, 10, 8]), (1_000, [255, 49, 18, 11]), (100_000, [255, 255, 142, 49])];
        for (uses, expected) in rows {
            for (log_factor, expected) in [0, 1, 10, 100].into_iter().zip(expected) {
                let count = count_after(uses, log_factor);
                let margin = 3 + expected / 6;
                assert!(count.abs_diff(expected) <= margin, "{uses} uses, factor {log_factor}: {count}");
            }
        }
    }

    #[test]
    fn a_count_falls_without_use_and_over_the_end_of_the_minutes() {
        let frequency = Frequency { log_factor: 10, decay_minutes: 2 };
        for start in [0, 65_530] {
            let word = word_of(10, start * MINUTE_MS);
            for (minutes, expected) in [(0, 10), (1, 10), (2, 9), (19, 1), (20, 0), (1_000, 0)] {
                assert_eq!(frequency.count(word, (start + minutes) * MINUTE_MS), expected);
            }
        }
        let never = Frequency { decay_minutes: 0, ..frequency };
        assert_eq!(never.count(word_of(10, 0), 1_000 * MINUTE_MS), 10);
    }
}
