//! How much of its shard's time a connection asks for at once.
//!
//! A *burst* is what a connection sends from one moment in which it has nothing to say to the next. It is *busy* while its
//! bursts are long, and otherwise *quiet*, or *fresh* until it has shown that it asks for little. A pipeline of hundreds of requests
//! is one burst, however many turns it takes, and its connection is still busy when it ends: else hundreds of pipelining clients
//! would each begin their next one as quiet clients, and who asks now and then would wait for all of them. For the same reason
//! a new connection is not quiet: hundreds of them may come at once, each with a first request that takes milliseconds.
//!
//! ```text
//!                    some cheap bursts             a long one that goes on, or two in a row
//!   new ──► fresh ──────────────────────► quiet ────────────────────────────────────────────► busy
//!           │   ▲                         │   ▲                                              ▲  │
//!           │   └── several costly ones ──┘   └──────────────── a short one ─────────────────┼──┘
//!           └─────────────────────── as a quiet one does ────────────────────────────────────┘
//! ```
//!
//! In time a connection has shown more than it has to, and a costly burst takes off a part of that: the thread may have been
//! without a processor meanwhile, which is not the client's fault.

use std::time::Duration;

/// A burst that took less leaves its connection quiet: a handful of requests.
const QUIET_BURST_MAX: Duration = Duration::from_micros(20);

/// A burst of so few requests that took longer is forgiven once: it may have been the machine that took its time.
const QUIET_REQUESTS_MAX: u64 = 4;

/// A burst that took longer is costly. Well above what a handful of requests takes, of a development build too.
const CHEAP_BURST_MAX: Duration = Duration::from_micros(150);

/// Who has shown less is fresh. Greeting, naming itself and a first request are about so many bursts.
const SHOWN_MIN: u8 = 4;

/// What a connection can have shown at most: several costly bursts in a row are forgiven.
const SHOWN_MAX: u8 = 32;

/// What a costly burst takes of that.
const SHOWN_LOST: u8 = 8;

/// Among whom a connection is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// It leaves others their time.
    Quiet,
    /// It has yet to show that.
    Fresh,
    /// Its bursts are long.
    Busy,
}

/// What becomes of a connection that has been served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// It has more to say.
    GoesOn,
    /// It has said all for now.
    Ends,
    /// It is held, whatever it has to say.
    Waits,
}

/// See the module.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pace {
    is_busy: bool,
    /// The burst before this one took long, whatever the reason.
    was_long: bool,
    /// Cheap bursts that it has had, of those that count; costly ones have been taken off.
    shown: u8,
    /// The burst so far.
    burst_ns: u64,
    burst_requests: u64,
}

impl Pace {
    #[inline]
    pub(crate) fn class(self) -> Class {
        match self.is_busy {
            true => Class::Busy,
            false if self.shown < SHOWN_MIN => Class::Fresh,
            false => Class::Quiet,
        }
    }

    /// The connection has been served.
    #[inline]
    pub(crate) fn note(&mut self, took: Duration, requests: u64, then: Then) {
        if requests == 0 && then == Then::Waits {
            // Nothing of what it asks for has been done: that says nothing about it.
            return;
        }
        let goes_on = then == Then::GoesOn;
        self.burst_ns += took.as_nanos() as u64;
        self.burst_requests += requests;
        let is_long = self.burst_ns > QUIET_BURST_MAX.as_nanos() as u64;
        if is_long && (goes_on || self.was_long || self.burst_requests > QUIET_REQUESTS_MAX) {
            self.is_busy = true;
        }
        if !goes_on {
            let shown = if self.burst_ns > CHEAP_BURST_MAX.as_nanos() as u64 {
                self.shown.saturating_sub(SHOWN_LOST)
            } else if self.burst_requests > 0 && self.shown < SHOWN_MAX {
                self.shown + 1
            } else {
                // A part of a request shows nothing: the whole may be large.
                self.shown
            };
            *self = Pace { is_busy: self.is_busy && is_long, was_long: is_long, shown, ..Pace::default() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection that has been quiet for long.
    fn known() -> Pace {
        Pace { shown: SHOWN_MAX, ..Pace::default() }
    }

    /// After bursts, or parts of them: how long each took, in microseconds, how many requests it was, and whether it went on.
    fn after(mut pace: Pace, bursts: &[(u64, u64, bool)]) -> Class {
        for &(us, requests, goes_on) in bursts {
            let then = if goes_on { Then::GoesOn } else { Then::Ends };
            pace.note(Duration::from_micros(us), requests, then);
        }
        pace.class()
    }

    #[test]
    fn a_pipeline_stays_busy_through_its_end_and_until_a_burst_is_short() {
        assert_eq!(after(known(), &[(100, 256, false)]), Class::Busy);
        // In slices, the last of which executes little, or nothing.
        assert_eq!(after(known(), &[(150, 200, true), (5, 10, true), (1, 0, false)]), Class::Busy);
        assert_eq!(after(known(), &[(100, 256, false), (3, 1, false)]), Class::Quiet);
    }

    #[test]
    fn who_is_held_before_anything_was_done_is_what_it_was() {
        let mut publisher = known();
        publisher.note(Duration::from_micros(150), 200, Then::GoesOn);
        assert_eq!(publisher.class(), Class::Busy);
        // Turn after turn, since the shard is behind.
        (0..10).for_each(|_| publisher.note(Duration::from_micros(1), 0, Then::Waits));
        assert_eq!(publisher.class(), Class::Busy);
        // One that waits with its first request for what takes long has been served.
        publisher.note(Duration::from_micros(3), 1, Then::Waits);
        assert_eq!(after(publisher, &[(3, 1, false)]), Class::Quiet);
    }

    #[test]
    fn one_slow_request_does_not_make_a_client_busy_and_a_second_does() {
        assert_eq!(after(known(), &[(3, 1, false), (4000, 1, false)]), Class::Quiet);
        assert_eq!(after(known(), &[(4000, 1, false), (3, 1, false), (4000, 1, false)]), Class::Quiet);
        assert_eq!(after(known(), &[(4000, 1, false), (4000, 1, false)]), Class::Busy);
        // One that has not ended has had its time as a quiet client's.
        assert_eq!(after(known(), &[(150, 1, true)]), Class::Busy);
    }

    #[test]
    fn a_new_client_is_fresh_until_it_has_asked_for_little_some_times() {
        let (cheap, costly, part) = ((3, 1, false), (4000, 1, false), (3, 0, false));
        assert_eq!(after(Pace::default(), &[]), Class::Fresh);
        assert_eq!(after(Pace::default(), &[cheap; SHOWN_MIN as usize - 1]), Class::Fresh);
        assert_eq!(after(Pace::default(), &[cheap; SHOWN_MIN as usize]), Class::Quiet);
        assert_eq!(after(Pace::default(), &[costly, cheap, cheap, cheap]), Class::Fresh);
        assert_eq!(after(Pace::default(), &[part; 100]), Class::Fresh, "no request has been whole");
    }

    #[test]
    fn who_was_quiet_for_long_is_so_after_some_delays_and_not_if_every_other_burst_is_costly() {
        let (cheap, costly) = ((3, 1, false), (4000, 1, false));
        assert_eq!(after(known(), &[costly, cheap, costly, cheap, costly, cheap]), Class::Quiet);
        assert_eq!(after(known(), &[costly, cheap].repeat(5)), Class::Fresh);
        assert_eq!(after(known(), &[[cheap; 20], [cheap; 20]].concat()), Class::Quiet);
    }
}
