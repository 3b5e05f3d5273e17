//! ZSCAN.

use super::*;
use crate::command::scan::{SCAN_BYTES, parse_cursor};
use crate::stride::Stride;

pub(in crate::command) const ZSCAN: Command<Run> = row(
    Spec {
        name: "zscan",
        arity: -3,
        since: "2.8.0",
        complexity: "O(COUNT) for a call, O(N) for a whole walk",
        summary: "Answers some members with their scores and a cursor from which the next call goes on.",
        syntax: "key cursor [MATCH pattern] [COUNT count]",
        reply: &[ReplyShape::Array],
        tips: &["nondeterministic_output"],
        ..SPEC
    },
    zscan,
);

/// Members that one call looks at, whatever it asks for: COUNT is a wish.
const COUNT_MAX: usize = 10_000;

/// A member is looked for in its leaf, among some tens.
const WORK_PER_MEMBER: usize = 16;

#[derive(Debug)]
struct Options<'a> {
    pattern: Option<&'a [u8]>,
    count: usize,
}

fn zscan(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let cursor = parse_cursor(&args[2]).ok_or(Error::InvalidCursor)?;
    let caller = ctx.caller;
    let zset = read_zset(ctx, &args[1])?;
    let Some(zset) = zset else {
        // Without a key nothing else is looked at, as in Redis.
        reply.array(2);
        reply.bulk(b"0");
        reply.array(0);
        return Ok(Outcome::Replied);
    };
    let options = Options::parse(args)?;
    caller.check_work(options.count.min(zset.len()) * WORK_PER_MEMBER)?;
    let mut found = Vec::new();
    let mut elements = reply.part(&mut found);
    let mut len = 0;
    let mut text = Vec::new();
    let mut stride = Stride::of_keys(options.count, SCAN_BYTES, options.pattern);
    let next = zset.scan(cursor, &mut stride, |stride, member, score| {
        if stride.wants(member) {
            text.clear();
            zset.write_scanned_score(&mut text, score);
            elements.bulk(member);
            elements.bulk(&text);
            len += 2;
        }
    });
    let is_cut = elements.is_cut();
    reply.array(2);
    reply.bulk(itoa::Buffer::new().format(next.unwrap_or(0)).as_bytes());
    reply.array(len);
    reply.append(&found, is_cut);
    Ok(Outcome::Replied)
}

impl<'a> Options<'a> {
    fn parse(args: Args<'a>) -> Result<Options<'a>, Error> {
        let mut options = Options { pattern: None, count: 10 };
        let mut at = 3;
        while let Some(word) = args.get(at) {
            match args.get(at + 1) {
                Some(argument) if is(word, "COUNT") => {
                    let count = integer(argument).ok_or(Error::NotInteger)?;
                    let count = usize::try_from(count).ok().filter(|&count| count > 0);
                    options.count = count.ok_or(Error::Syntax)?.min(COUNT_MAX);
                }
                Some(argument) if is(word, "MATCH") => options.pattern = Some(argument),
                _ if is(word, "NOVALUES") => return Err(Error::NoValuesOutsideHscan),
                _ => return Err(Error::Syntax),
            }
            at += 2;
        }
        Ok(options)
    }
}
