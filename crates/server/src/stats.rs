//! What INFO counts. Each shard counts for itself, with plain loads and stores; INFO adds the shards up.

pub(crate) mod top;
pub(crate) mod traffic;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use hashbrown::HashMap;

use crate::connection::client::Client;
use crate::histogram::Histogram;
use crate::lock::{Level, Mutex};

/// Calls of each command of the table, on one shard.
#[derive(Debug)]
pub(crate) struct CommandCounts {
    rows: Box<[CommandCount]>,
    /// `latency-tracking`: whether durations are counted by size.
    tracks_durations: AtomicBool,
}

/// What was counted for one command.
#[derive(Debug, Default)]
struct CommandCount {
    calls: AtomicU64,
    ns: AtomicU64,
    failed: AtomicU64,
    rejected: AtomicU64,
    durations: Histogram,
}

/// The sum of a command's counts over all shards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CommandTotals {
    pub(crate) calls: u64,
    pub(crate) ns: u64,
    pub(crate) failed: u64,
    pub(crate) rejected: u64,
}

impl CommandCounts {
    /// Counts for a table of so many rows.
    pub(crate) fn new(rows: usize) -> CommandCounts {
        CommandCounts {
            rows: std::iter::repeat_with(CommandCount::default).take(rows).collect(),
            tracks_durations: AtomicBool::new(true),
        }
    }

    /// Takes `latency-tracking` over.
    pub(crate) fn set_tracking(&self, tracks_durations: bool) {
        self.tracks_durations.store(tracks_durations, Relaxed);
    }

    /// Counts a call of row `id`.
    #[inline]
    pub(crate) fn count(&self, id: usize, took: Duration, failed: bool) {
        let count = &self.rows[id];
        Client::add(&count.calls, 1);
        Client::add(&count.ns, took.as_nanos() as u64);
        if self.tracks_durations.load(Relaxed) {
            count.durations.count(took);
        }
        if failed {
            Client::add(&count.failed, 1);
        }
    }

    /// Adds to the time of row `id`: a call that goes on in parts.
    pub(crate) fn add_time(&self, id: usize, took: Duration) {
        Client::add(&self.rows[id].ns, took.as_nanos() as u64);
    }

    /// Counts a request for row `id` that was refused before it ran.
    pub(crate) fn count_rejected(&self, id: usize) {
        Client::add(&self.rows[id].rejected, 1);
    }

    /// Adds this shard's counts of row `id` to `totals`.
    pub(crate) fn add_to(&self, id: usize, totals: &mut CommandTotals) {
        let count = &self.rows[id];
        totals.calls += count.calls.load(Relaxed);
        totals.ns += count.ns.load(Relaxed);
        totals.failed += count.failed.load(Relaxed);
        totals.rejected += count.rejected.load(Relaxed);
    }

    /// Calls of all commands.
    pub(crate) fn calls(&self) -> u64 {
        self.rows.iter().map(|count| count.calls.load(Relaxed)).sum()
    }

    /// How long row `id` took on this shard.
    pub(crate) fn durations(&self, id: usize) -> &Histogram {
        &self.rows[id].durations
    }

    /// CONFIG RESETSTAT. A call that is being counted meanwhile may survive it.
    pub(crate) fn reset(&self) {
        for count in &self.rows {
            for counter in [&count.calls, &count.ns, &count.failed, &count.rejected] {
                counter.store(0, Relaxed);
            }
            count.durations.reset();
        }
    }
}

/// Error replies by their first word.
#[derive(Debug, Default)]
pub(crate) struct ErrorCounts(Mutex<HashMap<String, u64>, { Level::ErrorCounts as u8 }>);

/// Different first words that are counted: scripts make their own.
const ERROR_WORDS_MAX: usize = 128;

/// Bytes of one that are told from others.
const ERROR_WORD_BYTES_MAX: usize = 64;

impl ErrorCounts {
    pub(crate) fn count(&self, word: &str) {
        let end = (0..=ERROR_WORD_BYTES_MAX).rev().find(|&end| word.is_char_boundary(end));
        let word = &word[..end.unwrap_or(0)];
        let mut counts = self.0.lock();
        if let Some(count) = counts.get_mut(word) {
            *count += 1;
        } else if counts.len() < ERROR_WORDS_MAX {
            counts.insert(word.to_owned(), 1);
        }
    }

    pub(crate) fn add_to(&self, totals: &mut std::collections::BTreeMap<String, u64>) {
        for (word, count) in &*self.0.lock() {
            *totals.entry(word.clone()).or_default() += count;
        }
    }

    pub(crate) fn reset(&self) {
        self.0.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn words_of_errors_have_a_bound_in_number_and_in_length() {
        let (counts, mut totals) = (super::ErrorCounts::default(), std::collections::BTreeMap::new());
        for number in 0..1000 {
            counts.count(&format!("{number}{}", "ä".repeat(1000)));
        }
        counts.count("");
        counts.add_to(&mut totals);
        assert_eq!(totals.len(), super::ERROR_WORDS_MAX);
        assert!(totals.keys().all(|word| (63..=64).contains(&word.len()) && word.ends_with('ä')));
    }
}
