//! CLIENT REPLY, NO-EVICT, NO-TOUCH, RESUME: switches of the connection.

use sterna_command::{Command, Flags, ReplyShape, Spec};
use sterna_protocol::argument;

use super::super::{Call, Failure, Run};
use super::{ADMIN, BASE, row};
use crate::connection::client::mark;
use crate::connection::{CloseReason, ReplyMode};

pub(super) const REPLY: Command<Run> = row(
    Spec {
        name: "reply",
        arity: 3,
        // An array that lacks elements could not be read any more. Source: Valkey refuses it, too.
        flags: BASE.flags.union(Flags::NO_MULTI),
        since: "3.2.0",
        summary: "Turns replies to this connection off or on, or leaves out the next one. Messages are still delivered.",
        syntax: "<ON | OFF | SKIP>",
        reply: &[ReplyShape::Ok, ReplyShape::Nothing],
        ..BASE
    },
    |call| {
        let mode = &call.args[2];
        let connection = &mut call.shard.connections[call.slot];
        if argument::eq_ignore_case(mode, "ON") {
            connection.reply_mode = ReplyMode::On;
            call.reply.ok();
        } else if argument::eq_ignore_case(mode, "OFF") {
            connection.reply_mode = ReplyMode::Off;
        } else if argument::eq_ignore_case(mode, "SKIP") {
            if connection.reply_mode != ReplyMode::Off {
                connection.reply_mode = ReplyMode::SkipNext;
            }
        } else {
            return Err(Failure::SYNTAX);
        }
        Ok(())
    },
);

pub(super) const NO_EVICT: Command<Run> = row(
    Spec {
        name: "no-evict",
        arity: 3,
        flags: ADMIN,
        since: "7.0.0",
        summary: "Protects this connection from being closed when clients hold more than maxmemory-clients.",
        syntax: "<ON | OFF>",
        ..BASE
    },
    |call| switch(call, mark::NO_EVICT),
);

pub(super) const NO_TOUCH: Command<Run> = row(
    Spec {
        name: "no-touch",
        arity: 3,
        since: "7.2.0",
        summary: "Has reads by this connection leave the time of a key's last use alone.",
        syntax: "<ON | OFF>",
        ..BASE
    },
    |call| switch(call, mark::NO_TOUCH),
);

pub(super) const RESUME: Command<Run> = row(
    Spec {
        name: "resume",
        arity: 3,
        since: "8.2.0",
        summary: "Says whether the subscriptions of this connection go on when it breaks, for whoever subscribes under \
                  its user and name within resume-window. A user without the right to this command is never waited for.",
        syntax: "<ON | OFF>",
        ..BASE
    },
    |call| {
        let on = on_or_off(&call.args[2])?;
        call.connection().declines_resuming = !on;
        if !on {
            call.shard.end_resuming(call.slot, CloseReason::Expired);
        }
        call.reply.ok();
        Ok(())
    },
);

fn switch(call: &mut Call<'_>, bit: u32) -> Result<(), Failure> {
    let on = on_or_off(&call.args[2])?;
    call.connection().client.set_mark(bit, on);
    call.reply.ok();
    Ok(())
}

fn on_or_off(word: &[u8]) -> Result<bool, Failure> {
    let on = argument::eq_ignore_case(word, "ON");
    if !on && !argument::eq_ignore_case(word, "OFF") {
        return Err(Failure::SYNTAX);
    }
    Ok(on)
}
