//! A Lua state with its scripts, and the running of them.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use mlua::{Function, Table, Value};
use sterna_protocol::Reply;

use crate::api::Shared;
use crate::cache::{Cache, Sha};
use crate::fence::{Fence, PAUSE, TIGHT_BYTES, Thrown, set_pause};
use crate::functions::{Libraries, Library, LibraryFunction, Registered};
use crate::host::{HOST, Host};
use crate::prepared::{Prepared, TextKind};
use crate::raw::{self, Entry, Outcome, RunError, What};
use crate::shebang::{ScriptFlags, library_header, script_header};

/// One Lua state. Whoever runs a script has it to itself.
pub struct Engine {
    fence: Fence,
    /// What runs scripts and functions.
    enter: Function,
    shared: Arc<Shared>,
    /// Compiled functions by their numbers. In a table of Lua's, because handles of ours are limited to some thousands.
    functions: Table,
    next_id: i64,
    cache: Cache,
    libraries: Libraries,
    prepared: Prepared,
    /// Bytes of the state when it was last collected as a whole.
    live_bytes: AtomicUsize,
    /// Which state of what its owner keeps the libraries are.
    pub libraries_version: u64,
    /// Where its owner has replies written, kept for its memory.
    pub reply: Vec<u8>,
}

/// A script that an engine has, until its scripts change.
#[derive(Debug, Clone, Copy)]
pub struct Script {
    /// What EVALSHA calls it.
    pub sha: Sha,
    /// What its first line says of how it runs; `None` if it has none.
    pub flags: Option<ScriptFlags>,
    /// Its place in the table of functions.
    id: i64,
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
    /// Bytes of the texts of libraries.
    pub library_bytes: usize,
    /// Libraries of functions.
    pub libraries: usize,
    /// Their functions.
    pub functions: usize,
}

/// A state that nobody uses any more: dropping it is all that can be done with it.
#[derive(Debug)]
pub struct Remains(#[expect(dead_code, reason = "it is held to be dropped")] Box<Engine>);

/// Bytes of a script, and of the code of a library, at most: as many as nobody writes by hand.
pub const CODE_BYTES_MAX: usize = 1 << 20;

/// Bytes that the state has grown by when it is collected at once after a script has ended: its garbage would otherwise stay
/// until others make as much.
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
        let enter = fence.enter(&functions).expect("a function can be made");
        Engine {
            fence,
            enter,
            shared,
            functions,
            next_id: 1,
            cache: Cache::default(),
            libraries: Libraries::default(),
            prepared: Prepared::default(),
            live_bytes: AtomicUsize::new(0),
            libraries_version: 0,
            reply: Vec::new(),
        }
    }

    /// Compiles a script if it isn't there; the error is an error reply's text. `stays`: SCRIPT LOAD brought it.
    pub fn load(&mut self, body: &[u8], stays: bool) -> Result<Script, Vec<u8>> {
        if body.len() > CODE_BYTES_MAX {
            return Err(
                format!("ERR the script is too long: it may have {CODE_BYTES_MAX} bytes").into_bytes()
            );
        }
        let sha = self.cache.sha_of(body);
        if stays && !self.cache.has_room_to_stay(sha, body) {
            return Err(
                b"ERR the text of all scripts would be longer than 64 MiB: SCRIPT FLUSH forgets them"
                    .to_vec(),
            );
        }
        if let Some(script) = self.find(sha) {
            if stays {
                self.cache.keep(sha);
            }
            return Ok(script);
        }
        if let Some(Err(text)) = self.prepared.take(TextKind::Script, body) {
            return Err(text);
        }
        let header = script_header(body)?;
        let flags = header.flags;
        // The line stays, as one without text: errors name lines.
        let function = self
            .fence
            .compile_script(&body[header.len..])
            .map_err(|text| [b"ERR Error compiling script (new function): ", &text[..]].concat())?;
        let id = self.keep(&function).map_err(|error| format!("ERR {error}").into_bytes())?;
        for gone in self.cache.insert(sha, id, header, body, stays) {
            self.forget(gone);
        }
        Ok(Script { sha, flags, id })
    }

    /// Whether EVALSHA would find it.
    pub fn has(&self, sha: Sha) -> bool {
        self.cache.has(sha)
    }

    /// The script that EVALSHA means. It counts as used.
    pub fn find(&mut self, sha: Sha) -> Option<Script> {
        self.cache.find(sha).map(|cached| Script { sha, flags: cached.header.flags, id: cached.id })
    }

    /// Whether [`Engine::load`] has nothing to compile.
    pub fn knows(&mut self, body: &[u8]) -> bool {
        if body.len() > CODE_BYTES_MAX {
            return true;
        }
        let sha = self.cache.sha_of(body);
        self.cache.has(sha) || self.prepared.has(TextKind::Script, body)
    }

    /// Compiles a script for the request that will ask for it.
    pub fn load_ahead(&mut self, body: &[u8]) {
        if let Err(text) = self.load(body, false) {
            self.prepare_ahead(TextKind::Script, body, Err(text));
        }
    }

    /// What became of libraries that were prepared for the request with this text.
    pub fn prepare_ahead(&mut self, kind: TextKind, text: &[u8], outcome: Result<Vec<Library>, Vec<u8>>) {
        for library in self.prepared.add(kind, text, outcome) {
            self.discard(&library);
        }
    }

    /// Whether that is known of a text.
    pub fn is_prepared(&self, kind: TextKind, text: &[u8]) -> bool {
        self.prepared.has(kind, text)
    }

    /// Takes what became of a text, if it was prepared.
    pub fn take_prepared(&mut self, kind: TextKind, text: &[u8]) -> Option<Result<Vec<Library>, Vec<u8>>> {
        self.prepared.take(kind, text)
    }

    /// Forgets everything: another state takes this one's place, since to free thousands of scripts or functions takes long.
    #[must_use = "it is slow to free"]
    pub fn flush(&mut self) -> Remains {
        let mut new = Engine::new();
        new.cache.evicted = self.cache.evicted;
        (new.libraries_version, new.reply) = (self.libraries_version, std::mem::take(&mut self.reply));
        Remains(Box::new(std::mem::replace(self, new)))
    }

    /// Runs a script that was just found or loaded, and writes its reply. On an error nothing is written.
    pub fn run<'k>(
        &mut self,
        script: Script,
        keys: impl Iterator<Item = &'k [u8]> + Clone,
        args: impl Iterator<Item = &'k [u8]> + Clone,
        host: &mut dyn Host,
        reply: &mut Reply<'_>,
    ) -> Result<(), RunError> {
        let place = |thrown| at_place(thrown, script.sha);
        self.execute((What::Script, script.id), (keys, args), host, reply, place)
    }

    /// Runs a function of a library that is installed, and writes its reply. On an error nothing is written.
    pub fn call<'k>(
        &mut self,
        function: &LibraryFunction,
        keys: impl Iterator<Item = &'k [u8]> + Clone,
        args: impl Iterator<Item = &'k [u8]> + Clone,
        host: &mut dyn Host,
        reply: &mut Reply<'_>,
    ) -> Result<(), RunError> {
        let name = &function.name;
        let place = |thrown| at_place(thrown, name);
        self.execute((What::Function, function.id), (keys, args), host, reply, place)
    }

    fn execute<'k>(
        &self,
        (what, id): (What, i64),
        (keys, args): (impl Iterator<Item = &'k [u8]> + Clone, impl Iterator<Item = &'k [u8]> + Clone),
        host: &mut dyn Host,
        reply: &mut Reply<'_>,
        at_place: impl Fn(Thrown) -> RunError,
    ) -> Result<(), RunError> {
        let shared = &*self.shared;
        shared.reset();
        let start = reply.out.len();
        let mut entry = Entry { what, id, keys, args, shared, reply, outcome: Outcome::Raised };
        let result = HOST.set(host, || entry.run_with(&self.enter));
        let outcome = entry.outcome;
        if let Some(panic) = shared.panic.lock().take() {
            resume_unwind(panic);
        }
        shared.buffers.lock().trim();
        self.collect();
        if outcome == Outcome::Written && result.is_ok() {
            return Ok(());
        }
        reply.out.truncate(start);
        let thrown = match result {
            Ok(_) if outcome != Outcome::Raised => return Err(RunError::of(outcome)),
            Ok(error) => Thrown::of(&error),
            Err(error) => Thrown::from_error(&error),
        };
        Err(at_place(self.ended(thrown)))
    }

    /// The name of a library, from the first line of its code.
    pub fn library_name(code: &[u8]) -> Result<String, Vec<u8>> {
        library_header(code).map(|(name, _)| name)
    }

    /// A script has ended: what it leaves is little, or goes.
    fn collect(&self) {
        let lua = &self.fence.lua;
        if lua.used_memory() > self.live_bytes.load(Relaxed) + COLLECT_BYTES {
            let _ = lua.gc_collect();
            self.live_bytes.store(lua.used_memory(), Relaxed);
        }
        if self.shared.is_tight.load(Relaxed) && lua.used_memory() < TIGHT_BYTES {
            self.shared.is_tight.store(false, Relaxed);
            set_pause(lua, PAUSE);
        }
    }

    /// Compiles a library and runs its code, which registers its functions; nobody can call them before it is installed.
    /// The error is an error reply's text.
    pub fn prepare(&mut self, code: &[u8], host: &mut dyn Host) -> Result<Library, Vec<u8>> {
        let (name, header_len) = library_header(code)?;
        // The line stays, as one without text: errors name lines.
        let function = self
            .fence
            .compile_library(&code[header_len..])
            .map_err(|text| [b"ERR Error compiling function: ", &text[..]].concat())?;
        let registered = self
            .run_library(&function, host)
            .map_err(|text| [b"ERR Error registering functions: ", &text[..]].concat())?;
        if registered.is_empty() {
            return Err(b"ERR No functions registered".to_vec());
        }
        let mut library = Library { name, code: code.into(), functions: Vec::new() };
        for Registered { name, description, flags, function } in registered {
            let id = match self.keep(&function) {
                Ok(id) => id,
                Err(error) => {
                    self.discard(&library);
                    return Err(format!("ERR {error}").into_bytes());
                }
            };
            let (name, description) = (name.into(), description.map(Into::into));
            library.functions.push(Arc::new(LibraryFunction { name, description, flags, id }));
        }
        Ok(library)
    }

    fn run_library(&self, function: &Function, host: &mut dyn Host) -> Result<Vec<Registered>, Vec<u8>> {
        self.shared.reset();
        *self.shared.registered.lock() = Some(Vec::new());
        let outcome = HOST.set(host, || self.fence.load_library.call::<(bool, Value)>(function));
        let registered = self.shared.registered.lock().take().unwrap_or_default();
        let thrown = match outcome {
            Ok((true, _)) => return Ok(registered),
            Ok((false, error)) => Thrown::of(&error),
            Err(error) => Thrown::from_error(&error),
        };
        let thrown = self.ended(thrown);
        Err(if thrown.is_stop { b"ERR FUNCTION LOAD timeout".to_vec() } else { thrown.text })
    }

    /// Forgets a library that was prepared.
    pub fn discard(&mut self, library: &Library) {
        library.functions.iter().for_each(|function| self.forget(function.id));
    }

    /// Has the functions of a library called by their names. No library has its name, or a function of such a name: see
    /// [`Libraries::taken`].
    pub fn install(&mut self, library: Library) {
        debug_assert!(self.libraries.library(&library.name).is_none());
        debug_assert_eq!(self.libraries.taken(&library, |_| false), None);
        self.libraries.insert(library);
    }

    /// Removes a library; false if there is none of this name.
    pub fn remove_library(&mut self, name: &str) -> bool {
        let Some(library) = self.libraries.remove(name) else { return false };
        self.discard(&library);
        true
    }

    /// The libraries.
    pub fn libraries(&self) -> &Libraries {
        &self.libraries
    }

    /// A script has ended with an error.
    fn ended(&self, thrown: Thrown) -> Thrown {
        if thrown.is_stop {
            // Every instruction failed until now.
            let _ = raw::go_on(&self.fence.lua);
        }
        thrown
    }

    /// Figures for INFO.
    pub fn figures(&self) -> Figures {
        Figures {
            used_bytes: self.fence.lua.used_memory(),
            text_bytes: self.cache.bytes(),
            scripts: self.cache.len(),
            evicted_scripts: self.cache.evicted,
            library_bytes: self.libraries.code_bytes(),
            libraries: self.libraries.iter().len(),
            functions: self.libraries.function_count(),
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
}

/// The error reply of a script, which says where it failed.
fn at_place(thrown: Thrown, name: impl std::fmt::Display) -> RunError {
    let mut text = if thrown.is_stop { raw::KILLED.to_vec() } else { thrown.text };
    if let Some((source, line)) = thrown.place {
        text.extend_from_slice(format!(" script: {name}, on {source}:{line}.").as_bytes());
    }
    RunError { text, is_counted: thrown.is_counted }
}
