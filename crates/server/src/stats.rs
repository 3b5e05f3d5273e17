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

    /// Counts so many failures of a call of row `id`, which has been counted.
    pub(crate) fn count_failures(&self, id: usize, failures: u64) {
        if failures > 0 {
            Client::add(&self.rows[id].failed, failures);
        }
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

    /// How long they took, nanoseconds.
    pub(crate) fn ns(&self) -> u64 {
        self.rows.iter().map(|count| count.ns.load(Relaxed)).sum()
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

/// Bytes at the beginning of an error among which its first word must end. Source: Redis's `afterErrorReply`, with the `-`.
const ERROR_WORD_BYTES_MAX: usize = 31;

/// The word of an error that has none.
const NO_WORD: &str = "ERR";

/// What the errors are counted as whose words are too many. Source: Valkey.
const OVERFLOW: &str = "ERRORSTATS_OVERFLOW";

impl ErrorCounts {
    /// Counts an error by its text.
    pub(crate) fn count(&self, text: &[u8]) {
        let head = &text[..text.len().min(ERROR_WORD_BYTES_MAX)];
        let word = head
            .iter()
            .position(|byte| b" \r\n".contains(byte))
            .map(|end| String::from_utf8_lossy(&head[..end]));
        // What has a meaning in INFO is no part of a name there.
        let word = word.as_deref().unwrap_or(NO_WORD).replace(['#', ':', '\n', '\r'], "_");
        let mut counts = self.0.lock();
        let is_room = counts.len() < ERROR_WORDS_MAX || counts.contains_key(&word);
        let word = if is_room { word } else { OVERFLOW.to_owned() };
        *counts.entry(word).or_default() += 1;
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
        for text in ["", "a", &"ä".repeat(1000), &format!("{} a", "a".repeat(31)), "ERR a"] {
            counts.count(text.as_bytes());
        }
        for number in 0..1000 {
            counts.count(format!("{number:30} a").trim_start().as_bytes());
            counts.count(format!("a:#{number} a").as_bytes());
        }
        counts.add_to(&mut totals);
        assert_eq!(totals.len(), super::ERROR_WORDS_MAX + 1);
        assert_eq!(totals.values().sum::<u64>(), 2005);
        assert_eq!(totals["ERR"], 5);
        assert!(totals.contains_key("a__0") && totals[super::OVERFLOW] > 1800);
    }
}
