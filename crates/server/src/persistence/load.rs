//! The start: from the journal's files to a keyspace and a journal that goes on.
//!
//! 1. [`open`], before anything listens: claims the directory and looks at the files. A directory in use, a file of another
//!    version and a damaged header stop the start here.
//! 2. [`Loader::start`]: a thread replays snapshot and log into the partitions. The shards wait for it for a moment, so that
//!    clients of a small journal never see it; after that they run, and answer `LOADING` to what needs keys.
//! 3. When all is there, the journal starts, the partitions get it, and the next turn of each shard takes writes.
//!
//! Damage stops the start, or the server if its shards run already: half of the keys are none.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use sterna_journal::{Error, FileDisk, Journal, Notify, Recovery};

use super::sink::Sink;
use super::{Rebuild, directory, foreign, options};
use crate::config::Config;
use crate::journaling::Mode;
use crate::server::Server;
use crate::time::unix_ms;

/// How long the shards wait for the keys before they start without: about what a client takes for a slow connect.
const QUIET_LOADING: Duration = Duration::from_millis(500);

/// A journal's files, claimed and looked at.
pub(crate) struct Opened {
    pub(super) recovery: Recovery,
    directory: PathBuf,
}

/// Why there is no journal to go on with.
#[derive(Debug, thiserror::Error)]
#[error("journal in {}: {error}", directory.display())]
pub struct JournalError {
    directory: PathBuf,
    error: Error,
}

/// A load that goes on beside the shards.
pub(crate) struct Loader {
    thread: JoinHandle<()>,
    outcome: Receiver<Result<(), JournalError>>,
}

/// Claims the directory of the journal and looks at its files, if there is one or the configuration wants one.
///
/// With `appendonly no` as well: what SAVE has written is there after a restart, as Redis's dump.rdb is.
pub(crate) fn open(config: &Config) -> Result<Option<Opened>, JournalError> {
    let directory = directory(config);
    if !config.appendonly && !directory.exists() {
        // Nothing is there, and nothing is made before there is something to keep.
        return Ok(None);
    }
    if foreign::in_the_way(config).is_some() {
        // Named already; and nothing of ours can be there.
        return Ok(None);
    }
    match claim(config) {
        Err(JournalError { error: Error::Locked { .. }, .. }) if !config.keeps_anything() => {
            tracing::warn!(directory = %directory.display(),
                "in use by another process: this one keeps nothing, and starts without what is in there");
            Ok(None)
        }
        claimed => claimed.map(Some),
    }
}

pub(super) fn claim(config: &Config) -> Result<Opened, JournalError> {
    let directory = directory(config);
    let disk = FileDisk::open(&directory).map_err(|source| Error::Io {
        action: "make the directory of",
        file: "the journal".to_owned(),
        source,
    });
    let recovery = disk.and_then(|disk| Recovery::open(Arc::new(disk), options(config)));
    match recovery {
        Ok(recovery) => Ok(Opened { recovery, directory }),
        Err(error) => Err(JournalError { directory, error }),
    }
}

impl Loader {
    /// Starts to load, and waits for the end for a moment. `None`: it is loaded.
    pub(crate) fn start(server: &Arc<Server>, opened: Opened) -> Result<Option<Loader>, JournalError> {
        server.journaling.mode.load();
        server.journaling.loading.since_s.store(unix_ms() / 1000, Relaxed);
        let (tell, outcome) = sync_channel(1);
        let directory = opened.directory.clone();
        let of = Arc::clone(server);
        let run = move || {
            let directory = opened.directory;
            let result = match load(&of, opened.recovery) {
                Err(Error::Rejected { .. }) if of.journaling.loading.is_called_off() => Ok(()),
                result => result.map_err(|error| JournalError { directory, error }),
            };
            if let Err(error) = &result {
                tracing::error!("{error}");
                // It means something only to shards that run.
                of.stop();
            }
            // The other end is gone once nobody waits any more.
            let _ = tell.send(result);
        };
        let thread = thread::Builder::new().name("loading".to_owned()).spawn(run).map_err(|source| {
            let (action, file) = ("start the thread that loads", "the journal".to_owned());
            JournalError { directory, error: Error::Io { action, file, source } }
        })?;
        match outcome.recv_timeout(QUIET_LOADING) {
            Ok(result) => result.map(|()| None),
            Err(RecvTimeoutError::Timeout) => Ok(Some(Loader { thread, outcome })),
            Err(RecvTimeoutError::Disconnected) => panic!("the thread that loads the journal has panicked"),
        }
    }

    /// Waits for the end.
    pub(crate) fn join(self) -> Result<(), JournalError> {
        let Loader { thread, outcome } = self;
        let panicked = thread.join().is_err();
        assert!(!panicked, "the thread that loads the journal has panicked");
        outcome.recv().unwrap_or(Ok(()))
    }
}

fn load(server: &Arc<Server>, recovery: Recovery) -> Result<(), Error> {
    let began = Instant::now();
    let (snapshot, epoch) =
        recovery.manifest().map_or((None, 0), |manifest| (manifest.snapshot, manifest.epoch));
    let mut rebuild = Rebuild::new(&server.partitions, snapshot, epoch, &server.journaling.loading);
    let recovered = recovery.replay(&mut rebuild)?;
    let (misfits, is_suspended) = (rebuild.misfits, rebuild.is_suspended());
    let mut standings = rebuild.standings();
    drop(rebuild);
    super::replicated::check(server, &standings)?;
    let report = recovered.report();
    if report.torn_bytes > 0 {
        tracing::warn!(bytes = report.torn_bytes, "the journal ended in an unfinished write, which was cut");
    }
    if misfits > 0 {
        tracing::warn!(
            effects = misfits,
            "writes that built upon lost ones were passed over, after a repair"
        );
    }
    let journal = begin(server, recovered.start(notify_server(server))?);
    for log in &server.logs {
        let standing = standings.of.remove(&log.group).unwrap_or_default();
        log.open(&journal, standing.settled, standing.witness)?;
    }
    if server.config().appendonly {
        if is_suspended {
            journal.append(&sterna_keyspace::resume())?;
        }
        server.partitions.cut(true, || server.journaling.mode.enter(Mode::On));
    } else {
        server.journaling.mode.enter(Mode::Off);
    }
    server.settle_epoch(misfits == 0 && !is_suspended);
    if server.partitions.libraries().version() > 0 {
        let mut turn = server.settled_script_turn();
        // Now rather than at the first call: what can't be loaded again is said in the log of the start.
        turn.functions(server.partitions.libraries());
        server.scripts.note_figures(&turn);
    }
    server.notify_shards();
    let took = began.elapsed();
    let (items, records) = (report.items, report.records);
    let rate = ((items + records) as f64 / took.as_secs_f64().max(1e-6)) as u64;
    tracing::info!(keys = items, records, ms = took.as_millis() as u64, rate, "the journal is loaded");
    Ok(())
}

/// What the journal tells is told to the server.
pub(super) fn notify_server(server: &Arc<Server>) -> Notify {
    let server = Arc::downgrade(server);
    Arc::new(move |event| {
        if let Some(server) = server.upgrade() {
            server.on_journal_event(event);
        }
    })
}

/// From the next cut on writes go to `journal`.
pub(super) fn begin(server: &Arc<Server>, journal: Journal) -> Arc<Journal> {
    let journal = Arc::new(journal);
    let logs = server.logs.clone();
    let sink = Sink { journal: Arc::clone(&journal), server: Arc::downgrade(server), logs };
    server.partitions.set_journal(Box::new(sink));
    if server.journaling.opened.set(Arc::clone(&journal)).is_err() {
        unreachable!("a server begins one journal");
    }
    server.memory.leave_out(&journal);
    journal
}
