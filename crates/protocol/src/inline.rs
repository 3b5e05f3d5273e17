//! Inline commands: a line of words, as typed into a terminal.
//!
//! ```text
//! SET greeting "hello\r\n\x21"   'it\'s'
//! ```
//!
//! A word is ended by a space, tab or CR. Inside `"…"` a backslash escapes: `\n` `\r` `\t` `\b` `\a`, `\xHH`, and any
//! other byte stands for itself. Inside `'…'` only `\'` does. A quote may open in the middle of a word, but once closed
//! the word must be over. Source: Redis, compared with it row by row in the table below.
//!
//! One difference: a NUL is a byte like any other here, whereas Redis stops looking for the line's end at it. Valkey 9
//! goes its own way (a word may go on behind a closing quote; bytes above 0x7f are dropped), which is not followed.

use crate::error::ProtocolError;

/// Splits `line` (without its line end) and notes the words in `spans`.
///
/// Words of a line without quotes are noted where they lie: offsets count from the start of `line`. Otherwise
/// `unescaped` receives them, and offsets count from its start. It is empty in the first case, and also in the second
/// if all words are.
///
/// `line` is at most `u32::MAX` bytes long. Cost: O(line), one pass.
pub(crate) fn split(
    line: &[u8],
    spans: &mut Vec<(u32, u32)>,
    unescaped: &mut Vec<u8>,
) -> Result<(), ProtocolError> {
    spans.clear();
    unescaped.clear();
    if memchr::memchr2(b'"', b'\'', line).is_none() {
        split_plain(line, spans);
        return Ok(());
    }
    let mut at = 0;
    loop {
        at += line[at..].iter().take_while(|&&b| is_space(b)).count();
        if at == line.len() {
            return Ok(());
        }
        let start = unescaped.len() as u32;
        at = word(line, at, unescaped)?;
        // A word is never longer unescaped than it was in the line, whose length fits.
        spans.push((start, unescaped.len() as u32));
    }
}

/// The words of `line`, or `None` where a quote is not closed or its word goes on.
///
/// `line` is at most `u32::MAX` bytes long. Cost: O(line).
pub fn words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (mut spans, mut unescaped) = (Vec::new(), Vec::new());
    split(line, &mut spans, &mut unescaped).ok()?;
    // It is empty as well where all words are.
    let text = if unescaped.is_empty() { line } else { &unescaped };
    Some(spans.iter().map(|&(start, end)| text[start as usize..end as usize].to_vec()).collect())
}

fn split_plain(line: &[u8], spans: &mut Vec<(u32, u32)>) {
    let mut at = 0;
    loop {
        at += line[at..].iter().take_while(|&&b| is_space(b)).count();
        if at == line.len() {
            return;
        }
        let start = at;
        at += line[at..].iter().take_while(|&&b| !ends_word(b)).count();
        spans.push((start as u32, at as u32));
    }
}

/// Appends the word at `line[at..]`, which is not empty, to `out`; returns where it ends.
fn word(line: &[u8], mut at: usize, out: &mut Vec<u8>) -> Result<usize, ProtocolError> {
    while let Some(&byte) = line.get(at) {
        match byte {
            b'"' => return double_quoted(line, at + 1, out),
            b'\'' => return single_quoted(line, at + 1, out),
            _ if ends_word(byte) => return Ok(at),
            _ => out.push(byte),
        }
        at += 1;
    }
    Ok(at)
}

/// Unescapes up to the closing `"`; returns the place behind it.
fn double_quoted(line: &[u8], mut at: usize, out: &mut Vec<u8>) -> Result<usize, ProtocolError> {
    loop {
        match line[at..] {
            [b'\\', b'x', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                out.push(hex(high) << 4 | hex(low));
                at += 4;
            }
            [b'\\', escaped, ..] => {
                out.push(unescape(escaped));
                at += 2;
            }
            [b'"', ref rest @ ..] => return closed(rest, at),
            [byte, ..] => {
                out.push(byte);
                at += 1;
            }
            [] => return Err(ProtocolError::UnbalancedQuotes),
        }
    }
}

/// Copies up to the closing `'`; returns the place behind it.
fn single_quoted(line: &[u8], mut at: usize, out: &mut Vec<u8>) -> Result<usize, ProtocolError> {
    loop {
        match line[at..] {
            [b'\\', b'\'', ..] => {
                out.push(b'\'');
                at += 2;
            }
            [b'\'', ref rest @ ..] => return closed(rest, at),
            [byte, ..] => {
                out.push(byte);
                at += 1;
            }
            [] => return Err(ProtocolError::UnbalancedQuotes),
        }
    }
}

/// The place behind the closing quote at `at`, provided that the word is over.
fn closed(rest: &[u8], at: usize) -> Result<usize, ProtocolError> {
    match rest.first() {
        Some(&byte) if !is_space(byte) => Err(ProtocolError::UnbalancedQuotes),
        _ => Ok(at + 1),
    }
}

fn unescape(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

/// The value of an ASCII hex digit.
fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

/// Skipped between words: C's `isspace`.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Ends a word outside quotes: fewer bytes than are skipped between words.
fn ends_word(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_are_split_as_redis_splits_them() {
        // Each row is what Redis 8.2 made of `RPUSH key` and the line; `None`: unbalanced quotes.
        type Row = (&'static [u8], Option<&'static [&'static [u8]]>);
        let rows: [Row; 54] = [
            (b"a b", Some(&[b"a", b"b"])),
            (b"  a\tb  ", Some(&[b"a", b"b"])),
            (b"\"a b\" c", Some(&[b"a b", b"c"])),
            (b"'a b' c", Some(&[b"a b", b"c"])),
            (b"\"a\\nb\\r\\t\\b\\a\"", Some(&[b"a\nb\r\t\x08\x07"])),
            (b"\"\\x41\\x4a\\xfF\"", Some(&[b"AJ\xff"])),
            (b"\"\\x4\"", Some(&[b"x4"])),
            (b"\"\\xzz\"", Some(&[b"xzz"])),
            (b"\"\\q\\\\\\\"\"", Some(&[b"q\\\""])),
            (b"'\\n\\'\\\\'", None),
            (b"\"\"", Some(&[b""])),
            (b"''", Some(&[b""])),
            (b"a\"\"", Some(&[b"a"])),
            (b"a\"b\"", Some(&[b"ab"])),
            (b"a\"b\"c", None),
            (b"\"a\"b", None),
            (b"'a'b", None),
            (b"\"a\"\"b\"", None),
            (b"\"a\"'b'", None),
            (b"\"a\" \"b\"", Some(&[b"a", b"b"])),
            (b"\"a", None),
            (b"'a", None),
            (b"a\"", None),
            (b"a'", None),
            (b"\"a\\\"", None),
            (b"'a\\'", None),
            (b"\"\\", None),
            (b"\"\\x", None),
            (b"\"it's\"", Some(&[b"it's"])),
            (b"'say \"hi\"'", Some(&[b"say \"hi\""])),
            (b"a'b c'd", None),
            (b"a'b c'", Some(&[b"ab c"])),
            (b"a\\nb", Some(&[b"a\\nb"])),
            (b"\\x41", Some(&[b"\\x41"])),
            (b"a\x0bb", Some(&[b"a\x0bb"])),
            (b"\x0ba", Some(&[b"a"])),
            (b"a\x0cb \x0c c", Some(&[b"a\x0cb", b"c"])),
            (b"\"a\"\x0bb", Some(&[b"a", b"b"])),
            (b"a\rb", Some(&[b"a", b"b"])),
            (b"a\r", Some(&[b"a"])),
            (b"\"a\"\r", Some(&[b"a"])),
            (b"\xe9t\xe9", Some(&[b"\xe9t\xe9"])),
            (b"\"\xe9\"", Some(&[b"\xe9"])),
            (b"a\x01b", Some(&[b"a\x01b"])),
            (b"\"a\\x00b\"", Some(&[b"a\x00b"])),
            (b"\"a\\", None),
            (b"a\\\"b\"", Some(&[b"a\\b"])),
            (b"\"a\\\"\"", Some(&[b"a\""])),
            (b"\"a\"\t\"b\"", Some(&[b"a", b"b"])),
            (b"''''", None),
            (b"\"\"\"\"", None),
            (b"\\", Some(&[b"\\"])),
            (b"a \xa0 b", Some(&[b"a", b"\xa0", b"b"])),
            (b"a\x85b", Some(&[b"a\x85b"])),
        ];
        for (line, expected) in rows {
            let expected = expected.map(|words| words.iter().map(|word| word.to_vec()).collect());
            assert_eq!(words(line), expected, "{}", line.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn a_quoted_word_is_what_was_quoted(word in prop::collection::vec(any::<u8>(), 0..40)) {
            let hex: String = word.iter().map(|byte| format!("\\x{byte:02X}")).collect();
            prop_assert_eq!(words(format!("\"{hex}\"").as_bytes()), Some(vec![word.clone()]));
            if !word.contains(&b'\'') && !word.contains(&b'\\') {
                prop_assert_eq!(words(&[b"'", &word[..], b"'"].concat()), Some(vec![word]));
            }
        }

        #[test]
        fn a_line_never_unescapes_to_more_than_it_was(line in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Some(words) = words(&line) {
                prop_assert!(words.concat().len() <= line.len());
            }
        }
    }
}
