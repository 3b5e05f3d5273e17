//! Salvage: the intact records that stand behind damage.
//!
//! A start never reads past damage: what follows might not fit what was lost. A repair does, because the operator has
//! decided to go on without it, and the less is lost the better.
//!
//! ```text
//! segment 4    ┤ 100 101 102 ░░░ 105 106 │
//! segment 5                                ┤ 107 108 109
//!                            └ lost: 103, 104; their numbers are kept free, because stamps and later records count on them
//! ```
//!
//! The rule of the log holds here, too: a segment's records end where the next readable segment begins.
//!
//! A frame behind damage is found by its checksum, tried at every byte. Three doubts are settled against it:
//! - Parts without their beginning are no record, nor is the end of one. An end without its parts can be taken for a record
//!   only if the parts stood in the damage, which must then be longer than a part.
//! - A record whose number is the one expected where the damage begins may be the end of that very record, unless the damage
//!   is just as long as a sync mark.
//! - Frames that overlap what was checked for nothing many times over are given up, so that bytes made to look like frames
//!   can't make it take for ever.

use crate::Lsn;
use crate::chain::Link;
use crate::disk::Disk;
use crate::error::Error;
use crate::record::{Kind, Resync, Step};

/// How many lost records in a row are believed: their numbers are kept free at 12 bytes each. What stands behind more than that
/// is nonsense.
pub(crate) const GAP_MAX: u64 = 1 << 27;

/// What a salvage came upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Salvaged {
    /// Intact records.
    pub(crate) records: u64,
    /// Bytes that are no frame.
    pub(crate) unreadable_bytes: u64,
    /// The highest LSN that is known to have been given.
    pub(crate) last: Lsn,
}

/// Whoever is handed the records.
type Visit<'v> = &'v mut dyn FnMut(Lsn, &[u8]) -> Result<(), Error>;

/// Hands over every intact record from `from` on that stands in `links`, whose numbers rise.
pub(crate) fn records(
    disk: &dyn Disk,
    links: &[Link],
    from: Lsn,
    visit: Visit<'_>,
) -> Result<Salvaged, Error> {
    let mut salvaged = Salvaged { last: Lsn(from.0.saturating_sub(1)), ..Salvaged::default() };
    let mut next = from;
    for (position, link) in links.iter().enumerate() {
        // A base that falls is not that of a successor.
        let end = links[position + 1..]
            .iter()
            .map(|link| link.segment.base)
            .find(|&base| base >= link.segment.base);
        salvage_segment(disk, link, end, &mut next, &mut salvaged, visit)?;
        if let Some(end) = end {
            salvaged.last = salvaged.last.max(Lsn(end.0.saturating_sub(1)));
        }
    }
    Ok(salvaged)
}

/// Hands over the intact records of one segment that are not below `next`, up to `end`.
fn salvage_segment(
    disk: &dyn Disk,
    link: &Link,
    end: Option<Lsn>,
    next: &mut Lsn,
    salvaged: &mut Salvaged,
    visit: Visit<'_>,
) -> Result<(), Error> {
    let mut reader = link.first_frames(disk)?;
    let mut budget = reader.file_bytes().saturating_mul(16).saturating_add(1 << 20);
    // Records up to this index may be ends of records whose parts are lost.
    let mut doubtful_to = None;
    loop {
        match reader.advance()? {
            Step::Frame(kind) => {
                let lsn = Lsn(link.segment.base.0 + u64::from(reader.index()));
                if end.is_some_and(|end| lsn >= end && kind == Kind::Record) {
                    return Ok(());
                }
                if kind != Kind::Record {
                    // It tells how many there were before it.
                    salvaged.last = salvaged.last.max(Lsn(lsn.0.saturating_sub(1)));
                    continue;
                }
                salvaged.last = salvaged.last.max(lsn);
                let is_doubtful = doubtful_to.take().is_some_and(|index| reader.index() <= index);
                if is_doubtful || lsn < *next || lsn.0 - next.0 > GAP_MAX {
                    continue;
                }
                visit(lsn, reader.payload())?;
                salvaged.records += 1;
                *next = lsn.next();
            }
            Step::End => return Ok(()),
            Step::Bad(_) => match reader.resync(&mut budget)? {
                Resync::Found { skipped, doubtful } => {
                    salvaged.unreadable_bytes += skipped;
                    doubtful_to = doubtful;
                }
                Resync::Nothing { skipped } => {
                    salvaged.unreadable_bytes += skipped;
                    return Ok(());
                }
            },
        }
    }
}
