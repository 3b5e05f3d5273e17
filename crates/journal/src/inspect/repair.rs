//! Makes a journal startable again, of what is intact in it.
//!
//! What a repair does, and why it is safe to interrupt
//! - Every intact record, those behind damage included (`salvage.rs`), is copied into one new segment; the numbers of lost
//!   ones are filled with records that have an empty payload, which a replay skips. So no record gets another's number,
//!   and no stamp in the snapshot covers a new one.
//! - A damaged snapshot is written anew with the items that are intact, those behind damage included.
//! - Then the manifest, with a higher epoch: from here on the new files count, and a start passes over effects that do
//!   not fit without the lost ones. A repair that was interrupted before is simply run again.
//! - Nothing that is damaged is deleted: segments from the first damage on and the snapshot get the suffix `.damaged` last.

use super::survey::{Survey, each_intact_item};
use crate::Lsn;
use crate::disk::Disk;
use crate::error::Error;
use crate::header::COUNT_MAX;
use crate::manifest::{MANIFEST, Manifest, SnapshotInfo};
use crate::policy::{Draw, Options};
use crate::record::{self, FRAME_BYTES, FRAME_PAYLOAD_BYTES_MAX};
use crate::salvage::{self, GAP_MAX};
use crate::segment::{ActiveSegment, Place, UNFINISHED};
use crate::snapshot::{SnapshotFile, snapshot_name};

/// Suffix that a repair gives to files that are not part of the journal any more.
const DAMAGED: &str = ".damaged";

impl Survey {
    pub(super) fn repair(&self, disk: &dyn Disk) -> Result<(), Error> {
        let mut draw = Draw::new(&Options::default());
        let snapshot = match self.snapshot {
            Some(info) if self.snapshot_damaged => Some(self.salvage_snapshot(disk, &info, draw.next())?),
            snapshot => snapshot,
        };
        let number = self.numbers_below.min(COUNT_MAX);
        let place = Place { journal: self.journal, number, base: self.first };
        let mut segment = ActiveSegment::draft(disk, place, draw.next())?;
        let next = self.copy_intact(disk, &mut segment)?;
        if let Some(info) = snapshot {
            let log_end = Lsn(next.0 - 1);
            if info.end.0.saturating_sub(log_end.0) > GAP_MAX {
                let snapshot = snapshot_name(info.number);
                return Err(Error::LogBehindSnapshot { snapshot, log_end, snapshot_end: info.end });
            }
            fill(&mut segment, next, info.end)?;
        }
        segment.publish(disk)?;
        let epoch = self.check.manifest.map_or(0, |manifest| manifest.epoch);
        Manifest {
            journal: self.journal,
            epoch: (epoch + 1).min(COUNT_MAX),
            first_segment: number,
            last_segment: number,
            snapshot,
        }
        .write(disk)?;
        self.set_aside(disk)
    }

    /// Copies every intact record into `segment`, with empty ones for those between; returns the LSN after the last.
    fn copy_intact(&self, disk: &dyn Disk, segment: &mut ActiveSegment) -> Result<Lsn, Error> {
        const AT_ONCE: usize = 1 << 20;
        let mut next = self.first;
        let mut frames = Vec::new();
        let salvaged = salvage::records(disk, &self.readable, self.first, &mut |lsn, payload| {
            if lsn > next {
                segment.append(&mut frames)?;
                frames.clear();
                fill(segment, next, Lsn(lsn.0 - 1))?;
            }
            next = lsn.next();
            record::push_record(payload, FRAME_PAYLOAD_BYTES_MAX, &mut frames);
            if frames.len() >= AT_ONCE {
                segment.append(&mut frames)?;
                frames.clear();
            }
            Ok(())
        })?;
        segment.append(&mut frames)?;
        // The numbers of what was lost at the end were given, too.
        if salvaged.last >= next && salvaged.last.0 - next.0 <= GAP_MAX {
            fill(segment, next, salvaged.last)?;
            next = salvaged.last.next();
        }
        Ok(next)
    }

    /// Renames what is damaged. The manifest does not name it any more.
    fn set_aside(&self, disk: &dyn Disk) -> Result<(), Error> {
        let snapshot = self.snapshot.filter(|_| self.snapshot_damaged).map(|info| snapshot_name(info.number));
        for name in self.check.loss.files.iter().chain(&snapshot) {
            match disk.rename(name, &format!("{name}{DAMAGED}")) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io("rename", name)(error));
                }
                _ => {}
            }
        }
        disk.sync_dir().map_err(Error::io("sync the directory of", MANIFEST))
    }

    /// Writes a snapshot with the items of a damaged one that are intact.
    fn salvage_snapshot(
        &self,
        disk: &dyn Disk,
        info: &SnapshotInfo,
        salt: u64,
    ) -> Result<SnapshotInfo, Error> {
        let number = self.numbers_below.max(info.number + 1);
        let mut copy = SnapshotFile::create(disk, self.journal, number, info.start, salt)?;
        each_intact_item(disk, self.journal, info, &mut |at| copy.item(at.key, at.stamp, at.value))?;
        let info = copy.finish(info.end)?;
        let name = snapshot_name(number);
        let unfinished = name.clone() + UNFINISHED;
        disk.rename(&unfinished, &name).map_err(Error::io("rename", &unfinished))?;
        disk.sync_dir().map_err(Error::io("sync the directory of", &name))?;
        Ok(info)
    }
}

/// Appends records without a payload, from `next` to `end`.
fn fill(segment: &mut ActiveSegment, next: Lsn, end: Lsn) -> Result<(), Error> {
    const AT_ONCE: u64 = 65_536;
    let mut next = next.0;
    while next <= end.0 {
        let count = (end.0 - next + 1).min(AT_ONCE);
        let mut frames = Vec::with_capacity(count as usize * FRAME_BYTES);
        for _ in 0..count {
            record::push_record(&[], 1, &mut frames);
        }
        segment.append(&mut frames)?;
        next += count;
    }
    Ok(())
}
