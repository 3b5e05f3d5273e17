//! MONITOR: every command, as text, to whoever asked for it.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use sterna_command::{Categories, Command, Flags, Group, Keys, Place, ReplyShape, Spec};
use sterna_protocol::Args;

use super::redaction::shown;
use super::table::Row;
use super::{Call, Failure, Run};
use crate::connection::CloseReason;
use crate::connection::client::mark;
use crate::mailbox::Mail;
use crate::shard::Shard;

/// Bytes of an argument that are shown; how many more there are stands behind them.
const ARG_BYTES_MAX: usize = 16 << 10;

/// A line that has so many bytes gets no more arguments: writing it takes some milliseconds.
const LINE_BYTES_MAX: usize = 64 << 10;

/// Rows of this file.
pub(super) static ROWS: &[Command<Run>] = &[Command {
    spec: Spec {
        name: "monitor",
        arity: 1,
        flags: Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::LOADING).union(Flags::STALE),
        keys: Keys::None,
        acl: Categories::empty(),
        group: Group::Server,
        since: "1.0.0",
        complexity: "O(1); afterwards each command costs a line for each monitor",
        summary: "Shows every command that the server executes, until the connection closes or is RESET.",
        syntax: "",
        reply: &[ReplyShape::Ok, ReplyShape::Lines],
        tips: &[],
        place: Place::Connection,
        ..Spec::PLAIN
    },
    run: Some(monitor),
    subcommands: &[],
}];

fn monitor(call: &mut Call<'_>) -> Result<(), Failure> {
    if call.in_exec {
        return Err(Failure::of("ERR MONITOR isn't allowed for DENY BLOCKING client"));
    }
    call.reply.ok();
    let connection = call.connection();
    let me = connection.me;
    if !std::mem::replace(&mut connection.is_monitor, true) {
        connection.client.set_mark(mark::MONITOR, true);
        call.shard.monitors.push(me);
        call.server().monitors.fetch_add(1, Relaxed);
        call.shard.handle().monitors.fetch_add(1, Relaxed);
    }
    Ok(())
}

impl Shard {
    /// Tells the monitors, if there are any, of a command that has run. Administration is not for their eyes.
    #[inline]
    pub(super) fn show_to_monitors(&mut self, slot: usize, row: &Row, args: Args<'_>) {
        // A script has been shown before the commands that it called.
        if !row.has(Flags::RUNS_SCRIPT) {
            self.show_to_monitors_as(slot, row, args, None);
        }
    }

    /// As [`Shard::show_to_monitors`]; `caller` is shown in place of the client's address.
    pub(super) fn show_to_monitors_as(
        &mut self,
        slot: usize,
        row: &Row,
        args: Args<'_>,
        caller: Option<&str>,
    ) {
        if self.server.monitors.load(Relaxed) > 0 && !row.has(Flags::SKIP_MONITOR) && !row.has(Flags::ADMIN) {
            self.show_command(slot, row, args, caller);
        }
    }

    #[cold]
    fn show_command(&mut self, slot: usize, row: &Row, args: Args<'_>, caller: Option<&str>) {
        let Some(connection) = self.connections.get(slot) else { return };
        let now_us = crate::time::unix_us();
        let peer = match &connection.client.address {
            _ if let Some(caller) = caller => caller.to_owned(),
            crate::connection::client::Address::Unix { path } => format!("unix:{}", path.display()),
            address => address.peer(),
        };
        let mut line =
            format!("+{}.{:06} [{} {peer}]", now_us / 1_000_000, now_us % 1_000_000, connection.db)
                .into_bytes();
        for i in 0..args.len() {
            if line.len() > LINE_BYTES_MAX {
                line.extend_from_slice(format!(" \"... ({} more arguments)\"", args.len() - i).as_bytes());
                break;
            }
            line.push(b' ');
            quote(shown(row, args, i), &mut line);
        }
        line.extend_from_slice(b"\r\n");
        let line: Arc<[u8]> = line.into();
        for shard in 0..self.server.shards.len() {
            let handle = &self.server.shards[shard];
            if shard == self.index || handle.monitors.load(Relaxed) == 0 {
                continue;
            }
            if self.credit.takes_unasked(shard) {
                self.post(shard, Mail::Monitor(Arc::clone(&line)));
            } else if !handle.monitors_missed.swap(true, Relaxed) {
                handle.mailbox.push(Mail::MonitorsMissed);
            }
        }
        self.show_monitors(&line);
    }

    /// Sends a line to this shard's monitors.
    pub(crate) fn show_monitors(&mut self, line: &[u8]) {
        if self.monitors.is_empty() {
            return;
        }
        self.end_run();
        let range = self.replies_to_others.append(line.len(), |buf| buf.extend_from_slice(line));
        for i in 0..self.monitors.len() {
            let who = self.monitors[i];
            if self.is_executing(who) {
                self.current.deferred.push(range.clone());
            } else if let Some(connection) = self.connections.get_mut(who.slot) {
                self.flusher.push_unasked(connection, range.clone());
            }
        }
    }

    /// Lines were left out, since too many wait in the mail: who can't be shown all is closed, as at its output limit.
    pub(crate) fn close_monitors(&mut self) {
        self.handle().monitors_missed.store(false, Relaxed);
        for who in self.monitors.clone() {
            self.condemn(who.slot, CloseReason::OutputLimit);
        }
    }

    /// RESET: the connection is an ordinary one again.
    pub(super) fn stop_monitoring(&mut self, slot: usize) {
        let connection = &mut self.connections[slot];
        if std::mem::replace(&mut connection.is_monitor, false) {
            connection.client.set_mark(mark::MONITOR, false);
            let me = connection.me;
            self.monitors.retain(|&monitor| monitor != me);
            self.server.monitors.fetch_sub(1, Relaxed);
            self.handle().monitors.fetch_sub(1, Relaxed);
        }
    }
}

/// As Redis quotes: printable ASCII as it is, the rest escaped. What is very long is cut off.
fn quote(arg: &[u8], out: &mut Vec<u8>) {
    let (start, rest) = arg.split_at(arg.len().min(ARG_BYTES_MAX));
    out.push(b'"');
    for &b in start {
        match b {
            b'\\' | b'"' => out.extend_from_slice(&[b'\\', b]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x07 => out.extend_from_slice(b"\\a"),
            0x08 => out.extend_from_slice(b"\\b"),
            b' '..=b'~' => out.push(b),
            _ => {
                let mut escape = String::new();
                // Writing to a String cannot fail.
                let _ = write!(escape, "\\x{b:02x}");
                out.extend_from_slice(escape.as_bytes());
            }
        }
    }
    if !rest.is_empty() {
        out.extend_from_slice(format!("... ({} more bytes)", rest.len()).as_bytes());
    }
    out.push(b'"');
}
