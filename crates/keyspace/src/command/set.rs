//! SET and the commands it has swallowed: SETNX, SETEX, PSETEX, GETSET.

use super::time::Clock;
use super::*;
use sterna_command::{KeyUse, KeyUses};

pub(super) const SET: Command<Run> = row(
    Spec {
        name: "set",
        arity: -3,
        flags: Flags::WRITE.union(Flags::DENYOOM),
        keys: Keys::at(1),
        uses: KeyUses::WithWord {
            word: "GET",
            from: 3,
            with: KeyUse::READS_AND_UPDATES,
            without: KeyUse::OVERWRITES,
        },
        acl: Categories::STRING,
        group: Group::String,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "Stores a string under a key, whatever it held, if a condition holds.",
        syntax: "key value [NX | XX | IFEQ value | IFNE value] [GET] [EX seconds | PX milliseconds | \
                 EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]",
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
        uses: KeyUses::Each(KeyUse::READS_AND_UPDATES),
        flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST),
        summary: "Stores a string and answers the one it takes the place of.",
        syntax: "key value",
        reply: &[ReplyShape::Bulk, ReplyShape::Null],
        ..SET.spec
    },
    getset,
);

/// What SET's options say.
#[derive(Debug, Default)]
struct Options<'a> {
    condition: Condition<'a>,
    get: bool,
    expiry: Expiry<'a>,
}

/// When SET stores.
#[derive(Debug, Default)]
enum Condition<'a> {
    #[default]
    Always,
    /// `NX`
    Missing,
    /// `XX`
    Present,
    /// `IFEQ`: there is a string, and it is this.
    Equal(&'a [u8]),
    /// `IFNE`: there is nothing, or a string that is not this.
    Unequal(&'a [u8]),
}

#[derive(Debug, Default)]
enum Expiry<'a> {
    #[default]
    Never,
    Keep,
    At(Clock, &'a [u8]),
}

fn set(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let options = if args.len() == 3 { Options::default() } else { Options::parse(args)? };
    let (keep, expire_at_ms) = match options.expiry {
        Expiry::Never => (false, None),
        Expiry::Keep => (true, None),
        Expiry::At(clock, number) => {
            let number = integer(number).ok_or(Error::NotInteger)?;
            (false, Some(clock.expiry_ms(number, ctx.now_ms, "set")?))
        }
    };
    let mut slot = ctx.slot(&args[1]);
    if options.get {
        slot.note_read();
    }
    let old = slot.value();
    if options.get && old.is_some_and(|old| old.text().is_none()) {
        return Err(Error::WrongType);
    }
    let holds = options.condition.holds(old)?;
    match old.and_then(Value::text) {
        Some(old) if options.get => reply.bulk(&old),
        None if options.get => reply.null(),
        _ if holds => reply.ok(),
        _ => reply.null(),
    }
    if holds {
        let expire_at_ms = if keep { slot.expire_at_ms() } else { expire_at_ms };
        slot.overwrite(Value::string(&args[2]), expire_at_ms, event::SET);
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
        slot.overwrite(Value::string(&args[2]), None, event::SET);
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
    slot.overwrite(Value::string(&args[3]), Some(expire_at_ms), event::SET);
    slot.event(event::EXPIRE);
    reply.ok();
    Ok(Outcome::Replied)
}

fn getset(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let mut slot = ctx.slot(&args[1]);
    slot.note_read();
    match slot.value() {
        Some(old) => reply.bulk(&old.text().ok_or(Error::WrongType)?),
        None => reply.null(),
    }
    slot.overwrite(Value::string(&args[2]), None, event::SET);
    Ok(Outcome::Replied)
}

impl<'a> Options<'a> {
    /// Reads the options behind the value. Options that exclude each other are refused; of one that is repeated with
    /// another number the last counts.
    fn parse(args: Args<'a>) -> Result<Options<'a>, Error> {
        let mut options = Options::default();
        let mut at = 3;
        while let Some(word) = args.get(at) {
            // Whether the option took an argument.
            let mut argument = None;
            if is(word, "get") {
                options.get = true;
            } else if let Some(condition) = options.condition.and(word, args.get(at + 1)) {
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
    fn and(&self, word: &[u8], next: Option<&'a [u8]>) -> Option<Condition<'a>> {
        match self {
            Condition::Always | Condition::Missing if is(word, "nx") => Some(Condition::Missing),
            Condition::Always | Condition::Present if is(word, "xx") => Some(Condition::Present),
            Condition::Always if is(word, "ifeq") => next.map(Condition::Equal),
            Condition::Always if is(word, "ifne") => next.map(Condition::Unequal),
            _ => None,
        }
    }

    fn argument(&self) -> Option<&'a [u8]> {
        match self {
            Condition::Equal(wanted) | Condition::Unequal(wanted) => Some(wanted),
            Condition::Always | Condition::Missing | Condition::Present => None,
        }
    }

    fn holds(&self, old: Option<&Value>) -> Result<bool, Error> {
        Ok(match (self, old) {
            (Condition::Always, _) => true,
            (Condition::Missing, old) => old.is_none(),
            (Condition::Present, old) => old.is_some(),
            (Condition::Equal(_), None) => false,
            (Condition::Unequal(_), None) => true,
            (Condition::Equal(wanted), Some(old)) => *old.text().ok_or(Error::WrongType)? == **wanted,
            (Condition::Unequal(other), Some(old)) => *old.text().ok_or(Error::WrongType)? != **other,
        })
    }
}
