//! Ordinary requests: commands on keys, of a client and a server with which nothing is out of the ordinary. Most are such.
//!
//! The checks of `admission.rs` ask, one by one, for what is hardly ever the case. For these requests it is known beforehand
//! that all of them let the request pass:
//!
//! | of | is asked |
//! |---|---|
//! | the command | its row's flags |
//! | the client, and the node | once for all requests that are served together, and again behind one that was not ordinary: nothing else changes it meanwhile |
//! | the server | each time: other shards change it |
//!
//! Whatever is not ordinary goes the long way, which finds out why; and so does a command that does not end with its reply.

use std::mem::ManuallyDrop;

use sterna_command::{Command, Flags, SERVER_REQUEST_BYTES_MAX};
use sterna_keyspace::{Caller, KeyGroup, Outcome, Run};
use sterna_protocol::{Args, Reply};

use super::dispatch::Begun;
use super::table::{Row, Runs, runs, table};
use crate::connection::ReplyMode;
use crate::connection::client::mark;
use crate::partitions::{Scene, Wanted};
use crate::server::Server;
use crate::shard::Shard;
use crate::shard::parts::whole_max;

/// What has more to be asked, or to be done afterwards.
const UNUSUAL: Flags = Flags::BLOCKING
    .union(Flags::ALL_KEYS)
    .union(Flags::TAKES_FIELDSET)
    .union(Flags::RETAINS)
    .union(Flags::ASKS_NODES);

impl Shard {
    /// The command, if the request is an ordinary one.
    #[inline(always)]
    pub(super) fn ordinary_command(
        &mut self,
        slot: usize,
        row: &'static Row,
        args: Args<'_>,
    ) -> Option<&'static Command<Run>> {
        let Runs::Keys(command) = runs(row) else { return None };
        let is_ordinary = !row.spec.flags.intersects(UNUSUAL)
            && args.extent() <= SERVER_REQUEST_BYTES_MAX
            && !(row.has(Flags::IN_PARTS) && args.len() > whole_max(row))
            && self.serves_an_ordinary_client(slot)
            && self.server.is_ordinary()
            && !self.server.journaling.is_unable_to_save(&self.config)
            && !(row.has(Flags::WRITE) && self.journal_refuses());
        is_ordinary.then_some(command)
    }

    /// The hash of the key of a request whose turn may not have come, if it has one and no other. Commands have the names that they are
    /// given in the table.
    #[inline]
    pub(crate) fn hash_of_key(&mut self, args: Args<'_>) -> Option<u64> {
        let row = self.recent_rows.resolve(table(), args.len(), |at| args.get(at)).ok()?;
        let Runs::Keys(command) = runs(row) else { return None };
        self.server.partitions.only_hash(&command.spec, args)
    }

    /// The element that such a request will look up in the collection at its key, if it says one.
    #[inline]
    pub(crate) fn element_of<'a>(&mut self, args: Args<'a>) -> Option<Wanted<'a>> {
        let row = self.recent_rows.resolve(table(), args.len(), |at| args.get(at)).ok()?;
        let element = row.spec.element.sought(args.len(), |at| args.get(at))?;
        // Whose row says of an element has one key, and it is the first argument.
        Some(Wanted { key: args.get(1)?, element })
    }

    #[inline(always)]
    fn serves_an_ordinary_client(&mut self, slot: usize) -> bool {
        match self.current.is_ordinary {
            Some(is_ordinary) => is_ordinary,
            None => *self.current.is_ordinary.insert(self.is_ordinary_client(slot)),
        }
    }

    fn is_ordinary_client(&self, slot: usize) -> bool {
        let connection = &self.connections[slot];
        connection.user.as_ref().is_some_and(|user| user.is_unrestricted())
            && !connection.in_subscriber_mode()
            && !connection.in_multi()
            && connection.tracking.is_none()
            && connection.reply_mode == ReplyMode::On
            && connection.page.is_none()
            && self.passing.is_none()
            && self.outward.is_none()
            && self.durability.logs.is_empty()
            && !self.durability.is_loading
            && self.long_transaction.is_none()
            && self.credit.overdrawn() == 0
    }

    #[inline]
    fn journal_refuses(&self) -> bool {
        self.durability.journal.as_ref().is_some_and(|journal| self.server.admit_write(journal).is_err())
    }

    /// Runs an ordinary command and counts it. Returns whether the request was taken, as [`Shard::dispatch`] does.
    #[inline(always)]
    pub(super) fn run_ordinary(
        &mut self,
        slot: usize,
        row: &'static Row,
        command: &'static Command<Run>,
        args: Args<'_>,
        out: &mut Vec<u8>,
    ) -> bool {
        let begun = self.begin_command(slot, row);
        let connection = &self.connections[slot];
        let caller = Caller {
            client: connection.client.id,
            shard: self.index,
            proto: connection.proto,
            may_block: true,
            may_yield: true,
            touches: !connection.client.has_mark(mark::NO_TOUCH),
            group: KeyGroup::WHOLE,
        };
        let scene = Scene { db: usize::from(connection.db), now_ms: self.clock.now_ms, caller };
        self.changes.pause_expiry(false);
        let mut reply = Reply::new(out, caller.proto);
        let outcome = self.server.partitions.execute(command, args, scene, &mut self.changes, &mut reply);
        // That it was replied holds nothing to drop, which a call would find out once more.
        let outcome = ManuallyDrop::new(outcome);
        self.spread_changes();
        if !matches!(*outcome, Ok(Outcome::Replied)) {
            let outcome = ManuallyDrop::into_inner(outcome);
            return self.end_unusually(slot, row, command, args, out, begun, scene, outcome);
        }
        if self.durability.is_gated {
            if !row.has(Flags::WRITE) {
                // A key that was found expired is no write of who found it.
                self.connections[slot].depends_on.disown(begun.depended_on);
            }
            self.note_seen(slot);
        }
        let took = self.clock.lap();
        self.handle().commands.count(row.id, took, false);
        self.note_duration(slot, row, args, took);
        true
    }

    /// What was run as an ordinary command has failed, or goes on.
    #[cold]
    #[expect(clippy::too_many_arguments, reason = "all that is known of one request")]
    fn end_unusually(
        &mut self,
        slot: usize,
        row: &'static Row,
        command: &'static Command<Run>,
        args: Args<'_>,
        out: &mut Vec<u8>,
        begun: Begun,
        scene: Scene,
        outcome: Result<Outcome, sterna_keyspace::Error>,
    ) -> bool {
        self.current.is_ordinary = None;
        let before = out.len();
        let result = self.conclude(slot, row, command, args, scene, outcome);
        let is_write = row.has(Flags::WRITE);
        if !self.end_command(slot, row, args, out, begun, is_write, result) {
            return false;
        }
        if !self.has_yet_to_reply(slot) {
            self.after_reply(slot, Some(row), out, before);
        }
        true
    }
}

impl Server {
    /// Whether nothing holds commands back, is short, or wants to be shown them.
    #[inline(always)]
    fn is_ordinary(&self) -> bool {
        !self.pause.is_on()
            && !self.scripts.is_busy()
            && self.reserved.is_empty()
            && !self.memory.has_limit()
            && self.monitors.load(std::sync::atomic::Ordering::Relaxed) == 0
    }
}
