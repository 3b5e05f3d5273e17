//! Partitions that a script has to itself until it ends.
//!
//! ```text
//!   locked ── a millisecond ──► kept ── busy-reply-threshold ──► busy
//!     └─── ends ─────────────────┴─── ends ───────────────────────┴──► free
//! ```
//!
//! 1. A script locks the partitions of what it names. Most end soon, and whoever comes there meanwhile waits for the lock.
//! 2. One that takes longer *keeps* them: it unlocks them between its commands. Whoever would run a command on one that is kept
//!    finds that out when he has locked it, and goes away ([`Error::Busy`](sterna_keyspace::Error::Busy)); his connection waits for
//!    the script's end, and his shard goes on. All other partitions are free.
//! 3. One command of a script may take long, too. So a shard waits for a lock of its for a moment only, and only once: whoever comes
//!    after that goes away at once.
//! 4. A script that has run for too long, or a transaction that goes on in slices, is *busy*: it keeps all partitions.
//!
//! Invariants
//! - A partition is marked while a script, or who runs with the right of one, has it locked or keeps it: a mark is made and
//!   taken away with the partition locked. So whoever has locked one himself and finds it marked knows that it is kept.
//! - Who makes marks has the right of a script, so that there is one at a time.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};

use sterna_keyspace::PARTITIONS_MAX;

use super::Indices;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Changed and looked at with partitions locked: they are the pair.
    state: AtomicU8,
    /// Somebody has waited for a moment and not got the lock.
    in_vain: AtomicBool,
    marks: Marks,
}

/// A bit for each partition. Every script changes some, and every command looks at what stands beside them.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Marks([AtomicU64; PARTITIONS_MAX / 64]);

/// No partition is kept.
const NONE: u8 = 0;
/// Those that are marked are.
const MARKED: u8 = 1;
/// All are.
const BUSY: u8 = 2;

impl Kept {
    /// Whether any is kept.
    #[inline]
    pub(super) fn is_any(&self) -> bool {
        self.state.load(Relaxed) != NONE
    }

    /// Whether all are.
    #[inline]
    pub(super) fn is_busy(&self) -> bool {
        self.state.load(Relaxed) == BUSY
    }

    pub(super) fn set_busy(&self, is_busy: bool) {
        self.state.store(if is_busy { BUSY } else { NONE }, Relaxed);
    }

    /// The marked ones are kept from now on, if not all are.
    pub(super) fn begin(&self) {
        if !self.is_busy() {
            self.state.store(MARKED, Relaxed);
        }
    }

    /// None is any more, but for all.
    pub(super) fn end(&self) {
        if !self.is_busy() {
            self.state.store(NONE, Relaxed);
        }
    }

    /// Whether this one is kept, which is locked by the caller.
    #[inline]
    pub(super) fn has(&self, index: usize) -> bool {
        match self.state.load(Relaxed) {
            NONE => false,
            MARKED => self.is_marked(index),
            _ => true,
        }
    }

    /// Whether a script has this one, locked or kept.
    pub(super) fn is_marked(&self, index: usize) -> bool {
        self.marks.0[index / 64].load(Relaxed) & (1 << (index % 64)) != 0
    }

    /// Marks one, which is locked.
    #[inline]
    pub(super) fn mark(&self, index: usize) {
        let word = &self.marks.0[index / 64];
        word.store(word.load(Relaxed) | 1 << (index % 64), Relaxed);
    }

    pub(super) fn marked(&self) -> Indices {
        Indices::of_words(std::array::from_fn(|at| self.marks.0[at].load(Relaxed)))
    }

    /// Takes all marks away; those that are marked are locked.
    #[inline]
    pub(super) fn clear(&self) {
        self.marks.0.iter().for_each(|word| word.store(0, Relaxed));
        if self.is_in_vain() {
            self.in_vain.store(false, Relaxed);
        }
    }

    /// Whether it makes no sense to wait for the lock of one that is marked.
    #[inline]
    pub(super) fn is_in_vain(&self) -> bool {
        self.in_vain.load(Relaxed)
    }

    pub(super) fn note_in_vain(&self) {
        self.in_vain.store(true, Relaxed);
    }
}
