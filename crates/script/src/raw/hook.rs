//! Has the engine's part asked between instructions whether the script goes on: every so many of them, and sooner where they take long.
//!
//! An instruction may copy a hundred megabytes (`a .. b`), and so may one call of a function of the interpreter's. So the hook reads the
//! clock more often than the host is asked.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::time::{Duration, Instant};

use mlua::ffi::{
    LUA_MASKCOUNT, LUA_REGISTRYINDEX, lua_Debug, lua_call, lua_gethookcount, lua_pushlightuserdata,
    lua_rawget, lua_rawset, lua_sethook,
};
use mlua::{Function, Lua, lua_State};

/// Instructions between two readings of the clock: a microsecond.
const INSTRUCTIONS: c_int = 500;

/// The same once so many have taken long.
const FEW_INSTRUCTIONS: c_int = 10;

/// Readings of the clock between two questions to the host: some 100 µs.
const READS_PER_TICK: u32 = 20;

/// What takes longer has the host asked at once.
const LONG: Duration = Duration::from_millis(2);

thread_local! {
    // Of the script that runs on this thread. Neither has a destructor.
    static SEEN: Cell<Option<Instant>> = const { Cell::new(None) };
    static READS: Cell<u32> = const { Cell::new(0) };
}

/// Its address is where the registry has the function that asks.
static KEY: u8 = 0;

/// Has `tick` called between instructions of this thread of Lua and of those made from it. It raises to end the script: from then
/// on it is called at each instruction, so that no protected call can go on after this one.
pub(crate) fn watch(lua: &Lua, tick: &Function) -> mlua::Result<()> {
    // SAFETY: the closure runs in a protected call, owns nothing, and takes what it was given off the stack.
    unsafe {
        lua.exec_raw(tick, |state| {
            lua_pushlightuserdata(state, key());
            mlua::ffi::lua_insert(state, -2);
            lua_rawset(state, LUA_REGISTRYINDEX);
            call_every(state, INSTRUCTIONS);
        })
    }
}

/// Goes on so after a script has been ended.
pub(crate) fn go_on(lua: &Lua) -> mlua::Result<()> {
    // SAFETY: as above; it has nothing on the stack.
    unsafe { lua.exec_raw((), |state| call_every(state, INSTRUCTIONS)) }
}

fn key() -> *mut c_void {
    (&raw const KEY).cast_mut().cast()
}

/// # Safety
/// `state` is one that runs, or is about to.
unsafe fn call_every(state: *mut lua_State, instructions: c_int) {
    // SAFETY: see above; the hook stays for as long as the program.
    unsafe { lua_sethook(state, Some(hook), LUA_MASKCOUNT, instructions) };
}

/// The hook. Lua calls it in a protected call, with room for what it pushes; it owns nothing.
unsafe extern "C-unwind" fn hook(state: *mut lua_State, _: *mut lua_Debug) {
    let now = Instant::now();
    let seen = SEEN.replace(Some(now));
    let is_long = seen.is_some_and(|seen| now.saturating_duration_since(seen) > LONG);
    let reads = READS.get().wrapping_add(1);
    READS.set(reads);
    // SAFETY: the state is the one that runs; `KEY` is set since `watch`.
    unsafe {
        let every = lua_gethookcount(state);
        if !is_long && every > 1 && !reads.is_multiple_of(READS_PER_TICK) {
            if every != INSTRUCTIONS {
                call_every(state, INSTRUCTIONS);
            }
            return;
        }
        // This is what stays if it raises.
        call_every(state, 1);
        lua_pushlightuserdata(state, key());
        lua_rawget(state, LUA_REGISTRYINDEX);
        lua_call(state, 0, 0);
        call_every(state, if is_long { FEW_INSTRUCTIONS } else { INSTRUCTIONS });
    }
    // What the host did meanwhile is not the script's.
    SEEN.set(Some(Instant::now()));
}
