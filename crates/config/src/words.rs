//! The words of a redis.conf line: splitting and quoting.
//!
//! Words are separated by white space. Inside double quotes `\n \r \t \b \a`, `\xHH` and a backslash before any other
//! byte are escapes; inside single quotes only `\'` is. A closing quote ends its word, so that `"a"b` is an error.
//! A word is bytes, not text: a password may hold any.
//!
//! Source: the quoting rules of redis.conf, which redis-cli shares.

/// The words of `line`, or `None` if a quote is not closed or is followed by something other than white space.
pub(crate) fn split(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return Some(words);
        }
        let (word, after) = first_word(rest)?;
        words.push(word);
        rest = after;
    }
}

/// The word at the start of `line`, which is not white space, and what follows it.
fn first_word(line: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    let mut rest = line;
    while let Some((&byte, after)) = rest.split_first() {
        match byte {
            b'"' => return closed(double_quoted(after, &mut word)?, word),
            b'\'' => return closed(single_quoted(after, &mut word)?, word),
            _ if byte.is_ascii_whitespace() || byte == 0 => return Some((word, after)),
            _ => word.push(byte),
        }
        rest = after;
    }
    Some((word, rest))
}

/// A word whose closing quote was just read: only white space may touch it.
fn closed(rest: &[u8], word: Vec<u8>) -> Option<(Vec<u8>, &[u8])> {
    let ends = rest.first().is_none_or(u8::is_ascii_whitespace);
    ends.then_some((word, rest))
}

/// Appends what stands between double quotes to `word`; returns what follows the closing one.
fn double_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        rest = match rest {
            [b'"', after @ ..] => return Some(after),
            [b'\\', b'x', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                word.push(hex_digit(*high) << 4 | hex_digit(*low));
                after
            }
            [b'\\', escaped, after @ ..] => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                after
            }
            [byte, after @ ..] => {
                word.push(*byte);
                after
            }
            [] => return None,
        };
    }
}

/// Appends what stands between single quotes to `word`; returns what follows the closing one.
fn single_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        rest = match rest {
            [b'\'', after @ ..] => return Some(after),
            [b'\\', b'\'', after @ ..] => {
                word.push(b'\'');
                after
            }
            [byte, after @ ..] => {
                word.push(*byte);
                after
            }
            [] => return None,
        };
    }
}

/// The value of an ASCII hex digit, which `digit` is.
fn hex_digit(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.to_ascii_uppercase().wrapping_sub(b'A').wrapping_add(10),
    }
}

/// `word` as it must be written so that [`split`] reads it back: bare if it can be, in double quotes otherwise.
pub(crate) fn quote(word: &[u8]) -> Vec<u8> {
    let bare = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\');
    if !word.is_empty() && word[0] != b'#' && word.iter().all(bare) {
        return word.to_vec();
    }
    let mut quoted = vec![b'"'];
    for &byte in word {
        match byte {
            b'"' | b'\\' => quoted.extend([b'\\', byte]),
            b'\n' => quoted.extend(b"\\n"),
            b'\r' => quoted.extend(b"\\r"),
            b'\t' => quoted.extend(b"\\t"),
            b' '..=b'~' => quoted.push(byte),
            _ => quoted.extend(format!("\\x{byte:02x}").into_bytes()),
        }
    }
    quoted.push(b'"');
    quoted
}

/// `words` on one line, each quoted as needed.
pub(crate) fn join<'a>(words: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let quoted: Vec<Vec<u8>> = words.into_iter().map(quote).collect();
    quoted.join(&b' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_split_as_redis_splits_it() {
        let rows: &[(&str, Option<&[&[u8]]>)] = &[
            ("", Some(&[])),
            ("  \t ", Some(&[])),
            ("port 6379", Some(&[b"port", b"6379"])),
            ("  save   1\t2  ", Some(&[b"save", b"1", b"2"])),
            (r#"save """#, Some(&[b"save", b""])),
            (r#""a b" 'c d'"#, Some(&[b"a b", b"c d"])),
            (r#"a"b c""#, Some(&[b"ab c"])),
            (r#""\x41\xff\xfg\n\r\t\b\a\"\\\q""#, Some(&[b"A\xffxfg\n\r\t\x08\x07\"\\q"])),
            (r"'\n\'x'", Some(&[b"\\n'x"])),
            (r#""open"#, None),
            (r#"'open"#, None),
            (r#""a"b"#, None),
            (r#"'a''b'"#, None),
            (r#""a\"#, None),
            ("user x >p#1 # not a comment", Some(&[b"user", b"x", b">p#1", b"#", b"not", b"a", b"comment"])),
        ];
        for (line, expected) in rows {
            let expected = expected.map(|words| words.iter().map(|word| word.to_vec()).collect::<Vec<_>>());
            assert_eq!(split(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn what_is_quoted_reads_back() {
        let every_byte: Vec<u8> = (0..=255).collect();
        for word in
            [&b""[..], b"plain", b"two words", b"#hash", b"quote\"'\\", b"\x00\xff\r\n\t", &every_byte]
        {
            assert_eq!(split(&quote(word)), Some(vec![word.to_vec()]));
        }
        assert_eq!(quote(b"plain"), b"plain");
        assert_eq!(quote(b""), b"\"\"");
        assert_eq!(join([&b"save"[..], b"", b"a b"]), b"save \"\" \"a b\"");
    }
}
