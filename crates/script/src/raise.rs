//! Errors on their way through Lua.
//!
//! A function of ours that fails returns an `Err`, which travels through Lua as an object that no script may see: before
//! `pcall`, `xpcall` and `coroutine.resume` hand it over, `fence` turns it into what Redis's functions throw, a string or
//! a table.

use std::fmt;

use mlua::{Error, Lua, Value};

use crate::raw;

/// What a function of ours throws.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Raised {
    /// A string.
    Text(Vec<u8>),
    /// A table with `err`: the error reply of a command, or one that looks like it.
    Reply {
        text: Vec<u8>,
        /// The command has been counted among the errors already.
        is_counted: bool,
    },
    /// The script has been stopped: nothing catches it.
    Stopped,
}

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Raised::Text(text) | Raised::Reply { text, .. } => f.write_str(&String::from_utf8_lossy(text)),
            Raised::Stopped => f.write_str("stopped"),
        }
    }
}

impl std::error::Error for Raised {}

impl From<Raised> for Error {
    fn from(raised: Raised) -> Error {
        Error::external(raised)
    }
}

/// An error with the place of the caller before its text, as Lua's own functions throw it.
#[cold]
pub(crate) fn here(lua: &Lua, text: impl AsRef<[u8]>) -> Error {
    let mut full = place(lua, called(lua) + 1).into_bytes();
    full.extend_from_slice(text.as_ref());
    Raised::Text(full).into()
}

/// An error about an argument, in Lua's words.
#[cold]
pub(crate) fn bad_argument(lua: &Lua, at: usize, function: &str, why: &str) -> Error {
    // As Lua says it: what `pcall` calls has no name, and a method's own argument is not counted.
    let called = called(lua);
    let is_nameless =
        lua.inspect_stack(called + 1, |debug| debug.source().short_src.as_deref() == Some(FENCE));
    let function = if is_nameless == Some(true) { "?" } else { function };
    let is_method = lua.inspect_stack(called, |debug| debug.names().name_what == Some("method"));
    match at - usize::from(is_method == Some(true)) {
        0 => here(lua, format!("calling '{function}' on bad self ({why})")),
        at => here(lua, format!("bad argument #{at} to '{function}' ({why})")),
    }
}

/// An error about an argument that has the wrong type.
#[cold]
pub(crate) fn wrong_type(lua: &Lua, at: usize, function: &str, wanted: &str, found: Option<&Value>) -> Error {
    let found = found.map_or("no value", type_name);
    bad_argument(lua, at, function, &format!("{wanted} expected, got {found}"))
}

/// A reply-like error without a place, as the functions of `redis` throw it.
#[cold]
pub(crate) fn reply(text: impl Into<Vec<u8>>) -> Error {
    Raised::Reply { text: text.into(), is_counted: false }.into()
}

/// The type's name as Lua says it.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Integer(_) | Value::Number(_) => "number",
        Value::LightUserData(_) | Value::UserData(_) | Value::Error(_) => "userdata",
        _ => value.type_name(),
    }
}

/// The level of what a script has called: our function's own, or that of the gate before it, with functions of `fence.lua` in between.
fn called(lua: &Lua) -> usize {
    for level in 1..=BEHIND_GATE_MAX {
        let found = lua.inspect_stack(level, |debug| {
            let is_ours = debug.source().short_src.as_deref() == Some(FENCE);
            (raw::is_gate(lua, &debug.function()), is_ours)
        });
        match found {
            Some((true, _)) => return level,
            Some((false, true)) => {}
            _ => break,
        }
    }
    0
}

/// `user_script:3: ` for the function at this level of the stack, nothing for one that has no lines.
fn place(lua: &Lua, level: usize) -> String {
    let place = lua.inspect_stack(level, |debug| {
        let line = debug.current_line()?;
        let source = debug.source();
        let name = source.short_src.as_deref().unwrap_or("?");
        // Ours stand where `pcall` and its kin are, which have no lines elsewhere.
        (name != FENCE).then(|| format!("{name}:{line}: "))
    });
    place.flatten().unwrap_or_default()
}

/// Source and line of the innermost function of a script that is running, as error replies name it.
pub(crate) fn script_place(lua: &Lua) -> Option<(String, usize)> {
    for level in 0..LEVELS_MAX {
        let found = lua.inspect_stack(level, |debug| {
            let source = debug.source().source.map(|source| source.into_owned())?;
            source.starts_with("@user_").then(|| (source, debug.current_line().unwrap_or(0)))
        })?;
        if found.is_some() {
            return found;
        }
    }
    None
}

/// What the functions that stand between scripts and Lua's own are from.
pub(crate) const FENCE: &str = "fence";

/// Functions that stand between a gate and one of ours that fails: one of `fence.lua`, and what that has called.
const BEHIND_GATE_MAX: usize = 3;

/// Levels of the stack that are searched for a script's function: our own stand on top of it, a few only.
const LEVELS_MAX: usize = 100;
