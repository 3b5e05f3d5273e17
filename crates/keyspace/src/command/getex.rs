//! GETEX and GETDEL: reading a string and changing what becomes of it.

use super::time::Clock;
use super::*;
use sterna_command::{KeyUse, KeyUses, Lifetime};

pub(super) const GETEX: Command<Run> = row(
    Spec {
        name: "getex",
        arity: -2,
        lifetime: Lifetime::options(2),
        flags: Flags::WRITE.union(Flags::FAST),
        keys: Keys::at(1),
        uses: KeyUses::Each(KeyUse::READS_AND_UPDATES),
        acl: Categories::STRING,
        group: Group::String,
        since: "6.2.0",
        complexity: "O(1)",
        summary: "Answers the string under a key and sets or clears its expiry.",
        syntax: "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST]",
        reply: &[ReplyShape::Bulk, ReplyShape::Null],
        tips: &[],
        ..Spec::PLAIN
    },
    getex,
);

pub(super) const GETDEL: Command<Run> = row(
    Spec {
        name: "getdel",
        arity: 2,
        lifetime: Lifetime::None,
        uses: KeyUses::Each(KeyUse::TAKES),
        summary: "Answers the string under a key and deletes it.",
        syntax: "key",
        ..GETEX.spec
    },
    getdel,
);

/// What becomes of the expiry.
#[derive(Debug, Clone, Copy)]
enum Then<'a> {
    Nothing,
    Persist,
    Expire(Clock, &'a [u8]),
}

fn getex(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let then = parse(args)?;
    let (now_ms, caller) = (ctx.now_ms, ctx.caller);
    let mut slot = ctx.slot(&args[1]);
    slot.note_read();
    let Some(value) = slot.value() else {
        reply.null();
        return Ok(Outcome::Replied);
    };
    let text = value.text().ok_or(Error::WrongType)?;
    let at_ms = match then {
        Then::Nothing | Then::Persist => None,
        Then::Expire(clock, number) => {
            let number = integer(number).ok_or(Error::NotInteger)?;
            Some(clock.expiry_ms(number, now_ms, "getex")?)
        }
    };
    caller.check_copy(text.len())?;
    text.reply(reply);
    match (then, at_ms) {
        (Then::Expire(..), Some(at_ms)) if at_ms <= now_ms => {
            slot.delete(event::DEL);
        }
        (Then::Expire(..), at_ms) => {
            slot.expire_at(at_ms, event::EXPIRE);
        }
        (Then::Persist, _) if slot.expire_at_ms().is_some() => {
            slot.expire_at(None, event::PERSIST);
        }
        (Then::Persist | Then::Nothing, _) => {}
    }
    Ok(Outcome::Replied)
}

fn getdel(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let caller = ctx.caller;
    let mut slot = ctx.slot(&args[1]);
    slot.note_read();
    match slot.value() {
        Some(value) => {
            let text = value.text().ok_or(Error::WrongType)?;
            caller.check_copy(text.len())?;
            text.reply(reply);
            slot.delete(event::DEL);
        }
        None => reply.null(),
    }
    Ok(Outcome::Replied)
}

fn parse(args: Args<'_>) -> Result<Then<'_>, Error> {
    let mut then = Then::Nothing;
    let mut at = 2;
    while let Some(word) = args.get(at) {
        then = match (then, Clock::of_option(word), args.get(at + 1)) {
            (Then::Nothing | Then::Persist, ..) if is(word, "persist") => Then::Persist,
            (Then::Nothing, Some(clock), Some(number)) => Then::Expire(clock, number),
            (Then::Expire(before, _), Some(clock), Some(number)) if before == clock => {
                Then::Expire(clock, number)
            }
            _ => return Err(Error::Syntax),
        };
        at += if matches!(then, Then::Expire(..)) { 2 } else { 1 };
    }
    Ok(then)
}
