//! Functions that stand before one of ours that has handles: they do by themselves, on Lua's stack, what is usual and little, or
//! keep for it what belongs to the interpreter.

use std::ffi::c_int;
use std::sync::Arc;

use mlua::{Function, LightUserData, Lua, LuaString, Table, lua_State};

use super::stack::{At, Kind, Stack};
use super::{closure, json, msgpack};
use crate::api::Shared;

/// Upvalues of a gate: the function behind it, and the engine's part.
const BEHIND: At = Stack::upvalue(1);
const SHARED: At = Stack::upvalue(2);

/// Upvalues of an iterator: what it gives to the function behind.
const SUBJECT: At = Stack::upvalue(2);
const PATTERN: At = Stack::upvalue(3);
const PLACE: At = Stack::upvalue(4);

/// Elements that [`spread`] pushes by itself: more are counted first.
const SPREAD_MAX: usize = 1000;

/// A function that is one of these.
type Gate = unsafe extern "C-unwind" fn(*mut lua_State) -> c_int;

const GATES: [Gate; 6] = [encode, unpack, iterate, pass, append, spread];

/// Puts gates before `cjson.encode` and `cmsgpack.unpack`. `shared` is the engine's, which outlives the state.
pub(crate) fn gates(lua: &Lua, shared: &Arc<Shared>, cjson: &Table, cmsgpack: &Table) -> mlua::Result<()> {
    for (table, name, gate) in [(cjson, "encode", encode as Gate), (cmsgpack, "unpack", unpack)] {
        let behind: Function = table.raw_get(name)?;
        let of_engine = LightUserData(Arc::as_ptr(shared).cast_mut().cast());
        table.raw_set(name, closure(lua, gate, (behind, of_engine))?)?;
    }
    Ok(())
}

/// An iterator over the matches of a pattern: each call of it is one of `step`, with subject, pattern and a place, which gives the
/// place of the next before its results.
pub(crate) fn iterator(
    lua: &Lua,
    step: &Function,
    subject: LuaString,
    pattern: LuaString,
) -> mlua::Result<Function> {
    closure(lua, iterate, (step, subject, pattern, 0))
}

/// A gate that only passes on. A function of `fence.lua` that a script calls last, `return unpack(t)`, would take the place of the
/// script's own on the stack, and no error could say where it is; what is written in C takes nobody's.
pub(crate) fn passing(lua: &Lua, function: Function) -> mlua::Result<Function> {
    closure(lua, pass, function)
}

/// The same for `table.insert`, which does by itself what is usual: to append to a table that is nothing else.
pub(crate) fn appending(lua: &Lua, function: Function) -> mlua::Result<Function> {
    closure(lua, append, function)
}

/// The same for `unpack` of all elements.
pub(crate) fn spreading(lua: &Lua, function: Function) -> mlua::Result<Function> {
    closure(lua, spread, function)
}

/// Whether a function is a gate: whoever it has called was called by the script.
pub(crate) fn is_gate(lua: &Lua, function: &Function) -> bool {
    let mut is_one = false;
    // SAFETY: the closure runs in a protected call, owns nothing, and only reads what it was given.
    let asked = unsafe {
        lua.exec_raw::<()>(function, |state| {
            let function = mlua::ffi::lua_tocfunction(state, -1);
            is_one = function
                .is_some_and(|function| GATES.iter().any(|gate| std::ptr::fn_addr_eq(*gate, function)));
            mlua::ffi::lua_settop(state, 0);
        })
    };
    asked.is_ok() && is_one
}

/// `cjson.encode`.
unsafe extern "C-unwind" fn encode(state: *mut lua_State) -> c_int {
    // SAFETY: Lua runs this for a script; all scripts run in `enter`'s protected call.
    let stack = unsafe { Stack::of(state) };
    // SAFETY: the closure was made with the engine's `Shared`, which outlives the state.
    let shared: &Shared = unsafe { &*stack.pointer(SHARED) };
    if stack.len() == 1 && !shared.json.is_changed() {
        // SAFETY: only this function uses it, in a state that runs one function at a time, and nothing below runs code of a
        // script.
        let out = unsafe { &mut (*shared.buffers.data_ptr()).json };
        out.clear();
        if json::write(&stack, out) {
            stack.push_bytes(out);
            return 1;
        }
        stack.cut(1);
    }
    behind(&stack)
}

/// `cmsgpack.unpack`.
unsafe extern "C-unwind" fn unpack(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    let stack = unsafe { Stack::of(state) };
    let arguments = stack.len();
    if let Some(bytes) = stack.bytes(1) {
        if msgpack::push(&stack, bytes).is_some() {
            return stack.len() - arguments;
        }
        stack.cut(arguments);
    }
    behind(&stack)
}

/// What [`passing`] makes.
unsafe extern "C-unwind" fn pass(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    behind(&unsafe { Stack::of(state) })
}

/// What [`appending`] makes. A proxy of the fence's has a metatable.
unsafe extern "C-unwind" fn append(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    let stack = unsafe { Stack::of(state) };
    if stack.len() == 2 && stack.kind(1) == Kind::Table && !stack.has_metatable(1) {
        stack.set_element(1, stack.elements(1) + 1);
        return 0;
    }
    behind(&stack)
}

/// What [`spreading`] makes.
unsafe extern "C-unwind" fn spread(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    let stack = unsafe { Stack::of(state) };
    if stack.len() == 1 && stack.kind(1) == Kind::Table {
        let elements = stack.elements(1);
        if elements <= SPREAD_MAX && stack.has_room(elements as c_int) {
            (1..=elements).for_each(|number| stack.push_element(1, number));
            return elements as c_int;
        }
    }
    behind(&stack)
}

/// What [`iterator`] makes.
unsafe extern "C-unwind" fn iterate(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    let stack = unsafe { Stack::of(state) };
    stack.clear();
    [BEHIND, SUBJECT, PATTERN, PLACE].iter().for_each(|&value| stack.push_value(value));
    stack.call_for_all(3);
    // A pattern's captures may have filled all places that a function has.
    if stack.has_room(1) {
        stack.push_value(1);
        stack.set_upvalue(PLACE);
    }
    stack.len() - 1
}

/// Has the function behind do it, with all arguments and for all results. *Raises.*
fn behind(stack: &Stack<'_>) -> c_int {
    let arguments = stack.len();
    stack.push_value(BEHIND);
    stack.sink();
    stack.call_for_all(arguments);
    stack.len()
}
