//! When the disk fails: stop telling, keep everything, and go on in a new segment.
//!
//! After a failure nothing in the old segment is written or synced again. A failed sync may have marked pages clean that
//! never reached the disk, so that the next one succeeds for nothing (*Can Applications Recover from fsync Failures?*);
//! and the page it could not write may hold the end of what was synced before. So the new segment begins with everything
//! that [`Engine::retained`] holds: every record that is not durable, and those before that share a page with one.
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
//! A full disk is no different: what was written of the batch that found no room is void, too, and the next attempt
//! needs room for what is retained and no more.

use super::{Engine, Health};
use crate::disk::is_full;
use crate::error::{Error, Refusal};
use crate::front::Event;
use crate::record::FRAME_BYTES;
use crate::segment::{ActiveSegment, UNFINISHED, segment_name};

impl Engine {
    /// Notes a failure: nothing is written or told durable until [`recover`](Self::recover) has succeeded.
    pub(super) fn fail(&mut self, now_ms: u64, error: &Error) {
        let full = matches!(error, Error::Io { source, .. } if is_full(source));
        let refusal = if full { Refusal::DiskFull } else { Refusal::DiskFailed };
        self.health = Health::Failing { retry_at: now_ms + self.options.retry_ms };
        self.stats.failures += 1;
        let cause = error.to_string();
        self.stats.last_error = Some(cause.clone());
        if self.refusal != Some(refusal) {
            self.refusal = Some(refusal);
            self.front.set_refusal(Some(refusal));
            (self.notify)(Event::Stopped { refusal, cause });
        }
    }

    /// Writes every record that is not proven durable into a new segment, and goes on with that.
    pub(super) fn recover(&mut self, now_ms: u64) {
        match self.rewrite() {
            Ok(next) => {
                self.health = Health::Well;
                self.written = self.taken;
                self.synced_at = now_ms;
                self.unsynced_bytes = 0;
                self.follow(next);
                self.front.set_written(self.written);
                self.refusal = None;
                self.front.set_refusal(None);
                if self.written > self.durable {
                    self.now_durable(self.written);
                }
                (self.notify)(Event::Resumed);
            }
            Err(error) => {
                for number in [self.active.number, self.active.number + 1] {
                    let _ = self.disk.unlink(&(segment_name(number) + UNFINISHED));
                }
                self.fail(now_ms, &error);
            }
        }
    }

    fn rewrite(&mut self) -> Result<ActiveSegment, Error> {
        let base = self.retained.front().map_or(self.taken.next(), |batch| batch.first);
        debug_assert!(base <= self.durable.next());
        debug_assert!(self.retained.back().is_none_or(|batch| batch.last == self.taken));
        // If nothing in the active segment is beyond reach, not even its header is: then the new one takes its place.
        let replaces = base == self.active.base;
        if replaces && self.ghost {
            self.banish()?;
        }
        let mut next = self.draft(self.active.number + u64::from(!replaces), base)?;
        for batch in &mut self.retained {
            next.append(&mut batch.frames[FRAME_BYTES..])?;
            batch.end = next.bytes;
        }
        self.publish_segment(&mut next)?;
        Ok(next)
    }

    /// Removes the segment that failed to follow, for good. It holds nothing that counts.
    fn banish(&mut self) -> Result<(), Error> {
        let name = segment_name(self.active.number + 1);
        match self.disk.unlink(&name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("remove", &name)(error));
            }
            _ => {}
        }
        self.disk.sync_dir().map_err(Error::io("sync the directory of", &name))?;
        self.ghost = false;
        Ok(())
    }
}
