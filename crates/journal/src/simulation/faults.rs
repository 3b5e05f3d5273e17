//! The faults that a journal must survive, one by one, and the test or the reason for each; those of damaged files and of failing
//! disks are in `damage.rs` and `failures.rs`.
//!
//! The numbers are those of the project's fault list. *Schedules* stands for
//! `no_crash_loses_what_was_durable_in_a_hundred_thousand_schedules` (schedule.rs), which mixes all faults of the simulated
//! disk and checks the invariants I1, I2, I3, I5, I6 after every opening; its header says how.
//!
//! | # | fault | shown by |
//! |---|---|---|
//! | A1 | killed before or after every operation | [`a_crash_at_every_operation_loses_nothing_durable`]: enumerated, power and kill, then again at every operation of the recovery; schedules |
//! | A2 | power loss | the same; [`each_policy_loses_no_more_than_it_says`] |
//! | A3 | torn write | [`a_record_torn_at_any_byte_is_cut_and_reported`]; schedules tear by byte and by sector |
//! | A4 | reordered unsynced writes | [`an_unsynced_batch_that_lost_a_page_in_the_middle_is_cut_there`]; schedules |
//! | A5 | directory not synced | `each_planted_bug_is_found` (NoDirectorySync); schedules drop unsynced names |
//! | A6 | rename of an unsynced file | a file gets its name only after it was synced: A1 enumerates the operations between |
//! | A7 | zeros, garbage, recycled records in the tail | [`zeros_at_the_end_are_no_loss`], [`whole_records_of_another_segment_do_not_parse`]; schedules fill holes with all three |
//! | A8 | a flipped bit | [`every_single_bit_flipped_is_refused_or_harmless`]: every bit of every file; manifest.rs; schedules; inspect.rs repairs each |
//! | A9 | segment missing, duplicated, swapped, cut, partial header | [`a_misplaced_file_is_refused_by_name`], [`a_segment_cut_in_the_middle_of_the_log_is_refused`] |
//! | A10 | no room, then room again | [`a_full_disk_refuses_writes_and_goes_on_without_a_restart`], at every operation; schedules |
//! | A11 | a write fails | [`a_failed_operation_never_makes_a_record_durable_by_itself`], at every operation; schedules |
//! | A12 | a sync fails once, then succeeds | the same; [`after_a_failed_sync_the_old_segment_is_never_touched_again`]; [`a_start_on_a_full_disk_after_a_failed_sync_loses_nothing_durable`] |
//! | A13 | a read fails; short writes, EINTR, EMFILE, read-only | [`a_failed_read_stops_the_start_and_changes_nothing`]; the real disk's loops (`disk/file.rs`) finish short and interrupted calls; whatever else an operation can say is an error of that operation, as in A10–A12 |
//! | A14 | sync lies | [`a_lying_sync_is_noticed_or_leaves_a_true_prefix`]; can't be prevented on one machine |
//! | A15 | a sync takes a minute | `tests/journal.rs`: memory bounded, writes refused with Backlog, everything goes on after |
//! | A16 | the clock jumps | no wall clock is read: the engine is given monotonic milliseconds, and effects hold results, not times to be computed |
//! | A17 | crash in snapshot or trim | A1's workload has both; [`what_an_interrupted_snapshot_leaves_is_removed`] |
//! | A18 | two processes | `tests/journal.rs` |
//! | A19 | an old copy is put back | can't be told from the files alone: they are a true prefix. [`crate::Manifest::epoch`] changes when a repair gives something up; a client or replica that knows a higher LSN than the log's end knows it was rolled back |
//! | A20 | newer format | [`a_newer_format_is_refused_with_its_version`]; golden files in `tests/golden` keep the old ones readable |
//! | A21 | huge records, limits | [`a_record_larger_than_segment_and_buffers_comes_back`], [`a_payload_over_the_limit_is_refused`]; mutations.rs: memory bounded by the input. Offsets are u64, indexes u32, and a segment ends far below 2³² records (`SEGMENT_BYTES_MAX`) |
//! | A22 | a publish is retried across a crash | above this crate: an effect holds the ID that was given, so its replay gives the same |
//! | A23 | group state across a crash | above this crate: PEL changes are effects like others, in the record of their command |
//! | A24 | each mode under A1–A3 | [`each_policy_loses_no_more_than_it_says`]; schedules change the policy at random |
//!
//! | # | invariant | checked |
//! |---|---|---|
//! | I1 | acknowledged records are there, byte for byte | schedules and A1: the last LSN is at least the highest told durable, each payload is compared |
//! | I2 | a prefix: no hole, no reorder, nothing invented | schedules: the state equals that after exactly 1 … *last*; here: records compared one by one |
//! | I3 | nothing removed comes back | schedules: deletes, delete-alls and trims are part of the state compared |
//! | I4 | if not, the epoch changes | inspect.rs: a repair that loses something raises it; nothing else may lose |
//! | I5 | dedupe, groups and counters agree with the log | one record holds all effects of one command, applied or lost together; here the model's counters; for groups the keyspace's own tests |
//! | I6 | a second crash in the recovery changes nothing | A1's inner loop; schedules crash in a fifth of all openings |

mod damage;
mod failures;

use super::rig::{Replayed, Rig, assert_records, options};
use crate::disk::simulated::{Crash, SimulatedDisk};
use crate::segment::segment_name;
use crate::snapshot::snapshot_name;
use crate::{Error, FsyncPolicy, Lsn, Options, Refusal, TornTail};

/// Appends, rolls, snapshots, trims and closes: every kind of operation there is. Stops when the machine does.
fn workload(rig: &mut Rig) {
    rig.append(6).batch(5).turn();
    let _ = rig.snapshot(&["a", "b"]);
    rig.append(4).wait(30).append(3);
    let _ = rig.snapshot(&["a", "b", "c"]);
    rig.append(3);
    let _ = rig.engine.close(&rig.journal, rig.now_ms);
}

/// Opens what a crash left and checks it against what was promised. Returns the last LSN.
fn check_opening(disk: &SimulatedDisk, durable: u64) -> u64 {
    let rig = Rig::open(disk, options(200)).unwrap();
    let last = rig.report.last.0;
    assert!(last >= durable, "the log ends at {last}, {durable} was durable");
    let first = rig.replayed.records.first().map_or(last + 1, |(lsn, _)| lsn.0);
    assert_records(&rig.replayed, first, last);
    for (key, stamp, value) in &rig.replayed.items {
        let expected = format!("{} as of {stamp}", String::from_utf8_lossy(key));
        assert_eq!(*value, expected.into_bytes());
        assert!(stamp.0 <= last && stamp.0 + 1 >= first);
    }
    last
}

/// A journal with a snapshot, a full segment and one with a mark at its end; all of it synced, power gone since.
fn sound_disk() -> SimulatedDisk {
    let mut rig = Rig::new(options(300));
    rig.append(5);
    rig.snapshot(&["a", "b", "c"]).unwrap();
    rig.append(12).wait(30);
    let disk = rig.disk.clone();
    disk.restart(Crash::Process);
    disk
}

/// Replays a journal without going on with it.
fn read(disk: &SimulatedDisk) -> Result<Replayed, Error> {
    let mut replayed = Replayed::default();
    let shared = std::sync::Arc::new(disk.clone());
    crate::Recovery::open(shared, options(300))?.replay(&mut replayed)?;
    Ok(replayed)
}

/// Runs the workload on a new disk until it crashes at `operation`. Returns the disk and what was durable.
fn crash_at(operation: u64, crash: Crash, seed: u64) -> (SimulatedDisk, u64) {
    let disk = SimulatedDisk::new(seed);
    disk.crash_at(operation);
    let mut durable = 0;
    if let Ok(mut rig) = Rig::open(&disk, options(200)) {
        workload(&mut rig);
        durable = rig.durable();
        rig.crash(crash);
    } else {
        disk.restart(crash);
    }
    (disk, durable)
}

#[test]
fn a_crash_at_every_operation_loses_nothing_durable() {
    let mut whole = Rig::new(options(200));
    workload(&mut whole);
    assert_eq!(whole.durable(), 21);
    let operations = whole.disk.operations();
    assert!(operations > 100);
    for operation in 0..operations {
        for (crash, seed) in [(Crash::Process, 0), (Crash::Power, 1), (Crash::Power, 2), (Crash::Power, 3)] {
            let (disk, durable) = crash_at(operation, crash, seed);
            let found = check_opening(&disk, durable);
            // Again, with a second crash at an operation of the opening that follows, and a third opening.
            let second = operation * 7 % 40;
            let (disk, durable) = crash_at(operation, crash, seed);
            disk.crash_at(disk.operations() + second);
            let opened = Rig::open(&disk, options(200)).map(|_| ());
            disk.restart(crash);
            let again = check_opening(&disk, durable);
            if crash == Crash::Process {
                assert_eq!(again, found, "after a second crash at {second}: {opened:?}");
            }
        }
    }
}

#[test]
fn each_policy_loses_no_more_than_it_says() {
    for seed in 0..200 {
        for policy in [FsyncPolicy::Always, FsyncPolicy::EverySec, FsyncPolicy::No] {
            let options =
                Options { fsync: policy, segment_bytes: 1 << 20, unsynced_bytes_max: 600, ..options(0) };
            let mut rig = Rig::open(&SimulatedDisk::new(seed), options).unwrap();
            // A record every 100 ms for 3 s, and a turn after each.
            for _ in 0..30 {
                rig.append(1).wait(100);
            }
            let last = rig.journal.last_lsn().0;
            let bound = match policy {
                FsyncPolicy::Always => 0,
                FsyncPolicy::EverySec => 11,
                // 600 bytes, and records of at least 21 bytes.
                FsyncPolicy::No => 29,
            };
            assert_eq!(rig.journal.written_lsn().0, last);
            let kept = rig.crash(Crash::Power);
            let kept = Rig::open(&kept, self::options(200)).unwrap().report.last.0;
            assert!(last - kept <= bound, "{policy:?} lost {} of {last}", last - kept);
        }
    }
}

#[test]
fn a_process_crash_loses_nothing_written() {
    for policy in [FsyncPolicy::EverySec, FsyncPolicy::No] {
        let mut rig = Rig::new(Options { fsync: policy, ..options(1 << 20) });
        rig.append(20);
        assert_eq!(rig.durable(), 0);
        let disk = rig.crash(Crash::Process);
        let rig = Rig::open(&disk, options(200)).unwrap();
        assert_records(&rig.replayed, 1, 20);
        // What was read back from the cache is durable now.
        let disk = rig.crash(Crash::Power);
        assert_records(&Rig::open(&disk, options(200)).unwrap().replayed, 1, 20);
    }
}

#[test]
fn a_record_torn_at_any_byte_is_cut_and_reported() {
    let mut rig = Rig::new(options(1 << 20));
    rig.append(5);
    let disk = rig.crash(Crash::Process);
    let name = segment_name(1);
    let whole = disk.bytes(&name).unwrap();
    // The fifth record is in a batch of its own behind a sync mark.
    let fifth = whole.len() - 12 - super::rig::payload(Lsn(5)).len();
    for length in fifth..whole.len() {
        let disk = SimulatedDisk::new(1);
        disk.put("MANIFEST", &crash_manifest());
        disk.put(&name, &whole[..length]);
        let refused = Rig::open(&disk, Options { torn_tail: TornTail::Refuse, ..options(200) });
        if length == fifth {
            assert!(refused.is_ok());
            continue;
        }
        assert!(matches!(refused, Err(Error::TornTail { offset, .. }) if offset == fifth as u64));
        let rig = Rig::open(&disk, options(200)).unwrap();
        assert_records(&rig.replayed, 1, 4);
        let zeros = whole[..length].iter().rev().take_while(|&&byte| byte == 0).count();
        assert_eq!(rig.report.torn_bytes, (length - fifth).saturating_sub(zeros) as u64);
    }
}

/// The manifest of a journal with one segment, as [`options`] make it.
fn crash_manifest() -> Vec<u8> {
    Rig::new(options(200)).disk.bytes("MANIFEST").unwrap()
}

#[test]
fn an_unsynced_batch_that_lost_a_page_in_the_middle_is_cut_there() {
    let mut rig = Rig::new(Options { fsync: FsyncPolicy::No, ..options(1 << 20) });
    rig.append(4);
    rig.journal.request_sync(Lsn(4));
    rig.turn().batch(400).turn();
    let disk = rig.crash(Crash::Process);
    let name = segment_name(1);
    let mut bytes = disk.bytes(&name).unwrap();
    assert!(bytes.len() > 16_384);
    bytes[4096..8192].fill(0);
    disk.put(&name, &bytes);
    let rig = Rig::open(&disk, options(1 << 20)).unwrap();
    let last = rig.report.last.0;
    assert!((4..404).contains(&last));
    assert_records(&rig.replayed, 1, last);
    assert!(rig.report.torn_bytes > 8192);
}

#[test]
fn zeros_at_the_end_are_no_loss() {
    let mut rig = Rig::new(Options { zero_ahead_bytes: 5000, ..options(1 << 20) });
    rig.append(5);
    let disk = rig.crash(Crash::Process);
    assert!(disk.bytes(&segment_name(1)).unwrap().len() > 5000);
    let rig = Rig::open(&disk, options(200)).unwrap();
    assert_records(&rig.replayed, 1, 5);
    assert_eq!(rig.report.torn_bytes, 0);
}

#[test]
fn whole_records_of_another_segment_do_not_parse() {
    let mut rig = Rig::new(options(1 << 20));
    rig.append(5);
    let disk = rig.crash(Crash::Process);
    let name = segment_name(1);
    let old = disk.bytes(&name).unwrap();
    // A new life of the same segment: same journal, number and base, another salt.
    let rig = Rig::open(&disk, Options { entropy: Some(8), ..options(1 << 20) }).unwrap();
    let disk = rig.crash(Crash::Process);
    let mut bytes = disk.bytes(&name).unwrap();
    let end = bytes.len();
    assert_ne!(bytes[..64], old[..64]);
    // What recycled blocks would show behind the end: the old records, from each of their beginnings.
    bytes.extend_from_slice(&old[64..]);
    disk.put(&name, &bytes);
    let rig = Rig::open(&disk, options(200)).unwrap();
    assert_records(&rig.replayed, 1, 5);
    assert_eq!(rig.report.torn_bytes, (bytes.len() - end) as u64);
}

#[test]
fn what_an_interrupted_snapshot_leaves_is_removed() {
    let mut rig = Rig::new(options(200));
    rig.append(5);
    let writer = rig.engine.snapshot(&rig.journal, 0).unwrap();
    assert!(matches!(rig.engine.snapshot(&rig.journal, 0), Err(Error::SnapshotBusy)));
    rig.append(2);
    let unfinished = snapshot_name(1) + ".tmp";
    assert!(rig.disk.names().contains(&unfinished));
    rig.disk.stop();
    drop(writer);
    let disk = rig.crash(Crash::Process);
    assert!(disk.names().contains(&unfinished));
    let mut rig = Rig::open(&disk, options(200)).unwrap();
    assert!(!disk.names().contains(&unfinished));
    assert_records(&rig.replayed, 1, 7);
    // One that is given up frees the place for the next.
    drop(rig.engine.snapshot(&rig.journal, 0).unwrap());
    rig.snapshot(&["a"]).unwrap();
    let names = rig.disk.names();
    assert_eq!(names.iter().filter(|name| name.contains("snapshot")).count(), 1, "{names:?}");
}

#[test]
fn a_snapshot_cuts_the_log_behind_its_start() {
    let mut rig = Rig::new(options(200));
    rig.append(20);
    assert!(rig.journal.stats().segments > 3);
    let info = rig.snapshot(&["a", "b"]).unwrap();
    assert_eq!((info.start, info.end, info.items), (Lsn(20), Lsn(20), 2));
    assert_eq!(rig.turn().journal.stats().segments, 1);
    rig.append(2);
    let disk = rig.crash(Crash::Power);
    let rig = Rig::open(&disk, options(200)).unwrap();
    assert_eq!(rig.replayed.items.len(), 2);
    assert_records(&rig.replayed, 21, 22);
}

#[test]
fn a_record_larger_than_segment_and_buffers_comes_back() {
    let large = vec![0xAB; 3 << 20];
    let mut rig = Rig::new(options(200));
    rig.append(1);
    rig.journal.append(&large).unwrap();
    rig.turn();
    rig.journal.append(&[]).unwrap();
    rig.turn();
    let lsn = rig.journal.append_with(|payload| payload.extend_from_slice(b"in place")).unwrap();
    rig.turn();
    assert_eq!(rig.durable(), lsn.0);
    let disk = rig.crash(Crash::Power);
    let rig = Rig::open(&disk, options(200)).unwrap();
    // The third, without a payload, has no effect and is not handed over.
    assert_eq!(rig.replayed.records[1], (Lsn(2), large));
    assert_eq!(rig.replayed.records[2], (Lsn(4), b"in place".to_vec()));
}

#[test]
fn a_payload_over_the_limit_is_refused() {
    let rig = Rig::new(Options { payload_bytes_max: 1000, ..options(200) });
    assert_eq!(rig.journal.append(&[0; 1001]), Err(Refusal::TooLarge));
    assert_eq!(rig.journal.append_with(|bytes| bytes.extend([0; 1001])), Err(Refusal::TooLarge));
    assert_eq!(rig.journal.last_lsn(), Lsn::ZERO);
    assert_eq!(rig.journal.append(&[0; 1000]), Ok(Lsn(1)));
}

#[test]
fn a_record_in_parts_is_there_as_a_whole_or_not_at_all() {
    let in_parts = || Options { frame_payload_max: 7, ..options(1 << 20) };
    let mut rig = Rig::new(in_parts());
    rig.append(3);
    let before = rig.disk.bytes(&segment_name(1)).unwrap().len();
    rig.append(1);
    rig.journal.append_with(|bytes| bytes.extend(super::rig::payload(Lsn(5)))).unwrap();
    rig.turn();
    let disk = rig.crash(Crash::Process);
    let whole = disk.bytes(&segment_name(1)).unwrap();
    let mut lasts = std::collections::BTreeSet::new();
    for length in before..=whole.len() {
        let disk = SimulatedDisk::new(1);
        disk.put("MANIFEST", &crash_manifest());
        disk.put(&segment_name(1), &whole[..length]);
        let rig = Rig::open(&disk, in_parts()).unwrap();
        lasts.insert(rig.report.last.0);
        assert_records(&rig.replayed, 1, rig.report.last.0);
    }
    assert_eq!(lasts.into_iter().collect::<Vec<_>>(), [3, 4, 5]);
}

#[test]
fn a_closed_journal_takes_nothing_and_opens_again() {
    let mut rig = Rig::new(options(200));
    rig.batch(3);
    rig.engine.close(&rig.journal, 0).unwrap();
    assert_eq!(rig.durable(), 3);
    assert_eq!(rig.journal.append(b"late"), Err(Refusal::Closed));
    assert_eq!(rig.journal.admit(), Err(Refusal::Closed));
    let disk = rig.crash(Crash::Power);
    assert_records(&Rig::open(&disk, options(200)).unwrap().replayed, 1, 3);
}
