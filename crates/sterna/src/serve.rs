//! `sterna`: the server.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};
use signal_hook::iterator::Signals;
use sterna_cluster::{Bridge, Settings};
use sterna_config::{Config, Loaded};
use sterna_gateway::Gateway;
use sterna_server::{Control, Running, VERSION};

use crate::logging::LogFile;
use crate::supervisor::Supervisor;
use crate::{Failure, daemon};

/// Starts the server and returns when it has stopped in order.
pub(crate) fn serve(args: &[String]) -> Result<(), Failure> {
    let Loaded { config, warnings, file } = Config::load(args, sterna_server::LINE_CHECKS)?;
    if daemon::is_to_start_another(config.daemonize) {
        return if file.is_none() && args.iter().any(|arg| arg == "-") {
            Err(Failure::BackgroundInput)
        } else {
            daemon::start_another()
        };
    }
    enter_dir(&config)?;
    let log = crate::logging::start(&config)?;
    crate::memory::install();
    stop_on_panic();
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    // Before the shards, so that no signal meets the default handler while they start.
    let signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGXFSZ])
        .map_err(|e| Failure::Io("cannot listen to signals", e))?;
    let supervisor =
        Supervisor::of(config.supervised).map_err(|e| Failure::Io("NOTIFY_SOCKET", e))?.map(Arc::new);
    let (started, is_started) = mpsc::channel();
    if let Some(supervisor) = supervisor.clone() {
        supervisor.attend(is_started).map_err(|e| Failure::Io("cannot start a thread", e))?;
    }
    let (pidfile, daemonize) = (config.pidfile.clone(), config.daemonize);
    let (mut running, bridge) = start(config, file)?;
    let gateway = serve_http(&mut running)?;
    // What it has not written it leaves alone in the end.
    let pidfile = pidfile.filter(|path| write_pid(path));
    greet(&running);
    daemon::leave_terminal(daemonize)?;
    let control = running.control();
    // Nobody waits for it where there is no supervisor.
    let _ = started.send(control.clone());
    let told = supervisor.clone();
    thread::spawn(move || obey(signals, &control, &log, told.as_deref()));
    // SHUTDOWN has no signal that says so.
    let result = running.join(|| supervisor.iter().for_each(|supervisor| supervisor.say_stopping()));
    gateway.into_iter().for_each(Gateway::stop);
    bridge.into_iter().for_each(Bridge::stop);
    if let Some(path) = &pidfile {
        // It may have been removed by hand; there is nothing to do about it either way.
        let _ = std::fs::remove_file(path);
    }
    result.map_err(|e| Failure::Io("the server failed", e))?;
    tracing::info!("stopped");
    Ok(())
}

/// Has relative paths begin in `dir`, as in Redis.
pub(crate) fn enter_dir(config: &Config) -> Result<(), Failure> {
    std::env::set_current_dir(&config.dir).map_err(|e| Failure::Io("cannot enter dir", e))
}

/// Starts the server, and before its shards what connects it with other nodes, if there are to be any.
fn start(config: Config, file: Option<PathBuf>) -> Result<(Running, Option<Bridge>), Failure> {
    let Some(settings) = Settings::of(&config)? else {
        return Ok((sterna_server::start(config, file)?, None));
    };
    let mut bridge = None;
    let connect = |inlet, config: &Config| {
        let started = Bridge::start(&settings, config, inlet).map_err(|error| error.to_string())?;
        let nodes = started.nodes();
        bridge = Some(started);
        Ok(nodes)
    };
    let running = sterna_server::start_among(config, file, Some(Box::new(connect)))?;
    Ok((running, bridge))
}

/// Serves HTTP, if there are listeners for it.
fn serve_http(running: &mut Running) -> Result<Option<Gateway>, Failure> {
    let listeners = running.take_http_listeners();
    if listeners.is_empty() {
        return Ok(None);
    }
    let gateway = sterna_gateway::start(running.engine(), listeners);
    gateway.map(Some).map_err(|e| Failure::Io("cannot serve HTTP", e))
}

/// Has a panic in any thread end the process: the other threads would go on as half a server, some of its clients unanswered
/// and some of its keys locked for good. What was acknowledged is in the journal; the write that panicked is not.
fn stop_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // The log may be what has panicked.
        thread::spawn(|| {
            thread::sleep(PANIC_REPORT_MAX);
            std::process::abort();
        });
        let thread = thread::current();
        tracing::error!(thread = thread.name(), "{panic}; this is a bug in Sterna, and the server stops");
        // With a backtrace, if the environment asks for one: that may take a while.
        report(panic);
        std::process::abort();
    }));
}

/// How long telling of a panic may take.
const PANIC_REPORT_MAX: Duration = Duration::from_secs(3);

/// What a newcomer needs to know, on standard output whatever the log level.
fn greet(running: &Running) {
    let mut text = format!(
        "Sterna {} · Redis {} protocol · {} shard{}\n",
        VERSION.sterna,
        VERSION.redis,
        running.shards,
        if running.shards == 1 { "" } else { "s" },
    );
    for address in &running.addresses {
        text += &format!("  listening on {address}\n");
    }
    for (name, path) in &running.files {
        text += &format!("  {name}: {}\n", path.display());
    }
    if let Some(options) = running.tool_options() {
        text += &format!(
            "  try it: sterna sub{options} news   and, in another terminal,   sterna pub{options} news hello\n"
        );
    }
    // A closed standard output is no reason not to serve.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// As in Redis, a server whose pidfile can't be written serves all the same: the folder of a package's configuration may be there
/// for its own user only.
fn write_pid(path: &Path) -> bool {
    let written = sterna_filesystem::write(path, format!("{}\n", std::process::id()).as_bytes());
    if let Err(error) = &written {
        tracing::warn!(%error, path = %path.display(), "the pidfile can't be written");
    }
    written.is_ok()
}

/// SIGTERM and SIGINT stop the server in order, SIGHUP and SIGUSR1 open its log anew, SIGHUP reads its certificates again.
fn obey(mut signals: Signals, control: &Control, log: &LogFile, supervisor: Option<&Supervisor>) {
    for signal in signals.forever() {
        if matches!(signal, SIGHUP | SIGUSR1) {
            match log.reopen() {
                Ok(()) => tracing::info!("the log is opened anew"),
                Err(e) => tracing::warn!("the log goes on where it was: {e}"),
            }
        }
        match signal {
            SIGUSR1 => {}
            SIGHUP => match control.reload_tls() {
                Ok(()) => tracing::info!("certificates read again"),
                Err(e) => tracing::warn!("certificates not changed: {e}"),
            },
            // A limit on the size of files: the write fails, and the journal deals with that.
            SIGXFSZ => {}
            _ => {
                tracing::info!(signal, "stopping");
                if let Some(supervisor) = supervisor {
                    supervisor.say_stopping();
                }
                control.stop();
            }
        }
    }
}
