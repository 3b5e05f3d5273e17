//! MessagePack onto Lua's stack.

use super::stack::{At, Stack, TOP};
use crate::msgpack::{Item, Items};

/// How many values are read here, and how deeply nested: what is more is read step by step, between which a script can be
/// stopped.
const VALUES_MAX: usize = 1_000;
const DEPTH_MAX: usize = 32;

/// Places on the stack that one level takes: a table, a key, a value.
const PLACES: i32 = 3;

/// Pushes the values in `bytes`. `None`, and some are pushed that are to be taken: they are too much for here, not whole, or
/// no table takes them. *Raises.*
pub(super) fn push(stack: &Stack<'_>, bytes: &[u8]) -> Option<()> {
    let mut reading = Reading { stack, items: Items::of(bytes), values: 0 };
    while reading.items.left() > 0 {
        reading.value(0)?;
    }
    Some(())
}

struct Reading<'a> {
    stack: &'a Stack<'a>,
    items: Items<'a>,
    values: usize,
}

impl Reading<'_> {
    /// Pushes the next value, for which there is room within a table.
    fn value(&mut self, depth: usize) -> Option<()> {
        let stack = self.stack;
        self.values += 1;
        if self.values > VALUES_MAX || depth == 0 && !stack.has_room(PLACES) {
            return None;
        }
        match self.items.next().ok()? {
            Item::Nil => stack.push_nil(),
            Item::Boolean(value) => stack.push_boolean(value),
            Item::Number(number) => stack.push_number(number),
            Item::String(text) => stack.push_bytes(text),
            Item::Array(len) => {
                let table = self.table(depth)?;
                for number in 1..=len {
                    self.value(depth + 1)?;
                    stack.set_element(table, number);
                }
            }
            Item::Map(len) => {
                let table = self.table(depth)?;
                for _ in 0..len {
                    self.value(depth + 1)?;
                    if !stack.is_key(TOP) {
                        return None;
                    }
                    self.value(depth + 1)?;
                    stack.set_field(table);
                }
            }
        }
        Some(())
    }

    /// Pushes an empty table, without room for its elements, as in Redis: what a table has room for shows in the order of its
    /// pairs.
    fn table(&self, depth: usize) -> Option<At> {
        if depth == DEPTH_MAX || !self.stack.has_room(PLACES) {
            return None;
        }
        self.stack.push_table(0, 0);
        Some(self.stack.len())
    }
}
