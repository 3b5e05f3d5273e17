//! A disk without room, or whose operations fail.

use super::{check_opening, read, sound_disk};
use crate::disk::simulated::{Crash, Fault, SimulatedDisk};
use crate::segment::segment_name;
use crate::simulation::rig::{Replayed, Rig, assert_records, options, payload};
use crate::{Error, Event, FsyncPolicy, Lsn, Options, Refusal};
#[test]
fn a_full_disk_refuses_writes_and_goes_on_without_a_restart() {
    for operation in 0..40 {
        let mut rig = Rig::new(options(200));
        rig.append(2);
        rig.disk.fault_at(rig.disk.operations() + operation, Fault::Full);
        rig.append(8);
        if rig.journal.admit().is_ok() {
            continue;
        }
        assert_eq!(rig.journal.admit(), Err(Refusal::DiskFull));
        let stuck = rig.durable();
        // However often it is tried: no room, nothing durable.
        rig.wait(60).wait(60).wait(60);
        assert_eq!((rig.journal.admit(), rig.durable()), (Err(Refusal::DiskFull), stuck));
        rig.disk.set_full(false);
        rig.wait(60);
        assert_eq!((rig.journal.admit(), rig.durable()), (Ok(()), 10), "full at {operation}");
        assert!(rig.events.lock().unwrap().contains(&Event::Resumed));
        rig.append(2);
        let disk = rig.crash(Crash::Power);
        let rig = Rig::open(&disk, options(200)).unwrap();
        assert_records(&rig.replayed, 1, 12);
    }
}

#[test]
fn a_failed_operation_never_makes_a_record_durable_by_itself() {
    let mut failures = 0;
    for seed in 0..10 {
        for operation in 0..60 {
            let mut rig = Rig::open(&SimulatedDisk::new(seed), options(400)).unwrap();
            rig.append(2);
            rig.disk.fault_at(rig.disk.operations() + operation, Fault::Error);
            for _ in 0..12 {
                let before = rig.durable();
                rig.append(1);
                if rig.journal.admit().is_err() {
                    failures += 1;
                    assert_eq!(rig.journal.admit(), Err(Refusal::DiskFailed));
                    assert!(rig.durable() <= before + 1);
                    rig.wait(60);
                    assert_eq!(rig.journal.admit(), Ok(()));
                }
                assert_eq!(rig.durable(), rig.journal.last_lsn().0);
            }
            let disk = rig.crash(Crash::Power);
            assert_records(&Rig::open(&disk, options(400)).unwrap().replayed, 1, 14);
        }
    }
    assert!(failures > 200, "only {failures}");
}

#[test]
fn after_a_failed_sync_the_old_segment_is_never_touched_again() {
    let mut rig = Rig::new(options(1 << 20));
    // More than a page, so that the first records are beyond the reach of the sync that fails.
    rig.append(2000);
    let before = rig.durable();
    // The next batch is one write and one sync; the sync fails.
    rig.disk.fault_at(rig.disk.operations() + 1, Fault::Error);
    rig.append(1);
    assert_eq!((rig.durable(), rig.journal.written_lsn().0), (before, before + 1));
    let old = rig.disk.bytes(&segment_name(1)).unwrap();
    rig.wait(10);
    assert_eq!(rig.durable(), before, "a second sync of the same bytes is not believed");
    rig.wait(60).append(3);
    assert_eq!(rig.durable(), before + 4);
    assert!(rig.disk.bytes(&segment_name(1)).unwrap() == old);
    let new = rig.disk.bytes(&segment_name(2)).unwrap();
    let text = String::from_utf8_lossy(&new);
    assert!(text.contains("record 2000 ") && text.contains("record 2001 "), "carried over");
    assert!(!text.contains("record 1 "), "proven durable where it is");
}

#[test]
fn a_failed_read_stops_the_start_and_changes_nothing() {
    let disk = sound_disk();
    let sound = read(&disk).unwrap();
    for operation in 0..60 {
        disk.fault_at(disk.operations() + operation, Fault::Error);
        let outcome = read(&disk);
        let faulted = outcome.is_err();
        if let Err(error) = outcome {
            assert!(matches!(error, Error::Io { .. }), "{error}");
        }
        disk.clear_faults();
        assert_eq!(read(&disk).unwrap(), sound, "operation {operation}, which failed: {faulted}");
    }
}

#[test]
fn a_lying_sync_is_noticed_or_leaves_a_true_prefix() {
    for seed in 0..500 {
        let disk = SimulatedDisk::new(seed);
        let mut rig = Rig::open(&disk, options(300)).unwrap();
        rig.disk.fault_at(rig.disk.operations() + 1 + seed % 40, Fault::LyingSync);
        rig.append(20);
        let disk = rig.crash(Crash::Power);
        if let Ok(rig) = Rig::open(&disk, options(300)) {
            assert_records(&rig.replayed, 1, rig.report.last.0);
        }
    }
}

#[test]
fn a_full_disk_does_not_keep_a_journal_from_opening() {
    // New, closed, killed, and with a snapshot; at each of them full from the beginning or after a few operations.
    let new = SimulatedDisk::new(1);
    let mut rig = Rig::new(options(200));
    rig.append(9);
    rig.engine.close(&rig.journal, 0).unwrap();
    let closed = rig.crash(Crash::Process);
    let mut rig = Rig::new(Options { fsync: FsyncPolicy::No, ..options(1 << 20) });
    rig.append(9);
    let killed = rig.crash(Crash::Process);
    for (disk, last) in [(new, 0), (closed, 9), (killed, 9), (sound_disk(), 17)] {
        let at_rest: Vec<_> = disk.names().into_iter().map(|name| (disk.bytes(&name), name)).collect();
        for full_after in 0..30 {
            for seed in 0..4 {
                let disk = SimulatedDisk::new(seed);
                for (bytes, name) in &at_rest {
                    disk.put(name, bytes.as_deref().unwrap());
                }
                disk.fault_at(disk.operations() + full_after, Fault::Full);
                let mut rig = Rig::open(&disk, options(1 << 20)).unwrap();
                assert_eq!(rig.report.last, Lsn(last), "full after {full_after}");
                if rig.journal.admit() == Err(Refusal::DiskFull) {
                    assert!(matches!(rig.events.lock().unwrap()[..], [Event::Stopped { .. }]));
                    // Killed in this state, nothing changes.
                    let copy = SimulatedDisk::new(seed);
                    disk.names().iter().for_each(|name| copy.put(name, &disk.bytes(name).unwrap()));
                    let again = Rig::open(&copy, options(1 << 20)).unwrap();
                    assert_eq!((again.report.last, again.replayed), (Lsn(last), rig.replayed.clone()));
                }
                disk.clear_faults();
                rig.wait(60);
                assert_eq!((rig.journal.admit(), rig.durable()), (Ok(()), last));
                rig.append(3);
                assert_eq!(rig.durable(), last + 3);
                let disk = rig.crash(Crash::Power);
                let rig = Rig::open(&disk, options(1 << 20)).unwrap();
                assert_eq!(rig.report.last, Lsn(last + 3));
            }
        }
    }
}

/// A journal under `policy` that has four records, of which the disk has not taken the last two.
fn failing(policy: FsyncPolicy, seed: u64) -> Rig {
    let options = Options { fsync: policy, ..options(1 << 20) };
    let mut rig = Rig::open(&SimulatedDisk::new(seed), options).unwrap();
    rig.append(2);
    if policy == FsyncPolicy::Always && seed.is_multiple_of(2) {
        // Written, and not synced.
        rig.disk.fault_at(rig.disk.operations() + 1, Fault::Error);
    } else {
        rig.disk.fault_at(rig.disk.operations(), Fault::Error);
    }
    rig.batch(2).turn();
    assert_eq!(rig.journal.admit(), Err(Refusal::DiskFailed));
    rig
}

#[test]
fn a_start_on_a_full_disk_after_a_failed_sync_loses_nothing_durable() {
    for seed in 0..50 {
        for full_after in 0..20 {
            // The sync of the last two records failed, and the page that they share with the first two is spoilt.
            let disk = failing(FsyncPolicy::Always, 2 * seed).crash(Crash::Process);
            disk.fault_at(disk.operations() + full_after, Fault::Full);
            let mut rig = Rig::open(&disk, options(1 << 20)).unwrap();
            rig.wait(60).wait(60);
            check_opening(&rig.crash(Crash::Power), 2);
        }
    }
}

#[test]
fn what_is_given_up_is_gone_for_good_and_its_numbers_stay_taken() {
    for policy in [FsyncPolicy::Always, FsyncPolicy::EverySec] {
        for seed in 0..40 {
            let mut rig = failing(policy, seed);
            let given_up = rig.engine.give_up(&rig.journal, rig.now_ms).unwrap();
            assert_eq!(given_up.lost, [payload(Lsn(3)), payload(Lsn(4))]);
            let is_given_up = |lsn| rig.journal.is_given_up(Lsn(lsn));
            assert_eq!([2, 3, 4, 5].map(is_given_up), [false, true, true, false]);
            // What is safe can be read back, and nothing else.
            let mut state = Replayed::default();
            rig.journal.read_back(&given_up, &mut state).unwrap();
            assert_records(&state, 1, 2);
            // Killed in this state, it is not there either.
            let copy = SimulatedDisk::new(seed);
            rig.disk.names().iter().for_each(|name| copy.put(name, &rig.disk.bytes(name).unwrap()));
            assert_records(&Rig::open(&copy, options(1 << 20)).unwrap().replayed, 1, 2);
            // The log goes on behind it.
            rig.wait(60);
            assert_eq!(rig.engine.give_up(&rig.journal, rig.now_ms), None, "the disk takes writes again");
            rig.append(1);
            rig.journal.request_sync(Lsn(5));
            rig.turn();
            assert_eq!(rig.durable(), 5);
            let disk = rig.crash(Crash::Power);
            let rig = Rig::open(&disk, options(1 << 20)).unwrap();
            let found: Vec<u64> = rig.replayed.records.iter().map(|(lsn, _)| lsn.0).collect();
            assert_eq!(found, [1, 2, 5]);
        }
    }
}

#[test]
fn what_was_acknowledged_under_another_policy_or_before_the_start_is_not_given_up() {
    // Written under everysec, then always, then the disk fails.
    let mut rig = Rig::new(Options { fsync: FsyncPolicy::EverySec, ..options(1 << 20) });
    rig.append(2);
    assert_eq!((rig.journal.written_lsn(), rig.durable()), (Lsn(2), 0));
    rig.journal.set_policy(FsyncPolicy::Always);
    rig.disk.fault_at(rig.disk.operations(), Fault::Error);
    rig.batch(1).turn();
    let given_up = rig.engine.give_up(&rig.journal, 0).unwrap();
    assert_eq!(given_up.lost, [payload(Lsn(3))]);
    let mut state = Replayed::default();
    rig.journal.read_back(&given_up, &mut state).unwrap();
    assert_records(&state, 1, 2);
    let disk = rig.crash(Crash::Process);
    // Opened on a full disk, nothing that was read is durable yet.
    disk.set_full(true);
    let mut rig = Rig::open(&disk, options(1 << 20)).unwrap();
    assert_eq!((rig.journal.admit(), rig.durable()), (Err(Refusal::DiskFull), 0));
    let given_up = rig.engine.give_up(&rig.journal, 0).unwrap();
    assert!(given_up.lost.is_empty());
    let mut state = Replayed::default();
    rig.journal.read_back(&given_up, &mut state).unwrap();
    assert_records(&state, 1, 2);
}

#[test]
fn a_snapshot_begun_before_something_was_given_up_never_counts() {
    let mut rig = Rig::new(options(1 << 20));
    rig.append(2);
    let mut snapshot = rig.engine.snapshot(&rig.journal, 0).unwrap();
    rig.disk.fault_at(rig.disk.operations(), Fault::Error);
    rig.batch(2).turn();
    snapshot.item(b"a", rig.journal.last_lsn(), b"with what is lost").unwrap();
    assert_eq!(rig.engine.give_up(&rig.journal, 0).unwrap().lost.len(), 2);
    rig.wait(60);
    assert_eq!(rig.journal.admit(), Ok(()));
    let publication = snapshot.complete().unwrap();
    assert!(rig.engine.publish(publication, rig.now_ms).is_err());
    assert!(rig.snapshot(&["a"]).is_ok());
}

#[test]
fn writes_during_a_sync_are_written_and_not_told_durable_by_it() {
    for policy in [FsyncPolicy::EverySec, FsyncPolicy::No] {
        // Small enough that the sync is that of a new segment, or not.
        for segment_bytes in [1 << 20, 200] {
            let mut rig = Rig::new(Options { fsync: policy, ..options(segment_bytes) });
            rig.append(20);
            let journal = std::sync::Arc::new(rig.journal);
            let (other, told) = (journal.clone(), std::sync::Arc::new(std::sync::Mutex::new(Vec::new())));
            let seen = told.clone();
            rig.disk.during_sync(Some(Box::new(move || {
                let lsn = other.last_lsn().next();
                other.append(&payload(lsn)).unwrap();
                other.write_beside_sync();
                seen.lock().unwrap().push((lsn, other.written_lsn(), other.durable_lsn()));
            })));
            journal.request_sync(Lsn(20));
            rig.engine.turn(5000);
            rig.disk.during_sync(None);
            let told = told.lock().unwrap().clone();
            assert!(!told.is_empty());
            for (lsn, written, durable) in &told {
                assert_eq!(written, lsn, "a sync delays no write");
                assert!(durable < lsn);
            }
            let (durable, last) = (journal.durable_lsn(), journal.last_lsn());
            assert!(Lsn(20) <= durable && durable < last, "{durable} of {last}");
            rig.disk.stop();
            drop((rig.engine, journal));
            rig.disk.restart(Crash::Process);
            assert_records(&Rig::open(&rig.disk, options(1 << 20)).unwrap().replayed, 1, last.0);
        }
    }
}
