//! `cjson`: JSON as scripts expect it of Redis.
//!
//! Numbers are written with up to 14 digits, a whole one without a point; an empty table is `{}`; `/` is escaped; a table
//! whose keys are the integers from 1 on is an array, with holes as `null` unless there are too many of them.
//!
//! Source: lua-cjson 2.1 as Redis 8.2 has it, asked live; what `encode_*` and `decode_*` change lasts, as there, until the
//! end of the script only: nothing outlives a script here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering::Relaxed};

use mlua::{Error, LightUserData, Lua, LuaString, MultiValue, Table, Value};

use crate::general;
use crate::host::Pace;
use crate::raise::{bad_argument, here, type_name};
use crate::room::{BYTES_PER_BYTE, FEW_BYTES, Room};
use crate::text::{number_of, string_argument};

/// Bytes of JSON that one call makes.
const BYTES_MAX: usize = 128 << 20;

/// The deepest nesting that may be asked for: each level is one of our own stack.
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
            encode_depth: AtomicI64::new(1000),
            decode_depth: AtomicI64::new(1000),
            precision: AtomicUsize::new(PRECISION),
            encode_invalid: AtomicI64::new(0),
            decode_invalid: AtomicBool::new(true),
            keep_buffer: AtomicBool::new(true),
        }
    }
}

impl Options {
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
        lua.create_function(move |_, args: MultiValue| switch(args.front(), &of, &of.keep_buffer))?,
    )?;
    let of = Arc::clone(options);
    cjson.raw_set(
        "decode_invalid_numbers",
        lua.create_function(move |_, args: MultiValue| switch(args.front(), &of, &of.decode_invalid))?,
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

fn switch(value: Option<&Value>, options: &Options, option: &AtomicBool) -> mlua::Result<bool> {
    if let Some(Value::Boolean(value)) = value {
        options.is_changed.store(true, Relaxed);
        option.store(*value, Relaxed);
    }
    Ok(option.load(Relaxed))
}

fn integer(
    lua: &Lua,
    args: &MultiValue,
    at: usize,
    least: i64,
    most: i64,
    name: &str,
) -> mlua::Result<Option<i64>> {
    let Some(value) = args.get(at).filter(|value| **value != Value::Nil) else { return Ok(None) };
    let number = number_of(lua, value).map(|number| number as i64);
    match number {
        Some(number) if (least..=most).contains(&number) => Ok(Some(number)),
        _ => Err(bad_argument(lua, at + 1, name, &format!("expected integer between {least} and {most}"))),
    }
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
        if let Some(depth) = integer(lua, &args, 0, 1, i64::from(i32::MAX), name)? {
            of.is_changed.store(true, Relaxed);
            option(&of).store(depth.min(DEPTH_LIMIT), Relaxed);
        }
        Ok(option(&of).load(Relaxed))
    });
    cjson.raw_set(name, function?)
}

fn precision(lua: &Lua, args: MultiValue, options: &Options) -> mlua::Result<i64> {
    options.is_changed.store(true, Relaxed);
    if let Some(digits) = integer(lua, &args, 0, 1, 14, "encode_number_precision")? {
        options.precision.store(digits as usize, Relaxed);
    }
    Ok(options.precision.load(Relaxed) as i64)
}

fn sparse(lua: &Lua, args: MultiValue, options: &Options) -> mlua::Result<(bool, i64, i64)> {
    let name = "encode_sparse_array";
    options.is_changed.store(true, Relaxed);
    let converts = switch(args.front(), options, &options.sparse_convert)?;
    if let Some(ratio) = integer(lua, &args, 1, 0, i64::from(i32::MAX), name)? {
        options.sparse_ratio.store(ratio, Relaxed);
    }
    if let Some(safe) = integer(lua, &args, 2, 0, i64::from(i32::MAX), name)? {
        options.sparse_safe.store(safe, Relaxed);
    }
    Ok((converts, options.sparse_ratio.load(Relaxed), options.sparse_safe.load(Relaxed)))
}

fn invalid(lua: &Lua, args: MultiValue, options: &Options) -> mlua::Result<Value> {
    options.is_changed.store(true, Relaxed);
    match args.front() {
        Some(Value::Boolean(value)) => options.encode_invalid.store(i64::from(*value), Relaxed),
        Some(Value::String(text)) if &*text.as_bytes() == b"null" => options.encode_invalid.store(2, Relaxed),
        _ => {}
    }
    Ok(match options.encode_invalid.load(Relaxed) {
        2 => Value::String(lua.create_string("null")?),
        value => Value::Boolean(value == 1),
    })
}

fn encode(lua: &Lua, args: MultiValue, options: &Options) -> mlua::Result<LuaString> {
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
        if depth > self.options.encode_depth.load(Relaxed) {
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

fn decode(lua: &Lua, args: MultiValue, options: &Options) -> mlua::Result<Value> {
    if args.len() != 1 {
        return Err(bad_argument(lua, 1, "decode", "expected 1 argument"));
    }
    let text = string_argument(lua, &args, 0, "decode")?;
    let bytes = text.as_bytes();
    if bytes.len() >= 2 && (bytes[0] == 0 || bytes[1] == 0) {
        return Err(here(lua, "JSON parser does not support UTF-16 or UTF-32"));
    }
    let _room = Room::of(lua, bytes.len() * BYTES_PER_BYTE + FEW_BYTES);
    let mut decoding = Decoding { lua, options, bytes: &bytes, at: 0, pace: Pace::default() };
    let first = decoding.token();
    let value = decoding.value(first, 0)?;
    let (token, at) = decoding.token();
    match token {
        Token::End => Ok(value),
        token => Err(decoding.expected("the end", &token, at)),
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    String(Vec<u8>),
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    Wrong(&'static str),
}

impl Token {
    fn name(&self) -> &'static str {
        match self {
            Token::ObjectBegin => "T_OBJ_BEGIN",
            Token::ObjectEnd => "T_OBJ_END",
            Token::ArrayBegin => "T_ARR_BEGIN",
            Token::ArrayEnd => "T_ARR_END",
            Token::String(_) => "T_STRING",
            Token::Number(_) => "T_NUMBER",
            Token::Boolean(_) => "T_BOOLEAN",
            Token::Null => "T_NULL",
            Token::Colon => "T_COLON",
            Token::Comma => "T_COMMA",
            Token::End => "T_END",
            Token::Wrong(text) => text,
        }
    }
}

struct Decoding<'a> {
    lua: &'a Lua,
    options: &'a Options,
    bytes: &'a [u8],
    at: usize,
    pace: Pace,
}

impl Decoding<'_> {
    #[cold]
    fn expected(&self, what: &str, found: &Token, at: usize) -> Error {
        here(self.lua, format!("Expected {what} but found {} at character {}", found.name(), at + 1))
    }

    fn value(&mut self, (token, at): (Token, usize), depth: i64) -> mlua::Result<Value> {
        self.pace.step()?;
        match token {
            Token::String(text) => self.lua.create_string(text).map(Value::String),
            Token::Number(number) => Ok(Value::Number(number)),
            Token::Boolean(value) => Ok(Value::Boolean(value)),
            Token::Null => Ok(null()),
            Token::ObjectBegin => self.object(depth + 1),
            Token::ArrayBegin => self.array(depth + 1),
            token => Err(self.expected("value", &token, at)),
        }
    }

    fn check_depth(&self, depth: i64) -> mlua::Result<()> {
        if depth > self.options.decode_depth.load(Relaxed) {
            let text = format!("Found too many nested data structures ({depth}) at character {}", self.at);
            return Err(here(self.lua, text));
        }
        Ok(())
    }

    fn object(&mut self, depth: i64) -> mlua::Result<Value> {
        self.check_depth(depth)?;
        let table = self.lua.create_table()?;
        let (mut token, mut at) = self.token();
        if token == Token::ObjectEnd {
            return Ok(Value::Table(table));
        }
        loop {
            let Token::String(key) = token else {
                return Err(self.expected("object key string", &token, at));
            };
            let (colon, colon_at) = self.token();
            if colon != Token::Colon {
                return Err(self.expected("colon", &colon, colon_at));
            }
            let first = self.token();
            let value = self.value(first, depth)?;
            table.raw_set(self.lua.create_string(key)?, value)?;
            let (next, next_at) = self.token();
            match next {
                Token::ObjectEnd => return Ok(Value::Table(table)),
                Token::Comma => (token, at) = self.token(),
                next => return Err(self.expected("comma or object end", &next, next_at)),
            }
        }
    }

    fn array(&mut self, depth: i64) -> mlua::Result<Value> {
        self.check_depth(depth)?;
        let table = self.lua.create_table()?;
        let mut first = self.token();
        if first.0 == Token::ArrayEnd {
            return Ok(Value::Table(table));
        }
        for index in 1i64.. {
            let value = self.value(first, depth)?;
            table.raw_set(index, value)?;
            let (next, at) = self.token();
            match next {
                Token::ArrayEnd => break,
                Token::Comma => first = self.token(),
                next => return Err(self.expected("comma or array end", &next, at)),
            }
        }
        Ok(Value::Table(table))
    }

    /// The next token, and where it begins.
    fn token(&mut self) -> (Token, usize) {
        while self.bytes.get(self.at).is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        let at = self.at;
        let Some(&byte) = self.bytes.get(at) else { return (Token::End, at) };
        let single = match byte {
            b'{' => Token::ObjectBegin,
            b'}' => Token::ObjectEnd,
            b'[' => Token::ArrayBegin,
            b']' => Token::ArrayEnd,
            b':' => Token::Colon,
            b',' => Token::Comma,
            b'"' => return self.string(at),
            // A C string ends here.
            0 => return (Token::End, at),
            _ => return (self.word(), at),
        };
        self.at += 1;
        (single, at)
    }

    /// A literal or a number.
    fn word(&mut self) -> Token {
        let rest = &self.bytes[self.at..];
        for (text, token) in
            [(&b"true"[..], Token::Boolean(true)), (b"false", Token::Boolean(false)), (b"null", Token::Null)]
        {
            if rest.starts_with(text) {
                self.at += text.len();
                return token;
            }
        }
        let begins_number = matches!(rest[0], b'-' | b'0'..=b'9');
        if !(begins_number || self.options.decode_invalid.load(Relaxed) && is_odd_number(rest)) {
            return Token::Wrong("invalid token");
        }
        if !self.options.decode_invalid.load(Relaxed) && is_invalid_number(rest) {
            return Token::Wrong("invalid number");
        }
        match number_prefix(rest) {
            Some((number, len)) => {
                self.at += len;
                Token::Number(number)
            }
            None => Token::Wrong("invalid number"),
        }
    }

    fn string(&mut self, start: usize) -> (Token, usize) {
        let mut text = Vec::new();
        self.at += 1;
        loop {
            let Some(&byte) = self.bytes.get(self.at) else {
                return (Token::Wrong("unexpected end of string"), self.at);
            };
            self.at += 1;
            match byte {
                b'"' => return (Token::String(text), start),
                // A C string ends here.
                0 if self.at > self.bytes.len() => {
                    return (Token::Wrong("unexpected end of string"), self.at);
                }
                b'\\' => {
                    if let Err((wrong, at)) = self.escape(&mut text) {
                        return (Token::Wrong(wrong), at);
                    }
                }
                _ => text.push(byte),
            }
        }
    }

    fn escape(&mut self, text: &mut Vec<u8>) -> Result<(), (&'static str, usize)> {
        let at = self.at - 1;
        let byte = self.bytes.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        text.push(match byte {
            b'"' | b'\\' | b'/' => byte,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => return self.unicode(text, at),
            _ => return Err(("invalid escape code", at)),
        });
        Ok(())
    }

    fn unicode(&mut self, text: &mut Vec<u8>, at: usize) -> Result<(), (&'static str, usize)> {
        const WRONG: &str = "invalid unicode escape code";
        let mut code = self.hex4().ok_or((WRONG, at))?;
        if code & 0xF800 == 0xD800 {
            let is_low = code & 0x400 != 0;
            let follows = self.bytes[self.at.min(self.bytes.len())..].starts_with(b"\\u");
            if is_low || !follows {
                return Err((WRONG, at));
            }
            self.at += 2;
            let low = self.hex4().filter(|low| low & 0xFC00 == 0xDC00).ok_or((WRONG, at))?;
            code = (((code & 0x3FF) << 10) | (low & 0x3FF)) + 0x10000;
        }
        let letter = char::from_u32(code).ok_or((WRONG, at))?;
        text.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }

    fn hex4(&mut self) -> Option<u32> {
        let digits = self.bytes.get(self.at..self.at + 4)?;
        let code =
            digits.iter().try_fold(0, |code, &digit| Some(code * 16 + (digit as char).to_digit(16)?))?;
        self.at += 4;
        Some(code)
    }
}

/// `inf`, `nan`, `+1` and their like, which C's `strtod` reads.
fn is_odd_number(rest: &[u8]) -> bool {
    let lower = |word: &[u8]| rest.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    lower(b"inf") || lower(b"nan") || rest[0] == b'+'
}

/// What `decode_invalid_numbers(false)` refuses: hexadecimal, infinities, leading zeros.
fn is_invalid_number(rest: &[u8]) -> bool {
    let digits = rest.strip_prefix(b"-").unwrap_or(rest);
    match digits {
        [b'0', b'0'..=b'9' | b'x' | b'X', ..] => true,
        [b'0'..=b'9', ..] => false,
        _ => true,
    }
}

/// The number at the start of `rest`, as C's `strtod` reads it, and its length.
fn number_prefix(rest: &[u8]) -> Option<(f64, usize)> {
    let sign = usize::from(matches!(rest.first(), Some(b'-' | b'+')));
    let body = &rest[sign..];
    let negative = rest.first() == Some(&b'-');
    let signed = |number: f64| if negative { -number } else { number };
    let lower = |word: &[u8]| body.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    if lower(b"infinity") {
        return Some((signed(f64::INFINITY), sign + 8));
    }
    if lower(b"inf") {
        return Some((signed(f64::INFINITY), sign + 3));
    }
    if lower(b"nan") {
        return Some((signed(f64::NAN), sign + 3 + nan_letters(&body[3..])));
    }
    if lower(b"0x")
        && let Some((value, len)) = hexadecimal(&body[2..])
    {
        return Some((signed(value), sign + 2 + len));
    }
    let whole = body.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut len = whole;
    let mut digits = whole;
    if body.get(len) == Some(&b'.') {
        let fraction = body[len + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        digits += fraction;
        len += 1 + fraction;
    }
    if digits == 0 {
        return None;
    }
    if matches!(body.get(len), Some(b'e' | b'E')) {
        let signs = usize::from(matches!(body.get(len + 1), Some(b'-' | b'+')));
        let power = body[len + 1 + signs..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if power > 0 {
            len += 1 + signs + power;
        }
    }
    let text = std::str::from_utf8(&rest[..sign + len]).ok()?;
    Some((text.parse().ok()?, sign + len))
}

/// How long the letters in parentheses are that may stand behind `nan`.
fn nan_letters(rest: &[u8]) -> usize {
    let Some(letters) = rest.strip_prefix(b"(") else { return 0 };
    let len = letters.iter().take_while(|&&byte| byte.is_ascii_alphanumeric() || byte == b'_').count();
    if letters.get(len) == Some(&b')') { len + 2 } else { 0 }
}

/// The number that hexadecimal digits are, with a fraction and a power of two if they have them, and their length.
fn hexadecimal(digits: &[u8]) -> Option<(f64, usize)> {
    let (mut value, mut len, mut count, mut point) = (0.0, 0, 0, None);
    for &byte in digits {
        match (byte as char).to_digit(16) {
            Some(digit) => {
                value = value * 16.0 + f64::from(digit);
                count += 1;
            }
            None if byte == b'.' && point.is_none() => point = Some(len),
            None => break,
        }
        len += 1;
    }
    if count == 0 {
        return None;
    }
    let behind = point.map_or(0, |point| len - point - 1);
    let mut power = 0i32;
    if matches!(digits.get(len), Some(b'p' | b'P')) {
        let text = &digits[len + 1..];
        let sign = usize::from(matches!(text.first(), Some(b'-' | b'+')));
        let more = text[sign..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if more > 0 {
            let least = text[sign..sign + more].iter().fold(0i32, |power, &digit| {
                power.saturating_mul(10).saturating_add(i32::from(digit - b'0')).min(POWER_MAX)
            });
            power = if text[0] == b'-' { -least } else { least };
            len += 1 + sign + more;
        }
    }
    Some((value * 2f64.powi(power - 4 * behind as i32), len))
}

/// A power of two beyond which every number is infinite or 0, also one of many digits.
const POWER_MAX: i32 = 1 << 20;
