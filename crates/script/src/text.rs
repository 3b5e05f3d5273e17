//! The functions of `string` that walk a pattern or repeat: our own, bounded and stoppable.

use mlua::{Error, Function, Lua, LuaString, MultiValue, Table, Value};

use crate::general;
use crate::pattern::{Capture, Fault, Matcher};
use crate::raise::{Raised, bad_argument, here, type_name, wrong_type};
use crate::raw;

/// Bytes of the longest string that a script can make with `rep` or `gsub`.
const STRING_BYTES_MAX: usize = 128 << 20;

/// It would be longer.
const TOO_LARGE: &str = "resulting string too large";

/// Puts the functions into the library's table.
pub(crate) fn install(lua: &Lua, string: &Table) -> mlua::Result<()> {
    string.raw_set("find", lua.create_function(|lua, args| find(lua, args, "find", true))?)?;
    string.raw_set("match", lua.create_function(|lua, args| find(lua, args, "match", false))?)?;
    let step = lua.create_function(next_match)?;
    let gmatch = lua.create_function(move |lua, args| gmatch(lua, &args, &step))?;
    string.raw_set("gmatch", &gmatch)?;
    string.raw_set("gfind", gmatch)?;
    string.raw_set("gsub", lua.create_function(gsub)?)?;
    string.raw_set("rep", lua.create_function(rep)?)?;
    string.raw_set("dump", Value::Nil)
}

/// The string at `index` of a function's arguments, or the number as one.
pub(crate) fn string_argument(
    lua: &Lua,
    args: &MultiValue,
    index: usize,
    function: &str,
) -> mlua::Result<LuaString> {
    match args.get(index) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Integer(number)) => lua.create_string(number_text(*number as f64)),
        Some(Value::Number(number)) => lua.create_string(number_text(*number)),
        other => Err(wrong_type(lua, index + 1, function, "string", other)),
    }
}

/// The number at `index`, or the string as one; `None` if there is none.
pub(crate) fn number_argument(
    lua: &Lua,
    args: &MultiValue,
    index: usize,
    function: &str,
) -> mlua::Result<Option<f64>> {
    match args.get(index) {
        None => Ok(None),
        Some(Value::Nil) => Ok(None),
        Some(value) => match number_of(lua, value) {
            Some(number) => Ok(Some(number)),
            None => Err(wrong_type(lua, index + 1, function, "number", Some(value))),
        },
    }
}

/// As [`number_argument`], where there must be one.
pub(crate) fn number_needed(lua: &Lua, args: &MultiValue, index: usize, function: &str) -> mlua::Result<f64> {
    number_argument(lua, args, index, function)?
        .ok_or_else(|| wrong_type(lua, index + 1, function, "number", args.get(index)))
}

/// The number that a value is or spells.
pub(crate) fn number_of(lua: &Lua, value: &Value) -> Option<f64> {
    match value {
        Value::Integer(number) => Some(*number as f64),
        Value::Number(number) => Some(*number),
        Value::String(_) => lua.coerce_number(value.clone()).ok().flatten(),
        _ => None,
    }
}

/// A number as `tostring` writes it.
pub(crate) fn number_text(number: f64) -> Vec<u8> {
    let mut text = Vec::new();
    general::write(&mut text, number, 14);
    text
}

fn fault(lua: &Lua, fault: Fault) -> Error {
    match fault {
        Fault::Malformed(text) => here(lua, text),
        Fault::Stopped => Raised::Stopped.into(),
    }
}

/// The place that `init` means in a string of `len` bytes, counted from 0.
fn start_of(init: Option<f64>, len: usize) -> usize {
    let init = init.unwrap_or(1.0).trunc();
    if init.is_nan() || init.abs() >= 2f64.powi(63) {
        // On x86-64 what fits no integer is the least one.
        return 0;
    }
    let from = if init < 0.0 { len as f64 + init } else { init - 1.0 };
    // A cast saturates: below 0 is 0, and so is what is no number.
    (from as usize).min(len)
}

/// Captures as Lua values; without any, the whole match.
fn captured(
    lua: &Lua,
    subject: &[u8],
    captures: &[Capture],
    whole: Option<(usize, usize)>,
) -> mlua::Result<MultiValue> {
    if let (true, Some((start, end))) = (captures.is_empty(), whole) {
        return Ok(MultiValue::from_iter([Value::String(lua.create_string(&subject[start..end])?)]));
    }
    captures.iter().map(|capture| one_capture(lua, subject, *capture)).collect()
}

fn one_capture(lua: &Lua, subject: &[u8], capture: Capture) -> mlua::Result<Value> {
    match capture {
        Capture::Piece { start, end } => Ok(Value::String(lua.create_string(&subject[start..end])?)),
        Capture::Place { at } => Ok(Value::Integer(at as i64 + 1)),
        Capture::Open { .. } => Err(here(lua, "unfinished capture")),
    }
}

/// `string.find` and `string.match`: the first gives the place before the captures, too.
fn find(lua: &Lua, args: MultiValue, function: &'static str, gives_place: bool) -> mlua::Result<MultiValue> {
    let (subject, pattern) =
        (string_argument(lua, &args, 0, function)?, string_argument(lua, &args, 1, function)?);
    let (subject, pattern) = (&*subject.as_bytes(), &*pattern.as_bytes());
    let start = start_of(number_argument(lua, &args, 2, function)?, subject.len());
    let is_plain = args.get(3).is_some_and(|value| !matches!(value, Value::Nil | Value::Boolean(false)));
    if gives_place && (is_plain || !pattern.iter().any(|byte| b"^$*+?.([%-".contains(byte))) {
        return Ok(match memchr::memmem::find(&subject[start..], pattern) {
            Some(at) => places(start + at, start + at + pattern.len()).into_iter().collect(),
            None => MultiValue::from_iter([Value::Nil]),
        });
    }
    let (pattern, is_anchored) = unanchored(pattern);
    let mut matcher = Matcher::new(subject, pattern);
    for at in start..=subject.len() {
        if let Some(end) = matcher.match_at(at).map_err(|why| fault(lua, why))? {
            let whole = (!gives_place).then_some((at, end));
            let captures = captured(lua, subject, matcher.captures(), whole)?;
            let places = if gives_place { places(at, end).to_vec() } else { Vec::new() };
            return Ok(places.into_iter().chain(captures).collect());
        }
        if is_anchored {
            break;
        }
    }
    Ok(MultiValue::from_iter([Value::Nil]))
}

fn places(start: usize, end: usize) -> [Value; 2] {
    [Value::Integer(start as i64 + 1), Value::Integer(end as i64)]
}

fn unanchored(pattern: &[u8]) -> (&[u8], bool) {
    match pattern.strip_prefix(b"^") {
        Some(rest) => (rest, true),
        None => (pattern, false),
    }
}

/// `string.gmatch`: `step` is [`next_match`].
fn gmatch(lua: &Lua, args: &MultiValue, step: &Function) -> mlua::Result<Function> {
    let subject = string_argument(lua, args, 0, "gmatch")?;
    let pattern = string_argument(lua, args, 1, "gmatch")?;
    raw::iterator(lua, step, subject, pattern)
}

/// Where to go on behind the first match from a place on, and what it captures; nil at the end.
fn next_match(
    lua: &Lua,
    (subject, pattern, from): (LuaString, LuaString, usize),
) -> mlua::Result<(usize, MultiValue)> {
    let (subject, pattern) = (&*subject.as_bytes(), &*pattern.as_bytes());
    let mut matcher = Matcher::new(subject, pattern);
    for at in from..=subject.len() {
        if let Some(end) = matcher.match_at(at).map_err(|why| fault(lua, why))? {
            let next = if end == at { end + 1 } else { end };
            return Ok((next, captured(lua, subject, matcher.captures(), Some((at, end)))?));
        }
    }
    Ok((subject.len() + 1, MultiValue::from_iter([Value::Nil])))
}

fn gsub(lua: &Lua, args: MultiValue) -> mlua::Result<(LuaString, i64)> {
    let (subject, pattern) =
        (string_argument(lua, &args, 0, "gsub")?, string_argument(lua, &args, 1, "gsub")?);
    let (subject, pattern) = (&*subject.as_bytes(), &*pattern.as_bytes());
    let with = match args.get(2) {
        Some(Value::Integer(_) | Value::Number(_)) => Value::String(string_argument(lua, &args, 2, "gsub")?),
        Some(value @ (Value::String(_) | Value::Function(_) | Value::Table(_))) => value.clone(),
        _ => return Err(bad_argument(lua, 3, "gsub", "string/function/table expected")),
    };
    let most = number_argument(lua, &args, 3, "gsub")?.map_or(usize::MAX, |most| most as usize);
    let (pattern, is_anchored) = unanchored(pattern);
    let mut matcher = Matcher::new(subject, pattern);
    let (mut out, mut at, mut count) = (Vec::new(), 0, 0);
    while count < most {
        let end = matcher.match_at(at).map_err(|why| fault(lua, why))?;
        if let Some(end) = end {
            count += 1;
            replace(lua, subject, &matcher, (at, end), &with, &mut out)?;
            if out.len() > STRING_BYTES_MAX {
                return Err(here(lua, TOO_LARGE));
            }
        }
        match end {
            Some(end) if end > at => at = end,
            _ if at < subject.len() => {
                out.push(subject[at]);
                at += 1;
            }
            _ => break,
        }
        if is_anchored {
            break;
        }
    }
    out.extend_from_slice(&subject[at.min(subject.len())..]);
    Ok((lua.create_string(out)?, count as i64))
}

/// Appends what a match is replaced by.
fn replace(
    lua: &Lua,
    subject: &[u8],
    matcher: &Matcher<'_>,
    (start, end): (usize, usize),
    with: &Value,
    out: &mut Vec<u8>,
) -> mlua::Result<()> {
    let whole = &subject[start..end];
    let first = |lua| match matcher.captures().first() {
        Some(capture) => one_capture(lua, subject, *capture),
        None => Ok(Value::String(lua.create_string(whole)?)),
    };
    let value = match with {
        Value::String(text) => return fill(lua, subject, matcher, whole, &text.as_bytes(), out),
        Value::Table(table) => table.get(first(lua)?)?,
        Value::Function(function) => {
            function.call(captured(lua, subject, matcher.captures(), Some((start, end)))?)?
        }
        _ => unreachable!("the caller has looked at the type"),
    };
    match value {
        Value::Nil | Value::Boolean(false) => out.extend_from_slice(whole),
        Value::String(text) => out.extend_from_slice(&text.as_bytes()),
        Value::Integer(number) => out.extend_from_slice(&number_text(number as f64)),
        Value::Number(number) => out.extend_from_slice(&number_text(number)),
        other => return Err(here(lua, format!("invalid replacement value (a {})", type_name(&other)))),
    }
    Ok(())
}

/// Appends a replacement text, in which `%1` is the first capture.
fn fill(
    lua: &Lua,
    subject: &[u8],
    matcher: &Matcher<'_>,
    whole: &[u8],
    text: &[u8],
    out: &mut Vec<u8>,
) -> mlua::Result<()> {
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        if out.len() > STRING_BYTES_MAX {
            return Err(here(lua, TOO_LARGE));
        }
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'0') => out.extend_from_slice(whole),
            Some(digit @ b'1'..=b'9') => {
                let index = usize::from(digit - b'1');
                match matcher.captures().get(index) {
                    Some(Capture::Piece { start, end }) => out.extend_from_slice(&subject[*start..*end]),
                    Some(Capture::Place { at }) => {
                        out.extend_from_slice(itoa::Buffer::new().format(at + 1).as_bytes());
                    }
                    Some(Capture::Open { .. }) => return Err(here(lua, "unfinished capture")),
                    None if index == 0 => out.extend_from_slice(whole),
                    None => return Err(here(lua, "invalid capture index")),
                }
            }
            // The interpreter reads the NUL behind its string.
            None => out.push(0),
            Some(other) => out.push(other),
        }
    }
    Ok(())
}

fn rep(lua: &Lua, args: MultiValue) -> mlua::Result<LuaString> {
    let text = string_argument(lua, &args, 0, "rep")?;
    // A cast saturates: what is below 0, or no number, is 0.
    let times = number_needed(lua, &args, 1, "rep")? as usize;
    let text = text.as_bytes();
    if text.is_empty() || times == 0 {
        return lua.create_string("");
    }
    match text.len().checked_mul(times) {
        Some(len) if len <= STRING_BYTES_MAX => lua.create_string(text.repeat(times)),
        _ => Err(here(lua, TOO_LARGE)),
    }
}
