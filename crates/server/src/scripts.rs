//! The Lua state of the server, and what is known of the script that runs.
//!
//! There is one state for all shards: scripts hold the keys that they name until they end, so two of them seldom could run
//! beside each other, and one state means one cache, one set of libraries, one limit.
//!
//! ```text
//!   none ─── begins ──► runs ─── threshold passed ──► busy: others are told so, its keys are unlocked (`partitions.rs`)
//!     ▲                  │                              │  SCRIPT KILL, if it has written nothing
//!     └────── ends ──────┴──────────────────────────────┘
//! ```

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use sterna_script::{Engine, Figures};

use crate::lock::{Level, Mutex, MutexGuard};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Scripts {
    engine: Mutex<Option<Box<Engine>>, { Level::Scripts as u8 }>,
    is_running: AtomicBool,
    /// It has run for longer than `busy-reply-threshold`: commands are answered BUSY.
    busy: AtomicBool,
    /// It has called a command that writes.
    has_written: AtomicBool,
    /// SCRIPT KILL was asked for.
    is_killed: AtomicBool,
    /// As of the last script's end.
    figures: Figured,
}

/// Figures for INFO, which must not wait for a script.
#[derive(Debug, Default)]
struct Figured {
    used_bytes: AtomicU64,
    text_bytes: AtomicU64,
    scripts: AtomicU64,
    evicted: AtomicU64,
}

/// The engine, to whoever runs a script.
pub(crate) type Turn<'a> = MutexGuard<'a, Option<Box<Engine>>>;

/// What others are answered beside a script that has run for too long.
pub(crate) const BUSY: &str =
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";

impl Scripts {
    /// Waits for the engine, unless a script keeps it for too long. The caller holds no partition.
    pub(crate) fn turn(&self) -> Result<Turn<'_>, &'static str> {
        self.engine.lock_unless(|| self.is_busy()).ok_or(BUSY)
    }

    /// Whether a script has run for too long.
    #[inline]
    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(Relaxed)
    }

    /// A script begins.
    pub(crate) fn begin(&self) {
        self.has_written.store(false, Relaxed);
        self.is_killed.store(false, Relaxed);
        self.is_running.store(true, Relaxed);
    }

    /// It calls a command that writes.
    pub(crate) fn note_write(&self) {
        self.has_written.store(true, Relaxed);
    }

    pub(crate) fn has_written(&self) -> bool {
        self.has_written.load(Relaxed)
    }

    /// It has run for too long.
    pub(crate) fn begin_busy(&self) {
        self.busy.store(true, Relaxed);
    }

    /// Whether it is to end.
    pub(crate) fn is_killed(&self) -> bool {
        self.is_killed.load(Relaxed)
    }

    /// It has ended.
    pub(crate) fn end(&self, engine: &Engine) {
        self.busy.store(false, Relaxed);
        self.is_running.store(false, Relaxed);
        self.note_figures(engine.figures());
    }

    pub(crate) fn note_figures(&self, figures: Figures) {
        self.figures.used_bytes.store(figures.used_bytes as u64, Relaxed);
        self.figures.text_bytes.store(figures.text_bytes as u64, Relaxed);
        self.figures.scripts.store(figures.scripts as u64, Relaxed);
        self.figures.evicted.store(figures.evicted_scripts, Relaxed);
    }

    /// Figures as of the last script's end.
    pub(crate) fn figures(&self) -> Figures {
        Figures {
            used_bytes: self.figures.used_bytes.load(Relaxed) as usize,
            text_bytes: self.figures.text_bytes.load(Relaxed) as usize,
            scripts: self.figures.scripts.load(Relaxed) as usize,
            evicted_scripts: self.figures.evicted.load(Relaxed),
        }
    }

    /// SCRIPT KILL.
    pub(crate) fn kill(&self) -> Result<(), &'static str> {
        if !self.is_running.load(Relaxed) {
            return Err("NOTBUSY No scripts in execution right now.");
        }
        if self.has_written() {
            return Err(
                "UNKILLABLE Sorry the script already executed write commands against the dataset. You can either wait \
                 the script termination or kill the server in a hard way using the SHUTDOWN NOSAVE command.",
            );
        }
        self.is_killed.store(true, Relaxed);
        Ok(())
    }
}

/// The engine of a turn, made by the first.
pub(crate) fn engine<'t>(turn: &'t mut Turn<'_>) -> &'t mut Engine {
    turn.get_or_insert_with(|| Box::new(Engine::new()))
}
