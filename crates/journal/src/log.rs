//! What any log can promise, embedded or distributed.
//!
//! The embedded [`Journal`](crate::Journal) is one implementation. Another, later, is a stream on a replicated log (NATS
//! JetStream): append with the expected last sequence as the fence, purge up to a sequence, a snapshot in its object
//! store. So the trait holds only what both have, and nothing of files, fsync policies or disks.
//!
//! Deliberately absent: appending at a given LSN, rewriting, reading what is not durable (a replica that applied it could
//! be ahead of a leader that lost it), and admission (why a write is refused is the implementation's own).

use std::ops::ControlFlow;

use crate::error::{Error, Refusal};
use crate::recovery::Restore;
use crate::{Lsn, SnapshotInfo};

/// An append-only sequence of opaque records, with at most one snapshot to start from.
pub trait Log: Send + Sync {
    /// Appends a record and sends it on its way; returns its LSN, above every LSN returned before.
    ///
    /// Not durable yet. Both can do this without waiting: the journal counts under a lock, a leader counts from the
    /// last sequence that it holds the fence for. Errors: nothing was appended.
    fn append(&self, payload: &[u8]) -> Result<Lsn, Refusal>;

    /// Every record up to here will be read by whoever opens this log next, after any failure that it is built to survive.
    ///
    /// Only rises. Journal: synced. Stream: acknowledged by a quorum.
    fn durable_lsn(&self) -> Lsn;

    /// Hands `visit` the durable records from `from` on, in order and without holes, until there are no more or it breaks.
    ///
    /// Returns the LSN to go on from. Errors: `Trimmed` if `from` is before the first record kept; damage, at the first
    /// record that is not what was appended: that one is never handed over. Cost: O(records read), plus finding the first.
    fn read_from(
        &self,
        from: Lsn,
        visit: &mut dyn FnMut(Lsn, &[u8]) -> ControlFlow<()>,
    ) -> Result<Lsn, Error>;

    /// Gives up records before `lsn`, which the snapshot must cover; they may still be there afterwards, but not counted on.
    ///
    /// Journal: removes whole segments. Stream: purges up to the sequence. Errors: `NotCovered`, nothing changed.
    fn trim_before(&self, lsn: Lsn) -> Result<(), Error>;

    /// Begins a snapshot, which counts only when it is finished. Appending goes on meanwhile.
    fn put_snapshot(&self) -> Result<Box<dyn SnapshotSink>, Error>;

    /// The snapshot that counts.
    fn snapshot(&self) -> Result<Option<SnapshotInfo>, Error>;

    /// Rebuilds state: the snapshot's items, then the durable records behind its start. Returns the last one's LSN.
    ///
    /// Each item comes with its stamp; the receiver skips effects that it [covers](Lsn::covers).
    fn replay(&self, restore: &mut dyn Restore) -> Result<Lsn, Error>;
}

/// A snapshot being written. Dropped unfinished, it never was.
pub trait SnapshotSink: Send {
    /// No record up to this LSN is needed beside the snapshot.
    fn start(&self) -> Lsn;

    /// Adds the state of `key` as of `stamp`, which is at least `start`. May block.
    fn item(&mut self, key: &[u8], stamp: Lsn, value: &[u8]) -> Result<(), Error>;

    /// Makes it the snapshot that counts, in one step, and trims the log behind its start.
    ///
    /// Every record up to the highest stamp is durable before it counts. Errors: the former one still counts.
    fn finish(self: Box<Self>) -> Result<SnapshotInfo, Error>;
}
