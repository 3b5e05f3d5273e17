//! FLUSHDB and FLUSHALL.

use super::*;

pub(super) const FLUSHDB: Command<Run> = row(
    Spec {
        name: "flushdb",
        arity: -1,
        flags: Flags::WRITE.union(Flags::ALL_KEYS).union(Flags::EVERY_GROUP),
        keys: Keys::None,
        acl: Categories::KEYSPACE.union(Categories::DANGEROUS),
        group: Group::Server,
        since: "1.0.0",
        complexity: "O(N) for N keys in the database",
        summary: "Deletes every key of the selected database.",
        syntax: "[ASYNC | SYNC]",
        reply: &[ReplyShape::Ok],
        tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
        ..Spec::PLAIN
    },
    |ctx, args, reply| flush(ctx, args, reply, Some(ctx.db)),
);

pub(super) const FLUSHALL: Command<Run> = row(
    Spec {
        name: "flushall",
        complexity: "O(N) for N keys in all databases",
        summary: "Deletes every key of every database.",
        ..FLUSHDB.spec
    },
    |ctx, args, reply| flush(ctx, args, reply, None),
);

fn flush(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    db: Option<usize>,
) -> Result<Outcome, Error> {
    // Both words are taken and mean the same: the keys are freed when no lock is held any more.
    match args.get(1) {
        None => {}
        Some(mode) if args.len() == 2 && (is(mode, "sync") || is(mode, "async")) => {}
        Some(_) => return Err(Error::Syntax),
    }
    // Of several groups of keys, the partitions of one are locked, and databases are stored under the same numbers in all.
    let mut stored = None;
    for index in (0..ctx.space.count()).filter(|index| ctx.space.is_locked(*index)).collect::<Vec<_>>() {
        let partition = ctx.space.partition(index);
        partition.flush(db, ctx.log);
        stored = db.map(|db| partition.stored(db));
    }
    ctx.log.note_flush(stored, ctx.caller.group);
    reply.ok();
    Ok(Outcome::Replied)
}
