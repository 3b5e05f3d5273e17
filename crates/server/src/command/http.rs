//! HTTP on the port: a web page can have a browser send requests here, with lines of its own choosing in their bodies.
//!
//! The head of such a request comes first, and is read as inline commands. Browsers write `Host:` into each, and a form
//! that a page sends without asking anybody starts with `POST`. No command has either name, so whoever sends one speaks
//! HTTP: the connection is closed, whatever it may do, before anything behind that line is looked at.
//!
//! Source: Redis and Valkey end such connections by the same two words.

use std::sync::atomic::Ordering::Relaxed;

use crate::connection::CloseReason;
use crate::shard::Shard;

/// A page may try again and again; one line a minute is enough to know.
const LOG_INTERVAL_MS: u64 = 60_000;

/// Whether the name of a command is a word of HTTP. A space behind `Host:` is usual, and not required.
pub(super) fn is_http(name: &[u8]) -> bool {
    name.get(..5).is_some_and(|begin| begin.eq_ignore_ascii_case(b"host:"))
        || name.eq_ignore_ascii_case(b"post")
}

impl Shard {
    /// Closes a connection that speaks HTTP.
    #[cold]
    pub(super) fn close_http(&mut self, slot: usize) {
        let server = &self.server;
        let (now_ms, last_ms) = (self.clock.now_ms, server.http_logged_ms.load(Relaxed));
        let is_due = now_ms.saturating_sub(last_ms) >= LOG_INTERVAL_MS;
        // Of shards that find it due at once, one writes the line.
        if is_due && server.http_logged_ms.compare_exchange(last_ms, now_ms, Relaxed, Relaxed).is_ok() {
            let addr = self.connections[slot].client.address.peer();
            tracing::warn!(
                %addr,
                "possible attack: a client sent POST or Host: as a command, as a web page does that makes a browser talk \
                 to this port; the connection is closed and nothing behind it is run"
            );
        }
        self.drain(slot, CloseReason::Http);
    }
}
