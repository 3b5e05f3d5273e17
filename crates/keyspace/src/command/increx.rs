//! INCREX: a counter within bounds, and when it expires, in one step.

use super::time::Clock;
use super::*;
use crate::extended::{Extended, Parsed};
use sterna_command::{KeyUse, KeyUses, Lifetime};

pub(super) const INCREX: Command<Run> = row(
    Spec {
        name: "increx",
        arity: -2,
        lifetime: Lifetime::options(2),
        flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST),
        keys: Keys::at(1),
        uses: KeyUses::Each(KeyUse::READS_AND_UPDATES),
        acl: Categories::STRING,
        group: Group::String,
        since: "8.8.0",
        complexity: "O(1)",
        summary: "Adds to the number under a key within bounds, and sets or clears its expiry.",
        syntax: "key [BYFLOAT increment | BYINT increment] [LBOUND lowerbound] [UBOUND upperbound] [SATURATE] \
                 [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST] [ENX]",
        reply: &[ReplyShape::Array],
        tips: &[],
        ..Spec::PLAIN
    },
    increx,
);

/// The options as they stand; each at most once.
#[derive(Debug, Default)]
struct Words<'a> {
    by_int: Option<&'a [u8]>,
    by_float: Option<&'a [u8]>,
    lower: Option<&'a [u8]>,
    upper: Option<&'a [u8]>,
    saturate: bool,
    expiry: Option<(Clock, &'a [u8])>,
    persist: bool,
    only_without_expiry: bool,
}

/// What is to be done to the number.
#[derive(Debug)]
enum Sum {
    Int(Bounded<i64>),
    Float(Bounded<Extended>),
}

#[derive(Debug)]
struct Bounded<T> {
    by: T,
    lower: T,
    upper: T,
}

/// What became of it: the number, and what was added; nothing if it would have left its bounds.
enum Added {
    Int(i64, i64),
    Float(Extended, Extended),
    Nothing,
}

fn increx(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let words = Words::parse(args)?;
    if words.only_without_expiry && words.expiry.is_none() {
        return Err(Error::EnxWithoutExpiry);
    }
    let sum = words.sum()?;
    let now_ms = ctx.now_ms;
    let at_ms = match words.expiry {
        Some((clock, number)) => {
            let number = integer(number).ok_or(Error::NotInteger)?;
            Some(clock.expiry_ms(number, now_ms, "increx")?)
        }
        None => None,
    };
    let mut slot = ctx.slot(&args[1]);
    let text = match slot.value() {
        Some(value) => Some(value.text().ok_or(Error::WrongType)?),
        None => None,
    };
    let (value, event) = match sum {
        Sum::Int(sum) => {
            let old =
                text.map_or(Ok(0), |text| text.as_short().and_then(integer).ok_or(Error::NotInteger))?;
            let added = sum.add(old, words.saturate)?;
            let Added::Int(new, by) = added else {
                write(reply, &Added::Int(old, 0));
                return Ok(Outcome::Replied);
            };
            write(reply, &Added::Int(new, by));
            (Value::Int(new), event::INCRBY)
        }
        Sum::Float(sum) => {
            let old = text.map_or(Ok(Extended::from(0)), |text| {
                text.as_short().and_then(finite).ok_or(Error::NotFloat)
            })?;
            let Added::Float(new, by) = sum.add(old, words.saturate)? else {
                write(reply, &Added::Float(old, Extended::from(0)));
                return Ok(Outcome::Replied);
            };
            write(reply, &Added::Float(new, by));
            (Value::Str(new.format()[..].into()), event::INCRBYFLOAT)
        }
    };
    let old_at_ms = slot.expire_at_ms();
    let at_ms = at_ms.filter(|_| !(words.only_without_expiry && old_at_ms.is_some()));
    if at_ms.is_some_and(|at_ms| at_ms <= now_ms) {
        slot.delete(event::DEL);
        return Ok(Outcome::Replied);
    }
    slot.set(value, if words.persist { None } else { at_ms.or(old_at_ms) }, event);
    if at_ms.is_some() {
        slot.event(event::EXPIRE);
    } else if words.persist && old_at_ms.is_some() {
        slot.event(event::PERSIST);
    }
    Ok(Outcome::Replied)
}

fn write(reply: &mut Reply<'_>, added: &Added) {
    reply.array(2);
    match added {
        Added::Int(new, by) => [new, by].into_iter().for_each(|&number| reply.int(number)),
        Added::Float(new, by) => [new, by].into_iter().for_each(|number| reply.double_text(&number.format())),
        Added::Nothing => [0, 0].into_iter().for_each(|number| reply.int(number)),
    }
}

impl<'a> Words<'a> {
    fn parse(args: Args<'a>) -> Result<Words<'a>, Error> {
        let mut words = Words::default();
        let mut at = 2;
        while let Some(word) = args.get(at) {
            let next = args.get(at + 1);
            at += if words.take_flag(word) {
                1
            } else if words.take_pair(word, next.ok_or(Error::Syntax)?) {
                2
            } else {
                return Err(Error::Syntax);
            };
        }
        Ok(words)
    }

    /// Takes an option without an argument; false: it is none, was there before, or is excluded by another.
    fn take_flag(&mut self, word: &[u8]) -> bool {
        let excluded = self.persist || self.expiry.is_some() || self.only_without_expiry;
        let flag = if is(word, "saturate") && !self.saturate {
            &mut self.saturate
        } else if is(word, "persist") && !excluded {
            &mut self.persist
        } else if is(word, "enx") && !self.only_without_expiry && !self.persist {
            &mut self.only_without_expiry
        } else {
            return false;
        };
        *flag = true;
        true
    }

    /// Takes an option with its argument; as [`Words::take_flag`].
    fn take_pair(&mut self, word: &[u8], argument: &'a [u8]) -> bool {
        let has_increment = self.by_int.is_some() || self.by_float.is_some();
        let place = if is(word, "byint") && !has_increment {
            &mut self.by_int
        } else if is(word, "byfloat") && !has_increment {
            &mut self.by_float
        } else if is(word, "lbound") && self.lower.is_none() {
            &mut self.lower
        } else if is(word, "ubound") && self.upper.is_none() {
            &mut self.upper
        } else {
            let clock = Clock::of_option(word).filter(|_| self.expiry.is_none() && !self.persist);
            self.expiry = clock.map(|clock| (clock, argument)).or(self.expiry);
            return clock.is_some();
        };
        *place = Some(argument);
        true
    }

    fn sum(&self) -> Result<Sum, Error> {
        let Words { by_int, by_float, lower, upper, .. } = *self;
        let Some(by) = by_float else {
            let read = |text: Option<&[u8]>, name, default| match text {
                Some(text) => integer(text).ok_or(Error::OptionNotInteger { name }),
                None => Ok(default),
            };
            let by = read(by_int, "Increment", 1)?;
            let (lower, upper) = (read(lower, "LBOUND", i64::MIN)?, read(upper, "UBOUND", i64::MAX)?);
            return Bounded::new(by, lower, upper).map(Sum::Int);
        };
        let read = |text: Option<&[u8]>, name, default| match text {
            Some(text) => finite(text).ok_or(Error::OptionNotFloat { name }),
            None => Ok(default),
        };
        let by = match Extended::parse(by) {
            Some(Parsed::Finite(by)) => by,
            Some(Parsed::Infinite) => return Err(Error::NotFinite),
            None => return Err(Error::OptionNotFloat { name: "Increment" }),
        };
        let lower = read(lower, "LBOUND", Extended::limit(true))?;
        let upper = read(upper, "UBOUND", Extended::limit(false))?;
        Bounded::new(by, lower, upper).map(Sum::Float)
    }
}

impl<T: PartialOrd> Bounded<T> {
    fn new(by: T, lower: T, upper: T) -> Result<Bounded<T>, Error> {
        if lower > upper { Err(Error::BoundsCrossed) } else { Ok(Bounded { by, lower, upper }) }
    }
}

impl Bounded<i64> {
    fn add(&self, old: i64, saturate: bool) -> Result<Added, Error> {
        let sum = i128::from(old) + i128::from(self.by);
        if (i128::from(self.lower)..=i128::from(self.upper)).contains(&sum) {
            // Between two integers of 64 bits.
            return Ok(Added::Int(sum as i64, self.by));
        }
        if !saturate {
            return Ok(Added::Nothing);
        }
        let new = if sum > i128::from(self.upper) { self.upper } else { self.lower };
        Ok(Added::Int(new, new.checked_sub(old).ok_or(Error::IncrementOverflow)?))
    }
}

impl Bounded<Extended> {
    fn add(&self, old: Extended, saturate: bool) -> Result<Added, Error> {
        let sum = old.add(self.by);
        if let Some(sum) = sum.filter(|sum| *sum >= self.lower && *sum <= self.upper) {
            return Ok(Added::Float(sum, self.by));
        }
        if !saturate {
            return Ok(Added::Nothing);
        }
        let is_above = sum.map_or(!self.by.is_negative(), |sum| sum > self.upper);
        let new = if is_above { self.upper } else { self.lower };
        Ok(Added::Float(new, new.add(-old).ok_or(Error::NotFinite)?))
    }
}

fn finite(text: &[u8]) -> Option<Extended> {
    match Extended::parse(text)? {
        Parsed::Finite(number) => Some(number),
        Parsed::Infinite => None,
    }
}
