//! Giving up: records that the disk did not take, and that nobody was told of, are taken out of the log for good.
//!
//! Asked for by whoever can undo what they did, while the disk fails. Without it a record that could not be written stays in
//! memory until there is room again, and its effects are seen meanwhile, though a crash would take them back.
//!
//! 1. What may have been acknowledged (durable under `always`, else written; and what was read at the start) stays. Whatever was appended after that is handed back, and its
//!    numbers are kept by records with an empty payload, so that the log goes on without a hole.
//! 2. What a failed write or sync left of them in the file is made unreadable, as far as the disk lets it: a start would take
//!    whole records for written ones. If the power fails while the disk fails, they may be there all the same.
//! 3. A snapshot that is being taken may hold what they did, and never counts.

use super::Engine;
use crate::Lsn;
use crate::policy::FsyncPolicy;
use crate::record;

/// What a journal has given up, and what is needed to undo it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenUp {
    /// Payloads of the records that are given up, oldest first.
    pub lost: Vec<Vec<u8>>,
    /// Records that stay though the files may not have all of them.
    pub(crate) kept: Vec<(Lsn, Vec<u8>)>,
    /// The files have every record up to here.
    pub(crate) durable: Lsn,
}

impl Engine {
    pub(super) fn give_up(&mut self) -> GivenUp {
        let pen = self.pen.clone();
        let mut pen = pen.lock();
        pen.take_unwritten(&self.front);
        let (safe, mut end) = match self.front.policy() {
            FsyncPolicy::Always => (self.durable, pen.synced_to),
            FsyncPolicy::EverySec | FsyncPolicy::No => (pen.written, pen.active.bytes),
        };
        let safe = safe.max(self.front.acknowledged());
        let mut given_up = GivenUp { lost: Vec::new(), kept: Vec::new(), durable: self.durable };
        for batch in pen.retained.iter_mut().filter(|batch| batch.last > self.durable) {
            let payloads = record::payloads(&batch.frames);
            if batch.last <= safe {
                // One that was acknowledged as written is in the file.
                end = end.max(if batch.end == u64::MAX { 0 } else { batch.end });
                given_up.kept.extend((batch.first.0..).map(Lsn).zip(payloads));
            } else {
                batch.frames = record::empty_batch(payloads.len());
                given_up.lost.extend(payloads.into_iter().filter(|payload| !payload.is_empty()));
            }
        }
        pen.count_retained();
        pen.make_unreadable(end);
        self.front.set_given_up(safe, pen.taken);
        self.snapshots_void_to = self.snapshots;
        given_up
    }
}
