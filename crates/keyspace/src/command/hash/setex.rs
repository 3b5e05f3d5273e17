//! HSETEX: fields with an expiry.

use super::expire::parse_time;
use super::*;
use crate::command::time::Clock;

pub(in super::super) const HSETEX: Command<Run> = row(
    Spec {
        name: "hsetex",
        arity: -6,
        flags: SPEC.flags.union(Flags::DENYOOM),
        since: "8.0.0",
        complexity: "O(1) for each field",
        summary: "Sets fields of a hash and when they expire, if all or none of them are there.",
        syntax: "key [FNX | FXX] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds \
                 | KEEPTTL] FIELDS numfields field value [field value ...]",
        reply: &[ReplyShape::Integer],
        ..SPEC
    },
    hsetex,
);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    /// FNX.
    AllMissing,
    /// FXX.
    AllPresent,
}

struct Options {
    condition: Option<Condition>,
    expiry: Expiry,
    /// Where the first name is.
    first: usize,
}

fn hsetex(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let now_ms = ctx.now_ms;
    let options = Options::parse(args, now_ms)?;
    let fields = pairs(args, options.first);
    let mut slot = ctx.slot(&args[1]);
    let hash = slot.elements::<Hash>()?;
    let is_there = |name: &[u8]| hash.is_some_and(|hash| hash.field(name, now_ms).is_some());
    let holds = match options.condition {
        None => true,
        Some(Condition::AllPresent) => fields.clone().all(|(name, _)| is_there(name)),
        Some(Condition::AllMissing) => !fields.clone().any(|(name, _)| is_there(name)),
    };
    if !holds {
        reply.int(0);
        return Ok(Outcome::Replied);
    }
    let is_new = slot.is_empty();
    let (mut is_over, mut set) = (false, 0..0);
    let edited = slot.edit_value(|hash: &mut Hash, edits| match options.expiry {
        Expiry::At(at_ms) if at_ms <= now_ms => {
            is_over = true;
            hash.set(edits, fields.clone(), Expiry::Clear);
            let count = edits.count;
            set = edits.subkeys.clone();
            hash.delete(edits, fields.map(|(name, _)| name));
            // That the fields went at once is no change of its own.
            edits.count = count;
        }
        expiry => {
            hash.set(edits, fields, expiry);
            set = edits.subkeys.clone();
        }
    })?;
    if is_new {
        slot.event(event::NEW);
    }
    slot.event_of(event::HSET, set);
    if is_over {
        slot.event_of(event::HDEL, edited.subkeys.clone());
    } else if matches!(options.expiry, Expiry::At(_)) {
        slot.event_of(event::HEXPIRE, edited.subkeys.clone());
    }
    if edited.is_gone || is_new && !edited.is_new {
        slot.event(event::DEL);
    }
    reply.int(1);
    Ok(Outcome::Replied)
}

impl Options {
    fn parse(args: Args<'_>, now_ms: u64) -> Result<Options, Error> {
        let arity = Error::Arity { command: "hsetex" };
        let (mut condition, mut expiry, mut at) = (None, None, 2);
        while let Some(word) = args.get(at) {
            let asked = match () {
                () if is(word, "fnx") => Some(Condition::AllMissing),
                () if is(word, "fxx") => Some(Condition::AllPresent),
                () => None,
            };
            if is(word, "fields") {
                let count = args.get(at + 1).ok_or(arity.clone())?;
                let count =
                    integer(count).and_then(|count| i32::try_from(count).ok()).filter(|&count| count > 0);
                let count = count.ok_or(HashError::NumFieldsInvalid)?;
                if (args.len() - at - 2) as u64 != 2 * u64::from(count.unsigned_abs()) {
                    return Err(arity);
                }
                let expiry = expiry.unwrap_or(Expiry::Clear);
                return Ok(Options { condition, expiry, first: at + 2 });
            } else if asked.is_some() {
                if std::mem::replace(&mut condition, asked).is_some() {
                    return Err(HashError::ConditionTwice.into());
                }
            } else if is(word, "keepttl") {
                if expiry.replace(Expiry::Keep).is_some() {
                    return Err(HashError::ExpiryTwice.into());
                }
            } else if let Some(clock) = Clock::of_option(word) {
                if expiry.is_some() {
                    return Err(HashError::ExpiryTwice.into());
                }
                at += 1;
                let number = args.get(at).ok_or(arity.clone())?;
                expiry = Some(Expiry::At(parse_time(clock, number, now_ms, "hsetex")?));
            } else {
                return Err(HashError::Argument { argument: word.into() }.into());
            }
            at += 1;
        }
        Err(arity)
    }
}
