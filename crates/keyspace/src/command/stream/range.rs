//! XLEN, XRANGE and XREVRANGE.

use super::*;
use sterna_command::{KeyUse, KeyUses};

pub(in crate::command) const XLEN: Command<Run> = row(
    Spec {
        name: "xlen",
        arity: 2,
        uses: KeyUses::Each(KeyUse::EXAMINES),
        flags: Flags::READONLY.union(Flags::FAST),
        summary: "Answers how many entries a stream holds.",
        syntax: "key",
        reply: &[ReplyShape::Integer],
        ..SPEC
    },
    xlen,
);

pub(in crate::command) const XRANGE: Command<Run> = row(
    Spec {
        name: "xrange",
        arity: -4,
        flags: Flags::READONLY,
        complexity: "O(log N + M) for M entries answered of N",
        summary: "Reads the entries between two IDs, the lowest first.",
        syntax: "key start end [COUNT count]",
        reply: &[ReplyShape::Array, ReplyShape::Null],
        ..SPEC
    },
    |ctx, args, reply| xrange(ctx, args, reply, Direction::Forward),
);

pub(in crate::command) const XREVRANGE: Command<Run> = row(
    Spec {
        name: "xrevrange",
        summary: "Reads the entries between two IDs, the highest first.",
        syntax: "key end start [COUNT count]",
        ..XRANGE.spec
    },
    |ctx, args, reply| xrange(ctx, args, reply, Direction::Backward),
);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Forward,
    Backward,
}

fn xlen(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let stream = read_stream(ctx, &args[1])?;
    reply.int(stream.map_or(0, Stream::len) as i64);
    Ok(Outcome::Replied)
}

/// The lower end of an interval: inclusive, or exclusive behind a `(`.
pub(super) fn start_at(args: Args<'_>, index: usize) -> Result<EntryId, Error> {
    match args[index].strip_prefix(b"(") {
        None => Ok(EntryId::parse(&args[index], 0).ok_or(StreamError::InvalidId)?),
        Some(id) => {
            let id = EntryId::parse_strict(id, 0).ok_or(StreamError::InvalidId)?;
            Ok(id.next().ok_or(StreamError::IntervalStart)?)
        }
    }
}

/// The upper end of an interval; a missing sequence means all of that millisecond.
pub(super) fn end_at(args: Args<'_>, index: usize) -> Result<EntryId, Error> {
    match args[index].strip_prefix(b"(") {
        None => Ok(EntryId::parse(&args[index], u64::MAX).ok_or(StreamError::InvalidId)?),
        Some(id) => {
            let id = EntryId::parse_strict(id, u64::MAX).ok_or(StreamError::InvalidId)?;
            Ok(id.prev().ok_or(StreamError::IntervalEnd)?)
        }
    }
}

fn xrange(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    direction: Direction,
) -> Result<Outcome, Error> {
    let (start, end) = match direction {
        Direction::Forward => (start_at(args, 2)?, end_at(args, 3)?),
        Direction::Backward => {
            // In Redis's order: the lower end first.
            let start = start_at(args, 3)?;
            (start, end_at(args, 2)?)
        }
    };
    let count = count_option(args, 4)?;
    let caller = ctx.caller;
    let Some(stream) = read_stream(ctx, &args[1])? else {
        reply.array(0);
        return Ok(Outcome::Replied);
    };
    let count = match count {
        Some(count) if count <= 0 => {
            reply.null_array();
            return Ok(Outcome::Replied);
        }
        Some(count) => usize::try_from(count).unwrap_or(usize::MAX),
        None => usize::MAX,
    };
    let wide = Wide { start, end, count };
    caller.check_work(match direction {
        Direction::Forward => wide.work(stream, 1),
        Direction::Backward => wide.work_backward(stream),
    })?;
    match direction {
        Direction::Forward => write_range(reply, stream.range(start, end), count),
        Direction::Backward => write_entries(reply, stream.range_backward(start, end).take(count)),
    }
    Ok(Outcome::Replied)
}

/// `[COUNT count]…` from `index` to the end.
fn count_option(args: Args<'_>, mut index: usize) -> Result<Option<i64>, Error> {
    let mut count = None;
    while index < args.len() {
        if !is(&args[index], "COUNT") || index + 1 >= args.len() {
            return Err(Error::Syntax);
        }
        count = Some(integer_at(args, index + 1)?);
        index += 2;
    }
    Ok(count)
}
