//! CONFIG SET appendonly and appendfsync: turning the journal on and off while the server runs.
//!
//! On, in a thread of its own, so that no shard waits:
//!
//! 1. What an earlier run left in the directory is read to its end, as at a start, and not used.
//! 2. A record that empties every database says that it is over.
//! 3. Every shard begins to collect effects; this waits until all do.
//! 4. A snapshot holds what is there. From here on a restart finds everything; before, a crash would find only what was
//!    written since.
//!
//! Off: effects are no longer collected. The journal keeps its directory, and takes over again from step 2.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use sterna_journal::{Error, Lsn, Rejected, Restore};

use super::load::{Opened, begin, claim, ears};
use super::policy;
use crate::config::Config;
use crate::mailbox::{Ack, Mail};
use crate::server::Server;

/// Between two looks at the shards.
const GLANCE: Duration = Duration::from_millis(1);

/// What turning the journal on needs and what could fail at once.
pub(crate) struct Prepared(Option<Opened>);

/// Takes everything and keeps nothing.
struct Forget;

impl Restore for Forget {
    fn item(&mut self, _key: &[u8], _stamp: Lsn, _value: &[u8]) -> Result<(), Rejected> {
        Ok(())
    }

    fn record(&mut self, _lsn: Lsn, _payload: &[u8]) -> Result<(), Rejected> {
        Ok(())
    }
}

/// Claims the journal's directory, if this is the first time that the journal is turned on.
pub(crate) fn prepare(server: &Server, config: &Config) -> Result<Prepared, super::JournalError> {
    Ok(Prepared(match server.persistence.journal.get() {
        Some(_) => None,
        None => Some(claim(config)?),
    }))
}

/// Turns the journal on; tells `ack` when that is done.
pub(crate) fn turn_on(server: &Arc<Server>, prepared: Prepared, ack: Option<Ack>) {
    let of = Arc::clone(server);
    let run = move || {
        let server = of;
        if let Err(error) = turn_on_now(&server, prepared) {
            tracing::error!(%error, "appendonly is not turned on");
            let off = |config: &Config| Ok::<_, ()>(Config { appendonly: false, ..config.clone() });
            // The closure can't fail.
            let _ = server.change_config(off);
            server.persistence.set_on(false);
            server.shards_look_again();
        }
        if let Some(ack) = ack {
            server.shards[ack.shard].mailbox.push(Mail::Done(ack));
        }
    };
    if let Err(error) = thread::Builder::new().name("appendonly".to_owned()).spawn(run) {
        tracing::error!(%error, "appendonly is not turned on");
        if let Some(ack) = ack {
            server.shards[ack.shard].mailbox.push(Mail::Done(ack));
        }
    }
}

fn turn_on_now(server: &Arc<Server>, Prepared(opened): Prepared) -> Result<(), Error> {
    if let Some(opened) = opened {
        let recovered = opened.recovery.replay(&mut Forget)?;
        begin(server, recovered.start(ears(server))?);
    }
    let journal = server.persistence.journal.get().expect("begun above, or before");
    journal.append(&sterna_keyspace::flush_all())?;
    server.persistence.set_on(true);
    server.shards_look_again();
    let version = server.config_version();
    let lags = || server.shards.iter().any(|shard| shard.config_seen.load(Ordering::Acquire) < version);
    while lags() && !server.is_stopping() {
        thread::sleep(GLANCE);
    }
    server.snapshot_and_wait(journal).map_err(|error| {
        tracing::error!(%error, "the first snapshot failed");
        Error::Refused(sterna_journal::Refusal::DiskFailed)
    })
}

/// Turns the journal off. Records that are in it already stay.
pub(crate) fn turn_off(server: &Arc<Server>) {
    server.persistence.set_on(false);
    server.shards_look_again();
}

/// Takes over what else the journal can be told while it runs.
pub(crate) fn adjust(server: &Arc<Server>, config: &Config) {
    if let Some(journal) = server.persistence.journal.get() {
        let wanted = policy(config.appendfsync);
        if journal.policy() != wanted {
            journal.set_policy(wanted);
            server.shards_look_again();
        }
    }
}
