//! GETRANGE, and its older name SUBSTR.

use std::ops::Range;

use super::*;

pub(super) const GETRANGE: Command<Run> = row(
    Spec {
        name: "getrange",
        arity: 4,
        flags: Flags::READONLY,
        keys: Keys::at(1),
        acl: Categories::STRING,
        group: Group::String,
        since: "2.4.0",
        complexity: "O(N) for an answer of N bytes",
        summary: "Answers a part of the string under a key; negative offsets count from its end.",
        syntax: "key start end",
        reply: &[ReplyShape::Bulk],
        tips: &[],
        ..Spec::PLAIN
    },
    getrange,
);

pub(super) const SUBSTR: Command<Run> =
    row(Spec { name: "substr", since: "1.0.0", ..GETRANGE.spec }, getrange);

fn getrange(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let (start, end) = (integer_at(args, 2)?, integer_at(args, 3)?);
    let caller = ctx.caller;
    match ctx.read(&args[1]) {
        Some(value) => {
            let text = value.text().ok_or(Error::WrongType)?;
            let part = part(text.len(), start, end).unwrap_or(0..0);
            caller.check_copy(part.len())?;
            reply.bulk_pieces(part.len(), text.pieces(part));
        }
        None => reply.bulk(b""),
    }
    Ok(Outcome::Replied)
}

/// Where `start` to `end`, both included, are in `len` bytes (or bits); `None`: nowhere.
pub(super) fn part(len: usize, start: i64, end: i64) -> Option<Range<usize>> {
    // Both before the start and the wrong way round: nothing, although both would be cut to 0.
    if start < 0 && end < 0 && start > end {
        return None;
    }
    // At most 2^32 bits.
    let len = len as i64;
    let offset = |at: i64| if at < 0 { at.saturating_add(len).max(0) } else { at };
    let (start, end) = (offset(start), offset(end).min(len - 1));
    (start <= end).then(|| start as usize..end as usize + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_included_and_negative_offsets_count_from_the_end() {
        let cases: &[(&[u8], i64, i64, &[u8])] = &[
            (b"hello", 0, -1, b"hello"),
            (b"hello", 1, 3, b"ell"),
            (b"hello", -3, -2, b"ll"),
            (b"hello", -1, -2, b""),
            (b"hello", 3, 1, b""),
            (b"hello", 4, 99, b"o"),
            (b"hello", 5, 99, b""),
            (b"hello", -99, -98, b"h"),
            (b"hello", -98, -99, b""),
            (b"hello", i64::MIN, i64::MAX, b"hello"),
            (b"hello", i64::MAX, i64::MAX, b""),
            (b"", 0, 0, b""),
            (b"", 0, -1, b""),
        ];
        for &(text, start, end, expected) in cases {
            let part = part(text.len(), start, end).map_or(&b""[..], |part| &text[part]);
            assert_eq!(part, expected, "{start} {end}");
        }
    }
}
