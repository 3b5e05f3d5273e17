//! WAIT and WAITAOF: a client waits for copies of what it has written. There is one, on the local disk; a server without
//! replicas lets those who ask for more wait until their time is up, as Redis does.

use std::time::{Duration, Instant};

use sterna_command::{Categories, Command, Flags, Group, Keys, Place, ReplyShape, Spec};
use sterna_journal::{Journal, Lsn};
use sterna_protocol::{Reply, argument};

use super::{Call, Failure, Run};
use crate::connection::state::Wait;
use crate::connection::waits::{CopiesWait, DiskWait};
use crate::journaling::IN_NO_RECORD;
use crate::mailbox::Mail;
use crate::shard::Shard;

const BASE: Spec = Spec {
    name: "",
    arity: 3,
    flags: Flags::BLOCKING,
    keys: Keys::None,
    acl: Categories::CONNECTION,
    group: Group::Generic,
    since: "3.0.0",
    complexity: "O(1)",
    summary: "",
    syntax: "",
    reply: &[ReplyShape::Integer],
    tips: &["request_policy:all_shards", "response_policy:agg_min"],
    place: Place::Session,
    ..Spec::PLAIN
};

/// Rows of this file.
pub(super) static ROWS: &[Command<Run>] = &[
    Command {
        spec: Spec {
            name: "wait",
            summary: "Waits until so many replicas have what this connection has written. There are none, so it answers 0 when \
                      its time is up.",
            syntax: "numreplicas timeout",
            ..BASE
        },
        run: Some(wait),
        subcommands: &[],
    },
    Command {
        spec: Spec {
            name: "waitaof",
            arity: 4,
            since: "7.2.0",
            summary: "Waits until what this connection has written is durable here, and on replicas, of which there are none.",
            syntax: "numlocal numreplicas timeout",
            reply: &[ReplyShape::Array],
            ..BASE
        },
        run: Some(waitaof),
        subcommands: &[],
    },
];

fn wait(call: &mut Call<'_>) -> Result<(), Failure> {
    let replicas = argument::int(&call.args[1]).ok_or(Failure::NOT_INTEGER)?;
    let deadline = deadline(call, &call.args[2])?;
    if replicas <= 0 || call.in_exec {
        call.reply.int(0);
        return Ok(());
    }
    wait_for_copies(call, None, deadline);
    Ok(())
}

fn wait_for_copies(call: &mut Call<'_>, disk: Option<DiskWait>, deadline: Option<Instant>) {
    let wait = CopiesWait { request: call.args.to_owned(), row: call.row, ran: Duration::ZERO, disk };
    call.shard.wait(call.slot, Wait::Copies(wait), deadline);
}

fn waitaof(call: &mut Call<'_>) -> Result<(), Failure> {
    let local = argument::int(&call.args[1]).ok_or(Failure::NOT_INTEGER)?;
    if !(0..=1).contains(&local) {
        return Err(Failure::of("ERR value is out of range, value must between 0 and 1"));
    }
    let replicas = argument::int(&call.args[2]).filter(|&replicas| replicas >= 0);
    let replicas = replicas.ok_or(Failure::of("ERR value is out of range, must be positive"))?;
    let deadline = deadline(call, &call.args[3])?;
    let journal = call.shard.server.journaling.journal().cloned();
    if local > 0 && journal.is_none() {
        return Err(Failure::of(
            "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.",
        ));
    }
    let lsn = call.connection().depends_on.written;
    let is_durable = journal.as_ref().is_some_and(|journal| call.shard.has_disk(journal, lsn));
    let is_local_enough = replicas == 0;
    if call.in_exec || is_local_enough && (local == 0 || is_durable) {
        answer(&mut call.reply, is_durable);
        return Ok(());
    }
    wait_for_copies(call, Some(DiskWait { lsn, is_local_enough }), deadline);
    call.shard.await_disk(call.slot);
    if let Some(journal) = journal {
        journal.request_sync(lsn);
        // It may have become durable before the flag was there to be seen; then nobody else will mail.
        if journal.durable_lsn() >= lsn {
            call.shard.post(call.shard.index, Mail::Durable);
        }
    }
    Ok(())
}

/// How many disks have it: the local one, and replicas'.
fn answer(reply: &mut Reply<'_>, is_durable: bool) {
    reply.array(2);
    reply.int(i64::from(is_durable));
    reply.int(0);
}

/// When a timeout in milliseconds is over; never, if it is 0.
fn deadline(call: &Call<'_>, timeout: &[u8]) -> Result<Option<Instant>, Failure> {
    let timeout_ms =
        argument::int(timeout).ok_or(Failure::of("ERR timeout is not an integer or out of range"))?;
    let timeout_ms = u64::try_from(timeout_ms).map_err(|_| Failure::of("ERR timeout is negative"))?;
    let clock = &call.shard.clock;
    if i64::try_from(clock.now_ms.saturating_add(timeout_ms)).is_err() {
        return Err(Failure::of("ERR timeout is out of range"));
    }
    // One that the monotonic clock can't count is as good as none.
    Ok(if timeout_ms == 0 { None } else { clock.instant.checked_add(Duration::from_millis(timeout_ms)) })
}

impl Shard {
    /// More is durable: perhaps what a connection in WAITAOF waits for.
    pub(crate) fn recheck_disk_wait(&mut self, slot: usize) {
        let connection = &self.connections[slot];
        let Some(Wait::Copies(CopiesWait { disk: Some(disk), .. })) = connection.state().wait() else {
            return;
        };
        let DiskWait { lsn, is_local_enough } = disk;
        let is_durable = self.durability.journal.as_ref().is_none_or(|journal| self.has_disk(journal, *lsn));
        if is_durable && *is_local_enough {
            self.end_wait_for_copies(slot);
        } else {
            self.await_disk(slot);
        }
    }

    /// Whether a power loss does not take this write any more.
    fn has_disk(&self, journal: &Journal, lsn: Lsn) -> bool {
        match lsn.0 {
            IN_NO_RECORD => !self.server.journaling.is_missing(lsn),
            _ => journal.durable_lsn() >= lsn,
        }
    }

    /// WAIT or WAITAOF has what it waits for, or has waited as long as it may.
    pub(crate) fn end_wait_for_copies(&mut self, slot: usize) {
        let Some(Wait::Copies(wait)) = self.connections[slot].state().wait() else { return };
        let mut bytes = Vec::new();
        let mut reply = Reply::new(&mut bytes, self.connections[slot].proto);
        match &wait.disk {
            Some(disk) => {
                let journal = self.durability.journal.as_ref();
                answer(&mut reply, journal.is_some_and(|journal| self.has_disk(journal, disk.lsn)));
            }
            None => reply.int(0),
        }
        self.end_copies_wait(slot, &bytes);
    }

    fn end_copies_wait(&mut self, slot: usize, reply: &[u8]) {
        if let Some(Wait::Copies(CopiesWait { request, row, ran, .. })) = self.resume(slot) {
            self.handle().commands.count(row.id, ran, reply.starts_with(b"-"));
            self.note_duration(slot, row, request.args(), ran);
        }
        self.answer_late(slot, reply);
    }

    /// Ends WAIT or WAITAOF with an error.
    pub(super) fn refuse_wait_for_copies(&mut self, slot: usize, reply: &[u8]) {
        if matches!(self.connections[slot].state().wait(), Some(Wait::Copies(_))) {
            self.count_error(reply.strip_prefix(b"-").unwrap_or(reply));
            self.end_copies_wait(slot, reply);
        }
    }
}
