//! What a connection does next: read, wait, or close.
//!
//! ```text
//!   accepted ──► Reads ──────── wait ───────► Waits
//!                 │ ◄───────── resume ──────── │
//!                 │                            │
//!                 ├─────────── drain ──────────┤     QUIT, SHUTDOWN, a protocol error, CLIENT KILL of itself
//!                 ▼                            │
//!               Drains ─── all sent ───────────┼──────────────────────────► gone
//!                 │                            │                             ▲
//!                 └────────── condemn ─────────┘     a limit, another's kill │
//!                                ▼                                           │
//!                            Condemned ─── at the next reap ─────────────────┘
//! ```
//!
//! The shard makes the transitions (`shard/states.rs`), because a wait has a timer and may stand in other lists; here is
//! what each means for the connection itself. A connection that can't be freed where it is found to be over a limit,
//! because its subscribers are just being walked, is condemned.
//!
//! Invariants
//! - Requests are executed only in `Reads`.
//! - Behind the reply to the request that made it `Drains` nothing is queued: a peer that reads no more costs nothing more.
//! - From `Condemned` and `Drains` there is no way back; a limit passed in `Drains` makes it `Condemned`.
//! - A detached connection, which has no socket, waits for its successor (`Wait::Successor`); it closes from there.
//! - A wait has at most one timer. Timer and wait end together.

use std::time::Instant;

use sterna_keyspace::Waiter;
use sterna_protocol::OwnedArgs;

use super::CloseReason;
use super::client::{ClientId, mark};
use super::waits::{Asleep, CopiesWait, JobWait, KeyWait};

/// Names a connection of a shard for as long as somebody remembers it: slots are used again, ids are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnectionRef {
    pub(crate) slot: usize,
    pub(crate) id: ClientId,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) enum State {
    #[default]
    Reads,
    Waits(Box<Waiting>),
    Drains(CloseReason),
    Condemned {
        reason: CloseReason,
        /// The wait that it was in, to be taken out of other lists when it closes.
        waiting: Option<Box<Waiting>>,
    },
}

/// Why a connection's next request is not executed yet.
#[derive(Debug)]
pub(crate) enum Wait {
    /// CLIENT PAUSE: the request stays in the input until the pause ends.
    Pause,
    /// The disk is slower than the writers: the request stays in the input for a moment.
    Backlog,
    /// Too many logins from its address have failed: AUTH stays in the input until the next one may be looked at.
    Login,
    /// Other shards have yet to do their part (CLIENT KILL); replies wait as well.
    Acks {
        /// How many have yet to answer.
        remaining: usize,
    },
    /// The command waits for another client (XREAD BLOCK …).
    Key(KeyWait),
    /// WAIT or WAITAOF: what it has written is not in as many places as it wants.
    Copies(CopiesWait),
    /// A job about the journal's files has to end first: SAVE, CONFIG SET appendonly, SHUTDOWN.
    Job(JobWait),
    /// DEBUG SLEEP.
    Asleep(Asleep),
    /// A transaction in which DEBUG SLEEP is queued: EXEC stays in the input until its time is up.
    Nap,
    /// A transaction that loads users: their file is being read, and EXEC stays in the input.
    File,
    /// These shards (a bit each) have more in their mail, or on their way to sockets, than they keep up with: nothing is
    /// read from who publishes there.
    Credit { shards: u64 },
    /// It has not read what it was answered: requests wait in the input until it has.
    Output,
    /// Its request is executed a part at a time, in the turns to come.
    Parts,
    /// Its command is run on copies of what its keys hold, by a thread of its own.
    Apart,
    /// What it asks for needs keys that somebody has to himself, a command that is run apart or a transaction that goes on
    /// in slices: the request stays in the input until they are free.
    Keys,
    /// What it asks for needs the Lua state, which somebody has, or keys that a script has to itself: the request stays in the input
    /// until it is its turn.
    Turn {
        /// When that is: the lowest goes first.
        ticket: u64,
    },
    /// Its transaction goes on in slices.
    Exec,
    /// SUBSCRIBE or UNSUBSCRIBE: what was published before it is still in the mail.
    Mail,
    /// Other nodes have yet to know what it wants to listen to, or to answer what it asks: the request stays in the input.
    Nodes,
    /// The node that leads the keys has yet to answer what was passed on to it: the request, which is executed here or too much to
    /// be under way as well, stays in the input.
    Passed,
    /// No node leads the keys just now, or the one that does takes no more: the request stays in the input.
    Lead,
    /// SUBSCRIBE: another shard has the detached connection that it takes over from, and is to have this one.
    Move,
    /// It is detached: its socket is gone, and its subscriptions go on until another one takes them over, or its time is up.
    Successor,
}

impl Wait {
    /// Whether it waits for this server, and not for other clients, other nodes, or a time to pass: then it is answered also if
    /// it sends no more, as it would be by a server that keeps everybody waiting meanwhile.
    pub(crate) fn ends_by_itself(&self) -> bool {
        match self {
            Wait::Acks { .. }
            | Wait::Apart
            | Wait::Asleep(_)
            | Wait::Backlog
            | Wait::Credit { .. }
            | Wait::Exec
            | Wait::File
            | Wait::Job(_)
            | Wait::Keys
            | Wait::Mail
            | Wait::Nap
            | Wait::Output
            | Wait::Parts
            | Wait::Turn { .. } => true,
            Wait::Key(_)
            | Wait::Copies(_)
            | Wait::Lead
            | Wait::Login
            | Wait::Move
            | Wait::Nodes
            | Wait::Passed
            | Wait::Pause
            | Wait::Successor => false,
        }
    }

    /// The request that waits, if its user may lose the right to wait for its answer.
    pub(crate) fn request(&self) -> Option<&OwnedArgs> {
        match self {
            Wait::Key(blocked) => Some(&blocked.request),
            Wait::Copies(wait) => Some(&wait.request),
            _ => None,
        }
    }

    /// What stands in the queues of its keys.
    pub(crate) fn waiter(&self) -> Option<&Waiter> {
        match self {
            Wait::Key(blocked) => Some(&blocked.waiter),
            _ => None,
        }
    }

    /// How CLIENT LIST marks a client that INFO counts as blocked.
    pub(crate) fn blocked_mark(&self) -> Option<u32> {
        match self {
            Wait::Key(_) | Wait::Copies(_) => Some(mark::BLOCKED),
            Wait::Pause => Some(mark::PAUSED),
            _ => None,
        }
    }
}

/// A wait, and when the shard looks at it.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) wait: Wait,
    /// Its entry in the shard's timers.
    pub(crate) timer: Option<Instant>,
}

impl State {
    /// Whether the next request may be executed.
    #[inline]
    pub(crate) fn reads(&self) -> bool {
        matches!(self, State::Reads)
    }

    /// Whether it will be closed, now or soon.
    #[inline]
    pub(crate) fn closes(&self) -> bool {
        matches!(self, State::Drains(_) | State::Condemned { .. })
    }

    /// What it waits for.
    pub(crate) fn wait(&self) -> Option<&Wait> {
        match self {
            State::Waits(waiting) => Some(&waiting.wait),
            _ => None,
        }
    }

    pub(crate) fn waiting_mut(&mut self) -> Option<&mut Waiting> {
        match self {
            State::Waits(waiting) => Some(waiting),
            _ => None,
        }
    }

    /// Why it closes when its output has been sent.
    pub(crate) fn drains(&self) -> Option<CloseReason> {
        match self {
            State::Drains(reason) => Some(*reason),
            _ => None,
        }
    }

    /// Why it is closed at the next reap.
    pub(crate) fn condemned(&self) -> Option<CloseReason> {
        match self {
            State::Condemned { reason, .. } => Some(*reason),
            _ => None,
        }
    }

    /// Reads → Waits. A wait for acknowledgements joins another such; from any other state nothing changes.
    pub(super) fn begin_wait(&mut self, waiting: Waiting) -> bool {
        match (&mut *self, &waiting.wait) {
            (State::Reads, _) => {
                *self = State::Waits(Box::new(waiting));
                true
            }
            (State::Waits(old), Wait::Acks { remaining: more }) => match &mut old.wait {
                Wait::Acks { remaining } => {
                    *remaining += more;
                    true
                }
                _ => false,
            },
            _ => false,
        }
    }

    /// Waits → Reads.
    pub(super) fn end_wait(&mut self) -> Option<Waiting> {
        match std::mem::take(self) {
            State::Waits(waiting) => Some(*waiting),
            other => {
                *self = other;
                None
            }
        }
    }

    /// Reads or Waits → Drains. Returns the wait that ended.
    pub(super) fn drain(&mut self, reason: CloseReason) -> Option<Waiting> {
        if self.closes() {
            return None;
        }
        let waiting = self.end_wait();
        *self = State::Drains(reason);
        waiting
    }

    /// Any → Condemned. False: it was condemned before.
    pub(super) fn condemn(&mut self, reason: CloseReason) -> bool {
        let waiting = match std::mem::take(self) {
            State::Reads | State::Drains(_) => None,
            State::Waits(waiting) => Some(waiting),
            condemned @ State::Condemned { .. } => {
                *self = condemned;
                return false;
            }
        };
        *self = State::Condemned { reason, waiting };
        true
    }

    /// The wait of a connection that goes.
    pub(super) fn into_waiting(self) -> Option<Waiting> {
        match self {
            State::Waits(waiting) => Some(*waiting),
            State::Condemned { waiting, .. } => waiting.map(|waiting| *waiting),
            State::Reads | State::Drains(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pausing() -> Waiting {
        Waiting { wait: Wait::Pause, timer: None }
    }

    #[test]
    fn a_connection_that_closes_never_reads_or_waits_again() {
        let mut state = State::default();
        assert!(state.begin_wait(pausing()) && state.wait().is_some() && !state.reads());
        assert!(matches!(state.drain(CloseReason::Quit), Some(Waiting { wait: Wait::Pause, .. })));
        assert!(!state.begin_wait(pausing()) && state.end_wait().is_none() && state.closes());
        assert!(state.drain(CloseReason::Killed).is_none());
        assert_eq!(state.drains(), Some(CloseReason::Quit), "the first reason stays");
    }

    #[test]
    fn a_limit_is_passed_even_by_what_is_draining_and_condemns_once() {
        let mut state = State::default();
        state.drain(CloseReason::Quit);
        assert!(state.condemn(CloseReason::OutputLimit));
        assert!(!state.condemn(CloseReason::Killed));
        assert_eq!((state.drains(), state.condemned()), (None, Some(CloseReason::OutputLimit)));
        assert!(state.drain(CloseReason::Quit).is_none() && state.drains().is_none());
    }

    #[test]
    fn what_a_condemned_connection_waited_for_is_kept_until_it_goes() {
        let mut state = State::default();
        state.begin_wait(pausing());
        state.condemn(CloseReason::Killed);
        assert!(state.wait().is_none() && state.end_wait().is_none());
        assert!(matches!(state.into_waiting(), Some(Waiting { wait: Wait::Pause, .. })));
    }

    #[test]
    fn waits_for_acknowledgements_add_up_and_no_other_wait_replaces_one() {
        let mut state = State::default();
        let acks = |remaining| Waiting { wait: Wait::Acks { remaining }, timer: None };
        assert!(state.begin_wait(acks(1)) && state.begin_wait(acks(2)) && !state.begin_wait(pausing()));
        assert!(matches!(state.wait(), Some(Wait::Acks { remaining: 3 })));
    }
}
