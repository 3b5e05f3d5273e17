//! Tools for a journal at rest: `check` says what is there, `dump` shows it, `repair` makes it startable again.
//!
//! `check` and `dump` change nothing and take no lock, so they can look at a copy, or at a read-only directory; on a
//! journal in use they see a moment of it. `repair` takes the lock.

mod repair;
mod survey;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use self::survey::Survey;
use crate::chain::{At, Chain, Pass};
use crate::disk::Disk;
use crate::error::Error;
use crate::header::COUNT_MAX;
use crate::manifest::{MANIFEST, Manifest};
use crate::recovery::{Report, Restore};
use crate::segment::{segment_name, segment_number};
use crate::snapshot::{self, ItemAt, snapshot_name};
use crate::{Lsn, recovery};

/// What a journal holds, and what is wrong with it.
#[derive(Debug, Default)]
pub struct Check {
    /// The manifest, if it is readable.
    pub manifest: Option<Manifest>,
    /// Intact items in the snapshot.
    pub items: u64,
    /// Intact records that a start would replay, up to the first damage.
    pub records: u64,
    /// LSN of the last of them; that of the snapshot's start if there is none.
    pub last: Lsn,
    /// Bytes of all segments and the snapshot.
    pub bytes: u64,
    /// Names of the segments that make up the log, oldest first.
    pub segments: Vec<String>,
    /// An unfinished write at the end, which the next start will cut. Nothing in it was ever durable.
    pub torn: Option<Torn>,
    /// What keeps the journal from starting; none if it is sound.
    pub damage: Vec<Error>,
    /// Intact records behind the first damage, which a repair keeps.
    pub salvageable: u64,
    /// What a repair would give up.
    pub loss: Loss,
}

/// An unfinished write at the log's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// The last segment's name.
    pub file: String,
    /// Where its valid records end.
    pub offset: u64,
    /// How many bytes follow, trailing zeros not counted.
    pub bytes: u64,
}

/// What a repair gives up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loss {
    /// Items that the snapshot should hold and that are not intact.
    pub items: u64,
    /// Records that are not intact. What was lost at the very end can't be counted if nothing behind it tells of it.
    pub records: u64,
    /// Bytes of the log that can't be read as records.
    pub bytes: u64,
    /// Files that are set aside under a new name.
    pub files: Vec<String>,
}

impl Check {
    /// Whether there is a journal at all, or something left of one.
    pub fn is_there(&self) -> bool {
        self.manifest.is_some() || !self.damage.is_empty()
    }

    /// Whether every byte is as it was written. That the effects fit each other is seen by a [`replay`].
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty()
    }
}

/// One thing in a journal, where it stands.
#[derive(Debug, Clone, Copy)]
pub enum Entry<'a> {
    /// A key's state in the snapshot.
    Item {
        /// Name of the file.
        file: &'a str,
        /// Where its frame begins.
        offset: u64,
        /// The key, as the snapshot's writer gave it.
        key: &'a [u8],
        /// The LSN up to which effects are in the value.
        stamp: Lsn,
        /// The state, opaque.
        value: &'a [u8],
    },
    /// A record of the log.
    Record {
        /// Name of the file.
        file: &'a str,
        /// Where its frame begins.
        offset: u64,
        /// Its number.
        lsn: Lsn,
        /// What was appended, opaque.
        payload: &'a [u8],
    },
}

/// Verifies every byte that a start would read. Errors: only what keeps it from looking; damage is in the result.
pub fn check(disk: &dyn Disk) -> Result<Check, Error> {
    Ok(Survey::make(disk)?.check)
}

/// Hands `visit` every item of the snapshot, then every record behind its start, up to the first damage, which is the error.
pub fn dump(disk: &dyn Disk, visit: &mut dyn FnMut(Entry<'_>) -> Result<(), Error>) -> Result<(), Error> {
    let Some(chain) = Chain::read(disk)? else { return Ok(()) };
    if let Some(info) = &chain.manifest.snapshot {
        let mut reader = snapshot::open(disk, chain.manifest.journal, info)?;
        snapshot::items(&mut reader, info, &mut |at| {
            let ItemAt { file, offset, key, stamp, value } = at;
            visit(Entry::Item { file, offset, key, stamp, value })
        })?;
    }
    if chain.segments.is_empty() {
        return Ok(());
    }
    chain.pass(disk, chain.first_needed(), &mut |at: At<'_>| {
        visit(Entry::Record { file: at.file, offset: at.offset, lsn: at.lsn, payload: at.payload })?;
        Ok(Pass::On)
    })?;
    Ok(())
}

/// What the journal is made of; `None` if there is none. Errors: it can't be read.
pub fn manifest(disk: &dyn Disk) -> Result<Option<Manifest>, Error> {
    Manifest::read(disk)
}

/// The names of the files that count beside the manifest: the snapshot, then the segments, oldest first.
pub fn files(disk: &dyn Disk) -> Result<Vec<String>, Error> {
    let Some(manifest) = Manifest::read(disk)? else { return Ok(Vec::new()) };
    let names = disk.list().map_err(Error::io("list the directory of", MANIFEST))?;
    let numbers: BTreeSet<u64> = names.iter().filter_map(|name| segment_number(name)).collect();
    let segments = numbers.range(manifest.first_segment..).map(|&number| segment_name(number));
    Ok(manifest.snapshot.iter().map(|info| snapshot_name(info.number)).chain(segments).collect())
}

/// Does to `restore` what a start does, and nothing to the files. Errors: what would stop a start.
pub fn replay(disk: &dyn Disk, restore: &mut dyn Restore) -> Result<Option<Report>, Error> {
    let Some(chain) = Chain::read(disk)? else { return Ok(None) };
    recovery::replay(disk, &chain, restore).map(|(report, _)| Some(report))
}

/// Has a start pass over effects that do not fit, as after a repair. For a journal whose every byte is right.
pub fn raise_epoch(disk: &dyn Disk) -> Result<(), Error> {
    let _lock = recovery::lock(disk)?;
    let Some(manifest) = Manifest::read(disk)? else { return Ok(()) };
    Manifest { epoch: (manifest.epoch + 1).min(COUNT_MAX), ..manifest }.write(disk)
}

/// Drops what is damaged in log and snapshot, and keeps the rest, so that the journal starts again.
///
/// Returns what `check` saw before, whose `loss` is what is gone. A sound journal is left alone. Errors: it is in use, it was
/// written by a later version, or the disk failed; then run it again.
pub fn repair(disk: &dyn Disk) -> Result<Check, Error> {
    let _lock = recovery::lock(disk)?;
    let survey = Survey::make(disk)?;
    if !survey.check.is_sound() {
        survey.repair(disk)?;
    }
    Ok(survey.check)
}
