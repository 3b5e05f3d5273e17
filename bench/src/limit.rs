//! Bounds: how long a wait may last, and why a measurement ended without a figure.
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Why a measurement, or the whole run, has no figure.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The peer's protocol or build can't do this; not a fault of anybody.
    #[error("not applicable: {0}")]
    Inapplicable(&'static str),
    /// The peer's binary was not found.
    #[error("not installed")]
    Missing,
    /// The server did not get there within the bound of this wait.
    #[error("gave up waiting for {0}")]
    Timeout(&'static str),
    /// The server closed a connection that the workload needed.
    #[error("the server closed a connection during {0}")]
    Closed(&'static str),
    /// The server answered something that the workload can't go on with.
    #[error("unexpected reply: {0}")]
    Reply(String),
    /// The server did not start; what it printed.
    #[error("{program} did not start: {output}")]
    Start {
        /// Binary that was run.
        program: String,
        /// End of what it printed.
        output: String,
    },
    /// No workload or peer has this name.
    #[error("nothing is called {0:?}; --list shows the names")]
    Unknown(String),
    /// What counts instructions.
    #[error("valgrind is not installed, which counts instructions")]
    NoValgrind,
    /// SIGINT or SIGTERM.
    #[error("interrupted")]
    Interrupted,
    /// The report could not be written.
    #[error("cannot write {path}: {source}")]
    Report {
        /// File or folder that failed.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A socket or a file in `/proc` failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl From<rustix::io::Errno> for Failure {
    fn from(errno: rustix::io::Errno) -> Self {
        Failure::Io(errno.into())
    }
}

/// Set once by SIGINT or SIGTERM; every wait looks at it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Catches SIGINT and SIGTERM from here on, so that children are stopped before this process ends.
    pub(crate) fn install() -> Result<Self, Failure> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            // A second signal ends the process at once, should a wait be stuck after all.
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&flag))?;
            signal_hook::flag::register(signal, Arc::clone(&flag))?;
        }
        Ok(Self(flag))
    }

    pub(crate) fn check(&self) -> Result<(), Failure> {
        // Relaxed: the flag publishes nothing but itself.
        if self.0.load(Ordering::Relaxed) { Err(Failure::Interrupted) } else { Ok(()) }
    }
}

/// A wait's bound: until when, for what.
#[derive(Debug, Clone)]
pub(crate) struct Limit {
    until: Instant,
    what: &'static str,
    interrupt: Interrupt,
}

impl Limit {
    pub(crate) fn new(what: &'static str, within: Duration, interrupt: &Interrupt) -> Self {
        Self { until: Instant::now() + within, what, interrupt: interrupt.clone() }
    }

    pub(crate) fn what(&self) -> &'static str {
        self.what
    }

    /// Errors once the time is up or the run was interrupted.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        self.interrupt.check()?;
        if Instant::now() < self.until { Ok(()) } else { Err(Failure::Timeout(self.what)) }
    }
}
