//! Replies: an append-only writer of RESP2 and RESP3.
//!
//! A command says what it means (a map, a null, a double) and [`Reply`] writes what the client's protocol has for it.
//! An aggregate is a header with its length, followed by as many replies; a length not known in advance is filled in
//! afterwards ([`Reply::array_deferred`]).
//!
//! Nothing is ever taken back or read from what was written, so the bytes may go to a socket's queue directly.

use crate::double;

/// Which protocol a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Proto {
    /// The default.
    #[default]
    Resp2,
    /// After `HELLO 3`.
    Resp3,
}

/// Writes one reply to the end of `out`, in the client's protocol.
#[derive(Debug)]
pub struct Reply<'a> {
    /// Where the bytes go.
    pub out: &'a mut Vec<u8>,
    /// What the client speaks.
    pub proto: Proto,
    /// What `out` may grow to with bulk strings.
    len_max: usize,
    /// A bulk string was left out, since `out` would have passed that.
    is_cut: bool,
}

/// An array whose length is yet to be said: see [`Reply::array_deferred`].
#[derive(Debug)]
#[must_use = "without its length the array has no header"]
pub struct Deferred {
    /// Where the header belongs.
    at: usize,
}

/// Room left for a deferred header: right for up to nine elements, others move what follows.
const DEFERRED: &[u8] = b"*0\r\n";

impl<'a> Reply<'a> {
    /// A writer that appends to `out`.
    pub fn new(out: &'a mut Vec<u8>, proto: Proto) -> Reply<'a> {
        Reply { out, proto, len_max: usize::MAX, is_cut: false }
    }

    /// Leaves out every bulk string with which the reply would pass `bytes` more than there are, until
    /// [`end_limit`](Reply::end_limit): a reply that is so long is made by somebody who has the time, and what is written of
    /// it is taken back.
    pub fn limit(&mut self, bytes: usize) {
        self.len_max = self.out.len().saturating_add(bytes);
    }

    /// From here on nothing is left out. Whether something has been: what was written is no reply.
    pub fn end_limit(&mut self) -> bool {
        self.len_max = usize::MAX;
        std::mem::take(&mut self.is_cut)
    }

    /// Whether a bulk string has been left out: the bytes behind the last place that was noted are not what they should be.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// A writer for a part of the reply that is made before what precedes it, and limited as the reply is.
    pub fn part<'p>(&self, out: &'p mut Vec<u8>) -> Reply<'p> {
        let len_max = match self.len_max {
            usize::MAX => usize::MAX,
            len_max => out.len() + len_max.saturating_sub(self.out.len()),
        };
        Reply { out, proto: self.proto, len_max, is_cut: self.is_cut }
    }

    /// Appends the bytes of such a part, of which something was left out or not.
    pub fn append(&mut self, part: &[u8], is_cut: bool) {
        self.is_cut |= is_cut;
        self.out.extend_from_slice(part);
    }

    /// Whether a bulk string that ends there is left out.
    #[inline]
    pub(crate) fn is_cut_at(&self, end: usize) -> bool {
        self.is_cut || end > self.len_max
    }

    /// Whether `len` bytes more are left out.
    #[inline]
    fn cuts(&mut self, len: usize) -> bool {
        self.is_cut |= self.out.len().saturating_add(len) > self.len_max;
        self.is_cut
    }

    /// `+OK`.
    pub fn ok(&mut self) {
        self.out.extend_from_slice(b"+OK\r\n");
    }

    /// A simple string; `text` has no CR or LF.
    pub fn simple(&mut self, text: &str) {
        self.status(text.as_bytes());
    }

    /// A simple string from bytes. CR and LF in it become spaces.
    pub fn status(&mut self, text: &[u8]) {
        self.line(b'+', text);
    }

    /// An error line without the leading `-`: `ERR …`. CR and LF in it become spaces, and those at its end are left out, as in
    /// Redis.
    pub fn error(&mut self, text: &[u8]) {
        let last = text.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n'));
        self.line(b'-', &text[..last.map_or(0, |last| last + 1)]);
    }

    /// An integer.
    #[inline]
    pub fn int(&mut self, value: i64) {
        header(self.out, b':', value);
    }

    /// A bulk string. Room is made once, for all of it: a buffer that had to grow for the last two bytes would double.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        if self.cuts(bytes.len()) {
            return;
        }
        self.out.reserve(bytes.len() + BULK_FRAME_BYTES_MAX);
        bulk_header(self.out, bytes.len());
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
    }

    /// A bulk string of `len` bytes, which come in pieces.
    pub fn bulk_pieces<'p>(&mut self, len: usize, pieces: impl Iterator<Item = &'p [u8]>) {
        if self.cuts(len) {
            return;
        }
        self.out.reserve(len + BULK_FRAME_BYTES_MAX);
        bulk_header(self.out, len);
        let start = self.out.len();
        pieces.for_each(|piece| self.out.extend_from_slice(piece));
        debug_assert_eq!(self.out.len() - start, len);
        self.out.extend_from_slice(b"\r\n");
    }

    /// A bulk string, or a null.
    pub fn bulk_or_null(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }

    /// A bulk string of an integer's decimal digits.
    pub fn bulk_int(&mut self, value: i64) {
        self.bulk(itoa::Buffer::new().format(value).as_bytes());
    }

    /// A double; RESP2: a bulk string of the same text.
    pub fn double(&mut self, value: f64) {
        if self.proto == Proto::Resp2
            && let Some(whole) = double::whole(value)
        {
            return self.bulk_int(whole);
        }
        let mut text = Vec::with_capacity(32);
        double::write(&mut text, value);
        self.double_text(&text);
    }

    /// A double whose digits are these; RESP2: a bulk string.
    pub fn double_text(&mut self, digits: &[u8]) {
        match self.proto {
            Proto::Resp2 => self.bulk(digits),
            Proto::Resp3 => self.line(b',', digits),
        }
    }

    /// A null where a bulk string could stand: `$-1`, RESP3 `_`.
    pub fn null(&mut self) {
        self.out.extend_from_slice(if self.proto == Proto::Resp3 { b"_\r\n" } else { b"$-1\r\n" });
    }

    /// A null where an array could stand: `*-1`, RESP3 `_`.
    pub fn null_array(&mut self) {
        self.out.extend_from_slice(if self.proto == Proto::Resp3 { b"_\r\n" } else { b"*-1\r\n" });
    }

    /// Header of an array of `len` elements, which follow.
    #[inline]
    pub fn array(&mut self, len: usize) {
        header(self.out, b'*', len as i64);
    }

    /// Header of an array whose length is said by [`array_finish`](Reply::array_finish), once its elements stand.
    ///
    /// Deferred arrays may nest; the innermost is finished first.
    pub fn array_deferred(&mut self) -> Deferred {
        let at = self.out.len();
        self.out.extend_from_slice(DEFERRED);
        Deferred { at }
    }

    /// Says that `len` elements have followed the header.
    ///
    /// Cost: O(1) up to nine elements, otherwise the bytes written since are moved by a few places.
    ///
    /// # Panics
    /// If bytes before the array were taken away meanwhile.
    pub fn array_finish(&mut self, deferred: Deferred, len: usize) {
        let mut line = Vec::new();
        header(&mut line, b'*', len as i64);
        self.out.splice(deferred.at..deferred.at + DEFERRED.len(), line);
    }

    /// Says that `len` elements have followed the header, and that they are a set; RESP2: an array.
    ///
    /// # Panics
    /// As [`array_finish`](Reply::array_finish).
    pub fn set_finish(&mut self, deferred: Deferred, len: usize) {
        let mut line = Vec::new();
        Reply::new(&mut line, self.proto).set(len);
        self.out.splice(deferred.at..deferred.at + DEFERRED.len(), line);
    }

    /// Header of a map of `pairs`; RESP2: an array of twice as many.
    pub fn map(&mut self, pairs: usize) {
        match self.proto {
            Proto::Resp2 => header(self.out, b'*', 2 * pairs as i64),
            Proto::Resp3 => header(self.out, b'%', pairs as i64),
        }
    }

    /// Header of a set of `len` elements; RESP2: an array.
    pub fn set(&mut self, len: usize) {
        header(self.out, if self.proto == Proto::Resp3 { b'~' } else { b'*' }, len as i64);
    }

    /// Header of a push of `len` elements; RESP2: an array.
    pub fn push(&mut self, len: usize) {
        header(self.out, if self.proto == Proto::Resp3 { b'>' } else { b'*' }, len as i64);
    }

    /// A boolean; RESP2: 1 or 0.
    pub fn boolean(&mut self, value: bool) {
        match self.proto {
            Proto::Resp2 => self.int(i64::from(value)),
            Proto::Resp3 => self.out.extend_from_slice(if value { b"#t\r\n" } else { b"#f\r\n" }),
        }
    }

    /// An integer of any length, in decimal digits; RESP2: a bulk string of them.
    pub fn big_number(&mut self, digits: &str) {
        match self.proto {
            Proto::Resp2 => self.bulk(digits.as_bytes()),
            Proto::Resp3 => self.line(b'(', digits.as_bytes()),
        }
    }

    /// Header of an attribute of `pairs`, which stands before the reply that it is about. RESP2 has none: the caller leaves
    /// it out.
    pub fn attribute(&mut self, pairs: usize) {
        header(self.out, b'|', pairs as i64);
    }

    /// Text for people, RESP3 verbatim with format `txt`; RESP2: a bulk string.
    pub fn verbatim(&mut self, text: &[u8]) {
        match self.proto {
            Proto::Resp2 => self.bulk(text),
            Proto::Resp3 => {
                self.out.reserve(text.len() + 4 + BULK_FRAME_BYTES_MAX);
                header(self.out, b'=', text.len() as i64 + 4);
                self.out.extend_from_slice(b"txt:");
                self.out.extend_from_slice(text);
                self.out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// `kind`, `text` with CR and LF made spaces, CRLF.
    fn line(&mut self, kind: u8, text: &[u8]) {
        self.out.reserve(text.len() + 3);
        self.out.push(kind);
        let start = self.out.len();
        self.out.extend_from_slice(text);
        for byte in &mut self.out[start..] {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
        self.out.extend_from_slice(b"\r\n");
    }
}

/// Appends `kind`, `value`, CRLF.
#[inline]
pub(crate) fn header(out: &mut Vec<u8>, kind: u8, value: i64) {
    match value {
        0..=9 => out.extend_from_slice(&[kind, b'0' + value as u8, b'\r', b'\n']),
        10..=99 => {
            let (tens, ones) = (value as u8 / 10, value as u8 % 10);
            out.extend_from_slice(&[kind, b'0' + tens, b'0' + ones, b'\r', b'\n']);
        }
        _ => long_header(out, kind, value),
    }
}

#[inline(never)]
fn long_header(out: &mut Vec<u8>, kind: u8, value: i64) {
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(value).as_bytes();
    // Put together first: each piece that is appended asks whether there is room for it.
    let mut line = [0; LINE_BYTES_MAX];
    line[0] = kind;
    line[1..][..digits.len()].copy_from_slice(digits);
    line[1 + digits.len()..][..2].copy_from_slice(b"\r\n");
    out.extend_from_slice(&line[..digits.len() + 3]);
}

/// Bytes of a header line: a kind, a sign and 19 digits, CRLF.
const LINE_BYTES_MAX: usize = 1 + 20 + 2;

/// Bytes of a bulk string beside its own: `$`, digits of a length, CRLF twice.
const BULK_FRAME_BYTES_MAX: usize = 1 + 20 + 2 + 2;

/// Appends the header of a bulk string of `len` bytes.
#[inline]
pub(crate) fn bulk_header(out: &mut Vec<u8>, len: usize) {
    // No slice is longer than isize::MAX.
    header(out, b'$', len as i64);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(proto: Proto, write: impl Fn(&mut Reply<'_>)) -> String {
        let mut out = Vec::new();
        write(&mut Reply::new(&mut out, proto));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_type_has_its_form_in_both_protocols() {
        type Row = (&'static str, &'static str, fn(&mut Reply<'_>));
        let rows: [Row; 28] = [
            ("+OK\r\n", "+OK\r\n", |r| r.ok()),
            ("+PONG\r\n", "+PONG\r\n", |r| r.simple("PONG")),
            ("+a  b\r\n", "+a  b\r\n", |r| r.status(b"a\r\nb")),
            ("-ERR a b\r\n", "-ERR a b\r\n", |r| r.error(b"ERR a\rb\r\n\n")),
            ("-\r\n", "-\r\n", |r| r.error(b"\r\n")),
            (":0\r\n", ":0\r\n", |r| r.int(0)),
            (":9\r\n", ":9\r\n", |r| r.int(9)),
            (":10\r\n", ":10\r\n", |r| r.int(10)),
            (":99\r\n", ":99\r\n", |r| r.int(99)),
            (":100\r\n", ":100\r\n", |r| r.int(100)),
            (":-1\r\n", ":-1\r\n", |r| r.int(-1)),
            (":-9223372036854775808\r\n", ":-9223372036854775808\r\n", |r| r.int(i64::MIN)),
            ("$2\r\nhi\r\n", "$2\r\nhi\r\n", |r| r.bulk(b"hi")),
            ("$0\r\n\r\n", "$0\r\n\r\n", |r| r.bulk(b"")),
            ("$1\r\n\n\r\n", "$1\r\n\n\r\n", |r| r.bulk_or_null(Some(b"\n"))),
            ("$-1\r\n", "_\r\n", |r| r.bulk_or_null(None)),
            ("$3\r\n-42\r\n", "$3\r\n-42\r\n", |r| r.bulk_int(-42)),
            ("$3\r\n1.5\r\n", ",1.5\r\n", |r| r.double(1.5)),
            ("$3\r\ninf\r\n", ",inf\r\n", |r| r.double(f64::INFINITY)),
            ("$-1\r\n", "_\r\n", |r| r.null()),
            ("*-1\r\n", "_\r\n", |r| r.null_array()),
            ("*12\r\n", "*12\r\n", |r| r.array(12)),
            ("*4\r\n", "%2\r\n", |r| r.map(2)),
            ("*2\r\n", "~2\r\n", |r| r.set(2)),
            ("*3\r\n", ">3\r\n", |r| r.push(3)),
            (":1\r\n", "#t\r\n", |r| r.boolean(true)),
            (":0\r\n", "#f\r\n", |r| r.boolean(false)),
            ("$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n", |r| r.verbatim(b"hi")),
        ];
        for (resp2, resp3, write) in rows {
            assert_eq!(written(Proto::Resp2, write), resp2);
            assert_eq!(written(Proto::Resp3, write), resp3);
        }
    }

    #[test]
    fn of_a_reply_with_a_limit_nothing_is_written_beyond_it() {
        let mut out = b"+OK\r\n".to_vec();
        let mut reply = Reply::new(&mut out, Proto::Resp2);
        reply.limit(20);
        reply.bulk(b"0123456789");
        assert!(!reply.is_cut());
        reply.bulk(b"0123456789");
        reply.bulk_pieces(10, [&b"0123456789"[..]].into_iter());
        reply.bulk(b"");
        assert!(reply.is_cut() && reply.end_limit() && !reply.is_cut() && !reply.end_limit());
        assert_eq!(reply.out, b"+OK\r\n$10\r\n0123456789\r\n");
        reply.bulk(b"0123456789");
        assert!(!reply.end_limit());
        assert_eq!(reply.out.len(), 5 + 2 * 17);
    }

    #[test]
    fn a_large_string_takes_no_more_room_than_it_has_bytes() {
        for proto in [Proto::Resp2, Proto::Resp3] {
            let text = vec![b'x'; 1 << 20];
            let writes: [fn(&mut Reply<'_>, &[u8]); 2] =
                [|reply, text| reply.bulk(text), |reply, text| reply.verbatim(text)];
            for write in writes {
                let mut out = Vec::with_capacity(64 << 10);
                write(&mut Reply::new(&mut out, proto), &text);
                assert!(out.capacity() < text.len() + 64, "{} bytes for {}", out.capacity(), text.len());
            }
        }
    }

    #[test]
    fn a_deferred_array_reads_as_if_its_length_had_been_known() {
        for (outer, inner) in [(0, 0), (1, 9), (9, 10), (12, 100)] {
            let deferred = written(Proto::Resp2, |reply| {
                reply.ok();
                let array = reply.array_deferred();
                for n in 0..outer {
                    let nested = reply.array_deferred();
                    (0..inner).for_each(|_| reply.int(n));
                    reply.array_finish(nested, inner);
                }
                reply.array_finish(array, outer as usize);
            });
            let known = written(Proto::Resp2, |reply| {
                reply.ok();
                reply.array(outer as usize);
                for n in 0..outer {
                    reply.array(inner);
                    (0..inner).for_each(|_| reply.int(n));
                }
            });
            assert_eq!(deferred, known);
        }
    }
}
