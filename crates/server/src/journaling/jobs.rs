//! What is to be done about the files while the server runs, one thing at a time: snapshots, and switching the journal on and off.
//! `persistence/jobs.rs` does it.
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
//! - Only jobs change the [`Mode`](super::Mode); so two switches at once come one after the other.
//! - A shard never waits for a job. A connection does ([`crate::connection::Hold::Job`]), and is told by mail.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use crate::lock::{Condvar, Level, Mutex};
use crate::mailbox::Ack;
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
    pub(crate) moments: Signal,
    /// Unix time in seconds of the last snapshot that succeeded, or of the start.
    pub(crate) last_s: AtomicU64,
    /// Changes of the keyspace when it was begun.
    pub(crate) changes_at_last: AtomicU64,
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
    pub(crate) fn is_called_off(&self) -> bool {
        self.is_called_off.load(Relaxed)
    }

    /// Has what runs give up.
    pub(crate) fn call_off(&self) {
        self.is_called_off.store(true, Relaxed);
        self.moments.notify();
    }

    /// Has what runs give up, forgets what is queued, and waits until nothing runs. Nothing will.
    pub(crate) fn close(&self) {
        crate::lock::assert_nothing_held();
        let mut state = self.state.lock();
        state.is_closed = true;
        state.queue.clear();
        self.call_off();
        while state.running.is_some() {
            self.ended.wait(&mut state);
        }
    }

    /// Has a job done, now or after those that were asked for before; who sent `ack` waits for its end. If none runs, `begin` has
    /// the worker begin with it.
    ///
    /// Errors: the server has stopped, or what `begin` says; nobody is told anything.
    pub(crate) fn ask(
        &self,
        job: Job,
        ack: Option<Ack>,
        begin: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.is_closed {
            return Err(io::Error::other("the server is stopping"));
        }
        let asked = Asked { job, waiting: ack.into_iter().collect() };
        if let Some((running, _)) = &state.running {
            // The last job is not begun anew by who is in a hurry.
            if job.is_urgent() && !running.job.is_last() {
                self.call_off();
            }
            state.join_queue(asked);
            return Ok(());
        }
        begin()?;
        self.is_called_off.store(false, Relaxed);
        state.running = Some((asked, Instant::now()));
        Ok(())
    }

    /// The worker has ended `job`: notes how, and says who waits for that, and which job is begun now.
    pub(crate) fn end(&self, job: Job, outcome: &Outcome) -> (Vec<Ack>, Option<Job>) {
        let mut state = self.state.lock();
        let (asked, since) = state.running.take().expect("the worker runs it");
        let was_called_off = self.is_called_off.swap(false, Relaxed);
        if let Err(error) = outcome
            && !was_called_off
        {
            tracing::error!(%error, "{}", job.failure());
            state.not_before_s = unix_ms() / 1000 + RETRY_S;
        }
        if let Some(kind) = self.kind(job) {
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
        self.ended.notify_all();
        (asked.waiting, job)
    }

    /// Whether nothing runs, and none has failed a moment ago.
    pub(crate) fn is_time_for_another(&self, now_s: u64) -> bool {
        let state = self.state.lock();
        state.running.is_none() && now_s >= state.not_before_s
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
