//! SET.

use sterna_command::{Categories, Command, Flags, Group, Keys, ReplyShape, Spec};
use sterna_protocol::{Args, Reply};

use super::row;
use crate::{Ctx, Error, Outcome, Run, Value, event};

pub(super) const SET: Command<Run> = row(
    Spec {
        name: "set",
        arity: -3,
        flags: Flags::WRITE.union(Flags::DENYOOM),
        keys: Keys::at(1),
        acl: Categories::STRING,
        group: Group::String,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "Stores a string under a key.",
        syntax: "key value [NX | XX] [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | \
                 PXAT unix-time-milliseconds | KEEPTTL]",
        reply: &[ReplyShape::Ok, ReplyShape::Bulk, ReplyShape::Null],
        tips: &[],
    },
    set,
);

fn set(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    if args.len() > 3 {
        return Err(Error::Syntax);
    }
    ctx.slot(&args[1]).overwrite(Value::string(&args[2]), None, event::SET);
    reply.ok();
    Ok(Outcome::Replied)
}
