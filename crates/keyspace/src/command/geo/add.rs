//! GEOADD.

use super::*;
use crate::command::zset::add::{Conditions, set_scores};

pub(in crate::command) const GEOADD: Command<Run> = row(
    Spec {
        name: "geoadd",
        arity: -5,
        flags: Flags::WRITE.union(Flags::DENYOOM),
        complexity: "O(log N) a member",
        summary: "Gives members a place.",
        syntax: "key [NX | XX] [CH] longitude latitude member [longitude latitude member ...]",
        reply: &[ReplyShape::Integer],
        ..SPEC
    },
    geoadd,
);

fn geoadd(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let (mut nx, mut xx, mut ch, mut at) = (false, false, false, 2);
    while let Some(word) = args.get(at) {
        let option = match word {
            _ if is(word, "NX") => &mut nx,
            _ if is(word, "XX") => &mut xx,
            _ if is(word, "CH") => &mut ch,
            _ => break,
        };
        *option = true;
        at += 1;
    }
    let arguments = args.len() - at;
    if arguments == 0 || !arguments.is_multiple_of(3) || nx && xx {
        return Err(Error::Syntax);
    }
    let members = (at..args.len()).step_by(3);
    let pairs = members.map(|at| Ok((place_at(args, at)?.score(), text_at(args, at + 2))));
    let pairs = pairs.collect::<Result<Vec<_>, Error>>()?;
    let done = set_scores(ctx, &args[1], &pairs, Conditions { nx, xx, ..Conditions::default() })?;
    reply.int(done.added + if ch { done.updated } else { 0 });
    Ok(Outcome::Replied)
}
