//! LCS: what two strings have in common.

use super::*;
use crate::string::Text;
use crate::string::subsequence::{self, Match};

pub(super) const LCS: Command<Run> = row(
    Spec {
        name: "lcs",
        arity: -3,
        flags: Flags::READONLY,
        keys: Keys::Range { first: 1, last: 2, step: 1 },
        acl: Categories::STRING,
        group: Group::String,
        since: "7.0.0",
        complexity: "O(N × M / 64) for strings of N and M bytes",
        summary: "Answers the longest common subsequence of two strings, its length, or where it is in them.",
        syntax: "key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]",
        reply: &[ReplyShape::Bulk, ReplyShape::Integer, ReplyShape::Map],
        tips: &[],
        ..Spec::PLAIN
    },
    lcs,
);

#[derive(Debug, Default)]
struct Options {
    length: bool,
    indexes: bool,
    match_bytes_min: usize,
    with_match_bytes: bool,
}

fn lcs(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let keys = [&args[1], &args[2]];
    for key in keys {
        if ctx.read(key).is_some_and(|value| value.text().is_none()) {
            return Err(Error::LcsOfOtherTypes);
        }
    }
    let options = Options::parse(args)?;
    let [a, b] = keys.map(|key| ctx.again(key).and_then(ValueRef::text));
    let [a_bytes, b_bytes] = [&a, &b].map(|text| text.as_ref().map_or(0, Text::len));
    if subsequence::is_too_large(a_bytes, b_bytes) {
        return Err(Error::LcsTooLarge);
    }
    // A hundred pairs of bytes are as much work as an element.
    ctx.caller.check_work(a_bytes.saturating_mul(b_bytes) / 100)?;
    let (a, b) = (a.as_deref().unwrap_or_default(), b.as_deref().unwrap_or_default());
    if options.length {
        reply.int(subsequence::length(a, b) as i64);
        return Ok(Outcome::Replied);
    }
    let matches = subsequence::matches(a, b);
    if options.indexes {
        write_indexes(reply, &matches, &options);
    } else {
        let len = matches.iter().map(Match::len).sum();
        reply.bulk_pieces(len, matches.iter().rev().map(|run| &a[run.a.0..=run.a.1]));
    }
    Ok(Outcome::Replied)
}

fn write_indexes(reply: &mut Reply<'_>, matches: &[Match], options: &Options) {
    let shown = || matches.iter().filter(|run| run.len() >= options.match_bytes_min);
    reply.map(2);
    reply.bulk(b"matches");
    reply.array(shown().count());
    for run in shown() {
        reply.array(2 + usize::from(options.with_match_bytes));
        for (first, last) in [run.a, run.b] {
            reply.array(2);
            reply.int(first as i64);
            reply.int(last as i64);
        }
        if options.with_match_bytes {
            reply.int(run.len() as i64);
        }
    }
    reply.bulk(b"len");
    reply.int(matches.iter().map(Match::len).sum::<usize>() as i64);
}

impl Options {
    fn parse(args: Args<'_>) -> Result<Options, Error> {
        let mut options = Options::default();
        let mut at = 3;
        while let Some(word) = args.get(at) {
            if is(word, "len") {
                options.length = true;
            } else if is(word, "idx") {
                options.indexes = true;
            } else if is(word, "withmatchlen") {
                options.with_match_bytes = true;
            } else if is(word, "minmatchlen") && at + 1 < args.len() {
                at += 1;
                options.match_bytes_min = integer_at(args, at)?.max(0) as usize;
            } else {
                return Err(Error::Syntax);
            }
            at += 1;
        }
        if options.length && options.indexes { Err(Error::LcsLenAndIndexes) } else { Ok(options) }
    }
}
