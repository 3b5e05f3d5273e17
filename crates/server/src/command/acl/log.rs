//! ACL LOG: what was denied lately, to whom.
//!
//! What clients choose is kept up to a bound: so many entries (`acllog-max-len`), so many bytes of each name.
//!
//! The same thing denied to the same user again within a minute is not a new entry: its count rises and it comes to the
//! front. Source: redis.io/docs/latest/commands/acl-log.

use sterna_command::{Command, ReplyShape, Spec};
use sterna_protocol::argument;

use super::super::table::{Row, table};
use super::super::{Call, Failure, Run};
use super::{ADMIN, BASE, row, too_many};
use crate::acl::Denied;
use crate::history::denials::Denial;
use crate::shard::Shard;

pub(super) const LOG: Command<Run> = row(
    Spec {
        name: "log",
        arity: -2,
        flags: ADMIN,
        complexity: "O(N), N entries",
        summary: "Lists what was denied lately, the newest first: ten entries or as many as named; or forgets it.",
        syntax: "[count | RESET]",
        reply: &[ReplyShape::Array, ReplyShape::Ok],
        ..BASE
    },
    log,
);

/// Bytes kept of a key, a channel or a user's name.
const NAME_BYTES_MAX: usize = 128;

/// Where a request comes from that is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Context {
    /// The client.
    TopLevel,
    /// A transaction: the client, between MULTI and EXEC, or EXEC.
    Multi,
    /// A script.
    Lua,
}

impl Context {
    fn name(self) -> &'static str {
        match self {
            Context::TopLevel => "toplevel",
            Context::Multi => "multi",
            Context::Lua => "lua",
        }
    }
}

/// Entries shown unless it is said how many.
const SHOWN: usize = 10;

impl Shard {
    /// Counts and logs that a request was denied.
    #[cold]
    pub(in super::super) fn note_denied(
        &mut self,
        slot: usize,
        row: &Row,
        denied: &Denied,
        context: Context,
    ) {
        let (counter, reason, object, user) = match denied {
            Denied::Command { user, command } => (0, "command", command.clone().into_bytes(), user),
            Denied::Key { user, key } => (1, "key", shortened(key), user),
            Denied::Patterns { user, option } => (1, "key", option.as_bytes().to_vec(), user),
            Denied::Channel { user, channel } => (2, "channel", shortened(channel), user),
        };
        crate::connection::client::Client::add(&self.handle().denied[counter], 1);
        // EXEC and EVAL are what the client asked for, whatever was denied in them.
        if context == Context::TopLevel || context == Context::Multi && self.connections[slot].in_multi() {
            self.shows_as_last(slot, row);
        }
        let context = context.name();
        self.log_denied(slot, Denial { reason, context, object, user: shortened(user) });
    }

    /// Logs that nobody is called `user` or has the password that was given. `name` is what the client calls the command.
    #[cold]
    pub(in super::super) fn note_failed_login(&mut self, slot: usize, row: &Row, name: &[u8], user: &[u8]) {
        self.shows_as_last(slot, row);
        let context = Context::TopLevel.name();
        let denial = Denial { reason: "auth", context, object: shortened(name), user: shortened(user) };
        self.log_denied(slot, denial);
    }

    /// What the client's line shows as its last command.
    fn shows_as_last(&self, slot: usize, row: &Row) {
        let client = &self.connections[slot].client;
        client.last_command.store(row.id as u32 + 1, std::sync::atomic::Ordering::Relaxed);
    }

    fn log_denied(&mut self, slot: usize, denial: Denial) {
        let client = &self.connections[slot].client;
        let now_ms = self.clock.now_ms;
        let name_of = |row: u32| table().row(row as usize).full_name.clone();
        let line = client.describe(now_ms, &name_of).to_string();
        self.server.acl_log.lock().add(denial, line, now_ms, self.config.acllog_max_len);
    }
}

/// The beginning of a long name, and how much it lacks: as SLOWLOG shows arguments.
fn shortened(name: &[u8]) -> Vec<u8> {
    if name.len() <= NAME_BYTES_MAX {
        return name.to_vec();
    }
    let lacking = format!("... ({} more bytes)", name.len() - NAME_BYTES_MAX);
    [&name[..NAME_BYTES_MAX], lacking.as_bytes()].concat()
}

fn log(call: &mut Call<'_>) -> Result<(), Failure> {
    let count = match call.args.get(2) {
        None => SHOWN,
        Some(_) if call.args.len() > 3 => return Err(too_many(call)),
        Some(word) if argument::eq_ignore_case(word, "RESET") => {
            call.server().acl_log.lock().entries.clear();
            call.reply.ok();
            return Ok(());
        }
        // A negative count shows nothing, as in Redis.
        Some(count) => usize::try_from(argument::int(count).ok_or(Failure::NOT_INTEGER)?).unwrap_or(0),
    };
    let now_ms = call.shard.clock.now_ms;
    let log = call.shard.server.acl_log.lock();
    let count = count.min(log.entries.len());
    let reply = &mut call.reply;
    reply.array(count);
    for entry in log.entries.iter().take(count) {
        reply.map(10);
        reply.bulk(b"count");
        reply.int(entry.count);
        for (name, text) in [
            ("reason", entry.denial.reason.as_bytes()),
            ("context", entry.denial.context.as_bytes()),
            ("object", &entry.denial.object),
            ("username", &entry.denial.user),
        ] {
            reply.bulk(name.as_bytes());
            reply.bulk(text);
        }
        reply.bulk(b"age-seconds");
        reply.double(now_ms.saturating_sub(entry.created_ms) as f64 / 1000.0);
        reply.bulk(b"client-info");
        reply.bulk(entry.client.as_bytes());
        for (name, number) in [
            ("entry-id", entry.id),
            ("timestamp-created", entry.created_ms as i64),
            ("timestamp-last-updated", entry.updated_ms as i64),
        ] {
            reply.bulk(name.as_bytes());
            reply.int(number);
        }
    }
    drop(log);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_kept_in_part() {
        assert_eq!(shortened(&[b'x'; NAME_BYTES_MAX]), [b'x'; NAME_BYTES_MAX]);
        let long = shortened(&vec![b'x'; 10 << 20]);
        assert!(long.ends_with(b"x... (10485632 more bytes)") && long.len() < 200);
    }
}
