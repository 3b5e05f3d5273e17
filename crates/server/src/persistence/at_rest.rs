//! A journal at rest, seen as a start would see it: for `sterna journal check` and `repair`.
//!
//! That every byte is right does not say that the effects fit each other; only a replay does. So what these tools call
//! sound has been replayed, into a keyspace that is thrown away.
//!
//! Cost: the time and the memory of a start.

use sterna_journal::disk::Disk;
use sterna_journal::{Error, inspect};

use super::Rebuild;
use crate::journaling::Loading;
use crate::partitions::Partitions;

/// As many as any server can have: `databases` may have been larger than it is now.
pub(super) const DATABASES: usize = 255;

/// Replays the journal in `disk` and returns how many effects a start passes over; none, unless a repair has given up some.
///
/// Errors: what would stop a start. Nothing is changed in any case.
pub fn replay_at_rest(disk: &dyn Disk) -> Result<u64, Error> {
    let Some(manifest) = inspect::manifest(disk)? else { return Ok(0) };
    let (partitions, loading) = (Partitions::new(1, DATABASES), Loading::default());
    let mut rebuild = Rebuild::new(&partitions, manifest.snapshot, manifest.epoch, &loading);
    inspect::replay(disk, &mut rebuild)?;
    Ok(rebuild.misfits)
}
