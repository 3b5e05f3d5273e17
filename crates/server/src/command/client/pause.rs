//! CLIENT PAUSE, UNPAUSE, UNBLOCK: holding clients back and letting them go.

use std::sync::atomic::Ordering;
use std::time::Duration;

use sterna_command::{Command, Flags, ReplyShape, Spec};
use sterna_protocol::argument;

use super::super::{Call, Failure, Run};
use super::{ADMIN, BASE, row};
use crate::connection::client::mark;
use crate::mailbox::Mail;
use crate::pause::PauseMode;

pub(super) const PAUSE: Command<Run> = row(
    Spec {
        name: "pause",
        arity: -3,
        flags: ADMIN,
        since: "3.0.0",
        summary: "Holds back the commands of all clients, or only those that write or publish, for so many milliseconds.",
        syntax: "timeout [WRITE | ALL]",
        ..BASE
    },
    pause,
);

pub(super) const UNPAUSE: Command<Run> = row(
    Spec {
        name: "unpause",
        // Redis holds it back like any other, so that a pause of all commands could not be ended before its time.
        flags: ADMIN.union(Flags::IGNORES_PAUSE),
        since: "6.2.0",
        complexity: "O(N), N connections held back",
        summary: "Ends CLIENT PAUSE.",
        ..BASE
    },
    |call| {
        call.server().end_pause();
        call.reply.ok();
        Ok(())
    },
);

pub(super) const UNBLOCK: Command<Run> = row(
    Spec {
        name: "unblock",
        arity: -3,
        flags: ADMIN,
        since: "5.0.0",
        summary: "Ends the wait of a client's blocking command, as if it had timed out or with an error.",
        syntax: "client-id [TIMEOUT | ERROR]",
        reply: &[ReplyShape::Integer],
        ..BASE
    },
    unblock,
);

/// `name` has more arguments than it takes. Source: Redis says it so where the table can't.
fn too_many(call: &Call<'_>) -> Failure {
    let name = &call.args[1];
    Failure::text(
        [b"ERR unknown subcommand or wrong number of arguments for '", name, b"'. Try CLIENT HELP."].concat(),
    )
}

fn pause(call: &mut Call<'_>) -> Result<(), Failure> {
    if call.args.len() > 4 {
        return Err(too_many(call));
    }
    let mode = match call.args.get(3) {
        None => PauseMode::All,
        Some(mode) if argument::eq_ignore_case(mode, "ALL") => PauseMode::All,
        Some(mode) if argument::eq_ignore_case(mode, "WRITE") => PauseMode::Write,
        Some(_) => return Err(Failure::of("ERR CLIENT PAUSE mode must be WRITE or ALL")),
    };
    let timeout_ms =
        argument::int(&call.args[2]).ok_or(Failure::of("ERR timeout is not an integer or out of range"))?;
    let timeout_ms = u64::try_from(timeout_ms).map_err(|_| Failure::of("ERR timeout is negative"))?;
    let clock = call.shard.clock;
    // The end must be a time that fits Redis's signed milliseconds.
    let fits = i64::try_from(clock.now_ms + timeout_ms).is_ok();
    let end = clock.instant.checked_add(Duration::from_millis(timeout_ms)).filter(|_| fits);
    let end = end.ok_or(Failure::of("ERR timeout is out of range"))?;
    call.server().pause.start(mode, end, clock.instant);
    call.reply.ok();
    Ok(())
}

fn unblock(call: &mut Call<'_>) -> Result<(), Failure> {
    if call.args.len() > 4 {
        return Err(too_many(call));
    }
    let with_error = match call.args.get(3) {
        None => false,
        Some(reason) if argument::eq_ignore_case(reason, "TIMEOUT") => false,
        Some(reason) if argument::eq_ignore_case(reason, "ERROR") => true,
        Some(_) => return Err(Failure::of("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")),
    };
    let id = argument::int(&call.args[2]).ok_or(Failure::NOT_INTEGER)?;
    let client = u64::try_from(id).ok().and_then(|id| call.server().client(id));
    let client = client.filter(|client| client.has_mark(mark::BLOCKED));
    // The owner may have begun to answer the wait by itself; then the mail finds nothing to do. A second UNBLOCK does
    // not count what the first has asked for.
    let unblocks = client.filter(|client| !client.is_unblocked.swap(true, Ordering::AcqRel));
    call.reply.int(i64::from(unblocks.is_some()));
    let Some(client) = unblocks else { return Ok(()) };
    let (who, shard) = (client.place(), usize::from(client.shard));
    // Ending a wait takes locks that EXEC holds.
    if shard == call.shard.index && !call.in_exec {
        call.shard.unblock(who, with_error);
    } else {
        call.shard.post(shard, Mail::Unblock { who, with_error });
    }
    Ok(())
}
