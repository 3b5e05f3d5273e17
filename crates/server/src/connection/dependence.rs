//! What a connection's replies wait for (see `shard/durability.rs`).

use sterna_journal::{FsyncPolicy, Journal, Lsn, Refusal};

/// What a connection's replies depend on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Dependence {
    /// Bytes at the head of its queue that depend on nothing any more: some of a reply may have been sent already.
    pub(crate) free_bytes: usize,
    /// Its own last write.
    pub(crate) written: Lsn,
    /// The last write whose effects it may have seen.
    pub(crate) seen: Lsn,
    /// What it was shown may have been out of date: this node's right to run commands on keys of a cluster ended meanwhile.
    pub(crate) is_doubtful: bool,
}

impl Dependence {
    /// `is_rolling_back`: what was seen may be about to be undone.
    pub(crate) fn is_met(self, journal: &Journal, is_rolling_back: bool) -> bool {
        let safe = match journal.policy() {
            FsyncPolicy::Always => journal.durable_lsn(),
            FsyncPolicy::EverySec | FsyncPolicy::No => journal.written_lsn(),
        };
        // Who depends on what was given up has been told.
        let safe = safe.max(journal.given_up_to());
        let is_stopped =
            || !is_rolling_back && matches!(journal.admit(), Err(Refusal::DiskFull | Refusal::DiskFailed));
        self.written <= safe && (self.seen <= safe || is_stopped())
    }

    /// Whether it has neither written nor seen anything.
    pub(crate) fn is_nothing(self) -> bool {
        self.written == Lsn::ZERO && self.seen == Lsn::ZERO
    }

    /// Whether it is something that the disk did not take, and that is undone.
    pub(crate) fn is_given_up(self, journal: &Journal) -> bool {
        journal.is_given_up(self.written) || journal.is_given_up(self.seen)
    }
}
