//! The Lua states of the server, and what is known of the script that runs.
//!
//! There is one state for the scripts of all shards, and one for all functions: scripts hold the keys that they name until they
//! end, so two of them seldom could run beside each other, and one state means one cache, or one set of libraries.
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
//!
//! Long scripts, and all libraries, are compiled before their request is executed, by a thread that has the states meanwhile and keeps what
//! has become of them for the request ([`Scripts::compile`]). Whoever needs the states waits as for a script.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, Ordering::Relaxed, fence};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use sterna_command::{Code, Row};
use sterna_keyspace::read_libraries;
use sterna_protocol::{Args, Proto};
use sterna_script::{CODE_BYTES_MAX, Engine, Figures, Host, Level as LogLevel, Library, TextKind, Verdict};

use crate::apart::NICENESS;
use crate::libraries::Libraries;
use crate::lock::{Level, Mutex, MutexGuard};

/// See the module.
#[derive(Debug)]
pub(crate) struct Scripts {
    states: Mutex<States, { Level::Scripts as u8 }>,
    compiler: OnceLock<Option<Sender<Work>>>,
    /// The thread that compiles has the states, or is about to lock them. Set by who has them locked.
    is_compiling: AtomicBool,
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

/// The Lua states.
#[derive(Debug, Default)]
pub(crate) struct States {
    scripts: Option<Box<Engine>>,
    functions: Option<Box<Engine>>,
}

/// What is done on the thread that compiles.
pub(crate) type Work = Box<dyn FnOnce() + Send>;

/// What is compiled ahead of its request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ahead {
    Script(Vec<u8>),
    Library(Vec<u8>),
    Libraries(Vec<u8>),
    /// The libraries that are kept: they have changed.
    Kept,
}

/// Figures for INFO, which must not wait for a script.
#[derive(Debug, Default)]
struct Figured {
    used_bytes: AtomicU64,
    functions_used_bytes: AtomicU64,
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

/// The states, while they are locked.
pub(crate) type Locked<'a> = MutexGuard<'a, States>;

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
            states: Mutex::default(),
            compiler: OnceLock::new(),
            is_compiling: AtomicBool::new(false),
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

    /// Locks the states, if that takes no longer than this. The caller holds no partition.
    pub(crate) fn lock_within(&self, most: Duration) -> Option<Locked<'_>> {
        self.states.lock_within(most)
    }

    /// Locks the states. The caller holds no partition, and may wait.
    pub(crate) fn lock(&self) -> Locked<'_> {
        self.states.lock()
    }

    /// Whether a script that waits may begin: none runs or is compiled, and no transaction goes on in slices.
    pub(crate) fn is_free(&self) -> bool {
        !self.is_busy() && !self.is_compiling() && !self.states.is_locked()
    }

    /// Has a thread do some work with the states, which it locks itself; nobody else gets them before, nor until
    /// [`Scripts::end_compiling`]. The caller has them locked. False: there is no thread.
    pub(crate) fn compile(&self, work: Work) -> bool {
        let Some(compiler) = self.compiler.get_or_init(start_compiler) else { return false };
        // SeqCst: see `Line`.
        self.is_compiling.store(true, Ordering::SeqCst);
        let is_sent = compiler.send(work).is_ok();
        if !is_sent {
            self.end_compiling();
        }
        is_sent
    }

    /// That work is done; the states are locked still.
    pub(crate) fn end_compiling(&self) {
        self.is_compiling.store(false, Ordering::SeqCst);
    }

    /// Whether the thread that compiles has the states, or is about to.
    pub(crate) fn is_compiling(&self) -> bool {
        self.is_compiling.load(Ordering::SeqCst)
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

    /// A transaction goes on in slices. Its shard holds the states, and lets them go then.
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
    pub(crate) fn end(&self, states: &States) {
        if self.busy.swap(false, Relaxed) {
            *self.slow.lock() = None;
        }
        self.is_running.store(false, Relaxed);
        self.note_figures(states);
    }

    pub(crate) fn note_figures(&self, states: &States) {
        if let Some(of) = states.scripts.as_ref().map(|engine| engine.figures()) {
            self.figures.used_bytes.store(of.used_bytes as u64, Relaxed);
            self.figures.text_bytes.store(of.text_bytes as u64, Relaxed);
            self.figures.scripts.store(of.scripts as u64, Relaxed);
            self.figures.evicted.store(of.evicted_scripts, Relaxed);
        }
        if let Some(of) = states.functions.as_ref().map(|engine| engine.figures()) {
            self.figures.functions_used_bytes.store(of.used_bytes as u64, Relaxed);
            self.figures.library_bytes.store(of.library_bytes as u64, Relaxed);
            self.figures.libraries.store(of.libraries as u64, Relaxed);
            self.figures.functions.store(of.functions as u64, Relaxed);
        }
    }

    /// Bytes of the state that functions have, as of the last script's end.
    pub(crate) fn functions_used_bytes(&self) -> usize {
        self.figures.functions_used_bytes.load(Relaxed) as usize
    }

    /// Figures as of the last script's end; the state is that of scripts.
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

impl States {
    /// The state of scripts, made by the first.
    pub(crate) fn scripts(&mut self) -> &mut Engine {
        self.scripts.get_or_insert_with(|| Box::new(Engine::new()))
    }

    /// The state of functions, made by the first; its libraries are those that are kept.
    pub(crate) fn functions(&mut self, libraries: &Libraries) -> &mut Engine {
        let engine = self.functions.get_or_insert_with(|| Box::new(Engine::new()));
        if engine.libraries_version != libraries.version() {
            take_over(engine, libraries);
        }
        engine
    }

    /// What is to be compiled before a request is executed. Scripts of more than `hashed_left` bytes are not hashed here to find out whether
    /// they are known; of others the bytes are taken from it.
    pub(crate) fn ahead_of(
        &mut self,
        row: &Row,
        args: Args<'_>,
        libraries: &Libraries,
        hashed_left: &mut usize,
    ) -> Option<Ahead> {
        let code = row.spec.code;
        match code {
            Code::None => return None,
            Code::Script(at) => {
                let is_long = LONG_SCRIPT_BYTES..=CODE_BYTES_MAX;
                let body = args.get(at).filter(|body| is_long.contains(&body.len()))?;
                let left = hashed_left.checked_sub(body.len());
                *hashed_left = left.unwrap_or(0);
                let is_known = left.is_some() && self.scripts().knows(body);
                return (!is_known).then(|| Ahead::Script(body.to_vec()));
            }
            Code::Functions | Code::Library | Code::Libraries(_) => {}
        }
        let version = libraries.version();
        if self.functions.as_ref().map_or(0, |engine| engine.libraries_version) != version {
            return Some(Ahead::Kept);
        }
        let (kind, text, most) = match code {
            Code::Library => (TextKind::Library, args.get(args.len() - 1)?, CODE_BYTES_MAX),
            Code::Libraries(at) => (TextKind::Payload, args.get(at)?, PAYLOAD_BYTES_MAX),
            _ => return None,
        };
        if text.len() > most || self.functions(libraries).is_prepared(kind, text) {
            return None;
        }
        Some(match code {
            Code::Library => Ahead::Library(text.to_vec()),
            _ => Ahead::Libraries(text.to_vec()),
        })
    }

    /// Compiles that, and keeps what has become of it for the request that needs it.
    pub(crate) fn compile(&mut self, ahead: Ahead, libraries: &Libraries) {
        match ahead {
            Ahead::Kept => drop(self.functions(libraries)),
            Ahead::Script(body) => self.scripts().load_ahead(&body),
            Ahead::Library(text) => {
                let engine = self.functions(libraries);
                let outcome = prepare_all(engine, &[&text]);
                engine.prepare_ahead(TextKind::Library, &text, outcome);
            }
            Ahead::Libraries(payload) => {
                let engine = self.functions(libraries);
                let outcome = match read_libraries(&payload) {
                    Ok(codes) => prepare_all(engine, &codes),
                    Err(text) => Err(text.as_bytes().to_vec()),
                };
                engine.prepare_ahead(TextKind::Payload, &payload, outcome);
            }
        }
    }
}

/// Compiles libraries, all or none, if there can be room for them. The error is an error reply's text.
pub(crate) fn prepare_all(engine: &mut Engine, codes: &[impl AsRef<[u8]>]) -> Result<Vec<Library>, Vec<u8>> {
    let mut prepared = Vec::with_capacity(codes.len());
    let mut room = Room::default();
    for code in codes {
        let code = code.as_ref();
        room.bytes += code.len();
        let outcome = check_length(code)
            .and_then(|()| room.check())
            .and_then(|()| engine.prepare(code, &mut Loading::within(LOAD_MAX)))
            .and_then(|library| {
                room.functions += library.functions.len();
                prepared.push(library);
                room.check()
            });
        if let Err(text) = outcome {
            prepared.iter().for_each(|library| engine.discard(library));
            return Err(text);
        }
    }
    Ok(prepared)
}

/// The error is an error reply's text. What is kept was loaded once, when it might be longer, and is not asked.
fn check_length(code: &[u8]) -> Result<(), Vec<u8>> {
    match code.len() > CODE_BYTES_MAX {
        true => Err(format!("ERR the library is too long: it may have {CODE_BYTES_MAX} bytes").into_bytes()),
        false => Ok(()),
    }
}

/// The thread that compiles ends with the server. Without one everything is compiled where it is asked for.
fn start_compiler() -> Option<Sender<Work>> {
    let (sender, receiver) = channel::<Work>();
    let run = move || {
        // Where it can't be had, it is as urgent as shards.
        let _ = rustix::process::nice(NICENESS);
        receiver.into_iter().for_each(|work| work());
    };
    let thread = std::thread::Builder::new().name("compiler".to_owned()).spawn(run);
    if let Err(error) = &thread {
        tracing::warn!(%error, "no thread to compile scripts: they are compiled where they are asked for");
    }
    thread.is_ok().then_some(sender)
}

/// What all libraries take together.
#[derive(Debug, Default)]
pub(crate) struct Room {
    bytes: usize,
    functions: usize,
}

impl Room {
    /// With new libraries, in place of all that are there if it `flushes`, else of those of the same names.
    pub(crate) fn with(there: &sterna_script::Libraries, new: &[Library], flushes: bool) -> Room {
        let mut room = Room::default();
        new.iter().for_each(|library| {
            room.bytes += library.code.len();
            room.functions += library.functions.len();
        });
        if !flushes {
            let goes = || new.iter().filter_map(|library| there.library(&library.name));
            room.bytes += there.code_bytes() - goes().map(|library| library.code.len()).sum::<usize>();
            room.functions +=
                there.function_count() - goes().map(|library| library.functions.len()).sum::<usize>();
        }
        room
    }

    /// Whether there is as much. The error is an error reply's text.
    pub(crate) fn check(&self) -> Result<(), Vec<u8>> {
        if self.bytes > LIBRARIES_BYTES_MAX {
            return Err(b"ERR the code of all libraries would be longer than 4 MiB".to_vec());
        }
        match self.functions > FUNCTIONS_MAX {
            true => Err(format!("ERR there would be more than {FUNCTIONS_MAX} functions").into_bytes()),
            false => Ok(()),
        }
    }
}

/// Scripts that are compiled where they are asked for: a millisecond at most.
const LONG_SCRIPT_BYTES: usize = 24 << 10;

/// Bytes of the code of all libraries, and functions: FUNCTION DUMP and LIST show them at once.
const LIBRARIES_BYTES_MAX: usize = 4 << 20;
const FUNCTIONS_MAX: usize = 10_000;

/// Bytes of what FUNCTION RESTORE takes: as many, and as much as each library has beside its code.
pub(crate) const PAYLOAD_BYTES_MAX: usize = LIBRARIES_BYTES_MAX + (1 << 20);

/// Has the engine know the libraries that are kept: after a start, and after a change was undone or came from another node.
#[cold]
fn take_over(engine: &mut Engine, libraries: &Libraries) {
    let (codes, version) = libraries.all();
    drop(engine.flush());
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

    fn answers_error(&mut self, _: &[u8], _: bool) {}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_kept_is_loaded_again_though_it_is_longer_than_a_new_one_may_be() {
        let code = "#!lua name=l\nredis.register_function('f', function() return 1 end) --";
        let long = [code.as_bytes(), &vec![b'x'; CODE_BYTES_MAX]].concat();
        let refused = prepare_all(&mut Engine::new(), &[&long]).expect_err("it is too long");
        assert!(refused.starts_with(b"ERR the library is too long"));
        let (mut engine, libraries) = (Engine::new(), Libraries::default());
        libraries.set(b"l", Some(&long));
        take_over(&mut engine, &libraries);
        assert_eq!(engine.libraries().function_count(), 1);
    }
}
