//! Records as bytes: the frame around each payload, and the reader that trusts nothing.
//!
//! Segments and snapshots are a [`Header`](crate::header::Header) followed by frames, back to back:
//!
//! ```text
//! 0        4        8        12              12+len
//! ┌────────┬────────┬────────┬────────────────┐
//! │ crc    │ kind·  │ index  │ payload        │      all little-endian
//! │        │ len    │        │ (len bytes)    │
//! └────────┴────────┴────────┴────────────────┘
//!   │        └ top 2 bits: kind (1 record, 2 sync mark); low 30 bits: length of the payload
//!   └ crc32c of bytes 4.., started from the crc of the file's header
//! ```
//!
//! `index` counts the records in the file from 0, so in a segment it is LSN − base. A sync mark takes no number; its
//! index is that of the next record.
//!
//! Why this shape
//! - The checksum starts from that of the file's header, which holds the journal's identity, the file's number and a
//!   salt. Two files differ there, and a crc32c started from different values differs for equal bytes. So bytes of another
//!   segment, of an earlier life of this one or of recycled blocks don't parse here, even when they are whole records.
//! - The index is stored though it could be counted, so that a scan behind damage can tell a frame without knowing
//!   how many were lost.
//! - A sync mark says: every byte before me had been synced when I was written. Behind a bad frame it is the proof that
//!   the bad frame is damage and not the unfinished end of the log. It is 12 bytes, once per sync.
//! - Kind 0 is no kind, so that zeros are never a frame.
//! - The payload is opaque, and names no key. A record may hold a whole transaction, hence several keys; and a hash that
//!   two keys share would make a snapshot's stamp for one skip a record of the other. So the skip rule
//!   ([`Lsn::covers`](crate::Lsn::covers)) is applied by whoever can read the payload, effect by effect, and costs no byte here.
//!
//! Cost: 12 bytes a record. Reading is one pass with one crc over each byte; memory is one read buffer, or the largest
//! frame if that is larger, and a frame is believed to be large only as far as the file is.

use crate::disk::DiskFile;
use crate::error::{Error, Fault};
#[cfg(any(test, feature = "simulation"))]
use crate::simulation::planted::Planted;

/// Bytes of a frame around its payload.
pub(crate) const FRAME_BYTES: usize = 12;

/// The longest payload, in bytes: what 30 bits can say. Redis's longest value is 512 MiB.
pub const PAYLOAD_BYTES_MAX: usize = (1 << 30) - 1;

const KIND_SHIFT: u32 = 30;
const LENGTH_MASK: u32 = (1 << KIND_SHIFT) - 1;

/// Bytes read at once. Large enough that the cost of a system call vanishes, small enough to stay in the cache.
const READ_BYTES: usize = 256 * 1024;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A payload with a number of its own.
    Record = 1,
    /// "Every byte before this frame had been synced when it was written."
    SyncMark = 2,
}

/// Appends a frame with its checksum and index left blank, for [`seal`] to fill in.
///
/// The two are the writing thread's work: they depend on the segment, and the appender, who holds a lock, doesn't know
/// which one it will be.
#[inline]
pub(crate) fn push_blank(kind: Kind, payload: &[u8], into: &mut Vec<u8>) {
    push_blank_header(kind, payload.len(), into);
    into.extend_from_slice(payload);
}

/// Appends the 12 bytes before a payload of `length` bytes, blank but for kind and length.
#[inline]
pub(crate) fn push_blank_header(kind: Kind, length: usize, into: &mut Vec<u8>) {
    debug_assert!(length <= PAYLOAD_BYTES_MAX);
    let mut header = [0; FRAME_BYTES];
    header[4..8].copy_from_slice(&kind_and_length(kind, length).to_le_bytes());
    into.extend_from_slice(&header);
}

/// Corrects the length in a blank header at `at`, once the payload behind it is known.
pub(crate) fn set_length(frames: &mut [u8], at: usize, kind: Kind, length: usize) {
    frames[at + 4..at + 8].copy_from_slice(&kind_and_length(kind, length).to_le_bytes());
}

fn kind_and_length(kind: Kind, length: usize) -> u32 {
    // Callers check PAYLOAD_BYTES_MAX, so the length fits the 30 bits.
    (kind as u32) << KIND_SHIFT | (length as u32 & LENGTH_MASK)
}

/// Fills in index and checksum of each frame in `frames`, which this process built with [`push_blank`].
///
/// `seed`: checksum of the file's header; `index`: number of the first record. Returns the number after the last. Numbers
/// wrap at 2³²: a snapshot may have more items, and their order is still checked.
pub(crate) fn seal(frames: &mut [u8], seed: u32, mut index: u32) -> u32 {
    let mut at = 0;
    while at < frames.len() {
        let (kind, length) =
            split(u32_at(frames, at + 4)).expect("frames in memory were built by push_blank");
        let end = at + FRAME_BYTES + length;
        frames[at + 8..at + 12].copy_from_slice(&index.to_le_bytes());
        let crc = checksum(seed, &frames[at..end]);
        frames[at..at + 4].copy_from_slice(&crc.to_le_bytes());
        if kind == Kind::Record {
            index = index.wrapping_add(1);
        }
        at = end;
    }
    index
}

/// The checksum of a whole frame in a file whose header's checksum is `seed`: of all but the checksum's own bytes.
#[inline]
fn checksum(seed: u32, frame: &[u8]) -> u32 {
    #[cfg(any(test, feature = "simulation"))]
    if Planted::PayloadUnchecked.is_active() {
        return crc32c::crc32c_append(seed, &frame[4..FRAME_BYTES]);
    }
    crc32c::crc32c_append(seed, &frame[4..])
}

/// Kind and length out of a frame's second word; `None` if it is no kind.
fn split(word: u32) -> Option<(Kind, usize)> {
    let length = (word & LENGTH_MASK) as usize;
    match word >> KIND_SHIFT {
        1 => Some((Kind::Record, length)),
        2 => Some((Kind::SyncMark, length)),
        _ => None,
    }
}

/// Reads four bytes; the caller has checked that they are there.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// What [`FrameReader::advance`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The next frame is whole and in order; [`FrameReader::payload`] is its payload.
    Frame(Kind),
    /// The file ends exactly where a frame would begin.
    End,
    /// What is at [`FrameReader::offset`] is not the next frame.
    Bad(Fault),
}

/// Reads the frames of one file in order, front to back, and stops at the first that is not right.
///
/// ```text
/// file    ├──────────┤ frame ├──────────────────────┤
///                    ^offset ^offset + frame_bytes
/// buffer       ├──── start ──────── end ┤
/// ```
///
/// Invariants
/// - `buffer[start..end]` are the file's bytes from `offset` on.
/// - `offset` only moves past frames that were verified.
pub(crate) struct FrameReader {
    file: Box<dyn DiskFile>,
    name: String,
    seed: u32,
    file_bytes: u64,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    offset: u64,
    /// Index of the next record.
    index: u32,
    /// Length of the frame last returned; 0 before the first, and after an end.
    frame_bytes: usize,
    frame_is_record: bool,
}

impl FrameReader {
    /// Reads the frames of `file` from `offset`, where the record numbered `index` is next.
    pub(crate) fn new(
        file: Box<dyn DiskFile>,
        name: &str,
        seed: u32,
        offset: u64,
        index: u32,
    ) -> Result<Self, Error> {
        let file_bytes = file.len().map_err(Error::io("read the length of", name))?;
        Ok(FrameReader {
            file,
            name: name.to_owned(),
            seed,
            file_bytes,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            offset,
            index,
            frame_bytes: 0,
            frame_is_record: false,
        })
    }

    /// Moves to the next frame and verifies it.
    ///
    /// After `End` or `Bad` the reader stays where it is. Errors: the file could not be read.
    #[inline]
    pub(crate) fn advance(&mut self) -> Result<Step, Error> {
        self.start += self.frame_bytes;
        self.offset += self.frame_bytes as u64;
        self.index = self.index.wrapping_add(u32::from(self.frame_is_record));
        self.frame_bytes = 0;
        self.frame_is_record = false;

        if self.end - self.start < FRAME_BYTES && !self.fill(FRAME_BYTES)? {
            return Ok(self.short());
        }
        let Some((kind, length)) = split(u32_at(&self.buffer, self.start + 4)) else {
            return Ok(Step::Bad(if self.buffer[self.start..self.start + FRAME_BYTES] == [0; FRAME_BYTES] {
                Fault::Zeros
            } else {
                Fault::NotARecord
            }));
        };
        if u32_at(&self.buffer, self.start + 8) != self.index {
            return Ok(Step::Bad(Fault::OutOfOrder));
        }
        if kind == Kind::SyncMark && length != 0 {
            return Ok(Step::Bad(Fault::NotARecord));
        }
        let frame_bytes = FRAME_BYTES + length;
        if self.end - self.start < frame_bytes && !self.fill(frame_bytes)? {
            return Ok(self.short());
        }
        let frame = &self.buffer[self.start..self.start + frame_bytes];
        if u32_at(frame, 0) != checksum(self.seed, frame) {
            #[cfg(any(test, feature = "simulation"))]
            if Planted::ChecksumSkipped.is_active() {
                return Ok(self.accept(kind, frame_bytes));
            }
            return Ok(Step::Bad(Fault::Checksum));
        }
        Ok(self.accept(kind, frame_bytes))
    }

    #[inline]
    fn accept(&mut self, kind: Kind, frame_bytes: usize) -> Step {
        self.frame_bytes = frame_bytes;
        self.frame_is_record = kind == Kind::Record;
        Step::Frame(kind)
    }

    /// The payload of the frame that [`advance`](Self::advance) last returned.
    #[inline]
    pub(crate) fn payload(&self) -> &[u8] {
        let frame = &self.buffer[self.start..self.start + self.frame_bytes];
        frame.get(FRAME_BYTES..).unwrap_or_default()
    }

    /// Where the frame last returned begins; after `End` or `Bad`, where the valid frames end.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Where the frame last returned ends.
    pub(crate) fn frame_end(&self) -> u64 {
        self.offset + self.frame_bytes as u64
    }

    pub(crate) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Bytes of memory that the reader holds.
    #[cfg(test)]
    pub(crate) fn memory_bytes(&self) -> usize {
        self.buffer.capacity()
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// An error that names this file and the place where the reader stands.
    pub(crate) fn damage(&self, fault: Fault) -> Error {
        Error::Damaged { file: self.name.clone(), offset: self.offset, fault }
    }

    /// The rest of the file, from [`offset`](Self::offset), looked at as what comes behind a bad frame.
    ///
    /// Cost: one pass over the rest. A frame is looked for at every byte, but only sync marks are, whose length is fixed:
    /// payloads that imitate records can't make it quadratic.
    pub(crate) fn behind(&mut self) -> Result<Behind, Error> {
        let mut found = Behind { last_nonzero: None, sync_mark: None };
        let mut chunk = vec![0; READ_BYTES];
        let mut at = self.offset;
        loop {
            let read = self.file.read_at(&mut chunk, at).map_err(Error::io("read", &self.name))?;
            let bytes = &chunk[..read];
            if let Some(last) = bytes.iter().rposition(|&byte| byte != 0) {
                found.last_nonzero = Some(at + last as u64);
            }
            if found.sync_mark.is_none() {
                let mark = bytes.windows(FRAME_BYTES).position(|frame| self.is_sync_mark(frame));
                found.sync_mark = mark.map(|mark| at + mark as u64);
            }
            if read < chunk.len() {
                return Ok(found);
            }
            // A mark may straddle two chunks.
            at += (read - (FRAME_BYTES - 1)) as u64;
        }
    }

    /// Whether 12 bytes are a sync mark of this file at or behind the place where the reader stands.
    fn is_sync_mark(&self, frame: &[u8]) -> bool {
        split(u32_at(frame, 4)) == Some((Kind::SyncMark, 0))
            && u32_at(frame, 8) >= self.index
            && u32_at(frame, 0) == checksum(self.seed, frame)
    }

    /// Why `fill` could not do what was asked: nothing is left, or not enough.
    fn short(&self) -> Step {
        let left = &self.buffer[self.start..self.end];
        if left.is_empty() {
            Step::End
        } else if left.iter().all(|&byte| byte == 0) {
            Step::Bad(Fault::Zeros)
        } else {
            Step::Bad(Fault::Cut)
        }
    }

    /// Reads until at least `wanted` bytes stand at `start`; false if the file has not that many.
    #[cold]
    fn fill(&mut self, wanted: usize) -> Result<bool, Error> {
        let left = self.file_bytes.saturating_sub(self.offset);
        if (wanted as u64) > left && (self.end - self.start) as u64 >= left.min(FRAME_BYTES as u64) {
            // The frame claims more than the file has: don't allocate for it.
            return Ok(false);
        }
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let capacity = (wanted.max(READ_BYTES) as u64).min(left) as usize;
        if self.buffer.len() < capacity {
            self.buffer.resize(capacity, 0);
        }
        let at = self.offset + self.end as u64;
        let into = &mut self.buffer[self.end..];
        self.end += self.file.read_at(into, at).map_err(Error::io("read", &self.name))?;
        Ok(self.end >= wanted)
    }
}

/// What follows a bad frame. See [`FrameReader::behind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Behind {
    /// Offset of the file's last byte that is not zero.
    pub(crate) last_nonzero: Option<u64>,
    /// Offset of the first sync mark: if there is one, the bad frame had been synced, and is damage.
    pub(crate) sync_mark: Option<u64>,
}
