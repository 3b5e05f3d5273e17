//! The worker that does what is asked for about the files (`journaling/jobs.rs`), and when it is asked for by itself.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use sterna_config::Config;

use crate::journaling::{Job, Mode, Outcome};
use crate::mailbox::{Ack, Mail};
use crate::server::Server;
use crate::time::unix_ms;

/// Of the worker, on the scale from -20 to 19: it has time.
const NICENESS: i32 = 10;

impl Server {
    /// Has a job done, now or after those that were asked for before; `ack` is sent `Mail::JobEnded` then.
    ///
    /// Errors: the server has stopped, or no thread can be started; nobody is told anything.
    pub(crate) fn ask(self: &Arc<Server>, job: Job, ack: Option<Ack>) -> io::Result<()> {
        self.journaling.jobs.ask(job, ack, || {
            let server = Arc::clone(self);
            thread::Builder::new().name("snapshot".to_owned()).spawn(move || server.work(job)).map(|_| ())
        })
    }

    /// The worker: runs jobs until there are none.
    fn work(self: &Arc<Server>, first: Job) {
        // Behind those who serve clients. A kernel that refuses leaves it where it is.
        let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS);
        let mut next = Some(first);
        while let Some(job) = next {
            let outcome = self.run(job);
            next = self.end(job, outcome);
        }
    }

    fn run(self: &Arc<Server>, job: Job) -> Outcome {
        match job {
            Job::Save | Job::Rewrite => self.take_snapshot(),
            Job::TurnOn => self.turn_on(),
            Job::TurnOff => self.turn_off(),
            Job::Final { force } => {
                let saved = self.save_for_good();
                if saved.is_ok() || force {
                    self.stop();
                }
                saved
            }
        }
    }

    /// Notes how `job` ended, tells who waits, and says which is next.
    fn end(&self, job: Job, outcome: Outcome) -> Option<Job> {
        let (waiting, next) = self.journaling.jobs.end(job, &outcome);
        for ack in waiting {
            self.shards[ack.shard].mailbox.push(Mail::JobEnded { ack, outcome: outcome.clone() });
        }
        next
    }

    /// Asks for a snapshot if the configuration says that one is due; ten times a second.
    pub(crate) fn take_due_snapshot(self: &Arc<Server>, config: &Config) {
        let mode = self.journaling.mode();
        if mode == Mode::Loading || self.is_stopping() {
            return;
        }
        let now_s = unix_ms() / 1000;
        if !self.journaling.jobs.is_time_for_another(now_s) {
            return;
        }
        let journal = self.journaling.journal();
        if journal.is_some_and(|journal| journal.admit().is_err()) {
            return;
        }
        let job = if mode == Mode::Failed || journal.is_some_and(|journal| super::has_grown(journal, config))
        {
            Job::Rewrite
        } else if self.is_save_point(config, now_s) {
            Job::Save
        } else {
            return;
        };
        if let Err(error) = self.ask(job, None) {
            tracing::warn!(%error, "no snapshot is taken");
        }
    }

    fn is_save_point(&self, config: &Config, now_s: u64) -> bool {
        let since_s = now_s.saturating_sub(self.journaling.jobs.last_s.load(Relaxed));
        let changes = self.changes_since_save();
        let points = config.save_points();
        points.iter().any(|point| since_s >= point.seconds && changes >= point.changes && changes > 0)
    }

    /// Changes of the keyspace since the last snapshot was begun.
    pub(crate) fn changes_since_save(&self) -> u64 {
        self.changes().saturating_sub(self.journaling.jobs.changes_at_last.load(Relaxed))
    }
}
