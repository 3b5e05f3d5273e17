//! How long something took that takes nanoseconds, by the processor's own counter.
//!
//! After each command its shard asks how long it took: for INFO commandstats, for SLOWLOG, and for whose turn it is. The system's
//! clock answers in 25 ns, which is a tenth of what a GET takes, the counter in 10.
//!
//! It is read only where the system tells the time by it as well (the clock source is `tsc`): there it runs at one rate, on all
//! cores alike. How long a tick is follows from what the system's clock says meanwhile, measured again and again; until that is
//! known, and on other machines, the system's clock is asked.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// For so long ticks are counted to find out how long they are.
const MEASURED_FOR: Duration = Duration::from_millis(100);

/// Both clocks are read one after the other; if so many ticks pass meanwhile the thread was interrupted between them.
const READ_TICKS_MAX: u64 = 10_000;

/// Measures from one reading to the next.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stopwatch {
    /// The counter as it was read last; 0: the next lap is not known.
    last: u64,
    /// Nanoseconds of 2^32 ticks; 0: not known.
    ns_of_many: u64,
    /// Since when ticks are counted.
    since: Option<(Instant, u64)>,
}

impl Stopwatch {
    /// Begins a lap, and returns the system's time.
    pub(crate) fn start(&mut self) -> Instant {
        if !is_reliable() {
            return Instant::now();
        }
        let before = counter();
        let now = Instant::now();
        self.last = counter();
        if self.last.saturating_sub(before) < READ_TICKS_MAX {
            self.measure(now, self.last);
        }
        now
    }

    fn measure(&mut self, now: Instant, ticks: u64) {
        let Some((since, first)) = self.since else {
            self.since = Some((now, ticks));
            return;
        };
        let passed = now.saturating_duration_since(since);
        if passed >= MEASURED_FOR {
            let ns = passed.as_nanos() << 32;
            let per_many = ns.checked_div(u128::from(ticks.saturating_sub(first)));
            self.ns_of_many = per_many.and_then(|ns| u64::try_from(ns).ok()).unwrap_or(0);
            self.since = Some((now, ticks));
        }
    }

    /// The next lap is not known: its begin is to be another than the last reading.
    pub(crate) fn stop(&mut self) {
        self.last = 0;
    }

    /// How long it is since the last reading, if that is known. The next lap begins.
    #[inline]
    pub(crate) fn lap(&mut self) -> Option<Duration> {
        if self.last == 0 || self.ns_of_many == 0 {
            return None;
        }
        let now = counter();
        // Cores may differ by some ticks.
        let ticks = now.saturating_sub(self.last);
        self.last = now;
        Some(Duration::from_nanos(((u128::from(ticks) * u128::from(self.ns_of_many)) >> 32) as u64))
    }
}

/// Whether the system tells the time by the counter.
fn is_reliable() -> bool {
    static IS_RELIABLE: OnceLock<bool> = OnceLock::new();
    const SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    *IS_RELIABLE.get_or_init(|| {
        cfg!(target_arch = "x86_64")
            && std::fs::read_to_string(SOURCE).is_ok_and(|source| source.trim() == "tsc")
    })
}

/// The time-stamp counter.
#[cfg(target_arch = "x86_64")]
#[inline]
#[allow(unsafe_code)]
fn counter() -> u64 {
    // SAFETY: the instruction reads a register that every x86-64 processor has, and nothing else.
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
fn counter() -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lap_is_as_long_as_the_system_says_and_none_is_known_after_a_stop() {
        let mut stopwatch = Stopwatch::default();
        assert_eq!(stopwatch.lap(), None);
        let began = stopwatch.start();
        while began.elapsed() < 2 * MEASURED_FOR || stopwatch.lap().is_none() && is_reliable() {
            stopwatch.start();
        }
        let mut ratios: Vec<f64> = Vec::new();
        // The thread may be interrupted between two clocks: most laps are not.
        for _ in 0..21 {
            let start = stopwatch.start();
            while start.elapsed() < Duration::from_millis(1) {}
            let passed = start.elapsed();
            let Some(lap) = stopwatch.lap() else { return };
            ratios.push(lap.as_secs_f64() / passed.as_secs_f64());
        }
        ratios.sort_by(f64::total_cmp);
        assert!((0.95..1.05).contains(&ratios[10]), "{ratios:?}");
        stopwatch.stop();
        assert_eq!(stopwatch.lap(), None);
    }

    #[test]
    fn the_length_of_a_tick_is_measured_over_a_tenth_of_a_second() {
        let (mut stopwatch, begun) = (Stopwatch::default(), Instant::now());
        stopwatch.measure(begun, 1_000);
        stopwatch.measure(begun + Duration::from_millis(50), 100_001_000);
        assert_eq!(stopwatch.ns_of_many, 0);
        // 2 GHz.
        stopwatch.measure(begun + Duration::from_millis(100), 200_001_000);
        assert_eq!(stopwatch.ns_of_many, 1 << 31);
        // A counter that stands still says nothing.
        stopwatch.measure(begun + Duration::from_millis(300), 200_001_000);
        assert_eq!(stopwatch.ns_of_many, 0);
    }
}
