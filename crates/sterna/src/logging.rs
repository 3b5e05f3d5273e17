//! The log: one line an event, to standard output or to `logfile`, at `loglevel`.

use std::fs::OpenOptions;
use std::io;
use std::sync::Mutex;

use sterna_config::{Config, LogLevel};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{fmt, reload};

/// Starts logging. CONFIG SET loglevel changes the level later, through the hook that this sets.
///
/// Errors: `logfile` can't be opened.
pub(crate) fn start(config: &Config) -> io::Result<()> {
    let (level, handle) = reload::Layer::new(filter_of(config.loglevel));
    let writer = match &config.logfile {
        Some(path) => {
            BoxMakeWriter::new(Mutex::new(OpenOptions::new().create(true).append(true).open(path)?))
        }
        None => BoxMakeWriter::new(io::stdout),
    };
    let lines = fmt::layer().with_writer(writer).with_target(false).with_ansi(false);
    // A second start in one process keeps the first: there is one log.
    let _ = tracing_subscriber::registry().with(level).with(lines).try_init();
    sterna_server::on_log_level(move |level| {
        // Fails only if the subscriber is gone, and then there is no log to filter.
        let _ = handle.reload(filter_of(level));
    });
    Ok(())
}

/// Redis's levels as the log's: `verbose` shows what `debug` does without every connection. What NATS's client says of its
/// connections this node says itself.
fn filter_of(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Debug => LevelFilter::TRACE,
        LogLevel::Verbose => LevelFilter::DEBUG,
        LogLevel::Notice => LevelFilter::INFO,
        LogLevel::Warning => LevelFilter::WARN,
        LogLevel::Nothing => LevelFilter::OFF,
    };
    let of_client = if level == LevelFilter::INFO { LevelFilter::WARN } else { level };
    Targets::new().with_default(level).with_target("async_nats", of_client)
}
