//! GETRANGE, and its older name SUBSTR.

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
    match ctx.read(&args[1]) {
        Some(value) => reply.bulk(part(&value.text().ok_or(Error::WrongType)?, start, end)),
        None => reply.bulk(b""),
    }
    Ok(Outcome::Replied)
}

/// The bytes from `start` to `end`, both included.
fn part(text: &[u8], start: i64, end: i64) -> &[u8] {
    // Both before the start of the string and the wrong way round: nothing, although both would be cut to 0.
    if start < 0 && end < 0 && start > end {
        return b"";
    }
    let len = text.len() as i64;
    let offset = |at: i64| if at < 0 { at.saturating_add(len).max(0) } else { at };
    let (start, end) = (offset(start) as usize, offset(end).min(len - 1));
    usize::try_from(end).ok().and_then(|end| text.get(start..=end)).unwrap_or(b"")
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
            assert_eq!(part(text, start, end), expected, "{start} {end}");
        }
    }
}
