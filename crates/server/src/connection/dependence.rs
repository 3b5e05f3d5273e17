//! What a connection's replies wait for (see `shard/durability.rs`).

use sterna_journal::{FsyncPolicy, Journal, Lsn, Refusal};

/// What a connection's replies depend on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Dependence {
    /// Bytes at the head of its queue that depend on nothing any more: some of a reply may have been sent already.
    pub(crate) free_bytes: usize,
    /// Its own last write.
    pub(crate) written: Lsn,
    /// Its own first write that the replies in its queue may tell of; zero: they tell of none.
    first: Lsn,
    /// The last write whose effects it may have seen.
    pub(crate) seen: Lsn,
    /// What it was shown may have been out of date: this node's right to run commands on keys of a cluster ended meanwhile.
    pub(crate) is_doubtful: bool,
}

/// What has become of a record in the log of a cluster (see `replication.rs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Pending,
    Stored,
    Void,
    Unknown,
}

/// What is to be said in place of replies that depend on what the log of a cluster does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Nothing that was written is in the log, nor ever will be.
    NoEffect,
    /// Nothing was written. What was read may be out of date, or never have happened.
    Read,
    /// Some of what was written is in the log, or may be.
    Unknown,
}

/// Any write, where it is not known which.
const ANY: Lsn = Lsn(1);

impl Dependence {
    /// Nothing, behind so many bytes that depend on nothing.
    pub(crate) fn none(free_bytes: usize) -> Dependence {
        Dependence { free_bytes, ..Dependence::default() }
    }

    /// It has made a write, in this record.
    #[inline]
    pub(crate) fn note_written(&mut self, lsn: Lsn) {
        self.written = lsn;
        if self.first == Lsn::ZERO {
            self.first = lsn;
        }
    }

    /// Somebody has written for it, in a record up to this one.
    pub(crate) fn note_written_for(&mut self, up_to: Lsn) {
        (self.written, self.first) = (up_to, ANY);
    }

    /// What it has written since is no write of its own.
    #[inline]
    pub(crate) fn disown(&mut self, before: Dependence) {
        (self.written, self.first) = (before.written, before.first);
    }

    /// All of its replies that are in the queue, of so many bytes, depend on nothing any more.
    #[inline]
    pub(crate) fn note_free(&mut self, queued_bytes: usize) {
        (self.free_bytes, self.first) = (queued_bytes, Lsn::ZERO);
    }

    /// What is to be said of it in place of its replies, of which there are so many; `None`: they may yet be true. `is_over`: another
    /// node may lead.
    ///
    /// That a command had no effect is said only where none of its client's writes in question is in the log, and none ever will be: where
    /// the first one is void, all are. Nor is it said of other commands that were answered along with it.
    pub(crate) fn loss(self, fate: impl Fn(Lsn) -> Fate, replies: usize, is_over: bool) -> Option<Loss> {
        let fates = [fate(self.written), fate(self.seen)];
        let is_lost =
            fates.contains(&Fate::Void) || fates.contains(&Fate::Unknown) || self.is_doubtful && is_over;
        let loss = match (self.first, replies) {
            (Lsn::ZERO, 1) | (_, 0) => Loss::Read,
            (first, 1) if fate(first) == Fate::Void => Loss::NoEffect,
            _ => Loss::Unknown,
        };
        is_lost.then_some(loss)
    }

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
