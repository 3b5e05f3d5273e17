//! MOVE: a key to another database.

use super::*;
use crate::command::copy::parse_db;
use sterna_command::{KeyUse, KeyUses};

pub(super) const MOVE: Command<Run> = row(
    Spec {
        name: "move",
        arity: 3,
        flags: Flags::WRITE.union(Flags::FAST),
        keys: Keys::at(1),
        uses: KeyUses::Each(KeyUse::READS_AND_UPDATES),
        acl: Categories::KEYSPACE,
        group: Group::Generic,
        since: "1.0.0",
        complexity: "O(1), and the size of the value where a journal is kept",
        summary: "Moves a key to another database, if that has none of its name.",
        syntax: "key db",
        reply: &[ReplyShape::Integer],
        tips: &[],
        ..Spec::PLAIN
    },
    move_key,
);

fn move_key(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let key = &args[1];
    let (from, to) = (ctx.db, parse_db(&args[2], ctx.space.of(key).0.databases())?);
    if from == to {
        return Err(Error::SameKey);
    }
    let moves = !ctx.slot(key).is_empty() && ctx.slot_in(to, key).is_empty();
    if let Some(record) = moves.then(|| ctx.slot(key).take()).flatten() {
        let expire_at_ms = record.expire_at_ms;
        let mut slot = ctx.slot_in(to, key);
        slot.place(record.value, expire_at_ms);
        slot.event(event::NEW);
        ctx.log.event(event::MOVE_FROM, from, key);
        ctx.log.event(event::MOVE_TO, to, key);
        // Two keys were touched, by one change.
        ctx.log.count_less(1);
    }
    reply.int(i64::from(moves));
    Ok(Outcome::Replied)
}
