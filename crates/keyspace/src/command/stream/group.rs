//! XGROUP: groups and their consumers come and go.

use super::*;
use crate::garbage::Garbage;
use sterna_command::{KeyUse, KeyUses};

pub(in crate::command) const XGROUP: Command<Run> = Command {
    spec: Spec {
        name: "xgroup",
        arity: -2,
        flags: Flags::empty(),
        keys: Keys::None,
        acl: Categories::empty(),
        complexity: "Depends on the subcommand",
        summary: "Creates, changes and removes consumer groups.",
        ..SPEC
    },
    run: None,
    subcommands: &[
        row(CREATE, create),
        row(CREATECONSUMER, create_consumer),
        row(DELCONSUMER, delete_consumer),
        row(DESTROY, destroy),
        row(HELP, help),
        row(SETID, set_id),
    ],
};

const CREATE: Spec = Spec {
    name: "create",
    arity: -5,
    flags: Flags::WRITE.union(Flags::DENYOOM),
    keys: Keys::at(2),
    uses: KeyUses::Each(KeyUse::ADDS),
    summary: "Makes a group that has read up to an ID.",
    syntax: "key group <id | $> [MKSTREAM] [ENTRIESREAD entries-read]",
    reply: &[ReplyShape::Ok],
    ..SPEC
};

const CREATECONSUMER: Spec = Spec {
    name: "createconsumer",
    arity: 5,
    uses: KeyUses::Each(KeyUse::ADDS),
    since: "6.2.0",
    summary: "Makes a consumer; answers 0 if the group has it already.",
    syntax: "key group consumer",
    reply: &[ReplyShape::Integer],
    ..CREATE
};

const DELCONSUMER: Spec = Spec {
    name: "delconsumer",
    uses: KeyUses::Each(KeyUse::DELETES_FROM),
    flags: Flags::WRITE,
    since: "5.0.0",
    summary: "Removes a consumer and answers how many entries were pending for it.",
    ..CREATECONSUMER
};

const DESTROY: Spec = Spec {
    name: "destroy",
    arity: 4,
    uses: KeyUses::Each(KeyUse::DELETES_FROM),
    complexity: "O(N) for N entries pending",
    summary: "Removes a group with all that is pending in it.",
    syntax: "key group",
    ..DELCONSUMER
};

const HELP: Spec = Spec {
    name: "help",
    arity: 2,
    flags: Flags::LOADING.union(Flags::STALE),
    keys: Keys::None,
    summary: "Lists the subcommands.",
    syntax: "",
    reply: &[ReplyShape::Array],
    ..CREATE
};

const SETID: Spec = Spec {
    name: "setid",
    uses: KeyUses::ByFlags,
    flags: Flags::WRITE,
    summary: "Sets the ID up to which a group has read.",
    syntax: "key group <id | $> [ENTRIESREAD entries-read]",
    ..CREATE
};

/// Where a group's cursor is to stand.
struct Cursor {
    /// `None`: at the end (`$`).
    last_id: Option<EntryId>,
    entries_read: Option<u64>,
    create: bool,
}

impl Cursor {
    /// Reads `id [MKSTREAM] [ENTRIESREAD n]` from index 4 on.
    fn read(args: Args<'_>, may_create: bool) -> Result<Cursor, Error> {
        let mut cursor = Cursor { last_id: None, entries_read: None, create: false };
        let mut index = 5;
        while index < args.len() {
            if may_create && is(&args[index], "MKSTREAM") {
                cursor.create = true;
                index += 1;
            } else if is(&args[index], "ENTRIESREAD") && index + 1 < args.len() {
                cursor.entries_read = match integer_at(args, index + 1)? {
                    -1 => None,
                    number => Some(u64::try_from(number).map_err(|_| StreamError::EntriesRead)?),
                };
                index += 2;
            } else {
                return Err(wrong_arguments(args));
            }
        }
        Ok(cursor)
    }

    /// Where the cursor stands in `stream`; nobody can have read more entries than there ever were.
    fn resolve(&self, stream: &Stream) -> (EntryId, Option<u64>) {
        let entries_read = self.entries_read.map(|number| number.min(stream.entries_added()));
        (self.last_id.unwrap_or(stream.last_id()), entries_read)
    }

    /// `parse`: CREATE takes an ID alone, SETID also `-` and `+`. Source: Redis 8.2.
    fn with_id(mut self, id: &[u8], parse: fn(&[u8], u64) -> Option<EntryId>) -> Result<Cursor, Error> {
        if id != b"$" {
            self.last_id = Some(parse(id, 0).ok_or(StreamError::InvalidId)?);
        }
        Ok(self)
    }
}

/// The stream of a subcommand that must find one.
fn required<'s>(slot: &'s Slot<'_>) -> Result<&'s Stream, Error> {
    Ok(stream_in(slot)?.ok_or(StreamError::KeyRequired)?)
}

/// The stream of a subcommand that must find it with the group in it.
fn required_with_group<'s>(slot: &'s Slot<'_>, key: &[u8], group: &[u8]) -> Result<&'s Stream, Error> {
    let stream = required(slot)?;
    if stream.group(group).is_none() {
        return Err(StreamError::NoSuchGroup { key: key.into(), group: group.into() }.into());
    }
    Ok(stream)
}

/// With every option once; MKSTREAM may stand where there is room for another. Source: Redis 8.2 counts once the key is found.
const CREATE_ARGUMENTS_MAX: usize = 8;
const SETID_ARGUMENTS_MAX: usize = 7;

fn wrong_arguments(args: Args<'_>) -> Error {
    StreamError::Arguments { container: "XGROUP", subcommand: args[1].into() }.into()
}

fn create(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let (key, group) = (&args[2], &args[3]);
    let cursor = Cursor::read(args, true)?;
    let mut slot = ctx.slot(key);
    if !cursor.create {
        required(&slot)?;
    }
    let exists = stream_in(&slot)?.is_some_and(|stream| stream.group(group).is_some());
    if args.len() > CREATE_ARGUMENTS_MAX {
        return Err(wrong_arguments(args));
    }
    let cursor = cursor.with_id(&args[4], EntryId::parse_strict)?;
    if exists {
        return Err(StreamError::GroupExists.into());
    }
    if slot.is_empty() {
        slot.create_stream();
        slot.touch();
    } else {
        slot.count_change();
    }
    slot.edit_stream(|stream, recorder| {
        let (last_id, entries_read) = cursor.resolve(stream);
        stream.create_group(group, last_id, entries_read);
        recorder.record(&Change::CreateGroup { group, last_id, entries_read });
    });
    slot.event(event::XGROUP_CREATE);
    reply.ok();
    Ok(Outcome::Replied)
}

fn set_id(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let (key, group) = (&args[2], &args[3]);
    let cursor = Cursor::read(args, false)?;
    let mut slot = ctx.slot(key);
    required_with_group(&slot, key, group)?;
    if args.len() > SETID_ARGUMENTS_MAX {
        return Err(wrong_arguments(args));
    }
    let cursor = cursor.with_id(&args[4], EntryId::parse)?;
    slot.edit_stream(|stream, recorder| {
        let (last_id, entries_read) = cursor.resolve(stream);
        if let Some(mut state) = stream.group_mut(group) {
            state.set_id(last_id, entries_read);
        }
        recorder.record(&Change::SetGroup { group, last_id, entries_read });
    });
    slot.count_change();
    slot.event(event::XGROUP_SETID);
    reply.ok();
    Ok(Outcome::Replied)
}

fn destroy(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let group = &args[3];
    let mut slot = ctx.slot(&args[2]);
    required(&slot)?;
    let destroyed = slot.edit_stream(|stream, recorder| {
        let Some(destroyed) = stream.destroy_group(group) else { return false };
        recorder.record(&Change::DestroyGroup { group });
        recorder.log.discard(Garbage::of_group(destroyed));
        true
    });
    let destroyed = destroyed.unwrap_or(false);
    if destroyed {
        slot.count_change();
        slot.event(event::XGROUP_DESTROY);
        // Consumers that wait for the group are to be told that it is gone.
        slot.note_ready();
    }
    reply.int(i64::from(destroyed));
    Ok(Outcome::Replied)
}

fn create_consumer(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let (key, group, consumer) = (&args[2], &args[3], &args[4]);
    let now_ms = ctx.now_ms;
    let mut slot = ctx.slot(key);
    required_with_group(&slot, key, group)?;
    let created = slot.edit_stream(|stream, recorder| {
        let created = stream
            .group_mut(group)
            .is_some_and(|mut state| state.create_consumer(consumer, now_ms).is_some());
        if created {
            recorder.record(&Change::CreateConsumer { group, consumer, seen_ms: now_ms });
        }
        created
    });
    let created = created.unwrap_or(false);
    if created {
        slot.count_change();
        slot.event(event::XGROUP_CREATECONSUMER);
    }
    reply.int(i64::from(created));
    Ok(Outcome::Replied)
}

fn delete_consumer(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let (key, group, consumer) = (&args[2], &args[3], &args[4]);
    let caller = ctx.caller;
    let mut slot = ctx.slot(key);
    let state = required_with_group(&slot, key, group)?.group(group);
    let owned = state.and_then(|state| Some(state.pending().len_of(state.consumer_id(consumer)?)));
    caller.check_work(owned.unwrap_or(0))?;
    let deleted = slot.edit_stream(|stream, recorder| {
        let deleted = stream.group_mut(group).and_then(|mut state| state.delete_consumer(consumer));
        if deleted.is_some() {
            recorder.record(&Change::DeleteConsumer { group, consumer });
        }
        deleted
    });
    let deleted = deleted.flatten();
    if deleted.is_some() {
        slot.count_change();
        slot.event(event::XGROUP_DELCONSUMER);
    }
    reply.int(deleted.unwrap_or(0) as i64);
    Ok(Outcome::Replied)
}

fn help(_ctx: &mut Ctx<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    write_help(&XGROUP, reply);
    Ok(Outcome::Replied)
}
