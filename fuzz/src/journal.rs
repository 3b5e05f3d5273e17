//! The journal of `crates/journal/tests/golden` with one file changed.

use std::sync::Arc;

use sterna_journal::disk::Disk;
use sterna_journal::disk::simulated::SimulatedDisk;
use sterna_journal::{Error, Lsn, Options, Recovery, Rejected, Report, Restore, inspect};

use crate::within;

pub const MANIFEST: &str = "MANIFEST";
pub const SNAPSHOT: &str = "00000000000000000001.snapshot";
pub const SEGMENTS: [&str; 3] =
    ["00000000000000000002.segment", "00000000000000000003.segment", "00000000000000000004.segment"];

const GOLDEN: [(&str, &[u8]); 5] = [
    (MANIFEST, include_bytes!("../../crates/journal/tests/golden/version-1/MANIFEST")),
    (SNAPSHOT, include_bytes!("../../crates/journal/tests/golden/version-1/00000000000000000001.snapshot")),
    (SEGMENTS[0], include_bytes!("../../crates/journal/tests/golden/version-1/00000000000000000002.segment")),
    (SEGMENTS[1], include_bytes!("../../crates/journal/tests/golden/version-1/00000000000000000003.segment")),
    (SEGMENTS[2], include_bytes!("../../crates/journal/tests/golden/version-1/00000000000000000004.segment")),
];

/// A read buffer, and what the simulated disk keeps beside a file's bytes.
const MEMORY_BYTES: usize = 4 << 20;

/// The most records that a repair is to write.
const FILLED_MAX: u64 = 1000;

/// What a replay handed over.
#[derive(Debug, Default, PartialEq, Eq)]
struct Replayed {
    items: Vec<(Vec<u8>, Lsn, Vec<u8>)>,
    records: Vec<(Lsn, Vec<u8>)>,
}

impl Restore for Replayed {
    fn item(&mut self, key: &[u8], stamp: Lsn, value: &[u8]) -> Result<(), Rejected> {
        self.items.push((key.to_vec(), stamp, value.to_vec()));
        Ok(())
    }

    fn record(&mut self, lsn: Lsn, payload: &[u8]) -> Result<(), Rejected> {
        self.records.push((lsn, payload.to_vec()));
        Ok(())
    }
}

/// Has the file `name` hold `bytes`: as they are, and with the checksums that a writer of nonsense would have given them.
pub fn with_file(name: &str, bytes: &[u8]) {
    let mut sealed = bytes.to_vec();
    if name == MANIFEST {
        seal_at(&mut sealed, 124);
    } else {
        seal_frames(&mut sealed);
    }
    within(MEMORY_BYTES + 64 * bytes.len(), || {
        open(name, bytes);
        open(name, &sealed);
    });
}

/// What looks at a journal agrees on it, and what a repair leaves can be opened.
fn open(name: &str, bytes: &[u8]) {
    let disk = SimulatedDisk::new(1);
    GOLDEN.iter().for_each(|(name, bytes)| disk.put(name, bytes));
    disk.put(name, bytes);
    let check = inspect::check(&disk);
    let is_sound = check.as_ref().is_ok_and(|check| check.is_sound());
    let replayed = replay(&disk);
    assert_eq!(is_sound, replayed.is_ok(), "check and start differ: {replayed:?}");
    if let Ok(replayed) = replayed {
        assert_eq!(replay(&disk).expect("as before"), replayed, "a second start gives something else");
    }
    // Damage is an error or an entry less.
    let _ = inspect::dump(&disk, &mut |_| Ok(()));
    // A repair writes a record for each that is lost or that a snapshot is ahead of the log, and this disk is in memory.
    let filled = check.ok().map_or(0, |check| {
        let snapshot = check.manifest.and_then(|manifest| manifest.snapshot);
        check.loss.records.max(snapshot.map_or(0, |snapshot| snapshot.end.0))
    });
    if filled < FILLED_MAX && inspect::repair(&disk).is_ok() {
        replay(&disk).expect("a repaired journal opens");
    }
}

fn replay(disk: &SimulatedDisk) -> Result<(Replayed, Report), Error> {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut replayed = Replayed::default();
    let report = Recovery::open(shared, Options::default())?.replay(&mut replayed)?.report();
    Ok((replayed, report))
}

/// Puts the checksum of what is before `at` there; returns it.
fn seal_at(bytes: &mut [u8], at: usize) -> Option<u32> {
    let (checked, rest) = bytes.split_at_mut_checked(at)?;
    let crc = crc32c::crc32c(checked);
    *rest.first_chunk_mut()? = crc.to_le_bytes();
    Some(crc)
}

/// Header and frames as `docs/journal-format.md` has them.
fn seal_frames(bytes: &mut [u8]) {
    let Some(seed) = seal_at(bytes, 60) else { return };
    let mut rest = &mut bytes[64..];
    while let Some(word) = rest.get(4..8) {
        let length = u32::from_le_bytes(word.try_into().expect("4 bytes")) & ((1 << 30) - 1);
        let Some((frame, behind)) = rest.split_at_mut_checked(12 + length as usize) else { return };
        let crc = crc32c::crc32c_append(seed, &frame[4..]);
        frame[..4].copy_from_slice(&crc.to_le_bytes());
        rest = behind;
    }
}
