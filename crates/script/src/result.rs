//! What a script returns, as a reply.
//!
//! A table is what its fields say: `err`, `ok`, `double`, `map`, `set`, `big_number`, `verbatim_string`, in this order;
//! without one of them an array, which ends before the first `nil`.

use mlua::{Lua, LuaString, Table, Value};
use sterna_protocol::{Proto, Reply};

use crate::host::Pace;

/// How deep a reply may be nested.
const DEPTH_MAX: usize = 1000;

/// Bytes of a reply: tables that hold themselves twice would double at each level.
const BYTES_MAX: usize = 128 << 20;

/// A script has failed: the error reply, and whether it has been counted among the errors by the command that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunError {
    /// Without the leading `-`.
    pub text: Vec<u8>,
    /// Whether `errorstats` has it already.
    pub is_counted: bool,
}

/// The error of a script that was stopped.
pub(crate) const KILLED: &[u8] = b"ERR Script killed by user with SCRIPT KILL...";

/// The value is nested too deeply, or too large.
const TOO_DEEP: &[u8] = b"ERR reached lua stack limit";

/// The names of fields that say what a table is, as strings of the state: each table is asked for them.
pub(crate) struct Names {
    err: LuaString,
    ok: LuaString,
    double: LuaString,
    map: LuaString,
    set: LuaString,
    big_number: LuaString,
    verbatim_string: LuaString,
}

impl Names {
    pub(crate) fn new(lua: &Lua) -> mlua::Result<Names> {
        Ok(Names {
            err: lua.create_string("err")?,
            ok: lua.create_string("ok")?,
            double: lua.create_string("double")?,
            map: lua.create_string("map")?,
            set: lua.create_string("set")?,
            big_number: lua.create_string("big_number")?,
            verbatim_string: lua.create_string("verbatim_string")?,
        })
    }
}

/// Appends `value` to a reply. On an error nothing is appended.
pub(crate) fn write(
    value: &Value,
    names: &Names,
    is_resp3: bool,
    reply: &mut Reply<'_>,
) -> Result<(), RunError> {
    let start = reply.out.len();
    let mut writing = Writing { names, is_resp3, reply, start, pace: Pace::default() };
    let written = writing.value(value, 0);
    written.map_err(|stop| {
        reply.out.truncate(start);
        let text = match stop {
            Stop::Killed => KILLED.to_vec(),
            Stop::TooLarge => TOO_DEEP.to_vec(),
            Stop::Lua(error) => format!("ERR {error}").into_bytes(),
        };
        RunError { text, is_counted: false }
    })
}

enum Stop {
    Killed,
    TooLarge,
    Lua(mlua::Error),
}

impl From<mlua::Error> for Stop {
    fn from(error: mlua::Error) -> Stop {
        Stop::Lua(error)
    }
}

struct Writing<'a, 'b> {
    names: &'a Names,
    is_resp3: bool,
    reply: &'a mut Reply<'b>,
    start: usize,
    pace: Pace,
}

impl Writing<'_, '_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Stop> {
        self.pace.step().map_err(|_| Stop::Killed)?;
        if depth > DEPTH_MAX || self.reply.out.len() - self.start > BYTES_MAX {
            return Err(Stop::TooLarge);
        }
        match value {
            Value::String(text) => self.reply.bulk(&text.as_bytes()),
            Value::Integer(number) => self.reply.int(*number),
            Value::Number(number) => self.reply.int(whole(*number)),
            Value::Boolean(value) if self.is_resp3 => self.reply.boolean(*value),
            Value::Boolean(true) => self.reply.int(1),
            Value::Table(table) => return self.table(table, depth),
            _ => self.reply.null(),
        }
        Ok(())
    }

    fn table(&mut self, table: &Table, depth: usize) -> Result<(), Stop> {
        if let Value::String(text) = table.raw_get(&self.names.err)? {
            self.reply.error(until_nul(&text.as_bytes()));
        } else if let Value::String(text) = table.raw_get(&self.names.ok)? {
            self.reply.status(until_nul(&text.as_bytes()));
        } else if let Some(number) = number(&table.raw_get(&self.names.double)?) {
            self.reply.double(number);
        } else if let Value::Table(map) = table.raw_get(&self.names.map)? {
            return self.map(&map, depth);
        } else if let Value::Table(set) = table.raw_get(&self.names.set)? {
            return self.set(&set, depth);
        } else if let Value::String(digits) = table.raw_get(&self.names.big_number)? {
            self.big_number(until_nul(&digits.as_bytes()));
        } else if let Value::Table(verbatim) = table.raw_get(&self.names.verbatim_string)?
            && let (Value::String(text), Value::String(format)) =
                (verbatim.raw_get("string")?, verbatim.raw_get("format")?)
        {
            self.verbatim(&format.as_bytes(), &text.as_bytes());
        } else {
            return self.array(table, depth);
        }
        Ok(())
    }

    fn array(&mut self, table: &Table, depth: usize) -> Result<(), Stop> {
        let array = self.reply.array_deferred();
        let mut len = 0;
        loop {
            let value: Value = table.raw_get(len + 1)?;
            if value == Value::Nil {
                break;
            }
            self.value(&value, depth + 1)?;
            len += 1;
        }
        self.reply.array_finish(array, len);
        Ok(())
    }

    fn map(&mut self, map: &Table, depth: usize) -> Result<(), Stop> {
        let mut pairs = 0;
        map.for_each(|_: Value, _: Value| {
            pairs += 1;
            Ok(())
        })?;
        self.reply.map(pairs);
        for pair in map.pairs::<Value, Value>() {
            let (key, value) = pair?;
            self.value(&key, depth + 1)?;
            self.value(&value, depth + 1)?;
        }
        Ok(())
    }

    fn set(&mut self, set: &Table, depth: usize) -> Result<(), Stop> {
        let mut members = 0;
        set.for_each(|_: Value, _: Value| {
            members += 1;
            Ok(())
        })?;
        self.reply.set(members);
        for pair in set.pairs::<Value, Value>() {
            self.value(&pair?.0, depth + 1)?;
        }
        Ok(())
    }

    fn big_number(&mut self, digits: &[u8]) {
        match self.reply.proto {
            Proto::Resp2 => {
                let is_break = |byte: &u8| matches!(byte, b'\r' | b'\n');
                let digits: Vec<u8> =
                    digits.iter().map(|byte| if is_break(byte) { b' ' } else { *byte }).collect();
                self.reply.bulk(&digits);
            }
            Proto::Resp3 => {
                let start = self.reply.out.len();
                self.reply.status(digits);
                self.reply.out[start] = b'(';
            }
        }
    }

    /// A format has three letters; Redis fills or cuts it.
    fn verbatim(&mut self, format: &[u8], text: &[u8]) {
        if self.reply.proto == Proto::Resp2 {
            return self.reply.bulk(text);
        }
        let out = &mut *self.reply.out;
        out.extend_from_slice(format!("={}\r\n", text.len() + 4).as_bytes());
        out.extend((0..3).map(|at| format.get(at).copied().unwrap_or(b' ')));
        out.push(b':');
        out.extend_from_slice(text);
        out.extend_from_slice(b"\r\n");
    }
}

/// As C converts a double to an integer: towards zero; what fits into none is the smallest.
fn whole(number: f64) -> i64 {
    let fits = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&number);
    if fits { number as i64 } else { i64::MIN }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(number) => Some(*number as f64),
        Value::Number(number) => Some(*number),
        _ => None,
    }
}

/// Texts of errors and statuses are C strings in Redis.
fn until_nul(text: &[u8]) -> &[u8] {
    text.split(|&byte| byte == 0).next().unwrap_or_default()
}
