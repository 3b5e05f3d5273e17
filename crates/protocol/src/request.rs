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

/// How many times as long a long list of spans becomes when it is full, if as many arguments are to come.
const SPANS_GROWTH: usize = 8;

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
                // A handshake of TLS 1.x. It need not hold a line end, which an inline command would be waited for.
                Some(0x16) if buf.starts_with(&[0x16, 0x03]) => return Err(self.fail(ProtocolError::Tls)),
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

    /// The spans of the request last found, and the bytes they are of if those don't lie in the caller's buffer.
    pub(crate) fn into_parts(self) -> (Vec<(u32, u32)>, Vec<u8>) {
        (self.spans, self.inline)
    }

    /// Bytes of memory that it has beside itself.
    pub fn heap_bytes(&self) -> usize {
        self.spans.capacity() * size_of::<(u32, u32)>() + self.inline.capacity()
    }

    /// Checks the invariants of a parser that has said [`Incomplete`](Progress::Incomplete) of `buf`; for tests and
    /// fuzzing.
    ///
    /// # Panics
    /// If one is broken.
    pub fn check(&self, buf: &[u8]) {
        let scanned = buf.get(self.at..self.at + self.scanned).expect("the place lies within the buffer");
        let line_end = if self.args_left > 0 || buf.first() == Some(&b'*') { b'\r' } else { b'\n' };
        assert!(!scanned.contains(&line_end), "a line end was overlooked");
        assert!(
            self.spans.capacity() <= (2 * SPANS_KEPT_MAX).max(SPANS_GROWTH * self.spans.len()),
            "spans grow as arguments arrive"
        );
        if self.args_left == 0 {
            assert_eq!(self.at, 0, "between requests the place is the start");
            return;
        }
        let mut at_least = 0;
        for &(start, end) in &self.spans {
            assert!(at_least < start && start <= end, "arguments are in order, each behind its header");
            at_least = end;
        }
        assert!(
            self.spans.is_empty() || self.at == at_least as usize + 2,
            "the next argument is behind the last"
        );
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
            if self.spans.len() == self.spans.capacity() && self.spans.len() >= SPANS_KEPT_MAX {
                // By much: copying a list of millions takes milliseconds.
                self.spans.reserve_exact(
                    (SPANS_GROWTH - 1).saturating_mul(self.spans.len()).min(args_left as usize),
                );
            }
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
    // Most numbers have one digit or two.
    match line.first_chunk::<5>() {
        Some(&[first, ..]) if first != kind => None,
        Some(&[_, digit @ b'0'..=b'9', b'\r', b'\n', _]) => Some((u64::from(digit - b'0'), 4)),
        Some(&[_, tens @ b'1'..=b'9', ones @ b'0'..=b'9', b'\r', b'\n']) => {
            Some((10 * u64::from(tens - b'0') + u64::from(ones - b'0'), 5))
        }
        _ => any_short_header(line, kind),
    }
}

/// The same, with any number of digits.
fn any_short_header(line: &[u8], kind: u8) -> Option<(u64, usize)> {
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
    use crate::encode;
    use proptest::prelude::*;

    /// Requests read one after the other, and what ended it: `Ok` the rest is incomplete.
    type Outcome = (Vec<Vec<Vec<u8>>>, Result<(), ProtocolError>);

    const SMALL: Limits =
        Limits { bulk_bytes_max: 30, multibulk_len_max: 6, inline_bytes_max: 40, unauthenticated: false };

    fn owned(parser: &Parser, buf: &[u8]) -> Vec<Vec<u8>> {
        parser.args(buf).iter().map(<[u8]>::to_vec).collect()
    }

    /// Feeds `input` up to each of `cuts` in turn, as a connection does: read, parse what is there, read on.
    fn parse_in_pieces(input: &[u8], cuts: impl IntoIterator<Item = usize>, limits: &Limits) -> Outcome {
        let mut parser = Parser::default();
        let mut requests = Vec::new();
        let mut start = 0;
        for cut in cuts {
            while start < cut {
                match parser.parse(&input[start..cut], limits) {
                    Ok(Progress::Request { consumed }) => {
                        assert!(consumed > 0, "a request takes something");
                        requests.push(owned(&parser, &input[start..cut]));
                        start += consumed;
                    }
                    Ok(Progress::Incomplete { bytes_at_least }) => {
                        parser.check(&input[start..cut]);
                        assert!(bytes_at_least > cut - start, "an incomplete request needs more");
                        let room = bytes_at_least - (cut - start);
                        assert!(
                            room <= limits.bulk_bytes_max.saturating_add(2),
                            "and not more than the limits allow"
                        );
                        break;
                    }
                    Err(error) => return (requests, Err(error)),
                }
            }
        }
        (requests, Ok(()))
    }

    fn parse_whole(input: &[u8], limits: &Limits) -> Outcome {
        parse_in_pieces(input, [input.len()], limits)
    }

    #[test]
    fn a_request_ends_where_the_next_one_starts() {
        let input = b"*3\r\n$7\r\nPUBLISH\r\n$4\r\nchan\r\n$0\r\n\r\n*0\r\n*-1\r\n\r\n \nPING a\n*1\r\n$4\r\nPING\r\n";
        let expected: [&[&[u8]]; 7] =
            [&[b"PUBLISH", b"chan", b""], &[], &[], &[], &[], &[b"PING", b"a"], &[b"PING"]];
        let (requests, end) = parse_whole(input, &Limits::default());
        assert_eq!(requests, expected);
        assert_eq!(end, Ok(()));
    }

    #[test]
    fn an_incomplete_request_says_how_much_is_missing() {
        let input = b"*3\r\n$7\r\nPUBLISH\r\n$4\r\nchan\r\n$12\r\nhello\r\nworld\r\n";
        let rows =
            [(0, 1), (3, 4), (4, 5), (5, 6), (8, 17), (16, 17), (17, 18), (30, 31), (32, 46), (45, 46)];
        for (len, bytes_at_least) in rows {
            let progress = Parser::default().parse(&input[..len], &Limits::default());
            assert_eq!(progress, Ok(Progress::Incomplete { bytes_at_least }), "{len} bytes");
        }
    }

    #[test]
    fn a_broken_protocol_is_answered_in_redis_words() {
        let long = |start: &str, len: usize| [start.as_bytes(), &vec![b'1'; len - start.len()]].concat();
        let rows: [(&[u8], &str); 32] = [
            (b"*abc\r\n", "invalid multibulk length"),
            (b"*\r\n", "invalid multibulk length"),
            (b"*01\r\n", "invalid multibulk length"),
            (b"*+1\r\n", "invalid multibulk length"),
            (b"* 1\r\n", "invalid multibulk length"),
            (b"*-0\r\n", "invalid multibulk length"),
            (b"*1x\r\n", "invalid multibulk length"),
            (b"*2147483648\r\n", "invalid multibulk length"),
            (b"*99999999999999999999\r\n", "invalid multibulk length"),
            (b"*1\r\nx4\r\n", "expected '$', got 'x'"),
            (b"*1\r\n\r\n", "expected '$', got ' '"),
            (b"*1\r\n\n4\r\n", "expected '$', got ' '"),
            (b"*1\r\n\x004\r\n", "expected '$', got '\0'"),
            (b"*2\r\n$4\r\nPING\r\n:1\r\n", "expected '$', got ':'"),
            (b"*1\r\n$-1\r\n", "invalid bulk length"),
            (b"*1\r\n$a\r\n", "invalid bulk length"),
            (b"*1\r\n$\r\n", "invalid bulk length"),
            (b"*1\r\n$04\r\n", "invalid bulk length"),
            (b"*1\r\n$-0\r\n", "invalid bulk length"),
            (b"*1\r\n$536870913\r\n", "invalid bulk length"),
            (b"*1\r\n$99999999999999999999\r\n", "invalid bulk length"),
            (b"*1\rx", "invalid CRLF in request"),
            (b"*abc\rx", "invalid CRLF in request"),
            (b"*1\r\n$4\rx", "invalid CRLF in request"),
            (b"*1\r\n$4\r\nPINGxx", "invalid CRLF in request"),
            (b"*1\r\n$4\r\nPING\rx", "invalid CRLF in request"),
            (b"*2\r\n$4\r\nPINGx\n$a\r\n", "invalid CRLF in request"),
            (b"PING \"a\r\n", "unbalanced quotes in request"),
            (&long("*", 65537), "too big mbulk count string"),
            (&long("*1\r\n$", 65541), "too big bulk count string"),
            (&long("a", 65537), "too big inline request"),
            (&[&long("a", 65537)[..], b"\r\n"].concat(), "too big inline request"),
        ];
        for (input, text) in rows {
            let start = input[..input.len().min(40)].escape_ascii();
            let (requests, end) = parse_whole(input, &Limits::default());
            assert!(requests.is_empty(), "{start}");
            let mut out = Vec::new();
            crate::Reply::new(&mut out, crate::Proto::Resp2).error(&end.unwrap_err().wire());
            assert_eq!(
                String::from_utf8(out).unwrap(),
                format!("-ERR Protocol error: {text}\r\n"),
                "{start}"
            );
        }
    }

    #[test]
    fn what_may_yet_become_a_request_is_no_error() {
        let long = |start: &str, len: usize| [start.as_bytes(), &vec![b'1'; len - start.len()]].concat();
        let rows: [&[u8]; 9] = [
            b"*2147483647\r\n",
            b"*1\r\nx",
            b"*1\r\nx\r",
            b"*1\r\n$536870912\r\n",
            b"*1\r\n$4\r\nPINGx",
            b"PING\r",
            &long("*", 65536),
            &long("*1\r\n$", 65540),
            &long("a", 65536),
        ];
        for input in rows {
            let outcome = parse_whole(input, &Limits::default());
            assert_eq!(outcome, (vec![], Ok(())), "{}", input[..input.len().min(40)].escape_ascii());
        }
    }

    #[test]
    fn a_client_that_has_yet_to_authenticate_may_send_little() {
        let unauthenticated = Limits { unauthenticated: true, ..Limits::default() };
        let rows: [(&[u8], Result<(), ProtocolError>); 6] = [
            (b"*10\r\n", Ok(())),
            (b"*11\r\n", Err(ProtocolError::UnauthenticatedMultibulkLength)),
            (b"*2147483648\r\n", Err(ProtocolError::InvalidMultibulkLength)),
            (b"*1\r\n$16384\r\n", Ok(())),
            (b"*1\r\n$16385\r\n", Err(ProtocolError::UnauthenticatedBulkLength)),
            (b"*1\r\n$536870913\r\n", Err(ProtocolError::InvalidBulkLength)),
        ];
        for (input, expected) in rows {
            assert_eq!(parse_whole(input, &unauthenticated).1, expected, "{}", input.escape_ascii());
        }
        let mut whole = Vec::new();
        encode::request(&mut whole, [vec![b'x'; 16385]]);
        assert_eq!(parse_whole(&whole, &unauthenticated).1, Err(ProtocolError::UnauthenticatedBulkLength));
    }

    #[test]
    fn a_request_that_would_end_past_the_reach_of_a_span_is_refused() {
        let limits = Limits { bulk_bytes_max: usize::MAX, ..Limits::default() };
        let outcome = parse_whole(b"*1\r\n$4294967270\r\n", &limits);
        assert_eq!(outcome.1, Ok(()));
        for input in [&b"*1\r\n$4294967290\r\n"[..], b"*1\r\n$9223372036854775807\r\n"] {
            assert_eq!(parse_whole(input, &limits).1, Err(ProtocolError::RequestTooLarge));
        }
    }

    #[test]
    fn a_parser_goes_on_after_an_error_as_if_new() {
        let mut parser = Parser::default();
        let limits = Limits::default();
        for broken in [&b"*2\r\n$1\r\na\r\n$x\r\n"[..], b"*x\r\n", b"a \"b\r\n"] {
            parser.parse(broken, &limits).unwrap_err();
            assert!(parser.args(broken).is_empty());
            assert_eq!(parser.parse(b"*1\r\n$1\r\na\r\n", &limits), Ok(Progress::Request { consumed: 11 }));
        }
    }

    #[test]
    fn an_array_after_a_quoted_command_is_seen_in_its_own_buffer() {
        let mut parser = Parser::default();
        parser.parse(b"\"quoted\"\n", &Limits::default()).unwrap();
        let array = b"*1\r\n$5\r\nplain\r\n";
        parser.parse(array, &Limits::default()).unwrap();
        assert_eq!(owned(&parser, array), [b"plain"]);
    }

    #[test]
    fn an_idle_parser_owns_no_memory_and_a_used_one_little() {
        let mut parser = Parser::default();
        assert_eq!((parser.spans.capacity(), parser.inline.capacity()), (0, 0));
        let mut many = Vec::new();
        encode::request(&mut many, vec!["x"; 100_000]);
        parser.parse(&many, &Limits::default()).unwrap();
        parser.parse(b"*1\r\n$1\r\na\r\n", &Limits::default()).unwrap();
        assert!(parser.spans.capacity() <= SPANS_KEPT_MAX);
    }

    #[test]
    fn announced_arguments_reserve_nothing() {
        let mut parser = Parser::default();
        parser.parse(b"*2147483647\r\n$1\r\na\r\n$536870912\r\n", &Limits::default()).unwrap();
        assert!(parser.spans.capacity() <= 8);
    }

    #[test]
    fn a_parser_asked_again_with_a_shorter_buffer_waits() {
        let input = b"*2\r\n$1\r\na\r\n$1\r\nb\r\n";
        let mut parser = Parser::default();
        parser.parse(&input[..15], &Limits::default()).unwrap();
        assert!(matches!(parser.parse(&input[..3], &Limits::default()), Ok(Progress::Incomplete { .. })));
        assert_eq!(parser.parse(input, &Limits::default()), Ok(Progress::Request { consumed: input.len() }));
    }

    /// Bytes that are mostly requests, sometimes broken ones.
    fn wire() -> impl Strategy<Value = Vec<u8>> {
        let argument = prop_oneof![
            8 => prop::collection::vec(any::<u8>(), 0..12),
            1 => prop::collection::vec(any::<u8>(), 28..34),
        ];
        let array = prop::collection::vec(argument, 0..8).prop_map(|args| {
            let mut out = Vec::new();
            encode::request(&mut out, &args);
            out
        });
        let inline = "[a-c \"'\\\\]{0,8}\r?\n".prop_map(String::into_bytes);
        let header = "[*$]-?[0-9]{0,3}\r\n".prop_map(String::into_bytes);
        let noise = prop::collection::vec(any::<u8>(), 0..6);
        let part = prop_oneof![8 => array, 3 => inline, 1 => header, 1 => noise];
        prop::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_what_is_parsed(
            requests in prop::collection::vec(
                prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 1..6), 0..6),
        ) {
            let mut input = Vec::new();
            for args in &requests {
                encode::request(&mut input, args);
            }
            prop_assert_eq!(parse_whole(&input, &Limits::default()), (requests, Ok(())));
        }

        #[test]
        fn every_split_parses_as_the_whole(input in wire(), unauthenticated: bool) {
            let limits = Limits { unauthenticated, ..SMALL };
            let whole = parse_whole(&input, &limits);
            prop_assert_eq!(&parse_in_pieces(&input, 1..=input.len(), &limits), &whole);
            for cut in 1..input.len() {
                prop_assert_eq!(&parse_in_pieces(&input, [cut, input.len()], &limits), &whole);
            }
        }

        #[test]
        fn no_bytes_make_the_parser_panic(input in prop::collection::vec(any::<u8>(), 0..80)) {
            let whole = parse_whole(&input, &Limits::default());
            prop_assert_eq!(parse_in_pieces(&input, 1..=input.len(), &Limits::default()), whole);
        }

        #[test]
        fn no_likely_bytes_make_the_parser_panic(input in "([*$]-?[0-9]{0,11}|[a-z\"']|\r\n|\r|\n){0,30}") {
            let whole = parse_whole(input.as_bytes(), &SMALL);
            prop_assert_eq!(parse_in_pieces(input.as_bytes(), 1..=input.len(), &SMALL), whole);
        }
    }
}
