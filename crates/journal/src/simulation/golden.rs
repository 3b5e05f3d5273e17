//! The format, kept: a journal written by each released version must open for ever, and today's version must write exactly
//! the bytes that `docs/journal-format.md` describes.
//!
//! ```text
//! JOURNAL_GOLDEN_WRITE=1 cargo test -p sterna-journal golden      writes the files of a new version
//! ```

use super::rig::{Rig, assert_records, options};
use crate::disk::simulated::SimulatedDisk;
use crate::{FORMAT_VERSION, Lsn, Options, Report};

/// What the files of version 2 were made by; those of version 1 were, too, when that was today's. Changing this would need
/// new files: don't.
fn write_version_2() -> SimulatedDisk {
    let mut rig = Rig::new(Options { frame_payload_max: 40, ..options(300) });
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

fn path(version: u32, name: &str) -> std::path::PathBuf {
    let directory = format!("tests/golden/version-{version}");
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(directory).join(name)
}

/// The files of a version, on a disk.
fn golden(version: u32) -> SimulatedDisk {
    let disk = SimulatedDisk::new(1);
    for name in NAMES {
        disk.put(name, &std::fs::read(path(version, name)).unwrap());
    }
    disk
}

#[test]
fn golden_files_of_version_2_are_what_is_written_today() {
    let disk = write_version_2();
    assert_eq!(disk.names().iter().filter(|name| !name.ends_with("LOCK")).count(), NAMES.len());
    for name in NAMES {
        let bytes = disk.bytes(name).unwrap();
        if std::env::var_os("JOURNAL_GOLDEN_WRITE").is_some() {
            std::fs::create_dir_all(path(2, "")).unwrap();
            std::fs::write(path(2, name), &bytes).unwrap();
        }
        let golden = std::fs::read(path(2, name)).unwrap();
        let differs = golden.iter().zip(&bytes).position(|(one, other)| one != other);
        assert_eq!((differs, golden.len()), (None, bytes.len()), "{name}");
    }
}

#[test]
fn golden_files_of_every_version_open() {
    for version in 1..=FORMAT_VERSION {
        let rig = Rig::open(&golden(version), options(300)).unwrap();
        let expected = Report { last: Lsn(17), items: 3, records: 12, torn_bytes: 0, epoch: 0 };
        assert_eq!(rig.report, expected);
        assert_records(&rig.replayed, 6, 17);
        let items: Vec<_> =
            ["a", "b", "c"].map(|key| (key.into(), Lsn(5), format!("{key} as of 5").into())).into();
        assert_eq!(rig.replayed.items, items);
    }
}

#[test]
fn golden_files_cut_or_flipped_are_told_apart() {
    for version in 1..=FORMAT_VERSION {
        let disk = golden(version);
        // The last segment without its sync mark and the end of its last record.
        let last = NAMES[4];
        disk.truncate(last, disk.bytes(last).unwrap().len() - 28);
        let rig = Rig::open(&disk, options(300)).unwrap();
        assert_eq!(rig.report.last, Lsn(16));
        assert!(rig.report.torn_bytes > 0);

        let disk = golden(version);
        disk.flip_bit(NAMES[3], 100 * 8);
        let error = Rig::open(&disk, options(300)).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("00000000000000000003.segment is damaged at offset "), "{error}");
        assert!(error.contains("checksum mismatch"), "{error}");
    }
}
