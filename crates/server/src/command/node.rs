//! TIME, ROLE, SHUTDOWN.

use sterna_command::{Categories, Command, Flags, Group, Keys, Place, ReplyShape, Spec};
use sterna_protocol::argument;

use super::saving::await_job;
use super::{Call, Failure, Run};
use crate::connection::CloseReason;
use crate::connection::waits::AfterJob;
use crate::journaling::Job;

const BASE: Spec = Spec {
    name: "",
    arity: 1,
    flags: Flags::LOADING.union(Flags::STALE),
    keys: Keys::None,
    acl: Categories::empty(),
    group: Group::Server,
    since: "1.0.0",
    complexity: "O(1)",
    summary: "",
    syntax: "",
    reply: &[ReplyShape::Array],
    tips: &[],
    place: Place::Node,
    ..Spec::PLAIN
};

/// Rows of this file.
pub(super) static ROWS: &[Command<Run>] = &[
    Command {
        spec: Spec {
            name: "time",
            flags: BASE.flags.union(Flags::FAST),
            since: "2.6.0",
            summary: "Answers the server's time: Unix seconds, and microseconds within the second.",
            tips: &["nondeterministic_output"],
            ..BASE
        },
        run: Some(|call| {
            let now_us = crate::time::unix_us();
            call.reply.array(2);
            call.reply.bulk_int((now_us / 1_000_000) as i64);
            call.reply.bulk_int((now_us % 1_000_000) as i64);
            Ok(())
        }),
        subcommands: &[],
    },
    Command {
        spec: Spec {
            name: "role",
            flags: BASE.flags.union(Flags::NOSCRIPT).union(Flags::FAST),
            acl: Categories::ADMIN.union(Categories::DANGEROUS),
            since: "2.8.12",
            summary: "Answers the server's part in replication: a primary without replicas.",
            ..BASE
        },
        run: Some(|call| {
            call.reply.array(3);
            call.reply.bulk(b"master");
            call.reply.int(0);
            call.reply.array(0);
            Ok(())
        }),
        subcommands: &[],
    },
    Command {
        spec: Spec {
            name: "shutdown",
            arity: -1,
            flags: BASE
                .flags
                .union(Flags::ADMIN)
                .union(Flags::NOSCRIPT)
                .union(Flags::NO_MULTI)
                .union(Flags::ALLOW_BUSY),
            summary: "Stops the server once what is queued for its clients is out and the journal is on the disk; with \
                      SAVE, or if save points are all that keeps the keys, after a snapshot.",
            syntax: "[NOSAVE | SAVE] [NOW] [FORCE] [ABORT]",
            reply: &[ReplyShape::Nothing],
            ..BASE
        },
        run: Some(shutdown),
        subcommands: &[],
    },
];

fn shutdown(call: &mut Call<'_>) -> Result<(), Failure> {
    let words = call.args.from(1);
    let has = |word: &str| words.iter().any(|arg| argument::eq_ignore_case(arg, word));
    let are_known = words.iter().all(|arg| {
        ["NOSAVE", "SAVE", "NOW", "FORCE", "ABORT"].iter().any(|word| argument::eq_ignore_case(arg, word))
    });
    if !are_known || has("NOSAVE") && has("SAVE") || has("ABORT") && words.len() > 1 {
        return Err(Failure::SYNTAX);
    }
    if has("ABORT") {
        // A shutdown doesn't wait for replicas, so there is never one to be called off.
        return Err(Failure::of("ERR No shutdown in progress."));
    }
    tracing::info!("user requested shutdown");
    let is_loading = call.server().journaling.is_loading();
    let saves = !has("NOSAVE") && !is_loading && (has("SAVE") || call.server().must_save_at_end());
    let force = has("FORCE");
    if saves {
        return await_job(call, Job::Final { force }, AfterJob::Shutdown);
    }
    call.shard.drain(call.slot, CloseReason::Shutdown);
    call.server().stop();
    Ok(())
}
