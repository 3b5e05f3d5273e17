//! Entry IDs: `ms-seq`, two `u64` compared in that order.
//!
//! Text forms a client may send: `5`, `5-3`; `-` and `+` for the ends of a range; `(` in front of an exclusive bound;
//! `5-*` and `*` in XADD. The words with a meaning of their own (`$`, `>`, `*`) belong to the commands that know them.
//!
//! Source: the number grammar is Redis's, which is C's `strtoull` behind a fast path: leading zeros, white space and a
//! plus sign are accepted, and text ends at a NUL byte.

use std::fmt;

/// Identifies an entry of a stream.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EntryId {
    /// Usually Unix time in milliseconds.
    pub ms: u64,
    /// Counts the entries of one millisecond.
    pub seq: u64,
}

/// What XADD was asked to name the new entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdRequest {
    /// `*`: the clock, or one above the last ID.
    Auto,
    /// `ms-*`: the lowest free sequence in that millisecond.
    AutoSeq(u64),
    /// Exactly this ID.
    Exact(EntryId),
}

/// Longest text that is looked at; anything longer is no ID.
const TEXT_BYTES_MAX: usize = 127;
/// Two 20-digit numbers and the dash.
pub(crate) const ID_TEXT_MAX: usize = 41;

impl EntryId {
    /// `0-0`, below every entry.
    pub const MIN: EntryId = EntryId { ms: 0, seq: 0 };
    /// The highest ID there can be.
    pub const MAX: EntryId = EntryId { ms: u64::MAX, seq: u64::MAX };

    /// `ms-seq`.
    pub const fn new(ms: u64, seq: u64) -> EntryId {
        EntryId { ms, seq }
    }

    /// The next higher ID; `None` after [`EntryId::MAX`].
    pub fn next(self) -> Option<EntryId> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(EntryId { ms: self.ms, seq }),
            None => Some(EntryId { ms: self.ms.checked_add(1)?, seq: 0 }),
        }
    }

    /// The next lower ID; `None` before [`EntryId::MIN`].
    pub fn prev(self) -> Option<EntryId> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(EntryId { ms: self.ms, seq }),
            None => Some(EntryId { ms: self.ms.checked_sub(1)?, seq: u64::MAX }),
        }
    }

    /// Reads `ms` or `ms-seq`, without the ends `-` and `+`; a missing sequence is `missing_seq`.
    pub fn parse_strict(text: &[u8], missing_seq: u64) -> Option<EntryId> {
        let text = c_string(text)?;
        match memchr_dash(text) {
            None => Some(EntryId { ms: parse_u64(text)?, seq: missing_seq }),
            Some(dash) => Some(EntryId { ms: parse_u64(&text[..dash])?, seq: parse_u64(&text[dash + 1..])? }),
        }
    }

    /// Reads an ID as [`EntryId::parse_strict`] does, and `-` and `+` as the lowest and the highest.
    pub fn parse(text: &[u8], missing_seq: u64) -> Option<EntryId> {
        match text {
            b"-" => Some(EntryId::MIN),
            b"+" => Some(EntryId::MAX),
            _ => EntryId::parse_strict(text, missing_seq),
        }
    }

    /// Writes the text form into `buf` and returns it.
    pub fn format(self, buf: &mut [u8; ID_TEXT_MAX]) -> &[u8] {
        let mut number = itoa::Buffer::new();
        let ms = number.format(self.ms).as_bytes();
        let dash = ms.len();
        buf[..dash].copy_from_slice(ms);
        buf[dash] = b'-';
        let seq = number.format(self.seq).as_bytes();
        let end = dash + 1 + seq.len();
        buf[dash + 1..end].copy_from_slice(seq);
        &buf[..end]
    }
}

impl IdRequest {
    /// Reads XADD's ID argument.
    pub fn parse(text: &[u8]) -> Option<IdRequest> {
        if text == b"*" {
            return Some(IdRequest::Auto);
        }
        if let Some(ms) = text.strip_suffix(b"-*")
            && let Some(ms) = c_string(ms)
            && ms.len() + 2 == text.len()
        {
            return Some(IdRequest::AutoSeq(parse_u64(ms)?));
        }
        Some(IdRequest::Exact(EntryId::parse_strict(text, 0)?))
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

impl fmt::Debug for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text up to its first NUL, if it is short enough.
fn c_string(text: &[u8]) -> Option<&[u8]> {
    if text.is_empty() || text.len() > TEXT_BYTES_MAX {
        return None;
    }
    Some(text.split(|&byte| byte == 0).next().unwrap_or(text))
}

fn memchr_dash(text: &[u8]) -> Option<usize> {
    text.iter().position(|&byte| byte == b'-')
}

/// A `u64` as `strtoull` reads it, with nothing left over.
fn parse_u64(text: &[u8]) -> Option<u64> {
    let blank = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t'..=b'\r')).count();
    let (negative, digits) = match &text[blank..] {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value = 0u64;
    for &byte in digits {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?;
    }
    // Redis refuses a canonical negative number before C's grammar, which would wrap it around, gets to see it.
    let canonical = blank == 0 && digits[0] != b'0' && i64::try_from(value).is_ok();
    match negative {
        true if canonical => None,
        true => Some(value.wrapping_neg()),
        false => Some(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_as_redis_reads_it() {
        let id = |ms, seq| Some(EntryId::new(ms, seq));
        let cases: &[(&[u8], Option<EntryId>)] = &[
            (b"5", id(5, 7)),
            (b"5-3", id(5, 3)),
            (b"0-0", id(0, 0)),
            (b"007-01", id(7, 1)),
            (b"+5-+3", id(5, 3)),
            (b" 5", id(5, 7)),
            (b"18446744073709551615-18446744073709551615", Some(EntryId::MAX)),
            (b"18446744073709551616", None),
            (b"5\0junk", id(5, 7)),
            (b"", None),
            (b"-", Some(EntryId::MIN)),
            (b"+", Some(EntryId::MAX)),
            (b"5-", None),
            (b"-5", None),
            (b"5--3", None),
            (b"5--0", id(5, 0)),
            (b"5-3-1", None),
            (b"abc", None),
            (b"$", None),
            (&[b'1'; 128], None),
        ];
        for (text, expected) in cases {
            assert_eq!(EntryId::parse(text, 7), *expected, "{:?}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn xadd_takes_partial_ids() {
        assert_eq!(IdRequest::parse(b"*"), Some(IdRequest::Auto));
        assert_eq!(IdRequest::parse(b"12-*"), Some(IdRequest::AutoSeq(12)));
        assert_eq!(IdRequest::parse(b"12"), Some(IdRequest::Exact(EntryId::new(12, 0))));
        assert_eq!(IdRequest::parse(b"x-*"), None);
        assert_eq!(IdRequest::parse(b"-"), None);
        assert_eq!(IdRequest::parse(b"12-**"), None);
    }

    #[test]
    fn neighbours_cross_milliseconds() {
        assert_eq!(EntryId::new(1, u64::MAX).next(), Some(EntryId::new(2, 0)));
        assert_eq!(EntryId::new(2, 0).prev(), Some(EntryId::new(1, u64::MAX)));
        assert_eq!(EntryId::MAX.next(), None);
        assert_eq!(EntryId::MIN.prev(), None);
    }

    #[test]
    fn formatting_is_the_inverse_of_parsing() {
        for id in [EntryId::MIN, EntryId::MAX, EntryId::new(1_526_919_030_474, 55)] {
            let mut buf = [0; ID_TEXT_MAX];
            assert_eq!(EntryId::parse(id.format(&mut buf), 0), Some(id));
        }
    }
}
