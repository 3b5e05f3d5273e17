//! A Lua state with its scripts, and the running of them.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use mlua::{Function, Lua, Table, Value};
use sterna_protocol::Reply;

use crate::api::Shared;
use crate::cache::{Cache, Cached, Sha};
use crate::fence::{Fence, Thrown, watch_again};
use crate::host::{HOST, Host};
use crate::result::{self, RunError};
use crate::shebang::{ScriptFlags, script_header};

/// One Lua state. Whoever runs a script has it to itself.
pub struct Engine {
    fence: Fence,
    shared: Arc<Shared>,
    /// Compiled functions by their numbers. In a table of Lua's, because handles of ours are limited to some thousands.
    functions: Table,
    next_id: i64,
    cache: Cache,
}

/// What INFO tells of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Bytes of the Lua state.
    pub used_bytes: usize,
    /// Bytes of the texts of scripts.
    pub text_bytes: usize,
    /// Scripts that EVALSHA finds.
    pub scripts: usize,
    /// Scripts that have gone because others came.
    pub evicted_scripts: u64,
}

/// Bytes of the state after which it is collected at once when a script has ended: its garbage would otherwise stay until
/// others make as much.
const COLLECT_BYTES: usize = 64 << 20;

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("figures", &self.figures()).finish_non_exhaustive()
    }
}

impl Default for Engine {
    fn default() -> Self {
        Engine::new()
    }
}

impl Engine {
    /// A state with nothing in it.
    ///
    /// # Panics
    /// If there is no memory for it.
    pub fn new() -> Engine {
        let shared = Arc::new(Shared::default());
        shared.reset();
        let fence = Fence::new(&shared).expect("a state of a few hundred KiB can be made");
        let functions = fence.lua.create_table().expect("an empty table can be made");
        Engine { fence, shared, functions, next_id: 1, cache: Cache::default() }
    }

    /// Compiles a script if it isn't there; the error is an error reply's text. `stays`: SCRIPT LOAD brought it.
    pub fn load(&mut self, sha: Sha, body: &[u8], stays: bool) -> Result<(), Vec<u8>> {
        if self.cache.has(sha) {
            if stays {
                self.cache.keep(sha);
            }
            return Ok(());
        }
        let header = script_header(body)?;
        // The line stays, as one without text: errors name lines.
        let function = self
            .fence
            .compile("@user_script", &body[header.len..])
            .map_err(|text| [b"ERR Error compiling script (new function): ", &text[..]].concat())?;
        let id = self.keep(&function).map_err(|error| format!("ERR {error}").into_bytes())?;
        if let Some(gone) = self.cache.insert(sha, id, header, body.len(), stays) {
            self.forget(gone);
        }
        Ok(())
    }

    /// Whether EVALSHA would find it.
    pub fn has(&self, sha: Sha) -> bool {
        self.cache.has(sha)
    }

    /// What the script's first line says of how it runs; outer `None` if there is no such script. It counts as used.
    pub fn script_flags(&mut self, sha: Sha) -> Option<Option<ScriptFlags>> {
        self.cache.find(sha).map(|cached| cached.header.flags)
    }

    /// Forgets all scripts.
    pub fn flush(&mut self) {
        self.cache.clear();
        self.renew();
    }

    /// Runs a script that is there, and writes its reply. On an error nothing is written.
    pub fn run<'k>(
        &mut self,
        sha: Sha,
        keys: impl Iterator<Item = &'k [u8]>,
        args: impl Iterator<Item = &'k [u8]>,
        host: &mut dyn Host,
        reply: &mut Reply<'_>,
    ) -> Result<(), RunError> {
        let Some(&Cached { id, .. }) = self.cache.find(sha) else {
            let text = b"NOSCRIPT No matching script. Please use EVAL.".to_vec();
            return Err(RunError { text, is_counted: false });
        };
        self.shared.reset();
        let lua = &self.fence.lua;
        let result = HOST.set(host, || {
            let outcome = self.functions.raw_get::<Function>(id).and_then(|function| {
                let (keys, args) = (strings(lua, keys)?, strings(lua, args)?);
                self.fence.run.call((function, keys, args))
            });
            match outcome {
                Ok((true, value)) => result::write(&value, self.shared.is_resp3.load(Relaxed), reply),
                Ok((false, error)) => Err(self.ended(Thrown::of(&error), sha)),
                Err(error) => Err(self.ended(Thrown::from_error(&error), sha)),
            }
        });
        if lua.used_memory() > COLLECT_BYTES {
            let _ = lua.gc_collect();
        }
        result
    }

    /// A script has ended with an error.
    fn ended(&self, thrown: Thrown, sha: Sha) -> RunError {
        if thrown.is_stop {
            // Every instruction failed until now.
            let _ = watch_again(&self.fence.lua);
        }
        at_place(thrown, sha)
    }

    /// Figures for INFO.
    pub fn figures(&self) -> Figures {
        Figures {
            used_bytes: self.fence.lua.used_memory(),
            text_bytes: self.cache.bytes(),
            scripts: self.cache.len(),
            evicted_scripts: self.cache.evicted,
        }
    }

    fn keep(&mut self, function: &Function) -> mlua::Result<i64> {
        let id = self.next_id;
        self.functions.raw_set(id, function)?;
        self.next_id += 1;
        Ok(id)
    }

    fn forget(&self, id: i64) {
        // Setting a field that is there takes no memory.
        let _ = self.functions.raw_set(id, Value::Nil);
    }

    /// Frees what nothing refers to any more: a table of its own for the functions that are left, and a collection.
    fn renew(&mut self) {
        let lua = &self.fence.lua;
        let Ok(functions) = lua.create_table() else { return };
        for id in self.cache.ids() {
            let moved =
                self.functions.raw_get::<Value>(id).and_then(|function| functions.raw_set(id, function));
            if moved.is_err() {
                return;
            }
        }
        self.functions = functions;
        let _ = lua.gc_collect();
    }
}

/// The error reply of a script, which says where it failed.
fn at_place(thrown: Thrown, sha: Sha) -> RunError {
    let mut text = if thrown.is_stop { result::KILLED.to_vec() } else { thrown.text };
    if let Some((source, line)) = thrown.place {
        text.extend_from_slice(format!(" script: {sha}, on {source}:{line}.").as_bytes());
    }
    RunError { text, is_counted: thrown.is_counted }
}

fn strings<'k>(lua: &Lua, texts: impl Iterator<Item = &'k [u8]>) -> mlua::Result<Table> {
    // Bytes become a string of Lua's; a slice alone would become a table.
    lua.create_sequence_from(texts.map(Text))
}

struct Text<'a>(&'a [u8]);

impl mlua::IntoLua for Text<'_> {
    fn into_lua(self, lua: &Lua) -> mlua::Result<Value> {
        lua.create_string(self.0).map(Value::String)
    }
}
