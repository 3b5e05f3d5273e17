//! `cjson`: JSON as scripts expect it of Redis.
//!
//! Numbers are written with up to 14 digits, a whole one without a point; an empty table is `{}`; `/` is escaped; a table
//! whose keys are the integers from 1 on is an array, with holes as `null` unless there are too many of them.
//!
//! Source: lua-cjson 2.1 as Redis 8.2 has it, asked live; what `encode_*` and `decode_*` change lasts, as there, until the
//! end of the script only: nothing outlives a script here.

mod decode;
mod encode;
mod number;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering::Relaxed};

use mlua::{LightUserData, Lua, MultiValue, Table, Value};

use crate::raise::bad_argument;
use crate::text::{number_needed, string_argument};

use decode::decode;
use encode::encode;
pub(crate) use encode::{Array, write_string};

/// The deepest nesting, whatever is asked for: each level is one of our own stack.
const DEPTH_LIMIT: i64 = 1000;

/// Options as a script finds them: see `encode_sparse_array` and `encode_number_precision`.
pub(crate) const SPARSE_RATIO: i64 = 2;
pub(crate) const SPARSE_SAFE: i64 = 10;
pub(crate) const PRECISION: usize = 14;

/// What the options say.
#[derive(Debug)]
pub(crate) struct Options {
    /// Something is not as it was at first.
    is_changed: AtomicBool,
    sparse_convert: AtomicBool,
    sparse_ratio: AtomicI64,
    sparse_safe: AtomicI64,
    encode_depth: AtomicI64,
    decode_depth: AtomicI64,
    precision: AtomicUsize,
    /// 0: an error, 1: as they are, 2: `null`.
    encode_invalid: AtomicI64,
    decode_invalid: AtomicBool,
    keep_buffer: AtomicBool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            is_changed: AtomicBool::new(false),
            sparse_convert: AtomicBool::new(false),
            sparse_ratio: AtomicI64::new(SPARSE_RATIO),
            sparse_safe: AtomicI64::new(SPARSE_SAFE),
            encode_depth: AtomicI64::new(DEPTH_LIMIT),
            decode_depth: AtomicI64::new(DEPTH_LIMIT),
            precision: AtomicUsize::new(PRECISION),
            encode_invalid: AtomicI64::new(0),
            decode_invalid: AtomicBool::new(true),
            keep_buffer: AtomicBool::new(true),
        }
    }
}

impl Options {
    /// How deep what is encoded may be nested.
    fn encode_depth(&self) -> i64 {
        self.encode_depth.load(Relaxed).min(DEPTH_LIMIT)
    }

    /// How deep what is decoded may be nested.
    fn decode_depth(&self) -> i64 {
        self.decode_depth.load(Relaxed).min(DEPTH_LIMIT)
    }

    /// Whether something is not as a script finds it.
    pub(crate) fn is_changed(&self) -> bool {
        self.is_changed.load(Relaxed)
    }

    /// As a script finds them.
    pub(crate) fn reset(&self) {
        if !self.is_changed.swap(false, Relaxed) {
            return;
        }
        self.sparse_convert.store(false, Relaxed);
        self.sparse_ratio.store(SPARSE_RATIO, Relaxed);
        self.sparse_safe.store(SPARSE_SAFE, Relaxed);
        self.encode_depth.store(DEPTH_LIMIT, Relaxed);
        self.decode_depth.store(DEPTH_LIMIT, Relaxed);
        self.precision.store(PRECISION, Relaxed);
        self.encode_invalid.store(0, Relaxed);
        self.decode_invalid.store(true, Relaxed);
        self.keep_buffer.store(true, Relaxed);
    }
}

fn null() -> Value {
    Value::LightUserData(LightUserData(std::ptr::null_mut()))
}

pub(crate) fn library(lua: &Lua, options: &Arc<Options>) -> mlua::Result<Table> {
    let cjson = lua.create_table()?;
    let of = Arc::clone(options);
    cjson.raw_set("encode", lua.create_function(move |lua, args| encode(lua, args, &of))?)?;
    let of = Arc::clone(options);
    cjson.raw_set("decode", lua.create_function(move |lua, args| decode(lua, args, &of))?)?;
    let of = Arc::clone(options);
    cjson.raw_set("encode_sparse_array", lua.create_function(move |lua, args| sparse(lua, args, &of))?)?;
    number(lua, &cjson, "encode_max_depth", options, |options| &options.encode_depth)?;
    number(lua, &cjson, "decode_max_depth", options, |options| &options.decode_depth)?;
    let of = Arc::clone(options);
    cjson.raw_set(
        "encode_number_precision",
        lua.create_function(move |lua, args| precision(lua, args, &of))?,
    )?;
    let of = Arc::clone(options);
    cjson.raw_set(
        "encode_keep_buffer",
        lua.create_function(move |lua, args| switch(lua, &args, "encode_keep_buffer", &of, &of.keep_buffer))?,
    )?;
    let of = Arc::clone(options);
    cjson.raw_set(
        "decode_invalid_numbers",
        lua.create_function(move |lua, args| {
            switch(lua, &args, "decode_invalid_numbers", &of, &of.decode_invalid)
        })?,
    )?;
    let of = Arc::clone(options);
    cjson
        .raw_set("encode_invalid_numbers", lua.create_function(move |lua, args| invalid(lua, args, &of))?)?;
    cjson.raw_set("new", lua.create_function(|lua, ()| library(lua, &Arc::default()))?)?;
    cjson.raw_set("null", null())?;
    cjson.raw_set("_NAME", "cjson")?;
    cjson.raw_set("_VERSION", "2.1.0")?;
    Ok(cjson)
}

/// How an option is switched off and on, in words.
const SWITCH: &[&str] = &["off", "on"];

/// The same for one that may say `null` as well.
const INVALID: &[&str] = &["off", "on", "null"];

/// An option takes so many arguments.
fn at_most(lua: &Lua, args: &MultiValue, most: usize, name: &str) -> mlua::Result<()> {
    if args.len() > most {
        return Err(bad_argument(lua, most + 1, name, "found too many arguments"));
    }
    Ok(())
}

/// Which of the words the first argument is, or whether it is true; nothing without one.
fn word(lua: &Lua, args: &MultiValue, words: &[&str], name: &str) -> mlua::Result<Option<usize>> {
    match args.front() {
        None | Some(Value::Nil) => Ok(None),
        Some(Value::Boolean(value)) => Ok(Some(usize::from(*value))),
        Some(_) => {
            let text = string_argument(lua, args, 0, name)?;
            let text = text.as_bytes();
            let found = words.iter().position(|word| word.as_bytes() == &*text);
            let unknown = || {
                bad_argument(lua, 1, name, &format!("invalid option '{}'", String::from_utf8_lossy(&text)))
            };
            Ok(Some(found.ok_or_else(unknown)?))
        }
    }
}

/// Sets an option to what the first argument says, if there is one, and gives what it is then.
fn switch(
    lua: &Lua,
    args: &MultiValue,
    name: &str,
    options: &Options,
    option: &AtomicBool,
) -> mlua::Result<bool> {
    at_most(lua, args, 1, name)?;
    if let Some(word) = word(lua, args, SWITCH, name)? {
        options.is_changed.store(true, Relaxed);
        option.store(word == 1, Relaxed);
    }
    Ok(option.load(Relaxed))
}

/// The whole number at `at`, if there is one. What is out of range is said of the first argument, whichever it is.
fn integer(
    lua: &Lua,
    args: &MultiValue,
    at: usize,
    least: i64,
    most: i64,
    name: &str,
) -> mlua::Result<Option<i64>> {
    if matches!(args.get(at), None | Some(Value::Nil)) {
        return Ok(None);
    }
    let number = number_needed(lua, args, at, name)? as i64;
    if !(least..=most).contains(&number) {
        return Err(bad_argument(lua, 1, name, &format!("expected integer between {least} and {most}")));
    }
    Ok(Some(number))
}

fn number(
    lua: &Lua,
    cjson: &Table,
    name: &'static str,
    options: &Arc<Options>,
    option: fn(&Options) -> &AtomicI64,
) -> mlua::Result<()> {
    let of = Arc::clone(options);
    let function = lua.create_function(move |lua, args: MultiValue| {
        at_most(lua, &args, 1, name)?;
        if let Some(depth) = integer(lua, &args, 0, 1, i64::from(i32::MAX), name)? {
            of.is_changed.store(true, Relaxed);
            option(&of).store(depth, Relaxed);
        }
        Ok(option(&of).load(Relaxed))
    });
    cjson.raw_set(name, function?)
}

fn precision(lua: &Lua, args: MultiValue, options: &Options) -> mlua::Result<i64> {
    let name = "encode_number_precision";
    at_most(lua, &args, 1, name)?;
    if let Some(digits) = integer(lua, &args, 0, 1, 14, name)? {
        options.is_changed.store(true, Relaxed);
        options.precision.store(digits as usize, Relaxed);
    }
    Ok(options.precision.load(Relaxed) as i64)
}

fn sparse(lua: &Lua, args: MultiValue, options: &Options) -> mlua::Result<(bool, i64, i64)> {
    let name = "encode_sparse_array";
    at_most(lua, &args, 3, name)?;
    options.is_changed.store(true, Relaxed);
    if let Some(word) = word(lua, &args, SWITCH, name)? {
        options.sparse_convert.store(word == 1, Relaxed);
    }
    if let Some(ratio) = integer(lua, &args, 1, 0, i64::from(i32::MAX), name)? {
        options.sparse_ratio.store(ratio, Relaxed);
    }
    if let Some(safe) = integer(lua, &args, 2, 0, i64::from(i32::MAX), name)? {
        options.sparse_safe.store(safe, Relaxed);
    }
    let converts = options.sparse_convert.load(Relaxed);
    Ok((converts, options.sparse_ratio.load(Relaxed), options.sparse_safe.load(Relaxed)))
}

fn invalid(lua: &Lua, args: MultiValue, options: &Options) -> mlua::Result<Value> {
    let name = "encode_invalid_numbers";
    at_most(lua, &args, 1, name)?;
    if let Some(word) = word(lua, &args, INVALID, name)? {
        options.is_changed.store(true, Relaxed);
        options.encode_invalid.store(word as i64, Relaxed);
    }
    Ok(match options.encode_invalid.load(Relaxed) {
        2 => Value::String(lua.create_string("null")?),
        value => Value::Boolean(value == 1),
    })
}
