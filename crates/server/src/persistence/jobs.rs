//! What is done about the files while the server runs, one thing at a time: snapshots, and switching the journal on and off.
//!
//! ```text
//! BGSAVE, SAVE, save point ──► Save ────┐    queue            worker thread
//! BGREWRITEAOF, growth ──────► Rewrite ─┤  ┌───┬───┬───┐
//! CONFIG SET appendonly ─────► TurnOn ──┼─►│   │   │   │ ──► runs one, tells who waits for it, takes the next
//!                       ─────► TurnOff ─┤  └───┴───┴───┘
//! SHUTDOWN, SIGTERM ─────────► Final ───┘
//! ```
//!
//! - The queue holds a job at most once: who asks for one that is in it waits for that. One that runs has begun before, and
//!   may lack what was written meanwhile, so it is not joined.
//! - `TurnOff` and `Final` don't wait for what runs, unless it is a `Final`: it gives up at its next few keys, and changes
//!   nothing.
//! - Only jobs change the [`Mode`]; so two switches at once come one after the other.
//! - A shard never waits for a job. A connection does ([`crate::connection::Hold::Job`]), and is told by mail.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Instant;

use sterna_config::Config;

use super::Mode;
use crate::lock::{Condvar, Level, Mutex};
use crate::mailbox::{Ack, Mail};
use crate::server::Server;
use crate::signal::Signal;
use crate::time::unix_ms;

/// Something to be done about the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Job {
    /// BGSAVE, SAVE, a save point.
    Save,
    /// BGREWRITEAOF, growth of the journal.
    Rewrite,
    /// CONFIG SET appendonly yes.
    TurnOn,
    /// CONFIG SET appendonly no.
    TurnOff,
    /// SHUTDOWN and signals: everything is on the disk, and stays so until the server has stopped, which this begins.
    Final {
        /// Stop even if it can't be.
        force: bool,
    },
}

/// How a job ended. Errors: for people; nothing has changed.
pub(crate) type Outcome = Result<(), String>;

/// The jobs of this run, and what is known of its snapshots.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    state: Mutex<State, { Level::Jobs as u8 }>,
    ended: Condvar,
    /// The one that runs is to give up.
    is_called_off: AtomicBool,
    /// For a job that waits: it is called off, or what it waits for has ended.
    pub(super) moments: Signal,
    /// Unix time in seconds of the last snapshot that succeeded, or of the start.
    pub(crate) last_s: AtomicU64,
    /// Changes of the keyspace when it was begun.
    pub(super) changes_at_last: AtomicU64,
    /// Keys written by the one that runs.
    pub(crate) keys: AtomicU64,
    pub(crate) saves: Kind,
    pub(crate) rewrites: Kind,
}

/// What INFO says of one kind of snapshot.
#[derive(Debug, Default)]
pub(crate) struct Kind {
    pub(crate) done: AtomicU64,
    pub(crate) has_failed: AtomicBool,
    /// Seconds the last one took, + 1; 0 for none yet.
    took_s: AtomicI64,
}

#[derive(Debug, Default)]
struct State {
    running: Option<(Asked, Instant)>,
    queue: VecDeque<Asked>,
    /// The server has stopped: no more.
    is_closed: bool,
    /// Unix time in seconds before which no snapshot is tried again by itself, after a failure.
    not_before_s: u64,
}

#[derive(Debug)]
struct Asked {
    job: Job,
    /// Connections that wait for its end.
    waiting: Vec<Ack>,
}

/// Seconds after a failure until growth or a save point asks again.
const RETRY_S: u64 = 5;

/// Of the worker, on the scale from -20 to 19: it has time.
const NICENESS: i32 = 10;

impl Kind {
    /// Seconds the last one took; -1: none yet.
    pub(crate) fn took_s(&self) -> i64 {
        self.took_s.load(Relaxed) - 1
    }
}

impl Jobs {
    /// The server starts, with nothing to be saved.
    pub(crate) fn begin(&self, now_s: u64) {
        self.last_s.store(now_s, Relaxed);
    }

    /// What runs, and for how many seconds.
    pub(crate) fn running(&self) -> Option<(Job, u64)> {
        self.state.lock().running.as_ref().map(|(asked, since)| (asked.job, since.elapsed().as_secs()))
    }

    /// Whether this job is to follow.
    pub(crate) fn is_queued(&self, job: Job) -> bool {
        self.state.lock().queue.iter().any(|asked| asked.job == job)
    }

    /// Whether the job that runs is to give up.
    pub(super) fn is_called_off(&self) -> bool {
        self.is_called_off.load(Relaxed)
    }

    /// Has what runs give up.
    pub(super) fn call_off(&self) {
        self.is_called_off.store(true, Relaxed);
        self.moments.notify();
    }

    /// Has what runs give up, forgets what is queued, and waits until nothing runs. Nothing will.
    pub(super) fn close(&self) {
        crate::lock::assert_nothing_held();
        let mut state = self.state.lock();
        state.is_closed = true;
        state.queue.clear();
        self.call_off();
        while state.running.is_some() {
            self.ended.wait(&mut state);
        }
    }

    fn kind(&self, job: Job) -> Option<&Kind> {
        match job {
            Job::Save => Some(&self.saves),
            Job::Rewrite => Some(&self.rewrites),
            Job::TurnOn | Job::TurnOff | Job::Final { .. } => None,
        }
    }
}

impl Job {
    fn is_last(self) -> bool {
        matches!(self, Job::Final { .. })
    }

    /// Whether it has the job that runs give up.
    fn is_urgent(self) -> bool {
        matches!(self, Job::TurnOff | Job::Final { .. })
    }
}

impl Server {
    /// Has a job done, now or after those that were asked for before; `ack` is sent `Mail::JobEnded` then.
    ///
    /// Errors: the server has stopped, or no thread can be started; nobody is told anything.
    pub(crate) fn ask(self: &Arc<Server>, job: Job, ack: Option<Ack>) -> io::Result<()> {
        let jobs = &self.persistence.jobs;
        let mut state = jobs.state.lock();
        if state.is_closed {
            return Err(io::Error::other("the server is stopping"));
        }
        let asked = Asked { job, waiting: ack.into_iter().collect() };
        if let Some((running, _)) = &state.running {
            // The last job is not begun anew by who is in a hurry.
            if job.is_urgent() && !running.job.is_last() {
                jobs.call_off();
            }
            state.join_queue(asked);
            return Ok(());
        }
        let server = Arc::clone(self);
        thread::Builder::new().name("snapshot".to_owned()).spawn(move || server.work(job))?;
        jobs.is_called_off.store(false, Relaxed);
        state.running = Some((asked, Instant::now()));
        Ok(())
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
        let jobs = &self.persistence.jobs;
        let mut state = jobs.state.lock();
        let (asked, since) = state.running.take().expect("the worker runs it");
        let was_called_off = jobs.is_called_off.swap(false, Relaxed);
        if let Err(error) = &outcome
            && !was_called_off
        {
            tracing::error!(%error, "{}", job.failure());
            state.not_before_s = unix_ms() / 1000 + RETRY_S;
        }
        if let Some(kind) = jobs.kind(job) {
            kind.took_s.store(since.elapsed().as_secs() as i64 + 1, Relaxed);
            // One that was called off says nothing about the disk.
            let failed = if was_called_off { kind.has_failed.load(Relaxed) } else { outcome.is_err() };
            kind.has_failed.store(failed && outcome.is_err(), Relaxed);
            kind.done.fetch_add(u64::from(outcome.is_ok()), Relaxed);
        }
        let next = state.queue.pop_front();
        let job = next.as_ref().map(|asked| asked.job);
        state.running = next.map(|asked| (asked, Instant::now()));
        drop(state);
        jobs.ended.notify_all();
        for ack in asked.waiting {
            self.shards[ack.shard].mailbox.push(Mail::JobEnded { ack, outcome: outcome.clone() });
        }
        job
    }

    /// Asks for a snapshot if the configuration says that one is due; ten times a second.
    pub(crate) fn take_due_snapshot(self: &Arc<Server>, config: &Config) {
        let mode = self.persistence.mode();
        if mode == Mode::Loading || self.is_stopping() {
            return;
        }
        let now_s = unix_ms() / 1000;
        {
            let state = self.persistence.jobs.state.lock();
            if state.running.is_some() || now_s < state.not_before_s {
                return;
            }
        }
        let journal = self.persistence.journal();
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
        let since_s = now_s.saturating_sub(self.persistence.jobs.last_s.load(Relaxed));
        let changes = self.changes_since_save();
        let points = config.save_points();
        points.iter().any(|point| since_s >= point.seconds && changes >= point.changes && changes > 0)
    }

    /// Changes of the keyspace since the last snapshot was begun.
    pub(crate) fn changes_since_save(&self) -> u64 {
        self.changes().saturating_sub(self.persistence.jobs.changes_at_last.load(Relaxed))
    }
}

impl State {
    fn join_queue(&mut self, asked: Asked) {
        if let Some(same) = self.queue.iter_mut().find(|queued| queued.job == asked.job) {
            same.waiting.extend(asked.waiting);
        } else if asked.job.is_urgent() {
            self.queue.push_front(asked);
        } else {
            self.queue.push_back(asked);
        }
    }
}

impl Job {
    fn failure(self) -> &'static str {
        match self {
            Job::Save | Job::Rewrite => "the snapshot failed; the one before and the whole log still count",
            Job::TurnOn => "appendonly is not turned on; what was kept before still is",
            Job::TurnOff => "appendonly is not turned off",
            Job::Final { force: false } => "the last snapshot failed: the server does not stop",
            Job::Final { force: true } => {
                "the last snapshot failed: the server stops all the same, as it was told"
            }
        }
    }
}
