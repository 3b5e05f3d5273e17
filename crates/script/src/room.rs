//! Memory for what our own functions make in the Lua state.
//!
//! While the state has a limit, each string and table that we make is made inside a protected call, because the interpreter
//! may refuse the memory; that costs several times what the string costs. So where all that a function makes is known to
//! fit, it is asked for once, and the limit is out of force until it has ended. While code of a script runs, the limit is
//! always in force.

use mlua::Lua;

use crate::MEMORY_MAX;

/// For as long as this lives, what is made has room. No code of a script runs meanwhile.
pub(crate) struct Room<'a>(Option<&'a Lua>);

impl<'a> Room<'a> {
    /// Room for `bytes`, which the caller makes at most; without so much room the limit stays in force.
    pub(crate) fn of(lua: &'a Lua, bytes: usize) -> Room<'a> {
        let fits = lua.used_memory().saturating_add(bytes) < MEMORY_MAX;
        Room((fits && lua.set_memory_limit(0).is_ok()).then_some(lua))
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        if let Some(lua) = self.0 {
            // It could be set before, so it can be set now.
            let _ = lua.set_memory_limit(MEMORY_MAX);
        }
    }
}

/// Bytes of the state that a byte of a reply, of JSON or of MessagePack becomes at most: `[` and `\x90` are an empty table
/// and a place in the table around it, which may have grown to twice what it holds.
pub(crate) const BYTES_PER_BYTE: usize = 128;

/// Bytes of a few short strings and a table around them.
pub(crate) const FEW_BYTES: usize = 4096;
