//! Which files there are: snapshots begun and published, the log trimmed, the manifest kept, leftovers removed.
//!
//! A file goes only after a manifest that does not name it is known to be in place. After a failed write of the manifest
//! that is not known, so nothing goes until a later write has succeeded, whichever of the two it is.

use std::sync::mpsc::SyncSender;

use super::{Engine, Health};
use crate::Lsn;
use crate::disk::Disk;
use crate::error::{Error, Refusal};
use crate::front::Command;
use crate::manifest::{Manifest, SnapshotInfo};
use crate::segment::{UNFINISHED, segment_name, segment_number};
use crate::snapshot::{SnapshotPlace, snapshot_name, snapshot_number};

impl Engine {
    pub(super) fn execute(&mut self, now_ms: u64, command: Command) {
        if self.health != Health::Well {
            return self.decline(vec![command]);
        }
        match command {
            Command::BeginSnapshot(answer) => {
                let begun = self.begin_snapshot(now_ms);
                self.publish_stats();
                answer_with(&answer, begun);
            }
            Command::PublishSnapshot(info, answer) => {
                let published = self.publish_snapshot(now_ms, info);
                // Whoever is told of it may ask for the figures at once.
                self.publish_stats();
                answer_with(&answer, published);
            }
            Command::TrimBefore(lsn, answer) => {
                let trimmed = self.trim_before(lsn);
                self.publish_stats();
                answer_with(&answer, trimmed);
            }
            // What was waiting is written by now.
            Command::GiveUp(answer) => drop(answer.try_send(None)),
            Command::Close(answer) => {
                self.mark_end();
                self.close();
                answer_with(&answer, Ok(()));
            }
        }
    }

    /// Answers commands while records can't be written.
    pub(super) fn decline(&mut self, commands: Vec<Command>) {
        let refusal = self.refusal.unwrap_or(Refusal::Closed);
        for command in commands {
            match command {
                Command::BeginSnapshot(answer) => answer_with(&answer, Err(refusal.into())),
                Command::PublishSnapshot(_, answer) => answer_with(&answer, Err(refusal.into())),
                Command::TrimBefore(_, answer) => answer_with(&answer, Err(refusal.into())),
                Command::GiveUp(answer) => drop(answer.try_send(Some(self.give_up()))),
                Command::Close(answer) => {
                    self.close();
                    answer_with(&answer, Err(refusal.into()));
                }
            }
        }
    }

    /// Runs an operation on the segment; its error is also a failure of the journal.
    fn or_fail<T>(&mut self, now_ms: u64, outcome: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &outcome {
            self.fail(now_ms, error);
        }
        outcome
    }

    fn begin_snapshot(&mut self, now_ms: u64) -> Result<SnapshotPlace, Error> {
        if !self.front.claim_snapshot(self.snapshots + 1) {
            return Err(Error::SnapshotBusy);
        }
        self.snapshots += 1;
        let number = self.snapshots;
        let is_empty = self.pen.lock().active.is_empty();
        if !is_empty {
            self.roll_for_snapshot(now_ms).inspect_err(|_| self.front.end_snapshot(number))?;
        }
        let start = Lsn(self.base.0 - 1);
        Ok(SnapshotPlace { journal: self.manifest.journal, number, salt: self.draw.next(), start })
    }

    /// Ends the segment, so that the log can be cut there.
    ///
    /// Errors: that the next segment can't even be begun (no descriptor, no room) is the snapshot's affair, and the log goes
    /// on in this one. Anything else is a failure of the journal too.
    fn roll_for_snapshot(&mut self, now_ms: u64) -> Result<(), Error> {
        let synced = self.sync_written(now_ms);
        self.or_fail(now_ms, synced)?;
        let number = self.number + 1;
        let next = self.draft(number, self.durable.next()).inspect_err(|_| {
            let _ = self.disk.unlink(&(segment_name(number) + UNFINISHED));
        })?;
        let rolled = self.go_on_in(now_ms, next);
        self.or_fail(now_ms, rolled)
    }

    /// Returns the files that are not needed any more.
    fn publish_snapshot(&mut self, now_ms: u64, info: SnapshotInfo) -> Result<Vec<String>, Error> {
        if info.number <= self.snapshots_void_to {
            return Err(Refusal::DiskFailed.into());
        }
        // A stamp is an LSN that was given, so there is a record to be written and synced.
        while info.end > self.durable {
            let synced = self.write(now_ms).and_then(|()| self.sync(now_ms));
            self.or_fail(now_ms, synced)?;
        }
        let name = snapshot_name(info.number);
        let unfinished = name.clone() + UNFINISHED;
        self.disk.rename(&unfinished, &name).map_err(Error::io("rename", &unfinished))?;
        self.disk.sync_dir().map_err(Error::io("sync the directory of", &name))?;
        let first_segment = self.first_needed(info.start.next());
        self.put_manifest(Manifest { snapshot: Some(info), first_segment, ..self.manifest })?;
        // Unfinished files may be the engine's next, by the time that the caller gets to them.
        let mut leftovers = self.leftovers();
        leftovers.retain(|name| !name.ends_with(UNFINISHED));
        Ok(leftovers)
    }

    fn trim_before(&mut self, lsn: Lsn) -> Result<(), Error> {
        let covered = self.manifest.snapshot.map_or(Lsn::ZERO, |snapshot| snapshot.start);
        if lsn > covered.next() {
            return Err(Error::NotCovered { asked: lsn, covered });
        }
        let first_segment = self.first_needed(lsn).max(self.manifest.first_segment);
        if first_segment == self.manifest.first_segment {
            return Ok(());
        }
        self.put_manifest(Manifest { first_segment, ..self.manifest })?;
        remove(&*self.disk, &self.leftovers());
        Ok(())
    }

    /// Number of the first segment that is needed to read from `lsn` on.
    fn first_needed(&self, lsn: Lsn) -> u64 {
        let segments = self.front.segments.lock();
        let position = segments.partition_point(|segment| segment.base <= lsn).saturating_sub(1);
        segments.get(position).map_or(self.number, |segment| segment.number)
    }

    /// Puts `manifest` in place. What it does not name is then left over.
    ///
    /// After an error the former one still counts for the engine, and every file that either names stays.
    pub(super) fn put_manifest(&mut self, manifest: Manifest) -> Result<(), Error> {
        if let Err(error) = manifest.write(&*self.disk) {
            // Tried again in the next turn, and after that every `retry_ms`.
            self.manifest_retry_at = Some(0);
            self.stats.last_error = Some(error.to_string());
            return Err(error);
        }
        self.manifest_retry_at = None;
        self.manifest = manifest;
        self.front.segments.lock().retain(|segment| segment.number >= manifest.first_segment);
        Ok(())
    }

    /// After a failed write of the manifest, writes it again until it is known which one is in place.
    pub(super) fn confirm_manifest(&mut self, now_ms: u64) {
        if self.health != Health::Well || self.manifest_retry_at.is_none_or(|at| now_ms < at) {
            return;
        }
        match self.put_manifest(self.manifest) {
            Ok(()) => remove(&*self.disk, &self.leftovers()),
            Err(_) => self.manifest_retry_at = Some(now_ms + self.options.retry_ms),
        }
    }

    /// The files that the manifest does not name. To be removed only while it is certain that it is in place.
    pub(super) fn leftovers(&self) -> Vec<String> {
        // A listing that fails leaves them until the next time.
        let Ok(mut names) = self.disk.list() else { return Vec::new() };
        let taking = self.front.snapshot_being_taken();
        let kept_snapshot = self.manifest.snapshot.map_or(0, |snapshot| snapshot.number);
        names.retain(|name| {
            if let Some(number) = segment_number(name) {
                number < self.manifest.first_segment
            } else if let Some(number) = snapshot_number(name) {
                number != kept_snapshot && number != taking
            } else {
                name.ends_with(UNFINISHED) && *name != snapshot_name(taking) + UNFINISHED
            }
        });
        names
    }
}

/// Removes files that don't count any more. One that can't be removed stays until somebody tries again.
///
/// The directory is not synced: one that is back after a power loss is removed by the next start, and whoever removes files
/// beside the engine does not know whether a segment's sync has failed meanwhile ([`super::failure`]).
///
/// Cost: milliseconds for a large file.
pub(crate) fn remove(disk: &dyn Disk, leftovers: &[String]) {
    for name in leftovers {
        let _ = disk.unlink(name);
    }
}

/// Answers a command. Whoever gave it may have gone away.
fn answer_with<T>(answer: &SyncSender<Result<T, Error>>, outcome: Result<T, Error>) {
    let _ = answer.try_send(outcome);
}
