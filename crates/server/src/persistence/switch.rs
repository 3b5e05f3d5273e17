//! From recording nothing to recording everything and back, while the server runs; and snapshots in between.
//!
//! ```text
//! log   ──97──98──99──[suspend 100]──101──102──103── … ──140──
//!            ▲              ▲         │           └ end of the walk
//!            │              │         └ start of the snapshot
//!            │              └ cut: from here on writes are recorded
//!            └ what a start finds until the snapshot counts; afterwards snapshot and 102 to 140
//! ```
//!
//! On ([`Server::turn_on`])
//! 1. The journal is opened, if it isn't yet. A directory that holds keys which were not loaded is not taken over.
//! 2. Cut: a *suspend* goes into the log, and every write after it. A start that meets the suspend looks at nothing behind
//!    it, so whatever happens until step 4, what was durable before is what it finds.
//! 3. A snapshot is begun and walks the keys.
//! 4. The snapshot counts: its manifest names no file with the suspend in it. From here on a start finds everything.
//! 5. Every shard has its replies wait for the disk, if `appendfsync` says so.
//! 6. What was answered before that becomes durable; then CONFIG SET is answered, and what the disk does not take is undone from here on.
//!
//! If any of it fails, or is called off: cut, and nothing is recorded any more. The suspend stays in front of what was.
//!
//! A snapshot alone ([`Server::take_snapshot`] with `appendonly no`) is the same, but that before step 4 a cut ends the
//! recording: the log ends where the snapshot does.
//!
//! Off ([`Server::turn_off`]): a snapshot that runs has been called off; cut; what was recorded is synced. A start finds what
//! was there at the cut.
//!
//! At a start that goes on recording behind a suspend, a *resume* says that the state is again as it was there.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sterna_config::Config;
use sterna_journal::{Journal, Lsn, Rejected, Restore};

use super::load::{begin, claim, notify_server};
use super::snapshot::{Captured, capture, take};
use super::{foreign, policy};
use crate::journaling::{Mode, Outcome};
use crate::server::Server;

/// How long turning off waits for the disk: what doesn't become durable in this time is left to the journal's thread.
const LAST_SYNC_MAX: Duration = Duration::from_secs(10);

/// How often turning on looks whether it is called off while it waits for the disk.
const SETTLING_INTERVAL: Duration = Duration::from_millis(100);

/// Takes everything and keeps nothing: a journal that is to be empty is read to its end all the same.
pub(super) struct Forget;

impl Restore for Forget {
    fn item(&mut self, _key: &[u8], _stamp: Lsn, _value: &[u8]) -> Result<(), Rejected> {
        Ok(())
    }

    fn record(&mut self, _lsn: Lsn, _payload: &[u8]) -> Result<(), Rejected> {
        Ok(())
    }
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl Server {
    /// Save, Rewrite.
    pub(super) fn take_snapshot(self: &Arc<Server>) -> Outcome {
        let persistence = &self.journaling;
        if persistence.mode() != Mode::Off {
            let journal = persistence.journal().ok_or("the keys are not loaded yet")?;
            return take(self, journal).map(|_| ()).map_err(said);
        }
        let journal = self.open_journal()?;
        self.begin_recording(&journal, Mode::Saving)?;
        let captured = capture(self, &journal);
        // Whatever came of it: what is published below ends where the recording does.
        self.cease_recording(Mode::Off);
        captured.and_then(|captured| captured.publish(self)).map(|_| ()).map_err(said)
    }

    /// TurnOn.
    pub(super) fn turn_on(self: &Arc<Server>) -> Outcome {
        if !self.journaling.mode().is_on() {
            self.begin_for_good()?;
        }
        self.set_appendonly(true);
        Ok(())
    }

    /// TurnOff.
    pub(super) fn turn_off(self: &Arc<Server>) -> Outcome {
        let persistence = &self.journaling;
        if !self.logs.is_empty() && !self.is_stopping() {
            return Err("cluster-keys needs appendonly yes".into());
        }
        if let (true, Some(journal)) = (persistence.mode().is_on(), persistence.journal()) {
            persistence.mode.enter(Mode::TurningOff);
            // What the disk did not take a moment ago is undone first.
            self.moments.wait_until(|| !persistence.is_rolling_back() || self.is_stopping());
            let journal = Arc::clone(journal);
            self.keep_epoch(false);
            self.cease_recording(Mode::Off);
            // A disk that does not work is a reason to turn off, not one against it; then this is as much as it has.
            if !matches!(journal.wait_durable(journal.last_lsn(), Some(LAST_SYNC_MAX)), Ok(true)) {
                tracing::warn!(durable = %journal.durable_lsn(), last = %journal.last_lsn(),
                    "appendonly was turned off before the disk had the last writes");
            }
        }
        self.set_appendonly(false);
        Ok(())
    }

    /// Final: from here on everything is kept until the server has stopped.
    pub(super) fn save_for_good(self: &Arc<Server>) -> Outcome {
        match self.journaling.mode() {
            Mode::Off => self.begin_for_good(),
            _ => self.take_snapshot(),
        }
    }

    /// From `Off` to `On`. Errors: it is `Off` again, and what was durable before is what a start finds.
    fn begin_for_good(self: &Arc<Server>) -> Outcome {
        let journal = self.open_journal()?;
        self.begin_recording(&journal, Mode::TurningOn)?;
        let published = capture(self, &journal).and_then(|captured: Captured| captured.publish(self));
        let settled = published.map_err(said).and_then(|_| self.settle(&journal));
        match &settled {
            Ok(()) => {
                self.journaling.mode.enter(Mode::On);
                self.keep_epoch(true);
                self.notify_shards();
            }
            Err(_) => self.cease_recording(Mode::Off),
        }
        self.moments.notify();
        settled
    }

    /// Steps 5 and 6. Errors: the disk fails, or the job was called off.
    fn settle(&self, journal: &Journal) -> Outcome {
        self.journaling.mode.enter(Mode::Settling);
        self.await_shards();
        let answered = journal.last_lsn();
        loop {
            let is_durable = journal.wait_durable(answered, Some(SETTLING_INTERVAL)).map_err(said)?;
            if self.journaling.jobs.is_called_off() {
                return Err("it was called off".to_owned());
            }
            if is_durable {
                return Ok(());
            }
        }
    }

    /// The journal; if there is none yet, in a directory that holds nothing.
    fn open_journal(self: &Arc<Server>) -> Result<Arc<Journal>, String> {
        if let Some(journal) = self.journaling.opened.get() {
            return Ok(Arc::clone(journal));
        }
        let config = self.config();
        if let Some(foreign) = foreign::in_the_way(&config) {
            return Err(said(foreign));
        }
        let opened = claim(&config).map_err(said)?;
        let recovered = opened.recovery.replay(&mut Forget).map_err(said)?;
        let report = recovered.report();
        if report.items + report.records > 0 {
            return Err("the directory of the journal holds keys that this server has not loaded".to_owned());
        }
        Ok(begin(self, recovered.start(notify_server(self)).map_err(said)?))
    }

    fn begin_recording(&self, journal: &Journal, mode: Mode) -> Result<(), String> {
        let mut suspended = Ok(());
        self.partitions.cut(true, || {
            suspended = journal.append(&sterna_keyspace::suspend()).map(drop);
            self.journaling.mode.enter(mode);
        });
        self.notify_shards();
        suspended.map_err(|error| {
            self.cease_recording(Mode::Off);
            said(error)
        })
    }

    /// Nothing that is written from now on is recorded; returns when every shard goes by it.
    fn cease_recording(&self, mode: Mode) {
        self.partitions.cut(false, || self.journaling.mode.enter(mode));
        self.await_shards();
    }

    /// Has every shard go by the state as it is, and returns when they do.
    pub(super) fn await_shards(&self) {
        crate::lock::assert_nothing_held();
        self.notify_shards();
        let version = self.config_version();
        self.moments.wait_until(|| self.have_shards_seen(version) || self.is_stopping());
    }

    /// Whether every shard goes by what was the state at this version, or by a later one.
    pub(super) fn have_shards_seen(&self, version: u64) -> bool {
        self.shards.iter().all(|shard| shard.config_seen.load(Ordering::Acquire) >= version)
    }

    /// Has the configuration say what is.
    fn set_appendonly(&self, appendonly: bool) {
        let _alone = self.config_changes.lock();
        let changed = self.change_config(|config| Ok::<_, ()>(Config { appendonly, ..config.clone() }));
        debug_assert!(changed.is_ok(), "nothing in it can fail");
        drop(changed);
    }
}

/// Takes over what else the journal can be told while it runs.
pub(crate) fn adjust(server: &Arc<Server>, config: &Config) {
    if let Some(journal) = server.journaling.opened.get() {
        let wanted = policy(config.appendfsync);
        if journal.policy() != wanted {
            journal.set_policy(wanted);
            server.notify_shards();
        }
    }
}
