//! The journal as the server uses it: threads, a real directory, waiting.

use std::collections::HashMap;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use sterna_journal::disk::{Disk, DiskFile};
use sterna_journal::{
    Error, Event, FileDisk, FsyncPolicy, Journal, Log, Lsn, Options, Recovery, Refusal, Rejected, Report,
    Restore,
};

/// Counters by key: an effect adds one, so that one applied twice or not at all shows.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counters {
    counts: HashMap<u64, u64>,
    stamps: HashMap<u64, Lsn>,
}

fn number(bytes: &[u8]) -> Result<u64, Rejected> {
    Ok(u64::from_le_bytes(bytes.try_into().map_err(|_| Rejected("not a number"))?))
}

impl Restore for Counters {
    fn item(&mut self, key: &[u8], stamp: Lsn, value: &[u8]) -> Result<(), Rejected> {
        self.counts.insert(number(key)?, number(value)?);
        self.stamps.insert(number(key)?, stamp);
        Ok(())
    }

    fn record(&mut self, lsn: Lsn, payload: &[u8]) -> Result<(), Rejected> {
        let key = number(payload)?;
        if !self.stamps.get(&key).is_some_and(|stamp| stamp.covers(lsn)) {
            *self.counts.entry(key).or_default() += 1;
        }
        Ok(())
    }
}

fn open_disk(
    disk: Arc<dyn Disk>,
    options: Options,
    notify: impl Fn(Event) + Send + Sync + 'static,
) -> Result<(Journal, Counters, Report), Error> {
    let mut counters = Counters::default();
    let recovered = Recovery::open(disk, options)?.replay(&mut counters)?;
    let report = recovered.report();
    Ok((recovered.start(Arc::new(notify))?, counters, report))
}

fn open(directory: &Path, options: Options) -> Result<(Journal, Counters, Report), Error> {
    open_disk(Arc::new(FileDisk::open(directory).unwrap()), options, |_| {})
}

fn always() -> Options {
    Options { fsync: FsyncPolicy::Always, ..Options::default() }
}

#[test]
fn one_sync_serves_many_clients_and_each_finds_its_record_again() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, _, _) = open(directory.path(), always()).unwrap();
    let threads = 16;
    let each = 50;
    thread::scope(|scope| {
        for client in 0..threads {
            let journal = &journal;
            scope.spawn(move || {
                for _ in 0..each {
                    let lsn = journal.append(&u64::to_le_bytes(client)).unwrap();
                    journal.flush();
                    assert!(journal.wait_durable(lsn, None).unwrap());
                    assert!(journal.durable_lsn() >= lsn);
                }
            });
        }
    });
    journal.close().unwrap();
    let stats = journal.stats();
    assert!(stats.syncs < threads * each, "{} syncs for {} records", stats.syncs, threads * each);
    drop(journal);
    let (_, counters, report) = open(directory.path(), always()).unwrap();
    assert_eq!(report.last, Lsn(threads * each));
    assert_eq!(counters.counts, (0..threads).map(|client| (client, each)).collect());
}

#[test]
fn whoever_is_notified_is_told_of_every_record() {
    let directory = tempfile::tempdir().unwrap();
    let (told, events) = mpsc::channel();
    let disk = Arc::new(FileDisk::open(directory.path()).unwrap());
    let (journal, _, _) = open_disk(disk, always(), move |event| told.send(event).unwrap()).unwrap();
    for _ in 0..20 {
        let lsn = journal.append(&u64::to_le_bytes(1)).unwrap();
        journal.flush();
        let mut durable = Lsn::ZERO;
        while durable < lsn {
            match events.recv_timeout(Duration::from_secs(60)).unwrap() {
                Event::Durable(lsn) => {
                    assert!(lsn > durable);
                    durable = lsn;
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn a_second_journal_on_the_same_directory_is_refused_until_the_first_is_closed() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, _, _) = open(directory.path(), always()).unwrap();
    assert!(matches!(open(directory.path(), always()), Err(Error::Locked { .. })));
    journal.close().unwrap();
    assert!(open(directory.path(), always()).is_ok());
}

#[test]
fn snapshots_are_taken_while_four_threads_write_and_replay_gives_the_same_state() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { fsync: FsyncPolicy::EverySec, segment_bytes: 1 << 20, ..Options::default() };
    let (journal, _, _) = open(directory.path(), options.clone()).unwrap();
    // Each key's lock orders its writes, as a partition's does.
    let keys: Vec<Mutex<u64>> = (0..64).map(|_| Mutex::new(0)).collect();
    let stop = AtomicBool::new(false);
    let writes = AtomicU64::new(0);
    thread::scope(|scope| {
        for writer in 0..4_usize {
            let (journal, keys, stop, writes) = (&journal, &keys, &stop, &writes);
            scope.spawn(move || {
                let mut at = writer;
                // Enough for every snapshot to be overtaken, and not more than a slow machine replays in a moment.
                while !stop.load(Ordering::Relaxed) && writes.load(Ordering::Relaxed) < 300_000 {
                    at = (at * 31 + 7) % keys.len();
                    if journal.admit().is_ok() {
                        let mut count = keys[at].lock().unwrap();
                        *count += 1;
                        journal.append(&u64::to_le_bytes(at as u64)).unwrap();
                        drop(count);
                        if writes.fetch_add(1, Ordering::Relaxed) % 16 == 0 {
                            journal.flush();
                        }
                    }
                }
            });
        }
        for _ in 0..3 {
            let mut snapshot = journal.snapshot().unwrap();
            assert!(matches!(journal.snapshot(), Err(Error::SnapshotBusy)));
            for (key, count) in keys.iter().enumerate() {
                let (stamp, count) = {
                    let count = count.lock().unwrap();
                    (journal.last_lsn(), *count)
                };
                if count > 0 {
                    snapshot.item(&u64::to_le_bytes(key as u64), stamp, &count.to_le_bytes()).unwrap();
                }
            }
            let info = snapshot.finish().unwrap();
            assert!(journal.durable_lsn() >= info.end);
        }
        stop.store(true, Ordering::Relaxed);
    });
    let state: HashMap<u64, u64> =
        keys.iter().enumerate().map(|(key, count)| (key as u64, *count.lock().unwrap())).collect();
    let state: HashMap<_, _> = state.into_iter().filter(|&(_, count)| count > 0).collect();

    let mut reloaded = Counters::default();
    journal.reload(&mut reloaded).unwrap();
    assert_eq!(reloaded.counts, state);
    assert!(journal.stats().snapshot.is_some());
    journal.close().unwrap();
    drop(journal);
    let (journal, counters, _) = open(directory.path(), options).unwrap();
    assert_eq!(counters.counts, state);
    drop(journal);
    let left = std::fs::read_dir(directory.path()).unwrap();
    let names: Vec<_> = left.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(names.iter().filter(|name| name.ends_with(".snapshot")).count(), 1, "{names:?}");
}

#[test]
fn the_log_is_read_while_it_is_written_and_trimmed_only_behind_a_snapshot() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 4096, ..always() };
    let (journal, _, _) = open(directory.path(), options).unwrap();
    let log: &dyn Log = &journal;
    thread::scope(|scope| {
        scope.spawn(|| {
            for value in 0..2000_u64 {
                log.append(&value.to_le_bytes()).unwrap();
            }
        });
        let mut next = Lsn(1);
        while next < Lsn(2001) {
            let wanted = Lsn(next.0.min(2000));
            journal.wait_durable(wanted.min(journal.last_lsn()), None).unwrap();
            next = log
                .read_from(next, &mut |lsn, payload| {
                    assert_eq!(number(payload).unwrap() + 1, lsn.0);
                    if lsn.0 % 300 == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                })
                .unwrap();
        }
    });
    assert!(matches!(log.trim_before(Lsn(100)), Err(Error::NotCovered { covered: Lsn(0), .. })));
    let mut snapshot = log.put_snapshot().unwrap();
    assert_eq!(snapshot.start(), Lsn(2000));
    snapshot.item(&u64::to_le_bytes(7), Lsn(2000), &u64::to_le_bytes(1)).unwrap();
    let info = snapshot.finish().unwrap();
    assert_eq!(log.snapshot().unwrap(), Some(info));
    assert!(matches!(
        log.read_from(Lsn(1), &mut |_, _| ControlFlow::Continue(())),
        Err(Error::Trimmed { first: Lsn(2001), .. })
    ));
    log.trim_before(Lsn(2001)).unwrap();
    let lsn = log.append(&u64::to_le_bytes(7)).unwrap();
    journal.wait_durable(lsn, None).unwrap();
    let mut counters = Counters::default();
    assert_eq!(log.replay(&mut counters).unwrap(), lsn);
    assert_eq!(counters.counts, HashMap::from([(7, 2)]));
}

/// The answer comes from another thread than the question, and that thread has told everybody before.
#[test]
fn whoever_is_told_of_a_snapshot_finds_it_in_the_figures_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, _, _) = open(directory.path(), always()).unwrap();
    for round in 0..100_u64 {
        journal.append(&round.to_le_bytes()).unwrap();
        let info = journal.snapshot().unwrap().finish().unwrap();
        let stats = journal.stats();
        assert_eq!(stats.snapshot, Some(info), "round {round}");
        assert_eq!(stats.segments, 1, "round {round}");
    }
}

#[test]
fn the_policy_changes_while_running_and_a_wait_syncs_under_any() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { fsync: FsyncPolicy::No, ..Options::default() };
    let (journal, _, _) = open(directory.path(), options).unwrap();
    let lsn = journal.append(&u64::to_le_bytes(1)).unwrap();
    journal.flush();
    assert!(journal.wait_durable(lsn, Some(Duration::from_secs(60))).unwrap());
    journal.set_policy(FsyncPolicy::Always);
    assert_eq!(journal.policy(), FsyncPolicy::Always);
    let lsn = journal.append(&u64::to_le_bytes(1)).unwrap();
    journal.flush();
    while journal.durable_lsn() < lsn {
        thread::yield_now();
    }
    // What will never be appended is not waited for beyond the time given.
    assert!(!journal.wait_durable(Lsn(1_000_000), Some(Duration::from_millis(1))).unwrap());
}

#[test]
fn everysec_syncs_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let (told, events) = mpsc::channel();
    let disk = Arc::new(FileDisk::open(directory.path()).unwrap());
    let (journal, _, _) = open_disk(disk, Options::default(), move |event| drop(told.send(event))).unwrap();
    let lsn = journal.append(&u64::to_le_bytes(1)).unwrap();
    journal.flush();
    // Where another sync runs, a thread writes it, and tells before.
    let mut told = std::iter::from_fn(|| events.recv_timeout(Duration::from_secs(60)).ok());
    assert_eq!(told.find(|event| !matches!(event, Event::Written(_))), Some(Event::Durable(lsn)));
}

/// A disk whose syncs wait at a gate, or whose writes fail for lack of room.
#[derive(Clone)]
struct Slow {
    disk: Arc<FileDisk>,
    gate: Arc<(Mutex<bool>, Condvar)>,
    full: Arc<AtomicBool>,
}

struct SlowFile {
    file: Box<dyn DiskFile>,
    slow: Slow,
}

impl Slow {
    fn new(directory: &Path) -> Slow {
        let disk = Arc::new(FileDisk::open(directory).unwrap());
        Slow { disk, gate: Arc::new((Mutex::new(true), Condvar::new())), full: Arc::default() }
    }

    fn set_open(&self, open: bool) {
        *self.gate.0.lock().unwrap() = open;
        self.gate.1.notify_all();
    }

    fn wrap(&self, file: io::Result<Box<dyn DiskFile>>) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(SlowFile { file: file?, slow: self.clone() }))
    }
}

impl Disk for Slow {
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.wrap(self.disk.create(name))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.wrap(self.disk.open(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        self.disk.unlink(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.disk.sync_dir()
    }

    fn lock(&self, name: &str) -> io::Result<Box<dyn Send>> {
        self.disk.lock(name)
    }
}

impl DiskFile for SlowFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.slow.full.load(Ordering::SeqCst) {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.file.write_at(bytes, offset)
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(into, offset)
    }

    fn sync(&self) -> io::Result<()> {
        let (open, opened) = &*self.slow.gate;
        let _open = opened.wait_while(open.lock().unwrap(), |open| !*open).unwrap();
        self.file.sync()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

#[test]
fn while_a_sync_stalls_memory_is_bounded_and_writes_are_refused_until_it_ends() {
    let directory = tempfile::tempdir().unwrap();
    let slow = Slow::new(directory.path());
    let options = Options { pending_bytes_max: 100_000, ..always() };
    let (journal, _, _) = open_disk(Arc::new(slow.clone()), options, |_| {}).unwrap();
    slow.set_open(false);
    let mut appended = 0;
    // The engine takes one batch to the stalled sync; behind it the limit is reached.
    while journal.admit().is_ok() {
        journal.append(&[0; 8]).unwrap();
        journal.flush();
        appended += 1;
    }
    assert_eq!(journal.admit(), Err(Refusal::Backlog));
    assert!(appended < 3 * 100_000 / 20, "{appended} records of 20 bytes");
    assert_eq!(journal.durable_lsn(), Lsn::ZERO);
    slow.set_open(true);
    assert!(journal.wait_durable(Lsn(appended), None).unwrap());
    assert_eq!(journal.admit(), Ok(()));
}

#[test]
fn under_everysec_a_sync_that_does_not_end_delays_no_write() {
    for fsync in [FsyncPolicy::EverySec, FsyncPolicy::No] {
        let directory = tempfile::tempdir().unwrap();
        let slow = Slow::new(directory.path());
        let (told, events) = mpsc::channel();
        // Small segments: the syncs of new ones stall as well.
        let options = Options { fsync, segment_bytes: 2000, ..Options::default() };
        let (journal, _, _) =
            open_disk(Arc::new(slow.clone()), options, move |event| drop(told.send(event))).unwrap();
        slow.set_open(false);
        journal.append(&u64::to_le_bytes(1)).unwrap();
        journal.flush();
        // Written by the caller, if no sync runs yet; else by a thread, which tells.
        journal.request_sync(Lsn(1));
        for _ in 0..1000 {
            let lsn = journal.append(&u64::to_le_bytes(1)).unwrap();
            journal.flush();
            while journal.written_lsn() < lsn {
                match events.recv_timeout(Duration::from_secs(60)).unwrap() {
                    Event::Written(written) => assert!(written <= journal.written_lsn()),
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!((journal.durable_lsn(), journal.admit()), (Lsn::ZERO, Ok(())));
        // What a killed process would leave.
        let copy = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(directory.path()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        let (_, counters, _) = open(copy.path(), always()).unwrap();
        assert_eq!(counters.counts, HashMap::from([(1, 1001)]));
        slow.set_open(true);
        assert!(journal.wait_durable(Lsn(1001), None).unwrap());
    }
}

#[test]
fn under_everysec_memory_is_bounded_while_a_sync_does_not_end() {
    let directory = tempfile::tempdir().unwrap();
    let slow = Slow::new(directory.path());
    let options = Options { pending_bytes_max: 50_000, unsynced_bytes_max: 50_000, ..Options::default() };
    let (journal, _, _) = open_disk(Arc::new(slow.clone()), options, |_| {}).unwrap();
    slow.set_open(false);
    let mut appended = 0;
    while journal.admit().is_ok() {
        journal.append(&[0; 8]).unwrap();
        journal.flush();
        appended += 1;
    }
    assert_eq!(journal.admit(), Err(Refusal::Backlog));
    // Half of it written twice over, and half of it in memory; each record with its frame and a mark at most.
    assert!((50_000 / 40..4 * 50_000 / 20).contains(&appended), "{appended} records of 20 to 40 bytes");
    slow.set_open(true);
    assert!(journal.wait_durable(Lsn(appended), None).unwrap());
    assert_eq!(journal.admit(), Ok(()));
}

#[test]
fn who_asks_for_a_write_over_and_over_while_a_sync_does_not_end_is_told_each_thing_once() {
    let directory = tempfile::tempdir().unwrap();
    let slow = Slow::new(directory.path());
    let (told, events) = mpsc::channel();
    let options = Options { pending_bytes_max: 50_000, unsynced_bytes_max: 50_000, ..Options::default() };
    let (journal, _, _) =
        open_disk(Arc::new(slow.clone()), options, move |event| drop(told.send(event))).unwrap();
    slow.set_open(false);
    let mut last = Lsn::ZERO;
    while journal.admit().is_ok() {
        last = journal.append(&[0; 8]).unwrap();
        journal.flush();
    }
    assert!(journal.written_lsn() < last, "the rest can't be written before the sync ends");
    for _ in 0..10_000 {
        journal.flush();
        thread::yield_now();
    }
    slow.set_open(true);
    assert!(journal.wait_durable(last, None).unwrap());
    drop(journal);
    let mut written: Vec<Lsn> = events
        .iter()
        .filter_map(|event| if let Event::Written(lsn) = event { Some(lsn) } else { None })
        .collect();
    let count = written.len();
    written.sort();
    written.dedup();
    assert_eq!(written.len(), count);
}

#[test]
fn a_full_disk_is_told_to_clients_and_to_whoever_waits_and_ends_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let slow = Slow::new(directory.path());
    let (told, events) = mpsc::channel();
    let options = Options { retry_ms: 1, ..always() };
    let (journal, _, _) =
        open_disk(Arc::new(slow.clone()), options.clone(), move |event| drop(told.send(event))).unwrap();
    slow.full.store(true, Ordering::SeqCst);
    let lsn = journal.append(&u64::to_le_bytes(1)).unwrap();
    journal.flush();
    assert_eq!(journal.wait_durable(lsn, None), Err(Refusal::DiskFull));
    assert_eq!(journal.admit(), Err(Refusal::DiskFull));
    let wait = Duration::from_secs(60);
    assert!(matches!(
        events.recv_timeout(wait).unwrap(),
        Event::Stopped { refusal: Refusal::DiskFull, cause } if cause.contains("segment")
    ));
    assert!(matches!(journal.snapshot(), Err(Error::Refused(Refusal::DiskFull))));
    slow.full.store(false, Ordering::SeqCst);
    assert_eq!(events.recv_timeout(wait).unwrap(), Event::Durable(lsn));
    assert_eq!(events.recv_timeout(wait).unwrap(), Event::Resumed);
    assert_eq!(journal.admit(), Ok(()));
    journal.close().unwrap();
    drop(journal);
    let (_, counters, _) = open(directory.path(), options).unwrap();
    assert_eq!(counters.counts, HashMap::from([(1, 1)]));
}

#[test]
fn a_journal_dropped_without_a_word_keeps_everything_appended() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, _, _) = open(directory.path(), Options::default()).unwrap();
    for _ in 0..1000 {
        journal.append(&u64::to_le_bytes(3)).unwrap();
    }
    drop(journal);
    let (_, counters, report) = open(directory.path(), Options::default()).unwrap();
    assert_eq!(counters.counts, HashMap::from([(3, 1000)]));
    assert_eq!(report.torn_bytes, 0);
}
