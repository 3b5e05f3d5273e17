//! Words of a line, quoted as in redis-cli: `"…"` with escapes, `'…'` without.

/// Splits a line into words. Errors: a quote that is not closed, or an escape that is none.
pub fn split(line: &str) -> Result<Vec<Vec<u8>>, String> {
    let mut words = Vec::new();
    let mut rest = line.as_bytes();
    loop {
        rest = rest.trim_ascii_start();
        let Some(&first) = rest.first() else { return Ok(words) };
        let mut word = Vec::new();
        rest = match first {
            b'"' => double_quoted(&rest[1..], &mut word)?,
            b'\'' => {
                let end = rest[1..].iter().position(|&b| b == b'\'').ok_or("a quote is not closed")?;
                word.extend_from_slice(&rest[1..=end]);
                &rest[end + 2..]
            }
            _ => {
                let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
                word.extend_from_slice(&rest[..end]);
                &rest[end..]
            }
        };
        words.push(word);
    }
}

/// Reads up to the closing quote and returns what follows it. `{N*text}` inside stands for N times the text.
fn double_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Result<&'a [u8], String> {
    loop {
        match rest {
            [] => return Err("a quote is not closed".to_owned()),
            [b'"', after @ ..] => return Ok(after),
            [b'\\', b'x', high, low, after @ ..] => {
                let digits = [*high, *low];
                let digits = str::from_utf8(&digits).map_err(|e| e.to_string())?;
                word.push(u8::from_str_radix(digits, 16).map_err(|e| format!("\\x{digits}: {e}"))?);
                rest = after;
            }
            [b'\\', escaped, after @ ..] => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    other => *other,
                });
                rest = after;
            }
            [b'{', after @ ..] => match repetition(after) {
                Some((text, after)) => {
                    word.extend_from_slice(&text);
                    rest = after;
                }
                None => {
                    word.push(b'{');
                    rest = after;
                }
            },
            [byte, after @ ..] => {
                word.push(*byte);
                rest = after;
            }
        }
    }
}

/// `N*text}`: the text N times, and what follows.
fn repetition(rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let end = rest.iter().position(|&b| b == b'}')?;
    let star = rest[..end].iter().position(|&b| b == b'*')?;
    let count: usize = str::from_utf8(&rest[..star]).ok()?.parse().ok()?;
    Some((rest[star + 1..end].repeat(count), &rest[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn words_are_split_as_redis_cli_does_it() {
        let words =
            |line| split(line).map(|words| words.iter().map(|w| w.escape_ascii().to_string()).collect());
        let cases: &[(&str, &[&str])] = &[
            ("", &[]),
            ("  GET  key ", &["GET", "key"]),
            (r#"SET key "a b\r\n\x00\"" 'c\n'"#, &["SET", "key", r#"a b\r\n\x00\""#, r"c\\n"]),
            (r#""" ''"#, &["", ""]),
            (r#""a{3*xy}b{c}""#, &["axyxyxyb{c}"]),
        ];
        for (line, expected) in cases {
            assert_eq!(
                words(line),
                Ok::<Vec<_>, String>(expected.iter().map(|w| w.to_string()).collect()),
                "{line}"
            );
        }
        assert!(split("\"open").is_err());
        assert!(split("'open").is_err());
        assert!(split(r#""\xZZ""#).is_err());
    }
}
