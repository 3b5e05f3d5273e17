//! Requests: arrays of bulk strings, or inline commands, found in the caller's buffer without copying them.
//!
//! ```text
//! buffer   *2\r\n $7\r\nPUBLISH\r\n $4\r\nch
//!                      └─────┘      ↑
//! spans               [8, 15)       `at`, one argument left
//! ```
//!
//! Invariants
//! - `args_left` = 0: no request was begun, `at` = 0. Otherwise `spans` holds the arguments found so far, and `at` is
//!   the `$` of the next one.
//! - The `scanned` bytes behind `at` hold no line end, and are not searched for it again.
//! - Nothing is reserved for what the peer merely announces: `spans` grows with the arguments that have arrived, each
//!   of which took at least six bytes on the wire.
//!
//! Cost: O(bytes), over any number of calls: a repeated call reads again at most one header of an argument (a dozen
//! bytes). No allocation once `spans` has its length.
//! Source: the RESP specification; limits and the order of checks are Redis 8.2's, the check of CRLF Valkey 9's.

use crate::args::Args;
use crate::argument;
use crate::error::ProtocolError;
use crate::inline;

/// What a client may send; checked while parsing, before anything is allocated for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest argument in bytes (`proto-max-bulk-len`).
    pub bulk_bytes_max: usize,
    /// Most arguments in one request.
    pub multibulk_len_max: usize,
    /// Longest inline command, and longest header line, in bytes.
    pub inline_bytes_max: usize,
    /// Whether the client has yet to authenticate: the two limits above are then Redis's small ones and the errors say so.
    pub unauthenticated: bool,
}

impl Limits {
    /// Most arguments in a request of a client that has yet to authenticate.
    pub const UNAUTHENTICATED_MULTIBULK_LEN_MAX: usize = 10;
    /// Longest argument of a client that has yet to authenticate.
    pub const UNAUTHENTICATED_BULK_BYTES_MAX: usize = 16 * 1024;
}

impl Default for Limits {
    /// Redis's defaults, for a client that has authenticated or needn't.
    fn default() -> Limits {
        Limits {
            bulk_bytes_max: 512 * 1024 * 1024,
            multibulk_len_max: i32::MAX as usize,
            inline_bytes_max: 64 * 1024,
            unauthenticated: false,
        }
    }
}

/// Where the arguments of one request lie. Keeps its place when the request is incomplete.
///
/// A new one owns no memory, so it can be taken (`std::mem::take`) into the state of a connection whose request is
/// incomplete, and left behind for the next connection otherwise.
#[derive(Debug, Default)]
pub struct Parser {
    /// Start and end of the arguments found so far, from the start of the request.
    spans: Vec<(u32, u32)>,
    /// Unescaped arguments of an inline command, which don't lie in the caller's buffer. Empty if they do.
    inline: Vec<u8>,
    /// Where to go on, from the start of the request.
    at: usize,
    /// Bytes behind `at` known to hold no line end.
    scanned: usize,
    /// Arguments still to come; 0 between requests.
    args_left: u32,
}

/// What [`Parser::parse`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// A whole request of `consumed` bytes; it may have no arguments (an empty line, `*0`), and is then skipped.
    Request {
        /// Bytes of the buffer that belong to it.
        consumed: usize,
    },
    /// The request goes on past the end of the buffer: at least `bytes_at_least` from its start are needed.
    Incomplete {
        /// Lower bound of the request's total length, for reserving memory; never above what the limits allow.
        bytes_at_least: usize,
    },
}

/// Longest list of spans kept from one request to the next: one with a million arguments must not cost its 8 MiB
/// for ever.
const SPANS_KEPT_MAX: usize = 16 * 1024;

impl Parser {
    /// Parses the request at the start of `buf`. After `Incomplete`, call again with the same bytes and more behind them:
    /// parsing goes on where it stopped. After `Request` or an error the next call starts anew.
    pub fn parse(&mut self, buf: &[u8], limits: &Limits) -> Result<Progress, ProtocolError> {
        // From here on every offset into the buffer fits a span.
        let buf = &buf[..buf.len().min(u32::MAX as usize)];
        if self.args_left == 0 {
            match buf.first() {
                Some(b'*') => match self.array_header(buf, limits) {
                    Ok(None) => {}
                    Ok(Some(progress)) => return Ok(progress),
                    Err(error) => return Err(self.fail(error)),
                },
                Some(_) => return self.inline(buf, limits),
                None => return Ok(Progress::Incomplete { bytes_at_least: 1 }),
            }
        }
        self.arguments(buf, limits)
    }

    /// The arguments of the request last found in `buf`.
    #[inline]
    pub fn args<'a>(&'a self, buf: &'a [u8]) -> Args<'a> {
        Args::new(if self.inline.is_empty() { buf } else { &self.inline }, &self.spans)
    }

    /// Reads `*count`; `None` if arguments follow.
    #[inline]
    fn array_header(&mut self, buf: &[u8], limits: &Limits) -> Result<Option<Progress>, ProtocolError> {
        let (count, end) = match short_header(buf, b'*') {
            Some((count, end)) => (count as i64, end),
            None => match self.long_header(buf, limits, ProtocolError::MultibulkCountTooLong)? {
                None => return incomplete(buf.len() + 1).map(Some),
                Some(end) => {
                    (argument::int(&buf[1..end - 2]).ok_or(ProtocolError::InvalidMultibulkLength)?, end)
                }
            },
        };
        if count > limits.multibulk_len_max.min(i32::MAX as usize) as i64 {
            return Err(ProtocolError::InvalidMultibulkLength);
        }
        if limits.unauthenticated && count > Limits::UNAUTHENTICATED_MULTIBULK_LEN_MAX as i64 {
            return Err(ProtocolError::UnauthenticatedMultibulkLength);
        }
        self.forget_request();
        if count <= 0 {
            return Ok(Some(Progress::Request { consumed: end }));
        }
        self.at = end;
        self.args_left = count as u32;
        Ok(None)
    }

    /// Reads arguments until the request or the buffer ends.
    #[inline]
    fn arguments(&mut self, buf: &[u8], limits: &Limits) -> Result<Progress, ProtocolError> {
        let bulk_bytes_max = match limits.unauthenticated {
            true => limits.bulk_bytes_max.min(Limits::UNAUTHENTICATED_BULK_BYTES_MAX),
            false => limits.bulk_bytes_max,
        };
        let (mut at, mut args_left) = (self.at, self.args_left);
        while args_left > 0 {
            let Some((start, end)) = whole_bulk(buf, at, bulk_bytes_max) else {
                if self.at != at {
                    self.scanned = 0;
                }
                (self.at, self.args_left) = (at, args_left);
                return self.cut_bulk(buf, limits).map_err(|error| self.fail(error));
            };
            self.spans.push((start as u32, end as u32));
            at = end + 2;
            args_left -= 1;
        }
        (self.at, self.scanned, self.args_left) = (0, 0, 0);
        Ok(Progress::Request { consumed: at })
    }

    /// The argument at `at` is not whole: what is wrong with it, or how many bytes are missing?
    #[cold]
    fn cut_bulk(&mut self, buf: &[u8], limits: &Limits) -> Result<Progress, ProtocolError> {
        let Some(start) = self.long_header(buf, limits, ProtocolError::BulkCountTooLong)? else {
            return incomplete(buf.len() + 1);
        };
        let line = &buf[self.at..start - 2];
        let len = match line {
            [b'$', digits @ ..] => argument::int(digits).ok_or(ProtocolError::InvalidBulkLength)?,
            [found, ..] => return Err(ProtocolError::ExpectedBulk { found: *found }),
            [] => return Err(ProtocolError::ExpectedBulk { found: b'\r' }),
        };
        let len = usize::try_from(len).map_err(|_| ProtocolError::InvalidBulkLength)?;
        if len > limits.bulk_bytes_max {
            return Err(ProtocolError::InvalidBulkLength);
        }
        if limits.unauthenticated && len > Limits::UNAUTHENTICATED_BULK_BYTES_MAX {
            return Err(ProtocolError::UnauthenticatedBulkLength);
        }
        let end = start.saturating_add(len).saturating_add(2);
        if end <= buf.len() {
            return Err(ProtocolError::InvalidCrlf);
        }
        incomplete(end)
    }

    /// Finds the end of the header line at `at`: the place behind its CRLF, or `None` if it has yet to come.
    #[cold]
    fn long_header(
        &mut self,
        buf: &[u8],
        limits: &Limits,
        too_long: ProtocolError,
    ) -> Result<Option<usize>, ProtocolError> {
        let line = buf.get(self.at..).unwrap_or(&[]);
        let line = &line[..line.len().min(limits.inline_bytes_max.saturating_add(2))];
        match line.get(self.scanned..).and_then(|fresh| memchr::memchr(b'\r', fresh)) {
            Some(offset) if self.scanned + offset <= limits.inline_bytes_max => {
                self.scanned += offset;
                match line.get(self.scanned + 1) {
                    None => Ok(None),
                    Some(b'\n') => Ok(Some(self.at + self.scanned + 2)),
                    Some(_) => Err(ProtocolError::InvalidCrlf),
                }
            }
            _ if line.len() > limits.inline_bytes_max => Err(too_long),
            _ => {
                self.scanned = line.len();
                Ok(None)
            }
        }
    }

    /// Reads an inline command.
    #[cold]
    fn inline(&mut self, buf: &[u8], limits: &Limits) -> Result<Progress, ProtocolError> {
        let window = &buf[..buf.len().min(limits.inline_bytes_max.saturating_add(1))];
        let Some(offset) = window.get(self.scanned..).and_then(|fresh| memchr::memchr(b'\n', fresh)) else {
            if buf.len() > limits.inline_bytes_max {
                return Err(self.fail(ProtocolError::InlineTooLong));
            }
            self.scanned = buf.len();
            return incomplete(buf.len() + 1).map_err(|error| self.fail(error));
        };
        let line_end = self.scanned + offset;
        self.forget_request();
        let line = &buf[..line_end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        inline::split(line, &mut self.spans, &mut self.inline).map_err(|error| self.fail(error))?;
        Ok(Progress::Request { consumed: line_end + 1 })
    }

    /// Makes ready for the next request; keeps the memory, unless it is a lot.
    fn forget_request(&mut self) {
        (self.at, self.scanned, self.args_left) = (0, 0, 0);
        self.inline.clear();
        self.spans.clear();
        if self.spans.capacity() > SPANS_KEPT_MAX {
            self.spans = Vec::new();
        }
    }

    #[cold]
    fn fail(&mut self, error: ProtocolError) -> ProtocolError {
        self.forget_request();
        error
    }
}

/// Asks for more, unless it would lie where no span reaches.
fn incomplete(bytes_at_least: usize) -> Result<Progress, ProtocolError> {
    match u32::try_from(bytes_at_least) {
        Ok(_) => Ok(Progress::Incomplete { bytes_at_least }),
        Err(_) => Err(ProtocolError::RequestTooLarge),
    }
}

/// Start and end of the argument whose header is at `buf[at..]`, if it is within the limit and all there, its CRLF
/// included.
#[inline]
fn whole_bulk(buf: &[u8], at: usize, bytes_max: usize) -> Option<(usize, usize)> {
    let (len, header_len) = short_header(buf.get(at..)?, b'$')?;
    let len = usize::try_from(len).ok()?;
    let start = at + header_len;
    let end = start + len;
    let whole = len <= bytes_max && buf.get(end..end + 2)? == b"\r\n";
    whole.then_some((start, end))
}

/// The number in a header line and the line's length with CRLF, if the line is all there and is nothing but `kind`, one
/// to ten digits (no leading zero), CRLF.
///
/// Ten digits hold every length within 4 GiB; whoever sends more takes the slow way to be told off.
#[inline]
fn short_header(line: &[u8], kind: u8) -> Option<(u64, usize)> {
    if *line.first()? != kind {
        return None;
    }
    let mut value = 0;
    for at in 1..=11 {
        let digit = line.get(at)?.wrapping_sub(b'0');
        if digit > 9 {
            let well_formed = at > 1 && (line[1] != b'0' || at == 2) && *line.get(at..at + 2)? == *b"\r\n";
            return well_formed.then_some((value, at + 2));
        }
        value = value * 10 + u64::from(digit);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(input: &[u8]) -> Result<(Vec<Vec<u8>>, usize), ProtocolError> {
        let mut parser = Parser::default();
        match parser.parse(input, &Limits::default())? {
            Progress::Request { consumed } => {
                Ok((parser.args(input).iter().map(<[u8]>::to_vec).collect(), consumed))
            }
            Progress::Incomplete { bytes_at_least } => panic!("incomplete: {bytes_at_least}"),
        }
    }

    #[test]
    fn an_array_of_bulk_strings_is_a_request() {
        let input = b"*3\r\n$7\r\nPUBLISH\r\n$4\r\nchan\r\n$0\r\n\r\n*1\r\n";
        let (args, consumed) = whole(input).unwrap();
        assert_eq!(args, [&b"PUBLISH"[..], b"chan", b""]);
        assert_eq!(consumed, input.len() - 4);
    }

    #[test]
    fn an_inline_command_is_a_request() {
        assert_eq!(whole(b"PING  a\r\n").unwrap(), (vec![b"PING".to_vec(), b"a".to_vec()], 9));
        assert_eq!(whole(b"PING \"a b\"\n").unwrap(), (vec![b"PING".to_vec(), b"a b".to_vec()], 11));
    }

    #[test]
    fn a_request_cut_anywhere_goes_on_where_it_stopped() {
        let input = b"*3\r\n$7\r\nPUBLISH\r\n$4\r\nchan\r\n$12\r\nhello\r\nworld\r\n";
        let mut parser = Parser::default();
        for end in 0..input.len() {
            let Ok(Progress::Incomplete { bytes_at_least }) = parser.parse(&input[..end], &Limits::default())
            else {
                panic!("not incomplete at {end}")
            };
            assert!(bytes_at_least > end && bytes_at_least <= input.len(), "{bytes_at_least} at {end}");
        }
        assert_eq!(parser.parse(input, &Limits::default()), Ok(Progress::Request { consumed: input.len() }));
        assert_eq!(&parser.args(input)[2], b"hello\r\nworld");
    }
}
