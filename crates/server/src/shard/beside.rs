//! A turn beside a script that has run for too long: its shard answers BUSY, and takes SCRIPT KILL, while it goes on.
//!
//! A command of a script that takes long and can be done in slices, which is a PUBLISH by very many patterns, has others served between these,
//! too. Then nobody is told BUSY: as on other shards, who names a key that the script keeps waits for its end, and here so does whatever
//! is about more than keys, messages and the connection itself.
//!
//! The script runs on this thread, in the middle of a request: what that request uses of the shard (buffers, parser, what
//! its commands have changed) is put aside, and its connection is left alone until it has ended. The keys are unlocked
//! (`partitions/held.rs`), so what closes a connection meanwhile can be done.

use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use mio::{Events, Token};
use sterna_command::{Flags, Group, Row};
use sterna_keyspace::Changes;

use super::{EVENTS_MAX, READ_BYTES, Shard, WAKER};
use crate::connection::state::ConnectionRef;

impl Shard {
    /// One turn for all connections but the one whose script runs.
    pub(crate) fn turn_beside_script(&mut self, runs: ConnectionRef) {
        // Else they would be those of whoever is served next.
        self.defer_own_pushes();
        let scratch = std::mem::replace(&mut self.scratch, vec![0; READ_BYTES]);
        let parser = std::mem::take(&mut self.parser);
        let replies = std::mem::take(&mut self.replies);
        let current = std::mem::take(&mut self.current);
        let of_others = Changes::new(self.changes.wants());
        let changes = std::mem::replace(&mut self.changes, of_others);
        let (now_ms, reached) = (self.clock.now_ms, self.credit.reached());
        self.scripting = Some(runs);
        self.end_run();
        self.serve_others();
        self.end_run();
        self.scripting = None;
        // The script sees one time.
        self.clock.now_ms = now_ms;
        self.credit.note_reached(reached);
        self.scratch = scratch;
        self.parser = parser;
        self.replies = replies;
        self.current = current;
        self.current.deferred.append(&mut self.fanout.for_script);
        self.changes = changes;
    }

    /// Whether a request has to wait for the end of the script beside which this shard serves others: it may need what the script has, or
    /// locks that come before those of scripts.
    #[inline]
    pub(crate) fn waits_beside_script(&self, row: &Row) -> bool {
        self.scripting.is_some() && self.waits_beside(row)
    }

    #[cold]
    fn waits_beside(&self, row: &Row) -> bool {
        let scripts = &self.server.scripts;
        let is_told = scripts.is_busy() && !scripts.is_transaction();
        let is_own_affair = matches!(row.spec.group, Group::Connection | Group::Pubsub);
        !is_told && !is_own_affair && (!row.spec.has_keys() || row.has(Flags::RUNS_SCRIPT))
    }

    fn serve_others(&mut self) {
        let mut events = Events::with_capacity(EVENTS_MAX);
        match self.poll.poll(&mut events, Some(Duration::ZERO)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return,
            _ => {}
        }
        self.clock.tick();
        self.server.shards[self.index].turned_ms.store(self.clock.now_ms, Relaxed);
        for event in events.iter() {
            match event.token() {
                WAKER => {}
                token if self.listeners.has(token) => self.accept(token),
                Token(slot) => self.note_edges(slot, event),
            }
        }
        self.accept_on();
        self.refresh_credit();
        self.read_mail();
        self.serve_ready();
        self.serve_turns();
        self.shake_hands();
        self.mail_outbox();
        self.flush_journal(true);
        self.flush_dirty();
        self.reap();
    }
}
