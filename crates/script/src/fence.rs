//! What stands between a script and the interpreter: see the table in `lib.rs`.
//!
//! `fence.lua` makes what scripts see out of the interpreter's own functions and of those given here. Scripts get proxies:
//! empty tables that read through to a library or to the globals, and refuse writes. The tables behind them can't be
//! reached: a proxy's metatable is hidden, and what would write or look past it (`rawset`, `table.insert` …) knows them.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use mlua::chunk::ChunkMode;
use mlua::state::{GcIncParams, GcMode};
use mlua::{Error, Function, Lua, LuaOptions, MultiValue, StdLib, Table, Value};

use crate::host::{Verdict, with_host};
use crate::raise::{FENCE, Raised, reply, script_place};
use crate::text::number_text;
use crate::{MEMORY_MAX, api, bits, cjson, cmsgpack, functions, raw, structs, text};

/// The collector begins again when the state is this much larger than what it left, in percent.
pub(crate) const PAUSE: i32 = 300;

/// The same once the state holds more than [`TIGHT_BYTES`]: garbage that waits counts against [`MEMORY_MAX`], and this
/// interpreter doesn't collect because memory is short.
const TIGHT_PAUSE: i32 = 130;

/// What a state may hold before its collector is in a hurry: three times as much is far below [`MEMORY_MAX`].
pub(crate) const TIGHT_BYTES: usize = MEMORY_MAX / 8;

pub(crate) fn set_pause(lua: &Lua, pause: i32) {
    lua.gc_set_mode(GcMode::Incremental(GcIncParams::default().pause(pause)));
}

/// A fenced state.
pub(crate) struct Fence {
    pub(crate) lua: Lua,
    /// What scripts take for `_G`.
    environment: Table,
    /// What libraries of functions take for it.
    of_libraries: Table,
    /// Where a script's keys and arguments are set.
    globals: Table,
    /// Gets an error that a script ends with, while its stack is there.
    handle: Function,
    /// `load_library(f)` runs a library's code: whether it went well, and the error.
    pub(crate) load_library: Function,
}

/// An error that a script has ended with, as `handle` leaves it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Thrown {
    /// With its code: `ERR …`.
    pub(crate) text: Vec<u8>,
    pub(crate) place: Option<(String, usize)>,
    /// The command that failed has been counted among the errors.
    pub(crate) is_counted: bool,
    /// It was stopped.
    pub(crate) is_stop: bool,
}

impl Fence {
    pub(crate) fn new(shared: &Arc<api::Shared>) -> mlua::Result<Fence> {
        let libraries = StdLib::TABLE | StdLib::STRING | StdLib::MATH;
        let lua = Lua::new_with(libraries, LuaOptions::new().catch_rust_panics(false))?;
        lua.set_memory_limit(MEMORY_MAX)?;
        set_pause(&lua, PAUSE);
        let string: Table = lua.globals().raw_get("string")?;
        text::install(&lua, &string)?;
        let our = our(&lua, shared)?;
        let globals = lua.create_table()?;
        let prelude =
            lua.load(include_str!("fence.lua")).set_name(format!("={FENCE}")).set_mode(ChunkMode::Text);
        let made: Table = prelude.call((our.clone(), &globals))?;
        let environment: Table = made.raw_get(1)?;
        our.raw_set("environment", &environment)?;
        watch(&lua, shared)?;
        Ok(Fence {
            environment,
            of_libraries: made.raw_get(2)?,
            globals,
            handle: our.raw_get("handle")?,
            load_library: made.raw_get(3)?,
            lua,
        })
    }

    /// What runs compiled functions, which it finds in `functions`.
    pub(crate) fn enter(&self, functions: &Table) -> mlua::Result<Function> {
        raw::enter(&self.lua, &self.globals, &self.handle, functions)
    }

    /// Compiles a script; the error is the compiler's text.
    pub(crate) fn compile_script(&self, code: &[u8]) -> Result<Function, Vec<u8>> {
        compile(&self.lua, b"@user_script", code, &self.environment)
    }

    /// Compiles a library of functions; the error is the compiler's text.
    pub(crate) fn compile_library(&self, code: &[u8]) -> Result<Function, Vec<u8>> {
        compile(&self.lua, b"@user_function", code, &self.of_libraries)
    }
}

/// What Rust gives to `fence.lua`.
fn our(lua: &Lua, shared: &Arc<api::Shared>) -> mlua::Result<Table> {
    let our = lua.create_table()?;
    let began = Instant::now();
    our.raw_set("clock", lua.create_function(move |_, ()| Ok(began.elapsed().as_secs_f64()))?)?;
    our.raw_set("used_kilobytes", lua.create_function(|lua, ()| Ok(lua.used_memory() as f64 / 1024.0))?)?;
    our.raw_set("caught", lua.create_function(caught)?)?;
    our.raw_set("thrown", lua.create_function(thrown)?)?;
    our.raw_set("is_stop", lua.create_function(|_, value| Ok(is_stop(&value)))?)?;
    our.raw_set("handle", lua.create_function(handle)?)?;
    our.raw_set("passing", lua.create_function(raw::passing)?)?;
    our.raw_set("appending", lua.create_function(raw::appending)?)?;
    our.raw_set("spreading", lua.create_function(raw::spreading)?)?;
    our.raw_set("refuse", lua.create_function(refuse)?)?;
    let scope = our.clone();
    our.raw_set("loadstring", lua.create_function(move |lua, args| loadstring(lua, args, &scope))?)?;
    random(lua, &our, shared)?;
    our.raw_set("bit", bits::library(lua)?)?;
    let (cjson, cmsgpack) = (cjson::library(lua, &shared.json)?, cmsgpack::library(lua)?);
    raw::gates(lua, shared, &cjson, &cmsgpack)?;
    our.raw_set("cjson", cjson)?;
    our.raw_set("cmsgpack", cmsgpack)?;
    our.raw_set("struct", structs::library(lua)?)?;
    let redis = api::library(lua, shared)?;
    our.raw_set("loading", functions::loading_library(lua, &redis, shared)?)?;
    our.raw_set("redis", redis)?;
    Ok(our)
}

/// Has the host asked every few microseconds whether the script goes on.
fn watch(lua: &Lua, shared: &Arc<api::Shared>) -> mlua::Result<()> {
    let shared = Arc::clone(shared);
    let tick = lua.create_function(move |lua, ()| {
        if with_host(|host| host.tick()) == Some(Verdict::Stop) {
            return Err(Raised::Stopped.into());
        }
        if lua.used_memory() > TIGHT_BYTES && !shared.is_tight.swap(true, Relaxed) {
            set_pause(lua, TIGHT_PAUSE);
        }
        Ok(())
    })?;
    raw::watch(lua, &tick)
}

/// Compiles `code`, never bytecode.
///
/// The chunk's name lives as a string of Lua's until the parser is done: the parser makes one of the same bytes, which is
/// the same string, and doesn't protect it from the collector (CVE-2025-49844).
fn compile(lua: &Lua, name: &[u8], code: &[u8], environment: &Table) -> Result<Function, Vec<u8>> {
    let name = String::from_utf8_lossy(name).replace('\0', "");
    let anchor = lua.create_string(&name).map_err(|error| text_of(&error))?;
    let function = lua
        .load(code)
        .set_name(&*name)
        .set_mode(ChunkMode::Text)
        .set_environment(environment.clone())
        .into_function();
    drop(anchor);
    function.map_err(|error| text_of(&error))
}

fn loadstring(lua: &Lua, args: MultiValue, our: &Table) -> mlua::Result<MultiValue> {
    let code = text::string_argument(lua, &args, 0, "loadstring")?;
    let name = match args.get(1) {
        Some(Value::String(name)) => name.as_bytes().to_vec(),
        // As the interpreter names code that it was given as a string.
        _ => code.as_bytes().to_vec(),
    };
    let environment: Table = our.raw_get("environment")?;
    let code = code.as_bytes();
    let result = if code.starts_with(b"\x1b") {
        Err(b"attempt to load a binary chunk".to_vec())
    } else {
        compile(lua, &name, &code, &environment)
    };
    Ok(match result {
        Ok(function) => MultiValue::from_iter([Value::Function(function)]),
        Err(text) => MultiValue::from_iter([Value::Nil, Value::String(lua.create_string(text)?)]),
    })
}

/// What functions of `fence.lua` throw: an error about their argument `at`, or one about none.
fn refuse(lua: &Lua, (why, name, at): (String, Option<String>, Option<usize>)) -> mlua::Result<()> {
    Err(match (name, at) {
        (Some(name), Some(at)) => crate::raise::bad_argument(lua, at, &name, &why),
        _ => crate::raise::here(lua, why),
    })
}

/// An error of ours among those that mlua wraps around it.
fn raised(error: &Error) -> Option<&Raised> {
    match error {
        Error::CallbackError { cause, .. } => raised(cause),
        Error::ExternalError(cause) => cause.downcast_ref(),
        _ => None,
    }
}

/// The text of an error that is none of ours.
fn text_of(error: &Error) -> Vec<u8> {
    match error {
        Error::CallbackError { cause, .. } => text_of(cause),
        Error::MemoryError(_) => b"not enough memory".to_vec(),
        Error::RuntimeError(text) | Error::SyntaxError { message: text, .. } => {
            text.split("\nstack traceback:").next().unwrap_or_default().as_bytes().to_vec()
        }
        other => other.to_string().into_bytes(),
    }
}

/// What a script that was stopped gets from a protected call: the same error again.
fn stopped() -> Error {
    Raised::Stopped.into()
}

fn is_stop(value: &Value) -> bool {
    matches!(value, Value::Error(error) if raised(error) == Some(&Raised::Stopped))
}

/// What `xpcall` and `coroutine.resume` show of an error.
fn thrown(lua: &Lua, value: Value) -> mlua::Result<Value> {
    let Value::Error(error) = value else { return own_lines_hidden(lua, value) };
    match raised(&error) {
        Some(Raised::Stopped) => Err(stopped()),
        Some(Raised::Text(text)) => Ok(Value::String(lua.create_string(text)?)),
        Some(Raised::Reply { text, .. }) => {
            let table = lua.create_table()?;
            table.raw_set("err", lua.create_string(text)?)?;
            Ok(Value::Table(table))
        }
        None => Ok(Value::String(lua.create_string(text_of(&error))?)),
    }
}

/// An error that began in `fence.lua` doesn't say so.
fn own_lines_hidden(lua: &Lua, value: Value) -> mlua::Result<Value> {
    let Value::String(text) = &value else { return Ok(value) };
    let shown = without_own_place(&text.as_bytes()).map(<[u8]>::to_vec);
    match shown {
        Some(shown) => Ok(Value::String(lua.create_string(shown)?)),
        None => Ok(value),
    }
}

/// What follows `fence:12: `.
fn without_own_place(text: &[u8]) -> Option<&[u8]> {
    let rest = text.strip_prefix(b"fence:")?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    rest[digits..].strip_prefix(b": ")
}

/// What `pcall` shows of an error: of a table that has a text, the text.
fn caught(lua: &Lua, value: Value) -> mlua::Result<Value> {
    let value = thrown(lua, value)?;
    if let Value::Table(table) = &value
        && let text @ (Value::String(_) | Value::Integer(_) | Value::Number(_)) =
            table.raw_get::<Value>("err")?
    {
        return Ok(text);
    }
    Ok(value)
}

/// The error that a script ends with, while its stack is there: a table of its text and place.
fn handle(lua: &Lua, value: Value) -> mlua::Result<Table> {
    let mut thrown = Thrown { place: script_place(lua), ..Thrown::default() };
    match &value {
        Value::Error(error) => match raised(error) {
            Some(Raised::Stopped) => {
                thrown.is_stop = true;
                // Nothing of the script is left to run: what follows is ours.
                raw::go_on(lua)?;
            }
            Some(Raised::Reply { text, is_counted }) => {
                thrown.text.clone_from(text);
                thrown.is_counted = *is_counted;
            }
            Some(Raised::Text(text)) => thrown.text = with_code(text),
            None => thrown.text = with_code(&text_of(error)),
        },
        Value::Table(table) => {
            let text = table.raw_get::<Value>("err")?;
            thrown.text = match text {
                Value::String(text) => text.as_bytes().to_vec(),
                Value::Integer(number) => number_text(number as f64),
                Value::Number(number) => number_text(number),
                _ => b"ERR unknown error".to_vec(),
            };
            thrown.is_counted = table.raw_get("ignore_error_stats_update").unwrap_or(false);
        }
        Value::String(text) => {
            let text = text.as_bytes();
            thrown.text = with_code(without_own_place(&text).unwrap_or(&text));
        }
        Value::Integer(number) => thrown.text = with_code(&number_text(*number as f64)),
        Value::Number(number) => thrown.text = with_code(&number_text(*number)),
        Value::Nil => thrown.text = with_code(b"nil"),
        Value::Boolean(value) => thrown.text = with_code(value.to_string().as_bytes()),
        other => thrown.text = with_code(shown(other).as_bytes()),
    }
    thrown.into_table(lua)
}

/// As `tostring` shows what has no text.
fn shown(value: &Value) -> String {
    let name = crate::raise::type_name(value);
    match value.to_pointer() {
        address if address.is_null() => format!("{name}: (nil)"),
        address => format!("{name}: {address:p}"),
    }
}

fn with_code(text: &[u8]) -> Vec<u8> {
    [b"ERR ", text].concat()
}

impl Thrown {
    fn into_table(self, lua: &Lua) -> mlua::Result<Table> {
        let table = lua.create_table()?;
        table.raw_set("text", lua.create_string(&self.text)?)?;
        if let Some((source, line)) = self.place {
            table.raw_set("source", source)?;
            table.raw_set("line", line)?;
        }
        table.raw_set("counted", self.is_counted)?;
        table.raw_set("stop", self.is_stop)?;
        Ok(table)
    }

    /// What `run` gave as its error. Without a table, the handler itself has failed.
    pub(crate) fn of(value: &Value) -> Thrown {
        let Value::Table(table) = value else {
            let is_stop = is_stop(value);
            let text = match value {
                Value::String(text) => with_code(&text.as_bytes()),
                Value::Error(error) => with_code(&text_of(error)),
                _ => b"ERR unknown error".to_vec(),
            };
            return Thrown { text, is_stop, ..Thrown::default() };
        };
        let text = table.raw_get::<mlua::LuaString>("text").map(|text| text.as_bytes().to_vec());
        let place = (table.raw_get::<String>("source").ok()).zip(table.raw_get::<usize>("line").ok());
        Thrown {
            text: text.unwrap_or_default(),
            place,
            is_counted: table.raw_get("counted").unwrap_or(false),
            is_stop: table.raw_get("stop").unwrap_or(false),
        }
    }

    pub(crate) fn from_error(error: &Error) -> Thrown {
        let is_stop = raised(error) == Some(&Raised::Stopped);
        Thrown { text: with_code(&text_of(error)), is_stop, ..Thrown::default() }
    }
}

/// `math.random`. The generator is POSIX's `rand48`, which
/// Redis uses too.
fn random(lua: &Lua, our: &Table, shared: &Arc<api::Shared>) -> mlua::Result<()> {
    our.raw_set("random", {
        let shared = Arc::clone(shared);
        lua.create_function(move |lua, args: MultiValue| {
            let state = shared.random.load(Relaxed);
            let next = state.wrapping_mul(0x5_DEEC_E66D).wrapping_add(0xB) & ((1 << 48) - 1);
            shared.random.store(next, Relaxed);
            // The upper 31 of 48 bits, as a fraction of their largest value.
            let part = (next >> 17) as f64 % 2_147_483_647.0 / 2_147_483_647.0;
            let whole = |at| text::number_needed(lua, &args, at, "random").map(f64::trunc);
            let empty = |at| crate::raise::bad_argument(lua, at, "random", "interval is empty");
            match args.len() {
                0 => Ok(part),
                1 => match whole(0)? {
                    most if most >= 1.0 => Ok((part * most).floor() + 1.0),
                    _ => Err(empty(1)),
                },
                2 => match (whole(0)?, whole(1)?) {
                    (least, most) if least <= most => Ok((part * (most - least + 1.0)).floor() + least),
                    _ => Err(empty(2)),
                },
                _ => Err(crate::raise::here(lua, "wrong number of arguments")),
            }
        })?
    })?;
    let shared = Arc::clone(shared);
    our.raw_set(
        "randomseed",
        lua.create_function(move |lua, args: MultiValue| {
            let seed = text::number_needed(lua, &args, 0, "randomseed")?;
            shared.random.store(seeded(seed as i64 as i32), Relaxed);
            Ok(())
        })?,
    )
}

fn seeded(seed: i32) -> u64 {
    u64::from(seed as u32) << 16 | 0x330E
}

/// For functions that take an exact number of arguments.
pub(crate) fn wrong_count() -> Error {
    reply(b"ERR wrong number of arguments".to_vec())
}
