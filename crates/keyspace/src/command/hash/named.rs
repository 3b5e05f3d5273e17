//! `FIELDS count field …` among other options, in any order: HEXPIRE and its kin, HGETEX, HSETEX.
//!
//! ```text
//! HSETEX key  EX 10  FIELDS 2 a 1 b 2  FNX
//!                           └ first  ┘
//!                           2 × width arguments, whatever they look like
//! ```
//!
//! The count says where the fields end, so that a field may be called `EX`, and options may follow.

use super::*;
use crate::command::time::Clock;

/// The fields that a request names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named {
    first: usize,
    count: usize,
    /// Arguments of a field: its name, or name and value.
    width: usize,
}

impl Named {
    /// What FIELDS names, which is argument `at`; `refused` says that its count is no count.
    pub(super) fn parse(args: Args<'_>, at: usize, width: usize, refused: HashError) -> Result<Named, Error> {
        let count = args.get(at + 1).and_then(integer).and_then(|count| i32::try_from(count).ok());
        let count = count.filter(|&count| count > 0).and_then(|count| usize::try_from(count).ok());
        let (first, count) = (at + 2, count.ok_or(refused)?);
        // At most 2³¹ fields of two arguments, so that nothing overflows.
        if count * width > args.len().saturating_sub(first) {
            return Err(HashError::FieldsTooFew.into());
        }
        Ok(Named { first, count, width })
    }

    /// The argument behind the last field.
    pub(super) fn end(&self) -> usize {
        self.first + self.count * self.width
    }

    /// The names.
    pub(super) fn names<'a>(&self, args: Args<'a>) -> impl ExactSizeIterator<Item = &'a [u8]> + Clone {
        let Named { first, count, width } = *self;
        (0..count).map(move |nth| args.get(first + nth * width).unwrap_or_default())
    }

    /// The names and values of fields that have both.
    pub(super) fn pairs<'a>(
        &self,
        args: Args<'a>,
    ) -> impl ExactSizeIterator<Item = (&'a [u8], &'a [u8])> + Clone {
        let Named { first, count, .. } = *self;
        let text = move |index: usize| args.get(index).unwrap_or_default();
        (0..count).map(move |nth| (text(first + 2 * nth), text(first + 2 * nth + 1)))
    }
}

/// What the options say of the expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    At(u64),
    /// KEEPTTL of HSETEX.
    Keep,
    /// PERSIST of HGETEX.
    Persist,
}

/// Whether fields are to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    /// FNX.
    AllMissing,
    /// FXX.
    AllPresent,
}

/// What HGETEX and HSETEX differ in.
pub(super) struct Grammar {
    pub(super) command: &'static str,
    /// Arguments of a field.
    pub(super) width: usize,
    /// Whether it knows KEEPTTL, FNX and FXX; else PERSIST.
    pub(super) sets: bool,
    /// That there are two expiries.
    pub(super) twice: HashError,
}

/// A request of theirs.
pub(super) struct Options {
    pub(super) condition: Option<Condition>,
    pub(super) expiry: Option<Asked>,
    pub(super) named: Named,
}

impl Options {
    pub(super) fn parse(args: Args<'_>, grammar: &Grammar, now_ms: u64) -> Result<Options, Error> {
        let (mut condition, mut expiry, mut named, mut at) = (None, None, None::<Named>, 2);
        while let Some(word) = args.get(at) {
            at += 1;
            if is(word, "fields") {
                if named.is_some() {
                    return Err(HashError::FieldsTwice.into());
                } else if at == args.len() {
                    return Err(Error::Arity { command: grammar.command });
                }
                let fields = Named::parse(args, at - 1, grammar.width, HashError::NumFieldsInvalid)?;
                at = fields.end();
                named = Some(fields);
            } else if let Some(asked) = grammar.condition(word) {
                if condition.replace(asked).is_some() {
                    return Err(HashError::ConditionTwice.into());
                }
            } else if let Some(clock) = Clock::of_option(word) {
                if expiry.is_some() {
                    return Err(grammar.twice.clone().into());
                }
                let number = args.get(at).ok_or(HashError::ExpireMissing)?;
                expiry = Some(Asked::At(expire::parse_time(clock, number, now_ms, grammar.command)?));
                at += 1;
            } else if let Some(asked) = grammar.without_time(word) {
                if expiry.replace(asked).is_some() {
                    return Err(grammar.twice.clone().into());
                }
            } else {
                return Err(HashError::Argument { argument: word.into() }.into());
            }
        }
        let named = named.ok_or(HashError::FieldsAbsent)?;
        Ok(Options { condition, expiry, named })
    }
}

impl Grammar {
    fn condition(&self, word: &[u8]) -> Option<Condition> {
        match () {
            () if self.sets && is(word, "fnx") => Some(Condition::AllMissing),
            () if self.sets && is(word, "fxx") => Some(Condition::AllPresent),
            () => None,
        }
    }

    fn without_time(&self, word: &[u8]) -> Option<Asked> {
        match () {
            () if self.sets && is(word, "keepttl") => Some(Asked::Keep),
            () if !self.sets && is(word, "persist") => Some(Asked::Persist),
            () => None,
        }
    }
}
