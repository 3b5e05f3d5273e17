//! A journal on a simulated disk, for tests that choose each step themselves.

use std::sync::{Arc, Mutex};

use super::Stepper;
use crate::disk::Disk;
use crate::disk::simulated::{Crash, SimulatedDisk};
use crate::recovery::{Recovery, Rejected, Report, Restore};
use crate::{Error, Event, FsyncPolicy, Journal, Lsn, Options, Progress, SnapshotInfo};

/// Everything that a replay handed over.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Replayed {
    pub(crate) items: Vec<(Vec<u8>, Lsn, Vec<u8>)>,
    pub(crate) records: Vec<(Lsn, Vec<u8>)>,
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

    fn progress(&mut self, _progress: Progress) {}
}

/// An open journal, its engine, and what it has told.
pub(crate) struct Rig {
    pub(crate) disk: SimulatedDisk,
    pub(crate) journal: Journal,
    pub(crate) engine: Stepper,
    pub(crate) replayed: Replayed,
    pub(crate) report: Report,
    pub(crate) events: Arc<Mutex<Vec<Event>>>,
    pub(crate) now_ms: u64,
}

/// Options for tests: everything synced at once, segments of the given size.
pub(crate) fn options(segment_bytes: u64) -> Options {
    Options {
        fsync: FsyncPolicy::Always,
        segment_bytes,
        zero_ahead_bytes: 0,
        retry_ms: 50,
        entropy: Some(7),
        ..Options::default()
    }
}

/// The payload that [`Rig::append`] gives to a record.
pub(crate) fn payload(lsn: Lsn) -> Vec<u8> {
    format!("record {lsn} {}", "x".repeat(lsn.0 as usize % 50)).into_bytes()
}

impl Rig {
    pub(crate) fn open(disk: &SimulatedDisk, options: Options) -> Result<Rig, Error> {
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let mut replayed = Replayed::default();
        let recovered = Recovery::open(shared, options)?.replay(&mut replayed)?;
        let report = recovered.report();
        let events = Arc::new(Mutex::new(Vec::new()));
        let told = events.clone();
        let (journal, engine) =
            recovered.start_stepped(Arc::new(move |event| told.lock().unwrap().push(event)))?;
        Ok(Rig { disk: disk.clone(), journal, engine, replayed, report, events, now_ms: 0 })
    }

    /// An empty journal on a new disk.
    pub(crate) fn new(options: Options) -> Rig {
        Rig::open(&SimulatedDisk::new(1), options).unwrap()
    }

    /// Appends `count` records, one a turn.
    pub(crate) fn append(&mut self, count: u64) -> &mut Rig {
        for _ in 0..count {
            self.journal.append(&payload(self.journal.last_lsn().next())).unwrap();
            self.turn();
        }
        self
    }

    /// Appends `count` records in one batch, without a turn.
    pub(crate) fn batch(&mut self, count: u64) -> &mut Rig {
        for _ in 0..count {
            self.journal.append(&payload(self.journal.last_lsn().next())).unwrap();
        }
        self
    }

    pub(crate) fn turn(&mut self) -> &mut Rig {
        self.engine.turn(self.now_ms);
        self
    }

    /// Lets time pass, and takes a turn.
    pub(crate) fn wait(&mut self, ms: u64) -> &mut Rig {
        self.now_ms += ms;
        self.turn()
    }

    /// Takes a snapshot of `keys`, whose values are their stamps in words.
    pub(crate) fn snapshot(&mut self, keys: &[&str]) -> Result<SnapshotInfo, Error> {
        let mut writer = self.engine.snapshot(&self.journal, self.now_ms)?;
        for key in keys {
            let stamp = self.journal.last_lsn();
            writer.item(key.as_bytes(), stamp, format!("{key} as of {stamp}").as_bytes())?;
        }
        let publication = writer.complete()?;
        self.engine.publish(publication, self.now_ms)
    }

    /// Stops the machine without warning, and gives back its disk.
    pub(crate) fn crash(self, crash: Crash) -> SimulatedDisk {
        let Rig { disk, journal, engine, .. } = self;
        disk.stop();
        drop((engine, journal));
        disk.restart(crash);
        disk.clear_faults();
        disk
    }

    pub(crate) fn durable(&self) -> u64 {
        self.journal.durable_lsn().0
    }
}

/// Checks that the records are those from `first` to `last`, as [`Rig::append`] made them.
pub(crate) fn assert_records(replayed: &Replayed, first: u64, last: u64) {
    let expected: Vec<_> = (first..=last).map(|lsn| (Lsn(lsn), payload(Lsn(lsn)))).collect();
    assert_eq!(replayed.records, expected);
}
