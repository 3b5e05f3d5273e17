//! The files of settings, redis.conf and the users' file: a thread reads and writes them, one job after the other. It reads the
//! certificates that CONFIG SET names as well, and asks name servers about `bind`.
//!
//! A disk may take seconds for a sync, and a hundred thousand users a good part of one, and no shard waits for that: for a transaction,
//! which is one moment, a file is read before it, or written after it.
//!
//! Invariant: whoever writes one of them holds `turn`, and looks at what it writes only then. So the last one to write has seen
//! what all before it have.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;

use crate::lock::{Level, Mutex};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct SettingsFiles {
    pub(crate) turn: Mutex<(), { Level::SettingsFiles as u8 }>,
    jobs: Mutex<Jobs, { Level::Jobs as u8 }>,
}

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    /// A thread works on them.
    is_running: bool,
}

impl fmt::Debug for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jobs")
            .field("waiting", &self.waiting.len())
            .field("is_running", &self.is_running)
            .finish()
    }
}

impl SettingsFiles {
    /// Has `job` done on the thread. Error: there is none, and it is not done.
    pub(crate) fn run(self: &Arc<Self>, job: Job) -> io::Result<()> {
        let mut jobs = self.jobs.lock();
        if !jobs.is_running {
            let files = Arc::clone(self);
            std::thread::Builder::new().name("settings".to_owned()).spawn(move || files.work())?;
            jobs.is_running = true;
        }
        jobs.waiting.push_back(job);
        Ok(())
    }

    fn work(&self) {
        loop {
            let mut jobs = self.jobs.lock();
            let Some(job) = jobs.waiting.pop_front() else {
                jobs.is_running = false;
                return;
            };
            drop(jobs);
            job();
        }
    }
}
