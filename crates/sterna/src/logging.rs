//! The log: one line an event, to standard output or to `logfile`, at `loglevel`, as text or JSON; and to syslog.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use sterna_config::{Config, LogFormat, LogLevel};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt, reload};

use crate::Failure;
use crate::syslog::Syslog;

/// The log's file, which can be opened anew.
#[derive(Debug, Clone)]
pub(crate) struct LogFile(Option<Arc<Opened>>);

#[derive(Debug)]
struct Opened {
    path: PathBuf,
    file: Mutex<File>,
}

/// Writes to the file as it is opened at the time.
#[derive(Debug)]
struct Line(Arc<Opened>);

impl Write for Line {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.file.lock().unwrap_or_else(PoisonError::into_inner).write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl LogFile {
    /// Opens the file of this name again, which somebody may have moved away. Errors: the one that was open stays.
    pub(crate) fn reopen(&self) -> Result<(), Failure> {
        let Some(opened) = &self.0 else { return Ok(()) };
        let file = open(&opened.path)?;
        *opened.file.lock().unwrap_or_else(PoisonError::into_inner) = file;
        Ok(())
    }
}

fn open(path: &Path) -> Result<File, Failure> {
    let opened = sterna_filesystem::open_log(path, true);
    opened.map_err(|e| Failure::File("cannot open the logfile", path.to_owned(), e))
}

/// Whether `logfile` could be opened, which is not made.
pub(crate) fn check(path: &Path) -> Result<(), Failure> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let tried = match absolute.parent() {
        Some(folder) if !absolute.exists() => std::fs::read_dir(folder).map(drop),
        _ => sterna_filesystem::open_log(&absolute, false).map(drop),
    };
    tried.map_err(|e| Failure::File("cannot open the logfile", path.to_owned(), e))
}

/// Starts logging. CONFIG SET loglevel changes the level later, through the hook that this sets.
///
/// Errors: `logfile` can't be opened.
pub(crate) fn start(config: &Config) -> Result<LogFile, Failure> {
    let (level, handle) = reload::Layer::new(filter_of(config.loglevel));
    let opened = match &config.logfile {
        Some(path) => Some(Arc::new(Opened {
            path: std::path::absolute(path).unwrap_or_else(|_| path.clone()),
            file: Mutex::new(open(path)?),
        })),
        None => None,
    };
    let writer = match opened.clone() {
        Some(opened) => BoxMakeWriter::new(move || Line(Arc::clone(&opened))),
        None => BoxMakeWriter::new(io::stdout),
    };
    let lines = fmt::layer().with_writer(writer).with_target(false).with_ansi(false);
    let lines = match config.log_format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let syslog = match config.syslog_enabled {
        true => Some(Syslog::open(config).map_err(|e| Failure::Io("cannot reach syslog", e))?),
        false => None,
    };
    let syslog = syslog.map(|syslog| {
        fmt::layer().with_writer(syslog).with_target(false).with_ansi(false).without_time().with_level(false)
    });
    // A second start in one process keeps the first: there is one log.
    let _ = tracing_subscriber::registry().with(level).with(lines).with(syslog).try_init();
    sterna_server::on_log_level(move |level| {
        // Fails only if the subscriber is gone, and then there is no log to filter.
        let _ = handle.reload(filter_of(level));
    });
    Ok(LogFile(opened))
}

/// Redis's levels as the log's: `verbose` shows what `debug` does without every connection. What NATS's client says of its
/// connections, and of what goes wrong with them, this node says itself.
fn filter_of(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Debug => LevelFilter::TRACE,
        LogLevel::Verbose => LevelFilter::DEBUG,
        LogLevel::Notice => LevelFilter::INFO,
        LogLevel::Warning => LevelFilter::WARN,
        LogLevel::Nothing => LevelFilter::OFF,
    };
    let of_client = if level > LevelFilter::INFO { level } else { LevelFilter::OFF };
    Targets::new().with_default(level).with_target("async_nats", of_client)
}
