//! XREAD, and the options it shares with XREADGROUP.

use super::blocked::{self, Reading};
use super::*;

pub(in crate::command) const XREAD: Command<Run> = row(
    Spec {
        name: "xread",
        arity: -4,
        flags: Flags::READONLY.union(Flags::BLOCKING).union(Flags::MOVABLE_KEYS),
        keys: Keys::AfterStreams { from: 1 },
        complexity: "O(log N + M) a stream, for M entries answered of N",
        summary: "Reads the entries above an ID from one or several streams, or waits for some.",
        syntax: "[COUNT count] [MAXCOUNT maxcount] [MAXSIZE maxsize] [BLOCK milliseconds] \
                 STREAMS key [key ...] id [id ...]",
        reply: &[ReplyShape::Map, ReplyShape::Null],
        ..SPEC
    },
    xread,
);

/// The options of XREAD and XREADGROUP.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadOptions<'a> {
    pub(super) limits: Limits,
    /// How long to wait, in milliseconds; 0: for ever; `None`: not at all.
    pub(super) block_ms: Option<u64>,
    /// Group and consumer.
    pub(super) group: Option<(&'a [u8], &'a [u8])>,
    pub(super) noack: bool,
    /// Claim what has been idle for as long, in milliseconds.
    pub(super) claim_ms: Option<u64>,
    streams_at: usize,
    /// How many streams there are.
    pub(super) streams: usize,
}

/// How much one reply may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// Entries of one stream (COUNT).
    pub(super) count: u64,
    /// Entries of all (MAXCOUNT).
    pub(super) max_count: u64,
    /// Bytes of the reply after which no entry follows (MAXSIZE): the last one goes beyond them, however long it is.
    pub(super) max_bytes: Option<usize>,
}

/// How much of the limits is left while a reply is written.
#[derive(Debug)]
pub(super) struct Budget {
    limits: Limits,
    /// Where in the buffer the first stream begins: Redis counts a header once the array is complete, the first never.
    start: usize,
    written: u64,
}

/// What a deferred header takes while its array is written.
const OPEN_HEADER_BYTES: usize = b"*0\r\n".len();

impl Budget {
    /// A budget for a reply whose header has been written.
    pub(super) fn new(limits: Limits, reply: &Reply<'_>) -> Budget {
        Budget { limits, start: reply.out.len(), written: 0 }
    }

    /// Whether nothing more may follow the streams that were written.
    pub(super) fn is_spent(&self, reply: &Reply<'_>) -> bool {
        self.written >= self.limits.max_count || self.is_long_enough(reply.out.len() - self.start)
    }

    fn is_long_enough(&self, bytes: usize) -> bool {
        self.written > 0 && self.limits.max_bytes.is_some_and(|max| bytes >= max)
    }

    /// How many entries of the next stream fit at most.
    pub(super) fn entries(&self) -> usize {
        let left = self.limits.max_count.saturating_sub(self.written);
        usize::try_from(left.min(self.limits.count)).unwrap_or(usize::MAX)
    }

    /// Lets `write` write an entry into the array that is being written; `false` if the reply is long enough.
    #[inline]
    pub(super) fn write(&mut self, reply: &mut Reply<'_>, write: impl FnOnce(&mut Reply<'_>)) -> bool {
        if self.is_long_enough(reply.out.len() - self.start - OPEN_HEADER_BYTES) {
            return false;
        }
        write(reply);
        self.written += 1;
        true
    }
}

impl<'a> ReadOptions<'a> {
    pub(super) fn read(args: Args<'a>, with_group: bool, now_ms: u64) -> Result<ReadOptions<'a>, Error> {
        let mut options = ReadOptions {
            limits: Limits { count: u64::MAX, max_count: u64::MAX, max_bytes: None },
            block_ms: None,
            group: None,
            noack: false,
            claim_ms: None,
            streams_at: 0,
            streams: 0,
        };
        let mut index = 1;
        while options.streams_at == 0 {
            if index >= args.len() {
                return Err(Error::Syntax);
            }
            index = options.read_one(args, index, with_group, now_ms)?;
        }
        let Limits { count, max_count, .. } = options.limits;
        if count != u64::MAX && count > max_count {
            return Err(StreamError::MaxCountTooSmall.into());
        }
        if with_group && options.group.is_none() {
            return Err(StreamError::GroupMissing.into());
        }
        Ok(options)
    }

    /// Reads the option at `index`; returns the index behind it.
    fn read_one(
        &mut self,
        args: Args<'a>,
        index: usize,
        with_group: bool,
        now_ms: u64,
    ) -> Result<usize, Error> {
        let option = &args[index];
        let values = args.len() - index - 1;
        if values >= 1 && is(option, "BLOCK") {
            self.block_ms = Some(timeout_ms(&args[index + 1], now_ms)?);
        } else if values >= 1 && is(option, "COUNT") {
            // No count, and one that is negative, are all there are.
            let count = u64::try_from(integer_at(args, index + 1)?).unwrap_or(0);
            self.limits.count = if count == 0 { u64::MAX } else { count };
        } else if values >= 1 && is(option, "MAXCOUNT") {
            self.limits.max_count = positive(args, index + 1, "MAXCOUNT")?;
        } else if values >= 1 && is(option, "MAXSIZE") {
            let bytes = positive(args, index + 1, "MAXSIZE")?;
            self.limits.max_bytes = Some(usize::try_from(bytes).unwrap_or(usize::MAX));
        } else if values >= 1 && is(option, "STREAMS") {
            if !values.is_multiple_of(2) {
                return Err(StreamError::Unbalanced { group: with_group }.into());
            }
            (self.streams_at, self.streams) = (index + 1, values / 2);
        } else if values >= 2 && is(option, "GROUP") {
            if !with_group {
                return Err(StreamError::GroupInXread.into());
            }
            self.group = Some((text_at(args, index + 1), text_at(args, index + 2)));
            return Ok(index + 3);
        } else if is(option, "NOACK") {
            if !with_group {
                return Err(StreamError::NoackInXread.into());
            }
            self.noack = true;
            return Ok(index + 1);
        } else if values >= 1 && is(option, "CLAIM") {
            if !with_group {
                return Err(StreamError::ClaimInXread.into());
            }
            let idle_ms = integer(&args[index + 1]).ok_or(StreamError::MinIdle)?;
            self.claim_ms = Some(u64::try_from(idle_ms).map_err(|_| StreamError::MinIdleNegative)?);
        } else {
            return Err(Error::Syntax);
        }
        Ok(index + 2)
    }

    /// Key and ID of the stream at `place`.
    pub(super) fn stream(&self, args: Args<'a>, place: usize) -> (&'a [u8], &'a [u8]) {
        let key_at = self.streams_at + place;
        (text_at(args, key_at), text_at(args, key_at + self.streams))
    }
}

fn positive(args: Args<'_>, index: usize, option: &'static str) -> Result<u64, Error> {
    let number = u64::try_from(integer_at(args, index)?).ok().filter(|&number| number > 0);
    Ok(number.ok_or(StreamError::NotPositive { option })?)
}

fn timeout_ms(text: &[u8], now_ms: u64) -> Result<u64, Error> {
    let timeout = integer(text).ok_or(StreamError::Timeout)?;
    let timeout = u64::try_from(timeout).map_err(|_| StreamError::TimeoutNegative)?;
    // When it is over is a signed number in Redis.
    match timeout.saturating_add(now_ms) > i64::MAX as u64 && timeout > 0 {
        true => Err(Error::TimeoutOutOfRange),
        false => Ok(timeout),
    }
}

/// Writes the header of a reply for several streams after the fact: `served` of them follow `start`.
pub(super) fn finish_streams(reply: &mut Reply<'_>, start: usize, expected: usize, served: usize) {
    if served == expected {
        return;
    }
    let mut header = Vec::new();
    write_streams_header(&mut Reply::new(&mut header, reply.proto), served);
    let mut before = Vec::new();
    write_streams_header(&mut Reply::new(&mut before, reply.proto), expected);
    reply.out.splice(start..start + before.len(), header);
}

pub(super) fn write_streams_header(reply: &mut Reply<'_>, streams: usize) {
    match reply.proto {
        sterna_protocol::Proto::Resp2 => reply.array(streams),
        sterna_protocol::Proto::Resp3 => reply.map(streams),
    }
}

pub(super) fn write_stream_key(reply: &mut Reply<'_>, key: &[u8]) {
    if reply.proto == sterna_protocol::Proto::Resp2 {
        reply.array(2);
    }
    reply.bulk(key);
}

/// Writes a stream's entries above `after`; nothing, with `false`, if there are none or none fits.
pub(super) fn write_after(
    reply: &mut Reply<'_>,
    key: &[u8],
    stream: &Stream,
    after: EntryId,
    budget: &mut Budget,
) -> bool {
    let most = budget.entries();
    let Some(start) = after.next().filter(|_| most > 0) else { return false };
    let before = reply.out.len();
    write_stream_key(reply, key);
    let header = reply.array_deferred();
    let mut writer = EntryWriter::default();
    let mut count = 0;
    stream.range(start, EntryId::MAX).visit(|entry| {
        let written = budget.write(reply, |reply| writer.write(reply, entry));
        count += usize::from(written);
        written && count < most
    });
    if count == 0 {
        reply.out.truncate(before);
        return false;
    }
    reply.array_finish(header, count);
    true
}

/// The ID above which to read: `$` is the last there was, `+` leaves the last entry only.
fn after(stream: Option<&Stream>, id: &[u8]) -> Result<EntryId, Error> {
    match id {
        b"$" => Ok(stream.map_or(EntryId::MIN, Stream::last_id)),
        b"+" => {
            let last = stream.and_then(Stream::last_entry).and_then(|entry| entry.id.prev());
            Ok(last.unwrap_or_else(|| stream.map_or(EntryId::MIN, Stream::last_id)))
        }
        b">" => Err(StreamError::NewIdInXread.into()),
        id => Ok(EntryId::parse_strict(id, 0).ok_or(StreamError::InvalidId)?),
    }
}

/// How much work it is to read so much of a stream above an ID, which is one of so many that are read; nothing where there is
/// nothing: then the command may have to wait.
pub(super) fn work_above(stream: &Stream, after: EntryId, limits: Limits, of: usize) -> usize {
    let count = limits.count.min(limits.max_count);
    let wide = Wide::above(after, usize::try_from(count).unwrap_or(usize::MAX));
    let work = wide.work(stream, of);
    let is_there = work > 0 && stream.range(wide.start, wide.end).next().is_some();
    if !is_there {
        return 0;
    }
    // Beyond so many bytes no entry follows.
    let bytes = limits.max_bytes.map_or(usize::MAX, |bytes| 1 + bytes / 16);
    work.min(bytes)
}

fn xread(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let options = ReadOptions::read(args, false, ctx.now_ms)?;
    check_work(ctx, args, &options)?;
    let start = reply.out.len();
    write_streams_header(reply, options.streams);
    let mut budget = Budget::new(options.limits, reply);
    let mut positions = Ids::new();
    let mut served = 0;
    for place in 0..options.streams {
        match read_one(ctx, reply, options.stream(args, place), &mut budget) {
            Ok((after, written)) => {
                positions.push(after);
                served += usize::from(written);
            }
            Err(error) => {
                reply.out.truncate(start);
                return Err(error);
            }
        }
    }
    // As in Redis, a stream is counted when its last ID is looked for, and when it is read.
    for place in 0..options.streams {
        let _ = ctx.inspect(options.stream(args, place).0);
    }
    if served > 0 {
        finish_streams(reply, start, options.streams, served);
        return Ok(Outcome::Replied);
    }
    reply.out.truncate(start);
    let Some(block_ms) = options.block_ms.filter(|_| ctx.caller.may_block) else {
        reply.null_array();
        return Ok(Outcome::Replied);
    };
    let keys = (0..options.streams).map(|place| options.stream(args, place).0);
    let positions = keys.map(Into::into).zip(positions).collect();
    let reading = Reading { positions, limits: options.limits };
    Ok(blocked::wait(ctx, reading.keys(), block_ms, Box::new(reading)))
}

/// Refuses a reading that is long. The streams, or copies of them, are read once more in any case, so nothing is counted here.
fn check_work(ctx: &mut Ctx<'_>, args: Args<'_>, options: &ReadOptions<'_>) -> Result<(), Error> {
    let mut work = 0;
    for place in 0..options.streams {
        let (key, id) = options.stream(args, place);
        let stream = ctx.again(key).and_then(ValueRef::stream);
        if let (Some(stream), Some(after)) = (stream, EntryId::parse_strict(id, 0)) {
            work += work_above(stream, after, options.limits, options.streams);
        }
        if work >= APART_MIN {
            break;
        }
    }
    ctx.caller.check_work(work)
}

/// Reads one stream: above which ID, and whether there was anything.
fn read_one(
    ctx: &mut Ctx<'_>,
    reply: &mut Reply<'_>,
    (key, id): (&[u8], &[u8]),
    budget: &mut Budget,
) -> Result<(EntryId, bool), Error> {
    let stream = read_stream(ctx, key)?;
    let after = after(stream, id)?;
    let only_last = id == b"+";
    let written = stream.filter(|_| !budget.is_spent(reply)).is_some_and(|stream| {
        // Of an empty stream `+` waits for the first entry, as `$` does.
        (!only_last || !stream.is_empty()) && write_after(reply, key, stream, after, budget)
    });
    Ok((after, written))
}
