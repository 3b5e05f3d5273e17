//! When the disk fails: stop telling, keep everything, and go on in a new segment.
//!
//! After a failure nothing in the old segment is written or synced again. A failed sync may have marked pages clean that
//! never reached the disk, so that the next one succeeds for nothing (*Can Applications Recover from fsync Failures?*);
//! and the page it could not write may hold the end of what was synced before. So the new segment begins with everything
//! that [`retained`](crate::pen::Pen::retained) holds: every record that is not durable, and those before that share a page with one.
//!
//! ```text
//! old segment   ┤ durable ……… │ durable │ written, sync failed │
//!               │             └─ same page ─┘                  │
//! new segment                 ├ durable, written, and what came since ┤ synced as a whole before it gets its name
//! ```
//!
//! If there is nothing in the old segment that is out of reach, the new one takes its number and its name. Otherwise it
//! follows, and the old one is void from the new one's base on ([`crate::segment`]).
//!
//! Until the new segment has its name, the directory is synced only where the old one's syncs have all succeeded: a file
//! system may write a spoilt page back along with the names.
//!
//! A full disk is no different: what was written of the batch that found no room is void, too, and the next attempt
//! needs room for what is retained and no more.

use super::{Engine, Health};
use std::collections::VecDeque;

use parking_lot::MutexGuard;

use crate::error::{Error, Refusal};
use crate::front::Event;
use crate::pen::Pen;
use crate::segment::{ActiveSegment, UNFINISHED, segment_name};

impl Engine {
    /// Notes a failure: nothing is written or told durable until [`recover`](Self::recover) has succeeded.
    pub(super) fn fail(&mut self, now_ms: u64, error: &Error) {
        let refusal = if error.is_disk_full() { Refusal::DiskFull } else { Refusal::DiskFailed };
        self.health = Health::Failing { retry_at: now_ms + self.options.retry_ms };
        self.pen.lock().fail(None);
        self.stats.failures += 1;
        let cause = error.to_string();
        self.stats.last_error = Some(cause.clone());
        if self.refusal != Some(refusal) {
            self.refusal = Some(refusal);
            // Told first: whoever sees the refusal finds it dealt with.
            (self.notify)(Event::Stopped { refusal, cause });
            self.front.set_refusal(Some(refusal));
        }
    }

    /// Writes every record that is not proven durable into a new segment, and goes on with that.
    pub(super) fn recover(&mut self, now_ms: u64) {
        let pen = self.pen.clone();
        // Held for long, which keeps nobody: who sees that the disk fails does not ask for it.
        let mut pen = pen.lock();
        match self.rewrite(&mut pen) {
            Ok((next, ends)) => {
                self.health = Health::Well;
                self.synced_at = now_ms;
                self.note_segment(&next, pen.active.bytes);
                pen.resume(next, ends);
                let written = pen.written;
                drop(pen);
                self.unsynced_since = None;
                let manifest = self.manifest;
                // Not a reason to stop: the manifest's last segment is a lower bound, and it is tried again.
                let _ = self.put_manifest(manifest);
                self.front.set_written(written);
                self.refusal = None;
                self.front.set_refusal(None);
                if written > self.durable {
                    self.durable = written;
                    self.front.set_durable(written);
                    self.stats.syncs += 1;
                    (self.notify)(Event::Durable(written));
                }
                (self.notify)(Event::Resumed);
            }
            Err(error) => {
                drop(pen);
                for number in [self.number, self.number + 1] {
                    let _ = self.disk.unlink(&(segment_name(number) + UNFINISHED));
                }
                self.fail(now_ms, &error);
            }
        }
    }

    fn rewrite(&mut self, pen: &mut MutexGuard<'_, Pen>) -> Result<(ActiveSegment, VecDeque<u64>), Error> {
        let base = pen.retained.front().map_or(pen.taken.next(), |batch| batch.first);
        debug_assert!(base <= self.durable.next());
        debug_assert!(pen.retained.back().is_none_or(|batch| batch.last == pen.taken));
        // If nothing in the active segment is beyond reach, not even its header is: then the new one takes its place.
        let replaces = base == self.base;
        if replaces && self.may_have_successor {
            self.remove_successor()?;
        }
        if self.manifest.last_segment < self.manifest.first_segment {
            // The first of all: without a manifest it would be a sign of loss.
            self.manifest.write(&*self.disk)?;
        }
        let mut next = self.draft(self.number + u64::from(!replaces), base)?;
        let mut ends = VecDeque::new();
        pen.copy(base, &mut next, &mut ends)?;
        self.publish_segment(&mut next)?;
        Ok((next, ends))
    }

    /// Removes the segment that failed to follow, for good. It holds nothing that counts.
    fn remove_successor(&mut self) -> Result<(), Error> {
        let name = segment_name(self.number + 1);
        match self.disk.unlink(&name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("remove", &name)(error));
            }
            _ => {}
        }
        self.disk.sync_dir().map_err(Error::io("sync the directory of", &name))?;
        self.may_have_successor = false;
        Ok(())
    }
}
