//! Replies of commands as Lua values.
//!
//! | reply | RESP2 | after `redis.setresp(3)` |
//! |---|---|---|
//! | integer, bulk string | number, string | the same |
//! | status, error | `{ok=…}`, `{err=…}` | the same |
//! | null | `false` | `nil` |
//! | array | table | the same |
//! | map, set, double, boolean | as RESP2 has them | `{map={…}}`, `{set={…}}`, `{double=…}`, boolean |
//! | big number, verbatim string | strings | `{big_number=…}`, `{verbatim_string={…}}` |
//!
//! The bytes are the server's own: what doesn't read as a reply ends as `nil`.

use mlua::{IntoLua, Lua, Table, Value};

/// How deep aggregates of a reply are read: deeper than any command's.
const DEPTH_MAX: usize = 64;

/// The one reply in `bytes`.
pub(crate) fn value(lua: &Lua, bytes: &[u8]) -> mlua::Result<Value> {
    Reading { lua, rest: bytes }.value(0)
}

struct Reading<'a> {
    lua: &'a Lua,
    rest: &'a [u8],
}

/// A value made while a sequence is being filled.
struct Element(mlua::Result<Value>);

impl IntoLua for Element {
    fn into_lua(self, _: &Lua) -> mlua::Result<Value> {
        self.0
    }
}

impl<'a> Reading<'a> {
    fn value(&mut self, depth: usize) -> mlua::Result<Value> {
        let (kind, line) = self.line();
        match kind {
            b':' => Ok(Value::Integer(number(line))),
            b'$' => match line {
                b"-1" => Ok(Value::Boolean(false)),
                _ => self.string(line),
            },
            b'*' if line == b"-1" => Ok(Value::Boolean(false)),
            b'*' if depth < DEPTH_MAX => self.sequence(number(line), depth).map(Value::Table),
            b'+' => self.field("ok", line),
            b'-' => self.field("err", line),
            b'_' => Ok(Value::Nil),
            b'#' => Ok(Value::Boolean(line == b"t")),
            b',' => {
                let table = self.lua.create_table()?;
                table.raw_set("double", double(line))?;
                Ok(Value::Table(table))
            }
            b'(' => self.field("big_number", line),
            b'=' => self.verbatim(line),
            b'%' if depth < DEPTH_MAX => self.map(number(line), depth),
            b'~' if depth < DEPTH_MAX => self.set(number(line), depth),
            _ => Ok(Value::Nil),
        }
    }

    /// The first byte of a line, and what follows it.
    fn line(&mut self) -> (u8, &'a [u8]) {
        let end = memchr::memchr(b'\r', self.rest).unwrap_or(self.rest.len());
        let (line, rest) = self.rest.split_at(end);
        self.rest = rest.strip_prefix(b"\r\n").unwrap_or_default();
        line.split_first().map_or((0, &[]), |(&kind, line)| (kind, line))
    }

    fn bytes(&mut self, line: &[u8]) -> &'a [u8] {
        let len = usize::try_from(number(line)).unwrap_or(0).min(self.rest.len());
        let (text, rest) = self.rest.split_at(len);
        self.rest = rest.strip_prefix(b"\r\n").unwrap_or_default();
        text
    }

    fn string(&mut self, line: &[u8]) -> mlua::Result<Value> {
        let text = self.bytes(line);
        self.lua.create_string(text).map(Value::String)
    }

    fn field(&mut self, name: &str, line: &[u8]) -> mlua::Result<Value> {
        let table = self.lua.create_table_with_capacity(0, 1)?;
        table.raw_set(name, self.lua.create_string(line)?)?;
        Ok(Value::Table(table))
    }

    fn sequence(&mut self, len: i64, depth: usize) -> mlua::Result<Table> {
        let lua = self.lua;
        lua.create_sequence_from((0..len).map(|_| Element(self.value(depth + 1))))
    }

    fn map(&mut self, len: i64, depth: usize) -> mlua::Result<Value> {
        let map = self.lua.create_table()?;
        for _ in 0..len {
            let (key, value) = (self.value(depth + 1)?, self.value(depth + 1)?);
            if key != Value::Nil {
                map.raw_set(key, value)?;
            }
        }
        let table = self.lua.create_table_with_capacity(0, 1)?;
        table.raw_set("map", map)?;
        Ok(Value::Table(table))
    }

    fn set(&mut self, len: i64, depth: usize) -> mlua::Result<Value> {
        let set = self.lua.create_table()?;
        for _ in 0..len {
            let member = self.value(depth + 1)?;
            if member != Value::Nil {
                set.raw_set(member, true)?;
            }
        }
        let table = self.lua.create_table_with_capacity(0, 1)?;
        table.raw_set("set", set)?;
        Ok(Value::Table(table))
    }

    fn verbatim(&mut self, line: &[u8]) -> mlua::Result<Value> {
        let text = self.bytes(line);
        let (format, text) = text.split_at(text.len().min(4));
        let verbatim = self.lua.create_table()?;
        verbatim.raw_set("format", self.lua.create_string(format.strip_suffix(b":").unwrap_or(format))?)?;
        verbatim.raw_set("string", self.lua.create_string(text)?)?;
        let table = self.lua.create_table_with_capacity(0, 1)?;
        table.raw_set("verbatim_string", verbatim)?;
        Ok(Value::Table(table))
    }
}

fn number(line: &[u8]) -> i64 {
    sterna_protocol::argument::int(line).unwrap_or(0)
}

fn double(line: &[u8]) -> f64 {
    std::str::from_utf8(line).ok().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN)
}
