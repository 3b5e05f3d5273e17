//! Registers of 6 bits, low bits first: a register begins where the one before it ends.

use super::REGISTERS;

const BITS: usize = 6;
const MASK: u16 = (1 << BITS) - 1;

/// Bytes of all registers.
pub(super) const BYTES: usize = REGISTERS * BITS / 8;

/// One register; `registers` are [`BYTES`].
pub(super) fn register(registers: &[u8], index: usize) -> u8 {
    let (at, shift) = (index * BITS / 8, index * BITS % 8);
    (word(registers, at) >> shift & MASK) as u8
}

/// Sets one register.
pub(super) fn set(registers: &mut [u8], index: usize, value: u8) {
    let (at, shift) = (index * BITS / 8, index * BITS % 8);
    let word = word(registers, at) & !(MASK << shift) | (u16::from(value) & MASK) << shift;
    registers[at] = word as u8;
    if let Some(next) = registers.get_mut(at + 1) {
        *next = (word >> 8) as u8;
    }
}

/// The two bytes that a register lies in; behind the last one there is nothing.
fn word(registers: &[u8], at: usize) -> u16 {
    u16::from(registers[at]) | u16::from(registers.get(at + 1).copied().unwrap_or(0)) << 8
}
