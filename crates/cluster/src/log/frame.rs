//! The bytes of a frame: one message of the log.
//!
//! ```text
//!   offset  0   4   "SLF" and the version of the format
//!           4   4   CRC-32C of all that follows
//!           8  16   incarnation: drawn when the log was made
//!          24  16   hash of the frame before; 0 in the first
//!          40   8   term
//!          48   8   number: 1, 2, 3 …
//!          56   8   writer: drawn at each start of a node
//!          64   1   kind: 0 genesis, 1 claim, 2 effects
//!          65   …   claim: the node's name; effects: any number of [length, u32][record]; none renews the lease
//! ```
//! Integers are little-endian. A frame that can be decoded has a body that can be walked. Its *hash* is XXH3-128 of all its bytes:
//! it finds accidents; who may write at all is for NATS's permissions to say.

use xxhash_rust::xxh3::xxh3_128;

const MAGIC: [u8; 3] = *b"SLF";
const VERSION: u8 = 1;
const BODY: usize = 65;

/// A frame takes records until it has this many bytes: what a synced append takes grows little below.
pub(super) const FRAME_BYTES: usize = 256 * 1024;

/// Bytes of one record: with its frame it fits the megabyte that a message of NATS may have.
pub const RECORD_BYTES_MAX: usize = 1024 * 1024 - 4096;

/// What a record's length takes before it.
pub(super) const LENGTH_BYTES: usize = 4;

/// One frame, as views of the bytes that it was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Which log it was written for.
    pub incarnation: u128,
    /// Hash of the frame that its writer took for the last one.
    pub previous: u128,
    /// The leadership under which it was written.
    pub term: u64,
    /// Its place among the frames that count.
    pub number: u64,
    /// Which life of which node wrote it.
    pub writer: u64,
    /// What it is for.
    pub kind: Kind<'a>,
}

/// What a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind<'a> {
    /// The first of a log.
    Genesis,
    /// A node begins to lead.
    Claim {
        /// What the node is called, for people.
        name: &'a [u8],
    },
    /// What the leader has done.
    Effects(Records<'a>),
}

/// Why bytes are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Bytes that changed, or were never a frame.
    #[error("it is damaged")]
    Damaged,
    /// Whole, and of a version that this program does not know.
    #[error("it is of version {0}, which this version of Sterna can't read")]
    Version(u8),
}

impl<'a> Frame<'a> {
    /// The frame that `bytes` are.
    pub fn decode(bytes: &'a [u8]) -> Result<Frame<'a>, FrameError> {
        let (head, rest) = bytes.split_first_chunk::<8>().ok_or(FrameError::Damaged)?;
        let [m0, m1, m2, version, crc @ ..] = *head;
        if [m0, m1, m2] != MAGIC || crc32c::crc32c_append(u32::from(version), rest) != u32::from_le_bytes(crc)
        {
            return Err(FrameError::Damaged);
        }
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        let mut rest = rest;
        let incarnation = u128::from_le_bytes(take(&mut rest)?);
        let previous = u128::from_le_bytes(take(&mut rest)?);
        let term = u64::from_le_bytes(take(&mut rest)?);
        let number = u64::from_le_bytes(take(&mut rest)?);
        let writer = u64::from_le_bytes(take(&mut rest)?);
        let kind = match take::<1>(&mut rest)? {
            [0] if rest.is_empty() => Kind::Genesis,
            [1] => Kind::Claim { name: rest },
            [2] => Kind::Effects(Records::checked(rest)?),
            _ => return Err(FrameError::Damaged),
        };
        Ok(Frame { incarnation, previous, term, number, writer, kind })
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, body): (u8, &[u8]) = match self.kind {
            Kind::Genesis => (0, &[]),
            Kind::Claim { name } => (1, name),
            Kind::Effects(records) => (2, records.bytes),
        };
        let mut bytes = Vec::with_capacity(BODY + body.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.push(VERSION);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&self.incarnation.to_le_bytes());
        bytes.extend_from_slice(&self.previous.to_le_bytes());
        bytes.extend_from_slice(&self.term.to_le_bytes());
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&self.writer.to_le_bytes());
        bytes.push(kind);
        bytes.extend_from_slice(body);
        let crc = crc32c::crc32c_append(u32::from(VERSION), &bytes[8..]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The first frame of a new log.
    pub fn genesis(incarnation: u128) -> Frame<'static> {
        Frame { incarnation, previous: 0, term: 0, number: 1, writer: 0, kind: Kind::Genesis }
    }
}

/// What the next frame names as the one before.
pub(super) fn hash(bytes: &[u8]) -> u128 {
    xxh3_128(bytes)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], FrameError> {
    let (taken, behind) = rest.split_first_chunk::<N>().ok_or(FrameError::Damaged)?;
    *rest = behind;
    Ok(*taken)
}

/// Records in a row, known to be whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Records<'a> {
    bytes: &'a [u8],
}

impl<'a> Records<'a> {
    /// No record.
    pub const NONE: Records<'static> = Records { bytes: &[] };

    fn checked(bytes: &'a [u8]) -> Result<Records<'a>, FrameError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let length = u32::from_le_bytes(take(&mut rest)?);
            rest = rest.get(length as usize..).ok_or(FrameError::Damaged)?;
        }
        Ok(Records { bytes })
    }

    /// What [`push_record`] has put behind each other.
    pub(super) fn written(bytes: &'a [u8]) -> Records<'a> {
        Records { bytes }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let length = u32::from_le_bytes(take(&mut self.bytes).ok()?) as usize;
        let (record, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        Some(record)
    }
}

/// Puts a record of at most [`RECORD_BYTES_MAX`] bytes, which comes in two pieces, behind those in `records`.
pub(super) fn push_record(records: &mut Vec<u8>, head: &[u8], record: &[u8]) {
    let bytes = head.len() + record.len();
    debug_assert!(bytes <= RECORD_BYTES_MAX, "the caller has refused what is longer");
    records.extend_from_slice(&(bytes as u32).to_le_bytes());
    records.extend_from_slice(head);
    records.extend_from_slice(record);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(records: &[u8]) -> Vec<u8> {
        let kind = Kind::Effects(Records::written(records));
        Frame { incarnation: 7, previous: 8, term: 3, number: 9, writer: 5, kind }.encode()
    }

    #[test]
    fn a_frame_is_what_was_written() {
        let mut records = Vec::new();
        for record in [&b"one"[..], b"", b"three"] {
            push_record(&mut records, b"", record);
        }
        let bytes = sample(&records);
        let frame = Frame::decode(&bytes).expect("a frame");
        assert_eq!((frame.incarnation, frame.previous, frame.term), (7, 8, 3));
        assert_eq!((frame.number, frame.writer), (9, 5));
        let Kind::Effects(records) = frame.kind else { panic!("{frame:?}") };
        assert_eq!(records.collect::<Vec<_>>(), [&b"one"[..], b"", b"three"]);
        for frame in [Frame::genesis(1), Frame { number: 2, kind: Kind::Claim { name: b"a" }, ..frame }] {
            assert_eq!(Frame::decode(&frame.encode()), Ok(frame));
        }
    }

    #[test]
    fn the_bytes_of_a_frame_stay_what_they_are() {
        let mut records = Vec::new();
        push_record(&mut records, b"", b"x");
        let bytes = sample(&records);
        assert_eq!(&bytes[..4], b"SLF\x01");
        assert_eq!(&bytes[64..], b"\x02\x01\x00\x00\x00x");
        assert_eq!(bytes.len(), BODY + 5);
        assert_eq!(hash(&bytes), hash(&bytes.clone()));
    }

    #[test]
    fn no_changed_byte_and_no_cut_passes() {
        let mut records = Vec::new();
        push_record(&mut records, b"some ", b"record");
        let bytes = sample(&records);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                assert_eq!(Frame::decode(&changed), Err(FrameError::Damaged), "byte {at}, bit {bit}");
            }
            assert_eq!(Frame::decode(&bytes[..at]), Err(FrameError::Damaged), "cut at {at}");
        }
    }

    #[test]
    fn a_later_version_is_told_from_damage() {
        let mut bytes = sample(&[]);
        bytes[3] = 2;
        let crc = crc32c::crc32c_append(2, &bytes[8..]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Frame::decode(&bytes), Err(FrameError::Version(2)));
    }
}
