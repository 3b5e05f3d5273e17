//! MessagePack onto Lua's stack.

use mlua::{Lua, MultiValue};

use super::stack::Stack;
use crate::msgpack::{FEW_LEVELS, FEW_VALUES, Item, Items};

/// Places on the stack that one level of nesting takes: a table, a key, a value.
const PLACES: usize = 3;

/// The values in `bytes`, which [`crate::msgpack::measure`] has found to be whole and few: so many, nested so deeply.
pub(crate) fn unpacked(lua: &Lua, bytes: &[u8], (values, depth): (usize, usize)) -> mlua::Result<MultiValue> {
    const {
        assert!(
            FEW_VALUES + PLACES * (FEW_LEVELS + 1) < 7_000,
            "a C function's part of the stack has 8 000 places"
        )
    };
    // SAFETY: the closure runs in a protected call, and owns nothing.
    unsafe {
        lua.exec_raw((), |state| {
            let stack = Stack::of(state);
            if stack.has_room((values + PLACES * (depth + 1)) as i32) {
                let mut items = Items::of(bytes);
                (0..values).for_each(|_| push(&stack, &mut items));
            }
        })
    }
}

/// Pushes the next value. *Raises.*
fn push(stack: &Stack<'_>, items: &mut Items<'_>) {
    match items.next() {
        Ok(Item::Boolean(value)) => stack.push_boolean(value),
        Ok(Item::Number(number)) => stack.push_number(number),
        Ok(Item::String(text)) => stack.push_bytes(text),
        Ok(Item::Array(len)) => {
            // Without room for its elements, as in Redis: what a table has room for shows in the order of its pairs.
            stack.push_table(0, 0);
            let table = stack.len();
            for number in 1..=len {
                push(stack, items);
                stack.set_element(table, number);
            }
        }
        Ok(Item::Map(len)) => {
            stack.push_table(0, 0);
            let table = stack.len();
            for _ in 0..len {
                push(stack, items);
                push(stack, items);
                stack.set_field(table);
            }
        }
        Ok(Item::Nil) | Err(_) => stack.push_nil(),
    }
}
