//! ZRANK and ZREVRANK.

use super::*;

pub(in crate::command) const ZRANK: Command<Run> = row(
    Spec {
        name: "zrank",
        arity: -3,
        flags: Flags::READONLY.union(Flags::FAST),
        element: ElementAt::Index(2),
        complexity: "O(log N)",
        summary: "Answers how many members come before one, the lowest score first.",
        syntax: "key member [WITHSCORE]",
        reply: &[ReplyShape::Integer, ReplyShape::Array, ReplyShape::Null],
        ..SPEC
    },
    |ctx, args, reply| zrank(ctx, args, reply, Direction::Forward),
);

pub(in crate::command) const ZREVRANK: Command<Run> = row(
    Spec {
        name: "zrevrank",
        summary: "Answers how many members come before one, the highest score first.",
        ..ZRANK.spec
    },
    |ctx, args, reply| zrank(ctx, args, reply, Direction::Backward),
);

fn zrank(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    direction: Direction,
) -> Result<Outcome, Error> {
    let with_score = match (args.get(3), args.get(4)) {
        (_, Some(_)) => {
            let command = if direction == Direction::Forward { "zrank" } else { "zrevrank" };
            return Err(Error::Arity { command });
        }
        (Some(word), None) if !is(word, "WITHSCORE") => return Err(Error::Syntax),
        (word, None) => word.is_some(),
    };
    let zset = read_zset(ctx, &args[1])?;
    let found = zset.and_then(|zset| {
        let (rank, score) = zset.rank(&args[2])?;
        let rank = if direction == Direction::Forward { rank } else { zset.len() - 1 - rank };
        Some((rank as i64, score))
    });
    match found {
        Some((rank, score)) if with_score => {
            reply.array(2);
            reply.int(rank);
            reply.double(score);
        }
        Some((rank, _)) => reply.int(rank),
        None if with_score => reply.null_array(),
        None => reply.null(),
    }
    Ok(Outcome::Replied)
}
