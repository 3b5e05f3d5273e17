//! What an append costs the shard that makes it, and how fast a log and a snapshot are read back.
//!
//! ```text
//! cargo bench -p sterna-journal
//! ```
//!
//! Counters are records or items; the payload is 60 bytes, a small stream entry's effect.

use std::sync::Arc;

use divan::Bencher;
use divan::counter::ItemsCount;
use sterna_journal::{FileDisk, FsyncPolicy, Journal, Lsn, Options, Recovery, Rejected, Restore};

const PAYLOAD: [u8; 60] = [b'x'; 60];
const RECORDS: u64 = 1_000_000;

fn main() {
    divan::main();
}

#[derive(Default)]
struct Count {
    items: u64,
    records: u64,
    bytes: usize,
}

impl Restore for Count {
    fn item(&mut self, _key: &[u8], _stamp: Lsn, value: &[u8]) -> Result<(), Rejected> {
        self.items += 1;
        self.bytes += value.len();
        Ok(())
    }

    fn record(&mut self, _lsn: Lsn, payload: &[u8]) -> Result<(), Rejected> {
        self.records += 1;
        self.bytes += payload.len();
        Ok(())
    }
}

fn open(directory: &tempfile::TempDir, fsync: FsyncPolicy) -> (Journal, Count) {
    open_with(directory, Options { fsync, ..Options::default() })
}

fn open_with(directory: &tempfile::TempDir, options: Options) -> (Journal, Count) {
    let disk = Arc::new(FileDisk::open(directory.path()).unwrap());
    let mut count = Count::default();
    let recovered = Recovery::open(disk, options).unwrap().replay(&mut count).unwrap();
    (recovered.start(Arc::new(|_| {})).unwrap(), count)
}

/// As a shard does it: a turn of 64 appends and one flush, refused while the disk is behind.
#[divan::bench(sample_count = 20, sample_size = 20)]
fn append_64_and_flush(bencher: Bencher) {
    let directory = tempfile::tempdir().unwrap();
    let (journal, _) = open(&directory, FsyncPolicy::EverySec);
    bencher.counter(ItemsCount::new(64_u64)).bench(|| {
        for _ in 0..64 {
            journal.append(&PAYLOAD).unwrap();
        }
        journal.flush();
    });
}

/// The whole way to the disk: a million records appended, written and synced.
#[divan::bench(sample_count = 3, sample_size = 1)]
fn append_and_sync_a_million(bencher: Bencher) {
    let directory = tempfile::tempdir().unwrap();
    let (journal, _) = open(&directory, FsyncPolicy::EverySec);
    bencher.counter(ItemsCount::new(RECORDS)).bench(|| {
        for _ in 0..RECORDS / 64 {
            while journal.admit().is_err() {
                std::thread::yield_now();
            }
            for _ in 0..64 {
                journal.append(&PAYLOAD).unwrap();
            }
            journal.flush();
        }
        journal.wait_durable(journal.last_lsn(), None).unwrap();
    });
}

/// One client that waits for each of its writes to be synced, without and with zeros written ahead.
#[divan::bench(sample_count = 50, sample_size = 20, args = [0, 256 << 10])]
fn append_always_one_client(bencher: Bencher, zero_ahead_bytes: u64) {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { fsync: FsyncPolicy::Always, zero_ahead_bytes, ..Options::default() };
    let (journal, _) = open_with(&directory, options);
    bencher.bench(|| {
        let lsn = journal.append(&PAYLOAD).unwrap();
        journal.flush();
        journal.wait_durable(lsn, None).unwrap();
    });
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn replay_a_million_records(bencher: Bencher) {
    let directory = tempfile::tempdir().unwrap();
    let (journal, _) = open(&directory, FsyncPolicy::No);
    for _ in 0..RECORDS {
        journal.append(&PAYLOAD).unwrap();
    }
    journal.close().unwrap();
    drop(journal);
    bencher.counter(ItemsCount::new(RECORDS)).bench_local(|| {
        let (_, count) = open(&directory, FsyncPolicy::No);
        assert_eq!(count.records, RECORDS);
    });
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn load_a_million_items(bencher: Bencher) {
    let directory = tempfile::tempdir().unwrap();
    let (journal, _) = open(&directory, FsyncPolicy::No);
    let mut snapshot = journal.snapshot().unwrap();
    for key in 0..RECORDS {
        snapshot.item(&key.to_le_bytes(), journal.last_lsn(), &PAYLOAD).unwrap();
    }
    snapshot.finish().unwrap();
    drop(journal);
    bencher.counter(ItemsCount::new(RECORDS)).bench_local(|| {
        let (_, count) = open(&directory, FsyncPolicy::No);
        assert_eq!(count.items, RECORDS);
    });
}
