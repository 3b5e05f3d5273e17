//! `daemonize yes`: the server goes to the background.
//!
//! ```text
//!   sterna ──starts──► sterna, STERNA_DAEMON=1 ── a session of its own
//!     │  prints what it prints                │
//!     ◄──── its output ends ──────────────────┘ once it serves: output goes to /dev/null
//!     └ ends with 0, or with what the other has ended with
//! ```
//!
//! So whoever starts it learns whether it serves, and may use it at once; and what is wrong is said on the terminal. A program
//! with threads can't be split in two, so it is started again instead, with the same words.

use std::env;
use std::fs::File;
use std::io;
use std::process::{Command, ExitStatus, Stdio};

use crate::Failure;

/// Set for the process in the background.
const MARK: &str = "STERNA_DAEMON";

/// Whether this process is the one that was started by hand, and shall not be the server.
pub(crate) fn is_to_start_another(daemonize: bool) -> bool {
    daemonize && env::var_os(MARK).is_none()
}

/// Starts the server in the background, and waits until it serves.
pub(crate) fn start_another() -> Result<(), Failure> {
    let failed = |e| Failure::Io("cannot go to the background", e);
    let mut server = Command::new(env::current_exe().map_err(failed)?)
        .args(env::args_os().skip(1))
        .env(MARK, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut output) = server.stdout.take() {
        // A closed output is no reason not to go on.
        let _ = io::copy(&mut output, &mut io::stdout());
    }
    // It has let go of its output: it serves, or ends.
    match ended(&mut server).map_err(failed)? {
        Some(status) if !status.success() => Err(Failure::Background),
        _ => Ok(()),
    }
}

/// The end of a server that has not come to serve.
fn ended(server: &mut std::process::Child) -> io::Result<Option<ExitStatus>> {
    // One that serves goes on: its output is /dev/null, which it has said by the session of its own.
    let pid = rustix::process::Pid::from_child(server);
    match rustix::process::getsid(Some(pid)) {
        Ok(session) if session == pid => server.try_wait(),
        _ => server.wait().map(Some),
    }
}

/// Has this process, if it is the one in the background, leave the terminal behind, now that it serves.
pub(crate) fn leave_terminal(daemonize: bool) -> Result<(), Failure> {
    if !daemonize || env::var_os(MARK).is_none() {
        return Ok(());
    }
    let failed = |e: io::Error| Failure::Io("cannot go to the background", e);
    let null = File::options().read(true).write(true).open("/dev/null").map_err(failed)?;
    let sent_away = rustix::process::setsid().map(drop);
    let sent_away = sent_away.and_then(|()| rustix::stdio::dup2_stderr(&null));
    sent_away.and_then(|()| rustix::stdio::dup2_stdout(&null)).map_err(|e| failed(e.into()))
}
