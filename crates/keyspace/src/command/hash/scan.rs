//! HSCAN: a hash a few fields at a time.
//!
//! A cursor is a position (see `compact/mod.rs`); a small hash is answered at once. A field that is there during the whole walk is
//! answered exactly once, where Redis promises at least once.

use super::*;
use crate::command::scan::{COUNT_MAX, SCAN_BYTES, parse_cursor};
use crate::stride::Stride;

pub(in super::super) const HSCAN: Command<Run> = row(
    Spec {
        name: "hscan",
        arity: -3,
        flags: Flags::READONLY,
        since: "2.8.0",
        complexity: "O(COUNT) for a call, O(N) for a whole walk over N fields",
        summary: "Answers some fields of a hash and a cursor from which the next call goes on; the walk ends at cursor 0.",
        syntax: "key cursor [MATCH pattern] [COUNT count] [NOVALUES]",
        reply: &[ReplyShape::Array],
        tips: &["nondeterministic_output"],
        ..SPEC
    },
    hscan,
);

struct Options<'a> {
    pattern: Option<&'a [u8]>,
    count: usize,
    with_values: bool,
}

fn hscan(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let cursor = parse_cursor(&args[2]).ok_or(Error::InvalidCursor)?;
    let now_ms = ctx.now_ms;
    // As in Redis, the options of a walk over nothing are not looked at.
    let Some(hash) = read_hash(ctx, &args[1])? else {
        reply.array(2);
        reply.bulk(b"0");
        reply.array(0);
        return Ok(Outcome::Replied);
    };
    let options = Options::parse(args)?;
    let mut found = Vec::new();
    let mut stride = Stride::of_keys(options.count, SCAN_BYTES, options.pattern);
    let next = hash.scan(cursor, &mut stride, now_ms, |stride, field| {
        if stride.wants(&field.name.text()) {
            found.push(field);
        }
    });
    reply.array(2);
    reply.bulk(itoa::Buffer::new().format(next.unwrap_or(0)).as_bytes());
    reply.array(if options.with_values { 2 * found.len() } else { found.len() });
    for field in found {
        write_element(reply, field.name);
        if options.with_values {
            write_element(reply, field.value);
        }
    }
    Ok(Outcome::Replied)
}

impl<'a> Options<'a> {
    fn parse(args: Args<'a>) -> Result<Options<'a>, Error> {
        let mut options = Options { pattern: None, count: 10, with_values: true };
        let mut at = 3;
        while let Some(word) = args.get(at) {
            match args.get(at + 1) {
                Some(argument) if is(word, "count") => {
                    let count = integer(argument).ok_or(Error::NotInteger)?;
                    let count = usize::try_from(count).ok().filter(|&count| count > 0);
                    options.count = count.ok_or(Error::Syntax)?.min(COUNT_MAX);
                }
                Some(argument) if is(word, "match") => options.pattern = Some(argument),
                _ if is(word, "novalues") => {
                    options.with_values = false;
                    at -= 1;
                }
                _ => return Err(Error::Syntax),
            }
            at += 2;
        }
        Ok(options)
    }
}
