//! `cmsgpack`: MessagePack.
//!
//! A table whose keys are the integers from 1 to its length is an array, an empty one too; a number that is whole is an
//! integer, in the fewest bytes. Tables nested deeper than [`NESTING_MAX`] are packed as nil.
//!
//! Source: lua-cmsgpack 0.4 as Redis 8.2 has it, asked live, and the MessagePack specification.

use mlua::{Lua, LuaString, MultiValue, Table, Value};

use crate::host::Pace;
use crate::msgpack::{Fault, Item, Items};
use crate::raise::{Raised, here, wrong_type};
use crate::room::{BYTES_PER_BYTE, FEW_BYTES, Room};
use crate::text::{number_needed, string_argument};

/// Levels of tables that are packed.
const NESTING_MAX: usize = 16;

/// Levels that are unpacked: each is one of our own stack.
const UNPACK_NESTING_MAX: usize = 1000;

/// Bytes that one call packs.
const BYTES_MAX: usize = 128 << 20;

/// Values that one call gives: more would be beyond the interpreter's stack.
const VALUES_MAX: usize = 7000;

pub(crate) fn library(lua: &Lua) -> mlua::Result<Table> {
    let cmsgpack = lua.create_table()?;
    cmsgpack.raw_set("pack", lua.create_function(pack)?)?;
    cmsgpack.raw_set("unpack", lua.create_function(|lua, args| unpack(lua, args, "unpack"))?)?;
    cmsgpack.raw_set("unpack_one", lua.create_function(|lua, args| unpack(lua, args, "unpack_one"))?)?;
    cmsgpack.raw_set("unpack_limit", lua.create_function(|lua, args| unpack(lua, args, "unpack_limit"))?)?;
    cmsgpack.raw_set("_NAME", "cmsgpack")?;
    cmsgpack.raw_set("_VERSION", "lua-cmsgpack 0.4.0")?;
    cmsgpack.raw_set("_COPYRIGHT", "Copyright (C) 2012, Salvatore Sanfilippo")?;
    cmsgpack.raw_set("_DESCRIPTION", "MessagePack C implementation for Lua")?;
    Ok(cmsgpack)
}

fn pack(lua: &Lua, args: MultiValue) -> mlua::Result<LuaString> {
    if args.is_empty() {
        return Err(here(lua, "bad argument #0 to 'pack' (MessagePack pack needs input.)"));
    }
    let mut packing = Packing { lua, out: Vec::new(), pace: Pace::default() };
    for value in &args {
        packing.value(value, 0)?;
    }
    lua.create_string(packing.out)
}

struct Packing<'a> {
    lua: &'a Lua,
    out: Vec<u8>,
    pace: Pace,
}

impl Packing<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> mlua::Result<()> {
        self.pace.step()?;
        let out = &mut self.out;
        if out.len() > BYTES_MAX {
            return Err(here(self.lua, "cmsgpack: too large"));
        }
        match value {
            Value::String(text) => encode_string(&text.as_bytes(), out),
            Value::Boolean(value) => out.push(if *value { 0xc3 } else { 0xc2 }),
            Value::Integer(number) => encode_integer(*number, out),
            Value::Number(number) => encode_number(*number, out),
            Value::Table(table) if depth < NESTING_MAX => return self.table(table, depth),
            _ => out.push(0xc0),
        }
        Ok(())
    }

    fn table(&mut self, table: &Table, depth: usize) -> mlua::Result<()> {
        if let Some(len) = array_len(table)? {
            header(len, [0x90, 0xdc, 0xdd], &mut self.out);
            for index in 1..=len {
                self.value(&table.raw_get(index)?, depth + 1)?;
            }
            return Ok(());
        }
        let mut len = 0;
        for pair in table.pairs::<Value, Value>() {
            pair?;
            len += 1;
        }
        header(len, [0x80, 0xde, 0xdf], &mut self.out);
        for pair in table.pairs::<Value, Value>() {
            let (key, value) = pair?;
            self.value(&key, depth + 1)?;
            self.value(&value, depth + 1)?;
        }
        Ok(())
    }
}

fn encode_string(text: &[u8], out: &mut Vec<u8>) {
    match text.len() {
        len @ 0..32 => out.push(0xa0 | len as u8),
        len @ 32..=0xff => out.extend_from_slice(&[0xd9, len as u8]),
        len @ 0x100..=0xffff => {
            out.push(0xda);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(0xdb);
            // No string of the interpreter is as long as 4 GiB.
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(text);
}

fn encode_integer(number: i64, out: &mut Vec<u8>) {
    match number {
        -32..=127 => out.push(number as u8),
        128..=0xff => out.extend_from_slice(&[0xcc, number as u8]),
        0x100..=0xffff => {
            out.push(0xcd);
            out.extend_from_slice(&(number as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(0xce);
            out.extend_from_slice(&(number as u32).to_be_bytes());
        }
        0x1_0000_0000.. => {
            out.push(0xcf);
            out.extend_from_slice(&number.to_be_bytes());
        }
        -0x80..-32 => out.extend_from_slice(&[0xd0, number as u8]),
        -0x8000..-0x80 => {
            out.push(0xd1);
            out.extend_from_slice(&(number as i16).to_be_bytes());
        }
        -0x8000_0000..-0x8000 => {
            out.push(0xd2);
            out.extend_from_slice(&(number as i32).to_be_bytes());
        }
        _ => {
            out.push(0xd3);
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
}

fn encode_number(number: f64, out: &mut Vec<u8>) {
    if number.fract() == 0.0 && (-9.2e18..9.2e18).contains(&number) {
        encode_integer(number as i64, out);
    } else if f64::from(number as f32) == number {
        out.push(0xca);
        out.extend_from_slice(&(number as f32).to_be_bytes());
    } else {
        out.push(0xcb);
        out.extend_from_slice(&number.to_be_bytes());
    }
}

/// The length of a table that is an array.
fn array_len(table: &Table) -> mlua::Result<Option<usize>> {
    let (mut count, mut most) = (0i64, 0i64);
    for pair in table.pairs::<Value, Value>() {
        match pair?.0 {
            Value::Integer(index) if index > 0 => most = most.max(index),
            _ => return Ok(None),
        }
        count += 1;
    }
    Ok((count == most).then_some(count as usize))
}

/// How many elements follow: in four bits, in two bytes or in four.
fn header(len: usize, [small, medium, large]: [u8; 3], out: &mut Vec<u8>) {
    match len {
        0..16 => out.push(small | len as u8),
        16..=0xffff => {
            out.push(medium);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            out.push(large);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
    }
}

fn unpack(lua: &Lua, args: MultiValue, name: &'static str) -> mlua::Result<MultiValue> {
    let text = string_argument(lua, &args, 0, name)?;
    let (limit, offset) = match name {
        "unpack_one" => (1, optional(lua, &args, 1, name)?),
        "unpack_limit" => (number_needed(lua, &args, 1, name)? as i64, optional(lua, &args, 2, name)?),
        _ => (0, 0),
    };
    let bytes = text.as_bytes();
    if limit < 0 || offset < 0 {
        let why = format!("Invalid request to unpack with offset of {offset} and limit of {}.", bytes.len());
        return Err(here(lua, why));
    }
    if offset > bytes.len() as i64 {
        let why = format!("Start offset {offset} greater than input length {}.", bytes.len());
        return Err(here(lua, why));
    }
    let is_whole = limit == 0 && offset == 0;
    let limit = if is_whole { usize::MAX } else { limit as usize };
    let _room = Room::of(lua, bytes.len() * BYTES_PER_BYTE + FEW_BYTES);
    let items = Items::of(&bytes[offset as usize..]);
    let mut reader = Reader { lua, items, pace: Pace::default() };
    let mut values = MultiValue::new();
    let mut count = 0;
    while count < limit && reader.items.left() > 0 {
        if values.len() == VALUES_MAX {
            return Err(here(lua, "too many results to unpack"));
        }
        values.push_back(reader.value(0)?);
        count += 1;
    }
    if !is_whole {
        let left = reader.items.left();
        let next = if left > 0 { (bytes.len() - left) as i64 } else { -1 };
        values.push_front(Value::Integer(next));
    }
    Ok(values)
}

fn optional(lua: &Lua, args: &MultiValue, at: usize, name: &str) -> mlua::Result<i64> {
    match args.get(at) {
        None | Some(Value::Nil) => Ok(0),
        Some(value) => crate::text::number_of(lua, value)
            .map(|number| number as i64)
            .ok_or_else(|| wrong_type(lua, at + 1, name, "number", Some(value))),
    }
}

struct Reader<'a> {
    lua: &'a Lua,
    items: Items<'a>,
    pace: Pace,
}

impl<'a> Reader<'a> {
    fn item(&mut self) -> mlua::Result<Item<'a>> {
        self.items.next().map_err(|fault| match fault {
            Fault::Missing => here(self.lua, "Missing bytes in input."),
            Fault::Unknown => here(self.lua, "Bad data format in input."),
        })
    }

    fn value(&mut self, depth: usize) -> mlua::Result<Value> {
        self.pace.step()?;
        if depth > UNPACK_NESTING_MAX {
            return Err(here(self.lua, "Bad data format in input."));
        }
        let lua = self.lua;
        match self.item()? {
            Item::Nil => Ok(Value::Nil),
            Item::Boolean(value) => Ok(Value::Boolean(value)),
            Item::Number(number) => Ok(Value::Number(number)),
            Item::String(text) => lua.create_string(text).map(Value::String),
            Item::Array(len) => self.array(len, depth),
            Item::Map(len) => self.map(len, depth),
        }
    }

    fn array(&mut self, len: usize, depth: usize) -> mlua::Result<Value> {
        let table = self.lua.create_table()?;
        for index in 1..=len {
            let value = self.value(depth + 1)?;
            table.raw_set(index, value)?;
        }
        Ok(Value::Table(table))
    }

    fn map(&mut self, len: usize, depth: usize) -> mlua::Result<Value> {
        let table = self.lua.create_table()?;
        for _ in 0..len {
            let key = self.value(depth + 1)?;
            let value = self.value(depth + 1)?;
            let wrong = match &key {
                Value::Nil => Some("nil"),
                Value::Number(number) if number.is_nan() => Some("NaN"),
                _ => None,
            };
            if let Some(wrong) = wrong {
                return Err(Raised::Text(format!("table index is {wrong}").into_bytes()).into());
            }
            table.raw_set(key, value)?;
        }
        Ok(Value::Table(table))
    }
}
