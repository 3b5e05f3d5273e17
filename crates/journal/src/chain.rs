//! The chain: which files make up the log, and a pass over their records that trusts none of them.
//!
//! Reading is the same for a start, for a reload while running and for the tools, and it changes nothing.
//!
//! What each irregularity means (A3, A4, A7–A9, A20 of the fault list)
//!
//! ```text
//! seen                                              verdict
//! ────────────────────────────────────────────────  ─────────────────────────────────────────────────────────────
//! gap in the numbers, or a named file not there      Missing
//! header of another number or journal                Misplaced
//! bad frame before the next segment's base           Damaged: all before that base had been synced
//! bad frame in the last segment, mark behind for it  Damaged: it had been synced
//! bad frame in the last segment, no such mark        torn tail: an unfinished write, cut there, whatever follows
//! zeros to the end of the last segment               the end: written ahead, or never written
//! log ends below the snapshot's end                  LogBehindSnapshot: it had been synced up to there
//! ```
//!
//! A last batch that was synced just before a crash and then damaged can't be told from a torn one if no mark was
//! written after it. The engine writes a mark soon after every sync to keep that window short.

use std::collections::VecDeque;

use crate::Lsn;
use crate::disk::Disk;
use crate::error::{Error, Fault};
use crate::header::{FileKind, HEADER_BYTES, Header, JournalId};
use crate::manifest::{MANIFEST, Manifest};
use crate::record::{FrameReader, Kind, Step};
use crate::segment::{PAGE_BYTES, Segment, segment_name, segment_number};
use crate::snapshot::snapshot_number;

/// The files of the log, their headers verified against the manifest and each other.
pub(crate) struct Chain {
    pub(crate) manifest: Manifest,
    /// Oldest first; empty only if the journal has just been created.
    pub(crate) segments: Vec<Link>,
}

/// One segment of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) segment: Segment,
    /// What the checksums of its frames start from.
    seed: u32,
}

/// A record where it stands.
pub(crate) struct At<'a> {
    pub(crate) file: &'a str,
    pub(crate) offset: u64,
    pub(crate) lsn: Lsn,
    pub(crate) payload: &'a [u8],
}

/// Whether a pass goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pass {
    On,
    Enough,
}

/// Where the log ends, and what stands behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tail {
    /// LSN of the last record.
    pub(crate) last: Lsn,
    /// Number of the last segment.
    pub(crate) number: u64,
    /// Where its valid frames end.
    pub(crate) offset: u64,
    /// Bytes behind, without trailing zeros: what a crash left of an unfinished write.
    pub(crate) torn_bytes: u64,
    /// The first record that is not proven to be on the disk beyond the reach of a failed write.
    pub(crate) doubtful: Doubtful,
}

/// From where on records have to be written again before they count. See [`Tail::doubtful`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Doubtful {
    pub(crate) lsn: Lsn,
    pub(crate) offset: u64,
}

impl Chain {
    /// Reads manifest and headers; `None` if there is no journal here.
    pub(crate) fn read(disk: &dyn Disk) -> Result<Option<Chain>, Error> {
        // The manifest first: a segment that it names is there before it is.
        let manifest = Manifest::read(disk)?;
        let names = disk.list().map_err(Error::io("list the directory of", MANIFEST))?;
        let Some(manifest) = manifest else {
            let orphan =
                names.iter().any(|name| segment_number(name).is_some() || snapshot_number(name).is_some());
            return if orphan { Err(missing(MANIFEST, "there are segments or snapshots")) } else { Ok(None) };
        };
        let mut numbers: Vec<u64> = names
            .iter()
            .filter_map(|name| segment_number(name))
            .filter(|&number| number >= manifest.first_segment)
            .collect();
        numbers.sort_unstable();
        check_numbers(&manifest, &numbers)?;

        let mut segments = Vec::with_capacity(numbers.len());
        for number in numbers {
            segments.push(Link::read(disk, manifest.journal, number)?);
        }
        let chain = Chain { manifest, segments };
        chain.check_bases()?;
        Ok(Some(chain))
    }

    fn check_bases(&self) -> Result<(), Error> {
        let needed = self.first_needed();
        if let Some(first) = self.segments.first()
            && (first.segment.base > needed || first.segment.base == Lsn::ZERO)
        {
            let file = segment_name(first.segment.number);
            return Err(Error::Misplaced { file, why: "the log begins after the records that are needed" });
        }
        for pair in self.segments.windows(2) {
            if pair[1].segment.base < pair[0].segment.base {
                let file = segment_name(pair[1].segment.number);
                return Err(Error::Misplaced { file, why: "it begins before the segment before it" });
            }
        }
        Ok(())
    }

    /// The last segment of a log that has been passed over to its end.
    pub(crate) fn last(&self) -> &Link {
        self.segments.last().expect("a log with a tail has a segment")
    }

    /// Its segments, oldest first.
    pub(crate) fn segments(&self) -> Vec<Segment> {
        self.segments.iter().map(|link| link.segment).collect()
    }

    /// The first record that is needed beside the snapshot.
    pub(crate) fn first_needed(&self) -> Lsn {
        self.manifest.snapshot.map_or(Lsn::ZERO, |snapshot| snapshot.start).next()
    }

    /// Bytes of the segments that a pass from `from` would read.
    pub(crate) fn bytes_from(&self, from: Lsn) -> u64 {
        self.segments[self.position(from)..].iter().map(|link| link.segment.bytes).sum()
    }

    /// Index of the segment that holds `from`.
    fn position(&self, from: Lsn) -> usize {
        // The last segment whose base is not above `from`: of several with one base, only the last counts.
        self.segments.partition_point(|link| link.segment.base <= from).saturating_sub(1)
    }

    /// Passes over every record from `from` on, in order. `from` must not be below the first segment's base.
    ///
    /// Returns where the log ends, or `None` if `visit` had enough. Errors: damage, or what `visit` returned.
    pub(crate) fn pass(
        &self,
        disk: &dyn Disk,
        from: Lsn,
        visit: &mut dyn FnMut(At<'_>) -> Result<Pass, Error>,
    ) -> Result<Option<Tail>, Error> {
        let mut tail = None;
        let start = self.position(from);
        for (position, link) in self.segments.iter().enumerate().skip(start) {
            let next = self.segments.get(position + 1).map(|next| next.segment.base);
            tail = match link.pass(disk, from, next, visit)? {
                PassEnd::Enough => return Ok(None),
                PassEnd::Next => None,
                PassEnd::Tail(tail) => Some(tail),
            };
        }
        Ok(tail)
    }
}

enum PassEnd {
    Enough,
    Next,
    Tail(Tail),
}

impl Link {
    pub(crate) fn read(disk: &dyn Disk, journal: JournalId, number: u64) -> Result<Link, Error> {
        let name = segment_name(number);
        let file = disk.open(&name).map_err(Error::io("open", &name))?;
        let (header, seed) = Header::read(FileKind::Segment, &*file, &name)?;
        if header.journal != journal {
            return Err(Error::Misplaced { file: name, why: "it is another journal's" });
        }
        if header.number != number {
            return Err(Error::Misplaced { file: name, why: "it is another segment" });
        }
        let bytes = file.len().map_err(Error::io("read the length of", &name))?;
        Ok(Link { segment: Segment { number, base: Lsn(header.base), bytes }, seed })
    }

    /// The same of a segment whose header is damaged, if that can be told; see [`Header::recover`].
    pub(crate) fn recover(disk: &dyn Disk, journal: JournalId, number: u64) -> Result<Option<Link>, Error> {
        let name = segment_name(number);
        let file = disk.open(&name).map_err(Error::io("open", &name))?;
        let mut damaged = [0; HEADER_BYTES];
        let read = file.read_at(&mut damaged, 0).map_err(Error::io("read", &name))?;
        if read < HEADER_BYTES {
            return Ok(None);
        }
        let bytes = file.len().map_err(Error::io("read the length of", &name))?;
        let recovered = Header::recover(FileKind::Segment, journal, number, &damaged);
        Ok(recovered
            .map(|(header, seed)| Link { segment: Segment { number, base: Lsn(header.base), bytes }, seed }))
    }

    /// Opens the segment's frames at the first.
    pub(crate) fn first_frames(&self, disk: &dyn Disk) -> Result<FrameReader, Error> {
        self.frames(disk, Doubtful { lsn: self.segment.base, offset: HEADER_BYTES as u64 })
    }

    /// Opens the segment's frames at `offset`, where the record `lsn` is next.
    pub(crate) fn frames(&self, disk: &dyn Disk, at: Doubtful) -> Result<FrameReader, Error> {
        let name = segment_name(self.segment.number);
        let file = disk.open(&name).map_err(Error::io("open", &name))?;
        // A base is at or below the LSNs in its segment, and a segment holds fewer than 2³² records.
        let index = (at.lsn.0 - self.segment.base.0) as u32;
        FrameReader::new(file, &name, self.seed, at.offset, index)
    }

    /// Passes over this segment's records from `from` up to the base of the `next` segment, or to the log's end.
    fn pass(
        &self,
        disk: &dyn Disk,
        from: Lsn,
        next: Option<Lsn>,
        visit: &mut dyn FnMut(At<'_>) -> Result<Pass, Error>,
    ) -> Result<PassEnd, Error> {
        let base = self.segment.base;
        let mut lsn = base;
        let mut doubtful = Doubtful { lsn, offset: HEADER_BYTES as u64 };
        let mut reader = self.frames(disk, doubtful)?;
        // The records that a page begins in or with, since the last mark and one before.
        let mut pages = VecDeque::from([doubtful]);
        loop {
            if next == Some(lsn) {
                return Ok(PassEnd::Next);
            }
            match reader.advance()? {
                Step::Frame(Kind::SyncMark) => {
                    // Synced up to there; but a write behind may have failed and spoilt the page that both share.
                    let synced_to = reader.synced_to();
                    let page = synced_to - synced_to % PAGE_BYTES;
                    if page == reader.begin() {
                        pages.push_back(Doubtful { lsn, offset: page });
                    }
                    while pages.get(1).is_some_and(|next| next.offset <= page) {
                        pages.pop_front();
                    }
                    doubtful = doubtful.max(*pages.front().expect("one is always left"));
                }
                Step::Frame(Kind::Record | Kind::Part) => {
                    let (start, end) = (reader.begin(), reader.frame_end());
                    if start % PAGE_BYTES == 0 || start / PAGE_BYTES != (end - 1) / PAGE_BYTES {
                        pages.push_back(Doubtful { lsn, offset: start });
                    }
                    if lsn >= from {
                        let at = At { file: reader.name(), offset: start, lsn, payload: reader.payload() };
                        if visit(at)? == Pass::Enough {
                            return Ok(PassEnd::Enough);
                        }
                    }
                    lsn = lsn.next();
                }
                step if next.is_some() => {
                    return Err(reader.damage(if let Step::Bad(fault) = step { fault } else { Fault::Cut }));
                }
                Step::End => return Ok(PassEnd::Tail(self.tail(lsn, reader.begin(), 0, doubtful))),
                Step::Bad(fault) => {
                    let behind = reader.behind()?;
                    if behind.sync_mark.is_some() {
                        return Err(reader.damage(fault));
                    }
                    let end = behind.last_nonzero.map_or(reader.begin(), |last| last + 1);
                    let torn_bytes = end.saturating_sub(reader.begin());
                    return Ok(PassEnd::Tail(self.tail(lsn, reader.begin(), torn_bytes, doubtful)));
                }
            }
        }
    }

    fn tail(&self, next: Lsn, offset: u64, torn_bytes: u64, doubtful: Doubtful) -> Tail {
        Tail { last: Lsn(next.0 - 1), number: self.segment.number, offset, torn_bytes, doubtful }
    }
}

/// Checks that the segments found are those that the manifest needs, without a gap.
fn check_numbers(manifest: &Manifest, numbers: &[u64]) -> Result<(), Error> {
    let mut expected = manifest.first_segment;
    for &number in numbers {
        if number != expected {
            return Err(missing(&segment_name(expected), "there are later ones"));
        }
        expected += 1;
    }
    if expected <= manifest.last_segment {
        return Err(missing(&segment_name(expected), "the manifest names it"));
    }
    if numbers.is_empty() && manifest.snapshot.is_some() {
        return Err(missing(&segment_name(expected), "there is a snapshot"));
    }
    Ok(())
}

fn missing(file: &str, why: &'static str) -> Error {
    Error::Missing { file: file.to_owned(), why }
}
