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
}

/// The latest samples.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    last: Option<(Instant, Counters)>,
    /// Per second, newest last.
    samples: std::collections::VecDeque<[f64; 3]>,
}

impl Rates {
    /// Looks again. A counter that was reset meanwhile has not risen.
    pub(crate) fn look(&mut self, now: Instant, counters: Counters) {
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
            ]);
        }
        self.last = Some((now, counters));
    }

    /// Commands a second, then KiB a second in and out.
    pub(crate) fn current(&self) -> (u64, f64, f64) {
        let mean = |index: usize| {
            let sum: f64 = self.samples.iter().map(|sample| sample[index]).sum();
            sum / SAMPLES as f64
        };
        (mean(0) as u64, mean(1) / 1024.0, mean(2) / 1024.0)
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
        for look in 0..100_u32 {
            let at = u64::from(look);
            let counters = Counters { commands: 5 * at, in_bytes: 1024 * at, out_bytes: 0 };
            rates.look(start + look * Duration::from_millis(100), counters);
        }
        let (commands, in_kib, out_kib) = rates.current();
        assert!((49..=50).contains(&commands), "{commands}");
        assert!((9.9..10.1).contains(&in_kib), "{in_kib}");
        assert_eq!(out_kib, 0.0);
        rates.look(start + Duration::from_secs(10), Counters::default());
        assert!(rates.current().0 < 50, "a reset counter has not risen");
        rates.reset();
        assert_eq!(rates.current().0, 0);
    }
}
