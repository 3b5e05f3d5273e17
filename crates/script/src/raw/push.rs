//! Replies of commands as Lua values.
//!
//! | reply | RESP2 | after `redis.setresp(3)` |
//! |---|---|---|
//! | integer, bulk string | number, string | the same |
//! | status, error | `{ok=…}`, `{err=…}` | the same |
//! | null | `false` | `nil` |
//! | array | table | the same |
//! | map, set, double, boolean | as RESP2 has them | `{map={…}}`, `{set={…}}`, `{double=…}`, boolean |
//! | big number, verbatim string | strings | `{big_number=…}`, `{verbatim_string={…}}` |
//!
//! The bytes are the server's own: what doesn't read as a reply ends as `nil`.

use super::stack::{Kind, Stack, TOP};

/// How deep aggregates of a reply are read: deeper than any command's.
const DEPTH_MAX: usize = 64;

/// Values that one level of a reply has on the stack at a time, with those of a leaf in it: tables, names, a key, a value.
const PLACES: i32 = 12;

/// Pushes the one reply in `bytes`. *Raises.*
pub(super) fn reply(stack: &Stack<'_>, bytes: &[u8]) {
    Reading { stack, rest: bytes }.value(0);
}

struct Reading<'a> {
    stack: &'a Stack<'a>,
    rest: &'a [u8],
}

impl<'a> Reading<'a> {
    /// Pushes the next value.
    fn value(&mut self, depth: usize) {
        let stack = self.stack;
        let (kind, line) = self.line();
        match kind {
            b':' => stack.push_number(number(line) as f64),
            b'$' | b'*' if line == b"-1" => stack.push_boolean(false),
            b'$' => stack.push_bytes(self.bytes(line)),
            b'+' => self.text_field(b"ok", line),
            b'-' => self.text_field(b"err", line),
            b'(' => self.text_field(b"big_number", line),
            b'#' => stack.push_boolean(line == b"t"),
            b',' => self.table_of(b"double", |_| stack.push_number(double(line))),
            b'=' => self.verbatim(line),
            b'*' | b'%' | b'~' if depth < DEPTH_MAX && stack.has_room(PLACES) => {
                // Each has three bytes at least.
                let len = usize::try_from(number(line)).unwrap_or(0).min(self.rest.len());
                match kind {
                    b'*' => self.array(len, depth),
                    b'%' => self.table_of(b"map", |reading| {
                        reading.pairs(len, depth, |reading| reading.value(depth + 1))
                    }),
                    _ => self
                        .table_of(b"set", |reading| reading.pairs(len, depth, |_| stack.push_boolean(true))),
                }
            }
            _ => stack.push_nil(),
        }
    }

    /// The first byte of a line, and what follows it.
    fn line(&mut self) -> (u8, &'a [u8]) {
        let end = memchr::memchr(b'\r', self.rest).unwrap_or(self.rest.len());
        let (line, rest) = self.rest.split_at(end);
        self.rest = rest.strip_prefix(b"\r\n").unwrap_or_default();
        line.split_first().map_or((0, &[]), |(&kind, line)| (kind, line))
    }

    fn bytes(&mut self, line: &[u8]) -> &'a [u8] {
        let len = usize::try_from(number(line)).unwrap_or(0).min(self.rest.len());
        let (text, rest) = self.rest.split_at(len);
        self.rest = rest.strip_prefix(b"\r\n").unwrap_or_default();
        text
    }

    fn array(&mut self, len: usize, depth: usize) {
        self.stack.push_table(len, 0);
        let table = self.stack.len();
        for number in 1..=len {
            self.value(depth + 1);
            self.stack.set_element(table, number);
        }
    }

    /// A table with `len` fields: their keys are read, their values are what `value` pushes.
    fn pairs(&mut self, len: usize, depth: usize, value: impl Fn(&mut Self)) {
        self.stack.push_table(0, len);
        let table = self.stack.len();
        for _ in 0..len {
            self.value(depth + 1);
            value(self);
            if self.stack.kind(TOP - 1) == Kind::Nil {
                self.stack.pop(2);
            } else {
                self.stack.set_field(table);
            }
        }
    }

    /// A table with one field, whose value `value` pushes.
    fn table_of(&mut self, name: &[u8], value: impl FnOnce(&mut Self)) {
        self.stack.push_table(0, 1);
        let table = self.stack.len();
        self.stack.push_bytes(name);
        value(self);
        self.stack.set_field(table);
    }

    fn text_field(&mut self, name: &[u8], text: &[u8]) {
        self.table_of(name, |reading| reading.stack.push_bytes(text));
    }

    fn verbatim(&mut self, line: &[u8]) {
        let text = self.bytes(line);
        let (format, text) = text.split_at(text.len().min(4));
        let format = format.strip_suffix(b":").unwrap_or(format);
        self.table_of(b"verbatim_string", |reading| {
            let stack = reading.stack;
            stack.push_table(0, 2);
            let table = stack.len();
            for (name, value) in [(&b"format"[..], format), (b"string", text)] {
                stack.push_bytes(name);
                stack.push_bytes(value);
                stack.set_field(table);
            }
        });
    }
}

fn number(line: &[u8]) -> i64 {
    sterna_protocol::argument::int(line).unwrap_or(0)
}

fn double(line: &[u8]) -> f64 {
    std::str::from_utf8(line).ok().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN)
}
