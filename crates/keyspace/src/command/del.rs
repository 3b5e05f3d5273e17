//! DEL.

use sterna_command::{Categories, Command, Flags, Group, Keys, ReplyShape, Spec};
use sterna_protocol::{Args, Reply};

use super::row;
use crate::{Ctx, Error, Outcome, Run, event};

pub(super) const DEL: Command<Run> = row(
    Spec {
        name: "del",
        arity: -2,
        flags: Flags::WRITE,
        keys: Keys::from(1),
        acl: Categories::KEYSPACE,
        group: Group::Generic,
        since: "1.0.0",
        complexity: "O(N) for N keys",
        summary: "Deletes keys and answers how many there were.",
        syntax: "key [key ...]",
        reply: &[ReplyShape::Integer],
        tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
    },
    del,
);

fn del(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let deleted = args.from(1).iter().filter(|key| ctx.slot(key).delete(event::DEL).is_some()).count();
    reply.int(deleted as i64);
    Ok(Outcome::Replied)
}
