//! CLIENT GETNAME, SETNAME, SETINFO: what a client calls itself.

use sterna_command::{Command, ReplyShape, Spec};
use sterna_protocol::argument;

use super::super::connection::valid_name;
use super::super::{Failure, Run};
use super::{BASE, ON_ALL_NODES, row};
use crate::connection::CloseReason;
use crate::shard::Shard;

pub(super) const GETNAME: Command<Run> = row(
    Spec {
        name: "getname",
        since: "2.6.9",
        summary: "Answers the name that CLIENT SETNAME or HELLO gave this connection, or null.",
        reply: &[ReplyShape::Bulk, ReplyShape::Null],
        ..BASE
    },
    |call| {
        let name = call.connection().client.names.lock().name.clone();
        call.reply.bulk_or_null((!name.is_empty()).then_some(name.as_bytes()));
        Ok(())
    },
);

pub(super) const SETNAME: Command<Run> = row(
    Spec {
        name: "setname",
        arity: 3,
        since: "2.6.9",
        summary: "Names this connection, for CLIENT LIST; an empty name takes the name away.",
        syntax: "connection-name",
        tips: ON_ALL_NODES,
        ..BASE
    },
    |call| {
        let name = valid_name(&call.args[2], "Client names")?;
        call.shard.rename(call.slot, name);
        call.reply.ok();
        Ok(())
    },
);

pub(super) const SETINFO: Command<Run> = row(
    Spec {
        name: "setinfo",
        arity: 4,
        since: "7.2.0",
        summary: "Tells which client library this is, for CLIENT LIST.",
        syntax: "<LIB-NAME libname | LIB-VER libver>",
        tips: ON_ALL_NODES,
        ..BASE
    },
    |call| {
        let (option, value) = (&call.args[2], &call.args[3]);
        let is_name = argument::eq_ignore_case(option, "LIB-NAME");
        if !is_name && !argument::eq_ignore_case(option, "LIB-VER") {
            return Err(Failure::text([b"ERR Unrecognized option '", option, b"'"].concat()));
        }
        let value = valid_name(value, &String::from_utf8_lossy(option))?;
        let mut names = call.shard.connections[call.slot].client.names.lock();
        *(if is_name { &mut names.lib_name } else { &mut names.lib_ver }) = value;
        drop(names);
        call.reply.ok();
        Ok(())
    },
);

impl Shard {
    /// Gives the connection another name, or none. What it could be resumed under is its old one.
    pub(in super::super) fn rename(&mut self, slot: usize, name: Box<str>) {
        let old = std::mem::replace(&mut self.connections[slot].client.names.lock().name, name);
        if *self.connections[slot].client.names.lock().name != *old {
            self.end_resuming(slot, CloseReason::Expired);
        }
    }
}
