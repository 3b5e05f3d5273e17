//! Descriptors: how many the process may have, how many it needs itself, and so how many clients can be served.
//!
//! What the server needs is kept in reserve by `maxclients`: connections alone can't use up what a segment of the
//! journal, a snapshot, or CONFIG REWRITE is opened with.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// Descriptors beside those of clients, shards and listeners: standard streams, log, signals, the journal's files and
/// directories, a snapshot, certificates and configuration while they are read or written. Source: Redis reserves as many.
const OWN_FILES: u64 = 32;

/// Descriptors of one shard: its poll and its waker.
const FILES_PER_SHARD: u64 = 2;

/// Descriptors of what serves HTTP: its poll and waker, and connections that are refused.
const GATEWAY_FILES: u64 = 8;

/// Descriptors that the server needs beside those of its clients.
pub(crate) fn own_files(config: &Config, shards: usize) -> u64 {
    // A name may have an address of each family; both ports, the Unix socket.
    let listeners = 4 * config.bind.len() as u64 + 1;
    let gateway = if config.has_http_port() { listeners + GATEWAY_FILES } else { 0 };
    OWN_FILES + FILES_PER_SHARD * shards as u64 + listeners + gateway
}

/// Raises the limit on open files so that so many clients fit beside `own`, as far as the system allows. Errors: how
/// many fit.
pub(crate) fn make_room_for(clients: u32, own: u64) -> Result<(), u64> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = u64::from(clients) + own;
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    let maximum = limit.maximum.map(|maximum| maximum.max(wanted));
    // What it is afterwards says whether it worked.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).or_else(|_| {
        let current = limit.maximum.map(|maximum| maximum.min(wanted));
        setrlimit(Resource::Nofile, Rlimit { current, maximum: limit.maximum })
    });
    match getrlimit(Resource::Nofile).current {
        Some(now) if now < wanted => Err(now.saturating_sub(own)),
        _ => Ok(()),
    }
}
