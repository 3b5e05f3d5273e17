//! DEL and UNLINK, which here are the same: freeing a value is handed to nobody.

use super::*;
use sterna_command::{KeyUse, KeyUses};

pub(super) const DEL: Command<Run> = row(
    Spec {
        name: "del",
        arity: -2,
        flags: Flags::WRITE.union(Flags::IN_PARTS),
        keys: Keys::from(1),
        uses: KeyUses::Each(KeyUse::REMOVES),
        acl: Categories::KEYSPACE,
        group: Group::Generic,
        since: "1.0.0",
        complexity: "O(N) for N keys, and for a stream the number of its blocks",
        summary: "Deletes keys and answers how many there were.",
        syntax: "key [key ...]",
        reply: &[ReplyShape::Integer],
        tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
        ..Spec::PLAIN
    },
    del,
);

pub(super) const UNLINK: Command<Run> =
    row(Spec { name: "unlink", flags: DEL.spec.flags.union(Flags::FAST), since: "4.0.0", ..DEL.spec }, del);

fn del(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let deleted = args.from(1).iter().filter(|key| ctx.slot(key).delete(event::DEL)).count();
    reply.int(deleted as i64);
    Ok(Outcome::Replied)
}
