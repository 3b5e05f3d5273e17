//! Replies as a client reads them, RESP2 and RESP3, for the built-in client and the tests.
//!
//! Plain rather than fast: values own their bytes, and an incomplete reply is read from its start again. What a peer
//! can make it use is bounded all the same: nesting by [`NESTING_MAX`], memory by the bytes that have arrived (an
//! aggregate announced longer than the buffer could hold is not begun).
//!
//! Source: the RESP3 specification. Attributes are read and dropped. Streamed strings and aggregates (`$?`, `*?`) are
//! refused: no server sends them.

mod extent;

use std::fmt;

use crate::argument;

pub use extent::Extent;

/// Deepest nesting of aggregates; COMMAND DOCS, the deepest reply of Redis, needs nine.
pub const NESTING_MAX: usize = 64;

/// One reply or push.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `+`
    Simple(Vec<u8>),
    /// `-`, and RESP3's `!`; without the leading sign.
    Error(Vec<u8>),
    /// `:`
    Int(i64),
    /// `$`
    Bulk(Vec<u8>),
    /// `_`, and RESP2's `$-1` and `*-1`.
    Null,
    /// `*`
    Array(Vec<Value>),
    /// `%`, in the order sent.
    Map(Vec<(Value, Value)>),
    /// `~`, in the order sent.
    Set(Vec<Value>),
    /// `>`
    Push(Vec<Value>),
    /// `,`
    Double(f64),
    /// `#`
    Boolean(bool),
    /// `(`: the digits, with their sign.
    BigNumber(Vec<u8>),
    /// `=`
    Verbatim {
        /// `txt` or `mkd`.
        format: [u8; 3],
        /// What follows the colon.
        text: Vec<u8>,
    },
}

/// These bytes are no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeError {
    /// Offset of the element at fault, from the start of the reply.
    pub at: usize,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What can be wrong with an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Its first byte names no type.
    UnknownType(u8),
    /// Its length is no number, negative or beyond memory.
    Length,
    /// Its text is not what its type requires.
    Text,
    /// A CR without an LF, or a string longer than announced.
    Crlf,
    /// It is nested deeper than [`NESTING_MAX`].
    Nesting,
}

/// Decodes the reply at the start of `buf`: the value and its length in bytes, or `None` if more bytes are needed.
///
/// Cost: O(bytes of the reply) each call, whether it is whole or not.
pub fn decode(buf: &[u8]) -> Result<Option<(Value, usize)>, DecodeError> {
    let mut cursor = Cursor { buf, at: 0 };
    match cursor.value(0) {
        Ok(value) => Ok(Some((value, cursor.at))),
        Err(Stop::Incomplete) => Ok(None),
        Err(Stop::Error(error)) => Err(error),
    }
}

impl Value {
    /// The bytes of a string, simple, bulk or verbatim.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Simple(text) | Value::Bulk(text) | Value::Verbatim { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The integer.
    pub fn as_int(&self) -> Option<i64> {
        match *self {
            Value::Int(value) => Some(value),
            _ => None,
        }
    }

    /// The elements of an array, set or push.
    pub fn as_slice(&self) -> Option<&[Value]> {
        match self {
            Value::Array(values) | Value::Set(values) | Value::Push(values) => Some(values),
            _ => None,
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fault {
            Fault::UnknownType(byte) => write!(f, "unknown reply type '{}'", byte.escape_ascii()),
            Fault::Length => f.write_str("invalid length"),
            Fault::Text => f.write_str("invalid text"),
            Fault::Crlf => f.write_str("missing CRLF"),
            Fault::Nesting => write!(f, "nested deeper than {NESTING_MAX}"),
        }?;
        write!(f, " at offset {}", self.at)
    }
}

impl std::error::Error for DecodeError {}

/// Why there is no value.
enum Stop {
    Incomplete,
    Error(DecodeError),
}

struct Cursor<'a> {
    buf: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn value(&mut self, depth: usize) -> Result<Value, Stop> {
        // Attributes stand before the value they belong to; a loop, so that a long row of them is no recursion.
        loop {
            let start = self.at;
            let fail = |fault| Stop::Error(DecodeError { at: start, fault });
            if depth > NESTING_MAX {
                return Err(fail(Fault::Nesting));
            }
            let line = self.line()?;
            let Some((&kind, text)) = line.split_first() else { return Err(fail(Fault::UnknownType(b'\r'))) };
            return Ok(match kind {
                b'+' => Value::Simple(text.to_vec()),
                b'-' => Value::Error(text.to_vec()),
                b':' => Value::Int(argument::int(text).ok_or(fail(Fault::Text))?),
                b'_' if text.is_empty() => Value::Null,
                b',' => Value::Double(double(text).ok_or(fail(Fault::Text))?),
                b'#' => match text {
                    b"t" => Value::Boolean(true),
                    b"f" => Value::Boolean(false),
                    _ => return Err(fail(Fault::Text)),
                },
                b'(' if is_integer(text) => Value::BigNumber(text.to_vec()),
                b'_' | b'(' => return Err(fail(Fault::Text)),
                b'$' | b'*' if text == b"-1" => Value::Null,
                b'$' | b'!' | b'=' => self.string(kind, length(text).ok_or(fail(Fault::Length))?, start)?,
                b'*' | b'~' | b'>' | b'%' | b'|' => {
                    let len = length(text).ok_or(fail(Fault::Length))?;
                    match kind {
                        b'*' => Value::Array(self.elements(len, depth)?),
                        b'~' => Value::Set(self.elements(len, depth)?),
                        b'>' => Value::Push(self.elements(len, depth)?),
                        b'%' => Value::Map(self.pairs(len, depth)?),
                        _ => {
                            self.pairs(len, depth)?;
                            continue;
                        }
                    }
                }
                _ => return Err(fail(Fault::UnknownType(kind))),
            });
        }
    }

    /// The string of `len` bytes that follows a header at `start`.
    fn string(&mut self, kind: u8, len: usize, start: usize) -> Result<Value, Stop> {
        let fail = |fault| Stop::Error(DecodeError { at: start, fault });
        let rest = &self.buf[self.at..];
        let end = len.checked_add(2).ok_or(fail(Fault::Length))?;
        let (text, crlf) = rest.get(..end).ok_or(Stop::Incomplete)?.split_at(len);
        if crlf != b"\r\n" {
            return Err(fail(Fault::Crlf));
        }
        self.at += end;
        Ok(match kind {
            b'$' => Value::Bulk(text.to_vec()),
            b'!' => Value::Error(text.to_vec()),
            _ => match *text {
                [a, b, c, b':', ref text @ ..] => Value::Verbatim { format: [a, b, c], text: text.to_vec() },
                _ => return Err(fail(Fault::Text)),
            },
        })
    }

    fn elements(&mut self, len: usize, depth: usize) -> Result<Vec<Value>, Stop> {
        self.expect_elements(len)?;
        (0..len).map(|_| self.value(depth + 1)).collect()
    }

    fn pairs(&mut self, len: usize, depth: usize) -> Result<Vec<(Value, Value)>, Stop> {
        self.expect_elements(len.saturating_mul(2))?;
        (0..len).map(|_| Ok((self.value(depth + 1)?, self.value(depth + 1)?))).collect()
    }

    /// Stops early if the rest of the buffer can't hold `len` elements: the shortest, `_\r\n`, takes three bytes.
    fn expect_elements(&self, len: usize) -> Result<(), Stop> {
        if len > (self.buf.len() - self.at) / 3 { Err(Stop::Incomplete) } else { Ok(()) }
    }

    /// The line at the cursor without its CRLF.
    fn line(&mut self) -> Result<&'a [u8], Stop> {
        let start = self.at;
        let rest = &self.buf[start..];
        let cr = memchr::memchr(b'\r', rest).ok_or(Stop::Incomplete)?;
        match rest.get(cr + 1) {
            None => Err(Stop::Incomplete),
            Some(b'\n') => {
                self.at += cr + 2;
                Ok(&rest[..cr])
            }
            Some(_) => Err(Stop::Error(DecodeError { at: start, fault: Fault::Crlf })),
        }
    }
}

fn length(text: &[u8]) -> Option<usize> {
    argument::int(text).and_then(|len| usize::try_from(len).ok())
}

fn double(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn is_integer(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Proto, Reply};
    use proptest::prelude::*;

    fn bulk(text: &str) -> Value {
        Value::Bulk(text.into())
    }

    #[test]
    fn every_type_is_decoded() {
        let rows: [(&[u8], Value); 22] = [
            (b"+OK\r\n", Value::Simple(b"OK".to_vec())),
            (b"+\r\n", Value::Simple(vec![])),
            (b"-ERR no\r\n", Value::Error(b"ERR no".to_vec())),
            (b"!6\r\nERR \r\n\r\n", Value::Error(b"ERR \r\n".to_vec())),
            (b":-7\r\n", Value::Int(-7)),
            (b"$2\r\nhi\r\n", bulk("hi")),
            (b"$0\r\n\r\n", bulk("")),
            (b"$-1\r\n", Value::Null),
            (b"*-1\r\n", Value::Null),
            (b"_\r\n", Value::Null),
            (b"*0\r\n", Value::Array(vec![])),
            (b"*2\r\n:1\r\n*1\r\n_\r\n", Value::Array(vec![Value::Int(1), Value::Array(vec![Value::Null])])),
            (b"%1\r\n$1\r\na\r\n:1\r\n", Value::Map(vec![(bulk("a"), Value::Int(1))])),
            (b"~1\r\n:1\r\n", Value::Set(vec![Value::Int(1)])),
            (b">1\r\n$1\r\na\r\n", Value::Push(vec![bulk("a")])),
            (b",1.5\r\n", Value::Double(1.5)),
            (b",-inf\r\n", Value::Double(f64::NEG_INFINITY)),
            (b"#t\r\n", Value::Boolean(true)),
            (b"#f\r\n", Value::Boolean(false)),
            (b"(-12345678901234567890\r\n", Value::BigNumber(b"-12345678901234567890".to_vec())),
            (b"=6\r\ntxt:hi\r\n", Value::Verbatim { format: *b"txt", text: b"hi".to_vec() }),
            (b"|1\r\n+ttl\r\n:3\r\n*1\r\n|0\r\n:1\r\n", Value::Array(vec![Value::Int(1)])),
        ];
        for (bytes, value) in rows {
            assert_eq!(decode(bytes), Ok(Some((value.clone(), bytes.len()))), "{}", bytes.escape_ascii());
            let more = [bytes, b"+OK\r\n"].concat();
            assert_eq!(decode(&more), Ok(Some((value, bytes.len()))), "{} and more", bytes.escape_ascii());
            for end in 0..bytes.len() {
                assert_eq!(decode(&bytes[..end]), Ok(None), "{} cut at {end}", bytes.escape_ascii());
            }
        }
    }

    #[test]
    fn what_is_no_reply_is_refused_with_its_place() {
        let rows: [(&[u8], usize, Fault); 13] = [
            (b"x\r\n", 0, Fault::UnknownType(b'x')),
            (b"\r\n", 0, Fault::UnknownType(b'\r')),
            (b"*2\r\n:1\r\n?\r\n", 8, Fault::UnknownType(b'?')),
            (b":1.5\r\n", 0, Fault::Text),
            (b",abc\r\n", 0, Fault::Text),
            (b"#y\r\n", 0, Fault::Text),
            (b"(1.5\r\n", 0, Fault::Text),
            (b"_x\r\n", 0, Fault::Text),
            (b"=2\r\nhi\r\n", 0, Fault::Text),
            (b"$-2\r\n", 0, Fault::Length),
            (b"*?\r\n", 0, Fault::Length),
            (b"$2\r\nhixx", 0, Fault::Crlf),
            (b"+a\rb\r\n", 0, Fault::Crlf),
        ];
        for (bytes, at, fault) in rows {
            assert_eq!(decode(bytes), Err(DecodeError { at, fault }), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth| [b"*1\r\n".repeat(depth), b":1\r\n".to_vec()].concat();
        assert!(matches!(decode(&nested(NESTING_MAX)), Ok(Some(_))));
        let at = 4 * (NESTING_MAX + 1);
        assert_eq!(decode(&nested(NESTING_MAX + 1)), Err(DecodeError { at, fault: Fault::Nesting }));
        assert_eq!(decode(&nested(1_000_000)), Err(DecodeError { at, fault: Fault::Nesting }));
    }

    #[test]
    fn an_aggregate_that_is_only_announced_costs_nothing() {
        for header in ["*9223372036854775807\r\n", "%9223372036854775807\r\n", "$9223372036854775805\r\n"] {
            assert_eq!(decode(header.as_bytes()), Ok(None));
        }
    }

    #[test]
    fn replies_decode_to_what_was_written() {
        let mut out = Vec::new();
        let mut reply = Reply::new(&mut out, Proto::Resp3);
        reply.map(1);
        reply.double(0.1);
        reply.set(2);
        reply.boolean(true);
        reply.verbatim(b"text");
        let expected = Value::Map(vec![(
            Value::Double(0.1),
            Value::Set(vec![
                Value::Boolean(true),
                Value::Verbatim { format: *b"txt", text: b"text".to_vec() },
            ]),
        )]);
        assert_eq!(decode(&out), Ok(Some((expected, out.len()))));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(&bytes);
        }

        #[test]
        fn no_likely_bytes_make_the_decoder_panic(bytes in "[-+:$*%~>,#(=!|_0-9atf\r\n]{0,40}|([*%~>|$][0-3]\r\n){0,20}") {
            if let Ok(Some((_, len))) = decode(bytes.as_bytes()) {
                prop_assert!(len <= bytes.len());
            }
        }
    }
}
