//! Bytes of a server's, for those who read: names and messages are any bytes, a line of JSON or a terminal takes text.

use std::fmt::{self, Write};

/// Bytes as a string of JSON; those that are no UTF-8 as `\u00XX`, which a reader takes for characters of that number.
pub(crate) struct Text<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for chunk in self.0.utf8_chunks() {
            for letter in chunk.valid().chars() {
                match letter {
                    '"' | '\\' => write!(f, "\\{letter}")?,
                    '\0'..='\x1f' => write!(f, "\\u{:04x}", u32::from(letter))?,
                    letter => write!(f, "{letter}")?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\u{byte:04x}")?;
            }
        }
        f.write_str("\"")
    }
}

/// Bytes as text; those that are no UTF-8 as the characters of that number, as in [`Text`].
pub(crate) fn string(bytes: &[u8]) -> String {
    let chunks = bytes.utf8_chunks();
    let text =
        chunks.flat_map(|chunk| chunk.valid().chars().chain(chunk.invalid().iter().copied().map(char::from)));
    text.collect()
}

/// Bytes for a terminal: what could move its cursor or end the line stands as an escape (`\n`, `\x1b`), as do bytes that are no
/// UTF-8. A backslash is one, so what is shown is not always what could be typed.
pub(crate) struct Plain<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for letter in chunk.valid().chars() {
                match letter {
                    '\n' => f.write_str("\\n")?,
                    '\r' => f.write_str("\\r")?,
                    '\t' => f.write_str("\\t")?,
                    letter if letter.is_control() => write!(f, "\\x{:02x}", u32::from(letter))?,
                    letter => f.write_char(letter)?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// The same as a word among others: in quotes where it would fall apart.
pub(crate) struct Word<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = |byte: &u8| !byte.is_ascii_whitespace() && !matches!(byte, b'"' | b'=');
        if !self.0.is_empty() && self.0.iter().all(is_plain) {
            return Plain(self.0).fmt(f);
        }
        let quoted: Vec<u8> = (self.0.iter())
            .flat_map(|&byte| if byte == b'"' { vec![b'\\', b'"'] } else { vec![byte] })
            .collect();
        write!(f, "\"{}\"", Plain(&quoted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_json_whatever_the_bytes() {
        let rows: [(&[u8], &str); 4] = [
            (b"plain", "\"plain\""),
            (b"a\"b\\c\n", "\"a\\\"b\\\\c\\u000a\""),
            ("sch\u{f6}n".as_bytes(), "\"sch\u{f6}n\""),
            (&[b'x', 0xff, 0xfe], "\"x\\u00ff\\u00fe\""),
        ];
        for (bytes, expected) in rows {
            assert_eq!(Text(bytes).to_string(), expected);
        }
    }

    #[test]
    fn what_a_terminal_would_obey_is_shown_instead() {
        let rows: [(&[u8], &str, &str); 6] = [
            (b"plain", "plain", "plain"),
            (b"two words", "two words", "\"two words\""),
            (b"\x1b[2J\n", "\\x1b[2J\\n", "\"\\x1b[2J\\n\""),
            (b"", "", "\"\""),
            (b"say \"x\"", "say \"x\"", "\"say \\\"x\\\"\""),
            (&[b'x', 0xff, 0xc2, 0x9b], "x\\xff\\x9b", "x\\xff\\x9b"),
        ];
        for (bytes, plain, word) in rows {
            assert_eq!(Plain(bytes).to_string(), plain);
            assert_eq!(Word(bytes).to_string(), word);
        }
    }
}
