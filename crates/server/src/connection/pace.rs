//! How much of its shard's time a connection asks for at once.
//!
//! A *burst* is what a connection sends from one moment in which it has nothing to say to the next. It is *busy* while its
//! bursts are long, and quiet otherwise. A pipeline of hundreds of requests is one burst, however many turns it takes, and
//! its connection is still busy when it ends: else hundreds of pipelining clients would each begin their next one as quiet
//! clients, and who asks now and then would wait for all of them.

use std::time::Duration;

/// A burst that took less leaves its connection quiet: a handful of requests.
const QUIET_BURST_MAX: Duration = Duration::from_micros(20);

/// A burst of so few requests that took longer is forgiven once: it may have been the machine that took its time.
const QUIET_REQUESTS_MAX: u64 = 4;

/// See the module.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pace {
    is_busy: bool,
    /// The burst before this one took long, whatever the reason.
    was_long: bool,
    /// The burst so far.
    burst_ns: u64,
    burst_requests: u64,
}

impl Pace {
    /// Whether its bursts are long.
    #[inline]
    pub(crate) fn is_busy(self) -> bool {
        self.is_busy
    }

    /// The connection has been served; `goes_on` if it has more to say.
    #[inline]
    pub(crate) fn note(&mut self, took: Duration, requests: u64, goes_on: bool) {
        self.burst_ns += took.as_nanos() as u64;
        self.burst_requests += requests;
        let is_long = self.burst_ns > QUIET_BURST_MAX.as_nanos() as u64;
        if is_long && (goes_on || self.was_long || self.burst_requests > QUIET_REQUESTS_MAX) {
            self.is_busy = true;
        }
        if !goes_on {
            *self = Pace { is_busy: self.is_busy && is_long, was_long: is_long, ..Pace::default() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(bursts: &[(u64, u64, bool)]) -> bool {
        let mut pace = Pace::default();
        for &(us, requests, goes_on) in bursts {
            pace.note(Duration::from_micros(us), requests, goes_on);
        }
        pace.is_busy()
    }

    #[test]
    fn a_pipeline_stays_busy_through_its_end_and_until_a_burst_is_short() {
        assert!(after(&[(100, 256, false)]));
        // In slices, the last of which executes little, or nothing.
        assert!(after(&[(150, 200, true), (5, 10, true), (1, 0, false)]));
        assert!(!after(&[(100, 256, false), (3, 1, false)]));
    }

    #[test]
    fn one_slow_request_does_not_make_a_client_busy_and_a_second_does() {
        assert!(!after(&[(3, 1, false), (4000, 1, false)]));
        assert!(!after(&[(4000, 1, false), (3, 1, false), (4000, 1, false)]));
        assert!(after(&[(4000, 1, false), (4000, 1, false)]));
        // One that has not ended has had its time as a quiet client's.
        assert!(after(&[(150, 1, true)]));
    }
}
