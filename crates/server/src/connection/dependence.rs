//! What a connection's replies wait for (see `shard/durability.rs`).

use sterna_journal::{FsyncPolicy, Journal, Lsn, Refusal};

/// What a connection's replies depend on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Dependence {
    /// Its own last write.
    pub(crate) written: Lsn,
    /// The last write whose effects it may have seen.
    pub(crate) seen: Lsn,
}

impl Dependence {
    pub(crate) fn is_met(self, journal: &Journal) -> bool {
        let safe = match journal.policy() {
            FsyncPolicy::Always => journal.durable_lsn(),
            FsyncPolicy::EverySec | FsyncPolicy::No => journal.written_lsn(),
        };
        let is_stopped = || matches!(journal.admit(), Err(Refusal::DiskFull | Refusal::DiskFailed));
        self.written <= safe && (self.seen <= safe || is_stopped())
    }
}
