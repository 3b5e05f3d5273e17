//! `cjson.encode`.

use std::sync::atomic::Ordering::Relaxed;

use mlua::{Lua, LuaString, MultiValue, Table, Value};

use super::Options;
use crate::general;
use crate::host::Pace;
use crate::raise::{bad_argument, here, type_name};
use crate::text::number_of;

/// Bytes of JSON that one call makes.
const BYTES_MAX: usize = 128 << 20;

pub(super) fn encode(lua: &Lua, args: MultiValue, options: &Options) -> mlua::Result<LuaString> {
    if args.len() != 1 {
        return Err(bad_argument(lua, 1, "encode", "expected 1 argument"));
    }
    let mut out = Vec::new();
    Encoding { lua, options, out: &mut out, pace: Pace::default() }.value(&args[0], 0)?;
    lua.create_string(out)
}

/// A table's keys as the indices of an array.
#[derive(Debug, Default)]
pub(crate) struct Array {
    /// An `int` in Redis, which what is above one makes the smallest.
    most: i32,
    items: i64,
}

impl Array {
    /// Takes an index; false if a table with such a key is no array.
    pub(crate) fn takes(&mut self, index: f64) -> bool {
        if !(index >= 1.0 && index.fract() == 0.0) {
            return false;
        }
        if index > f64::from(self.most) {
            self.most = if index > f64::from(i32::MAX) { i32::MIN } else { index as i32 };
        }
        self.items += 1;
        true
    }

    /// How long it is; 0: it is none.
    pub(crate) fn len(&self) -> usize {
        usize::try_from(self.most).unwrap_or(0)
    }

    pub(crate) fn is_sparse(&self, ratio: i64, safe: i64) -> bool {
        let most = i64::from(self.most);
        ratio > 0 && most > self.items * ratio && most > safe
    }
}

struct Encoding<'a> {
    lua: &'a Lua,
    options: &'a Options,
    out: &'a mut Vec<u8>,
    pace: Pace,
}

impl Encoding<'_> {
    fn value(&mut self, value: &Value, depth: i64) -> mlua::Result<()> {
        self.pace.step()?;
        if self.out.len() > BYTES_MAX {
            return Err(here(self.lua, "Cannot serialise, too large"));
        }
        match value {
            Value::String(text) => write_string(&text.as_bytes(), self.out),
            Value::Integer(number) => self.number(*number as f64)?,
            Value::Number(number) => self.number(*number)?,
            Value::Boolean(value) => self.out.extend_from_slice(if *value { b"true" } else { b"false" }),
            Value::Nil => self.out.extend_from_slice(b"null"),
            Value::LightUserData(data) if data.0.is_null() => self.out.extend_from_slice(b"null"),
            Value::Table(table) => return self.table(table, depth + 1),
            other => {
                let text = format!("Cannot serialise {}: type not supported", type_name(other));
                return Err(here(self.lua, text));
            }
        }
        Ok(())
    }

    fn table(&mut self, table: &Table, depth: i64) -> mlua::Result<()> {
        if depth > self.options.encode_depth() {
            return Err(here(self.lua, format!("Cannot serialise, excessive nesting ({depth})")));
        }
        match self.array_len(table)? {
            0 => self.object(table, depth),
            len => self.array(table, len, depth),
        }
    }

    /// How long the table is as an array; 0 if it is none.
    fn array_len(&self, table: &Table) -> mlua::Result<usize> {
        let mut array = Array::default();
        // Ends at the first other key; a table without any is an object.
        for pair in table.pairs::<Value, Value>() {
            let is_index = match pair?.0 {
                Value::Integer(index) => array.takes(index as f64),
                Value::Number(index) => array.takes(index),
                _ => false,
            };
            if !is_index {
                return Ok(0);
            }
        }
        let (ratio, safe) = (self.options.sparse_ratio.load(Relaxed), self.options.sparse_safe.load(Relaxed));
        if !array.is_sparse(ratio, safe) {
            return Ok(array.len());
        }
        if self.options.sparse_convert.load(Relaxed) {
            return Ok(0);
        }
        Err(here(self.lua, "Cannot serialise table: excessively sparse array"))
    }

    fn array(&mut self, table: &Table, len: usize, depth: i64) -> mlua::Result<()> {
        self.out.push(b'[');
        for index in 1..=len {
            if index > 1 {
                self.out.push(b',');
            }
            self.value(&table.raw_get(index)?, depth)?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn object(&mut self, table: &Table, depth: i64) -> mlua::Result<()> {
        self.out.push(b'{');
        let mut is_first = true;
        for pair in table.pairs::<Value, Value>() {
            let (key, value) = pair?;
            if !is_first {
                self.out.push(b',');
            }
            is_first = false;
            match key {
                Value::String(text) => write_string(&text.as_bytes(), self.out),
                Value::Integer(_) | Value::Number(_) => {
                    self.out.push(b'"');
                    self.number(number_of(self.lua, &key).unwrap_or(0.0))?;
                    self.out.push(b'"');
                }
                other => {
                    let text = format!(
                        "Cannot serialise {}: table key must be a number or string",
                        type_name(&other)
                    );
                    return Err(here(self.lua, text));
                }
            }
            self.out.push(b':');
            self.value(&value, depth)?;
        }
        self.out.push(b'}');
        Ok(())
    }

    fn number(&mut self, number: f64) -> mlua::Result<()> {
        if !number.is_finite() {
            match self.options.encode_invalid.load(Relaxed) {
                0 => return Err(here(self.lua, "Cannot serialise number: must not be NaN or Inf")),
                2 => {
                    self.out.extend_from_slice(b"null");
                    return Ok(());
                }
                _ if number.is_nan() => {
                    self.out.extend_from_slice(b"nan");
                    return Ok(());
                }
                _ => {}
            }
        }
        general::write(self.out, number, self.options.precision.load(Relaxed));
        Ok(())
    }
}

/// Appends a text with its quotes.
pub(crate) fn write_string(text: &[u8], out: &mut Vec<u8>) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut rest = text;
    while let Some(at) = rest.iter().position(|&byte| is_escaped(byte)) {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            byte @ (b'"' | b'\\' | b'/') => out.extend_from_slice(&[b'\\', byte]),
            byte => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Whether a byte is written as more than itself.
#[inline]
fn is_escaped(byte: u8) -> bool {
    matches!(byte, 0..=0x1f | b'"' | b'/' | b'\\' | 0x7f)
}
