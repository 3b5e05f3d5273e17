//! Lua scripts: a guest in the server who may only ask.
//!
//! An [`Engine`] holds one Lua state. It compiles scripts, keeps them, and runs them; what a script wants of the
//! server it asks a [`Host`], command by command, and gets a reply as a client would. Nothing here knows a key, a connection or a lock.
//!
//! ```text
//!   EVAL ─► Engine::run ─► Lua: redis.call("incr", k) ─► Host::call(["incr", k]) ─► b":1\r\n" ─► 1 ─► … ─► reply
//! ```
//!
//! The interpreter is PUC Lua 5.1, the dialect that scripts are written in, and it is fenced from outside (`fence`):
//!
//! | what a script could do | what keeps it from it |
//! |---|---|
//! | read files, load bytecode, change metatables of others | those functions are not there, or are our own |
//! | change a global or a library for the next script | both are empty proxies of tables that it can't reach |
//! | run for ever | the instruction hook asks the host, sooner where instructions take long; once stopped, every protected call fails as well |
//! | run for ever inside one C function | patterns and sorting are our own, with a bound or in Lua |
//! | take all memory | the state's allocator has a limit, the reply and each recursion theirs |
//!
//! Source: behaviour and texts are those of Redis 8.2, compared live by `tests/differential/scripts.script`.
#![deny(unsafe_code)]

mod api;
mod bits;
mod cache;
mod cjson;
mod cmsgpack;
mod engine;
mod fence;
mod functions;
mod general;
mod host;
mod msgpack;
mod pattern;
mod prepared;
mod raise;
mod raw;
mod room;
mod shebang;
mod structs;
mod text;

pub use cache::Sha;
pub use engine::{CODE_BYTES_MAX, Engine, Figures, Remains, Script};
pub use functions::{Libraries, Library, LibraryFunction, Twice};
pub use host::{Host, Level, Verdict};
pub use prepared::TextKind;
pub use raw::RunError;
pub use shebang::ScriptFlags;

/// Bytes that the Lua state may hold.
///
/// As much as the largest replies that scripts read need several times over, and little beside a server's memory.
pub const MEMORY_MAX: usize = 256 << 20;
