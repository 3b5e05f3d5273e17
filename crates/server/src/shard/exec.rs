//! A transaction that takes long: it goes on in slices, between which its shard serves whoever needs no keys.
//!
//! ```text
//!   EXEC ─► long? ─► the right of a script ─► a slice ─► more is left: keys taken ─► Wait::Exec ─► a slice a turn ─► … ─► reply
//!                                               │          ▲                                          │
//!                                               │          └─ commands that are long are run apart ───┘
//!                                               └─ all done: as any other EXEC
//! ```
//!
//! 1. A transaction that may take long waits until no script runs, and keeps others from running one. So nobody else waits for
//!    a partition while holding some.
//! 2. When its first slice is over, the partitions are unlocked and the keyspace is *busy* (`partitions/mod.rs`): nobody runs a
//!    command on keys but the transaction. Connections whose requests need keys wait (`Wait::Keys`), on every shard.
//! 3. Each turn of its shard locks its partitions for another slice. A command that takes long by itself is run on copies of
//!    its keys (`shard/apart.rs`), a long reply is made in steps. A script runs from its beginning to its end.
//! 4. At the end all partitions are locked, blocked readers are served, all effects become one record, and whoever waits is
//!    told so. Its reply is queued as a whole: until then nothing of it is sent.
//!
//! A command that looks at keys which are known only while it runs (SORT by patterns), and takes long, is such a transaction by itself:
//! it begins with step 2, and its reply is no array.
//!
//! Its connection is not served meanwhile, and not closed: what it has begun comes to its end. So does it when the server stops.
//!
//! Here is what is kept between slices; `command/exec.rs` runs the commands.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use mio::{Events, Token};
use sterna_command::Row;
use sterna_keyspace::{Changes, HeldSteps, Steps};
use sterna_protocol::OwnedArgs;

use super::apart::LARGE_REPLY_BYTES;
use super::long::Prepared;
use crate::apart::Task;
use crate::connection::chunk::Range;
use crate::connection::dependence::Dependence;
use crate::connection::state::{ConnectionRef, Wait};
use crate::connection::transaction::Transaction;
use crate::connection::{CloseReason, is_confirmation};
use crate::parcel::Namespace;
use crate::partitions::Indices;
use crate::shard::parts::Parts;
use crate::shard::{EVENTS_MAX, Shard, WAKER};

/// Time for one slice. Whoever needs a key waits for all of them, others for one in each turn.
pub(crate) const SLICE: Duration = Duration::from_millis(1);

/// See the module.
#[derive(Debug)]
pub(crate) struct LongTransaction {
    pub(crate) who: ConnectionRef,
    /// EXEC, as it was sent.
    pub(crate) row: &'static Row,
    pub(crate) request: OwnedArgs,
    /// Partitions of the keys that it names.
    pub(crate) needed: Indices,
    pub(crate) course: Course,
    /// What it has answered so far.
    pub(crate) reply: Pieces,
    /// What its own connection has been told by it: this follows the reply.
    pub(crate) pushes: Vec<Range>,
    /// What it did: the shard's own are used by others meanwhile.
    pub(crate) changes: Changes,
    /// How long it has run, all slices together.
    pub(crate) took: Duration,
    /// What its connection depended on before it.
    pub(crate) depended_on: Dependence,
}

/// How far a transaction has come.
#[derive(Debug)]
pub(crate) struct Course {
    pub(crate) transaction: Box<Transaction>,
    /// The next command, or the one that is not done.
    pub(crate) at: usize,
    pub(crate) stage: Stage,
    /// The time that its commands see: of its beginning.
    pub(crate) now_ms: u64,
    /// When its last command ended, which is when the next one begins: the clock is read once for each.
    pub(crate) now: Instant,
    /// Whether it is one command that no client has put between MULTI and EXEC: it needs all keys to itself.
    pub(crate) is_alone: bool,
    /// Whether one of its messages is kept.
    pub(crate) is_retained: bool,
    /// Whether it is one piece, since it changes settings: what takes long is refused.
    pub(crate) is_whole: bool,
    /// Whether it needs the Lua state.
    pub(crate) runs_script: bool,
    /// Whether CLIENT REPLY has its client not answered: of its reply nothing is made but what is said in any case, confirmations of
    /// subscriptions.
    pub(crate) is_silent: bool,
    /// The reply of a command that was run apart, if it is long.
    pub(crate) large_reply: Option<Vec<u8>>,
}

impl Course {
    /// One that has yet to begin.
    pub(crate) fn new(transaction: Box<Transaction>, now_ms: u64, is_silent: bool) -> Course {
        Course {
            transaction,
            at: 0,
            stage: Stage::Next,
            now_ms,
            now: Instant::now(),
            is_alone: false,
            is_retained: false,
            is_whole: false,
            runs_script: false,
            is_silent,
            large_reply: None,
        }
    }

    /// Whether every command has been run.
    pub(crate) fn is_done(&self) -> bool {
        self.at == self.transaction.queued.len()
    }

    /// How long it has been since this was asked last.
    pub(crate) fn pass(&mut self) -> Duration {
        let before = std::mem::replace(&mut self.now, Instant::now());
        self.now.saturating_duration_since(before)
    }

    /// Takes back what the command that is executed has answered since `before`, if that is not said.
    pub(crate) fn hush(&mut self, row: &Row, out: &mut Vec<u8>, before: usize) {
        if self.is_silent {
            self.large_reply = None;
            if !row.confirms() || !is_confirmation(&out[before..]) {
                out.truncate(before);
            }
        }
    }

    /// Whether it can go on now.
    pub(crate) fn is_under_way(&self) -> bool {
        !self.is_done() && !matches!(self.stage, Stage::Apart(_) | Stage::Waits)
    }
}

/// What a transaction does next.
#[derive(Debug)]
pub(crate) enum Stage {
    /// Runs its next command.
    Next,
    /// Goes on with the reply of that command, which has run for so long.
    Steps(Box<dyn Steps>, Duration),
    /// Goes on with that command, which has run for so long.
    Held(Box<dyn HeldSteps>, Duration),
    /// Goes on with a command that is executed in parts, which has run for so long.
    Parts(Box<Parts>, Duration),
    /// Goes on with the frames of a long message, which took so long.
    Message(Namespace, Prepared, Duration),
    /// Hands that command over, to be run apart.
    Apart(Box<Task>),
    /// Waits for it.
    Waits,
    /// Commits what it wrote.
    Commit(Box<Task>),
}

/// A long reply: buffers that are queued as they are.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    full: VecDeque<Vec<u8>>,
    last: Vec<u8>,
    full_bytes: usize,
}

impl Pieces {
    /// Where the next bytes go.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        if self.last.len() > LARGE_REPLY_BYTES {
            self.full_bytes += self.last.len();
            self.full.push_back(std::mem::take(&mut self.last));
        }
        &mut self.last
    }

    /// Adds a long buffer, which isn't copied.
    pub(crate) fn push(&mut self, buffer: Vec<u8>) {
        for full in [std::mem::take(&mut self.last), buffer].into_iter().filter(|full| !full.is_empty()) {
            self.full_bytes += full.len();
            self.full.push_back(full);
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.full_bytes + self.last.len()
    }

    /// Forgets all: nobody reads it.
    pub(crate) fn clear(&mut self) {
        *self = Pieces::default();
    }

    /// The buffers in order, the last of which is short.
    fn into_parts(self) -> (VecDeque<Vec<u8>>, Vec<u8>) {
        (self.full, self.last)
    }
}

impl LongTransaction {
    /// Whether it has something to do: not while a command of its is run apart.
    pub(crate) fn can_go_on(&self) -> bool {
        self.course.is_under_way()
    }

    /// Its command has been run apart.
    pub(super) fn take_back(&mut self, task: Box<Task>) {
        self.course.stage = Stage::Commit(task);
    }
}

impl Shard {
    /// Whether the connection's transaction goes on in slices.
    #[inline]
    pub(crate) fn is_in_transaction(&self, who: ConnectionRef) -> bool {
        self.long_transaction.as_ref().is_some_and(|transaction| transaction.who == who)
    }

    /// Has the connection wait until keys are free that somebody has to himself.
    pub(crate) fn wait_for_keys(&mut self, slot: usize) {
        self.waiting_for_keys.push(self.connections[slot].me);
        self.wait(slot, Wait::Keys, None);
    }

    /// Keys may be free again: lets those go on who wait for them.
    pub(super) fn resume_who_waits_for_keys(&mut self) {
        for who in std::mem::take(&mut self.waiting_for_keys) {
            let Some(connection) = self.connection_of(who) else { continue };
            match connection.state().wait() {
                Some(Wait::Keys) => drop(self.resume(who.slot)),
                Some(Wait::Parts) => self.make_ready(who.slot),
                _ => {}
            }
        }
    }

    /// A slice of the transaction that goes on in slices, if there is one.
    pub(super) fn go_on_with_transaction(&mut self) {
        // What it publishes waits for shards that are behind.
        if self.credit.behind() == 0
            && self.long_transaction.as_ref().is_some_and(|transaction| transaction.can_go_on())
        {
            self.run_slice(Some(Instant::now() + SLICE));
        }
    }

    /// Whether nobody will read the reply that it makes; then it is told to close, if it is over its limit only with this.
    pub(crate) fn check_long_reply(&mut self, slot: usize, bytes: usize) -> bool {
        let Some(connection) = self.connections.get_mut(slot).filter(|connection| !connection.is_detached())
        else {
            return true;
        };
        connection.transaction_bytes = bytes;
        self.flusher.check_with(connection, bytes);
        connection.state().closes()
    }

    /// Queues the reply, and then what the transaction has told its own connection.
    pub(crate) fn answer_transaction(
        &mut self,
        who: ConnectionRef,
        row: &'static Row,
        reply: Pieces,
        pushes: Vec<Range>,
    ) {
        let slot = who.slot;
        self.connections[slot].transaction_bytes = 0;
        if self.connections[slot].is_detached() {
            // Its messages are in its backlog, or its successor's.
            if self.connections[slot].subscriptions.is_empty() {
                // The transaction has left all its channels: nobody can come back to any.
                self.close(slot, CloseReason::Expired);
            }
            return;
        }
        let mut serving = self.begin(slot);
        let (full, last) = reply.into_parts();
        full.into_iter().for_each(|piece| self.queue_reply(&mut serving, Range::of(piece)));
        serving.out.extend_from_slice(&last);
        self.current.deferred = pushes;
        self.after_part(&mut serving);
        let before = serving.out.len();
        self.after_reply(slot, Some(row), &mut serving.out, before);
        self.finish(serving);
        if self.connection_of(who).is_some() {
            self.resume_behind_reply(slot);
        }
    }

    /// Waits for the thread that runs a command apart.
    fn await_mail(&mut self) {
        let mut events = Events::with_capacity(EVENTS_MAX);
        // Whatever else happens is seen by who closes the connections.
        let _ = self.poll.poll(&mut events, None);
        for event in events.iter() {
            if let Token(slot) = event.token()
                && event.token() != WAKER
            {
                self.note_edges(slot, event);
            }
        }
        self.read_mail();
    }

    /// The server stops: what has begun comes to its end first.
    pub(super) fn end_transaction_at_once(&mut self) {
        while let Some(transaction) = &self.long_transaction {
            match transaction.can_go_on() {
                true => self.run_slice(None),
                false => self.await_mail(),
            }
        }
    }
}
