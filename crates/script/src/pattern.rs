//! Lua's patterns: our own matcher, because the interpreter's can neither be interrupted nor told how deep it may go.
//!
//! A pattern is walked from left to right over the subject. Items that can match in several ways (`*`, `+`, `-`, `?`,
//! captures) try one and call the walk for what follows, so the depth of the recursion is at most the number of such
//! items, bounded by [`DEPTH_MAX`]; the steps are counted, and now and then the host is asked whether to go on.
//!
//! Source: the Lua 5.1 reference manual, §5.4.1; a NUL ends a pattern, as in the interpreter's own functions.

use crate::host::Pace;

/// Captures of one pattern, as in Lua.
pub(crate) const CAPTURES_MAX: usize = 32;

/// How deep items of a pattern may be nested in each other's trials.
const DEPTH_MAX: usize = 1000;

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The pattern is wrong: Lua's text.
    Malformed(&'static str),
    /// The host wants the script to end.
    Stopped,
}

/// A capture: a piece of the subject, or a place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Capture {
    /// `(`, and no `)` yet.
    Open { start: usize },
    /// `(…)`
    Piece { start: usize, end: usize },
    /// `()`
    Place { at: usize },
}

/// A pattern at work on a subject.
pub(crate) struct Matcher<'a> {
    subject: &'a [u8],
    pattern: &'a [u8],
    captures: [Capture; CAPTURES_MAX],
    /// How many of `captures` are in use.
    level: usize,
    depth: usize,
    pace: Pace,
}

impl<'a> Matcher<'a> {
    /// `pattern` without an anchor.
    pub(crate) fn new(subject: &'a [u8], pattern: &'a [u8]) -> Matcher<'a> {
        let end = pattern.iter().position(|&byte| byte == 0).unwrap_or(pattern.len());
        let captures = [Capture::Place { at: 0 }; CAPTURES_MAX];
        Matcher { subject, pattern: &pattern[..end], captures, level: 0, depth: 0, pace: Pace::default() }
    }

    /// Where the match that begins at `start` ends, if there is one.
    pub(crate) fn match_at(&mut self, start: usize) -> Result<Option<usize>, Fault> {
        self.level = 0;
        self.depth = 0;
        self.walk(start, 0)
    }

    /// The captures of the last match.
    pub(crate) fn captures(&self) -> &[Capture] {
        &self.captures[..self.level]
    }

    fn at(&self, p: usize) -> Option<u8> {
        self.pattern.get(p).copied()
    }

    fn step(&mut self) -> Result<(), Fault> {
        self.pace.step().map_err(|_| Fault::Stopped)
    }

    fn deeper(&mut self, s: usize, p: usize) -> Result<Option<usize>, Fault> {
        if self.depth == DEPTH_MAX {
            return Err(Fault::Malformed("pattern too complex"));
        }
        self.depth += 1;
        let found = self.walk(s, p);
        self.depth -= 1;
        found
    }

    fn walk(&mut self, mut s: usize, mut p: usize) -> Result<Option<usize>, Fault> {
        loop {
            self.step()?;
            let Some(item) = self.at(p) else { return Ok(Some(s)) };
            match item {
                b'(' if self.at(p + 1) == Some(b')') => {
                    return self.with_capture(Capture::Place { at: s }, s, p + 2);
                }
                b'(' => return self.with_capture(Capture::Open { start: s }, s, p + 1),
                b')' => return self.close_capture(s, p + 1),
                b'$' if p + 1 == self.pattern.len() => return Ok((s == self.subject.len()).then_some(s)),
                b'%' if self.at(p + 1) == Some(b'b') => {
                    let Some(end) = self.balance(s, p + 2)? else { return Ok(None) };
                    (s, p) = (end, p + 4);
                    continue;
                }
                b'%' if self.at(p + 1) == Some(b'f') => {
                    let Some(next) = self.frontier(s, p + 2)? else { return Ok(None) };
                    p = next;
                    continue;
                }
                b'%' if self.at(p + 1).is_some_and(|byte| byte.is_ascii_digit()) => {
                    let Some(end) = self.back_reference(s, self.pattern[p + 1])? else { return Ok(None) };
                    (s, p) = (end, p + 2);
                    continue;
                }
                _ => {}
            }
            let end = self.item_end(p)?;
            let fits = self.fits(s, p, end);
            match self.at(end) {
                Some(b'?') => {
                    if fits && let Some(found) = self.deeper(s + 1, end + 1)? {
                        return Ok(Some(found));
                    }
                    p = end + 1;
                }
                Some(b'*') => return self.as_many(s, p, end),
                Some(b'+') => return if fits { self.as_many(s + 1, p, end) } else { Ok(None) },
                Some(b'-') => return self.as_few(s, p, end),
                _ if fits => (s, p) = (s + 1, end),
                _ => return Ok(None),
            }
        }
    }

    fn as_many(&mut self, s: usize, p: usize, end: usize) -> Result<Option<usize>, Fault> {
        let mut most = 0;
        while self.fits(s + most, p, end) {
            most += 1;
            self.step()?;
        }
        for taken in (0..=most).rev() {
            if let Some(found) = self.deeper(s + taken, end + 1)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn as_few(&mut self, mut s: usize, p: usize, end: usize) -> Result<Option<usize>, Fault> {
        loop {
            if let Some(found) = self.deeper(s, end + 1)? {
                return Ok(Some(found));
            }
            if !self.fits(s, p, end) {
                return Ok(None);
            }
            s += 1;
        }
    }

    fn with_capture(&mut self, capture: Capture, s: usize, p: usize) -> Result<Option<usize>, Fault> {
        if self.level == CAPTURES_MAX {
            return Err(Fault::Malformed("too many captures"));
        }
        self.captures[self.level] = capture;
        self.level += 1;
        let found = self.deeper(s, p)?;
        if found.is_none() {
            self.level -= 1;
        }
        Ok(found)
    }

    fn close_capture(&mut self, s: usize, p: usize) -> Result<Option<usize>, Fault> {
        let open = (0..self.level).rev().find_map(|at| match self.captures[at] {
            Capture::Open { start } => Some((at, start)),
            _ => None,
        });
        let Some((at, start)) = open else { return Err(Fault::Malformed("invalid pattern capture")) };
        self.captures[at] = Capture::Piece { start, end: s };
        let found = self.deeper(s, p)?;
        if found.is_none() {
            self.captures[at] = Capture::Open { start };
        }
        Ok(found)
    }

    fn balance(&mut self, s: usize, p: usize) -> Result<Option<usize>, Fault> {
        let (Some(open), Some(close)) = (self.at(p), self.at(p + 1)) else {
            return Err(Fault::Malformed("unbalanced pattern"));
        };
        if self.subject.get(s) != Some(&open) {
            return Ok(None);
        }
        let mut nested = 1;
        for at in s + 1..self.subject.len() {
            self.step()?;
            let byte = self.subject[at];
            if byte == close {
                nested -= 1;
                if nested == 0 {
                    return Ok(Some(at + 1));
                }
            } else if byte == open {
                nested += 1;
            }
        }
        Ok(None)
    }

    fn frontier(&self, s: usize, p: usize) -> Result<Option<usize>, Fault> {
        if self.at(p) != Some(b'[') {
            return Err(Fault::Malformed("missing '[' after '%f' in pattern"));
        }
        let end = self.item_end(p)?;
        let before = if s == 0 { 0 } else { self.subject[s - 1] };
        let after = self.subject.get(s).copied().unwrap_or(0);
        Ok((!self.in_set(before, p, end - 1) && self.in_set(after, p, end - 1)).then_some(end))
    }

    fn back_reference(&self, s: usize, digit: u8) -> Result<Option<usize>, Fault> {
        const WRONG: Fault = Fault::Malformed("invalid capture index");
        let index = usize::from(digit).checked_sub(usize::from(b'1')).ok_or(WRONG)?;
        let capture = self.captures().get(index).ok_or(WRONG)?;
        match *capture {
            Capture::Open { .. } => Err(WRONG),
            // A place has no bytes, and no subject is so long that its bytes could be equal.
            Capture::Place { .. } => Ok(None),
            Capture::Piece { start, end } => {
                let piece = &self.subject[start..end];
                Ok(self.subject[s..].starts_with(piece).then_some(s + piece.len()))
            }
        }
    }

    /// Where the item at `p` ends: one byte, `%x`, or a set.
    fn item_end(&self, p: usize) -> Result<usize, Fault> {
        match self.pattern[p] {
            b'%' if p + 1 == self.pattern.len() => Err(Fault::Malformed("malformed pattern (ends with '%')")),
            b'%' => Ok(p + 2),
            b'[' => {
                let mut at = p + 1;
                if self.at(at) == Some(b'^') {
                    at += 1;
                }
                loop {
                    let Some(byte) = self.at(at) else {
                        return Err(Fault::Malformed("malformed pattern (missing ']')"));
                    };
                    at += 1;
                    if byte == b'%' && at < self.pattern.len() {
                        at += 1;
                    }
                    if self.at(at) == Some(b']') {
                        return Ok(at + 1);
                    }
                }
            }
            _ => Ok(p + 1),
        }
    }

    /// Whether the byte at `s` is one that the item from `p` to `end` stands for.
    fn fits(&self, s: usize, p: usize, end: usize) -> bool {
        let Some(&byte) = self.subject.get(s) else { return false };
        match self.pattern[p] {
            b'.' => true,
            b'%' => in_class(byte, self.pattern[p + 1]),
            b'[' => self.in_set(byte, p, end - 1),
            exact => exact == byte,
        }
    }

    /// Whether a byte is in the set whose brackets are at `p` and `close`.
    fn in_set(&self, byte: u8, p: usize, close: usize) -> bool {
        let mut at = p + 1;
        let is_in = self.pattern[at] != b'^';
        if !is_in {
            at += 1;
        }
        while at < close {
            let member = self.pattern[at];
            if member == b'%' {
                at += 1;
                if in_class(byte, self.pattern[at]) {
                    return is_in;
                }
            } else if self.pattern[at + 1] == b'-' && at + 2 < close {
                at += 2;
                if (member..=self.pattern[at]).contains(&byte) {
                    return is_in;
                }
            } else if member == byte {
                return is_in;
            }
            at += 1;
        }
        !is_in
    }
}

fn in_class(byte: u8, class: u8) -> bool {
    let is_in = match class.to_ascii_lowercase() {
        b'a' => byte.is_ascii_alphabetic(),
        b'c' => byte.is_ascii_control(),
        b'd' => byte.is_ascii_digit(),
        b'l' => byte.is_ascii_lowercase(),
        b'p' => byte.is_ascii_punctuation(),
        b's' => byte.is_ascii_whitespace() || byte == 0x0b,
        b'u' => byte.is_ascii_uppercase(),
        b'w' => byte.is_ascii_alphanumeric(),
        b'x' => byte.is_ascii_hexdigit(),
        b'z' => byte == 0,
        _ => return class == byte,
    };
    is_in != class.is_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(subject: &str, pattern: &str) -> Result<Option<(usize, usize)>, Fault> {
        let mut matcher = Matcher::new(subject.as_bytes(), pattern.as_bytes());
        for start in 0..=subject.len() {
            if let Some(end) = matcher.match_at(start)? {
                return Ok(Some((start, end)));
            }
        }
        Ok(None)
    }

    #[test]
    fn patterns_match_as_the_manual_says() {
        type Row = (&'static str, &'static str, Option<(usize, usize)>);
        let rows: &[Row] = &[
            ("hello", "l+", Some((2, 4))),
            ("hello", "l-o", Some((2, 5))),
            ("hello", "", Some((0, 0))),
            ("hello", "x*", Some((0, 0))),
            ("hello", "lo$", Some((3, 5))),
            ("a$b", "a$b", Some((0, 3))),
            ("key:12", "%a+:%d+", Some((0, 6))),
            ("key:12", "[^:]+", Some((0, 3))),
            ("a]b", "[]]", Some((1, 2))),
            ("a-b", "[a%-]+", Some((0, 2))),
            ("x(a(b)c)y", "%b()", Some((1, 8))),
            ("THE (quick) fox", "%f[%a]%a+%f[%A]", Some((0, 3))),
            ("abab", "(ab)%1", Some((0, 4))),
            ("abcd", "(ab)%1", None),
            ("aaa", "a?a?a?a", Some((0, 3))),
        ];
        for &(subject, pattern, expected) in rows {
            assert_eq!(find(subject, pattern), Ok(expected), "{subject} ~ {pattern}");
        }
    }

    #[test]
    fn wrong_patterns_are_refused_in_luas_words() {
        let rows = [
            ("%", "malformed pattern (ends with '%')"),
            ("[a", "malformed pattern (missing ']')"),
            ("[]", "malformed pattern (missing ']')"),
            ("[%", "malformed pattern (missing ']')"),
            ("%b(", "unbalanced pattern"),
            ("%fa", "missing '[' after '%f' in pattern"),
            ("%1", "invalid capture index"),
            ("a)", "invalid pattern capture"),
        ];
        for (pattern, text) in rows {
            assert_eq!(find("aaaa", pattern), Err(Fault::Malformed(text)), "{pattern}");
        }
        assert_eq!(find("a", &"(a)".repeat(33)), Ok(None));
        assert_eq!(find("a", &"()".repeat(33)), Err(Fault::Malformed("too many captures")));
    }

    /// Each `?` is a level of recursion: an interpreter without a bound overflows its stack here.
    #[test]
    fn a_pattern_of_a_million_items_is_refused_and_kills_nothing() {
        let subject = "a".repeat(100_000);
        assert_eq!(find(&subject, &"a?".repeat(500_000)), Err(Fault::Malformed("pattern too complex")));
    }

    mod any {
        use proptest::prelude::*;

        proptest! {
            #[test]
            fn bytes_are_matched_without_a_panic(subject: Vec<u8>, pattern in "[\\[\\]()%^$*+?.a-c0-9bfz-]{0,12}") {
                let mut matcher = super::Matcher::new(&subject, pattern.as_bytes());
                for start in 0..=subject.len() {
                    if matcher.match_at(start).is_err() {
                        break;
                    }
                }
            }
        }
    }
}
