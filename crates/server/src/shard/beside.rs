//! A turn beside a script that has run for too long: its shard answers BUSY, and takes SCRIPT KILL, while it goes on.
//!
//! The script runs on this thread, in the middle of a request: what that request uses of the shard (buffers, parser, what
//! its commands have changed) is put aside, and its connection is left alone until it has ended. The keys are unlocked
//! (`partitions/held.rs`), so what closes a connection meanwhile can be done.

use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use mio::{Events, Token};

use super::{EVENTS_MAX, READ_BYTES, Shard, WAKER};
use crate::connection::state::ConnectionRef;

impl Shard {
    /// One turn for all connections but the one whose script runs.
    pub(crate) fn turn_beside_script(&mut self, runs: ConnectionRef) {
        let scratch = std::mem::replace(&mut self.scratch, vec![0; READ_BYTES]);
        let parser = std::mem::take(&mut self.parser);
        let replies = std::mem::take(&mut self.replies);
        let current = std::mem::take(&mut self.current);
        let changes = std::mem::take(&mut self.changes);
        self.scripting = Some(runs);
        self.end_run();
        self.serve_others();
        self.end_run();
        self.scripting = None;
        self.scratch = scratch;
        self.parser = parser;
        self.replies = replies;
        self.current = current;
        self.changes = changes;
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
