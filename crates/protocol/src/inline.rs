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
//! One difference: a NUL is a byte like any other here, whereas Redis stops looking for the line's end at it.

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
