//! BITFIELD and BITFIELD_RO: integers of any width at any bit of a string.

use super::*;
use crate::string::Text;

pub(in super::super) const BITFIELD: Command<Run> = row(
    Spec {
        name: "bitfield",
        arity: -2,
        flags: Flags::WRITE.union(Flags::DENYOOM),
        uses: KeyUses::WithWord {
            words: &["SET", "INCRBY"],
            from: 2,
            with: KeyUse::READS_AND_UPDATES,
            without: KeyUse::READS,
        },
        since: "3.2.0",
        complexity: "O(1) for each operation",
        summary: "Reads (GET), sets (SET) and adds to (INCRBY, after OVERFLOW) integers of some bits in a string.",
        syntax: "key [operation [operation ...]]",
        reply: &[ReplyShape::Array],
        ..SPEC
    },
    |ctx, args, reply| bitfield(ctx, args, reply, Access::ReadWrite),
);

pub(in super::super) const BITFIELD_RO: Command<Run> = row(
    Spec {
        name: "bitfield_ro",
        flags: Flags::READONLY.union(Flags::FAST),
        uses: KeyUses::ByFlags,
        since: "6.0.0",
        summary: "Reads (GET) integers of some bits in the string under a key.",
        ..BITFIELD.spec
    },
    |ctx, args, reply| bitfield(ctx, args, reply, Access::ReadOnly),
);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    ReadWrite,
    ReadOnly,
}

/// One operation.
#[derive(Debug, Clone, Copy)]
struct Operation {
    field: Field,
    action: Action,
}

#[derive(Debug, Clone, Copy)]
enum Action {
    Get,
    Set { value: i64, overflow: Overflow },
    Add { by: i64, overflow: Overflow },
}

/// What becomes of a number that its bits can't hold.
#[derive(Debug, Clone, Copy)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

/// Where a number is, and what it can be.
#[derive(Debug, Clone, Copy)]
struct Field {
    is_signed: bool,
    /// 1 to 64; unsigned at most 63.
    bits: u32,
    /// Of its first bit.
    offset: usize,
}

fn bitfield(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    access: Access,
) -> Result<Outcome, Error> {
    let operations = parse(args)?;
    let writes = || operations.iter().filter(|operation| !matches!(operation.action, Action::Get));
    let Some(len) = writes().map(|write| write.field.bytes().end).max() else {
        let text = match ctx.read(&args[1]) {
            Some(value) => value.text().ok_or(Error::WrongType)?,
            None => Text::held(b""),
        };
        reply.array(operations.len());
        operations.iter().for_each(|operation| reply.int(operation.field.read(&text)));
        return Ok(Outcome::Replied);
    };
    if access == Access::ReadOnly {
        return Err(Error::BitfieldReadOnly);
    }
    let mut slot = ctx.slot(&args[1]);
    let old_len = match slot.value() {
        Some(value) => value.text().ok_or(Error::WrongType)?.len(),
        None => 0,
    };
    let grows = old_len < len;
    if grows {
        slot.write(len - 1, &[0]).ok_or(Error::WrongType)?;
    } else {
        slot.make_changeable();
    }
    reply.array(operations.len());
    let mut changes = 0;
    for operation in &operations {
        let text = slot.value().and_then(ValueRef::text).ok_or(Error::WrongType)?;
        let old = operation.field.read(&text);
        let (new, answer) = match operation.action {
            Action::Get => (None, Some(old)),
            Action::Set { value, overflow } => {
                let new = operation.field.fit(operation.field.wide(value), overflow);
                (new, new.map(|_| old))
            }
            Action::Add { by, overflow } => {
                let new = operation.field.fit(operation.field.wide(old) + i128::from(by), overflow);
                (new, new)
            }
        };
        match answer {
            Some(number) => reply.int(number),
            None => reply.null(),
        }
        if let Some(new) = new.filter(|&new| grows || new != old) {
            let (at, bytes) = operation.field.written(&text, new);
            slot.write(at, &bytes).ok_or(Error::WrongType)?;
            changes += 1;
        }
    }
    if changes > 0 {
        slot.patched(changes, event::SETBIT);
    }
    Ok(Outcome::Replied)
}

fn parse(args: Args<'_>) -> Result<Vec<Operation>, Error> {
    let mut operations = Vec::new();
    let mut overflow = Overflow::Wrap;
    let mut at = 2;
    while let Some(word) = args.get(at) {
        let left = args.len() - at - 1;
        if is(word, "overflow") && left >= 1 {
            overflow = Overflow::parse(&args[at + 1])?;
            at += 2;
            continue;
        }
        let width = match left {
            2.. if is(word, "get") => 3,
            3.. if is(word, "set") || is(word, "incrby") => 4,
            _ => return Err(Error::Syntax),
        };
        let field = Field::parse(&args[at + 1], &args[at + 2], width == 3)?;
        let action = if width == 3 {
            Action::Get
        } else if is(word, "set") {
            Action::Set { value: integer_at(args, at + 3)?, overflow }
        } else {
            Action::Add { by: integer_at(args, at + 3)?, overflow }
        };
        operations.push(Operation { field, action });
        at += width;
    }
    Ok(operations)
}

impl Overflow {
    fn parse(word: &[u8]) -> Result<Overflow, Error> {
        let all = [("wrap", Overflow::Wrap), ("sat", Overflow::Saturate), ("fail", Overflow::Fail)];
        let found = all.into_iter().find(|(name, _)| is(word, name));
        found.map(|(_, overflow)| overflow).ok_or(Error::BitfieldOverflow)
    }
}

impl Field {
    /// `is_read`: bits behind the end of the longest string are 0. What is written there would make a longer one.
    fn parse(encoding: &[u8], offset: &[u8], is_read: bool) -> Result<Field, Error> {
        let (is_signed, bits) = match encoding {
            [b'i', bits @ ..] => (true, bits),
            [b'u', bits @ ..] => (false, bits),
            _ => return Err(Error::BitfieldType),
        };
        let most = if is_signed { 64 } else { 63 };
        let bits = integer(bits).filter(|bits| (1..=most).contains(bits)).ok_or(Error::BitfieldType)?;
        let offset = match offset {
            [b'#', nth @ ..] => {
                let nth = integer(nth).and_then(|nth| nth.checked_mul(bits)).ok_or(Error::BitOffset)?;
                usize::try_from(nth).map_err(|_| Error::BitOffset)?
            }
            offset => bit_offset(offset)?,
        };
        let field = Field { is_signed, bits: bits as u32, offset };
        let end = if is_read { offset / 8 + 1 } else { field.bytes().end };
        if end > STRING_BYTES_MAX { Err(Error::BitOffset) } else { Ok(field) }
    }

    /// The bytes that hold it.
    fn bytes(&self) -> std::ops::Range<usize> {
        self.offset / 8..(self.offset + self.bits as usize).div_ceil(8)
    }

    /// The bits from the first byte that holds it on, and how many stand behind it.
    fn window(&self, text: &Text<'_>) -> (u128, u32) {
        let mut bytes = [0; 16];
        text.read_at(self.offset / 8, &mut bytes);
        (u128::from_be_bytes(bytes), 128 - self.bits - (self.offset % 8) as u32)
    }

    fn mask(&self) -> u128 {
        (1 << self.bits) - 1
    }

    fn read(&self, text: &Text<'_>) -> i64 {
        let (window, behind) = self.window(text);
        let number = (window >> behind & self.mask()) as u64;
        let unused = 64 - self.bits;
        if self.is_signed { (number << unused) as i64 >> unused } else { number as i64 }
    }

    /// Where and what the bytes are that hold it, once it is `number`.
    fn written(&self, text: &Text<'_>, number: i64) -> (usize, Vec<u8>) {
        let (window, behind) = self.window(text);
        let number = number as u64 as u128 & self.mask();
        let window = window & !(self.mask() << behind) | number << behind;
        let bytes = self.bytes();
        (bytes.start, window.to_be_bytes()[..bytes.len()].to_vec())
    }

    /// A number as this type sees it: an unsigned one has no sign.
    fn wide(&self, number: i64) -> i128 {
        if self.is_signed { number.into() } else { (number as u64).into() }
    }

    /// The number that is stored for `number`; `None`: none is.
    fn fit(&self, number: i128, overflow: Overflow) -> Option<i64> {
        let (least, most) = if self.is_signed {
            (-1i128 << (self.bits - 1), (1i128 << (self.bits - 1)) - 1)
        } else {
            (0, (1i128 << self.bits) - 1)
        };
        let fitted = match overflow {
            _ if (least..=most).contains(&number) => number,
            Overflow::Fail => return None,
            Overflow::Saturate => number.clamp(least, most),
            Overflow::Wrap => {
                let unused = 128 - self.bits;
                let low = (number as u128) << unused;
                if self.is_signed { low as i128 >> unused } else { (low >> unused) as i128 }
            }
        };
        // Within 64 bits.
        Some(fitted as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(is_signed: bool, bits: u32) -> Field {
        Field { is_signed, bits, offset: 0 }
    }

    #[test]
    fn numbers_that_do_not_fit_wrap_saturate_or_fail() {
        let rows = [
            (field(true, 8), 200, -56, 127),
            (field(true, 8), -129, 127, -128),
            (field(false, 8), 256, 0, 255),
            (field(false, 8), -1, 255, 0),
            (field(true, 64), i128::from(i64::MAX) + 1, i64::MIN, i64::MAX),
            (field(true, 64), i128::from(i64::MIN) - 1, i64::MAX, i64::MIN),
            (field(false, 63), 1 << 63, 0, i64::MAX),
            (field(true, 1), 1, -1, 0),
            (field(false, 1), 2, 0, 1),
        ];
        for (field, number, wrapped, saturated) in rows {
            assert_eq!(field.fit(number, Overflow::Wrap), Some(wrapped), "{field:?} {number}");
            assert_eq!(field.fit(number, Overflow::Saturate), Some(saturated), "{field:?} {number}");
            assert_eq!(field.fit(number, Overflow::Fail), None, "{field:?} {number}");
        }
    }

    #[test]
    fn a_number_reads_as_it_was_written_and_leaves_its_neighbours() {
        for bits in 1..=64 {
            for offset in [0, 1, 7, 8, 13, 63] {
                for is_signed in [false, true] {
                    let field =
                        Field { is_signed, bits: if is_signed { bits } else { bits.min(63) }, offset };
                    let old = [0xa5; 20];
                    for number in [0, 1, -1, 0x0123_4567_89ab_cdef] {
                        let number = field.fit(field.wide(number), Overflow::Wrap).unwrap();
                        let (at, bytes) = field.written(&Text::held(&old), number);
                        let mut new = old;
                        new[at..at + bytes.len()].copy_from_slice(&bytes);
                        assert_eq!(field.read(&Text::held(&new)), number, "{field:?}");
                        for bit in 0..160 {
                            let inside = (offset..offset + field.bits as usize).contains(&bit);
                            let of = |bytes: &[u8]| bytes[bit / 8] >> (7 - bit % 8) & 1;
                            assert!(inside || of(&old) == of(&new), "{field:?} bit {bit}");
                        }
                    }
                }
            }
        }
    }
}
