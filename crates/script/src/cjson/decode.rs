//! `cjson.decode`.

use std::sync::atomic::Ordering::Relaxed;

use mlua::{Error, Lua, MultiValue, Value};

use super::number::{is_invalid_number, is_odd_number, number_prefix};
use super::{Options, null};
use crate::host::Pace;
use crate::raise::{bad_argument, here};
use crate::room::{BYTES_PER_BYTE, FEW_BYTES, Room};
use crate::text::string_argument;

pub(super) fn decode(lua: &Lua, args: MultiValue, options: &Options) -> mlua::Result<Value> {
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
        if depth > self.options.decode_depth() {
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
