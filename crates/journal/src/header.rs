//! The 64 bytes that begin every segment and snapshot.
//!
//! ```text
//! 0        8        12       16               32       40       48       56       60   64
//! ┌────────┬────────┬────────┬────────────────┬────────┬────────┬────────┬────────┬────┐
//! │ magic  │version │ zero   │ journal        │ number │ base   │ salt   │ zero   │crc │
//! └────────┴────────┴────────┴────────────────┴────────┴────────┴────────┴────────┴────┘
//! ```
//!
//! The crc (crc32c of bytes 0..60) is also where the checksum of each frame in the file starts from, so a frame is bound
//! to its file's journal, number, base and salt; see [`crate::record`].

use crate::disk::DiskFile;
use crate::error::{Error, Fault};
use crate::policy::Draw;

/// Bytes of a header.
pub(crate) const HEADER_BYTES: usize = 64;

/// The format that this code writes, and the newest it reads. It reads all before, too: 1 had neither parts nor sync marks
/// with an offset (`record.rs`).
pub const FORMAT_VERSION: u32 = 2;

/// No number or LSN in a file is larger, so that counting on from it never overflows. 146 years of a billion records a second.
pub(crate) const COUNT_MAX: u64 = 1 << 62;

/// Whose file it is: 16 bytes drawn when a journal is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalId(pub [u8; 16]);

impl JournalId {
    pub(crate) fn draw(draw: &mut Draw) -> JournalId {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&draw.next().to_le_bytes());
        id[8..].copy_from_slice(&draw.next().to_le_bytes());
        JournalId(id)
    }
}

/// Which kind of file a header begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileKind {
    Segment,
    Snapshot,
}

impl FileKind {
    pub(crate) fn magic(self) -> [u8; 8] {
        match self {
            FileKind::Segment => *b"STRNSEG\n",
            FileKind::Snapshot => *b"STRNSNP\n",
        }
    }
}

/// What a file says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: FileKind,
    pub(crate) journal: JournalId,
    /// Segments count from 1 without gaps, snapshots from 1 with gaps; the file's name is its number.
    pub(crate) number: u64,
    /// LSN of a segment's first record; a snapshot's starting LSN.
    pub(crate) base: u64,
    /// Drawn anew for each file, so that two files that share a number at different times don't share checksums.
    pub(crate) salt: u64,
}

impl Header {
    /// The header's bytes and the seed for the checksums of the frames behind it.
    pub(crate) fn encode(&self) -> ([u8; HEADER_BYTES], u32) {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..8].copy_from_slice(&self.kind.magic());
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.journal.0);
        bytes[32..40].copy_from_slice(&self.number.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.base.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.salt.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
        (bytes, crc)
    }

    /// The header of a file of this journal, number and kind whose bytes are damaged, and the seed for its frames; `None`: it can't be
    /// told. All of it is known but base, salt and checksum; where one byte of base or salt is wrong the checksum says which, and
    /// where only the checksum is wrong the rest is right.
    ///
    /// For a repair. A wrong guess does no harm: no frame would have the right checksum.
    pub(crate) fn recover(
        kind: FileKind,
        journal: JournalId,
        number: u64,
        damaged: &[u8; HEADER_BYTES],
    ) -> Option<(Header, u32)> {
        let mut known = *damaged;
        known[0..8].copy_from_slice(&kind.magic());
        known[12..16].fill(0);
        known[16..32].copy_from_slice(&journal.0);
        known[32..40].copy_from_slice(&number.to_le_bytes());
        known[56..60].fill(0);
        let stored = u32::from_le_bytes(damaged[60..64].try_into().expect("4 bytes"));
        let u64_at =
            |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        let of =
            |bytes: &[u8]| Header { kind, journal, number, base: u64_at(bytes, 40), salt: u64_at(bytes, 48) };
        let fits = |header: &Header| (1..=COUNT_MAX).contains(&header.number) && header.base <= COUNT_MAX;
        for version in (1..=FORMAT_VERSION).rev() {
            known[8..12].copy_from_slice(&version.to_le_bytes());
            for at in 40..56 {
                let right = known[at];
                for byte in 0..=u8::MAX {
                    known[at] = byte;
                    if crc32c::crc32c(&known[..60]) == stored && fits(&of(&known)) {
                        return Some((of(&known), stored));
                    }
                }
                known[at] = right;
            }
        }
        known[8..12].copy_from_slice(&damaged[8..12]);
        let only_checksum = known[..60] == damaged[..60] && fits(&of(&known));
        only_checksum.then(|| (of(&known), crc32c::crc32c(&known[..60])))
    }

    /// Reads and verifies the header of `file`, which is to be of `kind`; also returns the seed for its frames.
    ///
    /// Every later format keeps magic, version and checksum where they are, so that a newer file can be told from a
    /// damaged one.
    pub(crate) fn read(kind: FileKind, file: &dyn DiskFile, name: &str) -> Result<(Header, u32), Error> {
        let mut bytes = [0; HEADER_BYTES];
        let read = file.read_at(&mut bytes, 0).map_err(Error::io("read", name))?;
        let damaged = |fault| Error::Damaged { file: name.to_owned(), offset: 0, fault };
        if read < HEADER_BYTES {
            return Err(damaged(Fault::Cut));
        }
        if bytes[0..8] != kind.magic() {
            return Err(damaged(Fault::Magic));
        }
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        let crc = u32_at(60);
        if crc != crc32c::crc32c(&bytes[..60]) {
            return Err(damaged(Fault::Checksum));
        }
        let version = u32_at(8);
        if version > FORMAT_VERSION {
            return Err(Error::Newer { file: name.to_owned(), found: version, supported: FORMAT_VERSION });
        }
        if version == 0 {
            return Err(damaged(Fault::Contradiction));
        }
        let header = Header {
            kind,
            journal: JournalId(bytes[16..32].try_into().expect("16 bytes")),
            number: u64_at(32),
            base: u64_at(40),
            salt: u64_at(48),
        };
        if header.number == 0 || header.number > COUNT_MAX || header.base > COUNT_MAX {
            return Err(damaged(Fault::Contradiction));
        }
        Ok((header, crc))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_with_one_wrong_byte_or_none_of_what_is_known_is_recovered() {
        let journal = JournalId([7; 16]);
        let header =
            Header { kind: FileKind::Segment, journal, number: 5, base: 1_000, salt: 0x1234_5678_9abc_def0 };
        let (bytes, seed) = header.encode();
        let recovered = |bytes: &[u8; HEADER_BYTES]| Header::recover(FileKind::Segment, journal, 5, bytes);
        for at in 0..HEADER_BYTES {
            for change in [1, 0x80, 0xff] {
                let mut damaged = bytes;
                damaged[at] ^= change;
                assert_eq!(recovered(&damaged), Some((header, seed)), "byte {at}");
            }
        }
        let mut damaged = bytes;
        damaged[..40].fill(0xaa);
        assert_eq!(recovered(&damaged), Some((header, seed)));
        damaged[40..].fill(0xaa);
        assert_eq!(recovered(&damaged), None);
        assert_eq!(recovered(&[0; HEADER_BYTES]), None);
    }
}
