//! What a script can ask the server.

use scoped_tls_hkt::scoped_thread_local;
use sterna_protocol::{Args, Proto};

use crate::raise::Raised;

/// The server as a running script sees it.
pub trait Host {
    /// Runs a command and appends its reply to `out`, in `proto`; an error is a reply, too.
    fn call(&mut self, args: Args<'_>, proto: Proto, out: &mut Vec<u8>);

    /// The script answers an error. `is_counted`: it is what [`Host::call`] answered.
    fn answers_error(&mut self, text: &[u8], is_counted: bool);

    /// Whether the script's user may run this command; an error's text if there is no such command.
    fn is_allowed(&mut self, args: Args<'_>) -> Result<bool, &'static str>;

    /// A line for the server's log.
    fn log(&mut self, level: Level, text: &[u8]);

    /// Called every few thousand instructions: the time to see whether the script has run for too long.
    fn tick(&mut self) -> Verdict;
}

/// Whether a script goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It does.
    GoOn,
    /// It ends here, with an error that it can't catch.
    Stop,
}

/// Levels of `redis.log`, by their numbers there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// 0
    Debug,
    /// 1
    Verbose,
    /// 2
    Notice,
    /// 3
    Warning,
}

impl Level {
    pub(crate) fn of(number: i64) -> Option<Level> {
        [Level::Debug, Level::Verbose, Level::Notice, Level::Warning]
            .get(usize::try_from(number).ok()?)
            .copied()
    }
}

// The host of the script that runs on this thread. Functions that Lua calls outlive any one run, so they can't hold it.
scoped_thread_local!(pub(crate) static mut HOST: for<'a> &'a mut (dyn Host + 'a));

/// Asks the host of the running script; `None` outside of a run (a library being loaded).
pub(crate) fn with_host<R>(ask: impl FnOnce(&mut dyn Host) -> R) -> Option<R> {
    HOST.is_set().then(|| HOST.with(|host| ask(host)))
}

/// Counts the steps of a loop of ours, which the interpreter's hook doesn't see, and asks the host now and then.
#[derive(Debug, Default)]
pub(crate) struct Pace(u32);

/// Steps between two questions to the host: about a millisecond.
const STEPS_PER_TICK: u32 = 20_000;

impl Pace {
    /// One step more; an error if the script ends here.
    #[inline]
    pub(crate) fn step(&mut self) -> Result<(), Raised> {
        self.0 += 1;
        if self.0 < STEPS_PER_TICK {
            return Ok(());
        }
        self.0 = 0;
        match with_host(|host| host.tick()) {
            Some(Verdict::Stop) => Err(Raised::Stopped),
            _ => Ok(()),
        }
    }
}
