use super::*;
use crate::disk::simulated::{Crash, SimulatedDisk};
use crate::record::FRAME_PAYLOAD_BYTES_MAX;
use crate::simulation::rig::{Replayed, Rig, options, payload};

/// A journal with a snapshot of three keys and 12 records in several segments behind it.
fn sound() -> SimulatedDisk {
    let mut rig = Rig::new(options(300));
    rig.append(5);
    rig.snapshot(&["a", "b", "c"]).unwrap();
    rig.append(12).wait(30);
    rig.crash(Crash::Process)
}

fn segments(disk: &SimulatedDisk) -> Vec<String> {
    disk.names().into_iter().filter(|name| name.ends_with(".segment")).collect()
}

#[test]
fn a_sound_journal_checks_dumps_and_is_left_alone_by_a_repair() {
    let disk = sound();
    let checked = check(&disk).unwrap();
    assert!(checked.is_sound());
    assert_eq!((checked.items, checked.records, checked.last), (3, 12, Lsn(17)));
    assert_eq!((checked.torn, &checked.loss), (None, &Loss::default()));
    assert_eq!(checked.segments, segments(&disk));
    let mut lines = Vec::new();
    dump(&disk, &mut |entry| {
        lines.push(match entry {
            Entry::Item { key, stamp, .. } => format!("{} {stamp}", String::from_utf8_lossy(key)),
            Entry::Record { lsn, payload: bytes, .. } => {
                assert_eq!(bytes, payload(lsn));
                format!("{lsn}")
            }
        });
        Ok(())
    })
    .unwrap();
    assert_eq!(lines[..4], ["a 5", "b 5", "c 5", "6"]);
    assert_eq!(lines.len(), 15);
    let before: Vec<_> = disk.names().into_iter().map(|name| disk.bytes(&name)).collect();
    assert!(repair(&disk).unwrap().is_sound());
    assert_eq!(disk.names().into_iter().map(|name| disk.bytes(&name)).collect::<Vec<_>>(), before);
}

#[test]
fn a_torn_tail_is_no_damage() {
    let disk = sound();
    let last = segments(&disk).pop().unwrap();
    let mut bytes = disk.bytes(&last).unwrap();
    let offset = bytes.len() as u64;
    bytes.extend(b"an unfinished write");
    disk.put(&last, &bytes);
    let checked = check(&disk).unwrap();
    assert!(checked.is_sound());
    assert_eq!(checked.torn, Some(Torn { file: last, offset, bytes: 19 }));
}

#[test]
fn damage_in_the_log_is_cut_after_saying_what_is_lost() {
    for (position, segment) in segments(&sound()).into_iter().enumerate() {
        let disk = sound();
        let whole = segments(&disk);
        // The first byte of a payload, in the first record of the segment.
        disk.flip_bit(&segment, (64 + 24) * 8);
        let checked = check(&disk).unwrap();
        assert_eq!(checked.damage.len(), 1, "{segment}");
        assert!(checked.damage[0].to_string().contains(&segment));
        assert_eq!(checked.loss.files, whole[position..]);
        assert_eq!(checked.segments, whole[..=position]);
        // What the tool says is what happens: one record is lost, and all behind it are kept.
        assert_eq!((checked.loss.records, checked.loss.items), (1, 0));
        assert_eq!(checked.records + checked.salvageable, 11);

        let repaired = repair(&disk).unwrap();
        assert_eq!(repaired.loss, checked.loss);
        let mut rig = Rig::open(&disk, options(300)).unwrap();
        assert_eq!((rig.report.last, rig.report.epoch), (Lsn(17), 1));
        assert_eq!(rig.replayed.items.len(), 3);
        assert_kept(&rig.replayed, 11);
        for name in &checked.loss.files {
            assert!(disk.names().contains(&format!("{name}.damaged")));
        }
        // And it goes on from there.
        rig.append(3);
        assert_eq!(rig.journal.last_lsn(), Lsn(20));
        let disk = rig.crash(Crash::Power);
        assert_kept(&Rig::open(&disk, options(300)).unwrap().replayed, 14);
    }
}

/// Checks that so many records are there, each of them one that was appended, in order.
fn assert_kept(replayed: &Replayed, records: u64) {
    assert!(replayed.records.is_sorted_by_key(|(lsn, _)| *lsn));
    for (lsn, bytes) in &replayed.records {
        assert_eq!(*bytes, payload(*lsn), "{lsn}");
    }
    assert_eq!(replayed.records.len() as u64, records);
}

#[test]
fn a_flipped_byte_near_the_beginning_loses_one_record_of_ten_thousand() {
    let mut rig = Rig::new(options(1 << 30));
    rig.batch(10_000).turn().wait(30);
    let disk = rig.crash(Crash::Process);
    disk.flip_bit(&segment_name(1), 200 * 8);
    let checked = check(&disk).unwrap();
    assert_eq!((checked.loss.records, checked.records + checked.salvageable), (1, 9_999));
    assert!(checked.loss.bytes < 100, "{:?}", checked.loss);
    repair(&disk).unwrap();
    let rig = Rig::open(&disk, options(1 << 30)).unwrap();
    assert_eq!(rig.report.last, Lsn(10_000));
    assert_kept(&rig.replayed, 9_999);
}

#[test]
fn the_end_of_a_record_whose_parts_are_damaged_is_no_record() {
    let mut rig = Rig::new(options(1 << 30));
    rig.append(2);
    rig.journal.append(&vec![b'l'; 2 * FRAME_PAYLOAD_BYTES_MAX + 5]).unwrap();
    rig.turn();
    rig.batch(2).turn().wait(30);
    let disk = rig.crash(Crash::Process);
    // In its first part, and in its second.
    for offset in [1000, FRAME_PAYLOAD_BYTES_MAX + 5000] {
        disk.flip_bit(&segment_name(1), offset * 8);
        let checked = check(&disk).unwrap();
        assert_eq!((checked.records, checked.salvageable, checked.loss.records), (2, 2, 1));
        disk.flip_bit(&segment_name(1), offset * 8);
    }
    disk.flip_bit(&segment_name(1), 1000 * 8);
    repair(&disk).unwrap();
    assert_kept(&Rig::open(&disk, options(1 << 30)).unwrap().replayed, 4);
}

#[test]
fn whatever_bit_is_flipped_a_repaired_journal_starts_with_a_true_prefix() {
    let disk = sound();
    for name in disk.names() {
        // Every seventh, so that every place in a byte has its turn.
        for bit in (0..disk.bytes(&name).unwrap().len() * 8).step_by(7) {
            let disk = sound();
            disk.flip_bit(&name, bit);
            let sound = check(&disk).unwrap().is_sound();
            let lost = repair(&disk).unwrap().loss;
            let rig = Rig::open(&disk, options(300));
            let rig = rig.unwrap_or_else(|error| panic!("bit {bit} of {name}: {error}"));
            assert_kept(&rig.replayed, 12 - lost.records);
            assert!(lost.records <= 1, "bit {bit} of {name}");
            // The one that is hit, and the first behind it.
            assert!(lost.items <= 2, "bit {bit} of {name}");
            assert!(rig.replayed.items.len() as u64 + lost.items >= 3);
            assert_eq!(rig.report.epoch, u64::from(!sound), "bit {bit} of {name}");
            assert!(check(&disk).unwrap().is_sound());
        }
    }
}

#[test]
fn items_behind_damage_in_a_snapshot_are_kept_but_for_the_rest_of_a_value_that_may_have_lost_its_beginning() {
    let mut rig = Rig::new(options(1 << 20));
    rig.append(5);
    // The third comes in three parts.
    let keys = ["a", "b", "c", "c", "c", "d", "e", "f"];
    rig.snapshot(&keys).unwrap();
    rig.append(2).wait(30);
    let disk = rig.crash(Crash::Process);
    let name = disk.names().into_iter().find(|name| name.ends_with(".snapshot")).unwrap();
    let bytes = disk.bytes(&name).unwrap();
    let item = (bytes.len() - 64 - 12 - 17) / keys.len();
    for (hit, kept) in
        [(0, "cccdef"), (1, "adef"), (2, "abdef"), (3, "abcdef"), (4, "abccef"), (7, "abcccde")]
    {
        disk.put(&name, &bytes);
        disk.flip_bit(&name, (64 + hit * item + 20) * 8);
        let checked = check(&disk).unwrap();
        assert_eq!(checked.loss.items, (keys.len() - kept.len()) as u64, "{hit}");
    }
    // In the snapshot's header: nothing is lost.
    for byte in 0..64 {
        disk.put(&name, &bytes);
        disk.flip_bit(&name, byte * 8 + 3);
        let checked = check(&disk).unwrap();
        assert!(!checked.is_sound() && checked.loss.items == 0, "byte {byte}");
    }
    assert_eq!(repair(&disk).unwrap().loss.items, 0);
    let rig = Rig::open(&disk, options(300)).unwrap();
    assert_eq!(rig.replayed.items.len(), keys.len());
    assert!(check(&rig.crash(Crash::Process)).unwrap().is_sound());
}

#[test]
fn a_repair_that_stops_half_way_is_run_again() {
    let victim = segments(&sound())[1].clone();
    let damaged = || {
        let disk = sound();
        disk.flip_bit(&victim, (64 + 24) * 8);
        disk
    };
    let disk = damaged();
    let before = disk.operations();
    repair(&disk).unwrap();
    let operations = disk.operations() - before;
    for operation in 0..operations {
        for crash in [Crash::Process, Crash::Power] {
            let disk = damaged();
            disk.crash_at(disk.operations() + operation);
            let stopped = repair(&disk);
            assert!(stopped.is_err(), "operation {operation}");
            disk.restart(crash);
            repair(&disk).unwrap();
            let rig = Rig::open(&disk, options(300)).unwrap();
            assert_eq!(rig.report.last, Lsn(17), "operation {operation} {crash:?}");
            assert_kept(&rig.replayed, 11);
        }
    }
}

#[test]
fn missing_files_are_given_up_one_by_one() {
    for name in sound().names() {
        let disk = sound();
        disk.remove(&name);
        let checked = check(&disk).unwrap();
        assert!(!checked.is_sound(), "{name}");
        let lost = repair(&disk).unwrap().loss.records;
        let rig = Rig::open(&disk, options(300)).unwrap();
        assert!(rig.report.last >= Lsn(5), "{name}: {:?}", rig.report);
        // Nothing tells how many records the last segment held.
        let is_untold = name == *segments(&sound()).last().unwrap();
        let kept = rig.replayed.records.len() as u64;
        assert!(
            kept == 12 - lost || is_untold && (1..12).contains(&kept),
            "{name}: {kept} kept, {lost} lost"
        );
        let items = if name.ends_with(".snapshot") { 0 } else { 3 };
        assert_eq!(rig.replayed.items.len(), items, "{name}");
    }
}

#[test]
fn a_log_behind_its_snapshot_is_filled_so_that_no_stamp_covers_a_new_record() {
    let mut rig = Rig::new(options(1 << 20));
    rig.append(5);
    let mut writer = rig.engine.snapshot(&rig.journal, 0).unwrap();
    rig.append(3);
    writer.item(b"a", Lsn(8), b"a as of 8").unwrap();
    let publication = writer.complete().unwrap();
    rig.engine.publish(publication, 0).unwrap();
    let disk = rig.crash(Crash::Process);
    disk.truncate(&segment_name(2), 64);
    assert!(matches!(check(&disk).unwrap().damage[..], [Error::LogBehindSnapshot { .. }]));
    repair(&disk).unwrap();
    let mut rig = Rig::open(&disk, options(300)).unwrap();
    assert_eq!((rig.report.last, rig.replayed.records.len()), (Lsn(8), 0));
    rig.append(1);
    assert_eq!(rig.durable(), 9);
}

#[test]
fn a_journal_in_use_is_not_repaired() {
    let mut rig = Rig::new(options(300));
    rig.append(1);
    assert!(matches!(repair(&rig.disk), Err(Error::Locked { .. })));
}

#[test]
fn an_empty_directory_holds_no_journal() {
    let disk = SimulatedDisk::new(1);
    assert!(!check(&disk).unwrap().is_there());
    dump(&disk, &mut |_| panic!("there is nothing")).unwrap();
}
