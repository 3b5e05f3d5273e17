//! The two ways that every script takes, past handles for single values: into a script and out of it (`enter`), and from
//! it to a command and back (`call`); and what job queues' scripts do most besides, to read MessagePack (`msgpack`) and to write
//! JSON (`json`), where that is usual and little (`gate`).
//!
//! ```text
//!   Engine::run ── enter ──► pcall(script) ── call ──► Host::call        arguments: Lua's stack ─► a request's bytes
//!                    │                          ◄── push ── reply's bytes
//!        reply ◄─ result
//! ```
//!
//! A handle of mlua's costs some 40 ns to make and to give back: a lock, a slot in a table. A command with four arguments
//! needs five of them, which is as much as the command. Here values stay on Lua's stack, as in Redis, and each costs a
//! few.
//!
//! This is the only module of the crate with `unsafe`. What it must keep: Lua raises errors (no memory, mostly) by a jump
//! past all frames up to the nearest protected call, and a frame that is jumped over runs no destructor. So
//!
//! 1. everything here runs inside a protected call: `enter` in that of mlua's `Function::call`, `call`, gates and the hook in the script's,
//!    the rest in that of `Lua::exec_raw`;
//! 2. a [`Stack`] is made by `enter`, `call` and gates only, and is lent, so that it ends with them;
//! 3. no frame that holds a `Stack` owns anything with a destructor while it uses a method that may raise: what has to
//!    grow (the request, the reply, JSON) belongs to the engine and is borrowed. What needs such frames (the host, errors of
//!    ours) is called with what it needs read off the stack, and returns before anything is pushed;
//! 4. a panic of the host's doesn't unwind through Lua: it is kept ([`guarded`]) and goes on when the script has ended.
//!
//! Tests: `tests/sandbox.rs`, under AddressSanitizer as well, refuses memory in each of these places.
#![allow(unsafe_code)]

mod call;
mod enter;
mod gate;
mod hook;
mod json;
mod msgpack;
mod push;
mod result;
mod stack;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use mlua::{Function, Lua, Table};

use crate::api::Shared;
use crate::raise::Raised;

pub(crate) use call::{ARGUMENT_BYTES_MAX, TOO_LONG};
pub(crate) use enter::{Entry, Outcome, What};
pub(crate) use gate::{appending, gates, is_gate, iterator, passing, spreading};
pub(crate) use hook::{go_on, watch};
pub(crate) use result::KILLED;
pub use result::RunError;

/// The functions under `redis` that run commands.
pub(crate) struct Calls {
    pub(crate) call: Function,
    pub(crate) pcall: Function,
}

/// Makes `redis.call` and `redis.pcall`. `shared` is the engine's, which outlives the state.
pub(crate) fn calls(lua: &Lua, shared: &Arc<Shared>) -> mlua::Result<Calls> {
    let of_raise = Arc::clone(shared);
    // Raises what `call` leaves. An error of ours is an object of mlua's, which only a function of mlua's can make.
    let raise = lua.create_function(move |_, ()| {
        Err::<(), _>(of_raise.failure.lock().take().unwrap_or(Raised::Stopped).into())
    })?;
    let gate = mlua::LightUserData(Arc::as_ptr(shared).cast_mut().cast());
    let make = |function| closure(lua, function, (gate, &raise));
    Ok(Calls { call: make(call::call)?, pcall: make(call::pcall)? })
}

/// Makes the function that `Entry` is given to.
///
/// `globals`: where `KEYS` and `ARGV` are set. `handle`: gets an error while its stack is there. `functions`: the compiled
/// ones by their numbers.
pub(crate) fn enter(
    lua: &Lua,
    globals: &Table,
    handle: &Function,
    functions: &Table,
) -> mlua::Result<Function> {
    let names = enter::NAMES.map(|name| lua.create_string(name));
    let names = names.into_iter().collect::<mlua::Result<mlua::Variadic<_>>>()?;
    closure(lua, enter::enter, (globals, handle, functions, names))
}

fn closure(
    lua: &Lua,
    function: mlua::lua_CFunction,
    upvalues: impl mlua::IntoLuaMulti,
) -> mlua::Result<Function> {
    // SAFETY: the closure runs in a protected call, owns nothing, and takes all that is on its stack as upvalues.
    unsafe {
        lua.exec_raw(upvalues, |state| {
            mlua::ffi::lua_pushcclosure(state, function, mlua::ffi::lua_gettop(state));
        })
    }
}

/// Runs what is not Lua's; `None` if it panicked, which goes on at the end of the run.
fn guarded<R>(shared: &Shared, run: impl FnOnce() -> R) -> Option<R> {
    // What the panic leaves half done is never used: the panic goes on as soon as the script has ended, which is now.
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| *shared.panic.lock() = Some(panic)).ok()
}
