//! Lua's stack of a running function: see the rules in `mod.rs`, which this type stands for.
//!
//! Places are counted from 1, the function's first argument; upvalues have places of their own ([`Stack::upvalue`]).
//! Methods marked *raises* may jump past their caller.

use std::ffi::c_int;
use std::marker::PhantomData;

use mlua::ffi;

/// A value's place on the stack, or an upvalue's.
pub(super) type At = c_int;

/// The last value.
pub(super) const TOP: At = -1;

/// What a value is, as far as anybody here asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Nil,
    Boolean,
    Number,
    String,
    Table,
    /// A light userdata without an address: `cjson.null`.
    NullPointer,
    Other,
}

/// See the module.
pub(super) struct Stack<'a> {
    state: *mut ffi::lua_State,
    running: PhantomData<&'a ()>,
}

impl<'a> Stack<'a> {
    /// # Safety
    /// `state` is that of a C function that Lua is running in a protected call, for as long as `'a`. From this call on, no
    /// frame of the function owns anything while it calls a method that raises.
    pub(super) unsafe fn of(state: *mut ffi::lua_State) -> Stack<'a> {
        Stack { state, running: PhantomData }
    }

    /// The place of the function's upvalue `number`, from 1.
    pub(super) const fn upvalue(number: c_int) -> At {
        ffi::lua_upvalueindex(number)
    }

    /// How many values there are: the last one's place.
    pub(super) fn len(&self) -> At {
        // SAFETY: reads a state that runs (see `of`).
        unsafe { ffi::lua_gettop(self.state) }
    }

    /// Asks for room for `more` values beside the twenty that each function has; false if it has far too many. *Raises.*
    pub(super) fn has_room(&self, more: c_int) -> bool {
        // SAFETY: see `of`.
        unsafe { ffi::lua_checkstack(self.state, more) != 0 }
    }

    pub(super) fn kind(&self, at: At) -> Kind {
        // SAFETY: reads a state that runs; a place beyond the top has a type of its own.
        match unsafe { ffi::lua_type(self.state, at) } {
            ffi::LUA_TNIL => Kind::Nil,
            ffi::LUA_TBOOLEAN => Kind::Boolean,
            ffi::LUA_TNUMBER => Kind::Number,
            ffi::LUA_TSTRING => Kind::String,
            ffi::LUA_TTABLE => Kind::Table,
            ffi::LUA_TLIGHTUSERDATA if self.pointer::<()>(at).is_null() => Kind::NullPointer,
            _ => Kind::Other,
        }
    }

    /// A number; 0 for what is none.
    pub(super) fn number(&self, at: At) -> f64 {
        // SAFETY: reads a state that runs.
        unsafe { ffi::lua_tonumber(self.state, at) }
    }

    /// Whether a value may be a table's key: neither nil nor what is no number.
    pub(super) fn is_key(&self, at: At) -> bool {
        match self.kind(at) {
            Kind::Nil => false,
            Kind::Number => !self.number(at).is_nan(),
            _ => true,
        }
    }

    pub(super) fn boolean(&self, at: At) -> bool {
        // SAFETY: reads a state that runs.
        unsafe { ffi::lua_toboolean(self.state, at) != 0 }
    }

    /// A string's bytes; none for what is no string. They are borrowed for as long as the caller keeps the value where it
    /// is, on the stack or in a table that is.
    pub(super) fn bytes(&self, at: At) -> Option<&'a [u8]> {
        (self.kind(at) == Kind::String).then(|| self.string(at))
    }

    /// The bytes of what is known to be a string, borrowed in the same way.
    pub(super) fn string(&self, at: At) -> &'a [u8] {
        debug_assert_eq!(self.kind(at), Kind::String);
        let mut len = 0;
        // SAFETY: of a string (and not of a number, which it would change) this only reads. A string doesn't move, and
        // lives while it is reachable, which the caller sees to. What is neither has no address and the length 0.
        unsafe {
            let bytes = ffi::lua_tolstring(self.state, at, &mut len);
            if bytes.is_null() { &[] } else { std::slice::from_raw_parts(bytes.cast(), len) }
        }
    }

    /// The pointer that was given as a light userdata; null for anything else.
    pub(super) fn pointer<T>(&self, at: At) -> *mut T {
        // SAFETY: reads a state that runs.
        unsafe { ffi::lua_touserdata(self.state, at).cast() }
    }

    pub(super) fn push_nil(&self) {
        // SAFETY: every caller has asked for room, or needs fewer than twenty places. The same below.
        unsafe { ffi::lua_pushnil(self.state) }
    }

    pub(super) fn push_boolean(&self, value: bool) {
        // SAFETY: as above.
        unsafe { ffi::lua_pushboolean(self.state, value.into()) }
    }

    pub(super) fn push_number(&self, value: f64) {
        // SAFETY: as above.
        unsafe { ffi::lua_pushnumber(self.state, value) }
    }

    /// Once more the value at `at`.
    pub(super) fn push_value(&self, at: At) {
        // SAFETY: as above.
        unsafe { ffi::lua_pushvalue(self.state, at) }
    }

    /// *Raises.*
    pub(super) fn push_bytes(&self, bytes: &[u8]) {
        // SAFETY: as above; the bytes are copied.
        unsafe { ffi::lua_pushlstring_(self.state, bytes.as_ptr().cast(), bytes.len()) };
    }

    /// An empty table with room for so many elements and fields. *Raises.*
    pub(super) fn push_table(&self, elements: usize, fields: usize) {
        let bounded = |count: usize| c_int::try_from(count).unwrap_or(c_int::MAX);
        // SAFETY: as above; room that there is not is an error of memory.
        unsafe { ffi::lua_createtable(self.state, bounded(elements), bounded(fields)) }
    }

    /// Takes the value on top and makes it element `number` of the table at `table`. *Raises.*
    pub(super) fn set_element(&self, table: At, number: usize) {
        // SAFETY: `table` is one. Its metatable is not asked.
        unsafe { ffi::lua_rawseti(self.state, table, number as ffi::lua_Integer) }
    }

    /// Takes a key and a value, on top, and makes them a field of the table at `table`. *Raises*, for a key that is nil
    /// as well.
    pub(super) fn set_field(&self, table: At) {
        // SAFETY: as above.
        unsafe { ffi::lua_rawset(self.state, table) }
    }

    /// Pushes element `number` of the table at `table`.
    pub(super) fn push_element(&self, table: At, number: usize) {
        // SAFETY: as above; `number` counts elements that are there, or one more.
        unsafe { ffi::lua_rawgeti(self.state, table, number as ffi::lua_Integer) };
    }

    /// Takes a key on top, and pushes that field of the table at `table`.
    pub(super) fn field(&self, table: At) {
        // SAFETY: as above.
        unsafe { ffi::lua_rawget(self.state, table) };
    }

    /// Takes a key on top, and pushes the next key of the table at `table` with its value; false, and nothing pushed, at
    /// the end. The first is that after nil. The table isn't changed meanwhile.
    pub(super) fn next(&self, table: At) -> bool {
        // SAFETY: as above; the key is nil, or one that this has pushed: any other would raise.
        unsafe { ffi::lua_next(self.state, table) != 0 }
    }

    /// How many elements the table at `table` has: `#t`, whatever its metatable says.
    pub(super) fn elements(&self, table: At) -> usize {
        // SAFETY: as above.
        unsafe { ffi::lua_objlen(self.state, table) }
    }

    pub(super) fn has_metatable(&self, at: At) -> bool {
        // SAFETY: as above; what it pushes goes.
        let has_one = unsafe { ffi::lua_getmetatable(self.state, at) != 0 };
        if has_one {
            self.pop(1);
        }
        has_one
    }

    pub(super) fn clear(&self) {
        self.cut(0);
    }

    /// Takes all values but the first `count`.
    pub(super) fn cut(&self, count: At) {
        debug_assert!(count <= self.len());
        // SAFETY: there are as many.
        unsafe { ffi::lua_settop(self.state, count) }
    }

    /// Takes the value on top and makes it the upvalue at `upvalue`.
    pub(super) fn set_upvalue(&self, upvalue: At) {
        // SAFETY: there is one of each.
        unsafe { ffi::lua_replace(self.state, upvalue) }
    }

    /// Moves the value on top below all others.
    pub(super) fn sink(&self) {
        // SAFETY: there is one.
        unsafe { ffi::lua_insert(self.state, 1) }
    }

    pub(super) fn pop(&self, count: c_int) {
        // SAFETY: the caller has pushed as many.
        unsafe { ffi::lua_pop(self.state, count) }
    }

    /// Calls the function below `arguments` values on top, which take its place. *Raises.*
    pub(super) fn call(&self, arguments: c_int) {
        // SAFETY: as above.
        unsafe { ffi::lua_call(self.state, arguments, 0) }
    }

    /// The same for all results.
    pub(super) fn call_for_all(&self, arguments: c_int) {
        // SAFETY: as above; the interpreter sees to room for the results.
        unsafe { ffi::lua_call(self.state, arguments, ffi::LUA_MULTRET) }
    }

    /// The same for one result or, false, an error that the function at `handle` has seen.
    pub(super) fn protected_call(&self, arguments: c_int, handle: At) -> bool {
        // SAFETY: as above; `handle` is a function's place.
        unsafe { ffi::lua_pcall(self.state, arguments, 1, handle) == ffi::LUA_OK }
    }
}
