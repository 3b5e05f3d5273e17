//! SSCAN: a set a few members at a time.
//!
//! A cursor is a position (see `compact/mod.rs`); a small set is answered at once. A member that is there during the whole
//! walk is answered exactly once, where Redis promises at least once.

use super::*;
use crate::command::scan::{COUNT_MAX, SCAN_BYTES, parse_cursor};
use crate::stride::Stride;

pub(in super::super) const SSCAN: Command<Run> = row(
    Spec {
        name: "sscan",
        arity: -3,
        flags: Flags::READONLY,
        since: "2.8.0",
        complexity: "O(COUNT) for a call, O(N) for a whole walk over N members",
        summary: "Answers some members of a set and a cursor from which the next call goes on; the walk ends at cursor 0.",
        syntax: "key cursor [MATCH pattern] [COUNT count]",
        reply: &[ReplyShape::Array],
        tips: &["nondeterministic_output"],
        ..SPEC
    },
    sscan,
);

fn sscan(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let cursor = parse_cursor(&args[2]).ok_or(Error::InvalidCursor)?;
    // As in Redis, the options of a walk over nothing are not looked at.
    let Some(set) = read_set(ctx, &args[1])? else {
        reply.array(2);
        reply.bulk(b"0");
        reply.array(0);
        return Ok(Outcome::Replied);
    };
    let (pattern, count) = parse(args)?;
    let mut found = Vec::new();
    let mut stride = Stride::of_keys(count, SCAN_BYTES, pattern);
    let next = set.scan(cursor, &mut stride, |stride, member| {
        let matches = match member {
            Member::Int(number) => stride.wants(itoa::Buffer::new().format(number).as_bytes()),
            Member::Text(name) => stride.wants(name),
        };
        if matches {
            found.push(member);
        }
    });
    reply.array(2);
    reply.bulk(itoa::Buffer::new().format(next.unwrap_or(0)).as_bytes());
    reply.array(found.len());
    found.into_iter().for_each(|member| write_member(reply, member));
    Ok(Outcome::Replied)
}

/// The pattern, and how many members to look at.
fn parse(args: Args<'_>) -> Result<(Option<&[u8]>, usize), Error> {
    let (mut pattern, mut count, mut at) = (None, 10, 3);
    while let Some(word) = args.get(at) {
        match args.get(at + 1) {
            Some(argument) if is(word, "count") => {
                let number = integer(argument).ok_or(Error::NotInteger)?;
                let number = usize::try_from(number).ok().filter(|&number| number > 0);
                count = number.ok_or(Error::Syntax)?.min(COUNT_MAX);
            }
            Some(argument) if is(word, "match") => pattern = Some(argument),
            _ if is(word, "novalues") => return Err(Error::NoValuesOutsideHscan),
            _ => return Err(Error::Syntax),
        }
        at += 2;
    }
    Ok((pattern, count))
}
