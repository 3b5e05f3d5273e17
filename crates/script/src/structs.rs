//! `struct`: numbers and strings as bytes, by a format.
//!
//! Source: the `struct` library of Lua 5.1 as Redis 8.2 has it, asked live: little-endian and unaligned unless the format
//! says otherwise; `l` and `T` have eight bytes, `i` four.

use mlua::{Lua, LuaString, MultiValue, Table, Value};

use crate::raise::{bad_argument, here};
use crate::text::{number_argument, number_needed, number_of, string_argument};

/// Largest size of an integer that a format may name.
const INTEGER_BYTES_MAX: usize = 32;

/// Values that one call gives: more would be beyond the interpreter's stack.
const VALUES_MAX: usize = 7000;

/// Bytes that one call packs.
const BYTES_MAX: usize = 128 << 20;

pub(crate) fn library(lua: &Lua) -> mlua::Result<Table> {
    let structs = lua.create_table()?;
    structs.raw_set("pack", lua.create_function(pack)?)?;
    structs.raw_set("unpack", lua.create_function(unpack)?)?;
    structs.raw_set("size", lua.create_function(size)?)?;
    Ok(structs)
}

/// A format being read.
struct Format<'a> {
    lua: &'a Lua,
    name: &'static str,
    rest: &'a [u8],
    is_little: bool,
    align: usize,
}

/// One option of a format.
struct Item {
    option: u8,
    size: usize,
    /// Bytes before it, so that it is aligned.
    padding: usize,
}

impl<'a> Format<'a> {
    fn new(lua: &'a Lua, name: &'static str, format: &'a [u8]) -> Format<'a> {
        Format { lua, name, rest: format, is_little: true, align: 1 }
    }

    /// Digits, or `default` without any.
    fn count(&mut self, default: usize) -> mlua::Result<usize> {
        let digits = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return Ok(default);
        }
        let (number, rest) = self.rest.split_at(digits);
        self.rest = rest;
        let number = number
            .iter()
            .try_fold(0i32, |sum, &digit| sum.checked_mul(10)?.checked_add(i32::from(digit - b'0')));
        match number {
            Some(number) => Ok(number as usize),
            None => Err(here(self.lua, "integral size overflow")),
        }
    }

    /// The next option that stands for bytes, where `at` have gone before.
    fn next(&mut self, at: usize) -> mlua::Result<Option<Item>> {
        loop {
            let Some((&option, rest)) = self.rest.split_first() else { return Ok(None) };
            self.rest = rest;
            let size = match option {
                b'b' | b'B' | b'x' => 1,
                b'h' | b'H' => 2,
                b'f' => 4,
                b'l' | b'L' | b'T' | b'd' => 8,
                b's' => 0,
                b'c' => self.count(1)?,
                b'i' | b'I' => match self.count(4)? {
                    size if size > INTEGER_BYTES_MAX => {
                        let text =
                            format!("integral size {size} is larger than limit of {INTEGER_BYTES_MAX}");
                        return Err(here(self.lua, text));
                    }
                    size => size,
                },
                _ => {
                    self.control(option)?;
                    continue;
                }
            };
            let unit = size.min(self.align);
            let padding = if unit == 0 || option == b'c' { 0 } else { unit.wrapping_sub(at) & (unit - 1) };
            return Ok(Some(Item { option, size, padding }));
        }
    }

    fn control(&mut self, option: u8) -> mlua::Result<()> {
        match option {
            b' ' => {}
            b'>' => self.is_little = false,
            b'<' => self.is_little = true,
            b'!' => {
                let align = self.count(8)?;
                if !align.is_power_of_two() {
                    return Err(here(self.lua, format!("alignment {align} is not a power of 2")));
                }
                self.align = align;
            }
            _ => {
                let why = format!("invalid format option '{}'", option as char);
                return Err(bad_argument(self.lua, 1, self.name, &why));
            }
        }
        Ok(())
    }
}

fn pack(lua: &Lua, args: MultiValue) -> mlua::Result<LuaString> {
    let text = string_argument(lua, &args, 0, "pack")?;
    let text = text.as_bytes();
    let mut format = Format::new(lua, "pack", &text);
    let (mut out, mut arg) = (Vec::new(), 1);
    while let Some(item) = format.next(out.len())? {
        out.resize(out.len() + item.padding, 0);
        match item.option {
            b'x' => out.push(0),
            b'f' => {
                let bytes = (number(lua, &args, arg)? as f32).to_le_bytes();
                put(&bytes, format.is_little, &mut out);
                arg += 1;
            }
            b'd' => {
                let bytes = number(lua, &args, arg)?.to_le_bytes();
                put(&bytes, format.is_little, &mut out);
                arg += 1;
            }
            b'c' | b's' => {
                let piece = string_argument(lua, &args, arg, "pack")?;
                let piece = piece.as_bytes();
                arg += 1;
                let size = if item.size == 0 { piece.len() } else { item.size };
                let Some(taken) = piece.get(..size) else {
                    return Err(bad_argument(lua, arg + 1, "pack", "string too short"));
                };
                out.extend_from_slice(taken);
                if item.option == b's' {
                    out.push(0);
                }
            }
            _ => {
                let number = number(lua, &args, arg)?;
                arg += 1;
                let value = if number < 0.0 { number as i64 as u64 } else { number as u64 };
                let mut bytes = [0; INTEGER_BYTES_MAX];
                bytes[..8].copy_from_slice(&value.to_le_bytes());
                put(&bytes[..item.size], format.is_little, &mut out);
            }
        }
        if out.len() > BYTES_MAX {
            return Err(here(lua, "struct: too large"));
        }
    }
    lua.create_string(out)
}

/// The number at `at`. Redis says that the first one missing is nil.
fn number(lua: &Lua, args: &MultiValue, at: usize) -> mlua::Result<f64> {
    if at == args.len() {
        return Err(crate::raise::wrong_type(lua, at + 1, "pack", "number", Some(&Value::Nil)));
    }
    number_needed(lua, args, at, "pack")
}

/// Appends little-endian bytes in the order asked for.
fn put(bytes: &[u8], is_little: bool, out: &mut Vec<u8>) {
    if is_little {
        out.extend_from_slice(bytes);
    } else {
        out.extend(bytes.iter().rev());
    }
}

fn unpack(lua: &Lua, args: MultiValue) -> mlua::Result<MultiValue> {
    let (text, data) = (string_argument(lua, &args, 0, "unpack")?, string_argument(lua, &args, 1, "unpack")?);
    let from = number_argument(lua, &args, 2, "unpack")?.unwrap_or(1.0);
    if from == 0.0 {
        return Err(bad_argument(lua, 3, "unpack", "offset must be 1 or greater"));
    }
    let (text, data) = (text.as_bytes(), data.as_bytes());
    // Below, it is one that no string is long enough for.
    let from = if from < 1.0 { f64::MAX } else { from };
    let too_short = || bad_argument(lua, 2, "unpack", "data string too short");
    let mut format = Format::new(lua, "unpack", &text);
    let mut at = from as usize - 1;
    if !text.is_empty() && at > data.len() {
        return Err(too_short());
    }
    let mut values: Vec<Value> = Vec::new();
    while let Some(item) = format.next(at)? {
        at = at.saturating_add(item.padding);
        let piece = |at: usize, size: usize| {
            at.checked_add(size).and_then(|end| data.get(at..end)).ok_or_else(too_short)
        };
        let mut taken = item.size;
        let bytes = piece(at, item.size)?;
        if values.len() == VALUES_MAX {
            return Err(here(lua, "too many results"));
        }
        match item.option {
            b'x' => {}
            b'f' => {
                values.push(Value::Number(f64::from(f32::from_bits(whole(bytes, format.is_little) as u32))))
            }
            b'd' => values.push(Value::Number(f64::from_bits(whole(bytes, format.is_little)))),
            b'c' if item.size == 0 => {
                let size = values.pop().and_then(|value| number_of(lua, &value));
                let Some(size) = size else { return Err(here(lua, "format 'c0' needs a previous size")) };
                taken = size as usize;
                values.push(Value::String(lua.create_string(piece(at, taken)?)?));
            }
            b'c' => values.push(Value::String(lua.create_string(bytes)?)),
            b's' => {
                let rest = data.get(at..).unwrap_or_default();
                let Some(len) = memchr::memchr(0, rest) else {
                    return Err(here(lua, "unfinished string in data"));
                };
                values.push(Value::String(lua.create_string(&rest[..len])?));
                taken = len + 1;
            }
            option => {
                values.push(Value::Number(integer(bytes, format.is_little, option.is_ascii_lowercase())))
            }
        }
        at = at.saturating_add(taken);
    }
    values.push(Value::Number(at as f64 + 1.0));
    Ok(MultiValue::from_vec(values))
}

/// The lowest eight bytes of a number, as one.
fn whole(bytes: &[u8], is_little: bool) -> u64 {
    let add = |sum: u64, &byte: &u8| sum << 8 | u64::from(byte);
    if is_little { bytes.iter().rev().fold(0, add) } else { bytes.iter().fold(0, add) }
}

fn integer(bytes: &[u8], is_little: bool, is_signed: bool) -> f64 {
    let value = whole(bytes, is_little);
    if !is_signed {
        return value as f64;
    }
    let unused = 64 - 8 * bytes.len().clamp(1, 8) as u32;
    ((value << unused) as i64 >> unused) as f64
}

fn size(lua: &Lua, args: MultiValue) -> mlua::Result<usize> {
    let text = string_argument(lua, &args, 0, "size")?;
    let text = text.as_bytes();
    let mut format = Format::new(lua, "size", &text);
    let mut at = 0usize;
    while let Some(item) = format.next(at)? {
        if item.option == b's' {
            return Err(bad_argument(lua, 1, "size", "option 's' has no fixed size"));
        }
        if item.option == b'c' && item.size == 0 {
            return Err(bad_argument(lua, 1, "size", "option 'c0' has no fixed size"));
        }
        at = at.saturating_add(item.padding).saturating_add(item.size);
    }
    Ok(at)
}
