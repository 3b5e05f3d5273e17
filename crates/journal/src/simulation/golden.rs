//! The format, kept: a journal written by each released version must open for ever, and today's version must write exactly
//! the bytes that `docs/journal-format.md` describes.
//!
//! ```text
//! JOURNAL_GOLDEN_WRITE=1 cargo test -p sterna-journal golden      writes the files of a new version
//! ```

use super::rig::{Rig, assert_records, options};
use crate::disk::simulated::SimulatedDisk;
use crate::{Lsn, Report};

/// What the files of version 1 were made by. Changing this would need new files: don't.
fn write_version_1() -> SimulatedDisk {
    let mut rig = Rig::new(options(300));
    rig.append(5);
    rig.snapshot(&["a", "b", "c"]).unwrap();
    rig.append(12).wait(30);
    rig.disk.stop();
    rig.disk.clone()
}

const NAMES: [&str; 5] = [
    "MANIFEST",
    "00000000000000000001.snapshot",
    "00000000000000000002.segment",
    "00000000000000000003.segment",
    "00000000000000000004.segment",
];

fn path(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/version-1").join(name)
}

#[test]
fn golden_files_of_version_1_are_what_is_written_today() {
    let disk = write_version_1();
    assert_eq!(disk.names().iter().filter(|name| !name.ends_with("LOCK")).count(), NAMES.len());
    for name in NAMES {
        let bytes = disk.bytes(name).unwrap();
        if std::env::var_os("JOURNAL_GOLDEN_WRITE").is_some() {
            std::fs::create_dir_all(path("").parent().unwrap()).unwrap();
            std::fs::write(path(name), &bytes).unwrap();
        }
        let golden = std::fs::read(path(name)).unwrap();
        let differs = golden.iter().zip(&bytes).position(|(one, other)| one != other);
        assert_eq!((differs, golden.len()), (None, bytes.len()), "{name}");
    }
}

#[test]
fn golden_files_of_version_1_open() {
    let disk = SimulatedDisk::new(1);
    for name in NAMES {
        disk.put(name, &std::fs::read(path(name)).unwrap());
    }
    let rig = Rig::open(&disk, options(300)).unwrap();
    let expected = Report { last: Lsn(17), items: 3, records: 12, torn_bytes: 0, epoch: 0 };
    assert_eq!(rig.report, expected);
    assert_records(&rig.replayed, 6, 17);
    let items: Vec<_> =
        ["a", "b", "c"].map(|key| (key.into(), Lsn(5), format!("{key} as of 5").into())).into();
    assert_eq!(rig.replayed.items, items);
}

#[test]
fn golden_files_cut_or_flipped_are_told_apart() {
    let disk = SimulatedDisk::new(1);
    for name in NAMES {
        disk.put(name, &std::fs::read(path(name)).unwrap());
    }
    // The last segment without its last 20 bytes: a sync mark, and the end of the last record.
    let last = NAMES[4];
    disk.truncate(last, disk.bytes(last).unwrap().len() - 20);
    let rig = Rig::open(&disk, options(300)).unwrap();
    assert_eq!(rig.report.last, Lsn(16));
    assert!(rig.report.torn_bytes > 0);

    let disk = SimulatedDisk::new(1);
    for name in NAMES {
        disk.put(name, &std::fs::read(path(name)).unwrap());
    }
    disk.flip_bit(NAMES[3], 100 * 8);
    let error = Rig::open(&disk, options(300)).map(|_| ()).unwrap_err().to_string();
    assert!(
        error.contains("00000000000000000003.segment is damaged at offset 76: checksum mismatch"),
        "{error}"
    );
}
