//! Where the keys are in a request: the one reader of [`Keys`], for locking, ACL checks and COMMAND GETKEYS.

use crate::Keys;

/// Indices of a request's keys, in order. Empty if there is none, or if the request is not well formed: the command
/// itself then refuses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Positions {
    /// One that comes before the others.
    before: Option<usize>,
    next: usize,
    left: usize,
    step: usize,
}

const NO_KEYS: Positions = Positions { before: None, next: 0, left: 0, step: 1 };

impl Keys {
    /// The indices of the keys among `len` arguments (the name is argument 0), each of which `argument` returns.
    #[inline]
    pub fn positions<'a>(self, len: usize, argument: impl Fn(usize) -> Option<&'a [u8]>) -> Positions {
        match self {
            Keys::None => NO_KEYS,
            Keys::Range { first, last, step } => range(len, first, last, step),
            Keys::AfterStreams { .. } => after_streams(len, argument),
            Keys::Counted { count_at } => counted(len, count_at, 1, argument),
            Keys::CountedPairs { count_at } => counted(len, count_at, 2, argument),
            Keys::OneAndCounted { first, count_at } => {
                let first = first.max(0) as usize;
                match counted(len, count_at, 1, argument) {
                    // The command refuses a request without any.
                    Positions { left: 0, .. } => NO_KEYS,
                    counted => Positions { before: Some(first), ..counted },
                }
            }
            Keys::OneAndAfterWord { first, words, from } => {
                let first = first.max(0) as usize;
                Positions { before: (first < len).then_some(first), ..after_word(len, words, from, argument) }
            }
        }
    }
}

#[inline]
fn range(len: usize, first: i16, last: i16, step: i16) -> Positions {
    let (first, step) = (first.max(0) as usize, step.max(1) as usize);
    let last =
        if last >= 0 { Some(last as usize) } else { len.checked_sub(usize::from(last.unsigned_abs())) };
    match last {
        Some(last) if first <= last && last < len => {
            Positions { before: None, next: first, left: (last - first) / step + 1, step }
        }
        _ => NO_KEYS,
    }
}

/// Skips the options before `STREAMS` by their lengths: a group or a consumer may be called "streams", too.
fn after_streams<'a>(len: usize, argument: impl Fn(usize) -> Option<&'a [u8]>) -> Positions {
    let mut at = 1;
    while let Some(word) = argument(at) {
        let is = |option: &str| word.eq_ignore_ascii_case(option.as_bytes());
        if is("streams") {
            let rest = len.saturating_sub(at + 1);
            // As many IDs as keys.
            return if rest.is_multiple_of(2) {
                Positions { before: None, next: at + 1, left: rest / 2, step: 1 }
            } else {
                NO_KEYS
            };
        }
        at += match word {
            _ if is("noack") => 1,
            _ if is("group") => 3,
            _ if ["block", "count", "claim", "maxcount", "maxsize"].into_iter().any(is) => 2,
            _ => return NO_KEYS,
        };
    }
    NO_KEYS
}

fn counted<'a>(
    len: usize,
    count_at: i16,
    step: usize,
    argument: impl Fn(usize) -> Option<&'a [u8]>,
) -> Positions {
    let count_at = count_at.max(0) as usize;
    let count = argument(count_at)
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .and_then(|digits| digits.parse::<usize>().ok());
    let first = count_at + 1;
    match count {
        Some(count) if first < len && count <= (len - first) / step => {
            Positions { before: None, next: first, left: count, step }
        }
        _ => NO_KEYS,
    }
}

/// The last counts: so does it for the commands themselves.
fn after_word<'a>(
    len: usize,
    words: &[&str],
    from: i16,
    argument: impl Fn(usize) -> Option<&'a [u8]>,
) -> Positions {
    let is_word = |at: &usize| {
        argument(*at).is_some_and(|arg| words.iter().any(|word| arg.eq_ignore_ascii_case(word.as_bytes())))
    };
    let at = (from.max(0) as usize..len.saturating_sub(1)).rev().find(is_word);
    at.map_or(NO_KEYS, |at| Positions { before: None, next: at + 1, left: 1, step: 1 })
}

impl Iterator for Positions {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if let Some(before) = self.before.take() {
            return Some(before);
        }
        self.left = self.left.checked_sub(1)?;
        let at = self.next;
        self.next += self.step;
        Some(at)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.left + usize::from(self.before.is_some());
        (left, Some(left))
    }
}

impl ExactSizeIterator for Positions {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_where_the_row_says() {
        let mset = Keys::Range { first: 1, last: -1, step: 2 };
        let both = Keys::Range { first: 1, last: 2, step: 1 };
        let counted = Keys::Counted { count_at: 1 };
        let pairs = Keys::CountedPairs { count_at: 1 };
        let stored = Keys::OneAndCounted { first: 1, count_at: 2 };
        let sort = Keys::OneAndAfterWord { first: 1, words: &["STORE"], from: 2 };
        let cases: &[(Keys, &str, &[usize])] = &[
            (Keys::None, "ping a", &[]),
            (Keys::at(1), "get a", &[1]),
            (Keys::at(1), "get", &[]),
            (Keys::at(2), "object encoding", &[]),
            (Keys::from(1), "del a b c", &[1, 2, 3]),
            (Keys::from(1), "del", &[]),
            (mset, "mset a 1 b 2", &[1, 3]),
            (mset, "mset a 1 b", &[1, 3]),
            (both, "rename a b", &[1, 2]),
            (pairs, "msetex 2 a 1 b 2 nx", &[2, 4]),
            (pairs, "msetex 2 a 1 b", &[]),
            (pairs, "msetex x a 1", &[]),
            (both, "rename a", &[]),
            (Keys::AfterStreams { from: 1 }, "xread streams a b 0 0", &[2, 3]),
            (Keys::AfterStreams { from: 1 }, "xread COUNT 2 block 0 STREAMS a 0", &[6]),
            (Keys::AfterStreams { from: 1 }, "xreadgroup group streams streams noack streams a >", &[6]),
            (Keys::AfterStreams { from: 1 }, "xread streams a b 0", &[]),
            (Keys::AfterStreams { from: 1 }, "xread count", &[]),
            (Keys::AfterStreams { from: 1 }, "xread wrong streams a 0", &[]),
            (counted, "msetex 2 a 1 b", &[2, 3]),
            (stored, "zunionstore d 2 a b weights 1 2", &[1, 3, 4]),
            (stored, "zunionstore d 3 a b", &[]),
            (stored, "zunionstore d", &[]),
            (stored, "zunionstore d 0 a", &[]),
            (sort, "sort a", &[1]),
            (sort, "sort a store b", &[1, 3]),
            (sort, "sort a by store STORE c store d", &[1, 7]),
            (sort, "sort a store", &[1]),
            (counted, "x 0", &[]),
            (counted, "x 3 a b", &[]),
            (counted, "x -1 a b", &[]),
            (counted, "x 99999999999999999999 a", &[]),
        ];
        for &(keys, request, expected) in cases {
            let words: Vec<&[u8]> = request.split(' ').map(str::as_bytes).collect();
            let found: Vec<usize> = keys.positions(words.len(), |at| words.get(at).copied()).collect();
            assert_eq!(found, expected, "{request}");
        }
    }
}
