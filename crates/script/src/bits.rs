//! `bit`: operations on 32-bit integers.
//!
//! Source: the semantics of LuaBitOp, which Redis has: numbers are taken modulo 2³², results are signed.

use mlua::{Lua, LuaString, MultiValue, Table};

use crate::text::number_needed;

pub(crate) fn library(lua: &Lua) -> mlua::Result<Table> {
    let bit = lua.create_table()?;
    unary(lua, &bit, "tobit", |value| value)?;
    unary(lua, &bit, "bnot", |value| !value)?;
    unary(lua, &bit, "bswap", u32::swap_bytes)?;
    folded(lua, &bit, "band", |a, b| a & b)?;
    folded(lua, &bit, "bor", |a, b| a | b)?;
    folded(lua, &bit, "bxor", |a, b| a ^ b)?;
    shifted(lua, &bit, "lshift", |value, by| value << by)?;
    shifted(lua, &bit, "rshift", |value, by| value >> by)?;
    shifted(lua, &bit, "arshift", |value, by| (value as i32 >> by) as u32)?;
    shifted(lua, &bit, "rol", u32::rotate_left)?;
    shifted(lua, &bit, "ror", u32::rotate_right)?;
    bit.raw_set("tohex", lua.create_function(tohex)?)?;
    Ok(bit)
}

/// A number modulo 2³², rounded to the nearest integer, ties to even; beyond ±2⁵¹ whatever the sum's lower half then is, as
/// in LuaBitOp.
fn bits(number: f64) -> u32 {
    /// 1.5 × 2⁵²: the unit of the sum's last bit is 1.
    const SHIFT: f64 = 6_755_399_441_055_744.0;
    (number + SHIFT).to_bits() as u32
}

fn argument(lua: &Lua, args: &MultiValue, at: usize, name: &str) -> mlua::Result<u32> {
    number_needed(lua, args, at, name).map(bits)
}

fn unary(lua: &Lua, bit: &Table, name: &'static str, op: fn(u32) -> u32) -> mlua::Result<()> {
    let function =
        lua.create_function(move |lua, args: MultiValue| Ok(op(argument(lua, &args, 0, name)?) as i32));
    bit.raw_set(name, function?)
}

fn folded(lua: &Lua, bit: &Table, name: &'static str, op: fn(u32, u32) -> u32) -> mlua::Result<()> {
    let function = lua.create_function(move |lua, args: MultiValue| {
        let mut value = argument(lua, &args, 0, name)?;
        for at in 1..args.len() {
            value = op(value, argument(lua, &args, at, name)?);
        }
        Ok(value as i32)
    });
    bit.raw_set(name, function?)
}

fn shifted(lua: &Lua, bit: &Table, name: &'static str, op: fn(u32, u32) -> u32) -> mlua::Result<()> {
    let function = lua.create_function(move |lua, args: MultiValue| {
        let (value, by) = (argument(lua, &args, 0, name)?, argument(lua, &args, 1, name)?);
        Ok(op(value, by & 31) as i32)
    });
    bit.raw_set(name, function?)
}

/// Eight hexadecimal digits, or as many as asked for; a negative number asks for upper case.
fn tohex(lua: &Lua, args: MultiValue) -> mlua::Result<LuaString> {
    let value = argument(lua, &args, 0, "tohex")?;
    let digits = if args.len() > 1 { argument(lua, &args, 1, "tohex")? as i32 } else { 8 };
    // The smallest number has no opposite: CVE-2024-31449 is what became of it.
    let count = digits.unsigned_abs().min(8) as usize;
    let text = if digits < 0 { format!("{value:08X}") } else { format!("{value:08x}") };
    lua.create_string(&text[8 - count..])
}
