//! HIMPORT PREPARE, DISCARD and DISCARDALL: a connection's fieldsets. HIMPORT SET is a command on a key and lives with them.
//!
//! A script has fieldsets of its own, which end with it.
//! Source: Redis 8.10 (redis.io/docs/latest/commands/himport).

use sterna_command::{Categories, Command, Flags, Group, Place, ReplyShape, Spec};
use sterna_keyspace::Fieldset;
use sterna_protocol::Args;

use super::{Call, Failure, Run};
use crate::connection::fieldsets::bytes_of;
use crate::limits::FIELDSETS_BYTES_MAX;
use crate::shard::Shard;

const BASE: Spec = Spec {
    acl: Categories::HASH,
    group: Group::Hash,
    since: "8.10.0",
    reply: &[ReplyShape::Integer],
    tips: &["request_policy:all_shards"],
    place: Place::Session,
    ..Spec::PLAIN
};

const fn row(spec: Spec, run: Run) -> Command<Run> {
    Command { spec, run: Some(run), subcommands: &[] }
}

/// Rows of this file.
pub(super) static ROWS: &[Command<Run>] = &[Command {
    spec: Spec {
        name: "himport",
        arity: -2,
        complexity: "Depends on the subcommand.",
        summary: "Makes hashes of names of fields that are stated once.",
        reply: &[],
        tips: &[],
        ..BASE
    },
    run: None,
    subcommands: &[
        row(
            Spec {
                name: "discard",
                arity: 3,
                summary: "Forgets a fieldset of this connection, and answers whether there was one of this name.",
                syntax: "fieldset-name",
                ..BASE
            },
            discard,
        ),
        row(
            Spec {
                name: "discardall",
                arity: 2,
                complexity: "O(N) for N fieldsets",
                summary: "Forgets every fieldset of this connection, and answers how many there were.",
                ..BASE
            },
            discard_all,
        ),
        row(
            Spec {
                name: "prepare",
                arity: -4,
                flags: Flags::DENYOOM,
                complexity: "O(N log N) for N fields",
                summary: "States names of fields, of which this connection makes hashes with HIMPORT SET.",
                syntax: "fieldset-name field [field ...]",
                reply: &[ReplyShape::Ok],
                ..BASE
            },
            prepare,
        ),
    ],
}];

fn prepare(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let name = &args[2];
    let fields: Vec<&[u8]> = args.iter().skip(3).collect();
    let too_many = Failure::of("ERR too many fieldsets: HIMPORT DISCARD those that are not used any more");
    if name.len() + fields.iter().map(|field| field.len()).sum::<usize>() > FIELDSETS_BYTES_MAX {
        return Err(too_many);
    }
    let fieldset = Fieldset::new(&fields).ok_or(Failure::of("ERR duplicate field name in fieldset"))?;
    let fieldsets = call.connection().fieldsets.get_or_insert_default();
    let replaced = fieldsets.find(name).map_or(0, |old| bytes_of(name, old));
    if fieldsets.bytes() - replaced + bytes_of(name, &fieldset) > FIELDSETS_BYTES_MAX {
        return Err(too_many);
    }
    fieldsets.set(name, fieldset);
    call.reply.ok();
    Ok(())
}

fn discard(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let name = &args[2];
    let connection = call.connection();
    let was_there = connection.fieldsets.as_mut().is_some_and(|fieldsets| fieldsets.remove(name));
    if connection.fieldsets.as_ref().is_some_and(|fieldsets| fieldsets.len() == 0) {
        connection.fieldsets = None;
    }
    call.reply.int(i64::from(was_there));
    Ok(())
}

fn discard_all(call: &mut Call<'_>) -> Result<(), Failure> {
    let discarded = call.connection().fieldsets.take().map_or(0, |fieldsets| fieldsets.len());
    call.reply.int(discarded as i64);
    Ok(())
}

impl Shard {
    /// Lends a command the fieldset that it names, if it names one. Whoever runs it takes it back.
    #[inline]
    pub(super) fn lend_fieldset(&mut self, slot: usize, spec: &Spec, args: Args<'_>) {
        if spec.flags.contains(Flags::TAKES_FIELDSET) {
            let name = args.get(3).unwrap_or_default();
            let fieldsets = &self.connections[slot].fieldsets;
            self.changes.lend(fieldsets.as_ref().and_then(|fieldsets| fieldsets.find(name)).cloned());
        }
    }

    /// The command has been run.
    #[inline]
    pub(super) fn take_fieldset_back(&mut self, spec: &Spec) {
        if spec.flags.contains(Flags::TAKES_FIELDSET) {
            self.changes.lend(None);
        }
    }
}
