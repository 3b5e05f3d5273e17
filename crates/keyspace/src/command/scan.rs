//! SCAN: the keyspace a few keys at a time.
//!
//! ```text
//! cursor   [ partition │ position: 40 bits ]      0: the start, and in a reply the end
//! ```
//!
//! Partitions are walked one after another, each in order of position (see `table.rs`). Redis promises that a key that
//! is there during the whole walk is returned at least once; here it is exactly once.

use super::*;
use crate::bytes::Bytes;
use crate::hash::{PARTITIONS_MAX, POSITION_BITS, POSITIONS};
use crate::stride::Stride;

const _: () =
    assert!((PARTITIONS_MAX as u64) << POSITION_BITS <= 1 << 53, "a client may keep the cursor in a double");

pub(super) const SCAN: Command<Run> = row(
    Spec {
        name: "scan",
        arity: -2,
        flags: Flags::READONLY.union(Flags::ALL_KEYS),
        keys: Keys::None,
        acl: Categories::KEYSPACE,
        group: Group::Generic,
        since: "2.8.0",
        complexity: "O(COUNT) for a call, O(N) for a whole walk over N keys",
        summary: "Answers some keys and a cursor from which the next call goes on; the walk ends at cursor 0.",
        syntax: "cursor [MATCH pattern] [COUNT count] [TYPE type]",
        reply: &[ReplyShape::Array],
        tips: &["nondeterministic_output", "request_policy:special", "response_policy:special"],
        ..Spec::PLAIN
    },
    scan,
);

/// Keys that one call looks at, whatever it asks for: COUNT is a wish, and nobody is to wait for a million of them.
pub(super) const COUNT_MAX: usize = 10_000;

/// Bytes of names, or of elements, after which a call ends, whatever it asks for: some milliseconds at most. See `stride.rs`.
pub const SCAN_BYTES: usize = 2 << 20;

#[derive(Debug)]
struct Options<'a> {
    pattern: Option<&'a [u8]>,
    /// How many keys to look at.
    count: usize,
    type_name: Option<&'a [u8]>,
}

fn scan(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let cursor = parse_cursor(&args[1]).ok_or(Error::InvalidCursor)?;
    let options = Options::parse(args)?;
    let mut names: Vec<&[u8]> = Vec::new();
    let mut due: Vec<Bytes> = Vec::new();
    let mut stride = Stride::of_keys(options.count, SCAN_BYTES, options.pattern);
    let next = walk(&ctx.space, ctx.db, cursor, &mut stride, |stride, record| {
        if record.is_expired(ctx.now_ms) {
            due.push(record.key().into());
        } else if stride.wants(record.key()) && options.wants_type(record) {
            names.push(record.key());
        }
    });
    reply.array(2);
    reply.bulk(itoa::Buffer::new().format(next).as_bytes());
    reply.array(names.len());
    names.iter().for_each(|name| reply.bulk(name));
    // Looking a key up removes it if it is due.
    for key in &due {
        ctx.peek(key);
    }
    Ok(Outcome::Replied)
}

/// Visits records from the cursor on until the stride is over; returns the next cursor.
fn walk<'a>(
    space: &'a Space<'_>,
    db: usize,
    cursor: u64,
    stride: &mut Stride<'_>,
    mut visit: impl FnMut(&mut Stride<'_>, Record<'a>),
) -> u64 {
    let (first, mut position) = (cursor >> POSITION_BITS, cursor % POSITIONS);
    // A cursor past the last partition was not given by us: nothing is behind it.
    for (index, part) in (0..).zip(space.partitions()).skip(usize::try_from(first).unwrap_or(usize::MAX)) {
        if stride.is_over() {
            return index << POSITION_BITS;
        }
        if let Some(next) = part.scan(db, position, stride, &mut visit) {
            return index << POSITION_BITS | next;
        }
        position = 0;
    }
    0
}

/// Blanks, a sign and zeros in front are taken, as clients may have formatted it; a negative one counts down from 2^64, unless it
/// is written in its shortest form.
///
/// Source: Redis's `string2ull`, which asks `strtoull` about what is no integer in canonical form.
pub(super) fn parse_cursor(text: &[u8]) -> Option<u64> {
    if let Some(number) = integer(text) {
        return u64::try_from(number).ok();
    }
    let is_blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
    let unsigned = &text[text.iter().take_while(|byte| is_blank(byte)).count()..];
    let (is_negative, digits) = match unsigned {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if !digits.first()?.is_ascii_digit() {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(if is_negative { number.wrapping_neg() } else { number })
}

impl<'a> Options<'a> {
    fn parse(args: Args<'a>) -> Result<Options<'a>, Error> {
        let mut options = Options { pattern: None, count: 10, type_name: None };
        let mut at = 2;
        while let Some(word) = args.get(at) {
            let argument = args.get(at + 1);
            match argument {
                Some(argument) if is(word, "count") => {
                    let count = integer(argument).ok_or(Error::NotInteger)?;
                    let count =
                        usize::try_from(count).ok().filter(|&count| count > 0).ok_or(Error::Syntax)?;
                    options.count = count.min(COUNT_MAX);
                }
                Some(argument) if is(word, "match") => options.pattern = Some(argument),
                Some(argument) if is(word, "type") => options.type_name = Some(argument),
                _ if is(word, "novalues") => return Err(Error::NoValuesOutsideHscan),
                _ => return Err(Error::Syntax),
            }
            at += 2;
        }
        Ok(options)
    }

    fn wants_type(&self, record: Record<'_>) -> bool {
        self.type_name.is_none_or(|name| is(name, record.value().type_name()))
    }
}
