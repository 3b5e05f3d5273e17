//! `supervised`: a service manager is told when the server serves, that it still lives, and that it stops.
//!
//! Datagrams to the socket that `NOTIFY_SOCKET` names. `READY=1` is sent once the keys are loaded; until then `STATUS` says so, and
//! the time for the start is prolonged. If the unit has a watchdog (`WATCHDOG_USEC`), `WATCHDOG=1` is sent three times in its time, as
//! long as every shard has had a turn in it: a server of which a part stands still is started anew.
//!
//! Source: sd_notify(3).

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use sterna_config::Supervised;
use sterna_server::Control;

/// Between two messages while keys are loaded.
const LOADING_INTERVAL: Duration = Duration::from_millis(500);

/// How much longer a start may take from each of these messages on: much longer than between two of them.
const EXTENSION: Duration = Duration::from_secs(30);

/// The way to whoever supervises.
#[derive(Debug)]
pub(crate) struct Supervisor {
    socket: UnixDatagram,
    address: SocketAddr,
    has_said_stopping: AtomicBool,
}

impl Supervisor {
    /// Who supervises this process, if `supervised` and the environment say so.
    pub(crate) fn of(supervised: Supervised) -> io::Result<Option<Supervisor>> {
        let name = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        match (supervised, name) {
            (Supervised::No, _) | (_, None) => Ok(None),
            (_, Some(name)) => Supervisor::at(&name).map(Some),
        }
    }

    fn at(name: &OsString) -> io::Result<Supervisor> {
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(name)?,
        };
        Ok(Supervisor {
            socket: UnixDatagram::unbound()?,
            address,
            has_said_stopping: AtomicBool::new(false),
        })
    }

    /// Says something; if nobody takes it, nothing is lost but that.
    pub(crate) fn say(&self, text: &str) {
        let _ = self.socket.send_to_addr(text.as_bytes(), &self.address);
    }

    /// Says that the server stops, once.
    pub(crate) fn say_stopping(&self) {
        if !self.has_said_stopping.swap(true, Relaxed) {
            self.say("STOPPING=1");
        }
    }

    /// Says what there is to say for as long as the process lasts, on a thread of its own; `started` has the server once it listens,
    /// which may take long where files of Redis are brought in first.
    pub(crate) fn attend(self: Arc<Self>, started: Receiver<Control>) -> io::Result<()> {
        let watchdog = watchdog();
        let more_time = format!("EXTEND_TIMEOUT_USEC={}", EXTENSION.as_micros());
        let attend = move || {
            let control = loop {
                match started.recv_timeout(LOADING_INTERVAL) {
                    Ok(control) => break control,
                    Err(RecvTimeoutError::Timeout) => self.say(&format!("STATUS=Starting\n{more_time}")),
                    // The start has failed.
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            };
            while control.is_loading() {
                self.say(&format!("STATUS=Loading keys\n{more_time}"));
                if watchdog.is_some_and(|watchdog| control.is_alive(watchdog)) {
                    self.say("WATCHDOG=1");
                }
                thread::sleep(
                    watchdog.map_or(LOADING_INTERVAL, |watchdog| LOADING_INTERVAL.min(watchdog / 3)),
                );
            }
            self.say(&format!("READY=1\nSTATUS=Serving\nMAINPID={}", std::process::id()));
            while let Some(watchdog) = watchdog {
                if control.is_alive(watchdog) {
                    self.say("WATCHDOG=1");
                }
                thread::sleep(watchdog / 3);
            }
        };
        thread::Builder::new().name("supervisor".to_owned()).spawn(attend).map(drop)
    }
}

/// The time within which the unit wants to be told that the server lives, if it is this process that it means.
fn watchdog() -> Option<Duration> {
    let number = |name: &str| env::var(name).ok()?.parse::<u64>().ok();
    if number("WATCHDOG_PID").is_some_and(|pid| pid != u64::from(std::process::id())) {
        return None;
    }
    number("WATCHDOG_USEC").filter(|&us| us > 0).map(Duration::from_micros)
}
