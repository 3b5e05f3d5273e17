//! COPY.

use super::*;
use sterna_command::{KeyUse, KeyUses};

pub(super) const COPY: Command<Run> = row(
    Spec {
        name: "copy",
        arity: -3,
        flags: Flags::WRITE.union(Flags::DENYOOM),
        keys: Keys::Range { first: 1, last: 2, step: 1 },
        uses: KeyUses::FirstAndSecond(KeyUse::READS, KeyUse::OVERWRITES),
        acl: Categories::KEYSPACE,
        group: Group::Generic,
        since: "6.2.0",
        complexity: "O(N) for a value of N bytes",
        summary: "Copies a value and its expiry to another key, or to another database.",
        syntax: "source destination [DB destination-db] [REPLACE]",
        reply: &[ReplyShape::Integer],
        tips: &[],
        ..Spec::PLAIN
    },
    copy,
);

fn copy(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let (from, to) = (&args[1], &args[2]);
    let (mut db, mut replace, mut at) = (ctx.db, false, 3);
    while let Some(word) = args.get(at) {
        if is(word, "replace") {
            replace = true;
        } else if let (true, Some(number)) = (is(word, "db"), args.get(at + 1)) {
            db = parse_db(number, ctx.space.of(from).0.databases())?;
            at += 1;
        } else {
            return Err(Error::Syntax);
        }
        at += 1;
    }
    if db == ctx.db && from == to {
        return Err(Error::SameKey);
    }
    let mut source = ctx.slot(from);
    source.note_read();
    let found = source.record().map(|record| (record.value().to_value(), record.expire_at_ms()));
    let Some((value, expire_at_ms)) = found else {
        reply.int(0);
        return Ok(Outcome::Replied);
    };
    let mut target = ctx.slot_in(db, to);
    let free = target.is_empty();
    if free || replace {
        let displaced = target.place(value, expire_at_ms);
        target.event(event::NEW);
        target.event(event::COPY_TO);
        target.event_displaced(displaced);
    }
    reply.int(i64::from(free || replace));
    Ok(Outcome::Replied)
}

/// The number of a database of which there are `databases`.
pub(super) fn parse_db(number: &[u8], databases: usize) -> Result<usize, Error> {
    let number = integer(number).ok_or(Error::NotInteger)?;
    let number = i32::try_from(number).map_err(|_| Error::NotInt32)?;
    usize::try_from(number).ok().filter(|&db| db < databases).ok_or(Error::DbOutOfRange)
}
