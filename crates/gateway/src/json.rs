//! Replies as JSON, in the shape that Upstash's clients read.
//!
//! Strings are JSON strings, or base64 where that is asked for; integers are numbers, nulls `null`, arrays, sets and maps
//! (flat, as in RESP2) arrays. An error inside of an array is `{"error": …}`. What is not UTF-8 is lossy as a JSON string,
//! which is what base64 is for.
//!
//! Written straight from the bytes of a reply, without a tree in between.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memchr::memchr;
use sterna_protocol::event::json_string;

use crate::replies::{Broken, length};

/// How strings are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// As they are.
    Text,
    /// Each as base64, but for `OK`.
    Base64,
}

/// Deepest nesting; the values of a script, the deepest there are, nest a thousand deep.
const NESTING_MAX: usize = 1100;

/// Appends the one reply that `bytes` begin with, and returns what is behind it.
pub(crate) fn reply<'a>(bytes: &'a [u8], encoding: Encoding, out: &mut Vec<u8>) -> Result<&'a [u8], Broken> {
    Writer { encoding, out }.value(bytes, 0)
}

/// `{"result": …}` or `{"error": …}`. Returns what is behind the reply.
pub(crate) fn outcome<'a>(
    bytes: &'a [u8],
    encoding: Encoding,
    out: &mut Vec<u8>,
) -> Result<&'a [u8], Broken> {
    if bytes.first() == Some(&b'-') {
        return reply(bytes, encoding, out);
    }
    out.extend_from_slice(br#"{"result":"#);
    let rest = reply(bytes, encoding, out)?;
    out.push(b'}');
    Ok(rest)
}

struct Writer<'o> {
    encoding: Encoding,
    out: &'o mut Vec<u8>,
}

impl Writer<'_> {
    fn value<'a>(&mut self, bytes: &'a [u8], depth: usize) -> Result<&'a [u8], Broken> {
        let (kind, line, rest) = line(bytes)?;
        match kind {
            b'+' if depth == 0 && line == b"OK" => self.out.extend_from_slice(br#""OK""#),
            b'+' => self.string(line),
            b'-' => self.error(line),
            b':' => {
                let number: i64 =
                    str::from_utf8(line).ok().and_then(|text| text.parse().ok()).ok_or(Broken)?;
                self.out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
            }
            b'_' => self.out.extend_from_slice(b"null"),
            b'#' => self.out.extend_from_slice(if line == b"t" { b"true" } else { b"false" }),
            b',' if serde_json::from_slice::<f64>(line).is_ok() => self.out.extend_from_slice(line),
            b',' | b'(' => self.string(line),
            b'$' | b'=' | b'!' => return self.bulk(kind, length(line)?, rest),
            b'*' | b'~' | b'>' => return self.elements(length(line)?, 1, rest, depth),
            b'%' => return self.elements(length(line)?, 2, rest, depth),
            _ => return Err(Broken),
        }
        Ok(rest)
    }

    fn bulk<'a>(&mut self, kind: u8, length: Option<usize>, rest: &'a [u8]) -> Result<&'a [u8], Broken> {
        let Some(length) = length else {
            self.out.extend_from_slice(b"null");
            return Ok(rest);
        };
        let (text, rest) = rest.split_at_checked(length).ok_or(Broken)?;
        match kind {
            b'=' => self.string(text.get(4..).unwrap_or_default()),
            b'!' => self.error(text),
            _ => self.string(text),
        }
        rest.get(2..).ok_or(Broken)
    }

    fn elements<'a>(
        &mut self,
        count: Option<usize>,
        each: usize,
        mut rest: &'a [u8],
        depth: usize,
    ) -> Result<&'a [u8], Broken> {
        let Some(count) = count else {
            self.out.extend_from_slice(b"null");
            return Ok(rest);
        };
        if depth == NESTING_MAX {
            return Err(Broken);
        }
        self.out.push(b'[');
        for i in 0..count.checked_mul(each).ok_or(Broken)? {
            if i > 0 {
                self.out.push(b',');
            }
            rest = self.value(rest, depth + 1)?;
        }
        self.out.push(b']');
        Ok(rest)
    }

    fn string(&mut self, bytes: &[u8]) {
        match self.encoding {
            Encoding::Text => json_string(self.out, bytes),
            Encoding::Base64 => {
                self.out.push(b'"');
                self.out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
                self.out.push(b'"');
            }
        }
    }

    /// Errors are for people, and never encoded.
    fn error(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(br#"{"error":"#);
        json_string(self.out, bytes);
        self.out.push(b'}');
    }
}

/// The kind, the rest of the first line, and what is behind it.
fn line(bytes: &[u8]) -> Result<(u8, &[u8], &[u8]), Broken> {
    let end = memchr(b'\n', bytes).ok_or(Broken)?;
    let (kind, text) = bytes[..end].split_first().ok_or(Broken)?;
    Ok((*kind, text.strip_suffix(b"\r").unwrap_or(text), &bytes[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(bytes: &[u8], encoding: Encoding) -> String {
        let mut out = Vec::new();
        assert_eq!(outcome(bytes, encoding, &mut out), Ok(&b""[..]), "{}", bytes.escape_ascii());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn replies_have_the_shapes_that_upstash_has() {
        let cases: [(&[u8], &str, &str); 10] = [
            (b"+OK\r\n", r#"{"result":"OK"}"#, r#"{"result":"OK"}"#),
            (b"$2\r\nOK\r\n", r#"{"result":"OK"}"#, r#"{"result":"T0s="}"#),
            (b"+PONG\r\n", r#"{"result":"PONG"}"#, r#"{"result":"UE9ORw=="}"#),
            (b"$-1\r\n", r#"{"result":null}"#, r#"{"result":null}"#),
            (b":-7\r\n", r#"{"result":-7}"#, r#"{"result":-7}"#),
            (b":+07\r\n", r#"{"result":7}"#, r#"{"result":7}"#),
            (
                b"*3\r\n$1\r\na\r\n*-1\r\n*1\r\n+OK\r\n",
                r#"{"result":["a",null,["OK"]]}"#,
                r#"{"result":["YQ==",null,["T0s="]]}"#,
            ),
            (b"-ERR \"x\"\r\n", r#"{"error":"ERR \"x\""}"#, r#"{"error":"ERR \"x\""}"#),
            (b"%1\r\n+a\r\n,1.5\r\n", r#"{"result":["a",1.5]}"#, r#"{"result":["YQ==",1.5]}"#),
            (b",inf\r\n", r#"{"result":"inf"}"#, r#"{"result":"aW5m"}"#),
        ];
        for (bytes, text, base64) in cases {
            assert_eq!(written(bytes, Encoding::Text), text);
            assert_eq!(written(bytes, Encoding::Base64), base64);
        }
    }

    proptest::proptest! {
        #[test]
        fn a_string_is_read_back_as_it_was(text in ".*") {
            let mut out = Vec::new();
            json_string(&mut out, text.as_bytes());
            proptest::prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }

        #[test]
        fn no_bytes_do_harm_and_what_is_written_is_json(
            bytes in proptest::collection::vec(proptest::sample::select(b"*$%+-:=!,0123\r\n\xff\"".as_slice()), 0..40),
        ) {
            let mut out = Vec::new();
            if outcome(&bytes, Encoding::Text, &mut out).is_ok() {
                let read = serde_json::from_slice::<&serde_json::value::RawValue>(&out);
                proptest::prop_assert!(read.is_ok(), "{}", out.escape_ascii());
            }
        }
    }

    #[test]
    fn nesting_has_an_end() {
        let deep = b"*1\r\n".repeat(NESTING_MAX + 2);
        assert_eq!(reply(&deep, Encoding::Text, &mut Vec::new()), Err(Broken));
    }
}
