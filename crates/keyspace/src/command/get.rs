//! GET.

use super::*;

pub(super) const GET: Command<Run> = row(
    Spec {
        name: "get",
        arity: 2,
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::at(1),
        acl: Categories::STRING,
        group: Group::String,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "Answers the string under a key.",
        syntax: "key",
        reply: &[ReplyShape::Bulk, ReplyShape::Null],
        tips: &[],
        ..Spec::PLAIN
    },
    get,
);

fn get(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let caller = ctx.caller;
    match ctx.read(&args[1]) {
        // Most of what is read: it takes no turn through the forms that a text may have.
        Some(ValueRef::Text(bytes)) => {
            caller.check_copy(bytes.len())?;
            reply.bulk(bytes);
        }
        Some(value) => {
            let text = value.text().ok_or(Error::WrongType)?;
            caller.check_copy(text.len())?;
            text.reply(reply);
        }
        None => reply.null(),
    }
    Ok(Outcome::Replied)
}
