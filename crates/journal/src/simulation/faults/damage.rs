//! Files that are not as they were written.

use super::{read, sound_disk};
use crate::disk::simulated::{Crash, SimulatedDisk};
use crate::segment::segment_name;
use crate::simulation::rig::{Rig, options};
use crate::snapshot::snapshot_name;
use crate::{Error, FORMAT_VERSION, Lsn, Options};

#[test]
fn every_single_bit_flipped_is_refused_or_harmless() {
    let disk = sound_disk();
    let sound = read(&disk).unwrap();
    assert_eq!((sound.items.len(), sound.records.len()), (3, 12));
    let mut harmless = 0;
    for name in disk.names() {
        let bits = disk.bytes(&name).unwrap().len() * 8;
        for bit in 0..bits {
            disk.flip_bit(&name, bit);
            match read(&disk) {
                Ok(replayed) => {
                    assert_eq!(replayed, sound, "bit {bit} of {name}");
                    harmless += 1;
                }
                Err(Error::Io { .. } | Error::Rejected { .. } | Error::TornTail { .. }) => {
                    panic!("{name} {bit}")
                }
                Err(error) => assert!(error.to_string().contains(&name), "{error}"),
            }
            disk.flip_bit(&name, bit);
        }
    }
    // The last sync mark alone has nothing behind it that would vouch for it, and nothing to lose.
    assert_eq!(harmless, 20 * 8);
}

/// Damages a sound journal, and expects a refusal that names `name`.
fn assert_refused(name: &str, damage: impl Fn(&SimulatedDisk)) -> Error {
    let disk = sound_disk();
    damage(&disk);
    let error = Rig::open(&disk, options(300)).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains(name), "{error}");
    assert!(error.to_string().contains("sterna journal repair"), "{error}");
    error
}

#[test]
fn a_misplaced_file_is_refused_by_name() {
    let segments: Vec<_> =
        sound_disk().names().into_iter().filter(|name| name.ends_with(".segment")).collect();
    assert!(segments.len() >= 3, "{segments:?}");
    for segment in &segments {
        let error = assert_refused(segment, |disk| disk.remove(segment));
        assert!(matches!(error, Error::Missing { .. }), "{error}");
        let error = assert_refused(segment, |disk| disk.put(segment, &[]));
        assert!(matches!(error, Error::Damaged { offset: 0, .. }), "{error}");
        let error = assert_refused(segment, |disk| disk.truncate(segment, 63));
        assert!(matches!(error, Error::Damaged { offset: 0, .. }), "{error}");
    }
    let (first, second) = (&segments[0], &segments[1]);
    let error = assert_refused(first, |disk| disk.swap(first, second));
    assert!(matches!(error, Error::Misplaced { .. }), "{error}");
    let error = assert_refused(second, |disk| {
        let copy = disk.bytes(first).unwrap();
        disk.put(second, &copy);
    });
    assert!(matches!(error, Error::Misplaced { .. }), "{error}");
    let error = assert_refused(second, |disk| {
        let mut other = Rig::new(Options { entropy: Some(99), ..options(300) });
        other.append(30);
        disk.put(second, &other.disk.bytes(second).unwrap());
    });
    assert!(matches!(error, Error::Misplaced { why: "it is another journal's", .. }), "{error}");

    let snapshot = snapshot_name(1);
    assert!(matches!(assert_refused(&snapshot, |disk| disk.remove(&snapshot)), Error::Missing { .. }));
    let error = assert_refused(&snapshot, |disk| disk.truncate(&snapshot, 100));
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    let manifest = "MANIFEST";
    assert!(matches!(assert_refused(manifest, |disk| disk.remove(manifest)), Error::Missing { .. }));
}

#[test]
fn a_segment_cut_in_the_middle_of_the_log_is_refused() {
    let disk = sound_disk();
    let segments: Vec<_> = disk.names().into_iter().filter(|name| name.ends_with(".segment")).collect();
    for segment in &segments[..segments.len() - 1] {
        for length in 64..disk.bytes(segment).unwrap().len() {
            let error = assert_refused(segment, |disk| disk.truncate(segment, length));
            assert!(matches!(error, Error::Damaged { .. }), "{error}");
        }
    }
}

#[test]
fn a_log_that_ends_before_its_snapshot_is_refused() {
    let mut rig = Rig::new(options(1 << 20));
    rig.append(5);
    let mut writer = rig.engine.snapshot(&rig.journal, 0).unwrap();
    rig.append(3);
    writer.item(b"a", Lsn(8), b"as of 8").unwrap();
    let publication = writer.complete().unwrap();
    rig.engine.publish(publication, 0).unwrap();
    let disk = rig.crash(Crash::Process);
    disk.truncate(&segment_name(2), 64);
    let error = Rig::open(&disk, options(300)).map(|_| ()).unwrap_err();
    assert!(
        matches!(error, Error::LogBehindSnapshot { log_end: Lsn(5), snapshot_end: Lsn(8), .. }),
        "{error}"
    );
}

#[test]
fn a_newer_format_is_refused_with_its_version() {
    for (name, crc_at) in [(segment_name(2), 60), (snapshot_name(1), 60), ("MANIFEST".to_owned(), 124)] {
        let disk = sound_disk();
        let mut bytes = disk.bytes(&name).unwrap();
        bytes[8..12].copy_from_slice(&(FORMAT_VERSION + 1).to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..crc_at]);
        bytes[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
        disk.put(&name, &bytes);
        let error = Rig::open(&disk, options(300)).map(|_| ()).unwrap_err();
        assert!(matches!(&error, Error::Newer { file, found: 3, supported: 2 } if *file == name), "{error}");
        assert!(matches!(crate::inspect::repair(&disk), Err(Error::Newer { .. })));
    }
}
