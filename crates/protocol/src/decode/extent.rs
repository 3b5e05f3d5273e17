//! How far a reply reaches that comes piece by piece.
//!
//! ```text
//!   *2\r\n:1\r\n*3\r\n:7\r\n      ▲ at        open: 1 of the root ─► 0, 2 of `*2` ─► 0, 3 of `*3` ─► 2
//! ```
//!
//! Invariant: what lies before `at` is whole elements and heads of aggregates, and `open` says how many elements each of these
//! has yet to have, the outermost first.
//!
//! Cost: each byte is looked at once, those of strings not at all.

use super::{DecodeError, Fault, NESTING_MAX, length};

/// The shortest element, `_\r\n`.
const ELEMENT_BYTES_MIN: usize = 3;

/// See the module.
#[derive(Debug)]
pub struct Extent {
    at: usize,
    open: Vec<usize>,
    /// The line at `at` does not end before that.
    searched: usize,
    /// The string at `at` ends there.
    string_end: usize,
}

impl Default for Extent {
    fn default() -> Extent {
        Extent { at: 0, open: vec![1], searched: 0, string_end: 0 }
    }
}

impl Extent {
    /// Goes on in `buf`, which begins with the reply and may have grown since. Returns its length once all of it is there.
    ///
    /// What is in the lines of the elements is not looked at, but for their lengths.
    pub fn advance(&mut self, buf: &[u8]) -> Result<Option<usize>, DecodeError> {
        while !self.open.is_empty() {
            let fail = |fault| DecodeError { at: self.at, fault };
            let from = self.searched.max(self.at);
            let Some(cr) = memchr::memchr(b'\r', &buf[from..]).map(|cr| from + cr) else {
                self.searched = buf.len();
                return Ok(None);
            };
            match buf.get(cr + 1) {
                None => {
                    self.searched = cr;
                    return Ok(None);
                }
                Some(b'\n') => {}
                Some(_) => return Err(fail(Fault::Crlf)),
            }
            let (kind, text) = (buf[self.at], buf.get(self.at + 1..cr).unwrap_or_default());
            let is_null = matches!(kind, b'$' | b'*') && text == b"-1";
            let behind = cr + 2;
            let (end, elements) = match kind {
                b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => (behind, None),
                _ if is_null => (behind, None),
                b'$' | b'!' | b'=' => {
                    let end = length(text).and_then(|len| behind.checked_add(len)?.checked_add(2));
                    self.string_end = end.ok_or(fail(Fault::Length))?;
                    if self.string_end > buf.len() {
                        return Ok(None);
                    }
                    (self.string_end, None)
                }
                b'*' | b'~' | b'>' | b'%' | b'|' => {
                    let len = length(text).ok_or(fail(Fault::Length))?;
                    let each = if matches!(kind, b'%' | b'|') { 2 } else { 1 };
                    (behind, Some(len.checked_mul(each).ok_or(fail(Fault::Length))?))
                }
                _ => return Err(fail(Fault::UnknownType(kind))),
            };
            if self.open.len() > NESTING_MAX + 1 {
                return Err(fail(Fault::Nesting));
            }
            self.at = end;
            // An attribute is no element; what it holds stands before one.
            if kind != b'|'
                && let Some(left) = self.open.last_mut()
            {
                *left -= 1;
            }
            self.open.extend(elements);
            while self.open.pop_if(|left| *left == 0).is_some() {}
        }
        Ok(Some(self.at))
    }

    /// Bytes that the reply has at least, by what it has said of itself so far.
    pub fn bytes_at_least(&self) -> usize {
        let elements = self.open.iter().fold(0_usize, |sum, left| sum.saturating_add(*left));
        elements.saturating_mul(ELEMENT_BYTES_MIN).saturating_add(self.at).max(self.string_end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Value, decode};
    use super::*;

    /// Where it ends, if it comes in pieces of so many bytes, and how many it asked for at least before.
    fn extent(bytes: &[u8], piece: usize) -> Result<Option<usize>, DecodeError> {
        let mut extent = Extent::default();
        for end in (0..bytes.len()).step_by(piece) {
            if let Some(len) = extent.advance(&bytes[..end])? {
                return Ok(Some(len));
            }
            assert!(extent.bytes_at_least() <= bytes.len(), "{end} of {}", bytes.escape_ascii());
        }
        extent.advance(bytes)
    }

    fn elements() -> impl Strategy<Value = Vec<u8>> {
        let lines: [&[u8]; 11] = [
            b"+OK\r\n",
            b"-ERR no\r\n",
            b":-7\r\n",
            b"$10\r\n*1\r\n+a\r\n\r\n\r\n",
            b"$0\r\n\r\n",
            b"$-1\r\n",
            b"*-1\r\n",
            b"*0\r\n",
            b"_\r\n",
            b",1.5\r\n",
            b"=6\r\ntxt:hi\r\n",
        ];
        let leaf = prop::sample::select(lines.to_vec()).prop_map(<[u8]>::to_vec);
        leaf.prop_recursive(4, 40, 6, |inner| {
            let parts = prop::collection::vec(inner, 0..6);
            (parts, prop::sample::select(&b"*~>%|"[..])).prop_map(|(mut parts, kind)| {
                let is_paired = matches!(kind, b'%' | b'|');
                if is_paired && parts.len() % 2 == 1 {
                    parts.pop();
                }
                let count = if is_paired { parts.len() / 2 } else { parts.len() };
                let value: &[u8] = if kind == b'|' { b":1\r\n" } else { b"" };
                [&[kind], count.to_string().as_bytes(), b"\r\n", &parts.concat(), value].concat()
            })
        })
    }

    proptest! {
        #[test]
        fn it_ends_where_the_reply_does_however_that_comes(bytes in elements(), piece in 1usize..20) {
            prop_assert!(matches!(decode(&bytes), Ok(Some((_, len))) if len == bytes.len()));
            prop_assert_eq!(extent(&bytes, piece), Ok(Some(bytes.len())));
            let more = [&bytes[..], b"+OK\r\n"].concat();
            prop_assert_eq!(Extent::default().advance(&more), Ok(Some(bytes.len())));
        }

        #[test]
        fn what_is_no_reply_is_refused_or_left_to_whoever_decodes_it(bytes in prop::collection::vec(
            prop::sample::select(&b"+-:$*%|~>_=!,#(019\r\nab"[..]), 0..60), piece in 1usize..9) {
            match decode(&bytes) {
                Ok(Some((_, len))) => prop_assert_eq!(Extent::default().advance(&bytes), Ok(Some(len))),
                Ok(None) => prop_assert!(!matches!(Extent::default().advance(&bytes), Ok(Some(_)))),
                Err(_) => {}
            }
            let mut extent = Extent::default();
            for end in (0..bytes.len()).step_by(piece) {
                if extent.advance(&bytes[..end]) != Ok(None) {
                    break;
                }
            }
        }
    }

    #[test]
    fn it_says_early_how_long_a_reply_is_at_least() {
        for (bytes, least) in [
            (&b"$1000\r\nabc"[..], 1009),
            (b"*2000000000\r\n:1\r\n", 3 * 1_999_999_999 + 17),
            (b"%10\r\n", 65),
            (b"*2\r\n$100\r\nab", 112),
        ] {
            let mut extent = Extent::default();
            assert_eq!(extent.advance(bytes), Ok(None));
            assert_eq!(extent.bytes_at_least(), least, "{}", bytes.escape_ascii());
        }
        assert_eq!(decode(b"$3\r\nabc\r\n"), Ok(Some((Value::Bulk(b"abc".to_vec()), 9))));
        let deep = b"*1\r\n".repeat(NESTING_MAX + 2);
        assert_eq!(Extent::default().advance(&deep).map_err(|error| error.fault), Err(Fault::Nesting));
    }
}
