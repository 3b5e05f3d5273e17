//! Lines of the log that clients can cause: a few a second for each cause, and a count of the others.
//!
//! Without this, who connects and fails in a loop writes the disk full; with it the log still says what happens, and how
//! often it did.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Lines a second for one cause: enough to see who it was, few enough to read.
const LINES_PER_SECOND: u64 = 10;

/// What a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Cause {
    /// A connection could not be accepted.
    Accept,
    /// More clients than `maxclients`.
    MaxClients,
    /// A TLS session failed.
    Tls,
    /// A login failed.
    Login,
    /// A client over `client-output-buffer-limit`.
    SlowConsumer,
    /// A client over `client-query-buffer-limit`.
    QueryLimit,
    /// A client over `maxmemory-clients`.
    Evicted,
    /// Memory above `maxmemory`.
    OutOfMemory,
    /// An element that nobody has got could not be put back.
    Undelivered,
}

impl Cause {
    const ALL: [Cause; 9] = [
        Cause::Accept,
        Cause::MaxClients,
        Cause::Tls,
        Cause::Login,
        Cause::SlowConsumer,
        Cause::QueryLimit,
        Cause::Evicted,
        Cause::OutOfMemory,
        Cause::Undelivered,
    ];

    const fn name(self) -> &'static str {
        match self {
            Cause::Accept => "connections that could not be accepted",
            Cause::MaxClients => "clients over maxclients",
            Cause::Tls => "TLS sessions that failed",
            Cause::Login => "failed logins",
            Cause::SlowConsumer => "clients over client-output-buffer-limit",
            Cause::QueryLimit => "clients over client-query-buffer-limit",
            Cause::Evicted => "clients over maxmemory-clients",
            Cause::OutOfMemory => "commands refused above maxmemory",
            Cause::Undelivered => "elements that could not be put back",
        }
    }
}

/// How much has been said of each cause.
#[derive(Debug, Default)]
pub(crate) struct LogLimits([LogLimit; Cause::ALL.len()]);

#[derive(Debug, Default)]
struct LogLimit {
    /// The second that `lines` counts in.
    second: AtomicU64,
    lines: AtomicU64,
    /// Lines left out since that was last told.
    left_out: AtomicU64,
}

impl LogLimits {
    /// Whether a line about `cause` may be written now. Threads that ask at once may write a line more.
    pub(crate) fn admits(&self, cause: Cause, now_ms: u64) -> bool {
        let limit = &self.0[cause as usize];
        let second = now_ms / 1000;
        if limit.second.swap(second, Relaxed) != second {
            limit.lines.store(0, Relaxed);
        }
        let is_admitted = limit.lines.fetch_add(1, Relaxed) < LINES_PER_SECOND;
        if !is_admitted {
            limit.left_out.fetch_add(1, Relaxed);
        }
        is_admitted
    }

    /// Says how many lines were left out in seconds that are over. Called ten times a second.
    pub(crate) fn report(&self, now_ms: u64) {
        for (cause, lines) in self.take_left_out(now_ms) {
            tracing::warn!(lines, "more of the same were not logged: {}", cause.name());
        }
    }

    fn take_left_out(&self, now_ms: u64) -> Vec<(Cause, u64)> {
        let is_over = |limit: &LogLimit| limit.second.load(Relaxed) != now_ms / 1000;
        (Cause::ALL.into_iter().zip(&self.0))
            .filter(|(_, limit)| is_over(limit) && limit.left_out.load(Relaxed) > 0)
            .map(|(cause, limit)| (cause, limit.left_out.swap(0, Relaxed)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_lines_a_second_and_the_rest_is_counted() {
        let limits = LogLimits::default();
        let admitted = |cause, now_ms| (0..100).filter(|_| limits.admits(cause, now_ms)).count() as u64;
        assert_eq!(admitted(Cause::Accept, 5000), LINES_PER_SECOND);
        assert_eq!(admitted(Cause::Tls, 5999), LINES_PER_SECOND);
        assert_eq!(limits.take_left_out(5999), [], "the second isn't over");
        let left_out = 100 - LINES_PER_SECOND;
        assert_eq!(limits.take_left_out(6000), [(Cause::Accept, left_out), (Cause::Tls, left_out)]);
        assert_eq!(limits.take_left_out(6000), []);
        assert_eq!(admitted(Cause::Accept, 6000), LINES_PER_SECOND);
    }
}
