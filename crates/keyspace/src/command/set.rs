//! SET and the commands it has swallowed: SETNX, SETEX, PSETEX, GETSET.

use super::digest::Comparison;
use super::time::Clock;
use super::*;
use crate::wait::Caller;
use sterna_command::{KeyUse, KeyUses, Lifetime};

pub(super) const SET: Command<Run> = row(
    Spec {
        name: "set",
        arity: -3,
        lifetime: Lifetime::options(3),
        flags: Flags::WRITE.union(Flags::DENYOOM),
        keys: Keys::at(1),
        uses: KeyUses::WithWord {
            words: &["GET"],
            from: 3,
            with: KeyUse::READS_AND_UPDATES,
            without: KeyUse::OVERWRITES,
        },
        acl: Categories::STRING,
        group: Group::String,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "Stores a string under a key, whatever it held, if a condition holds.",
        syntax: "key value [NX | XX | IFEQ value | IFNE value | IFDEQ digest | IFDNE digest] [GET] [EX seconds | \
                 PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]",
        reply: &[ReplyShape::Ok, ReplyShape::Bulk, ReplyShape::Null],
        tips: &[],
        ..Spec::PLAIN
    },
    set,
);

pub(super) const SETNX: Command<Run> = row(
    Spec {
        name: "setnx",
        arity: 3,
        lifetime: Lifetime::None,
        uses: KeyUses::Each(KeyUse::CREATES),
        flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST),
        summary: "Stores a string under a key that does not exist.",
        syntax: "key value",
        reply: &[ReplyShape::Integer],
        ..SET.spec
    },
    setnx,
);

pub(super) const SETEX: Command<Run> = row(
    Spec {
        name: "setex",
        arity: 4,
        lifetime: Lifetime::FromNow,
        uses: KeyUses::Each(KeyUse::OVERWRITES),
        since: "2.0.0",
        summary: "Stores a string that expires after some seconds.",
        syntax: "key seconds value",
        reply: &[ReplyShape::Ok],
        ..SET.spec
    },
    |ctx, args, reply| set_expiring(ctx, args, reply, Clock::Seconds, "setex"),
);

pub(super) const PSETEX: Command<Run> = row(
    Spec {
        name: "psetex",
        uses: KeyUses::Each(KeyUse::OVERWRITES),
        since: "2.6.0",
        summary: "Stores a string that expires after some milliseconds.",
        syntax: "key milliseconds value",
        ..SETEX.spec
    },
    |ctx, args, reply| set_expiring(ctx, args, reply, Clock::Millis, "psetex"),
);

pub(super) const GETSET: Command<Run> = row(
    Spec {
        name: "getset",
        arity: 3,
        lifetime: Lifetime::None,
        uses: KeyUses::Each(KeyUse::READS_AND_UPDATES),
        flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST),
        summary: "Stores a string and answers the one it takes the place of.",
        syntax: "key value",
        reply: &[ReplyShape::Bulk, ReplyShape::Null],
        ..SET.spec
    },
    getset,
);

/// What the options of SET or MSETEX say.
#[derive(Debug, Default)]
pub(super) struct Options<'a> {
    pub(super) condition: Condition<'a>,
    get: bool,
    expiry: Expiry<'a>,
}

/// Whose options they are: MSETEX has neither GET nor comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Set,
    Msetex,
}

/// When a value is stored.
#[derive(Debug, Default)]
pub(super) enum Condition<'a> {
    #[default]
    Always,
    /// `NX`
    Missing,
    /// `XX`
    Present,
    /// `IFEQ` and its like: what the string that is there is to be; `IFNE` and `IFDNE` hold where there is none.
    If(Comparison<'a>),
}

#[derive(Debug, Default)]
enum Expiry<'a> {
    #[default]
    Never,
    Keep,
    At(Clock, &'a [u8]),
}

fn set(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    if args.len() == 3 {
        ctx.slot(&args[1]).overwrite(NewValue::string(&args[2]), None, event::SET);
        reply.ok();
        return Ok(Outcome::Replied);
    }
    let options = Options::parse(args, 3, Of::Set)?;
    let (keep, expire_at_ms) = options.expire_at_ms(ctx.now_ms, "set")?;
    let caller = ctx.caller;
    let mut slot = ctx.slot(&args[1]);
    if options.get {
        slot.note_read();
    }
    let old = slot.value();
    if options.get && old.is_some_and(|old| old.text().is_none()) {
        return Err(Error::WrongType);
    }
    let holds = options.condition.holds(old, caller)?;
    if options.get {
        caller.check_copy(old.and_then(ValueRef::text).map_or(0, |text| text.len()))?;
    }
    match old.and_then(ValueRef::text) {
        Some(old) if options.get => old.reply(reply),
        None if options.get => reply.null(),
        _ if holds => reply.ok(),
        _ => reply.null(),
    }
    if holds {
        let expire_at_ms = if keep { slot.expire_at_ms() } else { expire_at_ms };
        slot.overwrite(NewValue::string(&args[2]), expire_at_ms, event::SET);
        if !keep && expire_at_ms.is_some() {
            slot.event(event::EXPIRE);
        }
    }
    Ok(Outcome::Replied)
}

fn setnx(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let mut slot = ctx.slot(&args[1]);
    let missing = slot.is_empty();
    if missing {
        slot.overwrite(NewValue::string(&args[2]), None, event::SET);
    }
    reply.int(i64::from(missing));
    Ok(Outcome::Replied)
}

fn set_expiring(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    clock: Clock,
    command: &'static str,
) -> Result<Outcome, Error> {
    let expire_at_ms = clock.expiry_ms(integer_at(args, 2)?, ctx.now_ms, command)?;
    let mut slot = ctx.slot(&args[1]);
    slot.overwrite(NewValue::string(&args[3]), Some(expire_at_ms), event::SET);
    slot.event(event::EXPIRE);
    reply.ok();
    Ok(Outcome::Replied)
}

fn getset(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let caller = ctx.caller;
    let mut slot = ctx.slot(&args[1]);
    slot.note_read();
    match slot.value() {
        Some(old) => {
            let text = old.text().ok_or(Error::WrongType)?;
            caller.check_copy(text.len())?;
            text.reply(reply);
        }
        None => reply.null(),
    }
    slot.overwrite(NewValue::string(&args[2]), None, event::SET);
    Ok(Outcome::Replied)
}

impl<'a> Options<'a> {
    /// Whether keys keep the expiry they have, and the one they get.
    pub(super) fn expire_at_ms(
        &self,
        now_ms: u64,
        command: &'static str,
    ) -> Result<(bool, Option<u64>), Error> {
        match self.expiry {
            Expiry::Never => Ok((false, None)),
            Expiry::Keep => Ok((true, None)),
            Expiry::At(clock, number) => {
                let number = integer(number).ok_or(Error::NotInteger)?;
                Ok((false, Some(clock.expiry_ms(number, now_ms, command)?)))
            }
        }
    }

    /// Reads the options from argument `at` on. Options that exclude each other are refused; of one that is repeated with
    /// another number the last counts.
    pub(super) fn parse(args: Args<'a>, mut at: usize, of: Of) -> Result<Options<'a>, Error> {
        let mut options = Options::default();
        while let Some(word) = args.get(at) {
            // Whether the option took an argument.
            let mut argument = None;
            if is(word, "get") && of == Of::Set {
                options.get = true;
            } else if let Some(condition) = options.condition.and(word, args.get(at + 1), of) {
                argument = condition.argument();
                options.condition = condition;
            } else if is(word, "keepttl") && !matches!(options.expiry, Expiry::At(..)) {
                options.expiry = Expiry::Keep;
            } else if let (Some(clock), Some(number)) = (Clock::of_option(word), args.get(at + 1)) {
                match options.expiry {
                    Expiry::Never => {}
                    Expiry::At(before, _) if before == clock => {}
                    Expiry::At(..) | Expiry::Keep => return Err(Error::Syntax),
                }
                argument = Some(number);
                options.expiry = Expiry::At(clock, number);
            } else {
                return Err(Error::Syntax);
            }
            at += 1 + usize::from(argument.is_some());
        }
        Ok(options)
    }
}

impl<'a> Condition<'a> {
    /// This condition and one more option; `None`: `word` is none, or they exclude each other.
    fn and(&self, word: &[u8], next: Option<&'a [u8]>, of: Of) -> Option<Condition<'a>> {
        match self {
            Condition::Always | Condition::Missing if is(word, "nx") => Some(Condition::Missing),
            Condition::Always | Condition::Present if is(word, "xx") => Some(Condition::Present),
            Condition::Always if of == Of::Set => Comparison::of(word, next?).map(Condition::If),
            _ => None,
        }
    }

    fn argument(&self) -> Option<&'a [u8]> {
        match self {
            Condition::If(comparison) => Some(comparison.with),
            Condition::Always | Condition::Missing | Condition::Present => None,
        }
    }

    fn holds(&self, old: Option<ValueRef<'_>>, caller: Caller) -> Result<bool, Error> {
        match (self, old) {
            (Condition::Always, _) => Ok(true),
            (Condition::Missing, old) => Ok(old.is_none()),
            (Condition::Present, old) => Ok(old.is_some()),
            (Condition::If(comparison), None) => Ok(!comparison.wants_equal),
            (Condition::If(comparison), Some(old)) => {
                comparison.holds(&old.text().ok_or(Error::WrongType)?, caller)
            }
        }
    }
}
