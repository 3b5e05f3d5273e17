//! Rates for INFO: how fast counters have been rising lately.
//!
//! One shard reads the counters ten times a second. A rate is the mean over the last sixteen samples, as in Redis's
//! `instantaneous_*` fields.

use std::time::Instant;

/// Looks that a rate is the mean of.
const SAMPLES: usize = 16;

/// What is looked at.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counters {
    pub(crate) commands: u64,
    pub(crate) in_bytes: u64,
    pub(crate) out_bytes: u64,
    /// Turns of all shards, and nanoseconds that they took.
    pub(crate) turns: u64,
    pub(crate) turns_ns: u64,
}

/// What [`Rates::current`] says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Current {
    pub(crate) commands_per_s: u64,
    pub(crate) in_kib_per_s: f64,
    pub(crate) out_kib_per_s: f64,
    pub(crate) turns_per_s: u64,
    /// Mean of a turn.
    pub(crate) turn_us: u64,
}

/// The latest samples.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    last: Option<(Instant, Counters)>,
    /// Per second, newest last.
    samples: std::collections::VecDeque<[f64; 5]>,
}

impl Rates {
    /// Takes a sample. A counter that was reset meanwhile has not risen.
    pub(crate) fn sample(&mut self, now: Instant, counters: Counters) {
        if let Some((then, old)) = self.last {
            let seconds = now.saturating_duration_since(then).as_secs_f64();
            if seconds <= 0.0 {
                return;
            }
            let rate = |new: u64, old: u64| new.saturating_sub(old) as f64 / seconds;
            if self.samples.len() == SAMPLES {
                self.samples.pop_front();
            }
            self.samples.push_back([
                rate(counters.commands, old.commands),
                rate(counters.in_bytes, old.in_bytes),
                rate(counters.out_bytes, old.out_bytes),
                rate(counters.turns, old.turns),
                rate(counters.turns_ns, old.turns_ns),
            ]);
        }
        self.last = Some((now, counters));
    }

    /// The rates as of the last sample.
    pub(crate) fn current(&self) -> Current {
        let mean = |index: usize| {
            let sum: f64 = self.samples.iter().map(|sample| sample[index]).sum();
            sum / SAMPLES as f64
        };
        let (turns, turns_ns) = (mean(3), mean(4));
        Current {
            commands_per_s: mean(0) as u64,
            in_kib_per_s: mean(1) / 1024.0,
            out_kib_per_s: mean(2) / 1024.0,
            turns_per_s: turns as u64,
            turn_us: if turns > 0.0 { (turns_ns / turns / 1000.0) as u64 } else { 0 },
        }
    }

    /// Forgets what was counted so far (CONFIG RESETSTAT).
    pub(crate) fn reset(&mut self) {
        *self = Rates::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_rate_is_the_mean_of_the_last_sixteen_samples() {
        let mut rates = Rates::default();
        let start = Instant::now();
        for sample in 0..100_u32 {
            let at = u64::from(sample);
            let counters = Counters {
                commands: 5 * at,
                in_bytes: 1024 * at,
                out_bytes: 0,
                turns: 10 * at,
                turns_ns: 70_000 * at,
            };
            rates.sample(start + sample * Duration::from_millis(100), counters);
        }
        let current = rates.current();
        assert!((49..=50).contains(&current.commands_per_s), "{current:?}");
        assert!((9.9..10.1).contains(&current.in_kib_per_s), "{current:?}");
        assert_eq!(current.out_kib_per_s, 0.0);
        assert!(
            (99..=100).contains(&current.turns_per_s) && (6..=7).contains(&current.turn_us),
            "{current:?}"
        );
        rates.sample(start + Duration::from_secs(10), Counters::default());
        assert!(rates.current().commands_per_s < 50, "a reset counter has not risen");
        rates.reset();
        assert_eq!(rates.current().commands_per_s, 0);
    }
}
