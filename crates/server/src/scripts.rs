//! The Lua state of the server, and what is known of the script that runs.
//!
//! There is one state for all shards: scripts hold the keys that they name until they end, so two of them seldom could run
//! beside each other, and one state means one cache, one set of libraries, one limit.
//!
//! ```text
//!   none ─── begins ──► runs ─── threshold passed ──► busy: others are told so, its keys are unlocked (`partitions/held.rs`)
//!     ▲                  │                              │  SCRIPT KILL, if it has written nothing
//!     └────── ends ──────┴──────────────────────────────┘
//! ```
//!
//! A transaction that takes long makes the keyspace busy, too (`command/exec.rs`): no script runs beside it, and others wait
//! in place of being told so.
//!
//! A shard does not wait for the state, only a connection does (`shard/turns.rs`): [`Line`] knows on which shard somebody has
//! waited longest.
//!
//! Libraries of functions are kept as text (`libraries.rs`); the state compiles them when it is used next.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, Ordering::Relaxed, fence};
use std::time::{Duration, Instant};

use sterna_protocol::{Args, Proto};
use sterna_script::{Engine, Figures, Host, Level as LogLevel, Verdict};

use crate::libraries::Libraries;
use crate::lock::{Level, Mutex, MutexGuard};

/// See the module.
#[derive(Debug)]
pub(crate) struct Scripts {
    engine: Mutex<Option<Box<Engine>>, { Level::Scripts as u8 }>,
    pub(crate) line: Line,
    is_running: AtomicBool,
    /// It has run for longer than `busy-reply-threshold`: commands are answered BUSY.
    busy: AtomicBool,
    /// It has called a command that writes.
    has_written: AtomicBool,
    /// SCRIPT KILL or FUNCTION KILL was asked for.
    is_killed: AtomicBool,
    /// What runs is a function of a library.
    is_function: AtomicBool,
    /// What is busy is no script, but a transaction that goes on in slices.
    is_transaction: AtomicBool,
    /// The function that has run for too long.
    slow: Mutex<Option<SlowFunction>, { Level::SlowFunction as u8 }>,
    /// As of the last script's end.
    figures: Figured,
}

/// Who waits for the state.
///
/// Each who waits has a ticket; a shard says which of its own is the oldest. Whoever lets go of the state calls the shard that
/// has the oldest of all. No call is lost: a shard says what it has before it looks whether the state is free, and who lets go
/// looks after it is (both SeqCst, with a fence between), so that one of them sees what the other did.
#[derive(Debug)]
pub(crate) struct Line {
    tickets: AtomicU64,
    /// The oldest ticket of each shard.
    oldest: Box<[AtomicU64]>,
    /// A shard runs several of its own in a row, and calls who is next behind them.
    is_series: AtomicBool,
}

/// What a shard has where nobody waits.
const NO_TICKET: u64 = u64::MAX;

impl Line {
    /// The next ticket.
    pub(crate) fn ticket(&self) -> u64 {
        self.tickets.fetch_add(1, Relaxed)
    }

    /// This is the oldest ticket of the shard.
    pub(crate) fn set_oldest(&self, shard: usize, ticket: Option<u64>) {
        self.oldest[shard].store(ticket.unwrap_or(NO_TICKET), Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// The shard where somebody has waited longest.
    pub(crate) fn first(&self) -> Option<usize> {
        let tickets = self.oldest.iter().map(|ticket| ticket.load(Ordering::SeqCst));
        let (ticket, shard) = tickets.zip(0..).min()?;
        (ticket != NO_TICKET).then_some(shard)
    }

    pub(crate) fn set_series(&self, is_series: bool) {
        self.is_series.store(is_series, Ordering::SeqCst);
    }

    pub(crate) fn is_series(&self) -> bool {
        self.is_series.load(Ordering::SeqCst)
    }
}

/// Figures for INFO, which must not wait for a script.
#[derive(Debug, Default)]
struct Figured {
    used_bytes: AtomicU64,
    text_bytes: AtomicU64,
    scripts: AtomicU64,
    evicted: AtomicU64,
    library_bytes: AtomicU64,
    libraries: AtomicU64,
    functions: AtomicU64,
}

/// A function that has run for too long, as FUNCTION STATS shows it.
#[derive(Debug, Clone)]
pub(crate) struct SlowFunction {
    pub(crate) name: Box<str>,
    /// The command that called it.
    pub(crate) command: Vec<Box<[u8]>>,
    pub(crate) began: Instant,
}

/// What is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// EVAL and its like.
    Script,
    /// FCALL and its like.
    Function,
}

/// The engine, while it is locked.
pub(crate) type Locked<'a> = MutexGuard<'a, Option<Box<Engine>>>;

/// What others are answered beside a script that has run for too long.
const BUSY_SCRIPT: &str =
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";
/// The same beside a function.
const BUSY_FUNCTION: &str =
    "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.";

impl Scripts {
    pub(crate) fn new(shards: usize) -> Scripts {
        let line = Line {
            tickets: AtomicU64::new(0),
            oldest: (0..shards).map(|_| AtomicU64::new(NO_TICKET)).collect(),
            is_series: AtomicBool::new(false),
        };
        Scripts {
            engine: Mutex::default(),
            line,
            is_running: AtomicBool::new(false),
            busy: AtomicBool::new(false),
            has_written: AtomicBool::new(false),
            is_killed: AtomicBool::new(false),
            is_function: AtomicBool::new(false),
            is_transaction: AtomicBool::new(false),
            slow: Mutex::default(),
            figures: Figured::default(),
        }
    }

    /// Locks the engine, if that takes no longer than this. The caller holds no partition.
    pub(crate) fn lock_within(&self, most: Duration) -> Option<Locked<'_>> {
        self.engine.lock_within(most)
    }

    /// Locks the engine. The caller holds no partition, and may wait.
    pub(crate) fn lock(&self) -> Locked<'_> {
        self.engine.lock()
    }

    /// Whether a script that waits may begin: none runs, and no transaction goes on in slices.
    pub(crate) fn is_free(&self) -> bool {
        !self.is_busy() && !self.engine.is_locked()
    }

    /// What others are answered now.
    pub(crate) fn busy_text(&self) -> &'static str {
        if self.is_function.load(Relaxed) { BUSY_FUNCTION } else { BUSY_SCRIPT }
    }

    /// Whether a script has run for too long, or a transaction goes on in slices.
    #[inline]
    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(Relaxed)
    }

    /// Whether it is a transaction, if it is either.
    pub(crate) fn is_transaction(&self) -> bool {
        self.is_transaction.load(Relaxed)
    }

    /// A transaction goes on in slices. Its shard holds the engine, and lets it go then.
    pub(crate) fn begin_transaction(&self) {
        self.is_transaction.store(true, Relaxed);
        self.busy.store(true, Relaxed);
    }

    /// It has ended.
    pub(crate) fn end_transaction(&self) {
        self.busy.store(false, Relaxed);
    }

    /// A script begins.
    pub(crate) fn begin(&self, kind: Kind) {
        self.is_function.store(kind == Kind::Function, Relaxed);
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
    pub(crate) fn begin_busy(&self, function: Option<SlowFunction>) {
        *self.slow.lock() = function;
        self.is_transaction.store(false, Relaxed);
        self.busy.store(true, Relaxed);
    }

    /// The function that has run for too long; an error beside a script.
    pub(crate) fn slow_function(&self) -> Result<Option<SlowFunction>, &'static str> {
        if self.is_busy() && !self.is_transaction() && !self.is_function.load(Relaxed) {
            return Err(BUSY_SCRIPT);
        }
        Ok(self.slow.lock().clone())
    }

    /// Whether it is to end.
    pub(crate) fn is_killed(&self) -> bool {
        self.is_killed.load(Relaxed)
    }

    /// It has ended.
    pub(crate) fn end(&self, engine: &Engine) {
        if self.busy.swap(false, Relaxed) {
            *self.slow.lock() = None;
        }
        self.is_running.store(false, Relaxed);
        self.note_figures(engine.figures());
    }

    pub(crate) fn note_figures(&self, figures: Figures) {
        self.figures.used_bytes.store(figures.used_bytes as u64, Relaxed);
        self.figures.text_bytes.store(figures.text_bytes as u64, Relaxed);
        self.figures.scripts.store(figures.scripts as u64, Relaxed);
        self.figures.evicted.store(figures.evicted_scripts, Relaxed);
        self.figures.library_bytes.store(figures.library_bytes as u64, Relaxed);
        self.figures.libraries.store(figures.libraries as u64, Relaxed);
        self.figures.functions.store(figures.functions as u64, Relaxed);
    }

    /// Figures as of the last script's end.
    pub(crate) fn figures(&self) -> Figures {
        Figures {
            used_bytes: self.figures.used_bytes.load(Relaxed) as usize,
            text_bytes: self.figures.text_bytes.load(Relaxed) as usize,
            scripts: self.figures.scripts.load(Relaxed) as usize,
            evicted_scripts: self.figures.evicted.load(Relaxed),
            library_bytes: self.figures.library_bytes.load(Relaxed) as usize,
            libraries: self.figures.libraries.load(Relaxed) as usize,
            functions: self.figures.functions.load(Relaxed) as usize,
        }
    }

    /// SCRIPT KILL and FUNCTION KILL: each ends what is of its kind.
    pub(crate) fn kill(&self, kind: Kind) -> Result<(), &'static str> {
        if !self.is_running.load(Relaxed) {
            return Err("NOTBUSY No scripts in execution right now.");
        }
        if self.has_written() {
            return Err(
                "UNKILLABLE Sorry the script already executed write commands against the dataset. You can either wait \
                 the script termination or kill the server in a hard way using the SHUTDOWN NOSAVE command.",
            );
        }
        if (kind == Kind::Function) != self.is_function.load(Relaxed) {
            return Err(self.busy_text());
        }
        self.is_killed.store(true, Relaxed);
        Ok(())
    }
}

/// The engine, made by the first who locks it; its libraries are those that are kept.
pub(crate) fn engine<'t>(locked: &'t mut Option<Box<Engine>>, libraries: &Libraries) -> &'t mut Engine {
    let engine = locked.get_or_insert_with(|| Box::new(Engine::new()));
    if engine.libraries_version != libraries.version() {
        take_over(engine, libraries);
    }
    engine
}

/// Has the engine know the libraries that are kept: after a start, and after a change was undone.
#[cold]
fn take_over(engine: &mut Engine, libraries: &Libraries) {
    let (codes, version) = libraries.all();
    // Slow to free, and rare: after a start, or an undoing.
    drop(engine.flush_libraries());
    for (name, code) in &codes {
        let prepared = engine.prepare(code, &mut Loading::within(LOAD_AGAIN_MAX)).and_then(|library| {
            match engine.libraries().taken(&library, |_| false) {
                None => Ok(library),
                Some(taken) => Err(format!("ERR Function {taken} already exists").into_bytes()),
            }
        });
        match prepared {
            Ok(library) => engine.install(library),
            // It was loaded once, by another version or with more memory; it is kept.
            Err(text) => tracing::error!(
                library = %String::from_utf8_lossy(name),
                "a library of functions can't be loaded again: {}",
                String::from_utf8_lossy(&text)
            ),
        }
    }
    engine.libraries_version = version;
}

/// How long the code of a library may run when it is loaded. Source: Redis.
pub(crate) const LOAD_MAX: Duration = Duration::from_millis(500);

/// The same where it has been loaded before: on a machine that is slower just now it is no reason to be without it.
const LOAD_AGAIN_MAX: Duration = Duration::from_secs(30);

/// The server as a library sees it while it is loaded: a log, and a clock that runs out.
pub(crate) struct Loading(Instant);

impl Loading {
    pub(crate) fn within(most: Duration) -> Loading {
        Loading(Instant::now() + most)
    }
}

impl Host for Loading {
    fn call(&mut self, _: Args<'_>, _: Proto, out: &mut Vec<u8>) {
        out.extend_from_slice(b"-ERR redis.call can only be called from a function that runs\r\n");
    }

    fn is_allowed(&mut self, _: Args<'_>) -> Result<bool, &'static str> {
        Ok(false)
    }

    fn log(&mut self, level: LogLevel, text: &[u8]) {
        log(level, text);
    }

    fn tick(&mut self) -> Verdict {
        if Instant::now() < self.0 { Verdict::GoOn } else { Verdict::Stop }
    }
}

/// Bytes of a script's line that the server's log keeps. Source: Redis's LOG_MAX_LEN.
const LOG_LINE_BYTES: usize = 1024;

/// A line of a script's in the server's log.
pub(crate) fn log(level: LogLevel, text: &[u8]) {
    let text = String::from_utf8_lossy(&text[..text.len().min(LOG_LINE_BYTES)]);
    match level {
        LogLevel::Debug | LogLevel::Verbose => tracing::debug!(script = true, "{text}"),
        LogLevel::Notice => tracing::info!(script = true, "{text}"),
        LogLevel::Warning => tracing::warn!(script = true, "{text}"),
    }
}
