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
//!   │        └ top 2 bits: kind (1 record, 2 sync mark, 3 part); low 30 bits: length of the payload
//!   └ crc32c of bytes 4.., started from the crc of the file's header
//! ```
//!
//! `index` counts the records in the file from 0, so in a segment it is LSN − base. Sync marks and parts take no number;
//! their index is that of the next record.
//!
//! A payload longer than a frame may be ([`FRAME_PAYLOAD_BYTES_MAX`]) is cut into parts, which follow each other, and a
//! record frame with the rest. That last frame is what commits it: without it the parts are an unfinished write, and none
//! of them counts. So a record of any length is there as a whole or not at all.
//!
//! Why this shape
//! - The checksum starts from that of the file's header, which holds the journal's identity, the file's number and a
//!   salt. Two files differ there, and a crc32c started from different values differs for equal bytes. So bytes of another
//!   segment, of an earlier life of this one or of recycled blocks don't parse here, even when they are whole records.
//! - The index is stored though it could be counted, so that a scan behind damage can tell a frame without knowing
//!   how many were lost.
//! - A sync mark says: every byte before offset *n* had been synced when I was written; *n* is its payload. (Writes go on
//!   during a sync, so *n* may lie before the mark. In version 1 it had no payload and *n* was its own place.) Behind a bad
//!   frame it is the proof that the bad frame is damage and not the unfinished end of the log. 20 bytes, once per sync.
//! - Kind 0 is no kind, so that zeros are never a frame.
//! - The payload is opaque, and names no key. A record may hold a whole transaction, hence several keys; and a hash that
//!   two keys share would make a snapshot's stamp for one skip a record of the other. So the skip rule
//!   ([`Lsn::covers`](crate::Lsn::covers)) is applied by whoever can read the payload, effect by effect, and costs no byte here.
//!
//! Cost: 12 bytes a record. Reading is one pass with one crc over each byte; memory is one read buffer, or the largest
//! record if that is larger (twice that if it comes in parts), and a frame is believed to be large only as far as the file is.

use crate::disk::DiskFile;
use crate::error::{Error, Fault};
#[cfg(any(test, feature = "simulation"))]
use crate::simulation::planted::Planted;

/// Bytes of a frame around its payload.
pub(crate) const FRAME_BYTES: usize = 12;

/// Bytes of a sync mark's payload: the offset that it vouches for.
const MARK_PAYLOAD_BYTES: usize = 8;

/// Bytes of a sync mark.
pub(crate) const MARK_BYTES: usize = FRAME_BYTES + MARK_PAYLOAD_BYTES;

/// The longest payload of one frame, in bytes; a longer one comes in parts. Small enough that neither a checksum nor a
/// reader's buffer is ever about more, large enough that 12 bytes for each are nothing.
pub const FRAME_PAYLOAD_BYTES_MAX: usize = 16 << 20;

/// The longest payload, in bytes. Its whole must stand in memory when it is replayed, as it did when it was written.
pub const PAYLOAD_BYTES_MAX: usize = 64 << 30;

const KIND_SHIFT: u32 = 30;
const LENGTH_MASK: u32 = (1 << KIND_SHIFT) - 1;

/// Bytes read at once. Large enough that the cost of a system call vanishes, small enough to stay in the cache.
const READ_BYTES: usize = 256 * 1024;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A payload with a number of its own.
    Record = 1,
    /// "Every byte before the offset in my payload had been synced when I was written."
    SyncMark = 2,
    /// The beginning of a payload, or more of it, that the next record frame ends.
    Part = 3,
}

/// Appends a record, in parts if it is longer than `frame_payload_max`, with checksums and indexes left blank for [`seal`].
///
/// The two are the writing thread's work: they depend on the segment, and the appender, who holds a lock, doesn't know
/// which one it will be.
#[inline]
pub(crate) fn push_record(payload: &[u8], frame_payload_max: usize, into: &mut Vec<u8>) {
    let mut rest = payload;
    while rest.len() > frame_payload_max {
        let (part, more) = rest.split_at(frame_payload_max);
        push_blank(Kind::Part, part, into);
        rest = more;
    }
    push_blank(Kind::Record, rest, into);
}

#[inline]
fn push_blank(kind: Kind, payload: &[u8], into: &mut Vec<u8>) {
    push_blank_header(kind, payload.len(), into);
    into.extend_from_slice(payload);
}

/// Appends a sync mark, blank but for what it vouches for.
pub(crate) fn push_mark(synced_to: u64, into: &mut Vec<u8>) {
    push_blank(Kind::SyncMark, &synced_to.to_le_bytes(), into);
}

/// Corrects what the blank mark at the beginning of `frames` vouches for.
pub(crate) fn set_mark(frames: &mut [u8], synced_to: u64) {
    frames[FRAME_BYTES..MARK_BYTES].copy_from_slice(&synced_to.to_le_bytes());
}

/// Appends the 12 bytes before a payload of `length` bytes, blank but for kind and length.
#[inline]
pub(crate) fn push_blank_header(kind: Kind, length: usize, into: &mut Vec<u8>) {
    debug_assert!(length <= LENGTH_MASK as usize);
    let mut header = [0; FRAME_BYTES];
    header[4..8].copy_from_slice(&kind_and_length(kind, length).to_le_bytes());
    into.extend_from_slice(&header);
}

/// Corrects the length in a blank header at `at`, once the payload behind it is known: it ends the buffer.
pub(crate) fn set_length(frames: &mut Vec<u8>, at: usize, frame_payload_max: usize) {
    let payload = frames.len() - at - FRAME_BYTES;
    if payload > frame_payload_max {
        let payload = frames.split_off(at + FRAME_BYTES);
        frames.truncate(at);
        return push_record(&payload, frame_payload_max, frames);
    }
    frames[at + 4..at + 8].copy_from_slice(&kind_and_length(Kind::Record, payload).to_le_bytes());
}

fn kind_and_length(kind: Kind, length: usize) -> u32 {
    // A frame's payload is at most FRAME_PAYLOAD_BYTES_MAX, which fits the 30 bits.
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

/// The payloads of the records in `frames`, which this process built.
pub(crate) fn payloads(frames: &[u8]) -> Vec<Vec<u8>> {
    let (mut at, mut payloads, mut payload) = (0, Vec::new(), Vec::new());
    while at < frames.len() {
        let (kind, length) =
            split(u32_at(frames, at + 4)).expect("frames in memory were built by push_blank");
        let end = at + FRAME_BYTES + length;
        if kind != Kind::SyncMark {
            payload.extend_from_slice(&frames[at + FRAME_BYTES..end]);
        }
        if kind == Kind::Record {
            payloads.push(std::mem::take(&mut payload));
        }
        at = end;
    }
    payloads
}

/// A blank batch of records without a payload.
pub(crate) fn empty_batch(records: usize) -> Vec<u8> {
    let mut frames = Vec::with_capacity(MARK_BYTES + records * FRAME_BYTES);
    push_mark(0, &mut frames);
    (0..records).for_each(|_| push_blank(Kind::Record, &[], &mut frames));
    frames
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
        3 => Some((Kind::Part, length)),
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
    /// The next record, or sync mark, is whole and in order; [`FrameReader::payload`] is its payload. Never a part.
    Frame(Kind),
    /// The file ends exactly where a frame would begin.
    End,
    /// What is at [`FrameReader::offset`] is not the next frame.
    Bad(Fault),
}

/// Reads the records and marks of one file in order, front to back, and stops at the first that is not right.
///
/// ```text
/// file    ├──────────┤ part │ part │ frame ├──────────────────────┤
///                    ^begin         ^offset ^offset + frame_bytes
/// buffer               ├──── start ──────── end ┤
/// ```
///
/// Invariants
/// - `buffer[start..end]` are the file's bytes from `offset` on.
/// - `offset` only moves past frames that were verified, `begin` past whole records.
pub(crate) struct FrameReader {
    file: Box<dyn DiskFile>,
    name: String,
    seed: u32,
    file_bytes: u64,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    offset: u64,
    /// Where the record begins that `offset` is in; the same if it has no parts.
    begin: u64,
    /// The payload so far of a record that comes in parts.
    parts: Vec<u8>,
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
            begin: offset,
            parts: Vec::new(),
            index,
            frame_bytes: 0,
            frame_is_record: false,
        })
    }

    /// Moves to the next record or mark and verifies it.
    ///
    /// After `End` or `Bad` the reader stays where it is. Errors: the file could not be read.
    #[inline]
    pub(crate) fn advance(&mut self) -> Result<Step, Error> {
        self.pass_frame();
        self.begin = self.offset;
        if !self.parts.is_empty() {
            self.parts = Vec::new();
        }
        loop {
            match self.frame()? {
                Step::Frame(Kind::Part) => {
                    let frame = &self.buffer[self.start..self.start + self.frame_bytes];
                    self.parts.extend_from_slice(frame.get(FRAME_BYTES..).unwrap_or_default());
                    self.pass_frame();
                }
                Step::Frame(Kind::Record) if !self.parts.is_empty() => {
                    let frame = &self.buffer[self.start..self.start + self.frame_bytes];
                    self.parts.extend_from_slice(frame.get(FRAME_BYTES..).unwrap_or_default());
                    return Ok(Step::Frame(Kind::Record));
                }
                Step::Frame(Kind::SyncMark) if self.offset != self.begin => {
                    self.frame_bytes = 0;
                    return Ok(Step::Bad(Fault::OutOfOrder));
                }
                Step::End if self.offset != self.begin => return Ok(Step::Bad(Fault::Cut)),
                step => return Ok(step),
            }
        }
    }

    /// Moves behind the frame last verified.
    #[inline]
    fn pass_frame(&mut self) {
        self.start += self.frame_bytes;
        self.offset += self.frame_bytes as u64;
        self.index = self.index.wrapping_add(u32::from(self.frame_is_record));
        self.frame_bytes = 0;
        self.frame_is_record = false;
    }

    /// Verifies the frame at `offset`.
    #[inline]
    fn frame(&mut self) -> Result<Step, Error> {
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
        if kind == Kind::SyncMark && length != 0 && length != MARK_PAYLOAD_BYTES
            || kind == Kind::Part && length == 0
        {
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
        if kind == Kind::SyncMark && vouched(frame, self.offset) > self.offset {
            return Ok(Step::Bad(Fault::Contradiction));
        }
        Ok(self.accept(kind, frame_bytes))
    }

    #[inline]
    fn accept(&mut self, kind: Kind, frame_bytes: usize) -> Step {
        self.frame_bytes = frame_bytes;
        self.frame_is_record = kind == Kind::Record;
        Step::Frame(kind)
    }

    /// The payload of the record that [`advance`](Self::advance) last returned.
    #[inline]
    pub(crate) fn payload(&self) -> &[u8] {
        if !self.parts.is_empty() {
            return &self.parts;
        }
        let frame = &self.buffer[self.start..self.start + self.frame_bytes];
        frame.get(FRAME_BYTES..).unwrap_or_default()
    }

    /// Up to which offset everything had been synced, says the sync mark last returned.
    pub(crate) fn synced_to(&self) -> u64 {
        vouched(&self.buffer[self.start..self.start + self.frame_bytes], self.offset)
    }

    /// Where the record or mark last returned begins; after `End` or `Bad`, where the valid ones end.
    pub(crate) fn begin(&self) -> u64 {
        self.begin
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
        self.buffer.capacity() + self.parts.capacity()
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// An error that names this file and the place where the reader stands.
    pub(crate) fn damage(&self, fault: Fault) -> Error {
        Error::Damaged { file: self.name.clone(), offset: self.begin, fault }
    }

    /// The rest of the file, from [`offset`](Self::offset) on, searched for what tells damage from an unfinished write.
    ///
    /// Cost: one pass over the rest. A frame is looked for at every byte, but only sync marks are, whose length is fixed:
    /// payloads that imitate records can't make it quadratic.
    pub(crate) fn behind(&mut self) -> Result<Behind, Error> {
        let mut found = Behind { last_nonzero: None, sync_mark: None };
        let mut chunk = vec![0; READ_BYTES];
        let mut at = self.begin;
        loop {
            let read = self.file.read_at(&mut chunk, at).map_err(Error::io("read", &self.name))?;
            let bytes = &chunk[..read];
            if let Some(last) = bytes.iter().rposition(|&byte| byte != 0) {
                found.last_nonzero = Some(at + last as u64);
            }
            if found.sync_mark.is_none() {
                let mark = (0..read).find(|&mark| self.vouches_for_begin(&bytes[mark..], at + mark as u64));
                found.sync_mark = mark.map(|mark| at + mark as u64);
            }
            if read < chunk.len() {
                return Ok(found);
            }
            // A mark may straddle two chunks.
            at += (read - (MARK_BYTES - 1)) as u64;
        }
    }

    /// Whether `bytes` begin with a sync mark of this file that vouches for more than what was read.
    fn vouches_for_begin(&self, bytes: &[u8], at: u64) -> bool {
        if bytes.len() < FRAME_BYTES {
            return false;
        }
        let Some((Kind::SyncMark, length)) = split(u32_at(bytes, 4)) else { return false };
        if length != 0 && length != MARK_PAYLOAD_BYTES || u32_at(bytes, 8) < self.index {
            return false;
        }
        let Some(frame) = bytes.get(..FRAME_BYTES + length) else { return false };
        u32_at(frame, 0) == checksum(self.seed, frame) && vouched(frame, at) > self.begin
    }

    /// Number, in this file, of the record last returned, or of the next one if that was a mark.
    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    /// Goes on behind a bad frame at the next whole frame of this file whose number is not lower; for a salvage.
    ///
    /// `budget`: bytes that may still be checked for nothing. Cost: one pass over the rest, and `budget`.
    pub(crate) fn resync(&mut self, budget: &mut u64) -> Result<Resync, Error> {
        let (begin, expected) = (self.begin, self.index);
        let mut last_nonzero = None;
        let mut chunk = vec![0; READ_BYTES];
        let mut at = self.offset + 1;
        loop {
            let read = self.file.read_at(&mut chunk, at).map_err(Error::io("read", &self.name))?;
            let bytes = &chunk[..read];
            for position in 0..read {
                let place = at + position as u64;
                if bytes[position] != 0 {
                    last_nonzero = Some(place);
                }
                let Some((kind, index)) = self.whole_frame(&bytes[position..], place, budget)? else {
                    continue;
                };
                self.go_to(place, index);
                let skipped = place - begin;
                return Ok(Resync::Found { skipped, doubtful: doubt(kind, index, expected, skipped) });
            }
            if read < chunk.len() {
                let skipped = last_nonzero.map_or(0, |last| last + 1 - begin);
                return Ok(Resync::Nothing { skipped });
            }
            // A frame's header may straddle two chunks.
            at += (read - (FRAME_BYTES - 1)) as u64;
        }
    }

    fn go_to(&mut self, offset: u64, index: u32) {
        (self.offset, self.begin, self.index) = (offset, offset, index);
        (self.start, self.end, self.frame_bytes, self.frame_is_record) = (0, 0, 0, false);
        self.parts = Vec::new();
    }

    /// Kind and number of the frame that `bytes`, which stand at `place`, begin with, if its checksum is right.
    fn whole_frame(&self, bytes: &[u8], place: u64, budget: &mut u64) -> Result<Option<(Kind, u32)>, Error> {
        if bytes.len() < FRAME_BYTES {
            return Ok(None);
        }
        let Some((kind, length)) = split(u32_at(bytes, 4)) else { return Ok(None) };
        let index = u32_at(bytes, 8);
        let frame_bytes = FRAME_BYTES + length;
        let left = self.file_bytes.saturating_sub(place);
        let records_left = self.file_bytes.saturating_sub(self.begin) / FRAME_BYTES as u64;
        let is_plausible = frame_bytes as u64 <= left
            && u64::from(index.wrapping_sub(self.index)) <= records_left
            && (kind != Kind::SyncMark || length == 0 || length == MARK_PAYLOAD_BYTES);
        if !is_plausible || *budget < frame_bytes as u64 {
            return Ok(None);
        }
        *budget -= frame_bytes as u64;
        let mut long = Vec::new();
        let frame = match bytes.get(..frame_bytes) {
            Some(frame) => frame,
            None => {
                long.resize(frame_bytes, 0);
                let read = self.file.read_at(&mut long, place).map_err(Error::io("read", &self.name))?;
                &long[..read]
            }
        };
        let is_whole = frame.len() == frame_bytes && u32_at(frame, 0) == checksum(self.seed, frame);
        Ok(is_whole.then_some((kind, index)))
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

/// Where a reader goes on behind a bad frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resync {
    /// At a whole frame, after so many bytes. The next record is not to be trusted if its number is at most `doubtful`.
    Found { skipped: u64, doubtful: Option<u32> },
    /// Nowhere: so many bytes follow, trailing zeros not counted.
    Nothing { skipped: u64 },
}

/// Up to which number the record that begins with a frame found behind `skipped` bytes of damage may lack its beginning.
fn doubt(kind: Kind, index: u32, expected: u32, skipped: u64) -> Option<u32> {
    let may_lack_parts = match kind {
        Kind::SyncMark => false,
        Kind::Part => true,
        Kind::Record if index == expected => ![FRAME_BYTES as u64, MARK_BYTES as u64].contains(&skipped),
        Kind::Record => skipped > FRAME_PAYLOAD_BYTES_MAX as u64,
    };
    may_lack_parts.then_some(index)
}

/// The offset that a sync mark at `offset` vouches for.
fn vouched(mark: &[u8], offset: u64) -> u64 {
    let payload = mark.get(FRAME_BYTES..).and_then(|payload| payload.try_into().ok());
    // Version 1 had no payload: everything before the mark.
    payload.map_or(offset, u64::from_le_bytes)
}

/// What follows a bad frame. See [`FrameReader::behind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Behind {
    /// Offset of the file's last byte that is not zero.
    pub(crate) last_nonzero: Option<u64>,
    /// Offset of the first sync mark that vouches for the bad frame: if there is one, the frame is damage.
    pub(crate) sync_mark: Option<u64>,
}
