//! XINFO: what a stream, its groups and their consumers look like from inside.

use super::*;
use crate::stream::Consumer;

pub(in crate::command) const XINFO: Command<Run> = Command {
    spec: Spec {
        name: "xinfo",
        arity: -2,
        flags: Flags::empty(),
        keys: Keys::None,
        acl: Categories::empty(),
        complexity: "Depends on the subcommand",
        summary: "Tells about a stream, its groups and their consumers.",
        ..SPEC
    },
    run: None,
    subcommands: &[row(CONSUMERS, consumers), row(GROUPS, groups), row(HELP, help), row(STREAM, stream)],
};

const CONSUMERS: Spec = Spec {
    name: "consumers",
    arity: 4,
    flags: Flags::READONLY,
    keys: Keys::at(2),
    complexity: "O(N) for N consumers",
    summary: "Lists the consumers of a group.",
    syntax: "key group",
    reply: &[ReplyShape::Array],
    tips: &["nondeterministic_output"],
    ..SPEC
};

const GROUPS: Spec = Spec {
    name: "groups",
    arity: 3,
    complexity: "O(N) for N groups",
    summary: "Lists the groups of a stream.",
    syntax: "key",
    tips: &[],
    ..CONSUMERS
};

const HELP: Spec = Spec {
    name: "help",
    arity: 2,
    flags: Flags::LOADING.union(Flags::STALE),
    keys: Keys::None,
    complexity: "O(1)",
    summary: "Lists the subcommands.",
    syntax: "",
    tips: &[],
    ..CONSUMERS
};

const STREAM: Spec = Spec {
    name: "stream",
    arity: -3,
    complexity: "O(N) for N blocks, and what FULL answers",
    summary: "Tells about a stream, with FULL about everything in it.",
    syntax: "key [FULL [COUNT count]]",
    reply: &[ReplyShape::Map],
    tips: &[],
    ..CONSUMERS
};

/// Entries, and pending entries of each kind, that FULL shows unless told.
const FULL_COUNT: usize = 10;

/// The stream that is asked about.
fn required<'s>(ctx: &'s mut Ctx<'_>, key: &'s [u8]) -> Result<&'s Stream, Error> {
    Ok(read_stream(ctx, key)?.ok_or(StreamError::NoSuchKey)?)
}

fn help(_ctx: &mut Ctx<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    write_help(&XINFO, reply);
    Ok(Outcome::Replied)
}

fn consumers(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let (key, name) = (&args[2], &args[3]);
    let (now_ms, caller) = (ctx.now_ms, ctx.caller);
    let stream = required(ctx, key)?;
    let group =
        stream.group(name).ok_or_else(|| StreamError::NoSuchGroup { key: key.into(), group: name.into() })?;
    caller.check_work(group.consumers_len())?;
    reply.array(group.consumers_len());
    for (id, consumer) in group.consumers() {
        reply.map(4);
        field(reply, "name").bulk(&consumer.name);
        field(reply, "pending").int(group.pending().len_of(id) as i64);
        field(reply, "idle").int(since(consumer.seen_ms, now_ms));
        field(reply, "inactive").int(consumer.active_ms.map_or(-1, |active_ms| since(active_ms, now_ms)));
    }
    Ok(Outcome::Replied)
}

fn since(then_ms: u64, now_ms: u64) -> i64 {
    i64::try_from(now_ms.saturating_sub(then_ms)).unwrap_or(i64::MAX)
}

fn groups(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let caller = ctx.caller;
    let stream = required(ctx, &args[2])?;
    caller.check_work(stream.groups().len())?;
    reply.array(stream.groups().len());
    for (name, group) in stream.groups() {
        reply.map(6);
        field(reply, "name").bulk(name);
        field(reply, "consumers").int(group.consumers_len() as i64);
        field(reply, "pending").int(group.pending().len() as i64);
        write_cursor(reply, stream, group);
    }
    Ok(Outcome::Replied)
}

/// Three fields: the cursor, entries read, and the lag.
fn write_cursor(reply: &mut Reply<'_>, stream: &Stream, group: &ConsumerGroup) {
    write_id(field(reply, "last-delivered-id"), group.last_id());
    write_count(field(reply, "entries-read"), group.entries_read().map(|number| number as i64));
    write_count(field(reply, "lag"), stream.lag(group).map(|lag| lag as i64));
}

fn write_count(reply: &mut Reply<'_>, count: Option<i64>) {
    match count {
        Some(count) => reply.int(count),
        None => reply.null(),
    }
}

/// Writes a field's name; its value follows.
fn field<'r, 'o>(reply: &'r mut Reply<'o>, name: &str) -> &'r mut Reply<'o> {
    reply.bulk(name.as_bytes());
    reply
}

fn stream(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let (now_ms, caller) = (ctx.now_ms, ctx.caller);
    let defaults = ctx.stream_settings(&args[2]).idempotence;
    let unknown = || StreamError::Arguments { container: "XINFO", subcommand: args[1].into() };
    let stream = required(ctx, &args[2])?;
    let full = match args.len() {
        3 => None,
        _ if !is(&args[3], "FULL") => return Err(unknown().into()),
        4 => Some(FULL_COUNT),
        6 if is(&args[4], "COUNT") => match integer_at(args, 5)? {
            0 => Some(usize::MAX),
            // Whoever asks for fewer than none gets the usual.
            count => Some(usize::try_from(count).unwrap_or(FULL_COUNT)),
        },
        _ => return Err(unknown().into()),
    };
    caller.check_work(stream.blocks().saturating_add(full.map_or(0, |count| work_of_full(stream, count))))?;
    reply.map(if full.is_some() { 15 } else { 16 });
    field(reply, "length").int(stream.len() as i64);
    field(reply, "radix-tree-keys").int(stream.blocks() as i64);
    field(reply, "radix-tree-nodes").int(stream.radix_nodes() as i64);
    write_id(field(reply, "last-generated-id"), stream.last_id());
    write_id(field(reply, "max-deleted-entry-id"), stream.max_deleted_id());
    field(reply, "entries-added").int(stream.entries_added() as i64);
    write_id(field(reply, "recorded-first-entry-id"), stream.first_id());
    write_idempotence(reply, stream, defaults, now_ms);
    match full {
        None => write_ends(reply, stream),
        Some(count) => write_full(reply, stream, count),
    }
    Ok(Outcome::Replied)
}

/// Six fields.
fn write_idempotence(
    reply: &mut Reply<'_>,
    stream: &Stream,
    defaults: crate::stream::IdempotenceConfig,
    now_ms: u64,
) {
    let maps = stream.idempotence();
    let config = maps.map_or(defaults, |maps| maps.config());
    let (producers, iids) = maps.map_or((0, 0), |maps| maps.tracked(now_ms));
    field(reply, "idmp-duration").int(i64::from(config.duration_s));
    field(reply, "idmp-maxsize").int(i64::from(config.entries_max));
    field(reply, "pids-tracked").int(producers as i64);
    field(reply, "iids-tracked").int(iids as i64);
    field(reply, "iids-added").int(maps.map_or(0, |maps| maps.added()) as i64);
    field(reply, "iids-duplicates").int(maps.map_or(0, |maps| maps.duplicates()) as i64);
}

/// Three fields.
fn write_ends(reply: &mut Reply<'_>, stream: &Stream) {
    field(reply, "groups").int(stream.groups().len() as i64);
    let first = stream.range(EntryId::MIN, EntryId::MAX).next();
    for (name, entry) in [("first-entry", first), ("last-entry", stream.last_entry())] {
        match entry {
            Some(entry) => write_entry(field(reply, name), entry),
            None => field(reply, name).null(),
        }
    }
}

/// About how many elements FULL looks at.
fn work_of_full(stream: &Stream, count: usize) -> usize {
    let entries = Wide { start: EntryId::MIN, end: EntryId::MAX, count }.work(stream, 1);
    let groups = stream.groups().map(|(_, group)| {
        // Each pending entry is shown once in the group and once in its consumer.
        2 * group.pending().len().min(count) + group.consumers_len()
    });
    groups.fold(entries + stream.groups().len(), usize::saturating_add)
}

/// Two fields.
fn write_full(reply: &mut Reply<'_>, stream: &Stream, count: usize) {
    write_range(field(reply, "entries"), stream.range(EntryId::MIN, EntryId::MAX), count);
    field(reply, "groups").array(stream.groups().len());
    for (name, group) in stream.groups() {
        reply.map(8);
        field(reply, "name").bulk(name);
        write_cursor(reply, stream, group);
        let pending = group.pending();
        field(reply, "pel-count").int(pending.len() as i64);
        field(reply, "nacked-count").int(pending.released() as i64);
        field(reply, "pending").array(pending.len().min(count));
        for (id, known) in pending.from(EntryId::MIN).take(count) {
            reply.array(4);
            write_id(reply, id);
            reply.bulk(group.consumer_name(known.consumer));
            reply.int(known.delivered_ms as i64);
            reply.int(known.deliveries as i64);
        }
        field(reply, "consumers").array(group.consumers_len());
        for (id, consumer) in group.consumers() {
            write_consumer(reply, group, id, consumer, count);
        }
    }
}

fn write_consumer(
    reply: &mut Reply<'_>,
    group: &ConsumerGroup,
    id: ConsumerId,
    consumer: &Consumer,
    count: usize,
) {
    let pending = group.pending();
    reply.map(5);
    field(reply, "name").bulk(&consumer.name);
    field(reply, "seen-time").int(consumer.seen_ms as i64);
    field(reply, "active-time").int(consumer.active_ms.map_or(-1, |active_ms| active_ms as i64));
    field(reply, "pel-count").int(pending.len_of(id) as i64);
    field(reply, "pending").array(pending.len_of(id).min(count));
    let owned = pending.ids_of(id, EntryId::MIN).take(count);
    for (id, known) in owned.filter_map(|id| pending.get(id).map(|known| (id, known))) {
        reply.array(3);
        write_id(reply, id);
        reply.int(known.delivered_ms as i64);
        reply.int(known.deliveries as i64);
    }
}
