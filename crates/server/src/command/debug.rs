//! DEBUG SLEEP, PANIC, RELOAD and LOADAOF, if `enable-debug-command` allows it.
//!
//! RELOAD takes a snapshot and loads the journal again, LOADAOF only loads it; see `saving.rs`.
//!
//! Redis sleeps with everyone in it. Here only the connection that asked waits, as after a command that takes long: its
//! reply comes and its next command runs when the time is up. SLOWLOG and LATENCY see the time; others are served.

use std::time::Duration;

use sterna_command::{Categories, Command, Flags, Group, Keys, ReplyShape, Spec};
use sterna_protocol::argument;

use super::{Call, Failure, Run};
use crate::config::DebugCommand;
use crate::connection::ReplyMode;
use crate::connection::state::Wait;
use crate::connection::waits::Asleep;
use crate::shard::Shard;

/// Rows of this file.
pub(super) static ROWS: &[Command<Run>] = &[Command {
    spec: Spec {
        name: "debug",
        arity: -2,
        flags: Flags::ADMIN
            .union(Flags::NOSCRIPT)
            .union(Flags::LOADING)
            .union(Flags::STALE)
            .union(Flags::NO_MULTI),
        keys: Keys::None,
        acl: Categories::empty(),
        group: Group::Server,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "SLEEP holds the connection for so many seconds, and only this one. RELOAD and LOADAOF forget every \
                  key and load the journal again. PANIC crashes the server. Needs enable-debug-command.",
        syntax: "<SLEEP seconds | PANIC | RELOAD [NOSAVE] | LOADAOF | HELP>",
        reply: &[ReplyShape::Ok, ReplyShape::Array],
        tips: &[],
        ..Spec::PLAIN
    },
    run: Some(debug),
    subcommands: &[],
}];

/// The longest sleep: a year, so that the moment of waking can always be calculated.
const SLEEP_S_MAX: f64 = 365.0 * 24.0 * 60.0 * 60.0;

const HELP: [&str; 11] = [
    "DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "PANIC",
    "    Crashes the server, as a bug in it would.",
    "SLEEP <seconds>",
    "    Holds this connection for so many seconds; decimals are allowed.",
    "RELOAD [NOSAVE]",
    "    Takes a snapshot, unless told not to, forgets every key and loads the journal again.",
    "LOADAOF",
    "    Forgets every key and loads the journal again.",
    "HELP",
    "    Prints this text.",
];

fn debug(call: &mut Call<'_>) -> Result<(), Failure> {
    let is_allowed = match call.shard.config.enable_debug_command {
        DebugCommand::No => false,
        DebugCommand::Yes => true,
        DebugCommand::Local => call.connection().client.address.is_local(),
    };
    if !is_allowed {
        return Err(Failure::of(
            "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it \
             from a local connection, otherwise you need to set this option in the configuration file, and then \
             restart the server.",
        ));
    }
    let name = &call.args[1];
    if argument::eq_ignore_case(name, "HELP") && call.args.len() == 2 {
        call.reply.array(HELP.len());
        HELP.iter().for_each(|line| call.reply.simple(line));
        Ok(())
    } else if argument::eq_ignore_case(name, "SLEEP") && call.args.len() == 3 {
        sleep(call)
    } else if argument::eq_ignore_case(name, "PANIC") && call.args.len() == 2 {
        panic!("asked for by DEBUG PANIC");
    } else if argument::eq_ignore_case(name, "RELOAD") {
        let no_save = call.args.from(2).iter().any(|word| argument::eq_ignore_case(word, "NOSAVE"));
        super::saving::reload(call, !no_save)
    } else if argument::eq_ignore_case(name, "LOADAOF") && call.args.len() == 2 {
        super::saving::reload(call, false)
    } else {
        let text = b"ERR unknown subcommand or wrong number of arguments for '";
        Err(Failure::text([text, name, b"'. Try DEBUG HELP."].concat()))
    }
}

fn sleep(call: &mut Call<'_>) -> Result<(), Failure> {
    // What isn't a number is 0, as in Redis.
    let seconds = argument::float(&call.args[2]).unwrap_or(0.0).clamp(0.0, SLEEP_S_MAX);
    if seconds == 0.0 {
        call.reply.ok();
        return Ok(());
    }
    let since = call.shard.clock.instant;
    let (row, args, slot) = (call.row, call.args.to_owned(), call.slot);
    let connection = call.connection();
    let is_silent = connection.reply_mode != ReplyMode::On;
    let until = since + Duration::from_secs_f64(seconds);
    call.shard.wait(slot, Wait::Asleep(Asleep { row, args, since, is_silent }), Some(until));
    Ok(())
}

impl Shard {
    /// The time of DEBUG SLEEP is up.
    pub(crate) fn wake(&mut self, slot: usize) {
        let Some(Wait::Asleep(asleep)) = self.resume(slot) else { return };
        self.note_duration(slot, asleep.row, asleep.args.args(), asleep.since.elapsed());
        if !asleep.is_silent {
            let range = self.replies_to_others.append(5, |buf| buf.extend_from_slice(b"+OK\r\n"));
            self.flusher.push(&mut self.connections[slot], range);
        }
    }
}
