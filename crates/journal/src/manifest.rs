//! The manifest: which files make up the journal, in one file replaced atomically.
//!
//! A directory listing can't tell a file that was removed on purpose from one that was lost. The manifest can: it says
//! which segments and which snapshot must be there, and whatever it does not name is a leftover.
//!
//! ```text
//! MANIFEST ──► snapshot 2, start 130       00…02.snapshot: every key, each as of LSN 130 or later
//!          ├─► first segment 4             00…04.segment, 00…05.segment, 00…06.segment, …:
//!          └─► last segment 6 or later       every record from 131 on
//!
//! 0        8        12     16        32      40      48      56         64      72    80      88      96   124
//! ┌────────┬────────┬──────┬─────────┬───────┬───────┬───────┬──────────┬───────┬─────┬───────┬───────┬────┬────┐
//! │ magic  │version │ zero │ journal │ epoch │ first │ last  │ snapshot │ start │ end │ items │ bytes │ 0… │crc │
//! └────────┴────────┴──────┴─────────┴───────┴───────┴───────┴──────────┴───────┴─────┴───────┴───────┴────┴────┘
//! ```
//!
//! Invariants
//! - Every file it names was synced, and its name too, before the manifest was.
//! - `last_segment` is a lower bound: a segment comes into being before the manifest says so.
//! - Putting a new one in place is what publishes a snapshot and trims the log, at one instant. Files go only afterwards.

use crate::Lsn;
use crate::disk::Disk;
use crate::error::{Error, Fault};
use crate::header::{COUNT_MAX, FORMAT_VERSION, JournalId};

/// The manifest's name.
pub(crate) const MANIFEST: &str = "MANIFEST";
const MANIFEST_NEW: &str = "MANIFEST.tmp";
const MAGIC: [u8; 8] = *b"STRNMAN\n";
const BYTES: usize = 128;

/// What the journal is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manifest {
    /// Whose files they are.
    pub journal: JournalId,
    /// Counts the times that records were given up by a repair. A client that knew a higher LSN under a lower epoch
    /// can't trust that it will find it again.
    pub epoch: u64,
    /// Number of the first segment that is needed.
    pub first_segment: u64,
    /// Number of a segment that must be there, with all before it; 0 while the first is being made.
    pub last_segment: u64,
    /// The snapshot to start from.
    pub snapshot: Option<SnapshotInfo>,
}

/// A finished snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Which one: counts up from 1, and names the file.
    pub number: u64,
    /// Records up to this LSN are not needed beside the snapshot.
    pub start: Lsn,
    /// The last record there was when it was complete: nothing in it is newer, neither an item nor the absence of one. The
    /// log must reach up to here.
    pub end: Lsn,
    /// Number of items.
    pub items: u64,
    /// Length of the file.
    pub bytes: u64,
}

impl SnapshotInfo {
    fn is_plausible(&self) -> bool {
        let counts = [self.number, self.end.0, self.items, self.bytes];
        self.start <= self.end && counts.iter().all(|&count| count <= COUNT_MAX)
    }
}

impl Manifest {
    /// Reads and verifies the manifest; `None` if there is none.
    pub(crate) fn read(disk: &dyn Disk) -> Result<Option<Manifest>, Error> {
        let file = match disk.open(MANIFEST) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("open", MANIFEST)(error)),
        };
        let mut bytes = [0; BYTES];
        let read = file.read_at(&mut bytes, 0).map_err(Error::io("read", MANIFEST))?;
        if read < BYTES {
            return Err(damaged(Fault::Cut));
        }
        Manifest::decode(&bytes).map(Some)
    }

    fn decode(bytes: &[u8; BYTES]) -> Result<Manifest, Error> {
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        if bytes[0..8] != MAGIC {
            return Err(damaged(Fault::Magic));
        }
        if u32_at(124) != crc32c::crc32c(&bytes[..124]) {
            return Err(damaged(Fault::Checksum));
        }
        let version = u32_at(8);
        if version > FORMAT_VERSION {
            return Err(Error::Newer {
                file: MANIFEST.to_owned(),
                found: version,
                supported: FORMAT_VERSION,
            });
        }
        let manifest = Manifest {
            journal: JournalId(bytes[16..32].try_into().expect("16 bytes")),
            epoch: u64_at(32),
            first_segment: u64_at(40),
            last_segment: u64_at(48),
            snapshot: (u64_at(56) != 0).then(|| SnapshotInfo {
                number: u64_at(56),
                start: Lsn(u64_at(64)),
                end: Lsn(u64_at(72)),
                items: u64_at(80),
                bytes: u64_at(88),
            }),
        };
        let sound = version > 0
            && manifest.first_segment >= 1
            && manifest.first_segment <= manifest.last_segment.saturating_add(1)
            && manifest.last_segment <= COUNT_MAX
            && manifest.epoch <= COUNT_MAX
            && manifest.snapshot.is_none_or(|snapshot| snapshot.is_plausible());
        if sound { Ok(manifest) } else { Err(damaged(Fault::Contradiction)) }
    }

    fn encode(&self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.journal.0);
        let mut put = |at: usize, value: u64| bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        put(32, self.epoch);
        put(40, self.first_segment);
        put(48, self.last_segment);
        if let Some(snapshot) = self.snapshot {
            put(56, snapshot.number);
            put(64, snapshot.start.0);
            put(72, snapshot.end.0);
            put(80, snapshot.items);
            put(88, snapshot.bytes);
        }
        let crc = crc32c::crc32c(&bytes[..124]);
        bytes[124..128].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Makes this the manifest, durably.
    ///
    /// After an error it is unknown whether the old or the new one is there after a crash: no file that either names may
    /// go before a later call has succeeded.
    pub(crate) fn write(&self, disk: &dyn Disk) -> Result<(), Error> {
        let file = disk.create(MANIFEST_NEW).map_err(Error::io("create", MANIFEST_NEW))?;
        file.write_at(&self.encode(), 0).map_err(Error::io("write", MANIFEST_NEW))?;
        file.sync().map_err(Error::io("sync", MANIFEST_NEW))?;
        disk.rename(MANIFEST_NEW, MANIFEST).map_err(Error::io("rename", MANIFEST_NEW))?;
        disk.sync_dir().map_err(Error::io("sync the directory of", MANIFEST))
    }
}

fn damaged(fault: Fault) -> Error {
    Error::Damaged { file: MANIFEST.to_owned(), offset: 0, fault }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SNAPSHOT: SnapshotInfo =
        SnapshotInfo { number: 3, start: Lsn(130), end: Lsn(150), items: 12, bytes: 4096 };

    fn with(snapshot: SnapshotInfo) -> Manifest {
        let snapshot = Some(snapshot);
        Manifest { journal: JournalId([7; 16]), epoch: 1, first_segment: 4, last_segment: 6, snapshot }
    }

    #[test]
    fn counts_that_would_overflow_are_refused() {
        for snapshot in [
            SnapshotInfo { number: u64::MAX, ..SNAPSHOT },
            SnapshotInfo { end: Lsn(u64::MAX), ..SNAPSHOT },
            SnapshotInfo { items: u64::MAX, ..SNAPSHOT },
            SnapshotInfo { bytes: u64::MAX, ..SNAPSHOT },
        ] {
            assert!(Manifest::decode(&with(snapshot).encode()).is_err(), "{snapshot:?}");
        }
    }

    #[test]
    fn every_flipped_bit_of_a_manifest_is_noticed() {
        let manifest = with(SNAPSHOT);
        let bytes = manifest.encode();
        assert_eq!(Manifest::decode(&bytes).unwrap(), manifest);
        for bit in 0..BYTES * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Manifest::decode(&flipped).is_err(), "bit {bit}");
        }
    }
}
