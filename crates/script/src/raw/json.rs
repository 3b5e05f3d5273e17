//! A Lua value as JSON, read off Lua's stack.

use super::stack::{At, Kind, Stack, TOP};
use crate::{cjson, general};

/// How deep tables are written here, how many values, and how many bytes of strings: what is more is written step by step, between
/// which a script can be stopped, and up to a limit.
const DEPTH_MAX: usize = 32;
const VALUES_MAX: usize = 2_000;
const BYTES_MAX: usize = 256 << 10;

/// Values that one level has on the stack at a time: a key and a value, and once more a key.
const PLACES: i32 = 4;

/// Appends the value on top to `out` as `cjson.encode` does while nobody has changed its options. False, and what was appended
/// is to be cut off: it is too much for here, or something in it is refused, which is the caller's to say. *Raises.*
pub(super) fn write(stack: &Stack<'_>, out: &mut Vec<u8>) -> bool {
    Writing { stack, out, values: 0 }.top(0).is_some()
}

/// The stack after each method is as it was before, unless it gives `None`.
struct Writing<'a> {
    stack: &'a Stack<'a>,
    out: &'a mut Vec<u8>,
    values: usize,
}

impl Writing<'_> {
    /// Writes the value on top. *Raises.*
    fn top(&mut self, depth: usize) -> Option<()> {
        let stack = self.stack;
        self.values += 1;
        match stack.kind(TOP) {
            _ if self.values > VALUES_MAX => return None,
            Kind::String => self.string(TOP)?,
            Kind::Number => self.number(TOP)?,
            Kind::Boolean if stack.boolean(TOP) => self.out.extend_from_slice(b"true"),
            Kind::Boolean => self.out.extend_from_slice(b"false"),
            Kind::Nil | Kind::NullPointer => self.out.extend_from_slice(b"null"),
            Kind::Table if depth < DEPTH_MAX && stack.has_room(PLACES) => {
                let table = stack.len();
                return match self.array_len(table)? {
                    0 => self.object(table, depth),
                    len => self.array(table, len, depth),
                };
            }
            Kind::Table | Kind::Other => return None,
        }
        Some(())
    }

    fn string(&mut self, at: At) -> Option<()> {
        let text = self.stack.string(at);
        if text.len() > BYTES_MAX.saturating_sub(self.out.len()) {
            return None;
        }
        cjson::write_string(text, self.out);
        Some(())
    }

    fn number(&mut self, at: At) -> Option<()> {
        let number = self.stack.number(at);
        general::write(self.out, number, cjson::PRECISION);
        number.is_finite().then_some(())
    }

    /// How long a table is as an array, 0 if it is an object; `None` if it is too sparse.
    fn array_len(&mut self, table: At) -> Option<usize> {
        let stack = self.stack;
        let mut array = cjson::Array::default();
        stack.push_nil();
        while stack.next(table) {
            stack.pop(1);
            if stack.kind(TOP) != Kind::Number || !array.takes(stack.number(TOP)) {
                stack.pop(1);
                return Some(0);
            }
        }
        (!array.is_sparse(cjson::SPARSE_RATIO, cjson::SPARSE_SAFE)).then(|| array.len())
    }

    fn array(&mut self, table: At, len: usize, depth: usize) -> Option<()> {
        self.out.push(b'[');
        for number in 1..=len {
            if number > 1 {
                self.out.push(b',');
            }
            self.stack.push_element(table, number);
            self.top(depth + 1)?;
            self.stack.pop(1);
        }
        self.out.push(b']');
        Some(())
    }

    fn object(&mut self, table: At, depth: usize) -> Option<()> {
        let stack = self.stack;
        let mut is_first = true;
        self.out.push(b'{');
        stack.push_nil();
        while stack.next(table) {
            if !is_first {
                self.out.push(b',');
            }
            is_first = false;
            match stack.kind(TOP - 1) {
                Kind::String => self.string(TOP - 1)?,
                Kind::Number => {
                    self.out.push(b'"');
                    self.number(TOP - 1)?;
                    self.out.push(b'"');
                }
                _ => return None,
            }
            self.out.push(b':');
            self.top(depth + 1)?;
            stack.pop(1);
        }
        self.out.push(b'}');
        Some(())
    }
}
