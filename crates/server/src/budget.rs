//! `maxmemory`: how much may still be written before the memory in use has to be read again.
//!
//! Reading the allocator's figure takes some microseconds, so not every write does it. A reading grants an allowance, a
//! quarter of what is left below the limit; each write takes off it what it may add, and the one that finds it used up
//! reads again. The closer the limit, the closer the readings, so that it is passed by hardly more than one write.
//!
//! ```text
//!   used ├────────────────────┤◄ allowance ►┤                          ┤ maxmemory
//!                          last reading     next reading
//! ```
//!
//! A command may add more than its arguments say (BITOP, SUNIONSTORE, RESTORE): while there are writes memory is read every
//! millisecond, too. Above the limit, it is read again as soon as a command has run that can free some, and otherwise a thousand
//! times a second at most: output that was sent and clients that left free memory, too.
//!
//! What the thread that frees large values has yet to free counts as free: whoever has deleted some may write at once. Where a
//! policy lets keys go, so do the bytes of records that removed keys have left and the next ones take without asking. Else ever
//! more keys would go for memory that is there.
//!
//! What the journal keeps of records in memory doesn't count: it is as much as was written in a second, and removing keys would
//! not make it less, but more.
//!
//! Cost: nothing without a limit; below it an atomic subtraction and a look at the shard's clock for each command that may add memory.
//! Source: which commands are refused (`denyoom`), and that a write is judged before it runs, is Redis's.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use sterna_journal::Journal;

/// What a command is taken to add beside the bytes of its arguments: a record, its place in a table, an effect.
const COMMAND_BYTES: usize = 256;

/// The allowance when nearly nothing is left: some dozens of small writes between two readings.
const ALLOWANCE_MIN: i64 = 16 << 10;

/// Readings that nothing else gives a reason for come so far apart. They take a hundredth of the time then.
const READING_INTERVAL_US: u64 = 1000;

/// Memory as INFO and `maxmemory` count it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MemoryUse {
    pub(crate) used_bytes: usize,
    pub(crate) peak_bytes: usize,
}

/// See the module. Every number stands for itself, so all accesses are relaxed.
pub(crate) struct MemoryBudget {
    /// `maxmemory`; 0 is no limit.
    max_bytes: AtomicU64,
    /// Whether keys may go.
    evicts: AtomicBool,
    /// Bytes that removed keys have left, by partition.
    dead_bytes: Box<[Arc<AtomicUsize>]>,
    /// What is handed over to be freed, and is not yet.
    pending_bytes: Arc<AtomicUsize>,
    /// Set when the journal is opened.
    journal: OnceLock<Arc<Journal>>,
    /// What may be added before the next reading.
    allowance: AtomicI64,
    /// The last reading was above the limit.
    is_over: AtomicBool,
    /// A command has run since that can free memory.
    may_have_shrunk: AtomicBool,
    /// When the last reading was, or the one that is under way began, microseconds since `started`.
    read_at_us: AtomicU64,
    started: Instant,
    /// The most memory that was in use at any reading.
    peak_bytes: AtomicUsize,
    /// Memory in use at the first reading, before anything was connected.
    start_bytes: AtomicUsize,
}

impl MemoryBudget {
    pub(crate) fn new(
        max_bytes: u64,
        evicts: bool,
        dead_bytes: Box<[Arc<AtomicUsize>]>,
        pending_bytes: Arc<AtomicUsize>,
    ) -> MemoryBudget {
        MemoryBudget {
            max_bytes: AtomicU64::new(max_bytes),
            evicts: AtomicBool::new(evicts),
            dead_bytes,
            pending_bytes,
            journal: OnceLock::new(),
            allowance: AtomicI64::new(0),
            is_over: AtomicBool::new(false),
            may_have_shrunk: AtomicBool::new(false),
            read_at_us: AtomicU64::new(0),
            started: Instant::now(),
            peak_bytes: AtomicUsize::new(0),
            start_bytes: AtomicUsize::new(0),
        }
    }

    /// CONFIG SET maxmemory and maxmemory-policy. The next command that may add memory goes by it.
    pub(crate) fn set_max(&self, max_bytes: u64, evicts: bool) {
        self.max_bytes.store(max_bytes, Relaxed);
        self.evicts.store(evicts, Relaxed);
        self.allowance.store(0, Relaxed);
        self.is_over.store(false, Relaxed);
    }

    pub(crate) fn has_limit(&self) -> bool {
        self.max_bytes.load(Relaxed) > 0
    }

    /// Whether a command with so many bytes of arguments may run that may add memory.
    pub(crate) fn admits(&self, argument_bytes: usize, now: Instant) -> bool {
        if self.is_over.load(Relaxed) {
            if self.may_have_shrunk.swap(false, Relaxed) || self.is_reading_due(now) {
                self.read();
            }
        } else {
            let bytes = (argument_bytes + COMMAND_BYTES) as i64;
            let is_used_up = self.allowance.fetch_sub(bytes, Relaxed) < bytes;
            if is_used_up || self.is_reading_due(now) {
                self.read();
            }
        }
        !self.is_over.load(Relaxed)
    }

    /// Whether the last reading was above the limit.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Relaxed)
    }

    /// Reads how much memory is in use, and says how much must go so that there is room for some more writes; `None`: it is
    /// below the limit.
    pub(crate) fn excess_bytes(&self) -> Option<usize> {
        let used_bytes = self.held_bytes(self.read().used_bytes);
        let max_bytes = self.max_bytes.load(Relaxed) as usize;
        if !self.is_over() {
            return None;
        }
        let room = (max_bytes / 1024).clamp(4 * ALLOWANCE_MIN as usize, 1 << 20).min(max_bytes / 8);
        Some(used_bytes.saturating_sub(max_bytes) + room)
    }

    /// The journal, of whose memory nothing counts from now on.
    pub(crate) fn leave_out(&self, journal: &Arc<Journal>) {
        self.journal.get_or_init(|| Arc::clone(journal));
    }

    /// Memory in use that doesn't count, whatever the policy.
    pub(crate) fn not_counted_bytes(&self) -> usize {
        self.journal.get().map_or(0, |journal| journal.kept_bytes())
    }

    /// Of memory in use, what counts.
    fn held_bytes(&self, used_bytes: usize) -> usize {
        let free_bytes = self.not_counted_bytes() + self.pending_bytes.load(Relaxed);
        let used_bytes = used_bytes.saturating_sub(free_bytes);
        if !self.evicts.load(Relaxed) {
            return used_bytes;
        }
        let dead: usize = self.dead_bytes.iter().map(|bytes| bytes.load(Relaxed)).sum();
        used_bytes.saturating_sub(dead)
    }

    /// A command has run that can free memory.
    #[inline]
    pub(crate) fn note_shrinking(&self) {
        if self.is_over.load(Relaxed) {
            self.may_have_shrunk.store(true, Relaxed);
        }
    }

    /// Reads how much memory is in use and what that leaves.
    pub(crate) fn read(&self) -> MemoryUse {
        let used_bytes = match crate::hooks::memory_stats().allocated {
            0 => crate::process::resident_bytes(),
            allocated => allocated,
        };
        self.judge(self.held_bytes(used_bytes));
        self.read_at_us.store(self.started.elapsed().as_micros() as u64, Relaxed);
        // Only the first reading finds it 0; the others change nothing.
        let _ = self.start_bytes.compare_exchange(0, used_bytes, Relaxed, Relaxed);
        let peak_bytes = self.peak_bytes.fetch_max(used_bytes, Relaxed).max(used_bytes);
        MemoryUse { used_bytes, peak_bytes }
    }

    fn judge(&self, used_bytes: usize) {
        let max_bytes = self.max_bytes.load(Relaxed);
        if max_bytes == 0 {
            return self.is_over.store(false, Relaxed);
        }
        let left = max_bytes as i64 - used_bytes as i64;
        self.allowance.store((left / 4).max(ALLOWANCE_MIN), Relaxed);
        self.is_over.store(left < 0, Relaxed);
    }

    /// Whether the last reading was so long ago that the caller is to read. One shard is told so: the allocator has one lock for
    /// all who ask it.
    fn is_reading_due(&self, now: Instant) -> bool {
        let read_at_us = self.read_at_us.load(Relaxed);
        let now_us = now.saturating_duration_since(self.started).as_micros() as u64;
        now_us.saturating_sub(read_at_us) >= READING_INTERVAL_US
            && self.read_at_us.compare_exchange(read_at_us, now_us, Relaxed, Relaxed).is_ok()
    }

    /// Memory that was in use when the server had just started.
    pub(crate) fn start_bytes(&self) -> usize {
        self.start_bytes.load(Relaxed)
    }

    /// CONFIG RESETSTAT.
    pub(crate) fn reset_peak(&self) {
        self.peak_bytes.store(0, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn budget(max_bytes: u64) -> MemoryBudget {
        MemoryBudget::new(max_bytes, false, Box::default(), Arc::default())
    }

    #[test]
    fn what_is_yet_to_be_freed_counts_as_free_and_what_the_next_keys_take_where_keys_go() {
        let dead = Arc::new(AtomicUsize::new(1_000));
        let pending = Arc::new(AtomicUsize::new(500));
        let budget = MemoryBudget::new(1 << 20, false, Box::new([dead]), pending);
        assert_eq!(budget.held_bytes(1 << 20), (1 << 20) - 500);
        budget.set_max(1 << 20, true);
        assert_eq!(budget.held_bytes(1 << 20), (1 << 20) - 1_000 - 500);
        assert_eq!(budget.held_bytes(1), 0);
    }

    #[test]
    fn the_limit_is_passed_by_hardly_more_than_a_write_whatever_a_write_costs() {
        const MAX: usize = 64 << 20;
        for (argument_bytes, cost) in [(20, 160), (100, 400), (10_000, 25_000), (1 << 20, 2 << 20)] {
            let budget = budget(MAX as u64);
            let (mut used, mut readings) = (10 << 20, 0);
            loop {
                // As `admits`, with a reading of our own.
                let bytes = (argument_bytes + COMMAND_BYTES) as i64;
                if budget.allowance.fetch_sub(bytes, Relaxed) < bytes {
                    readings += 1;
                    budget.judge(used);
                }
                if budget.is_over.load(Relaxed) {
                    break;
                }
                used += cost;
            }
            assert!(used > MAX && used < MAX + (64 << 10) + 2 * cost, "{cost}: {used}");
            assert!(readings < 1000, "{cost}: {readings} readings");
        }
    }

    #[test]
    fn above_the_limit_a_command_that_frees_is_a_reason_to_read_again() {
        let budget = budget(1);
        let now = budget.started;
        assert!(!budget.admits(10, now), "a process needs more than a byte");
        budget.max_bytes.store(u64::MAX / 4, Relaxed);
        assert!(!budget.admits(10, now), "nothing has been freed");
        budget.note_shrinking();
        assert!(budget.admits(10, now));
    }

    #[test]
    fn memory_is_read_again_after_a_moment_however_little_was_asked_for() {
        let budget = budget(u64::MAX / 4);
        assert!(budget.admits(10, budget.started));
        budget.max_bytes.store(1, Relaxed);
        assert!(budget.admits(10, budget.started), "far less was asked for than there was");
        assert!(!budget.admits(10, budget.started + Duration::from_secs(3600)));
    }

    #[test]
    fn without_a_limit_nothing_is_over_it() {
        let budget = budget(0);
        budget.read();
        assert!(!budget.has_limit() && !budget.is_over.load(Relaxed));
    }
}
